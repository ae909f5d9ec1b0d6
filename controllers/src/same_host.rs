//! Several configs for one host: each has its own connections and its own policy, which may be meant and is told all the same.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use apis::placement::ConfigId;

use crate::cluster::Cluster;

/// What has been told already.
#[derive(Default)]
pub struct SameHost {
    told: Mutex<HashSet<(ConfigId, Vec<ConfigId>)>>,
}

impl SameHost {
    /// The sentence of a config that leads where others lead too, the first time. Of configs of other namespaces nothing is told.
    pub fn news(&self, cluster: &Cluster, config: &ConfigId) -> Option<String> {
        let is_seen = |other: &ConfigId| other.namespace.is_empty() || other.namespace == config.namespace;
        let mut others = cluster.all_configs();
        others.retain(|other| other != config && is_seen(other) && cluster.is_one_host(config, other));
        let first = others.first()?.clone();
        let news = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert((config.clone(), others));
        news.then(|| {
            format!(
                "leads to the same host as {first}: objects of both share its names, and what one config's policy refuses the other's may allow"
            )
        })
    }
}
