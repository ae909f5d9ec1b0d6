//! The wiring: watches, kinds, hosts, metrics and health, from start to SIGTERM.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use apis::{ProviderConfigUsage, managed::ConfigKind, placement::ConfigId};
use kube::{
    Api, Client,
    runtime::{reflector::store::Writer, watcher::Event},
};
use managed::{
    backoff::Backoff,
    events::Recorder,
    external::External,
    gate::{Gate, Presence},
    intent::Feature,
    lease::{Lost, Term},
    rate::Bucket,
    reconcile::Reconciler,
    run::{Observer, Pace, Runner},
    secret::Secrets,
    usage::Usages,
    watch::watch,
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use crate::{
    adopt::Adoption,
    args::Args,
    checks::Checks,
    cloud_init::CloudInits,
    cluster::{Cluster, Shelf, Writers},
    domain::Domains,
    hosts::Connector,
    http, key,
    leader::Leadership,
    metrics::{Metrics, counted},
    network::Networks,
    observe::Watcher,
    pool::Pools,
    provider_config::{Configs, Configuration},
    references::Refers,
    volume::{Imports, Volumes, fetch},
    webhook::{Webhook, review::Reviewer, self_signed::Home},
};

/// How long what was made just now and is not there is waited for, as crossplane-runtime does.
const CREATION_GRACE: Duration = Duration::from_secs(30);

/// Runs until SIGTERM or SIGINT, then finishes what is in hand.
///
/// Watches, figures and health are there from the start. Whatever writes or calls a host waits until this process leads.
pub async fn serve(args: Args) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new(args.max_reconcile_rate, args.poll_state_metric));
    let config = kube::Config::infer().await.context("find the Kubernetes API server")?;
    let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let server = config.cluster_url.clone();
    let client = counted(config, &metrics)?;
    let mut leadership = Leadership::new(&args, &client, &namespace, &metrics)?;

    let (cluster, writers) = Cluster::empty();
    let connector =
        Arc::new(Connector::new(cluster.clone(), client.clone(), args.default_provider_config.clone(), args.poll));
    let mut background = JoinSet::new();
    let (gate, keeper) = Gate::new(client.clone(), apis::GROUP, &apis::crds());
    background.spawn(keeper.run());
    let checks = Arc::new(Checks::new(gate.clone(), args.startup_checks));
    background.spawn(checks.clone().log());
    let (configs, changed) = Configs::new(client.clone(), cluster.clone(), connector.clone(), checks.clone());
    let watches = Watches { client: &client, gate, cluster: &cluster, metrics: &metrics, configs: &configs };
    watches.start(writers, &mut background);
    background.spawn(forward_wakes(cluster.clone(), connector.clone()));
    background.spawn(http::serve(
        args.metrics_bind_address,
        http::metrics(metrics.clone(), cluster.clone(), connector.clone()),
    ));
    let reviewer =
        Reviewer { cluster: cluster.clone(), default: args.default_provider_config.clone(), metrics: metrics.clone() };
    let home = Home { client: client.clone(), namespace: namespace.clone(), server, term: leadership.term() };
    let webhook = Webhook::start(&args.webhooks, reviewer, home, &mut background)?;
    let findings = http::findings(cluster.clone(), webhook, checks.clone());
    background.spawn(http::serve(args.health_probe_bind_addr, http::health(findings)));

    let rate = Arc::new(Bucket::new(args.max_reconcile_rate.into()));
    let term = leadership.term();
    let imports = imports(&args, &cluster, &term);
    let kinds = Kinds { client, cluster, connector, metrics, namespace, args, rate, term, imports };
    let result = work(kinds, &configs, &mut leadership, changed, &mut background).await;
    background.shutdown().await;
    leadership.give_up().await;
    result
}

/// What has changed about configs, as [`Configs::run`] is told.
type Changes = mpsc::UnboundedReceiver<()>;
type Background = JoinSet<anyhow::Result<()>>;

