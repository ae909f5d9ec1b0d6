//! The rule: every reference, in every form, against every place where its object may be.

use std::collections::BTreeSet;

use provider_libvirt::admission::Verdict;
use serde_json::{Value, json};

use crate::world::{PLACEMENT, World, object, with};

/// Who refers, the words for it, the field as messages call it, to what, the words for that, and the field around the reference.
type Field = (&'static str, &'static str, &'static str, &'static str, &'static str, fn(&str, Value) -> Value);

/// Every field that names an object.
const FIELDS: [Field; 9] = [
    ("Domain", "domain", "cloudInit", "CloudInit", "cloudinit disk", |by, to| json!({format!("cloudInit{by}"): to})),
    (
        "Domain",
        "domain",
        "disks[root].volume",
        "Volume",
        "volume",
        |by, to| json!({"disks": [{"name": "root", format!("volume{by}"): to}]}),
    ),
    (
        "Domain",
        "domain",
        "networkInterfaces[lan].network",
        "Network",
        "network",
        |by, to| json!({"networkInterfaces": [{"name": "lan", format!("network{by}"): to}]}),
    ),
    ("Domain", "domain", "os.kernel", "Volume", "volume", |by, to| json!({"os": {format!("kernel{by}"): to}})),
    ("Domain", "domain", "os.initrd", "Volume", "volume", |by, to| json!({"os": {format!("initrd{by}"): to}})),
    ("Volume", "volume", "pool", "Pool", "pool", |by, to| json!({format!("pool{by}"): to})),
    (
        "Volume",
        "volume",
        "backingStore.volume",
        "Volume",
        "volume",
        |by, to| json!({"backingStore": {format!("volume{by}"): to}}),
    ),
    ("Volume", "volume", "source.volume", "Volume", "volume", |by, to| json!({"source": {format!("volume{by}"): to}})),
    ("CloudInit", "cloudinit disk", "pool", "Pool", "pool", |by, to| json!({format!("pool{by}"): to})),
];

const ONE: Option<&str> = Some("ClusterProviderConfig/one");
const TWO: Option<&str> = Some("ClusterProviderConfig/two");
const OWN: Option<&str> = Some("ProviderConfig/one");

/// Where the two are.
struct Case {
    what: &'static str,
    /// The one referred to; none where it is missing.
    referent: Option<Value>,
    referrer: Option<&'static str>,
    metadata: Value,
    /// What `--default-provider-config` says.
    default: Option<&'static str>,
    /// How the referent and the referrer are called in a refusal.
    apart: Option<(&'static str, &'static str)>,
    warning: Option<&'static str>,
}

fn case(what: &'static str, referent: Value, referrer: Option<&'static str>) -> Case {
    Case { what, referent: Some(referent), referrer, metadata: json!({}), default: None, apart: None, warning: None }
}

/// Every case for an object of this kind that is called `it`.
fn cases(kind: &str) -> Vec<Case> {
    let it = |config| object(kind, "it", config, &json!({}));
    let leaving = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let record = |config: &str| json!({"annotations": {PLACEMENT: config}, "finalizers": ["finalizer.managedresource.crossplane.io"]});
    let annotated = |config: &str| json!({"annotations": {PLACEMENT: config}});
    let elsewhere = |config| with(it(config), &json!({"namespace": "m"}));
    let apart = |referent, referrer| Some((referent, referrer));
    vec![
        case("same", it(ONE), ONE),
        case("same by record", with(it(None), &record("ClusterProviderConfig/one")), ONE),
        case("the record counts, not the reference", with(it(TWO), &record("ClusterProviderConfig/one")), ONE),
        case(
            "the annotation counts where nothing else does",
            with(it(None), &annotated("ClusterProviderConfig/one")),
            ONE,
        ),
        case("who names no config follows", it(ONE), None),
        Case { apart: apart("one", "two"), ..case("different", it(ONE), TWO) },
        Case {
            apart: apart("one", "two"),
            ..case("by record", with(it(TWO), &record("ClusterProviderConfig/one")), TWO)
        },
        Case {
            apart: apart("two", "one"),
            ..case("by reference", with(it(TWO), &annotated("ClusterProviderConfig/one")), ONE)
        },
        Case { referent: None, warning: Some("missing"), ..case("missing", Value::Null, ONE) },
        Case { referent: None, warning: Some("missing"), ..case("missing, and no config named", Value::Null, None) },
        Case { warning: Some("leaving"), ..case("the referent is being deleted", with(it(ONE), &leaving), ONE) },
        Case { apart: apart("one", "two"), ..case("being deleted elsewhere", with(it(ONE), &leaving), TWO) },
        Case { metadata: leaving.clone(), ..case("the object is being deleted", it(ONE), TWO) },
        Case { referent: None, metadata: leaving, ..case("being deleted, and what it used is gone", Value::Null, TWO) },
        Case { apart: apart("ClusterProviderConfig one", "ProviderConfig n/one"), ..case("other kind", it(ONE), OWN) },
        Case {
            apart: apart("ProviderConfig n/one", "ClusterProviderConfig one"),
            ..case("other kind, back", it(OWN), ONE)
        },
        Case {
            apart: apart("ProviderConfig m/one", "ProviderConfig n/one"),
            ..case("other namespace", elsewhere(OWN), OWN)
        },
        case("other namespace on the same host", elsewhere(ONE), ONE),
        Case { default: ONE, ..case("both by default", it(None), None) },
        Case { default: TWO, ..case("who names no config follows, whatever the default", it(ONE), None) },
        Case { default: ONE, apart: apart("one", "two"), ..case("the referent by default", it(None), TWO) },
        Case {
            default: OWN,
            apart: apart("ProviderConfig m/one", "ClusterProviderConfig one"),
            ..case("by the default of its own namespace", elsewhere(None), ONE)
        },
    ]
}

/// What is said of an object of this kind that refers to the other one by this field, in `forProvider` or in `initProvider`.
fn said(field: Field, by: &str, initially: bool, case: &Case) -> Verdict {
    let (kind, .., around) = field;
    let Case { referent: it, referrer: config, metadata, default, .. } = case;
    let mut world = World::new();
    if let Some(config) = default {
        world = world.defaulting(config);
    }
    let namespace = it.as_ref().map_or("n", |it| it["metadata"]["namespace"].as_str().unwrap()).to_owned();
    if let Some(it) = it {
        world.put(it);
    }
    let to = match by {
        "Ref" => json!({"name": "it", "namespace": namespace}),
        _ => json!({"matchLabels": {"name": "it"}, "namespace": namespace}),
    };
    let mut reviewed = with(object(kind, "me", *config, &around(by, to)), metadata);
    if initially {
        reviewed["spec"]["initProvider"] = reviewed["spec"]["forProvider"].take();
        reviewed["spec"]["forProvider"] = json!({});
    }
    world.review(&reviewed)
}

/// What is to be said of it.
fn wished((_, referrer, path, of, referent, _): Field, by: &str, case: &Case) -> Verdict {
    let warned = |what: String| Verdict::Warned(vec![format!("{path}: {what}")]);
    match (case.apart, case.warning) {
        (Some((theirs, ours)), _) => Verdict::Denied(format!(
            "{referent} it uses providerConfig {theirs}, but {referrer} uses providerConfig {ours}. Resources must use the same libvirt instance"
        )),
        (None, None) => Verdict::Allowed,
        (None, Some("leaving")) => warned(format!("{referent} it is being deleted; nothing new is made with it")),
        (None, Some(_)) if by == "Ref" => {
            warned(format!("there is no {referent} it in namespace n yet; the {referrer} waits for it"))
        }
        (None, Some(_)) => {
            warned(format!("there is no {of} in namespace n with the labels name=it yet; the {referrer} waits for it"))
        }
    }
}

#[test]
fn whatever_refers_to_an_object_is_on_its_host_or_is_refused_in_the_words_of_the_page() {
    let mut rows = 0;
    for field in FIELDS {
        let (kind, _, path, of, ..) = field;
        for (by, initially) in [("Ref", false), ("Ref", true), ("Selector", false), ("Selector", true)] {
            // One that a selector finds is chosen among those that are not being deleted.
            for case in cases(of).into_iter().filter(|case| by == "Ref" || !is_leaving(case.referent.as_ref())) {
                let what = case.what;
                assert_eq!(
                    said(field, by, initially, &case),
                    wished(field, by, &case),
                    "{kind} {path} by {by}, initially: {initially}: {what}"
                );
                rows += 1;
            }
        }
    }
    assert_eq!(rows, FIELDS.len() * 2 * (22 + 20));
}

fn is_leaving(referent: Option<&Value>) -> bool {
    referent.is_some_and(|referent| !referent["metadata"]["deletionTimestamp"].is_null())
}

/// Who names something by its name on the host, the field as messages call it, the object that may stand for it, and the fields.
type Plain = (&'static str, &'static str, Value, Value);

fn plain_fields() -> [Plain; 4] {
    let volume = json!({"disks": [{"name": "root", "volume": {"pool": "p", "name": "default", "format": "Raw"}}]});
    [
        ("Volume", "pool", object("Pool", "it", None, &json!({})), json!({"pool": "default"})),
        ("CloudInit", "pool", object("Pool", "it", None, &json!({})), json!({"pool": "default"})),
        ("Domain", "disks[root].volume", object("Volume", "it", None, &json!({"pool": "p"})), volume),
        (
            "Domain",
            "networkInterfaces[lan].network",
            object("Network", "it", None, &json!({})),
            json!({"networkInterfaces": [{"name": "lan", "network": "default"}]}),
        ),
    ]
}

#[test]
fn a_name_means_what_the_objects_own_host_has_of_that_name_whatever_others_have() {
    for (kind, path, it, fields) in plain_fields() {
        let of = it["kind"].as_str().unwrap();
        let named = |name: &str, config: &str, namespace: &str| {
            let (of, config) = config.split_once('/').unwrap_or(("ClusterProviderConfig", config));
            let mut it = with(
                it.clone(),
                &json!({"name": name, "namespace": namespace, "uid": name,
                "annotations": {"crossplane.io/external-name": "default"}}),
            );
            it["spec"]["providerConfigRef"] = json!({"kind": of, "name": config});
            it
        };
        let unchecked = |why: &str| {
            let ours = if why.contains("ProviderConfig n/one") { "ClusterProviderConfig one" } else { "one" };
            Verdict::Warned(vec![format!("{path}: whether providerConfig {ours} has default is not checked: {why}")])
        };
        let table = [
            (vec![], unchecked(&format!("no {of} of namespace n stands for it"))),
            (vec![named("a", "one", "n")], Verdict::Allowed),
            (vec![named("a", "two", "n"), named("b", "one", "n")], Verdict::Allowed),
            (vec![named("a", "one", "n"), named("b", "two", "n")], Verdict::Allowed),
            (vec![named("a", "two", "n")], unchecked(&format!("the {of} of that name is on providerConfig two"))),
            (
                vec![named("a", "ProviderConfig/one", "n")],
                unchecked(&format!("the {of} of that name is on providerConfig ProviderConfig n/one")),
            ),
            (vec![named("a", "one", "m")], unchecked(&format!("no {of} of namespace n stands for it"))),
        ];
        for (objects, expected) in table {
            let mut world = World::new();
            for object in &objects {
                world.put(object);
            }
            assert_eq!(world.review(&object(kind, "me", ONE, &fields)), expected, "{kind} {path}: {objects:?}");
        }
    }
}

/// How an object is named: by its name, or by its labels.
const FORMS: [&str; 2] = ["Ref", "Selector"];

/// The paths of all references in a schema, with no sign of lists.
fn references(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let fields = schema["properties"].as_object().into_iter().flatten();
    for (field, below) in fields {
        let path = format!("{path}.{field}");
        // A Secret or ConfigMap is no object of ours, and nothing is said of how it is resolved.
        let is_reference = FORMS.iter().any(|form| field.ends_with(form)) && !below["properties"]["policy"].is_null();
        if is_reference {
            found.insert(path);
        } else {
            references(if below["items"].is_null() { below } else { &below["items"] }, &path, found);
        }
    }
}

#[test]
fn every_reference_of_every_kind_is_in_the_table() {
    let mut found = BTreeSet::new();
    for definition in apis::crds() {
        let definition = serde_json::to_value(definition).unwrap();
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        references(&schema["properties"]["forProvider"], kind, &mut found);
    }
    let plain = |path: &str| path.split('[').map(|part| part.rsplit(']').next().unwrap()).collect::<String>();
    let known: BTreeSet<_> = FIELDS
        .iter()
        .flat_map(|(kind, _, path, ..)| FORMS.map(|form| format!("{kind}.{}{form}", plain(path))))
        .collect();
    assert_eq!(found, known);
}
