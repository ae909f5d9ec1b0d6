//! Finalizers, ours and those of others, and the way out when a host is gone.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Host, condition, manifest_on};

use crate::{AVAILABLE, FINALIZER, OK, STAGE, await_settled, has_pool, look, patch, wait_for_polls};

#[test]
fn finalizers_of_others_go_before_anything_on_the_host() -> Result<()> {
    let scenario = STAGE.scenario("others")?;
    scenario.apply(&scenario.pool())?;
    await_settled(&scenario, "pool/others")?;
    let made = scenario.object("pool", "others")?;
    assert_eq!(made["metadata"]["finalizers"], json!([FINALIZER]), "ours came with the first look that found it");
    patch(&scenario, "pool/others", &json!({"metadata": {"finalizers": [FINALIZER, "example.org/keep"]}}))?;
    scenario.delete(&["pool/others"])?;
    wait_for_polls();
    let pool = scenario.object("pool", "others")?;
    assert_eq!((condition(&pool, "Ready")?, condition(&pool, "Synced")?), (AVAILABLE, OK), "nothing has begun");
    assert_eq!(look(&scenario)?, (true, false));
    patch(&scenario, "pool/others", &json!({"metadata": {"finalizers": [FINALIZER]}}))?;
    scenario.await_gone(&["pool/others"])?;
    assert!(!has_pool(&scenario, "others")?);
    Ok(())
}

#[test]
fn row_26_what_was_never_on_a_host_has_no_finalizer_and_goes_at_once() -> Result<()> {
    let scenario = STAGE.scenario("never")?;
    scenario.stage().configure("nowhere", "qemu+unix:///system?socket=/nowhere/sock", "connectTimeout: 1s")?;
    scenario.apply(&manifest_on(Some("nowhere"), "Network", "never", "mode: Isolated"))?;
    scenario.await_object("network", "never", |network| {
        let (status, reason, message) = condition(network, "Synced")?;
        ensure!(
            (status, reason) == ("False", "ReconcileError") && message.starts_with("connect failed: "),
            "{message}"
        );
        ensure!(network["metadata"]["finalizers"].is_null(), "it has a finalizer");
        Ok(())
    })?;
    scenario.namespace().kubectl(&["delete", "network", "never", "--timeout=10s"]).map(drop)
}

#[test]
fn row_26_an_object_on_a_host_that_is_gone_waits_and_is_let_go_by_dropping_delete() -> Result<()> {
    let scenario = STAGE.scenario("dead")?;
    let host = Host::start("dead")?;
    scenario.stage().configure("dead", &host.uri(), "connectTimeout: 1s, callTimeout: 2s, keepaliveInterval: 1s")?;
    scenario.apply(&manifest_on(Some("dead"), "Network", "dead", "mode: Isolated"))?;
    scenario.await_ready(&["network/dead"])?;
    drop(host);
    scenario.delete(&["network/dead"])?;
    scenario.await_object("network", "dead", |network| {
        let (status, _, message) = condition(network, "Synced")?;
        ensure!(status == "False" && message.starts_with("connect failed: ClusterProviderConfig dead: "), "{message}");
        ensure!(condition(network, "UpToDate")? == ("Unknown", "Unreachable", ""), "something else is known");
        Ok(())
    })?;
    wait_for_polls();
    assert_eq!(scenario.object("network", "dead")?["metadata"]["finalizers"], json!([FINALIZER]));
    patch(&scenario, "network/dead", &json!({"spec": {"managementPolicies": ["Observe", "Create", "Update"]}}))?;
    scenario.await_gone(&["network/dead"])
}
