//! What users know of Crossplane's providers, end to end: pauses, policies, finalizers, requests, polls, who writes what.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod deletion;
mod policies;
mod upkeep;

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{Scenario, SharedStage, condition};

static STAGE: SharedStage = SharedStage::new("contract", &["--poll=1s", "--debug"]);
/// Nothing is polled here unless somebody asks for it.
static STILL: SharedStage = SharedStage::new("still", &["--poll=1h"]);

const FINALIZER: &str = "finalizer.managedresource.crossplane.io";
const OK: (&str, &str, &str) = ("True", "ReconcileSuccess", "");
const AVAILABLE: (&str, &str, &str) = ("True", "Available", "");
const MATCHED: (&str, &str, &str) = ("True", "ObserveMatched", "");
const ABSENT: (&str, &str, &str) = ("False", "ReconcileError", "observe failed: external resource does not exist");

/// What is left alone is looked at a few times first.
fn wait_for_polls() {
    sleep(Duration::from_secs(3));
}

/// The pool, with these policies.
fn with_policies(scenario: &Scenario<'_>, policies: &str) -> String {
    let pool = scenario.pool();
    let pool = pool.replace("spec: {", &format!("spec: {{managementPolicies: [{policies}], "));
    pool.replace("forProvider: {", "forProvider: {autostart: false, ")
}

fn patch(scenario: &Scenario<'_>, object: &str, patch: &Value) -> Result<()> {
    scenario.namespace().kubectl(&["patch", object, "--type=merge", "-p", &patch.to_string()]).map(drop)
}

fn annotate(scenario: &Scenario<'_>, object: &str, annotation: &str) -> Result<()> {
    scenario.namespace().kubectl(&["annotate", "--overwrite", object, annotation]).map(drop)
}

/// Waits until an object is what it is to be, with the conditions of that and no others.
fn await_settled(scenario: &Scenario<'_>, object: &str) -> Result<()> {
    let (kind, name) = object.split_once('/').context("read kind/name")?;
    scenario.await_object(kind, name, |object| {
        let found = (condition(object, "Ready")?, condition(object, "Synced")?, condition(object, "UpToDate")?);
        ensure!(found == (AVAILABLE, OK, MATCHED), "{found:?}");
        ensure!(types(object).len() == 3, "{:?}", types(object));
        Ok(())
    })
}

fn types(object: &Value) -> BTreeSet<&str> {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(|condition| condition["type"].as_str()).collect()
}

fn is_of_its_generation(object: &Value) -> bool {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().all(|condition| condition["observedGeneration"] == object["metadata"]["generation"])
}

fn check_generations(object: &Value) {
    assert!(is_of_its_generation(object), "{}", object["status"]["conditions"]);
}

/// Whether the pool that is named like the scenario runs, and whether it starts with the host.
fn look(scenario: &Scenario<'_>) -> Result<(bool, bool)> {
    let info = scenario.host().virsh(&["pool-info", scenario.name()])?;
    let says = |field: &str, value: &str| {
        info.lines().any(|line| line.strip_prefix(field).is_some_and(|found| found.trim() == value))
    };
    Ok((says("State:", "running"), says("Autostart:", "yes")))
}

fn has_pool(scenario: &Scenario<'_>, name: &str) -> Result<bool> {
    Ok(scenario.host().virsh(&["pool-list", "--all", "--name"])?.lines().any(|line| line.trim() == name))
}

/// Type and reason of everything that was said of an object.
fn events(scenario: &Scenario<'_>, name: &str) -> Result<BTreeSet<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = all_events(scenario)?.into_iter().filter(|event| event["involvedObject"]["name"] == name);
    Ok(of.map(|event| (text(&event["type"]), text(&event["reason"]))).collect())
}

fn event(scenario: &Scenario<'_>, name: &str, reason: &str) -> Result<Value> {
    let of = |event: &Value| event["involvedObject"]["name"] == name && event["reason"] == reason;
    all_events(scenario)?.into_iter().find(of).with_context(|| format!("find an event {reason} of {name}"))
}

fn all_events(scenario: &Scenario<'_>) -> Result<Vec<Value>> {
    let list: Value = serde_json::from_str(&scenario.namespace().kubectl(&["get", "events", "-o", "json"])?)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}
