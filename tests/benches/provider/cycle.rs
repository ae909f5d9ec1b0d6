//! From `virsh destroy` until the guest runs again.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::{Namespace, Provider};

use crate::{
    plain,
    ready::{Column, Watch},
    stage::{Driver, Stage},
    summary::{Summary, head, line, millis},
};

const REPETITIONS: usize = 20;

/// Measures and prints.
pub(crate) fn measure(stage: &Stage, driver: Driver) -> Result<()> {
    let host = stage.open(driver)?;
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &[])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    let mut watch = Watch::start(&namespace, stage, Column::Ready)?;
    namespace.apply(&driver.domains("cycle", 1))?;
    watch.until(1)?;
    let kept = host.domain("cycle-0")?;
    // Nobody keeps the twin, so it stays off until the loop starts it.
    let twin = host.make(&host.mould("cycle-0")?, "twin")?;
    let (mut by_hand, mut by_provider) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        twin.destroy().context("destroy the twin")?;
        by_hand.push(plain::start(&twin)?);
        kept.destroy().context("destroy the domain")?;
        by_provider.push(plain::until_running(&kept)?);
        // The pass that started it is over before the next one.
        std::thread::sleep(Duration::from_millis(300));
    }
    twin.destroy().and_then(|()| twin.undefine()).context("remove the twin")?;
    namespace.kubectl(&["delete", "domains", "--all", "--timeout=60s"])?;
    let (by_hand, by_provider) = (Summary::of(by_hand), Summary::of(by_provider));
    head(&format!("Destroyed and running again, {REPETITIONS} times, {} driver", driver.name()));
    line("virDomainCreate by hand", by_hand);
    line("provider, from the end of virDomainDestroy", by_provider);
    let extra = by_provider.median.saturating_sub(by_hand.median);
    println!("  the provider adds at the median {:>29} (goal: at most 50 ms)\n", millis(extra));
    Ok(())
}
