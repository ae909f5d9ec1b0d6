//! Much at once: a second writer that never rests, and a hundred objects made and deleted together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread::{scope, sleep, yield_now},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, Stage, condition, eventually, manifest};

/// Sets a label of each object to another value, over and over, until it is told to end; answers how often it did.
fn storm(scenario: &Scenario<'_>, objects: &[&str], end: &AtomicBool) -> u32 {
    let mut touched = 0;
    while !end.load(Ordering::Acquire) {
        for object in objects {
            let label = format!("storm={touched}");
            // An object that is not there yet, or not any more, is no reason to stop.
            let labelled = scenario.namespace().kubectl(&["label", "--overwrite", object, &label]);
            touched += u32::from(labelled.is_ok());
        }
        yield_now();
    }
    touched
}

/// Ends the storm when it goes, whatever the reason.
struct Calm<'a>(&'a AtomicBool);

impl Drop for Calm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn objects_that_somebody_writes_to_all_the_time_are_made_changed_and_deleted_like_any_others() -> Result<()> {
    let stage = Stage::start("storm", &["--poll=2s"])?;
    let scenario = stage.scenario("storm")?;
    let objects = ["pool/storm", "volume/root", "domain/storm"];
    let (end, touched) = (AtomicBool::new(false), AtomicU32::new(0));
    scope(|threads| -> Result<()> {
        let _calm = Calm(&end);
        for _ in 0..2 {
            threads.spawn(|| touched.fetch_add(storm(&scenario, &objects, &end), Ordering::AcqRel));
        }
        scenario.apply(&scenario.idle_world(""))?;
        scenario.await_all_ready(2 * PATIENCE)?;
        let made = ["domain storm", "pool storm", "volume storm/root"];
        let uuid = scenario.host().virsh(&["domuuid", "storm"])?;
        assert_eq!(uuid.trim(), scenario.object("domain", "storm")?["metadata"]["uid"].as_str().unwrap());

        scenario.change("volume", "root", &json!({"capacity": "96Mi"}))?;
        scenario.await_object("volume", "root", |volume| {
            ensure!(volume["status"]["atProvider"]["capacity"] == "96Mi", "not grown yet");
            Ok(())
        })?;
        scenario.change("domain", "storm", &json!({"runStrategy": "Halted"}))?;
        scenario.await_state("shut off")?;
        assert_eq!(stage.host().everything()?, made, "there is no twin");
        assert_eq!(stage.host().virsh(&["domuuid", "storm"])?, uuid);
        check_said(&scenario)?;

        // In this order nothing is in use any more when it is to go.
        for object in ["domain/storm", "volume/root", "pool/storm"] {
            scenario.delete(&[object])?;
            scenario.await_gone(&[object])?;
        }
        Ok(())
    })?;
    assert_eq!(stage.host().everything()?, Vec::<String>::new());
    let touched = touched.load(Ordering::Acquire);
    assert!(touched > 50, "that was no storm: {touched}");
    check_said(&scenario)?;
    await_no_usage(&scenario)
}

