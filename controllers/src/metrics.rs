//! Figures: Crossplane's and controller-runtime's names, and per host what libvirt costs.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use apis::{
    Managed,
    condition::{self, Type},
};
use futures::future::BoxFuture;
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use libvirt::{Host, HostState};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::sync::Mutex;

use crate::{
    cluster::{Cluster, Shelf},
    hosts::Connector,
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    controller: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Election {
    name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    code: String,
}

/// All figures of the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    passes: Family<Pass, Counter>,
    seconds: Family<Controller, Histogram>,
    requests: Family<Request, Counter>,
    leads: Family<Election, Gauge>,
    /// How long the figures of objects are good for, and the last ones.
    every: Duration,
    objects: Mutex<Option<(Instant, String)>>,
}

impl Metrics {
    /// Nothing counted yet. Objects will be counted anew when the last count is older than this.
    pub fn new(every: Duration) -> Self {
        let passes = Family::<Pass, Counter>::default();
        let seconds = Family::<Controller, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 4.0, 9))
        });
        let requests = Family::<Request, Counter>::default();
        let leads = Family::<Election, Gauge>::default();
        let mut registry = Registry::default();
        registry.register("controller_runtime_reconcile", "Passes over objects", passes.clone());
        registry.register("controller_runtime_reconcile_time_seconds", "How long a pass took", seconds.clone());
        registry.register("rest_client_requests", "Requests to the Kubernetes API server", requests.clone());
        registry.register("leader_election_master_status", "Whether this process leads", leads.clone());
        Self { registry: Mutex::new(registry), passes, seconds, requests, leads, every, objects: Mutex::default() }
    }

    /// Whether this process leads by this election.
    pub fn leads(&self, name: &'static str, leads: bool) {
        self.leads.get_or_create(&Election { name }).set(i64::from(leads));
    }

    /// Counts a pass.
    pub fn passed<K: Managed>(&self, took: Duration, failed: bool) {
        let controller = controller::<K>();
        let result = if failed { "error" } else { "success" };
        self.passes.get_or_create(&Pass { controller: controller.clone(), result }).inc();
        self.seconds.get_or_create(&Controller { controller }).observe(took.as_secs_f64());
    }

    /// Everything, as Prometheus reads it. What can be read off stores and hosts is read now.
    pub fn text(&self, cluster: &Cluster, connector: &Connector) -> String {
        let mut counted = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = encode(&mut counted, &registry);
        let mut text = self.objects(cluster);
        queues(&mut text, cluster);
        hosts(&mut text, cluster, connector);
        text + &counted
    }

    /// What has to be counted object by object.
    fn objects(&self, cluster: &Cluster) -> String {
        let mut last = self.objects.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, text)) = last.as_ref().filter(|(counted, _)| counted.elapsed() < self.every) {
            return text.clone();
        }
        let mut text = String::new();
        objects(&mut text, cluster);
        *last = Some((Instant::now(), text.clone()));
        text
    }
}

/// The name by which controller-runtime's figures and events know the controller of a kind.
pub fn controller<K: Managed>() -> String {
    format!("managed/{}.{}", K::kind(&()).to_lowercase(), K::group(&()))
}

/// One figure with its lines.
struct Figure {
    name: &'static str,
    help: &'static str,
    type_: &'static str,
    lines: Vec<(String, f64)>,
}

impl Figure {
    fn new(name: &'static str, type_: &'static str, help: &'static str) -> Self {
        Self { name, help, type_, lines: Vec::new() }
    }

    fn add(&mut self, labels: String, value: f64) {
        self.lines.push((labels, value));
    }

    fn write(self, text: &mut String) {
        let Self { name, help, type_, lines } = self;
        let suffix = if type_ == "counter" { "_total" } else { "" };
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {type_}");
        for (labels, value) in lines {
            let _ = writeln!(text, "{name}{suffix}{{{labels}}} {value}");
        }
    }
}

fn objects(text: &mut String, cluster: &Cluster) {
    let mut figures = [
        Figure::new("crossplane_managed_resource_exists", "gauge", "The number of managed resources that exist"),
        Figure::new(
            "crossplane_managed_resource_ready",
            "gauge",
            "The number of managed resources in Ready=True state",
        ),
        Figure::new(
            "crossplane_managed_resource_synced",
            "gauge",
            "The number of managed resources in Synced=True state",
        ),
    ];
    kind(&mut figures, &cluster.domains);
    kind(&mut figures, &cluster.volumes);
    kind(&mut figures, &cluster.pools);
    kind(&mut figures, &cluster.cloud_inits);
    kind(&mut figures, &cluster.networks);
    for figure in figures {
        figure.write(text);
    }
}

