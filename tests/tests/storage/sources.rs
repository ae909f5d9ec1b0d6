//! Disks that are files and block devices of the host, and of servers.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Scenario, condition};

use crate::{STAGE, allow, await_no_restart, await_refused, guest_on};

/// A block device of the host's kernel that is this file, and goes at the end.
struct Loop<'a>(&'a Scenario<'a>, String);

impl<'a> Loop<'a> {
    fn over(scenario: &'a Scenario<'a>, file: &str) -> Result<Self> {
        let device = scenario.host().run("losetup", &["--find", "--show", file])?;
        Ok(Self(scenario, device.trim().to_owned()))
    }
}

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        drop(self.0.host().run("losetup", &["--detach", &self.1]));
    }
}

fn blank(path: &Path, bytes: u64) -> Result<String> {
    File::create(path)?.set_len(bytes)?;
    Ok(path.display().to_string())
}

#[test]
fn a_file_of_the_host_is_a_disk_where_the_policy_lists_it_and_of_one_guest_alone() -> Result<()> {
    let scenario = STAGE.scenario("files")?;
    let folder = scenario.host().path("files");
    fs::create_dir(&folder)?;
    let path = blank(&folder.join("root.raw"), 1 << 20)?;
    allow(&scenario, &json!({"hostPaths": ["/srv"]}))?;
    let disk = format!("disks: [{{name: root, file: {{path: '{path}', format: Raw}}}}]");
    scenario.apply(&guest_on(&scenario, "files", &disk))?;
    let why = format!(
        "disks root: {path} is not allowed on ClusterProviderConfig files; it would be with the line {path} in its spec.policy.hostPaths"
    );
    await_refused(&scenario, "files", &why)?;
    ensure!(scenario.host().virsh(&["domstate", "files"]).is_err(), "it was made");

    allow(&scenario, &json!({"hostPaths": [folder.display().to_string()]}))?;
    scenario.await_ready(&["domain/files"])?;
    assert_eq!(scenario.live("//disk/source/@file")?, format!("file=\"{path}\""));
    scenario.apply(&guest_on(&scenario, "files-too", &disk))?;
    await_refused(
        &scenario,
        "files-too",
        &format!("{path} is a disk of Domain {}/files: two guests", scenario.namespace().name()),
    )?;

    // Where its data is never changes, and a wish that it be elsewhere is refused.
    let other = blank(&folder.join("other.raw"), 1 << 20)?;
    scenario.apply(&guest_on(&scenario, "files", &disk.replace(&path, &other)))?;
    scenario.await_object("domain", "files", |domain| {
        let (status, reason, _) = condition(domain, "UpToDate")?;
        ensure!((status, reason) == ("False", "DiskSourceChanged"), "{status} {reason}");
        Ok(())
    })?;
    assert_eq!(scenario.inactive("//disk/source/@file")?, format!("file=\"{path}\""));
    scenario.apply(&guest_on(&scenario, "files", &disk))?;
    await_no_restart(&scenario)
}

#[test]
fn a_block_device_of_the_host_is_a_disk_of_one_guest() -> Result<()> {
    let scenario = STAGE.scenario("block")?;
    let file = blank(&scenario.host().path("block.raw"), 1 << 20)?;
    let device = Loop::over(&scenario, &file)?;
    let path = &device.1;
    allow(&scenario, &json!({"hostPaths": ["/dev/loop*"]}))?;
    let disk = format!("disks: [{{name: root, block: {{path: {path}}}}}]");
    scenario.apply(&guest_on(&scenario, "block", &disk))?;
    scenario.await_ready(&["domain/block"])?;
    assert_eq!(scenario.live("//disk[@type='block']/source/@dev")?, format!("dev=\"{path}\""));
    await_no_restart(&scenario)?;
    let owner = format!("{path} is a disk of Domain {}/block: two guests", scenario.namespace().name());
    for (name, said) in [("block-too", disk.clone()), ("block-file", disk.replace("block: {", "file: {format: Raw, "))]
    {
        scenario.apply(&guest_on(&scenario, name, &said))?;
        await_refused(&scenario, name, &owner)?;
    }
    scenario.delete(&["domain/block", "domain/block-too", "domain/block-file"])?;
    scenario.await_gone(&["domain/block", "domain/block-too", "domain/block-file"])
}

#[test]
fn a_disk_of_a_server_is_used_where_the_policy_lists_it_and_exchanged_in_a_drive() -> Result<()> {
    let scenario = STAGE.scenario("served")?;
    for (name, port) in [("one", "10900"), ("two", "10901")] {
        let file = blank(&scenario.host().path(&format!("served-{name}.raw")), 1 << 20)?;
        let export = format!("--export-name={name}");
        let bind = ["--fork", "--persistent", "--shared=8", "--format=raw", "--bind=127.0.0.1", "--port", port];
        scenario.host().run("qemu-nbd", &[&bind[..], &[&export, &file]].concat())?;
    }
    allow(&scenario, &json!({"diskHosts": ["127.0.0.1:10900"]}))?;
    let nbd = |name: &str, port: u16| {
        format!("network: {{protocol: Nbd, name: {name}, hosts: [{{name: 127.0.0.1, port: {port}}}], format: Raw}}")
    };
    let disks =
        |drive: &str| format!("disks: [{{name: root, {}}}, {{name: drive, device: Cdrom{drive}}}]", nbd("one", 10900));
    scenario.apply(&guest_on(&scenario, "served", &disks(&format!(", {}", nbd("two", 10901)))))?;
    let why = "disks drive: server 127.0.0.1 is not allowed on ClusterProviderConfig served; it would be with the line 127.0.0.1 \
               in its spec.policy.diskHosts";
    await_refused(&scenario, "served", why)?;
    allow(&scenario, &json!({"diskHosts": ["127.0.0.1"]}))?;
    scenario.await_ready(&["domain/served"])?;
    await_no_restart(&scenario)?;
    let names = "//disk[alias/@name='ua-disk-drive']/source/@name";
    assert_eq!(scenario.live(names)?, "name=\"two\"");
    scenario.apply(&guest_on(&scenario, "served", &disks("")))?;
    scenario.await_host("", |scenario| Ok(scenario.live(names).unwrap_or_default()))?;
    await_no_restart(&scenario)?;
    scenario.apply(&guest_on(&scenario, "served", &disks(&format!(", {}", nbd("two", 10901)))))?;
    scenario.await_host("name=\"two\"", |scenario| scenario.live(names))?;
    await_no_restart(&scenario)?;
    let seen =
        json!({"protocol": "Nbd", "name": "one", "hosts": [{"name": "127.0.0.1", "port": 10900}], "format": "Raw"});
    assert_eq!(scenario.observed("domain", "served")?["disks"][0]["network"], seen);
    // Another server has other data.
    scenario.apply(&guest_on(&scenario, "served", &disks("").replace("10900", "10901")))?;
    scenario.await_object("domain", "served", |domain| {
        ensure!(condition(domain, "UpToDate")?.1 == "DiskSourceChanged", "{}", domain["status"]);
        Ok(())
    })
}
