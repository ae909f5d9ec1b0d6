//! The tables, and who is woken when a row changes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::entry::{DomainEntry, NetworkEntry, PoolEntry, VolumeEntry};
use super::index::{Change, Index, Row};
use crate::Lease;
use crate::PoolInfo;
use crate::mirror::entry::Entry;

/// All the mirror holds.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) domains: Index<DomainEntry>,
    pub(super) networks: Index<NetworkEntry>,
    pub(super) pools: Index<PoolEntry>,
    volumes: HashMap<String, HashMap<String, Row<VolumeEntry>>>,
    leases: HashMap<String, Arc<Vec<Lease>>>,
    /// Of active pools that are claimed, by UUID.
    pub(super) sizes: HashMap<String, PoolInfo>,
    pub(super) claims: Claims,
    /// How many rows were written by [`super::Mirror::replace_domain`] and its like.
    pub(super) writes: u64,
    pub(super) synced: bool,
    /// Whether the pools have been listed over the present connection. While one of them does not answer they cannot be.
    pub(super) pools_listed: bool,
    /// The names of pools that objects have, until the pools have been listed.
    pub(super) pools_expected: BTreeSet<String>,
}

impl Tables {
    pub(super) fn len(&self) -> usize {
        let volumes: usize = self.volumes.values().map(HashMap::len).sum();
        self.domains.len() + self.networks.len() + self.pools.len() + volumes
    }

    /// A guest that was off is so until its start is over: that one could be running when a start of it that fails was seen in its
    /// midst would be taken for success. An event follows if it came up, and if it did not it is as it was.
    pub(super) fn put_domain(&mut self, uuid: &str, entry: Option<Arc<DomainEntry>>, stamp: u64) -> Vec<Arc<str>> {
        let is_midway = entry.as_ref().is_some_and(|entry| entry.state.is_starting());
        if is_midway && self.domains.by_uuid(uuid).is_some_and(|known| known.id.is_none()) {
            return Vec::new();
        }
        let change = self.domains.put(uuid, entry, stamp);
        self.owners(change, Claim::Domain)
    }

    pub(super) fn put_network(&mut self, uuid: &str, entry: Option<Arc<NetworkEntry>>, stamp: u64) -> Vec<Arc<str>> {
        let change = self.networks.put(uuid, entry, stamp);
        self.owners(change, Claim::Network)
    }

    pub(super) fn put_pool(&mut self, uuid: &str, entry: Option<Arc<PoolEntry>>, stamp: u64) -> Vec<Arc<str>> {
        let change = self.pools.put(uuid, entry, stamp);
        self.owners(change, Claim::Pool)
    }

    /// Puts what a read of a pool found, with its sizes.
    pub(super) fn put_sized_pool(
        &mut self,
        uuid: &str,
        (entry, sizes): (Option<Arc<PoolEntry>>, Option<PoolInfo>),
        stamp: u64,
    ) -> Vec<Arc<str>> {
        match sizes {
            Some(sizes) => drop(self.sizes.insert(uuid.to_owned(), sizes)),
            None => drop(self.sizes.remove(uuid)),
        }
        self.put_pool(uuid, entry, stamp)
    }

    /// Who claims what changed, by UUID or by a name it had or has.
    fn owners<E: Entry>(&self, change: Option<Change<E>>, claim: fn(String) -> Claim) -> Vec<Arc<str>> {
        let Some(Change { before, after }) = change else { return Vec::new() };
        let keys: HashSet<Claim> = [before, after]
            .iter()
            .flatten()
            .flat_map(|entry| [claim(entry.uuid().to_owned()), claim(entry.name().to_owned())])
            .collect();
        keys.iter().flat_map(|key| self.claims.of(key)).collect()
    }

    /// Who claims a domain by its UUID or name.
    pub(super) fn owners_of_domain(&self, uuid: &str) -> Vec<Arc<str>> {
        let named = self.domains.by_uuid(uuid).map(|entry| Claim::Domain(entry.name.clone()));
        let keys = [Some(Claim::Domain(uuid.to_owned())), named];
        keys.iter().flatten().flat_map(|key| self.claims.of(key)).collect()
    }

    pub(super) fn volume(&self, pool: &str, name: &str) -> Option<Arc<VolumeEntry>> {
        Some(self.volumes.get(pool)?.get(name)?.entry())
    }

    pub(super) fn put_volume(&mut self, entry: &VolumeEntry, stamp: u64) -> Vec<Arc<str>> {
        let claim = Claim::Volume { pool: entry.pool.clone(), name: entry.name.clone() };
        if !self.claims.has(&claim) {
            return Vec::new();
        }
        let rows = self.volumes.entry(entry.pool.clone()).or_default();
        let before = rows.get(&entry.name);
        if before.is_some_and(|row| row.is_newer(stamp)) {
            return Vec::new();
        }
        let same = before.is_some_and(|row| *row.entry() == *entry);
        rows.insert(entry.name.clone(), Row::new(entry, stamp));
        if same { Vec::new() } else { self.claims.of(&claim).collect() }
    }

