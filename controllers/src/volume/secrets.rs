//! The Secrets and `ConfigMaps` that a volume is filled from, or that are needed to meet image servers: each is watched for as long as the
//! volume is still to be filled.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, anyhow};
use apis::{
    Managed, Volume,
    placement::ConfigId,
    provider_config::ImageProxy,
    reference::KeyReference,
    volume::{CaBundle, SecretReference},
};
use kube::Client;

use super::fetch::{Access, Authorities, Credentials, Proxy};
use crate::{
    cluster::Cluster,
    credentials::secret_of,
    links::EMPTY,
    references::awaits_content,
    sources::{First, Source, SourceKind, Sources},
    withheld,
};

/// How image servers are met.
pub struct ImageSecrets {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
    /// What tells which Secrets are for nobody.
    cluster: Arc<Cluster>,
}

impl ImageSecrets {
    /// Nothing is read yet.
    pub fn new(client: Client, cluster: &Arc<Cluster>) -> Self {
        let readers = cluster.clone();
        let wake = move |(namespace, name): &(String, String)| readers.volumes.wake(namespace, name);
        Self { sources: Sources::new(client, First::Awaited, wake), cluster: cluster.clone() }
    }

    /// The object reads nothing any more.
    pub(super) fn forget(&self, object: &Volume) {
        self.sources.forget(&reader(object));
    }

    /// The content of an object that says where it stands, if it is still to be made. For those whose sources are held, see [`Self::of`].
    pub(super) async fn content(&self, object: &Volume) -> anyhow::Result<Option<Vec<u8>>> {
        match Wanted::of(object).and_then(|wanted| wanted.content) {
            Some((source, key)) => self.sources.required(&source, &key).await.map(Some),
            None => Ok(None),
        }
    }

    /// How the servers of an object's image are to be met, if its image is still to be fetched, by what its config says of a proxy. Holds
    /// all that the object reads.
    pub(super) async fn of(
        &self,
        object: &Volume,
        (config, proxy): (&ConfigId, Option<&ImageProxy>),
    ) -> anyhow::Result<Access> {
        let wanted = Wanted::of(object).unwrap_or_default();
        wanted.sources().iter().try_for_each(|source| withheld::check(&self.cluster, source))?;
        let proxy = proxy.filter(|_| wanted.image);
        let context = || format!("{config}: spec.policy.imageProxy");
        let secret = proxy.and_then(|proxy| proxy.credentials_ref.as_ref());
        let secret = secret.map(|secret| {
            secret_of(config, (&secret.name, secret.namespace.as_deref()), "spec.policy.imageProxy.credentialsRef")
        });
        let secret = secret.transpose().with_context(context)?;
        self.sources.hold(&reader(object), wanted.sources().into_iter().chain(secret.clone()).collect());
        let proxy = match proxy {
            Some(said) => Some(self.proxy(said, secret.as_ref()).await.with_context(context)?),
            None => None,
        };
        Ok(Access {
            credentials: self.credentials(&wanted).await?,
            authorities: self.authorities(&wanted).await?,
            proxy,
        })
    }

    /// What the image's own server is shown.
    async fn credentials(&self, wanted: &Wanted) -> anyhow::Result<Option<Credentials>> {
        let credentials = match &wanted.credentials {
            Some(source) => Some(self.shown(source).await?),
            None => None,
        };
        let Some(source) = &wanted.headers else { return Ok(credentials) };
        let values = self.sources.held(source).await?;
        let headers = Credentials::headers(values.iter()).map_err(|reason| unfit(source, &reason))?;
        let both = credentials.map_or(Ok(headers.clone()), |token| token.and(headers));
        both.map(Some).map_err(|reason| unfit(source, reason))
    }

    /// What a Secret says of who asks.
    async fn shown(&self, source: &Source) -> anyhow::Result<Credentials> {
        let values = self.sources.held(source).await?;
        Credentials::of(|key| values.get(key)).map_err(|reason| unfit(source, reason))
    }

