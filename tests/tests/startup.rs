//! What is looked at from the start on, and told without stopping anybody: CRDs, hosts that are away, what hosts lack and how they differ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, Provider, Scenario, Scratch, Stage, condition, eventually, http_get, manifest, workspace};

const QUICK: &str = "connectTimeout: 2s, callTimeout: 5s, keepaliveInterval: 1s, keepaliveCount: 3";
const NOWHERE: &str = "qemu+unix:///system?socket=/nowhere/sock";
const SILENT: &str = "the host of ClusterProviderConfig down has not answered yet";

fn config(stage: &Stage, name: &str) -> Result<Value> {
    stage.plane().client().get(&["clusterproviderconfig", name])?.with_context(|| format!("there is no config {name}"))
}

fn await_status(stage: &Stage, name: &str, look: impl Fn(&Value) -> Result<()>) -> Result<()> {
    eventually(PATIENCE, || look(&config(stage, name)?["status"]))
}

/// Waits until the provider's health says this.
fn await_health(provider: &Provider, path: &str, look: impl Fn(u16, &str) -> bool) -> Result<()> {
    eventually(PATIENCE, || {
        let (code, body) = http_get(provider.health_port(), path)?;
        ensure!(look(code, &body), "{path} answers {code}: {body}");
        Ok(())
    })
    .with_context(|| provider.log())
}

/// Another provider in place of the one that runs.
fn restart(stage: &Stage, args: &[&str]) -> Result<Provider> {
    if let Ok(before) = stage.end_provider() {
        before.term()?;
    }
    Provider::start(&stage.plane().kubeconfig(), args)
}

fn pool(scenario: &Scenario<'_>, name: &str) -> Result<()> {
    let path = scenario.host().path(name).display().to_string();
    scenario.apply(&manifest("Pool", name, &format!("target: {{path: {path}}}")))?;
    scenario.await_condition(&format!("pool/{name}"), "Ready", ("True", "Available", "")).map(drop)
}

#[test]
fn row_11_a_host_that_is_down_at_the_start_holds_up_nothing_and_with_strict_only_that_the_provider_is_ready()
-> Result<()> {
    let stage = Stage::start("eleven", &["--poll=2s"])?;
    let scenario = stage.scenario("eleven")?;
    stage.configure("down", NOWHERE, QUICK)?;
    let mut provider = restart(&stage, &["--poll=2s"])?;
    provider.await_ready()?;
    pool(&scenario, "first")?;
    let line = format!("[!]host/ClusterProviderConfig down warning: {SILENT}\n");
    await_health(&provider, "/readyz?verbose", |code, body| code == 200 && body.contains(&line))?;
    assert_eq!(provider.term()?.code(), Some(0));

    let mut provider = Provider::start(&stage.plane().kubeconfig(), &["--poll=2s", "--startup-checks=strict"])?;
    await_health(&provider, "/readyz", |code, body| (code, body) == (503, SILENT))?;
    pool(&scenario, "second")?;
    let line = format!("[-]host/ClusterProviderConfig down failed: {SILENT}\n");
    await_health(&provider, "/readyz?verbose", |code, body| code == 503 && body.contains(&line))?;
    assert_eq!(http_get(provider.health_port(), "/healthz")?.0, 200);

    stage.configure("down", &stage.host().uri(), QUICK)?;
    provider.await_ready()?;
    // What was in order once is no matter of the start any more.
    stage.configure("down", NOWHERE, QUICK)?;
    await_status(&stage, "down", |status| {
        ensure!(status["conditions"][0]["reason"] == "SocketMissing", "{status}");
        Ok(())
    })?;
    assert_eq!(http_get(provider.health_port(), "/readyz")?, (200, "ok".to_owned()));
    Ok(())
}

