//! Guests that others made.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario};

use crate::{ADOPT, after_a_restart, asking, object, scenario, wait_for_polls};

/// A guest as somebody's virt-install left it, its disks in this folder.
fn their_guest(name: &str, folder: &str) -> String {
    // Every device on q35 needs a port, and one is plugged in later.
    let ports = "<controller type='pci' model='pcie-root-port'/>".repeat(10);
    format!(
        "<domain type='qemu'><name>{name}</name><title>theirs</title><memory unit='MiB'>64</memory>\
         <currentMemory unit='MiB'>48</currentMemory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>\
         <features><acpi/></features><devices>\
         <controller type='scsi' index='0' model='virtio-scsi'/>\
         <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{folder}/root'/><target dev='sdb' bus='scsi'/></disk>\
         <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{folder}/data'/><target dev='vda' bus='virtio'/></disk>\
         <interface type='bridge'><source bridge='br-take'/><mac address='52:54:00:11:22:33'/><model type='e1000e'/></interface>\
         <controller type='pci' index='0' model='pcie-root'/>{ports}</devices></domain>"
    )
}

/// What must stay of a guest for ever.
fn identity(scenario: &Scenario<'_>, guest: &str) -> Result<String> {
    let xpath = "/domain/uuid|//interface/mac|//interface/model|//disk/source|//disk/target|/domain/title";
    let host = scenario.host();
    Ok(host.virsh(&["dumpxml", "--inactive", guest, "--xpath", xpath])? + &host.virsh(&["domid", guest])?)
}

#[test]
fn a_running_domain_is_taken_over_as_it_is_and_then_kept_true() -> Result<()> {
    let scenario = scenario("taken-guest")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("guests")?;
    host.virsh(&["vol-create-as", "guests", "root", "8M", "--format", "qcow2"])?;
    host.virsh(&["vol-create-as", "guests", "data", "1M", "--format", "raw"])?;
    host.virsh_xml("net-define", "<network><name>bridge</name><bridge name='br-take'/></network>")?;
    host.virsh(&["net-start", "bridge"])?;
    host.virsh_xml("define", &their_guest("taken-guest", &folder))?;
    host.virsh(&["start", "taken-guest"])?;
    let before = identity(&scenario, "taken-guest")?;
    // The names are the object's own; the disk is told by its data, the interface by what it is on.
    let parameters = json!({
        "type": "Qemu", "memory": "48Mi", "maxMemory": "64Mi", "shutdown": {"timeout": "1s", "forceAfterTimeout": true},
        "disks": [{"name": "system", "volume": {"pool": "guests", "name": "root", "format": "Qcow2"}}],
        "networkInterfaces": [{"name": "lan", "bridge": "br-take"}],
    });
    scenario.apply(&asking("Domain", "taken-guest", &parameters))?;
    scenario.await_ready(&["domain/taken-guest"])?;
    scenario.await_condition("domain/taken-guest", "UpToDate", ("True", "ObserveMatched", ""))?;
    assert_eq!(identity(&scenario, "taken-guest")?, before, "after it was taken over");
    let aliases = scenario.inactive("//disk/alias/@name|//interface/alias/@name")?;
    assert_eq!(aliases.split_whitespace().collect::<Vec<_>>(), ["name=\"ua-disk-system\"", "name=\"ua-nic-lan\""]);
    let seen = scenario.observed("domain", "taken-guest")?;
    let disks: Vec<_> = seen["disks"].as_array().unwrap().iter().map(|disk| [&disk["name"], &disk["target"]]).collect();
    assert_eq!(json!(disks), json!([["system", "sdb"], [null, "vda"]]));
    assert_eq!(seen["networkInterfaces"][0]["name"], "lan");
    let events = scenario.namespace().kubectl(&["get", "events", "-o", "custom-columns=R:.reason"])?;
    assert!(events.contains("AdoptedExternalResource"), "{events}");

    edited_and_repaired(&scenario, &before)?;
    after_a_restart(&scenario, "domain/taken-guest")?;
    assert_eq!(scenario.inactive("/domain/uuid/text()")?, seen["id"].as_str().unwrap());
    scenario.delete(&["domain/taken-guest"])?;
    scenario.await_gone(&["domain/taken-guest"])?;
    assert!(!host.virsh(&["list", "--all", "--name"])?.contains("taken-guest"));
    assert_eq!(host.volumes("guests")?, ["data", "root"]);
    Ok(())
}

/// Changed in place, the running guest too, and brought back when somebody changes it by hand.
fn edited_and_repaired(scenario: &Scenario<'_>, before: &str) -> Result<()> {
    let host = scenario.host();
    scenario.change("domain", "taken-guest", &json!({"memory": "32Mi"}))?;
    scenario.await_host("32768", |scenario| scenario.inactive("/domain/currentMemory/text()"))?;
    host.virsh(&["setmem", "taken-guest", "40M", "--config"])?;
    scenario.await_host("32768", |scenario| scenario.inactive("/domain/currentMemory/text()"))?;
    assert_eq!(identity(scenario, "taken-guest")?, before, "after an edit");
    let card = json!([{"name": "lan", "bridge": "br-take"}, {"name": "more", "bridge": "br-take"}]);
    scenario.change("domain", "taken-guest", &json!({"networkInterfaces": card}))?;
    let cards = |words: &[&str]| Ok(host.virsh(words)?.matches("<interface ").count().to_string());
    scenario.await_host("2", |_| cards(&["dumpxml", "taken-guest"]))?;
    // It is taken out of the running guest by the name that it has there.
    scenario.change("domain", "taken-guest", &json!({"networkInterfaces": [card[0]]}))?;
    scenario.await_host("1", |_| cards(&["dumpxml", "--inactive", "taken-guest"]))?;
    assert_eq!(identity(scenario, "taken-guest")?, before, "after a card came and went");
    Ok(())
}

