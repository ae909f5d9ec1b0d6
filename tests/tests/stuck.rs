//! A call that is stuck in QEMU on a real host: one call at most waits for that guest however often its object changes, and nobody else does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]
#![allow(clippy::float_cmp, reason = "what is compared are counts, which are whole")]

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use tests::{Host, PATIENCE, Scenario, Stage, condition, eventually, manifest, signal};

/// How often the object of the stuck guest is edited.
const EDITS: u64 = 6;

/// Lets the guest go on when it goes, whatever the reason.
struct Stopped(u32);

impl Stopped {
    /// Stops the QEMU of a guest where it stands.
    fn stop(host: &Host, guest: &str) -> Result<Self> {
        let word = format!("guest={guest},");
        let is_its =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&word));
        let pid = host.pids("qemu-system-x86")?.into_iter().find(is_its).context("find the guest's QEMU")?;
        signal(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may be gone by then.
        let _ = signal(self.0, Signal::CONT);
    }
}

#[test]
fn a_guest_whose_qemu_hangs_holds_up_one_call_and_nobody_else_and_goes_on_when_that_does() -> Result<()> {
    let stage = Stage::start_unconfigured("stuck", &["--poll=1s"])?;
    let scenario = stage.scenario("stuck")?;
    stage.configure("default", &stage.host().uri(), "callTimeout: 3s, keepaliveInterval: 1s, keepaliveCount: 3")?;
    scenario.apply(&(scenario.pool() + &guest(&scenario, "stuck") + &guest(&scenario, "beside")))?;
    scenario.await_all_ready(PATIENCE)?;
    await_calm(&scenario, 0)?;

    let stopped = Stopped::stop(scenario.host(), "stuck")?;
    limit(&scenario, "stuck", 100)?;
    await_calm(&scenario, 1)?;
    let asked = tunings(&scenario)?;
    for edit in 1..=EDITS {
        limit(&scenario, "stuck", 100 + edit)?;
        limit(&scenario, "beside", 100 + edit)?;
        await_limit(&scenario, "beside", 100 + edit)?;
        // Polls and events come meanwhile too.
        sleep(Duration::from_secs(1));
        await_calm(&scenario, 1)?;
    }
    let beside = tunings(&scenario)? - asked;
    assert_eq!(beside, number(EDITS), "each edit of the other guest is one call, and those of the stuck one are none");
    check_others(&scenario)?;
    assert!(figure(&scenario, "quarantined")? <= 1.0, "objects with an unanswered call");

    drop(stopped);
    await_limit(&scenario, "stuck", 100 + EDITS)?;
    scenario.await_all_ready(PATIENCE)?;
    await_calm(&scenario, 0)?;
    assert_eq!(figure(&scenario, "quarantined")?, 0.0);
    assert_eq!(figure(&scenario, "reconnects")?, 0.0, "nobody took the host for lost");
    scenario.clear()
}

// As many as there are threads for calls that last, on a host whose storage hangs: after a minute they are given up, and others take over.
#[test]
fn as_many_guests_that_hang_as_there_are_threads_hold_up_the_others_for_a_minute_and_not_for_good() -> Result<()> {
    let stage = Stage::start_unconfigured("several", &["--poll=1s"])?;
    let scenario = stage.scenario("several")?;
    stage.configure("default", &stage.host().uri(), "callTimeout: 3s, keepaliveInterval: 1s, keepaliveCount: 3")?;
    let names = ["one", "two", "three", "beside"];
    scenario.apply(&(scenario.pool() + &names.map(|name| guest(&scenario, name)).concat()))?;
    scenario.await_all_ready(PATIENCE)?;
    let stopped = names[..3].iter().map(|name| Stopped::stop(scenario.host(), name)).collect::<Result<Vec<_>>>()?;
    for name in &names[..3] {
        limit(&scenario, name, 100)?;
    }
    await_calm(&scenario, 3)?;
    limit(&scenario, "beside", 100)?;
    let begin = Instant::now();
    await_limit(&scenario, "beside", 100)?;
    println!("another guest was changed {:?} after its edit", begin.elapsed());
    eventually(PATIENCE, || {
        let quarantined = figure(&scenario, "quarantined")?;
        ensure!(quarantined == 3.0, "{quarantined} objects with an unanswered call");
        Ok(())
    })?;
    // None of them takes another worker, and none takes another thread from the rest.
    for edit in 1..=3 {
        for name in names {
            limit(&scenario, name, 100 + edit)?;
        }
        await_limit(&scenario, "beside", 100 + edit)?;
        await_calm(&scenario, 3)?;
    }
    scenario.await_object("domain", "one", |domain| {
        let (status, _, message) = condition(domain, "Synced")?;
        let waits = "is still waiting for a call that libvirt has not answered";
        ensure!(status == "False" && message.ends_with(waits), "{message}");
        Ok(())
    })?;

    drop(stopped);
    for name in names {
        await_limit(&scenario, name, 103)?;
    }
    scenario.await_all_ready(PATIENCE)?;
    await_calm(&scenario, 0)?;
    assert_eq!(figure(&scenario, "quarantined")?, 0.0);
    scenario.clear()
}

