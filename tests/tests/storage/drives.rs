//! Limits of disks, disks of several guests, and drives whose media come and go.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, condition, manifest};

use crate::{STAGE, await_no_restart};

/// One whose calls are counted.
static COUNTED: SharedStage = SharedStage::new("counted", &["--poll=1s"]);

/// What QEMU itself holds its only disk to.
fn throttle(scenario: &Scenario<'_>) -> Result<Value> {
    let text = scenario.host().virsh(&["qemu-monitor-command", scenario.name(), r#"{"execute": "query-block"}"#])?;
    let answer: Value = serde_json::from_str(&text)?;
    let disk =
        answer["return"].as_array().and_then(|disks| disks.first()).context("read the disk")?["inserted"].clone();
    let names = ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "bps_max", "iops_rd_max"];
    Ok(names.map(|name| disk[name].as_u64().unwrap_or_default()).into())
}

#[test]
fn what_a_disk_may_cost_is_changed_and_lifted_under_a_running_guest() -> Result<()> {
    let scenario = STAGE.scenario("tuned")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_ready(&["domain/tuned"])?;
    let tune = |tune: Value| json!({"disks": [{"name": "root", "volumeRef": {"name": "root"}, "ioTune": tune}]});
    let limits = |scenario: &Scenario<'_>| Ok(throttle(scenario)?.to_string());

    let first = json!({"bytesPerSecond": {"total": "10Mi", "totalMax": "20Mi"}, "iopsPerSecond": {"read": 100, "readMax": 200}});
    scenario.change("domain", "tuned", &tune(first.clone()))?;
    scenario.await_host("[10485760,0,0,0,100,0,20971520,200]", limits)?;
    let wanted = "<iotune>\n  <total_bytes_sec>10485760</total_bytes_sec>\n  <read_iops_sec>100</read_iops_sec>\n  \
                  <total_bytes_sec_max>20971520</total_bytes_sec_max>\n  <read_iops_sec_max>200</read_iops_sec_max>\n</iotune>";
    scenario.await_host(wanted, |scenario| scenario.live("//disk/iotune"))?;
    scenario.await_host(wanted, |scenario| scenario.inactive("//disk/iotune"))?;
    await_no_restart(&scenario)?;
    assert_eq!(scenario.observed("domain", "tuned")?["disks"][0]["ioTune"], first);

    // In place of a total, reads and writes by themselves.
    let second = json!({"bytesPerSecond": {"read": "1M", "write": "2M"}});
    scenario.change("domain", "tuned", &tune(second))?;
    scenario.await_host("[0,1000000,2000000,0,0,0,0,0]", limits)?;
    await_no_restart(&scenario)?;

    // What somebody lifts by hand is put back, and what is wished no more is lifted.
    let by_hand = ["--read-bytes-sec", "0", "--write-bytes-sec", "0", "--live", "--config"];
    scenario.host().virsh(&[&["blkdeviotune", "tuned", "vda"], &by_hand[..]].concat())?;
    scenario.await_host("[0,1000000,2000000,0,0,0,0,0]", limits)?;
    scenario.change("domain", "tuned", &json!({"disks": [{"name": "root", "volumeRef": {"name": "root"}}]}))?;
    scenario.await_host("[0,0,0,0,0,0,0,0]", limits)?;
    await_no_restart(&scenario)
}

/// The disks of a guest: its root, and a drive with this volume in it.
fn drive(medium: Option<&str>) -> Value {
    let mut drive = json!({"name": "drive", "device": "Cdrom"});
    if let Some(volume) = medium {
        drive["volumeRef"] = json!({"name": volume});
    }
    json!({"disks": [{"name": "root", "volumeRef": {"name": "root"}}, drive]})
}

/// Two media of different sizes.
fn media(scenario: &Scenario<'_>) -> String {
    scenario.volume("one", "capacity: 1Mi, format: Raw") + &scenario.volume("two", "capacity: 2Mi, format: Raw")
}

/// The file in the drive, as libvirt shows it.
fn medium(scenario: &Scenario<'_>, is_running: bool) -> String {
    // An empty drive has no source, or one without a file once it was emptied while the guest ran.
    let path = "//disk[alias/@name='ua-disk-drive']/source/@file";
    let found = if is_running { scenario.live(path) } else { scenario.inactive(path) }.unwrap_or_default();
    found.split('"').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned()
}

#[test]
fn a_medium_is_exchanged_taken_out_and_put_in_under_a_running_guest() -> Result<()> {
    let scenario = STAGE.scenario("drive")?;
    let disks = "disks: [{name: root, volumeRef: {name: root}}, {name: drive, device: Cdrom, volumeRef: {name: one}}]";
    let guest = scenario.guest(&format!("memory: 128Mi, {disks}"));
    scenario.apply(&(scenario.storage()? + &media(&scenario) + &guest))?;
    scenario.await_ready(&["domain/drive"])?;
    let console = scenario.console();
    console.wait_for_line("disk sr0 1048576", PATIENCE)?;
    console.wait_for_line("ready", PATIENCE)?;
    for (times, volume) in [(1, Some("two")), (2, None), (3, Some("one")), (4, None)] {
        scenario.change("domain", "drive", &drive(volume))?;
        console.wait_for_nth("media-changed sr0", times, PATIENCE)?;
        let wanted = volume.unwrap_or_default();
        scenario.await_host(wanted, |scenario| Ok(medium(scenario, true)))?;
        scenario.await_host(wanted, |scenario| Ok(medium(scenario, false)))?;
        await_no_restart(&scenario)?;
        let seen = scenario.observed("domain", "drive")?["disks"][1]["path"].clone();
        assert_eq!(seen.as_str().and_then(|path| path.rsplit('/').next()), volume);
    }
    // What is in no drive may go.
    scenario.delete(&["volume/one", "volume/two"])?;
    scenario.await_gone(&["volume/one", "volume/two"])
}

#[test]
fn a_drive_that_the_guest_has_locked_keeps_its_medium_until_the_next_boot_and_says_why() -> Result<()> {
    let scenario = COUNTED.scenario("locked")?;
    let lock = "#!/bin/sh\\nsleep 1000 3</dev/sr0 >/dev/null 2>&1 &\\nsleep 1000 3</dev/sr1 >/dev/null 2>&1 &\\necho locked\\n";
    let disks = "disks: [{name: root, volumeRef: {name: root}}, {name: drive, device: Cdrom, volumeRef: {name: one}}]";
    let guest = scenario.guest(&format!("memory: 128Mi, {disks}, cloudInitRef: {{name: locked}}"));
    let seed = scenario.seed("locked", &lock.replace("\\n", "\n"));
    scenario.apply(&(scenario.storage()? + &media(&scenario) + &seed + &guest))?;
    scenario.await_ready(&["domain/locked"])?;
    let console = scenario.console();
    console.wait_for_line("userdata-end 0", PATIENCE)?;
    scenario.change("domain", "locked", &drive(None))?;
    let waits = scenario.await_object("domain", "locked", |domain| {
        let (status, _, message) = condition(domain, "RestartRequired")?;
        ensure!(status == "True" && message.contains("timed out waiting to open tray of 'sda'"), "{message}");
        Ok(message.to_owned())
    })?;
    assert!(waits.starts_with("waiting for the guest's next boot: disks[drive]"), "{waits}");
    assert_eq!(medium(&scenario, true), "one");
    assert_eq!(medium(&scenario, false), "");
    // It is not tried again and again: nobody opens the tray in the meantime.
    let calls = |scenario: &Scenario<'_>| -> Result<f64> {
        let is_it =
            |name: &str| name.starts_with("provider_libvirt_host_calls_total{") && name.contains("UpdateDevice");
        Ok(scenario.stage().metrics()?.iter().filter(|(name, _)| is_it(name)).map(|(_, count)| *count).sum())
    };
    let before = calls(&scenario)?;
    std::thread::sleep(Duration::from_secs(6));
    assert!(calls(&scenario)? <= before, "the tray is opened again and again");
    scenario.host().virsh(&["destroy", "locked"])?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    await_no_restart(&scenario)?;
    scenario.await_host("", |scenario| Ok(medium(scenario, true)))
}

