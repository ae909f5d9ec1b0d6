//! The configs themselves: who uses them, whether their hosts answer, and that none goes away while it is in use.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use apis::{
    ClusterProviderConfig, ProviderConfig,
    condition::{self, Condition, Status, Type, Wish},
    managed::ConfigKind,
    placement::ConfigId,
    provider_config::{HostObservation, ProviderConfigStatus},
};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use libvirt::{Facts, HostState, Key, Kind};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
};

use crate::{cluster::Cluster, hosts::Connector};

const FINALIZER: &str = "in-use.crossplane.io";
/// How long changes are gathered before the configs are gone through.
const GATHER: Duration = Duration::from_millis(50);
/// How often they are gone through when nothing is heard.
const REGULARLY: Duration = Duration::from_mins(1);

/// Keeps the status of all configs.
pub struct Configs {
    client: Client,
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    changes: mpsc::UnboundedSender<()>,
    /// The kinds that have been listed once. (A store's own waiting wakes one waiter only.)
    listed: watch::Sender<HashSet<String>>,
}

impl Configs {
    /// The receiver is to be given to [`Configs::run`].
    pub fn new(
        client: Client,
        cluster: Arc<Cluster>,
        connector: Arc<Connector>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<()>) {
        let (changes, changed) = mpsc::unbounded_channel();
        (Arc::new(Self { client, cluster, connector, changes, listed: watch::Sender::default() }), changed)
    }

    /// Waits until configs of both kinds, and their usages, have been listed.
    pub async fn listed(&self) {
        let mut listed = self.listed.subscribe();
        // The sender is ours, so it outlives the wait.
        let _ = listed.wait_for(|kinds| kinds.len() == 3).await;
    }

