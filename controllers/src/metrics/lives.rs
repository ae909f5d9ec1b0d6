//! How long the steps in an object's life take: Crossplane's four histograms (crossplane-runtime `pkg/reconciler/managed/metrics.go`).
//!
//! Objects are told apart by UID, and forgotten when they are gone: by name alone, two of one name would be one.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use apis::{
    Managed,
    condition::{self, Type},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use managed::run::Passed;
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

/// The figures, and the objects that are not Ready for the first time yet.
pub(super) struct Lives {
    reconciled: Steps,
    ready: Steps,
    deleted: Steps,
    fresh: Mutex<HashSet<String>>,
}

/// Crossplane's buckets for what takes from moments to an hour.
const LONG: [f64; 11] = [1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

impl Lives {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let lives = Self {
            reconciled: Family::new_with_constructor(|| {
                Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(10e-9, 10.0, 10))
            }),
            ready: Family::new_with_constructor(|| Histogram::new(LONG)),
            deleted: Family::new_with_constructor(|| Histogram::new(LONG)),
            fresh: Mutex::default(),
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
        lives
    }

    /// A pass is over.
    pub(super) fn passed<K: Managed>(&self, object: &K, pass: &Passed) {
        let Some(age) = object.meta().creation_timestamp.as_ref().map(since) else { return };
        let kind = Kind { gvk: super::gvk::<K>() };
        let mut fresh = self.fresh();
        if pass.first && object.meta().deletion_timestamp.is_none() {
            fresh.insert(object.uid().to_owned());
            self.reconciled.get_or_create(&kind).observe(age);
        }
        if condition::is_true(object.conditions(), Type::Ready) && fresh.remove(object.uid()) {
            self.ready.get_or_create(&kind).observe(age);
        }
    }

    /// An object is gone.
    pub(super) fn gone<K: Managed>(&self, object: &K) {
        self.fresh().remove(object.uid());
        if let Some(asked) = &object.meta().deletion_timestamp {
            self.deleted.get_or_create(&Kind { gvk: super::gvk::<K>() }).observe(since(asked));
        }
    }

    fn fresh(&self) -> MutexGuard<'_, HashSet<String>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since then; none when the other clock is ahead.
fn since(time: &Time) -> f64 {
    Timestamp::now().duration_since(time.0).as_secs_f64().max(0.0)
}
