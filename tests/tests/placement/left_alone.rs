//! Hosts that are left alone: in maintenance, or read only. And two configs for one host.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, condition, eventually, manifest};

use super::*;

/// What libvirt calls that change something begin or end with.
const WRITING: [&str; 17] = [
    "Define",
    "Create",
    "Shutdown",
    "Destroy",
    "Suspend",
    "Resume",
    "Undefine",
    "SetAutostart",
    "AttachDevice",
    "DetachDevice",
    "SetMetadata",
    "Build",
    "Refresh",
    "Delete",
    "Resize",
    "Upload",
    "Update",
];

/// How often each call that changes something was made on the host of a config of this test.
fn writes(scenario: &Scenario<'_>, config: &str) -> Result<HashMap<String, f64>> {
    let whose = format!("{}/{config}", scenario.namespace().name());
    let mut samples = scenario.stage().metrics()?;
    samples.retain(|name, _| {
        name.starts_with("provider_libvirt_host_calls_total{")
            && name.contains(&whose)
            && WRITING.iter().any(|word| name.contains(word))
    });
    ensure!(!samples.is_empty(), "no call of {whose} is counted");
    Ok(samples)
}

fn held(scenario: &Scenario<'_>, why: &str) -> String {
    let namespace = scenario.namespace().name();
    format!("ProviderConfig {namespace}/{why}: nothing is made, changed or deleted on its host")
}

/// Waits until an object says that its host is left alone, and that it is as wished all the same.
fn await_held(scenario: &Scenario<'_>, object: &str, reason: &str, message: &str) -> Result<()> {
    let seen = scenario.await_condition(object, "UpToDate", ("True", reason, message))?;
    ensure!(ready(&seen)? == ("True", "Available", "") && condition(&seen, "Synced")? == OK, "{object}: {seen:#}");
    Ok(())
}

const GUEST: &str = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}, \
                     disks: [{name: root, volumeRef: {name: root}}]";

#[test]
fn while_a_host_is_in_maintenance_its_objects_tell_what_is_and_nothing_is_done_to_it() -> Result<()> {
    let (scenario, _) = scenario("left")?;
    let host = scenario.host();
    configure(&scenario, "one", host, &json!({}))?;
    scenario.apply(&(scenario.pool() + &scenario.volume("root", "capacity: 64Mi")))?;
    scenario.apply(&(manifest("Domain", "left", GUEST) + &manifest("Network", "left", "mode: Isolated")))?;
    let objects = ["pool/left", "volume/root", "domain/left", "network/left"];
    scenario.await_ready(&objects)?;

    set(&scenario, "providerconfig/one", &json!({"maintenance": true}))?;
    let message = held(&scenario, "one is in maintenance (spec.maintenance)");
    await_config(&scenario, "one", ("True", "Maintenance", &message))?;
    for object in objects {
        await_held(&scenario, object, "Maintenance", &message)?;
    }
    let before = (writes(&scenario, "one")?, own(host)?, scenario.inactive("/domain")?);
    disturb(&scenario, &message)?;
    let after = (writes(&scenario, "one")?, own(host)?, scenario.inactive("/domain")?);
    assert_eq!(after, before);
    assert_eq!(host.virsh(&["domstate", "left"])?.trim(), "shut off");

    // Once it is over, all of it is done.
    set(&scenario, "providerconfig/one", &json!({"maintenance": false}))?;
    await_config(&scenario, "one", ("True", "Available", ""))?;
    scenario.await_gone(&["network/left"])?;
    for object in ["volume/root", "domain/left", "domain/left-late"] {
        let seen = scenario.await_condition(object, "UpToDate", ("True", "ObserveMatched", ""))?;
        ensure!(ready(&seen)? == ("True", "Available", ""), "{seen:#}");
    }
    assert_eq!(host.virsh(&["domstate", "left"])?.trim(), "running");
    assert_eq!(host.virsh(&["vol-info", "root", "left", "--bytes"])?.split_whitespace().nth(5), Some("68157440"));
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

/// A domain that is off, on a config.
fn off(name: &str, config: &str) -> String {
    object("Domain", name, OFF, ("", config))
}

#[test]
fn a_host_in_maintenance_is_left_alone_by_all_configs_that_lead_there_unless_it_is_one_namespace_that_says_so()
-> Result<()> {
    let stage = Stage::start_unconfigured("twins", &["--poll=1s"])?;
    let scenario = stage.scenario("twins")?;
    let shared = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig",
        "metadata": {"name": "shared"}, "spec": {"uri": scenario.host().uri()},
    });
    stage.plane().apply(&shared.to_string())?;
    configure(&scenario, "own", scenario.host(), &json!({}))?;
    let on_shared = "providerConfigRef: {kind: ClusterProviderConfig, name: shared}, ";
    scenario.apply(&(off("own", &on("own")) + &off("shared", on_shared)))?;
    scenario.await_ready(&["domain/own", "domain/shared"])?;
    await_config(&scenario, "own", ("True", "Available", ""))?;

    set(&scenario, "clusterproviderconfig/shared", &json!({"maintenance": true}))?;
    let twin = |config: &str| {
        format!(
            "ProviderConfig {}/{config} leads to the same host as ClusterProviderConfig shared, which is in maintenance (spec.maintenance): nothing is made, changed or deleted there",
            scenario.namespace().name()
        )
    };
    await_config(&scenario, "own", ("True", "Maintenance", &twin("own")))?;
    await_held(&scenario, "domain/own", "Maintenance", &twin("own"))?;
    // Nor is anything made by a config of which it is not known yet where it leads.
    configure(&scenario, "late", scenario.host(), &json!({}))?;
    scenario.apply(&(off("own-late", &on("own")) + &off("late", &on("late"))))?;
    for (object, config) in [("domain/own-late", "own"), ("domain/late", "late")] {
        scenario.await_condition(object, "Ready", ("False", "Maintenance", &twin(config)))?;
    }
    scenario.delete(&["domain/own"])?;
    scenario.await_condition("domain/own", "Ready", ("False", "Maintenance", &twin("own")))?;
    await_passes(&scenario, "domain", 5.0)?;
    assert_eq!(scenario.host().everything()?, ["domain own", "domain shared"]);

    set(&scenario, "clusterproviderconfig/shared", &json!({"maintenance": false}))?;
    scenario.await_gone(&["domain/own"])?;
    scenario.await_ready(&["domain/own-late", "domain/late"])?;
    await_config(&scenario, "own", ("True", "Available", ""))?;

    // A tenant's own maintenance holds up nobody else.
    set(&scenario, "providerconfig/own", &json!({"maintenance": true}))?;
    let message = held(&scenario, "own is in maintenance (spec.maintenance)");
    await_config(&scenario, "own", ("True", "Maintenance", &message))?;
    scenario.apply(&(off("shared-after", on_shared) + &off("late-after", &on("late"))))?;
    scenario.await_ready(&["domain/shared-after", "domain/late-after"])?;
    set(&scenario, "providerconfig/own", &json!({"maintenance": false}))?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

