//! Many hosts: which one an object is on, what is left alone there, and what else is told or kept apart host by host. A test whose
//! name begins with a row shows that row of the table of criteria that the project was given for many hosts; those of rows 1 and 29 are with
//! the double, of 8, 10 to 14, 16, 21, 22, 25, 27 and 28 also with what they are about.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod left_alone;
mod lives;
mod many;
mod order;
mod rows;

use std::{collections::BTreeMap, sync::OnceLock};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tests::{Host, Scenario, Stage, condition, eventually};

/// The annotation of placements.
const PLACEMENT: &str = "libvirt.nourspeed.io/provider-config";
/// A guest that is defined and off.
const OFF: &str = "type: Qemu, memory: 32Mi, runStrategy: Halted";
/// What holds an object until its thing is gone.
const FINALIZER: &str = "finalizer.managedresource.crossplane.io";
const OK: (&str, &str, &str) = ("True", "ReconcileSuccess", "");

/// Two hosts without any config. Each test makes its own in its own namespace, so that none sees those of another.
struct Pair {
    stage: Stage,
    other: Host,
}

static PAIR: OnceLock<Result<Pair>> = OnceLock::new();

/// One test's namespace, beside the second host.
fn scenario(name: &'static str) -> Result<(Scenario<'static>, &'static Host)> {
    let start = || {
        let stage = Stage::start_unconfigured("placement", &["--poll=1s"])?;
        Ok(Pair { stage, other: Host::start("placement-two")? })
    };
    let pair: &'static Result<Pair> = PAIR.get_or_init(start);
    let pair = pair.as_ref().map_err(|error| anyhow!("start the hosts: {error:#}"))?;
    Ok((pair.stage.scenario(name)?, &pair.other))
}

/// It is known within seconds that a host is away.
fn quick() -> Value {
    json!({"connectTimeout": "2s", "callTimeout": "5s", "keepaliveInterval": "1s", "keepaliveCount": 3})
}

/// A config of the test's own namespace for a host; `spec` is laid over it.
fn configure(scenario: &Scenario<'_>, name: &str, host: &Host, spec: &Value) -> Result<()> {
    let mut whole = json!({"uri": host.uri(), "connection": quick(), "policy": {"adopt": ["domain/*"]}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    let config = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfig",
        "metadata": {"name": name}, "spec": whole,
    });
    scenario.apply(&config.to_string()).map(drop)
}

/// Waits until a config is as wished, and returns it.
fn await_config(scenario: &Scenario<'_>, name: &str, wished: (&str, &str, &str)) -> Result<Value> {
    scenario.await_condition(&format!("providerconfig/{name}"), "Ready", wished)
}

fn set(scenario: &Scenario<'_>, object: &str, spec: &Value) -> Result<()> {
    let patch = json!({ "spec": spec }).to_string();
    scenario.namespace().kubectl(&["patch", object, "--type=merge", "-p", &patch]).map(drop)
}

/// An object with more of a spec, or other metadata.
fn object(kind: &str, name: &str, parameters: &str, (metadata, spec): (&str, &str)) -> String {
    format!(
        "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}{metadata}}}\n\
         spec: {{{spec}forProvider: {{{parameters}}}}}\n"
    )
}

/// `spec.providerConfigRef` of a config of the namespace.
fn on(config: &str) -> String {
    format!("providerConfigRef: {{kind: ProviderConfig, name: {config}}}, ")
}

/// Waits until an object is Ready and Synced, and returns the config it is on, by its annotation and its label.
fn await_placed(scenario: &Scenario<'_>, object: &str) -> Result<(String, String)> {
    scenario.await_ready(&[object])?;
    let (kind, name) = object.split_once('/').context("read kind/name")?;
    let metadata = &scenario.object(kind, name)?["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok((text(&metadata["annotations"][PLACEMENT]), text(&metadata["labels"]["libvirt.nourspeed.io/instance"])))
}

/// How often each was said of an object, by type, reason and message.
fn said(scenario: &Scenario<'_>, name: &str) -> Result<BTreeMap<(String, String, String), i64>> {
    let list: Value = serde_json::from_str(&scenario.namespace().kubectl(&["get", "events", "-o", "json"])?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = BTreeMap::new();
    for event in list["items"].as_array().into_iter().flatten() {
        if event["involvedObject"]["name"] == name {
            let key = (text(&event["type"]), text(&event["reason"]), text(&event["message"]));
            ensure!(all.insert(key, event["count"].as_i64().unwrap_or(1)).is_none(), "told by two events: {event}");
        }
    }
    Ok(all)
}

fn domains(host: &Host) -> Result<Vec<String>> {
    Ok(host.virsh(&["list", "--all", "--name"])?.split_whitespace().map(ToOwned::to_owned).collect())
}

fn has_domain(host: &Host, name: &str) -> Result<bool> {
    Ok(domains(host)?.iter().any(|domain| domain == name))
}

/// A guest that nobody has an object for.
fn define(host: &Host, name: &str) -> Result<()> {
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os></domain>"
    );
    host.virsh_xml("define", &xml).map(drop)
}

/// Waits for some passes over an object, each of which is counted.
fn await_passes(scenario: &Scenario<'_>, kind: &str, count: f64) -> Result<()> {
    let passes = || -> Result<f64> {
        let samples = scenario.stage().metrics()?;
        let of = |name: &String| {
            name.starts_with("controller_runtime_reconcile_total") && name.contains(&format!("managed/{kind}."))
        };
        Ok(samples.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum())
    };
    let before = passes()?;
    eventually(tests::PATIENCE, || {
        let now = passes()?;
        ensure!(now >= before + count, "{} passes", now - before);
        Ok(())
    })
}

fn ready(object: &Value) -> Result<(&str, &str, &str)> {
    condition(object, "Ready")
}
