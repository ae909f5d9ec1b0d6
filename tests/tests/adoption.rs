//! What others made is shown by its name alone and never touched; what is shown is enough to write the spec from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, condition, eventually};

static STAGE: SharedStage = SharedStage::new("adopt", &["--poll=2s"]);

/// Something that others made, and the object that looks at it.
struct Import<'a, 's> {
    scenario: &'a Scenario<'s>,
    kind: &'static str,
    /// The name on the host.
    external: &'a str,
    /// The words of virsh that show all of it.
    looks: Vec<Vec<&'a str>>,
}

impl Import<'_, '_> {
    fn look(&self) -> Result<String> {
        self.looks.iter().map(|words| self.scenario.host().virsh(words)).collect()
    }

    fn titled(&self, name: &str) -> String {
        format!("{}/{name}", self.kind.to_lowercase())
    }

    /// Applies an object that only looks.
    fn observe(&self, name: &str, parameters: &Value) -> Result<()> {
        let object = json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": self.kind,
            "metadata": {"name": name, "annotations": {"crossplane.io/external-name": self.external}},
            "spec": {"managementPolicies": ["Observe"], "forProvider": parameters},
        });
        self.scenario.apply(&object.to_string())?;
        let wait = ["wait", "--for=condition=Ready", "--timeout=60s", &self.titled(name)];
        self.scenario.namespace().kubectl(&wait).map(drop)
    }

    /// Waits until an object says that all is as its spec says, and returns what it shows.
    fn await_match(&self, name: &str) -> Result<Value> {
        let title = self.titled(name);
        self.scenario.await_ready(&[&title])?;
        let object = self.scenario.await_condition(&title, "UpToDate", ("True", "ObserveMatched", ""))?;
        let written: Vec<&String> = object["metadata"]["annotations"].as_object().unwrap().keys().collect();
        let ours = ["crossplane.io/external-name", "libvirt.nourspeed.io/provider-config"];
        assert_eq!(written.into_iter().filter(|key| !ours.contains(&key.as_str())).collect::<Vec<_>>(), [""; 0]);
        Ok(object["status"]["atProvider"].clone())
    }

    /// The whole way of an import; `drift` is an edit and what is said of it, `managed` what full management needs beside.
    fn goes(&self, drift: &(Value, &str), managed: &Value, refusal: &str) -> Result<Value> {
        let before = self.look()?;
        self.observe("shown", &json!({}))?;
        let shown = self.await_match("shown")?;
        let written = spoken(&shown, &schema(self.kind)).context("nothing is shown that a spec could say")?;
        self.observe("written", &written)?;
        assert_eq!(self.await_match("written")?, shown, "shown with {written}");
        // The same on the object itself: what cannot be changed can be said as long as it is only looked at.
        self.observe("shown", &written)?;
        assert_eq!(self.await_match("shown")?, shown);

        let title = self.titled("written");
        self.scenario.change(self.kind, "written", &drift.0)?;
        if !drift.1.is_empty() {
            self.scenario.await_condition(&title, "UpToDate", ("False", "UpdateRestricted", drift.1))?;
            self.scenario.await_ready(&[&title])?;
        }
        // Looked at a few times, and left as it is.
        sleep(Duration::from_secs(5));
        assert_eq!(self.look()?, before, "after looking at it");

        let patch = json!({"spec": {"managementPolicies": ["*"], "forProvider": managed}}).to_string();
        self.scenario.namespace().kubectl(&["patch", &title, "--type=merge", "-p", &patch])?;
        self.scenario.await_condition(&title, "Ready", ("False", "ForeignObject", refusal))?;
        self.scenario.delete(&[&title, &self.titled("shown")])?;
        self.scenario.await_gone(&[&title, &self.titled("shown")])?;
        assert_eq!(self.look()?, before, "after its objects");
        Ok(shown)
    }
}

/// The schema of `spec.forProvider`.
fn schema(kind: &str) -> Value {
    let crds = apis::crds();
    let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["forProvider"].clone()
}

/// The part of a value that a schema has words for.
fn spoken(value: &Value, schema: &Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            let known = |(name, value): (&String, &Value)| {
                Some((name.clone(), spoken(value, schema["properties"].get(name)?)?))
            };
            let fields: serde_json::Map<_, _> = fields.iter().filter_map(known).collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        Value::Array(items) => Some(items.iter().filter_map(|item| spoken(item, &schema["items"])).collect()),
        other => Some(other.clone()),
    }
}

