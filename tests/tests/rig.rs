//! The rig itself: each piece does what the other tests rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use tests::{ControlPlane, GuestFiles, Host, Namespace, PATIENCE, Scratch, Seed, eventually, guest_files};

const BOOT: Duration = Duration::from_mins(3);

#[test]
fn a_control_plane_takes_and_deletes_objects_and_knows_its_users() -> Result<()> {
    let scratch = Scratch::new("plane")?;
    let plane = ControlPlane::start(scratch.path())?;
    let client = plane.client();
    let namespace = Namespace::create(&client)?;
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: one}, data: {a: b}}";
    assert_eq!(namespace.apply(map)?.trim(), "configmap/one serverside-applied");
    let read = namespace.get("configmap", "one")?.map(|map| map["data"].clone());
    assert_eq!(read, Some(serde_json::json!({"a": "b"})));
    assert_eq!(namespace.get("configmap", "two")?, None);
    let refused = plane.client_of("tenant").run(&["get", "configmaps"]).unwrap_err();
    assert!(format!("{refused:#}").contains("User \"tenant\" cannot list resource"), "{refused:#}");
    client.run(&["delete", "namespace", namespace.name(), "--timeout=20s"])?;
    assert_eq!(client.get(&["namespace", namespace.name()])?, None);
    Ok(())
}

#[test]
fn a_dropped_control_plane_leaves_no_process() -> Result<()> {
    let scratch = Scratch::new("plane")?;
    let pids = ControlPlane::start(scratch.path())?.pids();
    assert_eq!(pids.len(), 3);
    assert_eq!(pids.into_iter().filter(|pid| tests::is_running(*pid)).count(), 0);
    Ok(())
}

#[test]
fn two_hosts_are_two_hosts() -> Result<()> {
    let (one, two) = (Host::start("one")?, Host::start("two")?);
    for (host, name) in [(&one, "one"), (&two, "two")] {
        assert_eq!(host.virsh(&["hostname"])?.trim(), name);
        assert!(host.virsh(&["capabilities"])?.contains(&format!("<uuid>{}</uuid>", host.uuid())));
        assert_eq!(host.virsh(&["list", "--all", "--name"])?.trim(), "");
    }
    assert_ne!(one.uuid(), two.uuid());
    one.virsh_xml("net-define", "<network><name>only-here</name></network>")?;
    assert_eq!(one.virsh(&["net-list", "--all", "--name"])?.trim(), "only-here");
    assert_eq!(two.virsh(&["net-list", "--all", "--name"])?.trim(), "");
    Ok(())
}

#[test]
fn a_daemon_can_be_frozen_killed_and_started_again() -> Result<()> {
    let host = Host::start("fault")?;
    host.freeze()?;
    let asked = tests::run("timeout", &["1", "virsh", "-c", &host.uri(), "uri"]);
    host.thaw()?;
    assert!(format!("{:#}", asked.unwrap_err()).contains("exit status: 124"));
    assert_eq!(host.virsh(&["uri"])?.trim(), host.uri());
    host.kill_daemon()?;
    let refused = format!("{:#}", host.virsh(&["uri"]).unwrap_err());
    assert!(refused.contains("Connection refused"), "{refused}");
    host.restart_daemon()?;
    assert_eq!(host.virsh(&["uri"])?.trim(), host.uri());
    Ok(())
}

#[test]
fn a_daemon_that_crashes_is_started_again_by_its_service_manager_and_one_that_was_killed_is_not() -> Result<()> {
    let host = Host::start("crash")?;
    let before = host.pids("libvirtd")?;
    host.crash_daemon()?;
    eventually(PATIENCE, || {
        let after = host.pids("libvirtd")?;
        ensure!(after.len() == 1 && after != before, "{before:?} {after:?}");
        host.virsh(&["uri"])
    })?;
    assert!(host.daemon_log().contains("libvirtd crashed with signal 11 and is started again"));
    host.kill_daemon()?;
    sleep(Duration::from_secs(1));
    assert_eq!(host.pids("libvirtd")?, Vec::<u32>::new());
    Ok(())
}

#[test]
fn a_guest_boots_takes_an_address_obeys_its_seed_and_a_shutdown() -> Result<()> {
    let host = Host::start("guests")?;
    start_network(&host)?;
    let user_data = "#!/bin/sh\necho proof from $(hostname)\n";
    let seed = Seed { meta_data: "instance-id: i-1\nlocal-hostname: zebra\n", user_data, network_config: "" };
    define_guest(&host, "seeded", Some(seed), "")?;
    let console = host.console("seeded");
    let lease = console.wait_for_line("dhcp eth0 ", BOOT)?;
    ensure!(console.lines().contains(&"hostname zebra".to_owned()), "no host name: {:?}", console.lines());
    ensure!(console.lines().contains(&"> proof from zebra".to_owned()), "no output: {:?}", console.lines());
    assert_eq!(console.seed_file("user-data").as_deref(), Some(user_data));
    let address = lease.replace("dhcp eth0 ", "");
    // The guest has its address before the DHCP server's helper has told libvirt.
    eventually(BOOT, || {
        let leases = host.virsh(&["net-dhcp-leases", "rig"])?;
        ensure!(leases.contains(&address) && leases.contains("zebra"), "{leases}");
        Ok(())
    })?;
    host.virsh(&["shutdown", "seeded"])?;
    console.wait_for_line("poweroff", BOOT)?;
    eventually(BOOT, || {
        let state = host.virsh(&["domstate", "seeded", "--reason"])?;
        ensure!(state.trim() == "shut off (shutdown)", "{state}");
        Ok(())
    })
}

