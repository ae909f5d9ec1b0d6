//! The configs themselves: who uses them, whether their hosts answer, and that none goes away while it is in use.

mod listen;
mod status;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use apis::{
    ClusterProviderConfig, ProviderConfig,
    managed::ConfigKind,
    placement::ConfigId,
    provider_config::{HostSpec, ProviderConfigStatus},
};
use futures::StreamExt;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::Patch,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use libvirt::{HostState, Key};
use managed::{
    events::{Recorder, Severity},
    external::{Connect as _, Refusal},
    publish::patch_by_us,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    checks::Checks,
    cluster::Cluster,
    hosts::Connector,
    same_host::SameHost,
    usages::{self, Sweep},
};

const FINALIZER: &str = "in-use.crossplane.io";
/// How long changes are gathered before the configs are gone through.
const GATHER: Duration = Duration::from_millis(50);
/// How often they are at most because of their users: a thousand that come at once must not cost as many writes.
const RECOUNT: Duration = Duration::from_secs(1);
/// How often they are gone through when nothing is heard.
const REGULARLY: Duration = Duration::from_mins(1);
/// How soon they are after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How soon they are while one waits for its last object: that objects go is not heard here.
const WHILE_BLOCKED: Duration = Duration::from_secs(2);
/// How long the writes of one config may take.
const LIMIT: Duration = Duration::from_mins(2);
/// What a config says that asks for no proof of who answers.
const UNVERIFIED: &str = "the host is not verified: whoever answers at the URI is taken for it";
/// What a config that is in use says while it is to be deleted.
const BLOCKED: &str = "Blocking deletion while usages still exist";

/// What is known of a config that its objects go by: what it says, and why its host is left alone, which another config may say.
type Known = (Option<HostSpec>, Option<Refusal>);

/// A kind of configs, or of their usages.
pub trait Configuration:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static> Configuration
    for K
{
}

/// Keeps the status of all configs.
pub struct Configs {
    client: Client,
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    checks: Arc<Checks>,
    /// For events on configs, and on those of the cluster.
    events: [Recorder; 2],
    changes: mpsc::UnboundedSender<()>,
    users: Notify,
    same_host: SameHost,
    /// The kinds that have been listed once. (A store's own waiting wakes one waiter only.)
    listed: watch::Sender<HashSet<String>>,
}

impl Configs {
    /// The receiver is to be given to [`Configs::run`].
    pub fn new(
        client: Client,
        cluster: Arc<Cluster>,
        connector: Arc<Connector>,
        checks: Arc<Checks>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<()>) {
        let (changes, changed) = mpsc::unbounded_channel();
        let events = [recorder::<ProviderConfig>(&client), recorder::<ClusterProviderConfig>(&client)];
        let (users, same_host, listed) = (Notify::new(), SameHost::default(), watch::Sender::default());
        (Arc::new(Self { client, cluster, connector, checks, events, changes, users, same_host, listed }), changed)
    }

    /// Waits until configs of both kinds, and their usages, have been listed.
    pub async fn listed(&self) {
        let mut listed = self.listed.subscribe();
        // The sender is ours, so it outlives the wait.
        let _ = listed.wait_for(|kinds| kinds.len() == 3).await;
    }

    /// Keeps up to date what is kept of one kind, and says with `tell` that something has changed.
    pub async fn watch<K>(
        self: Arc<Self>,
        api: Api<K>,
        tell: fn(&Self),
        mut keep: impl FnMut(&Event<K>) + Send,
    ) -> anyhow::Result<()>
    where
        K: Configuration,
    {
        let watcher = kube::runtime::watcher(api, watcher::Config::default());
        let mut stream = watcher.default_backoff().modify(drop_unread::<K>).boxed();
        while let Some(event) = stream.next().await {
            match event {
                Ok(event) => {
                    keep(&event);
                    if matches!(event, Event::InitDone) {
                        self.listed.send_modify(|kinds| {
                            kinds.insert(K::kind(&()).into_owned());
                        });
                    }
                    if !matches!(event, Event::Init | Event::InitApply(_)) {
                        tell(&self);
                    }
                }
                Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted"),
            }
        }
        anyhow::bail!("the watch of {} ended", K::kind(&()))
    }

