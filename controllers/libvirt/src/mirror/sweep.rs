//! Everything read in bulk: after a connection is made, and at each poll for what has no events.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::read::{described, refresh_volumes};
use super::sizes::sizes;
use super::{DomainEntry, Mirror, NetworkEntry, PoolEntry, Stamp};
use crate::domain::{Description, Listed};
use crate::error::{Kind, absent};
use crate::lock::lock;
use crate::network::{Network, is_lender};
use crate::pool::{Listing, Pool};
use crate::{Connection, Error};

/// Which descriptions a sweep reads. A domain that runs has two, and both can be changed without an event: its definition by most edits
/// `--config`, its running guest by a link that is set down or a period of statistics. Polls read them in turn, so that one costs one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Look {
    /// All of them: nothing is known over this connection.
    #[default]
    Whole,
    /// Of domains that run, the running guest.
    Guests,
    /// Of domains, the definition.
    Definitions,
}

impl Look {
    /// What the poll after this one reads.
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Whole | Self::Definitions => Self::Guests,
            Self::Guests => Self::Definitions,
        }
    }
}

/// Reads everything but pools, and of running domains the description whose turn it is.
///
/// Per poll: for domains one list of states and one of autostart, for pools and networks three lists each, one description
/// for each claimed domain, network and pool, one list for each pool with claimed volumes and one description for each of
/// these, one call for each network with claimed leases. What changes in a description of a running domain without an event is so seen
/// within two polls.
pub(crate) fn sweep(connection: &Connection, mirror: &Mirror, look: Look) -> Result<(), Error> {
    let (stamp, whole) = (mirror.begin(), look == Look::Whole);
    domains(connection, mirror, stamp, look)?;
    networks(connection, mirror, stamp, whole)
}

/// The same of the pools.
pub(crate) fn sweep_pools(connection: &Connection, mirror: &Mirror, look: Look) -> Result<(), Error> {
    pools(connection, mirror, mirror.begin(), look == Look::Whole)
}

/// A host may lack the driver for networks or storage; then it has none of them.
fn supported<T>(listed: Result<Vec<T>, Error>) -> Result<Vec<T>, Error> {
    match listed {
        Err(error) if error.is_unsupported() => Ok(Vec::new()),
        listed => listed,
    }
}

fn domains(connection: &Connection, mirror: &Mirror, stamp: Stamp, look: Look) -> Result<(), Error> {
    let whole = look == Look::Whole;
    let rows = connection.list_domains()?;
    let autostart: HashSet<String> = connection.autostarted_domains()?.into_iter().collect();
    let transient: HashSet<String> =
        if whole { connection.transient_domains()?.into_iter().collect() } else { HashSet::new() };
    let mut seen = HashSet::with_capacity(rows.len());
    connection.known_domains().clear();
    for row in rows {
        let uuid = row.domain.uuid()?;
        let known = lock(&mirror.tables).domains.by_uuid(&uuid);
        let persistent = match &known {
            Some(known) if !whole => known.persistent,
            Some(_) | None => !transient.contains(&uuid),
        };
        let mut entry = plain_domain(&row, autostart.contains(&uuid), persistent)?;
        seen.insert(uuid);
        if lock(&mirror.tables).claims_domain(&entry.uuid, &entry.name) {
            match describe_domain(&row, &mut entry, known.as_deref(), look) {
                Ok(()) => row.domain.keep()?,
                // It went between list and description; an event says so, or the next poll.
                Err(error) if error.kind == Kind::Gone => continue,
                Err(error) => return Err(error),
            }
        }
        mirror.store(stamp, |tables, written| tables.put_domain(&entry.uuid.clone(), Some(Arc::new(entry)), written));
    }
    let missing = lock(&mirror.tables).domains.missing(&seen);
    for uuid in missing {
        mirror.store(stamp, |tables, written| tables.put_domain(&uuid, None, written));
    }
    Ok(())
}

fn plain_domain(row: &Listed<'_>, autostart: bool, persistent: bool) -> Result<DomainEntry, Error> {
    Ok(DomainEntry {
        uuid: row.domain.uuid()?,
        name: row.domain.name()?,
        id: row.domain.id(),
        state: row.state,
        autostart,
        persistent,
        inactive: None,
        live: None,
    })
}

fn describe_domain(
    row: &Listed<'_>,
    entry: &mut DomainEntry,
    known: Option<&DomainEntry>,
    look: Look,
) -> Result<(), Error> {
    let runs = entry.id.is_some();
    // One that runs and has no definition, or is off, has but one description.
    let held = known.filter(|_| look == Look::Guests && runs);
    entry.inactive = match held.and_then(|known| known.inactive.clone()) {
        _ if !entry.persistent => None,
        Some(held) => Some(held),
        None => {
            let text = row.domain.describe(Description::Inactive);
            Some(described(text, known.map(|known| &known.inactive))?)
        }
    };
    let is_held = |known: &&DomainEntry| look == Look::Definitions && entry.persistent && known.id == entry.id;
    match known.filter(is_held).and_then(|known| known.live.clone()) {
        _ if !runs => {}
        Some(held) => entry.live = Some(held),
        None => row.domain.describe_live_into(entry, known)?,
    }
    Ok(())
}

