//! The configuration of the package speaks of what is served.

use apis::{CloudInit, Domain, Managed, Network, Pool, Volume};
use provider_libvirt::webhook::router::path;
use serde_json::{Value, json};

fn entry<K: Managed>() -> Value {
    let plural = K::plural(&());
    json!({
        "name": format!("{plural}.{}", K::group(&())),
        "clientConfig": {"service": {
            "name": "provider-libvirt", "namespace": "crossplane-system", "port": 9443, "path": path::<K>(),
        }},
        "rules": [{
            "apiGroups": [K::group(&())], "apiVersions": [K::version(&())], "operations": ["CREATE", "UPDATE", "DELETE"],
            "resources": [plural], "scope": "Namespaced",
        }],
        "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore", "matchPolicy": "Equivalent", "sideEffects": "None",
        "timeoutSeconds": 3,
    })
}

#[test]
fn the_webhook_configuration_of_the_package_has_one_entry_a_kind_at_the_path_that_is_served() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../package/webhooks/webhook-config.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let found: Value = serde_saphyr::from_str(&text).unwrap();
    let expected = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "provider-libvirt"},
        "webhooks": [entry::<Domain>(), entry::<Volume>(), entry::<Pool>(), entry::<CloudInit>(), entry::<Network>()],
    });
    assert_eq!(found, expected);
}
