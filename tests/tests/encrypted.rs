//! Encrypted volumes: what a guest writes to them only it reads, and their passphrase is in no place where it could be found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, Stage, condition, run};

/// What the provider runs with. Each test has a host of its own: it counts all secrets there, and one of them restarts the daemon.
const ARGS: &[&str] = &["--poll=2s"];

const PASSPHRASE: &str = "only-the-Secret-knows";
const OTHER: &str = "somebody-elses-guess";
const BASE64: &str = "b25seS10aGUtU2VjcmV0LWtub3dz";
/// What the guest writes.
const WORDS: &str = "plain-words-here";
const MIB: u64 = 1 << 20;

fn secret(passphrase: &str) -> String {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"disk": passphrase}});
    format!("---\n{secret}\n")
}

fn encrypted(scenario: &Scenario<'_>, name: &str, format: &str) -> String {
    let how = "encryption: {format: Luks, passphraseRef: {name: keys, key: disk}}";
    scenario.volume(name, &format!("format: {format}, capacity: 32Mi, {how}"))
}

/// The UUIDs of libvirt's secrets on the host, with what they are for.
fn secrets(scenario: &Scenario<'_>) -> Result<Vec<String>> {
    let listed = scenario.host().virsh(&["secret-list"])?;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(listed.lines().map(words).filter(|line| !line.is_empty()).collect())
}

fn disks(names: &[&str]) -> Value {
    let disk = |name: &&str| json!({"name": name, "volumeRef": {"name": name}});
    json!({"disks": names.iter().map(disk).collect::<Vec<_>>()})
}

fn await_secrets(scenario: &Scenario<'_>, volumes: &[&str]) -> Result<()> {
    let wanted: Result<Vec<String>> =
        volumes.iter().map(|name| Ok(format!("volume {}", scenario.path("volume", name)?))).collect();
    let mut wanted = wanted?;
    wanted.sort();
    scenario.await_host(&wanted.join("\n"), |scenario| {
        let mut seen: Vec<String> =
            secrets(scenario)?.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
        seen.sort();
        Ok(seen.join("\n"))
    })
}

#[test]
fn a_guest_reads_what_it_wrote_to_encrypted_disks_and_nobody_else_does_and_the_passphrase_is_nowhere_to_be_seen()
-> Result<()> {
    let stage = Stage::start("sealed", ARGS)?;
    let scenario = stage.scenario("sealed")?;
    let script = format!(
        "#!/bin/sh\nfor d in vdb vdc; do echo $d had $(head -c 16 /dev/$d | tr -cd a-z-).; \
         echo {WORDS} | dd of=/dev/$d conv=notrunc 2>/dev/null; done; sync\n"
    );
    let guest = "memory: 128Mi, disks: [{name: root, volumeRef: {name: root}}, {name: raw, volumeRef: {name: raw}}, \
                 {name: qcow2, volumeRef: {name: qcow2}}], cloudInitRef: {name: sealed}";
    let volumes = encrypted(&scenario, "raw", "Raw") + &encrypted(&scenario, "qcow2", "Qcow2");
    scenario.apply(&(scenario.storage()? + &volumes + &scenario.seed("s", &script) + &scenario.guest(guest)))?;
    await_sentence(
        &scenario,
        "encryption.passphraseRef: cannot get referenced resource: waiting for Secret keys: there is none in namespace",
    )?;
    scenario.apply(&secret(""))?;
    await_sentence(&scenario, "Secret keys, key disk: the passphrase is empty")?;
    scenario.apply(&secret(PASSPHRASE))?;

    scenario.await_ready(&["volume/raw", "volume/qcow2", "domain/sealed"])?;
    let console = scenario.console();
    // What nobody wrote is noise in a raw volume, and zeros in a qcow2 one.
    for line in ["> vdb had ", "> vdc had .", "userdata-end 0"] {
        console.wait_for_line(line, PATIENCE)?;
    }
    look_at_the_files(&scenario)?;
    look_at_the_secrets(&scenario)?;

    // It grows under the guest, and another is plugged in.
    scenario.change("volume", "raw", &json!({"capacity": "48Mi"}))?;
    assert_eq!(console.wait_for_line("disk-resized vdb ", PATIENCE)?, format!("disk-resized vdb {}", 48 * MIB));
    scenario.apply(&encrypted(&scenario, "more", "Raw"))?;
    scenario.change("domain", "sealed", &disks(&["root", "raw", "qcow2", "more"]))?;
    assert_eq!(console.wait_for_line("disk vdd ", PATIENCE)?, format!("disk vdd {}", 32 * MIB));
    scenario.await_ready(&["volume/raw", "volume/more", "domain/sealed"])?;

    refuse_another_passphrase(&scenario)?;
    start_after_the_daemon_has_forgotten(&scenario)?;

    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(secrets(&scenario)?, Vec::<String>::new());
    assert_eq!(scenario.host().everything()?, Vec::<String>::new());
    Ok(())
}

