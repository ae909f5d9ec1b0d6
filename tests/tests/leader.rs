//! Of several providers on one cluster, one works: while two overlap, when one ends or dies, and when one has lost its lease unawares.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tests::{Provider, Scene, eventually, signal};

const PATIENCE: Duration = Scene::PATIENCE;
const LEASE: &str = "crossplane-leader-election-provider-libvirt";
const ARGS: [&str; 1] = ["--poll=2s"];
/// The rig's lease.
const LEASE_DURATION: Duration = Duration::from_secs(5);

#[test]
fn of_two_that_overlap_one_works_and_the_other_takes_over_when_it_ends() -> Result<()> {
    let mut scene = Scene::with_default_host("overlap", &ARGS)?;
    await_leading(scene.provider()?)?;
    let second = start(&scene)?;
    apply_pools(&scene, 20)?;
    scene.await_ready(PATIENCE).with_context(|| scene.log())?;
    assert_eq!(scene.on_host()?.len(), 20);
    assert_eq!(creations(&scene)?, [1; 20], "each was made once");
    let leads = |provider: &Provider| Ok::<_, anyhow::Error>(figure(provider, MASTER)? > 0.0);
    assert_eq!((leads(scene.provider()?)?, leads(&second)?), (true, false));
    assert!(figure(scene.provider()?, "controller_runtime_reconcile_total")? >= 20.0);
    assert_eq!(deeds(&second)?, Vec::<String>::new(), "the second has done nothing");

    let third = start(&scene)?;
    assert_eq!(third.term()?.code(), Some(0), "who waits can be stopped");
    let (holder, transitions) = lease(&scene)?;
    let begin = Instant::now();
    assert_eq!(scene.end_provider()?.term()?.code(), Some(0));
    await_leading(&second)?;
    assert!(begin.elapsed() < LEASE_DURATION, "it was handed over, not waited out: {:?}", begin.elapsed());
    let now = lease(&scene)?;
    assert_ne!(now.0, holder);
    assert_eq!(now.1, transitions + 1);
    await_repair(&scene, "p0").with_context(|| second.log())?;
    assert_eq!(creations(&scene)?, [1; 20], "nothing was made again");
    Ok(())
}

#[test]
fn a_leader_that_dies_is_followed_when_its_lease_has_run_out() -> Result<()> {
    let mut scene = Scene::with_default_host("dies", &ARGS)?;
    await_leading(scene.provider()?)?;
    let second = start(&scene)?;
    apply_pools(&scene, 3)?;
    scene.end_provider()?.kill9()?;
    let begin = Instant::now();
    await_leading(&second)?;
    let took = begin.elapsed();
    // The last renewal is half a second before the end, or on a busy machine a little longer.
    assert!(took > Duration::from_secs(3), "before the lease had run out: {took:?}");
    scene.await_ready(PATIENCE).with_context(|| second.log())?;
    assert_eq!(scene.on_host()?, ["pool p0", "pool p1", "pool p2"]);
    await_repair(&scene, "p0").with_context(|| second.log())
}

