//! What the provider knows of Kubernetes without asking: the stores of all kinds, and the queues that wake their workers.

mod stores;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use apis::{
    CloudInit, ClusterProviderConfig, Domain, Managed, Network, Pool, ProviderConfig, Volume,
    condition::{self, Type},
    managed::{ConfigKind, annotation},
    placement::{ConfigId, Neighbour, named, parse_record},
    provider_config::{HostObservation, HostSpec},
};
use kube::{
    Resource,
    runtime::reflector::{ObjectRef, Store},
};
use managed::{
    external::Refusal,
    queue::Urgency,
    run::{KindQueue, Work, key},
    vanished::Vanished,
};

use crate::{
    cloud_init::macs::follows,
    index::{Index, Referrer, ReferrerKind},
    instance::word,
    links::selects,
    references::{BACKING, Referent, ReferentKind, Refers, is_made},
    users::Users,
};

pub use stores::Writers;

/// What drops everything that a kind keeps in memory for an object; set when the kind starts.
pub type Forget<K> = Arc<OnceLock<Box<dyn Fn(&K) + Send + Sync>>>;

/// A kind's store and queue.
pub struct Shelf<K: Managed> {
    /// The objects, as the watch last showed them.
    pub store: Store<K>,
    /// The work on them.
    pub queue: Arc<KindQueue<K>>,
    /// Those that went while their making began.
    pub vanished: Arc<Vanished<K>>,
    /// Whether the objects have been listed once.
    pub listed: Arc<AtomicBool>,
    /// Drops what is kept for an object.
    pub forget: Forget<K>,
}

impl<K: Managed> Shelf<K> {
    /// What there is to do.
    pub fn work(&self) -> Work<K> {
        Work { queue: self.queue.clone(), vanished: self.vanished.clone() }
    }

    /// An object by its names.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }

