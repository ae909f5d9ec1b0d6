//! Volumes that are overwritten before they are deleted. What became of their content is seen by another name of the same file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{PATIENCE, Scenario, Stage, condition};

const WORDS: &[u8] = b"what the guest wrote";

/// Writes into a volume's file, and gives it a second name by which it outlives its deletion.
fn written(scenario: &Scenario<'_>, name: &str, at: &[u64]) -> Result<PathBuf> {
    let path = scenario.path("volume", name)?;
    let file = fs::OpenOptions::new().write(true).open(&path)?;
    for offset in at {
        file.write_all_at(WORDS, *offset)?;
    }
    file.sync_all()?;
    let other = scenario.host().path(&format!("{name}.kept"));
    fs::hard_link(&path, &other)?;
    Ok(other)
}

#[test]
fn a_volume_that_is_to_be_wiped_is_all_zeros_before_it_goes_and_one_that_cannot_be_stays() -> Result<()> {
    let stage = Stage::start("wiped", &["--poll=1s"])?;
    let scenario = stage.scenario("wiped")?;
    let volume = |name: &str, size: &str, room: &str| {
        scenario.volume(name, &format!("format: Raw, capacity: {size}, preallocation: '{room}', wipe: Zero"))
    };
    let all = volume("full", "16Mi", "Falloc") + &volume("hollow", "16Mi", "Off") + &volume("large", "256Mi", "Falloc");
    scenario.apply(&(scenario.pool() + &all))?;
    scenario.await_all_ready(PATIENCE)?;
    let full = written(&scenario, "full", &[0, 5 << 20, (16 << 20) - 64])?;
    let hollow = written(&scenario, "hollow", &[1 << 20])?;
    let large = written(&scenario, "large", &[100 << 20])?;

    scenario.delete(&["volume/full"])?;
    scenario.await_gone(&["volume/full"])?;
    let bytes = fs::read(&full)?;
    // libvirt writes as many bytes as are set aside, which may be a block more than its length.
    assert!(bytes.len() >= 16 << 20, "it was cut to {}", bytes.len());
    assert!(bytes.iter().all(|byte| *byte == 0), "something is left of what was in it");
    assert!(fs::metadata(&full)?.blocks() * 512 >= 16 << 20, "it was cut, and not overwritten");

    // A file with holes would only be cut: that is no wiping, and is said.
    scenario.delete(&["volume/hollow"])?;
    scenario.await_object("volume", "hollow", |volume| {
        let (status, reason, message) = condition(volume, "Ready")?;
        ensure!((status, reason) == ("False", "WipeRefused"), "{status} {reason} {message}");
        ensure!(message.starts_with("the volume's file has holes, "), "{message}");
        ensure!(message.contains("take wipe out of spec.forProvider to delete it without"), "{message}");
        Ok(())
    })?;
    let mut found = vec![0; WORDS.len()];
    fs::File::open(&hollow)?.read_exact_at(&mut found, 1 << 20)?;
    assert_eq!(found, WORDS, "it was cut");
    scenario.change("volume", "hollow", &json!({"wipe": "Off"}))?;
    scenario.await_gone(&["volume/hollow"])?;

    // A provider that ends meanwhile is followed by one that begins again.
    scenario.delete(&["volume/large"])?;
    stage.kill_provider()?;
    stage.start_provider()?;
    scenario.await_gone(&["volume/large"])?;
    assert!(fs::read(&large)?.iter().all(|byte| *byte == 0), "something is left of what was in it");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    Ok(())
}
