//! Networks that cannot be beside each other on a host, and are wished for at the very same moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{PATIENCE, Scenario, Stage, condition, eventually, is_true, manifest};

/// How often each of them is tried.
const ROUNDS: usize = 4;

/// The host as a config of the namespace, with connections of its own.
fn own_config(scenario: &Scenario<'_>) -> String {
    format!(
        "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: own}}\nspec: {{uri: '{}'}}\n",
        scenario.host().uri()
    )
}

#[test]
fn of_two_networks_that_collide_and_come_at_the_same_moment_one_is_made_and_the_other_refused() -> Result<()> {
    let stage = Stage::start("collisions", &["--poll=2s"])?;
    let both = [stage.scenario("left")?, stage.scenario("right")?];
    for scenario in &both {
        scenario.apply(&own_config(scenario))?;
    }
    let cases = [
        ("ips: [{cidr: 10.71.0.1/24}]", "10.71.0.1/24 has addresses in common with 10.71.0.1/24 of network"),
        ("mode: Isolated, bridge: br-same", "the bridge br-same is that of network"),
        ("autostart: true, bridge: br-same, ips: [{cidr: 10.71.0.1/24}]", "the bridge br-same is that of network"),
    ];
    for has_own in [true, false] {
        for (parameters, sentence) in cases {
            for round in 0..ROUNDS {
                collide(&stage, &both, (parameters, has_own), sentence)
                    .with_context(|| format!("round {round} of {parameters}, each by its own config: {has_own}"))?;
            }
        }
    }
    Ok(())
}

/// Has both made at once, and taken away again.
fn collide(stage: &Stage, both: &[Scenario<'_>; 2], (parameters, has_own): (&str, bool), sentence: &str) -> Result<()> {
    // What the host is asked for meanwhile it is asked for by both, before it answers any of them.
    stage.host().freeze()?;
    let applied = both.iter().try_for_each(|scenario| {
        let network = manifest("Network", scenario.name(), parameters);
        let own = "spec: {providerConfigRef: {kind: ProviderConfig, name: own}, ";
        scenario.apply(&if has_own { network.replace("spec: {", own) } else { network }).map(drop)
    });
    sleep(Duration::from_millis(700));
    stage.host().thaw()?;
    applied?;

    let [winner, loser] = eventually(PATIENCE, || {
        let [left, right] = both.each_ref().map(|scenario| scenario.object("network", scenario.name()));
        let ready = [is_true(&left?, "Ready"), is_true(&right?, "Ready")];
        ensure!(ready[0] != ready[1], "Ready is {ready:?}; {}", stage.log());
        Ok(if ready[0] { [&both[0], &both[1]] } else { [&both[1], &both[0]] })
    })?;
    let said = format!("{sentence} {:?} of the host", winner.name());
    loser.await_object("network", loser.name(), |network| {
        let (status, _, message) = condition(network, "Synced")?;
        ensure!(status == "False" && message.contains(&said), "Synced is {status}: {message}; wanted {said}");
        Ok(())
    })?;
    let told = failures(loser)?;
    ensure!(told.iter().all(|message| message.contains(&said)), "it was found out late: {told:#?}");
    ensure!(failures(winner)?.is_empty(), "{:?}", failures(winner)?);
    let left = stage.host().everything()?;
    ensure!(left == [format!("network {}", winner.name())], "on the host are {left:?}");
    winner.await_ready(&[&format!("network/{}", winner.name())])?;
    for scenario in both {
        scenario.delete_all()?;
        scenario.await_all_gone(PATIENCE)?;
        scenario.namespace().kubectl(&["delete", "events", "--all"])?;
    }
    Ok(())
}

/// What was told of attempts that failed.
fn failures(scenario: &Scenario<'_>) -> Result<Vec<String>> {
    let events: Value = serde_json::from_str(&scenario.namespace().kubectl(&["get", "events", "-o", "json"])?)?;
    let is_failure = |event: &&Value| event["type"] == "Warning" && event["involvedObject"]["kind"] == "Network";
    let warnings = events["items"].as_array().into_iter().flatten().filter(is_failure);
    let text =
        |event: &Value| event["message"].as_str().or_else(|| event["note"].as_str()).unwrap_or_default().to_owned();
    Ok(warnings.map(text).collect())
}