/// A CRD of the package without a field of forProvider, and without the rules, which would speak of it.
fn without(stage: &Stage, crd: &str, field: &str) -> Result<Value> {
    fn clear(schema: &mut Value) {
        match schema {
            Value::Object(all) => {
                all.remove("x-kubernetes-validations");
                all.values_mut().for_each(clear);
            }
            Value::Array(all) => all.iter_mut().for_each(clear),
            _ => {}
        }
    }
    let mut definition = stage.plane().client().get(&["crd", crd])?.context("there is no such CRD")?;
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    clear(schema);
    let fields =
        schema.pointer_mut("/properties/spec/properties/forProvider/properties").context("find forProvider")?;
    fields.as_object_mut().context("read forProvider")?.remove(field).context("there is no such field")?;
    Ok(definition)
}

fn replace(stage: &Stage, definition: &Value) -> Result<()> {
    let folder = Scratch::new("crd")?;
    let path = folder.path().join("crd.json");
    std::fs::write(&path, definition.to_string())?;
    let path = path.display().to_string();
    stage.plane().kubectl(&["replace", "-f", &path]).map(drop)
}

#[test]
fn row_12_a_crd_that_lacks_a_field_is_named_with_its_path_and_one_that_is_missing_until_it_comes() -> Result<()> {
    const DOMAINS: &str = "domains.libvirt.m.nourspeed.io";
    const CONFIGS: &str = "providerconfigs.libvirt.m.nourspeed.io";
    let stage = Stage::start("twelve", &["--poll=2s"])?;
    let scenario = stage.scenario("twelve")?;
    let whole = stage.plane().client().get(&["crd", DOMAINS])?.context("there is no CRD of Domains")?;
    replace(&stage, &without(&stage, DOMAINS, "memory")?)?;

    let mut provider = restart(&stage, &["--poll=2s"])?;
    provider.await_ready()?;
    let sentence = format!(
        "CRD {DOMAINS} is older than this provider: what is written in these fields is dropped: spec.forProvider.memory; \
         apply the CRDs of its package"
    );
    let line = format!("[!]crd/{DOMAINS} warning: {sentence}\n");
    await_health(&provider, "/readyz?verbose", |code, body| code == 200 && body.contains(&line))?;
    assert_eq!(provider.log().matches(&sentence).count(), 1, "{}", provider.log());
    pool(&scenario, "older")?;
    assert_eq!(provider.term()?.code(), Some(0));

    let mut provider = Provider::start(&stage.plane().kubeconfig(), &["--poll=2s", "--startup-checks=strict"])?;
    await_health(&provider, "/readyz", |code, body| (code, body) == (503, &sentence))?;
    let mut mended = whole.clone();
    mended["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    replace(&stage, &mended)?;
    provider.await_ready()?;
    await_health(&provider, "/readyz?verbose", |code, body| code == 200 && body.contains("[+]crds ok\n"))?;

    stage.plane().kubectl(&["delete", "crd", CONFIGS])?;
    let sentence = format!("there is no CRD {CONFIGS}");
    await_health(&provider, "/readyz", |code, body| (code, body) == (503, &sentence))?;
    pool(&scenario, "missing")?;
    let definition = workspace().join("package/crds/libvirt.m.nourspeed.io_providerconfigs.yaml");
    stage.plane().kubectl(&["apply", "--server-side", "-f", &definition.display().to_string()])?;
    provider.await_ready()?;
    assert_eq!(provider.log().matches(&sentence).count(), 1, "{}", provider.log());
    Ok(())
}

/// What a condition of a config says differs: the keys, and all of it.
fn differing(status: &Value) -> Result<(Vec<String>, String)> {
    let (status, reason, message) = condition(&json!({"status": status}), "HostsDiffer")
        .map(|(status, reason, message)| (status.to_owned(), reason.to_owned(), message.to_owned()))?;
    ensure!((status.as_str(), reason.as_str()) == ("True", "VersionSkew"), "{status} {reason}");
    let said = message.strip_prefix("unlike ClusterProviderConfig alike: ").context(message.clone())?;
    let keys = said.split("; ").map(|part| part.split(' ').next().unwrap_or_default().to_owned());
    Ok((keys.collect(), said.to_owned()))
}

#[test]
fn row_13_of_hosts_that_differ_exactly_the_differing_keys_are_named_until_they_are_alike() -> Result<()> {
    const EMULATOR: &str = "/usr/bin/qemu-system-x86_64";
    let stage = Stage::start_unconfigured("thirteen", &["--poll=2s"])?;
    let twin = Host::start("thirteen-twin")?;
    stage.configure("alike", &stage.host().uri(), QUICK)?;
    stage.configure("other", &twin.uri(), QUICK)?;
    let is_alike = |status: &Value| {
        ensure!(status["host"]["hostname"].is_string(), "not seen yet: {status}");
        ensure!(differing(status).is_err(), "{status}");
        Ok(())
    };
    await_status(&stage, "alike", is_alike)?;
    await_status(&stage, "other", is_alike)?;

    twin.run("mount", &["--bind", "/dev/null", EMULATOR])?;
    twin.restart_daemon()?;
    let version = config(&stage, "alike")?["status"]["host"]["hypervisorVersion"].as_str().unwrap().to_owned();
    await_status(&stage, "other", |status| {
        let (keys, said) = differing(status)?;
        ensure!(keys == ["hypervisor", "domainTypes", "machineTypes"], "{said}");
        ensure!(said.starts_with(&format!("hypervisor is none instead of {version}; domainTypes lack ")), "{said}");
        ensure!(condition(&json!({"status": status}), "Ready")?.0 == "True", "{status}");
        Ok(())
    })?;
    is_alike(&config(&stage, "alike")?["status"])?;
    assert!(stage.log().contains("hosts differ"), "{}", stage.log());

    twin.run("umount", &[EMULATOR])?;
    twin.restart_daemon()?;
    await_status(&stage, "other", is_alike)
}

#[test]
fn row_14_what_a_host_lacks_is_named_and_the_rest_of_it_works() -> Result<()> {
    let stage = Stage::start("fourteen", &["--poll=2s"])?;
    let scenario = stage.scenario("fourteen")?;
    let bare = Host::start("fourteen-bare")?;
    let script = "cd /usr/lib/*/libvirt/connection-driver && cp -a . \"$0\" && \
                  rm \"$0\"/libvirt_driver_{secret,nodedev,storage,network}.so && mount --bind \"$0\" \"$PWD\"";
    let copy = bare.path("drivers");
    std::fs::create_dir(&copy)?;
    bare.run("bash", &["-euc", script, &copy.display().to_string()])?;
    bare.restart_daemon()?;
    stage.configure("bare", &bare.uri(), QUICK)?;
    stage.configure("test", "test:///default", QUICK)?;

    // Whether a machine has /dev/kvm is its own matter.
    let has_kvm = bare.virsh(&["capabilities"])?.contains("<domain type='kvm'");
    let kvm = |lacks: &[&str]| -> Value {
        lacks.iter().copied().filter(|one| *one != "Kvm" || !has_kvm).collect::<Vec<_>>().into()
    };
    let cases = [
        ("default", kvm(&["Kvm"])),
        ("bare", kvm(&["Kvm", "Networks", "Storage", "Secrets", "NodeDevices"])),
        ("test", json!(["Qemu", "Kvm", "Secrets"])),
    ];
    for (name, lacks) in cases {
        await_status(&stage, name, |status| {
            ensure!(status["host"]["hostname"].is_string(), "not seen yet: {status}");
            assert_eq!(status["host"]["lacks"], lacks, "{name}");
            ensure!(condition(&json!({"status": status}), "Ready")?.0 == "True", "{status}");
            Ok(())
        })?;
    }
    let guest = manifest("Domain", "guest", "type: Qemu, memory: 32Mi, runStrategy: Halted");
    let reference = "spec: {providerConfigRef: {kind: ClusterProviderConfig, name: bare}, ";
    scenario.apply(&guest.replace("spec: {", reference))?;
    scenario.await_condition("domain/guest", "Ready", ("True", "Available", ""))?;
    assert_eq!(bare.virsh(&["list", "--all", "--name"])?.trim(), "guest");
    Ok(())
}
