//! A provider that is killed at any moment goes on where it was: one object, never two, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{Manners, PATIENCE, Scenario, Stage, condition, eventually, manifest};

const MOMENTS: u32 = 10;
/// What is on the host when all is Ready, but for the seed, whose name tells its content.
const WHOLE: [&str; 5] = ["domain guest", "network net", "pool pool", "volume pool/base", "volume pool/root"];

#[test]
fn a_provider_killed_at_ten_moments_of_a_create_makes_everything_once() -> Result<()> {
    let stage = Stage::start("create", &["--poll=2s"])?;
    let scenario = stage.scenario("create")?;
    let span = undisturbed(&scenario)?;
    for moment in 0..MOMENTS {
        let case = format!("killed {moment}/{MOMENTS} into a create of {span:?}");
        apply_set(&scenario)?;
        let uids = uids(&scenario)?;
        wait_until(Instant::now(), span * moment / MOMENTS);
        let before = identity(&scenario)?;
        stage.kill_provider()?;
        stage.start_provider()?;
        let objects = scenario.await_all_ready(2 * PATIENCE).with_context(|| case.clone())?;
        check_whole(&scenario, &objects, &uids, before).with_context(|| case.clone())?;
        scenario.delete_all()?;
        scenario.await_all_gone(2 * PATIENCE).with_context(|| case.clone())?;
        assert_eq!((scenario.host().everything()?, files(&scenario)?), (vec![], vec![]), "{case}");
    }
    Ok(())
}

#[test]
fn row_25_a_provider_killed_at_ten_moments_of_a_deletion_leaves_nothing_behind() -> Result<()> {
    let stage = Stage::start("delete", &["--poll=2s"])?;
    let scenario = stage.scenario("delete")?;
    undisturbed(&scenario)?;
    apply_set(&scenario)?;
    scenario.await_all_ready(2 * PATIENCE)?;
    let begin = Instant::now();
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    let span = begin.elapsed();
    for moment in 0..MOMENTS {
        let case = format!("killed {moment}/{MOMENTS} into a deletion of {span:?}");
        apply_set(&scenario)?;
        scenario.await_all_ready(2 * PATIENCE).with_context(|| case.clone())?;
        let begin = Instant::now();
        scenario.delete_all()?;
        wait_until(begin, span * moment / MOMENTS);
        stage.kill_provider()?;
        stage.start_provider()?;
        scenario.await_all_gone(2 * PATIENCE).with_context(|| case.clone())?;
        assert_eq!((scenario.host().everything()?, files(&scenario)?), (vec![], vec![]), "{case}");
    }
    Ok(())
}

#[test]
fn a_provider_asked_to_stop_finishes_what_it_has_begun_and_exits_0() -> Result<()> {
    let stage = Stage::start("term", &["--poll=2s"])?;
    let scenario = stage.scenario("term")?;
    apply_set(&scenario)?;
    // Some objects are being made at this moment.
    eventually(PATIENCE, || {
        ensure!(scenario.host().everything()?.contains(&"pool pool".to_owned()), "nothing made yet");
        Ok(())
    })?;
    let begin = Instant::now();
    let provider = stage.end_provider()?;
    let status = provider.term()?;
    assert_eq!(status.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(25), "took {:?}", begin.elapsed());
    // Finished passes have said so: a create that was begun is not left open, but for the import, which goes on by itself, and for a
    // pool whose directory is yet to be made: that it will be is written down first, and the next pass makes it.
    let is_built = scenario.host().path("pool").exists();
    let goes_on = |title: &str| title == "Volume/base" || (title == "Pool/pool" && !is_built);
    let open: Vec<String> = scenario
        .managed()?
        .into_iter()
        .filter(|(title, object)| !goes_on(title) && is_open(object))
        .map(|(title, _)| title)
        .collect();
    assert_eq!(open, Vec::<String>::new());
    let uids = uids(&scenario)?;
    let before = identity(&scenario)?;
    stage.start_provider()?;
    let objects = scenario.await_all_ready(2 * PATIENCE)?;
    check_whole(&scenario, &objects, &uids, before)
}

/// Whether a create was begun and its end not written.
fn is_open(object: &Value) -> bool {
    let annotation = |name: &str| object["metadata"]["annotations"][format!("crossplane.io/{name}")].as_str();
    annotation("external-create-pending").is_some()
        && annotation("external-create-succeeded").is_none()
        && annotation("external-create-failed").is_none()
}

/// Makes and deletes the set once; says how long the making takes.
fn undisturbed(scenario: &Scenario<'_>) -> Result<Duration> {
    let begin = Instant::now();
    apply_set(scenario)?;
    scenario.await_all_ready(2 * PATIENCE)?;
    let span = begin.elapsed();
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    Ok(span)
}

