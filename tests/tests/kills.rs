//! A provider that is killed at any moment goes on where it was: one object, never two, and nothing left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{ImageServer, Manners, Scene, condition, eventually, run};

const PATIENCE: Duration = Scene::PATIENCE;
const MOMENTS: u32 = 10;
/// What is on the host when all is Ready, but for the seed, whose name tells its content.
const WHOLE: [&str; 5] = ["domain guest", "network net", "pool pool", "volume pool/base", "volume pool/root"];

#[test]
fn a_provider_killed_at_ten_moments_of_a_create_makes_everything_once() -> Result<()> {
    let mut scene = Scene::with_default_host("create", &["--poll=2s"])?;
    let images = ImageServer::start()?;
    let span = undisturbed(&scene, &images)?;
    for moment in 0..MOMENTS {
        let case = format!("killed {moment}/{MOMENTS} into a create of {span:?}");
        apply_set(&scene, &images)?;
        let uids = uids(&scene)?;
        wait_until(Instant::now(), span * moment / MOMENTS);
        let before = identity(&scene)?;
        scene.end_provider()?.kill9()?;
        scene.start_provider()?;
        let objects = scene.await_ready(2 * PATIENCE).with_context(|| format!("{case}\n{}", scene.log()))?;
        check_whole(&scene, &objects, &uids, before).with_context(|| case.clone())?;
        scene.delete_all(2 * PATIENCE).with_context(|| format!("{case}\n{}", scene.log()))?;
        assert_eq!((scene.on_host()?, files(&scene)?), (vec![], vec![]), "{case}");
    }
    Ok(())
}

#[test]
fn a_provider_killed_at_ten_moments_of_a_deletion_leaves_nothing_behind() -> Result<()> {
    let mut scene = Scene::with_default_host("delete", &["--poll=2s"])?;
    let images = ImageServer::start()?;
    undisturbed(&scene, &images)?;
    apply_set(&scene, &images)?;
    scene.await_ready(2 * PATIENCE)?;
    let begin = Instant::now();
    scene.delete_all(PATIENCE)?;
    let span = begin.elapsed();
    for moment in 0..MOMENTS {
        let case = format!("killed {moment}/{MOMENTS} into a deletion of {span:?}");
        apply_set(&scene, &images)?;
        scene.await_ready(2 * PATIENCE).with_context(|| format!("{case}\n{}", scene.log()))?;
        let begin = Instant::now();
        scene.request_deletion()?;
        wait_until(begin, span * moment / MOMENTS);
        scene.end_provider()?.kill9()?;
        scene.start_provider()?;
        scene.await_deletion(2 * PATIENCE).with_context(|| format!("{case}\n{}", scene.log()))?;
        assert_eq!((scene.on_host()?, files(&scene)?), (vec![], vec![]), "{case}");
    }
    Ok(())
}

#[test]
fn a_provider_asked_to_stop_finishes_what_it_has_begun_and_exits_0() -> Result<()> {
    let mut scene = Scene::with_default_host("term", &["--poll=2s"])?;
    let images = ImageServer::start()?;
    apply_set(&scene, &images)?;
    // Some objects are being made at this moment.
    eventually(PATIENCE, || {
        ensure!(scene.on_host()?.contains(&"pool pool".to_owned()), "nothing made yet");
        Ok(())
    })?;
    let begin = Instant::now();
    let provider = scene.end_provider()?;
    let status = provider.term()?;
    assert_eq!(status.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10), "took {:?}", begin.elapsed());
    // Finished passes have said so: a create that was begun is not left open, but for the import, which goes on by itself.
    let open: Vec<String> = scene
        .managed()?
        .into_iter()
        .filter(|(title, object)| title != "Volume/base" && is_open(object))
        .map(|(title, _)| title)
        .collect();
    assert_eq!(open, Vec::<String>::new());
    let uids = uids(&scene)?;
    let before = identity(&scene)?;
    scene.start_provider()?;
    let objects = scene.await_ready(2 * PATIENCE).with_context(|| scene.log())?;
    check_whole(&scene, &objects, &uids, before)
}

/// Whether a create was begun and its end not written.
fn is_open(object: &Value) -> bool {
    let annotation = |name: &str| object["metadata"]["annotations"][format!("crossplane.io/{name}")].as_str();
    annotation("external-create-pending").is_some()
        && annotation("external-create-succeeded").is_none()
        && annotation("external-create-failed").is_none()
}

/// Makes and deletes the set once; says how long the making takes.
fn undisturbed(scene: &Scene, images: &ImageServer) -> Result<Duration> {
    let begin = Instant::now();
    apply_set(scene, images)?;
    scene.await_ready(2 * PATIENCE).with_context(|| scene.log())?;
    let span = begin.elapsed();
    scene.delete_all(PATIENCE).with_context(|| scene.log())?;
    Ok(span)
}

