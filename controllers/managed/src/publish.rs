//! Writing to Kubernetes: one status patch where something differs, and metadata patches that fail on a stale copy.

use std::collections::BTreeMap;

use apis::{
    Managed,
    condition::{self, Condition, Type, Wish},
    managed::{FINALIZER, annotation},
};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};

/// What a pass found out, for the status.
#[derive(Debug)]
pub struct News<O> {
    /// Conditions to set.
    pub wishes: Vec<Wish>,
    /// Conditions to take out.
    pub removed: Vec<Type>,
    /// A new `atProvider`; None keeps the old one.
    pub observation: Option<O>,
}

impl<O> News<O> {
    /// Conditions alone.
    pub fn conditions(wishes: impl IntoIterator<Item = Wish>) -> Self {
        Self { wishes: wishes.into_iter().collect(), removed: Vec::new(), observation: None }
    }
}

/// Writes the status if it differs from what the object has. Answers the object as written, or None when nothing differed.
pub async fn status<K: Managed>(client: &Client, object: &K, news: &News<K::Observation>) -> kube::Result<Option<K>> {
    let Some(difference) = status_patch(object, news, Timestamp::now()) else { return Ok(None) };
    let patch = json!({ "status": difference });
    api(client, object).patch_status(name(object), &PatchParams::default(), &Patch::Merge(&patch)).await.map(Some)
}

/// The merge patch that brings the status up to date; None when it is.
fn status_patch<K: Managed>(object: &K, news: &News<K::Observation>, now: Timestamp) -> Option<Value> {
    let mut conditions: Vec<Condition> = object.conditions().to_vec();
    for wish in &news.wishes {
        condition::set(&mut conditions, wish, object.meta().generation, now);
    }
    for type_ in &news.removed {
        condition::remove(&mut conditions, *type_);
    }
    let old = object.resource_status();
    let handled = object
        .annotation(annotation::RECONCILE_REQUESTED)
        .map(str::to_owned)
        .or_else(|| old?.last_handled_reconcile_at.clone());
    let observation = news.observation.as_ref().or_else(|| object.observation());
    let wished = json!({ "conditions": conditions, "lastHandledReconcileAt": handled, "atProvider": observation });
    let present = json!({
        "conditions": object.conditions(),
        "lastHandledReconcileAt": old.and_then(|status| status.last_handled_reconcile_at.as_ref()),
        "atProvider": object.observation(),
    });
    merge_difference(&present, &wished)
}

/// The JSON merge patch (RFC 7396) that turns `old` into `new`; None when they are equal.
fn merge_difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return Some(new.clone()) };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        if let Some(difference) = merge_difference(old.get(key).unwrap_or(&Value::Null), value) {
            patch.insert(key.clone(), difference);
        }
    }
    Some(Value::Object(patch))
}

/// Changes of an object's metadata, written together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Annotations to set, or with None to remove.
    pub annotations: BTreeMap<String, Option<String>>,
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
    /// Whether our finalizer is to be there; None leaves it.
    pub finalizer: Option<bool>,
}

impl Metadata {
    /// Sets one annotation, unless the object has it so already.
    pub fn annotate<K: Managed>(&mut self, object: &K, key: &str, value: Option<String>) {
        if object.annotation(key).map(str::to_owned) != value {
            self.annotations.insert(key.to_owned(), value);
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.labels.is_empty() && self.finalizer.is_none()
    }
}

/// Writes metadata, provided the object has not changed since it was read (else the API server answers 409). Answers the object as written.
pub async fn metadata<K: Managed>(client: &Client, object: &K, changes: &Metadata) -> kube::Result<K> {
    let mut patch = annotations_and_labels(changes);
    patch.insert("resourceVersion".to_owned(), json!(object.meta().resource_version));
    if let Some(wanted) = changes.finalizer {
        let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        patch.insert("finalizers".to_owned(), json!(finalizers));
    }
    patch_metadata(client, object, patch).await
}

/// Writes annotations whatever else has changed: what they say is true of the host. Answers the object as written.
pub async fn annotate<K: Managed>(client: &Client, object: &K, changes: &Metadata) -> kube::Result<K> {
    patch_metadata(client, object, annotations_and_labels(changes)).await
}

fn annotations_and_labels(changes: &Metadata) -> Map<String, Value> {
    let mut patch = Map::new();
    if !changes.annotations.is_empty() {
        patch.insert("annotations".to_owned(), json!(changes.annotations));
    }
    if !changes.labels.is_empty() {
        patch.insert("labels".to_owned(), json!(changes.labels));
    }
    patch
}

async fn patch_metadata<K: Managed>(client: &Client, object: &K, metadata: Map<String, Value>) -> kube::Result<K> {
    let patch = json!({ "metadata": metadata });
    api(client, object).patch(name(object), &PatchParams::default(), &Patch::Merge(&patch)).await
}

fn api<K: Managed>(client: &Client, object: &K) -> Api<K> {
    Api::namespaced(client.clone(), object.meta().namespace.as_deref().unwrap_or_default())
}

fn name<K: Managed>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_merge_patch_removes_what_is_gone_and_leaves_what_is_equal() {
        let old = json!({"a": 1, "gone": {"x": 1}, "deep": {"same": [1], "list": [1, 2], "off": true}});
        let new = json!({"a": 1, "deep": {"same": [1], "list": [2]}, "more": "b"});
        assert_eq!(
            merge_difference(&old, &new),
            Some(json!({"gone": null, "deep": {"list": [2], "off": null}, "more": "b"}))
        );
        assert_eq!(merge_difference(&old, &old), None);
    }

    fn pool(status: &Value) -> apis::Pool {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
            "metadata": {"name": "p", "namespace": "n", "generation": 2},
            "spec": {"forProvider": {"target": {"path": "/p"}}}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn an_equal_status_is_not_written_again() {
        let now = Timestamp::from_second(100).unwrap();
        let news = News {
            wishes: vec![Wish::available()],
            removed: vec![],
            observation: Some(apis::pool::PoolObservation { id: Some("u".to_owned()), ..Default::default() }),
        };
        let patch = status_patch(&pool(&json!({})), &news, now).unwrap();
        assert_eq!(patch["atProvider"], json!({"id": "u"}));
        assert_eq!(patch["conditions"][0]["lastTransitionTime"], json!("1970-01-01T00:01:40Z"));
        let later = Timestamp::from_second(200).unwrap();
        assert_eq!(status_patch(&pool(&patch), &news, later), None);
    }
}
