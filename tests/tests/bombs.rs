//! Packed images that unpack to far more than there can be, or than there is room for: refused on the way, and nothing of them stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs::{self, OpenOptions},
    path::Path,
};

use anyhow::{Result, ensure};
use tests::{Manners, PATIENCE, Scenario, Stage, eventually, is_true, manifest, run, sha256};

#[test]
fn packed_images_that_unpack_to_more_than_can_be_or_than_there_is_room_for_leave_nothing_behind() -> Result<()> {
    let stage = Stage::start("bombs", &["--poll=30s"])?;
    let scenario = stage.scenario("bombs")?;
    let [whole, padded, zeros] = ["whole", "padded", "zeros"].map(|name| scenario.host().path(name));
    run("qemu-img", &["create", "-q", "-f", "qcow2", &whole.display().to_string(), "4M"])?;
    // A qcow2 file of that disk is 4 MiB, its tables, and 64 MiB to spare at most; this one goes on for a GiB.
    fs::copy(&whole, &padded)?;
    OpenOptions::new().write(true).open(&padded)?.set_len(1 << 30)?;
    fs::File::create(&zeros)?.set_len(1 << 30)?;

    let tight = scenario.host().path("tight").display().to_string();
    fs::create_dir_all(&tight)?;
    scenario.host().run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", &tight])?;
    scenario.apply(&(scenario.pool() + &manifest("Pool", "tight", &format!("target: {{path: {tight}}}"))))?;
    scenario.await_ready(&["pool/bombs", "pool/tight"])?;

    let no_room = "the image is larger than the room there is for it";
    let cases = [
        ("qcow2", "bombs", "Qcow2", &padded, "the unpacked image is larger than a qcow2 file can be for a disk of 4Mi"),
        // A larger disk makes room for its own tables only.
        (
            "grown",
            "bombs",
            "Qcow2, capacity: 64Mi",
            &padded,
            "the unpacked image is larger than a qcow2 file can be for a disk of 64Mi",
        ),
        ("raw", "tight", "Raw", &zeros, no_room),
        ("disk", "tight", "Qcow2, capacity: 1Gi", &padded, no_room),
    ];
    for (name, pool, format, file, _) in cases {
        let image = pack(&scenario, file, name)?;
        scenario.apply(&manifest("Volume", name, &format!("poolRef: {{name: {pool}}}, format: {format}, {image}")))?;
    }
    for (name, .., sentence) in cases {
        let said = format!("create failed: {sentence}");
        let volume =
            scenario.await_condition(&format!("volume/{name}"), "Synced", ("False", "ReconcileError", &said))?;
        assert!(!is_true(&volume, "Ready"), "{name}");
    }
    // They are tried again and again, and each time taken away again.
    let folder = scenario.folder();
    eventually(PATIENCE, || {
        for (pool, folder) in [("bombs", &folder), ("tight", &tight)] {
            scenario.host().virsh(&["pool-refresh", pool])?;
            let left = scenario.host().run("ls", &["-A", folder])?;
            let listed = scenario.host().volumes(pool)?;
            ensure!(left.is_empty() && listed.is_empty(), "in pool {pool} are {listed:?}, in its folder {left}");
        }
        Ok(())
    })?;

    // The room is there again for one that fits.
    let good = pack(&scenario, &whole, "good")?;
    scenario.apply(&manifest("Volume", "good", &format!("poolRef: {{name: tight}}, format: Qcow2, {good}")))?;
    scenario.await_ready(&["volume/good"])?;
    scenario.clear()
}

/// What a Volume says to be filled with this file, packed.
fn pack(scenario: &Scenario<'_>, file: &Path, name: &str) -> Result<String> {
    let packed = scenario.host().path(&format!("{name}.packed"));
    run("sh", &["-c", &format!("zstd -q -c < {} > {}", file.display(), packed.display())])?;
    let url = scenario.stage().images().serve(name, &packed, Manners::Good);
    Ok(format!("source: {{http: {{url: '{url}', checksum: 'sha256:{}'}}}}", sha256(&packed)?))
}
