//! When everything is as wished, nothing is written, and libvirt is asked as little as promised: proved from counters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tests::{Manners, PATIENCE, Scenario, Stage, eventually, guest_files, manifest};

type Counts = BTreeMap<String, u64>;

/// What one poll of the host costs with the objects of [`apply_set`]: lists, one description an object, leases.
/// Of the lists, domains have two (states, autostart), networks and pools three each (all, active, autostart).
const PER_POLL: [(&str, u64); 10] = [
    ("virConnectGetAllDomainStats", 1),
    ("virConnectListAllDomains", 1),
    ("virConnectListAllNetworks", 3),
    ("virConnectListAllStoragePools", 3),
    ("virDomainGetXMLDesc", 1),
    ("virNetworkGetDHCPLeases", 1),
    ("virNetworkGetXMLDesc", 1),
    ("virStoragePoolGetXMLDesc", 1),
    ("virStoragePoolListAllVolumes", 1),
    ("virStorageVolGetXMLDesc", 3),
];

#[test]
fn ten_polls_write_nothing_and_cost_what_was_promised() -> Result<()> {
    let stage = Stage::start("quiet", &["--poll=1s"])?;
    let scenario = stage.scenario("quiet")?;
    apply_set(&scenario)?;
    await_quiet(&scenario)?;

    let (begin, before, written) = (Instant::now(), calls_at_rest(&scenario)?, writes(&scenario)?);
    sleep(Duration::from_secs(10));
    let (after, spent) = (calls_at_rest(&scenario)?, begin.elapsed());
    assert_eq!(difference(&written, &writes(&scenario)?), Counts::new(), "writes to Kubernetes");

    let calls = difference(&before, &after);
    let polls = calls.get("virConnectGetAllDomainStats").copied().unwrap_or_default();
    // A poll comes after 0.8 to 1 s and what it takes itself; with a neighbour on the machine that may be long.
    let most = u64::try_from(spent.as_millis() / 800)? + 1;
    assert!((5..=most).contains(&polls), "{polls} polls in {spent:?}");
    let promised: Counts = PER_POLL.iter().map(|(call, count)| ((*call).to_owned(), count * polls)).collect();
    assert_eq!(calls, promised, "calls of {polls} polls");
    let passes = passes(&scenario)?;
    assert!(passes > 6 * 5, "the objects were gone through, not asleep: {passes}");
    Ok(())
}

#[test]
fn between_polls_libvirt_is_not_called_and_nothing_is_written() -> Result<()> {
    let stage = Stage::start("still", &["--poll=20s"])?;
    let scenario = stage.scenario("still")?;
    apply_set(&scenario)?;
    await_quiet(&scenario)?;
    // The next poll, and then 12 s of the at least 16 s until the one after it.
    let before = calls(&scenario)?;
    eventually(PATIENCE, || {
        ensure!(calls(&scenario)? != before, "no poll yet");
        Ok(())
    })?;
    let (before, written) = (calls_at_rest(&scenario)?, writes(&scenario)?);
    sleep(Duration::from_secs(12));
    assert_eq!(difference(&before, &calls(&scenario)?), Counts::new(), "calls between polls");
    assert_eq!(difference(&written, &writes(&scenario)?), Counts::new(), "writes to Kubernetes");
    Ok(())
}

/// One of each kind, and a running guest that has its address: a guest that still waits for one is asked about more often.
fn apply_set(scenario: &Scenario<'_>) -> Result<()> {
    let source = scenario.stage().image(&guest_files()?.disk, Manners::Good)?;
    let objects = [
        manifest("Pool", "q-pool", &format!("target: {{path: {}}}", scenario.host().path("q-pool").display())),
        manifest("Volume", "q-base", &format!("poolRef: {{name: q-pool}}, format: Qcow2, {source}")),
        manifest(
            "Volume",
            "q-root",
            "poolRef: {name: q-pool}, format: Qcow2, capacity: 1Gi, backingStore: {volumeRef: {name: q-base}}",
        ),
        manifest(
            "Network",
            "q-net",
            "mode: Nat, ips: [{cidr: 192.168.151.1/24, dhcp: {ranges: [{start: 192.168.151.10, end: 192.168.151.99}]}}]",
        ),
        manifest("CloudInit", "q-seed", "poolRef: {name: q-pool}, userData: {inline: 'x'}"),
        manifest(
            "Domain",
            "q-guest",
            "type: Qemu, memory: 128Mi, vcpus: 1, disks: [{name: root, volumeRef: {name: q-root}, bootOrder: 1}], \
             networkInterfaces: [{name: lan, networkRef: {name: q-net}}], cloudInitRef: {name: q-seed}, \
             consoles: [{name: serial, log: true}], rng: {}",
        ),
    ];
    scenario.apply(&objects.concat()).map(drop)
}

