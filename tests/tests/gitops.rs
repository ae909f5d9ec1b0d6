//! Argo CD and Flux wait for our objects, and go on, when they should.
//!
//! Flux reads by the rules of kstatus, which are written down here; Argo CD runs the script of `examples/gitops`, as is done here by Lua 5.1,
//! the version that it has built in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, Stage, condition, run, workspace};

#[test]
fn argo_cd_and_flux_tell_what_is_made_from_what_waits_fails_or_goes() -> Result<()> {
    let stage = Stage::start("gitops", &["--poll=2s"])?;
    let scenario = stage.scenario("gitops")?;
    let health = |kind: &str| -> Result<(&str, String)> {
        let object = scenario.object(kind, "gitops")?;
        Ok((kstatus(&object), argo(&object)?))
    };
    let argo_says = |status: &str, message: &str| format!("{status}: {message}");

    // Before anybody has looked at it neither goes on.
    let store = ["create", "--dry-run=server", "--output=json", "--filename=-"];
    let untouched: Value = serde_json::from_str(&stage.plane().client().run_with_input(&store, &scenario.pool())?)?;
    assert_eq!((kstatus(&untouched), argo(&untouched)?.as_str()), ("InProgress", "Progressing: Not looked at yet"));

    scenario.apply(&scenario.volume("gitops", "capacity: 1Mi"))?;
    await_reason(&scenario, "volume/gitops", "Synced", ("False", "ReconcileError"))?;
    let (flux, argo) = health("volume")?;
    assert_eq!(flux, "InProgress");
    assert!(argo.starts_with("Degraded: ") && argo.contains("Pool"), "{argo}");

    scenario.apply(&scenario.pool())?;
    scenario.await_all_ready(PATIENCE)?;
    for kind in ["pool", "volume"] {
        assert_eq!(health(kind)?, ("Current", argo_says("Healthy", "Available")), "{kind}");
    }

    // Refused: neither may take the change for made. A volume never shrinks.
    scenario.change("volume", "gitops", &json!({"capacity": "512Ki"})).context("shrink the volume")?;
    await_reason(&scenario, "volume/gitops", "Synced", ("False", "ReconcileError"))?;
    let (flux, argo) = health("volume")?;
    assert_eq!(flux, "InProgress");
    assert!(argo.starts_with("Degraded: "), "{argo}");
    scenario.change("volume", "gitops", &json!({"capacity": "2Mi"}))?;
    scenario.await_all_ready(PATIENCE)?;
    assert_eq!(health("volume")?, ("Current", argo_says("Healthy", "Available")));

    let pause = |value: &str| {
        let annotation = format!("crossplane.io/paused{value}");
        stage.plane().kubectl(&["annotate", "--namespace", scenario.namespace().name(), "pool", "gitops", &annotation])
    };
    pause("=true")?;
    await_reason(&scenario, "pool/gitops", "Synced", ("False", "ReconcilePaused"))?;
    assert!(health("pool")?.1.starts_with("Suspended: "), "{:?}", health("pool")?);
    pause("-")?;
    scenario.await_all_ready(PATIENCE)?;

    // The volume holds its pool.
    scenario.delete(&["pool/gitops"])?;
    assert_eq!(health("pool")?.0, "Terminating");

    let config = stage.plane().client().get(&["clusterproviderconfig", "default"])?.context("find the config")?;
    assert_eq!((kstatus(&config), self::argo(&config)?.split(':').next()), ("Current", Some("Healthy")));
    Ok(())
}

#[test]
fn a_change_is_not_taken_for_made_before_a_pass_has_made_it() -> Result<()> {
    let object = |generation: i64, ready: &str| {
        json!({
            "kind": "Pool",
            "metadata": {"generation": 2},
            "status": {
                "observedGeneration": generation,
                "conditions": [
                    {"type": "Ready", "status": ready, "reason": "Why"}, {"type": "Synced", "status": "True", "reason": "ReconcileSuccess"}
                ],
            },
        })
    };
    let both = |object: &Value| -> Result<_> { Ok((kstatus(object), argo(object)?)) };
    let progressing = |why: &str| ("InProgress", format!("Progressing: {why}"));
    assert_eq!(both(&object(1, "True"))?, progressing("The change has not been made yet"));
    assert_eq!(both(&object(2, "False"))?, progressing("Why"));
    assert_eq!(both(&object(2, "True"))?, ("Current", "Healthy: Why".to_owned()));
    let untouched = json!({"kind": "Pool", "metadata": {"generation": 1}});
    assert_eq!(argo(&untouched)?, "Progressing: Not looked at yet");
    Ok(())
}

fn await_reason(scenario: &Scenario<'_>, object: &str, kind: &str, wanted: (&str, &str)) -> Result<()> {
    let (what, name) = object.split_once('/').context("read kind/name")?;
    scenario.await_object(what, name, |object| {
        let (status, reason, message) = condition(object, kind)?;
        ensure!((status, reason) == wanted, "{kind} is {status} because {reason}: {message}");
        Ok(())
    })
}

/// What kstatus computes for an object of a kind that it has no rules of its own for.
fn kstatus(object: &Value) -> &'static str {
    let status = &object["status"];
    let condition = |kind: &str| {
        let found = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?;
        found["status"].as_str()
    };
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating";
    }
    let observed = &status["observedGeneration"];
    if !observed.is_null() && *observed != object["metadata"]["generation"] {
        return "InProgress";
    }
    match (condition("Stalled"), condition("Reconciling"), condition("Ready")) {
        (Some("True"), _, _) => "Failed",
        (_, Some("True"), _) | (_, _, Some("False" | "Unknown")) => "InProgress",
        (_, _, _) => "Current",
    }
}

/// What Argo CD shows: the status and the message.
fn argo(object: &Value) -> Result<String> {
    let file = workspace().join("examples/gitops/argocd-cm.yaml");
    let read = |text: &str| serde_saphyr::from_str::<Value>(text).context("read YAML");
    let map = read(&std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?)?;
    let kinds = read(map["data"]["resource.customizations"].as_str().context("find the customizations")?)?;
    let script = kinds["libvirt.m.nourspeed.io/*"]["health.lua"].as_str().context("find the script")?.to_owned();
    let program = format!(
        "local obj = {}\nlocal health = (function()\n{script}\nend)()\nio.write(health.status .. ': ' .. health.message)",
        lua(object)
    );
    run("lua5.1", &["-e", &program])
}

/// A value as Lua writes it.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        // Lua reads bytes by their decimal number, whatever they are.
        Value::String(text) => {
            let bytes: Vec<String> = text.bytes().map(|byte| format!("\\{byte:03}")).collect();
            format!("\"{}\"", bytes.concat())
        }
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| format!("[{}] = {}", lua(&json!(key)), lua(value));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}
