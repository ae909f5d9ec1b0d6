//! One disk, one guest, and one file, one owner: by whatever config, name or path the same data is said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{os::unix::fs::symlink, path::Path, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Scenario, SharedStage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("disk", &["--poll=2s"]);

/// A guest without an operating system that is off, with this disk more than its name.
fn guest(name: &str, disk: &str) -> String {
    let parameters = format!("type: Qemu, memory: 32Mi, runStrategy: Halted, disks: [{{name: root, {disk}}}]");
    manifest("Domain", name, &parameters)
}

/// An object on the second config of the host.
fn on_second(kind: &str, name: &str, policies: &Value, parameters: &Value) -> String {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "annotations": {"crossplane.io/external-name": name}},
        "spec": {
            "providerConfigRef": {"kind": "ClusterProviderConfig", "name": "second"},
            "managementPolicies": policies, "forProvider": parameters,
        },
    })
    .to_string()
}

/// Waits until a guest is not made, with these words about its disk.
fn await_refused(scenario: &Scenario<'_>, name: &str, words: &str) -> Result<()> {
    scenario.await_object("domain", name, |domain| {
        let (synced, _, message) = condition(domain, "Synced")?;
        ensure!(synced == "False" && message.contains(words), "{message}");
        Ok(())
    })
}

fn await_synced(scenario: &Scenario<'_>, name: &str) -> Result<()> {
    scenario.await_object("domain", name, |domain| {
        ensure!(condition(domain, "Synced")?.0 == "True", "{}", domain["status"]);
        Ok(())
    })
}

/// Waits until a guest is told that its disk is to be another.
fn await_changed(scenario: &Scenario<'_>, name: &str) -> Result<()> {
    scenario.await_object("domain", name, |domain| {
        let (status, reason, _) = condition(domain, "UpToDate")?;
        ensure!((status, reason) == ("False", "DiskSourceChanged"), "{status} {reason}");
        Ok(())
    })
}

