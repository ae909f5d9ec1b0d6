//! A guest's whole life: made from nothing, changed while it runs, halted, and on again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{GuestFiles, PATIENCE, Scenario, SharedStage, condition, eventually};

static STAGE: SharedStage = SharedStage::new("life", &["--poll=2s"]);

/// The rest of a guest's parameters: one disk, one interface, a seed.
const DEVICES: &str = "memory: 128Mi, vcpus: 1, disks: [{name: root, volumeRef: {name: root}}]";

fn on_network(scenario: &Scenario<'_>) -> String {
    let name = scenario.name();
    format!(
        "{DEVICES}, networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}}}], cloudInitRef: {{name: {name}}}"
    )
}

#[test]
fn a_guest_made_from_nothing_boots_takes_an_address_and_obeys_its_seed() -> Result<()> {
    let scenario = STAGE.scenario("birth")?;
    let script = "#!/bin/sh\necho proof from $(hostname)\n";
    // In the wrong order: everything waits for what it needs.
    let all = scenario.guest(&on_network(&scenario))
        + &scenario.seed("one", script)
        + &scenario.network()
        + &scenario.storage()?;
    scenario.apply(&all)?;
    let objects = [
        "pool/birth",
        "volume/kernel",
        "volume/initrd",
        "volume/root",
        "network/birth",
        "cloudinit/birth",
        "domain/birth",
    ];
    scenario.await_ready(&objects)?;
    let console = scenario.console();
    let lease = console.wait_for_line("dhcp eth0 ", PATIENCE)?;
    let address = lease.replace("dhcp eth0 ", "");
    console.wait_for_line("userdata-end 0", PATIENCE)?;
    assert!(console.lines().contains(&"hostname guest-one".to_owned()), "{:?}", console.lines());
    assert!(console.lines().contains(&"> proof from guest-one".to_owned()), "{:?}", console.lines());
    assert_eq!(console.seed_file("user-data").as_deref(), Some(script));
    let mac = scenario.live("//interface/mac")?.replace("<mac address=\"", "").replace("\"/>", "");
    let wanted = json!([{"ip": address, "mac": mac, "interface": "lan", "source": "Lease"}]);
    scenario.await_object("domain", "birth", |domain| {
        let seen = &domain["status"]["atProvider"]["addresses"];
        ensure!(*seen == wanted, "addresses are {seen}, wanted {wanted}");
        Ok(())
    })?;
    check_status(&scenario, &mac)
}

/// The whole status of a domain, each part beside where it comes from.
fn check_status(scenario: &Scenario<'_>, mac: &str) -> Result<()> {
    let mut seen = scenario.observed("domain", scenario.name())?;
    let domain = scenario.object("domain", scenario.name())?;
    let seed = scenario.observed("cloudinit", scenario.name())?;
    let path = |volume: &str| scenario.observed("volume", volume).map(|seen| seen["path"].clone());
    seen.as_object_mut().map(|seen| seen.remove("addresses"));
    let machine = seen["os"]["machine"].clone();
    assert!(machine.as_str().is_some_and(|machine| machine.starts_with("pc-q35-")), "{machine}");
    let log = format!("/var/log/libvirt/qemu/{}.serial.console", scenario.name());
    let wanted = json!({
        "id": domain["metadata"]["uid"], "state": "Running",
        "type": "Qemu", "memory": domain["spec"]["forProvider"]["memory"], "vcpus": 1, "autostart": false,
        "cpu": seen["cpu"], "clock": {"offset": "Utc"}, "features": {"acpi": true, "apic": true},
        "lifecycle": {"onPoweroff": "Destroy", "onReboot": "Restart", "onCrash": "Destroy"},
        "os": {
            "arch": "x86_64", "machine": machine,
            "kernel": path("kernel")?, "initrd": path("initrd")?,
            "cmdline": GuestFiles::COMMAND_LINE, "boot": ["Disk"],
        },
        "disks": [
            {"name": "root", "target": "vda", "device": "Disk", "bus": "Virtio", "path": path("root")?},
            {
                "name": "cloud-init", "target": "sda", "device": "Cdrom", "bus": "Scsi", "readOnly": true,
                "path": seed["path"],
            },
        ],
        "networkInterfaces": [{"name": "lan", "mac": mac, "network": scenario.name(), "model": "Virtio"}],
        "consoles": [{"name": "serial", "type": "Pty", "log": true, "logFile": log}],
    });
    assert_eq!(seen, wanted);
    assert_eq!(seed["instanceId"], "one");
    assert_eq!(scenario.live("/domain/os/kernel/text()|/domain/os/initrd/text()")?.lines().count(), 2);
    Ok(())
}

