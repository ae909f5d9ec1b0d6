//! How soon a new object is looked at while a great many others are polled without end.
//!
//! The many are Domains of libvirt's test driver: each is a full object to the provider (placed, found, compared, reported) and costs the
//! host next to nothing, so that what is measured is the provider's queue and not libvirtd. Networks would each be a bridge of the
//! machine, Volumes a file and a refresh of their pool. With 2000 of them at `--poll=10s` more passes are due than the provider's
//! `--max-reconcile-rate` of 100 a second lets begin: there is always somebody in line before the new one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::{Namespace, Provider, eventually};

use crate::{
    ready::{Column, Watch},
    stage::{Driver, Stage, count_of, figure},
    summary::{Summary, head, line},
};

/// How many others there are, unless `PICKUP_OBJECTS` says otherwise.
const OTHERS: u32 = 2000;
/// How many are applied at once when the others are made.
const BATCH: usize = 250;
/// How many new objects are measured, one after another.
const FRESH: usize = 30;
const PATIENCE: Duration = Duration::from_mins(10);

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    let others = count_of("PICKUP_OBJECTS", OTHERS)? as usize;
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--poll=10s", "--no-leader-election"])?;
    provider.await_ready()?;
    // What other measurements left behind is on its way out.
    await_domains(&provider, "exists", |count| count < 1.0)?;
    let (crowd, namespace) = (Namespace::create(&stage.plane.client())?, Namespace::create(&stage.plane.client())?);
    // The first domain pays for the connection.
    let mut watch = Watch::start(&namespace, stage, Column::Synced)?;
    namespace.apply(&Driver::Test.domains("first", 1))?;
    watch.until(1)?;
    let alone = fresh(&namespace, &mut watch, "alone")?;
    fill(&crowd, &provider, others)?;
    let (begin, before) = (Instant::now(), passes(&provider)?);
    let crowded = fresh(&namespace, &mut watch, "crowded")?;
    let rate = (passes(&provider)? - before) / begin.elapsed().as_secs_f64();
    let waiting = figure(&provider, "workqueue_depth{name=\"managed/domain.")?;

    head(&format!("From apply until the first pass is over, {FRESH} new domains one by one, test driver"));
    line("no other object, from the begin of kubectl apply", alone.applied);
    line("no other object, from when the object is there", alone.made);
    line(&format!("{others} polled, from the begin of kubectl apply"), crowded.applied);
    line(&format!("{others} polled, from when the object is there"), crowded.made);
    println!("  the others had {rate:.0} passes a second, {waiting:.0} stood in line at the end (goal: below 1 s)\n");
    for namespace in [&crowd, &namespace] {
        namespace
            .kubectl(&["delete", "domains", "--all", "--timeout=600s"])
            .with_context(|| format!("delete the domains; the provider's log:\n{}", provider.log()))?;
    }
    Ok(())
}

/// How long new objects took.
struct Times {
    /// From the begin of `kubectl apply`.
    applied: Summary,
    /// From when the API server showed the object.
    made: Summary,
}

fn fresh(namespace: &Namespace, watch: &mut Watch, prefix: &str) -> Result<Times> {
    let (mut applied, mut made) = (Vec::new(), Vec::new());
    for number in 0..FRESH {
        let begin = Instant::now();
        namespace.apply(&Driver::Test.domains(&format!("{prefix}-{number}"), 1))?;
        let seen = watch.until(1)?;
        applied.extend(seen.iter().map(|one| one.shown - begin));
        made.extend(seen.iter().map(|one| one.shown - one.made));
    }
    Ok(Times { applied: Summary::of(applied), made: Summary::of(made) })
}

/// Makes the others, and waits until each has been looked at and is polled.
fn fill(crowd: &Namespace, provider: &Provider, others: usize) -> Result<()> {
    for first in (0..others).step_by(BATCH) {
        crowd.apply(&Driver::Test.domains(&format!("crowd-{first}"), BATCH.min(others - first)))?;
    }
    let wanted = f64::from(u32::try_from(others).unwrap_or(u32::MAX));
    await_domains(provider, "ready", |count| count >= wanted)?;
    // What the passes had saved up while nothing was due has to be used up.
    std::thread::sleep(Duration::from_secs(20));
    Ok(())
}

/// Waits until as many domains as that exist, or are Ready.
fn await_domains(provider: &Provider, state: &str, is_enough: impl Fn(f64) -> bool) -> Result<()> {
    let name = format!("crossplane_managed_resource_{state}{{gvk=\"libvirt.m.nourspeed.io/v1alpha1, Kind=Domain\"}}");
    eventually(PATIENCE, || {
        let count = figure(provider, &name)?;
        ensure!(is_enough(count), "{count} domains: {state}");
        Ok(())
    })
    .with_context(|| provider.log())
}

fn passes(provider: &Provider) -> Result<f64> {
    figure(provider, "controller_runtime_reconcile_total{controller=\"managed/domain.")
}
