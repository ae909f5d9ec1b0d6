//! A config whose address leads to another host than before: nothing is made there, nothing is forgotten here, until somebody says that it is meant.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, Scenario, Stage, condition, eventually};

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
    })?;
    check_volume(&stage, &scenario, (&here, &now))
}

/// The volume that was made before is nobody's on the accepted host, until it is taken over.
fn check_volume(stage: &Stage, scenario: &Scenario<'_>, (here, now): (&str, &str)) -> Result<()> {
    // Both hosts show the same folder here, as one machine does whose board was exchanged.
    let sentence = format!(
        "observe failed: volume root was made on the host with UUID {here}, and this one has {now}, so it cannot be told whether this is it. \
         Correct the config's uri; or, where it is the same machine with another UUID, take the volume over, by annotation \
         libvirt.nourspeed.io/adopt and a line in the config's spec.policy.adopt"
    );
    scenario.await_object("volume", "root", |volume| {
        let said = [condition(volume, "Synced")?, condition(volume, "Ready")?];
        ensure!(said[0].2 == sentence && said[1].1 == "HostMismatch", "{said:?}");
        Ok(())
    })?;
    patch(stage, &json!({"policy": {"adopt": ["volume/root"]}}))?;
    let edit = |spec: Value| {
        let patch = json!({"spec": spec}).to_string();
        scenario.namespace().kubectl(&["patch", "volume", "root", "--type=merge", "-p", &patch])
    };
    edit(json!({"managementPolicies": ["Observe"]}))?;
    edit(json!({"forProvider": {"format": "Qcow2"}}))?;
    edit(json!({"managementPolicies": ["*"]}))?;
    scenario.namespace().kubectl(&["annotate", "volume", "root", "libvirt.nourspeed.io/adopt=true"])?;
    scenario.await_ready(&["volume/root"])
}
