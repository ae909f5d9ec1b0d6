//! Places objects on configs, and connects configs to libvirt hosts.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use apis::{
    Managed,
    managed::ProviderConfigReference,
    placement::{ConfigId, Known, Placement, place},
    provider_config::{Connection as ConnectionSpec, HostSpec},
    quantity::Span,
};
use libvirt::{Endpoint, Host, Hosts, Key, Settings};
use managed::external::{Connect, Retry};

use crate::cluster::Cluster;

/// All hosts, as the configs name them.
pub struct Connector {
    cluster: Arc<Cluster>,
    hosts: Hosts,
    default: Option<ProviderConfigReference>,
    poll: Duration,
}

impl Connector {
    /// No host is connected before an object needs it.
    pub fn new(cluster: Arc<Cluster>, hosts: Hosts, default: Option<ProviderConfigReference>, poll: Duration) -> Self {
        Self { cluster, hosts, default, poll }
    }

    /// The hosts behind.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The key and endpoint of a config.
    pub fn endpoint(&self, config: &ConfigId) -> anyhow::Result<(Key, Endpoint, Settings)> {
        let spec = self.cluster.host_spec(config).with_context(|| format!("cannot get ProviderConfig: there is no {config}"))?;
        let endpoint = Endpoint::parse(&spec.uri).with_context(|| format!("{config}: spec.uri"))?;
        Ok((Key::new(config.to_string()), endpoint, settings(&spec, self.poll)?))
    }

    /// The configs other than this one whose hosts could hold the same guest: connected, or the reason why not.
    pub async fn others(&self, config: &ConfigId) -> Vec<(ConfigId, anyhow::Result<Arc<Host>>)> {
        let mut others = Vec::new();
        for other in self.cluster.all_configs().into_iter().filter(|other| other != config) {
            let host = self.connect(&other).await;
            others.push((other, host));
        }
        others
    }
}

fn settings(spec: &HostSpec, poll: Duration) -> anyhow::Result<Settings> {
    let ConnectionSpec { connect_timeout, call_timeout, keepalive_interval, keepalive_count } = spec.connection.clone().unwrap_or_default();
    let span = |span: Option<Span>, default: Duration| span.map_or(Ok(default), |span| span.duration()).map_err(anyhow::Error::msg);
    let default = Settings::default();
    let keepalive = span(keepalive_interval, Duration::from_secs(u64::from(default.keepalive_interval)))?;
    Ok(Settings {
        connect_timeout: span(connect_timeout, default.connect_timeout)?,
        call_timeout: span(call_timeout, default.call_timeout)?,
        keepalive_interval: u32::try_from(keepalive.as_secs().max(1)).unwrap_or(u32::MAX),
        keepalive_count: keepalive_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(default.keepalive_count),
        poll,
    })
}

impl Connect for Connector {
    type Host = Host;

    fn place<K: Managed>(&self, object: &K, referents: Vec<ConfigId>) -> Result<Placement, String> {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        place(object, &Known { configs: self.cluster.configs_for(namespace), referents, default: self.default.clone() })
    }

    async fn connect(&self, config: &ConfigId) -> anyhow::Result<Arc<Host>> {
        let (key, endpoint, settings) = self.endpoint(config)?;
        self.hosts.get(&key, &endpoint, &settings).await.with_context(|| config.to_string())
    }

    fn retry(&self, error: &anyhow::Error) -> Retry {
        use libvirt::ErrorKind::{Busy, Denied, Exists, Gone, Other, Rejected, Unreachable};
        match error.chain().find_map(|cause| cause.downcast_ref::<libvirt::Error>()).map(|error| error.kind) {
            Some(Rejected | Denied) => Retry::Poll,
            Some(Busy | Gone) => Retry::Soon,
            Some(Exists | Other | Unreachable) | None => Retry::Backoff,
        }
    }
}

/// How long a call may take that only looks or changes a definition.
pub const SHORT: Duration = Duration::from_secs(30);
/// How long a call may take that starts a guest, builds a pool or allocates a volume.
pub const LONG: Duration = Duration::from_mins(10);

/// The name that a host's mirror knows an object by.
pub fn owner<K: Managed>(object: &K) -> String {
    format!("{}/{}", K::kind(&()), object.full_name())
}

/// Short names for the two ways of calling a host.
pub trait Calls {
    /// A call that looks at one object or changes its definition.
    fn short<T: Send + 'static>(&self, object: &str, deadline: Duration, make: impl FnOnce(&Connection) -> Result<T, libvirt::Error> + Send + 'static) -> impl Future<Output = Result<T, libvirt::Error>> + Send;
    /// A call on the given lane.
    fn run<T: Send + 'static>(&self, lane: Lane, object: &str, deadline: Duration, make: impl FnOnce(&Connection) -> Result<T, libvirt::Error> + Send + 'static) -> impl Future<Output = Result<T, libvirt::Error>> + Send;
    /// Waits until the mirror has read the host once: before that, "not there" means "not known".
    fn synced(&self) -> impl Future<Output = Result<(), libvirt::Error>> + Send;
}
