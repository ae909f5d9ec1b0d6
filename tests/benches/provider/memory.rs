//! Resident memory with nothing to do, and with a thousand domains.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use tests::{Namespace, Provider};

use crate::{
    ready::{Column, Watch},
    stage::{Driver, Stage, kib},
};

const COUNT: u16 = 1000;
const POLL: Duration = Duration::from_secs(10);

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--poll=10s"])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    std::thread::sleep(POLL / 2);
    let empty = Resident::of(&provider)?;
    let mut watch = Watch::start(&namespace, stage, Column::Ready)?;
    namespace.apply(&Driver::Test.domains("object", usize::from(COUNT)))?;
    watch.until(usize::from(COUNT))?;
    let busy = Resident::of(&provider)?;
    // Everything has been polled twice, so buffers of the poll are part of it.
    std::thread::sleep(POLL * 5 / 2);
    let full = Resident::of(&provider)?;
    println!("Resident memory, test driver in a daemon      {:>9} {:>9} {:>9}", "VmRSS", "RssAnon", "PSS");
    for (what, resident, goal) in [
        ("0 domains", &empty, "(goal: VmRSS below 30 MiB)"),
        ("1000 domains, at the last one's Ready", &busy, ""),
        ("1000 domains, two polls later", &full, ""),
    ] {
        println!("  {what:<43} {} {goal}", resident.mib());
    }
    println!("  {:<43} {} (goal: below 5 KiB)\n", "each domain", full.each(&empty, f64::from(COUNT)));
    Ok(())
}

/// A process's memory in KiB.
pub(crate) struct Resident([u64; 3]);

impl Resident {
    pub(crate) fn of(provider: &Provider) -> Result<Self> {
        let folder = PathBuf::from(format!("/proc/{}", provider.pid()));
        let (status, maps) = (folder.join("status"), folder.join("smaps_rollup"));
        Ok(Self([kib(&status, "VmRSS")?, kib(&status, "RssAnon")?, kib(&maps, "Pss")?]))
    }

    pub(crate) fn mib(&self) -> String {
        let Self(figures) = self;
        figures.map(|figure| format!("{:>5.1} MiB", number(figure) / 1024.0)).join(" ")
    }

    pub(crate) fn each(&self, empty: &Self, count: f64) -> String {
        let [first, second, third] = std::array::from_fn(|which| self.0[which].saturating_sub(empty.0[which]));
        [first, second, third].map(|figure| format!("{:>5.1} KiB", number(figure) / count)).join(" ")
    }
}

/// KiB as a number to divide; four TiB is more than any process here has.
pub(crate) fn number(figure: u64) -> f64 {
    f64::from(u32::try_from(figure).unwrap_or(u32::MAX))
}
