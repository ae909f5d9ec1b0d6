//! How far the making of an object came, by the annotations that Crossplane keeps about it: pure.
//!
//! ```text
//! create-pending written ─▶ made on the host ─┬─▶ create-succeeded written
//!   (create-failed removed)                   ├─▶ create-failed written: the host said no
//!                                             └─▶ neither: we died, or the host did not answer
//! ```
//! Which of them holds is told by what is there, not by comparing the clock of this process with that of an earlier one.

use std::time::Duration;

use apis::{Managed, managed::annotation};
use jiff::{Timestamp, Unit};

use crate::publish::Metadata;

/// What is known of the last attempt to make an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// None was begun.
    Unbegun,
    /// Begun, and nobody saw its end. What is found under the object's name is taken for its work.
    Open,
    /// It ended, and made nothing. What is found under the object's name came later and is somebody else's.
    Failed,
    /// It succeeded.
    Succeeded,
}

impl Creation {
    /// Reads the annotations.
    pub fn of<K: Managed>(object: &K) -> Self {
        let (pending, succeeded) =
            (time(object, annotation::CREATE_PENDING), time(object, annotation::CREATE_SUCCEEDED));
        match (pending, succeeded) {
            (Some(pending), Some(succeeded)) if succeeded >= pending => Self::Succeeded,
            (Some(_), _) if object.annotation(annotation::CREATE_FAILED).is_some() => Self::Failed,
            (Some(_), _) => Self::Open,
            (None, Some(_)) => Self::Succeeded,
            (None, None) => Self::Unbegun,
        }
    }

    /// Whether an attempt was begun that is not known to have succeeded.
    pub fn is_incomplete(self) -> bool {
        match self {
            Self::Open | Self::Failed => true,
            Self::Unbegun | Self::Succeeded => false,
        }
    }
}

/// Whether a create of this object has ever succeeded.
pub fn was_created<K: Managed>(object: &K) -> bool {
    object.annotation(annotation::CREATE_SUCCEEDED).is_some()
}

/// Whether a create succeeded so short a time ago that what is not there may not be shown yet. A clock that was set meanwhile
/// makes that time no longer.
pub(crate) fn is_fresh<K: Managed>(object: &K, grace: Duration, now: Timestamp) -> bool {
    let succeeded = time(object, annotation::CREATE_SUCCEEDED).filter(|_| Creation::of(object) == Creation::Succeeded);
    succeeded.is_some_and(|at| now.duration_since(at).unsigned_abs() < grace)
}

/// Whether an attempt began so short a time ago.
pub(crate) fn has_just_begun<K: Managed>(object: &K, within: Duration, now: Timestamp) -> bool {
    time(object, annotation::CREATE_PENDING).is_some_and(|at| now.duration_since(at).unsigned_abs() < within)
}

/// An attempt begins. Its time is later than the last success, whatever the clock says.
pub(crate) fn begin<K: Managed>(object: &K, changes: &mut Metadata) {
    let after =
        time(object, annotation::CREATE_SUCCEEDED).and_then(|last| last.checked_add(jiff::Span::new().seconds(1)).ok());
    changes.annotate(object, annotation::CREATE_PENDING, Some(shown(after.map_or_else(now, |after| after.max(now())))));
    changes.annotate(object, annotation::CREATE_FAILED, None);
}

/// The attempt succeeded. Its end is not before its beginning, whatever the clock says.
pub(crate) fn succeed<K: Managed>(object: &K, changes: &mut Metadata) {
    let begun = time(object, annotation::CREATE_PENDING);
    changes.annotate(
        object,
        annotation::CREATE_SUCCEEDED,
        Some(shown(begun.map_or_else(now, |begun| begun.max(now())))),
    );
}

/// The attempt ended and made nothing.
pub(crate) fn fail<K: Managed>(object: &K, changes: &mut Metadata) {
    changes.annotate(object, annotation::CREATE_FAILED, Some(shown(now())));
}

fn time<K: Managed>(object: &K, key: &str) -> Option<Timestamp> {
    object.annotation(key)?.parse().ok()
}

fn now() -> Timestamp {
    Timestamp::now()
}

