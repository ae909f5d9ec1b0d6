//! What others made is taken over where its object asks for it and the config allows it, as it is; and by nobody else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs,
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, condition, eventually};

static STAGE: SharedStage = SharedStage::new("take", &["--poll=2s"]);

/// There is one provider for all tests.
static RESTARTS: Mutex<()> = Mutex::new(());

const ADOPT: &str = "libvirt.nourspeed.io/adopt";
const OWNERSHIP: &str = "libvirt.nourspeed.io/ownership";

/// A scenario on a host whose config lets things be taken over that are called `taken…`.
fn scenario(name: &'static str) -> Result<Scenario<'static>> {
    let scenario = STAGE.scenario(name)?;
    let kinds = ["domain", "volume", "pool", "network", "cloudinit"];
    let adopt: Vec<String> = kinds.iter().map(|kind| format!("{kind}/taken*")).collect();
    let policy = json!({"spec": {"policy": {"adopt": adopt}}}).to_string();
    scenario.stage().plane().kubectl(&["patch", "clusterproviderconfig", "default", "--type=merge", "-p", &policy])?;
    Ok(scenario)
}

fn object(kind: &str, name: &str, annotations: &Value, parameters: &Value) -> String {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "annotations": annotations}, "spec": {"forProvider": parameters},
    })
    .to_string()
}

fn asking(kind: &str, name: &str, parameters: &Value) -> String {
    object(kind, name, &json!({ ADOPT: "true" }), parameters)
}

/// Something that is left alone is looked at a few times first.
fn wait_for_polls() {
    sleep(Duration::from_secs(5));
}

/// Restarts the provider and waits until it has said of the object what it said before.
fn after_a_restart(scenario: &Scenario<'_>, object: &str) -> Result<()> {
    // Nothing of what was taken over is in the memory of the next one.
    let (kind, name) = object.split_once('/').context("read kind/name")?;
    let before = scenario.object(kind, name)?["status"]["atProvider"]["id"].clone();
    let request = "crossplane.io/reconcile-requested-at=after-the-restart";
    let _one_at_a_time = RESTARTS.lock().unwrap_or_else(PoisonError::into_inner);
    scenario.stage().kill_provider()?;
    scenario.namespace().kubectl(&["annotate", "--overwrite", object, request])?;
    scenario.stage().start_provider()?;
    scenario.await_object(kind, name, |object| {
        ensure!(object["status"]["lastHandledReconcileAt"] == "after-the-restart", "{}", object["status"]);
        ensure!(condition(object, "UpToDate")?.0 == "True", "{}", object["status"]);
        ensure!(object["status"]["atProvider"]["id"] == before, "{} was {before}", object["status"]["atProvider"]);
        Ok(())
    })
}

// ---- what is taken over ----

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

// ---- what is not ----

#[test]
fn a_policy_that_names_no_kind_or_no_name_is_refused() -> Result<()> {
    let scenario = scenario("taken-policy")?;
    for line in ["guest/web", "domain", "domain/", "*/web", "volume/a/b"] {
        let policy = json!({"spec": {"policy": {"adopt": [line]}}}).to_string();
        let patch = ["patch", "clusterproviderconfig", "default", "--type=merge", "--dry-run=server", "-p", &policy];
        let refused = scenario.stage().plane().kubectl(&patch).unwrap_err();
        assert!(format!("{refused:#}").contains("spec.policy.adopt[0]"), "{line}: {refused:#}");
    }
    Ok(())
}

/// Waits for a refusal, and checks that neither it nor the object's deletion changes what is on the host.
fn refused(
    scenario: &Scenario<'_>,
    object: &str,
    (reason, message): (&str, &str),
    look: impl Fn() -> Result<String>,
) -> Result<()> {
    let before = look()?;
    scenario.await_condition(object, "Ready", ("False", reason, message))?;
    wait_for_polls();
    assert_eq!(look()?, before, "after {reason}");
    scenario.delete(&[object])?;
    scenario.await_gone(&[object])?;
    assert_eq!(look()?, before, "after the object of {reason}");
    Ok(())
}

/// What others made of each kind, called `refused`, and what is said of it.
fn refused_things(scenario: &Scenario<'_>) -> Result<Vec<(&'static str, Value, String)>> {
    let host = scenario.host();
    host.virsh_xml(
        "define",
        "<domain type='qemu'><name>refused</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
    )?;
    host.virsh_xml("net-define", "<network><name>refused</name><bridge name='virbr-refus'/></network>")?;
    let folder = scenario.host().their_pool("refused")?;
    host.virsh(&["vol-create-as", "refused", "refused", "1M", "--format", "raw"])?;
    let recorded = "volume \"refused\" is in pool \"refused\" already and is not ours: no record of this provider says that this object made it";
    let made = |what: &str| {
        format!("{what} \"refused\" is on the host already and is not ours: it was not made by this provider")
    };
    Ok(vec![
        ("Domain", json!({"type": "Qemu", "memory": "64Mi"}), made("domain")),
        ("Network", json!({"mode": "Isolated"}), made("network")),
        ("Pool", json!({"target": {"path": folder}}), made("pool")),
        ("Volume", json!({"pool": "refused", "capacity": "2Mi", "format": "Raw"}), recorded.to_owned()),
        ("CloudInit", json!({"pool": "refused", "userData": {"inline": "x"}}), recorded.to_owned()),
    ])
}

