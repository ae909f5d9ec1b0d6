//! Hosts that freeze, die, are not there or are too many: said with the cause, nothing lost, the others unaffected.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, Scene, condition, eventually};

const PATIENCE: Duration = Scene::PATIENCE;
/// How soon a host that is back must be used again: the longest pause between attempts in an outage as short as these, and a busy machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_frozen_host_keeps_what_was_known_and_the_other_host_does_not_notice() -> Result<()> {
    let (scene, other) = two_hosts("frozen")?;
    let (kept, usual) = prepare(&scene)?;
    scene.host.freeze()?;
    let cause = "connect failed: ClusterProviderConfig one: the host did not answer within 2 s";
    check_outage(&scene, &kept, |message| message == cause)?;
    check_other_host(&scene, &other, usual)?;
    check_deletion_waits(&scene)?;
    scene.host.thaw()?;
    check_recovery(&scene)
}

#[test]
fn a_killed_daemon_is_found_again_and_its_guests_never_stopped() -> Result<()> {
    let (scene, other) = two_hosts("killed")?;
    let (kept, usual) = prepare(&scene)?;
    let guests = scene.host.pids("qemu-system-x86")?;
    assert_eq!(guests.len(), 2);
    scene.host.kill_daemon()?;
    let cause = format!(
        "connect failed: ClusterProviderConfig one: Failed to connect socket to '{}': Connection refused",
        scene.host.socket().display()
    );
    check_outage(&scene, &kept, |message| message == cause)?;
    check_other_host(&scene, &other, usual)?;
    check_deletion_waits(&scene)?;
    assert_eq!(scene.host.pids("qemu-system-x86")?, guests);
    scene.host.restart_daemon()?;
    check_recovery(&scene)?;
    let left = scene.host.pids("qemu-system-x86")?;
    assert!(
        left.len() == 1 && guests.contains(&left[0]),
        "one guest was deleted, the other runs on: {guests:?} {left:?}"
    );
    Ok(())
}

#[test]
fn a_config_that_leads_nowhere_says_so_and_works_as_soon_as_it_is_mended() -> Result<()> {
    let scene = Scene::start("nowhere", &["--poll=2s"])?;
    scene.configure("one", "qemu+unix:///system?socket=/nowhere/sock")?;
    scene.apply(&[("Network", "net", "{mode: Isolated}".into())])?;
    let cause = "Failed to connect socket to '/nowhere/sock': No such file or directory";
    let message = format!("connect failed: ClusterProviderConfig one: {cause}");
    let net = scene.await_condition(("network", "net"), "Synced", ("False", "ReconcileError", &message), PATIENCE)?;
    assert_eq!(condition(&net, "UpToDate")?, ("Unknown", "Unreachable", ""));
    assert!(condition(&net, "Ready").is_err(), "nothing is known of it yet");
    assert_eq!(net["metadata"]["finalizers"], Value::Null, "nothing to hold it for");
    let config = await_config(&scene, "one", ("False", "ConnectFailed", cause))?;
    assert_eq!((&config["status"]["users"], &config["status"]["host"]), (&json!(1), &Value::Null));
    scene.configure("one", &scene.host.uri())?;
    scene.await_ready(SOON)?;
    let config = await_config(&scene, "one", ("True", "Available", ""))?;
    let host = &config["status"]["host"];
    assert_eq!((&host["uuid"], &host["hostname"]), (&json!(scene.host.uuid()), &json!("nowhere")));
    Ok(())
}

