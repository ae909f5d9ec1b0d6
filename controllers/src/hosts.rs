//! Places objects on configs, and connects configs to libvirt hosts.

mod hold;
mod identity;
mod turns;

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Context;
use apis::{
    Managed,
    managed::ProviderConfigReference,
    placement::{ConfigId, Known, Neighbour, Placement, is_open, named, place, was_placed},
    provider_config::{Connection as ConnectionSpec, HostSpec},
    quantity::Span,
};
use futures::future::join_all;
use kube::Client;
use libvirt::{
    Connection, Endpoint, Error, Facts, Host, Hosts, Key, LaneKind, Mirror, Reading, Settings, Upload, UploadRequest,
};
use managed::external::{Connect, Effect, NoConfig, NotYet, Refusal, Retry};
use tokio::time::{Instant, timeout_at};

use crate::{cluster::Cluster, credentials::ConfigSecrets};

/// All hosts, as the configs name them.
pub struct Connector {
    cluster: Arc<Cluster>,
    hosts: Hosts,
    secrets: ConfigSecrets,
    default: Option<ProviderConfigReference>,
    poll: Duration,
    turns: turns::Turns,
}

impl Connector {
    /// No host is connected before an object needs it. The client is for the Secrets that configs name.
    pub fn new(
        cluster: Arc<Cluster>,
        client: Client,
        default: Option<ProviderConfigReference>,
        poll: Duration,
    ) -> Self {
        let (hosts, secrets, turns) = (Hosts::new(), ConfigSecrets::new(client), turns::Turns::default());
        Self { cluster, hosts, secrets, default, poll, turns }
    }

    /// The Secrets that configs name.
    pub fn secrets(&self) -> &ConfigSecrets {
        &self.secrets
    }

    /// The hosts behind.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// An object is gone: no host's mirror keeps anything for it.
    pub fn unclaim<K: Managed>(&self, object: &K) {
        for (_, host) in self.hosts.all() {
            host.mirror().unclaim(&owner(object));
        }
    }

    /// The key and endpoint of a config.
    pub fn endpoint(&self, config: &ConfigId) -> anyhow::Result<(Key, Endpoint, Settings)> {
        let spec = self.cluster.host_spec(config).ok_or_else(|| NoConfig(config.clone()))?;
        let endpoint = self.secrets.endpoint(config, &spec)?;
        let endpoint = if spec.read_only == Some(true) { endpoint.reading() } else { endpoint };
        let settings = settings(&spec, self.poll)?;
        // Whatever the connection depends on is in the key: an edited config is another host.
        let how = format!("{} {:x} {settings:?}", endpoint.uri(), endpoint.fingerprint());
        let key = Key { who: config.to_string(), how };
        Ok((key, endpoint, settings))
    }

    /// The host of a config, connecting or not, and the key it is in use by.
    pub fn host(&self, config: &ConfigId) -> anyhow::Result<(Key, Arc<Host>)> {
        let (key, endpoint, settings) = self.endpoint(config)?;
        let host = self.hosts.get(&key, &endpoint, &settings)?;
        Ok((key, host))
    }

    /// Why nothing may be done on a host: it is another one than its config led to before. The same objects would be made there twice,
    /// and what is on the first host would be forgotten.
    pub fn mismatch(&self, config: &ConfigId, facts: &Facts) -> Option<String> {
        let accepted = self.cluster.host_spec(config)?.accept_host;
        let now = (facts.uuid.as_deref().unwrap_or_default(), facts.hostname.as_str());
        let before = self.cluster.host_seen(config).unwrap_or_default();
        identity::another(&before, now, accepted.as_deref()).map(|another| format!("{config} {another}"))
    }

    /// Why a config that is connected could not be connected anew, if so.
    pub fn fault(&self, config: &ConfigId) -> Option<(&'static str, String)> {
        self.secrets.fault(config, &self.cluster.host_spec(config)?)
    }

    /// Whether nothing says where an object is to go but the hosts themselves; see [`is_open`].
    pub fn is_open<K: Managed>(&self, object: &K, referents: Vec<Neighbour>) -> bool {
        is_open(object, &self.known(object, referents))
    }

