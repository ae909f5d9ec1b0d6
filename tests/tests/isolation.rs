//! Hosts side by side, one frozen, one that refuses, one far away and one healthy: the healthy one's objects behave as if it were alone, and
//! those that come back are in use at once, and the figures of each host are its own (rows 10 and 16 of the table of behaviours with many hosts).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]
#![allow(clippy::float_cmp, reason = "what is compared are counts, which are whole")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Far, Host, PATIENCE, Scenario, Stage, condition, eventually, manifest, quickest_of};

/// How many guests are made on a host at a time.
const GUESTS: usize = 10;
/// Patient, so that whoever had to wait for such a host would wait long: a quarter of a minute until it is known that it does not answer.
const CONNECTION: &str =
    r#"{"connectTimeout": "25s", "callTimeout": "25s", "keepaliveInterval": "5s", "keepaliveCount": 2}"#;
/// What a round trip to the far host takes.
const ROUND_TRIP: Duration = Duration::from_millis(200);

#[test]
fn row_16_with_one_host_frozen_one_refusing_and_one_slow_the_healthy_one_works_as_if_it_were_alone() -> Result<()> {
    let stage = Stage::start_unconfigured("isolated", &["--poll=10s"])?;
    let scenario = stage.scenario("isolated")?;
    let (frozen, refusing, slow) = (Host::start("frozen")?, Host::start("refusing")?, Far::start("slow")?);
    scenario.apply(&config("healthy", &stage.host().uri()))?;
    scenario.apply(&config("frozen", &frozen.uri()))?;
    scenario.apply(&config("refusing", &refusing.uri()))?;
    scenario.apply(&far_config("slow", &slow)?)?;
    for name in ["frozen", "refusing", "slow"] {
        scenario.apply(&guests(name, "before"))?;
    }
    scenario.await_all_ready(PATIENCE)?;
    let (usual, calls) = alone(&scenario)?;
    let healthy = ready_since(&scenario, "healthy")?;

    let end = AtomicBool::new(false);
    scope(|threads| -> Result<()> {
        let _end = End(&end);
        let watch = threads.spawn(|| unready(&stage, &end));
        frozen.freeze()?;
        refusing.kill_daemon()?;
        slow.tls.delay(ROUND_TRIP / 2);
        for name in ["frozen", "refusing", "slow"] {
            scenario.apply(&guests(name, "during"))?;
        }
        beside(&scenario, usual, calls)?;
        check_told(&scenario)?;
        check_up(&scenario, [("healthy", 1.0), ("slow", 1.0), ("frozen", 0.0), ("refusing", 0.0)])?;
        // It is far away, and that is all.
        scenario.await_ready(&names("slow-during").iter().map(String::as_str).collect::<Vec<_>>())?;
        assert_eq!(await_config(&scenario, "slow", ("True", "Available"))?, "");
        beside_again(&scenario, usual)?;
        check_back(&scenario, &frozen, &refusing)?;
        check_figures(&scenario)?;
        assert_eq!(ready_since(&scenario, "healthy")?, healthy, "nothing was ever said of the healthy host");
        end.store(true, Ordering::Release);
        assert_eq!(watch.join().expect("ask whether it is ready"), BTreeSet::new(), "/readyz said no");
        Ok(())
    })
}

/// What ten guests take and cost on the healthy host while all hosts are well.
fn alone(scenario: &Scenario<'_>) -> Result<(Duration, f64)> {
    let before = calls(scenario)?;
    let (usual, ()) = quickest_of(["alone-a", "alone-b", "alone-c"], |prefix| make(scenario, prefix))?;
    Ok((usual, calls(scenario)? - before))
}

/// The same while nobody knows yet that a host is frozen.
fn beside(scenario: &Scenario<'_>, usual: Duration, usual_calls: f64) -> Result<()> {
    let before = calls(scenario)?;
    let (best, ()) = quickest_of(["beside-a", "beside-b", "beside-c"], |prefix| make(scenario, prefix))?;
    assert!(best < 2 * usual + Duration::from_secs(5), "{best:?}, usually {usual:?}");
    let made = calls(scenario)? - before;
    // A poll or two more or less: one list of each kind, and the descriptions of what is there.
    assert!(made < 1.5 * usual_calls + 150.0, "{made} calls to its host, usually {usual_calls}");
    Ok(())
}

