//! Taking over costs nobody data: what is not surely meant is refused, with the cure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{os::unix::fs::symlink, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Host, Scenario, SharedStage, condition};

/// The annotation with the signed record of what was taken over.
const OWNERSHIP: &str = "libvirt.nourspeed.io/ownership";

static STAGE: SharedStage = SharedStage::new("tkrf", &["--poll=2s"]);

/// A scenario on a host whose config lets things be taken over that are called `taken…`.
fn scenario(name: &'static str) -> Result<Scenario<'static>> {
    let scenario = STAGE.scenario(name)?;
    let adopt = ["domain", "pool", "network", "cloudinit"].map(|kind| format!("{kind}/taken*"));
    let policy = json!({"spec": {"policy": {"adopt": adopt}}}).to_string();
    scenario.stage().plane().kubectl(&["patch", "clusterproviderconfig", "default", "--type=merge", "-p", &policy])?;
    Ok(scenario)
}

fn asking(kind: &str, name: &str, parameters: &Value) -> String {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "annotations": {"libvirt.nourspeed.io/adopt": "true"}},
        "spec": {"forProvider": parameters},
    })
    .to_string()
}

/// Something that is left alone is looked at a few times first.
fn wait_for_polls() {
    sleep(Duration::from_secs(5));
}

/// Waits until an object is refused for this reason, with these words in its message.
fn await_refused(scenario: &Scenario<'_>, object: &str, reason: &str, words: &str) -> Result<()> {
    let (kind, name) = object.split_once('/').unwrap();
    scenario.await_object(kind, name, |object| {
        let (_, why, message) = condition(object, "Ready")?;
        ensure!(why == reason && message.contains(words), "{why}: {message}");
        Ok(())
    })
}

// ---- another host ----

#[test]
fn what_was_taken_over_is_not_made_a_second_time_on_another_host() -> Result<()> {
    let scenario = scenario("taken-move")?;
    let (host, other) = (scenario.host(), Host::start("taken-other")?);
    let stage = scenario.stage();
    stage.configure("taken-moving", &host.uri(), "")?;
    let lead = |to: &Host| {
        let adopt = ["domain/taken*", "network/taken*", "pool/taken*"];
        let spec = json!({"spec": {"uri": to.uri(), "acceptHost": to.uuid(), "policy": {"adopt": adopt}}}).to_string();
        stage.plane().kubectl(&["patch", "clusterproviderconfig", "taken-moving", "--type=merge", "-p", &spec])
    };
    lead(host)?;
    host.virsh_xml(
        "define",
        "<domain type='qemu'><name>taken-move</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
    )?;
    host.virsh(&["start", "taken-move"])?;
    host.virsh_xml("net-define", "<network><name>taken-move</name><bridge name='virbr-tkmove'/></network>")?;
    let folder = scenario.host().their_pool("taken-move")?;
    let guest = json!({"type": "Qemu", "memory": "32Mi", "shutdown": {"timeout": "1s", "forceAfterTimeout": true}});
    let pool = json!({"target": {"path": folder}});
    for (kind, parameters) in [("Domain", &guest), ("Network", &json!({"mode": "Isolated"})), ("Pool", &pool)] {
        let mut object: Value = serde_json::from_str(&asking(kind, "taken-move", parameters))?;
        object["spec"]["providerConfigRef"] = json!({"kind": "ClusterProviderConfig", "name": "taken-moving"});
        scenario.apply(&object.to_string())?;
    }
    let objects = ["domain/taken-move", "network/taken-move", "pool/taken-move"];
    scenario.await_ready(&objects)?;
    let nothing_there = || -> Result<()> {
        for list in ["list", "net-list", "pool-list"] {
            let there = other.virsh(&[list, "--all", "--name"])?;
            ensure!(!there.contains("taken-move"), "{list}: {there}");
        }
        Ok(())
    };
    lead(&other)?;
    await_refused(&scenario, objects[0], "Moved", "Point a new Domain at that host")?;
    for (object, kind) in [(objects[1], "network"), (objects[2], "pool")] {
        let uuid = host.virsh(&[if kind == "pool" { "pool-uuid" } else { "net-uuid" }, "taken-move"])?;
        let words = format!("the {kind} with UUID {} was taken over on the host with UUID", uuid.trim());
        await_refused(&scenario, object, "HostMismatch", &words)?;
    }
    wait_for_polls();
    nothing_there()?;

    lead(host)?;
    scenario.await_ready(&objects)?;
    nothing_there()?;
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)
}

