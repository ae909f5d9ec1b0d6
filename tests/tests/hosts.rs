//! Hosts that freeze, die, are not there or are too many: said with the cause, nothing lost, the others unaffected.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, Scenario, Stage, condition, eventually, manifest, manifest_on, quickest_of};

/// It is known within seconds that a host is away.
const QUICK: &str = "connectTimeout: 2s, callTimeout: 5s, keepaliveInterval: 1s, keepaliveCount: 3";
/// How soon a host that is back must be used again: the longest pause between attempts is five seconds, and the machine may be busy.
const SOON: Duration = Duration::from_secs(40);

#[test]
fn row_10_a_frozen_host_is_told_keeps_what_was_known_and_the_other_host_does_not_notice() -> Result<()> {
    let (stage, other) = two_hosts("frozen")?;
    let scenario = stage.scenario("frozen")?;
    let (kept, usual) = prepare(&scenario)?;
    scenario.host().freeze()?;
    let cause = "connect failed: ClusterProviderConfig one: the host did not answer within 2 s; libvirt there is stopped or hangs: \
                 restart it, its guests go on meanwhile";
    check_outage(&scenario, &kept, ("HostUnreachable", cause))?;
    check_other_host(&scenario, &other, usual)?;
    check_deletion_waits(&scenario)?;
    scenario.host().thaw()?;
    check_recovery(&scenario)
}

#[test]
fn a_killed_daemon_is_found_again_and_its_guests_never_stopped() -> Result<()> {
    let (stage, other) = two_hosts("killed")?;
    let scenario = stage.scenario("killed")?;
    let (kept, usual) = prepare(&scenario)?;
    let guests = scenario.host().pids("qemu-system-x86")?;
    assert_eq!(guests.len(), 2);
    scenario.host().kill_daemon()?;
    let cause = format!(
        "connect failed: ClusterProviderConfig one: Failed to connect socket to '{}': Connection refused; start libvirt on the host",
        scenario.host().socket().display()
    );
    check_outage(&scenario, &kept, ("ConnectionRefused", &cause))?;
    check_other_host(&scenario, &other, usual)?;
    check_deletion_waits(&scenario)?;
    assert_eq!(scenario.host().pids("qemu-system-x86")?, guests);
    scenario.host().restart_daemon()?;
    check_recovery(&scenario)?;
    let left = scenario.host().pids("qemu-system-x86")?;
    assert!(
        left.len() == 1 && guests.contains(&left[0]),
        "one guest was deleted, the other runs on: {guests:?} {left:?}"
    );
    Ok(())
}

#[test]
fn a_config_that_leads_nowhere_says_so_and_works_as_soon_as_it_is_mended() -> Result<()> {
    let stage = Stage::start_unconfigured("nowhere", &["--poll=2s"])?;
    let scenario = stage.scenario("nowhere")?;
    stage.configure("one", "qemu+unix:///system?socket=/nowhere/sock", QUICK)?;
    scenario.apply(&manifest("Network", "net", "mode: Isolated"))?;
    let cause = "Failed to connect socket to '/nowhere/sock': No such file or directory; start libvirt on the host, and mount its socket into the pod";
    let message = format!("connect failed: ClusterProviderConfig one: {cause}");
    let net = scenario.await_condition("network/net", "Synced", ("False", "ReconcileError", &message))?;
    assert_eq!(condition(&net, "UpToDate")?, ("Unknown", "Unreachable", ""));
    assert!(condition(&net, "Ready").is_err(), "nothing is known of it yet");
    assert_eq!(net["metadata"]["finalizers"], Value::Null, "nothing to hold it for");
    eventually(PATIENCE, || {
        let config = await_config(&stage, "one", ("False", "SocketMissing", cause))?;
        let status = (&config["status"]["users"], &config["status"]["host"]);
        ensure!(status == (&json!(1), &Value::Null), "{status:?}");
        Ok(())
    })?;
    stage.configure("one", &stage.host().uri(), QUICK)?;
    scenario.await_all_ready(SOON)?;
    let config = await_config(&stage, "one", ("True", "Available", ""))?;
    let host = &config["status"]["host"];
    assert_eq!((&host["uuid"], &host["hostname"]), (&json!(scenario.host().uuid()), &json!("nowhere")));
    Ok(())
}