    pub(super) fn leases(&self, network: &str) -> Option<Arc<Vec<Lease>>> {
        self.leases.get(network).cloned()
    }

    /// Puts a network's leases; wakes those whose client's leases changed, or all at the first reading.
    pub(super) fn put_leases(&mut self, network: &str, leases: Vec<Lease>) -> Vec<Arc<str>> {
        let after = Arc::new(leases);
        let before = self.leases.insert(network.to_owned(), Arc::clone(&after));
        let changed = |mac: Option<&str>| {
            let Some(before) = &before else { return true };
            let of = |lease: &&Lease| mac.is_none_or(|mac| lease.mac.eq_ignore_ascii_case(mac));
            before.iter().filter(of).ne(after.iter().filter(of))
        };
        let claims = self.claims.leases().filter(|(of, mac)| *of == network && changed(*mac));
        let claims: Vec<Claim> =
            claims.map(|(of, mac)| Claim::Leases { network: of.to_owned(), mac: mac.map(str::to_owned) }).collect();
        claims.iter().flat_map(|claim| self.claims.of(claim)).collect()
    }

    pub(super) fn claims_domain(&self, uuid: &str, name: &str) -> bool {
        claimed(&self.claims, Claim::Domain, uuid, name)
    }

    pub(super) fn claims_network(&self, uuid: &str, name: &str) -> bool {
        claimed(&self.claims, Claim::Network, uuid, name)
    }

    pub(super) fn claims_pool(&self, uuid: &str, name: &str) -> bool {
        claimed(&self.claims, Claim::Pool, uuid, name)
    }

    /// Whether a claim's object has been read, or is known not to be there.
    pub(super) fn holds(&self, claim: &Claim) -> bool {
        match claim {
            Claim::Domain(id) => self.domains.by_either(id).is_none_or(|entry| entry.is_described()),
            Claim::Network(id) => self.networks.by_either(id).is_none_or(|entry| entry.is_described()),
            Claim::Pool(id) => self.pools.by_either(id).map_or(self.pools_listed, |entry| entry.is_described()),
            Claim::Volume { pool, name } => self.volume(pool, name).is_some(),
            Claim::Leases { network, .. } => self.leases.contains_key(network),
        }
    }

    /// Drops what only a claim keeps and nobody claims.
    pub(super) fn forget_unclaimed(&mut self) {
        let Self {
            domains,
            networks,
            pools,
            volumes,
            leases,
            sizes,
            claims,
            writes: _,
            synced: _,
            pools_listed: _,
            pools_expected: _,
        } = self;
        domains.strip(|entry| claimed(claims, Claim::Domain, &entry.uuid, &entry.name));
        networks.strip(|entry| claimed(claims, Claim::Network, &entry.uuid, &entry.name));
        pools.strip(|entry| claimed(claims, Claim::Pool, &entry.uuid, &entry.name));
        sizes.retain(|uuid, _| pools.by_uuid(uuid).is_some_and(|entry| entry.is_described()));
        for (pool, rows) in volumes.iter_mut() {
            rows.retain(|name, _| claims.has(&Claim::Volume { pool: pool.clone(), name: name.clone() }));
        }
        volumes.retain(|_, rows| !rows.is_empty());
        let networks: HashSet<&str> = claims.leases().map(|(network, _)| network).collect();
        leases.retain(|network, _| networks.contains(network.as_str()));
    }
}

fn claimed(claims: &Claims, claim: fn(String) -> Claim, uuid: &str, name: &str) -> bool {
    claims.has(&claim(uuid.to_owned())) || claims.has(&claim(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{State, StateReason};

    fn guest(state: State, reason: u32, id: Option<u32>) -> Arc<DomainEntry> {
        let state = StateReason { state, reason };
        let (uuid, name) = ("u".to_owned(), "guest".to_owned());
        Arc::new(DomainEntry { uuid, name, id, state, autostart: false, persistent: true, inactive: None, live: None })
    }

    #[test]
    fn a_guest_seen_in_the_midst_of_its_start_is_as_it_was_before() {
        let starting = guest(State::Paused, virt::sys::VIR_DOMAIN_PAUSED_STARTING_UP, Some(1));
        let off = guest(State::Shutoff, 0, None);
        let running = guest(State::Running, 1, Some(1));
        let mut tables = Tables::default();
        let mut after = |entry: &Arc<DomainEntry>| {
            tables.put_domain("u", Some(Arc::clone(entry)), 0);
            tables.domains.by_uuid("u").map(|known| known.state)
        };
        // Of one that was not known before there is nothing better to tell.
        for (seen, told) in [(&starting, &starting), (&off, &off), (&starting, &off), (&running, &running)] {
            assert_eq!(after(seen), Some(told.state));
        }
    }
}
