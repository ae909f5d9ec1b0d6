//! Writing to Kubernetes: one status patch where something differs, and metadata patches that fail on a stale copy.
//!
//! Others write to the object too. A write that lost a race against one that changes nothing of what a pass reads is made again at once,
//! over what is there now: an object that somebody touches fifty times a second is made like any other.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use apis::{
    Managed,
    condition::{self, Condition, Status, Type, Wish},
    managed::{FINALIZER, annotation},
};
use jiff::Timestamp;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};

use crate::external::Annotations;

/// The name that the API server keeps of who wrote a field.
pub const FIELD_MANAGER: &str = "provider-libvirt";

/// How long is waited between the tries of one write.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(20), Duration::from_millis(40), Duration::from_millis(80)];

/// What a pass found out, for the status.
#[derive(Debug)]
pub struct News<O> {
    /// Conditions to set.
    pub wishes: Vec<Wish>,
    /// Conditions to take out.
    pub removed: Vec<Type>,
    /// A new `atProvider`; None keeps the old one.
    pub observation: Option<O>,
    /// Whether the pass did what a request to reconcile asks for.
    pub handled: bool,
}

impl<O> News<O> {
    /// Conditions alone.
    pub fn conditions(wishes: impl IntoIterator<Item = Wish>) -> Self {
        Self { wishes: wishes.into_iter().collect(), removed: Vec::new(), observation: None, handled: true }
    }
}

/// Writes the status if it differs from what the object has. Answers the object as written, or None when nothing differed.
/// Conditions are one list to a merge patch, so they are written only over the list that was read: what others put there stays.
pub async fn status<K: Managed>(client: &Client, object: &K, news: &News<K::Observation>) -> kube::Result<Option<K>> {
    let (api, now) = (api(client, object), Timestamp::now());
    let mut present = Cow::Borrowed(object);
    let mut pauses = PAUSES.into_iter();
    loop {
        let Some(difference) = status_patch(object, &*present, news, now) else {
            return Ok(match present {
                Cow::Borrowed(_) => None,
                Cow::Owned(fresh) => Some(fresh),
            });
        };
        let mut patch = json!({ "status": difference });
        if !patch["status"]["conditions"].is_null() {
            patch["metadata"] = json!({ "resourceVersion": present.meta().resource_version });
        }
        match api.patch_status(name(object), &patch_by_us(), &Patch::Merge(&patch)).await {
            Err(error) if is_conflict(&error) => {
                let Some(pause) = pauses.next() else { return Err(error) };
                tokio::time::sleep(pause).await;
                let fresh = api.get(name(object)).await?;
                if fresh.uid() != object.uid() {
                    return Err(error);
                }
                present = Cow::Owned(fresh);
            }
            written => return written.map(Some),
        }
    }
}