#[test]
fn a_config_of_another_namespace_that_leads_nowhere_holds_up_nobodys_guests() -> Result<()> {
    let stage = Stage::start("dead", &["--poll=2s"])?;
    let (scenario, other) = (stage.scenario("dead")?, stage.scenario("dead-other")?);
    let config = |uri: &str| {
        json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfig",
            "metadata": {"name": "dead"}, "spec": {"uri": uri},
        })
    };
    let nowhere = config("qemu+unix:///system?socket=/nowhere/sock").to_string();
    other.apply(&nowhere)?;
    let guest = manifest("Domain", "dead", "type: Qemu, memory: 32Mi, runStrategy: Halted");
    scenario.apply(&guest)?;
    scenario.await_ready(&["domain/dead"])?;
    let vanish = || scenario.host().virsh(&["undefine", "dead"]);
    vanish()?;
    scenario.await_state("shut off")?;

    // One of its own namespace may have the guest.
    scenario.apply(&nowhere)?;
    vanish()?;
    let unknown = |object: &Value| {
        let (_, reason, message) = condition(object, "Ready")?;
        let words = format!("ProviderConfig {}/dead cannot be asked", scenario.namespace().name());
        ensure!(reason == "WhereaboutsUnknown" && message.contains(&words), "{reason}: {message}");
        Ok(())
    };
    scenario.await_object("domain", "dead", unknown)?;
    scenario.delete(&["domain/dead"])?;
    scenario.await_object("domain", "dead", unknown)?;
    scenario.namespace().kubectl(&["delete", "providerconfig", "dead"])?;
    scenario.await_gone(&["domain/dead"])
}

#[test]
fn row_27_a_config_in_use_is_not_deleted_before_its_last_user() -> Result<()> {
    let stage = Stage::start("inuse", &["--poll=2s"])?;
    let scenario = stage.scenario("inuse")?;
    scenario.apply(&(manifest("Network", "a", "mode: Isolated") + &manifest("Network", "b", "mode: Isolated")))?;
    scenario.await_all_ready(PATIENCE)?;
    eventually(PATIENCE, || {
        let users = &config(&stage, "default")?["status"]["users"];
        ensure!(*users == 2, "users: {users}");
        Ok(())
    })?;
    stage.plane().kubectl(&["delete", "clusterproviderconfig", "default", "--wait=false"])?;
    eventually(PATIENCE, || {
        let config = config(&stage, "default")?;
        let found = condition(&config, "Terminating")?;
        ensure!(found == ("True", "InUse", "Blocking deletion while usages still exist"), "{found:?}");
        Ok(())
    })?;
    scenario.apply(&manifest("Network", "late", "mode: Isolated"))?;
    let sentence = "ClusterProviderConfig default is being deleted and takes nothing new; name another one in spec.providerConfigRef";
    scenario.await_object("network", "late", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.ends_with(sentence), "{message}");
        Ok(())
    })?;
    scenario.delete(&["network/late"])?;
    scenario.await_gone(&["network/late"])?;
    scenario.namespace().kubectl(&["delete", "network", "a"])?;
    eventually(PATIENCE, || {
        let users = &config(&stage, "default")?["status"]["users"];
        ensure!(*users == 1, "users: {users}");
        Ok(())
    })?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    eventually(PATIENCE, || {
        ensure!(stage.plane().client().get(&["clusterproviderconfig", "default"])?.is_none(), "still there");
        Ok(())
    })?;
    assert_eq!(scenario.host().everything()?, Vec::<String>::new());
    Ok(())
}

#[test]
fn an_object_is_placed_where_it_says_stays_there_and_may_not_span_hosts() -> Result<()> {
    let (stage, other) = two_hosts("placed")?;
    let scenario = stage.scenario("placed")?;
    let isolated = "mode: Isolated";
    for name in ["by-ref", "by-annotation"] {
        apply_on(&scenario, None, "Network", name, isolated)?;
        let message = "cannot determine placement: 2 ProviderConfigs are available; \
                       set spec.providerConfigRef or the annotation libvirt.nourspeed.io/provider-config";
        scenario.await_condition(&format!("network/{name}"), "Synced", ("False", "ReconcileError", message))?;
    }
    assert_eq!((scenario.host().everything()?, networks(&other)?), (vec![], vec![]));

    apply_on(&scenario, Some("one"), "Network", "by-ref", isolated)?;
    let annotation = "libvirt.nourspeed.io/provider-config=ClusterProviderConfig/two";
    scenario.namespace().kubectl(&["annotate", "network", "by-annotation", annotation])?;
    scenario.await_all_ready(PATIENCE)?;
    assert_eq!(
        (scenario.host().everything()?, networks(&other)?),
        (vec!["network by-ref".to_owned()], vec!["by-annotation".to_owned()])
    );
    check_stays(&scenario, &other)?;
    check_same_host(&scenario)
}

