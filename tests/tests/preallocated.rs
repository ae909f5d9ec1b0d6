//! Room that is set aside for a blank volume when it is made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use tests::{PATIENCE, Scenario, Stage, condition, signal};

const SIZE: u64 = 16 << 20;

#[test]
fn the_room_of_a_blank_volume_is_set_aside_as_its_object_says_and_what_it_grows_by_is_not() -> Result<()> {
    let stage = Stage::start("reserved", &["--poll=1s"])?;
    let scenario = stage.scenario("reserved")?;
    scenario.apply(&scenario.pool())?;
    // Whether the file takes all of its room, and whether it is as long as the disk.
    let cases = [
        ("raw", "format: Raw", "Off", (false, true)),
        ("raw-falloc", "format: Raw", "Falloc", (true, true)),
        ("qcow2", "format: Qcow2", "Off", (false, false)),
        ("qcow2-metadata", "format: Qcow2", "Metadata", (false, true)),
        ("qcow2-falloc", "format: Qcow2", "Falloc", (true, true)),
    ];
    let volume = |name: &str, format: &str, how: &str, size: u64| {
        scenario.volume(name, &format!("capacity: '{size}', {format}, preallocation: '{how}'"))
    };
    for (name, format, how, _) in &cases {
        scenario.apply(&volume(name, format, how, SIZE))?;
    }
    scenario.await_all_ready(PATIENCE)?;
    let seen = |name: &str| -> Result<(bool, bool)> {
        let path = scenario.path("volume", name)?;
        let file = fs::metadata(path)?;
        Ok((file.blocks() * 512 >= SIZE, file.len() >= SIZE))
    };
    for (name, _, _, wished) in &cases {
        assert_eq!(seen(name)?, *wished, "{name}");
        assert_eq!(condition(&scenario.object("volume", name)?, "UpToDate")?.0, "True", "{name}");
    }
    for (name, format, how, _) in &cases {
        scenario.apply(&volume(name, format, how, 64 * SIZE))?;
    }
    for (name, ..) in &cases {
        scenario.await_object("volume", name, |volume| {
            let capacity = &volume["status"]["atProvider"]["capacity"];
            anyhow::ensure!(capacity == "1Gi", "{capacity}");
            Ok(())
        })?;
        let path = scenario.path("volume", name)?;
        assert!(fs::metadata(path)?.blocks() * 512 < 2 * SIZE, "{name}");
    }
    scenario.clear()
}

#[test]
fn a_volume_whose_room_is_still_set_aside_is_not_ready_for_a_provider_that_was_started_meanwhile() -> Result<()> {
    let stage = Stage::start("filling", &["--poll=2s"])?;
    let scenario = stage.scenario("filling")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_all_ready(PATIENCE)?;
    let full = scenario.volume("full", "capacity: 8Gi, preallocation: Falloc");
    let filler = scenario.host().halted("qemu-img", || scenario.apply(&full))?;
    stage.kill_provider()?;
    stage.start_provider()?;
    let sentence = "create failed: the host still sets aside the room of volume full";
    let waiting = scenario.await_condition("volume/full", "Synced", ("False", "ReconcileError", sentence))?;
    assert_eq!(condition(&waiting, "Ready")?.0, "False");
    signal(filler, Signal::CONT)?;
    scenario.await_ready(&["volume/full"])?;
    let path = scenario.path("volume", "full")?;
    assert!(fs::metadata(path)?.blocks() * 512 >= 8 << 30);
    scenario.clear_in_time()
}

#[test]
fn what_a_program_left_that_was_killed_while_it_made_a_volume_goes_with_its_object_or_before_it_is_made_anew()
-> Result<()> {
    let stage = Stage::start("killed", &["--poll=2s"])?;
    let scenario = stage.scenario("killed")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_all_ready(PATIENCE)?;
    let full = |name: &str| scenario.volume(name, "capacity: 2Gi, preallocation: Falloc");
    let files = || scenario.host().run("ls", &["-A", &scenario.folder()]);
    // One that nobody wants any more.
    let filler = begun(&scenario, "unwanted", &full("unwanted"))?;
    scenario.delete(&["volume/unwanted"])?;
    signal(filler, Signal::KILL)?;
    scenario.await_gone(&["volume/unwanted"])?;
    assert_eq!(files()?.trim(), "");

    // One whose pool cannot be looked through, because another one is made there.
    let wanted = begun(&scenario, "wanted", &full("wanted"))?;
    let beside = begun(&scenario, "beside", &full("beside"))?;
    scenario.delete(&["volume/beside"])?;
    signal(beside, Signal::KILL)?;
    scenario.await_object("volume", "beside", |volume| {
        let (_, _, message) = condition(volume, "Ready")?;
        ensure!(message.starts_with("the volume is deleted when nothing is written into pool"), "{message}");
        Ok(())
    })?;
    assert_eq!(files()?.split_whitespace().collect::<Vec<_>>(), ["beside", "wanted"]);
    // And one that is wanted.
    signal(wanted, Signal::KILL)?;
    scenario.await_gone(&["volume/beside"])?;
    scenario.await_ready(&["volume/wanted"])?;
    assert_eq!(files()?.trim(), "wanted");
    assert!(fs::metadata(scenario.path("volume", "wanted")?)?.blocks() * 512 >= 2 << 30);
    scenario.clear_in_time()
}

/// Applies a volume, and stops the program that sets its room aside when it has made a part of the file.
fn begun(scenario: &Scenario<'_>, volume: &str, wished: &str) -> Result<u32> {
    let filler = scenario.host().halted("qemu-img", || scenario.apply(wished))?;
    fs::write(Path::new(&scenario.folder()).join(volume), [0; 4096])?;
    Ok(filler)
}