/// Which domains of the host there are.
fn defined(scenario: &Scenario<'_>) -> Result<Vec<String>> {
    let list = scenario.host().virsh(&["list", "--all", "--name"])?;
    let mut names: Vec<String> = list.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

#[test]
fn a_disk_is_one_guests_by_reference_by_name_and_through_another_config_of_the_host() -> Result<()> {
    let (first, second) = (STAGE.scenario("one")?, STAGE.scenario("two")?);
    first.stage().configure("second", &first.host().uri(), "")?;
    first.apply(&(first.pool() + &first.volume("root", "capacity: 1Mi, format: Raw")))?;
    first.apply(&guest("one-first", "volumeRef: {name: root}"))?;
    await_synced(&first, "one-first")?;

    let (plain, all) = (json!({"pool": "one", "name": "root", "format": "Raw"}), json!(["*"]));
    let disks = |disk: Value| json!({"type": "Qemu", "memory": "32Mi", "runStrategy": "Halted", "disks": [disk]});
    first.apply(&guest("one-plain", "volume: {pool: one, name: root, format: Raw}"))?;
    second.apply(&on_second("Volume", "root", &json!(["Observe"]), &json!({"pool": "one", "format": "Raw"})))?;
    second.apply(&on_second("Domain", "two-ref", &all, &disks(json!({"name": "r", "volumeRef": {"name": "root"}}))))?;
    second.apply(&on_second("Domain", "two-plain", &all, &disks(json!({"name": "r", "volume": plain}))))?;
    let owner = format!("is a disk of Domain {}/one-first: two guests", first.namespace().name());
    await_refused(&first, "one-plain", &format!("volume root in pool one {owner}"))?;
    // What others call theirs is not told across namespaces.
    let foreign = "is a disk of a Domain of another namespace: two guests";
    await_refused(&second, "two-ref", &format!("Volume root {foreign}"))?;
    await_refused(&second, "two-plain", &format!("volume root in pool one {foreign}"))?;
    let root = format!("{}/root'", first.folder());
    let has_root =
        |name: &String| first.host().virsh(&["dumpxml", "--inactive", name]).unwrap_or_default().contains(&root);
    assert_eq!(defined(&first)?.into_iter().filter(has_root).collect::<Vec<_>>(), ["one-first"]);

    // It is the next one's when the first is gone, and again of one only.
    first.delete(&["domain/one-first"])?;
    first.await_gone(&["domain/one-first"])?;
    tests::eventually(tests::PATIENCE, || {
        let having: Vec<String> = defined(&first)?.into_iter().filter(has_root).collect();
        ensure!(having.len() == 1, "{having:?}");
        Ok(())
    })?;
    sleep(Duration::from_secs(5));
    assert_eq!(defined(&first)?.into_iter().filter(has_root).count(), 1);
    second.delete_all()?;
    second.await_all_gone(tests::PATIENCE)?;
    first.delete_all()?;
    first.await_all_gone(tests::PATIENCE)
}

#[test]
fn a_disk_of_a_guest_that_no_object_manages_is_given_to_nobody() -> Result<()> {
    let scenario = STAGE.scenario("theirs")?;
    let volumes = scenario.volume("root", "capacity: 1Mi, format: Raw") + &scenario.volume("own", "capacity: 1Mi");
    scenario.apply(&(scenario.pool() + &volumes))?;
    scenario.await_ready(&["volume/root", "volume/own"])?;
    let path = format!("{}/root", scenario.folder());
    let theirs = format!(
        "<domain type='qemu'><name>theirs-guest</name><memory unit='MiB'>32</memory><os><type>hvm</type></os><devices>\
         <disk type='file' device='disk'><source file='{path}'/><target dev='vda' bus='virtio'/></disk></devices></domain>"
    );
    scenario.host().virsh_xml("define", &theirs)?;
    let words = format!("disk root is {path}, which domain theirs-guest of the host has, which no object manages");
    scenario.apply(&guest("theirs", "volumeRef: {name: root}"))?;
    await_refused(&scenario, "theirs", &words)?;
    assert!(!defined(&scenario)?.contains(&"theirs".to_owned()));
    // Nor does one get it later.
    scenario.apply(&guest("theirs-later", "volumeRef: {name: own}"))?;
    await_synced(&scenario, "theirs-later")?;
    let both = "volumeRef: {name: own}}, {name: more, volumeRef: {name: root}";
    scenario.apply(&guest("theirs-later", both))?;
    await_refused(&scenario, "theirs-later", &words.replace("disk root", "disk more"))?;
    assert!(!scenario.host().virsh(&["dumpxml", "--inactive", "theirs-later"])?.contains(&path));

    scenario.apply(&guest("theirs-later", "volumeRef: {name: own}"))?;
    await_synced(&scenario, "theirs-later")?;
    scenario.host().virsh(&["undefine", "theirs-guest"])?;
    await_synced(&scenario, "theirs")?;
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)
}

#[test]
fn a_guest_that_is_made_again_has_the_disk_that_it_had() -> Result<()> {
    let scenario = STAGE.scenario("again")?;
    scenario
        .apply(&(scenario.pool() + &scenario.volume("a", "capacity: 1Mi") + &scenario.volume("b", "capacity: 1Mi")))?;
    scenario.await_ready(&["volume/a", "volume/b"])?;
    let label = |volume: &str, label: &str| scenario.namespace().kubectl(&["label", "volume", volume, label]);
    label("a", "app=web")?;
    let always = "volumeSelector: {matchLabels: {app: web}, policy: {resolve: Always}}";
    scenario.apply(&guest("again", always))?;
    await_synced(&scenario, "again")?;
    let disk = || scenario.host().virsh(&["dumpxml", "--inactive", "again", "--xpath", "//disk/source"]);
    let before = disk()?;
    assert!(before.contains("/again/a\""), "{before}");
    label("b", "app=web")?;
    label("a", "app-")?;
    await_changed(&scenario, "again")?;
    scenario.host().virsh(&["undefine", "again"])?;
    tests::eventually(tests::PATIENCE, || {
        ensure!(disk().context("it is not there")? == before);
        Ok(())
    })?;
    await_changed(&scenario, "again")?;
    sleep(Duration::from_secs(5));
    assert_eq!(disk()?, before);
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)
}

