//! Figures: Crossplane's and controller-runtime's names, and per host what libvirt costs and how full its pools are.

mod lives;
mod pools;
mod requests;
mod reviews;

use std::{
    fmt::Write,
    time::{Duration, Instant},
};

use apis::{
    Managed,
    condition::{self, Type},
};
use libvirt::{Host, HostState};
use managed::{queue::Load, reconcile::Requeue, run::Passed};
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
    sources::is_early,
};
use lives::Lives;
use requests::Requests;
pub use requests::counted;
pub use reviews::Reviewed;
use reviews::Reviews;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    controller: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Election {
    name: &'static str,
}

/// All figures of the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    results: Family<Ended, Counter>,
    errors: Family<Controller, Counter>,
    seconds: Family<Controller, Histogram>,
    waits: Family<Queue, Histogram>,
    work: Family<Queue, Histogram>,
    retries: Family<Queue, Counter>,
    requests: Requests,
    /// The lives of objects.
    lives: Lives,
    reviews: Reviews,
    workers: u16,
    leads: Family<Election, Gauge>,
    /// How long the figures of objects are good for, and the last ones.
    every: Duration,
    objects: Mutex<Option<(Instant, String)>>,
}

/// A histogram of durations for each set of labels, from a millisecond to a minute.
fn durations<S: Clone + std::hash::Hash + Eq>() -> Family<S, Histogram> {
    Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 9)))
}

