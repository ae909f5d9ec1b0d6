//! Of several providers on one cluster, one works: while two overlap, when one ends or dies, and when one has lost its lease unawares.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tests::{LEASE, Manners, PATIENCE, Provider, Scenario, Stage, eventually, manifest, sha256, signal};

/// A lease that does not hold up a test. It is as long as it is because a busy machine may keep an API server from answering for seconds.
const LEASE_DURATION: Duration = Duration::from_secs(20);
const ARGS: [&str; 4] = [
    "--poll=2s",
    "--leader-election-lease-duration=20s",
    "--leader-election-renew-deadline=16s",
    "--leader-election-retry-period=500ms",
];

#[test]
fn of_two_that_overlap_one_works_and_the_other_takes_over_when_it_ends() -> Result<()> {
    let stage = Stage::start("overlap", &ARGS)?;
    let scenario = stage.scenario("overlap")?;
    await_leading(|| stage.metrics()).with_context(|| stage.log())?;
    let second = start(&stage)?;
    apply_pools(&scenario, 20)?;
    scenario.await_all_ready(PATIENCE).with_context(|| stage.log())?;
    assert_eq!(stage.host().everything()?.len(), 20);
    assert_eq!(creations(&scenario)?, [1; 20], "each was made once");
    let leads = |samples: &Samples| figure(samples, MASTER) > 0.0;
    assert_eq!((leads(&stage.metrics()?), leads(&second.metrics()?)), (true, false));
    assert!(figure(&stage.metrics()?, "controller_runtime_reconcile_total") >= 20.0);
    assert_eq!(deeds(&second)?, Vec::<String>::new(), "the second has done nothing");

    let third = start(&stage)?;
    assert_eq!(third.term()?.code(), Some(0), "who waits can be stopped");
    let (holder, transitions) = lease(&stage)?;
    let begin = Instant::now();
    assert_eq!(stage.end_provider()?.term()?.code(), Some(0));
    await_leading(|| second.metrics()).with_context(|| second.log())?;
    assert!(begin.elapsed() < LEASE_DURATION, "it was handed over, not waited out: {:?}", begin.elapsed());
    let now = lease(&stage)?;
    assert_ne!(now.0, holder);
    assert_eq!(now.1, transitions + 1);
    await_repair(&scenario, "p0").with_context(|| second.log())?;
    assert_eq!(creations(&scenario)?, [1; 20], "nothing was made again");
    Ok(())
}

#[test]
fn a_leader_that_dies_is_followed_when_its_lease_has_run_out() -> Result<()> {
    let stage = Stage::start("dies", &ARGS)?;
    let scenario = stage.scenario("dies")?;
    await_leading(|| stage.metrics()).with_context(|| stage.log())?;
    let second = start(&stage)?;
    apply_pools(&scenario, 3)?;
    stage.end_provider()?.kill9()?;
    let begin = Instant::now();
    await_leading(|| second.metrics()).with_context(|| second.log())?;
    let took = begin.elapsed();
    // The last renewal is half a second before the end, or on a busy machine longer.
    assert!(took > LEASE_DURATION / 2, "before the lease had run out: {took:?}");
    scenario.await_all_ready(PATIENCE).with_context(|| second.log())?;
    assert_eq!(stage.host().everything()?, ["pool p0", "pool p1", "pool p2"]);
    await_repair(&scenario, "p0").with_context(|| second.log())
}

