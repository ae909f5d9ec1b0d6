//! What follows from a change of an object: others are woken, and figures move.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use apis::Managed;
use managed::run::{Observer, Passed};

use crate::{
    cluster::{Cluster, Forget},
    metrics::Metrics,
    references::Refers,
};

/// Sees every change and every pass of a kind.
pub struct Watcher<K: Managed> {
    /// Who may have to be woken.
    pub cluster: Arc<Cluster>,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Set when the objects have been listed once.
    pub listed: Arc<AtomicBool>,
    /// Drops what the kind keeps for an object, once the kind has been started.
    pub forget: Forget<K>,
}

impl<K: Refers> Observer<K> for Watcher<K> {
    fn changed(&self, object: &K) {
        for referent in self.cluster.index.put(object) {
            self.cluster.released(&referent);
        }
        self.cluster.wake_referrers(object);
        self.cluster.wake_seeds(object);
    }

    fn gone(&self, object: &K) {
        self.metrics.gone(object);
        if let Some(forget) = self.forget.get() {
            forget(object);
        }
        self.cluster.wake_referrers(object);
        // What it referred to may have waited to be deleted until now.
        for referent in self.cluster.index.take(object) {
            self.cluster.released(&referent);
        }
    }

    fn listed(&self) {
        self.listed.store(true, Ordering::Release);
    }

    fn passed(&self, object: &K, pass: &Passed) {
        self.metrics.passed(object, pass);
    }
}
