//! Rows 4 to 7: which host.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, condition, eventually, manifest};

use super::*;

const UNCLEAR: &str = "cannot determine placement: 2 ProviderConfigs are available; \
                       set spec.providerConfigRef or the annotation libvirt.nourspeed.io/provider-config";

fn placed(name: &str) -> (String, String) {
    (format!("ProviderConfig/{name}"), name.to_owned())
}

// The row has the choice written to spec.providerConfigRef. By the design (§2.2) it is written to the annotation, which is the record from
// then on, and to the label; the spec is the user's alone. The row's order has the default before the search, as the design has.
#[test]
fn row_4_each_step_of_the_resolution_order_ends_on_its_host_and_is_written_down() -> Result<()> {
    let (scenario, other) = scenario("order")?;
    let (one, two) = (scenario.host(), other);
    configure(&scenario, "one", one, &json!({}))?;
    configure(&scenario, "two", two, &json!({}))?;

    // 2: the reference, before the annotation of an object that was never placed.
    let contrary = format!(", annotations: {{{PLACEMENT}: ProviderConfig/one}}");
    scenario.apply(&object("Domain", "order-ref", OFF, (&contrary, &on("two"))))?;
    // 3: the annotation.
    let annotated = format!(", annotations: {{{PLACEMENT}: ProviderConfig/two}}");
    scenario.apply(&object("Network", "order-net", "mode: Isolated", (&annotated, "")))?;
    // 4: the host of what it refers to.
    let nic = format!("{OFF}, networkInterfaces: [{{name: a, networkRef: {{name: order-net}}}}]");
    scenario.apply(&manifest("Domain", "order-follows", &nic))?;
    for object in ["domain/order-ref", "network/order-net", "domain/order-follows"] {
        assert_eq!(await_placed(&scenario, object)?, placed("two"), "{object}");
    }
    check_record_mark_and_default(&scenario, two)?;
    for domain in ["order-ref", "order-follows", "order-unclear"] {
        assert_eq!((has_domain(one, domain)?, has_domain(two, domain)?), (false, true), "{domain}");
    }
    let text = scenario.object("domain", "order-unclear")?;
    assert_eq!(text["spec"]["providerConfigRef"], Value::Null);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

fn check_record_mark_and_default(scenario: &Scenario<'_>, two: &Host) -> Result<()> {
    // 1: the record, whatever the reference says by then.
    set(scenario, "domain/order-ref", &json!({"providerConfigRef": {"kind": "ProviderConfig", "name": "one"}}))?;
    let changed = "spec.providerConfigRef names ProviderConfig";
    scenario.await_object("domain", "order-ref", |object| {
        let (status, reason, message) = condition(object, "UpToDate")?;
        ensure!((status, reason) == ("False", "PlacementChanged") && message.starts_with(changed), "{message}");
        Ok(())
    })?;
    // 7: the one that has its mark: what an earlier life of the object left.
    set(scenario, "domain/order-follows", &json!({"managementPolicies": ["Observe", "Create", "Update"]}))?;
    scenario.delete(&["domain/order-follows"])?;
    scenario.await_gone(&["domain/order-follows"])?;
    let adopt = ", annotations: {libvirt.nourspeed.io/adopt: 'true'}";
    scenario.apply(&object("Domain", "order-follows", OFF, (adopt, "")))?;
    assert_eq!(await_placed(scenario, "domain/order-follows")?, placed("two"));
    // None: nothing is made.
    scenario.apply(&manifest("Domain", "order-unclear", OFF))?;
    scenario.await_condition("domain/order-unclear", "Synced", ("False", "ReconcileError", UNCLEAR))?;
    // 5: the default, which wakes what waited for one.
    configure(scenario, "default", two, &json!({}))?;
    assert_eq!(await_placed(scenario, "domain/order-unclear")?, placed("default"));
    Ok(())
}

// The flag is the provider's, and a config of the cluster is everybody's: both want a stage of their own.
#[test]
fn row_4_what_the_flag_names_comes_before_a_config_named_default_and_the_clusters_default_before_others() -> Result<()>
{
    let flag = "--default-provider-config=ClusterProviderConfig/flagged";
    let stage = Stage::start_unconfigured("defaults", &["--poll=1s", flag])?;
    let (scenario, other) = (stage.scenario("defaults")?, Host::start("defaults-two")?);
    stage.configure("flagged", &other.uri(), "")?;
    stage.configure("default", &stage.host().uri(), "")?;
    configure(&scenario, "own", stage.host(), &json!({}))?;
    scenario.apply(&manifest("Domain", "by-flag", OFF))?;
    let on_cluster = |name: &str| (format!("ClusterProviderConfig/{name}"), name.to_owned());
    assert_eq!(await_placed(&scenario, "domain/by-flag")?, on_cluster("flagged"));
    // It came after the provider.
    assert!(stage.log().contains("the config of --default-provider-config is not there"), "{}", stage.log());
    assert_eq!((has_domain(stage.host(), "by-flag")?, has_domain(&other, "by-flag")?), (false, true));

    // Without the flag it is the cluster's default, beside two more; where the namespace has one too, it is that.
    let plain = Stage::start_unconfigured("default", &["--poll=1s"])?;
    let (scenario, second) = (plain.scenario("default")?, Host::start("default-two")?);
    plain.configure("else", &second.uri(), "")?;
    plain.configure("default", &plain.host().uri(), "")?;
    configure(&scenario, "own", &second, &json!({}))?;
    scenario.apply(&manifest("Domain", "by-default", OFF))?;
    assert_eq!(await_placed(&scenario, "domain/by-default")?, on_cluster("default"));
    assert_eq!((has_domain(plain.host(), "by-default")?, has_domain(&second, "by-default")?), (true, false));
    configure(&scenario, "default", &second, &json!({}))?;
    await_available(&scenario, &["default"])?;
    scenario.apply(&manifest("Domain", "by-own", OFF))?;
    assert_eq!(await_placed(&scenario, "domain/by-own")?, placed("default"));
    assert_eq!((has_domain(plain.host(), "by-own")?, has_domain(&second, "by-own")?), (false, true));
    Ok(())
}

#[test]
fn row_5_a_domain_that_is_on_several_hosts_is_made_on_none_and_all_are_named() -> Result<()> {
    let (scenario, other) = scenario("several")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    configure(&scenario, "two", other, &json!({}))?;
    for host in [scenario.host(), other] {
        define(host, "several")?;
    }
    let before = [scenario.host(), other].map(|host| host.virsh(&["dumpxml", "several"]).unwrap());
    let adopt = ", annotations: {libvirt.nourspeed.io/adopt: 'true'}";
    scenario.apply(&object("Domain", "several", OFF, (adopt, "")))?;
    let namespace = scenario.namespace().name();
    let message = format!(
        "cannot determine placement: the domain is on ProviderConfig {namespace}/one and on ProviderConfig {namespace}/two; \
         set spec.providerConfigRef or the annotation {PLACEMENT}"
    );
    scenario.await_condition("domain/several", "Synced", ("False", "ReconcileError", &message))?;
    await_passes(&scenario, "domain", 3.0)?;
    let seen = scenario.object("domain", "several")?;
    assert_eq!(
        (&seen["metadata"]["finalizers"], &seen["metadata"]["annotations"][PLACEMENT]),
        (&Value::Null, &Value::Null)
    );
    let after = [scenario.host(), other].map(|host| host.virsh(&["dumpxml", "several"]).unwrap());
    assert_eq!(after, before);
    // What was never placed goes at once.
    scenario.delete(&["domain/several"])?;
    scenario.await_gone(&["domain/several"])?;
    for host in [scenario.host(), other] {
        host.virsh(&["undefine", "several"])?;
    }
    Ok(())
}

// By name only where it is to be taken over, as the row says; by the mark as the design says.
#[test]
fn row_5_the_search_counts_only_when_every_host_has_answered() -> Result<()> {
    let (scenario, _) = scenario("searched")?;
    let away = Host::start("searched-two")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    configure(&scenario, "two", &away, &json!({}))?;
    await_available(&scenario, &["one", "two"])?;
    define(&away, "searched")?;
    away.freeze()?;
    let adopt = ", annotations: {libvirt.nourspeed.io/adopt: 'true'}";
    scenario.apply(&object("Domain", "searched", OFF, (adopt, "")))?;
    // One that is nowhere is as undecided: it may be on the host that says nothing.
    scenario.apply(&manifest("Domain", "searched-too", OFF))?;
    let asked =
        format!("cannot determine placement: ProviderConfig {}/two cannot be asked", scenario.namespace().name());
    for name in ["searched", "searched-too"] {
        scenario.await_object("domain", name, |object| {
            let (status, _, message) = condition(object, "Synced")?;
            ensure!(status == "False" && message.starts_with(&asked), "{message}");
            Ok(())
        })?;
    }
    await_passes(&scenario, "domain", 3.0)?;
    assert!(!has_domain(scenario.host(), "searched")? && !has_domain(scenario.host(), "searched-too")?);
    away.thaw()?;
    assert_eq!(await_placed(&scenario, "domain/searched")?, placed("two"));
    scenario.await_condition("domain/searched-too", "Synced", ("False", "ReconcileError", UNCLEAR))?;
    assert!(!has_domain(scenario.host(), "searched")? && domains(&away)? == ["searched"]);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

// The row has the source of the choice in a second annotation; here the event tells it, and the record is the first alone.
#[test]
fn row_6_the_only_config_is_assigned_once_written_down_and_told_by_an_event() -> Result<()> {
    let (scenario, _) = scenario("assigned")?;
    configure(&scenario, "lonely", scenario.host(), &json!({}))?;
    scenario.apply(&manifest("Domain", "assigned", OFF))?;
    assert_eq!(await_placed(&scenario, "domain/assigned")?, placed("lonely"));
    let message = format!("Assigned ProviderConfig {}/lonely: there is no other", scenario.namespace().name());
    let assigned = ("Normal".to_owned(), "ProviderConfigAssigned".to_owned(), message.clone());
    eventually(PATIENCE, || {
        let said = said(&scenario, "assigned")?;
        ensure!(said.get(&assigned) == Some(&1), "{said:?}");
        Ok(())
    })?;
    let log = scenario.stage().log();
    assert!(log.contains("assigned a config"), "the log does not tell");
    let before = scenario.object("domain", "assigned")?["metadata"]["resourceVersion"].clone();
    await_passes(&scenario, "domain", 5.0)?;
    let after = scenario.object("domain", "assigned")?;
    assert_eq!(after["metadata"]["resourceVersion"], before);
    assert_eq!(after["spec"]["providerConfigRef"], Value::Null);
    assert_eq!(said(&scenario, "assigned")?.get(&assigned), Some(&1));

    // Where the user says it there is nothing to tell.
    scenario.apply(&object("Domain", "assigned-not", OFF, ("", &on("lonely"))))?;
    scenario.await_ready(&["domain/assigned-not"])?;
    let told = said(&scenario, "assigned-not")?;
    assert!(told.keys().all(|(_, reason, _)| reason != "ProviderConfigAssigned"), "{told:?}");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

// The webhook refuses the edit (see the tests of the webhook); the row's PlacementConflict without it is the design's PlacementChanged.
#[test]
fn row_7_a_placed_object_stays_on_its_host_whatever_its_reference_says() -> Result<()> {
    let (scenario, other) = scenario("pinned")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    configure(&scenario, "two", other, &json!({}))?;
    scenario.apply(&object("Domain", "pinned", OFF, ("", &on("one"))))?;
    assert_eq!(await_placed(&scenario, "domain/pinned")?, placed("one"));
    let before = scenario.host().virsh(&["dumpxml", "pinned"])?;
    set(&scenario, "domain/pinned", &json!({"providerConfigRef": {"kind": "ProviderConfig", "name": "two"}}))?;
    let namespace = scenario.namespace().name();
    let message = format!(
        "spec.providerConfigRef names ProviderConfig {namespace}/two, but the object is on ProviderConfig {namespace}/one; it stays there"
    );
    let seen = scenario.await_condition("domain/pinned", "UpToDate", ("False", "PlacementChanged", &message))?;
    assert_eq!((ready(&seen)?, condition(&seen, "Synced")?), (("True", "Available", ""), OK));
    await_passes(&scenario, "domain", 3.0)?;
    assert_eq!(scenario.host().virsh(&["dumpxml", "pinned"])?, before);
    assert!(!has_domain(other, "pinned")?);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert!(!has_domain(scenario.host(), "pinned")?);
    Ok(())
}

// Without the webhook, which refuses such edits: who is put elsewhere would leave behind what was made.
#[test]
fn row_7_a_placed_object_stays_on_its_host_whatever_its_annotation_says() -> Result<()> {
    let (scenario, other) = scenario("noted")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    configure(&scenario, "default", other, &json!({}))?;
    await_available(&scenario, &["one", "default"])?;
    let note = format!(", annotations: {{{PLACEMENT}: ProviderConfig/one}}");
    let pool = format!("target: {{path: {}}}", scenario.folder());
    let objects = ["pool/noted", "network/noted", "domain/noted"];
    scenario.apply(&object("Pool", "noted", &pool, (&note, "")))?;
    scenario.apply(&object("Network", "noted", "mode: Isolated", (&note, "")))?;
    scenario.apply(&object("Domain", "noted", OFF, (&note, "")))?;
    for object in objects {
        assert_eq!(await_placed(&scenario, object)?, placed("one"), "{object}");
    }
    let here: [&[&str]; 3] =
        [&["pool-dumpxml", "noted", "--inactive"], &["net-dumpxml", "noted"], &["dumpxml", "noted"]];
    let before = here.map(|command| scenario.host().virsh(command).unwrap());
    for (edit, says) in
        [("=ProviderConfig/default", "says \"ProviderConfig/default\""), ("-", "is gone"), ("=x", "says \"x\"")]
    {
        let edit = format!("{PLACEMENT}{edit}");
        for object in objects {
            scenario.namespace().kubectl(&["annotate", "--overwrite", object, &edit])?;
        }
        for object in objects {
            let (kind, name) = object.split_once('/').unwrap();
            scenario.await_object(kind, name, |object| {
                let noted = &object["metadata"]["annotations"][PLACEMENT];
                ensure!(noted == "ProviderConfig/one", "{kind} is on {noted}");
                Ok(())
            })?;
        }
        await_put_back(&scenario, says, objects.len())?;
    }
    await_passes(&scenario, "pool", 3.0)?;
    assert_eq!(here.map(|command| scenario.host().virsh(command).unwrap()), before);
    let there = [["pool-list", "--all"], ["net-list", "--all"], ["list", "--all"]];
    for command in there {
        let listed = other.virsh(&[command[0], command[1], "--name"])?;
        assert!(!listed.lines().any(|name| name.trim() == "noted"), "{command:?}: {listed}");
    }
    scenario.delete(&objects)?;
    scenario.await_gone(&objects)?;
    for command in there {
        let listed = scenario.host().virsh(&[command[0], command[1], "--name"])?;
        assert!(!listed.lines().any(|name| name.trim() == "noted"), "{command:?}: {listed}");
    }
    Ok(())
}

/// Waits until as many events tell that what the annotation says does not count.
fn await_put_back(scenario: &Scenario<'_>, says: &str, count: usize) -> Result<()> {
    let namespace = scenario.namespace().name();
    let message = format!(
        "annotation {PLACEMENT} {says}, but the object is on ProviderConfig {namespace}/one; it stays there, and the annotation is put back"
    );
    eventually(PATIENCE, || {
        let list = scenario.namespace().kubectl(&["get", "events", "-o", "json"])?;
        let list: Value = serde_json::from_str(&list)?;
        let all = list["items"].as_array().into_iter().flatten();
        let told = all.filter(|event| event["reason"] == "PlacementChanged" && event["message"] == *message).count();
        ensure!(told == count, "{told} events: {message}");
        Ok(())
    })
}

fn await_available(scenario: &Scenario<'_>, configs: &[&str]) -> Result<()> {
    configs.iter().try_for_each(|config| await_config(scenario, config, ("True", "Available", "")).map(drop))
}