#[test]
fn a_leader_that_sees_another_hold_its_lease_ends() -> Result<()> {
    let mut scene = Scene::with_default_host("taken", &ARGS)?;
    await_leading(scene.provider()?)?;
    apply_pools(&scene, 1)?;
    scene.await_ready(PATIENCE).with_context(|| scene.log())?;
    let other = "{\"spec\": {\"holderIdentity\": \"other\"}}";
    scene.plane.kubectl(&["patch", "lease", LEASE, "--namespace=default", "--type=merge", "-p", other])?;
    let mut first = scene.end_provider()?;
    assert_eq!(first.await_end(PATIENCE)?.code(), Some(1));
    let log = first.log();
    assert!(log.contains("leader election lost: other holds the lease"), "{log}");
    assert_eq!(lease(&scene)?.0, "other", "who has lost it does not touch it");
    // Nobody is there who could mend it.
    scene.host.virsh(&["pool-destroy", "p0"])?;
    let second = start(&scene)?;
    await_repair(&scene, "p0").with_context(|| second.log())
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_does_nothing_when_it_goes_on() -> Result<()> {
    let mut scene = Scene::with_default_host("sleeps", &["--poll=1s"])?;
    await_leading(scene.provider()?)?;
    let second = start(&scene)?;
    apply_pools(&scene, 5)?;
    scene.await_ready(PATIENCE).with_context(|| scene.log())?;
    let mut first = scene.end_provider()?;
    signal(first.pid(), Signal::STOP)?;
    await_leading(&second)?;
    let before = first.log();
    // Work that the sleeper would find at once.
    scene.namespace.kubectl(&["delete", "pool", "p1", "--wait=false"])?;
    eventually(PATIENCE, || {
        ensure!(scene.namespace.get("pool", "p1")?.is_none(), "p1 is still there");
        Ok(())
    })?;
    apply_pools(&scene, 5)?;
    scene.await_ready(PATIENCE).with_context(|| second.log())?;
    signal(first.pid(), Signal::CONT)?;
    assert_eq!(first.await_end(PATIENCE)?.code(), Some(1));
    let log = first.log();
    let after = log.strip_prefix(&before).context("find what it has logged since")?;
    assert!(after.contains("leader election lost: the lease could not be renewed in time"), "{after}");
    for deed in ["creating", "updating", "deleted", "managed::reconcile", "managed::removal"] {
        assert!(!after.contains(deed), "{deed}: {after}");
    }
    assert!(figure(&second, MASTER)? > 0.0, "the other leads on");
    await_repair(&scene, "p0").with_context(|| second.log())?;
    assert_eq!(scene.on_host()?.len(), 5);
    Ok(())
}

#[test]
fn without_leader_election_there_is_no_lease() -> Result<()> {
    let mut scene = Scene::with_default_host("alone", &["--poll=2s", "--no-leader-election"])?;
    apply_pools(&scene, 1)?;
    scene.await_ready(PATIENCE).with_context(|| scene.log())?;
    assert_eq!(scene.plane.kubectl(&["get", "lease", "--namespace=default", "--output=name"])?, "");
    assert!(!scene.provider()?.metrics()?.keys().any(|name| name.starts_with(MASTER)), "nobody was elected");
    Ok(())
}

const MASTER: &str = "leader_election_master_status";

/// Another provider on the same cluster, ready, which does not say that it leads.
fn start(scene: &Scene) -> Result<Provider> {
    let mut provider = Provider::start(&scene.plane.kubeconfig(), &ARGS)?;
    provider.await_ready()?;
    Ok(provider)
}

fn await_leading(provider: &Provider) -> Result<()> {
    eventually(PATIENCE, || {
        ensure!(figure(provider, MASTER)? > 0.0, "it does not lead");
        Ok(())
    })
    .with_context(|| provider.log())
}

/// The sum of a figure over all labels.
fn figure(provider: &Provider, name: &str) -> Result<f64> {
    let samples = provider.metrics()?;
    Ok(samples.iter().filter(|(sample, _)| sample.split('{').next() == Some(name)).map(|(_, value)| value).sum())
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
fn apply_pools(scene: &Scene, count: usize) -> Result<()> {
    let pool = |number| {
        let name = format!("p{number}");
        (format!("{{target: {{path: {}}}}}", scene.host.path(&name).display()), name)
    };
    let pools: Vec<(String, String)> = (0..count).map(pool).collect();
    let objects: Vec<_> = pools.iter().map(|(parameters, name)| ("Pool", name.as_str(), parameters.clone())).collect();
    scene.apply(&objects)
}

/// How often each object says that something was created for it.
fn creations(scene: &Scene) -> Result<Vec<i64>> {
    let text =
        scene.namespace.kubectl(&["get", "events", "--field-selector=reason=CreatedExternalResource", "-o", "json"])?;
    let events: Value = serde_json::from_str(&text)?;
    let events = events["items"].as_array().context("read the events")?;
    Ok(events.iter().map(|event| event["count"].as_i64().unwrap_or_default()).collect())
}

/// Stops a pool on the host and waits until it runs again.
fn await_repair(scene: &Scene, pool: &str) -> Result<()> {
    if is_active(scene, pool)? {
        scene.host.virsh(&["pool-destroy", pool])?;
    }
    eventually(PATIENCE, || {
        ensure!(is_active(scene, pool)?, "{pool} is still stopped");
        Ok(())
    })
}

fn is_active(scene: &Scene, pool: &str) -> Result<bool> {
    Ok(scene.host.virsh(&["pool-list", "--name"])?.lines().any(|name| name.trim() == pool))
}

/// Holder and transitions of the Lease.
fn lease(scene: &Scene) -> Result<(String, i64)> {
    let text = scene.plane.kubectl(&["get", "lease", LEASE, "--namespace=default", "-o", "json"])?;
    let lease: Value = serde_json::from_str(&text)?;
    let holder = lease["spec"]["holderIdentity"].as_str().context("read the holder")?;
    Ok((holder.to_owned(), lease["spec"]["leaseTransitions"].as_i64().context("read the transitions")?))
}
