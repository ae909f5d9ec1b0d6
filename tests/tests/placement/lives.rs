//! Rows 20, 22, 25 and 26: whose an object is, how it shows what happens to it, and how it goes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, condition, manifest};

use super::*;

#[test]
fn row_20_no_object_is_owned_by_another_and_a_usage_by_its_user_alone() -> Result<()> {
    let (scenario, _) = scenario("unowned")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    scenario.apply(&manifest("Domain", "unowned", OFF))?;
    scenario.await_ready(&["domain/unowned"])?;
    let seen = scenario.object("domain", "unowned")?;
    let uid = &seen["metadata"]["uid"];
    assert_eq!(seen["metadata"]["ownerReferences"], Value::Null);
    let usages: Value =
        serde_json::from_str(&scenario.namespace().kubectl(&["get", "providerconfigusages", "-o", "json"])?)?;
    let owners: Vec<&Value> =
        usages["items"].as_array().into_iter().flatten().map(|usage| &usage["metadata"]["ownerReferences"]).collect();
    assert_eq!(owners.len(), 1);
    assert_eq!((&owners[0][0]["kind"], &owners[0][0]["uid"], &owners[0][1]), (&json!("Domain"), uid, &Value::Null));
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

// Events cannot be switched off; what has none is seen at the next poll (`drift.rs`). Nothing is polled here while the test runs.
#[test]
fn row_22_a_guest_that_is_destroyed_on_its_host_is_shown_so_within_two_seconds() -> Result<()> {
    let stage = Stage::start("shown", &["--poll=10m"])?;
    let scenario = stage.scenario("shown")?;
    let guest = "type: Qemu, memory: 32Mi, runStrategy: Manual, shutdown: {timeout: 1s, forceAfterTimeout: true}";
    scenario.apply(&manifest("Domain", "shown", guest))?;
    scenario.await_ready(&["domain/shown"])?;
    // What is wrong with a provider holds up all three, what a busy machine does only some.
    let mut times = Vec::new();
    for _ in 0..3 {
        // Once made it may run; what it does from then on is not the provider's.
        if scenario.host().virsh(&["domstate", "shown"])?.trim() != "running" {
            scenario.host().virsh(&["start", "shown"])?;
        }
        await_shown(&scenario, "Running")?;
        let begun = Instant::now();
        scenario.host().virsh(&["destroy", "shown"])?;
        await_shown(&scenario, "Shutoff")?;
        times.push(begun.elapsed());
    }
    println!("shown after {times:?}");
    assert!(times.iter().min() < Some(&Duration::from_secs(2)), "{times:?}");
    assert_eq!(scenario.host().virsh(&["domstate", "shown"])?.trim(), "shut off", "its power is left to people");
    scenario.clear()
}

/// Waits until the status of the guest begins with this state.
fn await_shown(scenario: &Scenario<'_>, state: &str) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |object| {
        let seen = &object["status"]["atProvider"]["state"];
        ensure!(seen.as_str().is_some_and(|seen| seen.starts_with(state)), "{seen}");
        Ok(())
    })
}

// A guest that ignores its shutdown, and a provider that is killed on the way, have tests of their own (`stubborn.rs`, `kills.rs`).
#[test]
fn row_25_the_finalizer_goes_with_the_domain_and_what_bears_its_name_by_then_is_left_alone() -> Result<()> {
    let (scenario, _) = scenario("replaced")?;
    let host = scenario.host();
    configure(&scenario, "one", host, &json!({}))?;
    scenario.apply(&manifest("Domain", "replaced", OFF))?;
    scenario.await_ready(&["domain/replaced"])?;
    let paused = |is_paused: bool| {
        let annotation = format!("crossplane.io/paused={is_paused}");
        scenario.namespace().kubectl(&["annotate", "--overwrite", "domain", "replaced", &annotation])
    };
    paused(true)?;
    scenario.await_object("domain", "replaced", |object| {
        let (status, reason, _) = condition(object, "Synced")?;
        ensure!((status, reason) == ("False", "ReconcilePaused"), "{status} {reason}");
        Ok(())
    })?;
    scenario.delete(&["domain/replaced"])?;
    // Nobody deletes it yet, so it holds its object.
    assert_eq!(scenario.object("domain", "replaced")?["metadata"]["finalizers"], json!([FINALIZER]));
    let ours = host.virsh(&["dumpxml", "replaced"])?;
    assert!(ours.contains("https://libvirt.m.nourspeed.io/v1"), "it has no mark: {ours}");
    host.virsh(&["undefine", "replaced"])?;
    // Another one of that name, with the mark of another object.
    let uid = scenario.object("domain", "replaced")?["metadata"]["uid"].as_str().context("read the UID")?.to_owned();
    host.virsh_xml("define", &ours.replace(&uid, "00000000-0000-4000-8000-000000000025"))?;
    let theirs = host.virsh(&["dumpxml", "replaced"])?;
    paused(false)?;
    scenario.await_gone(&["domain/replaced"])?;
    assert_eq!(host.virsh(&["dumpxml", "replaced"])?, theirs);
    host.virsh(&["undefine", "replaced"]).map(drop)
}

#[test]
fn row_26_an_object_that_was_never_placed_goes_at_once() -> Result<()> {
    let (scenario, other) = scenario("never")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    configure(&scenario, "two", other, &json!({}))?;
    scenario.apply(&(manifest("Domain", "never", OFF) + &manifest("Network", "never", "mode: Isolated")))?;
    for object in ["domain/never", "network/never"] {
        let seen = scenario.await_object(object.split('/').next().unwrap_or_default(), "never", |object| {
            ensure!(condition(object, "Synced")?.0 == "False", "{object:#}");
            Ok(object.clone())
        })?;
        assert_eq!(seen["metadata"]["finalizers"], Value::Null, "{object}");
    }
    // kubectl itself waits until they are gone.
    scenario.namespace().kubectl(&["delete", "domain/never", "network/never", "--timeout=60s"]).map(drop)
}

// The third case, let go by dropping `Delete` from its policies (Crossplane's older deletionPolicy: Orphan), is in the tests of the contract too.
#[test]
fn row_26_a_deletion_waits_for_its_host_and_is_done_when_it_is_back_or_given_up() -> Result<()> {
    let (scenario, _) = scenario("awaited")?;
    let host = Host::start("awaited")?;
    configure(&scenario, "one", &host, &json!({}))?;
    scenario.apply(&(manifest("Domain", "awaited", OFF) + &manifest("Domain", "given-up", OFF)))?;
    scenario.await_all_ready(PATIENCE)?;
    host.kill_daemon()?;
    scenario.delete_all()?;
    let cause = format!("connect failed: ProviderConfig {}/one: ", scenario.namespace().name());
    for name in ["awaited", "given-up"] {
        let seen = scenario.await_object("domain", name, |object| {
            let (status, reason, message) = condition(object, "Synced")?;
            ensure!((status, reason) == ("False", "ReconcileError") && message.starts_with(&cause), "{message}");
            Ok(object.clone())
        })?;
        assert_eq!(seen["metadata"]["finalizers"], json!([FINALIZER]));
    }
    set(
        &scenario,
        "domain/given-up",
        &json!({"managementPolicies": ["Observe", "Create", "Update", "LateInitialize"]}),
    )?;
    scenario.await_gone(&["domain/given-up"])?;
    assert_eq!(scenario.object("domain", "awaited")?["metadata"]["finalizers"], json!([FINALIZER]));
    host.restart_daemon()?;
    scenario.await_gone(&["domain/awaited"])?;
    assert_eq!(domains(&host)?, ["given-up"], "what was given up is left where it is");
    Ok(())
}
