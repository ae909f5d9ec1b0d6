//! Configs, those who use them, and the ways in which both go: by a namespace, in the foreground, behind the provider's back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Provider, Scenario, SharedStage, Stage, eventually, manifest};

static STAGE: SharedStage = SharedStage::new("spaces", &["--poll=2s"]);

const FINALIZER: &str = "finalizer.providerconfigusage.crossplane.io";

/// What Crossplane grants a provider: nothing of it is the deletion of a usage.
const GRANTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: provider}
rules:
- {apiGroups: [libvirt.m.nourspeed.io], resources: ['*'], verbs: [get, list, watch, create, update, patch]}
- {apiGroups: [''], resources: [secrets, configmaps, events], verbs: [get, list, watch, create, update, patch, delete]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, watch, create, update, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: provider}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: provider}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: providers}]
";

#[test]
fn a_namespace_that_is_deleted_takes_everything_on_the_host_with_it() -> Result<()> {
    let scenario = STAGE.scenario("leaving")?;
    scenario.apply(&(own_config(&scenario) + &everything(&scenario)))?;
    let objects = scenario.await_all_ready(2 * PATIENCE)?;
    assert_eq!(objects.len(), 5);
    for object in objects.values() {
        let usage = scenario.object("providerconfigusage", object["metadata"]["uid"].as_str().unwrap())?;
        assert_eq!(usage["metadata"]["finalizers"], json!([FINALIZER]), "{}", usage["resourceRef"]);
    }
    await_users(&scenario, 5)?;

    let patience = format!("--timeout={}s", 2 * PATIENCE.as_secs());
    let deleted = scenario.stage().plane().kubectl(&["delete", "namespace", scenario.namespace().name(), &patience]);
    deleted.with_context(|| left(&scenario))?;
    let ours = |thing: &String| thing.contains(scenario.name());
    assert_eq!(scenario.host().everything()?.into_iter().filter(ours).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(refused_usages(scenario.stage())?, 0, "no usage was asked for in a namespace that goes");
    Ok(())
}

#[test]
fn row_27_a_config_of_a_namespace_counts_its_users_and_does_not_go_before_them() -> Result<()> {
    let scenario = STAGE.scenario("inuse")?;
    scenario.apply(&(own_config(&scenario) + &on_own(&manifest("Network", "inuse-a", "mode: Isolated"))))?;
    scenario.apply(&on_own(&manifest("Network", "inuse-b", "mode: Isolated")))?;
    scenario.await_all_ready(PATIENCE)?;
    await_users(&scenario, 2)?;
    assert_eq!(scenario.object("providerconfig", "own")?["metadata"]["finalizers"], json!(["in-use.crossplane.io"]));

    scenario.delete(&["providerconfig/own"])?;
    let blocked = "Blocking deletion while usages still exist";
    let config = scenario.await_condition("providerconfig/own", "Terminating", ("True", "InUse", blocked))?;
    check_event(&scenario, &config, blocked)?;
    scenario.delete(&["network/inuse-a"])?;
    await_users(&scenario, 1)?;
    scenario.delete(&["network/inuse-b"])?;
    scenario.await_gone(&["network/inuse-b", "providerconfig/own"])?;
    await_no_usage(&scenario)
}

#[test]
fn a_config_waits_for_an_object_on_its_host_whose_usage_was_lost() -> Result<()> {
    let scenario = STAGE.scenario("lost")?;
    scenario.apply(&(own_config(&scenario) + &on_own(&manifest("Network", "lost", "mode: Isolated"))))?;
    scenario.await_all_ready(PATIENCE)?;
    await_users(&scenario, 1)?;
    scenario.namespace().kubectl(&["delete", "providerconfigusages", "--all", "--wait=false"])?;
    for usage in usages(&scenario)? {
        let name = usage["metadata"]["name"].as_str().unwrap();
        let bare = r#"{"metadata":{"finalizers":null}}"#;
        scenario.namespace().kubectl(&["patch", "providerconfigusage", name, "--type=merge", "-p", bare])?;
    }
    await_no_usage(&scenario)?;
    scenario.delete(&["providerconfig/own"])?;
    let blocked = "Blocking deletion while usages still exist";
    scenario.await_condition("providerconfig/own", "Terminating", ("True", "InUse", blocked))?;
    scenario.delete(&["network/lost"])?;
    scenario.await_gone(&["network/lost", "providerconfig/own"])
}

#[test]
fn an_object_deleted_in_the_foreground_goes_from_its_host_and_then_from_kubernetes() -> Result<()> {
    let scenario = STAGE.scenario("foreground")?;
    scenario.apply(&(own_config(&scenario) + &on_own(&manifest("Network", "foreground", "mode: Isolated"))))?;
    scenario.await_all_ready(PATIENCE)?;
    scenario.namespace().kubectl(&["delete", "network", "foreground", "--cascade=foreground", "--wait=false"])?;
    scenario.await_gone(&["network/foreground"])?;
    assert!(!scenario.host().everything()?.contains(&"network foreground".to_owned()));
    await_no_usage(&scenario)
}

#[test]
fn usages_without_an_object_are_cleared_away_as_far_as_that_is_granted() -> Result<()> {
    let stage = Stage::start("stale", &["--poll=2s"])?;
    let scenario = stage.scenario("stale")?;
    scenario.apply(&(own_config(&scenario) + &on_own(&manifest("Network", "stale", "mode: Isolated"))))?;
    scenario.apply(&stale_usage())?;
    scenario.await_all_ready(PATIENCE)?;
    scenario.await_gone(&["providerconfigusage/stale"])?;

    // The object goes while no provider lives to let its usage go.
    stage.end_provider()?.term()?;
    scenario.namespace().kubectl(&[
        "patch",
        "network",
        "stale",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":null}}"#,
    ])?;
    scenario.delete(&["network/stale"])?;
    eventually(PATIENCE, || {
        let usages = usages(&scenario)?;
        ensure!(usages.iter().all(|usage| !usage["metadata"]["deletionTimestamp"].is_null()), "not yet deleted");
        Ok(())
    })?;
    assert_eq!(usages(&scenario)?.len(), 1);

    stage.plane().apply(GRANTS)?;
    let mut provider = Provider::start(&stage.plane().kubeconfig_of("provider"), &["--poll=2s"])?;
    provider.await_ready()?;
    await_no_usage(&scenario).with_context(|| provider.log())?;
    scenario.apply(&stale_usage())?;
    eventually(PATIENCE, || {
        ensure!(refused_deletions(&provider)? == 1, "no deletion was refused");
        Ok(())
    })?;
    // It counts for nothing, and nobody asks a second time, whatever else happens.
    await_users(&scenario, 0)?;
    scenario.delete(&["providerconfig/own"])?;
    scenario.await_gone(&["providerconfig/own"]).with_context(|| provider.log())?;
    assert_eq!(refused_deletions(&provider)?, 1);
    assert_eq!(usages(&scenario)?.len(), 1);
    Ok(())
}

// ---- objects ----

/// The stage's host as `ProviderConfig own`.
fn own_config(scenario: &Scenario<'_>) -> String {
    format!(
        "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: ProviderConfig\nmetadata: {{name: own}}\n\
         spec: {{uri: '{}'}}\n",
        scenario.host().uri()
    )
}

/// The same objects on `ProviderConfig own`.
fn on_own(manifests: &str) -> String {
    manifests.replace("spec: {forProvider", "spec: {providerConfigRef: {kind: ProviderConfig, name: own}, forProvider")
}

/// One of each kind, the seed from a Secret.
fn everything(scenario: &Scenario<'_>) -> String {
    let name = scenario.name();
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: seed}\nstringData: {text: secret}\n";
    let parameters = format!("poolRef: {{name: {name}}}, userData: {{secretKeyRef: {{name: seed, key: text}}}}");
    let guest =
        format!(", networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}}}], cloudInitRef: {{name: {name}}}");
    let world = scenario.idle_world(&guest) + &scenario.network() + &manifest("CloudInit", name, &parameters);
    secret.to_owned() + &on_own(&world)
}