// ---- a record of earlier ----

#[test]
fn a_record_that_is_put_back_gives_nothing_back_that_another_object_took_over_since() -> Result<()> {
    let (first, second) = (scenario("taken-back")?, scenario("taken-since")?);
    let host = first.host();
    let folder = host.their_pool("taken-back")?;
    host.virsh_xml("net-define", "<network><name>taken-back</name><bridge name='virbr-tkback'/></network>")?;
    let objects = [
        ("network", asking("Network", "taken-back", &json!({"mode": "Isolated"}))),
        ("pool", asking("Pool", "taken-back", &json!({"target": {"path": folder}}))),
    ];
    for (kind, object) in &objects {
        let title = format!("{kind}/taken-back");
        first.apply(object)?;
        first.await_ready(&[&title])?;
        let record = first.object(kind, "taken-back")?["metadata"]["annotations"][OWNERSHIP].clone();
        // It lets go, another takes over, and then it says that it never did.
        let annotate = |value: &str| first.namespace().kubectl(&["annotate", "--overwrite", &title, value]);
        annotate("libvirt.nourspeed.io/adopt-")?;
        annotate(&format!("{OWNERSHIP}-"))?;
        await_refused(&first, &title, "ForeignObject", "is not ours: it was not made by this provider")?;
        second.apply(object)?;
        second.await_ready(&[&title])?;
        annotate(&format!("{OWNERSHIP}={}", record.as_str().unwrap()))?;
        let owner = if *kind == "pool" { "Pool" } else { "Network" };
        let words = format!("it belongs to {owner} {}/taken-back", second.namespace().name());
        await_refused(&first, &title, "ForeignObject", &words)?;
        first.delete(&[&title])?;
        first.await_gone(&[&title])?;
        wait_for_polls();
        second.await_ready(&[&title])?;
    }
    host.virsh(&["net-info", "taken-back"])?;
    host.virsh(&["pool-info", "taken-back"])?;
    second.delete_all()?;
    second.await_all_gone(tests::PATIENCE)
}

// ---- disks ----

/// A guest of others with one disk, `vda`, whose source is written like this.
fn their_guest(scenario: &Scenario<'_>, name: &str, kind: &str, source: &str) -> Result<()> {
    let ports = "<controller type='pci' model='pcie-root-port'/>".repeat(8);
    let text = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>48</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='q35'>hvm</type></os><devices>\
         <disk type='{kind}' device='disk'><driver name='qemu' type='qcow2'/><source {source}/><target dev='vda' bus='virtio'/></disk>\
         <controller type='pci' index='0' model='pcie-root'/>{ports}</devices></domain>"
    );
    scenario.host().virsh_xml("define", &text).map(drop)
}

/// The disks of a guest's definition.
fn disks(scenario: &Scenario<'_>, name: &str) -> Result<String> {
    scenario.host().virsh(&["dumpxml", "--inactive", name, "--xpath", "//disk/source|//disk/target"])
}

/// A guest whose one disk is this volume, by the words of its object.
fn with_disk(name: &str, volume: &str) -> Value {
    let disk = json!({"name": name, "volume": {"pool": "taken-disks", "name": volume, "format": "Qcow2"}});
    json!({"type": "Qemu", "memory": "48Mi", "runStrategy": "Manual", "disks": [disk]})
}

#[test]
fn a_guest_gets_none_of_its_own_disks_a_second_time_by_being_taken_over() -> Result<()> {
    let scenario = scenario("taken-disks")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("taken-disks")?;
    for volume in ["plain", "below", "linked"] {
        host.virsh(&["vol-create-as", "taken-disks", volume, "8M", "--format", "qcow2"])?;
    }
    let below = ["--backing-vol", "below", "--backing-vol-format", "qcow2"];
    host.virsh(&[&["vol-create-as", "taken-disks", "snap", "8M", "--format", "qcow2"][..], &below].concat())?;
    let link = host.path("taken-link");
    symlink(&folder, &link)?;
    let guests = [
        ("taken-volume", "plain", "volume", "pool='taken-disks' volume='plain'".to_owned()),
        ("taken-snapshot", "below", "file", format!("file='{folder}/snap'")),
        ("taken-link", "linked", "file", format!("file='{}/linked'", link.display())),
    ];
    for (name, volume, kind, source) in &guests {
        their_guest(&scenario, name, kind, source)?;
        let before = disks(&scenario, name)?;
        let object = format!("domain/{name}");
        scenario.apply(&asking("Domain", name, &with_disk("system", volume)))?;
        let words = "disk system of spec.forProvider.disks is none of the guest's disks by its name or its file (those are vda). \
            If it is one of them, name it as its target there";
        await_refused(&scenario, &object, "AdoptionRefused", words)?;
        wait_for_polls();
        assert_eq!(disks(&scenario, name)?, before, "{name}");
        // The cure: no disk more, and where its data is written otherwise, that is told and left.
        scenario.change("domain", name, &with_disk("vda", volume))?;
        scenario.await_object("domain", name, |domain| {
            ensure!(domain["metadata"]["annotations"]["libvirt.nourspeed.io/ownership"].is_string(), "not taken over");
            Ok(())
        })?;
        wait_for_polls();
        assert_eq!(disks(&scenario, name)?, before, "{name} by its target");
        host.virsh(&["start", name])?;
        host.virsh(&["destroy", name])?;
    }
    Ok(())
}