/// A ref that is changed later changes one condition and nothing else.
fn check_stays(scenario: &Scenario<'_>, other: &Host) -> Result<()> {
    let before = scenario.object("network", "by-ref")?;
    apply_on(scenario, Some("two"), "Network", "by-ref", "mode: Isolated")?;
    let message = "spec.providerConfigRef names ClusterProviderConfig two, but the object is on ClusterProviderConfig one; it stays there";
    let wished = ("False", "PlacementChanged", message);
    let after = scenario.await_condition("network/by-ref", "UpToDate", wished)?;
    assert_eq!(condition(&after, "Ready")?, ("True", "Available", ""));
    assert_eq!(condition(&after, "Synced")?, ("True", "ReconcileSuccess", ""));
    assert_eq!(after["status"]["atProvider"], before["status"]["atProvider"]);
    assert_eq!(after["metadata"]["annotations"], before["metadata"]["annotations"]);
    assert_eq!(
        (scenario.host().everything()?, networks(other)?),
        (vec!["network by-ref".to_owned()], vec!["by-annotation".to_owned()])
    );
    Ok(())
}

fn check_same_host(scenario: &Scenario<'_>) -> Result<()> {
    let nics =
        "networkInterfaces: [{name: a, networkRef: {name: by-ref}}, {name: b, networkRef: {name: by-annotation}}]";
    let both = format!("type: Qemu, memory: 64Mi, {nics}");
    apply_on(scenario, None, "Domain", "spanning", &both)?;
    let message = "cannot determine placement: Network by-ref is on ClusterProviderConfig one, Network by-annotation on ClusterProviderConfig two; \
                   resources must use the same libvirt instance";
    scenario.await_condition("domain/spanning", "Synced", ("False", "ReconcileError", message))?;
    apply_on(scenario, Some("one"), "Domain", "spanning", &both)?;
    let message = "cannot resolve references: network by-annotation uses providerConfig two, but domain uses providerConfig one. \
                   Resources must use the same libvirt instance";
    let domain = scenario.await_condition("domain/spanning", "Synced", ("False", "ReconcileError", message))?;
    assert_eq!(domain["metadata"]["finalizers"], Value::Null);
    // A guest that names no host follows its network.
    let one = "type: Qemu, memory: 64Mi, networkInterfaces: [{name: b, networkRef: {name: by-annotation}}]";
    apply_on(scenario, None, "Domain", "following", one)?;
    let ready = ("True", "Available", "");
    let domain = scenario.await_condition("domain/following", "Ready", ready)?;
    let placed = &domain["metadata"]["annotations"]["libvirt.nourspeed.io/provider-config"];
    assert_eq!(placed, "ClusterProviderConfig/two");
    Ok(())
}

// ---- the stations of an outage ----

/// A stage whose host is config `one`, and a second host, config `two`.
fn two_hosts(name: &str) -> Result<(Stage, Host)> {
    let stage = Stage::start_unconfigured(name, &["--poll=2s"])?;
    let other = Host::start(&format!("{name}-two"))?;
    stage.configure("one", &stage.host().uri(), QUICK)?;
    stage.configure("two", &other.uri(), QUICK)?;
    for name in ["one", "two"] {
        await_config(&stage, name, ("True", "Available", ""))?;
    }
    Ok((stage, other))
}

const GUEST: &str = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";

/// Objects on both hosts. Answers those of host one, and how long a guest on host two takes to be Ready.
fn prepare(scenario: &Scenario<'_>) -> Result<(Vec<Value>, Duration)> {
    for (kind, name, parameters) in
        [("Domain", "kept", GUEST), ("Domain", "leaving", GUEST), ("Network", "net", "mode: Isolated")]
    {
        apply_on(scenario, Some("one"), kind, name, parameters)?;
    }
    scenario.await_all_ready(PATIENCE)?;
    let begin = Instant::now();
    apply_on(scenario, Some("two"), "Domain", "first", GUEST)?;
    scenario.await_all_ready(PATIENCE)?;
    let usual = begin.elapsed();
    Ok((vec![scenario.object("domain", "kept")?, scenario.object("network", "net")?], usual))
}

