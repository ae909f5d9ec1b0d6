//! Images that do not come as they should: said, tried again with growing delays, never left half on the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tests::{ImageServer, Manners, PATIENCE, Scenario, Stage, condition, eventually, is_true, run, sha256, sum};

const SIZE: u64 = 4 << 20;

#[test]
fn a_server_that_fails_is_named_and_asked_less_and_less_and_the_image_comes_when_it_is_mended() -> Result<()> {
    let stage = Stage::start("images", &["--poll=30s", "--image-stall-timeout=1s"])?;
    let scenario = stage.scenario("images")?;
    let (images, good, bad) = (stage.images(), scenario.host().path("good"), scenario.host().path("bad"));
    fs::write(&good, pattern(SIZE, 0))?;
    fs::write(&bad, pattern(SIZE, 1))?;
    let (sum, bad_sum) = (sha256(&good)?, sha256(&bad)?);
    fs::write(scenario.host().path("short"), pattern(SIZE - 4, 0))?;
    let short_sum = sha256(scenario.host().path("short"))?;
    let get = |name: &str, failure: &str| format!("create failed: GET {}: {failure}", images.url(name));
    let mismatch = |found: &str| format!("create failed: checksum is sha256:{found}, expected sha256:{sum}");
    let cases = [
        ("gone", &good, Manners::Status(404), get("gone", "404 Not Found")),
        ("stalled", &good, Manners::StallAfter(1_000_000), get("stalled", "no data for 1s")),
        ("cut", &good, Manners::CutAfter(1_000_000), get("cut", "ended after 1000000 of 4194304 bytes")),
        ("claimed", &good, Manners::ClaimLess(4), mismatch(&short_sum)),
        ("changed", &bad, Manners::Good, mismatch(&bad_sum)),
    ];
    scenario.apply(&scenario.pool())?;
    let begun = Instant::now();
    for (name, file, manners, _) in &cases {
        apply_volume(&scenario, name, &images.serve(name, file, *manners), &sum, "Raw")?;
    }
    for (name, _, _, sentence) in &cases {
        let wished = ("False", "ReconcileError", sentence.as_str());
        // The sentence stays while the next attempt is under way; between the attempts nothing is being imported.
        let volume = scenario.await_object("volume", name, |volume| {
            let synced = condition(volume, "Synced")?;
            ensure!(synced == wished && condition(volume, "Importing").is_err(), "{synced:?}, wished {wished:?}");
            Ok(volume.clone())
        })?;
        assert_eq!(condition(&volume, "Ready")?, ("False", "Creating", ""), "{name}");
        assert_eq!(volume["status"]["atProvider"], serde_json::json!({}), "{name}");
    }
    sleep(Duration::from_secs(12));
    // Attempts after 0, 1, 3, 7, 15 … seconds at the earliest, not one a second.
    let requests: BTreeMap<&str, u32> = cases.iter().map(|(name, ..)| (*name, images.requests(name))).collect();
    let most = (begun.elapsed().as_secs() + 1).ilog2() + 2;
    assert!(
        requests.values().all(|count| (2..=most).contains(count)),
        "requests in {:?}: {requests:?}",
        begun.elapsed()
    );
    eventually(PATIENCE, || {
        let left = scenario.host().volumes(scenario.name())?;
        ensure!(left.is_empty(), "volumes of failed imports: {left:?}");
        Ok(())
    })?;

    for (name, ..) in &cases {
        images.serve(name, &good, Manners::Good);
    }
    check_mended(&scenario, &sum)
}

/// Every image comes whole, and goes without a rest.
fn check_mended(scenario: &Scenario<'_>, sum: &str) -> Result<()> {
    for (name, object) in
        scenario.await_all_ready(PATIENCE)?.into_iter().filter(|(name, _)| name.starts_with("Volume/"))
    {
        let path = object["status"]["atProvider"]["path"].as_str().context("read the path")?;
        assert_eq!(sha256(path)?, sum, "{name}");
        assert!(condition(&object, "Importing").is_err(), "{name}: the import is over");
    }
    scenario.clear()
}

