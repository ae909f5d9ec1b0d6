//! Fields that act outside of a description: what each does on a real host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use tests::{Scene, condition, eventually};

#[test]
fn every_file_of_a_seed_can_be_inline_or_come_from_a_secret_or_a_config_map() -> Result<()> {
    let scene = Scene::with_default_host("seeds", &["--poll=1s"])?;
    let data = "{user: '#!/bin/sh the-user', meta: 'instance-id: the-meta', net: 'version: 2 # the-network', vendor: '#cloud-config the-vendor'}";
    scene.namespace.apply(&format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, stringData: {data}}}\n---\n\
         {{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {data}}}"
    ))?;
    let pool = format!("{{target: {{path: {}}}}}", scene.host.path("pool").display());
    let from = |field: &str, key: &str| format!("{{{field}: {{name: {}, key: {key}}}}}", &field[..1]);
    let seed = |name: &'static str, (odd, even): (&str, &str), place: &str| {
        let (user, meta, network, vendor) =
            (from(odd, "user"), from(even, "meta"), from(even, "net"), from(odd, "vendor"));
        (
            "CloudInit",
            name,
            format!("{{{place}, userData: {user}, metaData: {meta}, networkConfig: {network}, vendorData: {vendor}}}"),
        )
    };
    let inline = "{pool: pool, userData: {inline: the-user}, metaData: {inline: the-meta}, \
                  networkConfig: {inline: the-network}, vendorData: {inline: the-vendor}}";
    scene.apply(&[
        ("Pool", "pool", pool),
        ("CloudInit", "three", inline.into()),
        seed("one", ("secretKeyRef", "configMapKeyRef"), "poolRef: {name: pool}"),
        seed("two", ("configMapKeyRef", "secretKeyRef"), "pool: pool"),
    ])?;
    let objects = scene.await_ready(Scene::PATIENCE)?;
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
    let scene = Scene::with_default_host("plain", &["--poll=1s"])?;
    let folder = scene.host.path("pool");
    scene.apply(&[("Pool", "pool", format!("{{target: {{path: {}}}, build: false}}", folder.display()))])?;
    eventually(Scene::PATIENCE, || {
        let object = scene.get("pool", "pool")?;
        let (status, _, message) = condition(&object, "Synced")?;
        ensure!(status == "False" && message.contains("start pool"), "{status} {message}");
        ensure!(message.contains("No such file or directory"), "{message}");
        Ok(())
    })?;
    assert!(!folder.exists(), "it was built");
    fs::create_dir(&folder)?;
    scene.await_ready(Scene::PATIENCE)?;

    scene.host.virsh(&["vol-create-as", "pool", "theirs", "1M", "--format", "raw"])?;
    let disk = "{name: data, volume: {pool: pool, name: theirs, format: Raw}}";
    scene.apply(&[
        ("Volume", "ours", "{pool: pool, capacity: 1Mi, format: Raw}".into()),
        ("Domain", "guest", format!("{{type: Qemu, memory: 32Mi, runStrategy: Halted, disks: [{disk}]}}")),
    ])?;
    let objects = scene.await_ready(Scene::PATIENCE)?;
    let seen = |name: &str, path: &str| objects[name].pointer(path).and_then(|value| value.as_str()).map(str::to_owned);
    let at = |name: &str| Some(folder.join(name).display().to_string());
    assert_eq!(seen("Volume/ours", "/status/atProvider/path"), at("ours"));
    assert_eq!(seen("Domain/guest", "/status/atProvider/disks/0/path"), at("theirs"));
    assert!(Path::new(&folder.join("ours")).exists());
    Ok(())
}

#[test]
fn a_guest_is_asked_to_shut_down_in_the_way_that_its_object_says() -> Result<()> {
    let scene = Scene::with_default_host("asked", &["--poll=1s"])?;
    let guest =
        |strategy: &str| format!("{{type: Qemu, memory: 32Mi, runStrategy: {strategy}, shutdown: {{mode: Agent}}}}");
    scene.apply(&[("Domain", "guest", guest("Always"))])?;
    scene.await_ready(Scene::PATIENCE)?;
    scene.apply(&[("Domain", "guest", guest("Halted"))])?;
    // A guest without an agent cannot be asked by it: libvirt's own sentence shows which way was taken.
    eventually(Scene::PATIENCE, || {
        let object = scene.get("domain", "guest")?;
        let (status, _, message) = condition(&object, "Synced")?;
        ensure!(status == "False" && message.contains("QEMU guest agent is not configured"), "{status} {message}");
        Ok(())
    })?;
    scene.namespace.kubectl(&[
        "patch",
        "domain",
        "guest",
        "--type=merge",
        "-p",
        r#"{"spec":{"forProvider":{"shutdown":{"mode":"Acpi","timeout":"1s","forceAfterTimeout":true}}}}"#,
    ])?;
    scene.await_ready(Scene::PATIENCE)?;
    assert_eq!(scene.host.virsh(&["domstate", "guest"])?.trim(), "shut off");
    Ok(())
}
