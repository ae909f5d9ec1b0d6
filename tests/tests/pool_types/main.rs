//! Pools of the types that this machine's kernel may lack, on a host that has them: logical volumes, partitions, file systems, NFS, iSCSI,
//! SCSI, multipath. The host has no emulator, and is managed all the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod dead;
mod filled;
mod units;

use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, StorageHost, condition, manifest_on, skip};

static STAGE: SharedStage = SharedStage::new("pool-types", &["--poll=2s"]);

static STORAGE: LazyLock<Result<std::result::Result<StorageHost, &'static str>>> = LazyLock::new(StorageHost::start);

/// Held for reading by tests that want the host's libvirtd to answer, and for writing by one that has it hang.
static ANSWERS: RwLock<()> = RwLock::new(());

/// The host; where there is none, the test is said to be skipped.
fn storage(test: &str) -> Result<Option<(&'static StorageHost, RwLockReadGuard<'static, ()>)>> {
    let host = hangable(test)?;
    Ok(host.map(|host| (host, ANSWERS.read().unwrap_or_else(PoisonError::into_inner))))
}

/// The same for a test that takes the lock itself.
fn hangable(test: &str) -> Result<Option<&'static StorageHost>> {
    match STORAGE.as_ref().map_err(|error| anyhow!("start the storage host: {error:#}"))? {
        Ok(host) => Ok(Some(host)),
        Err(why) => {
            skip(test, why);
            Ok(None)
        }
    }
}

/// A scenario whose objects are on that host, by a config of its name that allows what they reach.
fn on(host: &StorageHost, name: &'static str) -> Result<Scenario<'static>> {
    let scenario = STAGE.scenario(name)?;
    let policy = json!({
        "hostPaths": ["/dev", "/srv"], "diskHosts": ["127.0.0.1", "10.9.9.2"], "hostDevices": ["scsi/*", "mpath"],
        "imageHosts": ["127.0.0.1"],
    });
    let config = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig",
        "metadata": {"name": name}, "spec": {"uri": host.uri(), "policy": policy},
    });
    scenario.stage().plane().apply(&config.to_string())?;
    Ok(scenario)
}

fn pool(scenario: &Scenario<'_>, name: &str, parameters: &str) -> Result<()> {
    scenario.apply(&manifest_on(Some(scenario.name()), "Pool", name, parameters)).map(drop)
}

fn volume(scenario: &Scenario<'_>, name: &str, parameters: &str) -> Result<()> {
    scenario.apply(&manifest_on(Some(scenario.name()), "Volume", name, parameters)).map(drop)
}

/// Waits until an object says that something is not so, by this reason of a condition and with these words.
fn await_refused(scenario: &Scenario<'_>, object: &str, (kind, reason): (&str, &str), says: &str) -> Result<()> {
    let (what, name) = object.split_once('/').context("read kind/name")?;
    scenario.await_object(what, name, |object| {
        let (synced, _, message) = condition(object, "Synced")?;
        ensure!(synced == "False" && message.contains(says), "Synced is {synced}: {message}");
        let (status, why, _) = condition(object, kind)?;
        ensure!((status, why) == ("False", reason), "{kind} is {status} by {why}");
        Ok(())
    })
}