    fn known<K: Managed>(&self, object: &K, referents: Vec<Neighbour>) -> Known {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        // To one that says itself where it goes the others do not matter, and gathering them costs more than the rest of a quiet pass.
        let is_named = named(object).is_ok_and(|named| named.is_some());
        let configs = if is_named { Vec::new() } else { self.cluster.configs_for(namespace) };
        Known { configs, referents, default: self.default.clone() }
    }

    /// The host of a config, connected and read. Whoever cannot come back has the patience to wait for that; all others wait for no more
    /// than the moment that it takes most hosts, because they keep a worker from the objects of other hosts meanwhile.
    pub async fn reach(&self, config: &ConfigId, patience: Duration) -> anyhow::Result<Arc<Site>> {
        if let Some(spec) = self.cluster.host_spec(config) {
            self.secrets.read(config, &spec).await;
        }
        let (_, host) = self.host(config)?;
        let mut reading = host.mirror().reading();
        let begun = match &*reading.borrow() {
            Reading::Underway(since) => *since,
            Reading::Whole | Reading::Failed(_) => Instant::now(),
        };
        let end = (begun + MOMENT).max(Instant::now() + patience);
        let not_yet = |what| NotYet(format!("{config}: {what}"));
        let Ok(facts) = timeout_at(end, host.facts()).await else {
            return Err(not_yet("the first connection is being made").into());
        };
        let facts = facts.with_context(|| config.to_string())?;
        if let Some(mismatch) = self.mismatch(config, &facts) {
            anyhow::bail!(mismatch);
        }
        if !host.mirror().synced() {
            host.mirror().expect_pools(self.cluster.pools_named());
        }
        let is_over = |reading: &Reading| !matches!(reading, Reading::Underway(_));
        let Ok(read) = timeout_at(end, reading.wait_for(is_over)).await else {
            return Err(not_yet("the host is being read").into());
        };
        match read.as_deref() {
            Ok(Reading::Whole | Reading::Underway(_)) => {}
            Ok(Reading::Failed(error)) => return Err(error.clone()).with_context(|| config.to_string()),
            Err(_) => return Err(Error::unreachable("its config has changed")).with_context(|| config.to_string()),
        }
        let networks = self.turns.of(&facts);
        Ok(Arc::new(Site { host, facts, networks }))
    }

    /// The hosts of all configs but this one: connected, or the reason why not.
    pub async fn others(&self, config: &ConfigId) -> Vec<(ConfigId, anyhow::Result<Arc<Site>>)> {
        // Those that hang are waited for together.
        let others = self.cluster.all_configs().into_iter().filter(|other| other != config);
        let reached = others.map(async |other| {
            let host = self.reach(&other, SHORT).await;
            (other, host)
        });
        join_all(reached).await
    }
}

fn settings(spec: &HostSpec, poll: Duration) -> anyhow::Result<Settings> {
    let ConnectionSpec { connect_timeout, call_timeout, keepalive_interval, keepalive_count } =
        spec.connection.clone().unwrap_or_default();
    let span = |span: Option<Span>, default: Duration| {
        span.map_or(Ok(default), |span| span.duration()).map_err(anyhow::Error::msg)
    };
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
    type Host = Site;

    fn place<K: Managed>(&self, object: &K, referents: Vec<Neighbour>) -> Result<Placement, String> {
        let placement = place(object, &self.known(object, referents))?;
        if !was_placed(object) && self.cluster.is_leaving(&placement.config) {
            return Err(format!(
                "{} is being deleted and takes nothing new; name another one in spec.providerConfigRef",
                placement.config
            ));
        }
        Ok(placement)
    }

    async fn connect(&self, config: &ConfigId) -> anyhow::Result<Arc<Site>> {
        self.reach(config, Duration::ZERO).await
    }

    fn hold(&self, config: &ConfigId) -> Option<Refusal> {
        hold::hold(config, &self.cluster.host_spec(config)?).or_else(|| self.hold_of_twin(config))
    }

    fn renew<K: Managed>(&self, host: &Site, object: &K) {
        host.mirror().refresh_of(&owner(object));
    }

    fn retry(&self, error: &anyhow::Error) -> Retry {
        use libvirt::Kind::{Busy, Denied, Exists, Gone, Other, Rejected, Unreachable};
        match kind(error) {
            Some(Rejected | Denied) => Retry::Poll,
            Some(Busy) => Retry::Soon,
            // What is gone may be between two of its lives, or stay away.
            Some(Gone | Exists | Other | Unreachable) | None => Retry::Backoff,
        }
    }

    fn effect(&self, error: &anyhow::Error) -> Effect {
        effect(error)
    }
}