/// A name, a URL, a checksum, a format, and why that is refused.
type Case = (&'static str, String, String, &'static str, &'static str);

const NOT_PUBLIC: &str = "image host 127.0.0.2 is not public; list it in the ProviderConfig's policy.imageHosts";
const NAMED: &str = "image host localhost is not public; list it in the ProviderConfig's policy.imageHosts";

/// A plain image, and ones that name another file: a backing file, a data file, and what libvirt alone has stand on what it names, because
/// it knows this old format.
fn hostile_files(scenario: &Scenario<'_>) -> Result<[PathBuf; 4]> {
    let files = ["base", "overlay", "data", "cow"].map(|name| scenario.host().path(name));
    let [base, top, data, cow] = files.each_ref().map(|file| file.display().to_string());
    let options = format!("data_file={}", scenario.host().path("outside").display());
    run("qemu-img", &["create", "-q", "-f", "qcow2", &base, "64M"])?;
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", &base, "-F", "qcow2", &top])?;
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, &data, "64M"])?;
    let mut bytes = b"OOOM\0\0\0\x02/etc/shadow".to_vec();
    bytes.resize(3 << 20, 0);
    fs::write(cow, bytes)?;
    Ok(files)
}

/// Images that nobody is to get; `other` is a server that is allowed by no name and no address.
fn hostile(scenario: &Scenario<'_>, other: &ImageServer) -> Result<Vec<Case>> {
    let (images, [qcow2, overlay, data, cow]) = (scenario.stage().images(), hostile_files(scenario)?);
    let elsewhere = images.serve("elsewhere", &qcow2, Manners::Good).replace("127.0.0.1", "127.0.0.2");
    let redirected = elsewhere.clone();
    let named = other.serve("named", &qcow2, Manners::Good).replace("127.0.0.1", "localhost");
    let sent_by_name = images.redirect("sent-by-name", &named);
    Ok(vec![
        (
            "cow",
            images.serve("cow", &cow, Manners::Good),
            sha256(&cow)?,
            "Raw",
            "the image is cow; convert it first with qemu-img convert -O raw",
        ),
        (
            "backed",
            images.serve("backed", &overlay, Manners::Good),
            sha256(&overlay)?,
            "Qcow2",
            "the image refers to another file (a backing file); flatten it first with qemu-img convert",
        ),
        (
            "disguised",
            images.serve("disguised", &qcow2, Manners::Good),
            sha256(&qcow2)?,
            "Raw",
            "the image is qcow2; create the Volume with format: Qcow2, or convert the image first with qemu-img convert -O raw",
        ),
        ("elsewhere", elsewhere, sha256(&qcow2)?, "Qcow2", NOT_PUBLIC),
        (
            "outside",
            images.serve("outside", &data, Manners::Good),
            sha256(&data)?,
            "Qcow2",
            "the image refers to another file (an external data file); flatten it first with qemu-img convert",
        ),
        ("sent", images.redirect("sent", &redirected), sha256(&qcow2)?, "Qcow2", NOT_PUBLIC),
        ("named", named, sha256(&qcow2)?, "Qcow2", NAMED),
        ("sent-by-name", sent_by_name, sha256(&qcow2)?, "Qcow2", NAMED),
        (
            "metadata",
            images.redirect("metadata", "http://169.254.169.254/latest/user-data"),
            sha256(&qcow2)?,
            "Qcow2",
            "image host 169.254.169.254 is not public; list it in the ProviderConfig's policy.imageHosts",
        ),
    ])
}

#[test]
fn an_image_that_could_reach_other_files_or_comes_from_elsewhere_is_refused_with_the_cure() -> Result<()> {
    let stage = Stage::start_unconfigured("hostile", &["--poll=30s"])?;
    // One server alone may be asked, and not everything at its address.
    let config = serde_json::json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig", "metadata": {"name": "default"},
        "spec": {"uri": stage.host().uri(), "policy": {"imageHosts": [format!("127.0.0.1:{}", stage.images().port())]}},
    });
    stage.plane().apply(&config.to_string())?;
    let (scenario, other) = (stage.scenario("hostile")?, ImageServer::start()?);
    let cases = hostile(&scenario, &other)?;
    scenario.apply(&scenario.pool())?;
    for (name, url, sum, format, _) in &cases {
        apply_volume(&scenario, name, url, sum, format)?;
    }
    for (name, _, _, _, sentence) in &cases {
        let message = format!("create failed: {sentence}");
        let wished = ("False", "ReconcileError", message.as_str());
        scenario.await_condition(&format!("volume/{name}"), "Synced", wished)?;
    }
    let asked = [stage.images().requests("elsewhere"), other.requests("named")];
    assert_eq!(asked, [0, 0], "a host that is not allowed is not even asked");
    eventually(PATIENCE, || {
        let left = scenario.host().volumes(scenario.name())?;
        ensure!(left.is_empty(), "volumes of refused images: {left:?}");
        Ok(())
    })?;
    scenario.clear()?;
    assert!(!fs::exists(scenario.folder())?, "the pool's folder went with its content");
    Ok(())
}

