//! One image wanted by many volumes: fetched once for a host, copied there for the others, and each volume a whole one of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};
use tests::{Manners, PATIENCE, Scenario, Stage, condition, eventually, manifest, run, sha256};

const SIZE: u64 = 4 << 20;

#[test]
fn ten_volumes_of_one_image_ask_for_it_once_and_each_is_the_whole_image_and_grows_by_itself() -> Result<()> {
    let stage = Stage::start("shared", &["--poll=30s"])?;
    let scenario = stage.scenario("shared")?;
    let (images, [raw, qcow2]) = (stage.images(), image_files(&scenario)?);
    let slow = Manners::Slow(SIZE / 8);
    let (raw_url, qcow2_url) = (images.serve("raw", &raw, slow), images.serve("qcow2", &qcow2, slow));
    let (raw_sum, qcow2_sum) = (sha256(&raw)?, sha256(&qcow2)?);
    scenario.apply(&scenario.pool())?;
    for number in 0..10 {
        apply(&scenario, &format!("raw-{number}"), "format: Raw", &raw_url, &raw_sum)?;
    }
    for number in 0..3 {
        let parameters = format!("format: Qcow2, capacity: {}Gi", number + 1);
        apply(&scenario, &format!("qcow2-{number}"), &parameters, &qcow2_url, &qcow2_sum)?;
    }
    // Those that wait tell how far the image is, as the one that fetches does.
    for number in 0..10 {
        scenario.await_object("volume", &format!("raw-{number}"), |volume| {
            let (status, reason, _) = condition(volume, "Importing")?;
            ensure!((status, reason) == ("True", "Downloading"), "{status} {reason}");
            Ok(())
        })?;
    }
    scenario.await_all_ready(2 * PATIENCE)?;
    assert_eq!((images.requests("raw"), images.requests("qcow2")), (1, 1), "{}", stage.log());

    for number in 0..10 {
        assert_eq!(sha256(scenario.path("volume", &format!("raw-{number}"))?)?, raw_sum, "raw-{number}");
    }
    for number in 0..3_u64 {
        let name = format!("qcow2-{number}");
        let file = scenario.path("volume", &name)?;
        let compared = run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &raw.display().to_string(), &file])?;
        assert!(compared.contains("identical"), "{name}: {compared}");
        let capacity = scenario.observed("volume", &name)?["capacity"].clone();
        assert_eq!(capacity, format!("{}Gi", number + 1), "{name}");
        let info = run("qemu-img", &["info", "--output=json", &file])?;
        assert!(!info.contains("backing") && info.contains("\"compat\": \"1.1\""), "{name}: {info}");
    }
    scenario.clear()
}

#[test]
fn when_the_volume_that_is_fetched_is_deleted_the_next_one_fetches_and_the_others_copy_that() -> Result<()> {
    let stage = Stage::start("passed", &["--poll=30s"])?;
    let scenario = stage.scenario("passed")?;
    let (images, [raw, _]) = (stage.images(), image_files(&scenario)?);
    let (url, sum) = (images.serve("raw", &raw, Manners::Slow(SIZE / 10)), sha256(&raw)?);
    scenario.apply(&scenario.pool())?;
    apply(&scenario, "first", "format: Raw", &url, &sum)?;
    await_requests(&stage, "raw", 1)?;
    for name in ["second", "third"] {
        apply(&scenario, name, "format: Raw", &url, &sum)?;
        scenario.await_object("volume", name, |volume| condition(volume, "Importing").map(drop))?;
    }
    scenario.delete(&["volume/first"])?;
    scenario.await_gone(&["volume/first"])?;
    scenario.await_all_ready(2 * PATIENCE)?;
    assert_eq!(images.requests("raw"), 2, "the first one's and the second one's");
    for name in ["second", "third"] {
        assert_eq!(sha256(scenario.path("volume", name)?)?, sum, "{name}");
    }
    scenario.clear()
}

