//! The way from one host to many, as `docs/start.md` has it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, Scenario, Stage, eventually, manifest};

use super::*;

const OBJECTS: [&str; 4] = ["pool/first", "volume/root", "network/first", "domain/first"];

#[test]
fn a_second_host_changes_no_definition_of_the_first_and_what_was_placed_there_stays() -> Result<()> {
    let stage = Stage::start_unconfigured("first", &["--poll=1s"])?;
    let (scenario, second) = (stage.scenario("first")?, Host::start("second")?);
    configure(&scenario, "first", scenario.host(), &json!({}))?;
    scenario.apply(
        &(scenario.idle_world(", networkInterfaces: [{name: lan, networkRef: {name: first}}]") + &scenario.network()),
    )?;
    scenario.await_ready(&OBJECTS)?;
    await_passes(&scenario, "domain", 3.0)?;
    let before = seen(&scenario)?;

    configure(&scenario, "second", &second, &json!({}))?;
    await_config(&scenario, "second", ("True", "Available", ""))?;
    await_passes(&scenario, "domain", 3.0)?;
    assert_eq!(seen(&scenario)?, before, "with a second config");
    assert_eq!(stage.end_provider()?.term()?.code(), Some(0));
    stage.start_provider()?;
    eventually(PATIENCE, || stage.metrics().map(drop))?;
    await_passes(&scenario, "domain", 3.0)?;
    assert_eq!(seen(&scenario)?, before, "with another process of the provider");

    // What comes later says where, or refers to what is somewhere; else it waits for a word.
    scenario.apply(&(object("Domain", "told", OFF, ("", &on("second"))) + &manifest("Domain", "untold", OFF)))?;
    let nic = format!("{OFF}, networkInterfaces: [{{name: lan, networkRef: {{name: first}}}}]");
    scenario.apply(&manifest("Domain", "follows", &nic))?;
    for (name, config) in [("told", "second"), ("follows", "first")] {
        let placed = await_placed(&scenario, &format!("domain/{name}"))?;
        assert_eq!(placed, (format!("ProviderConfig/{config}"), config.to_owned()));
    }
    scenario.await_object("domain", "untold", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.starts_with("cannot determine placement: 2 ProviderConfigs"), "{message}");
        Ok(())
    })?;
    configure(&scenario, "default", &second, &json!({}))?;
    assert_eq!(await_placed(&scenario, "domain/untold")?.1, "default");
    assert_eq!((has_domain(scenario.host(), "follows")?, has_domain(&second, "untold")?), (true, true));
    assert_eq!(seen(&scenario)?, before, "with a default");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

/// All that is known of the first host's things: what libvirt says of them, and the objects as they were last written.
fn seen(scenario: &Scenario<'_>) -> Result<(Vec<String>, Vec<Value>)> {
    let host = scenario.host();
    let told: [&[&str]; 5] = [
        &["dumpxml", "first"],
        &["dumpxml", "first", "--inactive"],
        &["net-dumpxml", "first", "--inactive"],
        &["pool-dumpxml", "first", "--inactive"],
        &["vol-path", "root", "--pool", "first"],
    ];
    let texts = told.iter().map(|command| host.virsh(command)).collect::<Result<_>>()?;
    let versions = OBJECTS.iter().map(|object| {
        let (kind, name) = object.split_once('/').unwrap();
        Ok(scenario.object(kind, name)?["metadata"]["resourceVersion"].clone())
    });
    Ok((texts, versions.collect::<Result<_>>()?))
}
