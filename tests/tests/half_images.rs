//! Images that a provider did not bring to their end: the next one fetches the rest, and nothing boots meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use tests::{Manners, Scenario, Stage, condition, run, sha256};

const MIB: usize = 1 << 20;
const SIZE: usize = 12 * MIB;
const RATE: u64 = 2 << 20;

#[test]
fn after_a_kill_or_a_restart_only_the_rest_of_an_image_is_fetched_and_until_then_nothing_boots() -> Result<()> {
    let stage = Stage::start("halves", &["--poll=2s"])?;
    let scenario = stage.scenario("halves")?;
    scenario.apply(&scenario.pool())?;
    let [raw, qcow2] = image_files(&scenario)?;
    for (name, file, parameters) in [
        ("raw", &raw, "format: Raw"),
        ("sized", &raw, "format: Raw, capacity: 64Mi"),
        ("qcow2", &qcow2, "capacity: 1Gi"),
    ] {
        begin(&scenario, name, file, parameters)?;
        let path = format!("{}/{name}", scenario.folder());
        boots_nothing(name, &path)?;
        stage.kill_provider()?;
        boots_nothing(name, &path)?;
        // Whoever looks through the pool meanwhile sees what it is to be.
        scenario.host().virsh(&["pool-refresh", scenario.name()])?;
        let format = if name == "qcow2" { "qcow2" } else { "raw" };
        let seen = scenario.host().virsh(&["vol-dumpxml", name, "--pool", scenario.name()])?;
        assert!(seen.contains(&format!("<format type='{format}'/>")), "{seen}");
        stage.start_provider()?;
        scenario.await_ready(&[&format!("volume/{name}")]).context(name)?;
        check(&scenario, name, file)?;
        // The first answer, the beginning once more, and the rest.
        let (requests, began) = (stage.images().requests(name), stage.images().began(name));
        assert!(requests == 3 && began >= MIB as u64, "{name}: {requests} requests, the last from {began}");
    }
    begin(&scenario, "asked", &raw, "format: Raw")?;
    assert_eq!(stage.end_provider()?.term()?.code(), Some(0));
    stage.start_provider()?;
    scenario.await_ready(&["volume/asked"])?;
    check(&scenario, "asked", &raw)?;
    assert!(stage.images().began("asked") >= MIB as u64);
    scenario.clear()
}

#[test]
fn a_part_that_is_of_no_use_is_fetched_anew() -> Result<()> {
    let stage = Stage::start("useless", &["--poll=2s"])?;
    let scenario = stage.scenario("useless")?;
    scenario.apply(&scenario.pool())?;
    let [raw, _] = image_files(&scenario)?;
    // Somebody wrote into it meanwhile.
    begin(&scenario, "damaged", &raw, "format: Raw")?;
    stage.kill_provider()?;
    let path = format!("{}/damaged", scenario.folder());
    fs::OpenOptions::new().write(true).open(&path)?.write_all_at(b"other bytes", 300_000)?;
    stage.start_provider()?;
    scenario.await_ready(&["volume/damaged"])?;
    check(&scenario, "damaged", &raw)?;
    assert_eq!(stage.images().began("damaged"), 0);
    // What is unpacked on the way is other bytes on the host than at the server.
    let packed = scenario.host().path("packed.gz");
    let mut noise = fs::File::create(scenario.host().path("noise"))?;
    let mut seed = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[1]
    })
    .take(SIZE)
    .collect();
    noise.write_all(&bytes)?;
    run("sh", &["-c", &format!("gzip -c {} > {}", scenario.host().path("noise").display(), packed.display())])?;
    begin(&scenario, "packed", &packed, "format: Raw")?;
    stage.kill_provider()?;
    stage.start_provider()?;
    scenario.await_ready(&["volume/packed"])?;
    check(&scenario, "packed", &scenario.host().path("noise"))?;
    assert_eq!(stage.images().began("packed"), 0);
    scenario.clear()
}

#[test]
fn of_a_part_whose_image_is_gone_or_that_nobody_wants_any_more_nothing_boots_and_nothing_stays() -> Result<()> {
    let stage = Stage::start("unwanted", &["--poll=2s"])?;
    let scenario = stage.scenario("unwanted")?;
    scenario.apply(&scenario.pool())?;
    let [raw, _] = image_files(&scenario)?;
    for name in ["gone", "unwanted"] {
        begin(&scenario, name, &raw, "format: Raw")?;
    }
    stage.kill_provider()?;
    scenario.delete(&["volume/unwanted"])?;
    stage.images().serve("gone", &raw, Manners::Status(404));
    stage.start_provider()?;
    scenario.await_gone(&["volume/unwanted"])?;
    let sentence = format!("create failed: GET {}: 404 Not Found", stage.images().url("gone"));
    let volume = scenario.await_condition("volume/gone", "Synced", ("False", "ReconcileError", &sentence))?;
    assert_eq!(condition(&volume, "Ready")?.0, "False");
    assert_eq!(scenario.host().volumes(scenario.name())?, ["gone"]);
    boots_nothing("gone", &format!("{}/gone", scenario.folder()))?;
    stage.images().serve("gone", &raw, Manners::Steady(RATE));
    scenario.await_ready(&["volume/gone"])?;
    check(&scenario, "gone", &raw)?;
    assert!(stage.images().began("gone") >= MIB as u64, "the part was not gone on with");
    scenario.clear()
}

