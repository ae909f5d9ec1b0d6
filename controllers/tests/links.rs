//! From fields to the objects they mean: what is chosen, what is waited for, and who uses what.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::sync::Arc;

use apis::{
    Domain, Managed, Volume,
    managed::{
        ConfigKind,
        annotation::{CREATE_FAILED, CREATE_PENDING, CREATE_SUCCEEDED, INITIAL, OWNERSHIP, PLACEMENT, REFERENCES},
    },
    placement::ConfigId,
};
use kube::runtime::watcher::Event;
use provider_libvirt::{
    cluster::{Cluster, Writers},
    index::ReferrerKind,
    links::{Asker, Lack},
    references::{self, POOL, Refers, disk_path},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A cluster as the watches would show it.
struct World {
    cluster: Arc<Cluster>,
    writers: Writers,
}

fn object<K: DeserializeOwned>(kind: &str, name: &str, metadata: &Value, parameters: &Value, ready: bool) -> K {
    let mut metadata = metadata.clone();
    metadata["name"] = name.into();
    metadata["uid"] = format!("{kind}-{name}").into();
    if metadata["namespace"].is_null() {
        metadata["namespace"] = "n".into();
    }
    let condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }, "reason": "Available",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    serde_json::from_value(json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind, "metadata": metadata,
        "spec": {"forProvider": parameters}, "status": {"conditions": [condition]},
    }))
    .unwrap()
}

fn metadata(namespace: &str, labels: &Value, annotations: &Value) -> Value {
    json!({"namespace": namespace, "labels": labels, "annotations": annotations})
}

impl World {
    fn new() -> Self {
        let (cluster, writers) = Cluster::empty();
        let world = Self { cluster, writers };
        world.with_volumes_and_pools()
    }

    /// Two of a kind with the same label, and one in another namespace; `gone` was there once.
    fn with_volumes_and_pools(mut self) -> Self {
        let web = json!({"app": "web"});
        for (namespace, name) in [("n", "a"), ("n", "b"), ("other", "c")] {
            let metadata = metadata(namespace, &web, &json!({}));
            self.volume(&object("Volume", name, &metadata, &json!({}), true));
            let pool = object("Pool", name, &metadata, &json!({}), true);
            self.writers.pools.apply_watcher_event(&Event::Apply(pool));
        }
        self.volume(&object("Volume", "plain", &json!({}), &json!({}), true));
        self
    }

    fn volume(&mut self, volume: &Volume) {
        self.writers.volumes.apply_watcher_event(&Event::Apply(volume.clone()));
        self.cluster.index.put(volume);
    }

    fn domain(&mut self, domain: &Domain) {
        self.writers.domains.apply_watcher_event(&Event::Apply(domain.clone()));
        self.cluster.index.put(domain);
    }
}

fn config(name: &str) -> ConfigId {
    ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: name.to_owned() }
}

/// A Domain whose one disk is chosen by this selector.
fn guest(name: &str, annotations: &Value, selector: &Value) -> Domain {
    let parameters = json!({"disks": [{"name": "root", "volumeSelector": selector}]});
    object("Domain", name, &metadata("n", &json!({}), annotations), &parameters, false)
}

#[test]
fn a_selector_chooses_when_its_policy_says() {
    let world = World::new();
    let chose = |name: &str| json!({REFERENCES: json!({disk_path("root"): name, POOL: name}).to_string()});
    let made = |name: &str| json!({REFERENCES: chose(name)[REFERENCES], CREATE_SUCCEEDED: "2026-01-01T00:00:00Z"});
    let web = |resolve: &str| json!({"matchLabels": {"app": "web"}, "policy": {"resolve": resolve}});
    let (once, always) = (web("IfNotPresent"), web("Always"));
    let table = [
        ("the first by name", json!({}), &once, "a", "a"),
        ("a choice stays", chose("b"), &once, "b", "b"),
        ("one that is gone does not", chose("gone"), &once, "a", "a"),
        ("one is chosen anew", chose("b"), &always, "a", "a"),
        ("where data lies is chosen for good", made("b"), &always, "a", "b"),
        ("also when it is gone", made("gone"), &once, "a", "gone"),
        ("what is no choice of ours counts as none", json!({REFERENCES: "[]"}), &once, "a", "a"),
    ];
    for (what, annotations, selector, of_a_disk, of_a_pool) in table {
        let domain = guest("d", &annotations, selector);
        let path = disk_path("root");
        let chosen = world.cluster.links(&domain).choices().remove(&path);
        assert_eq!(chosen.as_deref(), Some(of_a_disk), "a disk: {what}");
        let metadata = metadata("n", &json!({}), &annotations);
        let volume: Volume = object("Volume", "v", &metadata, &json!({"poolSelector": selector}), false);
        let chosen = world.cluster.links(&volume).choices().remove(POOL);
        assert_eq!(chosen.as_deref(), Some(of_a_pool), "a pool: {what}");
    }
}

