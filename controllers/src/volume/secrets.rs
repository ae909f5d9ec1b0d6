//! The Secrets and `ConfigMaps` that are needed to meet image servers: each is watched for as long as an image is still to be fetched.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::anyhow;
use apis::{
    Managed, Volume,
    managed::annotation,
    reference::KeyReference,
    volume::{CaBundle, SecretReference},
};
use kube::Client;
use managed::{creation::was_created, plan::only_observes};

use super::fetch::{Access, Authorities, Credentials};
use crate::{
    cluster::Cluster,
    links::EMPTY,
    sources::{First, Source, SourceKind, Sources},
};

/// How image servers are met.
pub struct ImageSecrets {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
}

impl ImageSecrets {
    /// Nothing is read yet.
    pub fn new(client: Client, cluster: &Arc<Cluster>) -> Self {
        let readers = cluster.clone();
        let wake = move |(namespace, name): &(String, String)| readers.volumes.wake(namespace, name);
        Self { sources: Sources::new(client, First::Awaited, wake) }
    }

    /// The object reads nothing any more.
    pub(super) fn forget(&self, object: &Volume) {
        self.sources.forget(&reader(object));
    }

    /// How the servers of an object's image are to be met, if its image is still to be fetched.
    pub(super) async fn of(&self, object: &Volume) -> anyhow::Result<Access> {
        let wanted = Wanted::of(object).unwrap_or_default();
        self.sources.hold(&reader(object), wanted.sources());
        let Wanted { credentials, headers, bundle } = &wanted;
        let credentials = match credentials {
            Some(source) => {
                let values = self.sources.held(source).await?;
                Some(Credentials::of(|key| values.get(key)).map_err(|reason| unfit(source, reason))?)
            }
            None => None,
        };
        let credentials = match headers {
            Some(source) => {
                let values = self.sources.held(source).await?;
                let headers = Credentials::headers(values.iter()).map_err(|reason| unfit(source, &reason))?;
                let both = credentials.map_or(Ok(headers.clone()), |token| token.and(headers));
                Some(both.map_err(|reason| unfit(source, reason))?)
            }
            None => credentials,
        };
        let authorities = match bundle {
            None => None,
            Some(Bundle::Here(text)) => {
                Some(Authorities::of(text.as_bytes()).map_err(|reason| anyhow!("source.http.caBundle: {reason}"))?)
            }
            Some(Bundle::In(source, key)) => {
                let bytes = self.sources.required(source, key).await?;
                Some(Authorities::of(&bytes).map_err(|reason| unfit(source, &format!("{key}: {reason}")))?)
            }
        };
        Ok(Access { credentials, authorities })
    }
}

/// That something is there and not as it is needed: waited for, because it can be mended.
fn unfit(source: &Source, reason: &str) -> anyhow::Error {
    let Source { kind, namespace: _, name } = source;
    anyhow!("{EMPTY}: waiting for {kind:?} {name}: {reason}")
}

/// What is needed for an image which is not there yet.
#[derive(Default)]
struct Wanted {
    credentials: Option<Source>,
    headers: Option<Source>,
    bundle: Option<Bundle>,
}

/// Where certificate authorities stand.
enum Bundle {
    Here(String),
    In(Source, String),
}

impl Wanted {
    /// None where nothing is to be fetched.
    fn of(object: &Volume) -> Option<Self> {
        let again = object.annotation(annotation::RECREATE) == Some(object.uid());
        if only_observes(object) || was_created(object) && !again {
            return None;
        }
        let whole = object.merged();
        let http = &whole.parameters().source.as_ref()?.http;
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let source = |kind, name: &str| Source { kind, namespace: namespace.clone(), name: name.to_owned() };
        let secret = |reference: &SecretReference| source(SourceKind::Secret, &reference.name);
        let key = |kind, of: &KeyReference| Bundle::In(source(kind, &of.name), of.key.clone());
        let bundle = http.ca_bundle.as_ref().and_then(|CaBundle { inline, secret_key_ref, config_map_key_ref }| {
            let inline = inline.clone().map(Bundle::Here);
            let from_secret = || secret_key_ref.as_ref().map(|of| key(SourceKind::Secret, of));
            inline.or_else(from_secret).or_else(|| config_map_key_ref.as_ref().map(|of| key(SourceKind::ConfigMap, of)))
        });
        let (credentials, headers) = (http.credentials_ref.as_ref().map(secret), http.headers_ref.as_ref().map(secret));
        Some(Self { credentials, headers, bundle })
    }

    fn sources(&self) -> BTreeSet<Source> {
        let Self { credentials, headers, bundle } = self;
        let bundle = bundle.as_ref().and_then(|bundle| match bundle {
            Bundle::Here(_) => None,
            Bundle::In(source, _) => Some(source),
        });
        credentials.iter().chain(headers).chain(bundle).cloned().collect()
    }
}

/// An object, as those who read are told apart.
fn reader(object: &Volume) -> (String, String) {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}