    /// Asks for a pass.
    pub fn wake(&self, namespace: &str, name: &str) {
        self.queue.push(Arc::new(ObjectRef::new(name).within(namespace)), Urgency::Event);
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
    /// Who refers to what.
    pub index: Index,
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

    /// The names that objects have for pools of hosts.
    pub fn pools_named(&self) -> BTreeSet<String> {
        let pools = self.pools.store.state().into_iter().map(|pool| pool.external_name().to_owned());
        let (volumes, seeds) = (self.volumes.store.state(), self.cloud_inits.store.state());
        let seen = volumes.iter().filter_map(|volume| volume.observation()?.pool.clone());
        let said = volumes.iter().filter_map(|volume| volume.effective().parameters().pool.clone());
        let seeded = seeds.iter().filter_map(|seed| seed.effective().parameters().pool.clone());
        pools.chain(seen).chain(said).chain(seeded).collect()
    }

    /// Wakes what refers to this object, or may choose it by now.
    pub fn wake_referrers<K: Refers>(&self, object: &K) {
        let Some(referent) = object.as_referent() else { return };
        for referrer in self.index.referrers(&referent) {
            self.wake_referrer(&referrer);
        }
        let relabelled = self.index.is_relabelled(object);
        for referrer in self.index.open() {
            if self.selects(&referrer, object, relabelled) {
                self.wake_referrer(&referrer);
            }
        }
    }

    /// Wakes the seeds of a Domain that are made of what it says of its interfaces.
    pub fn wake_seeds<K: Refers>(&self, object: &K) {
        let is_seed = |kind| kind == ReferentKind::CloudInit;
        let wants = K::AS_REFERRER == Some(ReferrerKind::Domain)
            && K::wants(object.held().parameters()).iter().any(|want| is_seed(want.kind));
        if !wants {
            return;
        }
        for Referent { kind, namespace, name } in self.links(object).referents() {
            if is_seed(kind) && self.cloud_inits.get(&namespace, &name).is_some_and(|seed| follows(&seed)) {
                self.cloud_inits.wake(&namespace, &name);
            }
        }
    }

    fn wake_referrer(&self, Referrer { kind, namespace, name }: &Referrer) {
        match kind {
            ReferrerKind::Domain => self.domains.wake(namespace, name),
            ReferrerKind::Volume => self.volumes.wake(namespace, name),
            ReferrerKind::CloudInit => self.cloud_inits.wake(namespace, name),
        }
    }

    /// Whether a selector of an object matches another one, or may have until now.
    fn selects<R: Refers>(&self, referrer: &Referrer, other: &R, until_now: bool) -> bool {
        let Referrer { kind, namespace, name } = referrer;
        match kind {
            ReferrerKind::Domain => {
                self.domains.get(namespace, name).is_some_and(|object| selects(&*object, other, until_now))
            }
            ReferrerKind::Volume => {
                self.volumes.get(namespace, name).is_some_and(|object| selects(&*object, other, until_now))
            }
            ReferrerKind::CloudInit => {
                self.cloud_inits.get(namespace, name).is_some_and(|object| selects(&*object, other, until_now))
            }
        }
    }

    /// Who refers to an object of this kind, or may be about to: its selectors match, and nothing is settled of its choice.
    pub fn users_of<R: Refers>(&self, object: &R, kind: ReferrerKind) -> Vec<Arc<Referrer>> {
        let Some(referent) = object.as_referent() else { return Vec::new() };
        let mut users = self.index.referrers(&referent);
        let unsettled = self.index.unsettled().into_iter();
        users.extend(unsettled.filter(|referrer| referrer.kind == kind && self.selects(referrer, object, false)));
        users.retain(|referrer| referrer.kind == kind);
        users.sort();
        users.dedup();
        users
    }

    /// Why an object is not deleted yet: another object refers to it.
    pub fn in_use<K: Refers>(&self, object: &K) -> Option<Refusal> {
        let referent = object.as_referent()?;
        let users = self.index.referrers(&referent);
        let (own, config) = (object.meta().namespace.as_deref().unwrap_or_default(), placed(object));
        // Who is elsewhere has no say before it has something: else any tenant could hold on to another's things for ever.
        let is_copied = |user: &Referrer| referent.kind == ReferentKind::Volume && self.only_copies(user);
        let holds = |user: &Referrer| self.has_something(user, config.as_ref()) && !is_copied(user);
        let counts = |user: &&Arc<Referrer>| user.namespace == own || holds(user);
        let Referrer { kind, namespace, name } = &**users.iter().find(counts)?;
        let what = word(&K::kind(&()));
        let message = format!("the {what} is used by {kind:?} {namespace}/{name}; it is deleted after it");
        Some(Refusal { reason: "InUse", message })
    }

    /// Whether something of a referrer is on the host of this config.
    fn has_something(&self, Referrer { kind, namespace, name }: &Referrer, config: Option<&ConfigId>) -> bool {
        fn is_on<K: Managed>(object: Option<Arc<K>>, config: Option<&ConfigId>) -> bool {
            object.is_some_and(|object| is_made(&*object) && placed(&*object).as_ref() == config)
        }
        match kind {
            ReferrerKind::Domain => is_on(self.domains.get(namespace, name), config),
            ReferrerKind::Volume => is_on(self.volumes.get(namespace, name), config),
            ReferrerKind::CloudInit => is_on(self.cloud_inits.get(namespace, name), config),
        }
    }

    /// Whether a referrer is a Volume that wants no other but to be a copy of it: nothing stands on that one, and a copy that never comes
    /// would hold it for ever. While the host copies, the pool is not deleted from.
    fn only_copies(&self, Referrer { kind, namespace, name }: &Referrer) -> bool {
        let stands =
            |volume: &Volume| Volume::wants(volume.held().parameters()).iter().any(|want| want.path == BACKING);
        *kind == ReferrerKind::Volume && self.volumes.get(namespace, name).is_some_and(|volume| !stands(&volume))
    }

    /// The objects that this one refers to, as far as they say their configs and it may use them.
    pub fn neighbours<K: Refers>(&self, object: &K) -> Vec<Neighbour> {
        let placed = |referent: Referent| {
            let config = self.host_of(&referent).filter(|config| may_use(object, config))?;
            Some(referent.on(config))
        };
        self.links(object).referents().filter_map(placed).collect()
    }

    /// An object does not refer to this one any more: it may have waited for that, and so may others that refer to it.
    pub fn released(&self, referent: &Referent) {
        let Referent { kind, namespace, name } = referent;
        match kind {
            ReferentKind::Volume => self.volumes.wake(namespace, name),
            ReferentKind::Pool => self.pools.wake(namespace, name),
            ReferentKind::CloudInit => self.cloud_inits.wake(namespace, name),
            ReferentKind::Network => self.networks.wake(namespace, name),
        }
        let waits = |domain: &Domain| !condition::is_true(domain.conditions(), Type::Synced);
        for referrer in self.index.referrers(referent) {
            let Referrer { kind, namespace, name } = &*referrer;
            let is_guest = *kind == ReferrerKind::Domain;
            if is_guest && self.domains.get(namespace, name).is_some_and(|domain| waits(&domain)) {
                self.domains.wake(namespace, name);
            }
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

    /// Whether a config is being deleted.
    pub fn is_leaving(&self, config: &ConfigId) -> bool {
        let since = match config.kind {
            ConfigKind::ProviderConfig => {
                self.config(config).and_then(|config| config.metadata.deletion_timestamp.clone())
            }
            ConfigKind::ClusterProviderConfig => {
                self.cluster_config(config).and_then(|config| config.metadata.deletion_timestamp.clone())
            }
        };
        since.is_some()
    }

    /// The host that a config led to when it was last seen.
    pub fn host_seen(&self, config: &ConfigId) -> Option<HostObservation> {
        match config.kind {
            ConfigKind::ProviderConfig => self.config(config)?.status.as_ref()?.host.clone(),
            ConfigKind::ClusterProviderConfig => self.cluster_config(config)?.status.as_ref()?.host.clone(),
        }
    }

    /// The configs of the cluster that are in maintenance.
    pub fn in_maintenance(&self) -> Vec<ConfigId> {
        let mut configs = self.cluster_configs.state();
        configs.retain(|config| config.spec.host.maintenance == Some(true));
        configs.iter().map(|config| id(&**config, ConfigKind::ClusterProviderConfig)).collect()
    }

    /// Whether two configs lead to one host, as far as they have led anywhere.
    pub fn is_one_host(&self, one: &ConfigId, other: &ConfigId) -> bool {
        let identity = |config| self.host_seen(config).map(|seen| (seen.uuid, seen.hostname));
        let seen = |config| identity(config).filter(|(uuid, _)| !uuid.is_empty());
        one == other || seen(one).is_some_and(|one| seen(other) == Some(one))
    }

    /// The host that a referent is on, as far as it says so itself.
    fn host_of(&self, Referent { kind, namespace, name }: &Referent) -> Option<ConfigId> {
        match kind {
            ReferentKind::Volume => declared(&*self.volumes.get(namespace, name)?),
            ReferentKind::Pool => declared(&*self.pools.get(namespace, name)?),
            ReferentKind::CloudInit => declared(&*self.cloud_inits.get(namespace, name)?),
            ReferentKind::Network => declared(&*self.networks.get(namespace, name)?),
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

/// The host that an object is on or will be, as far as it says so itself: by its record, its reference or its annotation.
pub fn declared<K: Managed>(object: &K) -> Option<ConfigId> {
    named(object).ok().flatten().map(|(config, _)| config)
}

/// The host that an object's record names.
pub fn placed<K: Managed>(object: &K) -> Option<ConfigId> {
    let record = parse_record(object.annotation(annotation::PLACEMENT)?).ok()?;
    Some(ConfigId::resolve(&record, object.meta().namespace.as_deref().unwrap_or_default()))
}

/// Whether an object may be on the host of this config.
pub fn may_use<K: Managed>(object: &K, config: &ConfigId) -> bool {
    config.kind == ConfigKind::ClusterProviderConfig || object.meta().namespace.as_deref() == Some(&config.namespace)
}

fn uses<K: Managed>(object: &K, config: Option<&ConfigId>) -> bool {
    let on = placed(object);
    on.is_none() || config.is_none() || on.as_ref() == config
}
