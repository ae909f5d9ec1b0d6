//! Where a host is reached when its config does not say: by a Secret, which is watched for as long as a config names it.

mod certificate;
mod content;
mod private_key;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use apis::{
    managed::ConfigKind,
    placement::ConfigId,
    provider_config::{Credentials, HostSpec, SecretKey, SshSpec, TlsSpec},
};
use jiff::Timestamp;
use kube::Client;
use libvirt::{Address, Endpoint};
use managed::external::NoCredentials;
use tokio::sync::Notify;

use self::certificate::End;
use crate::sources::{First, Source, SourceKind, Sources, Values};

/// The Secrets of all configs.
pub struct ConfigSecrets {
    sources: Sources<ConfigId>,
    changed: Arc<Notify>,
    /// What each config's Secret said last that could be used. A namespace that is deleted loses its Secrets before its objects are gone
    /// from their host, and keys of a Secret are written one after the other.
    last: Mutex<HashMap<ConfigId, Last>>,
}

/// What a config says of its connection. What a Secret said counts for this only.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    uri: Option<String>,
    key: Option<SecretKey>,
    tls: Option<TlsSpec>,
    ssh: Option<SshSpec>,
}

/// What a Secret said, and what it was.
#[derive(Clone, Debug)]
struct Last {
    said: Said,
    values: Arc<Values>,
    endpoint: Endpoint,
    /// When its certificates stop to count.
    end: Option<End>,
}

impl Said {
    fn of(spec: &HostSpec) -> Self {
        let HostSpec {
            uri,
            credentials: _,
            accept_host: _,
            maintenance: _,
            read_only: _,
            tls,
            ssh,
            connection: _,
            policy: _,
        } = spec;
        Self { uri: uri.clone(), key: secret_key(spec).cloned(), tls: tls.clone(), ssh: ssh.clone() }
    }
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
        let key = spec.and_then(secret_key);
        self.sources.hold(config, key.and_then(|key| source(config, key).ok()).into_iter().collect());
        let said = spec.map(Said::of);
        self.last().retain(|known, last| known != config || Some(&last.said) == said.as_ref());
    }

    /// Waits for the Secret of a config to be read for the first time.
    pub async fn read(&self, config: &ConfigId, spec: &HostSpec) {
        let key = secret_key(spec);
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
        match (&spec.uri, secret_key(spec)) {
            (uri, Some(key)) => {
                // What is wrong with the config's own word is not the Secret's fault.
                uri.as_deref().map(Address::parse).transpose().with_context(|| format!("{config}: spec.uri"))?;
                self.of_secret(config, spec, key).with_context(|| format!("{config}: cannot get credentials"))
            }
            (Some(uri), None) => Endpoint::parse(uri).with_context(|| format!("{config}: spec.uri")),
            (None, None) => bail!("{config} says nothing of its host: set spec.uri or spec.credentials"),
        }
    }

    /// What is wrong though the host can be reached, with the word for it: the Secret is gone or cannot be used, and what it said last is
    /// still used; or a certificate of it has expired since.
    pub fn fault(&self, config: &ConfigId, spec: &HostSpec) -> Option<(&'static str, String)> {
        let key = secret_key(spec)?;
        let source = source(config, key).ok()?;
        let (reason, fault) = match self.sources.known(&source).ok()? {
            None => ("CredentialsMissing", format!("there is no {source}")),
            Some(values) => match self.last_said(config, spec).filter(|last| Arc::ptr_eq(&last.values, &values)) {
                Some(last) => {
                    let expired = last.end?.fault(Timestamp::now())?;
                    let fault = format!("{source}: {expired}; what is connected stays so, and nothing connects anew");
                    return Some(("CertificateInvalid", fault));
                }
                None => ("CredentialsInvalid", format!("{source}: {:#}", read(spec, key, &values).err()?)),
            },
        };
        let then = "what it said last is used until the provider starts again";
        Some((reason, format!("cannot get credentials: {fault}; {then}")))
    }

    /// How long until the next certificate has expired.
    pub fn until_expiry(&self) -> Option<Duration> {
        let now = Timestamp::now();
        let ends =
            self.last().values().filter_map(|last| Some(last.end.as_ref()?.at)).min_by_key(|at| (*at < now, *at))?;
        Duration::try_from(ends.duration_since(now)).ok().map(|left| left + Duration::from_secs(1))
    }

    /// What is read once counts for as long as the Secret stays: a certificate that goes out of date ends no connection by itself.
    fn of_secret(&self, config: &ConfigId, spec: &HostSpec, key: &SecretKey) -> anyhow::Result<Endpoint> {
        let source = source(config, key)?;
        let (now, last) = (self.sources.known(&source)?, self.last_said(config, spec));
        let Some(values) = now else {
            let last = last.map(|last| last.endpoint);
            return last.ok_or_else(|| NoCredentials(format!("there is no {source}")).into());
        };
        if let Some(last) = last.as_ref().filter(|last| Arc::ptr_eq(&last.values, &values)) {
            return Ok(last.endpoint.clone());
        }
        match (read(spec, key, &values).with_context(|| source.to_string()), last) {
            (Ok(endpoint), _) => {
                let end = endpoint.access().tls.as_ref().and_then(End::of);
                let last = Last { said: Said::of(spec), values, endpoint: endpoint.clone(), end };
                self.last().insert(config.clone(), last);
                Ok(endpoint)
            }
            (Err(_), Some(last)) => Ok(last.endpoint),
            (Err(error), None) => Err(error),
        }
    }

    /// What the Secret said last, if the config says the same as then.
    fn last_said(&self, config: &ConfigId, spec: &HostSpec) -> Option<Last> {
        let said = Said::of(spec);
        self.last().get(config).filter(|last| last.said == said).cloned()
    }

    fn last(&self) -> MutexGuard<'_, HashMap<ConfigId, Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(spec: &HostSpec, key: &SecretKey, values: &Values) -> anyhow::Result<Endpoint> {
    match &key.key {
        Some(key) => content::of_key(values, key),
        None => content::of_keys(spec, values, Timestamp::now()),
    }
}

fn secret_key(spec: &HostSpec) -> Option<&SecretKey> {
    let Credentials { source: _, secret_ref } = spec.credentials.as_ref()?;
    secret_ref.as_ref()
}

/// The Secret that is meant.
fn source(config: &ConfigId, key: &SecretKey) -> anyhow::Result<Source> {
    secret_of(config, (&key.name, key.namespace.as_deref()), "spec.credentials.secretRef")
}

/// The Secret of this name and namespace that a config means by a field. A namespaced config has its own namespace only, whatever it says.
pub(crate) fn secret_of(config: &ConfigId, (name, said): (&str, Option<&str>), field: &str) -> anyhow::Result<Source> {
    let namespace = match config.kind {
        ConfigKind::ProviderConfig => {
            let is_own = said.is_none_or(|namespace| namespace == config.namespace);
            ensure!(is_own, "a ProviderConfig reads Secrets of its own namespace only");
            config.namespace.clone()
        }
        ConfigKind::ClusterProviderConfig => said.with_context(|| format!("{field}.namespace is needed"))?.to_owned(),
    };
    Ok(Source { kind: SourceKind::Secret, namespace, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: Option<&str>) -> SecretKey {
        SecretKey {
            name: "host".to_owned(),
            namespace: namespace.map(ToOwned::to_owned),
            key: Some("credentials".to_owned()),
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