/// The time as Crossplane writes it: whole seconds, UTC.
fn shown(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use annotation::{CREATE_FAILED, CREATE_PENDING, CREATE_SUCCEEDED};

    use super::*;

    fn pool(annotations: &Value) -> apis::Pool {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
            "metadata": {"name": "p", "namespace": "n", "annotations": annotations},
            "spec": {"forProvider": {"target": {"path": "/p"}}},
        }))
        .unwrap()
    }

    #[test]
    fn an_attempt_is_open_until_its_success_or_its_failure_is_written() {
        let at = |second: u8| format!("2026-01-01T00:00:{second:02}Z");
        let table = [
            (json!({}), Creation::Unbegun),
            (json!({CREATE_PENDING: at(5)}), Creation::Open),
            (json!({CREATE_PENDING: at(5), CREATE_FAILED: at(6)}), Creation::Failed),
            (json!({CREATE_PENDING: at(5), CREATE_FAILED: at(4)}), Creation::Failed),
            (json!({CREATE_PENDING: at(5), CREATE_SUCCEEDED: at(5)}), Creation::Succeeded),
            (json!({CREATE_PENDING: at(7), CREATE_SUCCEEDED: at(5)}), Creation::Open),
            (json!({CREATE_PENDING: at(7), CREATE_SUCCEEDED: at(5), CREATE_FAILED: at(8)}), Creation::Failed),
            (json!({CREATE_PENDING: at(5), CREATE_SUCCEEDED: at(8), CREATE_FAILED: at(6)}), Creation::Succeeded),
            (json!({CREATE_SUCCEEDED: at(5)}), Creation::Succeeded),
            (json!({CREATE_PENDING: "yesterday"}), Creation::Unbegun),
        ];
        for (annotations, expected) in table {
            assert_eq!(Creation::of(&pool(&annotations)), expected, "{annotations}");
        }
    }

    #[test]
    fn a_creation_is_fresh_for_its_time_and_no_longer_whatever_the_clock_says() {
        let object = pool(&json!({CREATE_PENDING: "2026-01-01T00:01:00Z", CREATE_SUCCEEDED: "2026-01-01T00:01:00Z"}));
        let fresh = |time: &str| is_fresh(&object, Duration::from_secs(30), time.parse().unwrap());
        assert!(fresh("2026-01-01T00:01:00Z") && fresh("2026-01-01T00:01:29Z") && fresh("2026-01-01T00:00:59Z"));
        assert!(!fresh("2026-01-01T00:01:30Z") && !fresh("2025-01-01T00:00:00Z"));
        let begun = pool(&json!({CREATE_PENDING: "2026-01-01T00:02:00Z", CREATE_SUCCEEDED: "2026-01-01T00:01:00Z"}));
        assert!(!is_fresh(&begun, Duration::from_secs(30), "2026-01-01T00:01:01Z".parse().unwrap()));
        assert!(!is_fresh(&begun, Duration::ZERO, "2026-01-01T00:01:00Z".parse().unwrap()));
    }

    fn apply(object: &mut apis::Pool, change: impl Fn(&apis::Pool, &mut Metadata)) {
        let mut changes = Metadata::default();
        change(object, &mut changes);
        let annotations = object.metadata.annotations.get_or_insert_default();
        for (key, value) in changes.annotations {
            match value {
                Some(value) => drop(annotations.insert(key, value)),
                None => drop(annotations.remove(&key)),
            }
        }
    }

    #[test]
    fn beginning_failing_and_succeeding_are_told_apart_also_by_a_clock_that_stepped_back() {
        let mut object =
            pool(&json!({CREATE_PENDING: "2999-01-01T00:00:00Z", CREATE_SUCCEEDED: "2999-01-01T00:00:00Z"}));
        apply(&mut object, begin);
        assert_eq!(object.annotation(CREATE_PENDING), Some("2999-01-01T00:00:01Z"));
        assert_eq!(Creation::of(&object), Creation::Open);
        apply(&mut object, fail);
        assert_eq!(Creation::of(&object), Creation::Failed);
        apply(&mut object, begin);
        assert_eq!(Creation::of(&object), Creation::Open);
        apply(&mut object, succeed);
        assert_eq!(Creation::of(&object), Creation::Succeeded);
    }
}
