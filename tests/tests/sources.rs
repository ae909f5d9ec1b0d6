//! Secrets and `ConfigMaps` that seeds are made of: watched by name, so that a change is in the guest's drive at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{collections::BTreeMap, fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests::{PATIENCE, Scenario, Stage, eventually, manifest};

/// The file of the guest's CD-ROM.
fn drive(scenario: &Scenario<'_>) -> Result<String> {
    scenario.live("//disk[@device='cdrom']/source/@file")
}

/// What the guest's seed is made of, if it holds all of these texts and lies in the guest's drive.
fn seed_with(scenario: &Scenario<'_>, texts: &[&str]) -> Result<()> {
    let path = scenario.observed("cloudinit", scenario.name())?["path"].as_str().unwrap_or_default().to_owned();
    let image = fs::read(&path).with_context(|| format!("read {path}"))?;
    let holds = |text: &&&str| image.windows(text.len()).any(|window| window == text.as_bytes());
    let missing: Vec<_> = texts.iter().filter(|text| !holds(text)).collect();
    let drive = drive(scenario)?;
    ensure!(
        missing.is_empty() && drive == format!("file=\"{path}\""),
        "{path} lacks {missing:?}; in the drive: {drive}"
    );
    Ok(())
}

#[test]
fn a_secret_and_a_config_map_that_change_are_in_the_guests_seed_at_once() -> Result<()> {
    let stage = Stage::start("rotation", &["--poll=1h"])?;
    let scenario = stage.scenario("rotation")?;
    let secret =
        |value: &str| format!("{{apiVersion: v1, kind: Secret, metadata: {{name: s}}, stringData: {{user: {value}}}}}");
    let map =
        |value: &str| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, data: {{vendor: {value}}}}}");
    let seed = "poolRef: {name: rotation}, userData: {secretKeyRef: {name: s, key: user}}, \
                vendorData: {configMapKeyRef: {name: m, key: vendor}}";
    scenario.apply(&(scenario.pool() + &manifest("CloudInit", "rotation", seed)))?;
    let namespace = scenario.namespace().name();
    let waits = |message: String| {
        let message = format!("cannot resolve references: {message}");
        scenario.await_condition("cloudinit/rotation", "Synced", ("False", "ReconcileError", &message)).map(drop)
    };
    let missing = |field: &str, kind: &str, name: &str| {
        format!(
            "{field}: cannot get referenced resource: waiting for {kind} {name}: there is none in namespace {namespace}"
        )
    };
    waits(missing("userData", "Secret", "s"))?;
    scenario.apply("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {other: x}}")?;
    waits(
        "userData: referenced field was empty (referenced resource may not yet be ready): waiting for Secret s: it has no key user"
            .to_owned(),
    )?;
    scenario.apply(&secret("first-user"))?;
    waits(missing("vendorData", "ConfigMap", "m"))?;
    scenario.apply(&map("first-vendor"))?;
    scenario.apply(&manifest("Domain", "rotation", "type: Qemu, memory: 64Mi, cloudInitRef: {name: rotation}"))?;
    scenario.await_ready(&["cloudinit/rotation", "domain/rotation"])?;
    seed_with(&scenario, &["first-user", "first-vendor"])?;

    for (change, texts) in [
        (secret("second-user"), ["second-user", "first-vendor"]),
        (map("second-vendor"), ["second-user", "second-vendor"]),
    ] {
        scenario.apply(&change)?;
        scenario.await_object("domain", "rotation", |_| seed_with(&scenario, &texts))?;
    }
    // One that goes leaves the seed as it is, and is said.
    scenario.namespace().kubectl(&["delete", "secret", "s"])?;
    waits(missing("userData", "Secret", "s"))?;
    seed_with(&scenario, &["second-user", "second-vendor"])?;
    scenario.apply(&secret("second-user"))?;
    scenario.await_ready(&["cloudinit/rotation", "domain/rotation"])
}

/// A figure of the API server over Secrets by its labels, as far as those begin with these.
fn figures(stage: &Stage, name: &str, labels: &[&str]) -> Result<BTreeMap<String, u64>> {
    let text = stage.plane().kubectl(&["get", "--raw", "/metrics"])?;
    let start = format!("{name}{{");
    let is_meant = |line: &&str| {
        line.starts_with(&start)
            && line.contains("resource=\"secrets\"")
            && labels.iter().all(|label| line.contains(label))
    };
    let rows = text.lines().filter(is_meant).filter_map(|line| line.rsplit_once(' '));
    Ok(rows.filter_map(|(row, value)| Some((row.to_owned(), value.parse().ok()?))).collect())
}

/// How often Secrets were asked for by name, which is how the provider does it. The controllers of the control plane list all there
/// are, whenever they have lost their watch.
fn reads(stage: &Stage) -> Result<BTreeMap<String, u64>> {
    let mut reads = figures(stage, "apiserver_request_total", &["scope=\"resource\""])?;
    reads.retain(|row, _| ["GET", "LIST"].iter().any(|verb| row.contains(&format!("verb=\"{verb}\""))));
    Ok(reads)
}

#[test]
fn what_a_seed_reads_is_watched_by_name_and_for_as_long_as_it_is_read() -> Result<()> {
    let stage = Stage::start("watching", &["--poll=1s"])?;
    let scenario = stage.scenario("watching")?;
    let await_watches = |wanted: u64| {
        eventually(PATIENCE, || {
            let labels = ["verb=\"WATCH\"", "scope=\"resource\""];
            let seen: u64 = figures(&stage, "apiserver_longrunning_requests", &labels)?.values().sum();
            ensure!(seen == wanted, "{seen} watches, wanted {wanted}\n{}", stage.log());
            Ok(())
        })
    };
    scenario.apply("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {user: one, other: two}}")?;
    let seed = |name: &str, key: &str| {
        manifest(
            "CloudInit",
            name,
            &format!("poolRef: {{name: watching}}, userData: {{secretKeyRef: {{name: s, key: {key}}}}}"),
        )
    };
    scenario.apply(&(scenario.pool() + &seed("one", "user") + &seed("two", "other")))?;
    scenario.await_ready(&["cloudinit/one", "cloudinit/two"])?;
    // Both read it through one watch, and nothing is asked for from pass to pass.
    await_watches(1)?;
    let before = reads(&stage)?;
    sleep(Duration::from_secs(5));
    assert_eq!(reads(&stage)?, before, "reads within five polls");
    scenario.apply(&manifest("CloudInit", "one", "poolRef: {name: watching}, userData: {inline: x}"))?;
    scenario.await_ready(&["cloudinit/one"])?;
    await_watches(1)?;
    scenario.delete(&["cloudinit/two"])?;
    scenario.await_gone(&["cloudinit/two"])?;
    await_watches(0)
}