#[test]
fn what_a_server_refuses_one_volume_is_said_of_all_that_wait_without_asking_it_again_for_each() -> Result<()> {
    let stage = Stage::start("stalled", &["--poll=30s", "--image-stall-timeout=2s"])?;
    let scenario = stage.scenario("stalled")?;
    let (images, [raw, _]) = (stage.images(), image_files(&scenario)?);
    let (url, sum) = (images.serve("raw", &raw, Manners::StallAfter(1_000_000)), sha256(&raw)?);
    let source = format!("format: Raw, source: {{http: {{url: '{url}', checksum: 'sha256:{sum}'}}}}");
    let volumes = (0..8).map(|number| scenario.volume(&format!("v-{number}"), &source));
    scenario.apply(&(scenario.pool() + &volumes.collect::<String>()))?;
    let said = format!("create failed: GET {url}: no data for 2s");
    for number in 0..8 {
        scenario.await_condition(&format!("volume/v-{number}"), "Synced", ("False", "ReconcileError", &said))?;
    }
    let requests = images.requests("raw");
    assert!(requests < 8, "{requests} requests");
    images.serve("raw", &raw, Manners::Good);
    scenario.await_all_ready(2 * PATIENCE)?;
    for number in 0..8 {
        assert_eq!(sha256(scenario.path("volume", &format!("v-{number}"))?)?, sum, "v-{number}");
    }
    scenario.clear()
}

#[test]
fn two_pools_of_a_host_get_an_image_by_one_request_and_who_comes_later_copies_a_volume_or_asks_again() -> Result<()> {
    let stage = Stage::start("pooled", &["--poll=30s"])?;
    let scenario = stage.scenario("pooled")?;
    let (images, [raw, _]) = (stage.images(), image_files(&scenario)?);
    let (url, sum) = (images.serve("raw", &raw, Manners::Slow(SIZE / 8)), sha256(&raw)?);
    let elsewhere = scenario.host().path("elsewhere").display().to_string();
    scenario.apply(&(scenario.pool() + &manifest("Pool", "elsewhere", &format!("target: {{path: {elsewhere}}}"))))?;
    scenario.await_ready(&["pool/pooled", "pool/elsewhere"])?;
    let source = format!("source: {{http: {{url: '{url}', checksum: 'sha256:{sum}'}}}}");
    let of = |pool: &str, name: &str, source: &str| {
        manifest("Volume", name, &format!("poolRef: {{name: {pool}}}, format: Raw, {source}"))
    };
    scenario.apply(&(of("pooled", "here", &source) + &of("elsewhere", "there", &source)))?;
    scenario.await_ready(&["volume/here", "volume/there"])?;
    assert_eq!(images.requests("raw"), 1, "{}", stage.log());

    // Of those that come when it is all over, one copies what the host has, and one wants the image.
    scenario.apply(&of("elsewhere", "copied", "source: {volumeRef: {name: here}}"))?;
    scenario.await_ready(&["volume/copied"])?;
    assert_eq!(images.requests("raw"), 1, "{}", stage.log());
    scenario.apply(&of("elsewhere", "late", &source))?;
    scenario.await_ready(&["volume/late"])?;
    assert_eq!(images.requests("raw"), 2, "{}", stage.log());
    for (name, pool) in
        [("here", scenario.folder()), ("there", elsewhere.clone()), ("copied", elsewhere.clone()), ("late", elsewhere)]
    {
        let path = scenario.path("volume", name)?;
        assert_eq!((sha256(&path)?, path), (sum.clone(), format!("{pool}/{name}")));
    }
    scenario.clear()
}

fn await_requests(stage: &Stage, name: &str, wished: u32) -> Result<()> {
    eventually(PATIENCE, || {
        let seen = stage.images().requests(name);
        ensure!(seen == wished, "{seen} requests");
        Ok(())
    })
}

/// The same disk as a raw file and as qcow2.
fn image_files(scenario: &Scenario<'_>) -> Result<[PathBuf; 2]> {
    let [raw, qcow2] = ["image.raw", "image.qcow2"].map(|name| scenario.host().path(name));
    let bytes: Vec<u8> = (0..SIZE).map(|at| u8::try_from((at * 11 + at / 4096) % 251).unwrap_or_default()).collect();
    fs::write(&raw, bytes)?;
    run("qemu-img", &["convert", "-O", "qcow2", &raw.display().to_string(), &qcow2.display().to_string()])?;
    Ok([raw, qcow2])
}

fn apply(scenario: &Scenario<'_>, name: &str, parameters: &str, url: &str, sum: &str) -> Result<()> {
    let source = format!("source: {{http: {{url: '{url}', checksum: 'sha256:{sum}'}}}}");
    scenario.apply(&scenario.volume(name, &format!("{parameters}, {source}"))).map(drop)
}