impl Metrics {
    /// Nothing counted yet. `workers` is how many objects of a kind are worked on at once; objects are counted anew when the last
    /// count is older than `every`.
    pub fn new(workers: u16, every: Duration) -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            results: Family::default(),
            errors: Family::default(),
            seconds: durations(),
            waits: durations(),
            work: durations(),
            retries: Family::default(),
            requests: Requests::default(),
            lives: Lives::new(&mut registry),
            reviews: Reviews::new(&mut registry),
            workers,
            leads: Family::default(),
            every,
            objects: Mutex::default(),
            registry: Mutex::default(),
        };
        registry.register("controller_runtime_reconcile", "Passes over objects", metrics.results.clone());
        registry.register("controller_runtime_reconcile_errors", "Passes that failed", metrics.errors.clone());
        let seconds = metrics.seconds.clone();
        registry.register("controller_runtime_reconcile_time_seconds", "How long a pass took", seconds);
        let waits = metrics.waits.clone();
        registry.register("workqueue_queue_duration_seconds", "How long an object waited for a pass", waits);
        registry.register("workqueue_work_duration_seconds", "How long an object was worked on", metrics.work.clone());
        registry.register("workqueue_retries", "Passes that are tried again", metrics.retries.clone());
        registry.register("rest_client_requests", "Requests to the Kubernetes API server", metrics.requests.clone());
        let leads = metrics.leads.clone();
        registry.register("leader_election_master_status", "Whether this process leads", leads);
        Self { registry: Mutex::new(registry), ..metrics }
    }

    /// Whether this process leads by this election.
    pub fn leads(&self, name: &'static str, leads: bool) {
        self.leads.get_or_create(&Election { name }).set(i64::from(leads));
    }

    /// Counts a pass.
    pub fn passed<K: Managed>(&self, object: &K, pass: &Passed) {
        let controller = controller::<K>();
        let retried = pass.failed || pass.requeue == Requeue::Backoff;
        let result = match pass.requeue {
            _ if pass.failed => "error",
            Requeue::Never => "success",
            Requeue::Backoff => "requeue",
            Requeue::Poll | Requeue::After(_) | Requeue::Held(_) => "requeue_after",
        };
        let queue = Queue { name: controller.clone() };
        self.waits.get_or_create(&queue).observe(pass.waited.as_secs_f64());
        self.work.get_or_create(&queue).observe(pass.took.as_secs_f64());
        if retried {
            self.retries.get_or_create(&queue).inc();
        }
        if pass.failed {
            self.errors.get_or_create(&Controller { controller: controller.clone() }).inc();
        }
        self.results.get_or_create(&Ended { controller: controller.clone(), result }).inc();
        self.seconds.get_or_create(&Controller { controller }).observe(pass.took.as_secs_f64());
        self.lives.passed(object, pass);
    }

    /// Counts a review by the webhook, and how long it took where there was one.
    pub fn reviewed<K: Managed>(&self, outcome: Reviewed, took: Option<Duration>) {
        self.reviews.add::<K>(outcome, took);
    }

    /// An object is gone from Kubernetes.
    pub fn gone<K: Managed>(&self, object: &K) {
        self.lives.gone(object);
    }

    /// Everything, as Prometheus reads it. What can be read off stores and hosts is read now.
    pub fn text(&self, cluster: &Cluster, connector: &Connector) -> String {
        let mut counted = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = encode(&mut counted, &registry);
        let mut text = self.objects(cluster);
        queues(&mut text, cluster, self.workers);
        hosts(&mut text, cluster, connector);
        pools::pools(&mut text, cluster, connector);
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

/// A kind as Go programs write it: `group/version, Kind=Kind`.
pub fn gvk<K: Managed>() -> String {
    format!("{}/{}, Kind={}", K::group(&()), K::version(&()), K::kind(&()))
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
    let gauge = |name, help| Figure::new(name, "gauge", help);
    let mut figures = [
        gauge("crossplane_managed_resource_exists", "The number of managed resources that exist"),
        gauge("crossplane_managed_resource_ready", "The number of managed resources in Ready=True state"),
        gauge("crossplane_managed_resource_synced", "The number of managed resources in Synced=True state"),
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

fn kind<K: Managed>(figures: &mut [Figure; 3], shelf: &Shelf<K>) {
    let gvk = format!("gvk=\"{}\"", gvk::<K>());
    let objects = shelf.store.state();
    let with = |type_| objects.iter().filter(|object| condition::is_true(object.conditions(), type_)).count();
    for (figure, count) in figures.iter_mut().zip([objects.len(), with(Type::Ready), with(Type::Synced)]) {
        figure.add(gvk.clone(), number(count));
    }
}

fn queues(text: &mut String, cluster: &Cluster, workers: u16) {
    let gauge = |name, help| Figure::new(name, "gauge", help);
    let mut figures = [
        gauge("workqueue_depth", "How many objects wait for a pass"),
        Figure::new("workqueue_adds", "counter", "How many times an object was queued"),
        gauge("workqueue_unfinished_work_seconds", "How long the passes under way have taken, together"),
        gauge("workqueue_longest_running_processor_seconds", "How long the longest pass under way has taken"),
        gauge("controller_runtime_active_workers", "How many passes are under way"),
        gauge("controller_runtime_max_concurrent_reconciles", "How many passes may be under way"),
    ];
    queue(&mut figures, &cluster.domains, workers);
    queue(&mut figures, &cluster.volumes, workers);
    queue(&mut figures, &cluster.pools, workers);
    queue(&mut figures, &cluster.cloud_inits, workers);
    queue(&mut figures, &cluster.networks, workers);
    for figure in figures {
        figure.write(text);
    }
}

fn queue<K: Managed>(figures: &mut [Figure; 6], shelf: &Shelf<K>, workers: u16) {
    let Load { depth, adds, active, unfinished, longest } = shelf.queue.load();
    let (name, controller) =
        (format!("name=\"{}\"", controller::<K>()), format!("controller=\"{}\"", controller::<K>()));
    let values = [
        (&name, number(depth)),
        (&name, big(adds)),
        (&name, unfinished.as_secs_f64()),
        (&name, longest.as_secs_f64()),
        (&controller, number(active)),
        (&controller, f64::from(workers)),
    ];
    for (figure, (labels, value)) in figures.iter_mut().zip(values) {
        figure.add(labels.clone(), value);
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
        let label = format!("host=\"{config}\"");
        let host = match connector.endpoint(&config) {
            Ok((key, ..)) => connector.hosts().peek(&key),
            // What is wrong with a config keeps its objects from their host as well as anything else.
            Err(error) => {
                if !is_early(&error) {
                    figures[0].add(label.clone(), 0.0);
                }
                None
            }
        };
        let Some(host) = host else { continue };
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
