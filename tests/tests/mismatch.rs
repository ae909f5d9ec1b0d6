//! A config whose address leads to another host than before: nothing is made there, nothing is forgotten here, until somebody says that it is meant.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, Stage, condition, eventually};

fn config(stage: &Stage) -> Result<Value> {
    stage.plane().client().get(&["clusterproviderconfig", "default"])?.context("there is no config default")
}

fn patch(stage: &Stage, spec: &Value) -> Result<()> {
    let patch = json!({"spec": spec}).to_string();
    stage.plane().client().run(&["patch", "clusterproviderconfig", "default", "--type=merge", "-p", &patch]).map(drop)
}

#[test]
fn row_8_a_config_that_leads_to_another_host_does_nothing_there_until_that_is_confirmed() -> Result<()> {
    let stage = Stage::start("here", &["--poll=2s"])?;
    let scenario = stage.scenario("here")?;
    scenario.apply(&(scenario.network() + &scenario.idle_world("")))?;
    scenario.await_all_ready(PATIENCE)?;
    let there = Host::start("there")?;
    let untouched = there.everything()?;

    patch(&stage, &json!({"uri": there.uri()}))?;
    let (here, now) = (scenario.host().uuid().to_owned(), there.uuid().to_owned());
    let sentence = format!(
        "ClusterProviderConfig default led to the host with UUID {here} before and leads to the one with UUID {now} now; \
         nothing is made, changed or deleted there. Correct spec.uri, or confirm the new host with spec.acceptHost: {now}"
    );
    eventually(PATIENCE, || {
        let config = config(&stage)?;
        let ready = condition(&config, "Ready")?;
        ensure!(ready == ("False", "HostMismatch", &sentence), "{ready:?}");
        assert_eq!(config["status"]["host"]["uuid"], json!(here));
        Ok(())
    })?;
    let refused = format!("connect failed: {sentence}");
    for object in ["network/here", "domain/here", "volume/root"] {
        scenario.await_condition(object, "Synced", ("False", "ReconcileError", &refused))?;
    }
    scenario.delete(&["network/here"])?;
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(there.everything()?, untouched);
    assert!(scenario.object("network", "here").is_ok(), "it was let go though nobody looked at its host");
    assert_eq!(scenario.host().virsh(&["domstate", "here"])?.trim(), "running");

    patch(&stage, &json!({"uri": scenario.host().uri()}))?;
    scenario.await_gone(&["network/here"])?;
    scenario.await_all_ready(PATIENCE)?;

    patch(&stage, &json!({"uri": there.uri(), "acceptHost": now}))?;
    eventually(PATIENCE, || {
        let config = config(&stage)?;
        ensure!(config["status"]["host"]["uuid"] == json!(now), "{}", config["status"]);
        Ok(())
    })
}