/// What a call that failed has done.
fn effect(error: &anyhow::Error) -> Effect {
    use libvirt::Kind::{Busy, Denied, Exists, Gone, Other, Rejected, Unreachable};
    if error.downcast_ref::<Left>().is_some() {
        return Effect::Unknown;
    }
    match kind(error) {
        Some(Unreachable) => Effect::Unknown,
        Some(Busy) => Effect::Untried,
        Some(Denied | Exists | Gone | Other | Rejected) | None => Effect::None,
    }
}

/// Before an error by which something that was made may have stayed on the host: what was.
#[derive(Clone, Copy, Debug)]
pub struct Left(pub &'static str);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What libvirt's part in an error is, if it has one.
pub fn kind(error: &anyhow::Error) -> Option<libvirt::Kind> {
    error.chain().find_map(|cause| cause.downcast_ref::<libvirt::Error>()).map(|error| error.kind)
}

/// A connected host whose mirror has read it.
pub struct Site {
    host: Arc<Host>,
    facts: Arc<Facts>,
    /// The turn to change networks, for all configs that lead here.
    networks: turns::Turn,
}

impl Site {
    /// What the host said about itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The URI that the host is reached by.
    pub fn uri(&self) -> &str {
        self.host.endpoint().uri()
    }

    /// What the host has.
    pub fn mirror(&self) -> &Mirror {
        self.host.mirror()
    }

    /// The UUID of a pool of this name; None where there is no such pool.
    pub fn pool_uuid(&self, name: &str) -> Option<String> {
        self.mirror().pool_by_name(name).map(|pool| pool.uuid.clone())
    }

    /// Whether two configs lead to one host.
    pub fn is_same_host(&self, other: &Self) -> bool {
        turns::Identity::of(&self.facts) == turns::Identity::of(&other.facts)
    }

    /// Whether calls on both go over the same connection, and so by the same locks.
    pub fn is_connected_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.host, &other.host)
    }

    /// The UUID of the host, empty where it tells none.
    pub fn uuid(&self) -> &str {
        self.facts.uuid.as_deref().unwrap_or_default()
    }

    /// A call that looks at one object or changes its definition.
    pub async fn short<T: Send + 'static>(
        &self,
        object: &str,
        make: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.host.call(LaneKind::Short, object, SHORT, make).await
    }

    /// A call that may take minutes. What is no fault of libvirt comes back as the inner error.
    pub async fn long<T: Send + 'static>(
        &self,
        object: &str,
        make: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.host.call(LaneKind::Long, object, LONG, move |host| Ok(make(host))).await?
    }

    /// A call that may take longer than others.
    pub async fn lasting<T: Send + 'static>(
        &self,
        object: &str,
        deadline: Duration,
        make: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.host.call(LaneKind::Long, object, deadline, move |host| Ok(make(host))).await?
    }

    /// A job on a volume of a pool (create, resize, delete). It shares the pool with others of its kind.
    pub async fn job<T: Send + 'static>(
        &self,
        pool: &str,
        volume: &str,
        make: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let lock = self.host.pool_lock(pool);
        let _shared = lock.read().await;
        self.long(&format!("{pool}/{volume}"), make).await
    }

    /// A change of a network. Networks take turns on a host, by whichever config: libvirt gives two that are made at once the same name for
    /// their bridges, and then only one of them ever starts; and what is in the way of one is looked for before it is made.
    pub async fn in_turn<T: Send + 'static>(
        &self,
        network: &str,
        make: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        // No pool has a slash in its name.
        let lock = self.host.pool_lock("/networks");
        let _own = lock.write().await;
        let _turn = turns::take(&self.networks).await;
        self.long(network, make).await
    }

    /// The turn to copy a volume: guests start and stop over the same few threads.
    pub async fn copying(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.host.pool_lock("/copies").write_owned().await
    }

    /// The turn to overwrite a volume, for the same reason.
    pub async fn wiping(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        self.host.pool_lock("/wipes").write_owned().await
    }

    /// Held while a guest may be plugged into a network: none is started anew meanwhile.
    pub async fn plugging(&self) -> tokio::sync::OwnedRwLockReadGuard<()> {
        self.host.pool_lock("/plugging").read_owned().await
    }

    /// Held while a network is started anew: no guest is plugged in meanwhile. None while one may be.
    pub fn unplugged(&self) -> Option<tokio::sync::OwnedRwLockWriteGuard<()>> {
        self.host.pool_lock("/plugging").try_write_owned().ok()
    }

    /// A change of a pool as a whole (build, refresh, stop). libvirt refuses it beside a volume's job.
    pub async fn alone<T: Send + 'static>(
        &self,
        pool: &str,
        make: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let lock = self.host.pool_lock(pool);
        let begun = Instant::now();
        loop {
            if let Ok(_alone) = lock.try_write() {
                return self.long(pool, make).await;
            }
            if begun.elapsed() > PATIENCE {
                let why = format!("pool {pool} is busy: something is written into one of its volumes");
                return Err(Error::busy(why).into());
            }
            // Standing in line would make everybody wait who comes after, for as long as an image takes.
            tokio::time::sleep(TURN).await;
        }
    }

    /// The same at once or not at all: `None` where the pool has other work.
    pub async fn if_free<T: Send + 'static>(
        &self,
        pool: &str,
        make: impl FnOnce(&Connection) -> anyhow::Result<T> + Send + 'static,
    ) -> Option<anyhow::Result<T>> {
        let lock = self.host.pool_lock(pool);
        let _alone = lock.try_write().ok()?;
        Some(self.long(pool, make).await)
    }

    /// Keeps others from changing a pool as a whole while bytes are sent into one of its volumes.
    pub async fn sharing(&self, pool: &str) -> tokio::sync::OwnedRwLockReadGuard<()> {
        self.host.pool_lock(pool).read_owned().await
    }

    /// Starts to send bytes into a volume.
    pub async fn upload(&self, request: UploadRequest) -> Result<Upload, Error> {
        self.host.upload(request).await
    }
}

