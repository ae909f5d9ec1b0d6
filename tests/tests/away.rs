//! Many objects whose host is away, and a line to a host that is silent or cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    collections::BTreeMap,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Far, PATIENCE, Scenario, Stage, condition, eventually, manifest};

/// How many objects are away.
const MANY: usize = 300;
const QUICK: &str = "connectTimeout: 5s, callTimeout: 5s, keepaliveInterval: 1s, keepaliveCount: 3";

#[test]
fn many_objects_whose_host_is_away_say_so_once_and_cost_nothing_until_it_is_back() -> Result<()> {
    let stage = Stage::start_unconfigured("many", &["--poll=5s"])?;
    stage.configure("default", &stage.host().uri(), QUICK)?;
    let scenario = stage.scenario("many")?;
    let guest = |at| manifest("Domain", &format!("away-{at}"), "type: Qemu, memory: 32Mi, runStrategy: Halted");
    scenario.apply(&(0..MANY).map(guest).collect::<String>())?;
    await_synced(&stage, MANY, 3 * PATIENCE)?;

    let before = writes(&stage)?;
    scenario.host().kill_daemon()?;
    await_synced(&stage, 0, 2 * PATIENCE)?;
    // What was still on its way when the last had said so.
    sleep(Duration::from_secs(10));
    let (told, memory) = (writes(&stage)?, resident(&stage)?);
    // A status and an event for each, and what the config says.
    let cost = told - before;
    let limit = 2.0 * number(MANY) + 30.0;
    assert!(cost <= limit, "{cost} writes to say that {MANY} objects are away: {:#?}", sentences(&scenario)?);
    // Six polls, and some dozen attempts to connect.
    sleep(Duration::from_secs(30));
    let more = writes(&stage)? - told;
    assert!(more <= number(MANY) / 20.0, "{more} writes while nothing changed");
    let grown = resident(&stage)?.saturating_sub(memory);
    assert!(grown < 8 * 1024, "{grown} KiB more than half a minute before");

    scenario.host().restart_daemon()?;
    let begin = Instant::now();
    await_synced(&stage, MANY, 2 * PATIENCE)?;
    println!(
        "{MANY} objects in step {:?} after the host was back, {cost} writes to say that it was away",
        begin.elapsed()
    );
    assert_eq!(scenario.host().virsh(&["list", "--all", "--name"])?.split_whitespace().count(), MANY);
    let defined = calls(&stage, "virDomainDefineXML")?;
    assert!(defined <= number(MANY), "{defined} definitions of {MANY} guests: none is made again");
    Ok(())
}

#[test]
fn a_line_that_is_silent_or_cut_is_noticed_and_used_again_when_it_is_mended() -> Result<()> {
    let stage = Stage::start_unconfigured("line", &["--poll=5s"])?;
    let (scenario, far) = (stage.scenario("line")?, Far::start("line-far")?);
    let own = far.pki.client("provider")?;
    scenario.apply(&config(&far, &own))?;
    let guest = |name| {
        on(&manifest("Domain", name, "type: Qemu, memory: 32Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}"))
    };
    scenario.apply(&guest("kept"))?;
    scenario.await_all_ready(PATIENCE)?;
    let id = far.host.virsh(&["domid", "kept"])?;
    for (name, silent) in [("silent", true), ("cut", false)] {
        if silent {
            far.tls.silence();
        } else {
            far.tls.cut();
        }
        let said = await_config(&scenario, "False")?;
        println!("{name}: {said}");
        // What happens on the host meanwhile is not heard of.
        far.host.virsh(&["destroy", "kept"])?;
        scenario.apply(&guest(name))?;
        let object = scenario.await_object("domain", "kept", |domain| {
            ensure!(condition(domain, "Synced")?.0 == "False", "Synced");
            Ok(domain.clone())
        })?;
        assert_eq!(condition(&object, "Ready")?.0, "True", "what was known is kept");
        far.tls.mend();
        let begin = Instant::now();
        await_config(&scenario, "True")?;
        println!("{name}: used again {:?} after it was mended", begin.elapsed());
        scenario.await_all_ready(PATIENCE)?;
        assert_eq!(far.host.virsh(&["domstate", "kept"])?.trim(), "running");
        assert_eq!(far.host.virsh(&["domstate", name])?.trim(), "running");
    }
    assert_ne!(far.host.virsh(&["domid", "kept"])?, id);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

// ---- objects ----

fn config(far: &Far, own: &tests::Pair) -> String {
    let data = json!({"ca.crt": far.pki.authority, "tls.crt": own.certificate, "tls.key": own.key});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "far"}, "stringData": data});
    let spec = json!({
        "uri": far.tls_uri(), "credentials": {"source": "Secret", "secretRef": {"name": "far"}},
        "connection": {"connectTimeout": "5s", "callTimeout": "5s", "keepaliveInterval": "1s", "keepaliveCount": 3},
    });
    let api = "libvirt.m.nourspeed.io/v1alpha1";
    let config = json!({"apiVersion": api, "kind": "ProviderConfig", "metadata": {"name": "far"}, "spec": spec});
    format!("---\n{secret}\n---\n{config}\n")
}