    /// Whom the image's servers may be vouched for by.
    async fn authorities(&self, wanted: &Wanted) -> anyhow::Result<Option<Authorities>> {
        Ok(match &wanted.bundle {
            None => None,
            Some(Bundle::Here(text)) => {
                Some(Authorities::of(text.as_bytes()).map_err(|reason| anyhow!("source.http.caBundle: {reason}"))?)
            }
            Some(Bundle::In(source, key)) => {
                let bytes = self.sources.required(source, key).await?;
                Some(Authorities::of(&bytes).map_err(|reason| unfit(source, &format!("{key}: {reason}")))?)
            }
        })
    }

    /// The proxy that a config says, let in by what this Secret holds.
    async fn proxy(&self, said: &ImageProxy, secret: Option<&Source>) -> anyhow::Result<Proxy> {
        let ImageProxy { url, credentials_ref: _, no_proxy } = said;
        let credentials = match secret {
            Some(source) => Some(self.shown(source).await?),
            None => None,
        };
        Proxy::new(url, credentials.as_ref(), no_proxy.as_deref().unwrap_or_default()).map_err(anyhow::Error::msg)
    }
}

/// That something is there and not as it is needed: waited for, because it can be mended.
fn unfit(source: &Source, reason: &str) -> anyhow::Error {
    let Source { kind, namespace: _, name } = source;
    anyhow!("{EMPTY}: waiting for {kind:?} {name}: {reason}")
}

/// What is needed for a content which is not there yet.
#[derive(Default)]
struct Wanted {
    /// Whether it is an image of a web server.
    image: bool,
    credentials: Option<Source>,
    headers: Option<Source>,
    bundle: Option<Bundle>,
    /// Where the content itself stands, and under which key.
    content: Option<(Source, String)>,
}

/// Where certificate authorities stand.
enum Bundle {
    Here(String),
    In(Source, String),
}

impl Wanted {
    /// None where nothing is to be filled in.
    fn of(object: &Volume) -> Option<Self> {
        if !awaits_content(object) {
            return None;
        }
        let whole = object.merged();
        let apis::volume::Source { http, volume_ref: _, volume_selector: _, secret_key_ref, config_map_key_ref } =
            whole.parameters().source.as_ref()?;
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let source = |kind, name: &str| Source { kind, namespace: namespace.clone(), name: name.to_owned() };
        let secret = |reference: &SecretReference| source(SourceKind::Secret, &reference.name);
        let at = |kind, of: &KeyReference| (source(kind, &of.name), of.key.clone());
        let content = secret_key_ref.as_ref().map(|of| at(SourceKind::Secret, of));
        let content = content.or_else(|| config_map_key_ref.as_ref().map(|of| at(SourceKind::ConfigMap, of)));
        let Some(http) = http else { return Some(Self { content, ..Self::default() }) };
        let key = |kind, of: &KeyReference| {
            let (source, key) = at(kind, of);
            Bundle::In(source, key)
        };
        let bundle = http.ca_bundle.as_ref().and_then(|CaBundle { inline, secret_key_ref, config_map_key_ref }| {
            let inline = inline.clone().map(Bundle::Here);
            let from_secret = || secret_key_ref.as_ref().map(|of| key(SourceKind::Secret, of));
            inline.or_else(from_secret).or_else(|| config_map_key_ref.as_ref().map(|of| key(SourceKind::ConfigMap, of)))
        });
        let (credentials, headers) = (http.credentials_ref.as_ref().map(secret), http.headers_ref.as_ref().map(secret));
        Some(Self { image: true, credentials, headers, bundle, content })
    }

    fn sources(&self) -> BTreeSet<Source> {
        let Self { image: _, credentials, headers, bundle, content } = self;
        let bundle = bundle.as_ref().and_then(|bundle| match bundle {
            Bundle::Here(_) => None,
            Bundle::In(source, _) => Some(source),
        });
        let content = content.as_ref().map(|(source, _)| source);
        credentials.iter().chain(headers).chain(bundle).chain(content).cloned().collect()
    }
}

/// An object, as those who read are told apart.
fn reader(object: &Volume) -> (String, String) {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}