#[test]
fn what_the_config_does_not_list_or_nobody_asks_for_is_left_alone() -> Result<()> {
    let scenario = scenario("refused")?;
    let host = scenario.host();
    let things = refused_things(&scenario)?;
    let look = || -> Result<String> {
        let looks: [&[&str]; 5] = [
            &["dumpxml", "refused"],
            &["net-dumpxml", "refused"],
            &["pool-dumpxml", "refused", "--inactive"],
            &["vol-dumpxml", "refused", "refused"],
            &["vol-list", "refused"],
        ];
        looks.iter().map(|words| host.virsh(words)).collect()
    };
    for (kind, parameters, said) in things {
        let title = format!("{}/refused", kind.to_lowercase());
        let denied = format!(
            "{said}. The annotation libvirt.nourspeed.io/adopt asks to take it over, but ClusterProviderConfig default does not allow \
             that; it would with the line {title} in its spec.policy.adopt"
        );
        scenario.apply(&asking(kind, "refused", &parameters))?;
        refused(&scenario, &title, ("AdoptionRefused", &denied), look)?;
        if kind == "CloudInit" {
            // Without being asked to take it over, an object does not look at what is beside its seed.
            continue;
        }
        let unasked = format!(
            "{said}. It is left alone; choose another name with the annotation crossplane.io/external-name, remove it, or take it over \
             with the annotation libvirt.nourspeed.io/adopt: \"true\" and the line {title} in spec.policy.adopt of ClusterProviderConfig default"
        );
        scenario.apply(&object(kind, "refused", &json!({ ADOPT: "yes" }), &parameters))?;
        refused(&scenario, &title, ("ForeignObject", &unasked), look)?;
    }
    Ok(())
}

/// What others made of four kinds: the name there, and the spec of an object that takes it over.
fn twice_wanted(scenario: &Scenario<'_>) -> Result<[(&'static str, &'static str, Value); 4]> {
    let host = scenario.host();
    let folder = scenario.host().their_pool("taken-twice")?;
    host.virsh(&["vol-create-as", "taken-twice", "taken", "1M", "--format", "raw"])?;
    host.virsh_xml("net-define", "<network><name>taken-twice</name><bridge name='virbr-twice'/></network>")?;
    host.virsh_xml(
        "define",
        "<domain type='qemu'><name>taken-twice</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
    )?;
    Ok([
        ("Domain", "taken-twice", json!({"type": "Qemu", "memory": "32Mi", "runStrategy": "Manual"})),
        ("Network", "taken-twice", json!({"mode": "Isolated"})),
        ("Pool", "taken-twice", json!({"target": {"path": folder}})),
        ("Volume", "taken", json!({"pool": "taken-twice", "capacity": "1Mi", "format": "Raw"})),
    ])
}

#[test]
fn what_another_object_has_is_never_taken_whatever_is_asked_for_or_copied() -> Result<()> {
    let scenario = scenario("taken-twice")?;
    let host = scenario.host();
    let things = twice_wanted(&scenario)?;
    let look = || -> Result<String> {
        let looks: [&[&str]; 4] = [
            &["dumpxml", "--inactive", "taken-twice"],
            &["net-dumpxml", "taken-twice", "--inactive"],
            &["pool-dumpxml", "taken-twice", "--inactive"],
            &["vol-dumpxml", "taken", "taken-twice"],
        ];
        looks.iter().map(|words| host.virsh(words)).collect()
    };
    let namespace = scenario.namespace().name().to_owned();
    for (kind, external, parameters) in things {
        let what = kind.to_lowercase();
        let annotations = json!({ ADOPT: "true", "crossplane.io/external-name": external });
        scenario.apply(&object(kind, "first", &annotations, &parameters))?;
        let first = format!("{what}/first");
        scenario.await_ready(&[&first])?;
        let owner = scenario.object(&what, "first")?["metadata"].clone();
        let said = match kind {
            "Volume" => format!(
                "volume \"taken\" is in pool \"taken-twice\" already and is not ours: it belongs to Volume {namespace}/first"
            ),
            _ => format!(
                "{what} \"taken-twice\" is on the host already and is not ours: it belongs to {kind} {namespace}/first (UID {})",
                owner["uid"].as_str().unwrap()
            ),
        };
        let message = format!(
            "{said}. It is left alone; choose another name with the annotation crossplane.io/external-name, or delete that object"
        );
        // Asked for, and with the record and the marks of the object that has it.
        let mut copied = owner["annotations"].clone();
        assert!(copied[OWNERSHIP].is_string(), "{owner}");
        for annotations in [annotations, {
            copied[ADOPT] = "true".into();
            copied
        }] {
            scenario.apply(&object(kind, "second", &annotations, &parameters))?;
            refused(&scenario, &format!("{what}/second"), ("ForeignObject", &message), look)?;
            scenario.await_condition(&first, "UpToDate", ("True", "ObserveMatched", ""))?;
        }
    }
    // The guest goes first, what others made with it.
    scenario.delete(&["domain/first", "network/first", "volume/first"])?;
    scenario.await_gone(&["domain/first", "network/first", "volume/first"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
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
