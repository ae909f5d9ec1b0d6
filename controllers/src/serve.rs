//! The wiring: watches, kinds, hosts, metrics and health, from start to SIGTERM.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use apis::{
    CloudInit, ClusterProviderConfig, Domain, Managed, Network, Pool, ProviderConfig, ProviderConfigUsage, Volume,
};
use kube::{
    Api, Client, Resource,
    runtime::reflector::{self, Store, store::Writer},
};
use managed::{
    backoff::Backoff,
    events::Recorder,
    external::External,
    queue::Queue,
    reconcile::Reconciler,
    run::{Observer, Pace, Runner, watch},
    secret::Secrets,
    usage::Usages,
};
use tokio::task::{JoinHandle, JoinSet};

use crate::{
    args::Args,
    cloud_init::CloudInits,
    cluster::{Cluster, Shelf},
    domain::Domains,
    hosts::Connector,
    http, key,
    metrics::{Metrics, counted},
    network::Networks,
    observe::Watcher,
    pool::Pools,
    provider_config::Configs,
    references::Refers,
    users::Users,
    volume::{Imports, Volumes, fetch},
};

/// How long what was made just now and is not there is waited for, as crossplane-runtime does.
const CREATION_GRACE: Duration = Duration::from_secs(30);

/// Runs until SIGTERM or SIGINT, then finishes what is in hand.
pub async fn serve(args: Args) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new(args.max_reconcile_rate));
    let config = kube::Config::infer().await.context("find the Kubernetes API server")?;
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = counted(config, &metrics)?;
    let key = key::load(&client, &namespace)
        .await
        .with_context(|| format!("load the key of ownership records from namespace {namespace}"))?;

    let (cluster, writers) = shelves();
    let connector = Arc::new(Connector::new(
        cluster.clone(),
        libvirt::Hosts::new(),
        args.default_provider_config.clone(),
        args.poll,
    ));
    let (configs, changed) = Configs::new(client.clone(), cluster.clone(), connector.clone());
    let mut background = JoinSet::new();
    let watches = Watches { client: &client, cluster: &cluster, metrics: &metrics, configs: &configs };
    watches.start(writers, &mut background);
    background.spawn(forward_wakes(cluster.clone(), connector.clone()));
    background.spawn(configs.clone().run(changed));
    background.spawn(http::serve(
        args.metrics_bind_address,
        http::metrics(metrics.clone(), cluster.clone(), connector.clone()),
    ));
    let ready = cluster.clone();
    background.spawn(http::serve(args.health_probe_bind_addr, http::health(move || ready.is_read())));

    let kinds = Kinds { client, cluster: cluster.clone(), connector, metrics, key, args };
    let workers = kinds.start(&configs).await;
    tracing::info!("serving");
    tokio::select! {
        () = terminated() => tracing::info!("asked to stop; finishing what is in hand"),
        Some(ended) = background.join_next() => ended.context("a background task panicked")??,
    }
    cluster.close();
    for worker in workers {
        worker.await.context("a kind's workers panicked")?;
    }
    Ok(())
}

async fn terminated() {
    let interrupt = tokio::signal::ctrl_c();
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut term) => {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt => {}
            }
        }
        Err(_) => drop(interrupt.await),
    }
}

/// Hands the wake-ups of all hosts to the queues of the kinds.
async fn forward_wakes(cluster: Arc<Cluster>, connector: Arc<Connector>) -> anyhow::Result<()> {
    let wakes = connector.hosts().wakes();
    loop {
        cluster.wake_owner(&wakes.next().await);
    }
}

/// The writing ends of all stores.
struct Writers {
    domains: Writer<Domain>,
    volumes: Writer<Volume>,
    pools: Writer<Pool>,
    cloud_inits: Writer<CloudInit>,
    networks: Writer<Network>,
    configs: Writer<ProviderConfig>,
    cluster_configs: Writer<ClusterProviderConfig>,
}

fn store<K>() -> (Store<K>, Writer<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    reflector::store()
}

fn shelf<K: Managed>(store: Store<K>) -> Shelf<K> {
    Shelf { store, queue: Arc::new(Queue::new()), listed: Arc::default(), forget: Arc::default() }
}

fn shelves() -> (Arc<Cluster>, Writers) {
    let (domains, volumes, pools, cloud_inits, networks) = (store(), store(), store(), store(), store());
    let (configs, cluster_configs) = (store(), store());
    let cluster = Cluster {
        domains: shelf(domains.0),
        volumes: shelf(volumes.0),
        pools: shelf(pools.0),
        cloud_inits: shelf(cloud_inits.0),
        networks: shelf(networks.0),
        configs: configs.0,
        cluster_configs: cluster_configs.0,
        users: Arc::new(Users::default()),
    };
    let writers = Writers {
        domains: domains.1,
        volumes: volumes.1,
        pools: pools.1,
        cloud_inits: cloud_inits.1,
        networks: networks.1,
        configs: configs.1,
        cluster_configs: cluster_configs.1,
    };
    (Arc::new(cluster), writers)
}

