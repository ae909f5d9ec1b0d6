//! What stands in `initProvider` counts when a thing is made, and never again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage};

static STAGE: SharedStage = SharedStage::new("init", &["--poll=2s"]);

fn object(kind: &str, name: &str, init: &Value, parameters: &Value) -> String {
    let mut spec = json!({"forProvider": parameters});
    if !init.is_null() {
        spec["initProvider"] = init.clone();
    }
    let metadata = json!({"name": name});
    json!({"apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
        .to_string()
}

/// Changes `spec.initProvider`, where nothing is too late to be said.
fn change_init(scenario: &Scenario<'_>, object: &str, init: &Value) -> Result<()> {
    let patch = json!({"spec": {"initProvider": init}}).to_string();
    scenario.namespace().kubectl(&["patch", object, "--type=merge", "-p", &patch]).map(drop)
}

/// Checks that after a few looks all is as wished, and as it was.
fn stays(scenario: &Scenario<'_>, object: &str, look: impl Fn() -> Result<String>) -> Result<()> {
    let before = look()?;
    sleep(Duration::from_secs(6));
    assert_eq!(look()?, before, "{object}");
    scenario.await_condition(object, "UpToDate", ("True", "ObserveMatched", "")).map(drop)
}

#[test]
fn a_guest_is_made_with_what_is_initial_and_its_owner_does_with_that_what_he_likes() -> Result<()> {
    let scenario = STAGE.scenario("init-guest")?;
    let host = scenario.host();
    let world =
        scenario.pool() + &scenario.volume("root", "capacity: 1Mi") + &scenario.volume("scratch", "capacity: 1Mi");
    scenario.apply(&(world + &scenario.network()))?;
    let init = json!({
        "memory": "32Mi", "maxMemory": "128Mi", "maxVcpus": 4, "autostart": true, "runStrategy": "Manual", "os": {"machine": "pc"},
        "disks": [
            {"name": "root", "volumeRef": {"name": "root"}, "bus": "Scsi"},
            {"name": "scratch", "volumeRef": {"name": "scratch"}},
        ],
        "networkInterfaces": [{"name": "lan", "networkRef": {"name": "init-guest"}, "model": "E1000"}],
        "consoles": [{"name": "main", "log": true}, {"name": "more"}], "guestAgent": true, "rng": {"source": "Random"},
    });
    let parameters = json!({
        "type": "Qemu", "memory": "64Mi", "vcpus": 1, "shutdown": {"timeout": "1s", "forceAfterTimeout": true},
        "disks": [{"name": "root", "volumeRef": {"name": "root"}}], "consoles": [{"name": "main"}], "rng": {},
    });
    scenario.apply(&object("Domain", "init-guest", &init, &parameters))?;
    scenario.await_ready(&["domain/init-guest"])?;
    let aliases =
        scenario.inactive("//disk/alias/@name|//interface/alias/@name|//serial/alias/@name|//channel/alias/@name")?;
    for alias in [
        "ua-disk-root",
        "ua-init-disk-scratch",
        "ua-init-nic-lan",
        "ua-serial-main",
        "ua-init-serial-more",
        "ua-init-channel-agent",
    ] {
        assert!(aliases.contains(&format!("\"{alias}\"")), "{alias}: {aliases}");
    }
    let made = scenario.inactive(
        "//memory|//currentMemory|//vcpu|//disk/target|//backend|//serial/log/@append|/domain/os/type/@machine",
    )?;
    for part in ["131072", "65536", "current=\"1\">4<", "bus=\"scsi\"", "/dev/random", "append=\"on\"", "pc-i440fx"] {
        assert!(made.contains(part), "{part}: {made}");
    }
    let names: Vec<Value> = scenario.observed("domain", "init-guest")?["disks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|disk| disk["name"].clone())
        .collect();
    assert_eq!(names, ["root", "scratch"]);
    stays(&scenario, "domain/init-guest", || host.virsh(&["dumpxml", "--inactive", "init-guest"]))?;

    left_to_its_owner(&scenario)?;
    made_again(&scenario)?;
    edited(&scenario)
}

/// What is gone from the host is made again with everything that it was made with.
fn made_again(scenario: &Scenario<'_>) -> Result<()> {
    let host = scenario.host();
    host.virsh(&["destroy", "init-guest"])?;
    host.virsh(&["undefine", "init-guest"])?;
    let parts = "//disk/alias/@name|//interface/alias/@name|//interface/source/@network|//disk/source/@file";
    let name = |scenario: &Scenario<'_>| scenario.inactive("//interface/alias/@name");
    scenario.await_host("name=\"ua-init-nic-lan\"", name)?;
    let made = scenario.inactive(parts)?;
    for part in ["ua-disk-root", "ua-init-disk-scratch", "network=\"init-guest\"", "/root\"", "/scratch\""] {
        assert!(made.contains(part), "{part}: {made}");
    }
    // Its owner unplugs the same disk once more.
    host.virsh(&["detach-disk", "init-guest", "vda", "--config"])?;
    stays(scenario, "domain/init-guest", || host.virsh(&["dumpxml", "--inactive", "init-guest"]))
}

/// What only `initProvider` says is nobody's to bring back; what `forProvider` says is, and nothing else with it.
fn left_to_its_owner(scenario: &Scenario<'_>) -> Result<()> {
    let host = scenario.host();
    host.virsh(&["autostart", "init-guest", "--disable"])?;
    host.virsh(&["setmaxmem", "init-guest", "96M", "--config"])?;
    host.virsh(&["detach-disk", "init-guest", "vda", "--config"])?;
    host.virsh(&["setmem", "init-guest", "40M", "--config"])?;
    scenario.await_host("65536", |scenario| scenario.inactive("/domain/currentMemory/text()"))?;
    stays(scenario, "domain/init-guest", || host.virsh(&["dumpxml", "--inactive", "init-guest"]))?;
    assert_eq!(scenario.inactive("/domain/memory/text()")?, "98304");
    assert!(!scenario.inactive("//disk/alias/@name")?.contains("scratch"));
    assert!(
        host.virsh(&["dominfo", "init-guest"])?
            .lines()
            .any(|line| line.starts_with("Autostart") && line.ends_with("disable"))
    );
    Ok(())
}

/// Initial fields change without effect, and what they named may go.
fn edited(scenario: &Scenario<'_>) -> Result<()> {
    let host = scenario.host();
    let look = || host.virsh(&["dumpxml", "--inactive", "init-guest"]);
    let before = look()?;
    let other = json!({"type": "Kvm", "os": {"machine": "q35", "arch": "aarch64"}, "maxMemory": "1Gi", "disks": null, "consoles": null});
    change_init(scenario, "domain/init-guest", &other)?;
    stays(scenario, "domain/init-guest", look)?;
    assert_eq!(look()?, before);
    host.virsh(&["destroy", "init-guest"])?;
    stays(scenario, "domain/init-guest", || host.virsh(&["domstate", "init-guest"]))?;
    assert_eq!(host.virsh(&["domstate", "init-guest"])?.trim(), "shut off");
    scenario.delete(&["volume/scratch"])?;
    scenario.await_gone(&["volume/scratch"])?;
    // A repair waits for nothing that was initial.
    scenario.change("domain", "init-guest", &json!({"memory": "48Mi"}))?;
    scenario.await_host("49152", |scenario| scenario.inactive("/domain/currentMemory/text()"))?;
    // What forProvider comes to name is one of its own, and not made a second time.
    let nics = json!([{"name": "lan", "networkRef": {"name": "init-guest"}}]);
    scenario.change("domain", "init-guest", &json!({"networkInterfaces": nics}))?;
    scenario.await_host("name=\"ua-nic-lan\"", |scenario| scenario.inactive("//interface/alias/@name"))?;
    assert_eq!(look()?.matches("<interface ").count(), 1);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_volume_stays_where_and_what_it_was_made_as() -> Result<()> {
    let scenario = STAGE.scenario("init-volume")?;
    let host = scenario.host();
    let other =
        scenario.pool().replace("name: init-volume", "name: other").replace("pools/init-volume", "pools/init-other");
    scenario.apply(&(scenario.pool() + &other))?;
    let init = json!({"poolRef": {"name": "init-volume"}, "format": "Raw", "capacity": "1Mi"});
    scenario.apply(&object("Volume", "data", &init, &json!({})))?;
    scenario.await_ready(&["volume/data"])?;
    let seen = scenario.observed("volume", "data")?;
    assert_eq!(json!([seen["pool"], seen["format"], seen["capacity"]]), json!(["init-volume", "Raw", "1Mi"]));
    change_init(
        &scenario,
        "volume/data",
        &json!({"poolRef": {"name": "other"}, "format": "Qcow2", "capacity": "4Mi"}),
    )?;
    stays(&scenario, "volume/data", || host.virsh(&["vol-dumpxml", "data", "init-volume"]))?;
    assert_eq!(scenario.observed("volume", "data")?, seen);
    // A guest gets it in the format that it has.
    scenario.apply(&scenario.idle_guest("").replace("name: root}}", "name: data}}"))?;
    scenario.await_ready(&["domain/init-volume"])?;
    assert!(scenario.inactive("//disk/driver")?.contains("type=\"raw\""));
    change_init(&scenario, "volume/data", &json!({"format": null}))?;
    scenario.change("volume", "data", &json!({"capacity": "2Mi"}))?;
    scenario.await_object("volume", "data", |volume| {
        ensure!(volume["status"]["atProvider"]["capacity"] == "2Mi", "{}", volume["status"]);
        Ok(())
    })?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    Ok(())
}

#[test]
fn both_parts_together_say_one_thing_at_most() -> Result<()> {
    let scenario = STAGE.scenario("init-both")?;
    scenario.apply(&scenario.pool())?;
    let init = json!({"pool": "init-both", "capacity": "1Mi"});
    scenario.apply(&object("Volume", "data", &init, &json!({"poolRef": {"name": "init-both"}})))?;
    let both = "cannot resolve references: spec.initProvider and spec.forProvider set both pool and poolRef";
    scenario.await_condition("volume/data", "Synced", ("False", "ReconcileError", both))?;
    // Nor is anything left out that both could say.
    let refused = scenario.apply(&object("Volume", "none", &json!({"capacity": "1Mi"}), &json!({}))).unwrap_err();
    assert!(format!("{refused:#}").contains("spec.forProvider needs pool, poolRef or poolSelector"), "{refused:#}");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_pool_and_a_network_are_made_with_what_is_initial() -> Result<()> {
    let scenario = STAGE.scenario("init-net")?;
    let host = scenario.host();
    let target = json!({"path": scenario.folder(), "permissions": {"mode": "0750"}});
    scenario.apply(&object("Pool", "init-net", &json!({"target": target, "autostart": true}), &json!({})))?;
    scenario.await_ready(&["pool/init-net"])?;
    let pool = || host.virsh(&["pool-info", "init-net"]);
    assert!(pool()?.lines().any(|line| line.starts_with("Autostart") && line.ends_with("yes")), "{}", pool()?);
    host.virsh(&["pool-autostart", "init-net", "--disable"])?;
    change_init(&scenario, "pool/init-net", &json!({"target": {"path": "/another"}}))?;
    stays(&scenario, "pool/init-net", pool)?;
    let elsewhere = scenario.change("pool", "init-net", &json!({"target": {"path": "/another"}})).unwrap_err();
    assert!(format!("{elsewhere:#}").contains("path cannot be changed"), "{elsewhere:#}");
    // Made again, it is where its volumes are.
    scenario.await_host("undefined", |_| {
        // It may be started again in between.
        host.virsh(&["pool-destroy", "init-net"])?;
        host.virsh(&["pool-undefine", "init-net"]).map(|_| "undefined".to_owned())
    })?;
    let path = |_: &Scenario<'_>| host.virsh(&["pool-dumpxml", "init-net", "--xpath", "/pool/target/path/text()"]);
    scenario.await_host(scenario.folder().as_str(), path)?;

    let range = |start: &str, end: &str| json!({"start": start, "end": end});
    let init = json!({"domain": "first.example", "autostart": true, "mode": "Isolated", "ips": [
        {"cidr": "192.168.95.1/24", "dhcp": {"ranges": [range("192.168.95.10", "192.168.95.20")]}},
        {"cidr": "192.168.94.1/24"},
    ]});
    let ips =
        json!({"ips": [{"cidr": "192.168.95.1/24", "dhcp": {"ranges": [range("192.168.95.30", "192.168.95.40")]}}]});
    scenario.apply(&object("Network", "init-net", &init, &ips))?;
    scenario.await_ready(&["network/init-net"])?;
    let network = || host.virsh(&["net-dumpxml", "init-net", "--inactive"]);
    let made = network()?;
    for part in ["192.168.94.1", "192.168.95.10", "192.168.95.30", "first.example"] {
        assert!(made.contains(part), "{part}: {made}");
    }
    stays(&scenario, "network/init-net", network)?;
    change_init(&scenario, "network/init-net", &json!({"domain": "second.example", "ips": null}))?;
    stays(&scenario, "network/init-net", network)?;
    assert_eq!(network()?, made);
    let update =
        |what: &str| host.virsh(&["net-update", "init-net", "delete", "ip-dhcp-range", what, "--live", "--config"]);
    update("<range start='192.168.95.10' end='192.168.95.20'/>")?;
    update("<range start='192.168.95.30' end='192.168.95.40'/>")?;
    scenario
        .await_host("back", |_| Ok(if network()?.contains("192.168.95.30") { "back" } else { "gone" }.to_owned()))?;
    stays(&scenario, "network/init-net", network)?;
    assert!(!network()?.contains("192.168.95.10"), "{}", network()?);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_seed_is_named_once_for_what_is_initial_and_anew_for_what_is_said() -> Result<()> {
    let scenario = STAGE.scenario("init-seed")?;
    let host = scenario.host();
    scenario.apply(&scenario.pool())?;
    let init = json!({"pool": "init-seed", "userData": {"inline": "#!/bin/sh\necho initial\n"}});
    let meta = |id: &str| json!({"metaData": {"inline": format!("instance-id: {id}\n")}});
    scenario.apply(&object("CloudInit", "seed", &init, &meta("one")))?;
    scenario.await_ready(&["cloudinit/seed"])?;
    let first = host.volumes("init-seed")?;
    let text =
        |volume: &str| tests::run("grep", &["-a", "-c", "echo initial", &format!("{}/{volume}", scenario.folder())]);
    assert_eq!((first.len(), text(&first[0])?.trim()), (1, "1"));
    assert_eq!(scenario.observed("cloudinit", "seed")?["instanceId"], "one");
    change_init(&scenario, "cloudinit/seed", &json!({"userData": {"inline": "#!/bin/sh\necho another\n"}}))?;
    stays(&scenario, "cloudinit/seed", || Ok(host.volumes("init-seed")?.join(" ")))?;
    assert_eq!(host.volumes("init-seed")?, first);
    assert_eq!(scenario.observed("cloudinit", "seed")?["instanceId"], "one");
    // A new seed is made of both as they are then.
    scenario.change("cloudinit", "seed", &meta("two"))?;
    scenario.await_object("cloudinit", "seed", |_| {
        let volumes = host.volumes("init-seed")?;
        ensure!(volumes.len() == 1 && volumes != first, "{volumes:?}");
        Ok(())
    })?;
    let second = host.volumes("init-seed")?;
    tests::run("grep", &["-a", "-q", "echo another", &format!("{}/{}", scenario.folder(), second[0])])?;
    // It names its pool as one that no object stands for, so nothing keeps the Pool until it has gone.
    scenario.delete(&["cloudinit/seed"])?;
    scenario.await_gone(&["cloudinit/seed"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_seed_that_was_made_stays_when_something_initial_is_said_later() -> Result<()> {
    let scenario = STAGE.scenario("init-late")?;
    let host = scenario.host();
    scenario.apply(&scenario.pool())?;
    let said = json!({"pool": "init-late", "userData": {"inline": "#!/bin/sh\necho said\n"}});
    scenario.apply(&object("CloudInit", "seed", &Value::Null, &said))?;
    scenario.await_ready(&["cloudinit/seed"])?;
    let first = host.volumes("init-late")?;
    assert_eq!(first.len(), 1, "{first:?}");
    change_init(&scenario, "cloudinit/seed", &json!({"networkConfig": {"inline": "version: 2\n"}}))?;
    stays(&scenario, "cloudinit/seed", || Ok(host.volumes("init-late")?.join(" ")))?;
    assert_eq!(host.volumes("init-late")?, first);
    scenario.delete(&["cloudinit/seed"])?;
    scenario.await_gone(&["cloudinit/seed"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}