fn networks(connection: &Connection, mirror: &Mirror, stamp: Stamp, whole: bool) -> Result<(), Error> {
    let all = supported(connection.list_networks(Listing::All))?;
    let active = network_uuids(&supported(connection.list_networks(Listing::Active))?)?;
    let autostart = network_uuids(&supported(connection.list_networks(Listing::Autostart))?)?;
    for network in &all {
        let (uuid, name) = (network.uuid()?, network.name()?);
        let known = lock(&mirror.tables).networks.by_uuid(&uuid);
        let (active, autostart) = (active.contains(&uuid), autostart.contains(&uuid));
        // An event tells when it changes, so it is asked for once.
        let persistent = known.as_ref().map_or_else(|| network.is_persistent(), |known| Ok(known.persistent))?;
        let mut entry = NetworkEntry { uuid, name, active, persistent, autostart, inactive: None, live: None };
        if lock(&mirror.tables).claims_network(&entry.uuid, &entry.name) {
            let Some(text) = absent(network.describe(true))? else { continue };
            entry.inactive = Some(described(Ok(text), known.as_ref().map(|known| &known.inactive))?);
            let held = known.as_ref().filter(|_| !whole).and_then(|known| known.live.clone());
            // Who has something of it is told by no event.
            let held = held.filter(|held| !is_lender(held));
            entry.live = match (active, held) {
                (false, _) => None,
                (true, Some(held)) => Some(held),
                (true, None) => {
                    let Some(text) = absent(network.describe(false))? else { continue };
                    Some(described(Ok(text), known.as_ref().map(|known| &known.live))?)
                }
            };
        }
        mirror.store(stamp, |tables, written| tables.put_network(&entry.uuid.clone(), Some(Arc::new(entry)), written));
    }
    let missing = lock(&mirror.tables).networks.missing(&network_uuids(&all)?);
    for uuid in missing {
        mirror.store(stamp, |tables, written| tables.put_network(&uuid, None, written));
    }
    leases(mirror, stamp, &all, &active)
}

fn network_uuids(networks: &[Network<'_>]) -> Result<HashSet<String>, Error> {
    networks.iter().map(Network::uuid).collect()
}

/// One call for each network whose leases are claimed; a stopped network has none.
fn leases(mirror: &Mirror, stamp: Stamp, all: &[Network<'_>], active: &HashSet<String>) -> Result<(), Error> {
    let wanted: HashSet<String> = lock(&mirror.tables).claims.leases().map(|(network, _)| network.to_owned()).collect();
    let mut read = HashMap::new();
    for network in all {
        let keys = [network.uuid()?, network.name()?];
        if active.contains(&keys[0]) && keys.iter().any(|key| wanted.contains(key)) {
            let leases = absent(network.dhcp_leases())?.unwrap_or_default();
            read.extend(keys.map(|key| (key, leases.clone())));
        }
    }
    for key in wanted {
        let leases = read.get(&key).cloned().unwrap_or_default();
        mirror.store(stamp, |tables, _| tables.put_leases(&key, leases));
    }
    Ok(())
}

fn pools(connection: &Connection, mirror: &Mirror, stamp: Stamp, whole: bool) -> Result<(), Error> {
    let all = supported(connection.list_pools(Listing::All))?;
    let active = pool_uuids(&supported(connection.list_pools(Listing::Active))?)?;
    let autostart = pool_uuids(&supported(connection.list_pools(Listing::Autostart))?)?;
    let mut seen = HashSet::new();
    for pool in &all {
        let (uuid, name) = (pool.uuid()?, pool.name()?);
        seen.extend([uuid.clone(), name.clone()]);
        let known = lock(&mirror.tables).pools.by_uuid(&uuid);
        let (active, autostart) = (active.contains(&uuid), autostart.contains(&uuid));
        let mut entry =
            PoolEntry { uuid: uuid.clone(), name: name.clone(), active, autostart, inactive: None, live: None };
        let mut space = None;
        if lock(&mirror.tables).claims_pool(&uuid, &name) {
            let Some(text) = absent(pool.describe(true))? else { continue };
            space = if active { sizes(pool, &text)? } else { None };
            entry.inactive = Some(described(Ok(text), known.as_ref().map(|known| &known.inactive))?);
            let held = known.as_ref().filter(|_| !whole).and_then(|known| known.live.clone());
            entry.live = match (active, held) {
                (false, _) => None,
                (true, Some(held)) => Some(held),
                (true, None) => {
                    let Some(text) = absent(pool.describe(false))? else { continue };
                    Some(described(Ok(text), known.as_ref().map(|known| &known.live))?)
                }
            };
        }
        mirror.store(stamp, |tables, written| tables.put_sized_pool(&uuid, (Some(Arc::new(entry)), space), written));
        refresh_volumes(mirror, stamp, Some((pool, active)), &[uuid.clone(), name])?;
    }
    let missing = lock(&mirror.tables).pools.missing(&pool_uuids(&all)?);
    for uuid in missing {
        mirror.store(stamp, |tables, written| tables.put_sized_pool(&uuid, (None, None), written));
    }
    orphans(mirror, stamp, &seen)
}

fn pool_uuids(pools: &[Pool<'_>]) -> Result<HashSet<String>, Error> {
    pools.iter().map(Pool::uuid).collect()
}

/// Claimed volumes of pools that are not there.
fn orphans(mirror: &Mirror, stamp: Stamp, seen: &HashSet<String>) -> Result<(), Error> {
    let claimed: HashSet<String> = lock(&mirror.tables).claims.volumes().map(|(pool, _)| pool.to_owned()).collect();
    let keys: Vec<String> = claimed.into_iter().filter(|pool| !seen.contains(pool)).collect();
    refresh_volumes(mirror, stamp, None, &keys)
}