fn on(manifest: &str) -> String {
    manifest.replace("spec: {", "spec: {providerConfigRef: {kind: ProviderConfig, name: far}, ")
}

/// Waits until the config is Ready or not, and answers with what it says.
fn await_config(scenario: &Scenario<'_>, wanted: &str) -> Result<String> {
    scenario.await_object("providerconfig", "far", |config: &Value| {
        let (status, reason, message) = condition(config, "Ready")?;
        ensure!(status == wanted, "{status} {reason}: {message}");
        Ok(message.to_owned())
    })
}

// ---- figures ----

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Waits until so many guests are in step with their host, as the provider itself counts them.
fn await_synced(stage: &Stage, wanted: usize, patience: Duration) -> Result<()> {
    eventually(patience, || {
        let synced = sum(stage, |name| {
            name.starts_with("crossplane_managed_resource_synced{") && name.contains("Kind=Domain\"")
        })?;
        ensure!((synced - number(wanted)).abs() < 0.5, "{synced} are Synced, wanted {wanted}");
        Ok(())
    })
    .with_context(|| stage.log().lines().rev().take(40).collect::<Vec<_>>().join("\n"))
}

fn sum(stage: &Stage, wanted: impl Fn(&str) -> bool) -> Result<f64> {
    Ok(stage.metrics()?.into_iter().filter(|(name, _)| wanted(name)).map(|(_, count)| count).sum())
}

/// How often the provider has written to the API server. Its lease it renews by PUT.
fn writes(stage: &Stage) -> Result<f64> {
    sum(stage, |name| {
        name.starts_with("rest_client_requests_total{") && ["POST", "PATCH"].iter().any(|method| name.contains(method))
    })
}

/// How many events say what.
fn sentences(scenario: &Scenario<'_>) -> Result<BTreeMap<String, u64>> {
    let list: Value = serde_json::from_str(&scenario.namespace().kubectl(&["get", "events", "-o", "json"])?)?;
    let mut told = BTreeMap::new();
    for event in list["items"].as_array().context("read the events")? {
        let said = format!("{}: {}", event["reason"], event["message"]);
        *told.entry(said).or_default() += event["count"].as_u64().unwrap_or(1);
    }
    Ok(told)
}

fn calls(stage: &Stage, call: &str) -> Result<f64> {
    sum(stage, |name| name.starts_with("provider_libvirt_host_calls_total{") && name.contains(call))
}

/// The provider's own memory in KiB.
fn resident(stage: &Stage) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", stage.provider_pid()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("find RssAnon")?;
    line.split_whitespace().next().and_then(|figure| figure.parse().ok()).context("read RssAnon")
}
