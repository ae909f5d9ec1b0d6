//! A guest that ignores the power button is forced off only where its object allows it; else the status says that it does not obey.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::{Value, json};
use tests::{GuestFiles, PATIENCE, Scenario, Stage, condition, manifest};

const ASKED: &str = "the guest was asked to shut down and has 4s to do so";
const IGNORED: &str =
    "the guest did not shut down within 4s and was asked again; set shutdown.forceAfterTimeout to force it off";

#[test]
fn row_25_a_guest_that_ignores_its_shutdown_is_forced_only_where_the_object_allows() -> Result<()> {
    let stage = Stage::start("stubborn", &["--poll=1s"])?;
    let scenario = stage.scenario("stubborn")?;
    apply_guests(&scenario)?;
    scenario.await_all_ready(2 * PATIENCE)?;
    let (halted, deleted) = (scenario.console_of("halted"), scenario.console_of("deleted"));
    halted.wait_for_line("ready", PATIENCE)?;
    deleted.wait_for_line("ready", PATIENCE)?;

    scenario.change("domain", "halted", &json!({"runStrategy": "Halted"}))?;
    scenario.delete(&["domain/deleted"])?;
    scenario.await_condition("domain/halted", "Ready", ("False", "Unavailable", ASKED))?;
    scenario.await_condition("domain/halted", "Ready", ("False", "Unavailable", IGNORED))?;
    scenario.await_condition("domain/deleted", "Ready", ("False", "Deleting", IGNORED))?;
    // Asked three times, and each time refused; in between the status stands still.
    let version =
        |name| Ok::<Value, anyhow::Error>(scenario.object("domain", name)?["metadata"]["resourceVersion"].clone());
    let before = [version("halted")?, version("deleted")?];
    halted.wait_for_nth("power-button-ignored", 3, PATIENCE)?;
    deleted.wait_for_nth("power-button-ignored", 3, PATIENCE)?;
    assert_eq!(scenario.host().virsh(&["list", "--name"])?.split_whitespace().count(), 2, "both run on");
    let finalizers = &scenario.object("domain", "deleted")?["metadata"]["finalizers"];
    assert_eq!(*finalizers, json!(["finalizer.managedresource.crossplane.io"]), "what runs holds its object");
    assert_eq!([version("halted")?, version("deleted")?], before, "the status is written once");

    let begin = Instant::now();
    for name in ["halted", "deleted"] {
        scenario.change("domain", name, &json!({"shutdown": {"forceAfterTimeout": true}}))?;
    }
    let off = scenario.await_condition("domain/halted", "Ready", ("True", "Available", ""))?;
    assert_eq!(off["status"]["atProvider"]["state"], "Shutoff (destroyed)");
    assert_eq!(condition(&off, "Synced")?, ("True", "ReconcileSuccess", ""));
    scenario.await_gone(&["domain/deleted"])?;
    assert!(begin.elapsed() < Duration::from_secs(45), "took {:?}", begin.elapsed());
    assert_eq!(scenario.host().virsh(&["list", "--all", "--name"])?.split_whitespace().collect::<Vec<_>>(), ["halted"]);
    Ok(())
}

#[test]
fn a_guest_that_may_be_forced_has_its_time_first() -> Result<()> {
    let stage = Stage::start("forced", &["--poll=1s"])?;
    let scenario = stage.scenario("forced")?;
    apply_guests(&scenario)?;
    scenario.await_all_ready(2 * PATIENCE)?;
    for name in ["halted", "deleted"] {
        scenario.change("domain", name, &json!({"shutdown": {"forceAfterTimeout": true}}))?;
        scenario.console_of(name).wait_for_line("ready", PATIENCE)?;
    }
    scenario.change("domain", "halted", &json!({"runStrategy": "Halted"}))?;
    scenario.delete(&["domain/deleted"])?;
    for name in ["halted", "deleted"] {
        scenario.console_of(name).wait_for_line("power-button-ignored", PATIENCE)?;
    }
    // Not yet: they have had a part of their four seconds.
    sleep(Duration::from_millis(500));
    assert_eq!(scenario.host().virsh(&["list", "--name"])?.split_whitespace().count(), 2, "both have time still");
    scenario.await_condition("domain/halted", "Ready", ("True", "Available", ""))?;
    scenario.await_gone(&["domain/deleted"])?;
    for name in ["halted", "deleted"] {
        let asked = scenario.console_of(name).lines().iter().filter(|line| *line == "power-button-ignored").count();
        assert_eq!(asked, 1, "{name}: asked once, then forced");
    }
    scenario.clear()
}

#[test]
fn a_guest_whose_shutdown_was_taken_back_has_its_whole_time_when_it_is_asked_again() -> Result<()> {
    let stage = Stage::start("back", &["--poll=1s"])?;
    let scenario = stage.scenario("back")?;
    apply_guests(&scenario)?;
    scenario.await_all_ready(2 * PATIENCE)?;
    let console = scenario.console_of("halted");
    console.wait_for_line("ready", PATIENCE)?;
    scenario.change("domain", "halted", &json!({"runStrategy": "Halted"}))?;
    scenario.await_condition("domain/halted", "Ready", ("False", "Unavailable", IGNORED))?;
    scenario.change("domain", "halted", &json!({"runStrategy": "Always", "shutdown": {"forceAfterTimeout": true}}))?;
    scenario.await_condition("domain/halted", "Ready", ("True", "Available", ""))?;
    let asked = || console.lines().iter().filter(|line| *line == "power-button-ignored").count();
    let before = asked();
    scenario.delete(&["domain/halted"])?;
    scenario.await_condition("domain/halted", "Ready", ("False", "Deleting", ASKED))?;
    scenario.await_gone(&["domain/halted"])?;
    assert_eq!(asked(), before + 1, "asked once, then forced");
    Ok(())
}

/// Two test guests that ignore the power button, `halted` and `deleted`, with four seconds to shut down.
fn apply_guests(scenario: &Scenario<'_>) -> Result<()> {
    let guest = |name| {
        let cmdline = format!("{} tiny.ignore_shutdown=1", GuestFiles::COMMAND_LINE);
        let os = format!("{{kernelRef: {{name: kernel}}, initrdRef: {{name: initrd}}, cmdline: '{cmdline}'}}");
        let more = "consoles: [{name: serial, log: true}], shutdown: {mode: Acpi, timeout: 4s}";
        manifest("Domain", name, &format!("type: Qemu, memory: 128Mi, os: {os}, {more}"))
    };
    scenario.apply(&(scenario.storage()? + &guest("halted") + &guest("deleted"))).map(drop)
}