#[test]
fn a_part_that_somebody_uses_is_left_and_one_whose_head_is_there_loses_it_until_the_rest_is() -> Result<()> {
    let stage = Stage::start("parts", &["--poll=2s"])?;
    let scenario = stage.scenario("parts")?;
    scenario.apply(&scenario.pool())?;
    let [raw, qcow2] = image_files(&scenario)?;
    begin(&scenario, "used", &raw, "format: Raw")?;
    begin(&scenario, "qcow2", &qcow2, "capacity: 1Gi")?;
    stage.kill_provider()?;
    let [used, headed] = ["used", "qcow2"].map(|name| format!("{}/{name}", scenario.folder()));
    let squatter = format!(
        "<domain type='qemu'><name>squatter</name><memory unit='MiB'>32</memory><os><type>hvm</type></os><devices>\
         <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{used}'/><target dev='vda' bus='virtio'/></disk>\
         </devices></domain>"
    );
    scenario.host().virsh_xml("define", &squatter)?;
    // As where a process ends before it can write down that the image is whole.
    let first = &fs::read(&qcow2)?[..65536];
    fs::OpenOptions::new().write(true).open(&headed)?.write_all_at(first, 0)?;
    let before = fs::read(&used)?;
    stage.images().serve("qcow2", &qcow2, Manners::Steady(RATE / 8));
    stage.start_provider()?;
    scenario.await_object("volume", "qcow2", |_| boots_nothing("qcow2", &headed))?;
    let sentence = "create failed: the volume is used by domain squatter on the host";
    scenario.await_condition("volume/used", "Synced", ("False", "ReconcileError", sentence))?;
    assert_eq!(fs::read(&used)?, before, "it was written to while somebody uses it");
    scenario.host().virsh(&["undefine", "squatter"])?;
    scenario.await_ready(&["volume/used", "volume/qcow2"])?;
    check(&scenario, "used", &raw)?;
    check(&scenario, "qcow2", &qcow2)?;
    scenario.clear()
}

/// Starts an import and waits until a part of it is on the host.
fn begin(scenario: &Scenario<'_>, name: &str, file: &Path, parameters: &str) -> Result<()> {
    let url = scenario.stage().images().serve(name, file, Manners::Steady(RATE));
    let source = format!("source: {{http: {{url: '{url}', checksum: '{}'}}}}", sha256(file)?);
    scenario.apply(&scenario.volume(name, &format!("{parameters}, {source}")))?;
    scenario.await_object("volume", name, |volume| {
        let (_, _, message) = condition(volume, "Importing")?;
        let percent: u32 = message.split('%').next().unwrap_or_default().parse()?;
        ensure!(percent >= 40, "{message}");
        Ok(())
    })
}

/// The volume has the whole image.
fn check(scenario: &Scenario<'_>, name: &str, file: &Path) -> Result<()> {
    let path = scenario.path("volume", name)?;
    if name == "qcow2" {
        let compared = run("qemu-img", &["compare", "-f", "qcow2", "-F", "qcow2", &file.display().to_string(), &path])?;
        assert!(compared.contains("identical"), "{compared}");
        assert_eq!(scenario.observed("volume", name)?["capacity"], "1Gi");
    } else {
        let (whole, have) = (fs::read(file)?, fs::read(path)?);
        assert!(
            have.starts_with(&whole) && have[whole.len()..].iter().all(|byte| *byte == 0),
            "{name} is not the image"
        );
    }
    Ok(())
}

/// The same disk as a raw file, with holes of zeros in it, and as qcow2.
fn image_files(scenario: &Scenario<'_>) -> Result<[PathBuf; 2]> {
    let [raw, qcow2] = ["image.raw", "image.qcow2"].map(|name| scenario.host().path(name));
    let byte = |at: usize| if (at / 700_000) % 3 == 1 { 0 } else { u8::try_from((at * 11 + at / 4096) % 251).unwrap() };
    fs::write(&raw, (0..SIZE).map(byte).collect::<Vec<_>>())?;
    run("qemu-img", &["convert", "-S", "0", "-O", "qcow2", &raw.display().to_string(), &qcow2.display().to_string()])?;
    Ok([raw, qcow2])
}

/// Nothing boots from a part of an image: of a raw one the first bytes are missing, but for a mark in its second sector, and a qcow2 one has a
/// header that QEMU refuses.
fn boots_nothing(name: &str, path: &str) -> Result<()> {
    if name == "qcow2" {
        let told =
            format!("{:#}", run("qemu-img", &["info", "-U", "-f", "qcow2", path]).err().context("it could boot")?);
        ensure!(told.contains("Unsupported qcow2 feature"), "{told}");
    } else {
        let head = head(path)?;
        let (boots, marked) = head.split_at(512);
        let line = marked.iter().position(|byte| *byte == b'\n').context("find the end of the mark")?;
        let mark = String::from_utf8_lossy(&marked[..line]);
        assert!(mark.starts_with("provider-libvirt: this image is not whole; object "), "{mark}");
        let is_empty = boots.iter().chain(&marked[line + 1..]).all(|byte| *byte == 0);
        assert!(is_empty, "{name} could boot");
    }
    Ok(())
}

/// The first bytes of a file.
fn head(path: &str) -> Result<Vec<u8>> {
    let mut head = vec![1; 65536];
    fs::File::open(path)?.read_exact_at(&mut head, 0)?;
    Ok(head)
}