#[test]
fn an_import_tells_its_progress_and_one_that_was_cut_by_a_kill_is_made_whole_once() -> Result<()> {
    let stage = Stage::start("cut", &["--poll=30s"])?;
    let scenario = stage.scenario("cut")?;
    let (images, image) = (stage.images(), scenario.host().path("image"));
    fs::write(&image, pattern(SIZE, 2))?;
    let sum = sha256(&image)?;
    let url = images.serve("image", &image, Manners::Slow(SIZE / 12));
    scenario.apply(&scenario.pool())?;
    apply_volume(&scenario, "one", &url, &sum, "Raw")?;
    eventually(PATIENCE, || {
        let percent = importing(&scenario)?.context("no import yet")?;
        ensure!(percent >= 30, "{percent}");
        Ok(())
    })?;
    assert_eq!(scenario.host().volumes(scenario.name())?, ["one"], "a part of the image is on the host");
    stage.kill_provider()?;

    stage.start_provider()?;
    let mut seen = Vec::new();
    eventually(2 * PATIENCE, || {
        let percent = if images.requests("image") > 1 { importing(&scenario)? } else { None };
        if let Some(percent) = percent.filter(|percent| seen.last() != Some(percent)) {
            seen.push(percent);
        }
        let ready = is_true(&scenario.object("volume", "one")?, "Ready");
        ensure!(ready, "not Ready after {seen:?}; {}", stage.log());
        Ok(())
    })?;
    // What the killed provider had said last may be read once more before the new one says where it is.
    let from = seen.iter().position(|percent| *percent < 30).unwrap_or_default();
    let steps = &seen[from..];
    assert!(steps.iter().all(|percent| percent % 10 == 0) && steps.is_sorted() && steps.len() >= 5, "{seen:?}");
    let volume = scenario.object("volume", "one")?;
    let path = volume["status"]["atProvider"]["path"].as_str().context("read the path")?;
    assert_eq!((sha256(path)?, scenario.host().volumes(scenario.name())?), (sum, vec!["one".to_owned()]));
    assert_eq!(images.requests("image"), 2);
    scenario.clear()
}

