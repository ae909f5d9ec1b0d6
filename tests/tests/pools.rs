//! Pools that are no folder of the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, condition, manifest_on, skipped};

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
