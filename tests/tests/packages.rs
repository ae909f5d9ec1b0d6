//! The life of an installation: from the first kind that is activated, over an upgrade and back, to its end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{
    PATIENCE, Scenario,
    crossplane::{LATER, Rig, SYSTEM},
    is_running,
};

const CONFIG: &str = "{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {name: default}, \
                      spec: {uri: 'qemu:///system'}}";

/// Everything of the provider's that is on the cluster for good, before any kind is activated.
const ALWAYS: [&str; 3] = ["clusterproviderconfigs", "providerconfigs", "providerconfigusages"];

#[test]
fn kinds_start_when_they_are_activated_and_an_upgrade_and_its_way_back_leave_guests_alone() -> Result<()> {
    let mut rig = Rig::start("life")?;
    rig.publish("v0.1.0")?;
    rig.publish_later("v0.2.0")?;
    rig.install("v0.1.0")?;
    assert_eq!(rig.kinds()?, ALWAYS, "nothing is activated yet, and the provider is Healthy");
    let provider = rig.provider()?;
    rig.plane().apply(CONFIG)?;
    rig.activate("first", &["pools.libvirt.m.nourspeed.io"])?;
    let scenario = rig.scenario("life")?;
    rig.eventually(PATIENCE, || scenario.apply(&scenario.pool()))?;
    scenario.await_ready(&["pool/life"])?;
    assert_eq!(rig.kinds()?.len(), ALWAYS.len() + 1);

    rig.apply_example("install/activation.yaml")?;
    let rest = scenario.volume("root", "capacity: 64Mi") + &scenario.idle_guest("");
    rig.eventually(PATIENCE, || scenario.apply(&rest))?;
    scenario.await_all_ready(PATIENCE)?;
    assert_eq!(rig.provider()?, provider, "it was not restarted for them");
    drop(scenario);

    rig.start_controllers()?;
    check_versions(&rig, provider)?;
    check_end(&rig)
}

/// What must not change about a guest on the host, its process included, and about its objects.
fn identity(scenario: &Scenario<'_>) -> Result<(String, Vec<Value>)> {
    let uids = scenario.managed()?.into_values().map(|object| object["metadata"]["uid"].clone());
    Ok((on_host(scenario)?, uids.collect()))
}

fn on_host(scenario: &Scenario<'_>) -> Result<String> {
    let pid = scenario.host().path(&format!("run/qemu/{}.pid", scenario.name()));
    let pid = fs::read_to_string(&pid).with_context(|| format!("read {}", pid.display()))?;
    Ok(format!("{} as process {pid}", scenario.identity()?))
}

fn check_versions(rig: &Rig, first: u32) -> Result<()> {
    let scenario = rig.scenario("versions")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_all_ready(PATIENCE)?;
    let (before, mut last) = (identity(&scenario)?, first);
    for version in ["v0.2.0", "v0.1.0"] {
        rig.install(version)?;
        let now = rig.provider()?;
        assert!(now != last && !is_running(last), "{version} is another process, and the only one");
        last = now;
        // The new one works: it does what is asked, and nothing else.
        scenario.change("domain", scenario.name(), &json!({"autostart": version == "v0.2.0"}))?;
        let wished = if version == "v0.2.0" { "enable" } else { "disable" };
        scenario.await_host(wished, |scenario| {
            let info = scenario.host().virsh(&["dominfo", scenario.name()])?;
            Ok(info.lines().find_map(|line| line.strip_prefix("Autostart:")).unwrap_or_default().to_owned())
        })?;
        assert_eq!(identity(&scenario)?, before, "{version}");
        let columns = scenario.namespace().kubectl(&["get", "pools"])?;
        let shown = columns.lines().next().unwrap_or_default().split_whitespace().any(|name| name == LATER);
        assert_eq!(shown, version == "v0.2.0", "{version} has its own schema: {columns}");
    }
    Ok(())
}

/// As `examples/install/provider.yaml` says: first the objects, then their configs, then the package. A guest whose object does not delete stays.
fn check_end(rig: &Rig) -> Result<()> {
    let scenario = rig.scenario("stays")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_all_ready(PATIENCE)?;
    let running = on_host(&scenario)?;
    let keep = r#"{"spec":{"managementPolicies":["Observe","Create","Update"]}}"#;
    for object in scenario.managed()?.into_keys() {
        let object = object.to_lowercase();
        scenario.namespace().kubectl(&["patch", &object, "--type=merge", "-p", keep])?;
    }
    let plane = rig.plane();
    for objects in ["managed", "providerconfigs.libvirt.m.nourspeed.io,clusterproviderconfigs.libvirt.m.nourspeed.io"] {
        plane.kubectl(&["delete", objects, "--all", "--all-namespaces"])?;
        rig.eventually(PATIENCE, || {
            let left = plane.kubectl(&["get", objects, "--all-namespaces", "-o", "name"])?;
            ensure!(left.is_empty(), "left: {left}");
            Ok(())
        })?;
    }
    check_runtimes(rig)?;
    let provider = rig.provider()?;
    plane.kubectl(&["delete", "providers.pkg.crossplane.io", "provider-libvirt"])?;
    rig.eventually(2 * PATIENCE, || {
        let kinds = rig.kinds()?;
        ensure!(kinds.is_empty(), "left: {kinds:?}");
        let roles = plane.kubectl(&["get", "clusterroles", "-o", "name"])?;
        ensure!(!roles.contains("crossplane:provider:provider-libvirt"), "left: {roles}");
        ensure!(!is_running(provider), "the provider runs");
        Ok(())
    })?;
    assert_eq!(on_host(&scenario)?, running);
    Ok(())
}

/// The other runtime config of the examples, put in the place of the first: Crossplane deploys what it says, and the provider runs with it.
fn check_runtimes(rig: &Rig) -> Result<()> {
    let file = "install/runtime-remote.yaml";
    let before = rig.provider()?;
    rig.apply_example(file)?;
    let config = json!({"spec": {"runtimeConfigRef": {"name": "provider-libvirt-remote"}}});
    let provider = ["patch", "providers.pkg.crossplane.io", "provider-libvirt", "--type=merge", "-p"];
    rig.plane().kubectl(&[&provider[..], &[&config.to_string()]].concat())?;
    let medium = "jsonpath={.items[*].spec.template.spec.volumes[?(@.name==\"tmp\")].emptyDir.medium}";
    rig.eventually(PATIENCE, || {
        let found = rig.plane().kubectl(&["--namespace", SYSTEM, "get", "deployments", "-o", medium])?;
        ensure!(found == "Memory", "{file}: /tmp is in {found}");
        let now = rig.provider()?;
        ensure!(now != before && fs::metadata(format!("/proc/{now}/root/tmp"))?.is_dir(), "{file}: not deployed yet");
        Ok(())
    })?;
    rig.await_healthy("v0.1.0")?;
    ensure!(rig.provider_status("NoNewPrivs")? == ["1"], "{file}: the provider may become somebody else");
    Ok(())
}
