//! Devices and folders of the host that a guest has.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{PATIENCE, condition, skip};

use crate::{STAGE, allow, await_no_restart, await_refused, guest_on};

#[test]
fn a_folder_and_a_device_of_the_host_are_had_where_the_policy_lists_them() -> Result<()> {
    let scenario = STAGE.scenario("passed")?;
    let folder = scenario.host().path("passed");
    fs::create_dir(&folder)?;
    let path = folder.display();
    allow(&scenario, &json!({"hostDevices": ["usb/*"], "hostPaths": ["/srv"]}))?;
    let devices = "hostDevices: [{name: card, pci: {address: '0000:01:00.0'}}, {name: key, usb: {vendor: 1d6b, product: '0002'}}]";
    let folders = format!("filesystems: [{{name: docs, hostPath: {path}, accessMode: Mapped, readOnly: true}}]");
    let off = format!("runStrategy: Halted, {devices}, {folders}");
    scenario.apply(&guest_on(&scenario, "passed", &off))?;
    let why = format!(
        "hostDevices card: pci/0000:01:00.0 is not allowed on ClusterProviderConfig passed; it would be with the line pci/0000:01:00.0 \
         in its spec.policy.hostDevices; filesystems docs: {path} is not allowed on ClusterProviderConfig passed; it would be with the \
         line {path} in its spec.policy.hostFolders"
    );
    await_refused(&scenario, "passed", &why)?;
    allow(&scenario, &json!({"hostDevices": ["usb/*", "pci/0000:01:*"], "hostFolders": [path.to_string()]}))?;
    scenario.await_ready(&["domain/passed"])?;
    let seen = scenario.observed("domain", "passed")?;
    let wanted = json!([
        {"name": "card", "pci": {"address": "0000:01:00.0"}},
        {"name": "key", "usb": {"vendor": "1d6b", "product": "0002"}},
    ]);
    assert_eq!(seen["hostDevices"], wanted);
    let docs = json!([{"name": "docs", "hostPath": path.to_string(), "driver": "Path", "accessMode": "Mapped", "readOnly": true}]);
    assert_eq!(seen["filesystems"], docs);
    // Virtiofs shares memory with another process of the host.
    scenario.apply(&guest_on(
        &scenario,
        "passed",
        &off.replace(", accessMode: Mapped, readOnly: true", ", driver: Virtiofs"),
    ))?;
    await_refused(&scenario, "passed", "filesystems docs: driver: Virtiofs needs memoryBacking.shared: true")?;
    // A guest runs with its folder; a device that the host lacks is said when it is to be plugged in.
    scenario.apply(&guest_on(&scenario, "passed", &folders))?;
    scenario.await_ready(&["domain/passed"])?;
    scenario.await_host("target dir=\"docs\"", |scenario| {
        Ok(scenario.live("//filesystem/target")?.trim_matches(['<', '/', '>']).to_owned())
    })?;
    await_no_restart(&scenario)?;
    let device = "hostDevices: [{name: key, usb: {vendor: 1d6b, product: '0002'}}]";
    scenario.apply(&guest_on(&scenario, "passed", &format!("{folders}, {device}")))?;
    scenario.await_object("domain", "passed", |domain| {
        let (status, _, message) = condition(domain, "RestartRequired")?;
        ensure!(status == "True" && message.contains("hostDevices[key]"), "{message}");
        Ok(())
    })?;
    scenario.apply(&guest_on(&scenario, "passed", &folders))?;
    await_no_restart(&scenario)
}

#[test]
fn a_guest_reads_and_writes_a_folder_of_its_host() -> Result<()> {
    let scenario = STAGE.scenario("folder")?;
    let folder = scenario.host().path("folder");
    fs::create_dir(&folder)?;
    fs::write(folder.join("from-host"), "a line of the host\n")?;
    allow(&scenario, &json!({"hostFolders": [folder.display().to_string()], "imageHosts": ["127.0.0.1"]}))?;
    let script = "#!/bin/sh\nmkdir /folder\nmount -t virtiofs docs /folder && cat /folder/from-host && echo proof >/folder/from-guest\n\
                  grep -q 9p /proc/filesystems && mkdir /plain && mount -t 9p -o trans=virtio plain /plain && echo 9p: && cat /plain/from-host\n";
    let path = folder.display();
    let folders = format!(
        "filesystems: [{{name: docs, hostPath: {path}, driver: Virtiofs}}, {{name: plain, hostPath: {path}, readOnly: true}}]"
    );
    let shared = "memory: 160Mi, memoryBacking: {source: Memfd, shared: true}";
    let guest = scenario.guest(&format!("{shared}, {folders}, cloudInitRef: {{name: folder}}"));
    let all = scenario.storage()? + &scenario.seed("folder", script) + &guest;
    let config = "spec: {providerConfigRef: {kind: ClusterProviderConfig, name: folder}, ";
    scenario.apply(&all.replace("spec: {", config))?;
    scenario.await_ready(&["domain/folder"])?;
    let console = scenario.console();
    console.wait_for_line("userdata-end", PATIENCE)?;
    let said: Vec<String> = console.lines().into_iter().filter(|line| line.starts_with("> ")).collect();
    assert_eq!(said[0], "> a line of the host");
    assert_eq!(fs::read_to_string(folder.join("from-guest"))?, "proof\n");
    if said.len() == 1 {
        skip("a_guest_mounts_a_folder_by_9p", "the test guest's kernel has no 9p");
    } else {
        assert_eq!(said[1..], ["> 9p:", "> a line of the host"]);
    }
    await_no_restart(&scenario)
}
