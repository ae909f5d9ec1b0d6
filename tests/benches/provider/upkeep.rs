//! What domains cost that are as wished, and what a change of many of them costs.
//!
//! The domains are of libvirt's test driver, so what is measured is the provider's own.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests::{Namespace, Provider, eventually};

use crate::{
    ready::{Column, Watch},
    stage::{Driver, Stage},
};

/// How many domains rest.
const RESTING: u16 = 1000;
/// How many are applied at once.
const BATCH: u16 = 250;
const POLL: Duration = Duration::from_secs(10);
/// How many polls are measured.
const POLLS: u16 = 5;
/// How many domains are changed at once.
const CHANGED: u16 = 200;
const PATIENCE: Duration = Duration::from_mins(5);
/// How many ticks the kernel counts in a second of a process (`sysconf(_SC_CLK_TCK)`, the same on every Linux).
pub(crate) const TICKS: f64 = 100.0;

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    rest(stage)?;
    change(stage)
}

/// A poll of many domains of which none is to be changed.
fn rest(stage: &Stage) -> Result<()> {
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--poll=10s", "--no-leader-election"])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    let mut watch = Watch::start(&namespace, stage, Column::Ready)?;
    for part in 0..RESTING / BATCH {
        namespace.apply(&Driver::Test.domains(&format!("resting-{part}"), usize::from(BATCH)))?;
    }
    watch.until(usize::from(RESTING))?;
    std::thread::sleep(POLL * 5 / 2);
    let (ticks, calls, writes) = (cpu(&provider)?, calls(&provider)?, writes(&provider)?);
    std::thread::sleep(POLL * u32::from(POLLS));
    let each = |spent: f64| spent / f64::from(POLLS);
    let seconds = each((cpu(&provider)? - ticks) / TICKS);
    let verdict = if seconds < 0.5 { "met" } else { "MISSED" };
    println!("A poll of {RESTING} domains that are as wished, test driver, the mean of {POLLS}");
    println!("  processor time of the provider                {seconds:>9.2} s   (goal, below 0.5 s: {verdict})");
    println!("  calls to libvirt                              {:>9.1}", each(calls_since(&provider, &calls)?));
    let written = self::writes(&provider)? - writes;
    let verdict = if written < 1.0 { "met" } else { "MISSED" };
    println!("  writes to the API server                      {:>9.1}     (goal, none: {verdict})\n", each(written));
    remove(&namespace, &provider)
}

/// A change of many domains at once.
fn change(stage: &Stage) -> Result<()> {
    let mut provider = Provider::start(&stage.plane.kubeconfig(), &["--poll=1h", "--no-leader-election"])?;
    provider.await_ready()?;
    let namespace = Namespace::create(&stage.plane.client())?;
    let mut watch = Watch::start(&namespace, stage, Column::Ready)?;
    let made = Driver::Test.domains("changed", usize::from(CHANGED));
    namespace.apply(&made)?;
    watch.until(usize::from(CHANGED))?;
    let (calls, writes, begin) = (calls(&provider)?, writes(&provider)?, std::time::Instant::now());
    namespace.apply(&made.replace("vcpus: 1", "vcpus: 1, maxVcpus: 2"))?;
    eventually(PATIENCE, || {
        let generations =
            namespace.kubectl(&["get", "domains", "-o=jsonpath={.items[*].status.observedGeneration}"])?;
        let done = generations.split_whitespace().filter(|generation| *generation == "2").count();
        ensure!(done == usize::from(CHANGED), "{done} of {CHANGED} are changed");
        Ok(())
    })
    .with_context(|| provider.log())?;
    let took = begin.elapsed();
    let each = |spent: f64| spent / f64::from(CHANGED);
    let cost = each(calls_since(&provider, &calls)?);
    let verdict = if cost <= 3.0 { "met" } else { "MISSED" };
    println!("{CHANGED} domains changed at once, test driver");
    println!("  from the begin of kubectl apply until all are {:>9.1} s", took.as_secs_f64());
    println!("  calls to libvirt for each                     {cost:>9.2}     (goal, at most 3: {verdict})");
    println!("  of which {}", shares(&provider, &calls)?);
    println!("  writes to the API server for each             {:>9.2}\n", each(self::writes(&provider)? - writes));
    remove(&namespace, &provider)
}

fn remove(namespace: &Namespace, provider: &Provider) -> Result<()> {
    namespace
        .kubectl(&["delete", "domains", "--all", "--timeout=600s"])
        .with_context(|| format!("delete the domains; the provider's log:\n{}", provider.log()))?;
    Ok(())
}

/// Ticks of processor time that the provider has used, in its own code and in the kernel's (`proc(5)`, fields 14 and 15 of `stat`).
pub(crate) fn cpu(provider: &Provider) -> Result<f64> {
    let file = format!("/proc/{}/stat", provider.pid());
    let text = fs::read_to_string(Path::new(&file)).with_context(|| format!("read {file}"))?;
    let (_, fields) = text.rsplit_once(')').context("find the end of the name")?;
    let field = |at: usize| fields.split_whitespace().nth(at).and_then(|field| field.parse::<f64>().ok());
    Ok(field(11).context("find the time in its own code")? + field(12).context("find the time in the kernel")?)
}

/// Calls to libvirt so far, by name.
fn calls(provider: &Provider) -> Result<BTreeMap<String, f64>> {
    let samples = provider.metrics()?;
    Ok(samples.into_iter().filter(|(name, _)| name.starts_with("provider_libvirt_host_calls_total{")).collect())
}

fn calls_since(provider: &Provider, before: &BTreeMap<String, f64>) -> Result<f64> {
    Ok(calls(provider)?.values().sum::<f64>() - before.values().sum::<f64>())
}

/// The calls since then for each changed domain, the most frequent first.
fn shares(provider: &Provider, before: &BTreeMap<String, f64>) -> Result<String> {
    let name =
        |sample: &str| sample.split("call=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("?").to_owned();
    let mut shares: Vec<(String, f64)> = calls(provider)?
        .into_iter()
        .map(|(sample, count)| {
            (name(&sample), (count - before.get(&sample).copied().unwrap_or(0.0)) / f64::from(CHANGED))
        })
        .filter(|(_, share)| *share > 0.0)
        .collect();
    shares.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(shares.iter().map(|(name, share)| format!("{name} {share:.2}")).collect::<Vec<_>>().join(", "))
}

/// Requests to the API server so far that change something.
fn writes(provider: &Provider) -> Result<f64> {
    let samples = provider.metrics()?;
    let is_write =
        |name: &str| ["PATCH", "POST", "PUT", "DELETE"].iter().any(|method| name.contains(&format!("\"{method}\"")));
    Ok(samples
        .iter()
        .filter(|(name, _)| name.starts_with("rest_client_requests_total") && is_write(name))
        .map(|(_, count)| count)
        .sum())
}