#[test]
fn memory_and_processors_grow_live_within_their_limits_and_beyond_them_at_the_next_boot() -> Result<()> {
    let scenario = STAGE.scenario("grow")?;
    let sizes = "memory: 128Mi, maxMemory: 192Mi, vcpus: 1, maxVcpus: 2";
    scenario.apply(&(scenario.storage()? + &scenario.guest(sizes)))?;
    scenario.await_ready(&["domain/grow"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    assert_eq!(console.wait_for_line("cpus ", PATIENCE)?, "cpus 1");
    let identity = scenario.identity()?;
    let before = settled_memory(&scenario)?;
    scenario.change("domain", "grow", &json!({"memory": "160Mi", "vcpus": 2}))?;
    await_second_processor(&scenario)?;
    eventually(PATIENCE, || {
        let now = guest_memory(&scenario)?;
        ensure!(now >= before + 30 * 1024, "the guest has {now} KiB and had {before}");
        Ok(())
    })?;
    let sizes = "/domain/memory|/domain/currentMemory|/domain/vcpu";
    let wanted = sizes_xml(192, 160, 2, 2);
    scenario.await_host(&wanted, |scenario| scenario.live(sizes))?;
    scenario.await_host(&wanted, |scenario| scenario.inactive(sizes))?;
    await_no_restart(&scenario)?;
    // It is still so after a cold start.
    scenario.host().virsh(&["destroy", "grow"])?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    assert_eq!(console.wait_for_line("cpus ", PATIENCE)?, "cpus 2");
    scenario.await_host(&wanted, |scenario| scenario.live(sizes))?;

    scenario.change("domain", "grow", &json!({"memory": "256Mi", "maxMemory": "256Mi", "vcpus": 3, "maxVcpus": 4}))?;
    let message = "waiting for the guest's next boot: maxMemory, maxVcpus, memory, vcpus";
    scenario.await_condition("domain/grow", "RestartRequired", ("True", "ChangesPending", message))?;
    scenario.await_condition("domain/grow", "Synced", ("True", "ReconcileSuccess", ""))?;
    scenario.await_condition("domain/grow", "Ready", ("True", "Available", ""))?;
    let pending = json!(["maxMemory", "maxVcpus", "memory", "vcpus"]);
    assert_eq!(scenario.observed("domain", "grow")?["pendingChanges"], pending);
    assert_eq!(scenario.live(sizes)?, wanted);
    scenario.host().virsh(&["destroy", "grow"])?;
    console.wait_for_nth("ready", 3, PATIENCE)?;
    console.wait_for_line("cpus 3", PATIENCE)?;
    scenario.await_host(&sizes_xml(256, 256, 3, 4), |scenario| scenario.live(sizes))?;
    await_no_restart(&scenario)?;
    assert_eq!(scenario.identity()?, identity);
    Ok(())
}

/// Newer kernels (seen with 6.12, not with 6.1) leave no room for further processors where they know no hypervisor, as under plain
/// emulation: such a guest is given its processor all the same, as QEMU and the live description show, and has it at its next boot.
fn await_second_processor(scenario: &Scenario<'_>) -> Result<()> {
    let console = scenario.console();
    if console.wait_for_line("possible-cpus ", PATIENCE)? == "possible-cpus 0-1" {
        console.wait_for_line("cpus 2", PATIENCE)?;
    }
    scenario.await_host("2", |scenario| {
        let count = scenario.host().virsh(&["vcpucount", scenario.name(), "--live", "--active"])?;
        Ok(count.trim().to_owned())
    })
}

fn await_no_restart(scenario: &Scenario<'_>) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "it asks for a restart");
        ensure!(domain["status"]["atProvider"]["pendingChanges"] == Value::Null, "changes are pending");
        Ok(())
    })
}