/// How long a change of a pool as a whole waits for short jobs on its volumes to end, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(2);
const TURN: Duration = Duration::from_millis(10);
/// How long a pass waits for a host that has just begun to connect or to be read.
const MOMENT: Duration = Duration::from_secs(1);
/// How long a call may take that only looks or changes a definition.
pub const SHORT: Duration = Duration::from_secs(30);
/// How long a call may take that starts a guest, builds a pool or allocates a volume.
pub const LONG: Duration = Duration::from_mins(10);
/// How long a call may take that changes a guest and neither starts nor stops it. QEMU may hang and never answer, and each such call takes one
/// of the few threads for calls that last; what it does after all counts when it is done.
pub const CHANGE: Duration = Duration::from_mins(1);
/// How long the host may copy a volume.
pub const COPY: Duration = Duration::from_hours(24);

/// The name that a host's mirror knows an object by.
pub fn owner<K: Managed>(object: &K) -> String {
    format!("{}/{}", K::kind(&()), object.full_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_failed_after_something_was_made_nobody_knows_what_is_there() {
        let refused = || anyhow::Error::new(Error::other("no")).context("read the volume's description");
        assert!(matches!(effect(&refused()), Effect::None));
        let left = refused().context(Left("the volume was made")).context("create volume");
        assert!(matches!(effect(&left), Effect::Unknown));
        assert_eq!(format!("{left:#}").split(": ").nth(1), Some("the volume was made"));
    }
}
