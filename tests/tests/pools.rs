//! Pools that are no folder of the host, pools that are full, and pools that others work in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Manners, PATIENCE, Process, Scenario, SharedStage, condition, eventually, manifest, manifest_on, skipped};

static STAGE: SharedStage = SharedStage::new("pools", &["--poll=1s"]);

fn await_refused(scenario: &Scenario<'_>, name: &str, reason: &str, says: &str) -> Result<()> {
    scenario.await_object("pool", name, |pool| {
        let (status, _, message) = condition(pool, "Synced")?;
        ensure!(status == "False" && message.contains(says), "{status} {message}");
        let (ready, why, _) = condition(pool, "Ready")?;
        ensure!((ready, why) == ("False", reason), "Ready is {ready} by {why}");
        Ok(())
    })
}

/// A config of the host with this policy; each test has its own.
fn allow(scenario: &Scenario<'_>, policy: &Value) -> Result<()> {
    let config = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig",
        "metadata": {"name": scenario.name()}, "spec": {"uri": scenario.host().uri(), "policy": policy},
    });
    scenario.stage().plane().apply(&config.to_string()).map(drop)
}

fn pool(scenario: &Scenario<'_>, name: &str, parameters: &str) -> Result<()> {
    scenario.apply(&manifest_on(Some(scenario.name()), "Pool", name, parameters)).map(drop)
}