/// A second pool on the scenario's folder, by a link to the folder above it.
fn linked_pool(scenario: &Scenario<'_>, name: &str) -> Result<()> {
    let folder = scenario.folder();
    let folder = Path::new(&folder);
    let link = scenario.host().path(&format!("{name}-link"));
    symlink(folder.parent().context("find the folder above")?, &link)?;
    let path = link.join(folder.file_name().context("find the folder's name")?);
    scenario.host().virsh(&["pool-define-as", name, "dir", "--target", &path.display().to_string()])?;
    scenario.host().virsh(&["pool-start", name])?;
    Ok(())
}

#[test]
fn a_file_that_another_pool_shows_by_another_path_is_neither_taken_over_nor_deleted_in_use() -> Result<()> {
    let (owner, other) = (STAGE.scenario("owner")?, STAGE.scenario("link")?);
    owner.apply(
        &(owner.pool() + &owner.volume("data", "capacity: 1Mi, format: Raw") + &owner.volume("busy", "capacity: 1Mi")),
    )?;
    owner.await_ready(&["volume/data", "volume/busy"])?;
    linked_pool(&owner, "link-pool")?;
    let adopt = json!({"spec": {"policy": {"adopt": ["volume/*"]}}}).to_string();
    owner.stage().plane().kubectl(&["patch", "clusterproviderconfig", "default", "--type=merge", "-p", &adopt])?;
    let asking = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
        "metadata": {"name": "data", "annotations": {"libvirt.nourspeed.io/adopt": "true"}},
        "spec": {"forProvider": {"pool": "link-pool", "capacity": "1Mi", "format": "Raw"}},
    });
    other.apply(&asking.to_string())?;
    let message = format!(
        "volume \"data\" is in pool \"link-pool\" already and is not ours: it belongs to Volume {}/data. It is left alone; \
         choose another name with the annotation crossplane.io/external-name, or delete that object",
        owner.namespace().name()
    );
    other.await_condition("volume/data", "Ready", ("False", "ForeignObject", &message))?;

    // A guest that no object manages has the other one by its second path.
    let path = owner.host().virsh(&["vol-path", "busy", "link-pool"])?;
    assert!(!path.starts_with(&owner.folder()), "{path}");
    let theirs = format!(
        "<domain type='qemu'><name>link-guest</name><memory unit='MiB'>32</memory><os><type>hvm</type></os><devices>\
         <disk type='file' device='disk'><source file='{}'/><target dev='vda' bus='virtio'/></disk></devices></domain>",
        path.trim()
    );
    owner.host().virsh_xml("define", &theirs)?;
    owner.delete(&["volume/busy"])?;
    let in_use = "the volume is used by domain link-guest on the host; it is deleted when nobody uses it";
    owner.await_condition("volume/busy", "Ready", ("False", "InUse", in_use))?;
    sleep(Duration::from_secs(5));
    assert_eq!(owner.host().volumes("owner")?, ["busy", "data"]);

    owner.host().virsh(&["undefine", "link-guest"])?;
    owner.await_gone(&["volume/busy"])?;
    other.delete_all()?;
    other.await_all_gone(tests::PATIENCE)?;
    assert_eq!(owner.host().volumes("owner")?, ["data"]);
    owner.host().virsh(&["pool-destroy", "link-pool"])?;
    owner.host().virsh(&["pool-undefine", "link-pool"])?;
    owner.delete_all()?;
    owner.await_all_gone(tests::PATIENCE)
}