fn await_sentence(scenario: &Scenario<'_>, sentence: &str) -> Result<()> {
    scenario.await_object("volume", "raw", |volume| {
        let (status, _, message) = condition(volume, "Synced")?;
        ensure!(status == "False" && message.contains(sentence), "{status} {message}");
        Ok(())
    })
}

/// What the host's files are, and that nothing of what the guest wrote can be read in them.
fn look_at_the_files(scenario: &Scenario<'_>) -> Result<()> {
    for (name, format) in [("raw", "luks"), ("qcow2", "qcow2")] {
        let path = scenario.path("volume", name)?;
        let info: Value = serde_json::from_str(&run("qemu-img", &["info", "-U", "--output=json", &path])?)?;
        assert_eq!(
            (&info["format"], &info["encrypted"], &info["virtual-size"]),
            (&json!(format), &json!(true), &json!(32 * MIB))
        );
        if name == "qcow2" {
            assert_eq!(info["format-specific"]["data"]["encrypt"]["format"], "luks");
        }
        let bytes = fs::read(&path)?;
        assert!(
            !bytes.windows(WORDS.len()).any(|window| window == WORDS.as_bytes()),
            "{name} holds what the guest wrote"
        );
        let seen = scenario.observed("volume", name)?;
        assert_eq!((&seen["encryption"], &seen["capacity"]), (&json!({"format": "Luks"}), &json!("32Mi")), "{name}");
    }
    Ok(())
}

/// That nobody can have the passphrase of the host, and that it stands nowhere.
fn look_at_the_secrets(scenario: &Scenario<'_>) -> Result<()> {
    await_secrets(scenario, &["raw", "qcow2"])?;
    let host = scenario.host();
    for line in secrets(scenario)? {
        let uuid = line.split(' ').next().context("read the UUID")?;
        let error = format!("{:#}", host.virsh(&["secret-get-value", uuid]).unwrap_err());
        assert!(error.contains("private"), "{error}");
        let description = host.virsh(&["secret-dumpxml", uuid])?;
        assert!(description.contains("ephemeral='yes' private='yes'"), "{description}");
    }
    let objects = scenario.namespace().kubectl(&["get", "managed,events", "-o", "json"])?;
    let xml = host.virsh(&["dumpxml", "--security-info", "sealed"])?;
    let mut told = objects + &xml + &scenario.stage().log() + &host.daemon_log();
    for pid in host.pids("qemu-system-x86")? {
        told += &String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline"))?);
    }
    for passphrase in [PASSPHRASE, BASE64] {
        ensure!(!told.contains(passphrase), "the passphrase is told somewhere");
        let folders = ["etc", "run", "lib", "log", "cache"].map(|below| host.path(below).display().to_string());
        let found = run("sh", &["-c", &format!("grep -rl -e {passphrase} {} || true", folders.join(" "))])?;
        ensure!(found.trim().is_empty(), "the host has written it down: {found}");
    }
    Ok(())
}