/// What every watch is made of.
struct Watches<'a> {
    client: &'a Client,
    cluster: &'a Arc<Cluster>,
    metrics: &'a Arc<Metrics>,
    configs: &'a Arc<Configs>,
}

impl Watches<'_> {
    fn start(&self, writers: Writers, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let Self { client, cluster, metrics: _, configs } = self;
        let Writers { domains, volumes, pools, cloud_inits, networks, configs: mut own, mut cluster_configs } = writers;
        self.kind(domains, &cluster.domains, tasks);
        self.kind(volumes, &cluster.volumes, tasks);
        self.kind(pools, &cluster.pools, tasks);
        self.kind(cloud_inits, &cluster.cloud_inits, tasks);
        self.kind(networks, &cluster.networks, tasks);
        let (api, keep) =
            (Api::<ProviderConfig>::all(Client::clone(client)), move |event: &_| own.apply_watcher_event(event));
        tasks.spawn(Arc::clone(configs).watch(api, keep));
        let api = Api::<ClusterProviderConfig>::all(Client::clone(client));
        tasks.spawn(Arc::clone(configs).watch(api, move |event| cluster_configs.apply_watcher_event(event)));
        let (api, users) = (Api::<ProviderConfigUsage>::all(Client::clone(client)), Arc::clone(cluster));
        tasks.spawn(Arc::clone(configs).watch(api, move |event| users.users.apply(event)));
    }

    fn kind<K: Managed + Refers>(&self, writer: Writer<K>, shelf: &Shelf<K>, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let Self { client, cluster, metrics, configs: _ } = self;
        let listed = shelf.listed.clone();
        let forget = shelf.forget.clone();
        let watcher = Watcher { cluster: Arc::clone(cluster), metrics: Arc::clone(metrics), listed, forget };
        let observer: Arc<dyn Observer<K>> = Arc::new(watcher);
        let (api, queue) = (Api::all(Client::clone(client)), shelf.queue.clone());
        tasks.spawn(async move {
            watch(api, writer, queue, observer).await;
            anyhow::bail!("the watch of {} ended", K::kind(&()))
        });
    }
}

/// What every kind is made of.
struct Kinds {
    client: Client,
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    metrics: Arc<Metrics>,
    key: crate::ownership::Key,
    args: Args,
}

impl Kinds {
    /// Starts all kinds, once everything has been listed: an object must not be placed while configs are still unknown.
    async fn start(self, configs: &Configs) -> Vec<JoinHandle<()>> {
        configs.listed().await;
        // Who refers to what must be known before anything is deleted.
        while !self.cluster.is_read() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let Self { client, cluster, connector, key, args, .. } = &self;
        let usages = Arc::new(Usages::new(client.clone(), cluster.users.clone()));
        let waker = cluster.clone();
        let limits = fetch::Limits { stall: args.image_stall_timeout, ..fetch::Limits::default() };
        let imports = Arc::new(Imports::new(limits, move |owner| waker.wake_owner(owner)));
        let domains = Domains::new(cluster.clone(), connector.clone());
        let volumes = Volumes::new(cluster.clone(), connector.clone(), key.clone(), imports);
        let pools = Pools::new(cluster.clone(), connector.clone());
        let cloud_inits = CloudInits::new(cluster.clone(), connector.clone(), client.clone(), key.clone());
        let networks = Networks::new(cluster.clone(), connector.clone());
        vec![
            self.kind(domains, &cluster.domains, &usages),
            self.kind(volumes, &cluster.volumes, &usages),
            self.kind(pools, &cluster.pools, &usages),
            self.kind(cloud_inits, &cluster.cloud_inits, &usages),
            self.kind(networks, &cluster.networks, &usages),
        ]
    }

    fn kind<E>(&self, external: E, shelf: &Shelf<E::Managed>, usages: &Arc<Usages>) -> JoinHandle<()>
    where
        E: External<Connector = Connector>,
        E::Managed: Refers,
    {
        let reconciler = Arc::new(Reconciler {
            external,
            connector: self.connector.clone(),
            client: self.client.clone(),
            events: Recorder::new(self.client.clone(), crate::metrics::controller::<E::Managed>()),
            usages: usages.clone(),
            secrets: Secrets::new(self.client.clone()),
            backoff: Backoff::new(),
            creation_grace: CREATION_GRACE,
        });
        let forgetful = reconciler.clone();
        // Nobody else sets it: each kind is started once.
        let _ = shelf.forget.set(Box::new(move |object| forgetful.forget(object)));
        let pace =
            Pace { poll: self.args.poll, sync: self.args.sync, workers: usize::from(self.args.max_reconcile_rate) };
        let observer = Arc::new(Watcher {
            cluster: self.cluster.clone(),
            metrics: self.metrics.clone(),
            listed: shelf.listed.clone(),
            forget: shelf.forget.clone(),
        });
        tokio::spawn(Runner::new(reconciler, shelf.queue.clone(), shelf.store.clone(), observer, pace).work())
    }
}
