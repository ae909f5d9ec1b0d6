//! Which of several objects a selector means: pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use apis::reference::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The UID of the controller of an object, as objects of one composite resource have in common.
pub fn controller(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.iter().flatten();
    owners.into_iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// Whether a selector of an object with this controller matches another object. The namespace is not looked at.
pub fn matches(selector: &Selector, asker: Option<&str>, candidate: &ObjectMeta) -> bool {
    let Selector { match_labels, match_controller_ref, namespace: _, policy: _ } = selector;
    let label = |(key, value): (&String, &String)| {
        candidate.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|found| found == value)
    };
    let same_controller = || asker.is_some() && asker == controller(candidate);
    match_labels.iter().flatten().all(label) && (!match_controller_ref.unwrap_or_default() || same_controller())
}

/// A number that changes with what selectors look at.
pub fn look(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&meta.labels, controller(meta), meta.deletion_timestamp.is_some()).hash(&mut hasher);
    hasher.finish()
}

/// The name of the object that a selector means among those of its namespace: the first by name that matches and is not being deleted.
pub fn choose<'a>(
    selector: &Selector,
    asker: Option<&str>,
    candidates: impl Iterator<Item = &'a ObjectMeta>,
) -> Option<&'a str> {
    candidates
        .filter(|candidate| candidate.deletion_timestamp.is_none() && matches(selector, asker, candidate))
        .filter_map(|candidate| candidate.name.as_deref())
        .min()
}

/// A selector as messages tell it.
pub fn shown(selector: &Selector) -> String {
    let Selector { match_labels, match_controller_ref, namespace: _, policy: _ } = selector;
    let labels: Vec<String> = match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = (!labels.is_empty()).then(|| format!("the labels {}", labels.join(",")));
    let owner = match_controller_ref.unwrap_or_default().then(|| "the same controller".to_owned());
    labels.into_iter().chain(owner).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meta(name: &str, labels: &Value, owner: &Value) -> ObjectMeta {
        let owners: Vec<Value> = [owner]
            .into_iter()
            .filter(|owner| !owner.is_null())
            .map(|owner| {
                let (uid, controller) = (owner["uid"].clone(), owner["controller"].clone());
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": uid, "controller": controller})
            })
            .collect();
        serde_json::from_value(json!({"name": name, "labels": labels, "ownerReferences": owners})).unwrap()
    }

    /// Two of one composite resource, one of another, one that is merely owned, one of nobody, and one that is being deleted.
    fn world() -> Vec<ObjectMeta> {
        let of = |uid: &str| json!({"uid": uid, "controller": true});
        let web = json!({"app": "web", "tier": "disk"});
        let mut leaving = meta("a-leaving", &web, &of("one"));
        leaving.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        vec![
            meta("z-first", &web, &of("one")),
            meta("c", &json!({"app": "web"}), &of("one")),
            meta("b", &web, &of("two")),
            meta("d", &web, &json!({"uid": "one", "controller": false})),
            meta("e", &json!({}), &Value::Null),
            leaving,
        ]
    }

    #[test]
    fn a_selector_means_the_first_by_name_that_has_its_labels_and_the_controller() {
        let web = json!({"app": "web"});
        let table = [
            ("labels", json!({"matchLabels": web}), Some("one"), Some("b")),
            ("every label counts", json!({"matchLabels": {"app": "web", "tier": "disk"}}), None, Some("b")),
            ("a value that differs", json!({"matchLabels": {"app": "db"}}), Some("one"), None),
            ("controller", json!({"matchControllerRef": true}), Some("one"), Some("c")),
            ("another controller", json!({"matchControllerRef": true}), Some("three"), None),
            ("no controller matches none", json!({"matchControllerRef": true}), None, None),
            (
                "both",
                json!({"matchLabels": {"tier": "disk"}, "matchControllerRef": true}),
                Some("one"),
                Some("z-first"),
            ),
            ("an owner need not match", json!({"matchLabels": web, "matchControllerRef": false}), None, Some("b")),
        ];
        let mut world = world();
        for _ in 0..world.len() {
            world.rotate_left(1);
            for (what, selector, asker, chosen) in &table {
                let selector: Selector = serde_json::from_value(selector.clone()).unwrap();
                assert_eq!(choose(&selector, *asker, world.iter()), *chosen, "{what}");
            }
        }
    }

    #[test]
    fn a_selector_is_told_in_words() {
        let table = [
            (json!({"matchLabels": {"a": "b", "c": "d"}}), "the labels a=b,c=d"),
            (json!({"matchControllerRef": true}), "the same controller"),
            (json!({"matchLabels": {"a": "b"}, "matchControllerRef": true}), "the labels a=b and the same controller"),
        ];
        for (selector, words) in table {
            assert_eq!(shown(&serde_json::from_value(selector).unwrap()), words);
        }
    }
}