fn without(mut value: Value, names: &[&str]) -> Value {
    for name in names {
        value.as_object_mut().and_then(|fields| fields.remove(*name));
    }
    value
}

fn not_made_by_us(what: &str, name: &str) -> String {
    format!(
        "{what} {name:?} is on the host already and is not ours: it was not made by this provider. It is left alone; \
         choose another name with the annotation crossplane.io/external-name, remove it, or take it over \
         with the annotation libvirt.nourspeed.io/adopt: \"true\" and the line {what}/{name} in spec.policy.adopt of ClusterProviderConfig default"
    )
}

fn not_recorded(kind: &str, name: &str, pool: &str) -> String {
    format!(
        "volume {name:?} is in pool {pool:?} already and is not ours: no record of this provider says that this object made it. \
         It is left alone; choose another name with the annotation crossplane.io/external-name, remove it, or take it over \
         with the annotation libvirt.nourspeed.io/adopt: \"true\" and the line {kind}/{name} in spec.policy.adopt of ClusterProviderConfig default"
    )
}

/// A guest as somebody's virt-install left it, its disk in this folder.
fn their_guest(folder: &str) -> String {
    format!(
        "<domain type='qemu'><name>old.server_1</name><memory unit='MiB'>64</memory><currentMemory unit='MiB'>48</currentMemory>\
             <vcpu current='1'>2</vcpu><os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/><boot dev='cdrom'/></os>\
             <features><acpi/></features><cpu mode='custom' match='exact'><model>qemu64</model></cpu><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{folder}/root'/><target dev='vda' bus='virtio'/></disk>\
             <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>\
             <interface type='network'><source network='lan'/><mac address='52:54:00:11:22:33'/><model type='e1000e'/></interface>\
             <serial type='pty'/><graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1'/>\
             <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
             <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"
    )
}

/// What that guest is shown as; the machine's version and the port are the host's.
fn their_guest_seen(shown: &Value, folder: &str, running: bool) -> Value {
    let (machine, port) = (shown["os"]["machine"].clone(), shown["graphics"][0]["hostPort"].clone());
    assert!(machine.as_str().unwrap_or_default().starts_with("pc-q35-"), "{machine}");
    let mut graphics = json!({"type": "Vnc", "listen": "127.0.0.1"});
    if running {
        graphics["host"] = "127.0.0.1".into();
        graphics["hostPort"] = port;
    }
    json!({
        "state": if running { "Running" } else { "Shutoff" },
        "type": "Qemu", "memory": "48Mi", "maxMemory": "64Mi", "vcpus": 1, "maxVcpus": 2,
        "cpu": {"mode": "Custom", "model": "qemu64"},
        "os": {"arch": "x86_64", "machine": machine, "boot": ["Disk", "Cdrom"]}, "autostart": false,
        "disks": [
            {"name": "vda", "target": "vda", "device": "Disk", "bus": "Virtio", "path": format!("{folder}/root"),
             "volume": {"pool": "disks", "name": "root", "format": "Qcow2"}},
            {"name": "sda", "target": "sda", "device": "Cdrom", "bus": "Sata", "readOnly": true},
        ],
        "networkInterfaces": [
            {"name": "52-54-00-11-22-33", "mac": "52:54:00:11:22:33", "network": "lan", "model": "E1000e"},
        ],
        "consoles": [{"name": "serial0", "type": "Pty"}], "graphics": [graphics],
        "rng": {"source": "Urandom"}, "guestAgent": true, "features": {"acpi": true}, "clock": {"offset": "Utc"},
        "lifecycle": {"onPoweroff": "Destroy", "onReboot": "Restart", "onCrash": "Destroy"}, "video": {"model": "Cirrus"},
    })
}

#[test]
fn a_domain_is_imported_stopped_and_running() -> Result<()> {
    let scenario = STAGE.scenario("imports-domain")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("disks")?;
    host.virsh(&["vol-create-as", "disks", "root", "8M", "--format", "qcow2"])?;
    host.virsh_xml("net-define", "<network><name>lan</name><bridge name='virbr-dom'/></network>")?;
    host.virsh(&["net-start", "lan"])?;
    host.virsh_xml("define", &their_guest(&folder))?;
    let name = "old.server_1";
    let looks = vec![
        vec!["dumpxml", name],
        vec!["dumpxml", "--inactive", name],
        vec!["domstate", name],
        vec!["domid", name],
        vec!["vol-dumpxml", "root", "disks"],
    ];
    let import = Import { scenario: &scenario, kind: "Domain", external: name, looks };
    let drift = (json!({"memory": "32Mi"}), "currentMemory: 49152 KiB, wished 32768 KiB");
    let refusal = not_made_by_us("domain", name);
    for running in [false, true] {
        if running {
            host.virsh(&["start", name])?;
            // A description changes while a guest starts.
            eventually(PATIENCE, || {
                let first = import.look()?;
                sleep(Duration::from_secs(4));
                ensure!(import.look()? == first, "the guest is starting still");
                Ok(())
            })?;
        }
        let shown = import.goes(&drift, &json!({}), &refusal)?;
        let wanted = their_guest_seen(&shown, &folder, running);
        assert_eq!(without(shown, &["id", "addresses"]), wanted);
    }
    host.virsh(&["destroy", name])?;
    host.virsh(&["undefine", name]).map(drop)
}

