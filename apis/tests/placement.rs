//! Which host an object is on, step by step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so by panicking")]

use apis::{
    Pool,
    managed::{ConfigKind, FINALIZER, ProviderConfigReference},
    placement::{Choice, ConfigId, Known, Neighbour, Placement, is_open, parse_record, place},
};
use serde_json::{Value, json};

fn own(name: &str) -> ConfigId {
    ConfigId { kind: ConfigKind::ProviderConfig, namespace: "n".to_owned(), name: name.to_owned() }
}

fn cluster(name: &str) -> ConfigId {
    ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: name.to_owned() }
}

fn volume(namespace: &str, name: &str, config: ConfigId) -> Neighbour {
    Neighbour { config, kind: "Volume", namespace: namespace.to_owned(), name: name.to_owned() }
}

/// An object with this reference, this annotation, and these further metadata.
fn object(reference: Option<&str>, annotation: Option<&str>, more: &Value) -> Pool {
    let mut metadata = json!({"name": "p", "namespace": "n", "annotations": {}});
    metadata["annotations"] = more["annotations"].clone();
    if let Some(annotation) = annotation {
        metadata["annotations"]["libvirt.nourspeed.io/provider-config"] = json!(annotation);
    }
    metadata["finalizers"] = more["finalizers"].clone();
    let reference = reference.map(|name| json!({"kind": "ProviderConfig", "name": name}));
    serde_json::from_value(json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool", "metadata": metadata,
        "spec": {"forProvider": {}, "providerConfigRef": reference},
    }))
    .unwrap()
}

fn new(reference: Option<&str>, annotation: Option<&str>) -> Pool {
    object(reference, annotation, &json!({}))
}

/// Everything that could place an object at once; each test takes away what comes first.
fn everything() -> Known {
    Known {
        configs: vec![own("flag"), own("default"), cluster("default"), own("other")],
        referents: vec![volume("n", "v", own("neighbour")), volume("n", "w", own("neighbour"))],
        default: Some(ProviderConfigReference { kind: ConfigKind::ProviderConfig, name: "flag".to_owned() }),
    }
}

fn at(config: ConfigId, recorded: bool) -> Placement {
    by(Choice::Own, config, recorded)
}

fn by(choice: Choice, config: ConfigId, recorded: bool) -> Placement {
    Placement { config, recorded, ignored: None, choice }
}

#[test]
fn the_record_of_an_earlier_placement_comes_first_and_a_differing_reference_is_told() {
    let placed = [
        json!({"finalizers": [FINALIZER]}),
        json!({"annotations": {"crossplane.io/external-create-pending": "2026-01-01T00:00:00Z"}}),
    ];
    for metadata in placed {
        let object = object(Some("ref"), Some("ClusterProviderConfig/record"), &metadata);
        let expected = Placement { ignored: Some(own("ref")), ..at(cluster("record"), true) };
        assert_eq!(place(&object, &everything()), Ok(expected), "{metadata}");
    }
}

#[test]
fn before_a_placement_the_reference_goes_before_the_annotation() {
    assert_eq!(place(&new(Some("ref"), Some("ProviderConfig/annotated")), &everything()), Ok(at(own("ref"), false)));
    assert_eq!(place(&new(Some("ref"), Some("ProviderConfig/ref")), &everything()), Ok(at(own("ref"), true)));
    let foreign = json!({"finalizers": ["example.org/other"]});
    assert_eq!(
        place(&object(Some("ref"), Some("ProviderConfig/annotated"), &foreign), &everything()),
        Ok(at(own("ref"), false))
    );
}

#[test]
fn without_a_reference_the_annotation_counts() {
    assert_eq!(place(&new(None, Some("ProviderConfig/annotated")), &everything()), Ok(at(own("annotated"), true)));
    assert_eq!(
        place(&new(None, Some("ClusterProviderConfig/annotated")), &everything()),
        Ok(at(cluster("annotated"), true))
    );
}

#[test]
fn then_the_host_of_the_referents_if_it_is_one() {
    assert_eq!(place(&new(None, None), &everything()), Ok(by(Choice::Referents, own("neighbour"), false)));
    let referents = vec![volume("n", "y", own("b")), volume("m", "v", cluster("a")), volume("n", "x", own("b"))];
    let apart = Known { referents, ..everything() };
    assert_eq!(
        place(&new(None, None), &apart),
        Err("cannot determine placement: Volume x is on ProviderConfig n/b, Volume m/v on ClusterProviderConfig a; \
             resources must use the same libvirt instance"
            .to_owned())
    );
}

#[test]
fn then_the_named_default_then_the_namespaces_then_the_clusters() {
    let mut known = Known { referents: Vec::new(), ..everything() };
    for expected in [own("flag"), own("default"), cluster("default")] {
        assert_eq!(place(&new(None, None), &known), Ok(by(Choice::Default, expected.clone(), false)));
        known.configs.retain(|config| *config != expected);
    }
    assert_eq!(place(&new(None, None), &known), Ok(by(Choice::Only, own("other"), false)));
}

#[test]
fn then_the_only_config_there_is_and_else_nothing() {
    for (configs, count) in [(vec![], 0), (vec![own("a"), cluster("b")], 2)] {
        let known = Known { configs, ..Known::default() };
        assert_eq!(
            place(&new(None, None), &known),
            Err(format!(
                "cannot determine placement: {count} ProviderConfigs are available; set spec.providerConfigRef or the \
                 annotation libvirt.nourspeed.io/provider-config"
            ))
        );
    }
    let known = Known { configs: vec![cluster("only")], ..Known::default() };
    assert_eq!(place(&new(None, None), &known), Ok(by(Choice::Only, cluster("only"), false)));
}

#[test]
fn it_is_searched_for_only_where_nothing_says_where_it_goes_and_there_is_a_choice() {
    let several = || Known { configs: vec![own("a"), cluster("b")], ..Known::default() };
    let with_default = Known { configs: vec![own("a"), own("default")], ..Known::default() };
    let with_one = Known { configs: vec![own("a")], ..Known::default() };
    let with_referent = Known { referents: vec![volume("n", "v", own("c"))], ..several() };
    let torn = Known { referents: vec![volume("n", "v", own("c")), volume("n", "w", own("d"))], ..several() };
    let unnamed = new(None, None);
    let table = [
        (&unnamed, several(), true),
        (&unnamed, Known::default(), false),
        (&unnamed, with_one, false),
        (&unnamed, with_default, false),
        (&unnamed, with_referent, false),
        (&unnamed, torn, false),
        (&new(Some("ref"), None), several(), false),
        (&new(None, Some("ProviderConfig/annotated")), several(), false),
        (&new(None, Some("no record")), several(), false),
    ];
    for (object, known, expected) in table {
        assert_eq!(is_open(object, &known), expected, "{known:?}");
    }
}

#[test]
fn an_annotation_that_is_no_record_is_refused_with_its_form() {
    for text in ["", "host", "Config/host", "ProviderConfig/", "ProviderConfig/a/b"] {
        let refused = format!(
            "annotation libvirt.nourspeed.io/provider-config is {text:?}: it must be ProviderConfig/<name> or ClusterProviderConfig/<name>"
        );
        assert_eq!(place(&new(Some("ref"), Some(text)), &everything()), Err(refused), "{text}");
    }
    for config in [own("a"), cluster("b")] {
        assert_eq!(ConfigId::resolve(&parse_record(&config.record()).unwrap(), "n"), config);
    }
}
