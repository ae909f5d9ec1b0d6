//! The figures have the names and labels of Crossplane's and controller-runtime's dashboards, and count what happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]
#![allow(clippy::float_cmp, reason = "what is compared are counts, which are whole")]

use std::collections::HashMap;

use anyhow::{Result, ensure};
use tests::{PATIENCE, Scenario, Stage, eventually, manifest};

const GVK: &str = "{gvk=\"libvirt.m.nourspeed.io/v1alpha1, Kind=Network\"}";
const CONTROLLER: &str = "managed/network.libvirt.m.nourspeed.io";

/// A figure, zero where there is no such line.
fn figure(samples: &HashMap<String, f64>, name: &str) -> f64 {
    samples.get(name).copied().unwrap_or_default()
}

fn managed(name: &str) -> String {
    format!("crossplane_managed_resource_{name}{GVK}")
}

fn controller(name: &str) -> String {
    format!("controller_runtime_{name}{{controller=\"{CONTROLLER}\"}}")
}

fn queue(name: &str) -> String {
    format!("workqueue_{name}{{name=\"{CONTROLLER}\"}}")
}

fn result(result: &str) -> String {
    format!("controller_runtime_reconcile_total{{controller=\"{CONTROLLER}\",result=\"{result}\"}}")
}

#[test]
fn the_life_of_an_object_is_counted_under_the_names_that_dashboards_know() -> Result<()> {
    let stage = Stage::start("figures", &["--poll=2s"])?;
    let scenario = stage.scenario("figures")?;
    scenario.apply(&scenario.network())?;
    scenario.await_ready(&["network/figures"])?;
    let made = eventually(PATIENCE, || {
        let samples = stage.metrics()?;
        let ready = figure(&samples, &managed("first_time_to_readiness_seconds_count"));
        ensure!(ready > 0.0, "no network is counted as ready");
        // A pass may be under way: what it is counted by at its beginning and at its end is the same afterwards.
        let results: f64 = ["requeue_after", "success", "error"].map(|of| figure(&samples, &result(of))).iter().sum();
        let ended = figure(&samples, &controller("reconcile_time_seconds_count"));
        let durations = ["queue", "work"].map(|of| figure(&samples, &queue(&format!("{of}_duration_seconds_count"))));
        ensure!(results == ended && durations[0] == durations[1], "{results} results, {ended} ends, {durations:?}");
        Ok(samples)
    })?;
    for name in
        ["exists", "ready", "synced", "first_time_to_reconcile_seconds_count", "first_time_to_readiness_seconds_count"]
    {
        assert_eq!(figure(&made, &managed(name)), 1.0, "{name}");
    }
    let passes = figure(&made, &result("requeue_after"));
    assert!(passes >= 1.0, "{passes}");
    assert_eq!(figure(&made, &controller("max_concurrent_reconciles")), 100.0);
    assert!(figure(&made, &queue("adds_total")) >= passes);
    for name in [
        controller("active_workers"),
        queue("depth"),
        queue("unfinished_work_seconds"),
        queue("longest_running_processor_seconds"),
    ] {
        assert!(made.contains_key(&name), "{name} is missing");
    }
    assert!(
        made.keys().any(|name| name.starts_with("rest_client_requests_total{code=\"200\",host=\"127.0.0.1:")),
        "no request is counted"
    );

    check_drift(&scenario)?;

    // What fails is an error and is tried again.
    scenario.apply(&manifest("Network", "bad", "mode: Nat, ips: [{cidr: 10.11.12.1/99}]"))?;
    eventually(PATIENCE, || {
        let samples = stage.metrics()?;
        let errors = [result("error"), controller("reconcile_errors_total"), queue("retries_total")];
        let counted = errors.map(|name| figure(&samples, &name));
        ensure!(counted.iter().all(|count| *count >= 1.0), "{counted:?}");
        Ok(())
    })?;

    check_forgotten(&scenario)
}

