//! What counts when a thing is made: `initProvider` beneath `forProvider`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::managed::{Managed, annotation};

/// What was `initProvider` when the object's thing was made.
pub(crate) fn recorded<K: Managed>(object: &K) -> Map<String, Value> {
    let text = object.annotation(annotation::INITIAL);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Whether the making has begun and may be under way, so that something may be on the host.
fn is_begun<K: Managed>(object: &K) -> bool {
    object.annotation(annotation::CREATE_PENDING).is_some() && object.annotation(annotation::CREATE_FAILED).is_none()
}

/// `initProvider` as it counts when the thing is made, with the lasting fields of the time when that began, or began first.
pub(crate) fn making<K: Managed>(object: &K) -> Map<String, Value> {
    let fields = object.initial().and_then(|initial| serde_json::to_value(initial).ok());
    let mut fields = fields.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    if object.was_made() || is_begun(object) {
        let is_lasting = |field: &String| K::LASTING.contains(&field.as_str());
        fields.retain(|field, _| !is_lasting(field));
        fields.extend(recorded(object).into_iter().filter(|(field, _)| is_lasting(field)));
    }
    fields
}

/// The object with `forProvider` laid over these fields.
pub(crate) fn over<K: Managed>(object: &K, fields: Map<String, Value>) -> Cow<'_, K> {
    if fields.is_empty() {
        return Cow::Borrowed(object);
    }
    let wins = serde_json::to_value(object.parameters()).unwrap_or_default();
    let Ok(parameters) = serde_json::from_value(merge(Value::Object(fields), wins)) else {
        return Cow::Borrowed(object);
    };
    let mut object = object.clone();
    *object.parameters_mut() = parameters;
    Cow::Owned(object)
}

/// The fields that the items of lists are told apart by.
const KEYS: [&str; 10] = ["name", "type", "cidr", "start", "vcpu", "ioThread", "id", "cell", "ip", "code"];

/// Where content comes from: what is said later is instead of the others.
const CONTENT: [&str; 3] = ["inline", "secretKeyRef", "configMapKeyRef"];
const PARTS: &str = "parts";

/// Drops what is below and would count in place of what wins: a reference goes before a selector, and content that is written out before
/// content of elsewhere. Content in parts is instead of one that is not, and parts of both sides are put together.
fn outdo(below: &mut Map<String, Value>, wins: &Map<String, Value>) {
    if CONTENT.iter().any(|field| wins.contains_key(*field)) {
        below.retain(|field, _| !CONTENT.contains(&field.as_str()) && field != PARTS);
    }
    if wins.contains_key(PARTS) {
        below.retain(|field, _| !CONTENT.contains(&field.as_str()));
    }
    for field in wins.keys().filter_map(|field| field.strip_suffix("Selector")) {
        let reference = format!("{field}Ref");
        if !wins.contains_key(&reference) {
            below.remove(&reference);
        }
    }
}

/// One value laid over another: objects field by field, lists whose items have a key item by item, and everything else as a whole.
pub fn merge(below: Value, wins: Value) -> Value {
    match (below, wins) {
        (Value::Object(mut below), Value::Object(wins)) => {
            outdo(&mut below, &wins);
            for (field, value) in wins {
                let value = match below.remove(&field) {
                    Some(under) => merge(under, value),
                    None => value,
                };
                below.insert(field, value);
            }
            Value::Object(below)
        }
        (Value::Array(below), Value::Array(wins)) => Value::Array(merge_items(below, wins)),
        (_, wins) => wins,
    }
}

