//! Objects that went although they had our finalizer: an API server that reads an object to delete it, and is overtaken by the patch
//! that puts its first finalizer on, deletes it all the same (<https://github.com/kubernetes/kubernetes/issues/77988>). What was made
//! meanwhile would stay on the host for ever, and nobody would know whose it is.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use apis::{Managed, managed::FINALIZER};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use crate::{creation, run::Key};

/// An API server works on a request for a minute at most, and the clock of one that led before may differ a little.
const OVERTAKEN: Duration = Duration::from_mins(2);
/// How long it is tried to take away what was made.
const PATIENCE: Duration = Duration::from_mins(10);

/// The vanished objects of one kind, as the watch last showed them.
#[derive(Debug)]
pub struct Vanished<K: Managed>(Mutex<HashMap<Key<K>, Lost<K>>>)
where
    Key<K>: Hash + Eq;

#[derive(Clone, Debug)]
struct Lost<K> {
    object: Box<K>,
    /// Since when it is tried.
    since: Instant,
    /// Whether its host was left alone at the last look.
    is_held: bool,
}

impl<K: Managed> Default for Vanished<K> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Managed> Vanished<K> {
    /// Takes in an object that the watch shows as deleted. Says whether something may have been made for it that it cannot tell of any more.
    pub fn note(&self, key: &Key<K>, object: &K) -> bool {
        let now = Timestamp::now();
        if !is_overtaken(object, now) {
            return false;
        }
        let mut object = Box::new(object.clone());
        let meta = object.meta_mut();
        // As it would be, had the deletion come a moment later.
        meta.deletion_timestamp = Some(Time(now));
        meta.finalizers = Some(vec![FINALIZER.to_owned()]);
        let mut lost = self.lock();
        // A replica that does not lead notes down what another takes away.
        lost.retain(|_, lost| lost.since.elapsed() < PATIENCE);
        lost.insert(key.clone(), Lost { object, since: Instant::now(), is_held: false });
        true
    }

    /// The vanished object of these names, marked as being deleted.
    pub(crate) fn get(&self, key: &Key<K>) -> Option<Box<K>> {
        self.lock().get(key).map(|lost| lost.object.clone())
    }

    /// Nothing is left of it.
    pub(crate) fn settle(&self, key: &Key<K>) {
        self.lock().remove(key);
    }

    /// It could not be taken away now. Says whether it is tried again.
    pub(crate) fn may_try_again(&self, key: &Key<K>) -> bool {
        let mut lost = self.lock();
        let again = lost.get(key).is_some_and(|lost| lost.since.elapsed() < PATIENCE);
        match lost.get_mut(key) {
            Some(lost) if again => lost.is_held = false,
            Some(_) => drop(lost.remove(key)),
            None => {}
        }
        again
    }

    /// Its host is left alone, which may take days: that time does not count. Says whether this is news.
    pub(crate) fn postpone(&self, key: &Key<K>) -> bool {
        let mut lost = self.lock();
        let Some(lost) = lost.get_mut(key) else { return false };
        lost.since = Instant::now();
        !std::mem::replace(&mut lost.is_held, true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key<K>, Lost<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object went without being asked to while its making had just begun. One that has our finalizer for longer can only have
/// been taken out of the API server's storage, and that says nothing about what is on the host.
fn is_overtaken<K: Managed>(object: &K, now: Timestamp) -> bool {
    let meta = object.meta();
    let held = meta.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER);
    held && meta.deletion_timestamp.is_none() && creation::has_just_begun(object, OVERTAKEN, now)
}

#[cfg(test)]
mod tests {
    use apis::managed::annotation::CREATE_PENDING;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_what_went_unasked_right_after_its_making_began_was_overtaken() {
        let overtaken = |metadata: Value| {
            let object: apis::Pool = serde_json::from_value(json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
                "metadata": metadata, "spec": {"forProvider": {"target": {"path": "/p"}}},
            }))
            .unwrap();
            is_overtaken(&object, "2026-01-01T00:02:00Z".parse().unwrap())
        };
        let begun = |time: &str| json!({CREATE_PENDING: time});
        let just = begun("2026-01-01T00:01:00Z");
        assert!(overtaken(json!({"finalizers": [FINALIZER], "annotations": just})));
        let deleted = "2026-01-01T00:02:00Z";
        for (why, metadata) in [
            ("let go by a user", json!({"annotations": just})),
            ("held by another", json!({"finalizers": ["other"], "annotations": just})),
            ("deleted", json!({"finalizers": [FINALIZER], "annotations": just, "deletionTimestamp": deleted})),
            ("made long ago", json!({"finalizers": [FINALIZER], "annotations": begun("2026-01-01T00:00:00Z")})),
            ("made tomorrow", json!({"finalizers": [FINALIZER], "annotations": begun("2026-01-02T00:00:00Z")})),
            ("not made by us", json!({"finalizers": [FINALIZER]})),
        ] {
            assert!(!overtaken(metadata), "{why}");
        }
    }
}