#[test]
fn a_network_is_imported() -> Result<()> {
    let scenario = STAGE.scenario("imports-network")?;
    let host = scenario.host();
    host.virsh_xml(
        "net-define",
        "<network><name>office</name><forward mode='nat'/><bridge name='virbr-off'/><domain name='office.example'/>\
         <ip address='192.168.97.1' netmask='255.255.255.128'><dhcp><range start='192.168.97.10' end='192.168.97.20'/>\
         <host mac='52:54:00:AA:BB:CC' ip='192.168.97.30'/></dhcp></ip>\
         <ip family='ipv6' address='fd00:97::1' prefix='64'/></network>",
    )?;
    let looks = vec![vec!["net-dumpxml", "office"], vec!["net-info", "office"]];
    let import = Import { scenario: &scenario, kind: "Network", external: "office", looks };
    host.virsh(&["net-start", "office"])?;
    let drift = (json!({"domain": "another.example"}), "domain@name: office.example, wished another.example");
    let shown = import.goes(&drift, &json!({}), &not_made_by_us("network", "office"))?;
    let wanted = json!({
        "mode": "Nat", "bridge": "virbr-off", "domain": "office.example", "autostart": false, "active": true,
        "ips": [
            {"cidr": "192.168.97.1/25", "dhcp": {
                "ranges": [{"start": "192.168.97.10", "end": "192.168.97.20"}],
                "hosts": [{"name": "52-54-00-aa-bb-cc", "mac": "52:54:00:AA:BB:CC", "ip": "192.168.97.30"}],
            }},
            {"cidr": "fd00:97::1/64"},
        ],
    });
    assert_eq!(without(shown, &["id"]), wanted);

    // One that does not run is shown so, and not started.
    host.virsh(&["net-destroy", "office"])?;
    let object = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Network",
        "metadata": {"name": "office"}, "spec": {"managementPolicies": ["Observe"], "forProvider": {}},
    });
    scenario.apply(&object.to_string())?;
    scenario.await_condition("network/office", "UpToDate", ("True", "ObserveMatched", ""))?;
    scenario.await_condition("network/office", "Ready", ("False", "Unavailable", "the network is not active"))?;
    host.virsh(&["net-undefine", "office"])?;
    let gone = "observe failed: external resource does not exist";
    scenario.await_condition("network/office", "Synced", ("False", "ReconcileError", gone))?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_pool_is_imported() -> Result<()> {
    let scenario = STAGE.scenario("imports-pool")?;
    let folder = scenario.host().their_pool("attic")?;
    let looks = vec![vec!["pool-dumpxml", "--inactive", "attic"], vec!["pool-info", "attic"]];
    let import = Import { scenario: &scenario, kind: "Pool", external: "attic", looks };
    let drift = (json!({"autostart": true}), "autostart: false, wished true");
    let shown = import.goes(&drift, &json!({}), &not_made_by_us("pool", "attic"))?;
    // The mode that the folder was made with, and its owner: the user of the test.
    let permissions = json!({"mode": "0711", "owner": 0, "group": 0});
    let wanted = json!({
        "state": "Running", "type": "Dir", "target": {"path": folder, "permissions": permissions},
        "autostart": false, "path": folder,
    });
    assert_eq!(without(shown, &["id", "capacity"]), wanted);
    scenario.host().virsh(&["pool-destroy", "attic"])?;
    scenario.host().virsh(&["pool-undefine", "attic"]).map(drop)
}