#[test]
fn a_leader_that_sees_another_hold_its_lease_ends() -> Result<()> {
    let stage = Stage::start("taken", &ARGS)?;
    let scenario = stage.scenario("taken")?;
    await_leading(|| stage.metrics()).with_context(|| stage.log())?;
    apply_pools(&scenario, 1)?;
    scenario.await_all_ready(PATIENCE).with_context(|| stage.log())?;
    let other = "{\"spec\": {\"holderIdentity\": \"other\"}}";
    stage.plane().kubectl(&["patch", "lease", LEASE, "--namespace=default", "--type=merge", "-p", other])?;
    let mut first = stage.end_provider()?;
    assert_eq!(first.await_end(PATIENCE)?.code(), Some(1));
    let log = first.log();
    assert!(log.contains("leader election lost: other holds the lease"), "{log}");
    assert_eq!(lease(&stage)?.0, "other", "who has lost it does not touch it");
    // Nobody is there who could mend it.
    scenario.host().virsh(&["pool-destroy", "p0"])?;
    let second = start(&stage)?;
    await_repair(&scenario, "p0").with_context(|| second.log())
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_does_nothing_when_it_goes_on() -> Result<()> {
    let stage = Stage::start("sleeps", &ARGS)?;
    let scenario = stage.scenario("sleeps")?;
    await_leading(|| stage.metrics()).with_context(|| stage.log())?;
    let second = start(&stage)?;
    apply_pools(&scenario, 5)?;
    scenario.await_all_ready(PATIENCE).with_context(|| stage.log())?;
    let mut first = stage.end_provider()?;
    signal(first.pid(), Signal::STOP)?;
    await_leading(|| second.metrics()).with_context(|| second.log())?;
    let before = first.log();
    // Work that the sleeper would find at once.
    scenario.namespace().kubectl(&["delete", "pool", "p1", "--wait=false"])?;
    eventually(PATIENCE, || {
        ensure!(scenario.namespace().get("pool", "p1")?.is_none(), "p1 is still there");
        Ok(())
    })?;
    apply_pools(&scenario, 5)?;
    scenario.await_all_ready(PATIENCE).with_context(|| second.log())?;
    signal(first.pid(), Signal::CONT)?;
    assert_eq!(first.await_end(PATIENCE)?.code(), Some(1));
    let log = first.log();
    let after = log.strip_prefix(&before).context("find what it has logged since")?;
    assert!(after.contains("leader election lost: the lease could not be renewed in time"), "{after}");
    for deed in ["creating", "updating", "deleted", "managed::reconcile", "managed::removal"] {
        assert!(!after.contains(deed), "{deed}: {after}");
    }
    assert!(figure(&second.metrics()?, MASTER) > 0.0, "the other leads on");
    await_repair(&scenario, "p0").with_context(|| second.log())?;
    assert_eq!(stage.host().everything()?.len(), 5);
    Ok(())
}

#[test]
fn an_image_on_its_way_is_given_up_before_the_lease_is_handed_over() -> Result<()> {
    let stage = Stage::start("handed", &ARGS)?;
    let scenario = stage.scenario("handed")?;
    await_leading(|| stage.metrics()).with_context(|| stage.log())?;
    let sum = begin_import(&scenario)?;
    let second = start(&stage)?;
    let first = stage.end_provider()?;
    assert_eq!(first.term()?.code(), Some(0));
    assert_eq!(scenario.host().volumes(scenario.name())?, Vec::<String>::new(), "a part of the image is left");
    check_imported(&scenario, &second, &sum)
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_writes_no_more_of_an_image() -> Result<()> {
    let stage = Stage::start("dreams", &ARGS)?;
    let scenario = stage.scenario("dreams")?;
    await_leading(|| stage.metrics()).with_context(|| stage.log())?;
    let sum = begin_import(&scenario)?;
    let second = start(&stage)?;
    let mut first = stage.end_provider()?;
    signal(first.pid(), Signal::STOP)?;
    await_leading(|| second.metrics()).with_context(|| second.log())?;
    let before = scenario.host().volumes(scenario.name())?;
    signal(first.pid(), Signal::CONT)?;
    assert_eq!(first.await_end(PATIENCE)?.code(), Some(1));
    assert_eq!(before, ["image"]);
    check_imported(&scenario, &second, &sum)
}

/// Starts a slow import and waits until a part of it is on the host; answers the checksum.
fn begin_import(scenario: &Scenario<'_>) -> Result<String> {
    let file = scenario.host().path("image");
    std::fs::write(&file, (0..4_u32 << 20).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>())?;
    let source = scenario.stage().image(&file, Manners::Slow(700_000))?;
    scenario.apply(&(scenario.pool() + &scenario.volume("image", &format!("format: Raw, {source}"))))?;
    eventually(PATIENCE, || {
        ensure!(scenario.host().volumes(scenario.name())? == ["image"], "no part of the image is there");
        Ok(())
    })?;
    sha256(&file)
}

/// Waits until the image is whole, made by this provider.
fn check_imported(scenario: &Scenario<'_>, provider: &Provider, sum: &str) -> Result<()> {
    scenario.await_all_ready(2 * PATIENCE).with_context(|| provider.log())?;
    assert_eq!(sha256(format!("{}/image", scenario.folder()))?, sum);
    assert_eq!(scenario.stage().images().requests("image"), 2);
    Ok(())
}

#[test]
fn without_leader_election_there_is_no_lease() -> Result<()> {
    let stage = Stage::start("alone", &["--poll=2s", "--no-leader-election"])?;
    let scenario = stage.scenario("alone")?;
    apply_pools(&scenario, 1)?;
    scenario.await_all_ready(PATIENCE).with_context(|| stage.log())?;
    assert_eq!(stage.plane().kubectl(&["get", "lease", "--namespace=default", "--output=name"])?, "");
    assert!(!stage.metrics()?.keys().any(|name| name.starts_with(MASTER)), "nobody was elected");
    Ok(())
}

const MASTER: &str = "leader_election_master_status";

type Samples = HashMap<String, f64>;

/// Another provider on the same cluster, ready, which does not say that it leads.
fn start(stage: &Stage) -> Result<Provider> {
    let mut provider = Provider::start(&stage.plane().kubeconfig(), &ARGS)?;
    provider.await_ready()?;
    Ok(provider)
}

fn await_leading(metrics: impl Fn() -> Result<Samples>) -> Result<()> {
    eventually(PATIENCE, || {
        ensure!(figure(&metrics()?, MASTER) > 0.0, "it does not lead");
        Ok(())
    })
}

/// The sum of a figure over all labels.
fn figure(samples: &Samples, name: &str) -> f64 {
    samples.iter().filter(|(sample, _)| sample.split('{').next() == Some(name)).map(|(_, value)| value).sum()
}

/// Passes, calls to libvirt, connections, and requests to the API server that write.
fn deeds(provider: &Provider) -> Result<Vec<String>> {
    let is_deed = |sample: &str| {
        sample.starts_with("controller_runtime_reconcile_total{")
            || sample.starts_with("provider_libvirt_host_")
            || (sample.starts_with("rest_client_requests_total{") && !sample.contains("method=\"GET\""))
    };
    Ok(provider
        .metrics()?
        .into_iter()
        .filter(|(name, value)| is_deed(name) && *value > 0.0)
        .map(|(name, _)| name)
        .collect())
}

/// Pools `p0` to `p<count - 1>`.
fn apply_pools(scenario: &Scenario<'_>, count: usize) -> Result<()> {
    let pool = |number| {
        let name = format!("p{number}");
        manifest("Pool", &name, &format!("target: {{path: {}}}", scenario.host().path(&name).display()))
    };
    scenario.apply(&(0..count).map(pool).collect::<String>()).map(drop)
}

/// How often each object says that something was created for it.
fn creations(scenario: &Scenario<'_>) -> Result<Vec<i64>> {
    let text = scenario.namespace().kubectl(&[
        "get",
        "events",
        "--field-selector=reason=CreatedExternalResource",
        "-o",
        "json",
    ])?;
    let events: Value = serde_json::from_str(&text)?;
    let events = events["items"].as_array().context("read the events")?;
    Ok(events.iter().map(|event| event["count"].as_i64().unwrap_or_default()).collect())
}

/// Stops a pool on the host and waits until it runs again.
fn await_repair(scenario: &Scenario<'_>, pool: &str) -> Result<()> {
    if is_active(scenario, pool)? {
        scenario.host().virsh(&["pool-destroy", pool])?;
    }
    eventually(PATIENCE, || {
        ensure!(is_active(scenario, pool)?, "{pool} is still stopped");
        Ok(())
    })
}

fn is_active(scenario: &Scenario<'_>, pool: &str) -> Result<bool> {
    Ok(scenario.host().virsh(&["pool-list", "--name"])?.lines().any(|name| name.trim() == pool))
}

/// Holder and transitions of the Lease.
fn lease(stage: &Stage) -> Result<(String, i64)> {
    let text = stage.plane().kubectl(&["get", "lease", LEASE, "--namespace=default", "-o", "json"])?;
    let lease: Value = serde_json::from_str(&text)?;
    let holder = lease["spec"]["holderIdentity"].as_str().context("read the holder")?;
    Ok((holder.to_owned(), lease["spec"]["leaseTransitions"].as_i64().context("read the transitions")?))
}