fn refuse_another_passphrase(scenario: &Scenario<'_>) -> Result<()> {
    scenario.apply(&secret(OTHER))?;
    let sentence = "the passphrase in Secret keys is another than the one that the volume was made with, which stays: libvirt cannot give a volume another passphrase. Put the old one back; if it is the one that opens the volume, take the annotation libvirt.nourspeed.io/passphrase away";
    scenario.await_condition("volume/qcow2", "UpToDate", ("False", "PassphraseChanged", sentence))?;
    scenario.await_condition("volume/qcow2", "Ready", ("True", "Available", ""))?;
    scenario.apply(&secret(PASSPHRASE))?;
    scenario.await_ready(&["volume/raw", "volume/qcow2", "volume/more"])
}

/// The guest is started again with what it wrote, although the daemon has forgotten the passphrases; and a volume grows that is off.
fn start_after_the_daemon_has_forgotten(scenario: &Scenario<'_>) -> Result<()> {
    let (host, console) = (scenario.host(), scenario.console());
    host.restart_daemon()?;
    await_secrets(scenario, &["raw", "qcow2", "more"])?;
    scenario.change("domain", "sealed", &json!({"runStrategy": "Halted"}))?;
    scenario.await_state("shut off")?;
    host.restart_daemon()?;
    scenario.change("volume", "qcow2", &json!({"capacity": "64Mi"}))?;
    scenario.change("domain", "sealed", &json!({"runStrategy": "Always"}))?;
    for line in [format!("> vdb had {WORDS}."), format!("> vdc had {WORDS}.")] {
        console.wait_for_line(&line, PATIENCE)?;
    }
    scenario.await_object("volume", "qcow2", |volume| {
        let seen = &volume["status"]["atProvider"]["capacity"];
        ensure!(seen == "64Mi", "capacity is {seen}");
        Ok(())
    })?;
    scenario.await_ready(&["volume/raw", "volume/qcow2", "volume/more", "domain/sealed"])
}

#[test]
fn a_secret_of_others_for_the_same_path_is_left_alone_and_nothing_can_be_made_of_an_encrypted_volume_but_disks()
-> Result<()> {
    let stage = Stage::start("others", ARGS)?;
    let scenario = stage.scenario("others")?;
    scenario.apply(&(secret(PASSPHRASE) + &scenario.pool()))?;
    scenario.await_ready(&["pool/others"])?;
    let theirs = "5c0a7d3e-1111-4222-8333-944445555666";
    let taken = format!("{}/taken", scenario.folder());
    scenario.host().virsh_xml(
        "secret-define",
        &format!("<secret><uuid>{theirs}</uuid><usage type='volume'><volume>{taken}</volume></usage></secret>"),
    )?;
    let volumes = encrypted(&scenario, "taken", "Raw") + &encrypted(&scenario, "free", "Raw");
    let above = scenario.volume("above", "backingStore: {volumeRef: {name: free}}");
    let copy = scenario.volume("copy", "source: {volumeRef: {name: free}}");
    scenario.apply(&(volumes + &above + &copy))?;
    scenario.await_ready(&["volume/free"])?;
    let refused = |name: &str, sentence: &str| {
        scenario.await_object("volume", name, |volume| {
            let (status, _, message) = condition(volume, "Synced")?;
            ensure!(status == "False" && message.contains(sentence), "{status} {message}");
            Ok(())
        })
    };
    refused(
        "taken",
        &format!("the host has a secret for volume {taken} already, {theirs}, which is not ours and is left alone"),
    )?;
    for name in ["above", "copy"] {
        let sentence =
            "is encrypted: only disks of guests can be made of it, and nothing can stand on it or be copied from it";
        refused(name, sentence)?;
    }
    assert_eq!(scenario.host().volumes("others")?, ["free"]);

    scenario.host().virsh(&["secret-undefine", theirs])?;
    scenario.await_ready(&["volume/taken"])?;
    // One that somebody takes away comes back.
    await_secrets(&scenario, &["free", "taken"])?;
    for line in secrets(&scenario)? {
        scenario.host().virsh(&["secret-undefine", line.split(' ').next().context("read the UUID")?])?;
    }
    await_secrets(&scenario, &["free", "taken"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(secrets(&scenario)?, Vec::<String>::new());
    Ok(())
}