/// What the host has of this test: others use it at the same time.
fn own(host: &Host) -> Result<Vec<String>> {
    let mut all = host.everything()?;
    all.retain(|thing| thing.contains("left"));
    Ok(all)
}

/// Changes, additions and deletions on both sides, each of which is told and none of which is acted on.
fn disturb(scenario: &Scenario<'_>, message: &str) -> Result<()> {
    // What is otherwise than wished is told, and stays.
    scenario.host().virsh(&["destroy", "left"])?;
    scenario.change("domain", "left", &json!({"memory": "96Mi"}))?;
    scenario.change("volume", "root", &json!({"capacity": "65Mi"}))?;
    for (object, part) in [("domain/left", "memory: "), ("volume/root", "capacity: ")] {
        let (kind, name) = object.split_once('/').context("read kind/name")?;
        scenario.await_object(kind, name, |object| {
            let (status, reason, told) = condition(object, "UpToDate")?;
            ensure!((status, reason) == ("False", "Maintenance"), "{status} {reason}");
            ensure!(told.starts_with(message) && told.contains(part), "{told}");
            ensure!(condition(object, "Synced")? == OK, "{object:#}");
            Ok(())
        })?;
    }
    scenario.await_object("domain", "left", |object| {
        let state = object["status"]["atProvider"]["state"].as_str().unwrap_or_default();
        ensure!(state.starts_with("Shutoff"), "{state}");
        ensure!(ready(object)?.0 == "False", "Ready though it is off");
        Ok(())
    })?;
    // What is new is not made; what is deleted waits.
    scenario.apply(&manifest("Domain", "left-late", OFF))?;
    scenario.await_condition("domain/left-late", "Ready", ("False", "Maintenance", message))?;
    let failed = format!("create failed: {message}");
    let late = scenario.await_condition("domain/left-late", "Synced", ("False", "ReconcileError", &failed))?;
    assert_eq!(late["metadata"]["finalizers"], Value::Null);
    scenario.delete(&["network/left"])?;
    scenario.await_condition("network/left", "Ready", ("False", "Maintenance", message))?;
    await_passes(scenario, "domain", 5.0)?;
    let network = scenario.object("network", "left")?;
    assert_eq!(network["metadata"]["finalizers"], json!(["finalizer.managedresource.crossplane.io"]));
    Ok(())
}

/// Where the daemon tells of itself.
pub(super) fn admin(host: &Host) -> String {
    format!("libvirtd:///system?socket={}", host.path("run/libvirt-admin-sock").display())
}