#[test]
fn a_guest_told_to_ignore_the_power_button_ignores_it_and_ends_with_its_host() -> Result<()> {
    let host = Host::start("stubborn")?;
    start_network(&host)?;
    define_guest(&host, "deaf", None, "tiny.ignore_shutdown=1")?;
    let console = host.console("deaf");
    console.wait_for_line("ready", BOOT)?;
    host.virsh(&["shutdown", "deaf"])?;
    console.wait_for_line("power-button-ignored", BOOT)?;
    assert_eq!(host.virsh(&["domstate", "deaf"])?.trim(), "running");
    let processes = [host.pids("qemu-system-x86")?, host.pids("dnsmasq")?, host.pids("libvirtd")?];
    assert_eq!(processes.each_ref().map(Vec::is_empty), [false; 3]);
    drop(host);
    eventually(Duration::from_secs(20), || {
        ensure!(!processes.iter().flatten().any(|pid| tests::is_running(*pid)), "a process of the host is left");
        Ok(())
    })
}

#[test]
fn the_disk_boots_and_the_guest_sees_disks_media_and_seeds_change() -> Result<()> {
    let host = Host::start("media")?;
    let (disk, first, second) = (host.path("disk.qcow2"), host.path("1.iso"), host.path("2.iso"));
    fs::copy(guest_files()?.disk, &disk)?;
    Seed { meta_data: "instance-id: i-1\nlocal-hostname: first\n", ..Seed::default() }.write_iso(&first)?;
    Seed { meta_data: "instance-id: i-2\nlocal-hostname: second\n", ..Seed::default() }.write_iso(&second)?;
    let boot = "<type arch='x86_64' machine='q35'>hvm</type>";
    let devices = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/><target dev='vda' bus='virtio'/></disk>{}",
        disk.display(),
        cdrom(&first.display().to_string()),
    );
    host.virsh_xml("create", &domain(&host, "disked", boot, &devices))?;
    let console = host.console("disked");
    console.wait_for_line("ready", BOOT)?;
    assert_eq!(console.wait_for_line("disk vda ", BOOT)?, "disk vda 67108864");
    host.virsh(&["blockresize", "disked", "vda", "96M"])?;
    assert_eq!(console.wait_for_line("disk-resized vda ", BOOT)?, "disk-resized vda 100663296");
    assert_eq!(console.wait_for_line("hostname ", BOOT)?, "hostname first");
    host.virsh(&["change-media", "disked", "sda", &second.display().to_string(), "--live"])?;
    console.wait_for_line("hostname second", BOOT)?;
    assert_eq!(console.seed_file("meta-data").as_deref(), Some("instance-id: i-2\nlocal-hostname: second\n"));
    Ok(())
}

/// No spanning tree and no ping check: a lease comes at once instead of after eight seconds.
fn start_network(host: &Host) -> Result<()> {
    let xml = "<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>rig</name><forward mode='nat'/>\
        <bridge name='virbr-rig' stp='off' delay='0'/><ip address='192.168.150.1' netmask='255.255.255.0'>\
        <dhcp><range start='192.168.150.10' end='192.168.150.200'/></dhcp></ip>\
        <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options></network>";
    host.virsh_xml("net-define", xml)?;
    host.virsh(&["net-start", "rig"]).map(drop)
}

/// Defines a guest with a direct kernel boot on network `rig` and starts it.
fn define_guest(host: &Host, name: &str, seed: Option<Seed<'_>>, command_line: &str) -> Result<()> {
    let GuestFiles { kernel, initrd, .. } = guest_files()?;
    let boot = format!(
        "<type arch='x86_64' machine='q35'>hvm</type><kernel>{}</kernel><initrd>{}</initrd><cmdline>{} {command_line}</cmdline>",
        kernel.display(),
        initrd.display(),
        GuestFiles::COMMAND_LINE,
    );
    let mut devices =
        "<interface type='network'><source network='rig'/><model type='virtio'/><rom enabled='no'/></interface>"
            .to_owned();
    if let Some(seed) = seed {
        let image = host.path(&format!("{name}.iso"));
        seed.write_iso(&image)?;
        devices += &cdrom(&image.display().to_string());
    }
    host.virsh_xml("define", &domain(host, name, &boot, &devices))?;
    host.virsh(&["start", name]).map(drop)
}

fn cdrom(image: &str) -> String {
    format!(
        "<controller type='scsi' model='virtio-scsi'/><disk type='file' device='cdrom'><driver name='qemu' type='raw'/>\
         <source file='{image}'/><target dev='sda' bus='scsi'/><readonly/></disk>"
    )
}

fn domain(host: &Host, name: &str, boot: &str, devices: &str) -> String {
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>128</memory><vcpu>1</vcpu><os>{boot}</os>\
         <features><acpi/><apic/></features><devices>{devices}<serial type='pty'><log file='{}' append='off'/></serial></devices></domain>",
        host.console(name).path().display(),
    )
}
