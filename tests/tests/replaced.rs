//! What somebody puts in the place of a volume that a killed provider had begun is his: it is neither gone on with nor deleted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tests::{Manners, PATIENCE, Scenario, Stage, condition, eventually, run, sha256, signal};

const MIB: usize = 1 << 20;
const SIZE: usize = 12 * MIB;
const RATE: u64 = 2 << 20;

#[test]
fn what_stands_in_the_place_of_an_unfinished_image_stays_as_it_is_until_its_owner_takes_it_away() -> Result<()> {
    let stage = Stage::start("replaced", &["--poll=2s"])?;
    let scenario = stage.scenario("replaced")?;
    scenario.apply(&scenario.pool())?;
    let (ours, others) = (disk(&scenario, 1)?, disk(&scenario, 2)?);
    for format in ["raw", "qcow2"] {
        let (image, theirs) = (converted(&scenario, &ours, format)?, converted(&scenario, &others, format)?);
        let [wanted, unwanted] = ["wanted", "unwanted"].map(|name| format!("{format}-{name}"));
        for name in [&wanted, &unwanted] {
            begin(&scenario, name, &image, format)?;
        }
        for name in [&wanted, &unwanted] {
            await_part(&scenario, name)?;
        }
        stage.kill_provider()?;
        let of_wanted = replace(&scenario, &wanted, &theirs, format)?;
        let of_unwanted = replace(&scenario, &unwanted, &theirs, format)?;
        scenario.delete(&[&format!("volume/{unwanted}")])?;
        stage.start_provider()?;

        await_foreign(&scenario, &wanted)?;
        await_doubtful(&scenario, &unwanted)?;
        check(&scenario, &wanted, &of_wanted)?;
        check(&scenario, &unwanted, &of_unwanted)?;
        scenario.host().virsh(&["vol-delete", &unwanted, scenario.name()])?;
        scenario.await_gone(&[&format!("volume/{unwanted}")])?;
        check(&scenario, &wanted, &of_wanted)?;
        scenario.host().virsh(&["vol-delete", &wanted, scenario.name()])?;
        scenario.await_ready(&[&format!("volume/{wanted}")])?;
        let path = scenario.path("volume", &wanted)?;
        let compared = run("qemu-img", &["compare", "-f", format, "-F", format, &image.display().to_string(), &path])?;
        assert!(compared.contains("identical"), "{compared}");
    }
    scenario.clear()
}

#[test]
fn what_stands_in_the_place_of_a_blank_volume_that_was_being_made_is_not_taken_for_it() -> Result<()> {
    let stage = Stage::start("begun", &["--poll=2s"])?;
    let scenario = stage.scenario("begun")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_all_ready(PATIENCE)?;
    let theirs = converted(&scenario, &disk(&scenario, 2)?, "qcow2")?;
    let cases = [("blank", ""), ("tables", ", preallocation: Metadata"), ("room", ", preallocation: Falloc")];
    for (name, how) in cases {
        let wished = scenario.volume(name, &format!("capacity: 12Mi{how}"));
        let maker = scenario.host().halted("qemu-img", || scenario.apply(&wished))?;
        stage.kill_provider()?;
        signal(maker, Signal::KILL)?;
        let kept = replace(&scenario, name, &theirs, "qcow2")?;
        stage.start_provider()?;
        await_foreign(&scenario, name)?;
        check(&scenario, name, &kept)?;
        if name == "blank" {
            scenario.host().virsh(&["vol-delete", name, scenario.name()])?;
            scenario.await_ready(&["volume/blank"])?;
            continue;
        }
        scenario.delete(&[&format!("volume/{name}")])?;
        await_doubtful(&scenario, name)?;
        check(&scenario, name, &kept)?;
        // Or the object goes without it.
        let policies = r#"{"spec": {"managementPolicies": ["Observe", "Create", "Update"]}}"#;
        scenario.namespace().kubectl(&["patch", "volume", name, "--type=merge", "-p", policies])?;
        scenario.await_gone(&[&format!("volume/{name}")])?;
        check(&scenario, name, &kept)?;
        scenario.host().virsh(&["vol-delete", name, scenario.name()])?;
    }
    scenario.clear()
}

#[test]
fn what_stands_in_the_place_of_a_copy_that_was_being_made_is_not_taken_for_it() -> Result<()> {
    let stage = Stage::start("copied", &["--poll=2s"])?;
    let scenario = stage.scenario("copied")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("source", &format!("format: Raw, capacity: '{SIZE}'"))))?;
    scenario.await_all_ready(PATIENCE)?;
    fs::copy(disk(&scenario, 1)?, scenario.path("volume", "source")?)?;
    let theirs = converted(&scenario, &disk(&scenario, 2)?, "qcow2")?;
    let copy = scenario.volume("copy", "source: {volumeRef: {name: source}}");
    let copier = scenario.host().halted("qemu-img", || scenario.apply(&copy))?;
    scenario.await_condition("volume/copy", "Importing", ("True", "Copying", "the host copies the volume"))?;
    stage.kill_provider()?;
    signal(copier, Signal::KILL)?;
    let kept = replace(&scenario, "copy", &theirs, "qcow2")?;
    stage.start_provider()?;
    await_foreign(&scenario, "copy")?;
    check(&scenario, "copy", &kept)?;
    scenario.delete(&["volume/copy"])?;
    await_doubtful(&scenario, "copy")?;
    check(&scenario, "copy", &kept)?;
    scenario.host().virsh(&["vol-delete", "copy", scenario.name()])?;
    scenario.await_gone(&["volume/copy"])?;
    scenario.clear()
}

