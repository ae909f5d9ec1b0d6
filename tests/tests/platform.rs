//! What a guest sees of the machine that its Domain describes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{GuestFiles, PATIENCE, Scenario, SharedStage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("platform", &["--poll=2s"]);

/// Tells what the kernel found, keeps a variable in the firmware, and tells from then on when the cable comes or goes.
const SCRIPT: &str = r#"#!/bin/sh
[ -d /sys/firmware/efi ] && echo efi
dmesg | grep -o 'Secure boot enabled' | head -n 1
sed 's/^/tpm /' /sys/class/tpm/tpm0/tpm_version_major
sed 's/$//' /sys/devices/system/cpu/cpu*/topology/physical_package_id | sort -u | sed 's/^/socket /'
echo "serial $(cat /sys/block/vda/serial)"
sed 's/^/mtu /' /sys/class/net/eth0/mtu
grep -l 0x25ab /sys/bus/pci/devices/*/device | sed 's/.*/a watchdog/'
mount -t efivarfs efivarfs /sys/firmware/efi/efivars
kept=/sys/firmware/efi/efivars/Kept-7a3c9c1e-4a25-4c0f-9f58-3f2d1f1f0b55
[ -e $kept ] && echo 'variable kept' || { printf '\007\000\000\000x' >$kept && echo 'variable made'; }
(while sleep 1; do read -r now </sys/class/net/eth0/carrier; [ "$now" = "$last" ] || echo "TINY: cable $now"; last=$now; done) >/dev/console 2>&1 </dev/null &
"#;

fn machine(scenario: &Scenario<'_>) -> String {
    let name = scenario.name();
    let boot =
        format!("kernelRef: {{name: kernel}}, initrdRef: {{name: initrd}}, cmdline: '{}'", GuestFiles::COMMAND_LINE);
    manifest(
        "Domain",
        name,
        &format!(
            "type: Qemu, memory: 256Mi, vcpus: 2, os: {{{boot}, firmware: Efi, secureBoot: true}}, tpm: {{model: Crb}}, \
             features: {{smm: true}}, cpu: {{topology: {{sockets: 2}}}}, clock: {{offset: Localtime, timers: [{{name: Hpet, present: false}}]}}, \
             watchdog: {{action: Poweroff}}, panic: {{}}, video: {{model: Virtio}}, \
             disks: [{{name: root, volumeRef: {{name: root}}, serial: disk-of-data, cache: None, io: Native, discard: Unmap}}], \
             networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}, mtu: 1400, queues: 2}}], \
             cloudInitRef: {{name: {name}}}, consoles: [{{name: serial, log: true}}], \
             shutdown: {{timeout: 60s, forceAfterTimeout: true}}"
        ),
    )
}

#[test]
fn a_guest_finds_firmware_tpm_and_devices_as_wished_and_takes_their_files_with_it() -> Result<()> {
    let scenario = STAGE.scenario("machine")?;
    let script = SCRIPT.replace('\\', "\\\\").replace('"', "\\\"");
    scenario
        .apply(&(scenario.storage()? + &scenario.network() + &scenario.seed("one", &script) + &machine(&scenario)))?;
    scenario.await_ready(&["domain/machine"])?;
    let console = scenario.console();
    console.wait_for_line("userdata-end 0", PATIENCE)?;
    let said: Vec<String> = console.lines().into_iter().filter(|line| line.starts_with("> ")).collect();
    let wished = [
        "efi",
        "Secure boot enabled",
        "tpm 2",
        "socket 0",
        "socket 1",
        "serial disk-of-data",
        "mtu 1400",
        "a watchdog",
        "variable made",
    ];
    assert_eq!(said, wished.map(|line| format!("> {line}")));
    scenario.await_condition("domain/machine", "UpToDate", ("True", "ObserveMatched", ""))?;

    check_cable(&scenario)?;
    let files = [
        "lib/qemu/nvram/machine_VARS.fd".to_owned(),
        format!("lib/swtpm/{}", scenario.host().virsh(&["domuuid", "machine"])?.trim()),
    ];
    // A change that waits for the next boot takes away neither.
    scenario.change("domain", "machine", &json!({"video": {"model": "Vga"}}))?;
    let message = "waiting for the guest's next boot: video";
    scenario.await_condition("domain/machine", "RestartRequired", ("True", "ChangesPending", message))?;
    scenario.host().virsh(&["destroy", "machine"])?;
    console.wait_for_line("> variable kept", PATIENCE)?;
    scenario.await_host("true", |scenario| Ok(scenario.live("//video/model")?.contains("type=\"vga\"").to_string()))?;
    for file in &files {
        ensure!(scenario.host().path(file).exists(), "{file} is gone");
    }
    scenario.delete(&["domain/machine"])?;
    scenario.await_gone(&["domain/machine"])?;
    for file in &files {
        ensure!(!scenario.host().path(file).exists(), "{file} is left");
    }
    Ok(())
}

/// The cable is pulled and put in again while the guest runs.
fn check_cable(scenario: &Scenario<'_>) -> Result<()> {
    let console = scenario.console();
    console.wait_for_line("cable 1", PATIENCE)?;
    for (state, seen, times) in [("Down", "cable 0", 1), ("Up", "cable 1", 2)] {
        let nic = json!({"name": "lan", "networkRef": {"name": scenario.name()}, "mtu": 1400, "queues": 2, "linkState": state});
        scenario.change("domain", scenario.name(), &json!({"networkInterfaces": [nic]}))?;
        console.wait_for_nth(seen, times, PATIENCE)?;
    }
    let object = scenario.object("domain", scenario.name())?;
    ensure!(condition(&object, "RestartRequired").is_err(), "it asks for a restart: {}", object["status"]);
    Ok(())
}
