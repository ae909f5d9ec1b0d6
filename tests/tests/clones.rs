//! Volumes that are copies of other volumes, made by the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tests::{PATIENCE, Scenario, Stage, condition, manifest, run, signal};

const MIB: usize = 1 << 20;

#[test]
fn a_copy_has_all_of_its_source_in_another_pool_and_format_and_size_and_needs_it_no_more() -> Result<()> {
    let stage = Stage::start("clones", &["--poll=2s"])?;
    let scenario = stage.scenario("clones")?;
    let other = manifest("Pool", "other", &format!("target: {{path: {}}}", scenario.host().path("other").display()));
    scenario.apply(&(scenario.pool() + &other + &scenario.volume("source", "format: Raw, capacity: 8Mi")))?;
    scenario.await_all_ready(PATIENCE)?;
    label(&scenario, "source", "image=base")?;
    let source = scenario.path("volume", "source")?;
    fs::write(&source, pattern(8 * MIB))?;
    // What stands on another volume is copied with that.
    scenario.apply(&scenario.volume("above", "capacity: 12Mi, backingStore: {volumeRef: {name: source}}"))?;
    scenario.await_ready(&["volume/above"])?;
    let above = scenario.path("volume", "above")?;
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 7 1M 1M", &above])?;

    let (from, chosen) =
        ("source: {volumeRef: {name: source}}", "source: {volumeSelector: {matchLabels: {image: base}}}");
    let in_other =
        |name: &str, parameters: &str| manifest("Volume", name, &format!("poolRef: {{name: other}}, {parameters}"));
    let copies = [
        scenario.volume("same", &format!("format: Raw, {from}")),
        scenario.volume("qcow2", from),
        in_other("larger", &format!("format: Raw, capacity: 16Mi, {from}")),
        in_other("chosen", &format!("capacity: 1Gi, {chosen}")),
        scenario.volume("flat", "format: Raw, source: {volumeRef: {name: above}}"),
    ];
    scenario.apply(&copies.concat())?;
    check_copies(&scenario, &source, &above)?;

    // Nobody needs the source any more but what stands on it.
    scenario.delete(&["volume/above"])?;
    scenario.await_gone(&["volume/above"])?;
    scenario.delete(&["volume/source"])?;
    scenario.await_gone(&["volume/source"])?;
    scenario.apply(&scenario.volume("same", &format!("format: Raw, capacity: 12Mi, {from}")))?;
    scenario.await_object("volume", "same", |volume| {
        let capacity = &volume["status"]["atProvider"]["capacity"];
        ensure!(capacity == "12Mi" && condition(volume, "Synced")?.0 == "True", "{capacity}");
        Ok(())
    })?;
    scenario.clear_in_time()
}

/// Each copy is whole, of its own format and size, and stands on nothing.
fn check_copies(scenario: &Scenario<'_>, source: &str, above: &str) -> Result<()> {
    let objects = scenario.await_all_ready(PATIENCE)?;
    let sizes = [("same", "8Mi"), ("qcow2", "8Mi"), ("larger", "16Mi"), ("chosen", "1Gi"), ("flat", "12Mi")];
    for (name, capacity) in sizes {
        let volume = &objects[&format!("Volume/{name}")];
        assert_eq!(volume["status"]["atProvider"]["capacity"], capacity, "{name}");
        assert_eq!(condition(volume, "UpToDate")?.0, "True", "{name}");
        assert!(volume["status"]["atProvider"]["backingStore"].is_null(), "{name}");
    }
    for name in ["qcow2", "chosen"] {
        let copy = scenario.path("volume", name)?;
        assert!(
            run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", source, &copy])?.contains("identical"),
            "{name}"
        );
        assert!(run("qemu-img", &["info", "--output=json", &copy])?.contains("\"compat\": \"1.1\""), "{name}");
    }
    assert_eq!(fs::read(scenario.path("volume", "same")?)?, pattern(8 * MIB));
    let larger = fs::read(scenario.path("volume", "larger")?)?;
    assert!(larger.len() == 16 * MIB && larger[..8 * MIB] == pattern(8 * MIB));
    assert!(
        run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", above, &scenario.path("volume", "flat")?])?
            .contains("identical")
    );
    Ok(())
}

#[test]
fn what_a_running_guest_writes_to_is_not_copied_and_neither_is_what_is_not_what_its_object_says() -> Result<()> {
    let stage = Stage::start("torn", &["--poll=2s"])?;
    let scenario = stage.scenario("torn")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_all_ready(PATIENCE)?;
    let from = "source: {volumeRef: {name: root}}";
    scenario.apply(&scenario.volume("copy", from))?;
    let name = scenario.name();
    let sentence = format!(
        "create failed: volume root in pool {name} is written to by the running domain {name}, and a copy of it would be torn; stop the guest, or give it the disk readOnly"
    );
    scenario.await_condition("volume/copy", "Synced", ("False", "ReconcileError", &sentence))?;
    assert_eq!(scenario.host().volumes(name)?, ["root"]);
    // Nothing is written down of a copy that cannot be begun.
    let annotations = scenario.object("volume", "copy")?["metadata"]["annotations"].to_string();
    assert!(!annotations.contains("external-create") && !annotations.contains("ownership"), "{annotations}");
    scenario.apply(&scenario.idle_guest(", runStrategy: Halted"))?;
    scenario.await_ready(&["volume/copy"])?;

    // A header that a guest wrote into its raw disk would have the host copy another file of its own.
    scenario.apply(&scenario.volume("raw", "format: Raw, capacity: 1Mi"))?;
    scenario.await_ready(&["volume/raw"])?;
    let (raw, secret) = (scenario.path("volume", "raw")?, scenario.host().path("secret").display().to_string());
    fs::write(&secret, pattern(MIB))?;
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &secret, &raw])?;
    // The pool believes the bytes once it looks through its folder.
    scenario.host().virsh(&["pool-refresh", name])?;
    scenario.apply(&scenario.volume("stolen", "format: Raw, source: {volumeRef: {name: raw}}"))?;
    let words = "say qcow2, and its object says raw; it is not copied";
    scenario.await_object("volume", "stolen", |volume| {
        let (status, _, message) = condition(volume, "Synced")?;
        ensure!(status == "False" && message.contains(words), "{message}");
        Ok(())
    })?;
    // And a copy never cuts anything off.
    scenario.apply(&scenario.volume("small", &format!("capacity: '512', {from}")))?;
    scenario.await_object("volume", "small", |volume| {
        let (_, _, message) = condition(volume, "Synced")?;
        ensure!(message.contains("capacity must not be smaller than the "), "{message}");
        Ok(())
    })?;
    assert_eq!(scenario.host().volumes(name)?, ["copy", "raw", "root"]);
    scenario.clear_in_time()
}

