//! Flags of the process whose effect only the whole shows: how many passes there are, and how fresh the figures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use tests::{PATIENCE, Scenario, Stage, manifest, quickest_of};

const EXISTS: &str = "crossplane_managed_resource_exists{gvk=\"libvirt.m.nourspeed.io/v1alpha1, Kind=Pool\"}";

#[test]
fn passes_keep_to_the_rate_and_a_new_object_goes_before_the_polls_that_wait() -> Result<()> {
    let args = ["--poll=1s", "--max-reconcile-rate=2", "--poll-state-metric=1h"];
    let stage = Stage::start("rate", &args)?;
    let scenario = stage.scenario("rate")?;
    assert_eq!(stage.metrics()?.get(EXISTS), Some(&0.0));
    let pools: Vec<String> = (0..30).map(|number| format!("p{number}")).collect();
    apply(&scenario, &pools)?;
    scenario.await_all_ready(2 * PATIENCE)?;
    assert_eq!(stage.metrics()?.get(EXISTS), Some(&0.0), "the figures of an hour ago are good enough");

    // What was saved up has long been used up: the polls of thirty objects ask for thirty passes a second.
    let (begin, before) = (Instant::now(), passes(&stage)?);
    sleep(Duration::from_secs(10));
    let (more, spent) = (passes(&stage)? - before, begin.elapsed().as_secs_f64());
    assert!(more > 5.0 && more <= 2.0 * spent + 3.0, "{more} passes in {spent} s");

    // In the line of the polls each would be reached after fifteen seconds.
    let (best, _) = quickest_of(["new", "newer", "newest"], |name| {
        apply(&scenario, &[name.to_owned()])?;
        scenario.await_condition(&format!("pool/{name}"), "Ready", ("True", "Available", ""))
    })?;
    assert!(best < Duration::from_secs(10), "{best:?}");
    Ok(())
}

fn apply(scenario: &Scenario<'_>, names: &[String]) -> Result<()> {
    let parameters = |name: &str| format!("target: {{path: {}}}", scenario.host().path(name).display());
    let objects: String = names.iter().map(|name| manifest("Pool", name, &parameters(name))).collect();
    scenario.apply(&objects).map(drop)
}

fn passes(stage: &Stage) -> Result<f64> {
    let samples = stage.metrics()?;
    let passes = samples.iter().filter(|(name, _)| name.starts_with("controller_runtime_reconcile_total{"));
    Ok(passes.map(|(_, value)| value).sum())
}