/// The last figure the guest gave of its memory, in KiB.
fn guest_memory(scenario: &Scenario<'_>) -> Result<u64> {
    let line = scenario.console().wait_for_line("memory ", PATIENCE)?;
    Ok(line.trim_start_matches("memory ").parse()?)
}

/// The guest gives memory back in the first seconds after its boot, until it has what it was given.
fn settled_memory(scenario: &Scenario<'_>) -> Result<u64> {
    scenario.await_host("actual 131072", |scenario| {
        let figures = scenario.host().virsh(&["dommemstat", scenario.name()])?;
        Ok(figures.lines().next().unwrap_or_default().to_owned())
    })?;
    let mut known = guest_memory(scenario)?;
    eventually(PATIENCE, || {
        // It looks once a second.
        std::thread::sleep(Duration::from_millis(1500));
        let before = std::mem::replace(&mut known, guest_memory(scenario)?);
        ensure!(known == before, "it had {before} and has {known}");
        Ok(known)
    })
}

/// Sizes as libvirt writes them: MiB and processors, now and at most.
fn sizes_xml(most: u64, now: u64, vcpus: u32, max_vcpus: u32) -> String {
    let current = if vcpus == max_vcpus { String::new() } else { format!(" current=\"{vcpus}\"") };
    format!(
        "<memory unit=\"KiB\">{}</memory>\n<currentMemory unit=\"KiB\">{}</currentMemory>\n\
         <vcpu placement=\"static\"{current}>{max_vcpus}</vcpu>",
        most * 1024,
        now * 1024
    )
}