#[test]
fn a_guest_that_was_taken_over_without_its_disk_does_not_get_it_a_second_time() -> Result<()> {
    let scenario = scenario("taken-later")?;
    let host = scenario.host();
    scenario.host().their_pool("taken-later")?;
    host.virsh(&["vol-create-as", "taken-later", "root", "8M", "--format", "qcow2"])?;
    host.virsh(&["vol-create-as", "taken-later", "more", "8M", "--format", "qcow2"])?;
    their_guest(&scenario, "taken-later", "volume", "pool='taken-later' volume='root'")?;
    let before = disks(&scenario, "taken-later")?;
    let with = |disks: &[&str]| {
        let disk =
            |name: &&str| json!({"name": name, "volume": {"pool": "taken-later", "name": name, "format": "Qcow2"}});
        let disks: Vec<Value> = disks.iter().map(disk).collect();
        json!({"type": "Qemu", "memory": "48Mi", "runStrategy": "Manual", "disks": disks})
    };
    scenario.apply(&asking("Domain", "taken-later", &with(&[])))?;
    scenario.await_object("domain", "taken-later", |domain| {
        ensure!(condition(domain, "Synced")?.0 == "True", "{}", domain["status"]);
        Ok(())
    })?;
    scenario.change("domain", "taken-later", &with(&["root"]))?;
    scenario.await_object("domain", "taken-later", |domain| {
        let (synced, _, message) = condition(domain, "Synced")?;
        let words = "which the guest has already as one of its disks or below one";
        ensure!(synced == "False" && message.contains(words), "{message}");
        Ok(())
    })?;
    assert_eq!(disks(&scenario, "taken-later")?, before);
    // A new one comes as ever.
    scenario.change("domain", "taken-later", &with(&["more"]))?;
    scenario.await_host("2", |scenario| Ok(disks(scenario, "taken-later")?.matches("<target").count().to_string()))?;
    host.virsh(&["start", "taken-later"])?;
    host.virsh(&["destroy", "taken-later"]).map(drop)
}

// ---- seeds ----

#[test]
fn a_cloud_init_takes_no_disk_for_a_seed() -> Result<()> {
    let scenario = scenario("taken-seedy")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("taken-seedy")?;
    let no_seeds = [
        ("taken-overlay", "8M", "qcow2", "it is no seed: its format is qcow2, and that of a seed is iso or raw"),
        ("taken-large", "17M", "raw", "it is no seed: it has 17825792 bytes, and a seed has at most 16777216"),
        ("taken-used", "1M", "raw", "it is no seed: domain seedy on the host has it as a disk"),
    ];
    for (name, size, format, _) in no_seeds {
        host.virsh(&["vol-create-as", "taken-seedy", name, size, "--format", format])?;
    }
    their_guest(&scenario, "seedy", "file", &format!("file='{folder}/taken-used'"))?;
    let volumes = host.volumes("taken-seedy")?;
    let say = |text: &str| json!({"pool": "taken-seedy", "userData": {"inline": text}});
    for (name, _, _, message) in no_seeds {
        let object = format!("cloudinit/{name}");
        scenario.apply(&asking("CloudInit", name, &say("one")))?;
        await_refused(&scenario, &object, "AdoptionRefused", message)?;
        scenario.change("cloudinit", name, &say("two"))?;
    }
    wait_for_polls();
    for (name, _, _, message) in no_seeds {
        await_refused(&scenario, &format!("cloudinit/{name}"), "AdoptionRefused", message)?;
    }
    assert_eq!(host.volumes("taken-seedy")?, volumes);
    Ok(())
}
