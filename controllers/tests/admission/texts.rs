//! What else is said, word for word.

use provider_libvirt::admission::Verdict;
use serde_json::{Value, json};

use crate::world::{World, object, with};

const ONE: Option<&str> = Some("ClusterProviderConfig/one");
const TWO: Option<&str> = Some("ClusterProviderConfig/two");

fn warned(warnings: &[&str]) -> Verdict {
    Verdict::Warned(warnings.iter().map(|warning| (*warning).to_owned()).collect())
}

fn on(volume: &str) -> Value {
    json!({"disks": [{"name": "root", "volumeRef": {"name": volume}}]})
}

#[test]
fn every_object_that_is_elsewhere_is_named_once() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.put(&object("Volume", name, ONE, &json!({})));
    }
    let disks = ["a", "b", "a"].iter().enumerate();
    let disks: Vec<_> = disks
        .map(|(at, name)| json!({"name": format!("d{at}"), "readOnly": true, "volumeRef": {"name": name}}))
        .collect();
    let said = "volume a uses providerConfig one, but domain uses providerConfig two. Resources must use the same libvirt instance; \
                volume b uses providerConfig one, but domain uses providerConfig two. Resources must use the same libvirt instance";
    assert_eq!(world.review(&object("Domain", "d", TWO, &json!({"disks": disks}))), Verdict::Denied(said.to_owned()));
}

#[test]
fn who_names_no_config_is_refused_only_when_no_host_has_all_it_refers_to() {
    let mut world = World::new();
    let pool = |name: &str| json!({"poolRef": {"name": name}});
    world.put(&object("Pool", "pool-1", ONE, &json!({})));
    world.put(&object("Pool", "pool-2", TWO, &json!({})));
    // Their hosts follow from their pools alone.
    world.put(&object("Volume", "on-1", None, &pool("pool-1")));
    world.put(&object("Volume", "on-2", None, &pool("pool-2")));
    world.put(&object("Volume", "open", None, &pool("later")));
    let disks = |names: &[&str]| {
        let disks: Vec<_> = names.iter().map(|name| json!({"name": name, "volumeRef": {"name": name}})).collect();
        json!({"disks": disks})
    };
    let review = |config, names: &[&str]| world.review(&object("Domain", "d", config, &disks(names)));
    let torn = "cannot determine placement: Volume on-1 is on ClusterProviderConfig one, Volume on-2 on ClusterProviderConfig two; \
                resources must use the same libvirt instance";
    let apart = "volume on-2 uses providerConfig two, but domain uses providerConfig one. Resources must use the same libvirt instance";
    assert_eq!(review(None, &["on-1"]), Verdict::Allowed);
    assert_eq!(review(None, &["on-1", "on-2"]), Verdict::Denied(torn.to_owned()));
    assert_eq!(review(ONE, &["on-1"]), Verdict::Allowed);
    assert_eq!(review(ONE, &["on-2"]), Verdict::Denied(apart.to_owned()));
    // What is not placed and follows something that is not there may yet go anywhere.
    assert_eq!(review(ONE, &["open"]), Verdict::Allowed);
    assert_eq!(review(None, &["open"]), Verdict::Allowed);
    let nowhere = "cannot determine placement: 3 ProviderConfigs are available; \
                   set spec.providerConfigRef or the annotation libvirt.nourspeed.io/provider-config";
    assert_eq!(review(None, &[]), warned(&[nowhere]));
}

#[test]
fn what_was_wrong_before_is_told_and_what_comes_new_is_refused() {
    let mut world = World::new();
    for name in ["a", "b"] {
        world.put(&object("Volume", name, ONE, &json!({})));
    }
    let disks = |names: &[&str]| {
        let disks = names.iter().map(|name| json!({"name": name, "volumeRef": {"name": name}}));
        json!({"disks": disks.collect::<Vec<_>>()})
    };
    let guest = |names: &[&str]| object("Domain", "d", TWO, &disks(names));
    let apart = |name: &str| {
        format!(
            "volume {name} uses providerConfig one, but domain uses providerConfig two. Resources must use the same libvirt instance"
        )
    };
    let mut letting_go = guest(&["a"]);
    letting_go["spec"]["managementPolicies"] = json!(["Observe", "Create", "Update"]);
    assert_eq!(world.change(&guest(&["a"]), &letting_go), warned(&[&apart("a")]));
    assert_eq!(world.change(&guest(&["a"]), &guest(&["a", "b"])), Verdict::Denied(apart("b")));
    assert_eq!(world.change(&guest(&["a", "b"]), &guest(&["b"])), warned(&[&apart("b")]));
}