/// The same while it is known that they are away.
fn beside_again(scenario: &Scenario<'_>, usual: Duration) -> Result<()> {
    let (best, ()) = quickest_of(["later-a", "later-b", "later-c"], |prefix| make(scenario, prefix))?;
    assert!(best < 2 * usual + Duration::from_secs(5), "{best:?}, usually {usual:?}");
    Ok(())
}

fn make(scenario: &Scenario<'_>, prefix: &str) -> Result<()> {
    scenario.apply(&guests("healthy", prefix))?;
    let wanted = names(&format!("healthy-{prefix}"));
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let wait = [&["wait", "--for=condition=Ready", "--timeout=180s"], &names[..]].concat();
    scenario.namespace().kubectl(&wait).map(drop)
}

/// Both hosts are told to be away with the reason, and so are their objects, old and new.
fn check_told(scenario: &Scenario<'_>) -> Result<()> {
    let begin = Instant::now();
    let refused = await_config(scenario, "refusing", ("False", "ConnectionRefused"))?;
    let away = await_config(scenario, "frozen", ("False", "HostUnreachable"))?;
    println!("told of both {:?} after the others were done", begin.elapsed());
    assert!(refused.ends_with("Connection refused; start libvirt on the host"), "{refused}");
    let cure = "libvirt there is stopped or hangs: restart it, its guests go on meanwhile";
    let known = ["keepalive messages", "within 25 s"].map(|what| format!("the host did not answer {what}; {cure}"));
    assert!(known.contains(&away), "{away}");
    for object in [names("frozen-before"), names("frozen-during"), names("refusing-before"), names("refusing-during")] {
        for object in object {
            let (kind, name) = object.split_once('/').unwrap();
            scenario.await_object(kind, name, |object| {
                let (status, reason, message) = condition(object, "Synced")?;
                ensure!((status, reason) == ("False", "ReconcileError"), "{status} {reason}");
                ensure!(message.starts_with("connect failed: ProviderConfig "), "{message}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Hosts that are back are said to be so at once, and everything that was asked of them meanwhile is done.
fn check_back(scenario: &Scenario<'_>, frozen: &Host, refusing: &Host) -> Result<()> {
    frozen.thaw()?;
    let thawed = Instant::now();
    await_config(scenario, "frozen", ("True", "Available"))?;
    let thawed = thawed.elapsed();
    refusing.restart_daemon()?;
    let restarted = Instant::now();
    await_config(scenario, "refusing", ("True", "Available"))?;
    let restarted = restarted.elapsed();
    println!("back and said so: {thawed:?} after the frozen one went on, {restarted:?} after the other answered");
    // A second, and what a busy machine takes: attempts to connect alone would be five apart.
    assert!(thawed.min(restarted) < Duration::from_secs(3), "{thawed:?}, {restarted:?}");
    scenario.await_all_ready(PATIENCE)?;
    for host in [frozen, refusing] {
        assert_eq!(host.virsh(&["list", "--all", "--name"])?.split_whitespace().count(), 2 * GUESTS);
    }
    Ok(())
}

/// A figure of a host, of those that each has.
fn figure(scenario: &Scenario<'_>, figure: &str, host: &str) -> Result<f64> {
    let config = format!("ProviderConfig {}/{host}", scenario.namespace().name());
    let name = format!("provider_libvirt_host_{figure}{{host=\"{config}\"}}");
    scenario.stage().metrics()?.get(&name).copied().with_context(|| format!("find {name}"))
}

/// Whether each host is connected.
fn check_up(scenario: &Scenario<'_>, hosts: [(&str, f64); 4]) -> Result<()> {
    for (host, up) in hosts {
        assert_eq!(figure(scenario, "up", host)?, up, "{host}");
    }
    Ok(())
}

/// What each host has, and what happened to it, is counted under its own name once all of them are back.
fn check_figures(scenario: &Scenario<'_>) -> Result<()> {
    check_up(scenario, [("healthy", 1.0), ("slow", 1.0), ("frozen", 1.0), ("refusing", 1.0)])?;
    for (host, guests, was_away) in [
        ("healthy", 9 * GUESTS, false),
        ("slow", 2 * GUESTS, false),
        ("frozen", 2 * GUESTS, true),
        ("refusing", 2 * GUESTS, true),
    ] {
        let guests = f64::from(u32::try_from(guests)?);
        assert_eq!(figure(scenario, "mirror_objects", host)?, guests, "{host}");
        let reconnects = figure(scenario, "reconnects_total", host)?;
        assert_eq!(reconnects > 0.0, was_away, "{host} was connected anew {reconnects} times");
        // Libvirt tells of each definition, unless it is made while nobody listens.
        let events = figure(scenario, "events_total", host)?;
        assert!(events >= guests, "{host}: {events} events of {guests} guests");
    }
    Ok(())
}

/// What `/readyz` said but yes, until told to end.
fn unready(stage: &Stage, end: &AtomicBool) -> BTreeSet<String> {
    let mut said = BTreeSet::new();
    while !end.load(Ordering::Acquire) {
        match stage.health("/readyz") {
            Ok((200, _)) => {}
            Ok((status, body)) => drop(said.insert(format!("{status}: {body}"))),
            Err(error) => drop(said.insert(format!("{error:#}"))),
        }
        sleep(Duration::from_millis(50));
    }
    said
}

/// Ends the watch when it goes, whatever the reason.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

// ---- objects ----

fn config(name: &str, uri: &str) -> String {
    let connection: Value = serde_json::from_str(CONNECTION).expect("read the patience");
    let spec = json!({"uri": uri, "connection": connection});
    with_spec(name, &spec)
}

fn with_spec(name: &str, spec: &Value) -> String {
    let api = "libvirt.m.nourspeed.io/v1alpha1";
    let config = json!({"apiVersion": api, "kind": "ProviderConfig", "metadata": {"name": name}, "spec": spec});
    format!("---\n{config}\n")
}

fn far_config(name: &str, far: &Far) -> Result<String> {
    let own = far.pki.client("provider")?;
    let data = json!({"ca.crt": far.pki.authority, "tls.crt": own.certificate, "tls.key": own.key});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let credentials = json!({"source": "Secret", "secretRef": {"name": name}});
    Ok(format!("---\n{secret}\n") + &with_spec(name, &json!({"uri": far.tls_uri(), "credentials": credentials})))
}

fn guests(config: &str, prefix: &str) -> String {
    let placed = format!("spec: {{providerConfigRef: {{kind: ProviderConfig, name: {config}}}, ");
    let guest =
        |at| manifest("Domain", &format!("{config}-{prefix}-{at}"), "type: Qemu, memory: 32Mi, runStrategy: Halted");
    (0..GUESTS).map(guest).collect::<String>().replace("spec: {", &placed)
}

fn names(prefix: &str) -> Vec<String> {
    (0..GUESTS).map(|at| format!("domain/{prefix}-{at}")).collect()
}

fn object(scenario: &Scenario<'_>, name: &str) -> Result<Value> {
    scenario.namespace().get("providerconfig", name)?.with_context(|| format!("find config {name}"))
}

/// Waits until a config is so, and answers with what it says.
fn await_config(scenario: &Scenario<'_>, name: &str, wanted: (&str, &str)) -> Result<String> {
    eventually(PATIENCE, || {
        let config = object(scenario, name)?;
        let (status, reason, message) = condition(&config, "Ready")?;
        ensure!((status, reason) == wanted, "config {name}: {status} {reason}: {message}");
        Ok(message.to_owned())
    })
    .with_context(|| scenario.stage().log())
}

/// Since when a config is Ready.
fn ready_since(scenario: &Scenario<'_>, name: &str) -> Result<Value> {
    let config = object(scenario, name)?;
    let conditions = config["status"]["conditions"].as_array().context("read the conditions")?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").context("find Ready")?;
    assert_eq!(ready["status"], "True");
    Ok(ready["lastTransitionTime"].clone())
}

/// Calls to the healthy host so far.
fn calls(scenario: &Scenario<'_>) -> Result<f64> {
    let is_mine = |name: &str| name.starts_with("provider_libvirt_host_calls_total{") && name.contains("/healthy\"");
    Ok(scenario.stage().metrics()?.into_iter().filter(|(name, _)| is_mine(name)).map(|(_, count)| count).sum())
}