    /// Configs or their hosts have changed.
    pub fn told(&self) {
        // The receiver lives as long as the process.
        let _ = self.changes.send(());
    }

    /// Users came or went.
    pub fn told_of_users(&self) {
        self.users.notify_one();
    }

    /// Waits until users came or went, and it is time to count them again.
    async fn to_be_counted(&self, counted: Instant) {
        self.users.notified().await;
        sleep_until(counted + RECOUNT).await;
    }

    /// Goes through all configs whenever something about them or their hosts changes.
    pub async fn run(self: Arc<Self>, mut changed: mpsc::UnboundedReceiver<()>) -> anyhow::Result<()> {
        self.listed().await;
        let mut listeners: HashMap<Key, AbortHandle> = HashMap::new();
        let mut known: HashMap<ConfigId, Known> = HashMap::new();
        let mut sweep = Sweep::new(self.client.clone(), self.cluster.clone());
        loop {
            let counted = Instant::now();
            let configs = self.cluster.all_configs();
            self.note(&configs, &mut known);
            self.attend(&configs, &mut listeners);
            let mut soon = sweep.run().await.unwrap_or(REGULARLY);
            soon = soon.min(self.connector.secrets().until_expiry().unwrap_or(REGULARLY));
            for config in &configs {
                soon = soon.min(self.look_after(config).await);
            }
            tokio::select! {
                _ = changed.recv() => {}
                () = self.to_be_counted(counted) => {}
                () = self.connector.secrets().changed() => {}
                () = tokio::time::sleep(soon) => {}
            }
            tokio::time::sleep(GATHER).await;
            while changed.try_recv().is_ok() {}
        }
    }

    /// Wakes objects that may go on now that configs came, went or say something else.
    fn note(&self, configs: &[ConfigId], known: &mut HashMap<ConfigId, Known>) {
        let allowed = |config: &ConfigId| (self.cluster.host_spec(config), self.connector.hold(config));
        let now: HashMap<ConfigId, Known> = configs.iter().map(|config| (config.clone(), allowed(config))).collect();
        let gone: Vec<&ConfigId> = known.keys().filter(|config| !now.contains_key(*config)).collect();
        for config in &gone {
            self.connector.secrets().hold(config, None);
        }
        if !gone.is_empty() || now.keys().any(|config| !known.contains_key(config)) {
            // Objects that waited for a config, or for one of several to be named, look again.
            self.cluster.wake_users(None);
        } else {
            // What is allowed may have changed.
            let edited = now.iter().filter(|(config, spec)| known.get(*config) != Some(*spec));
            edited.for_each(|(config, _)| self.cluster.wake_users(Some(config)));
        }
        *known = now;
    }

    /// Connects every config's host, listens to how it is, and lets go of those that no config names any more.
    fn attend(self: &Arc<Self>, configs: &[ConfigId], listeners: &mut HashMap<Key, AbortHandle>) {
        self.checks.keep(configs);
        let mut in_use = HashSet::new();
        for config in configs {
            self.connector.secrets().hold(config, self.cluster.host_spec(config).as_ref());
            let Ok((key, host)) = self.connector.host(config) else { continue };
            if !listeners.contains_key(&key) {
                let task = tokio::spawn(self.clone().listen(config.clone(), host.state(), host.mirror().reading()));
                listeners.insert(key.clone(), task.abort_handle());
            }
            if let HostState::Up { facts } = &*host.state().borrow() {
                self.checks.met(config, facts);
            }
            in_use.insert(key);
        }
        listeners.retain(|key, task| {
            let kept = in_use.contains(key);
            if !kept {
                task.abort();
            }
            kept
        });
        self.connector.hosts().retire(&in_use);
    }