#[test]
fn no_copy_is_made_of_what_a_guest_has_a_snapshot_of_or_is_copied_to() -> Result<()> {
    let stage = Stage::start("grown", &["--poll=2s"])?;
    let scenario = stage.scenario("grown")?;
    scenario.apply(&(scenario.idle_world("") + &scenario.volume("mirror", "capacity: 64Mi")))?;
    scenario.await_all_ready(PATIENCE)?;
    let (name, host) = (scenario.name(), scenario.host());
    let waits = |object: &str, words: &str| {
        scenario.await_object("volume", object, |volume| {
            let (status, _, message) = condition(volume, "Synced")?;
            ensure!(status == "False" && message.contains(words), "{message}");
            Ok(())
        })
    };
    let disk = host.virsh(&["domblklist", name])?;
    let disk = disk.split_whitespace().next().context("read the disk's name")?.to_owned();
    let mirror = scenario.path("volume", "mirror")?;
    let copy =
        ["blockcopy", name, &disk, &mirror, "--reuse-external", "--transient-job", "--format", "qcow2", "--wait"];
    host.virsh(&copy)?;
    scenario.apply(&scenario.volume("of-mirror", "source: {volumeRef: {name: mirror}}"))?;
    waits("of-mirror", "is written to by the running domain grown,")?;
    host.virsh(&["blockjob", name, &disk, "--abort"])?;
    scenario.await_ready(&["volume/of-mirror"])?;

    host.virsh(&["snapshot-create-as", name, "before", "--disk-only", "--no-metadata"])?;
    scenario.apply(&scenario.volume("of-root", "source: {volumeRef: {name: root}}"))?;
    waits("of-root", "volume root.before of pool grown stands on it and looks like a snapshot")?;
    host.virsh(&["blockcommit", name, &disk, "--active", "--pivot"])?;
    host.virsh(&["vol-delete", "root.before", name])?;
    scenario.apply(&scenario.idle_guest(", runStrategy: Halted"))?;
    scenario.await_ready(&["volume/of-root"])?;
    scenario.clear_in_time()
}

#[test]
fn a_provider_killed_while_the_host_copies_makes_the_copy_whole_and_nobody_else_waits_for_it() -> Result<()> {
    let stage = Stage::start("copying", &["--poll=2s"])?;
    let scenario = stage.scenario("copying")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("source", "format: Raw, capacity: 512Mi")))?;
    scenario.await_all_ready(PATIENCE)?;
    let source = scenario.path("volume", "source")?;
    fs::write(&source, pattern(512 * MIB))?;
    let copy = scenario.volume("copy", "source: {volumeRef: {name: source}}");
    let copier = scenario.host().halted("qemu-img", || scenario.apply(&copy))?;
    scenario.await_condition("volume/copy", "Importing", ("True", "Copying", "the host copies the volume"))?;
    assert_eq!(condition(&scenario.object("volume", "copy")?, "Ready")?.0, "False");
    // What is copied stays, and everything else goes on.
    scenario.delete(&["volume/source"])?;
    let used = format!("the volume is used by Volume {}/copy; it is deleted after it", scenario.namespace().name());
    scenario.await_object("volume", "source", |volume| {
        let told = volume["status"]["conditions"].to_string();
        ensure!(told.contains(&used), "{told}");
        Ok(())
    })?;
    scenario.apply(&scenario.volume("beside", "capacity: 1Mi"))?;
    scenario.await_ready(&["volume/beside"])?;

    stage.kill_provider()?;
    stage.start_provider()?;
    // The host goes on by itself. What comes of it nobody saw, so it is not taken.
    let words = "the host still writes volume copy for an earlier process of this provider";
    scenario.await_object("volume", "copy", |volume| {
        let (status, _, message) = condition(volume, "Synced")?;
        ensure!(status == "False" && message.contains(words), "{message}");
        ensure!(condition(volume, "Ready")?.0 == "False", "Ready");
        Ok(())
    })?;
    signal(copier, Signal::CONT)?;
    scenario.await_ready(&["volume/copy"])?;
    let copy = scenario.path("volume", "copy")?;
    scenario.await_gone(&["volume/source"])?;
    let copied = scenario.host().path("copied").display().to_string();
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &copy, &copied])?;
    assert!(fs::read(&copied)? == pattern(512 * MIB), "the copy is not whole");
    scenario.clear_in_time()
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 7 + at / 4096) % 251).unwrap_or_default()).collect()
}

fn label(scenario: &Scenario<'_>, name: &str, label: &str) -> Result<()> {
    scenario.namespace().kubectl(&["label", "volume", name, label]).map(drop)
}