fn external_name(scenario: &Scenario<'_>, object: &str, name: &str) -> Result<()> {
    let annotation = format!("crossplane.io/external-name={name}");
    scenario.namespace().kubectl(&["annotate", "--overwrite", object, &annotation]).map(drop)
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn logical_volumes_have_all_of_their_room_and_a_group_outlives_its_pool() -> Result<()> {
    let Some((host, _answers)) = storage("logical_volumes_have_all_of_their_room_and_a_group_outlives_its_pool")?
    else {
        return Ok(());
    };
    let scenario = on(host, "logical")?;
    let device = host.run("readlink -f /dev/disk/by-id/virtio-spare1")?.trim().to_owned();
    let group = format!("type: Logical, source: {{devices: [{device}], name: vg0}}");
    pool(&scenario, "vg0", &format!("{group}, autostart: true"))?;
    await_refused(&scenario, "pool/vg0", ("Ready", "PoolUnavailable"), "start pool")?;
    pool(&scenario, "vg0", &format!("{group}, autostart: true, build: true"))?;
    scenario.await_ready(&["pool/vg0"])?;
    let seen = scenario.observed("pool", "vg0")?;
    assert_eq!(
        (&seen["type"], &seen["path"], &seen["capacity"]),
        (&json!("Logical"), &json!("/dev/vg0"), &json!("508Mi"))
    );
    check_room(&scenario, host)?;
    check_other_names(&scenario, host)?;
    check_group_stays(&scenario, host, &group)
}

/// Volumes of a group: what is not asked for is found out at once, for one of libvirt's default allocation would break when it is written to.
fn check_room(scenario: &Scenario<'_>, host: &StorageHost) -> Result<()> {
    volume(scenario, "data", "poolRef: {name: vg0}, format: Raw, capacity: 10Mi")?;
    scenario.await_ready(&["volume/data"])?;
    let segments = host.run("lvs --noheadings --units m -o lv_name,lv_size,segtype vg0")?;
    assert_eq!(words(&segments), ["data", "12.00m", "linear"]);
    let seen = scenario.observed("volume", "data")?;
    let shown = ["pool", "name", "path", "type", "capacity"].map(|field| seen[field].clone());
    assert_eq!(json!(shown), json!(["vg0", "data", "/dev/vg0/data", "Block", "12Mi"]));
    volume(scenario, "image", "poolRef: {name: vg0}, capacity: 10Mi")?;
    await_refused(scenario, "volume/image", ("Ready", "NotOffered"), "set spec.forProvider.format: Raw")?;
    volume(scenario, "huge", "poolRef: {name: vg0}, format: Raw, capacity: 1Gi")?;
    scenario.await_object("volume", "huge", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains("insufficient free space"), "{message}");
        Ok(())
    })?;
    assert_eq!(words(&host.run("lvs --noheadings -o lv_name vg0")?), ["data"]);
    scenario.delete(&["volume/image", "volume/huge"])?;
    scenario.await_gone(&["volume/image", "volume/huge"])?;

    scenario.change("volume", "data", &json!({"capacity": "20Mi"}))?;
    await_refused(
        scenario,
        "volume/data",
        ("UpToDate", "GrowRefused"),
        "cannot grow volumes of this kind of pool; the volume stays at 12Mi",
    )?;
    scenario.change("volume", "data", &json!({"capacity": "12Mi"}))?;
    scenario.await_ready(&["volume/data"])
}

/// A device has several names: who stands on the volume by another one keeps it, and so does who may.
fn check_other_names(scenario: &Scenario<'_>, host: &StorageHost) -> Result<()> {
    volume(scenario, "named", "poolRef: {name: vg0}, format: Raw, capacity: 4Mi")?;
    scenario.await_ready(&["volume/named"])?;
    host.run("mkdir -p /srv/above && virsh -q pool-create-as above dir --target /srv/above")?;
    let stand = |device: &str| {
        let make = format!("qemu-img create -q -f qcow2 -F raw -b {device} /srv/above/over");
        host.run(&format!("rm -f /srv/above/over && {make} && virsh -q pool-refresh above"))
    };
    stand("/dev/mapper/vg0-named")?;
    scenario.delete(&["volume/named"])?;
    let refused = |says: &str| await_refused(scenario, "volume/named", ("Synced", "ReconcileError"), says);
    refused("the volume is used by volume over in pool above, which stands on it; it is deleted when nobody uses it")?;
    let device = host.run("readlink -f /dev/vg0/named")?.trim().to_owned();
    stand(&device)?;
    refused(&format!(
        "the volume is used by volume over in pool above, as far as can be told: which device that one has is not known, so name it there as its pool does; now it is {device}; it is deleted when nobody uses it"
    ))?;
    stand("/dev/mapper/vg0-data")?;
    scenario.await_gone(&["volume/named"])?;
    host.run("virsh -q pool-destroy above && rm -r /srv/above").map(drop)
}

