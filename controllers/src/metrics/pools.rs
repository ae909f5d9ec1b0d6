//! How full the pools are that objects stand for.
//!
//! Nothing is asked for it: the mirrors of the hosts have what their polls showed. Of a pool that is not running, or on a host that is not
//! connected, nothing is known and nothing is said.

use std::{collections::BTreeMap, sync::Arc};

use apis::{Managed, Pool, placement::ConfigId};
use libvirt::{Host, HostState, PoolInfo};

use super::{Figure, big};
use crate::{
    cluster::{Cluster, placed},
    hosts::Connector,
};

/// A line for each Pool that is on a host.
pub(super) fn pools(text: &mut String, cluster: &Cluster, connector: &Connector) {
    let gauge = |name, help| Figure::new(name, "gauge", help);
    let mut figures = [
        gauge("provider_libvirt_pool_capacity_bytes", "Size of the storage pool of a Pool"),
        gauge("provider_libvirt_pool_allocation_bytes", "What of it is in use, as libvirt last looked"),
        gauge("provider_libvirt_pool_available_bytes", "What of it is free, as libvirt last looked"),
    ];
    let mut hosts: BTreeMap<ConfigId, Option<Arc<Host>>> = BTreeMap::new();
    for pool in cluster.pools.store.state() {
        let Some(config) = placed(&*pool) else { continue };
        let host = hosts.entry(config.clone()).or_insert_with(|| connected(&config, connector));
        let Some(PoolInfo { capacity, allocation, available }) = host.as_deref().and_then(|host| sizes(host, &pool))
        else {
            continue;
        };
        let [namespace, name] = [&pool.metadata.namespace, &pool.metadata.name].map(|of| of.as_deref().unwrap_or(""));
        let labels = format!("host=\"{config}\",namespace=\"{namespace}\",name=\"{name}\"");
        for (figure, value) in figures.iter_mut().zip([capacity, allocation, available]) {
            figure.add(labels.clone(), big(value));
        }
    }
    for figure in figures {
        figure.write(text);
    }
}

fn connected(config: &ConfigId, connector: &Connector) -> Option<Arc<Host>> {
    let (key, ..) = connector.endpoint(config).ok()?;
    let host = connector.hosts().peek(&key)?;
    let up = matches!(&*host.state().borrow(), HostState::Up { .. });
    up.then_some(host)
}

fn sizes(host: &Host, pool: &Pool) -> Option<PoolInfo> {
    host.mirror().pool_sizes(pool.observation()?.id.as_deref()?)
}
