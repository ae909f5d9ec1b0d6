//! Volumes whose first content is a key of a Secret or `ConfigMap`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::fs;

use anyhow::{Result, ensure};
use tests::{PATIENCE, Scenario, Stage, condition, manifest, run};

const WORD: &str = "a-word-that-nobody-is-told";

#[test]
fn a_key_of_a_secret_or_config_map_is_a_volume_byte_for_byte_and_nothing_of_it_is_told() -> Result<()> {
    let stage = Stage::start("contents", &["--poll=2s", "--debug"])?;
    let scenario = stage.scenario("contents")?;
    // What no text can hold, and of a length that is no whole sector.
    let bytes: Vec<u8> = (0..70_001_u32).map(|at| u8::try_from((at * 7) % 256).unwrap_or_default()).collect();
    let (file, disk) = (scenario.host().path("bytes"), scenario.host().path("disk.qcow2"));
    fs::write(&file, &bytes)?;
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", &disk.display().to_string(), "3M"])?;
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 9 64k 8k", &disk.display().to_string()])?;
    let from = |key: &str, file: &std::path::Path| format!("--from-file={key}={}", file.display());
    scenario.namespace().kubectl(&["create", "configmap", "c", &from("bytes", &file), &from("disk", &disk)])?;
    scenario.namespace().kubectl(&["create", "secret", "generic", "s", &format!("--from-literal=word={WORD}")])?;
    let volumes = [
        scenario.volume("plain", "format: Raw, source: {configMapKeyRef: {name: c, key: bytes}}"),
        scenario.volume("larger", "format: Raw, capacity: 1Mi, source: {secretKeyRef: {name: s, key: word}}"),
        scenario.volume("disk", "capacity: 8Mi, source: {configMapKeyRef: {name: c, key: disk}}"),
    ];
    scenario.apply(&(scenario.pool() + &volumes.concat()))?;
    scenario.await_all_ready(PATIENCE)?;
    let read = |name: &str| -> Result<Vec<u8>> {
        let path = scenario.path("volume", name)?;
        Ok(fs::read(path)?)
    };
    assert!(read("plain")? == bytes, "not the bytes of the ConfigMap");
    let larger = read("larger")?;
    assert!(larger.len() == 1 << 20 && larger.starts_with(WORD.as_bytes()), "{}", larger.len());
    assert!(larger[WORD.len()..].iter().all(|byte| *byte == 0));
    let path = scenario.path("volume", "disk")?;
    run("qemu-io", &["-f", "qcow2", "-c", "read -P 9 64k 8k", &path])?;
    assert_eq!(scenario.observed("volume", "disk")?["capacity"], "8Mi");

    // It is the first content and no other.
    scenario.namespace().kubectl(&[
        "patch",
        "configmap",
        "c",
        "--type=merge",
        "-p",
        "{\"binaryData\": {\"bytes\": \"YQ==\"}}",
    ])?;
    scenario.namespace().kubectl(&["delete", "secret", "s"])?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    for name in ["plain", "larger"] {
        let volume = scenario.object("volume", name)?;
        assert_eq!((condition(&volume, "Synced")?.0, condition(&volume, "UpToDate")?.0), ("True", "True"), "{name}");
        assert!(!volume.to_string().contains(WORD) && !stage.log().contains(WORD), "{name}");
    }
    assert!(read("plain")? == bytes && read("larger")? == larger);
    check_waits(&scenario)?;
    check_withheld(&scenario)?;
    scenario.clear()
}

/// What is not there, or not of the format, is said and made once it is.
fn check_waits(scenario: &Scenario<'_>) -> Result<()> {
    // An image in another file's name would have the host read that file.
    let [below, overlay] = ["disk.qcow2", "overlay"].map(|name| scenario.host().path(name).display().to_string());
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", &below, "-F", "qcow2", &overlay])?;
    scenario.namespace().kubectl(&["create", "configmap", "b", &format!("--from-file=disk={overlay}")])?;
    let volumes = [
        scenario.volume("backed", "source: {configMapKeyRef: {name: b, key: disk}}"),
        scenario.volume("late", "format: Raw, source: {secretKeyRef: {name: late, key: word}}"),
        scenario.volume("wrong", "source: {configMapKeyRef: {name: c, key: bytes}}"),
        scenario.volume("tight", "format: Raw, capacity: '512', source: {configMapKeyRef: {name: c, key: disk}}"),
    ];
    scenario.apply(&volumes.concat())?;
    let told = |name: &str, words: &str| {
        scenario.await_object("volume", name, |volume| {
            let (status, _, message) = condition(volume, "Synced")?;
            ensure!(status == "False" && message.contains(words), "{message}");
            Ok(())
        })
    };
    told("late", "waiting for Secret late: there is none in namespace")?;
    told("backed", "the image refers to another file (a backing file)")?;
    told("wrong", "the image is not qcow2; create the Volume with format: Raw")?;
    told("tight", "the content is larger than the volume is to be")?;
    scenario.namespace().kubectl(&["create", "secret", "generic", "late", "--from-literal=word=x"])?;
    scenario.await_ready(&["volume/late"])?;
    assert_eq!(scenario.host().volumes(scenario.name())?, ["disk", "larger", "late", "plain"]);
    // What is not made yet has the content of when it is made.
    let mended = "{\"binaryData\": null, \"data\": {\"disk\": \"a word\"}}";
    scenario.namespace().kubectl(&["patch", "configmap", "c", "--type=merge", "-p", mended])?;
    scenario.await_ready(&["volume/tight"])?;
    let path = scenario.path("volume", "tight")?;
    assert!(fs::read(path)?.starts_with(b"a word\0"));
    told("wrong", "waiting for ConfigMap c: it has no key bytes")
}

/// What lets the provider in at a host is shown to no guest.
fn check_withheld(scenario: &Scenario<'_>) -> Result<()> {
    scenario.namespace().kubectl(&["create", "secret", "generic", "keys", "--from-literal=word=x"])?;
    let config = "apiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: ProviderConfig\nmetadata: {name: other}\n\
                  spec: {uri: 'qemu+tls://nowhere.invalid/system', credentials: {source: Secret, secretRef: {name: keys}}}\n---\n";
    scenario.apply(config)?;
    let seed = format!("poolRef: {{name: {}}}, userData: {{secretKeyRef: {{name: keys, key: word}}}}", scenario.name());
    scenario.apply(&scenario.volume("keys", "format: Raw, source: {secretKeyRef: {name: keys, key: word}}"))?;
    scenario.apply(&manifest("CloudInit", "keys", &seed))?;
    for kind in ["volume", "cloudinit"] {
        scenario.await_object(kind, "keys", |object| {
            let (status, _, message) = condition(object, "Synced")?;
            let words = "Secret keys is not read for this object: a config names it as its credentials";
            ensure!(status == "False" && message.contains(words), "{kind}: {message}");
            Ok(())
        })?;
    }
    scenario.namespace().kubectl(&["delete", "providerconfig.libvirt.m.nourspeed.io", "other"])?;
    scenario.await_ready(&["volume/keys", "cloudinit/keys"])
}
