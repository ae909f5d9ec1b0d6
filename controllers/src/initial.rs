//! What `initProvider` and `forProvider` say together, where each by itself was checked by the API server.

use anyhow::ensure;
use apis::Managed;
use serde_json::Value;

/// Fields of which an object says at most one.
const ALTERNATIVES: [&[&str]; 13] = [
    &["pool", "poolRef"],
    &["pool", "poolSelector"],
    &["networkConfig", "networkInterfaces"],
    &["source", "backingStore"],
    &["source", "encryption"],
    &["backingStore", "encryption"],
    &["http", "volumeRef", "secretKeyRef", "configMapKeyRef"],
    &["http", "volumeSelector", "secretKeyRef", "configMapKeyRef"],
    &["volumeRef", "volume", "file", "block", "network"],
    &["volumeSelector", "volume", "file", "block", "network"],
    &["pci", "usb", "mdev"],
    &["networkRef", "network", "bridge", "direct", "user"],
    &["networkSelector", "network", "bridge", "direct", "user"],
];

/// Fails where the two together say what each alone may not.
pub(crate) fn check<K: Managed>(object: &K) -> anyhow::Result<()> {
    if object.initial().is_none() || object.was_made() {
        return Ok(());
    }
    let both = both(&serde_json::to_value(object.merged().parameters())?);
    ensure!(both.is_none(), "spec.initProvider and spec.forProvider set both {}", both.unwrap_or_default());
    Ok(())
}

fn set(value: &Value, fields: &[&'static str]) -> Vec<&'static str> {
    fields.iter().filter(|field| value.get(field).is_some_and(|value| !value.is_null())).copied().collect()
}

/// The first two alternatives that are both set, somewhere in a value.
fn both(value: &Value) -> Option<String> {
    let found = ALTERNATIVES.iter().map(|fields| set(value, fields)).find(|set| set.len() > 1);
    match (found, value) {
        (Some(set), _) => Some(set.join(" and ")),
        (None, Value::Object(fields)) => fields.values().find_map(both),
        (None, Value::Array(items)) => items.iter().find_map(both),
        (None, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use apis::{Domain, Volume};
    use serde_json::json;

    use super::*;

    fn object<K: Managed>(kind: &str, init: &Value, parameters: &Value) -> K {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind, "metadata": {"name": "x"},
            "spec": {"initProvider": init, "forProvider": parameters},
        }))
        .unwrap()
    }

    #[test]
    fn alternatives_that_are_set_on_both_sides_are_refused_with_their_names() {
        let volume = |init: &Value, parameters: &Value| {
            check(&object::<Volume>("Volume", init, parameters)).map_err(|error| error.to_string())
        };
        let sentence = |both: &str| Err(format!("spec.initProvider and spec.forProvider set both {both}"));
        let refs = json!({"poolRef": {"name": "a"}});
        assert_eq!(volume(&json!({"pool": "a"}), &refs), sentence("pool and poolRef"));
        assert_eq!(volume(&json!({"pool": "a"}), &json!({"pool": "b"})), Ok(()));
        assert_eq!(volume(&json!(null), &refs), Ok(()));
        let disk = |field: &str, value: Value| json!({"disks": [{"name": "root", field: value}]});
        let volume = json!({"pool": "p", "name": "v", "format": "Raw"});
        let guest = object::<Domain>("Domain", &disk("volume", volume), &disk("volumeRef", json!({"name": "v"})));
        assert_eq!(check(&guest).map_err(|error| error.to_string()), sentence("volumeRef and volume"));
    }
}
