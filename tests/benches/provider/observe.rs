//! What it costs to look at a host with a thousand domains: when it is connected, and at each poll after that.
//!
//! The part of the provider that keeps hosts does it here by itself, over one connection to the daemon, without API server and objects.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libvirt::{Call, CallCount, Claim, Endpoint, Host, Hosts, Kept, Key, LaneKind, Settings};
use tests::eventually;
use tokio::runtime::Runtime;

use crate::stage::{Driver, Stage, count_of};

const DOMAINS: u32 = 1000;
const POLL: Duration = Duration::from_secs(3);
const POLLS: u32 = 5;
const PATIENCE: Duration = Duration::from_mins(5);
/// What connecting to it all is to take.
const GOAL: Duration = Duration::from_millis(500);

/// Measures and prints.
pub(crate) fn measure(stage: &Stage) -> Result<()> {
    let count = count_of("OBSERVE_DOMAINS", DOMAINS)?;
    for driver in [Driver::Test, Driver::Qemu] {
        let runtime = Runtime::new().context("start a runtime")?;
        runtime.block_on(async { observe(stage, driver, count).await })?;
    }
    Ok(())
}

async fn observe(stage: &Stage, driver: Driver, count: u32) -> Result<()> {
    let names = || (0..count).map(|number| format!("observed-{number}"));
    let hosts = Hosts::new();
    let endpoint = Endpoint::parse(&stage.uri(driver))?;
    let start = |how: &str, poll| {
        let key = Key { who: driver.name().to_owned(), how: how.to_owned() };
        hosts.get(&key, &endpoint, &Settings { poll, ..Settings::default() })
    };
    let maker = start("maker", Duration::from_hours(1))?;
    maker.facts().await?;
    for name in names() {
        let text = description(driver, &name);
        maker.call(LaneKind::Short, &name, PATIENCE, move |host| host.define_domain(&text, false)?.uuid()).await?;
    }

    let begin = Instant::now();
    let host = start("observer", POLL)?;
    for name in names() {
        host.mirror().claim(Claim::Domain(name.clone()), &name);
    }
    host.facts().await?;
    let connected = begin.elapsed();
    while !host.mirror().synced() {
        ensure!(begin.elapsed() < PATIENCE, "the mirror is not complete");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let whole = begin.elapsed().saturating_sub(connected);
    let first = host.counters().calls();
    println!("{count} domains of libvirt's {} driver, all of them claimed, local socket", driver.name());
    let verdict = if whole < GOAL { "met" } else { "MISSED" };
    println!(
        "  all of them read, once connected              {:>9.1} ms  (goal, below {GOAL:?}: {verdict})",
        millis(whole)
    );
    println!("  calls meanwhile: {}", shares(&first, 1));
    polls(&host, count).await?;

    for name in names() {
        let mine = name.clone();
        let removed = move |host: &libvirt::Connection| match host.find_domain_by_name(&mine)? {
            Some(domain) => domain.undefine(Kept::default()),
            None => Ok(()),
        };
        maker.call(LaneKind::Short, &name, PATIENCE, removed).await?;
    }
    Ok(())
}

/// What a poll costs where nothing has changed.
async fn polls(host: &Host, count: u32) -> Result<()> {
    // One that has begun ends, and the first after the connection may read more than later ones.
    tokio::time::sleep(2 * POLL).await;
    let lists = || host.counters().of(Call::DomainStates).count + host.counters().of(Call::DomainList).count;
    let (before, begin, listed) = (host.counters().calls(), Instant::now(), lists());
    tokio::time::sleep(POLL * POLLS).await;
    eventually(PATIENCE, || {
        ensure!(host.counters().in_flight() == 0, "a poll is under way");
        Ok(())
    })?;
    let spent = since(&before, &host.counters().calls());
    let polls = host.counters().of(Call::DomainStates).count
        - before.iter().find(|line| line.call == Call::DomainStates).map_or(0, |line| line.count);
    let polls = u32::try_from(polls.max(1))?;
    let time: Duration = spent.iter().map(|line| line.time).sum();
    let calls: u64 = spent.iter().map(|line| line.count).sum();
    let each = f64::from(u32::try_from(calls)?) / f64::from(polls);
    let verdict = if time / polls < GOAL { "met" } else { "MISSED" };
    println!(
        "  a poll, in calls, the mean of {polls} in {:>3.0} s       {:>9.1} ms  (goal, below {GOAL:?}: {verdict})",
        begin.elapsed().as_secs_f64(),
        millis(time / polls)
    );
    let verdict = if each <= 3.0 { "met" } else { "MISSED: most edits of a definition come without an event" };
    println!(
        "  calls for it {each:.1}, {:.1} but for one description of each domain (goal, at most 3: {verdict})",
        each - f64::from(count).min(each)
    );
    println!("  of which {}; lists of domains {}\n", shares(&spent, polls), lists() - listed);
    Ok(())
}

fn since(before: &[CallCount], now: &[CallCount]) -> Vec<CallCount> {
    let known = |call| before.iter().find(|line| line.call == call).copied();
    let less = |line: &CallCount| {
        let known = known(line.call);
        CallCount {
            count: line.count - known.map_or(0, |known| known.count),
            time: line.time.saturating_sub(known.map_or(Duration::ZERO, |known| known.time)),
            ..*line
        }
    };
    now.iter().map(less).filter(|line| line.count > 0).collect()
}

fn shares(calls: &[CallCount], by: u32) -> String {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|line| std::cmp::Reverse(line.count));
    let share = |line: &CallCount| {
        format!("{} {:.1}", line.call.name(), f64::from(u32::try_from(line.count).unwrap_or(u32::MAX)) / f64::from(by))
    };
    calls.iter().map(share).collect::<Vec<_>>().join(", ")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn description(driver: Driver, name: &str) -> String {
    let kind = driver.name();
    format!(
        "<domain type='{kind}'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
    )
}
