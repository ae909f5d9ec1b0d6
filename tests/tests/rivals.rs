//! Two objects for one volume, and one object for two: nothing of anybody's is deleted, and nothing is left without an owner.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{Manners, PATIENCE, Scenario, SharedStage, condition, eventually, is_true, manifest, sha256};

static STAGE: SharedStage = SharedStage::new("rivals", &["--poll=1s"]);

/// How much of an image is sent in a second, and how large it is.
const RATE: u64 = 1 << 20;
const SIZE: usize = 6 << 20;

#[test]
fn of_two_objects_for_one_volume_at_the_same_moment_one_makes_it_and_the_other_deletes_nothing() -> Result<()> {
    let rivals = [STAGE.scenario("rival-a")?, STAGE.scenario("rival-b")?];
    let [first, _] = &rivals;
    first.host().their_pool("contested")?;
    for round in 0..3 {
        let called = format!("same-{round}");
        let image = image(first, &called)?;
        let both = rivals.each_ref().map(|rival| wished(rival, &called, &image));
        let both = both.into_iter().collect::<Result<Vec<_>>>()?.concat();
        // In one go: two commands would not meet.
        first.stage().plane().apply(&both)?;
        let winner = await_winner(&rivals, &called)?;
        let (one, other) = (&rivals[winner], &rivals[1 - winner]);
        let sentence = format!(
            "create failed: volume {called:?} in pool contested belongs to Volume {}/{called}, which makes it, or lost it and may get it \
             back; choose another name with the annotation crossplane.io/external-name, or delete that object",
            one.namespace().name()
        );
        let loser = other.await_object("volume", &called, |volume| {
            let (_, _, message) = condition(volume, "Synced")?;
            // Once it is there it may also be found as what it is.
            ensure!(message == sentence || message.contains(one.namespace().name()), "{message}");
            Ok(volume.clone())
        })?;
        assert_eq!(loser["metadata"]["annotations"]["libvirt.nourspeed.io/ownership"], Value::Null);
        other.delete(&[&format!("volume/{called}")])?;
        other.await_gone(&[&format!("volume/{called}")])?;
        let path = Path::new(one.observed("volume", &called)?["path"].as_str().context("read the path")?).to_owned();
        assert_eq!(sha256(&path)?, sha256(&image)?, "what one has was touched when the other went");
        assert!(is_true(&one.object("volume", &called)?, "Ready"));
        one.delete(&[&format!("volume/{called}")])?;
        one.await_gone(&[&format!("volume/{called}")])?;
        assert!(!fs::exists(&path)?, "it stayed when its owner went");
    }
    Ok(())
}

/// Waits until one of two has the volume, and answers which.
fn await_winner(rivals: &[Scenario<'_>; 2], name: &str) -> Result<usize> {
    let mut winner = None;
    eventually(PATIENCE, || {
        let ready = |rival: &Scenario<'_>| rival.object("volume", name).is_ok_and(|volume| is_true(&volume, "Ready"));
        winner = rivals.iter().position(ready);
        ensure!(winner.is_some(), "none is Ready");
        Ok(())
    })?;
    winner.context("find the winner")
}

#[test]
fn a_volume_that_is_called_otherwise_while_it_is_made_is_made_under_the_name_that_it_has() -> Result<()> {
    let scenario = STAGE.scenario("renamed")?;
    let image = image(&scenario, "first")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("one", &source(&scenario, "first", &image)?)))?;
    scenario.await_object("volume", "one", |volume| {
        let (_, _, message) = condition(volume, "Importing")?;
        let percent: u32 = message.split('%').next().unwrap_or_default().parse()?;
        ensure!(percent >= 20, "{message}");
        Ok(())
    })?;
    let name = |called: &str| {
        let named = format!("crossplane.io/external-name={called}");
        scenario.namespace().kubectl(&["annotate", "--overwrite", "volume", "one", &named])
    };
    name("other")?;
    let sentence = "create failed: the object has begun to make volume \"one\", which would be left without an owner; set the annotation \
                    crossplane.io/external-name to that name again, or delete the object and make it anew under another name";
    scenario.await_condition("volume/one", "Synced", ("False", "ReconcileError", sentence))?;
    name("one")?;
    scenario.await_ready(&["volume/one"])?;
    assert_eq!(scenario.host().volumes("renamed")?, ["one"]);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert!(!fs::exists(scenario.folder())?, "something of it is left");
    Ok(())
}

// ---- objects ----

fn image(scenario: &Scenario<'_>, name: &str) -> Result<std::path::PathBuf> {
    let image = scenario.host().path(name);
    fs::write(&image, (0..SIZE).map(|at| u8::try_from((at * 13 + at / 4096) % 251).unwrap()).collect::<Vec<_>>())?;
    Ok(image)
}

fn source(scenario: &Scenario<'_>, name: &str, image: &Path) -> Result<String> {
    let url = scenario.stage().images().serve(name, image, Manners::Steady(RATE));
    Ok(format!("format: Raw, source: {{http: {{url: '{url}', checksum: '{}'}}}}", sha256(image)?))
}

/// A volume in the pool of others, in the scenario's own namespace.
fn wished(scenario: &Scenario<'_>, name: &str, image: &Path) -> Result<String> {
    let volume = manifest("Volume", name, &format!("pool: contested, {}", source(scenario, name, image)?));
    Ok(volume.replacen("metadata: {", &format!("metadata: {{namespace: {}, ", scenario.namespace().name()), 1))
}
