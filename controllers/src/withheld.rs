//! Secrets that no guest is to see, whoever may name Secrets of their namespace in objects: what lets the provider in at hosts, and its own.

use apis::provider_config::{HostSpec, ImageProxy};
use managed::external::Refusal;

use crate::{
    cluster::Cluster,
    key,
    sources::{Source, SourceKind},
};

/// Fails where a source is such a Secret.
pub fn check(cluster: &Cluster, source: &Source) -> Result<(), Refusal> {
    let Source { kind, namespace, name } = source;
    if *kind != SourceKind::Secret {
        return Ok(());
    }
    if [key::NAME, crate::webhook::self_signed::SECRET].contains(&name.as_str()) {
        return Err(refusal(name, "it is the provider's own"));
    }
    let configs = cluster.configs.state();
    let in_namespace = configs.iter().any(|config| {
        let own = config.metadata.namespace.as_deref();
        own == Some(namespace) && names(&config.spec.host, own, source)
    });
    let configs = cluster.cluster_configs.state();
    let in_cluster = configs.iter().any(|config| names(&config.spec.host, None, source));
    if in_namespace || in_cluster { Err(refusal(name, "a config names it as its credentials")) } else { Ok(()) }
}

/// Whether what lets in at a host, or at the proxy of its images, is this Secret or in it.
fn names(host: &HostSpec, own: Option<&str>, source: &Source) -> bool {
    let at_host = host.credentials.as_ref().and_then(|credentials| credentials.secret_ref.as_ref());
    let at_host = at_host.map(|key| (&key.name, &key.namespace));
    let proxy = host.policy.as_ref().and_then(|policy| policy.image_proxy.as_ref());
    let at_proxy = proxy.and_then(|ImageProxy { credentials_ref, .. }| credentials_ref.as_ref());
    let at_proxy = at_proxy.map(|secret| (&secret.name, &secret.namespace));
    let is_it = |(name, namespace): (&String, &Option<String>)| {
        *name == source.name && namespace.as_deref().or(own) == Some(&*source.namespace)
    };
    at_host.is_some_and(is_it) || at_proxy.is_some_and(is_it)
}

fn refusal(name: &str, why: &str) -> Refusal {
    let message = format!(
        "Secret {name} is not read for this object: {why}, and what is read ends up with guests or servers. Put what the object needs into a Secret of its own"
    );
    Refusal { reason: "NotAllowed", message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_name_a_secret_of_their_own_namespace_or_of_the_one_that_they_say() {
        let source = |namespace: &str, name: &str| {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            Source { kind: SourceKind::Secret, namespace, name }
        };
        let host = |spec: serde_json::Value| -> HostSpec { serde_json::from_value(spec).unwrap() };
        let uri = "qemu:///system";
        let at_host = |reference: serde_json::Value| {
            host(json!({"uri": uri, "credentials": {"source": "Secret", "secretRef": reference}}))
        };
        let at_proxy = |reference: serde_json::Value| {
            let proxy = json!({"url": "http://proxy", "credentialsRef": reference});
            host(json!({"uri": uri, "policy": {"imageProxy": proxy}}))
        };
        for of in [&at_host as &dyn Fn(_) -> HostSpec, &at_proxy] {
            let (own, said) = (of(json!({"name": "s"})), of(json!({"name": "s", "namespace": "m"})));
            assert!(names(&own, Some("n"), &source("n", "s")));
            assert!(names(&said, None, &source("m", "s")));
            for (host, own, source) in [
                (&own, Some("n"), source("n", "t")),
                (&own, Some("n"), source("m", "s")),
                (&said, None, source("n", "s")),
                (&host(json!({"uri": uri})), Some("n"), source("n", "s")),
            ] {
                assert!(!names(host, own, &source), "{source}");
            }
        }
    }
}
