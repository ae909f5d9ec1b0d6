//! What failed is tried again with growing pauses, and what was done once is not done again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, Stage, condition, eventually};

/// How often the provider has begun to change the guest, this among the changes.
fn tries(scenario: &Scenario<'_>, change: &str) -> usize {
    let guest = format!("/{}\"", scenario.name());
    let log = scenario.stage().log();
    log.lines().filter(|line| line.contains(&guest) && line.contains("\"updating\"") && line.contains(change)).count()
}

/// Returns a moment after so many tries, by when the last of them has failed.
fn await_tries(scenario: &Scenario<'_>, change: &str, count: usize) -> Result<()> {
    eventually(PATIENCE, || {
        let tried = tries(scenario, change);
        ensure!(tried >= count, "{tried} tries");
        Ok(())
    })?;
    sleep(Duration::from_secs(3));
    Ok(())
}

/// The domain, once it says that its update failed like this.
fn await_failure(scenario: &Scenario<'_>, why: &str) -> Result<Value> {
    scenario.await_object("domain", scenario.name(), |domain| {
        let (status, reason, message) = condition(domain, "Synced")?;
        ensure!((status, reason) == ("False", "ReconcileError"), "Synced is {status} {reason}: {message}");
        ensure!(message.starts_with(why), "it says {message}");
        ensure!(condition(domain, "UpToDate")?.0 == "False", "it is up to date");
        Ok(domain.clone())
    })
}

#[test]
fn a_guest_that_cannot_be_saved_runs_on_between_growing_pauses_and_is_forced_off_when_its_time_is_over() -> Result<()> {
    let stage = Stage::start("unsaved", &["--poll=1s"])?;
    let scenario = stage.scenario("unsaved")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_ready(&["domain/unsaved"])?;
    let saves = "/var/lib/libvirt/qemu/save";
    scenario.host().run("mkdir", &["-p", saves])?;
    scenario.host().run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", saves])?;
    let begin = Instant::now();
    let shutdown = json!({"mode": "Save", "timeout": "20s", "forceAfterTimeout": true});
    scenario.change("domain", "unsaved", &json!({"runStrategy": "Halted", "shutdown": shutdown}))?;
    await_failure(&scenario, "update failed: save domain: ")?;
    // The fifth try is 8 s after the fourth has failed.
    await_tries(&scenario, "power: on, wished off", 4)?;
    let before = await_failure(&scenario, "update failed: save domain: ")?;
    scenario.await_state("running")?;
    sleep(Duration::from_secs(4));
    let after = await_failure(&scenario, "update failed: save domain: ")?;
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "the status is written");
    scenario.await_state("running")?;

    let off = scenario.await_condition("domain/unsaved", "Ready", ("True", "Available", ""))?;
    assert_eq!(off["status"]["atProvider"]["state"], "Shutoff (destroyed)");
    let took = begin.elapsed();
    assert!((Duration::from_secs(20)..Duration::from_secs(30)).contains(&took), "it took {took:?}");
    let (tried, forced) = (tries(&scenario, "power: on, wished off"), tries(&scenario, "to be forced off"));
    assert!(tried - forced <= 6, "{tried} tries");
    assert_eq!(forced, 1);
    Ok(())
}

#[test]
fn a_guest_that_cannot_be_started_is_tried_at_growing_pauses_and_at_once_when_its_object_changes() -> Result<()> {
    let stage = Stage::start("unstarted", &["--poll=1s"])?;
    let scenario = stage.scenario("unstarted")?;
    scenario.apply(&scenario.idle_world(", runStrategy: Halted"))?;
    scenario.await_ready(&["domain/unstarted"])?;
    scenario.change("domain", "unstarted", &json!({"memory": "9000Gi", "runStrategy": "Always"}))?;
    await_failure(&scenario, "update failed: start domain")?;
    // The sixth try is 8 s after the fifth has failed.
    await_tries(&scenario, "power: off, wished on", 5)?;
    let before = await_failure(&scenario, "update failed: start domain")?;
    sleep(Duration::from_secs(4));
    let after = await_failure(&scenario, "update failed: start domain")?;
    assert_eq!(after["status"], before["status"], "the status is written: {}", scenario.stage().log());
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "the object is written");
    let tried = tries(&scenario, "power: off, wished on");
    assert!(tried <= 7, "{tried} tries: {}", scenario.stage().log());

    let begin = Instant::now();
    scenario.change("domain", "unstarted", &json!({"memory": "64Mi"}))?;
    scenario.await_state("running")?;
    assert!(begin.elapsed() < Duration::from_secs(6), "it took {:?}: {}", begin.elapsed(), scenario.stage().log());
    scenario.await_ready(&["domain/unstarted"])?;
    Ok(())
}