#[test]
fn a_selector_looks_into_its_namespace_and_never_at_the_object_itself() {
    let mut world = World::new();
    let elsewhere = json!({"matchLabels": {"app": "web"}, "namespace": "other"});
    let referent = world.cluster.links(&guest("d", &json!({}), &elsewhere)).referent(&disk_path("root")).unwrap();
    assert_eq!((referent.namespace.as_str(), referent.name.as_str()), ("other", "c"));
    let labels = json!({"base": "yes"});
    let parameters = json!({"backingStore": {"volumeSelector": {"matchLabels": labels}}});
    let volume: Volume = object("Volume", "v", &metadata("n", &labels, &json!({})), &parameters, false);
    world.volume(&volume);
    assert_eq!(world.cluster.links(&volume).referents().next(), None);
}

#[test]
fn where_data_lies_a_choice_keeps_its_namespace_and_elsewhere_another_namespace_is_a_new_question() {
    let world = World::new();
    let chose = |choice: &str| json!({REFERENCES: json!({disk_path("root"): choice, POOL: choice}).to_string()});
    let made = |choice: &str| json!({REFERENCES: chose(choice)[REFERENCES], CREATE_SUCCEEDED: "2026-01-01T00:00:00Z"});
    let web = |namespace: &str| json!({"matchLabels": {"app": "web"}, "namespace": namespace});
    let table = [
        ("a choice says its namespace", json!({}), "other", "other/c", "other/c"),
        ("and stays by it", chose("other/c"), "other", "other/c", "other/c"),
        ("an edited namespace is asked anew", chose("b"), "other", "other/c", "other/c"),
        ("but not for data", made("b"), "other", "other/c", "b"),
        ("nor back", made("other/c"), "n", "a", "other/c"),
    ];
    for (what, annotations, namespace, of_a_disk, of_a_pool) in table {
        let selector = web(namespace);
        let domain = guest("d", &annotations, &selector);
        let chosen = world.cluster.links(&domain).choices().remove(&disk_path("root"));
        assert_eq!(chosen.as_deref(), Some(of_a_disk), "a disk: {what}");
        let metadata = metadata("n", &json!({}), &annotations);
        let volume: Volume = object("Volume", "v", &metadata, &json!({"poolSelector": selector}), false);
        let links = world.cluster.links(&volume);
        assert_eq!(links.choices().remove(POOL).as_deref(), Some(of_a_pool), "a pool: {what}");
        let (wished, led) = (references::chosen(of_a_pool, "n"), links.referent(POOL).unwrap());
        assert_eq!((led.namespace.as_str(), led.name.as_str()), wished, "{what}");
        let is_chosen = volume.annotation(REFERENCES).is_some();
        assert_eq!(volume.said().referents.len(), usize::from(is_chosen), "what was chosen is held: {what}");
    }
}

/// What comes of a Domain's disk that names its Volume so.
fn found(world: &World, disk: &Value, made: bool) -> Result<Option<String>, Lack> {
    let mut disk = disk.clone();
    disk["name"] = "root".into();
    let annotations = if made { json!({CREATE_SUCCEEDED: "2026-01-01T00:00:00Z"}) } else { json!({}) };
    let metadata = metadata("n", &json!({}), &annotations);
    let domain: Domain = object("Domain", "d", &metadata, &json!({"disks": [disk]}), false);
    let config = config("one");
    let asker = Asker::of(&domain, &config);
    let found = world.cluster.links(&domain).find(&world.cluster.volumes, &asker, &disk_path("root"))?;
    Ok(found.map(|volume| volume.full_name()))
}