#[test]
fn two_guests_write_to_one_volume_where_both_say_so() -> Result<()> {
    let scenario = STAGE.scenario("shared")?;
    let volumes =
        scenario.volume("raw", "capacity: 1Mi, format: Raw") + &scenario.volume("cow", "capacity: 1Mi, format: Qcow2");
    let guest = |name: &str, disk: &str| {
        let fixed = "type: Qemu, memory: 32Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
        manifest("Domain", name, &format!("{fixed}, disks: [{{name: a, target: vdc, {disk}}}]"))
    };
    let both = "volumeRef: {name: raw}, shareable: true";
    scenario.apply(&(scenario.pool() + &volumes + &guest("shared", both) + &guest("shared-too", both)))?;
    scenario.await_ready(&["domain/shared", "domain/shared-too"])?;
    // QEMU would not have opened it twice otherwise, and libvirt keeps it out of the host's memory.
    for name in ["shared", "shared-too"] {
        let look = |path: &str| scenario.host().virsh(&["dumpxml", name, "--xpath", path]);
        assert_eq!(look("//disk/driver")?.trim(), "<driver name=\"qemu\" type=\"raw\" cache=\"none\"/>");
        assert_eq!(
            look("//disk/target|//disk/shareable")?.trim(),
            "<target dev=\"vdc\" bus=\"virtio\"/>\n<shareable/>"
        );
        scenario.await_condition(&format!("domain/{name}"), "UpToDate", ("True", "ObserveMatched", ""))?;
    }
    scenario.apply(&guest("shared-not", "volumeRef: {name: raw}"))?;
    scenario.apply(&guest("shared-cow", "volumeRef: {name: cow}, shareable: true"))?;
    for (name, words) in [
        ("shared-not", "two guests that write to one disk destroy it"),
        ("shared-cow", "disks a: shareable: true needs a volume of format Raw"),
    ] {
        scenario.await_object("domain", name, |domain| {
            let (synced, _, message) = condition(domain, "Synced")?;
            ensure!(synced == "False" && message.contains(words), "{message}");
            Ok(())
        })?;
    }
    // Another name waits for a boot; a name that another disk has is refused.
    scenario.apply(&guest("shared", both).replace("vdc", "vde"))?;
    let message = "waiting for the guest's next boot: disks[a].target";
    scenario.await_condition("domain/shared", "RestartRequired", ("True", "ChangesPending", message))?;
    scenario.host().virsh(&["destroy", "shared"])?;
    scenario.await_host("<target dev=\"vde\" bus=\"virtio\"/>", |scenario| scenario.live("//disk/target"))
}
