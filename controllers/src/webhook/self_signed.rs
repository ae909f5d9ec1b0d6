//! A certificate that the provider makes itself, for a cluster where nobody else does: kept in a Secret, told to the API server, and made
//! anew in time.

use std::{
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::http::Uri;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret, core::v1::Service,
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use managed::{
    lease::Term,
    publish::{FIELD_MANAGER, post_by_us},
};
use tokio::time::timeout;

use super::{
    authority::Keys,
    certificate::Served,
    registration::{NAME, Place, host, injected, trusts},
};

/// The Secret with the keys, in the provider's own namespace.
pub const SECRET: &str = "provider-libvirt-webhook";
const FIELDS: [&str; 4] = ["ca.crt", "ca.key", "tls.crt", "tls.key"];
/// How often it is looked whether something is due; only what is due costs a request.
const TICK: Duration = Duration::from_secs(2);
/// How often the Secret is read again: another process may have made a new authority.
const REREAD: Duration = Duration::from_hours(1);

/// Where the provider is.
pub struct Home {
    /// Kubernetes.
    pub client: Client,
    /// The provider's own namespace.
    pub namespace: String,
    /// The API server.
    pub server: Uri,
    /// Whether this process leads: only one tells the API server where the webhook is.
    pub term: Arc<Term>,
}

/// Keeps the certificate good and known.
pub(super) struct SelfSigned {
    client: Client,
    term: Arc<Term>,
    place: Place,
    served: Arc<Served>,
    keys: Option<Keys>,
    /// The certificate that is served.
    serving: Option<String>,
    read: Timestamp,
    /// The configuration, once somebody has applied it.
    config: Option<ValidatingWebhookConfiguration>,
    /// The same from a list that is coming in.
    listed: Option<ValidatingWebhookConfiguration>,
    /// When the configuration was written last.
    written: Option<Instant>,
    /// Whether the Service is ours, as it was found since the Secret was read last.
    is_ours: Option<bool>,
}

impl SelfSigned {
    pub(super) fn new(home: Home, port: u16, served: Arc<Served>) -> anyhow::Result<Self> {
        let Home { client, namespace, server, term } = home;
        let place = Place { namespace, address: facing(&server)?, port };
        let (keys, serving, config, listed, written, is_ours) = (None, None, None, None, None, None);
        Ok(Self { client, term, place, served, keys, serving, read: Timestamp::MIN, config, listed, written, is_ours })
    }

    /// Runs until the process ends.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let mut events = pin!(watcher::watcher(api, only).default_backoff());
        let mut last = None;
        loop {
            let trouble = self.tend().await.err().map(|error| format!("{error:#}"));
            if let Some(why) = &trouble {
                if self.keys.is_none() {
                    self.served.complain(why);
                } else if last.as_ref() != Some(why) {
                    tracing::warn!("the webhook cannot be made known to the API server: {why}");
                }
            }
            last = trouble;
            match timeout(TICK, events.next()).await {
                Ok(Some(Ok(event))) => self.take(event),
                Ok(Some(Err(error))) => tracing::warn!("watch ValidatingWebhookConfiguration {NAME}: {error}"),
                Ok(None) => anyhow::bail!("the watch of ValidatingWebhookConfiguration {NAME} ended"),
                Err(_) => {}
            }
        }
    }

    fn take(&mut self, event: watcher::Event<ValidatingWebhookConfiguration>) {
        // Whoever applies the configuration anew may have deleted the Service with it.
        if self.config.is_none() {
            self.is_ours = None;
        }
        match event {
            watcher::Event::Apply(config) => self.config = Some(config),
            watcher::Event::Delete(_) => self.config = None,
            // What is known counts until the list is whole.
            watcher::Event::Init => self.listed = None,
            watcher::Event::InitApply(config) => self.listed = Some(config),
            watcher::Event::InitDone => self.config = self.listed.take(),
        }
    }

    /// Does what is due.
    async fn tend(&mut self) -> anyhow::Result<()> {
        let now = Timestamp::now();
        let names = self.place.names(self.config.as_ref());
        let is_old = now.duration_since(self.read).unsigned_abs() > REREAD;
        let is_due = self.keys.as_ref().is_none_or(|keys| keys.is_due(&names, now));
        if is_old || is_due {
            self.keys = Some(self.load(&names, now).await?);
            self.read = now;
            self.is_ours = None;
        }
        self.take_up(now)?;
        let registered = if self.term.holds() { self.register().await } else { Ok(()) };
        self.take_up(now)?;
        registered
    }

    /// Serves what is new once it is trusted. Until then what was served before still is, unless nobody trusts that.
    fn take_up(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let is_new = |keys: &&Keys| self.serving.as_ref() != Some(&keys.certificate);
        let is_time = self.is_trusted() || self.served.fault(now).is_some();
        let Some(keys) = self.keys.as_ref().filter(is_new).filter(|_| is_time) else { return Ok(()) };
        self.served.set(keys.certificate.as_bytes(), keys.key.as_bytes())?;
        self.serving = Some(keys.certificate.clone());
        Ok(())
    }

    /// Whether what is to be served would be trusted, as far as it is ours to say.
    fn is_trusted(&self) -> bool {
        let Some(keys) = &self.keys else { return false };
        let told = |config| injected(config).is_some() || trusts(config, &keys.bundle);
        // The API server takes a moment to take in what was written.
        self.config.as_ref().is_none_or(told) && !self.has_just_written()
    }

    fn has_just_written(&self) -> bool {
        self.written.is_some_and(|at| at.elapsed() < TICK)
    }

    /// The keys of the Secret, made anew if they are due. Several processes share the authority, and each serves what it made or found.
    async fn load(&self, names: &[String], now: Timestamp) -> anyhow::Result<Keys> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.place.namespace);
        let secret = api.get_opt(SECRET).await.with_context(|| format!("read Secret {SECRET}"))?;
        let kept = secret.as_ref().and_then(keys);
        if let (Some(kept), Some(own)) = (&kept, &self.keys)
            && kept.authority_key == own.authority_key
            && !own.is_due(names, now)
        {
            return Ok(Keys { bundle: kept.bundle.clone(), ..own.clone() });
        }
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.is_due(names, now)) {
            return Ok(kept.clone());
        }
        // A Secret that somebody deleted costs nobody's trust: the authority stays.
        let keys = Keys::renew(kept.as_ref().or(self.keys.as_ref()), names, now)?;
        // Whoever was quicker is read the next time.
        if let Some(mut secret) = secret {
            secret.data = Some(data(&keys));
            api.replace(SECRET, &post_by_us(), &secret).await.with_context(|| format!("update Secret {SECRET}"))?;
        } else {
            let made = Secret {
                metadata: ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() },
                type_: Some("kubernetes.io/tls".to_owned()),
                data: Some(data(&keys)),
                ..Secret::default()
            };
            api.create(&post_by_us(), &made).await.with_context(|| format!("create Secret {SECRET}"))?;
        }
        tracing::info!(?names, "made a new certificate for the webhook");
        Ok(keys)
    }

    /// Tells the API server where the webhook is and whom to trust, once its configuration is there.
    async fn register(&mut self) -> anyhow::Result<()> {
        let (Some(config), Some(keys)) = (&self.config, &self.keys) else { return Ok(()) };
        if let Some(annotation) = injected(config) {
            anyhow::bail!(
                "ValidatingWebhookConfiguration {NAME} has the annotation {annotation}, so whom to trust is left to cert-manager: \
                 either take that away, or --webhook-self-signed"
            );
        }
        let is_ours = match self.is_ours {
            Some(is_ours) => is_ours,
            None => self.ensure_service().await?,
        };
        self.is_ours = Some(is_ours);
        let Some(correction) = self.place.correction(config, &keys.bundle, is_ours) else { return Ok(()) };
        // Whoever else writes it, too, is not outrun.
        if self.has_just_written() {
            return Ok(());
        }
        self.written = Some(Instant::now());
        let api: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let written = api.patch(NAME, &PatchParams::default(), &Patch::Strategic(correction)).await;
        self.config = Some(written.with_context(|| format!("patch ValidatingWebhookConfiguration {NAME}"))?);
        tracing::info!("the API server knows the webhook's certificate");
        Ok(())
    }

    /// Whether the Service is ours. One that somebody else made stays as it is; else there is one that leads here.
    async fn ensure_service(&self) -> anyhow::Result<bool> {
        let namespace = &self.place.namespace;
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let found = api.get_opt(NAME).await.with_context(|| format!("read Service {NAME}"))?;
        let wrote = |service: &Service| {
            let writers = service.metadata.managed_fields.iter().flatten();
            writers.filter_map(|fields| fields.manager.as_deref()).any(|manager| manager == FIELD_MANAGER)
        };
        if found.is_some_and(|service| !wrote(&service)) {
            return Ok(false);
        }
        let ours = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(NAME, &ours, &Patch::Apply(self.place.service()))
            .await
            .with_context(|| format!("apply Service {NAME}"))?;
        if let Some(endpoints) = self.place.endpoints() {
            let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
            let applied = api.patch(NAME, &ours, &Patch::Apply(endpoints)).await;
            applied.with_context(|| format!("apply EndpointSlice {NAME}"))?;
        } else {
            tracing::warn!(
                "the kubeconfig's API server is on the loopback interface, so it is not known how it reaches this process: Service \
                 {namespace}/{NAME} has no endpoints. Unless its own address leads here nothing is checked at apply: let the provider \
                 run in the cluster, or write a clientConfig.url that leads here into ValidatingWebhookConfiguration {NAME}"
            );
        }
        Ok(true)
    }
}