    /// Keeps up to date what is kept of one kind.
    pub async fn watch<K>(self: Arc<Self>, api: Api<K>, mut keep: impl FnMut(&Event<K>) + Send) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
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
                        self.told();
                    }
                }
                Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted"),
            }
        }
        anyhow::bail!("the watch of {} ended", K::kind(&()))
    }

    fn told(&self) {
        // The receiver lives as long as the process.
        let _ = self.changes.send(());
    }

    /// Goes through all configs whenever something about them or their hosts changes.
    pub async fn run(self: Arc<Self>, mut changed: mpsc::UnboundedReceiver<()>) -> anyhow::Result<()> {
        self.listed().await;
        let mut listeners: HashMap<Key, AbortHandle> = HashMap::new();
        let mut known: Vec<ConfigId> = Vec::new();
        loop {
            let configs = self.cluster.all_configs();
            if configs != known {
                // Objects that waited for a config, or for one of several to be named, look again.
                self.cluster.wake_users(None);
                known.clone_from(&configs);
            }
            self.attend(&configs, &mut listeners);
            for config in &configs {
                if let Err(error) = self.one(config).await {
                    tracing::warn!(%config, error = format!("{error:#}"), "cannot write the config's status");
                }
            }
            let _ = tokio::time::timeout(REGULARLY, changed.recv()).await;
            tokio::time::sleep(GATHER).await;
            while changed.try_recv().is_ok() {}
        }
    }

    /// Connects every config's host, listens to how it is, and lets go of those that no config names any more.
    fn attend(self: &Arc<Self>, configs: &[ConfigId], listeners: &mut HashMap<Key, AbortHandle>) {
        let mut in_use = HashSet::new();
        for config in configs {
            let Ok((key, host)) = self.connector.host(config) else { continue };
            if !listeners.contains_key(&key) {
                let task = tokio::spawn(self.clone().listen(config.clone(), host.state()));
                listeners.insert(key.clone(), task.abort_handle());
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

    /// Passes on that a host came or went; its objects are looked at as soon as it is back.
    async fn listen(self: Arc<Self>, config: ConfigId, mut state: tokio::sync::watch::Receiver<HostState>) {
        while state.changed().await.is_ok() {
            let up = matches!(&*state.borrow_and_update(), HostState::Up { .. });
            self.told();
            if up {
                self.cluster.wake_users(Some(&config));
            }
        }
    }

    async fn one(&self, id: &ConfigId) -> anyhow::Result<()> {
        match id.kind {
            ConfigKind::ProviderConfig => {
                let Some(config) = self.cluster.config(id) else { return Ok(()) };
                let api: Api<ProviderConfig> = Api::namespaced(self.client.clone(), &id.namespace);
                self.keep(&api, &*config, config.status.as_ref(), id).await
            }
            ConfigKind::ClusterProviderConfig => {
                let Some(config) = self.cluster.cluster_config(id) else { return Ok(()) };
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
    ) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let users = self.cluster.users.of(id);
        let finalizers: Vec<String> = config.finalizers().to_vec();
        let (has, deleting) =
            (finalizers.iter().any(|finalizer| finalizer == FINALIZER), config.meta().deletion_timestamp.is_some());
        if has == deleting && (users == 0 || !deleting) {
            let mut wished: Vec<String> = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
            wished.extend((!deleting).then(|| FINALIZER.to_owned()));
            let patch = json!({ "metadata": { "resourceVersion": config.resource_version(), "finalizers": wished } });
            return match api.patch(&id.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // Somebody wrote first; the watch brings us back.
                Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
                written => Ok(written.map(drop)?),
            };
        }
        let old = status.cloned().unwrap_or_default();
        let wished = self.status(id, &old, config.meta(), users);
        if wished != old {
            let patch =
                json!({ "status": { "users": wished.users, "host": wished.host, "conditions": wished.conditions } });
            api.patch_status(&id.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        Ok(())
    }

    fn status(
        &self,
        id: &ConfigId,
        old: &ProviderConfigStatus,
        meta: &ObjectMeta,
        users: usize,
    ) -> ProviderConfigStatus {
        let generation = meta.generation;
        let (ready, facts) = self.health(id);
        let mut conditions: Vec<Condition> = old.conditions.clone();
        condition::set(&mut conditions, &ready, generation, Timestamp::now());
        if meta.deletion_timestamp.is_some() && users > 0 {
            let blocked = Wish::new(Type::Terminating, Status::True, "InUse")
                .because("Blocking deletion while usages still exist");
            condition::set(&mut conditions, &blocked, generation, Timestamp::now());
        }
        let host = facts.map(|facts| observation(&facts)).or_else(|| old.host.clone());
        ProviderConfigStatus { users: i64::try_from(users).ok(), host, conditions }
    }

    fn health(&self, id: &ConfigId) -> (Wish, Option<Arc<Facts>>) {
        let not = |reason, message: String| Wish::new(Type::Ready, Status::False, reason).because(message);
        let host = match self.connector.host(id) {
            Ok((_, host)) => host,
            Err(error) => return (not("ConfigInvalid", format!("{error:#}")), None),
        };
        let state = host.state().borrow().clone();
        match state {
            HostState::Up { facts } => match self.connector.mismatch(id, &facts) {
                Some(mismatch) => (not("HostMismatch", mismatch), None),
                None => (Wish::available(), Some(facts)),
            },
            HostState::Connecting => (not("Connecting", "the first connection is being made".to_owned()), None),
            HostState::Down { since: _, reason } => {
                let word = if reason.kind == Kind::Denied { "AuthFailed" } else { "ConnectFailed" };
                (not(word, reason.to_string()), None)
            }
        }
    }
}

/// Takes out what nobody here reads.
fn drop_unread<K: Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    meta.owner_references = None;
    meta.labels = None;
}

fn observation(facts: &Facts) -> HostObservation {
    HostObservation {
        uuid: facts.uuid.clone().unwrap_or_default(),
        hostname: facts.hostname.clone(),
        libvirt_version: facts.libvirt_version.clone(),
        hypervisor_version: facts.hypervisor_version.clone(),
        arch: facts.arch.clone().unwrap_or_default(),
        domain_types: facts.domain_types.clone(),
    }
}