/// One of each kind: an import that takes a second, an overlay on it, a guest without an operating system.
fn apply_set(scenario: &Scenario<'_>) -> Result<()> {
    let image = scenario.host().path("image");
    if !image.exists() {
        fs::write(&image, (0..1_u32 << 20).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect::<Vec<_>>())?;
    }
    let source = scenario.stage().image(&image, Manners::Slow(1 << 20))?;
    let objects = [
        manifest("Pool", "pool", &format!("target: {{path: {}}}", scenario.host().path("pool").display())),
        manifest("Volume", "base", &format!("poolRef: {{name: pool}}, format: Raw, {source}")),
        manifest(
            "Volume",
            "root",
            "poolRef: {name: pool}, format: Qcow2, capacity: 8Mi, backingStore: {volumeRef: {name: base}}",
        ),
        manifest("Network", "net", "mode: Isolated, ips: [{cidr: 192.168.152.1/24}]"),
        manifest("CloudInit", "seed", "poolRef: {name: pool}, userData: {inline: 'x'}"),
        manifest(
            "Domain",
            "guest",
            "type: Qemu, memory: 64Mi, disks: [{name: root, volumeRef: {name: root}}], cloudInitRef: {name: seed}, \
             networkInterfaces: [{name: lan, networkRef: {name: net}}], shutdown: {timeout: 1s, forceAfterTimeout: true}",
        ),
    ];
    scenario.apply(&objects.concat()).map(drop)
}

fn wait_until(begin: Instant, after: Duration) {
    std::thread::sleep(after.saturating_sub(begin.elapsed()));
}

fn uids(scenario: &Scenario<'_>) -> Result<BTreeMap<String, String>> {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Ok(scenario.managed()?.iter().map(|(title, object)| (title.clone(), uid(object))).collect())
}

/// UUID and MAC of the guest on the host, if it is there.
fn identity(scenario: &Scenario<'_>) -> Result<Option<(String, String)>> {
    if !scenario.host().virsh(&["list", "--all", "--name"])?.lines().any(|name| name == "guest") {
        return Ok(None);
    }
    let xml = scenario.host().virsh(&["dumpxml", "guest", "--inactive"])?;
    let (_, mac) = xml.split_once("<mac address='").context("find the MAC")?;
    let uuid = scenario.host().virsh(&["domuuid", "guest"])?.trim().to_owned();
    Ok(Some((uuid, mac.split('\'').next().unwrap_or_default().to_owned())))
}

/// Everything is there once, is the object's own, and no condition says otherwise.
fn check_whole(
    scenario: &Scenario<'_>,
    objects: &BTreeMap<String, Value>,
    uids: &BTreeMap<String, String>,
    before: Option<(String, String)>,
) -> Result<()> {
    let seed = objects["CloudInit/seed"]["status"]["atProvider"]["volume"].as_str().context("read the seed's name")?;
    let mut whole: Vec<String> = WHOLE.iter().map(|name| (*name).to_owned()).collect();
    whole.push(format!("volume pool/{seed}"));
    whole.sort();
    assert_eq!(scenario.host().everything()?, whole);
    let found = identity(scenario)?.context("find the guest")?;
    assert_eq!(found.0, uids["Domain/guest"], "the guest's UUID is its object's UID");
    assert_eq!(before.unwrap_or_else(|| found.clone()), found, "UUID and MAC stay");
    assert_eq!(scenario.host().virsh(&["net-uuid", "net"])?.trim(), uids["Network/net"]);
    assert_eq!(scenario.host().virsh(&["pool-uuid", "pool"])?.trim(), uids["Pool/pool"]);
    let now: BTreeMap<_, _> = objects
        .iter()
        .map(|(title, object)| (title.clone(), object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()))
        .collect();
    assert_eq!(&now, uids);
    for (title, object) in objects {
        assert_eq!(condition(object, "Ready")?, ("True", "Available", ""), "{title}");
        assert_eq!(condition(object, "Synced")?, ("True", "ReconcileSuccess", ""), "{title}");
    }
    let (image, base) = (scenario.host().path("image"), scenario.host().path("pool/base"));
    ensure!(fs::read(image)? == fs::read(base)?, "the image differs on the host");
    Ok(())
}

/// What is left of the pool's folder.
fn files(scenario: &Scenario<'_>) -> Result<Vec<String>> {
    let folder = scenario.host().path("pool");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let inside = fs::read_dir(&folder)?.flatten().map(|entry| entry.path().display().to_string());
    Ok(inside.chain([folder.display().to_string()]).collect())
}