#[test]
fn packed_images_come_unpacked_and_whole_and_one_that_is_larger_than_its_volume_leaves_nothing_behind() -> Result<()> {
    let stage = Stage::start("packed", &["--poll=30s"])?;
    let scenario = stage.scenario("packed")?;
    let [raw, qcow2, sums] = ["raw", "qcow2", "sums"].map(|name| scenario.host().path(name));
    fs::write(&raw, pattern(SIZE, 3))?;
    run("qemu-img", &["convert", "-O", "qcow2", &raw.display().to_string(), &qcow2.display().to_string()])?;
    // Names say nothing: what is in a file does.
    let (gzip, gzip_file) = pack(&scenario, "gzip", &raw, "gzip.img")?;
    let (xz, xz_file) = pack(&scenario, "xz", &qcow2, "xz.gz")?;
    let (zstd, zstd_file) = pack(&scenario, "zstd", &raw, "zstd.xz")?;
    let (md5, sha512) = (sum("md5sum", &gzip_file)?, sum("sha512sum", &zstd_file)?);
    fs::write(&sums, format!("{}  zstd.img\n{sha512} *zstd.xz\n", "0".repeat(128)))?;
    let list = stage.images().serve("SHA512SUMS", &sums, Manners::Good);
    let (gzip_sum, xz_sum) = (sha256(&gzip_file)?, sha256(&xz_file)?);
    scenario.apply(&scenario.pool())?;
    let volume = |name: &str, parameters: &str, http: &str| {
        scenario.apply(&scenario.volume(name, &format!("{parameters}, source: {{http: {{{http}}}}}")))
    };
    volume("gzip", "format: Raw", &format!("url: '{gzip}', checksum: 'md5:{md5}'"))?;
    volume("xz", "format: Qcow2, capacity: 1Gi", &format!("url: '{xz}', checksum: '{xz_sum}'"))?;
    volume("zstd", &format!("format: Raw, capacity: '{SIZE}'"), &format!("url: '{zstd}', checksumUrl: '{list}'"))?;
    volume("kept", "format: Raw", &format!("url: '{gzip}', checksum: 'sha256:{gzip_sum}', decompression: Never"))?;
    scenario.await_all_ready(PATIENCE)?;
    for (name, file) in [("gzip", &raw), ("zstd", &raw), ("kept", &gzip_file)] {
        assert_eq!(sha256(scenario.path("volume", name)?)?, sha256(file)?, "{name}");
    }
    let xz = scenario.path("volume", "xz")?;
    let compared = run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &raw.display().to_string(), &xz])?;
    assert!(compared.contains("identical"), "{compared}");

    volume("bomb", "format: Raw, capacity: 1Mi", &format!("url: '{gzip}', checksum: '{gzip_sum}'"))?;
    let said = "create failed: the unpacked image is larger than the volume's capacity of 1Mi";
    scenario.await_condition("volume/bomb", "Synced", ("False", "ReconcileError", said))?;
    eventually(PATIENCE, || {
        let left = scenario.host().volumes(scenario.name())?;
        ensure!(!left.contains(&"bomb".to_owned()), "volumes: {left:?}");
        Ok(())
    })?;
    scenario.clear()
}

/// A file packed by a program and served by this name, and where it is here.
fn pack(scenario: &Scenario<'_>, program: &str, file: &Path, name: &str) -> Result<(String, PathBuf)> {
    let packed = scenario.host().path(name);
    run("sh", &["-c", &format!("{program} -c < {} > {}", file.display(), packed.display())])?;
    Ok((scenario.stage().images().serve(name, &packed, Manners::Good), packed))
}

#[test]
fn an_image_whose_connection_breaks_comes_in_pieces_each_byte_once() -> Result<()> {
    let stage = Stage::start("pieces", &["--poll=30s"])?;
    let scenario = stage.scenario("pieces")?;
    let (images, image) = (stage.images(), scenario.host().path("image"));
    fs::write(&image, pattern(SIZE, 4))?;
    let sum = sha256(&image)?;
    let url = images.serve("image", &image, Manners::Breaking(SIZE / 3 + 1));
    scenario.apply(&scenario.pool())?;
    apply_volume(&scenario, "one", &url, &sum, "Raw")?;
    // A server that sends on to where the image is.
    let moved = images.redirect("moved", &images.serve("there", &image, Manners::Good));
    apply_volume(&scenario, "two", &moved, &sum, "Raw")?;
    scenario.await_all_ready(PATIENCE)?;
    assert_eq!((sha256(scenario.path("volume", "two")?)?, images.requests("there")), (sum.clone(), 1));
    assert_eq!((sha256(scenario.path("volume", "one")?)?, images.requests("image")), (sum, 3));
    scenario.clear()
}

