//! How long the steps in an object's life take: Crossplane's four histograms (crossplane-runtime `pkg/reconciler/managed/metrics.go`).
//!
//! Objects are told apart by UID, and forgotten when they are gone: by name alone, two of one name would be one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use apis::{
    Managed,
    condition::{self, Type},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use managed::{plan::Verdict, run::Passed};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::Registry,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    gvk: String,
}

type Steps = Family<Kind, Histogram>;

/// The figures, and what has to be known of objects for them.
pub(super) struct Lives {
    reconciled: Steps,
    ready: Steps,
    deleted: Steps,
    drifted: Steps,
    known: Mutex<Known>,
}

/// What is kept of objects, by UID.
#[derive(Default)]
struct Known {
    /// Those that are not Ready for the first time yet.
    fresh: HashSet<Box<str>>,
    /// When each was last seen to be as wished, and the generation that wished it.
    settled: HashMap<Box<str>, (Instant, Option<i64>)>,
}

/// Crossplane's buckets for what takes from moments to an hour.
const LONG: [f64; 11] = [1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

impl Lives {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let lives = Self {
            reconciled: moments(),
            ready: Family::new_with_constructor(|| Histogram::new(LONG)),
            deleted: Family::new_with_constructor(|| Histogram::new(LONG)),
            drifted: moments(),
            known: Mutex::default(),
        };
        registry.register(
            "crossplane_managed_resource_first_time_to_reconcile_seconds",
            "The time it took for a managed resource to be detected by the controller",
            lives.reconciled.clone(),
        );
        registry.register(
            "crossplane_managed_resource_first_time_to_readiness_seconds",
            "The time it took for a managed resource to become ready first time after creation",
            lives.ready.clone(),
        );
        registry.register(
            "crossplane_managed_resource_deletion_seconds",
            "The time it took for a managed resource to be deleted",
            lives.deleted.clone(),
        );
        registry.register(
            "crossplane_managed_resource_drift_seconds",
            "How long since a managed resource was last seen to be in sync when it was found out of sync and mended",
            lives.drifted.clone(),
        );
        lives
    }

    /// A pass is over.
    pub(super) fn passed<K: Managed>(&self, object: &K, pass: &Passed) {
        let Some(age) = object.meta().creation_timestamp.as_ref().map(since) else { return };
        let kind = Kind { gvk: super::gvk::<K>() };
        let mut known = self.known();
        // A pass that only waited for its host wrote nothing, so the next one looks like the first.
        let is_first = pass.first && object.meta().deletion_timestamp.is_none();
        if is_first && known.fresh.insert(object.uid().into()) {
            self.reconciled.get_or_create(&kind).observe(age);
        }
        if condition::is_true(object.conditions(), Type::Ready) && known.fresh.remove(object.uid()) {
            self.ready.get_or_create(&kind).observe(age);
        }
        if let Some(drift) = known.drift(object, pass.verdict) {
            self.drifted.get_or_create(&kind).observe(drift);
        }
    }

    /// An object is gone.
    pub(super) fn gone<K: Managed>(&self, object: &K) {
        self.known().forget(object.uid());
        if let Some(asked) = &object.meta().deletion_timestamp {
            self.deleted.get_or_create(&Kind { gvk: super::gvk::<K>() }).observe(since(asked));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// For how long at most the object was otherwise than wished, if that was just mended. What its user changed is no drift.
    fn drift<K: Managed>(&mut self, object: &K, verdict: Verdict) -> Option<f64> {
        if verdict == Verdict::Other {
            return None;
        }
        let now = (Instant::now(), object.meta().generation);
        let before = match self.settled.get_mut(object.uid()) {
            Some(known) => std::mem::replace(known, now),
            None => return self.settled.insert(object.uid().into(), now).and(None),
        };
        let drifted = verdict == Verdict::Mended && before.1 == now.1;
        drifted.then(|| now.0.duration_since(before.0).as_secs_f64())
    }

    fn forget(&mut self, uid: &str) {
        self.fresh.remove(uid);
        self.settled.remove(uid);
    }
}

/// Crossplane's buckets for what may take from ten nanoseconds to ten seconds and more.
fn moments() -> Steps {
    Family::new_with_constructor(|| {
        Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(10e-9, 10.0, 10))
    })
}

/// Seconds since then; none when the other clock is ahead.
fn since(time: &Time) -> f64 {
    Timestamp::now().duration_since(time.0).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use apis::Pool;
    use managed::reconcile::Requeue;
    use prometheus_client::encoding::text::encode;
    use serde_json::json;

    use super::*;

    fn pool(uid: &str, generation: i64) -> Pool {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
            "metadata": {
                "name": "p", "namespace": "n", "uid": uid, "generation": generation,
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"forProvider": {"target": {"path": "/p"}}},
        }))
        .unwrap()
    }

    fn pass(verdict: Verdict) -> Passed {
        let zero = Duration::ZERO;
        Passed { waited: zero, took: zero, first: false, failed: false, verdict, requeue: Requeue::Poll }
    }

    /// How many drifts are counted.
    fn drifts(registry: &Registry) -> u64 {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        let count =
            "crossplane_managed_resource_drift_seconds_count{gvk=\"libvirt.m.nourspeed.io/v1alpha1, Kind=Pool\"} ";
        text.lines().find_map(|line| line.strip_prefix(count)).map_or(0, |count| count.parse().unwrap())
    }

    #[test]
    fn a_drift_is_what_nobody_wished_and_was_mended() {
        use Verdict::{Mended, Other, Unchanged};
        let mut registry = Registry::default();
        let lives = Lives::new(&mut registry);
        // Object, generation, what the pass found, drifts so far.
        let passes = [
            ("a", 1, Mended, 0, "nobody knows how long it was so"),
            ("a", 1, Unchanged, 0, "as wished"),
            ("a", 1, Mended, 1, "a drift"),
            ("a", 1, Mended, 2, "another"),
            ("a", 2, Mended, 2, "what its user changed"),
            ("a", 2, Unchanged, 2, "as wished"),
            ("a", 2, Other, 2, "a failure"),
            ("b", 2, Mended, 2, "one of the same name is another"),
            ("a", 2, Mended, 3, "it drifted before or after the failure"),
        ];
        for (uid, generation, verdict, count, why) in passes {
            lives.passed(&pool(uid, generation), &pass(verdict));
            assert_eq!(drifts(&registry), count, "{why}");
        }
        for uid in ["a", "b"] {
            lives.gone(&pool(uid, 2));
        }
        assert!(
            lives.known().settled.is_empty() && lives.known().fresh.is_empty(),
            "something is kept of what is gone"
        );
        lives.passed(&pool("a", 2), &pass(Mended));
        assert_eq!(drifts(&registry), 3);
    }
}
