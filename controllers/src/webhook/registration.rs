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

/// The name of the configuration, of the Service before the webhook, and of where that leads.
pub(super) const NAME: &str = "provider-libvirt";

/// Where the webhook is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

impl Place {
    /// The names by which the API server calls it: its Services, whatever URL somebody wrote into the configuration, and its address.
    pub(super) fn names(&self, config: Option<&ValidatingWebhookConfiguration>) -> Vec<String> {
        let service = |name: &str| format!("{name}.{}.svc", self.namespace);
        let clients = config.into_iter().flat_map(|config| config.webhooks.iter().flatten());
        let called = clients.filter_map(|webhook| match &webhook.client_config {
            WebhookClientConfig { service: Some(of), .. } => Some(service(&of.name)),
            WebhookClientConfig { url: Some(url), .. } => Some(url.parse::<Uri>().ok()?.host()?.to_owned()),
            WebhookClientConfig { service: None, url: None, .. } => None,
        });
        let mut names: Vec<String> = called.chain([service(NAME), self.address.to_string()]).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The configuration as it is to be; None if it is so.
    pub(super) fn corrected(
        &self,
        config: &ValidatingWebhookConfiguration,
        bundle: &str,
    ) -> Option<ValidatingWebhookConfiguration> {
        let mut wished = config.clone();
        for webhook in wished.webhooks.iter_mut().flatten() {
            let client = &mut webhook.client_config;
            client.ca_bundle = Some(ByteString(bundle.as_bytes().to_vec()));
            if let Some(service) = &mut client.service {
                service.namespace.clone_from(&self.namespace);
                service.port = Some(self.port.into());
            }
        }
        (wished != *config).then_some(wished)
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
    use serde_json::{Value, json};

    use super::*;

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

    #[test]
    fn the_configuration_is_told_whom_to_trust_and_where_the_service_is_and_then_stays() {
        let table = [
            (
                json!({"service": {"name": "door", "namespace": "crossplane-system", "port": 443, "path": "/p"}}),
                json!({"service": {"name": "door", "namespace": "ours", "port": 9443, "path": "/p"}, "caBundle": "UEVN"}),
            ),
            (
                json!({"url": "https://here/p", "caBundle": "b2xk"}),
                json!({"url": "https://here/p", "caBundle": "UEVN"}),
            ),
        ];
        for (before, after) in table {
            let corrected = place("10.0.0.1").corrected(&config(&before), "PEM").unwrap();
            assert_eq!(corrected, config(&after), "{before}");
            assert_eq!(place("10.0.0.1").corrected(&corrected, "PEM"), None);
        }
    }

    #[test]
    fn the_certificate_is_for_the_service_the_address_and_what_somebody_wrote() {
        let names = |client: &Value| place("10.0.0.1").names(Some(&config(client)));
        assert_eq!(place("10.0.0.1").names(None), ["10.0.0.1", "provider-libvirt.ours.svc"]);
        let service = json!({"service": {"name": "door", "namespace": "any"}});
        assert_eq!(names(&service), ["10.0.0.1", "door.ours.svc", "provider-libvirt.ours.svc"]);
        let url = json!({"url": "https://libvirt.example.org:8443/p"});
        assert_eq!(names(&url), ["10.0.0.1", "libvirt.example.org", "provider-libvirt.ours.svc"]);
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
