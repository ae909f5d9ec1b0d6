//! Networks, pools, volumes and seeds that others made.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, condition, eventually};

use crate::{ADOPT, after_a_restart, asking, object, refused, scenario};

#[test]
fn a_network_is_taken_over_as_it_is_and_then_kept_true() -> Result<()> {
    let scenario = scenario("taken-net")?;
    let host = scenario.host();
    host.virsh_xml(
        "net-define",
        "<network><name>taken-net</name><forward mode='nat'/><bridge name='virbr-taken'/>\
         <dns><host ip='192.168.96.9'><hostname>theirs</hostname></host></dns>\
         <ip address='192.168.96.1' netmask='255.255.255.0'><dhcp><range start='192.168.96.10' end='192.168.96.20'/>\
         <host mac='52:54:00:AA:BB:CC' ip='192.168.96.30'/></dhcp></ip></network>",
    )?;
    host.virsh(&["net-start", "taken-net"])?;
    let uuid = host.virsh(&["net-uuid", "taken-net"])?;
    let bridge = || host.run("cat", &["/sys/class/net/virbr-taken/ifindex"]);
    let before = (bridge()?, host.virsh(&["net-dumpxml", "taken-net", "--inactive"])?);
    let range = json!({"start": "192.168.96.10", "end": "192.168.96.20"});
    let ips = |ranges: Value| json!({"ips": [{"cidr": "192.168.96.1/24", "dhcp": {"ranges": ranges}}]});
    scenario.apply(&asking("Network", "taken-net", &ips(json!([range]))))?;
    scenario.await_ready(&["network/taken-net"])?;
    scenario.await_condition("network/taken-net", "UpToDate", ("True", "ObserveMatched", ""))?;
    assert_eq!((bridge()?, host.virsh(&["net-dumpxml", "taken-net", "--inactive"])?), before);

    let more = json!([range, {"start": "192.168.96.40", "end": "192.168.96.50"}]);
    scenario.change("network", "taken-net", &ips(more))?;
    let ranges = |live: bool| {
        let words = ["net-dumpxml", "taken-net", "--inactive"];
        let text = host.virsh(&words[..if live { 2 } else { 3 }])?;
        Ok(text.matches("<range").count().to_string())
    };
    scenario.await_host("2", |_| ranges(true))?;
    scenario.await_host("2", |_| ranges(false))?;
    let gone = "<range start='192.168.96.40' end='192.168.96.50'/>";
    host.virsh(&["net-update", "taken-net", "delete", "ip-dhcp-range", gone, "--live", "--config"])?;
    scenario.await_host("2", |_| ranges(true))?;
    let text = host.virsh(&["net-dumpxml", "taken-net"])?.to_lowercase();
    assert!(text.contains("theirs") && text.contains("52:54:00:aa:bb:cc"), "{text}");
    after_a_restart(&scenario, "network/taken-net")?;
    assert_eq!(host.virsh(&["net-uuid", "taken-net"])?, uuid);
    scenario.delete(&["network/taken-net"])?;
    scenario.await_gone(&["network/taken-net"])?;
    assert!(!host.virsh(&["net-list", "--all", "--name"])?.contains("taken-net"));
    Ok(())
}

#[test]
fn a_pool_is_taken_over_as_it_is_and_goes_when_it_is_empty() -> Result<()> {
    let scenario = scenario("taken-pool")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("taken-pool")?;
    host.virsh(&["vol-create-as", "taken-pool", "theirs", "1M"])?;
    let uuid = host.virsh(&["pool-uuid", "taken-pool"])?;
    let look = || host.virsh(&["pool-dumpxml", "taken-pool", "--inactive"]);
    let before = look()?;
    scenario.apply(&asking("Pool", "taken-pool", &json!({"target": {"path": folder}})))?;
    scenario.await_ready(&["pool/taken-pool"])?;
    assert_eq!(look()?, before);

    let autostart = |scenario: &Scenario<'_>| {
        let info = scenario.host().virsh(&["pool-info", "taken-pool"])?;
        Ok(info.lines().find(|line| line.starts_with("Autostart")).unwrap_or_default().replace("Autostart:", ""))
    };
    scenario.change("pool", "taken-pool", &json!({"autostart": true}))?;
    scenario.await_host("yes", autostart)?;
    host.virsh(&["pool-autostart", "taken-pool", "--disable"])?;
    scenario.await_host("yes", autostart)?;
    host.virsh(&["pool-destroy", "taken-pool"])?;
    scenario.await_host("active", |scenario| {
        let info = scenario.host().virsh(&["pool-info", "taken-pool"])?;
        Ok(if info.contains("running") { "active" } else { "off" }.to_owned())
    })?;
    after_a_restart(&scenario, "pool/taken-pool")?;
    assert_eq!(host.virsh(&["pool-uuid", "taken-pool"])?, uuid);

    scenario.delete(&["pool/taken-pool"])?;
    let held = "the pool holds 1 volume, theirs first; it is deleted when it is empty";
    scenario.await_condition("pool/taken-pool", "Ready", ("False", "InUse", held))?;
    assert_eq!(host.volumes("taken-pool")?, ["theirs"]);
    host.virsh(&["vol-delete", "theirs", "taken-pool"])?;
    scenario.await_gone(&["pool/taken-pool"])?;
    assert!(fs::exists(&folder)?, "a folder that others made is gone");
    Ok(())
}

