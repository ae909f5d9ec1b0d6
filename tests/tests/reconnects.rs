//! Many hosts that go and come back at the same moment: tried apart, none of them often, and all in use again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::{Host, PATIENCE, Stage, eventually, is_true};

const DAEMONS: usize = 5;
/// So many configs lead to each of them, each over connections of its own.
const CONFIGS: usize = 10;
/// How long they are away: until pauses have grown to the longest, and three of these more.
const AWAY: Duration = Duration::from_secs(27);

#[test]
fn hosts_that_go_and_come_back_together_are_tried_apart_and_none_often() -> Result<()> {
    let stage = Stage::start_unconfigured("together", &["--poll=10m"])?;
    let hosts: Vec<Host> = (0..DAEMONS).map(|at| Host::start(&format!("together-{at}"))).collect::<Result<_>>()?;
    for (daemon, host) in hosts.iter().enumerate() {
        for config in 0..CONFIGS {
            stage.configure(&format!("c{daemon}-{config}"), &host.uri(), "")?;
        }
    }
    await_connected(&stage, DAEMONS * CONFIGS)?;
    for host in &hosts {
        host.kill_daemon()?;
    }
    let gone = Instant::now();
    await_connected(&stage, 0)?;

    let (mut before, mut most_at_once) = (attempts(&stage)?, 0);
    let first = before.clone();
    let watched = Instant::now();
    while gone.elapsed() < AWAY {
        sleep(Duration::from_millis(200));
        let now = attempts(&stage)?;
        // They went together, so the first of their growing pauses end close to each other.
        if gone.elapsed() > Duration::from_secs(10) {
            most_at_once =
                most_at_once.max(now.iter().filter(|(host, count)| before.get(*host) != Some(count)).count());
        }
        before = now;
    }
    let tried = |host: &String, count: &u64| count - first.get(host).unwrap_or(&0);
    let most = before.iter().map(|(host, count)| tried(host, count)).max().unwrap_or_default();
    println!("{most} attempts at most in {:?}, by {most_at_once} hosts at most within one look", watched.elapsed());
    // Pauses of half a second that double to five, and are a fifth shorter at most.
    assert!((3..=11).contains(&most), "{most} attempts: {before:?}");
    assert!(most_at_once <= DAEMONS * CONFIGS / 2, "{most_at_once} tried within one look, a fifth of a second");

    let begin = Instant::now();
    scope(|threads| -> Result<()> {
        let restarts: Vec<_> = hosts.iter().map(|host| threads.spawn(|| host.restart_daemon())).collect();
        restarts.into_iter().try_for_each(|restart| restart.join().expect("restart a daemon"))
    })?;
    await_connected(&stage, DAEMONS * CONFIGS)?;
    println!("all back {:?} after the first restart began", begin.elapsed());
    let after = attempts(&stage)?;
    let opened: Vec<u64> = after.iter().map(|(host, count)| count - before.get(host).unwrap_or(&0)).collect();
    // Two connections, and what was tried while the daemons were starting.
    assert!(opened.iter().all(|count| (2..=8).contains(count)), "{opened:?}");
    Ok(())
}

/// Waits until so many configs are Ready, and no more.
fn await_connected(stage: &Stage, wanted: usize) -> Result<()> {
    eventually(PATIENCE, || {
        let list: Value =
            serde_json::from_str(&stage.plane().kubectl(&["get", "clusterproviderconfigs", "-o", "json"])?)?;
        let ready = list["items"].as_array().into_iter().flatten().filter(|config| is_true(config, "Ready")).count();
        ensure!(ready == wanted, "{ready} are Ready, wanted {wanted}");
        Ok(())
    })
}

/// How often each host was asked for a connection.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and small")]
fn attempts(stage: &Stage) -> Result<BTreeMap<String, u64>> {
    let of = |name: &String| {
        name.starts_with("provider_libvirt_host_calls_total{") && name.contains("\"virConnectOpenAuth\"")
    };
    Ok(stage.metrics()?.into_iter().filter(|(name, _)| of(name)).map(|(name, count)| (name, count as u64)).collect())
}