#[test]
fn a_domain_that_was_taken_over_and_is_gone_is_not_made_again_by_itself() -> Result<()> {
    let scenario = scenario("taken-lost")?;
    let host = scenario.host();
    let text =
        "<domain type='qemu'><name>taken-lost</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>";
    host.virsh_xml("define", text)?;
    let uuid = host.virsh(&["domuuid", "taken-lost"])?.trim().to_owned();
    let parameters = json!({
        "type": "Qemu", "memory": "32Mi", "runStrategy": "Manual", "shutdown": {"timeout": "1s", "forceAfterTimeout": true},
    });
    scenario.apply(&asking("Domain", "taken-lost", &parameters))?;
    scenario.await_ready(&["domain/taken-lost"])?;
    assert_eq!(host.virsh(&["domstate", "taken-lost"])?.trim(), "shut off");
    host.virsh(&["undefine", "taken-lost"])?;
    let uid = scenario.object("domain", "taken-lost")?["metadata"]["uid"].as_str().unwrap().to_owned();
    let lost = format!(
        "the domain with UUID {uuid}, which was taken over, is gone; it is not made again by itself, because the spec may not say all \
         that it was. Bring it back, or allow a new one with the annotation libvirt.nourspeed.io/recreate: {uid}"
    );
    scenario.await_condition("domain/taken-lost", "Ready", ("False", "Lost", &lost))?;
    // Brought back it is the same one.
    host.virsh_xml("define", &text.replace("<memory", &format!("<uuid>{uuid}</uuid><memory")))?;
    scenario.await_ready(&["domain/taken-lost"])?;
    host.virsh(&["undefine", "taken-lost"])?;
    scenario.await_condition("domain/taken-lost", "Ready", ("False", "Lost", &lost))?;
    let leave = format!("libvirt.nourspeed.io/recreate={uid}");
    scenario.namespace().kubectl(&["annotate", "domain/taken-lost", &leave])?;
    scenario.await_ready(&["domain/taken-lost"])?;
    assert_eq!(host.virsh(&["domuuid", "taken-lost"])?.trim(), uuid);
    scenario.await_object("domain", "taken-lost", |domain| {
        let left = &domain["metadata"]["annotations"]["libvirt.nourspeed.io/recreate"];
        ensure!(left.is_null(), "the leave is there still: {left}");
        Ok(())
    })?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn an_earlier_life_of_the_object_is_taken_over_too_and_without_delete_nothing_goes() -> Result<()> {
    let scenario = scenario("taken-before")?;
    let host = scenario.host();
    let parameters = json!({"type": "Qemu", "memory": "32Mi", "runStrategy": "Manual", "autostart": false});
    let keeping = |annotations: &Value, parameters: &Value| {
        let mut object: Value =
            serde_json::from_str(&object("Domain", "taken-before", annotations, parameters)).unwrap();
        object["spec"]["managementPolicies"] = json!(["Observe", "Create", "Update", "LateInitialize"]);
        object.to_string()
    };
    scenario.apply(&keeping(&json!({}), &parameters))?;
    scenario.await_ready(&["domain/taken-before"])?;
    let (uuid, id) = (host.virsh(&["domuuid", "taken-before"])?, host.virsh(&["domid", "taken-before"])?);
    scenario.delete(&["domain/taken-before"])?;
    scenario.await_gone(&["domain/taken-before"])?;

    let look = || -> Result<String> {
        Ok(host.virsh(&["dumpxml", "taken-before"])? + &host.virsh(&["dumpxml", "--inactive", "taken-before"])?)
    };
    let before = look()?;
    scenario.apply(&keeping(&json!({}), &parameters))?;
    let cure = format!(
        "domain \"taken-before\" is on the host already and is not ours: it was made for an earlier Domain of this name (UID {}). \
         It is left alone; choose another name with the annotation crossplane.io/external-name, remove it, or take it over with the \
         annotation libvirt.nourspeed.io/adopt: \"true\"",
        uuid.trim()
    );
    scenario.await_condition("domain/taken-before", "Ready", ("False", "ForeignObject", &cure))?;
    wait_for_polls();
    assert_eq!(look()?, before);
    scenario.apply(&keeping(&json!({ ADOPT: "true" }), &parameters))?;
    scenario.await_ready(&["domain/taken-before"])?;
    assert_eq!((host.virsh(&["domuuid", "taken-before"])?, host.virsh(&["domid", "taken-before"])?), (uuid, id));
    let uid = scenario.object("domain", "taken-before")?["metadata"]["uid"].as_str().unwrap().to_owned();
    let mark = host.virsh(&["dumpxml", "--inactive", "taken-before", "--xpath", "/domain/metadata"])?;
    assert!(mark.contains(&uid), "{mark}");
    scenario.delete(&["domain/taken-before"])?;
    scenario.await_gone(&["domain/taken-before"])?;
    assert!(host.virsh(&["domstate", "taken-before"])?.contains("running"));
    host.virsh(&["destroy", "taken-before"])?;
    host.virsh(&["undefine", "taken-before"]).map(drop)
}