#[test]
fn how_full_each_pool_is_can_be_watched_until_it_is_gone() -> Result<()> {
    let stage = Stage::start("full", &["--poll=1s"])?;
    let scenario = stage.scenario("full")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_ready(&["pool/full"])?;
    let labels = format!(
        "{{host=\"ClusterProviderConfig default\",namespace=\"{}\",name=\"full\"}}",
        scenario.namespace().name()
    );
    let name = |size: &str| format!("provider_libvirt_pool_{size}_bytes{labels}");
    let shown = || -> Result<Vec<Option<f64>>> {
        let samples = stage.metrics()?;
        Ok(["capacity", "allocation", "available"].iter().map(|size| samples.get(&name(size)).copied()).collect())
    };
    let of_host = || -> Result<Vec<Option<f64>>> {
        let info = scenario.host().virsh(&["pool-info", "--bytes", "full"])?;
        let size = |word: &str| info.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        Ok(["Capacity:", "Allocation:", "Available:"].map(size).to_vec())
    };
    let agree = || {
        eventually(PATIENCE, || {
            let (shown, wanted) = (shown()?, of_host()?);
            ensure!(shown == wanted && wanted.iter().all(Option::is_some), "{shown:?} are shown, {wanted:?} are there");
            Ok(wanted)
        })
    };
    let empty = agree()?;
    // What is made through libvirt counts at once, and the object is not written for it.
    let version = |scenario: &Scenario<'_>| -> Result<serde_json::Value> {
        Ok(scenario.object("pool", "full")?["metadata"]["resourceVersion"].clone())
    };
    let before = version(&scenario)?;
    scenario.host().virsh(&["vol-create-as", "full", "x", "64M", "--allocation", "64M"])?;
    let fuller = agree()?;
    assert!(fuller[1] > empty[1], "{fuller:?} after {empty:?}");
    assert_eq!(version(&scenario)?, before);
    // Also of a pool whose definition for its next start, which tells no size, differs from the one in force.
    scenario.change("pool", "full", &serde_json::json!({"target": {"permissions": {"mode": "0750"}}}))?;
    scenario.await_host("<mode>0750</mode>", |scenario| {
        let shown = ["pool-dumpxml", "--inactive", "full", "--xpath", "/pool/target/permissions/mode"];
        scenario.host().virsh(&shown)
    })?;
    scenario.host().virsh(&["vol-delete", "x", "--pool", "full"])?;
    assert_eq!(agree()?[1], empty[1]);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    eventually(PATIENCE, || {
        let samples = stage.metrics()?;
        ensure!(!samples.keys().any(|name| name.starts_with("provider_libvirt_pool_")), "its figures are there still");
        Ok(())
    })
}

/// What its user changes is no drift; what the host changed is one when it is mended.
fn check_drift(scenario: &Scenario<'_>) -> Result<()> {
    let drifts = || Ok::<_, anyhow::Error>(figure(&scenario.stage().metrics()?, &managed("drift_seconds_count")));
    let autostart = |wanted: &str| {
        scenario.await_host(wanted, |scenario| {
            let info = scenario.host().virsh(&["net-info", "figures"])?;
            Ok(info.lines().find_map(|line| line.strip_prefix("Autostart:")).unwrap_or_default().to_owned())
        })
    };
    scenario.change("network", "figures", &serde_json::json!({"autostart": true}))?;
    autostart("yes")?;
    scenario.await_condition("network/figures", "UpToDate", ("True", "ObserveMatched", ""))?;
    assert_eq!(drifts()?, 0.0);
    scenario.host().virsh(&["net-autostart", "figures", "--disable"])?;
    autostart("yes")?;
    eventually(PATIENCE, || {
        ensure!(drifts()? == 1.0, "no drift is counted");
        Ok(())
    })?;
    let sum = figure(&scenario.stage().metrics()?, &managed("drift_seconds_sum"));
    assert!(sum > 0.0 && sum < PATIENCE.as_secs_f64(), "{sum}");
    Ok(())
}

/// Nothing is kept of what is gone.
fn check_forgotten(scenario: &Scenario<'_>) -> Result<()> {
    let both = ["network/figures", "network/bad"];
    scenario.delete(&both)?;
    scenario.await_gone(&both)?;
    eventually(PATIENCE, || {
        let samples = scenario.stage().metrics()?;
        // The other was never on a host, so Kubernetes deleted it at once.
        ensure!(figure(&samples, &managed("deletion_seconds_count")) == 1.0, "its deletion is not counted");
        ensure!(figure(&samples, &managed("exists")) == 0.0, "they are counted still");
        ensure!(!samples.keys().any(|name| name.contains("figures")), "a figure names it still");
        Ok(())
    })
}