/// Waits until this process leads, and works for as long as it does.
async fn work(
    kinds: Kinds,
    configs: &Arc<Configs>,
    leadership: &mut Leadership,
    changed: Changes,
    background: &mut Background,
) -> anyhow::Result<()> {
    let mut stop = pin!(terminated());
    let Some(changed) = follow(leadership, changed, background, stop.as_mut()).await? else { return Ok(()) };
    background.spawn(configs.clone().run(changed));
    tokio::select! {
        lost = leadership.keep() => leave(&lost),
        result = lead(kinds, configs, background, stop) => result,
    }
}

/// Waits until this process leads; None when it was asked to stop before.
async fn follow(
    leadership: &mut Leadership,
    mut changed: Changes,
    background: &mut Background,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Option<Changes>> {
    // Nobody acts on changes yet, and they must not pile up: the leader begins with all configs.
    let discard = async {
        while changed.recv().await.is_some() {}
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = leadership.gain() => {}
        () = discard => {}
        () = stop => return Ok(None),
        Some(ended) = background.join_next() => return ended.context("a background task panicked")?.map(|()| None),
    }
    Ok(Some(changed))
}

/// Works until it is asked to stop or something of the process ends, and then until every pass in hand has ended.
async fn lead(
    kinds: Kinds,
    configs: &Configs,
    background: &mut Background,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> anyhow::Result<()> {
    let (cluster, rate, imports) = (kinds.cluster.clone(), kinds.rate.clone(), kinds.imports.clone());
    let workers = tokio::select! {
        workers = kinds.start(configs) => workers?,
        () = stop.as_mut() => return Ok(()),
        Some(ended) = background.join_next() => return ended.context("a background task panicked")?,
    };
    tracing::info!("serving");
    let result = tokio::select! {
        () = stop => {
            tracing::info!("asked to stop; finishing what is in hand");
            Ok(())
        }
        Some(ended) = background.join_next() => ended.context("a background task panicked")?,
    };
    cluster.close();
    rate.close();
    for worker in workers {
        worker.await.context("a kind's workers panicked")?;
    }
    // The lease is handed over after this.
    imports.end().await;
    result
}

/// Ends the process where it stands: another may lead soon, and calls that are under way must not meet its calls.
fn leave(lost: &Lost) -> anyhow::Result<()> {
    tracing::error!("leader election lost: {lost}");
    std::process::exit(1)
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

fn imports(args: &Args, cluster: &Arc<Cluster>, term: &Arc<Term>) -> Arc<Imports> {
    let waker = cluster.clone();
    let limits = fetch::Limits { stall: args.image_stall_timeout, ..fetch::Limits::default() };
    Arc::new(Imports::new(limits, term.clone(), move |owner| waker.wake_owner(owner)))
}

/// Hands the wake-ups of all hosts to the queues of the kinds.
async fn forward_wakes(cluster: Arc<Cluster>, connector: Arc<Connector>) -> anyhow::Result<()> {
    let wakes = connector.hosts().wakes();
    loop {
        cluster.wake_owner(&wakes.next().await);
    }
}

/// What every watch is made of.
struct Watches<'a> {
    client: &'a Client,
    gate: Gate,
    cluster: &'a Arc<Cluster>,
    metrics: &'a Arc<Metrics>,
    configs: &'a Arc<Configs>,
}

impl Watches<'_> {
    fn start(&self, writers: Writers, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let Self { client: _, gate: _, cluster, metrics: _, configs: _ } = self;
        let Writers { domains, volumes, pools, cloud_inits, networks, configs: mut own, mut cluster_configs } = writers;
        self.kind(domains, &cluster.domains, tasks);
        self.kind(volumes, &cluster.volumes, tasks);
        self.kind(pools, &cluster.pools, tasks);
        self.kind(cloud_inits, &cluster.cloud_inits, tasks);
        self.kind(networks, &cluster.networks, tasks);
        self.config(Configs::told, move |event| own.apply_watcher_event(event), tasks);
        self.config(Configs::told, move |event| cluster_configs.apply_watcher_event(event), tasks);
        let users = Arc::clone(cluster);
        self.config::<ProviderConfigUsage>(Configs::told_of_users, move |event| users.users.apply(event), tasks);
    }

    fn config<K: Configuration>(
        &self,
        tell: fn(&Configs),
        keep: impl FnMut(&Event<K>) + Send + 'static,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) {
        let (configs, api, mut gate) = (self.configs.clone(), Api::all(self.client.clone()), self.gate.clone());
        tasks.spawn(async move {
            gate.until::<K>(|presence| presence == Presence::Served).await;
            configs.watch(api, tell, keep).await
        });
    }

    fn kind<K: Refers>(&self, writer: Writer<K>, shelf: &Shelf<K>, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let Self { client, gate, cluster, metrics, configs: _ } = self;
        let listed = shelf.listed.clone();
        let forget = shelf.forget.clone();
        let watcher = Watcher { cluster: Arc::clone(cluster), metrics: Arc::clone(metrics), listed, forget };
        let observer: Arc<dyn Observer<K>> = Arc::new(watcher);
        let (client, gate, work) = (Client::clone(client), gate.clone(), shelf.work());
        tasks.spawn(async move {
            watch(client, gate, writer, work, observer).await;
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
    namespace: String,
    args: Args,
    rate: Arc<Bucket>,
    term: Arc<Term>,
    imports: Arc<Imports>,
}

impl Kinds {
    /// Tells of a default that is not there: other configs are taken in its place, without a word at each object.
    fn check_default(&self) {
        let Some(default) = &self.args.default_provider_config else { return };
        let config = ConfigId::resolve(default, "");
        if default.kind == ConfigKind::ClusterProviderConfig && self.cluster.host_spec(&config).is_none() {
            tracing::warn!(%config, "the config of --default-provider-config is not there; until it is, objects that name none are placed as without the flag");
        }
    }

    /// Starts all kinds, once everything has been listed: an object must not be placed while configs are still unknown.
    async fn start(self, configs: &Configs) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let Self { client, cluster, connector, namespace, .. } = &self;
        let key = key::load(client, namespace)
            .await
            .with_context(|| format!("load the key of ownership records from namespace {namespace}"))?;
        configs.listed().await;
        // Who refers to what must be known before anything is deleted.
        while !cluster.is_read() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.check_default();
        let usages = Arc::new(Usages::new(client.clone(), cluster.users.clone()));
        let adoption = Arc::new(Adoption::new(cluster.clone(), key.clone()));
        let domains = Domains::new(cluster.clone(), connector.clone(), client.clone(), key.clone(), adoption.clone());
        let imports = self.imports.clone();
        let volumes = Volumes::new(cluster.clone(), connector.clone(), adoption.clone(), imports, client.clone());
        let pools = Pools::new(cluster.clone(), connector.clone(), adoption.clone(), client.clone());
        let cloud_inits = CloudInits::new(cluster.clone(), connector.clone(), client.clone(), key, adoption.clone());
        let networks = Networks::new(cluster.clone(), connector.clone(), adoption);
        Ok(vec![
            self.kind(domains, &cluster.domains, &usages),
            self.kind(volumes, &cluster.volumes, &usages),
            self.kind(pools, &cluster.pools, &usages),
            self.kind(cloud_inits, &cluster.cloud_inits, &usages),
            self.kind(networks, &cluster.networks, &usages),
        ])
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
            policies: if self.args.enable_management_policies { Feature::On } else { Feature::Off },
        });
        let forgetful = reconciler.clone();
        // Nobody else sets it: each kind is started once.
        let _ = shelf.forget.set(Box::new(move |object| forgetful.forget(object)));
        let pace = Pace {
            poll: self.args.poll,
            least_poll: self.args.min_poll_interval,
            jitter: self.args.poll_jitter_percentage,
            sync: self.args.sync,
            workers: usize::from(self.args.max_reconcile_rate),
            rate: self.rate.clone(),
            term: self.term.clone(),
        };
        let observer = Arc::new(Watcher {
            cluster: self.cluster.clone(),
            metrics: self.metrics.clone(),
            listed: shelf.listed.clone(),
            forget: shelf.forget.clone(),
        });
        tokio::spawn(Runner::new(reconciler, shelf.work(), shelf.store.clone(), observer, pace).work())
    }
}