/// The group was made for the pool and stays when it goes; nothing on it is made anew.
fn check_group_stays(scenario: &Scenario<'_>, host: &StorageHost, group: &str) -> Result<()> {
    let uuid = || host.run("vgs --noheadings -o vg_uuid vg0");
    let before = uuid()?;
    host.virsh(&["pool-destroy", "vg0"])?;
    host.virsh(&["pool-autostart", "vg0", "--disable"])?;
    scenario.await_host("Autostart: yes State: running", |_| {
        let info = host.virsh(&["pool-info", "vg0"])?;
        let line = |name: &str| info.lines().find(|line| line.starts_with(name)).map(|line| words(line).join(" "));
        Ok(format!("{} {}", line("Autostart").unwrap_or_default(), line("State").unwrap_or_default()))
    })?;
    scenario.delete(&["pool/vg0"])?;
    await_refused(scenario, "pool/vg0", ("Synced", "ReconcileError"), "Volume")?;
    scenario.delete(&["volume/data"])?;
    scenario.await_gone(&["volume/data", "pool/vg0"])?;
    assert_eq!(host.run("lvs --noheadings -o lv_name vg0")?.trim(), "");
    assert_eq!(uuid()?, before);
    host.run("lvcreate -q -y -n theirs -L 8M vg0")?;
    pool(scenario, "vg0", &format!("{group}, build: true"))?;
    scenario.await_ready(&["pool/vg0"])?;
    assert_eq!(uuid()?, before);
    scenario.delete(&["pool/vg0"])?;
    scenario.await_object("pool", "vg0", |object| {
        let (_, _, message) = condition(object, "Synced")?;
        ensure!(message.contains("the pool holds 1 volume, theirs first"), "{message}");
        Ok(())
    })?;
    host.run("lvremove -q -y vg0/theirs")?;
    scenario.await_gone(&["pool/vg0"])
}

#[test]
fn partitions_are_made_by_the_names_that_their_disk_gives_them() -> Result<()> {
    let Some((host, _answers)) = storage("partitions_are_made_by_the_names_that_their_disk_gives_them")? else {
        return Ok(());
    };
    let scenario = on(host, "disk")?;
    let disk = host.run("readlink -f /dev/disk/by-id/virtio-spare2")?.trim().to_owned();
    let part = |number: u8| format!("{}{number}", disk.trim_start_matches("/dev/"));
    pool(
        &scenario,
        "disk",
        &format!("type: Disk, source: {{devices: [{disk}], format: Gpt}}, target: {{path: /dev}}, build: true"),
    )?;
    scenario.await_ready(&["pool/disk"])?;
    volume(&scenario, "data", "poolRef: {name: disk}, format: Raw, capacity: 64Mi")?;
    let name = format!("crossplane.io/external-name: {}", part(1));
    await_refused(&scenario, "volume/data", ("Ready", "NameRefused"), &name)?;
    assert_eq!(host.volumes("disk")?, [""; 0]);
    external_name(&scenario, "volume/data", &part(1))?;
    scenario.await_ready(&["volume/data"])?;
    let more = manifest_on(Some("disk"), "Volume", "more", "poolRef: {name: disk}, format: Raw, capacity: 64Mi");
    let named = format!("metadata: {{annotations: {{crossplane.io/external-name: {}}}, ", part(2));
    scenario.apply(&more.replacen("metadata: {", &named, 1))?;
    for (volume_name, number) in [("data", 1), ("more", 2)] {
        scenario.await_ready(&[&format!("volume/{volume_name}")])?;
        let seen = scenario.observed("volume", volume_name)?;
        let shown = ["path", "type"].map(|field| seen[field].clone());
        assert_eq!(json!(shown), json!([format!("/dev/{}", part(number)), "Block"]));
    }
    // A guest's own partition table is no sign that the volume is another one.
    // parted itself wonders that the kernel makes no partitions of a partition.
    host.run(&format!("parted -s /dev/{} mklabel gpt || true", part(1)))?;
    host.virsh(&["pool-refresh", "disk"])?;
    scenario.delete(&["volume/more", "pool/disk"])?;
    scenario.await_gone(&["volume/more"])?;
    scenario.await_ready(&["volume/data"])?;
    assert_eq!(host.volumes("disk")?, [part(1)]);
    scenario.delete(&["volume/data"])?;
    scenario.await_gone(&["volume/data", "pool/disk"])?;
    // The table stays.
    assert!(host.run(&format!("parted -s -m {disk} print"))?.contains(":gpt:"));
    Ok(())
}