// ---- steps ----

/// Starts an import.
fn begin(scenario: &Scenario<'_>, name: &str, file: &Path, format: &str) -> Result<()> {
    let url = scenario.stage().images().serve(name, file, Manners::Steady(RATE));
    let format = if format == "raw" { "Raw" } else { "Qcow2" };
    let source = format!("format: {format}, source: {{http: {{url: '{url}', checksum: '{}'}}}}", sha256(file)?);
    scenario.apply(&scenario.volume(name, &source)).map(drop)
}

/// Waits until a part of an image is on the host.
fn await_part(scenario: &Scenario<'_>, name: &str) -> Result<()> {
    scenario.await_object("volume", name, |volume| {
        let (_, _, message) = condition(volume, "Importing")?;
        let percent: u32 = message.split('%').next().unwrap_or_default().parse()?;
        ensure!(percent >= 20, "{message}");
        Ok(())
    })
}

/// Removes what is on the host under a name, if there is anything, and puts a volume with this content there. Answers with its bytes.
fn replace(scenario: &Scenario<'_>, name: &str, theirs: &Path, format: &str) -> Result<Vec<u8>> {
    let (host, pool, theirs) = (scenario.host(), scenario.name(), theirs.display().to_string());
    // The host may still be at it for a moment.
    eventually(PATIENCE, || {
        host.virsh(&["pool-refresh", pool])?;
        if host.volumes(pool)?.iter().any(|volume| volume == name) {
            host.virsh(&["vol-delete", name, pool])?;
        }
        Ok(())
    })?;
    host.virsh(&["vol-create-as", pool, name, &SIZE.to_string(), "--format", format])?;
    host.virsh(&["vol-upload", name, &theirs, "--pool", pool])?;
    Ok(fs::read(path(scenario, name))?)
}

fn path(scenario: &Scenario<'_>, name: &str) -> PathBuf {
    Path::new(&scenario.folder()).join(name)
}

/// Nobody touched it.
fn check(scenario: &Scenario<'_>, name: &str, kept: &[u8]) -> Result<()> {
    let found = fs::read(path(scenario, name)).with_context(|| format!("{name} is gone"))?;
    assert!(found == kept, "{name} was written to");
    Ok(())
}

fn await_foreign(scenario: &Scenario<'_>, name: &str) -> Result<()> {
    let sentence = format!(
        "create failed: volume {name:?} is in pool {:?} already and is not ours: no record of this provider says that this object made it. \
         It is left alone; choose another name with the annotation crossplane.io/external-name, or remove it",
        scenario.name()
    );
    let volume =
        scenario.await_condition(&format!("volume/{name}"), "Synced", ("False", "ReconcileError", &sentence))?;
    let (status, reason, _) = condition(&volume, "Ready")?;
    assert_eq!((status, reason), ("False", "ForeignObject"));
    Ok(())
}

fn await_doubtful(scenario: &Scenario<'_>, name: &str) -> Result<()> {
    let sentence = format!(
        "volume {name} in pool {} may be what somebody else put in the place of an unfinished volume of this object, and is not deleted; \
         remove it on the host, or take Delete out of spec.managementPolicies",
        scenario.name()
    );
    let wanted = ("False", "ForeignObject", sentence.as_str());
    scenario.await_condition(&format!("volume/{name}"), "Ready", wanted).map(drop)
}

/// A disk with content.
fn disk(scenario: &Scenario<'_>, seed: usize) -> Result<PathBuf> {
    let path = scenario.host().path(&format!("disk-{seed}.raw"));
    let byte = |at: usize| u8::try_from((at * 11 + at / 4096 + seed) % 251).unwrap();
    fs::write(&path, (0..SIZE).map(byte).collect::<Vec<_>>())?;
    Ok(path)
}

/// The same disk in another format. Of two of the same size the headers are the same as well.
fn converted(scenario: &Scenario<'_>, disk: &Path, format: &str) -> Result<PathBuf> {
    let name = disk.file_stem().context("read the name")?.to_string_lossy().into_owned();
    let to = scenario.host().path(&format!("{name}.{format}"));
    if format != "raw" {
        run(
            "qemu-img",
            &["convert", "-f", "raw", "-O", format, &disk.display().to_string(), &to.display().to_string()],
        )?;
    }
    Ok(to)
}