/// Whether each client that the daemon has may only read.
pub(super) fn clients(host: &Host) -> Result<Vec<bool>> {
    let admin = admin(host);
    let list = host.run("virt-admin", &["-q", "-c", &admin, "client-list", "libvirtd"])?;
    let ids = list.lines().filter_map(|line| line.split_whitespace().next());
    let reads = |id: &str| -> Result<bool> {
        let info = host.run("virt-admin", &["-q", "-c", &admin, "client-info", "libvirtd", id])?;
        let said = info.lines().find_map(|line| line.strip_prefix("readonly")).context("read client-info")?;
        Ok(said.trim_start_matches([' ', ':']).trim() == "yes")
    };
    // One may go in between.
    Ok(ids.filter_map(|id| reads(id).ok()).collect())
}

#[test]
fn over_a_read_only_connection_what_is_there_is_told_and_nothing_else_is_even_asked_for() -> Result<()> {
    let (scenario, _) = scenario("reads")?;
    let host = Host::start("reads")?;
    configure(&scenario, "one", &host, &json!({"readOnly": true}))?;
    let message = held(&scenario, "one only reads (spec.readOnly)");
    await_config(&scenario, "one", ("True", "ReadOnly", &message))?;
    eventually(PATIENCE, || {
        let clients = clients(&host)?;
        ensure!(clients == [true, true], "who reads only: {clients:?}");
        Ok(())
    })?;

    // Others' things are looked at.
    host.their_pool("theirs")?;
    host.virsh(&["vol-create-as", "theirs", "disk", "1M"])?;
    define(&host, "reads")?;
    host.virsh(&["start", "reads"])?;
    let looks = "managementPolicies: [Observe], ";
    let volume = object("Volume", "disk", "pool: theirs", ("", looks));
    let named = ", annotations: {crossplane.io/external-name: theirs}";
    scenario
        .apply(&(object("Domain", "reads", "", ("", looks)) + &object("Pool", "pool", "", (named, looks)) + &volume))?;
    scenario.await_ready(&["domain/reads", "pool/pool", "volume/disk"])?;
    assert_eq!(scenario.observed("domain", "reads")?["memory"], "32Mi");
    host.virsh(&["destroy", "reads"])?;
    scenario.await_object("domain", "reads", |object| {
        let state = object["status"]["atProvider"]["state"].as_str().unwrap_or_default();
        ensure!(state.starts_with("Shutoff"), "{state}");
        Ok(())
    })?;
    // What would be made is refused with a sentence, and goes at once.
    scenario.apply(&(manifest("Domain", "reads-new", OFF) + &manifest("Network", "reads-new", "mode: Isolated")))?;
    let failed = format!("create failed: {message}");
    for object in ["domain/reads-new", "network/reads-new"] {
        scenario.await_condition(object, "Synced", ("False", "ReconcileError", &failed))?;
        scenario.await_condition(object, "Ready", ("False", "ReadOnly", &message))?;
    }
    await_passes(&scenario, "domain", 3.0)?;
    assert_eq!(host.everything()?, ["domain reads", "pool theirs", "volume theirs/disk"]);
    let made: Vec<_> =
        writes(&scenario, "one").unwrap_or_default().into_iter().filter(|(_, count)| *count > 0.5).collect();
    assert!(made.is_empty(), "calls that change something: {made:?}");
    scenario.delete(&["domain/reads-new", "network/reads-new"])?;
    scenario.await_gone(&["domain/reads-new", "network/reads-new"])?;

    check_changing(&scenario, &host, &message)
}

/// The same config may write later, and read again.
fn check_changing(scenario: &Scenario<'_>, host: &Host, message: &str) -> Result<()> {
    set(scenario, "providerconfig/one", &json!({"readOnly": false}))?;
    await_config(scenario, "one", ("True", "Available", ""))?;
    let made = format!("{GUEST_ALONE}, networkInterfaces: [{{name: a, networkRef: {{name: made}}}}]");
    scenario.apply(&(manifest("Network", "made", "mode: Isolated") + &manifest("Domain", "made", &made)))?;
    scenario.await_ready(&["network/made", "domain/made"])?;
    set(scenario, "providerconfig/one", &json!({"readOnly": true}))?;
    for object in ["network/made", "domain/made"] {
        await_held(scenario, object, "ReadOnly", message)?;
    }
    scenario.delete(&["network/made", "domain/made"])?;
    scenario.await_condition("domain/made", "Ready", ("False", "ReadOnly", message))?;
    assert_eq!(host.virsh(&["domstate", "made"])?.trim(), "running");
    set(scenario, "providerconfig/one", &json!({"readOnly": false}))?;
    scenario.await_gone(&["network/made", "domain/made"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

const GUEST_ALONE: &str = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
