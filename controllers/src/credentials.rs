//! Where a host is reached when its config does not say: by a Secret, which is watched for as long as a config names it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, bail, ensure};
use apis::{
    managed::ConfigKind,
    placement::ConfigId,
    provider_config::{Credentials, HostSpec, SecretKey},
};
use kube::Client;
use libvirt::Endpoint;
use managed::external::NoCredentials;
use serde::Deserialize;
use tokio::sync::Notify;

use crate::sources::{First, Source, SourceKind, Sources, Values};

/// The Secrets of all configs.
pub struct ConfigSecrets {
    sources: Sources<ConfigId>,
    changed: Arc<Notify>,
    /// What each config's Secret said last. A namespace that is deleted loses its Secrets before its objects are gone from their host.
    last: Mutex<HashMap<ConfigId, (SecretKey, Endpoint)>>,
}

/// What a Secret says of a connection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    uri: String,
}

impl ConfigSecrets {
    /// Nothing is read yet.
    pub fn new(client: Client) -> Self {
        let changed = Arc::new(Notify::new());
        let teller = changed.clone();
        Self {
            sources: Sources::new(client, First::Told, move |_| teller.notify_one()),
            changed,
            last: Mutex::default(),
        }
    }

    /// A config names this and nothing else from now on; None where it is gone.
    pub fn hold(&self, config: &ConfigId, spec: Option<&HostSpec>) {
        let key = spec.and_then(|spec| secret_key(spec));
        self.sources.hold(config, key.and_then(|key| source(config, key).ok()).into_iter().collect());
        self.last().retain(|known, (last, _)| known != config || Some(&*last) == key);
    }

    /// Waits for the Secret of a config to be read for the first time.
    pub async fn read(&self, config: &ConfigId, spec: &HostSpec) {
        let key = secret_key(spec).filter(|_| spec.uri.is_none());
        let Some(Ok(source)) = key.map(|key| source(config, key)) else { return };
        self.hold(config, Some(spec));
        // What went wrong is told by whoever asks what it says.
        let _ = self.sources.values(&source).await;
    }

    /// Waits for a Secret to be read or to change.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Where the host of a config is.
    ///
    /// # Errors
    /// When neither config nor Secret says, or what they say cannot be used. What a Secret holds is in no error.
    pub fn endpoint(&self, config: &ConfigId, spec: &HostSpec) -> anyhow::Result<Endpoint> {
        if let Some(uri) = &spec.uri {
            return Endpoint::parse(uri).with_context(|| format!("{config}: spec.uri"));
        }
        let Some(key) = secret_key(spec) else {
            bail!("{config} says nothing of its host: set spec.uri or spec.credentials")
        };
        self.of_secret(config, key).with_context(|| format!("{config}: cannot get credentials"))
    }

    /// What is wrong though the host can be reached: the Secret is gone, and what it said last is still used.
    pub fn missing(&self, config: &ConfigId, spec: &HostSpec) -> Option<String> {
        let source = source(config, secret_key(spec).filter(|_| spec.uri.is_none())?).ok()?;
        let is_gone = self.sources.known(&source).is_ok_and(|values| values.is_none());
        is_gone.then(|| format!("cannot get credentials: there is no {source}; what it said last is used until the provider starts again"))
    }

    fn of_secret(&self, config: &ConfigId, key: &SecretKey) -> anyhow::Result<Endpoint> {
        let source = source(config, key)?;
        let Some(values) = self.sources.known(&source)? else {
            let last = self.last().get(config).map(|(_, endpoint)| endpoint.clone());
            return last.ok_or_else(|| NoCredentials(format!("there is no {source}")).into());
        };
        let endpoint = read(&values, &key.key).with_context(|| source.to_string())?;
        self.last().insert(config.clone(), (key.clone(), endpoint.clone()));
        Ok(endpoint)
    }

    fn last(&self) -> MutexGuard<'_, HashMap<ConfigId, (SecretKey, Endpoint)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(values: &Values, key: &str) -> anyhow::Result<Endpoint> {
    let value = values.get(key).with_context(|| format!("there is no key {key}"))?;
    // The parser's own words quote what it reads.
    let Ok(Content { uri }) = serde_json::from_slice(value) else {
        bail!("key {key} is not a JSON object with the key uri and no other")
    };
    Endpoint::parse_secret(&uri).with_context(|| format!("key {key}"))
}

fn secret_key(spec: &HostSpec) -> Option<&SecretKey> {
    let Credentials { source: _, secret_ref } = spec.credentials.as_ref()?;
    secret_ref.as_ref()
}

/// The Secret that is meant. A namespaced config has its own namespace only, whatever it says.
fn source(config: &ConfigId, key: &SecretKey) -> anyhow::Result<Source> {
    let namespace = match config.kind {
        ConfigKind::ProviderConfig => {
            let is_own = key.namespace.as_ref().is_none_or(|namespace| *namespace == config.namespace);
            ensure!(is_own, "a ProviderConfig reads Secrets of its own namespace only");
            config.namespace.clone()
        }
        ConfigKind::ClusterProviderConfig => {
            key.namespace.clone().context("spec.credentials.secretRef.namespace is needed")?
        }
    };
    Ok(Source { kind: SourceKind::Secret, namespace, name: key.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: Option<&str>) -> SecretKey {
        SecretKey {
            name: "host".to_owned(),
            namespace: namespace.map(ToOwned::to_owned),
            key: "credentials".to_owned(),
        }
    }

    fn config(kind: ConfigKind) -> ConfigId {
        let namespace = match kind {
            ConfigKind::ProviderConfig => "shop".to_owned(),
            ConfigKind::ClusterProviderConfig => String::new(),
        };
        ConfigId { kind, namespace, name: "one".to_owned() }
    }

    #[test]
    fn a_namespaced_config_reads_secrets_of_its_own_namespace_and_of_no_other() {
        let namespace = |kind, namespace| {
            source(&config(kind), &key(namespace)).map(|source| source.namespace).map_err(|error| error.to_string())
        };
        let own = ConfigKind::ProviderConfig;
        assert_eq!(namespace(own, None), Ok("shop".to_owned()));
        assert_eq!(namespace(own, Some("shop")), Ok("shop".to_owned()));
        let refused = "a ProviderConfig reads Secrets of its own namespace only".to_owned();
        assert_eq!(namespace(own, Some("kube-system")), Err(refused));
        let cluster = ConfigKind::ClusterProviderConfig;
        assert_eq!(namespace(cluster, Some("infra")), Ok("infra".to_owned()));
        assert_eq!(namespace(cluster, None), Err("spec.credentials.secretRef.namespace is needed".to_owned()));
    }
}