/// The items that win come first, in their order.
fn merge_items(mut below: Vec<Value>, wins: Vec<Value>) -> Vec<Value> {
    let has = |key: &&str| below.iter().chain(&wins).all(|item| item.get(key).is_some());
    let Some(key) = KEYS.into_iter().find(has) else { return wins };
    let mut items: Vec<Value> = wins
        .into_iter()
        .map(|item| match below.iter().position(|under| under[key] == item[key]) {
            Some(at) => merge(below.remove(at), item),
            None => item,
        })
        .collect();
    items.append(&mut below);
    items
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Domain, Volume};

    #[test]
    fn what_wins_is_laid_over_what_is_below_field_by_field_and_item_by_item() {
        let table = [
            (json!({"a": 1}), json!({}), json!({"a": 1})),
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 2})),
            (json!({"o": {"a": 1, "b": 1}}), json!({"o": {"b": 2}}), json!({"o": {"a": 1, "b": 2}})),
            (json!({"l": ["a", "b"]}), json!({"l": ["c"]}), json!({"l": ["c"]})),
            (
                json!({"d": [{"name": "x", "a": 1}, {"name": "y", "a": 1, "b": 1}]}),
                json!({"d": [{"name": "z"}, {"name": "y", "a": 2}]}),
                json!({"d": [{"name": "z"}, {"name": "y", "a": 2, "b": 1}, {"name": "x", "a": 1}]}),
            ),
            (
                json!({"i": [{"cidr": "c", "ranges": [{"start": "1", "end": "2"}]}]}),
                json!({"i": [{"cidr": "c", "ranges": [{"start": "3", "end": "4"}]}]}),
                json!({"i": [{"cidr": "c", "ranges": [{"start": "3", "end": "4"}, {"start": "1", "end": "2"}]}]}),
            ),
            (
                json!({"g": [{"type": "Vnc", "listen": "::"}]}),
                json!({"g": [{"type": "Vnc"}]}),
                json!({"g": [{"type": "Vnc", "listen": "::"}]}),
            ),
            (
                json!({"poolRef": 1, "d": [{"name": "x", "volumeRef": 1}]}),
                json!({"poolSelector": 2, "d": [{"name": "x", "volumeSelector": 2}]}),
                json!({"poolSelector": 2, "d": [{"name": "x", "volumeSelector": 2}]}),
            ),
            (json!({"aRef": 1}), json!({"aRef": 2, "aSelector": 2}), json!({"aRef": 2, "aSelector": 2})),
            (json!({"aRef": 1}), json!({"bSelector": 2}), json!({"aRef": 1, "bSelector": 2})),
            (json!({"u": {"inline": 1}}), json!({"u": {"secretKeyRef": 2}}), json!({"u": {"secretKeyRef": 2}})),
            (json!({"u": {"secretKeyRef": {"name": 1}}}), json!({"u": {"inline": 2}}), json!({"u": {"inline": 2}})),
            (json!({"u": {"parts": []}}), json!({"u": {"inline": 2}}), json!({"u": {"inline": 2}})),
            (json!({"u": {"inline": 1}}), json!({"u": {"parts": [2]}}), json!({"u": {"parts": [2]}})),
            (
                json!({"u": {"parts": [{"name": "a", "inline": 1}, {"name": "b", "inline": 1, "contentType": 1}]}}),
                json!({"u": {"parts": [{"name": "b", "secretKeyRef": 2}]}}),
                json!({"u": {"parts": [{"name": "b", "secretKeyRef": 2, "contentType": 1}, {"name": "a", "inline": 1}]}}),
            ),
            (json!({"aSelector": 1}), json!({"aRef": 2}), json!({"aSelector": 1, "aRef": 2})),
            (json!({"d": [{"name": "x"}]}), json!({"d": []}), json!({"d": [{"name": "x"}]})),
        ];
        for (below, wins, expected) in table {
            assert_eq!(merge(below.clone(), wins.clone()), expected, "{below} {wins}");
        }
    }

    fn volume(annotations: &Value, init: &Value) -> Volume {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
            "metadata": {"name": "v", "annotations": annotations},
            "spec": {"initProvider": init, "forProvider": {"capacity": "2Gi"}},
        }))
        .unwrap()
    }

    fn said(object: &Volume) -> Value {
        serde_json::to_value(object.parameters()).unwrap()
    }

    #[test]
    fn what_is_initial_counts_whole_until_the_thing_is_made_and_then_as_it_was_where_it_lasts() {
        let init = json!({"pool": "a", "format": "Raw", "capacity": "1Gi", "source": null});
        let new = volume(&json!({}), &init);
        let whole = json!({"pool": "a", "format": "Raw", "capacity": "2Gi"});
        assert_eq!((said(&new.merged()), said(&new.effective())), (whole.clone(), whole));
        let remembered = new.to_remember().unwrap();
        let made = json!({annotation::CREATE_SUCCEEDED: "2026-01-01T00:00:00Z", annotation::INITIAL: remembered});
        let edited = volume(&made, &json!({"pool": "b", "format": "Qcow2", "capacity": "9Gi"}));
        assert_eq!(said(&edited.effective()), json!({"pool": "a", "format": "Raw", "capacity": "2Gi"}));
        let dropped = volume(&made, &Value::Null);
        assert_eq!(said(&dropped.effective()), json!({"pool": "a", "format": "Raw", "capacity": "2Gi"}));
        // Made again, it is made where it was.
        assert_eq!(said(&edited.merged()), json!({"pool": "a", "format": "Raw", "capacity": "2Gi"}));
        // So it is while it is being made, and not once that has failed.
        let begun =
            json!({annotation::CREATE_PENDING: "2026-01-01T00:00:00Z", annotation::INITIAL: made[annotation::INITIAL]});
        let mut failed = begun.clone();
        failed[annotation::CREATE_FAILED] = "2026-01-01T00:00:01Z".into();
        let edit = json!({"pool": "b", "format": "Qcow2", "capacity": "9Gi"});
        let expected = json!({"pool": "a", "format": "Raw", "capacity": "2Gi"});
        assert_eq!(said(&volume(&begun, &edit).effective()), expected);
        let expected = json!({"pool": "b", "format": "Qcow2", "capacity": "2Gi"});
        assert_eq!(said(&volume(&failed, &edit).effective()), expected);
        // What came after it was made never counted.
        let late = volume(&json!({annotation::CREATE_SUCCEEDED: "2026-01-01T00:00:00Z"}), &init);
        assert!(matches!(late.effective(), Cow::Borrowed(_)));
        assert_eq!(late.initially().map(|_| ()), None);
    }

    #[test]
    fn a_pool_that_is_made_again_is_made_where_it_was() {
        let pool = |annotations: &Value, path: &str| -> Value {
            let pool: crate::Pool = serde_json::from_value(json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
                "metadata": {"name": "p", "annotations": annotations},
                "spec": {"initProvider": {"target": {"path": path}}, "forProvider": {}},
            }))
            .unwrap();
            serde_json::to_value(pool.merged().parameters()).unwrap()
        };
        let made = json!({annotation::CREATE_SUCCEEDED: "2026-01-01T00:00:00Z", annotation::INITIAL: "{\"target\":{\"path\":\"/a\"}}"});
        assert_eq!(pool(&json!({}), "/b"), json!({"target": {"path": "/b"}}));
        assert_eq!(pool(&made, "/b"), json!({"target": {"path": "/a"}}));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_a_fault() {
        let fault = |text: &str| volume(&json!({annotation::INITIAL: text}), &Value::Null).initial_fault();
        assert_eq!((fault("{}"), fault("{\"format\":\"Raw\"}")), (None, None));
        assert_eq!(volume(&json!({}), &Value::Null).initial_fault(), None);
        for text in ["", "[", "{\"format\":\"raw\"}"] {
            let told = fault(text).unwrap();
            assert!(told.starts_with("the annotation libvirt.nourspeed.io/initial cannot be read: "), "{told}");
        }
    }

    #[test]
    fn without_anything_initial_nothing_is_copied() {
        let object: Domain = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain", "metadata": {"name": "d"},
            "spec": {"forProvider": {"memory": "1Gi"}},
        }))
        .unwrap();
        assert!(matches!(object.merged(), Cow::Borrowed(_)) && matches!(object.effective(), Cow::Borrowed(_)));
        assert_eq!((object.initially().map(|_| ()), object.to_remember()), (None, None));
    }
}