/// A guest that comes, an edit and a guest that goes, while another one is stuck.
fn check_others(scenario: &Scenario<'_>) -> Result<()> {
    scenario.apply(&guest(scenario, "late"))?;
    scenario.await_ready(&["volume/late", "domain/late"])?;
    scenario.delete(&["domain/late"])?;
    scenario.await_gone(&["domain/late"])?;
    scenario.await_ready(&["domain/beside"])?;
    let config = scenario.stage().plane().client().get(&["clusterproviderconfig", "default"])?;
    assert_eq!(condition(&config.context("find the config")?, "Ready")?, ("True", "Available", ""));
    await_calm(scenario, 1)
}

/// A guest with a disk of its own, whose speed is limited.
fn guest(scenario: &Scenario<'_>, name: &str) -> String {
    let parameters = "type: Qemu, memory: 32Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
    let disks =
        format!("disks: [{{name: root, volumeRef: {{name: {name}}}, ioTune: {{iopsPerSecond: {{total: 50}}}}}}]");
    scenario.volume(name, "capacity: 1Mi") + &manifest("Domain", name, &format!("{parameters}, {disks}"))
}

fn limit(scenario: &Scenario<'_>, guest: &str, speed: u64) -> Result<()> {
    let disk = json!({"name": "root", "volumeRef": {"name": guest}, "ioTune": {"iopsPerSecond": {"total": speed}}});
    scenario.change("domain", guest, &json!({"disks": [disk]})).map(drop)
}

/// Waits until a running guest has this limit.
fn await_limit(scenario: &Scenario<'_>, guest: &str, speed: u64) -> Result<()> {
    let wanted = format!("<total_iops_sec>{speed}</total_iops_sec>");
    eventually(PATIENCE, || {
        let seen = scenario.host().virsh(&["dumpxml", guest, "--xpath", "//iotune/total_iops_sec"])?;
        ensure!(seen.trim() == wanted, "{guest}: {seen}; {:#}", scenario.object("domain", guest)?["status"]);
        Ok(())
    })
    .with_context(|| scenario.stage().log())
}

/// Waits until so many calls are under way, no more, for the provider as for the daemon: each takes one of its workers.
fn await_calm(scenario: &Scenario<'_>, wanted: u32) -> Result<()> {
    eventually(PATIENCE, || {
        let (calls, busy) = (figure(scenario, "calls_in_flight")?, busy_workers(scenario.host())?);
        ensure!((calls, busy) == (f64::from(wanted), wanted), "{calls} calls, {busy} busy workers, wanted {wanted}");
        Ok(())
    })
    .with_context(|| scenario.stage().log())
}

/// How many workers of the daemon serve a call. The one that tells so is of another server.
fn busy_workers(host: &Host) -> Result<u32> {
    let admin = format!("libvirtd:///system?socket={}", host.path("run/libvirt-admin-sock").display());
    let info = host.run("virt-admin", &["-q", "-c", &admin, "srv-threadpool-info", "libvirtd"])?;
    let field = |name: &str| -> Result<u32> {
        let line = info.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("read {name}"))?;
        line.trim_start_matches([' ', ':']).trim().parse().context("read a number of workers")
    };
    Ok(field("nWorkers")?.saturating_sub(field("freeWorkers")?))
}

/// A figure of the host.
fn figure(scenario: &Scenario<'_>, name: &str) -> Result<f64> {
    let samples = scenario.stage().metrics()?;
    let total = if name == "reconnects" { "_total" } else { "" };
    let name = format!("provider_libvirt_host_{name}{total}{{host=\"ClusterProviderConfig default\"}}");
    samples.get(&name).copied().with_context(|| format!("find {name}"))
}

/// How many times a limit was set on a running guest.
fn tunings(scenario: &Scenario<'_>) -> Result<f64> {
    let samples = scenario.stage().metrics()?;
    let of = |name: &str| {
        name.starts_with("provider_libvirt_host_calls_total{") && name.contains("\"virDomainSetBlockIoTune\"")
    };
    Ok(samples.into_iter().filter(|(name, _)| of(name)).map(|(_, count)| count).sum())
}

fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
