//! The watch of one kind: it keeps the store, and queues what changed in a way that a pass reads.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use apis::{
    Managed,
    managed::annotation::{CREATE_FAILED, CREATE_PENDING},
};
use futures::StreamExt;
use kube::{
    Api, Client,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{Store, store::Writer},
        watcher::{self, Event},
    },
};

use crate::{
    gate::{Gate, Presence},
    queue::Urgency,
    run::{Key, Observer, Work, key},
};

/// What `kubectl apply` keeps on an object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Keeps store and queue of a kind up to date for ever, for as long as the API server serves it.
pub async fn watch<K: Managed>(
    client: Client,
    mut gate: Gate,
    writer: Writer<K>,
    work: Work<K>,
    observer: Arc<dyn Observer<K>>,
) {
    let kind = K::kind(&());
    let store = writer.as_reader();
    let mut watched = Watched { writer, store, seen: HashMap::new(), listed: Vec::new(), work, observer };
    loop {
        let presence = gate.until::<K>(|presence| presence != Presence::Unknown).await;
        if presence == Presence::Served {
            tokio::select! {
                () = watched.follow(Api::all(client.clone())) => {}
                _ = gate.until::<K>(|presence| presence == Presence::Absent) => {}
            }
        }
        watched.empty();
        tracing::info!(%kind, "has no CRD; it starts when it gets one");
        gate.until::<K>(|presence| presence == Presence::Served).await;
        tracing::info!(%kind, "starts: its CRD is there");
    }
}

/// What the watch of a kind has shown so far.
struct Watched<K: Managed> {
    writer: Writer<K>,
    store: Store<K>,
    /// What each object asked for when it was last queued.
    seen: HashMap<Key<K>, u64>,
    /// The list that is coming in; the store shows it only when it is whole.
    listed: Vec<K>,
    work: Work<K>,
    observer: Arc<dyn Observer<K>>,
}

impl<K: Managed> Watched<K> {
    /// Takes in what the API server shows, for ever. What cannot be read stops nobody else.
    async fn follow(&mut self, api: Api<DeserializeGuard<K>>) {
        let mut stream = kube::runtime::watcher(api, watcher::Config::default()).default_backoff().boxed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => readable(event).into_iter().for_each(|event| self.take(event)),
                Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted"),
            }
        }
    }

    /// A kind without a CRD has no objects.
    fn empty(&mut self) {
        self.take(Event::Init);
        self.take(Event::InitDone);
    }

    fn take(&mut self, event: Event<K>) {
        let missing = if matches!(event, Event::InitDone) { self.missing() } else { Vec::new() };
        self.writer.apply_watcher_event(&event);
        self.note_all(event);
        for object in missing {
            self.gone(&object);
        }
    }

    fn note_all(&mut self, event: Event<K>) {
        match event {
            Event::Apply(object) => self.note(&object, Urgency::Event),
            Event::Delete(object) => {
                self.gone(&object);
                if self.work.vanished.note(&key(&object), &object) {
                    self.work.queue.push(key(&object), Urgency::Event);
                }
            }
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => self.listed.push(object),
            Event::InitDone => {
                for object in std::mem::take(&mut self.listed) {
                    self.note(&object, Urgency::Background);
                }
                self.observer.listed();
            }
        }
    }

    /// What went away while nobody watched: the list that has come in does not have it.
    fn missing(&self) -> Vec<Arc<K>> {
        let listed: HashMap<Key<K>, &str> = self.listed.iter().map(|object| (key(object), object.uid())).collect();
        let known = self.seen.keys().filter_map(|key| self.store.get(key));
        known.filter(|object| listed.get(&key(&**object)) != Some(&object.uid())).collect()
    }

    fn gone(&mut self, object: &K) {
        let key = key(object);
        self.seen.remove(&key);
        self.work.queue.forget(&key);
        self.observer.gone(object);
    }

    /// Queues the object if something changed that a pass reads: our own status writes do not.
    fn note(&mut self, object: &K, urgency: Urgency) {
        let key = key(object);
        self.observer.changed(object);
        let now = desired_state(object);
        let known = self.seen.get_key_value(&key).map(|(key, _)| key.clone());
        let key = known.unwrap_or(key);
        if self.seen.insert(key.clone(), now) != Some(now) {
            self.work.queue.push(key, urgency);
        }
    }
}

/// A number that changes with what asks for a pass: generation, labels, annotations but those of a create, finalizers, deletion.
fn desired_state<K: Managed>(object: &K) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for annotation in
        meta.annotations.iter().flatten().filter(|(key, _)| ![CREATE_PENDING, CREATE_FAILED].contains(&key.as_str()))
    {
        annotation.hash(&mut hasher);
    }
    hasher.finish()
}

/// Takes the object out of its guard, without the parts that nobody here reads.
fn readable<K: Managed>(event: Event<DeserializeGuard<K>>) -> Option<Event<K>> {
    let open = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            drop_unread(&mut object);
            Some(object)
        }
        Err(invalid) => {
            let name = invalid.metadata.name.unwrap_or_default();
            tracing::warn!(kind = %K::kind(&()), name, error = %invalid.error, "object cannot be read");
            None
        }
    };
    match event {
        Event::Apply(guard) => open(guard).map(Event::Apply),
        Event::InitApply(guard) => open(guard).map(Event::InitApply),
        Event::Delete(guard) => open(guard).map(Event::Delete),
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
    }
}

/// Takes out what nobody here reads, which is more than the rest of an object.
pub(crate) fn drop_unread<K: Managed>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    // A copy of the whole spec, for kubectl alone.
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests {
    use apis::Pool;
    use serde_json::{Value, json};

    use super::*;

    /// An edit and its name.
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Value));

    #[test]
    fn a_pass_is_asked_for_by_what_it_reads_and_not_by_what_it_writes() {
        let state = |edit: &dyn Fn(&mut Value)| {
            let mut pool = json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
                "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1, "annotations": {"a": "b"}},
                "spec": {"forProvider": {"target": {"path": "/p"}}},
            });
            edit(&mut pool);
            desired_state(&serde_json::from_value::<Pool>(pool).unwrap())
        };
        let annotate = |key: &'static str| move |pool: &mut Value| pool["metadata"]["annotations"][key] = json!("x");
        let before = state(&|_| ());
        let ignored: [Edit<'_>; 4] = [
            ("a status", &|pool| pool["status"] = json!({"atProvider": {"path": "/p"}})),
            ("a version", &|pool| pool["metadata"]["resourceVersion"] = json!("7")),
            ("that a create begins", &annotate(CREATE_PENDING)),
            ("that it failed", &annotate(CREATE_FAILED)),
        ];
        for (what, edit) in ignored {
            assert_eq!(state(edit), before, "{what}");
        }
        let asks: [Edit<'_>; 8] = [
            ("a generation", &|pool| pool["metadata"]["generation"] = json!(2)),
            ("a label", &|pool| pool["metadata"]["labels"] = json!({"a": "b"})),
            ("an annotation", &|pool| pool["metadata"]["annotations"]["a"] = json!("c")),
            ("a request", &annotate("crossplane.io/reconcile-requested-at")),
            ("that a create succeeded", &annotate("crossplane.io/external-create-succeeded")),
            ("a finalizer", &|pool| pool["metadata"]["finalizers"] = json!(["a"])),
            ("a deletion", &|pool| pool["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
            ("another of the same name", &|pool| pool["metadata"]["uid"] = json!("v")),
        ];
        for (what, edit) in asks {
            assert_ne!(state(edit), before, "{what}");
        }
    }
}
