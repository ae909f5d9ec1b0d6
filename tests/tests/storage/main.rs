//! What the disks of a guest are made of and what they cost, and what of its host a guest has, changed while it runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod beneath;
mod drives;
mod passed;
mod sources;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Scenario, SharedStage, condition, manifest_on};

static STAGE: SharedStage = SharedStage::new("store", &["--poll=2s"]);

/// No change of a guest waits for its next boot.
fn await_no_restart(scenario: &Scenario<'_>) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "it asks for a restart");
        ensure!(condition(domain, "UpToDate")?.0 == "True", "it is not up to date");
        Ok(())
    })
}

/// A config of the host with this policy; each test has its own.
fn allow(scenario: &Scenario<'_>, policy: &Value) -> Result<()> {
    let config = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig",
        "metadata": {"name": scenario.name()}, "spec": {"uri": scenario.host().uri(), "policy": policy},
    });
    scenario.stage().plane().apply(&config.to_string()).map(drop)
}

/// A guest without an operating system on that config.
fn guest_on(scenario: &Scenario<'_>, name: &str, parameters: &str) -> String {
    let fixed = "type: Qemu, memory: 32Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
    manifest_on(Some(scenario.name()), "Domain", name, &format!("{fixed}, {parameters}"))
}

/// Waits until a guest is refused with these words.
fn await_refused(scenario: &Scenario<'_>, name: &str, words: &str) -> Result<()> {
    scenario.await_object("domain", name, |domain| {
        let (synced, _, message) = condition(domain, "Synced")?;
        ensure!(synced == "False" && message.contains(words), "{message}");
        if message.contains("is not allowed on") {
            let of = ["Ready", "UpToDate"]
                .map(|kind| condition(domain, kind).is_ok_and(|(_, reason, _)| reason == "NotAllowed"));
            ensure!(of.contains(&true), "no condition says NotAllowed");
        }
        Ok(())
    })
}
