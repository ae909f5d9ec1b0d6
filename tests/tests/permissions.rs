//! Owner and mode of the files of volumes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use anyhow::{Context as _, Result, ensure};
use tests::{Manners, PATIENCE, Stage, condition};

#[test]
fn the_file_of_a_volume_has_the_owner_and_mode_of_its_object_however_it_is_filled() -> Result<()> {
    let stage = Stage::start("permitted", &["--poll=2s"])?;
    let scenario = stage.scenario("permitted")?;
    let image = scenario.host().path("image");
    fs::write(&image, vec![7; 1 << 20])?;
    let http = stage.image(&image, Manners::Good)?;
    scenario.namespace().kubectl(&["create", "configmap", "c", "--from-literal=word=x"])?;
    let permissions = "permissions: {mode: '0640', owner: 1234, group: 2345}";
    let cases = [
        ("raw", "format: Raw, capacity: 1Mi".to_owned()),
        ("qcow2", "capacity: 1Mi".to_owned()),
        ("fetched", format!("format: Raw, {http}")),
        ("above", "backingStore: {volumeRef: {name: qcow2}}".to_owned()),
        ("told", "format: Raw, source: {configMapKeyRef: {name: c, key: word}}".to_owned()),
    ];
    let volumes = cases.iter().map(|(name, parameters)| scenario.volume(name, &format!("{parameters}, {permissions}")));
    scenario.apply(&(scenario.pool() + &volumes.collect::<String>()))?;
    scenario.await_all_ready(PATIENCE)?;
    for (name, _) in &cases {
        let seen = scenario.observed("volume", name)?;
        assert_eq!(seen["permissions"], serde_json::json!({"mode": "0640", "owner": 1234, "group": 2345}), "{name}");
        let file = fs::metadata(seen["path"].as_str().context("read the path")?)?;
        assert_eq!((file.mode() & 0o777, file.uid(), file.gid()), (0o640, 1234, 2345), "{name}");
    }
    // What is changed by hand is shown and not mended.
    let raw = scenario.path("volume", "raw")?;
    fs::set_permissions(&raw, fs::Permissions::from_mode(0o600))?;
    scenario.await_object("volume", "raw", |volume| {
        let mode = &volume["status"]["atProvider"]["permissions"]["mode"];
        ensure!(mode == "0600" && condition(volume, "UpToDate")?.0 == "True", "{mode}");
        Ok(())
    })?;
    let copy =
        scenario.apply(&scenario.volume("copy", &format!("source: {{volumeRef: {{name: raw}}}}, {permissions}")));
    let refused = format!("{:#}", copy.unwrap_err());
    assert!(refused.contains("permissions are not for copies of other volumes"), "{refused}");
    let refused = scenario.apply(&scenario.volume("raw", "format: Raw, capacity: 1Mi, permissions: {mode: '0644'}"));
    let refused = format!("{:#}", refused.unwrap_err());
    assert!(refused.contains("permissions cannot be changed: libvirt sets them when the volume is made"), "{refused}");
    scenario.clear()
}
