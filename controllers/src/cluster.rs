//! What the provider knows of Kubernetes without asking: the stores of all kinds, and the queues that wake their workers.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use apis::{
    CloudInit, ClusterProviderConfig, Domain, Managed, Network, Pool, ProviderConfig, Volume,
    condition::{self, Type},
    managed::{ConfigKind, annotation},
    placement::{ConfigId, parse_record},
    provider_config::{HostObservation, HostSpec},
};
use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};
use managed::{
    creation::was_created,
    external::Refusal,
    queue::Urgency,
    run::{KindQueue, key},
};

use crate::{
    references::{Referent, ReferentKind, Refers},
    users::Users,
};

/// What drops everything that a kind keeps in memory for an object; set when the kind starts.
pub type Forget<K> = Arc<OnceLock<Box<dyn Fn(&K) + Send + Sync>>>;

/// A kind's store and queue.
pub struct Shelf<K: Managed> {
    /// The objects, as the watch last showed them.
    pub store: Store<K>,
    /// The work on them.
    pub queue: Arc<KindQueue<K>>,
    /// Whether the objects have been listed once.
    pub listed: Arc<AtomicBool>,
    /// Drops what is kept for an object.
    pub forget: Forget<K>,
}

impl<K: Managed> Shelf<K> {
    /// An object by its names.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Asks for a pass.
    pub fn wake(&self, namespace: &str, name: &str) {
        self.queue.push(Arc::new(ObjectRef::new(name).within(namespace)), Urgency::Event);
    }

    fn find(&self, matches: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        self.store.state().into_iter().filter(|object| matches(object)).min_by_key(|object| object.full_name())
    }

    fn wake_where(&self, matches: impl Fn(&K) -> bool) {
        for object in self.store.state().iter().filter(|object| matches(object)) {
            self.queue.push(key(&**object), Urgency::Event);
        }
    }
}

/// Everything that is watched.
pub struct Cluster {
    /// Domains.
    pub domains: Shelf<Domain>,
    /// Volumes.
    pub volumes: Shelf<Volume>,
    /// Pools.
    pub pools: Shelf<Pool>,
    /// `CloudInits`.
    pub cloud_inits: Shelf<CloudInit>,
    /// Networks.
    pub networks: Shelf<Network>,
    /// The configs of namespaces.
    pub configs: Store<ProviderConfig>,
    /// The configs of the cluster.
    pub cluster_configs: Store<ClusterProviderConfig>,
    /// Who uses which config.
    pub users: Arc<Users>,
}

impl Cluster {
    /// Wakes the object that a host's mirror calls `<Kind>/<namespace>/<name>`.
    pub fn wake_owner(&self, owner: &str) {
        let mut parts = owner.splitn(3, '/');
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else { return };
        match kind {
            "Domain" => self.domains.wake(namespace, name),
            "Volume" => self.volumes.wake(namespace, name),
            "Pool" => self.pools.wake(namespace, name),
            "CloudInit" => self.cloud_inits.wake(namespace, name),
            "Network" => self.networks.wake(namespace, name),
            _ => {}
        }
    }

    /// Wakes what refers to this object.
    pub fn wake_referrers(&self, kind: ReferentKind, namespace: &str, name: &str) {
        let referent = Referent { kind, name: name.to_owned() };
        self.domains.wake_where(|object| refers(object, namespace, &referent));
        self.volumes.wake_where(|object| refers(object, namespace, &referent));
        self.cloud_inits.wake_where(|object| refers(object, namespace, &referent));
    }

    /// An object that refers to this one, as messages name it.
    fn referrer(&self, namespace: &str, referent: &Referent) -> Option<String> {
        let named = |kind: &str, name: String| format!("{kind} {name}");
        let domain = self
            .domains
            .find(|object| refers(object, namespace, referent))
            .map(|object| named("Domain", object.full_name()));
        let volume = || {
            self.volumes
                .find(|object| refers(object, namespace, referent))
                .map(|object| named("Volume", object.full_name()))
        };
        let seed = || {
            self.cloud_inits
                .find(|object| refers(object, namespace, referent))
                .map(|object| named("CloudInit", object.full_name()))
        };
        domain.or_else(volume).or_else(seed)
    }

