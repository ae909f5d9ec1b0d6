//! Pauses, and every class of management policies.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, Stage, condition, eventually};

use crate::{
    ABSENT, AVAILABLE, OK, STAGE, await_settled, check_generations, events, has_pool, look, patch, types,
    wait_for_polls, with_policies,
};

#[test]
fn a_paused_object_is_left_alone_and_goes_on_when_it_is_not_paused_any_more() -> Result<()> {
    let scenario = STAGE.scenario("pause")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_ready(&["pool/pause"])?;
    let ways = [
        (
            json!({"metadata": {"annotations": {"crossplane.io/paused": "true"}}}),
            json!({"metadata": {"annotations": {"crossplane.io/paused": null}}}),
            "Reconciliation is paused via the pause annotation",
        ),
        (
            json!({"spec": {"managementPolicies": []}}),
            json!({"spec": {"managementPolicies": null}}),
            "Reconciliation is paused: managementPolicies is empty",
        ),
    ];
    for (pause, unpause, message) in &ways {
        patch(&scenario, "pool/pause", pause)?;
        await_paused(&scenario, message)?;
        scenario.host().virsh(&["pool-destroy", "pause"])?;
        scenario.change("pool", "pause", &json!({"autostart": true}))?;
        wait_for_polls();
        assert_eq!(look(&scenario)?, (false, false), "it is stopped still, and not changed");
        let pool = await_paused(&scenario, message)?;
        assert_eq!(condition(&pool, "Ready")?, AVAILABLE, "nobody has looked");

        patch(&scenario, "pool/pause", unpause)?;
        await_settled(&scenario, "pool/pause")?;
        assert_eq!(look(&scenario)?, (true, true));
        scenario.change("pool", "pause", &json!({"autostart": false}))?;
        scenario.await_host("(true, false)", |scenario| Ok(format!("{:?}", look(scenario)?)))?;
    }

    // Also its deletion is paused.
    let (pause, unpause, message) = &ways[0];
    patch(&scenario, "pool/pause", pause)?;
    await_paused(&scenario, message)?;
    scenario.delete(&["pool/pause"])?;
    wait_for_polls();
    let pool = await_paused(&scenario, message)?;
    assert!(!pool["metadata"]["deletionTimestamp"].is_null() && has_pool(&scenario, "pause")?);
    patch(&scenario, "pool/pause", unpause)?;
    scenario.await_gone(&["pool/pause"])?;
    assert!(!has_pool(&scenario, "pause")?);
    assert!(events(&scenario, "pause")?.contains(&("Normal".to_owned(), "ReconciliationPaused".to_owned())));
    Ok(())
}

fn await_paused(scenario: &Scenario<'_>, message: &str) -> Result<Value> {
    scenario.await_condition("pool/pause", "Synced", ("False", "ReconcilePaused", message))?;
    scenario.await_condition("pool/pause", "UpToDate", ("Unknown", "ReconcilePaused", ""))
}

#[test]
fn an_object_that_only_looks_makes_nothing_and_goes_as_it_came() -> Result<()> {
    let scenario = STAGE.scenario("onlylook")?;
    scenario.apply(&with_policies(&scenario, "Observe"))?;
    let pool = scenario.await_condition("pool/onlylook", "Synced", ABSENT)?;
    assert_eq!(types(&pool), ["Synced"].into(), "nothing is known of what is not there");
    assert_eq!(pool["metadata"]["finalizers"], Value::Null);
    wait_for_polls();
    assert!(!has_pool(&scenario, "onlylook")?);
    scenario.delete(&["pool/onlylook"])?;
    scenario.await_gone(&["pool/onlylook"])
}