/// The merge patch that brings the status that is there up to date with what a pass over `object` found; None when it is.
fn status_patch<K: Managed>(object: &K, present: &K, news: &News<K::Observation>, now: Timestamp) -> Option<Value> {
    let mut conditions: Vec<Condition> = present.conditions().to_vec();
    for wish in &news.wishes {
        condition::set(&mut conditions, wish, object.meta().generation, now);
    }
    for type_ in &news.removed {
        condition::remove(&mut conditions, *type_);
    }
    if news.wishes.iter().all(|wish| wish.type_ != Type::UpToDate) {
        // "Unknown" is what a paused object or one whose host is away says; a pass that got further and does not know says nothing.
        conditions.retain(|known| known.type_ != Type::UpToDate.as_str() || known.status != "Unknown");
    }
    let old = present.resource_status();
    let asked = object.annotation(annotation::RECONCILE_REQUESTED).filter(|_| news.handled).map(str::to_owned);
    let handled = asked.or_else(|| old?.last_handled_reconcile_at.clone());
    let observation = news.observation.as_ref().or_else(|| present.observation());
    let is_true = news.wishes.iter().any(|wish| wish.type_ == Type::Synced && wish.status == Status::True);
    // Without Ready, which what cannot be looked for yet does not have, kstatus takes anything for current that says no generation.
    let never = Some(0);
    let generation = object.meta().generation.filter(|_| is_true).or_else(|| old?.observed_generation).or(never);
    // Most passes find nothing new, and writing two statuses out only to compare them is the dearest part of those.
    let is_same = conditions == present.conditions()
        && observation == present.observation()
        && generation == old.and_then(|status| status.observed_generation)
        && handled.as_ref() == old.and_then(|status| status.last_handled_reconcile_at.as_ref());
    if is_same {
        return None;
    }
    let wished = json!({
        "conditions": conditions,
        "observedGeneration": generation,
        "lastHandledReconcileAt": handled,
        "atProvider": observation,
    });
    let present = json!({
        "conditions": present.conditions(),
        "observedGeneration": old.and_then(|status| status.observed_generation),
        "lastHandledReconcileAt": old.and_then(|status| status.last_handled_reconcile_at.as_ref()),
        "atProvider": present.observation(),
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

    /// Sets each of these, unless the object has it so already.
    pub(crate) fn annotate_all<K: Managed>(&mut self, object: &K, annotations: &Annotations) {
        for (key, value) in annotations {
            self.annotate(object, key, value.clone());
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.annotations.is_empty() && self.labels.is_empty() && self.finalizer.is_none()
    }
}

/// Writes metadata, provided nothing that a pass reads has changed since (else the answer is the API server's 409).
/// Answers the object as written.
pub async fn metadata<K: Managed>(client: &Client, object: &K, changes: &Metadata) -> kube::Result<K> {
    let mut present = Cow::Borrowed(object);
    let mut pauses = PAUSES.into_iter();
    loop {
        match patch_metadata(client, object, locked(&*present, changes)).await {
            Err(error) if is_conflict(&error) => {
                let Some(pause) = pauses.next() else { return Err(error) };
                tokio::time::sleep(pause).await;
                let fresh = api(client, object).get(name(object)).await?;
                if !asks_the_same(object, &fresh) {
                    return Err(error);
                }
                present = Cow::Owned(fresh);
            }
            written => return written,
        }
    }
}

/// The patch of these changes for the object as it is now and no other.
fn locked<K: Managed>(object: &K, changes: &Metadata) -> Map<String, Value> {
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
    patch
}

/// Whether a pass over either copy would do the same: spec, deletion and what Crossplane and this provider write down are equal.
fn asks_the_same<K: Managed>(old: &K, new: &K) -> bool {
    let read = |object: &K| {
        let meta = object.meta();
        let annotations = meta.annotations.iter().flatten().filter(|(key, _)| is_read(key));
        let annotations: Vec<(String, String)> = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
        let label = meta.labels.as_ref().and_then(|labels| labels.get(annotation::INSTANCE_LABEL)).cloned();
        (meta.uid.clone(), meta.generation, meta.deletion_timestamp.clone(), annotations, label)
    };
    read(old) == read(new)
}

/// Whether a pass reads annotations of this name.
fn is_read(key: &str) -> bool {
    ["crossplane.io/", "libvirt.nourspeed.io/"].iter().any(|of_ours| key.starts_with(of_ours))
}

/// Writes annotations that must not be lost: as [`annotate`] does, and again if the API server does not take them, unless the object is gone.
pub async fn persist<K: Managed>(client: &Client, object: &K, changes: &Metadata) -> kube::Result<K> {
    for pause in PAUSES {
        match annotate(client, object, changes).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Err(kube::Error::Api(status)),
            Err(_) => tokio::time::sleep(pause).await,
            Ok(written) => return Ok(written),
        }
    }
    annotate(client, object, changes).await
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
    api(client, object).patch(name(object), &patch_by_us(), &Patch::Merge(&patch)).await
}

/// How everything is patched: signed.
pub fn patch_by_us() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// How everything is made: signed.
pub fn post_by_us() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
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
            handled: true,
        };
        let blank = pool(&json!({}));
        let patch = status_patch(&blank, &blank, &news, now).unwrap();
        assert_eq!(patch["atProvider"], json!({"id": "u"}));
        assert_eq!(patch["conditions"][0]["lastTransitionTime"], json!("1970-01-01T00:01:40Z"));
        let later = Timestamp::from_second(200).unwrap();
        assert_eq!(status_patch(&blank, &pool(&patch), &news, later), None);
    }

    #[test]
    fn what_a_pass_does_not_read_may_change_under_it_and_nothing_else() {
        let old = pool(&json!({}));
        let edited = |edit: fn(&mut apis::Pool)| {
            let mut new = old.clone();
            new.metadata.resource_version = Some("9".to_owned());
            edit(&mut new);
            asks_the_same(&old, &new)
        };
        let annotate = |pool: &mut apis::Pool, key: &str| {
            pool.metadata.annotations.get_or_insert_default().insert(key.to_owned(), "x".to_owned());
        };
        assert!(edited(|pool| pool.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into())));
        assert!(edited(|pool| pool.metadata.finalizers = Some(vec!["other".to_owned()])));
        let mut new = old.clone();
        annotate(&mut new, "backup.example.org/at");
        assert!(asks_the_same(&old, &new));
        for key in [annotation::CREATE_PENDING, annotation::PAUSED, annotation::OWNERSHIP] {
            let mut new = old.clone();
            annotate(&mut new, key);
            assert!(!asks_the_same(&old, &new), "{key}");
        }
        assert!(!edited(|pool| pool.metadata.generation = Some(3)));
        assert!(!edited(|pool| pool.metadata.uid = Some("another".to_owned())));
        assert!(!edited(|pool| {
            let labels = [(annotation::INSTANCE_LABEL.to_owned(), "b".to_owned())];
            pool.metadata.labels = Some(labels.into());
        }));
    }
}