#[test]
fn disks_come_go_and_grow_under_a_running_guest_that_then_halts_and_comes_back() -> Result<()> {
    let scenario = STAGE.scenario("disks")?;
    scenario.apply(
        &(scenario.storage()?
            + &scenario.network()
            + &scenario.seed("d", "#!/bin/sh\n")
            + &scenario.guest(&on_network(&scenario))),
    )?;
    scenario.await_ready(&["domain/disks"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    assert_eq!(console.wait_for_line("disk vda ", PATIENCE)?, "disk vda 67108864");
    let identity = scenario.identity()?;

    let root = json!({"name": "root", "volumeRef": {"name": "root"}});
    scenario.apply(&scenario.volume("extra", "capacity: 32Mi, format: Raw"))?;
    let extra = json!({"name": "extra", "volumeRef": {"name": "extra"}});
    scenario.change("domain", "disks", &json!({"disks": [root, extra]}))?;
    assert_eq!(console.wait_for_line("disk vdb ", PATIENCE)?, "disk vdb 33554432");
    scenario.await_ready(&["domain/disks"])?;
    scenario.change("domain", "disks", &json!({"disks": [root]}))?;
    console.wait_for_line("disk-gone vdb", PATIENCE)?;
    scenario.await_host(&identity, Scenario::identity)?;

    scenario.change("volume", "root", &json!({"capacity": "96Mi"}))?;
    assert_eq!(console.wait_for_line("disk-resized vda ", PATIENCE)?, "disk-resized vda 100663296");
    await_capacity(&scenario, "96Mi")?;
    refuse_to_shrink(&scenario)?;
    halt_grow_and_start(&scenario)?;
    assert_eq!(scenario.identity()?, identity);
    Ok(())
}

fn await_capacity(scenario: &Scenario<'_>, wanted: &str) -> Result<()> {
    scenario.await_object("volume", "root", |volume| {
        let seen = &volume["status"]["atProvider"]["capacity"];
        ensure!(seen == wanted, "capacity is {seen}");
        Ok(())
    })
}

fn refuse_to_shrink(scenario: &Scenario<'_>) -> Result<()> {
    scenario.change("volume", "root", &json!({"capacity": "64Mi"}))?;
    let sentence = "capacity 64Mi is smaller than the volume's 96Mi; a volume never shrinks, because data would be cut off. \
                    Set capacity to at least that";
    scenario.await_condition("volume/root", "UpToDate", ("False", "ShrinkRefused", sentence))?;
    let synced = format!("update failed: {sentence}");
    scenario.await_condition("volume/root", "Synced", ("False", "ReconcileError", &synced))?;
    scenario.await_condition("volume/root", "Ready", ("True", "Available", ""))?;
    let info = scenario.host().virsh(&["vol-info", "--bytes", "root", scenario.name()])?;
    assert!(info.contains("100663296 bytes"), "{info}");
    scenario.change("volume", "root", &json!({"capacity": "96Mi"}))?;
    scenario.await_ready(&["volume/root"])
}

fn halt_grow_and_start(scenario: &Scenario<'_>) -> Result<()> {
    let console = scenario.console();
    scenario.change("domain", scenario.name(), &json!({"runStrategy": "Halted"}))?;
    console.wait_for_line("poweroff", PATIENCE)?;
    scenario.await_host("shut off (shutdown)", |scenario| {
        scenario.host().virsh(&["domstate", "--reason", scenario.name()])
    })?;
    scenario.await_object("domain", scenario.name(), |domain| {
        let state = &domain["status"]["atProvider"]["state"];
        ensure!(state == "Shutoff" && condition(domain, "Ready")?.0 == "True", "{state}");
        Ok(())
    })?;
    scenario.change("volume", "root", &json!({"capacity": "128Mi"}))?;
    await_capacity(scenario, "128Mi")?;
    scenario.change("domain", scenario.name(), &json!({"runStrategy": "Always"}))?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    assert_eq!(console.wait_for_line("disk vda ", PATIENCE)?, "disk vda 134217728");
    scenario.await_ready(&["domain/disks", "volume/root"])
}

#[test]
fn a_changed_seed_is_swapped_into_the_running_guest_and_the_old_one_goes() -> Result<()> {
    let scenario = STAGE.scenario("seeds")?;
    let name = scenario.name();
    let guest = scenario.guest(&format!("memory: 128Mi, cloudInitRef: {{name: {name}}}"));
    scenario.apply(&(scenario.storage()? + &scenario.seed("one", "#!/bin/sh\necho first\n") + &guest))?;
    scenario.await_ready(&["cloudinit/seeds", "domain/seeds"])?;
    let console = scenario.console();
    console.wait_for_line("> first", PATIENCE)?;
    console.wait_for_line("ready", PATIENCE)?;
    let before = scenario.observed("cloudinit", name)?;
    scenario.apply(&scenario.seed("two", "#!/bin/sh\necho second\n"))?;
    console.wait_for_line("media-changed sr0", PATIENCE)?;
    console.wait_for_line("> second", PATIENCE)?;
    console.wait_for_line("hostname guest-two", PATIENCE)?;
    let after = scenario.await_object("cloudinit", name, |seed| {
        let seen = seed["status"]["atProvider"].clone();
        ensure!(seen["instanceId"] == "two", "{seen}");
        Ok(seen)
    })?;
    assert_ne!(after["volume"], before["volume"]);
    let volumes = format!("initrd\nkernel\nroot\n{}", after["volume"].as_str().unwrap_or_default());
    scenario.await_host(&volumes, |scenario| volume_names(scenario))?;
    for description in [Scenario::live, Scenario::inactive] {
        let source = description(&scenario, "//disk[@device='cdrom']/source")?;
        assert!(source.contains(after["path"].as_str().unwrap_or("none")), "{source}");
    }
    scenario.await_ready(&["cloudinit/seeds", "domain/seeds"])?;
    // One boot only: nothing was restarted for it.
    assert_eq!(console.lines().iter().filter(|line| *line == "ready").count(), 1);
    Ok(())
}

fn volume_names(scenario: &Scenario<'_>) -> Result<String> {
    let list = scenario.host().virsh(&["vol-list", scenario.name()])?;
    let mut names: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // The seed, whose name tells its content, last.
    names.sort_by_key(|name| (name.contains(".iso"), *name));
    Ok(names.join("\n"))
}
