//! Configs whose host is named by a Secret: read at once, followed when it changes, from the namespaces that are allowed, and never told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, condition, manifest};

// Nothing here is found out by looking again after a while.
static STAGE: SharedStage = SharedStage::new("credentials", &["--poll=1h"]);

/// A Secret `host` whose key `credentials` holds this.
fn secret(content: &Value) -> String {
    let content = content.as_str().map_or_else(|| content.to_string(), ToOwned::to_owned);
    let data = json!({"credentials": content});
    document(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "host"}, "stringData": data}))
}

fn document(object: &Value) -> String {
    format!("---\n{object}\n")
}

fn config(kind: &str, name: &str, secret: &Value) -> String {
    let spec = json!({"credentials": {"source": "Secret", "secretRef": secret}});
    let api = "libvirt.m.nourspeed.io/v1alpha1";
    document(&json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}))
}

fn network_on(kind: &str, config: &str, name: &str) -> String {
    let placed = format!("spec: {{providerConfigRef: {{kind: {kind}, name: {config}}}, ");
    manifest("Network", name, "mode: Isolated").replacen("spec: {", &placed, 1)
}

fn await_ready(scenario: &Scenario<'_>, kind: &str, name: &str, wished: (&str, &str, &str)) -> Result<()> {
    scenario.await_object(kind, name, |config| {
        let found = condition(config, "Ready")?;
        ensure!(found == wished, "{found:?}, wished {wished:?}");
        Ok(())
    })
}

#[test]
fn a_config_follows_its_secret_at_once_and_keeps_what_was_made() -> Result<()> {
    let scenario = STAGE.scenario("rotated")?;
    let namespace = scenario.namespace().name().to_owned();
    let reference = json!({"namespace": namespace, "name": "host", "key": "credentials"});
    scenario.stage().plane().apply(&config("ClusterProviderConfig", "rotated", &reference))?;
    let missing = format!("ClusterProviderConfig rotated: cannot get credentials: there is no Secret {namespace}/host");
    let kind = "clusterproviderconfig";
    await_ready(&scenario, kind, "rotated", ("False", "ConfigInvalid", &missing))?;

    scenario.apply(
        &(secret(&json!({"uri": scenario.host().uri()})) + &network_on("ClusterProviderConfig", "rotated", "turning")),
    )?;
    scenario.await_ready(&["network/turning"])?;
    await_ready(&scenario, kind, "rotated", ("True", "Available", ""))?;

    let uuid = scenario.observed("network", "turning")?["id"].clone();
    scenario.apply(&secret(&json!({"uri": "qemu+unix:///system?socket=/nowhere/sock"})))?;
    let gone = "Failed to connect socket to '/nowhere/sock': No such file or directory; start libvirt on the host, and mount its socket into the pod";
    await_ready(&scenario, kind, "rotated", ("False", "SocketMissing", gone))?;
    scenario.namespace().kubectl(&["annotate", "network", "turning", "crossplane.io/reconcile-requested-at=1"])?;
    let message = format!("connect failed: ClusterProviderConfig rotated: {gone}");
    scenario.await_condition("network/turning", "Synced", ("False", "ReconcileError", &message))?;
    scenario.apply(&secret(&json!({"uri": scenario.host().uri()})))?;
    scenario.await_condition("network/turning", "Synced", ("True", "ReconcileSuccess", ""))?;
    await_ready(&scenario, kind, "rotated", ("True", "Available", ""))?;
    assert_eq!(scenario.observed("network", "turning")?["id"], uuid);

    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    scenario.stage().plane().kubectl(&["delete", "clusterproviderconfig", "rotated", "--timeout=60s"]).map(drop)
}

#[test]
fn what_a_secret_holds_is_said_nowhere_when_it_cannot_be_used() -> Result<()> {
    let scenario = STAGE.scenario("secretive")?;
    let reference = json!({"name": "host", "key": "credentials"});
    scenario.apply(&config("ProviderConfig", "own", &reference))?;
    let namespace = scenario.namespace().name();
    let said = format!("Secret {namespace}/host: key credentials");
    let (password, user) = ("hunter2", "qemu+tcp://root:hunter2@rack4/system");
    let not_json = format!("{said} is not a JSON object with the key uri and no other");
    let unusable =
        format!("{said}: the URI cannot be used; write one such as qemu:///system or qemu+tls://host/system");
    let cases = [
        (json!(password), &not_json),
        (json!({"password": password}), &not_json),
        (json!({"uri": "qemu:///system", "password": password}), &not_json),
        (json!({"uri": user}), &unusable),
    ];
    for (content, message) in cases {
        scenario.apply(&secret(&content))?;
        let message = format!("ProviderConfig {namespace}/own: cannot get credentials: {message}");
        await_ready(&scenario, "providerconfig", "own", ("False", "ConfigInvalid", &message))?;
    }
    assert!(!scenario.stage().log().contains(password));
    let whole = scenario.namespace().get("providerconfig", "own")?.context("find the config")?;
    assert!(!whole.to_string().contains(password));
    Ok(())
}

#[test]
fn a_config_of_a_namespace_reads_its_own_secrets_and_no_others() -> Result<()> {
    let scenario = STAGE.scenario("own")?;
    let elsewhere = json!({"namespace": "kube-system", "name": "host", "key": "credentials"});
    let refused = format!("{:#}", scenario.apply(&config("ProviderConfig", "own", &elsewhere)).unwrap_err());
    let sentence =
        "a ProviderConfig reads Secrets of its own namespace only: leave spec.credentials.secretRef.namespace out";
    assert!(refused.contains(sentence), "{refused}");
    let nowhere = json!({"name": "host", "key": "credentials"});
    let refused = scenario.stage().plane().apply(&config("ClusterProviderConfig", "own", &nowhere)).unwrap_err();
    let sentence = "a ClusterProviderConfig has no namespace: spec.credentials.secretRef.namespace is needed";
    assert!(format!("{refused:#}").contains(sentence), "{refused:#}");
    let path = json!({"namespace": "../host", "name": "host"});
    let refused = scenario.stage().plane().apply(&config("ClusterProviderConfig", "own", &path)).unwrap_err();
    let sentence = "spec.credentials.secretRef.namespace: Invalid value: \"../host\"";
    assert!(format!("{refused:#}").contains(sentence), "{refused:#}");

    let own = config("ProviderConfig", "own", &nowhere);
    scenario.apply(&(own + &secret(&json!({"uri": scenario.host().uri()}))))?;
    scenario.apply(&network_on("ProviderConfig", "own", "own"))?;
    scenario.await_ready(&["network/own"])?;
    scenario.await_object("providerconfig", "own", |config| {
        ensure!(config["status"]["host"]["uuid"] == scenario.host().uuid(), "{}", config["status"]);
        Ok(())
    })?;

    // A namespace that is deleted loses its Secrets first.
    scenario.namespace().kubectl(&["delete", "secret", "host"])?;
    let missing = format!(
        "cannot get credentials: there is no Secret {}/host; what it said last is used until the provider starts again",
        scenario.namespace().name()
    );
    await_ready(&scenario, "providerconfig", "own", ("False", "CredentialsMissing", &missing))?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(scenario.host().virsh(&["net-list", "--all", "--name"])?.matches("own").count(), 0);
    Ok(())
}
