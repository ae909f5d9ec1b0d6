//! What an object asks for before anything else is looked at: pure.

use apis::{
    Managed,
    managed::{FINALIZER, annotation},
    quantity::parse_span,
};
use std::time::Duration;

use crate::plan::Policies;

/// Kubernetes' finalizer of a deletion in the foreground. It waits for the object's usage, and the usage waits for us.
const FOREGROUND: &str = "foregroundDeletion";

/// Whether management policies are honoured: the provider's flag `--enable-management-policies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// They are.
    On,
    /// Everything may be done with every object, and one that asks for anything else is refused.
    Off,
}

/// The first decision of a pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Intent {
    /// The user stopped all work on it.
    Paused(&'static str),
    /// Its policies make no sense.
    Invalid(String),
    /// It is being deleted, and what is on the host stays.
    Orphan,
    /// It is being deleted, and others have to go first.
    WaitForOthers,
    /// It is being deleted, and so is what is on the host.
    Delete(Policies),
    /// It is being deleted and was never on a host.
    Gone,
    /// It is to be true on its host.
    Maintain(Policies),
}

impl Intent {
    /// Reads the intent of an object.
    pub fn of<K: Managed>(object: &K, feature: Feature) -> Self {
        let meta = object.meta();
        let policies = &object.resource().management_policies;
        if object.annotation(annotation::PAUSED) == Some("true") {
            return Self::Paused("Reconciliation is paused via the pause annotation");
        }
        let checked = match feature {
            Feature::On if policies.is_empty() => {
                return Self::Paused("Reconciliation is paused: managementPolicies is empty");
            }
            Feature::On => Policies::check(policies),
            Feature::Off => Policies::unheard(policies),
        };
        let policies = match checked {
            Ok(policies) => policies,
            Err(message) => return Self::Invalid(message),
        };
        if meta.deletion_timestamp.is_none() {
            return Self::Maintain(policies);
        }
        let finalizers = meta.finalizers.as_deref().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Self::Gone;
        }
        if !policies.may_delete() {
            return Self::Orphan;
        }
        let is_foreign = |finalizer: &String| finalizer != FINALIZER && finalizer != FOREGROUND;
        if finalizers.iter().any(is_foreign) { Self::WaitForOthers } else { Self::Delete(policies) }
    }
}

/// How often the object is looked at: its annotation where that is a duration, never below a second, else `poll`.
pub fn poll_interval<K: Managed>(object: &K, poll: Duration) -> Duration {
    own_poll(object).unwrap_or(poll)
}

/// What the object's annotation says of that.
pub(crate) fn own_poll<K: Managed>(object: &K) -> Option<Duration> {
    let own = object.annotation(annotation::POLL_INTERVAL).and_then(parse_span).filter(|span| !span.is_zero());
    own.map(|span| span.max(Duration::from_secs(1)))
}

/// Whether somebody asked for a pass and none has handled that yet.
pub(crate) fn is_requested<K: Managed>(object: &K) -> bool {
    let handled = object.resource_status().and_then(|status| status.last_handled_reconcile_at.as_deref());
    object.annotation(annotation::RECONCILE_REQUESTED).is_some_and(|asked| Some(asked) != handled)
}

#[cfg(test)]
mod tests {
    use apis::Pool;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_polled_as_its_annotation_says_if_that_is_a_duration_and_a_second_at_least() {
        let interval = |text: &str| {
            let pool: Pool = serde_json::from_value(json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
                "metadata": {"name": "p", "annotations": {"crossplane.io/poll-interval": text}},
                "spec": {"forProvider": {"target": {"path": "/p"}}},
            }))
            .unwrap();
            poll_interval(&pool, Duration::from_mins(1)).as_millis()
        };
        for (text, milliseconds) in [
            ("1h30m", 5_400_000),
            ("90s", 90_000),
            ("1500ms", 1500),
            ("10ms", 1000),
            ("0", 60_000),
            ("0s", 60_000),
            ("-5s", 60_000),
            ("often", 60_000),
            ("", 60_000),
        ] {
            assert_eq!(interval(text), milliseconds, "{text}");
        }
    }
}
