//! Domains of one namespace, the API server that they are on, the host in memory that they are made on, and their reconciler.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use apis::{ClusterProviderConfig, Domain, managed::ConfigKind, placement::ConfigId};
use kube::runtime::watcher::Event;
use libvirt::{
    Call, Host,
    double::{Asked, Double},
};
use managed::{
    backoff::Backoff,
    events::Recorder,
    intent::Feature,
    reconcile::{Outcome, Reconciler, Requeue},
    secret::Secrets,
    usage::Usages,
};
use provider_libvirt::{
    adopt::Adoption,
    cluster::{Cluster, Writers},
    domain::Domains,
    hosts::Connector,
    ownership::Key,
};
use serde_json::{Value, json};

use crate::server::{Log, Server};

/// How long something is waited for that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A poll that does not come.
pub(crate) const NEVER: Duration = Duration::from_hours(1);

/// The rig. All hosts of the test driver are one, so each test has names of its own.
pub(crate) struct Rig {
    pub(crate) connector: Arc<Connector>,
    server: Server,
    reconciler: Arc<Reconciler<Domains>>,
    /// What a watch would show to all.
    writers: Mutex<Writers>,
    cluster: Arc<Cluster>,
}

fn path(name: &str) -> String {
    format!("/apis/libvirt.m.nourspeed.io/v1alpha1/namespaces/n/domains/{name}")
}

fn spec(spec: &Value) -> ClusterProviderConfig {
    let config = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig",
        "metadata": {"name": "host"}, "spec": spec,
    });
    serde_json::from_value(config).unwrap()
}

pub(crate) fn config() -> ConfigId {
    ConfigId { kind: ConfigKind::ClusterProviderConfig, namespace: String::new(), name: "host".to_owned() }
}

impl Rig {
    /// One config, of the host in memory, which is gone through this often.
    pub(crate) async fn start(poll: Duration) -> Self {
        let (cluster, mut writers) = Cluster::empty();
        for event in [Event::Init, Event::InitApply(spec(&json!({"uri": "test:///default"}))), Event::InitDone] {
            writers.cluster_configs.apply_watcher_event(&event);
        }
        let Cluster { domains, volumes, pools, cloud_inits, networks, .. } = &*cluster;
        for listed in [&domains.listed, &volumes.listed, &pools.listed, &cloud_inits.listed, &networks.listed] {
            listed.store(true, Ordering::Release);
        }
        let server = Server::new(Log::default());
        let connector = Arc::new(Connector::new(cluster.clone(), server.client(), None, poll));
        let reconciler = Arc::new(reconciler(&cluster, &connector, &server));
        let rig = Self { connector, server, reconciler, writers: Mutex::new(writers), cluster };
        rig.host().facts().await.unwrap();
        rig.until(|| rig.host().mirror().synced()).await;
        rig
    }

    /// The config says this from now on. What goes wrong on the host goes wrong on it all the same.
    pub(crate) fn configure(&self, said: &Value) {
        self.writers.lock().unwrap().cluster_configs.apply_watcher_event(&Event::Apply(spec(said)));
    }

    /// The host, as the reconciler has it.
    pub(crate) fn host(&self) -> Arc<Host> {
        self.connector.host(&config()).unwrap().1
    }

    /// What goes wrong on the host, and what it is asked.
    pub(crate) fn double<T>(&self, ask: impl FnOnce(&Double) -> T) -> T {
        ask(self.host().double())
    }

    /// What the host was asked since it was last asked that changes something, sorted.
    pub(crate) fn changes(&self) -> Vec<Asked> {
        let mut asked = self.double(Double::take);
        asked.retain(|asked| changes(asked.call));
        asked.sort();
        asked
    }

    /// What the host was asked since it was last asked, but for guests of other tests: the driver of this process is one for all of them, and
    /// their events come here, too.
    pub(crate) fn was_asked(&self, own: &[&str]) -> Vec<Asked> {
        let mut asked = self.double(Double::take);
        asked.retain(|asked| {
            own.contains(&asked.object.as_str()) || !asked.object.starts_with("00000000-0000-4000-8000-")
        });
        asked
    }

