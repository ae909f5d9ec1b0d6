//! How the API server finds the webhook and whom it trusts, where the provider sees to that itself.

use std::net::IpAddr;

use axum::http::Uri;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{ValidatingWebhookConfiguration, WebhookClientConfig},
        core::v1::{Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use super::certificate::first;

/// The name of the configuration, of the Service before the webhook, and of where that leads.
pub(super) const NAME: &str = "provider-libvirt";

/// The annotations by which cert-manager is asked to say whom to trust.
const INJECTED: [&str; 3] =
    ["cert-manager.io/inject-ca-from", "cert-manager.io/inject-ca-from-secret", "cert-manager.io/inject-apiserver-ca"];

/// Why whom to trust is somebody else's business, if so: the annotation that says it.
pub(super) fn injected(config: &ValidatingWebhookConfiguration) -> Option<&'static str> {
    let annotations = config.metadata.annotations.as_ref()?;
    INJECTED.into_iter().find(|annotation| annotations.contains_key(*annotation))
}

/// Whether the API server is told to trust the first certificate of a bundle.
pub(super) fn trusts(config: &ValidatingWebhookConfiguration, bundle: &str) -> bool {
    let mut trusted = config.webhooks.iter().flatten().map(|webhook| &webhook.client_config.ca_bundle);
    let is_in = |trusted: &ByteString| {
        first(bundle.as_bytes())
            .is_some_and(|it| CertificateDer::pem_slice_iter(&trusted.0).flatten().any(|one| one == it))
    };
    trusted.all(|trusted| trusted.as_ref().is_some_and(is_in))
}

/// The host of a URL, an IPv6 address without its brackets.
pub(super) fn host(url: &Uri) -> Option<&str> {
    url.host().map(|host| host.trim_matches(['[', ']']))
}

/// Where the webhook is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