fn queues(text: &mut String, cluster: &Cluster) {
    let mut depth = Figure::new("workqueue_depth", "gauge", "How many objects wait for a pass");
    queue(&mut depth, &cluster.domains);
    queue(&mut depth, &cluster.volumes);
    queue(&mut depth, &cluster.pools);
    queue(&mut depth, &cluster.cloud_inits);
    queue(&mut depth, &cluster.networks);
    depth.write(text);
}

fn queue<K: Managed>(depth: &mut Figure, shelf: &Shelf<K>) {
    depth.add(format!("name=\"{}\"", controller::<K>()), number(shelf.queue.depth()));
}

fn kind<K: Managed>(figures: &mut [Figure; 3], shelf: &Shelf<K>) {
    let gvk = format!("gvk=\"{}/{}, Kind={}\"", K::group(&()), K::version(&()), K::kind(&()));
    let objects = shelf.store.state();
    let with = |type_| objects.iter().filter(|object| condition::is_true(object.conditions(), type_)).count();
    for (figure, count) in figures.iter_mut().zip([objects.len(), with(Type::Ready), with(Type::Synced)]) {
        figure.add(gvk.clone(), number(count));
    }
}

fn hosts(text: &mut String, cluster: &Cluster, connector: &Connector) {
    let mut figures = [
        Figure::new("provider_libvirt_host_up", "gauge", "Whether the host is connected"),
        Figure::new("provider_libvirt_host_calls_in_flight", "gauge", "Calls to libvirt under way"),
        Figure::new("provider_libvirt_host_quarantined", "gauge", "Objects with a call that libvirt has not answered"),
        Figure::new(
            "provider_libvirt_host_mirror_objects",
            "gauge",
            "Domains, networks, pools and volumes in the mirror",
        ),
        Figure::new("provider_libvirt_host_reconnects", "counter", "Connections made anew"),
        Figure::new("provider_libvirt_host_events", "counter", "Events of libvirt"),
    ];
    let mut calls = Figure::new("provider_libvirt_host_calls", "counter", "Calls to libvirt");
    let mut seconds = Figure::new("provider_libvirt_host_call_seconds", "counter", "Time spent in calls to libvirt");
    for config in cluster.all_configs() {
        let Ok((key, ..)) = connector.endpoint(&config) else { continue };
        let Some(host) = connector.hosts().peek(&key) else { continue };
        let label = format!("host=\"{config}\"");
        for (figure, value) in figures.iter_mut().zip(host_figures(&host)) {
            figure.add(label.clone(), value);
        }
        for call in host.counters().calls().iter().filter(|call| call.count > 0) {
            let labels = format!("{label},call=\"{}\"", call.call.name());
            calls.add(labels.clone(), big(call.count));
            seconds.add(labels, call.time.as_secs_f64());
        }
    }
    for figure in figures.into_iter().chain([calls, seconds]) {
        figure.write(text);
    }
}

fn host_figures(host: &Host) -> [f64; 6] {
    let up = matches!(&*host.state().borrow(), HostState::Up { .. });
    let counters = host.counters();
    [
        f64::from(u8::from(up)),
        big(counters.in_flight()),
        big(counters.quarantined()),
        number(host.mirror().len()),
        big(counters.reconnects()),
        big(counters.events()),
    ]
}

fn number(count: usize) -> f64 {
    big(u64::try_from(count).unwrap_or(u64::MAX))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "Prometheus has no integers; counts beyond 2^53 are rounded there as well"
)]
fn big(count: u64) -> f64 {
    count as f64
}

/// A client whose every request is counted.
pub fn counted(config: kube::Config, metrics: &Arc<Metrics>) -> anyhow::Result<Client> {
    let metrics = metrics.clone();
    let layer = tower::layer::layer_fn(move |inner| Counted { inner, metrics: metrics.clone() });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B> tower::Service<axum::http::Request<Body>> for Counted<S>
where
    S: tower::Service<axum::http::Request<Body>, Response = axum::http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        let (metrics, method) = (self.metrics.clone(), request.method().to_string());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer
                .as_ref()
                .map_or_else(|_| "<error>".to_owned(), |response| response.status().as_u16().to_string());
            metrics.requests.get_or_create(&Request { method, code }).inc();
            answer
        })
    }
}
