//! Copies of volumes that something comes in between of: the daemon dies, the original is written to, used, grown or deleted, or nobody wants
//! the copy any more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, os::unix::fs::FileExt as _};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tests::{PATIENCE, Scenario, Stage, condition, run, signal};

const MIB: usize = 1 << 20;
const SIZE: usize = 256 * MIB;
const FROM: &str = "source: {volumeRef: {name: source}}";

#[test]
fn a_copy_whose_daemon_dies_or_whose_original_is_written_to_meanwhile_is_made_anew_and_whole() -> Result<()> {
    let stage = Stage::start("severed", &["--poll=2s"])?;
    let scenario = stage.scenario("severed")?;
    let source = begin(&scenario)?;
    scenario.host().restart_daemon()?;
    // The program goes on for nobody.
    for pid in scenario.host().pids("qemu-img")? {
        signal(pid, Signal::CONT)?;
    }
    scenario.await_ready(&["volume/copy"])?;
    check(&scenario, "copy", &pattern(SIZE))?;
    assert_eq!(scenario.host().volumes(scenario.name())?, ["copy", "source"]);

    let copier = scenario.host().halted("qemu-img", || scenario.apply(&scenario.volume("later", FROM)))?;
    let mut bytes = pattern(SIZE);
    bytes[SIZE - 4096..].fill(9);
    fs::OpenOptions::new().write(true).open(&source)?.write_all_at(&bytes[SIZE - 4096..], (SIZE - 4096) as u64)?;
    signal(copier, Signal::CONT)?;
    scenario.await_ready(&["volume/later"])?;
    check(&scenario, "later", &bytes)?;

    // One that is lost is copied again only by leave.
    scenario.host().virsh(&["vol-delete", "later", scenario.name()])?;
    scenario.await_object("volume", "later", |volume| {
        let (status, reason, _) = condition(volume, "Ready")?;
        ensure!((status, reason) == ("False", "Lost"), "{reason}");
        Ok(())
    })?;
    let uid = scenario.object("volume", "later")?["metadata"]["uid"].as_str().context("read the UID")?.to_owned();
    let leave = format!("libvirt.nourspeed.io/recreate={uid}");
    scenario.namespace().kubectl(&["annotate", "volume", "later", &leave])?;
    scenario.await_ready(&["volume/later"])?;
    check(&scenario, "later", &bytes)?;
    scenario.clear_in_time()
}

#[test]
fn what_is_copied_goes_afterwards_and_a_copy_that_is_not_wanted_any_more_leaves_nothing() -> Result<()> {
    let stage = Stage::start("unwantedcopy", &["--poll=2s"])?;
    let scenario = stage.scenario("unwantedcopy")?;
    begin(&scenario)?;
    let copier = held(&scenario)?;
    scenario.apply(&scenario.volume("source", "format: Raw, capacity: 300Mi"))?;
    scenario.delete(&["volume/copy"])?;
    let waits = "the volume is deleted when the host has come to an end with it";
    await_sentence(&scenario, "copy", waits)?;
    await_sentence(&scenario, "source", "the volume grows when the host has come to an end with it, which copies it")?;
    assert_eq!(scenario.observed("volume", "source")?["capacity"], "256Mi");
    // What is to go is copied no more; who names it still, in the same namespace, goes before it.
    scenario.delete(&["volume/source"])?;
    scenario.apply(&scenario.volume("late", FROM))?;
    await_sentence(&scenario, "late", "waiting for Volume source: it is being deleted")?;
    signal(copier, Signal::CONT)?;
    scenario.await_gone(&["volume/copy"])?;
    await_sentence(&scenario, "source", &format!("the volume is used by Volume {}/late", scenario.namespace().name()))?;
    assert_eq!(scenario.host().volumes(scenario.name())?, ["source"]);
    scenario.delete(&["volume/late"])?;
    scenario.await_gone(&["volume/late", "volume/source"])?;
    assert_eq!(scenario.host().volumes(scenario.name())?, Vec::<String>::new());
    scenario.clear_in_time()
}