fn data(Keys { bundle, authority_key, certificate, key }: &Keys) -> std::collections::BTreeMap<String, ByteString> {
    let texts = [bundle, authority_key, certificate, key];
    let field = |(field, text): (&str, &String)| (field.to_owned(), ByteString(text.as_bytes().to_vec()));
    FIELDS.into_iter().zip(texts).map(field).collect()
}

/// What a Secret holds, if it is whole.
fn keys(secret: &Secret) -> Option<Keys> {
    let data = secret.data.as_ref()?;
    let text = |field: &str| String::from_utf8(data.get(field)?.0.clone()).ok();
    let [bundle, authority_key, certificate, key] = FIELDS.map(text);
    Some(Keys { bundle: bundle?, authority_key: authority_key?, certificate: certificate?, key: key? })
}

/// The address of this machine that the API server is reached from, and so, as far as can be known, the one that it can reach.
fn facing(server: &Uri) -> anyhow::Result<IpAddr> {
    let host = host(server).context("the kubeconfig names no API server")?;
    let port = server.port_u16().unwrap_or(443);
    let any = |address: &str| -> std::io::Result<IpAddr> {
        let socket = std::net::UdpSocket::bind((address, 0))?;
        // Nothing is sent: connecting only asks for the way.
        socket.connect((host, port))?;
        Ok(socket.local_addr()?.ip())
    };
    any("0.0.0.0").or_else(|_| any("::")).context("find the address that faces the API server")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn own() -> SelfSigned {
        // Another test may have chosen it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let server = "https://127.0.0.1:1".parse().unwrap();
        let home = Home { client, namespace: "ours".to_owned(), server, term: Arc::new(Term::over()) };
        SelfSigned::new(home, 9443, Arc::default()).unwrap()
    }

    fn trusting(keys: &Keys) -> Option<ValidatingWebhookConfiguration> {
        let bundle = data_encoding::BASE64.encode(keys.bundle.as_bytes());
        let client = json!({"url": "https://here/p", "caBundle": bundle});
        let entry =
            json!({"name": "a", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": client});
        serde_json::from_value(json!({"metadata": {"name": NAME}, "webhooks": [entry]})).unwrap()
    }

    #[tokio::test]
    async fn what_a_new_authority_signed_is_served_once_the_api_server_has_been_told_of_it() {
        let now = Timestamp::now();
        let make = |old: Option<&Keys>| Keys::renew(old, &["a.b.svc".to_owned()], now).unwrap();
        let (mut own, first) = (own(), make(None));
        let mut serves = |keys: &Keys, config, written| {
            (own.keys, own.config, own.written) = (Some(keys.clone()), config, written);
            own.take_up(now).unwrap();
            own.serving.clone() == Some(keys.certificate.clone())
        };
        assert!(serves(&first, None, None), "the first is served as soon as it is there");
        let second = make(Some(&first));
        assert!(serves(&second, trusting(&first), None), "one of the same authority, too");
        let other = make(None);
        assert!(!serves(&other, trusting(&first), None) && serves(&first, trusting(&first), None));
        assert!(!serves(&other, trusting(&other), Some(Instant::now())), "the API server takes it in just now");
        assert!(serves(&other, trusting(&other), None));
    }
}