/// One of each kind: an import that takes a second, an overlay on it, a guest without an operating system.
fn apply_set(scene: &Scene, images: &ImageServer) -> Result<()> {
    let image = scene.host.path("image");
    if !image.exists() {
        fs::write(&image, (0..1_u32 << 20).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect::<Vec<_>>())?;
    }
    let sum = run("sha256sum", &[&image.display().to_string()])?;
    let checksum = sum.split(' ').next().context("read the checksum")?;
    let url = images.serve("image", &image, Manners::Slow(1 << 20));
    let source = format!("source: {{http: {{url: '{url}', checksum: 'sha256:{checksum}'}}}}");
    scene.apply(&[
        ("Pool", "pool", format!("{{target: {{path: {}}}}}", scene.host.path("pool").display())),
        ("Volume", "base", format!("{{poolRef: {{name: pool}}, format: Raw, {source}}}")),
        (
            "Volume",
            "root",
            "{poolRef: {name: pool}, format: Qcow2, capacity: 8Mi, backingStore: {volumeRef: {name: base}}}".into(),
        ),
        ("Network", "net", "{mode: Isolated, ips: [{cidr: 192.168.152.1/24}]}".into()),
        ("CloudInit", "seed", "{poolRef: {name: pool}, userData: {inline: 'x'}}".into()),
        (
            "Domain",
            "guest",
            "{type: Qemu, memory: 64Mi, disks: [{name: root, volumeRef: {name: root}}], cloudInitRef: {name: seed}, \
             networkInterfaces: [{name: lan, networkRef: {name: net}}], shutdown: {timeout: 1s, forceAfterTimeout: true}}"
                .into(),
        ),
    ])
}

fn wait_until(begin: Instant, after: Duration) {
    std::thread::sleep(after.saturating_sub(begin.elapsed()));
}

fn uids(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Ok(scene.managed()?.iter().map(|(title, object)| (title.clone(), uid(object))).collect())
}

/// UUID and MAC of the guest on the host, if it is there.
fn identity(scene: &Scene) -> Result<Option<(String, String)>> {
    if !scene.host.virsh(&["list", "--all", "--name"])?.lines().any(|name| name == "guest") {
        return Ok(None);
    }
    let xml = scene.host.virsh(&["dumpxml", "guest", "--inactive"])?;
    let (_, mac) = xml.split_once("<mac address='").context("find the MAC")?;
    let uuid = scene.host.virsh(&["domuuid", "guest"])?.trim().to_owned();
    Ok(Some((uuid, mac.split('\'').next().unwrap_or_default().to_owned())))
}

/// Everything is there once, is the object's own, and no condition says otherwise.
fn check_whole(
    scene: &Scene,
    objects: &BTreeMap<String, Value>,
    uids: &BTreeMap<String, String>,
    before: Option<(String, String)>,
) -> Result<()> {
    let seed = objects["CloudInit/seed"]["status"]["atProvider"]["volume"].as_str().context("read the seed's name")?;
    let mut whole: Vec<String> = WHOLE.iter().map(|name| (*name).to_owned()).collect();
    whole.push(format!("volume pool/{seed}"));
    whole.sort();
    assert_eq!(scene.on_host()?, whole);
    let found = identity(scene)?.context("find the guest")?;
    assert_eq!(found.0, uids["Domain/guest"], "the guest's UUID is its object's UID");
    assert_eq!(before.unwrap_or_else(|| found.clone()), found, "UUID and MAC stay");
    assert_eq!(scene.host.virsh(&["net-uuid", "net"])?.trim(), uids["Network/net"]);
    assert_eq!(scene.host.virsh(&["pool-uuid", "pool"])?.trim(), uids["Pool/pool"]);
    let now: BTreeMap<_, _> = objects
        .iter()
        .map(|(title, object)| (title.clone(), object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()))
        .collect();
    assert_eq!(&now, uids);
    for (title, object) in objects {
        assert_eq!(condition(object, "Ready")?, ("True", "Available", ""), "{title}");
        assert_eq!(condition(object, "Synced")?, ("True", "ReconcileSuccess", ""), "{title}");
    }
    let (image, base) = (scene.host.path("image"), scene.host.path("pool/base"));
    ensure!(fs::read(image)? == fs::read(base)?, "the image differs on the host");
    Ok(())
}

/// What is left of the pool's folder.
fn files(scene: &Scene) -> Result<Vec<String>> {
    let folder = scene.host.path("pool");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let inside = fs::read_dir(&folder)?.flatten().map(|entry| entry.path().display().to_string());
    Ok(inside.chain([folder.display().to_string()]).collect())
}
