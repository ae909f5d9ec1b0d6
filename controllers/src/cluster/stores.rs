//! The stores of all kinds, and the ends by which the watches write into them.

use std::sync::Arc;

use apis::{CloudInit, ClusterProviderConfig, Domain, Managed, Network, Pool, ProviderConfig, Volume};
use kube::runtime::reflector::{self, Store, store::Writer};
use managed::queue::Queue;

use super::{Cluster, Shelf};
use crate::{index::Index, users::Users};

/// The writing ends of all stores.
pub struct Writers {
    /// Of Domains.
    pub domains: Writer<Domain>,
    /// Of Volumes.
    pub volumes: Writer<Volume>,
    /// Of Pools.
    pub pools: Writer<Pool>,
    /// Of `CloudInits`.
    pub cloud_inits: Writer<CloudInit>,
    /// Of Networks.
    pub networks: Writer<Network>,
    /// Of the configs of namespaces.
    pub configs: Writer<ProviderConfig>,
    /// Of the configs of the cluster.
    pub cluster_configs: Writer<ClusterProviderConfig>,
}

impl<K: Managed> Shelf<K> {
    fn new(store: Store<K>) -> Self {
        Self {
            store,
            queue: Arc::new(Queue::new()),
            vanished: Arc::default(),
            listed: Arc::default(),
            forget: Arc::default(),
        }
    }
}

impl Cluster {
    /// A cluster of which nothing is known yet. What is written is known at once.
    pub fn empty() -> (Arc<Self>, Writers) {
        let (domains, volumes, pools) = (reflector::store(), reflector::store(), reflector::store());
        let (cloud_inits, networks) = (reflector::store(), reflector::store());
        let (configs, cluster_configs) = (reflector::store(), reflector::store());
        let cluster = Self {
            domains: Shelf::new(domains.0),
            volumes: Shelf::new(volumes.0),
            pools: Shelf::new(pools.0),
            cloud_inits: Shelf::new(cloud_inits.0),
            networks: Shelf::new(networks.0),
            configs: configs.0,
            cluster_configs: cluster_configs.0,
            users: Arc::new(Users::default()),
            index: Index::default(),
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
}