#[test]
fn a_type_that_the_host_has_no_driver_for_is_refused_before_anything_is_defined() -> Result<()> {
    let scenario = STAGE.scenario("pools-none")?;
    allow(&scenario, &json!({"hostPaths": ["/dev/zvol"]}))?;
    pool(&scenario, "tank", "type: Zfs, source: {name: tank}")?;
    await_refused(&scenario, "tank", "NotOffered", "no storage driver for pools of this type")?;
    assert!(!scenario.host().virsh(&["pool-list", "--all", "--name"])?.contains("tank"));
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_file_system_is_made_on_an_empty_device_only_mounted_and_left_as_it_is() -> Result<()> {
    let scenario = STAGE.scenario("pools-fs")?;
    let host = scenario.host();
    let image = host.path("device");
    fs::File::create(&image)?.set_len(64 << 20)?;
    let device = match host.run("losetup", &["-f", "--show", &image.display().to_string()]) {
        Ok(device) => device.trim().to_owned(),
        Err(error) => {
            let why = format!("no loop device: {error:#}");
            return skipped("a_file_system_is_made_on_an_empty_device_only_mounted_and_left_as_it_is", &why);
        }
    };
    let outcome = on_device(&scenario, &device);
    host.run("losetup", &["-d", &device])?;
    outcome
}

fn on_device(scenario: &Scenario<'_>, device: &str) -> Result<()> {
    let host = scenario.host();
    let folder = host.path("mounted");
    let fields = |more: &str| {
        let path = folder.display();
        format!("type: Fs, source: {{devices: [{device}], format: Ext4}}, target: {{path: {path}}}{more}")
    };
    allow(scenario, &json!({}))?;
    pool(scenario, "fs", &fields(""))?;
    await_refused(scenario, "fs", "NotAllowed", &format!("source.devices: {device} is not allowed on"))?;
    allow(scenario, &json!({"hostPaths": [device, folder.display().to_string()]}))?;
    // Nothing is formatted that is not said to be.
    await_refused(scenario, "fs", "PoolUnavailable", "start pool")?;
    pool(scenario, "fs", &fields(", build: true"))?;
    scenario.await_ready(&["pool/fs"])?;
    let mounted = host.run("findmnt", &["-n", "-o", "SOURCE,FSTYPE", &folder.display().to_string()])?;
    assert_eq!(mounted.split_whitespace().collect::<Vec<_>>(), [device, "ext4"]);
    let uuid = || host.run("blkid", &["-p", "-s", "UUID", "-o", "value", device]);
    let before = uuid()?;
    // What is on it outlives the pool, and the next one has it again, though it is told to build too.
    scenario.delete(&["pool/fs"])?;
    scenario.await_gone(&["pool/fs"])?;
    pool(scenario, "again", &fields(", build: true"))?;
    scenario.await_ready(&["pool/again"])?;
    assert_eq!(uuid()?, before);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_full_pool_is_told_by_its_volume_which_leaves_nothing_and_comes_when_there_is_room() -> Result<()> {
    let scenario = STAGE.scenario("pools-full")?;
    let (host, folder) = (scenario.host(), scenario.folder());
    fs::create_dir_all(&folder)?;
    host.run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", &folder])?;
    scenario.apply(&scenario.pool())?;
    let much = "create failed: preallocation: Falloc sets 64Mi aside, and pool pools-full has 16Mi left; make room there, or \
                        set a smaller capacity";
    // The tables of the last one are what there is no room for.
    for (name, format, capacity, sentence) in [
        ("raw", "Raw", "64Mi", much),
        ("table", "Qcow2", "64Mi", much),
        ("tight", "Qcow2", "16Mi", "No space left on device"),
    ] {
        let parameters = format!("format: {format}, capacity: {capacity}, preallocation: Falloc");
        scenario.apply(&scenario.volume(name, &parameters))?;
        scenario.await_object("volume", name, |volume| {
            let (status, _, message) = condition(volume, "Synced")?;
            ensure!(status == "False" && message.contains(sentence), "{status} {message}");
            Ok(())
        })?;
    }
    assert_eq!(host.run("ls", &["-A", &folder])?, "");
    assert_eq!(host.volumes(scenario.name())?, [""; 0]);
    // Others that fit have their place.
    scenario.apply(&scenario.volume("small", "format: Raw, capacity: 1Mi, preallocation: Falloc"))?;
    scenario.await_ready(&["volume/small"])?;
    host.run("mount", &["-o", "remount,size=256m", &folder])?;
    scenario.await_ready(&["volume/raw", "volume/table", "volume/tight"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn an_image_that_a_pool_has_no_room_for_leaves_nothing_and_comes_when_there_is_room() -> Result<()> {
    let scenario = STAGE.scenario("pools-image")?;
    let (host, folder) = (scenario.host(), scenario.folder());
    let file = |name: &str| format!("{folder}/{name}");
    fs::create_dir_all(&folder)?;
    host.run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", &folder])?;
    scenario.apply(&scenario.pool())?;
    scenario.await_ready(&["pool/pools-image"])?;
    // What others put there the pool does not know of: it is full before the image is whole.
    host.run("dd", &["status=none", "if=/dev/zero", "bs=1M", "count=12", &format!("of={}", file("theirs"))])?;
    let image = |name: &str, size: u64| -> Result<String> {
        let image = host.path(name);
        fs::File::create(&image)?.set_len(size)?;
        Ok(scenario.volume(name, &format!("format: Raw, {}", scenario.stage().image(&image, Manners::Good)?)))
    };
    scenario.apply(&image("fits", 8 << 20)?)?;
    let await_full = |name: &str| {
        let sentence = format!(
            "create failed: GET {}: the image is larger than the room there is for it",
            scenario.stage().images().url(name)
        );
        scenario.await_condition(&format!("volume/{name}"), "Synced", ("False", "ReconcileError", &sentence))
    };
    // From then on it knows, and nothing is fetched that there is no room for.
    await_full("fits")?;
    scenario.apply(&image("large", 24 << 20)?)?;
    await_full("large")?;
    assert_eq!(host.run("ls", &["-A", &folder])?, "theirs\n");
    // What others take away it does not see either, until somebody asks for more than it knows of.
    host.run("rm", &[&file("theirs")])?;
    scenario.await_ready(&["volume/fits"])?;
    host.run("mount", &["-o", "remount,size=64m", &folder])?;
    scenario.await_ready(&["volume/large"])?;
    for (name, size) in [("fits", "8388608\n"), ("large", "25165824\n")] {
        assert_eq!(host.run("stat", &["-c", "%s", &file(name)])?, size);
    }
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

/// Has the host's `qemu-img convert` wait until the answered file is there.
fn hold_copies(scenario: &Scenario<'_>) -> Result<std::path::PathBuf> {
    let host = scenario.host();
    let (real, go, script) = (host.path("qemu-img"), host.path("go"), host.path("qemu-img.sh"));
    let program = host.run("sh", &["-c", "command -v qemu-img"])?.trim().to_owned();
    fs::copy(&program, &real)?;
    let text = format!(
        "#!/bin/sh\n[ \"$1\" != convert ] || while [ ! -e {} ]; do sleep 0.1; done\nexec {} \"$@\"\n",
        go.display(),
        real.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    host.run("mount", &["--bind", &script.display().to_string(), &program])?;
    Ok(go)
}

#[test]
fn while_somebody_copies_within_a_pool_its_volumes_wait_to_be_deleted_and_nothing_else_waits() -> Result<()> {
    let scenario = STAGE.scenario("pools-busy")?;
    let (host, name) = (scenario.host(), scenario.name());
    scenario.apply(
        &(scenario.pool() + &scenario.volume("image", "capacity: 8Mi") + &scenario.volume("old", "capacity: 8Mi")),
    )?;
    scenario.await_ready(&["volume/image", "volume/old"])?;
    let go = hold_copies(&scenario)?;
    let description = host.path("copy.xml");
    fs::write(
        &description,
        "<volume><name>copy</name><capacity>8388608</capacity><target><format type='qcow2'/></target></volume>",
    )?;
    let mut copy = Command::new("virsh");
    copy.args(["-c", &host.uri(), "vol-create-from", name]).arg(&description).args(["image", "--inputpool", name]);
    let mut copy = Process::spawn(&copy, &host.path("copy.log"))?;
    eventually(PATIENCE, || match host.virsh(&["pool-refresh", name]) {
        Err(error) if format!("{error:#}").contains("asynchronous jobs running") => Ok(()),
        answer => anyhow::bail!("the copy has not begun: {answer:?}"),
    })?;
    scenario.delete(&["volume/old"])?;
    scenario.await_object("volume", "old", |volume| {
        let said = volume["status"]["conditions"].to_string();
        ensure!(said.contains("the volume is deleted when nothing is written into pool pools-busy any more"), "{said}");
        Ok(())
    })?;
    let other = manifest("Pool", "idle", &format!("target: {{path: {}}}", host.path("pools/idle").display()));
    let fresh = scenario.volume("fresh", "capacity: 8Mi");
    scenario.apply(&(other + &fresh + &manifest("Volume", "idle", "poolRef: {name: idle}, capacity: 8Mi")))?;
    scenario.await_ready(&["volume/fresh", "pool/idle", "volume/idle"])?;
    scenario.delete(&["volume/idle", "pool/idle"])?;
    scenario.await_gone(&["volume/idle", "pool/idle"])?;
    assert!(scenario.object("volume", "old").is_ok());
    fs::write(go, "")?;
    ensure!(copy.await_end(Duration::from_mins(1))?.success(), "{}", copy.log());
    scenario.await_gone(&["volume/old"])?;
    assert_eq!(host.volumes(name)?, ["copy", "fresh", "image"]);
    host.virsh(&["vol-delete", "copy", "--pool", name])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn a_guest_is_given_a_partition_as_a_device() -> Result<()> {
    let scenario = STAGE.scenario("pools-disk")?;
    let host = scenario.host();
    let image = host.path("disk");
    fs::File::create(&image)?.set_len(64 << 20)?;
    let device = match host.run("losetup", &["-P", "-f", "--show", &image.display().to_string()]) {
        Ok(device) => device.trim().to_owned(),
        Err(error) => {
            return skipped("a_guest_is_given_a_partition_as_a_device", &format!("no loop device: {error:#}"));
        }
    };
    let outcome = with_partition(&scenario, &device);
    host.run("losetup", &["-d", &device])?;
    outcome
}

fn with_partition(scenario: &Scenario<'_>, device: &str) -> Result<()> {
    let name = scenario.name();
    allow(scenario, &json!({"hostPaths": [device]}))?;
    pool(
        scenario,
        "disk",
        &format!("type: Disk, source: {{devices: [{device}]}}, target: {{path: /dev}}, build: true"),
    )?;
    let part = format!("{}p1", device.trim_start_matches("/dev/"));
    let volume = manifest_on(Some(name), "Volume", "part", "poolRef: {name: disk}, format: Raw, capacity: 16Mi");
    let annotated = format!("metadata: {{annotations: {{crossplane.io/external-name: {part}}}, ");
    scenario.apply(&volume.replacen("metadata: {", &annotated, 1))?;
    let guest = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}, disks: [{name: data, volumeRef: {name: part}}]";
    scenario.apply(&manifest_on(Some(name), "Domain", name, guest))?;
    scenario.await_ready(&["pool/disk", "volume/part", &format!("domain/{name}")])?;
    assert_eq!(scenario.live("//disk/@type")?, "type=\"block\"");
    assert_eq!(scenario.live("//disk/source/@dev")?, format!("dev=\"/dev/{part}\""));
    // A disk of a guest is not deleted, whichever way it has it.
    let theirs = "/dev/disk/by-partlabel/theirs";
    let disk = format!("<disk type='block' device='disk'><source dev='{theirs}'/><target dev='vda'/></disk>");
    let guest = "<name>theirs</name><memory unit='MiB'>16</memory><os><type>hvm</type></os>";
    scenario.host().virsh_xml("define", &format!("<domain type='qemu'>{guest}<devices>{disk}</devices></domain>"))?;
    scenario.delete(&["volume/part"])?;
    await_kept(scenario, &format!("the volume is used by Domain {}/{name}", scenario.namespace().name()))?;
    scenario.delete(&[&format!("domain/{name}")])?;
    scenario.await_gone(&[&format!("domain/{name}")])?;
    // Nor is one that a guest of others may have by another name of the device, of which nobody tells where it leads.
    await_kept(
        scenario,
        &format!(
            "the volume is used by domain theirs on the host, as far as can be told: which device that one has is not known, \
             so name it there as its pool does; now it is {theirs}; it is deleted when nobody uses it"
        ),
    )?;
    scenario.host().virsh(&["undefine", "theirs"]).map(drop)
}

fn await_kept(scenario: &Scenario<'_>, says: &str) -> Result<()> {
    scenario.await_object("volume", "part", |object| {
        let (ready, why, message) = condition(object, "Ready")?;
        ensure!(
            (ready, why) == ("False", "InUse") && message.starts_with(says),
            "Ready is {ready} by {why}: {message}; wanted {says}"
        );
        Ok(())
    })
}