/// `Synced=False` with the cause, `UpToDate` unknown, everything else as it was; the config says it too.
fn check_outage(scenario: &Scenario<'_>, kept: &[Value], (wanted, cause): (&str, &str)) -> Result<()> {
    for before in kept {
        let name = before["metadata"]["name"].as_str().unwrap_or_default();
        let kind = before["kind"].as_str().unwrap_or_default();
        let after = eventually(PATIENCE, || {
            let object = scenario.object(kind, name)?;
            let (status, reason, message) = condition(&object, "Synced")?;
            ensure!((status, reason, message) == ("False", "ReconcileError", cause), "{kind} {name}: {message}");
            Ok(object)
        })?;
        assert_eq!(condition(&after, "UpToDate")?, ("Unknown", "Unreachable", ""), "{name}");
        assert_eq!(condition(&after, "Ready")?, ("True", "Available", ""), "{name}");
        assert_eq!(after["status"]["atProvider"], before["status"]["atProvider"], "{name}");
        assert_eq!(after["metadata"]["finalizers"], before["metadata"]["finalizers"], "{name}");
    }
    let config = config(scenario.stage(), "one")?;
    let (status, reason, _) = condition(&config, "Ready")?;
    assert_eq!((status, reason), ("False", wanted));
    assert_eq!(config["status"]["host"]["uuid"], scenario.host().uuid(), "what was known of the host is kept");
    assert_eq!(config["status"]["users"], 3);
    await_config(scenario.stage(), "two", ("True", "Available", "")).map(drop)
}

/// A guest on the healthy host is Ready in its usual time, and the one that was there stays Synced.
fn check_other_host(scenario: &Scenario<'_>, other: &Host, usual: Duration) -> Result<()> {
    // What would be wrong is a wait for the other host, whose limits are seconds: every guest would have it.
    let (best, _) = quickest_of(["second", "third", "fourth"], |name| {
        apply_on(scenario, Some("two"), "Domain", name, GUEST)?;
        scenario.await_condition(&format!("domain/{name}"), "Ready", ("True", "Available", ""))
    })?;
    assert!(best < usual + Duration::from_secs(2), "{best:?}, usually {usual:?}");
    assert_eq!(condition(&scenario.object("domain", "first")?, "Synced")?, ("True", "ReconcileSuccess", ""));
    assert_eq!(other.virsh(&["list", "--name"])?.split_whitespace().count(), 4);
    Ok(())
}

/// A deletion during the outage waits with its finalizer, and says for what.
fn check_deletion_waits(scenario: &Scenario<'_>) -> Result<()> {
    scenario.delete(&["domain/leaving"])?;
    sleep(Duration::from_secs(5));
    let object = scenario.object("domain", "leaving")?;
    assert_eq!(object["metadata"]["finalizers"], json!(["finalizer.managedresource.crossplane.io"]));
    let (status, reason, message) = condition(&object, "Synced")?;
    assert_eq!((status, reason), ("False", "ReconcileError"));
    assert!(message.starts_with("connect failed: ClusterProviderConfig one: "), "{message}");
    Ok(())
}

/// The host is back: everything is in step again within seconds, and what was deleted meanwhile is gone.
fn check_recovery(scenario: &Scenario<'_>) -> Result<()> {
    eventually(SOON, || {
        ensure!(scenario.namespace().get("domain", "leaving")?.is_none(), "the deleted guest is still there");
        Ok(())
    })
    .with_context(|| scenario.stage().log())?;
    scenario.await_all_ready(SOON)?;
    for object in ["domain/kept", "network/net"] {
        let (kind, name) = object.split_once('/').unwrap_or_default();
        assert_eq!(condition(&scenario.object(kind, name)?, "UpToDate")?.0, "True", "{object}");
    }
    await_config(scenario.stage(), "one", ("True", "Available", ""))?;
    assert_eq!(scenario.host().everything()?, ["domain kept", "network net"]);
    Ok(())
}

// ---- objects ----

fn apply_on(scenario: &Scenario<'_>, config: Option<&str>, kind: &str, name: &str, parameters: &str) -> Result<()> {
    scenario.apply(&manifest_on(config, kind, name, parameters)).map(drop)
}

fn config(stage: &Stage, name: &str) -> Result<Value> {
    stage.plane().client().get(&["clusterproviderconfig", name])?.with_context(|| format!("find config {name}"))
}

fn await_config(stage: &Stage, name: &str, wished: (&str, &str, &str)) -> Result<Value> {
    eventually(PATIENCE, || {
        let config = config(stage, name)?;
        let found = condition(&config, "Ready")?;
        ensure!(found == wished, "config {name}: {found:?}, wished {wished:?}");
        Ok(config)
    })
}

fn networks(host: &Host) -> Result<Vec<String>> {
    Ok(host.virsh(&["net-list", "--all", "--name"])?.split_whitespace().map(ToOwned::to_owned).collect())
}