#[test]
fn an_image_that_is_not_for_everybody_comes_with_the_credentials_of_a_secret_which_are_nowhere_to_be_seen() -> Result<()>
{
    let stage = Stage::start("door", &["--poll=30s", "--debug"])?;
    let scenario = stage.scenario("door")?;
    let (images, image) = (stage.images(), scenario.host().path("image"));
    fs::write(&image, pattern(SIZE, 5))?;
    let sum = sha256(&image)?;
    let (bearer, basic) = (images.serve("bearer", &image, Manners::Good), images.serve("basic", &image, Manners::Good));
    images.lock("bearer", "Bearer open-sesame");
    images.lock("basic", "Basic YWxpOm9wZW4tc2VzYW1l");
    scenario.apply(&scenario.pool())?;
    for (name, url) in [("bearer", &bearer), ("basic", &basic)] {
        let http = format!("{{url: '{url}', checksum: {sum}, credentialsRef: {{name: {name}}}}}");
        scenario.apply(&scenario.volume(name, &format!("format: Raw, source: {{http: {http}}}")))?;
    }
    let said = |what: &str| -> Result<()> {
        scenario.await_object("volume", "bearer", |volume| {
            let (status, _, message) = condition(volume, "Synced")?;
            ensure!(status == "False" && message.contains(what), "{message}");
            Ok(())
        })
    };
    said("waiting for Secret bearer: there is none")?;
    assert_eq!(images.requests("bearer"), 0, "nothing is asked for without them");
    let secret = |name: &str, values: &str| -> Result<()> {
        let yaml = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{values}}}\n");
        scenario.apply(&yaml).map(drop)
    };
    secret("bearer", "other: nothing")?;
    said("waiting for Secret bearer: it needs the key token, or username and password")?;
    secret("basic", "username: ali, password: open-sesame")?;
    secret("bearer", "token: shut-sesame")?;
    said("401 Unauthorized")?;
    secret("bearer", "token: open-sesame")?;
    scenario.await_ready(&["volume/bearer", "volume/basic"])?;
    for name in ["bearer", "basic"] {
        assert_eq!(sha256(scenario.path("volume", name)?)?, sum, "{name}");
    }
    let told = scenario.namespace().kubectl(&["get", "volumes,events", "-o", "yaml"])? + &stage.log();
    for hidden in ["sesame", "YWxpOm9wZW4", "b3Blbi1zZXNhbWU"] {
        assert!(!told.contains(hidden), "{hidden} is to be seen");
    }
    scenario.clear()
}

#[test]
fn an_import_into_a_pool_that_is_to_go_is_told_until_it_is_whole_and_none_begins_there_any_more() -> Result<()> {
    let stage = Stage::start("leaving", &["--poll=30s"])?;
    let scenario = stage.scenario("leaving")?;
    let (images, image) = (stage.images(), scenario.host().path("image"));
    fs::write(&image, pattern(SIZE, 4))?;
    let sum = sha256(&image)?;
    let url = images.serve("image", &image, Manners::Slow(SIZE / 12));
    scenario.apply(&scenario.pool())?;
    apply_volume(&scenario, "one", &url, &sum, "Raw")?;
    eventually(PATIENCE, || importing(&scenario)?.context("no import yet"))?;
    let pool = format!("pool/{}", scenario.name());
    scenario.delete(&[&pool])?;
    let user = format!("the pool is used by Volume {}/one; it is deleted after it", scenario.namespace().name());
    scenario.await_condition(&pool, "Ready", ("False", "InUse", &user))?;
    apply_volume(&scenario, "late", &url, &sum, "Raw")?;
    let leaving = format!("cannot resolve references: waiting for Pool {}: it is being deleted", scenario.name());
    scenario.await_condition("volume/late", "Synced", ("False", "ReconcileError", &leaving))?;
    scenario.await_ready(&["volume/one"])?;
    let volume = scenario.object("volume", "one")?;
    assert_eq!((condition(&volume, "Synced")?.0, condition(&volume, "Importing").is_err()), ("True", true));
    let path = volume["status"]["atProvider"]["path"].as_str().context("read the path")?;
    assert_eq!((sha256(path)?, images.requests("image")), (sum, 1));
    assert_eq!(scenario.host().volumes(scenario.name())?, ["one"]);
    scenario.clear()
}

/// The per cent of the import of volume `one`, if it is under way.
fn importing(scenario: &Scenario<'_>) -> Result<Option<u32>> {
    let volume = scenario.object("volume", "one")?;
    let Ok(("True", "Downloading", message)) = condition(&volume, "Importing") else { return Ok(None) };
    let percent = message.strip_suffix("% of the image is on the host").context("read the message")?;
    Ok(Some(percent.parse().with_context(|| format!("read {message:?}"))?))
}

fn apply_volume(scenario: &Scenario<'_>, name: &str, url: &str, sum: &str, format: &str) -> Result<()> {
    let source = format!("{{http: {{url: '{url}', checksum: 'sha256:{sum}'}}}}");
    scenario.apply(&scenario.volume(name, &format!("format: {format}, source: {source}"))).map(drop)
}

/// Bytes that are no known image format and differ by seed.
fn pattern(size: u64, seed: u64) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 7 + seed) % 251).unwrap_or_default()).collect()
}
