//! Connection Secrets on a real API server: what they say, whose they are, and that they go with their objects.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{Scenario, SharedStage, condition};

static STAGE: SharedStage = SharedStage::new("secrets", &["--poll=1s"]);

const TYPE: &str = "connection.crossplane.io/v1alpha1";

/// The same object, with a Secret of this name.
fn telling(object: &str, secret: &str) -> String {
    let telling = object.replacen("spec: {", &format!("spec: {{writeConnectionSecretToRef: {{name: {secret}}}, "), 1);
    assert_ne!(telling, object, "the object is written otherwise");
    telling
}

/// What a Secret says, as text. The values of a Secret are base64 in JSON, so `go-template` reads them.
fn said(scenario: &Scenario<'_>, secret: &str) -> Result<Value> {
    let template = r#"go-template={{range $key, $value := .data}}{{$key}}={{$value | base64decode}}{{"\n"}}{{end}}"#;
    let text = scenario.namespace().kubectl(&["get", "secret", secret, "-o", template])?;
    let entries = text.lines().filter_map(|line| line.split_once('='));
    Ok(entries.map(|(key, value)| (key.to_owned(), json!(value))).collect())
}

/// Waits until a Secret says this.
fn await_said(scenario: &Scenario<'_>, secret: &str, wanted: &Value) -> Result<()> {
    scenario.await_object("secret", secret, |_| {
        let said = said(scenario, secret)?;
        ensure!(said == *wanted, "it says {said}, wanted {wanted}");
        Ok(())
    })
}

#[test]
fn every_kind_tells_how_to_use_what_it_made_and_takes_the_secret_with_it() -> Result<()> {
    let scenario = STAGE.scenario("telling")?;
    let all = telling(&scenario.pool(), "pool")
        + &telling(&scenario.volume("root", "capacity: 1Mi"), "volume")
        + &telling(&scenario.seed("x", "#!/bin/sh\n"), "seed")
        + &telling(&scenario.network(), "network")
        + &telling(&scenario.idle_guest(", graphics: [{type: Vnc, listen: 127.0.0.1}]"), "guest");
    scenario.apply(&all)?;
    let objects = ["pool/telling", "volume/root", "cloudinit/telling", "network/telling", "domain/telling"];
    scenario.await_ready(&objects)?;

    let seen = |kind: &str, name: &str| scenario.observed(kind, name);
    let folder = scenario.folder();
    await_said(&scenario, "pool", &json!({"path": folder}))?;
    await_said(&scenario, "volume", &json!({"path": format!("{folder}/root"), "pool": "telling", "name": "root"}))?;
    await_said(&scenario, "seed", &json!({"path": seen("cloudinit", "telling")?["path"]}))?;
    await_said(&scenario, "network", &json!({"name": "telling", "bridge": seen("network", "telling")?["bridge"]}))?;
    let guest = seen("domain", "telling")?;
    let graphics = format!("vnc://127.0.0.1:{}", guest["graphics"][0]["hostPort"]);
    let uri = scenario.host().uri();
    await_said(&scenario, "guest", &json!({"uuid": guest["id"], "uri": uri, "graphics": graphics}))?;
    for (secret, object) in ["pool", "volume", "seed", "network", "guest"].into_iter().zip(objects) {
        let (kind, name) = object.split_once('/').context("read kind/name")?;
        let owner = scenario.object(kind, name)?["metadata"]["uid"].clone();
        let secret = scenario.object("secret", secret)?;
        let owners = &secret["metadata"]["ownerReferences"];
        assert_eq!((&secret["type"], &owners[0]["uid"]), (&json!(TYPE), &owner));
        assert_eq!(owners[0]["controller"], json!(true));
    }

    // What somebody deletes or overwrites comes back; what they add stays.
    scenario.namespace().kubectl(&["delete", "secret", "pool"])?;
    scenario.namespace().kubectl(&[
        "patch",
        "secret",
        "volume",
        "--type=merge",
        "-p",
        r#"{"stringData": {"path": "wrong", "more": "theirs"}}"#,
    ])?;
    await_said(&scenario, "pool", &json!({"path": folder}))?;
    let more = json!({"path": format!("{folder}/root"), "pool": "telling", "name": "root", "more": "theirs"});
    await_said(&scenario, "volume", &more)?;

    scenario.delete(&objects)?;
    scenario.await_gone(&objects)?;
    scenario.await_gone(&["secret/pool", "secret/volume", "secret/seed", "secret/network", "secret/guest"])
}

#[test]
fn a_secret_of_somebody_else_is_left_alone_until_another_is_named() -> Result<()> {
    let scenario = STAGE.scenario("refusing")?;
    scenario.apply(
        "{apiVersion: v1, kind: Secret, metadata: {name: theirs}, type: Opaque, stringData: {path: precious}}",
    )?;
    scenario.apply(&telling(&scenario.pool(), "theirs"))?;
    let message =
        "cannot create or update connection secret: refusing to modify uncontrolled secret of type \"Opaque\"";
    scenario.await_condition("pool/refusing", "Synced", ("False", "ReconcileError", message))?;
    assert_eq!(said(&scenario, "theirs")?, json!({"path": "precious"}));

    scenario.apply(&telling(&scenario.pool(), "ours"))?;
    scenario.await_ready(&["pool/refusing"])?;
    await_said(&scenario, "ours", &json!({"path": scenario.folder()}))?;

    // A second object that names it gets a refusal, and the first one's details stay.
    let second = scenario.volume("second", "capacity: 1Mi");
    scenario.apply(&telling(&second, "ours"))?;
    let second = scenario.await_object("volume", "second", |object| {
        let (status, reason, _) = condition(object, "Synced")?;
        ensure!((status, reason) == ("False", "ReconcileError"), "not refused yet");
        Ok(object.clone())
    })?;
    let uid = second["metadata"]["uid"].as_str().unwrap_or_default();
    let message =
        format!("cannot create or update connection secret: existing secret is not controlled by UID \"{uid}\"");
    assert_eq!(condition(&second, "Synced")?, ("False", "ReconcileError", message.as_str()));
    await_said(&scenario, "ours", &json!({"path": scenario.folder()}))?;
    scenario.delete(&["volume/second"])?;
    scenario.await_gone(&["volume/second"])
}