    /// Keeps one config, and answers how soon that is to be done again.
    async fn look_after(&self, config: &ConfigId) -> Duration {
        let kept = tokio::time::timeout(LIMIT, self.one(config)).await;
        match kept.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", LIMIT.as_secs()))) {
            Ok(soon) => soon,
            Err(error) => {
                tracing::warn!(%config, error = format!("{error:#}"), "cannot write the config's status");
                AFTER_FAILURE
            }
        }
    }

    async fn one(&self, id: &ConfigId) -> anyhow::Result<Duration> {
        match id.kind {
            ConfigKind::ProviderConfig => {
                let Some(config) = self.cluster.config(id) else { return Ok(REGULARLY) };
                let api: Api<ProviderConfig> = Api::namespaced(self.client.clone(), &id.namespace);
                self.keep(&api, &*config, config.status.as_ref(), id).await
            }
            ConfigKind::ClusterProviderConfig => {
                let Some(config) = self.cluster.cluster_config(id) else { return Ok(REGULARLY) };
                let api: Api<ClusterProviderConfig> = Api::all(self.client.clone());
                self.keep(&api, &*config, config.status.as_ref(), id).await
            }
        }
    }

    /// Brings finalizer and status of one config up to date.
    async fn keep<K>(
        &self,
        api: &Api<K>,
        config: &K,
        status: Option<&ProviderConfigStatus>,
        id: &ConfigId,
    ) -> anyhow::Result<Duration>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let deleting = config.meta().deletion_timestamp.is_some();
        let users = self.users(id, deleting);
        let blocked = deleting && (users > 0 || !self.cluster.is_read());
        let finalizers: Vec<String> = config.finalizers().to_vec();
        let has = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        if has == deleting && !blocked {
            let mut wished: Vec<String> = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
            wished.extend((!deleting).then(|| FINALIZER.to_owned()));
            let patch = json!({ "metadata": { "resourceVersion": config.resource_version(), "finalizers": wished } });
            return match api.patch(&id.name, &patch_by_us(), &Patch::Merge(&patch)).await {
                // Somebody wrote first; the watch brings us back.
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(REGULARLY),
                written => Ok(written.map(|_| REGULARLY)?),
            };
        }
        let old = status.cloned().unwrap_or_default();
        let wished = self.status(id, &old, config.meta(), users);
        if wished != old {
            let patch =
                json!({ "status": { "users": wished.users, "host": wished.host, "conditions": wished.conditions } });
            api.patch_status(&id.name, &patch_by_us(), &Patch::Merge(&patch)).await?;
        }
        self.tell(config, id, deleting && users > 0).await;
        Ok(if blocked { WHILE_BLOCKED } else { REGULARLY })
    }

    /// Tells by events what an administrator should know of a config.
    async fn tell<K: Resource<DynamicType = ()>>(&self, config: &K, id: &ConfigId, is_held: bool) {
        let [own, cluster] = &self.events;
        let events = match id.kind {
            ConfigKind::ProviderConfig => own,
            ConfigKind::ClusterProviderConfig => cluster,
        };
        if let Some(news) = self.same_host.news(&self.cluster, id) {
            tracing::warn!(config = %id, "{news}");
            events.record_on(config, Severity::Warning, "SameHost", &news).await;
        }
        if is_held {
            events.record_on(config, Severity::Warning, "UsageAccounting", BLOCKED).await;
        }
    }

    /// How many objects keep a config from going. An object without its usage may be one whose namespace goes.
    fn users(&self, id: &ConfigId, deleting: bool) -> usize {
        match usages::count(&self.cluster, id) {
            0 if deleting => usages::held_objects(&self.cluster, id),
            count => count,
        }
    }
}

/// Takes out what nobody here reads.
fn drop_unread<K: Resource>(object: &mut K) {
    object.meta_mut().managed_fields = None;
}

/// What writes events under the name of controller-runtime's controller of these configs.
fn recorder<K: Resource<DynamicType = ()>>(client: &Client) -> Recorder {
    let controller = format!("providerconfig/{}.{}", K::kind(&()).to_lowercase(), K::group(&()));
    Recorder::new(client.clone(), controller)
}