#[test]
fn what_only_its_own_namespace_can_use_is_refused_to_others_that_name_no_config() {
    let own = Some("ProviderConfig/one");
    let referring = json!({"disks": [{"name": "root", "volumeRef": {"name": "v", "namespace": "m"}}]});
    let world = || {
        let mut world = World::new();
        world.put(&with(object("Volume", "v", own, &json!({})), &json!({"namespace": "m"})));
        world
    };
    let guest = object("Domain", "d", None, &referring);
    let beyond = "volume v uses providerConfig ProviderConfig m/one, which no domain of namespace n can use. \
                  Resources must use the same libvirt instance";
    assert_eq!(world().review(&guest), Verdict::Denied(beyond.to_owned()));
    let there = "volume v uses providerConfig one, but domain uses providerConfig two. Resources must use the same libvirt instance";
    let defaulting = world().defaulting("ClusterProviderConfig/two");
    assert_eq!(defaulting.review(&guest), Verdict::Denied(there.to_owned()));
    let theirs = with(guest, &json!({"namespace": "m"}));
    assert_eq!(world().review(&theirs), Verdict::Allowed);
}

#[test]
fn what_is_applied_later_is_admitted_and_told_who_of_its_namespace_waits_for_it_elsewhere() {
    let mut world = World::new();
    world.put(&object("Domain", "web", ONE, &on("root")));
    let mut other = json!({"disks": [{"name": "root", "volumeRef": {"name": "root", "namespace": "n"}}]});
    world.put(&with(object("Domain", "theirs", ONE, &other), &json!({"namespace": "m"})));
    other["disks"][0]["name"] = "x".into();
    let clash = "volume root uses providerConfig two, but domain web uses providerConfig one. Resources must use the same libvirt instance";
    assert_eq!(world.review(&object("Volume", "root", TWO, &json!({}))), warned(&[clash]));
    assert_eq!(world.review(&object("Volume", "root", ONE, &json!({}))), Verdict::Allowed);
}

#[test]
fn what_cannot_be_checked_is_told_with_its_risk() {
    let world = World::new();
    let unlabelled = with(object("Network", "lan", ONE, &json!({})), &json!({"labels": {}}));
    let label = "no label libvirt.nourspeed.io/instance: until the provider sets it, nobody can tell by labels which libvirt instance the network is on";
    assert_eq!(world.review(&unlabelled), warned(&[label]));
    let risk = "is a path or URL, which is not checked: another libvirt instance may have something else there";
    let disk = |pool: &str, name: &str| json!({"disks": [{"name": "root", "volume": {"pool": pool, "name": name, "format": "Raw"}}]});
    for (pool, name, odd) in
        [("p", "/var/lib/x.img", "/var/lib/x.img"), ("/pools/p", "x", "/pools/p"), ("p", "http://h/x", "http://h/x")]
    {
        let said = format!("disks[root].volume: {odd} {risk}");
        assert_eq!(world.review(&object("Domain", "d", ONE, &disk(pool, name))), warned(&[&said]));
    }
    let looked_at = with(
        object("Volume", "v", ONE, &json!({})),
        &json!({"annotations": {"crossplane.io/external-name": "/var/lib/x.img"}}),
    );
    assert_eq!(world.review(&looked_at), warned(&[&format!("crossplane.io/external-name: /var/lib/x.img {risk}")]));
    let long = format!("/{}", "x".repeat(252));
    let Verdict::Warned(said) = world.review(&object("Domain", "d", ONE, &disk("p", &long))) else { panic!() };
    assert!(said.iter().all(|said| said.len() <= 256), "{said:?}");
}

#[test]
fn a_config_that_is_not_there_yet_is_waited_for() {
    let world = World::new();
    let said = |config| world.review(&object("Pool", "p", Some(config), &json!({})));
    let none = |config: &str| warned(&[&format!("there is no {config} yet: the pool waits for it")]);
    assert_eq!(said("ClusterProviderConfig/none"), none("ClusterProviderConfig none"));
    assert_eq!(said("ProviderConfig/none"), none("ProviderConfig n/none"));
}

#[test]
fn what_is_optional_is_done_without_until_it_is_there() {
    let world = World::new();
    let policy = json!({"resolution": "Optional"});
    let named = json!({"cloudInitRef": {"name": "seed", "policy": policy}});
    let said =
        "cloudInit: there is no cloudinit disk seed in namespace n yet; the domain is made without it until then";
    assert_eq!(world.review(&object("Domain", "d", ONE, &named)), warned(&[said]));
}
