//! Usages whose objects are gone: brought back from a backup without their owner, or held by a provider that did not live to let them go.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use apis::{Managed, ProviderConfigUsage, managed::FINALIZER, placement::ConfigId};
use kube::{
    Api, Client,
    api::{DeleteParams, Preconditions},
};
use managed::usage::{has_controller, release};

use crate::{
    cluster::{Cluster, Shelf, placed},
    users,
};

/// How long a usage is left to the pass that takes its object away.
const GRACE: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Clears away what objects left.
pub struct Sweep {
    client: Client,
    cluster: Arc<Cluster>,
    /// When each is due, by UID and by whether it is being deleted; None where nothing more can be done.
    due: HashMap<(String, bool), Option<Instant>>,
}

impl Sweep {
    /// Nothing has been seen yet.
    pub fn new(client: Client, cluster: Arc<Cluster>) -> Self {
        Self { client, cluster, due: HashMap::new() }
    }

    /// Goes through the usages that may be left over. Answers how soon it is to be called again; None leaves it to the next change.
    pub async fn run(&mut self) -> Option<Duration> {
        let odd = self.cluster.users.odd();
        self.due.retain(|(uid, _), _| odd.iter().any(|usage| usage.metadata.uid.as_ref() == Some(uid)));
        if odd.is_empty() {
            return None;
        }
        if !self.cluster.is_read() {
            return Some(GRACE);
        }
        let mut soonest = None;
        for usage in odd {
            if let Some(wait) = self.one(&usage).await {
                soonest = Some(soonest.map_or(wait, |soonest: Duration| soonest.min(wait)));
            }
        }
        soonest
    }

    async fn one(&mut self, usage: &ProviderConfigUsage) -> Option<Duration> {
        let leaving = usage.metadata.deletion_timestamp.is_some();
        if has_object(&self.cluster, usage) {
            // Nothing tells when an object goes that had no finalizer.
            return leaving.then_some(GRACE);
        }
        let key = (usage.metadata.uid.clone().unwrap_or_default(), leaving);
        let now = Instant::now();
        let due = (*self.due.entry(key.clone()).or_insert(Some(now + GRACE)))?;
        if due > now {
            return Some(due - now);
        }
        let done = if leaving { self.release(usage).await } else { self.delete(usage).await };
        // What was written comes back by the watch, and if not, it did not help.
        let next = (leaving || !done).then(|| now + AGAIN);
        self.due.insert(key, next);
        next.map(|_| AGAIN)
    }

    async fn release(&self, usage: &ProviderConfigUsage) -> bool {
        let name = usage.metadata.name.as_deref().unwrap_or_default();
        let released = release(&self.api(usage), name).await;
        if let Err(error) = &released {
            tracing::warn!(usage = name, %error, "cannot let go of a usage whose object is gone");
        }
        released.is_ok()
    }

    /// Answers whether nothing is left to do: also where we may not delete, which Crossplane does not grant.
    async fn delete(&self, usage: &ProviderConfigUsage) -> bool {
        let meta = &usage.metadata;
        let name = meta.name.as_deref().unwrap_or_default();
        let only = Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        let deleted = self.api(usage).delete(name, &DeleteParams::default().preconditions(only)).await;
        match deleted {
            Ok(_) => tracing::info!(usage = name, "deleted a usage without an object"),
            Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => {
                tracing::debug!(usage = name, message = status.message, "a usage without an object stays");
            }
            Err(error) => {
                tracing::warn!(usage = name, %error, "cannot delete a usage without an object");
                return false;
            }
        }
        true
    }

    fn api(&self, usage: &ProviderConfigUsage) -> Api<ProviderConfigUsage> {
        Api::namespaced(self.client.clone(), usage.metadata.namespace.as_deref().unwrap_or_default())
    }
}

/// How many objects use a config. A usage counts that has a controller or an object; one without either is left over.
pub fn count(cluster: &Cluster, config: &ConfigId) -> usize {
    let all = cluster.users.of(config);
    if !cluster.is_read() {
        return all;
    }
    let is_stale = |usage: &ProviderConfigUsage| {
        !has_controller(&usage.metadata) && users::config(usage) == *config && !has_object(cluster, usage)
    };
    all.saturating_sub(cluster.users.odd().iter().filter(|usage| is_stale(usage)).count())
}

/// How many objects are yet to be let go from the host of a config, whether there are usages of them or not.
pub fn held_objects(cluster: &Cluster, config: &ConfigId) -> usize {
    fn held<K: Managed>(shelf: &Shelf<K>, config: &ConfigId) -> usize {
        let is_held = |object: &Arc<K>| {
            object.meta().finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
                && placed(&**object).as_ref() == Some(config)
        };
        shelf.store.state().iter().filter(|object| is_held(object)).count()
    }
    held(&cluster.domains, config)
        + held(&cluster.volumes, config)
        + held(&cluster.pools, config)
        + held(&cluster.cloud_inits, config)
        + held(&cluster.networks, config)
}

/// Whether the object that a usage is of is there. A kind that is not known here may be another provider version's: it is.
fn has_object(cluster: &Cluster, usage: &ProviderConfigUsage) -> bool {
    fn has<K: Managed>(shelf: &Shelf<K>, namespace: &str, name: &str, uid: Option<&str>) -> bool {
        shelf.get(namespace, name).is_some_and(|object| Some(object.uid()) == uid)
    }
    let (of, meta) = (&usage.spec.resource_ref, &usage.metadata);
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), of.name.as_str());
    let uid = of.uid.as_deref().or(meta.name.as_deref());
    match of.kind.as_str() {
        "Domain" => has(&cluster.domains, namespace, name, uid),
        "Volume" => has(&cluster.volumes, namespace, name, uid),
        "Pool" => has(&cluster.pools, namespace, name, uid),
        "CloudInit" => has(&cluster.cloud_inits, namespace, name, uid),
        "Network" => has(&cluster.networks, namespace, name, uid),
        _ => true,
    }
}
