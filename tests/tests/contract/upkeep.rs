//! Requests, polls, and what is written by whom.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, condition, eventually};

use crate::{
    MATCHED, STAGE, STILL, annotate, await_settled, check_generations, event, is_of_its_generation, look, types,
    wait_for_polls, with_policies,
};

#[test]
fn a_request_to_reconcile_is_handled_once_and_by_a_look_at_the_host() -> Result<()> {
    let scenario = STILL.scenario("request")?;
    scenario.apply(&with_policies(&scenario, "'*'"))?;
    await_settled(&scenario, "pool/request")?;
    for token in ["2026-01-01T00:00:00Z", "again"] {
        // No event of the host tells of it.
        scenario.host().virsh(&["pool-autostart", "request"])?;
        annotate(&scenario, "pool/request", &format!("crossplane.io/reconcile-requested-at={token}"))?;
        scenario.await_object("pool", "request", |pool| {
            let handled = &pool["status"]["lastHandledReconcileAt"];
            ensure!(*handled == token, "handled is {handled}, wanted {token}");
            Ok(())
        })?;
        scenario.await_host("(true, false)", |scenario| Ok(format!("{:?}", look(scenario)?)))?;
    }
    let handled = event(&scenario, "request", "ReconcileRequestHandled")?;
    assert_eq!((&handled["type"], &handled["count"]), (&json!("Normal"), &json!(1)), "one event in half a minute");
    // The token that was handled asks for nothing.
    scenario.host().virsh(&["pool-autostart", "request"])?;
    annotate(&scenario, "pool/request", "example.org/other=1")?;
    wait_for_polls();
    assert_eq!(look(&scenario)?, (true, true));
    Ok(())
}

#[test]
fn an_object_is_polled_as_often_as_its_annotation_says_and_never_more_than_once_a_second() -> Result<()> {
    let scenario = STILL.scenario("polled")?;
    // A kind that no other test on this stage has objects of.
    scenario.apply(&scenario.network().replace("mode: Nat", "autostart: true, mode: Nat"))?;
    await_settled(&scenario, "network/polled")?;
    for interval in ["1s", "10ms"] {
        annotate(&scenario, "network/polled", &format!("crossplane.io/poll-interval={interval}"))?;
        let (begin, before) = (Instant::now(), passes(&scenario)?);
        let count = eventually(PATIENCE, || {
            let count = passes(&scenario)? - before;
            ensure!(count >= 4.0, "{interval}: {count} passes");
            Ok(count)
        })?;
        // One for the edit, and the polls.
        assert!(count <= begin.elapsed().as_secs_f64() + 2.0, "{interval}: {count} passes in {:?}", begin.elapsed());
        // Each poll looks at the host, which as a whole is not polled.
        scenario.host().virsh(&["net-autostart", "polled", "--disable"])?;
        scenario.await_host("yes", |scenario| {
            let info = scenario.host().virsh(&["net-info", "polled"])?;
            Ok(info.lines().find_map(|line| line.strip_prefix("Autostart:")).unwrap_or_default().to_owned())
        })?;
    }
    for ignored in ["-5s", "often", "0"] {
        annotate(&scenario, "network/polled", &format!("crossplane.io/poll-interval={ignored}"))?;
        // After the pass that the edit asks for an hour is to go by.
        eventually(PATIENCE, || {
            let before = passes(&scenario)?;
            wait_for_polls();
            ensure!(passes(&scenario)? < before + 1.0, "{ignored}: it is polled");
            Ok(())
        })?;
    }
    Ok(())
}

fn passes(scenario: &Scenario<'_>) -> Result<f64> {
    let of = "controller_runtime_reconcile_total{controller=\"managed/network.";
    Ok(scenario.stage().metrics()?.iter().filter(|(name, _)| name.starts_with(of)).map(|(_, count)| count).sum())
}

