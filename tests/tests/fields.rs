//! Fields that act outside of a description: what each does on a real host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::{PATIENCE, Stage, condition, eventually, manifest};

#[test]
fn every_file_of_a_seed_can_be_inline_or_come_from_a_secret_or_a_config_map() -> Result<()> {
    let stage = Stage::start("seeds", &["--poll=1s"])?;
    let scenario = stage.scenario("seeds")?;
    let data = "{user: '#!/bin/sh the-user', meta: 'instance-id: the-meta', net: 'version: 2 # the-network', vendor: '#cloud-config the-vendor'}";
    scenario.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, stringData: {data}}}\n---\n\
         {{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {data}}}"
    ))?;
    let pool = format!("target: {{path: {}}}", scenario.host().path("pool").display());
    let from = |field: &str, key: &str| format!("{{{field}: {{name: {}, key: {key}}}}}", &field[..1]);
    let seed = |name: &str, (odd, even): (&str, &str), place: &str| {
        let (user, meta, network, vendor) =
            (from(odd, "user"), from(even, "meta"), from(even, "net"), from(odd, "vendor"));
        let files = format!("userData: {user}, metaData: {meta}, networkConfig: {network}, vendorData: {vendor}");
        manifest("CloudInit", name, &format!("{place}, {files}"))
    };
    let inline = "pool: pool, userData: {inline: the-user}, metaData: {inline: the-meta}, \
                  networkConfig: {inline: the-network}, vendorData: {inline: the-vendor}";
    let objects = [
        manifest("Pool", "pool", &pool),
        manifest("CloudInit", "three", inline),
        seed("one", ("secretKeyRef", "configMapKeyRef"), "poolRef: {name: pool}"),
        seed("two", ("configMapKeyRef", "secretKeyRef"), "pool: pool"),
    ];
    scenario.apply(&objects.concat())?;
    let objects = scenario.await_all_ready(PATIENCE)?;
    for name in ["CloudInit/one", "CloudInit/two", "CloudInit/three"] {
        let path = objects[name]["status"]["atProvider"]["path"].as_str().context("read the path")?;
        let image = fs::read(path)?;
        for text in ["the-user", "the-meta", "the-network", "the-vendor"] {
            assert!(image.windows(text.len()).any(|window| window == text.as_bytes()), "{name} lacks {text}");
        }
    }
    Ok(())
}

#[test]
fn a_pool_that_is_not_to_be_built_waits_for_its_directory_and_plain_names_find_what_no_object_stands_for() -> Result<()>
{
    let stage = Stage::start("plain", &["--poll=1s"])?;
    let scenario = stage.scenario("plain")?;
    let folder = scenario.host().path("pool");
    scenario.apply(&manifest("Pool", "pool", &format!("target: {{path: {}}}, build: false", folder.display())))?;
    eventually(PATIENCE, || {
        let object = scenario.object("pool", "pool")?;
        let (status, _, message) = condition(&object, "Synced")?;
        ensure!(status == "False" && message.contains("start pool"), "{status} {message}");
        ensure!(message.contains("No such file or directory"), "{message}");
        Ok(())
    })?;
    assert!(!folder.exists(), "it was built");
    fs::create_dir(&folder)?;
    scenario.await_all_ready(PATIENCE)?;

    scenario.host().virsh(&["vol-create-as", "pool", "theirs", "1M", "--format", "raw"])?;
    let disk = "{name: data, volume: {pool: pool, name: theirs, format: Raw}}";
    let guest = format!("type: Qemu, memory: 32Mi, runStrategy: Halted, disks: [{disk}]");
    let ours = manifest("Volume", "ours", "pool: pool, capacity: 1Mi, format: Raw");
    scenario.apply(&(ours + &manifest("Domain", "guest", &guest)))?;
    let objects = scenario.await_all_ready(PATIENCE)?;
    let seen = |name: &str, path: &str| objects[name].pointer(path).and_then(|value| value.as_str()).map(str::to_owned);
    let at = |name: &str| Some(folder.join(name).display().to_string());
    assert_eq!(seen("Volume/ours", "/status/atProvider/path"), at("ours"));
    assert_eq!(seen("Domain/guest", "/status/atProvider/disks/0/path"), at("theirs"));
    assert!(Path::new(&folder.join("ours")).exists());
    Ok(())
}

#[test]
fn a_guest_is_asked_to_shut_down_in_the_way_that_its_object_says() -> Result<()> {
    let stage = Stage::start("asked", &["--poll=1s"])?;
    let scenario = stage.scenario("asked")?;
    let guest =
        |strategy: &str| format!("type: Qemu, memory: 32Mi, runStrategy: {strategy}, shutdown: {{mode: Agent}}");
    scenario.apply(&manifest("Domain", "guest", &guest("Always")))?;
    scenario.await_all_ready(PATIENCE)?;
    scenario.apply(&manifest("Domain", "guest", &guest("Halted")))?;
    // A guest without an agent cannot be asked by it: libvirt's own sentence shows which way was taken.
    eventually(PATIENCE, || {
        let object = scenario.object("domain", "guest")?;
        let (status, _, message) = condition(&object, "Synced")?;
        ensure!(status == "False" && message.contains("QEMU guest agent is not configured"), "{status} {message}");
        Ok(())
    })?;
    let force = json!({"shutdown": {"mode": "Acpi", "timeout": "1s", "forceAfterTimeout": true}});
    scenario.change("domain", "guest", &force)?;
    scenario.await_all_ready(PATIENCE)?;
    assert_eq!(scenario.host().virsh(&["domstate", "guest"])?.trim(), "shut off");
    Ok(())
}
