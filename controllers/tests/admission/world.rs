//! A cluster as the watches would show it, made of JSON.

use std::sync::{Arc, atomic::Ordering};

use apis::{CloudInit, Domain, Network, Pool, Volume, managed::ProviderConfigReference, placement::parse_record};
use kube::runtime::{reflector::store::Writer, watcher::Event};
use provider_libvirt::{
    admission::{Admission, Reviewable, Verdict},
    cluster::{Cluster, Writers},
    index::Index,
    references::Refers,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The annotation that records where an object was placed.
pub(crate) const PLACEMENT: &str = "libvirt.nourspeed.io/provider-config";

/// Everything there is.
pub(crate) struct World {
    pub(crate) cluster: Arc<Cluster>,
    /// The config of objects that name none.
    pub(crate) default: Option<ProviderConfigReference>,
    writers: Writers,
}

/// An object of namespace `n` that is labelled; `config` is `<Kind>/<name>` of its providerConfigRef.
pub(crate) fn object(kind: &str, name: &str, config: Option<&str>, parameters: &Value) -> Value {
    let config = config.map(|config| config.split_once('/').unwrap());
    let reference = config.map(|(kind, name)| json!({"kind": kind, "name": name}));
    let instance = config.map_or("any", |(_, name)| name);
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind,
        "metadata": {"namespace": "n", "name": name, "uid": format!("{kind}-{name}"), "annotations": {},
            "labels": {"libvirt.nourspeed.io/instance": instance, "name": name}},
        "spec": {"providerConfigRef": reference, "forProvider": parameters},
    })
}

/// The same with other metadata.
pub(crate) fn with(mut object: Value, metadata: &Value) -> Value {
    for (field, value) in metadata.as_object().unwrap() {
        object["metadata"][field] = value.clone();
    }
    object
}

fn read<K: DeserializeOwned>(object: &Value) -> K {
    serde_json::from_value(object.clone()).unwrap()
}

impl World {
    /// `ClusterProviderConfigs` one and two, and a `ProviderConfig` one in the namespaces n and m.
    pub(crate) fn new() -> Self {
        let (cluster, writers) = Cluster::empty();
        let mut world = Self { cluster, default: None, writers };
        let config = |kind: &str, metadata: Value| json!({"apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": {"uri": "test:///default"}});
        let one = |name: &str| Event::InitApply(read(&config("ClusterProviderConfig", json!({"name": name}))));
        for event in [Event::Init, one("one"), one("two"), Event::InitDone] {
            world.writers.cluster_configs.apply_watcher_event(&event);
        }
        let one = |namespace: &str| {
            Event::InitApply(read(&config("ProviderConfig", json!({"name": "one", "namespace": namespace}))))
        };
        for event in [Event::Init, one("n"), one("m"), Event::InitDone] {
            world.writers.configs.apply_watcher_event(&event);
        }
        world
    }

    /// These `ClusterProviderConfigs` have all led to the same host.
    pub(crate) fn lead_to_one_host(&mut self, names: &[&str]) {
        let host =
            json!({"uuid": "5", "hostname": "h", "libvirtVersion": "9.0.0", "arch": "x86_64", "domainTypes": []});
        for name in names {
            let config = json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig", "metadata": {"name": name},
                "spec": {"uri": "test:///default"}, "status": {"host": host},
            });
            self.writers.cluster_configs.apply_watcher_event(&Event::Apply(read(&config)));
        }
    }

    /// What the objects on `ClusterProviderConfig` one may reach.
    pub(crate) fn allow(&mut self, policy: &Value) {
        let config = json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig", "metadata": {"name": "one"},
            "spec": {"uri": "test:///default", "policy": policy},
        });
        self.writers.cluster_configs.apply_watcher_event(&Event::Apply(read(&config)));
    }

    /// What `--default-provider-config` says.
    pub(crate) fn defaulting(mut self, config: &str) -> Self {
        self.default = Some(parse_record(config).unwrap());
        self
    }

    /// Everything has been listed.
    pub(crate) fn listed(self) -> Self {
        let Cluster { domains, volumes, pools, cloud_inits, networks, .. } = &*self.cluster;
        for listed in [&domains.listed, &volumes.listed, &pools.listed, &cloud_inits.listed, &networks.listed] {
            listed.store(true, Ordering::Release);
        }
        self
    }

    /// Shows an object.
    pub(crate) fn put(&mut self, object: &Value) {
        let index = &self.cluster.index;
        match object["kind"].as_str().unwrap() {
            "Domain" => show(&mut self.writers.domains, index, object),
            "Volume" => show(&mut self.writers.volumes, index, object),
            "Pool" => show(&mut self.writers.pools, index, object),
            "CloudInit" => show(&mut self.writers.cloud_inits, index, object),
            "Network" => show(&mut self.writers.networks, index, object),
            kind => panic!("{kind}"),
        }
    }

    /// What is said of an object that is new.
    pub(crate) fn review(&self, object: &Value) -> Verdict {
        self.say(None, Some(object))
    }

    /// What is said of a change.
    pub(crate) fn change(&self, old: &Value, new: &Value) -> Verdict {
        self.say(Some(old), Some(new))
    }

    /// What is said of a deletion.
    pub(crate) fn delete(&self, object: &Value) -> Verdict {
        self.say(Some(object), None)
    }

    fn say(&self, old: Option<&Value>, new: Option<&Value>) -> Verdict {
        let admission = Admission { cluster: &self.cluster, default: self.default.as_ref() };
        match new.or(old).unwrap()["kind"].as_str().unwrap() {
            "Domain" => say::<Domain>(admission, old, new),
            "Volume" => say::<Volume>(admission, old, new),
            "Pool" => say::<Pool>(admission, old, new),
            "CloudInit" => say::<CloudInit>(admission, old, new),
            "Network" => say::<Network>(admission, old, new),
            kind => panic!("{kind}"),
        }
    }
}

fn say<K: Reviewable>(admission: Admission<'_>, old: Option<&Value>, new: Option<&Value>) -> Verdict {
    match (old, new) {
        (None, Some(new)) => admission.review::<K>(&read(new)),
        (Some(old), Some(new)) => admission.change::<K>(&read(old), &read(new)),
        (Some(old), None) => admission.deletion::<K>(&read(old)),
        (None, None) => panic!("nothing is reviewed"),
    }
}

fn show<K: Refers>(writer: &mut Writer<K>, index: &Index, object: &Value) {
    let object: K = read(object);
    index.put(&object);
    writer.apply_watcher_event(&Event::Apply(object));
}