/// Nothing that went wrong was told, and each thing was made once.
fn check_said(scenario: &Scenario<'_>) -> Result<()> {
    let list: Value = serde_json::from_str(&scenario.namespace().kubectl(&["get", "events", "-o", "json"])?)?;
    let events = list["items"].as_array().context("read the events")?;
    // What is made waits for what it needs; nothing else may be told as wrong.
    let is_wrong = |event: &&Value| event["type"] == "Warning" && event["reason"] != "CannotResolveResourceReferences";
    assert_eq!(events.iter().filter(is_wrong).collect::<Vec<_>>(), Vec::<&Value>::new());
    let made = events.iter().filter(|event| event["reason"] == "CreatedExternalResource");
    assert_eq!(made.map(|event| event["count"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 1, 1]);
    Ok(())
}

fn await_no_usage(scenario: &Scenario<'_>) -> Result<()> {
    eventually(PATIENCE, || {
        let left = scenario.namespace().kubectl(&["get", "providerconfigusages", "-o", "name"])?;
        ensure!(left.is_empty(), "left: {left}");
        Ok(())
    })
}

#[test]
fn a_hundred_objects_made_and_deleted_at_once_leave_nothing_and_cost_few_writes() -> Result<()> {
    let stage = Stage::start("hundred", &["--poll=5s"])?;
    let scenario = stage.scenario("hundred")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_all_ready(PATIENCE)?;
    let before = writes(&stage)?;
    let networks: String = (0..10).map(|at| manifest("Network", &format!("n{at}"), "mode: Isolated")).collect();
    scenario.apply(&(volumes(&scenario, 89) + &networks))?;
    let objects = scenario.await_all_ready(3 * PATIENCE)?;
    assert_eq!((objects.len(), stage.host().everything()?.len()), (100, 100));
    for object in objects.values() {
        assert_eq!(condition(object, "UpToDate")?, ("True", "ObserveMatched", ""), "{}", object["metadata"]["name"]);
    }
    let writes = writes(&stage)?;
    let made = writes - before;
    // The usage and its finalizer; that a create begins; that it worked, and our finalizer; the status; the event. Every five
    // seconds the pool tells what is left of it, and every second the config how many use it.
    assert!(made <= 6.0 * 99.0 + 60.0, "{made} writes for ninety-nine objects");

    scenario.delete_all()?;
    scenario.await_all_gone(3 * PATIENCE)?;
    assert_eq!(stage.host().everything()?, Vec::<String>::new());
    await_no_usage(&scenario)?;
    let more = self::writes(&stage)? - writes;
    // The status and event of the deletion and both finalizers, that of the usage often twice, because the garbage collector writes to it
    // at the same time; the pool, which waits for its volumes; and the config, which counts its users.
    assert!(more <= 800.0, "{more} writes for a hundred deletions");
    assert!(!std::fs::exists(scenario.folder())?, "the pool's folder is left");
    Ok(())
}

#[test]
fn what_waits_for_what_it_needs_says_so_once_and_costs_nothing_more() -> Result<()> {
    let stage = Stage::start("waiting", &["--poll=1s"])?;
    let scenario = stage.scenario("waiting")?;
    scenario.apply(&volumes(&scenario, 20))?;
    let told = |what: &str| {
        (0..20).try_for_each(|at| {
            scenario.await_object("volume", &format!("v{at}"), |volume| {
                let (_, _, message) = condition(volume, "Synced")?;
                ensure!(message.contains(what), "{message}");
                Ok(())
            })
        })
    };
    told("waiting for Pool waiting: there is none in namespace")?;
    let before = writes(&stage)?;
    sleep(Duration::from_secs(5));
    let waited = writes(&stage)? - before;
    assert!(waited < 1.0, "{waited} writes while nothing changes");

    // Its folder cannot be made yet, so it is there and not Ready.
    let folder = PathBuf::from(scenario.folder());
    std::fs::create_dir_all(folder.parent().unwrap())?;
    std::fs::write(&folder, "")?;
    scenario.apply(&scenario.pool())?;
    told("waiting for Pool waiting: it is not Ready")?;
    std::fs::remove_file(&folder)?;
    scenario.await_all_ready(PATIENCE)?;
    let made = writes(&stage)? - before;
    // Six each as above, and a status and an event for what they waited for since.
    assert!(made <= 8.0 * 20.0 + 20.0, "{made} writes for twenty volumes and their pool");
    Ok(())
}

/// So many volumes in the scenario's pool.
fn volumes(scenario: &Scenario<'_>, number: usize) -> String {
    (0..number).map(|at| scenario.volume(&format!("v{at}"), "format: Raw, capacity: 4Ki")).collect()
}

/// How often the provider has written to the API server.
fn writes(stage: &Stage) -> Result<f64> {
    let is_write = |name: &str| {
        name.starts_with("rest_client_requests_total{") && ["POST", "PATCH"].iter().any(|method| name.contains(method))
    };
    Ok(stage.metrics()?.into_iter().filter(|(name, _)| is_write(name)).map(|(_, count)| count).sum())
}
