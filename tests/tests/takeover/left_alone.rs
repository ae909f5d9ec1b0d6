//! What nobody asks for, what the config does not list, and what another object has.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario};

use crate::{ADOPT, OWNERSHIP, asking, object, refused, scenario};

#[test]
fn a_policy_that_names_no_kind_or_no_name_is_refused() -> Result<()> {
    let scenario = scenario("taken-policy")?;
    for line in ["guest/web", "domain", "domain/", "*/web", "volume/a/b"] {
        let policy = json!({"spec": {"policy": {"adopt": [line]}}}).to_string();
        let patch = ["patch", "clusterproviderconfig", "default", "--type=merge", "--dry-run=server", "-p", &policy];
        let refused = scenario.stage().plane().kubectl(&patch).unwrap_err();
        assert!(format!("{refused:#}").contains("spec.policy.adopt[0]"), "{line}: {refused:#}");
    }
    Ok(())
}

/// What others made of each kind, called `refused`, and what is said of it.
fn refused_things(scenario: &Scenario<'_>) -> Result<Vec<(&'static str, Value, String)>> {
    let host = scenario.host();
    host.virsh_xml(
        "define",
        "<domain type='qemu'><name>refused</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
    )?;
    host.virsh_xml("net-define", "<network><name>refused</name><bridge name='virbr-refus'/></network>")?;
    let folder = scenario.host().their_pool("refused")?;
    host.virsh(&["vol-create-as", "refused", "refused", "1M", "--format", "raw"])?;
    let recorded = "volume \"refused\" is in pool \"refused\" already and is not ours: no record of this provider says that this object made it";
    let made = |what: &str| {
        format!("{what} \"refused\" is on the host already and is not ours: it was not made by this provider")
    };
    Ok(vec![
        ("Domain", json!({"type": "Qemu", "memory": "64Mi"}), made("domain")),
        ("Network", json!({"mode": "Isolated"}), made("network")),
        ("Pool", json!({"target": {"path": folder}}), made("pool")),
        ("Volume", json!({"pool": "refused", "capacity": "2Mi", "format": "Raw"}), recorded.to_owned()),
        ("CloudInit", json!({"pool": "refused", "userData": {"inline": "x"}}), recorded.to_owned()),
    ])
}

#[test]
fn what_the_config_does_not_list_or_nobody_asks_for_is_left_alone() -> Result<()> {
    let scenario = scenario("refused")?;
    let host = scenario.host();
    let things = refused_things(&scenario)?;
    let look = || -> Result<String> {
        let looks: [&[&str]; 5] = [
            &["dumpxml", "refused"],
            &["net-dumpxml", "refused"],
            &["pool-dumpxml", "refused", "--inactive"],
            &["vol-dumpxml", "refused", "refused"],
            &["vol-list", "refused"],
        ];
        looks.iter().map(|words| host.virsh(words)).collect()
    };
    for (kind, parameters, said) in things {
        let title = format!("{}/refused", kind.to_lowercase());
        let denied = format!(
            "{said}. The annotation libvirt.nourspeed.io/adopt asks to take it over, but ClusterProviderConfig default does not allow \
             that; it would with the line {title} in its spec.policy.adopt"
        );
        scenario.apply(&asking(kind, "refused", &parameters))?;
        refused(&scenario, &title, ("AdoptionRefused", &denied), look)?;
        if kind == "CloudInit" {
            // Without being asked to take it over, an object does not look at what is beside its seed.
            continue;
        }
        let unasked = format!(
            "{said}. It is left alone; choose another name with the annotation crossplane.io/external-name, remove it, or take it over \
             with the annotation libvirt.nourspeed.io/adopt: \"true\" and the line {title} in spec.policy.adopt of ClusterProviderConfig default"
        );
        scenario.apply(&object(kind, "refused", &json!({ ADOPT: "yes" }), &parameters))?;
        refused(&scenario, &title, ("ForeignObject", &unasked), look)?;
    }
    Ok(())
}

/// What others made of four kinds: the name there, and the spec of an object that takes it over.
fn twice_wanted(scenario: &Scenario<'_>) -> Result<[(&'static str, &'static str, Value); 4]> {
    let host = scenario.host();
    let folder = scenario.host().their_pool("taken-twice")?;
    host.virsh(&["vol-create-as", "taken-twice", "taken", "1M", "--format", "raw"])?;
    host.virsh_xml("net-define", "<network><name>taken-twice</name><bridge name='virbr-twice'/></network>")?;
    host.virsh_xml(
        "define",
        "<domain type='qemu'><name>taken-twice</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
    )?;
    Ok([
        ("Domain", "taken-twice", json!({"type": "Qemu", "memory": "32Mi", "runStrategy": "Manual"})),
        ("Network", "taken-twice", json!({"mode": "Isolated"})),
        ("Pool", "taken-twice", json!({"target": {"path": folder}})),
        ("Volume", "taken", json!({"pool": "taken-twice", "capacity": "1Mi", "format": "Raw"})),
    ])
}

#[test]
fn row_21_what_another_object_has_is_never_taken_whatever_is_asked_for_or_copied() -> Result<()> {
    let scenario = scenario("taken-twice")?;
    let host = scenario.host();
    let things = twice_wanted(&scenario)?;
    let look = || -> Result<String> {
        let looks: [&[&str]; 4] = [
            &["dumpxml", "--inactive", "taken-twice"],
            &["net-dumpxml", "taken-twice", "--inactive"],
            &["pool-dumpxml", "taken-twice", "--inactive"],
            &["vol-dumpxml", "taken", "taken-twice"],
        ];
        looks.iter().map(|words| host.virsh(words)).collect()
    };
    let namespace = scenario.namespace().name().to_owned();
    for (kind, external, parameters) in things {
        let what = kind.to_lowercase();
        let annotations = json!({ ADOPT: "true", "crossplane.io/external-name": external });
        scenario.apply(&object(kind, "first", &annotations, &parameters))?;
        let first = format!("{what}/first");
        scenario.await_ready(&[&first])?;
        let owner = scenario.object(&what, "first")?["metadata"].clone();
        let said = match kind {
            "Volume" => format!(
                "volume \"taken\" is in pool \"taken-twice\" already and is not ours: it belongs to Volume {namespace}/first"
            ),
            _ => format!(
                "{what} \"taken-twice\" is on the host already and is not ours: it belongs to {kind} {namespace}/first (UID {})",
                owner["uid"].as_str().unwrap()
            ),
        };
        let message = format!(
            "{said}. It is left alone; choose another name with the annotation crossplane.io/external-name, or delete that object"
        );
        // Asked for, and with the record and the marks of the object that has it.
        let mut copied = owner["annotations"].clone();
        assert!(copied[OWNERSHIP].is_string(), "{owner}");
        for annotations in [annotations, {
            copied[ADOPT] = "true".into();
            copied
        }] {
            scenario.apply(&object(kind, "second", &annotations, &parameters))?;
            refused(&scenario, &format!("{what}/second"), ("ForeignObject", &message), look)?;
            scenario.await_condition(&first, "UpToDate", ("True", "ObserveMatched", ""))?;
        }
    }
    // The guest goes first, what others made with it.
    scenario.delete(&["domain/first", "network/first", "volume/first"])?;
    scenario.await_gone(&["domain/first", "network/first", "volume/first"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}