#[test]
fn without_create_nothing_is_made_and_nothing_updated_that_is_not_there() -> Result<()> {
    let scenario = STAGE.scenario("nocreate")?;
    scenario.apply(&with_policies(&scenario, "Observe, Update, LateInitialize"))?;
    scenario.await_condition("pool/nocreate", "Synced", ABSENT)?;
    wait_for_polls();
    assert!(!has_pool(&scenario, "nocreate")?);
    let update = ("Normal".to_owned(), "UpdatedExternalResource".to_owned());
    assert!(!events(&scenario, "nocreate")?.contains(&update));
    // What the policies allow from now on is done.
    patch(&scenario, "pool/nocreate", &json!({"spec": {"managementPolicies": ["*"]}}))?;
    await_settled(&scenario, "pool/nocreate")?;
    assert!(has_pool(&scenario, "nocreate")?);
    Ok(())
}

#[test]
fn without_update_what_differs_is_shown_and_stays() -> Result<()> {
    let scenario = STAGE.scenario("noupdate")?;
    scenario.apply(&with_policies(&scenario, "Observe, Create, Delete"))?;
    await_settled(&scenario, "pool/noupdate")?;
    let before = events(&scenario, "noupdate")?;
    scenario.change("pool", "noupdate", &json!({"autostart": true}))?;
    let drift = ("False", "UpdateRestricted", "autostart: false, wished true");
    let pool = scenario.await_condition("pool/noupdate", "UpToDate", drift)?;
    assert_eq!((condition(&pool, "Synced")?, condition(&pool, "Ready")?), (OK, AVAILABLE));
    check_generations(&pool);
    wait_for_polls();
    assert_eq!(look(&scenario)?, (true, false));
    assert_eq!(events(&scenario, "noupdate")?, before, "nothing was done");
    let log = scenario.stage().log();
    let told = |line: &&str| line.contains("tolerating") && line.contains("/noupdate") && line.contains(drift.2);
    assert!(log.lines().any(|line| told(&line)), "the log does not tell of it");
    patch(
        &scenario,
        "pool/noupdate",
        &json!({"spec": {"managementPolicies": ["Observe", "Create", "Update", "Delete"]}}),
    )?;
    await_settled(&scenario, "pool/noupdate")?;
    assert_eq!(look(&scenario)?, (true, true));
    scenario.delete(&["pool/noupdate"])?;
    scenario.await_gone(&["pool/noupdate"])?;
    assert!(!has_pool(&scenario, "noupdate")?);
    Ok(())
}

#[test]
fn without_delete_the_object_goes_and_what_it_made_stays() -> Result<()> {
    let scenario = STAGE.scenario("orphan")?;
    scenario.apply(&with_policies(&scenario, "Observe, Create, Update"))?;
    await_settled(&scenario, "pool/orphan")?;
    let before = scenario.host().virsh(&["pool-dumpxml", "orphan"])?;
    scenario.delete(&["pool/orphan"])?;
    scenario.await_gone(&["pool/orphan"])?;
    assert_eq!(scenario.host().virsh(&["pool-dumpxml", "orphan"])?, before);
    eventually(PATIENCE, || {
        let left = scenario.namespace().kubectl(&["get", "providerconfigusages", "-o", "name"])?;
        ensure!(left.is_empty(), "it is counted as a user still: {left}");
        Ok(())
    })?;
    let deleted = ("Normal".to_owned(), "DeletedExternalResource".to_owned());
    assert!(!events(&scenario, "orphan")?.contains(&deleted));
    scenario.host().virsh(&["pool-destroy", "orphan"])?;
    scenario.host().virsh(&["pool-undefine", "orphan"]).map(drop)
}