#[test]
fn a_volume_is_taken_over_with_its_data_once_its_format_is_said() -> Result<()> {
    let scenario = scenario("taken-volume")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("shelf")?;
    let content = format!("{folder}/taken-data");
    host.virsh(&["vol-create-as", "shelf", "taken-data", "2M", "--format", "raw"])?;
    fs::write(&content, vec![7; 2 << 20])?;
    let sum = || tests::run("sha256sum", &[&content]);
    let before = sum()?;
    let said = "volume \"taken-data\" is in pool \"shelf\" already and is not ours: no record of this provider says that this object \
                made it. The annotation libvirt.nourspeed.io/adopt asks to take it over, but its format is never guessed, and \
                spec.forProvider.format is not set; set it while managementPolicies are [\"Observe\"], and take the volume over then";
    scenario.apply(&asking("Volume", "taken-data", &json!({"pool": "shelf", "capacity": "2Mi"})))?;
    scenario.await_condition("volume/taken-data", "Ready", ("False", "AdoptionRefused", said))?;
    // The way that the sentence names.
    let patch = |patch: Value| {
        scenario.namespace().kubectl(&["patch", "volume/taken-data", "--type=merge", "-p", &patch.to_string()])
    };
    patch(json!({"spec": {"managementPolicies": ["Observe"]}}))?;
    patch(json!({"spec": {"managementPolicies": ["*"], "forProvider": {"format": "Raw"}}}))?;
    scenario.await_ready(&["volume/taken-data"])?;
    assert_eq!(sum()?, before);

    scenario.change("volume", "taken-data", &json!({"capacity": "4Mi"}))?;
    scenario.await_object("volume", "taken-data", |volume| {
        ensure!(volume["status"]["atProvider"]["capacity"] == "4Mi", "{}", volume["status"]);
        Ok(())
    })?;
    assert_eq!(fs::metadata(&content)?.len(), 4 << 20);
    assert_eq!(fs::read(&content)?[..2 << 20], vec![7; 2 << 20]);
    after_a_restart(&scenario, "volume/taken-data")?;
    // Its data is not in the spec, so an empty one is no repair.
    fs::rename(&content, format!("{folder}/away"))?;
    host.virsh(&["pool-refresh", "shelf"])?;
    scenario.await_object("volume", "taken-data", |volume| {
        let (_, reason, message) = condition(volume, "Ready")?;
        ensure!(reason == "Lost", "{reason}: {message}");
        Ok(())
    })?;
    fs::rename(format!("{folder}/away"), &content)?;
    host.virsh(&["pool-refresh", "shelf"])?;
    scenario.await_ready(&["volume/taken-data"])?;
    scenario.delete(&["volume/taken-data"])?;
    scenario.await_gone(&["volume/taken-data"])?;
    assert!(!fs::exists(&content)?);
    Ok(())
}

#[test]
fn a_volume_on_another_is_taken_over_only_with_what_is_below_it() -> Result<()> {
    let scenario = scenario("taken-overlay")?;
    let host = scenario.host();
    scenario.host().their_pool("stack")?;
    host.virsh(&["vol-create-as", "stack", "taken-below", "8M", "--format", "qcow2"])?;
    let backing = ["--backing-vol", "taken-below", "--backing-vol-format", "qcow2"];
    host.virsh(&[&["vol-create-as", "stack", "taken-above", "8M", "--format", "qcow2"][..], &backing].concat())?;
    let look = || host.virsh(&["vol-dumpxml", "taken-above", "stack"]);
    let before = look()?;
    let mut parameters = json!({"pool": "stack", "capacity": "8Mi", "format": "Qcow2"});
    scenario.apply(&asking("Volume", "taken-above", &parameters))?;
    scenario.await_object("volume", "taken-above", |volume| {
        let (_, reason, message) = condition(volume, "Ready")?;
        let wanted = "spec.forProvider.backingStore is not set; set it while managementPolicies are";
        ensure!(reason == "AdoptionRefused" && message.contains(wanted), "{reason}: {message}");
        Ok(())
    })?;
    scenario.delete(&["volume/taken-above"])?;
    scenario.await_gone(&["volume/taken-above"])?;
    scenario.apply(&asking("Volume", "taken-below", &parameters))?;
    parameters["backingStore"] = json!({"volumeRef": {"name": "taken-below"}});
    scenario.apply(&asking("Volume", "taken-above", &parameters))?;
    scenario.await_ready(&["volume/taken-below", "volume/taken-above"])?;
    assert_eq!(look()?, before);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.volumes("stack")?, [""; 0]);
    Ok(())
}