#[test]
fn what_is_on_a_device_is_kept_by_pools_that_are_told_to_build() -> Result<()> {
    let Some((host, _answers)) = storage("what_is_on_a_device_is_kept_by_pools_that_are_told_to_build")? else {
        return Ok(());
    };
    let scenario = on(host, "kept")?;
    let device = "/dev/disk/by-id/virtio-spare4";
    host.run(&format!("mkfs.ext4 -q {device} && mkdir -p /srv/kept"))?;
    let sum = || host.run(&format!("sha256sum < {device}"));
    let before = sum()?;
    let pools = [
        ("kept-group", format!("type: Logical, source: {{devices: [{device}], name: kept}}, build: true")),
        (
            "kept-disk",
            format!("type: Disk, source: {{devices: [{device}], format: Gpt}}, target: {{path: /dev}}, build: true"),
        ),
        (
            "kept-fs",
            format!("type: Fs, source: {{devices: [{device}], format: Xfs}}, target: {{path: /srv/kept}}, build: true"),
        ),
    ];
    for (name, parameters) in &pools {
        pool(&scenario, name, parameters)?;
        scenario.await_object("pool", name, |object| {
            let (status, _, message) = condition(object, "Synced")?;
            ensure!(status == "False" && message.contains("build pool"), "{name}: {message}");
            println!("{name}: {message}");
            Ok(())
        })?;
        assert_eq!(sum()?, before, "{name}");
        // libvirt has one pool of a device.
        scenario.delete_all()?;
        scenario.await_all_gone(PATIENCE)?;
    }
    // A group that was there is used, but by the names that LVM has for its devices only.
    host.run("vgcreate -q linked /dev/disk/by-id/virtio-spare5 >/dev/null")?;
    pool(
        &scenario,
        "linked",
        "type: Logical, source: {devices: [/dev/disk/by-id/virtio-spare5], name: linked}, build: true",
    )?;
    await_refused(
        &scenario,
        "pool/linked",
        ("Ready", "PoolUnavailable"),
        "libvirt follows no links to the devices of a volume group",
    )?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    pool(&scenario, "linked", "type: Logical, source: {name: linked}")?;
    scenario.await_ready(&["pool/linked"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn file_systems_and_folders_of_a_server_are_mounted_and_hold_volumes() -> Result<()> {
    let Some((host, _answers)) = storage("file_systems_and_folders_of_a_server_are_mounted_and_hold_volumes")? else {
        return Ok(());
    };
    let scenario = on(host, "mounts")?;
    host.run("mkdir -p /srv/export && echo '/srv/export 127.0.0.1(rw,sync,no_root_squash,no_subtree_check)' >/etc/exports && systemctl start nfs-server && exportfs -ra")?;
    let fs = "type: Fs, source: {devices: [/dev/disk/by-id/virtio-spare3], format: Xfs}, target: {path: /srv/xfs}, build: true";
    let nfs = "type: Netfs, source: {hosts: [{name: 127.0.0.1}], dir: /srv/export, format: Nfs, protocolVersion: '4'}, target: {path: /srv/nfs}";
    for (name, parameters, mounted) in [("xfs", fs, "xfs"), ("nfs", nfs, "nfs4")] {
        pool(&scenario, name, parameters)?;
        scenario.await_ready(&[&format!("pool/{name}")])?;
        assert_eq!(host.run(&format!("findmnt -n -o FSTYPE /srv/{name}"))?.trim(), mounted);
        let disk = format!("{name}-disk");
        volume(&scenario, &disk, &format!("poolRef: {{name: {name}}}, capacity: 10Mi"))?;
        scenario.await_ready(&[&format!("volume/{disk}")])?;
        assert_eq!(scenario.observed("volume", &disk)?["type"], json!("File"));
        scenario.change("volume", &disk, &json!({"capacity": "20Mi"}))?;
        scenario.await_object("volume", &disk, |object| {
            ensure!(object["status"]["atProvider"]["capacity"] == "20Mi", "not grown");
            Ok(())
        })?;
        host.run(&format!(
            "umount -l /srv/{name} && touch /srv/{name}/hidden && virsh -q pool-destroy {name}; rm /srv/{name}/hidden"
        ))?;
        scenario.await_host(mounted, |_| host.run(&format!("findmnt -n -o FSTYPE /srv/{name}")))?;
    }
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.run("ls -A /srv/export")?, "");
    Ok(())
}

#[test]
fn a_host_without_an_emulator_is_told_of_as_it_is() -> Result<()> {
    let Some((host, _answers)) = storage("a_host_without_an_emulator_is_told_of_as_it_is")? else { return Ok(()) };
    let scenario = on(host, "bare")?;
    pool(&scenario, "bare", "target: {path: /srv/bare}")?;
    scenario.await_ready(&["pool/bare"])?;
    let config: Value =
        scenario.stage().plane().client().get(&["clusterproviderconfig", "bare"])?.context("find the config")?;
    let seen = &config["status"]["host"];
    println!("{seen:#}");
    assert!(seen["uuid"].is_string() && seen.get("hypervisorVersion").is_none(), "{seen}");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}