    /// Why an object is not deleted yet: another object refers to it.
    pub fn in_use<K: Managed + Refers>(&self, what: &str, object: &K) -> Option<Refusal> {
        let meta = object.meta();
        let referent = Referent { kind: K::AS_REFERENT?, name: meta.name.clone().unwrap_or_default() };
        let user = self.referrer(meta.namespace.as_deref().unwrap_or_default(), &referent)?;
        Some(Refusal { reason: "InUse", message: format!("{what} is used by {user}; it is deleted after it") })
    }

    /// The configs of the objects that this one refers to, as far as they are placed.
    pub fn hosts_of_referents<K: Managed + Refers>(&self, object: &K) -> Vec<ConfigId> {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        object.referents().iter().filter_map(|referent| self.host_of(namespace, referent)).collect()
    }

    /// Wakes one referent: what it waited for may have gone.
    pub fn wake_referent(&self, namespace: &str, referent: &Referent) {
        match referent.kind {
            ReferentKind::Volume => self.volumes.wake(namespace, &referent.name),
            ReferentKind::Pool => self.pools.wake(namespace, &referent.name),
            ReferentKind::CloudInit => self.cloud_inits.wake(namespace, &referent.name),
            ReferentKind::Network => self.networks.wake(namespace, &referent.name),
        }
    }

    /// Wakes everything that is, or could come to be, on the host of a config.
    pub fn wake_users(&self, config: Option<&ConfigId>) {
        self.domains.wake_where(|object| uses(object, config));
        self.volumes.wake_where(|object| uses(object, config));
        self.pools.wake_where(|object| uses(object, config));
        self.cloud_inits.wake_where(|object| uses(object, config));
        self.networks.wake_where(|object| uses(object, config));
    }

    /// Every config that objects of this namespace may use.
    pub fn configs_for(&self, namespace: &str) -> Vec<ConfigId> {
        let mut configs = self.all_configs();
        configs.retain(|config| config.kind == ConfigKind::ClusterProviderConfig || config.namespace == namespace);
        configs
    }

    /// Every config.
    pub fn all_configs(&self) -> Vec<ConfigId> {
        let own = self.configs.state().into_iter().map(|config| id(&*config, ConfigKind::ProviderConfig));
        let cluster =
            self.cluster_configs.state().into_iter().map(|config| id(&*config, ConfigKind::ClusterProviderConfig));
        let mut configs: Vec<_> = own.chain(cluster).collect();
        configs.sort();
        configs
    }

    /// A config of a namespace.
    pub fn config(&self, config: &ConfigId) -> Option<Arc<ProviderConfig>> {
        self.configs.get(&ObjectRef::new(&config.name).within(&config.namespace))
    }

    /// A config of the cluster.
    pub fn cluster_config(&self, config: &ConfigId) -> Option<Arc<ClusterProviderConfig>> {
        self.cluster_configs.get(&ObjectRef::new(&config.name))
    }

    /// Whether everything has been listed once.
    pub fn is_read(&self) -> bool {
        let listed = [
            &self.domains.listed,
            &self.volumes.listed,
            &self.pools.listed,
            &self.cloud_inits.listed,
            &self.networks.listed,
        ];
        listed.iter().all(|listed| listed.load(Ordering::Acquire))
    }

    /// No more work is given out.
    pub fn close(&self) {
        self.domains.queue.close();
        self.volumes.queue.close();
        self.pools.queue.close();
        self.cloud_inits.queue.close();
        self.networks.queue.close();
    }

    /// How to reach the host of a config.
    pub fn host_spec(&self, config: &ConfigId) -> Option<HostSpec> {
        match config.kind {
            ConfigKind::ProviderConfig => self.config(config).map(|config| config.spec.host.clone()),
            ConfigKind::ClusterProviderConfig => self.cluster_config(config).map(|config| config.spec.host.clone()),
        }
    }

