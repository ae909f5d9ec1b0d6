//! Deletions that overtake the making of an object: the API server read it without our finalizer, and takes it away with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests::{Scenario, SlowDoor, Stage, eventually};

/// How long each look at a deletion takes: the API server deletes what it read before, and looks again at what has changed meanwhile.
const LOOK: Duration = Duration::from_secs(3);
/// How soon nothing is left.
const SOON: Duration = Duration::from_mins(1);

/// Each kind once, all on a pool and a disk that stay.
const LOST: [&str; 5] = ["pool/lost", "volume/lost", "cloudinit/lost", "network/lost", "domain/lost"];

fn things(scenario: &Scenario<'_>) -> String {
    let pool = tests::manifest("Pool", "lost", &format!("target: {{path: {}-lost}}", scenario.folder()));
    let seed = tests::manifest("CloudInit", "lost", "poolRef: {name: overtaken}, userData: {inline: password}");
    let network = scenario.network().replace("{name: overtaken}", "{name: lost}");
    let domain =
        tests::manifest("Domain", "lost", "type: Qemu, memory: 32Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}");
    pool + &scenario.volume("lost", "capacity: 1Mi") + &seed + &network + &domain
}

fn pause(scenario: &Scenario<'_>, object: &str, value: &str) -> Result<()> {
    let annotation = format!("crossplane.io/paused={value}");
    scenario.namespace().kubectl(&["annotate", "--overwrite", object, &annotation]).map(drop)
}

/// Everything of that name on the host.
fn left(scenario: &Scenario<'_>) -> Result<Vec<String>> {
    let host = scenario.host();
    let mut left = Vec::new();
    for command in
        [&["list", "--all", "--name"][..], &["net-list", "--all", "--name"], &["pool-list", "--all", "--name"]]
    {
        left.extend(host.virsh(command)?.lines().map(|name| name.trim().to_owned()));
    }
    for file in fs::read_dir(scenario.folder())? {
        left.push(file?.file_name().to_string_lossy().into_owned());
    }
    left.retain(|name| name.starts_with("lost"));
    Ok(left)
}

#[test]
fn what_was_made_while_a_deletion_was_on_its_way_goes_with_its_object() -> Result<()> {
    let stage = Stage::start("overtaken", &["--poll=2s"])?;
    let scenario = stage.scenario("overtaken")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_ready(&["pool/overtaken"])?;
    let here = format!("oldObject.metadata.namespace == '{}'", scenario.namespace().name());
    let resources = ["domains", "volumes", "pools", "cloudinits", "networks"];
    SlowDoor { operation: "DELETE", resources: &resources, condition: &here, look: LOOK }.open(stage.plane())?;
    let made = things(&scenario);
    let paused = made.replace("{name: lost}", "{name: lost, annotations: {crossplane.io/paused: 'true'}}");
    ensure!(paused.matches("paused").count() == LOST.len(), "{paused}");
    scenario.apply(&paused)?;
    let namespace = scenario.namespace();
    thread::scope(|scope| -> Result<()> {
        let deletions = LOST.map(|object| scope.spawn(move || namespace.kubectl(&["delete", object, "--wait=false"])));
        thread::sleep(LOOK / 3);
        for object in LOST {
            pause(&scenario, object, "false")?;
        }
        for deletion in deletions {
            deletion.join().expect("a thread of the test ends")?;
        }
        Ok(())
    })?;
    scenario.await_gone(&LOST)?;
    // Each was made, and none was deleted in the usual way, or this shows nothing.
    let log = stage.log();
    for object in LOST {
        let (kind, _) = object.split_once('/').context("read kind/name")?;
        let of_it =
            |line: &&str| line.to_lowercase().contains(&format!("\"kind\":\"{kind}\"")) && line.contains("/lost\"");
        let lines: Vec<&str> = log.lines().filter(of_it).collect();
        ensure!(lines.iter().any(|line| line.contains("\"creating\"")), "{object} was not made:\n{log}");
        ensure!(!lines.iter().any(|line| line.contains("\"deleted\"")), "{object} went the usual way:\n{log}");
    }
    eventually(SOON, || {
        let left = left(&scenario)?;
        ensure!(left.is_empty(), "{left:?} is left\n{}", stage.log());
        Ok(())
    })?;
    scenario.await_ready(&["pool/overtaken"])
}