#[test]
fn a_volume_that_is_copied_grows_afterwards_and_a_copy_that_a_killed_provider_began_and_nobody_wants_goes() -> Result<()>
{
    let stage = Stage::start("abandoned", &["--poll=2s"])?;
    let scenario = stage.scenario("abandoned")?;
    begin(&scenario)?;
    let copier = held(&scenario)?;
    stage.kill_provider()?;
    scenario.delete(&["volume/copy"])?;
    scenario.apply(&scenario.volume("source", "format: Raw, capacity: 300Mi"))?;
    stage.start_provider()?;
    await_sentence(&scenario, "copy", "the volume is deleted when nothing is written into pool")?;
    assert_eq!(condition(&scenario.object("volume", "source")?, "Ready")?.0, "True");
    signal(copier, Signal::CONT)?;
    scenario.await_gone(&["volume/copy"])?;
    scenario.await_object("volume", "source", |volume| {
        let capacity = &volume["status"]["atProvider"]["capacity"];
        ensure!(capacity == "300Mi" && condition(volume, "Synced")?.0 == "True", "{capacity}");
        Ok(())
    })?;
    assert_eq!(scenario.host().volumes(scenario.name())?, ["source"]);
    scenario.clear_in_time()
}

#[test]
fn a_guest_that_is_to_start_on_what_is_being_copied_starts_afterwards_and_the_copy_is_whole() -> Result<()> {
    let stage = Stage::start("started", &["--poll=2s"])?;
    let scenario = stage.scenario("started")?;
    begin(&scenario)?;
    let copier = held(&scenario)?;
    let guest = |strategy: &str| {
        scenario
            .idle_guest(&format!(", runStrategy: {strategy}"))
            .replace("volumeRef: {name: root}", "volumeRef: {name: source}")
    };
    scenario.apply(&guest("Always"))?;
    // Either QEMU is kept from the file, or the program had not opened it yet, and the copy is given up.
    scenario.await_object("domain", scenario.name(), |domain| {
        let (status, reason, message) = condition(domain, "Ready")?;
        ensure!(status == "True" || reason == "DiskInUse", "{reason}: {message}");
        Ok(())
    })?;
    signal(copier, Signal::CONT)?;
    scenario.await_ready(&[&format!("domain/{}", scenario.name())])?;
    scenario.apply(&guest("Halted"))?;
    scenario.await_ready(&["volume/copy"])?;
    check(&scenario, "copy", &pattern(SIZE))?;
    scenario.clear_in_time()
}

/// A source with content and a copy of it, which the host has begun and does not go on with.
fn begin(scenario: &Scenario<'_>) -> Result<String> {
    scenario.apply(&(scenario.pool() + &scenario.volume("source", &format!("format: Raw, capacity: '{SIZE}'"))))?;
    scenario.await_all_ready(PATIENCE)?;
    let source = scenario.path("volume", "source")?;
    fs::write(&source, pattern(SIZE))?;
    scenario.host().halted("qemu-img", || scenario.apply(&scenario.volume("copy", FROM)))?;
    scenario.await_condition("volume/copy", "Importing", ("True", "Copying", "the host copies the volume"))?;
    Ok(source)
}

fn held(scenario: &Scenario<'_>) -> Result<u32> {
    scenario.host().pids("qemu-img")?.into_iter().next().context("nothing is copied any more")
}

fn await_sentence(scenario: &Scenario<'_>, name: &str, words: &str) -> Result<()> {
    scenario.await_object("volume", name, |volume| {
        let told = volume["status"]["conditions"].to_string();
        ensure!(told.contains(words), "{told}");
        Ok(())
    })
}

/// A qcow2 volume holds these bytes.
fn check(scenario: &Scenario<'_>, name: &str, bytes: &[u8]) -> Result<()> {
    let copied = scenario.host().path("copied").display().to_string();
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &scenario.path("volume", name)?, &copied])?;
    assert!(fs::read(&copied)? == bytes, "{name} is not whole");
    Ok(())
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 7 + at / 4096) % 251).unwrap_or_default()).collect()
}
