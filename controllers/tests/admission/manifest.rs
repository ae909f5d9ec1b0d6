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
    let find = |kind: &str, name: &Value| {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == *name;
        example.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name}"))["spec"].clone()
    };
    // Its authority is another certificate, or each renewal would be one of the trust, too.
    let certificate = find("Certificate", &json!("provider-libvirt-webhook"));
    let issuer = find("Issuer", &certificate["issuerRef"]["name"]);
    let authority = find("Certificate", &json!("provider-libvirt-webhook-authority"));
    assert_eq!((&issuer["ca"]["secretName"], &authority["isCA"]), (&authority["secretName"], &json!(true)));
    assert_eq!(find("Issuer", &authority["issuerRef"]["name"]), json!({"selfSigned": {}}));
    assert_eq!(find("Service", &json!("provider-libvirt"))["ports"][0]["port"], 9443);
}