/// What a backup brings back of a usage: neither owner nor object.
fn stale_usage() -> String {
    "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: ProviderConfigUsage\n\
     metadata: {name: stale, labels: {crossplane.io/provider-config: own, crossplane.io/provider-config-kind: ProviderConfig}}\n\
     providerConfigRef: {kind: ProviderConfig, name: own}\n\
     resourceRef: {apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: Network, name: gone, uid: stale}\n"
        .to_owned()
}

// ---- what is there ----

fn usages(scenario: &Scenario<'_>) -> Result<Vec<Value>> {
    let text = scenario.namespace().kubectl(&["get", "providerconfigusages", "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn await_no_usage(scenario: &Scenario<'_>) -> Result<()> {
    eventually(PATIENCE, || {
        let left = usages(scenario)?;
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
}

fn await_users(scenario: &Scenario<'_>, wanted: u64) -> Result<()> {
    scenario.await_object("providerconfig", "own", |config| {
        let users = &config["status"]["users"];
        ensure!(*users == wanted, "users: {users}, wanted {wanted}");
        Ok(())
    })
}

/// The event on a config that may not go yet, whole but for its name and times.
fn check_event(scenario: &Scenario<'_>, config: &Value, message: &str) -> Result<()> {
    let event = eventually(PATIENCE, || {
        let args = ["get", "events", "--field-selector=reason=UsageAccounting", "-o", "json"];
        let list: Value = serde_json::from_str(&scenario.namespace().kubectl(&args)?)?;
        list["items"].get(0).cloned().context("find the event UsageAccounting")
    })?;
    let (meta, involved) = (&config["metadata"], &event["involvedObject"]);
    assert_eq!((&event["type"], &event["message"], &event["count"]), (&json!("Warning"), &json!(message), &json!(1)));
    assert_eq!(event["source"]["component"], "providerconfig/providerconfig.libvirt.m.nourspeed.io");
    assert_eq!(
        (&involved["kind"], &involved["name"], &involved["uid"]),
        (&json!("ProviderConfig"), &json!("own"), &meta["uid"])
    );
    Ok(())
}

/// How often a usage was refused because its namespace goes.
fn refused_usages(stage: &Stage) -> Result<u64> {
    let text = stage.plane().kubectl(&["get", "--raw", "/metrics"])?;
    let wanted = ["verb=\"POST\"", "code=\"403\"", "resource=\"providerconfigusages\""];
    let lines = text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let ours = lines.filter(|line| wanted.iter().all(|label| line.contains(label)));
    ours.map(|line| line.rsplit_once(' ').context("read a sample")?.1.parse::<u64>().map_err(Into::into)).sum()
}

/// How often the provider was not allowed to delete. The API server itself does not count what it does not authorize.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and small")]
fn refused_deletions(provider: &Provider) -> Result<u64> {
    let samples = provider.metrics()?.into_iter().filter(|(name, _)| {
        name.starts_with("rest_client_requests_total{")
            && name.contains("method=\"DELETE\"")
            && name.contains("code=\"403\"")
    });
    Ok(samples.map(|(_, count)| count as u64).sum())
}

/// What holds up a namespace.
fn left(scenario: &Scenario<'_>) -> String {
    let get = ["get", "managed,providerconfigs,providerconfigusages", "-o", "yaml"];
    let objects = scenario.namespace().kubectl(&get).unwrap_or_default();
    format!("left: {objects}\nthe provider's log:\n{}", scenario.stage().log())
}