#[test]
fn a_restart_is_made_once_when_its_host_counts_runs_anew_meanwhile() -> Result<()> {
    let stage = Stage::start("anew", &["--poll=1s"])?;
    let scenario = stage.scenario("anew")?;
    scenario
        .apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi").replace("timeout: 60s", "timeout: 10s")))?;
    scenario.await_ready(&["domain/anew"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    for (nth, token, by_others) in [(1, "one", false), (2, "two", true)] {
        let number = scenario.host().virsh(&["domid", "anew"])?;
        let annotation = format!("libvirt.nourspeed.io/restarted-at={token}");
        scenario.namespace().kubectl(&["annotate", "--overwrite", "domain", "anew", &annotation])?;
        console.wait_for_nth("power-button", nth, PATIENCE)?;
        stage.kill_provider()?;
        scenario.await_state("shut off")?;
        scenario.host().restart_daemon()?;
        if by_others {
            scenario.host().virsh(&["start", "anew"])?;
        }
        stage.start_provider()?;
        console.wait_for_nth("ready", nth + 1, PATIENCE)?;
        assert_eq!(scenario.host().virsh(&["domid", "anew"])?, number, "it is another run by its number already");
        scenario.await_host("false", |scenario| {
            scenario.inactive("/domain/metadata/*").map(|mark| mark.contains("restarting=").to_string())
        })?;
        // Longer than it had to shut down.
        sleep(Duration::from_secs(13));
        let count = |line: &str| console.lines().iter().filter(|said| *said == line).count();
        assert_eq!((count("power-button"), count("ready")), (nth, nth + 1), "{token}");
        assert_eq!(scenario.host().virsh(&["domid", "anew"])?, number);
        scenario.await_ready(&["domain/anew"])?;
    }
    Ok(())
}

#[test]
fn an_interface_that_could_not_be_plugged_in_comes_wherever_there_is_room_by_then() -> Result<()> {
    let stage = Stage::start("room", &["--poll=1s"])?;
    let scenario = stage.scenario("room")?;
    let host = scenario.host();
    for (name, bridge) in [("there", "virbr-there"), ("late", "virbr-late")] {
        host.virsh_xml("net-define", &format!("<network><name>{name}</name><bridge name='{bridge}'/></network>"))?;
    }
    host.virsh(&["net-start", "there"])?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_ready(&["domain/room"])?;
    let lacks = || {
        scenario.await_object("domain", "room", |domain| {
            let (status, reason, message) = condition(domain, "RestartRequired")?;
            ensure!(status == "True" && message.contains("networkInterfaces[late]"), "{status} {reason} {message}");
            Ok(())
        })
    };
    scenario.change("domain", "room", &json!({"networkInterfaces": [{"name": "late", "network": "late"}]}))?;
    lacks()?;
    // It takes the place that the interface has in the definition.
    host.virsh(&["attach-interface", "room", "network", "there", "--model", "virtio", "--live"])?;
    host.virsh(&["net-start", "late"])?;
    let again = json!({"shutdown": {"timeout": "3s", "forceAfterTimeout": true}});
    scenario.change("domain", "room", &again)?;
    eventually(PATIENCE, || {
        let plugged = host.virsh(&["domiflist", "room"])?;
        ensure!(plugged.contains("late") && plugged.contains("there"), "{plugged}");
        Ok(())
    })?;
    scenario.await_object("domain", "room", |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "{}", domain["status"]);
        Ok(())
    })?;
    Ok(())
}