    /// A Domain of this name and UID, as a user would write it.
    pub(crate) fn domain(&self, name: &str, uid: &str, parameters: &Value) {
        self.put(&json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
            "metadata": {"name": name, "namespace": "n", "uid": uid, "generation": 1},
            "spec": {"forProvider": parameters, "managementPolicies": ["*"]},
        }));
    }

    fn put(&self, object: &Value) {
        self.server.put(&path(object["metadata"]["name"].as_str().unwrap()), object.clone());
        self.show(object);
    }

    fn show(&self, object: &Value) {
        let object: Domain = serde_json::from_value(object.clone()).unwrap();
        self.cluster.index.put(&object);
        self.writers.lock().unwrap().domains.apply_watcher_event(&Event::Apply(object));
    }

    /// Asks for a deletion, as a user would.
    pub(crate) fn delete(&self, name: &str) {
        let mut object = self.object(name).unwrap();
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        self.put(&object);
    }

    /// The object as the API server has it.
    pub(crate) fn object(&self, name: &str) -> Option<Value> {
        self.server.get(&path(name))
    }

    /// One pass over the object as the API server has it.
    pub(crate) async fn pass(&self, name: &str) -> Requeue {
        let object = self.object(name).unwrap();
        self.show(&object);
        // The state of a pass is too large for the stacks of all who wait for it here.
        let Outcome { object: _, requeue, failed: _, verdict: _ } =
            Box::pin(self.reconciler.reconcile(serde_json::from_value(object).unwrap())).await;
        if let Some(object) = self.object(name) {
            self.show(&object);
        }
        requeue
    }

    /// An object that has been made, is Ready, and asks for nothing more; nothing is known of what that cost.
    pub(crate) async fn made(&self, name: &str, uid: &str) {
        self.domain(name, uid, &json!({"memory": "16Mi"}));
        self.until_passed(name).await;
        self.quiet().await;
    }

    /// Passes over an object until it is Ready, as a queue would.
    pub(crate) async fn until_passed(&self, name: &str) {
        for _ in 0..30 {
            if self.pass(name).await == Requeue::Poll && self.condition(name, "Ready") == "True Available" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} is not Ready: {}", self.object(name).unwrap()["status"]);
    }

    /// Waits until what was written has been read again, and forgets what the host was asked.
    pub(crate) async fn quiet(&self) {
        let mut before = None;
        loop {
            let now = self.host().counters().total();
            if before.replace(now) == Some(now) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.double(Double::take);
    }

    /// `Status Reason: message` of a condition, empty where it is not there.
    pub(crate) fn condition(&self, name: &str, kind: &str) -> String {
        let object = self.object(name).unwrap();
        let all = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let Some(found) = all.iter().find(|condition| condition["type"] == kind) else { return String::new() };
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        let message = found["message"].as_str().map(|message| format!(": {message}")).unwrap_or_default();
        format!("{} {}{message}", text("status"), text("reason"))
    }

    /// Waits until this is so.
    pub(crate) async fn until(&self, is: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is() {
            assert!(Instant::now() < end, "it did not come true in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn reconciler(cluster: &Arc<Cluster>, connector: &Arc<Connector>, server: &Server) -> Reconciler<Domains> {
    let (client, key) = (server.client(), Key::new(&[7; 32]).unwrap());
    let adoption = Arc::new(Adoption::new(cluster.clone(), key.clone()));
    Reconciler {
        external: Domains::new(cluster.clone(), connector.clone(), client.clone(), key, adoption),
        connector: connector.clone(),
        client: client.clone(),
        events: Recorder::new(client.clone(), "managed/domain".to_owned()),
        usages: Arc::new(Usages::new(client.clone(), cluster.users.clone())),
        secrets: Secrets::new(client),
        backoff: Backoff::new(),
        creation_grace: Duration::from_secs(30),
        policies: Feature::On,
    }
}

/// Whether a call changes something on the host: by libvirt's own words for it.
pub(crate) fn changes(call: Call) -> bool {
    let looks = ["Get", "List", "Lookup", "Is", "Has", "Open", "Compare", "NumOf"];
    let name = call.name();
    let verb = ["virConnect", "virDomain", "virStoragePool", "virStorageVol", "virNetwork", "virNode", "virSecret"]
        .iter()
        .find_map(|class| name.strip_prefix(class))
        .unwrap_or(name);
    !looks.iter().any(|look| verb.starts_with(look)) && call != Call::DomainDescribeSaved
}

/// Such a call on this object.
pub(crate) fn asked(call: Call, object: &str) -> Asked {
    Asked { call, object: object.to_owned() }
}