#[test]
fn without_delete_a_volume_s_file_and_description_stay_byte_for_byte() -> Result<()> {
    let scenario = STAGE.scenario("reclaim")?;
    let policies = "spec: {managementPolicies: [Observe, Create, Update], ";
    let volume = |name: &str, format: &str| {
        let kept = scenario.volume(name, &format!("format: {format}, capacity: 1Mi"));
        kept.replace("spec: {", policies)
    };
    scenario.apply(&(scenario.pool() + &volume("raw", "Raw") + &volume("qcow2", "Qcow2")))?;
    let names = ["raw", "qcow2"];
    let objects = names.map(|name| format!("volume/{name}"));
    scenario.await_ready(&[&objects[0], &objects[1], "pool/reclaim"])?;
    let look = || -> Result<Vec<(String, Vec<u8>)>> {
        scenario.host().virsh(&["pool-refresh", "reclaim"])?;
        let one = |name| {
            let content = std::fs::read(format!("{}/{name}", scenario.folder()))?;
            let described = scenario.host().virsh(&["vol-dumpxml", "--pool", "reclaim", name])?;
            // Whoever looks at a file is the last who did.
            let lines = described.lines().filter(|line| !line.contains("<atime>"));
            Ok((lines.collect::<Vec<_>>().join("\n"), content))
        };
        names.into_iter().map(one).collect()
    };
    // What a guest has written.
    std::fs::write(format!("{}/raw", scenario.folder()), vec![7; 1 << 20])?;
    let before = look()?;
    scenario.delete(&[&objects[0], &objects[1]])?;
    scenario.await_gone(&[&objects[0], &objects[1]])?;
    wait_for_polls();
    let after = look()?;
    for (name, (before, after)) in names.iter().zip(before.iter().zip(&after)) {
        assert_eq!(before.0, after.0, "{name}");
        assert!(before.1 == after.1, "the content of {name} changed");
    }
    // Nor does a pool take away what is in it.
    scenario.delete(&["pool/reclaim"])?;
    scenario.await_object("pool", "reclaim", |pool| {
        let (ready, reason, _) = condition(pool, "Ready")?;
        ensure!((ready, reason) == ("False", "InUse"), "Ready is {ready} by {reason}");
        Ok(())
    })?;
    for name in names {
        scenario.host().virsh(&["vol-delete", "--pool", "reclaim", name])?;
    }
    scenario.await_gone(&["pool/reclaim"])
}

#[test]
fn policies_that_make_no_sense_together_are_refused() -> Result<()> {
    let scenario = STAGE.scenario("nonsense")?;
    scenario.apply(&with_policies(&scenario, "Observe, Update, Delete"))?;
    let message = "`spec.managementPolicies` is set to a value([Observe Update Delete]) which is not supported. Check docs for \
                   supported policies";
    let pool = scenario.await_condition("pool/nonsense", "Synced", ("False", "ReconcileError", message))?;
    assert_eq!((types(&pool), &pool["metadata"]["finalizers"]), (["Synced"].into(), &Value::Null));
    let refused = ("Warning".to_owned(), "CannotUseInvalidManagementPolicy".to_owned());
    eventually(PATIENCE, || {
        ensure!(events(&scenario, "nonsense")? == [refused.clone()].into(), "{:?}", events(&scenario, "nonsense"));
        Ok(())
    })?;
    assert!(!has_pool(&scenario, "nonsense")?);
    patch(&scenario, "pool/nonsense", &json!({"spec": {"managementPolicies": ["*"]}}))?;
    await_settled(&scenario, "pool/nonsense")
}

#[test]
fn where_policies_are_not_honoured_all_is_managed_or_refused() -> Result<()> {
    let stage = Stage::start("deaf", &["--poll=1s", "--enable-management-policies=false"])?;
    let scenario = stage.scenario("deaf")?;
    scenario.apply(&with_policies(&scenario, "Observe"))?;
    let message = "`spec.managementPolicies` is set to a non-default value but the feature is not enabled: [Observe]";
    scenario.await_condition("pool/deaf", "Synced", ("False", "ReconcileError", message))?;
    scenario.apply(&with_policies(&scenario, ""))?;
    await_settled(&scenario, "pool/deaf")?;
    scenario.delete(&["pool/deaf"])?;
    scenario.await_gone(&["pool/deaf"])?;
    assert!(!has_pool(&scenario, "deaf")?);
    Ok(())
}
