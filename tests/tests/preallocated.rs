//! Room that is set aside for a blank volume when it is made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result};
use tests::{PATIENCE, Stage, condition};

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
        let path = scenario.observed("volume", name)?["path"].as_str().context("read the path")?.to_owned();
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
        let path = scenario.observed("volume", name)?["path"].as_str().context("read the path")?.to_owned();
        assert!(fs::metadata(path)?.blocks() * 512 < 2 * SIZE, "{name}");
    }
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(scenario.host().everything()?, Vec::<String>::new());
    Ok(())
}
