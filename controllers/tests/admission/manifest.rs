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

fn documents(path: &str) -> Vec<Value> {
    let file = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn the_webhook_configuration_of_the_package_has_one_entry_a_kind_at_the_path_that_is_served() {
    let found = documents("package/webhooks/webhook-config.yaml");
    let expected = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "provider-libvirt"},
        "webhooks": [entry::<Domain>(), entry::<Volume>(), entry::<Pool>(), entry::<CloudInit>(), entry::<Network>()],
    });
    assert_eq!(found, [expected]);
}

#[test]
fn the_example_with_cert_manager_has_the_configuration_of_the_package_and_an_annotation() {
    let package = documents("package/webhooks/webhook-config.yaml").remove(0);
    let mut example = documents("examples/webhook/cert-manager.yaml");
    let mut config = example.pop().unwrap();
    let annotations = config["metadata"].as_object_mut().unwrap().remove("annotations");
    let injected = json!({"cert-manager.io/inject-ca-from": "crossplane-system/provider-libvirt-webhook"});
    assert_eq!((config, annotations), (package, Some(injected)));
    let kinds: Vec<_> = example.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Issuer", "Certificate", "Service"]);
}