#[test]
fn what_is_not_there_is_waited_for_in_the_words_of_the_contract_unless_it_is_optional() {
    let mut world = World::new();
    let volume = |name: &str, seen: &Value, metadata: Value| -> Volume {
        let mut volume: Volume = object("Volume", name, &metadata, &json!({}), false);
        volume.status.as_mut().unwrap().at_provider = serde_json::from_value(seen.clone()).unwrap();
        volume
    };
    let (path, leaving) = (json!({"path": "/p"}), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    world.volume(&volume("blank", &json!({}), json!({})));
    world.volume(&volume("paused", &path, json!({})));
    world.volume(&volume("leaving", &path, leaving));
    let mut bound = volume("bound", &json!({}), json!({}));
    bound.spec.resource.provider_config_ref =
        serde_json::from_value(json!({"kind": "ClusterProviderConfig", "name": "two"})).unwrap();
    world.volume(&bound);
    world.volume(&volume("away", &path, json!({"annotations": {PLACEMENT: "ClusterProviderConfig/two"}})));
    let absent = |why: &str| Err(Lack::Absent(why.to_owned()));
    let unfit = |why: &str| Err(Lack::Unfit(why.to_owned()));
    let named = |name: &str| json!({"volumeRef": {"name": name}});
    let empty = "referenced field was empty (referenced resource may not yet be ready): waiting for Volume blank: it is not Ready";
    let missing = "cannot get referenced resource: waiting for Volume gone: there is none in namespace n";
    let none =
        "no resources matched selector: disks[root].volume waits for a Volume in namespace n with the labels app=db";
    let away = "volume away uses providerConfig two, but domain uses providerConfig one. Resources must use the same libvirt instance";
    let table = [
        (named("a"), false, Ok(Some("n/a".to_owned())), false),
        (json!({"volumeRef": {"name": "c", "namespace": "other"}}), false, Ok(Some("other/c".to_owned())), false),
        (named("gone"), true, absent(missing), true),
        (named("blank"), true, absent(empty), true),
        (named("paused"), true, unfit("waiting for Volume paused: it is not Ready"), false),
        (named("leaving"), false, absent("waiting for Volume leaving: it is being deleted"), true),
        (named("leaving"), true, Ok(Some("n/leaving".to_owned())), false),
        (named("away"), true, unfit(away), false),
        (named("bound"), true, unfit(&away.replace("away", "bound")), false),
        (json!({"volumeSelector": {"matchLabels": {"app": "db"}}}), true, absent(none), true),
        (json!({"device": "Cdrom"}), true, Ok(None), false),
    ];
    for (mut disk, made, expected, may_be_left_out) in table {
        assert_eq!(found(&world, &disk, made), expected, "{disk}");
        for field in ["volumeRef", "volumeSelector"] {
            if let Some(field) = disk.get_mut(field) {
                field["policy"] = json!({"resolution": "Optional"});
            }
        }
        let expected = if may_be_left_out { Ok(None) } else { expected };
        assert_eq!(found(&world, &disk, made), expected, "{disk}");
    }
}

#[test]
fn what_is_under_way_has_its_pool_also_while_that_is_to_go_and_what_never_began_waits() {
    let mut world = World::new();
    let leaving = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    let mut pool: apis::Pool = object("Pool", "leaving", &leaving, &json!({}), false);
    pool.status.as_mut().unwrap().at_provider = serde_json::from_value(json!({"id": "u"})).unwrap();
    world.writers.pools.apply_watcher_event(&Event::Apply(pool));
    let at = "2026-01-01T00:00:00Z";
    let table = [
        ("never begun", json!({}), false),
        ("recorded, as an import is", json!({CREATE_PENDING: at, OWNERSHIP: "any text"}), true),
        ("begun, and nobody saw its end", json!({CREATE_PENDING: at}), true),
        ("begun, and it made nothing", json!({CREATE_PENDING: at, CREATE_FAILED: at}), false),
        ("made", json!({CREATE_PENDING: at, CREATE_SUCCEEDED: at}), true),
    ];
    let config = config("one");
    for (what, annotations, has) in table {
        let metadata = metadata("n", &json!({}), &annotations);
        let parameters = json!({"poolRef": {"name": "leaving"}});
        let volume: Volume = object("Volume", "v", &metadata, &parameters, false);
        let asker = Asker::of(&volume, &config);
        let found = world.cluster.links(&volume).find(&world.cluster.pools, &asker, POOL);
        let waits = || Lack::Absent("waiting for Pool leaving: it is being deleted".to_owned());
        let expected = if has { Ok(Some("n/leaving".to_owned())) } else { Err(waits()) };
        assert_eq!(found.map(|pool| pool.map(|pool| pool.full_name())), expected, "{what}");
    }
}

#[test]
fn whose_choice_is_not_settled_may_be_about_to_use_what_it_matches() {
    let mut world = World::new();
    let web = json!({"matchLabels": {"app": "web"}});
    let chose = json!({REFERENCES: json!({disk_path("root"): "b"}).to_string()});
    world.domain(&guest("new", &json!({}), &web));
    world.domain(&guest("settled", &chose, &web));
    world.domain(&guest("elsewhere", &json!({}), &json!({"matchLabels": {"app": "db"}})));
    let users = |name: &str| -> Vec<String> {
        let volume = world.cluster.volumes.get("n", name).unwrap();
        let users = world.cluster.users_of(&*volume, ReferrerKind::Domain);
        users.iter().map(|user| user.name.clone()).collect()
    };
    assert_eq!(
        (users("a"), users("b"), users("plain")),
        (vec!["new".to_owned()], vec!["new".to_owned(), "settled".to_owned()], vec![])
    );
    let in_use = |name: &str| world.cluster.in_use(&*world.cluster.volumes.get("n", name).unwrap());
    assert_eq!(in_use("a"), None);
    assert_eq!(in_use("b").unwrap().message, "the volume is used by Domain n/settled; it is deleted after it");
}

#[test]
fn of_other_namespaces_only_what_stands_on_a_volume_holds_it_and_no_copy_that_may_never_come() {
    let mut world = World::new();
    let said = json!({PLACEMENT: "ClusterProviderConfig/x", OWNERSHIP: "any text"});
    let on = |namespace: &str| metadata(namespace, &json!({}), &said);
    let theirs = json!({"name": "base", "namespace": "n"});
    let copy = json!({"poolRef": {"name": "pool"}, "source": {"volumeRef": &theirs}});
    world.volume(&object("Volume", "base", &on("n"), &json!({}), true));
    let base = world.cluster.volumes.get("n", "base").unwrap();
    let user = |world: &World| world.cluster.in_use(&*base).map(|refusal| refusal.message);
    world.volume(&object("Volume", "copy", &on("m"), &copy, false));
    assert_eq!(user(&world), None);
    world.volume(&object("Volume", "above", &on("m"), &json!({"backingStore": {"volumeRef": theirs}}), false));
    assert_eq!(user(&world).unwrap(), "the volume is used by Volume m/above; it is deleted after it");
    // A neighbour's copy is waited for, as it always was.
    let mut world = World::new();
    world.volume(&object("Volume", "base", &on("n"), &json!({}), true));
    world.volume(&object("Volume", "copy", &on("n"), &json!({"source": {"volumeRef": {"name": "base"}}}), false));
    assert_eq!(user(&world).unwrap(), "the volume is used by Volume n/copy; it is deleted after it");
}

#[test]
fn an_object_follows_the_hosts_of_its_referents_that_it_may_use() {
    let mut world = World::new();
    let on = |kind: &str| json!({PLACEMENT: format!("{kind}/x")});
    world.volume(&object("Volume", "own", &metadata("n", &json!({}), &on("ProviderConfig")), &json!({}), true));
    world.volume(&object("Volume", "theirs", &metadata("m", &json!({}), &on("ProviderConfig")), &json!({}), true));
    world.volume(&object("Volume", "all", &metadata("m", &json!({}), &on("ClusterProviderConfig")), &json!({}), true));
    let hosts = |reference: Value| -> Vec<String> {
        let parameters = json!({"disks": [{"name": "root", "volumeRef": reference}]});
        let domain: Domain = object("Domain", "d", &json!({}), &parameters, false);
        assert_eq!(domain.said().referents.len(), 1);
        world.cluster.neighbours(&domain).iter().map(|neighbour| neighbour.config.to_string()).collect()
    };
    assert_eq!(hosts(json!({"name": "own"})), ["ProviderConfig n/x"]);
    assert_eq!(hosts(json!({"name": "theirs", "namespace": "m"})), [""; 0]);
    assert_eq!(hosts(json!({"name": "all", "namespace": "m"})), ["ClusterProviderConfig x"]);
}

#[test]
fn the_pools_that_objects_name_are_known_before_their_hosts_tell() {
    let mut world = World::new();
    world.volume(&object("Volume", "said", &json!({}), &json!({"pool": "hung"}), false));
    let mut seen: Volume = object("Volume", "seen", &json!({}), &json!({"poolRef": {"name": "x"}}), false);
    seen.status.as_mut().unwrap().at_provider = serde_json::from_value(json!({"pool": "shown"})).unwrap();
    world.volume(&seen);
    let named = world.cluster.pools_named();
    assert!(["hung", "shown"].iter().all(|pool| named.contains(*pool)), "{named:?}");
}

/// A Domain that was made with one `initProvider` and has another one today.
fn made_of(was: &Value, is: &Value, seen: &Value, parameters: &Value) -> Domain {
    let chose = json!({disk_path("picked"): "b"}).to_string();
    let past = json!({CREATE_SUCCEEDED: "2026-01-01T00:00:00Z", INITIAL: was.to_string(), REFERENCES: chose});
    let mut domain: Domain = object("Domain", "d", &metadata("n", &json!({}), &past), parameters, true);
    domain.spec.init_provider = serde_json::from_value(is.clone()).unwrap();
    domain.status.as_mut().unwrap().at_provider = serde_json::from_value(seen.clone()).unwrap();
    domain
}

#[test]
fn of_a_guest_that_was_made_what_is_initial_today_leads_nowhere_and_what_it_came_with_is_held() {
    let world = World::new();
    let disk = |name: &str, volume: &str| json!({"name": name, "volumeRef": {"name": volume}});
    let picked = json!({"name": "picked", "volumeSelector": {"matchLabels": {"app": "web"}}});
    let was = json!({"disks": [disk("scratch", "a"), picked]});
    let is = json!({"disks": [disk("cd", "plain"), disk("late", "plain")], "os": {"kernelRef": {"name": "plain"}}});
    let medium = json!({"name": "cd", "device": "Cdrom", "volume": {"pool": "p", "name": "v", "format": "Raw"}});
    let parameters = json!({"os": {"machine": "q35"}, "disks": [medium]});
    let links = |domain: &Domain| {
        let links = world.cluster.links(domain);
        (links.referents().count(), links.choices().into_iter().collect::<Vec<_>>())
    };
    let held = |domain: &Domain| -> Vec<String> {
        domain.said().referents.into_iter().map(|referent| referent.name).collect()
    };
    let seen = |disks: &[&str]| {
        let disks: Vec<Value> = disks.iter().map(|name| json!({"name": name, "target": name})).collect();
        json!({"id": "u", "disks": disks})
    };
    let domain = |seen: &Value| made_of(&was, &is, seen, &parameters);
    let chose = (disk_path("picked"), "b".to_owned());
    assert_eq!(links(&domain(&Value::Null)), (0, vec![chose]));
    for (seen, expected) in [
        (Value::Null, vec!["a", "b"]),
        (seen(&["cd", "scratch", "picked"]), vec!["a", "b"]),
        (seen(&["cd", "picked"]), vec!["b"]),
        (seen(&[]), vec![]),
        (json!({"disks": []}), vec!["a", "b"]),
    ] {
        assert_eq!(held(&domain(&seen)), expected, "{seen}");
    }
    assert!(!domain(&Value::Null).said().open);
}
