//! The paths of the last apply, kept in an annotation for kinds whose description has no metadata.

use apis::{Managed, managed::annotation};

/// The paths that were ours at the last apply.
pub(crate) fn paths<K: Managed>(object: &K) -> Vec<String> {
    object.annotation(annotation::APPLIED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The paths as an annotation.
pub(crate) fn text(paths: &[String]) -> String {
    serde_json::Value::from(paths).to_string()
}
