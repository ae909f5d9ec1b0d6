//! What others made is taken over where its object asks for it and the config allows it, as it is; and by nobody else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod guests;
mod left_alone;
mod things;

use std::{
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Scenario, SharedStage, condition};

static STAGE: SharedStage = SharedStage::new("take", &["--poll=2s"]);

/// There is one provider for all tests.
static RESTARTS: Mutex<()> = Mutex::new(());

const ADOPT: &str = "libvirt.nourspeed.io/adopt";
const OWNERSHIP: &str = "libvirt.nourspeed.io/ownership";

/// A scenario on a host whose config lets things be taken over that are called `taken…`.
fn scenario(name: &'static str) -> Result<Scenario<'static>> {
    let scenario = STAGE.scenario(name)?;
    let kinds = ["domain", "volume", "pool", "network", "cloudinit"];
    let adopt: Vec<String> = kinds.iter().map(|kind| format!("{kind}/taken*")).collect();
    let policy = json!({"spec": {"policy": {"adopt": adopt}}}).to_string();
    scenario.stage().plane().kubectl(&["patch", "clusterproviderconfig", "default", "--type=merge", "-p", &policy])?;
    Ok(scenario)
}

fn object(kind: &str, name: &str, annotations: &Value, parameters: &Value) -> String {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "annotations": annotations}, "spec": {"forProvider": parameters},
    })
    .to_string()
}

fn asking(kind: &str, name: &str, parameters: &Value) -> String {
    object(kind, name, &json!({ ADOPT: "true" }), parameters)
}

/// Something that is left alone is looked at a few times first.
fn wait_for_polls() {
    sleep(Duration::from_secs(5));
}

/// Restarts the provider and waits until it has said of the object what it said before.
fn after_a_restart(scenario: &Scenario<'_>, object: &str) -> Result<()> {
    // Nothing of what was taken over is in the memory of the next one.
    let (kind, name) = object.split_once('/').context("read kind/name")?;
    let before = scenario.object(kind, name)?["status"]["atProvider"]["id"].clone();
    let request = "crossplane.io/reconcile-requested-at=after-the-restart";
    let _one_at_a_time = RESTARTS.lock().unwrap_or_else(PoisonError::into_inner);
    scenario.stage().kill_provider()?;
    scenario.namespace().kubectl(&["annotate", "--overwrite", object, request])?;
    scenario.stage().start_provider()?;
    scenario.await_object(kind, name, |object| {
        ensure!(object["status"]["lastHandledReconcileAt"] == "after-the-restart", "{}", object["status"]);
        ensure!(condition(object, "UpToDate")?.0 == "True", "{}", object["status"]);
        ensure!(object["status"]["atProvider"]["id"] == before, "{} was {before}", object["status"]["atProvider"]);
        Ok(())
    })
}

/// Waits for a refusal, and checks that neither it nor the object's deletion changes what is on the host.
fn refused(
    scenario: &Scenario<'_>,
    object: &str,
    (reason, message): (&str, &str),
    look: impl Fn() -> Result<String>,
) -> Result<()> {
    let before = look()?;
    scenario.await_condition(object, "Ready", ("False", reason, message))?;
    wait_for_polls();
    assert_eq!(look()?, before, "after {reason}");
    scenario.delete(&[object])?;
    scenario.await_gone(&[object])?;
    assert_eq!(look()?, before, "after the object of {reason}");
    Ok(())
}