#[test]
fn every_condition_tells_which_generation_it_is_of() -> Result<()> {
    let scenario = STAGE.scenario("generation")?;
    scenario.apply(&scenario.idle_world(", cpu: {mode: Maximum}"))?;
    scenario.await_all_ready(2 * PATIENCE)?;
    // An edit that changes nothing on the host, one that waits for a restart, and one that is refused.
    for (edit, wanted) in [(json!({"shutdown": {"timeout": "2s"}}), MATCHED), (json!({"cpu": null}), MATCHED)] {
        scenario.change("domain", "generation", &edit)?;
        let domain = scenario.await_object("domain", "generation", |domain| {
            ensure!(condition(domain, "UpToDate")? == wanted, "not so yet");
            ensure!(is_of_its_generation(domain), "a condition is of an earlier generation");
            Ok(domain.clone())
        })?;
        assert!(domain["metadata"]["generation"].as_i64() > Some(1));
    }
    let domain = scenario.object("domain", "generation")?;
    assert!(types(&domain).contains("RestartRequired"), "{}", domain["status"]["conditions"]);
    scenario.change("volume", "root", &json!({"capacity": "1Mi"}))?;
    scenario.await_object("volume", "root", |volume| {
        ensure!(condition(volume, "UpToDate")?.1 == "ShrinkRefused", "not refused yet");
        check_generations(volume);
        Ok(())
    })
}

#[test]
fn whatever_the_provider_writes_is_signed_with_its_name() -> Result<()> {
    let scenario = STAGE.scenario("signed")?;
    let telling = scenario.pool().replace("spec: {", "spec: {writeConnectionSecretToRef: {name: signed}, ");
    scenario.apply(&telling)?;
    await_settled(&scenario, "pool/signed")?;
    let usage = scenario.object("pool", "signed")?["metadata"]["uid"].as_str().unwrap().to_owned();
    let ours: BTreeSet<String> = ["provider-libvirt".to_owned()].into();
    for (kind, name) in [("providerconfigusage", usage.as_str()), ("secret", "signed")] {
        assert_eq!(writers(&named(&scenario, kind, name)?), ours, "{kind}");
    }
    let both: BTreeSet<String> = ["kubectl".to_owned(), "provider-libvirt".to_owned()].into();
    assert_eq!(writers(&named(&scenario, "pool", "signed")?), both);
    let event = eventually(PATIENCE, || event(&scenario, "signed", "CreatedExternalResource"))?;
    assert_eq!(writers(&named(&scenario, "event", event["metadata"]["name"].as_str().unwrap())?), ours);
    let plane = scenario.stage().plane().client();
    let show = "--show-managed-fields";
    let config = plane.get(&["clusterproviderconfig", "default", show])?.context("find the config")?;
    assert_eq!(writers(&config), both);
    for (kind, name) in [("secret", "provider-libvirt-ownership"), ("lease", tests::LEASE)] {
        let object = plane.get(&[kind, name, "--namespace=default", show])?.context(name)?;
        assert_eq!(writers(&object), ours, "{name}");
    }
    Ok(())
}

/// An object with its managed fields.
fn named(scenario: &Scenario<'_>, kind: &str, name: &str) -> Result<Value> {
    let text = scenario.namespace().kubectl(&["get", kind, name, "-o", "json", "--show-managed-fields"])?;
    Ok(serde_json::from_str(&text)?)
}

fn writers(object: &Value) -> BTreeSet<String> {
    let fields = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    fields.iter().map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn of_two_objects_of_one_name_on_a_host_the_second_leaves_what_the_first_made_alone() -> Result<()> {
    let (first, second) = (STAGE.scenario("twin")?, STAGE.scenario("twin")?);
    first.apply(&first.pool())?;
    await_settled(&first, "pool/twin")?;
    let before = first.host().virsh(&["pool-dumpxml", "twin"])?;
    second.apply(&second.pool())?;
    second.await_object("pool", "twin", |pool| {
        ensure!(condition(pool, "Ready")?.1 == "ForeignObject", "not refused yet");
        Ok(())
    })?;
    second.delete(&["pool/twin"])?;
    second.await_gone(&["pool/twin"])?;
    assert_eq!(first.host().virsh(&["pool-dumpxml", "twin"])?, before);
    await_settled(&first, "pool/twin")
}
