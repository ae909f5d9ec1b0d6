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

#[test]
fn a_config_that_says_which_host_is_meant_does_nothing_on_another_one_from_the_first_day() -> Result<()> {
    let (scenario, other) = scenario("meant")?;
    let meant = other.uuid();
    configure(&scenario, "meant", scenario.host(), &json!({"acceptHost": meant}))?;
    let config = await_config_reason(&scenario, "meant", "HostMismatch")?;
    let (namespace, own) = (scenario.namespace().name(), scenario.host().uuid());
    let begin = format!("ProviderConfig {namespace}/meant leads to the host ");
    let end = format!(
        " with UUID {own}, and spec.acceptHost says {meant}; nothing is made, changed or deleted there. Correct spec.uri or spec.acceptHost"
    );
    assert!(config.starts_with(&begin) && config.ends_with(&end), "{config}");
    scenario.apply(&manifest("Domain", "meant", OFF))?;
    scenario.await_object("domain", "meant", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains("spec.acceptHost says"), "{message}");
        Ok(())
    })?;
    assert!(!has_domain(scenario.host(), "meant")?);
    // One whose URI is refused is as far away, for those who watch figures.
    configure(&scenario, "broken", scenario.host(), &json!({"uri": "qemu+unix:///system?command=/bin/true"}))?;
    await_config_reason(&scenario, "broken", "ConfigInvalid")?;
    let up = format!("provider_libvirt_host_up{{host=\"ProviderConfig {namespace}/broken\"}}");
    assert_eq!(scenario.stage().metrics()?.get(&up), Some(&0.0));
    set(&scenario, "providerconfig/meant", &json!({"acceptHost": own}))?;
    await_config(&scenario, "meant", ("True", "Available", ""))?;
    scenario.namespace().kubectl(&["delete", "providerconfig", "broken"])?;
    scenario.await_ready(&["domain/meant"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

/// Waits until a config is not Ready for this reason, and answers with what it says.
fn await_config_reason(scenario: &Scenario<'_>, name: &str, reason: &str) -> Result<String> {
    scenario.await_object("providerconfig", name, |config| {
        let (status, found, message) = condition(config, "Ready")?;
        ensure!((status, found) == ("False", reason), "{status} {found}: {message}");
        Ok(message.to_owned())
    })
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
