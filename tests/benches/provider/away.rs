//! Thousands of objects whose host is frozen for minutes: what that costs meanwhile, and how soon they are in step when it goes on.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests::{Host, Namespace, Provider, eventually};

use crate::{
    memory::Resident,
    stage::{Driver, Stage, count_of, figure},
};

/// How many objects there are, unless `AWAY_OBJECTS` says otherwise.
const OBJECTS: u32 = 5000;
/// How many seconds their host is away, unless `AWAY_SECONDS` says otherwise.
const SECONDS: u32 = 600;
const BATCH: u32 = 250;
const PATIENCE: Duration = Duration::from_mins(30);

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    let (objects, seconds) = (count_of("AWAY_OBJECTS", OBJECTS)?, count_of("AWAY_SECONDS", SECONDS)?);
    // A host of its own: the others of the run are not frozen with it.
    let host = Host::start("away")?;
    let uri = format!("test+unix:///default?socket={}", host.socket().display());
    let _keep = crate::plain::Host::open(&uri)?;
    stage.configure("away", &uri, "")?;
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--no-leader-election"])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    for first in (0..objects).step_by(BATCH as usize) {
        let count = BATCH.min(objects - first) as usize;
        namespace.apply(&Driver::Test.domains_on("away", &format!("away-{first}"), count))?;
    }
    await_synced(&provider, objects)?;
    std::thread::sleep(Duration::from_secs(20));
    let (writes, before) = (written(&provider)?, Resident::of(&provider)?);

    host.freeze()?;
    let frozen = Instant::now();
    await_synced(&provider, 0)?;
    let told = frozen.elapsed();
    std::thread::sleep(Duration::from_secs(20));
    let (first, early) = (written(&provider)?, Resident::of(&provider)?);
    let rest = Duration::from_secs(u64::from(seconds)).saturating_sub(frozen.elapsed());
    std::thread::sleep(rest);
    let (last, late) = (written(&provider)?, Resident::of(&provider)?);

    host.thaw()?;
    let thawed = Instant::now();
    await_use(&provider)?;
    let used = thawed.elapsed();
    await_synced(&provider, objects)?;
    let back = thawed.elapsed();

    println!("{objects} domains of libvirt's test driver, their host frozen for {seconds} s");
    println!("  until all say so                              {:>9.1} s", told.as_secs_f64());
    println!("  writes for each to say so                     {:>9.2}", (first - writes) / f64::from(objects));
    let verdict = if last - first < f64::from(objects) / 100.0 { "met" } else { "MISSED" };
    println!("  writes after that, all together               {:>9.0}     (goal, none: {verdict})", last - first);
    for (what, resident) in [("before", &before), ("when all had said so", &early), ("at the end", &late)] {
        println!("  VmRSS, RssAnon, PSS {what:<25} {}", resident.mib());
    }
    let verdict = if used < Duration::from_secs(1) { "met" } else { "MISSED" };
    println!(
        "  from its return until it is in use            {:>9.2} s   (goal, below 1 s: {verdict})",
        used.as_secs_f64()
    );
    println!("  from its return until all are in step         {:>9.1} s\n", back.as_secs_f64());
    namespace
        .kubectl(&["delete", "domains", "--all", "--timeout=1800s"])
        .with_context(|| format!("delete the domains; the provider's log:\n{}", provider.log()))?;
    Ok(())
}

fn await_use(provider: &Provider) -> Result<()> {
    eventually(PATIENCE, || {
        let up = figure(provider, "provider_libvirt_host_up{host=\"ClusterProviderConfig away\"")?;
        ensure!(up > 0.5, "the host is not in use");
        Ok(())
    })
}

fn await_synced(provider: &Provider, wanted: u32) -> Result<()> {
    let name = "crossplane_managed_resource_synced{gvk=\"libvirt.m.nourspeed.io/v1alpha1, Kind=Domain\"";
    eventually(PATIENCE, || {
        let count = figure(provider, name)?;
        ensure!((count - f64::from(wanted)).abs() < 0.5, "{count} are Synced, wanted {wanted}");
        Ok(())
    })
    .with_context(|| provider.log().lines().rev().take(30).collect::<Vec<_>>().join("\n"))
}

/// Requests that change something, but those for the lease.
fn written(provider: &Provider) -> Result<f64> {
    let samples = provider.metrics()?;
    let is_write = |name: &str| ["PATCH", "POST"].iter().any(|method| name.contains(&format!("\"{method}\"")));
    let mine = samples.iter().filter(|(name, _)| name.starts_with("rest_client_requests_total") && is_write(name));
    Ok(mine.map(|(_, count)| count).sum())
}