impl Place {
    /// The names by which the API server calls it: its Service, and what somebody wrote into the configuration.
    pub(super) fn names(&self, config: Option<&ValidatingWebhookConfiguration>) -> Vec<String> {
        let clients = config.into_iter().flat_map(|config| config.webhooks.iter().flatten());
        let called = clients.filter_map(|webhook| match &webhook.client_config {
            WebhookClientConfig { service: Some(of), .. } => Some(format!("{}.{}.svc", of.name, of.namespace)),
            WebhookClientConfig { url: Some(url), .. } => host(&url.parse().ok()?).map(str::to_owned),
            WebhookClientConfig { service: None, url: None, .. } => None,
        });
        let mut names: Vec<String> = called.chain([format!("{NAME}.{}.svc", self.namespace)]).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What is to be changed of the configuration, as a strategic merge patch that says nothing else and fails where somebody was quicker;
    /// None if it is as it is to be. Where the Service is is said only if that is ours.
    pub(super) fn correction(
        &self,
        config: &ValidatingWebhookConfiguration,
        bundle: &str,
        is_ours: bool,
    ) -> Option<Value> {
        let webhooks: Vec<Value> = config
            .webhooks
            .iter()
            .flatten()
            .filter_map(|webhook| {
                let client = self.corrected(&webhook.client_config, bundle, is_ours);
                (client != webhook.client_config).then(|| json!({"name": webhook.name, "clientConfig": client}))
            })
            .collect();
        let version = &config.metadata.resource_version;
        (!webhooks.is_empty()).then(|| json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks}))
    }

    fn corrected(&self, client: &WebhookClientConfig, bundle: &str, is_ours: bool) -> WebhookClientConfig {
        let mut wished = client.clone();
        wished.ca_bundle = Some(ByteString(bundle.as_bytes().to_vec()));
        if let Some(service) = wished.service.as_mut().filter(|service| is_ours && service.name == NAME) {
            service.namespace.clone_from(&self.namespace);
            service.port = Some(self.port.into());
        }
        wished
    }

    fn metadata(&self, labels: &[(&str, &str)]) -> ObjectMeta {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        }
    }

    /// A Service that chooses no pods: where it leads is said beside it, so that a provider outside the cluster is found too.
    pub(super) fn service(&self) -> Service {
        let port = ServicePort {
            name: Some("webhook".to_owned()),
            port: self.port.into(),
            target_port: Some(IntOrString::Int(self.port.into())),
            ..ServicePort::default()
        };
        let spec = ServiceSpec { ports: Some(vec![port]), ..ServiceSpec::default() };
        Service { metadata: self.metadata(&[]), spec: Some(spec), ..Service::default() }
    }

    /// Where the Service leads. To a loopback address none may lead; then the API server is on this machine, and the Service's own address
    /// too.
    pub(super) fn endpoints(&self) -> Option<EndpointSlice> {
        let family = if self.address.is_ipv4() { "IPv4" } else { "IPv6" };
        let conditions = EndpointConditions { ready: Some(true), ..EndpointConditions::default() };
        let endpoint =
            Endpoint { addresses: vec![self.address.to_string()], conditions: Some(conditions), ..Endpoint::default() };
        let port = EndpointPort {
            name: Some("webhook".to_owned()),
            port: Some(self.port.into()),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        };
        let labels =
            [("kubernetes.io/service-name", NAME), ("endpointslice.kubernetes.io/managed-by", "provider-libvirt")];
        (!self.address.is_loopback()).then(|| EndpointSlice {
            metadata: self.metadata(&labels),
            address_type: family.to_owned(),
            endpoints: Some(vec![endpoint]),
            ports: Some(vec![port]),
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::webhook::authority::Keys;

    fn place(address: &str) -> Place {
        Place { namespace: "ours".to_owned(), address: address.parse().unwrap(), port: 9443 }
    }

    fn config(client: &Value) -> ValidatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": {"name": NAME, "resourceVersion": "7"},
            "webhooks": [{"name": "a", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": client}],
        }))
        .unwrap()
    }

    /// What a configuration is told, as the API server would lay it over what is there.
    fn told(client: &Value, is_ours: bool) -> Option<Value> {
        let mut correction = place("10.0.0.1").correction(&config(client), "PEM", is_ours)?;
        assert_eq!(correction["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(correction["webhooks"][0]["name"], "a");
        Some(correction["webhooks"][0]["clientConfig"].take())
    }

    #[test]
    fn the_configuration_is_told_whom_to_trust_and_where_our_service_is_and_then_stays() {
        let service = |name: &str, namespace: &str, port: u16| json!({"name": name, "namespace": namespace, "port": port, "path": "/p"});
        let table = [
            (service(NAME, "crossplane-system", 443), true, service(NAME, "ours", 9443)),
            (service(NAME, "theirs", 443), false, service(NAME, "theirs", 443)),
            (service("door", "theirs", 443), true, service("door", "theirs", 443)),
        ];
        for (before, is_ours, after) in table {
            let wished = json!({"service": after, "caBundle": "UEVN"});
            assert_eq!(told(&json!({"service": before}), is_ours).as_ref(), Some(&wished), "{before}");
            assert_eq!(told(&wished, is_ours), None);
        }
        let (old, new) = (
            json!({"url": "https://here/p", "caBundle": "b2xk"}),
            json!({"url": "https://here/p", "caBundle": "UEVN"}),
        );
        assert_eq!(told(&old, true), Some(new));
    }

    #[test]
    fn the_certificate_is_for_the_service_and_what_somebody_wrote() {
        let names = |client: &Value| place("10.0.0.1").names(Some(&config(client)));
        let ours = "provider-libvirt.ours.svc";
        assert_eq!(place("10.0.0.1").names(None), [ours]);
        assert_eq!(names(&json!({"service": {"name": "door", "namespace": "any"}})), ["door.any.svc", ours]);
        let table = [
            ("https://libvirt.example.org:8443/p", "libvirt.example.org"),
            ("https://192.0.2.1:8443/p", "192.0.2.1"),
            ("https://[fd00::1]:8443/p", "fd00::1"),
        ];
        for (url, name) in table {
            assert_eq!(names(&json!({"url": url})), [name, ours]);
        }
    }

    #[test]
    fn a_new_authority_counts_as_trusted_once_every_entry_has_it() {
        let authority = |name: &str| Keys::renew(None, &[name.to_owned()], Timestamp::now()).unwrap().bundle;
        let (old, new) = (authority("old"), authority("new"));
        let (both, alone) = (format!("{new}{old}"), |bundle: &str| {
            config(&json!({"url": "https://here/p", "caBundle": data_encoding::BASE64.encode(bundle.as_bytes())}))
        });
        assert!(trusts(&alone(&old), &old) && !trusts(&alone(&old), &both) && trusts(&alone(&both), &both));
        assert!(!trusts(&config(&json!({"url": "https://here/p"})), &old));
        let mut mixed = alone(&both);
        mixed.webhooks.as_mut().unwrap().extend(alone(&old).webhooks.unwrap());
        assert!(!trusts(&mixed, &both) && trusts(&mixed, &old));
    }

    #[test]
    fn what_cert_manager_is_asked_to_fill_in_is_left_to_it() {
        let mut asked = config(&json!({"url": "https://here/p"}));
        assert_eq!(injected(&asked), None);
        asked.metadata.annotations = Some([("cert-manager.io/inject-ca-from".to_owned(), "a/b".to_owned())].into());
        assert_eq!(injected(&asked), Some("cert-manager.io/inject-ca-from"));
    }

    #[test]
    fn the_service_leads_to_this_process_unless_that_is_on_the_loopback_interface() {
        let slice = |address: &str| serde_json::to_value(place(address).endpoints()).unwrap();
        let leads = |slice: &Value| (slice["addressType"].clone(), slice["endpoints"][0]["addresses"][0].clone());
        assert_eq!(leads(&slice("10.0.0.1")), (json!("IPv4"), json!("10.0.0.1")));
        assert_eq!(leads(&slice("fd00::1")), (json!("IPv6"), json!("fd00::1")));
        assert_eq!(slice("10.0.0.1")["metadata"]["labels"]["kubernetes.io/service-name"], "provider-libvirt");
        assert_eq!((slice("127.0.0.1"), slice("::1")), (Value::Null, Value::Null));
        let service = serde_json::to_value(place("10.0.0.1").service()).unwrap();
        assert_eq!(service["spec"], json!({"ports": [{"name": "webhook", "port": 9443, "targetPort": 9443}]}));
    }
}