/// Waits until all is Ready, the guest has its address, and nothing has been written for two seconds.
fn await_quiet(scenario: &Scenario<'_>) -> Result<()> {
    scenario.await_all_ready(2 * PATIENCE)?;
    eventually(2 * PATIENCE, || {
        let guest = scenario.object("domain", "q-guest")?;
        let ip = guest["status"]["atProvider"]["addresses"][0]["ip"].as_str().unwrap_or_default();
        ensure!(ip.starts_with("192.168.151."), "the guest has no address yet");
        Ok(())
    })?;
    eventually(PATIENCE, || {
        let before = writes(scenario)?;
        sleep(Duration::from_secs(2));
        let more = difference(&before, &writes(scenario)?);
        ensure!(more.is_empty(), "still writing: {more:?}");
        Ok(())
    })
}

/// What has grown, and by how much.
fn difference(before: &Counts, after: &Counts) -> Counts {
    let grown = after.iter().map(|(name, count)| (name.clone(), count - before.get(name).copied().unwrap_or_default()));
    grown.filter(|(_, more)| *more > 0).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and small")]
fn count(value: f64) -> u64 {
    value as u64
}

/// The value of a label in a sample's name.
fn label<'a>(sample: &'a str, name: &str) -> Option<&'a str> {
    sample.split_once(&format!("{name}=\""))?.1.split_once('"').map(|(value, _)| value)
}

/// Calls to libvirt by function.
fn calls(scenario: &Scenario<'_>) -> Result<Counts> {
    let samples = scenario.stage().metrics()?;
    let calls = samples.iter().filter(|(name, _)| name.starts_with("provider_libvirt_host_calls_total{"));
    Ok(calls.filter_map(|(name, value)| Some((label(name, "call")?.to_owned(), count(*value)))).collect())
}

/// The same at a moment when no poll is under way: a poll is over in a few milliseconds.
fn calls_at_rest(scenario: &Scenario<'_>) -> Result<Counts> {
    eventually(PATIENCE, || {
        let first = calls(scenario)?;
        sleep(Duration::from_millis(250));
        let second = calls(scenario)?;
        ensure!(first == second, "a poll is under way");
        Ok(second)
    })
}

fn passes(scenario: &Scenario<'_>) -> Result<u64> {
    let samples = scenario.stage().metrics()?;
    let passes = samples.iter().filter(|(name, _)| name.starts_with("controller_runtime_reconcile_total{"));
    Ok(passes.map(|(_, value)| count(*value)).sum())
}

/// Writes that the API server has seen of our kinds and of events, and requests of the provider that are no reads.
///
/// Renewals of the leader's Lease do not count: a Lease is a sign of life, written whether or not there is anything to do, and no
/// watcher of our kinds sees it. They are the provider's only PUTs, since everything else is created or patched; a PUT of one of
/// our kinds would still be seen here, in the server's figures.
fn writes(scenario: &Scenario<'_>) -> Result<Counts> {
    let mut writes = Counts::new();
    let text = scenario.stage().plane().kubectl(&["get", "--raw", "/metrics"])?;
    for (name, value) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
        let ours = label(name, "group") == Some("libvirt.m.nourspeed.io") || label(name, "resource") == Some("events");
        let verb = label(name, "verb").unwrap_or_default();
        if name.starts_with("apiserver_request_total{") && ours && !["GET", "LIST", "WATCH"].contains(&verb) {
            let resource = label(name, "resource").unwrap_or_default();
            *writes.entry(format!("server: {verb} {resource}")).or_default() += count(value.parse()?);
        }
    }
    for (name, value) in scenario.stage().metrics()? {
        let method = label(&name, "method").unwrap_or_default();
        if name.starts_with("rest_client_requests_total{") && !["GET", "PUT"].contains(&method) {
            writes.insert(format!("client: {name}"), count(value));
        }
    }
    ensure!(writes.keys().any(|name| name.starts_with("server")), "the API server counts no writes at all");
    ensure!(writes.keys().any(|name| name.starts_with("client")), "the provider counts no writes at all");
    Ok(writes)
}