#[test]
fn a_seed_is_taken_over_and_stays_until_its_object_says_something_else() -> Result<()> {
    let scenario = scenario("taken-seed")?;
    let host = scenario.host();
    scenario.host().their_pool("seeds")?;
    host.virsh(&["vol-create-as", "seeds", "taken.iso", "1M", "--format", "raw"])?;
    let say = |text: &str| json!({"pool": "seeds", "userData": {"inline": text}});
    let annotations = json!({ ADOPT: "true", "crossplane.io/external-name": "taken.iso" });
    scenario.apply(&object("CloudInit", "seed", &annotations, &say("one")))?;
    scenario.await_ready(&["cloudinit/seed"])?;
    assert_eq!(host.volumes("seeds")?, ["taken.iso"]);
    after_a_restart(&scenario, "cloudinit/seed")?;
    assert_eq!(host.volumes("seeds")?, ["taken.iso"]);

    scenario.change("cloudinit", "seed", &say("two"))?;
    scenario.await_object("cloudinit", "seed", |_| {
        let volumes = host.volumes("seeds")?;
        ensure!(volumes.len() == 1 && volumes[0].starts_with("taken.iso-"), "{volumes:?}");
        Ok(())
    })?;
    scenario.await_ready(&["cloudinit/seed"])?;
    // What is gone is written again: what it says is in the spec.
    let volume = host.volumes("seeds")?.remove(0);
    host.virsh(&["vol-delete", &volume, "seeds"])?;
    eventually(PATIENCE, || {
        ensure!(host.volumes("seeds")? == [volume.as_str()]);
        Ok(())
    })?;
    scenario.await_ready(&["cloudinit/seed"])?;
    scenario.delete(&["cloudinit/seed"])?;
    scenario.await_gone(&["cloudinit/seed"])?;
    assert_eq!(host.volumes("seeds")?, [""; 0]);
    Ok(())
}

#[test]
fn a_seed_that_its_object_has_no_more_use_for_is_never_taken_as_a_volume() -> Result<()> {
    let scenario = scenario("taken-old")?;
    let host = scenario.host();
    scenario.host().their_pool("taken-old")?;
    let say = |text: &str| json!({"pool": "taken-old", "userData": {"inline": text}});
    scenario.apply(&object("CloudInit", "taken", &json!({}), &say("one")))?;
    scenario.await_ready(&["cloudinit/taken"])?;
    let old = host.volumes("taken-old")?.remove(0);
    // A guest has the old one, so that it stays.
    let path = host.virsh(&["vol-path", &old, "taken-old"])?.trim().to_owned();
    host.virsh_xml(
        "define",
        &format!(
            "<domain type='qemu'><name>taken-old</name><memory unit='MiB'>32</memory><os><type>hvm</type></os><devices>\
             <disk type='file' device='cdrom'><source file='{path}'/><target dev='sda' bus='sata'/></disk></devices></domain>"
        ),
    )?;
    scenario.change("cloudinit", "taken", &say("two"))?;
    scenario.await_object("cloudinit", "taken", |_| {
        ensure!(host.volumes("taken-old")?.len() == 2);
        Ok(())
    })?;
    scenario.await_ready(&["cloudinit/taken"])?;
    let annotations = json!({ ADOPT: "true", "crossplane.io/external-name": old });
    let parameters = json!({"pool": "taken-old", "capacity": "1Mi", "format": "Raw"});
    scenario.apply(&object("Volume", "thief", &annotations, &parameters))?;
    let message = format!(
        "volume {old:?} is in pool \"taken-old\" already and is not ours: it belongs to CloudInit {}/taken. It is left alone; choose \
         another name with the annotation crossplane.io/external-name, or delete that object",
        scenario.namespace().name()
    );
    refused(&scenario, "volume/thief", ("ForeignObject", &message), || {
        host.virsh(&["vol-dumpxml", &old, "taken-old"])
    })?;
    host.virsh(&["undefine", "taken-old"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}