    /// The host that a config led to when it was last seen.
    pub fn host_seen(&self, config: &ConfigId) -> Option<HostObservation> {
        match config.kind {
            ConfigKind::ProviderConfig => self.config(config)?.status.as_ref()?.host.clone(),
            ConfigKind::ClusterProviderConfig => self.cluster_config(config)?.status.as_ref()?.host.clone(),
        }
    }

    /// The host that a referent is on, once it is placed.
    fn host_of(&self, namespace: &str, referent: &Referent) -> Option<ConfigId> {
        let name = &referent.name;
        match referent.kind {
            ReferentKind::Volume => placed(&*self.volumes.get(namespace, name)?),
            ReferentKind::Pool => placed(&*self.pools.get(namespace, name)?),
            ReferentKind::CloudInit => placed(&*self.cloud_inits.get(namespace, name)?),
            ReferentKind::Network => placed(&*self.networks.get(namespace, name)?),
        }
    }
}

fn id<K: Resource<DynamicType = ()>>(config: &K, kind: ConfigKind) -> ConfigId {
    let meta = config.meta();
    ConfigId {
        kind,
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

fn refers<K: Managed + Refers>(object: &K, namespace: &str, referent: &Referent) -> bool {
    object.meta().namespace.as_deref() == Some(namespace) && object.referents().contains(referent)
}

/// The host that an object's record names.
pub fn placed<K: Managed>(object: &K) -> Option<ConfigId> {
    let record = parse_record(object.annotation(annotation::PLACEMENT)?).ok()?;
    Some(ConfigId::resolve(&record, object.meta().namespace.as_deref().unwrap_or_default()))
}

fn uses<K: Managed>(object: &K, config: Option<&ConfigId>) -> bool {
    let on = placed(object);
    on.is_none() || config.is_none() || on.as_ref() == config
}

/// Who asks for a referent.
#[derive(Clone, Debug)]
pub struct Asker<'a> {
    /// The word for its kind in messages.
    pub word: String,
    /// Its namespace, which is the referent's as well.
    pub namespace: &'a str,
    /// The config of its host, which must be the referent's as well.
    pub config: &'a ConfigId,
    /// Whether it is on the host already. It is kept true there also while a referent waits to be deleted after it.
    pub made: bool,
}

impl<'a> Asker<'a> {
    /// An object on its host.
    pub fn of<K: Managed>(object: &'a K, config: &'a ConfigId) -> Self {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        Self { word: K::kind(&()).to_lowercase(), namespace, config, made: was_created(object) }
    }
}

/// A referent that is there, on the same host, and Ready; else an error that says what is waited for.
pub fn ready<K: Managed>(shelf: &Shelf<K>, asker: &Asker<'_>, name: &str) -> anyhow::Result<Arc<K>> {
    let Asker { word, namespace, config, made } = asker;
    let kind = K::kind(&());
    let Some(object) = shelf.get(namespace, name) else {
        anyhow::bail!("waiting for {kind} {name}: there is none in namespace {namespace}")
    };
    if let Some(host) = placed(&*object).filter(|host| host != *config) {
        anyhow::bail!(
            "{} {name} uses providerConfig {}, but {word} uses providerConfig {}. Resources must use the same libvirt instance",
            kind.to_lowercase(),
            shown(&host, config),
            shown(config, &host)
        );
    }
    if object.meta().deletion_timestamp.is_some() {
        anyhow::ensure!(*made && object.observation().is_some(), "waiting for {kind} {name}: it is being deleted");
        return Ok(object);
    }
    anyhow::ensure!(condition::is_true(object.conditions(), Type::Ready), "waiting for {kind} {name}: it is not Ready");
    Ok(object)
}

/// A config by its name, or by all that tells it apart where the names are the same.
fn shown(config: &ConfigId, other: &ConfigId) -> String {
    if config.name == other.name { config.to_string() } else { config.name.clone() }
}
