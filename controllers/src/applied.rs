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

#[cfg(test)]
mod tests {
    use apis::Pool;
    use serde_json::json;

    use super::*;

    fn pool(annotations: &serde_json::Value) -> Pool {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
            "metadata": {"name": "p", "annotations": annotations}, "spec": {"forProvider": {}},
        }))
        .unwrap()
    }

    #[test]
    fn paths_come_back_as_they_were_written() {
        let written = ["ip[fd00::1,ipv6]/dhcp/range[a,b]".to_owned(), "domain@name".to_owned()];
        assert_eq!(paths(&pool(&json!({ annotation::APPLIED: text(&written) }))), written);
    }

    #[test]
    fn without_a_readable_annotation_nothing_was_ours() {
        for annotations in
            [json!({}), json!({ annotation::APPLIED: "not a list" }), json!({ annotation::APPLIED: "{}" })]
        {
            assert_eq!(paths(&pool(&annotations)), [""; 0]);
        }
    }
}