#[test]
fn a_volume_is_imported_from_whatever_pool_it_is_in_by_name_or_path() -> Result<()> {
    let scenario = STAGE.scenario("imports-volume")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("shelf")?;
    scenario.host().their_pool("other-shelf")?;
    host.virsh(&["vol-create-as", "shelf", "below", "8M", "--format", "qcow2"])?;
    let backing = ["--backing-vol", "below", "--backing-vol-format", "qcow2"];
    host.virsh(&[&["vol-create-as", "shelf", "data.img", "8M", "--format", "qcow2"][..], &backing].concat())?;
    let path = format!("{folder}/data.img");
    let wanted = json!({
        "id": path, "pool": "shelf", "name": "data.img", "path": path, "capacity": "8Mi", "format": "Qcow2",
        "backingStore": {"path": format!("{folder}/below")}, "type": "File",
    });
    for external in ["data.img", path.as_str()] {
        let looks = vec![vec!["vol-dumpxml", "data.img", "shelf"]];
        let import = Import { scenario: &scenario, kind: "Volume", external, looks };
        let drift = (json!({"capacity": "4Mi"}), "capacity: 8Mi, wished 4Mi");
        if external.starts_with('/') {
            import.observe("by-path", &json!({}))?;
            assert_eq!(import.await_match("by-path")?, wanted);
        } else {
            assert_eq!(import.goes(&drift, &json!({}), &not_recorded("volume", "data.img", "shelf"))?, wanted);
        }
    }
    // Where two could be meant, none is taken.
    host.virsh(&["vol-create-as", "other-shelf", "data.img", "1M", "--format", "raw"])?;
    let object = |parameters: &Value| {
        json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
            "metadata": {"name": "data", "annotations": {"crossplane.io/external-name": "data.img"}},
            "spec": {"managementPolicies": ["Observe"], "forProvider": parameters},
        })
        .to_string()
    };
    scenario.apply(&object(&json!({})))?;
    let which = "observe failed: 2 volumes could be meant by \"data.img\": data.img in pool other-shelf, data.img in pool shelf; \
                 say which with spec.forProvider.pool or the annotation crossplane.io/external-name";
    scenario.await_condition("volume/data", "Synced", ("False", "ReconcileError", which))?;
    scenario.apply(&object(&json!({"pool": "other-shelf"})))?;
    scenario.await_object("volume", "data", |volume| {
        ensure!(volume["status"]["atProvider"]["capacity"] == "1Mi", "{}", volume["status"]);
        Ok(())
    })?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.volumes("shelf")?, ["below", "data.img"]);
    Ok(())
}

#[test]
fn a_guest_on_an_imported_volume_waits_until_its_format_and_what_is_below_are_said() -> Result<()> {
    let scenario = STAGE.scenario("imports-disk")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("crate")?;
    host.virsh(&["vol-create-as", "crate", "root", "1M", "--format", "raw"])?;
    let import = Import { scenario: &scenario, kind: "Volume", external: "root", looks: vec![] };
    import.observe("root", &json!({"pool": "crate"}))?;
    scenario.apply(&scenario.idle_guest(""))?;
    let title = format!("domain/{}", scenario.name());
    scenario.await_object("domain", scenario.name(), |domain| {
        let (_, _, message) = condition(domain, "Synced")?;
        ensure!(message.ends_with("it was not made by this provider; set its spec.forProvider.format"), "{message}");
        Ok(())
    })?;
    import.observe("root", &json!({"pool": "crate", "format": "Raw"}))?;
    scenario.await_ready(&[&title])?;
    let disk = scenario.inactive("//disk/driver|//disk/source")?;
    assert!(disk.contains("type=\"raw\"") && disk.contains(&format!("{folder}/root")), "{disk}");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.volumes("crate")?, ["root"]);
    Ok(())
}

#[test]
fn a_seed_is_imported_and_its_content_is_not_read() -> Result<()> {
    let scenario = STAGE.scenario("imports-seed")?;
    let host = scenario.host();
    let folder = scenario.host().their_pool("seeds")?;
    for (external, volume) in [("first.iso", "first.iso"), ("second", "second-0123456789abcdef.iso")] {
        host.virsh(&["vol-create-as", "seeds", volume, "1M", "--format", "raw"])?;
        let looks = vec![vec!["vol-dumpxml", volume, "seeds"], vec!["vol-list", "seeds"]];
        let import = Import { scenario: &scenario, kind: "CloudInit", external, looks };
        // A seed has nothing that could differ: other content would be another volume.
        let drift = (json!({"userData": {"inline": "x"}}), "");
        let shown = import.goes(&drift, &json!({}), &not_recorded("cloudinit", volume, "seeds"))?;
        let path = format!("{folder}/{volume}");
        let wanted = json!({"id": path, "pool": "seeds", "volume": volume, "path": path, "capacity": "1Mi"});
        assert_eq!(shown, wanted);
    }
    Ok(())
}