#[test]
fn a_config_in_use_is_not_deleted_before_its_last_user() -> Result<()> {
    let scene = Scene::with_default_host("inuse", &["--poll=2s"])?;
    scene.apply(&[("Network", "a", "{mode: Isolated}".into()), ("Network", "b", "{mode: Isolated}".into())])?;
    scene.await_ready(PATIENCE)?;
    eventually(PATIENCE, || {
        let users = &config(&scene, "default")?["status"]["users"];
        ensure!(*users == 2, "users: {users}");
        Ok(())
    })?;
    scene.plane.kubectl(&["delete", "clusterproviderconfig", "default", "--wait=false"])?;
    eventually(PATIENCE, || {
        let config = config(&scene, "default")?;
        let found = condition(&config, "Terminating")?;
        ensure!(found == ("True", "InUse", "Blocking deletion while usages still exist"), "{found:?}");
        Ok(())
    })?;
    scene.namespace.kubectl(&["delete", "network", "a"])?;
    eventually(PATIENCE, || {
        let users = &config(&scene, "default")?["status"]["users"];
        ensure!(*users == 1, "users: {users}");
        Ok(())
    })?;
    scene.delete_all(PATIENCE)?;
    eventually(PATIENCE, || {
        ensure!(scene.plane.client().get(&["clusterproviderconfig", "default"])?.is_none(), "still there");
        Ok(())
    })?;
    assert_eq!(scene.on_host()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn an_object_is_placed_where_it_says_stays_there_and_may_not_span_hosts() -> Result<()> {
    let (scene, other) = two_hosts("placed")?;
    let isolated = "{mode: Isolated}";
    for name in ["by-ref", "by-annotation"] {
        apply_on(&scene, None, "Network", name, isolated)?;
        let message = "cannot determine placement: 2 ProviderConfigs are available; \
                       set spec.providerConfigRef or the annotation libvirt.nourspeed.io/provider-config";
        scene.await_condition(("network", name), "Synced", ("False", "ReconcileError", message), PATIENCE)?;
    }
    assert_eq!((scene.on_host()?, networks(&other)?), (vec![], vec![]));

    apply_on(&scene, Some("one"), "Network", "by-ref", isolated)?;
    let annotation = "libvirt.nourspeed.io/provider-config=ClusterProviderConfig/two";
    scene.namespace.kubectl(&["annotate", "network", "by-annotation", annotation])?;
    scene.await_ready(PATIENCE)?;
    assert_eq!(
        (scene.on_host()?, networks(&other)?),
        (vec!["network by-ref".to_owned()], vec!["by-annotation".to_owned()])
    );
    check_stays(&scene, &other)?;
    check_same_host(&scene)
}

/// A ref that is changed later changes one condition and nothing else.
fn check_stays(scene: &Scene, other: &Host) -> Result<()> {
    let before = scene.get("network", "by-ref")?;
    apply_on(scene, Some("two"), "Network", "by-ref", "{mode: Isolated}")?;
    let message = "spec.providerConfigRef names ClusterProviderConfig two, but the object is on ClusterProviderConfig one; it stays there";
    let wished = ("False", "PlacementChanged", message);
    let after = scene.await_condition(("network", "by-ref"), "UpToDate", wished, PATIENCE)?;
    assert_eq!(condition(&after, "Ready")?, ("True", "Available", ""));
    assert_eq!(condition(&after, "Synced")?, ("True", "ReconcileSuccess", ""));
    assert_eq!(after["status"]["atProvider"], before["status"]["atProvider"]);
    assert_eq!(after["metadata"]["annotations"], before["metadata"]["annotations"]);
    assert_eq!(
        (scene.on_host()?, networks(other)?),
        (vec!["network by-ref".to_owned()], vec!["by-annotation".to_owned()])
    );
    Ok(())
}

fn check_same_host(scene: &Scene) -> Result<()> {
    let nics =
        "networkInterfaces: [{name: a, networkRef: {name: by-ref}}, {name: b, networkRef: {name: by-annotation}}]";
    let both = format!("{{type: Qemu, memory: 64Mi, {nics}}}");
    apply_on(scene, None, "Domain", "spanning", &both)?;
    let message = "cannot determine placement: its referents are on ClusterProviderConfig one and on ClusterProviderConfig two; \
                   resources must use the same libvirt instance";
    scene.await_condition(("domain", "spanning"), "Synced", ("False", "ReconcileError", message), PATIENCE)?;
    apply_on(scene, Some("one"), "Domain", "spanning", &both)?;
    let message = "cannot resolve references: network by-annotation uses providerConfig two, but domain uses providerConfig one. \
                   Resources must use the same libvirt instance";
    let domain =
        scene.await_condition(("domain", "spanning"), "Synced", ("False", "ReconcileError", message), PATIENCE)?;
    assert_eq!(domain["metadata"]["finalizers"], Value::Null);
    // A guest that names no host follows its network.
    let one = "{type: Qemu, memory: 64Mi, networkInterfaces: [{name: b, networkRef: {name: by-annotation}}]}";
    apply_on(scene, None, "Domain", "following", one)?;
    let ready = ("True", "Available", "");
    let domain = scene.await_condition(("domain", "following"), "Ready", ready, PATIENCE)?;
    let placed = &domain["metadata"]["annotations"]["libvirt.nourspeed.io/provider-config"];
    assert_eq!(placed, "ClusterProviderConfig/two");
    Ok(())
}

// ---- the stations of an outage ----

/// A scene whose host is config `one`, and a second host, config `two`.
fn two_hosts(name: &str) -> Result<(Scene, Host)> {
    let scene = Scene::start(name, &["--poll=2s"])?;
    let other = Host::start(&format!("{name}-two"))?;
    scene.configure("one", &scene.host.uri())?;
    scene.configure("two", &other.uri())?;
    for name in ["one", "two"] {
        await_config(&scene, name, ("True", "Available", ""))?;
    }
    Ok((scene, other))
}

const GUEST: &str = "{type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}}";

/// Objects on both hosts. Answers those of host one, and how long a guest on host two takes to be Ready.
fn prepare(scene: &Scene) -> Result<(Vec<Value>, Duration)> {
    for (kind, name, parameters) in
        [("Domain", "kept", GUEST), ("Domain", "leaving", GUEST), ("Network", "net", "{mode: Isolated}")]
    {
        apply_on(scene, Some("one"), kind, name, parameters)?;
    }
    scene.await_ready(PATIENCE)?;
    let begin = Instant::now();
    apply_on(scene, Some("two"), "Domain", "first", GUEST)?;
    scene.await_ready(PATIENCE)?;
    let usual = begin.elapsed();
    Ok((vec![scene.get("domain", "kept")?, scene.get("network", "net")?], usual))
}

/// `Synced=False` with the cause, `UpToDate` unknown, everything else as it was; the config says it too.
fn check_outage(scene: &Scene, kept: &[Value], is_cause: impl Fn(&str) -> bool) -> Result<()> {
    for before in kept {
        let name = before["metadata"]["name"].as_str().unwrap_or_default();
        let kind = before["kind"].as_str().unwrap_or_default();
        let after = eventually(PATIENCE, || {
            let object = scene.get(kind, name)?;
            let (status, reason, message) = condition(&object, "Synced")?;
            ensure!((status, reason) == ("False", "ReconcileError") && is_cause(message), "{kind} {name}: {message}");
            Ok(object)
        })?;
        assert_eq!(condition(&after, "UpToDate")?, ("Unknown", "Unreachable", ""), "{name}");
        assert_eq!(condition(&after, "Ready")?, ("True", "Available", ""), "{name}");
        assert_eq!(after["status"]["atProvider"], before["status"]["atProvider"], "{name}");
        assert_eq!(after["metadata"]["finalizers"], before["metadata"]["finalizers"], "{name}");
    }
    let config = config(scene, "one")?;
    let (status, reason, _) = condition(&config, "Ready")?;
    assert_eq!((status, reason), ("False", "ConnectFailed"));
    assert_eq!(config["status"]["host"]["uuid"], scene.host.uuid(), "what was known of the host is kept");
    assert_eq!(config["status"]["users"], 3);
    await_config(scene, "two", ("True", "Available", "")).map(drop)
}

/// A guest on the healthy host is Ready in its usual time, and the one that was there stays Synced.
fn check_other_host(scene: &Scene, other: &Host, usual: Duration) -> Result<()> {
    let begin = Instant::now();
    apply_on(scene, Some("two"), "Domain", "second", GUEST)?;
    scene.await_condition(("domain", "second"), "Ready", ("True", "Available", ""), PATIENCE)?;
    let took = begin.elapsed();
    // The machine is shared: what would be wrong is a wait for the other host, whose limits are seconds.
    assert!(took < usual + Duration::from_secs(2), "{took:?}, usually {usual:?}");
    assert_eq!(condition(&scene.get("domain", "first")?, "Synced")?, ("True", "ReconcileSuccess", ""));
    assert_eq!(other.virsh(&["list", "--name"])?.split_whitespace().count(), 2);
    Ok(())
}

/// A deletion during the outage waits with its finalizer, and says for what.
fn check_deletion_waits(scene: &Scene) -> Result<()> {
    scene.namespace.kubectl(&["delete", "domain", "leaving", "--wait=false"])?;
    sleep(Duration::from_secs(5));
    let object = scene.get("domain", "leaving")?;
    assert_eq!(object["metadata"]["finalizers"], json!(["finalizer.managedresource.crossplane.io"]));
    let (status, reason, message) = condition(&object, "Synced")?;
    assert_eq!((status, reason), ("False", "ReconcileError"));
    assert!(message.starts_with("connect failed: ClusterProviderConfig one: "), "{message}");
    Ok(())
}

/// The host is back: everything is in step again within seconds, and what was deleted meanwhile is gone.
fn check_recovery(scene: &Scene) -> Result<()> {
    eventually(SOON, || {
        ensure!(scene.namespace.get("domain", "leaving")?.is_none(), "the deleted guest is still there");
        Ok(())
    })
    .with_context(|| scene.log())?;
    scene.await_ready(SOON).with_context(|| scene.log())?;
    for object in ["domain/kept", "network/net"] {
        let (kind, name) = object.split_once('/').unwrap_or_default();
        assert_eq!(condition(&scene.get(kind, name)?, "UpToDate")?.0, "True", "{object}");
    }
    await_config(scene, "one", ("True", "Available", ""))?;
    assert_eq!(scene.on_host()?, ["domain kept", "network net"]);
    Ok(())
}

// ---- objects ----

fn apply_on(scene: &Scene, config: Option<&str>, kind: &str, name: &str, parameters: &str) -> Result<()> {
    let reference = config
        .map(|config| format!("providerConfigRef: {{kind: ClusterProviderConfig, name: {config}}}, "))
        .unwrap_or_default();
    let yaml = format!(
        "apiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n\
         spec: {{{reference}forProvider: {parameters}}}\n"
    );
    scene.namespace.apply(&yaml).map(drop)
}

fn config(scene: &Scene, name: &str) -> Result<Value> {
    scene.plane.client().get(&["clusterproviderconfig", name])?.with_context(|| format!("find config {name}"))
}

fn await_config(scene: &Scene, name: &str, wished: (&str, &str, &str)) -> Result<Value> {
    eventually(PATIENCE, || {
        let config = config(scene, name)?;
        let found = condition(&config, "Ready")?;
        ensure!(found == wished, "config {name}: {found:?}, wished {wished:?}");
        Ok(config)
    })
}

fn networks(host: &Host) -> Result<Vec<String>> {
    Ok(host.virsh(&["net-list", "--all", "--name"])?.split_whitespace().map(ToOwned::to_owned).collect())
}
