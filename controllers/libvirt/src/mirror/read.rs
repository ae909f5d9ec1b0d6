//! One object read anew: by the mirror after an event, and by whoever has just written it.

use std::collections::HashMap;
use std::sync::Arc;

use super::sizes::sizes;
use super::{Claim, Described, DomainEntry, Mirror, NetworkEntry, PoolEntry, Presence, Stamp, VolumeEntry};
use crate::domain::{Description, Domain, State, StateReason};
use crate::error::{Kind, absent};
use crate::lock::lock;
use crate::network::Network;
use crate::pool::{Pool, PoolInfo};
use crate::volume::Volume;
use crate::{Connection, Error};

/// Whether an id has the form of a UUID; otherwise it is a name.
fn is_uuid(id: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    id.len() == 36
        && id.bytes().enumerate().all(
            |(at, byte)| {
                if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() }
            },
        )
}

impl Connection {
    /// Looks a domain up by UUID or name.
    pub fn domain_by_id(&self, id: &str) -> Result<Option<Domain<'_>>, Error> {
        if is_uuid(id) { self.find_domain(id) } else { self.find_domain_by_name(id) }
    }

    /// Looks a network up by UUID or name.
    pub fn network_by_id(&self, id: &str) -> Result<Option<Network<'_>>, Error> {
        if is_uuid(id) { self.find_network(id) } else { self.find_network_by_name(id) }
    }

    /// Looks a pool up by UUID or name.
    pub fn pool_by_id(&self, id: &str) -> Result<Option<Pool<'_>>, Error> {
        if is_uuid(id) { self.find_pool(id) } else { self.find_pool_by_name(id) }
    }

    /// Reads a whole domain by UUID or name, for [`Mirror::replace_domain`].
    pub fn read_domain(&self, id: &str) -> Result<Option<DomainEntry>, Error> {
        let Some(domain) = self.domain_by_id(id)? else { return Ok(None) };
        absent(domain.read(None, None))
    }

    /// Reads a domain again, by UUID, that its caller has just defined and that has this autostart flag.
    pub fn read_domain_back(&self, uuid: &str, autostart: bool) -> Result<Option<DomainEntry>, Error> {
        let Some(domain) = self.find_domain(uuid)? else { return Ok(None) };
        let entry = absent(domain.read_plain(None, None))?;
        let Some(mut entry) = entry else { return Ok(None) };
        (entry.autostart, entry.persistent) = (autostart, true);
        absent(domain.describe_into(&mut entry, None).map(|()| entry))
    }

    /// Reads a domain back that its caller has defined for the first time over this handle, with this autostart flag.
    pub fn read_new_domain(&self, domain: &Domain<'_>, autostart: bool) -> Result<Option<DomainEntry>, Error> {
        let Some(mut entry) = absent(domain.read_plain(None, None))? else { return Ok(None) };
        if entry.id.is_none() && entry.state.state != State::Shutoff {
            // Somebody else has started it.
            return self.read_domain(&entry.uuid);
        }
        (entry.autostart, entry.persistent) = (autostart, true);
        absent(domain.describe_into(&mut entry, None).map(|()| entry))
    }

    /// Reads a whole network by UUID or name, for [`Mirror::replace_network`].
    pub fn read_network(&self, id: &str) -> Result<Option<NetworkEntry>, Error> {
        let Some(network) = self.network_by_id(id)? else { return Ok(None) };
        absent(network.read(None))
    }

    /// Reads a whole pool by UUID or name, for [`Mirror::replace_pool`].
    pub fn read_pool(&self, id: &str) -> Result<Option<PoolEntry>, Error> {
        let Some(pool) = self.pool_by_id(id)? else { return Ok(None) };
        absent(pool.read(None))
    }

    /// Reads a volume, pool by UUID or name, for [`Mirror::replace_volume`].
    pub fn read_volume(&self, pool: &str, name: &str) -> Result<VolumeEntry, Error> {
        let presence = match self.pool_by_id(pool)? {
            None => Presence::PoolAbsent,
            Some(found) => match found.find_volume(name) {
                Ok(None) => Presence::Absent,
                Ok(Some(volume)) => presence(&volume, None)?,
                Err(error) if error.is_invalid_state() => Presence::PoolInactive,
                Err(error) => return Err(error),
            },
        };
        Ok(VolumeEntry { pool: pool.to_owned(), name: name.to_owned(), presence })
    }
}

/// Describes a volume; libvirt looks at the file, which may have gone behind the pool's back.
pub(super) fn presence(volume: &Volume<'_>, known: Option<&VolumeEntry>) -> Result<Presence, Error> {
    match volume.describe() {
        Ok(text) => Ok(Presence::Present(Described::parse(&text, known.and_then(VolumeEntry::description))?)),
        Err(error) if error.kind == Kind::Gone => Ok(Presence::Absent),
        Err(error) => Err(error),
    }
}

/// Reads a description, sharing the known one if it is the same.
pub(super) fn described(text: Result<String, Error>, known: Option<&Option<Described>>) -> Result<Described, Error> {
    Described::parse(&text?, known.and_then(Option::as_ref))
}

/// A state that was read just before a domain was looked up.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    state: StateReason,
    /// The running id of then, as far as the state fits it.
    id: Option<u32>,
}

impl Domain<'_> {
    /// Reads all there is to know, both descriptions included. No event tells of the autostart flag: one that is known is left to the
    /// polls, which read the flags of all in one call.
    pub(super) fn read(&self, known: Option<&DomainEntry>, seen: Option<Seen>) -> Result<DomainEntry, Error> {
        let mut entry = self.read_plain(None, seen)?;
        entry.persistent = self.is_persistent()?;
        entry.autostart = match known.filter(|known| known.persistent && entry.persistent && known.inactive.is_some()) {
            Some(known) => known.autostart,
            None => self.autostart()?,
        };
        self.describe_into(&mut entry, known)?;
        Ok(entry)
    }

    fn describe_into(&self, entry: &mut DomainEntry, known: Option<&DomainEntry>) -> Result<(), Error> {
        if entry.persistent {
            let text = self.describe(Description::Inactive);
            entry.inactive = Some(described(text, known.map(|known| &known.inactive))?);
        }
        if entry.id.is_some() {
            self.describe_live_into(entry, known)?;
        }
        Ok(())
    }

    /// Of a domain that has gone off since it was looked up libvirt tells the definition instead: that is no running guest's description.
    pub(super) fn describe_live_into(&self, entry: &mut DomainEntry, known: Option<&DomainEntry>) -> Result<(), Error> {
        let text = self.describe(Description::Live)?;
        if is_of_a_run(&text) {
            entry.live = Some(described(Ok(text), known.map(|known| &known.live))?);
        } else {
            (entry.id, entry.live, entry.state) = (None, None, self.state()?);
        }
        Ok(())
    }

    /// Reads name and state, unless that was seen of this run already; the rest as known.
    pub(super) fn read_plain(&self, known: Option<&DomainEntry>, seen: Option<Seen>) -> Result<DomainEntry, Error> {
        let seen = seen.filter(|seen| seen.id == self.id());
        Ok(DomainEntry {
            uuid: self.uuid()?,
            name: self.name()?,
            id: self.id(),
            state: seen.map_or_else(|| self.state(), |seen| Ok(seen.state))?,
            autostart: known.is_some_and(|known| known.autostart),
            persistent: known.is_none_or(|known| known.persistent),
            inactive: None,
            live: None,
        })
    }
}

/// Whether a description of a domain is that of a run: only these have an id.
fn is_of_a_run(text: &str) -> bool {
    text.split('>').next().is_some_and(|tag| tag.contains(" id="))
}

impl Network<'_> {
    pub(super) fn read(&self, known: Option<&NetworkEntry>) -> Result<NetworkEntry, Error> {
        let active = self.is_active()?;
        let inactive = described(self.describe(true), known.map(|known| &known.inactive))?;
        let live = active.then(|| described(self.describe(false), known.map(|known| &known.live))).transpose()?;
        let (uuid, name, persistent) = (self.uuid()?, self.name()?, self.is_persistent()?);
        let autostart = persistent && self.autostart()?;
        Ok(NetworkEntry { uuid, name, active, persistent, autostart, inactive: Some(inactive), live })
    }
}

impl Pool<'_> {
    pub(super) fn read(&self, known: Option<&PoolEntry>) -> Result<PoolEntry, Error> {
        Ok(self.read_sized(known)?.0)
    }

    fn read_sized(&self, known: Option<&PoolEntry>) -> Result<(PoolEntry, Option<PoolInfo>), Error> {
        let active = self.is_active()?;
        let inactive = described(self.describe(true), known.map(|known| &known.inactive))?;
        let text = active.then(|| self.describe(false)).transpose()?;
        let space = text.as_ref().map(|text| sizes(self, text)).transpose()?.flatten();
        let live = text.map(|text| described(Ok(text), known.map(|known| &known.live))).transpose()?;
        let (uuid, name, autostart) = (self.uuid()?, self.name()?, self.is_persistent()? && self.autostart()?);
        Ok((PoolEntry { uuid, name, active, autostart, inactive: Some(inactive), live }, space))
    }
}

/// Reads one object for the mirror and stores it. For a pool, its claimed volumes too: its events are all they have.
pub(crate) fn refresh(connection: &Connection, mirror: &Mirror, claim: &Claim) -> Result<(), Error> {
    match claim {
        Claim::Domain(id) => refresh_domain(connection, mirror, id),
        Claim::Network(id) => refresh_network(connection, mirror, id),
        Claim::Pool(id) => refresh_pool(connection, mirror, id),
        Claim::Volume { pool, name } => {
            let stamp = mirror.begin();
            let entry = connection.read_volume(pool, name)?;
            mirror.store(stamp, |tables, written| tables.put_volume(&entry, written));
            Ok(())
        }
        Claim::Leases { network, .. } => {
            let stamp = mirror.begin();
            let found = connection.network_by_id(network)?;
            let leases = found.as_ref().map_or(Ok(None), |network| absent(network.dhcp_leases()))?;
            mirror.store(stamp, |tables, _| tables.put_leases(network, leases.unwrap_or_default()));
            Ok(())
        }
    }
}

fn refresh_domain(connection: &Connection, mirror: &Mirror, id: &str) -> Result<(), Error> {
    let stamp = mirror.begin();
    let known = lock(&mirror.tables).domains.by_either(id);
    let seen = known.as_deref().map_or(Ok(None), |known| state_first(connection, mirror, (stamp, known)))?;
    let entry = match connection.domain_by_id(id)? {
        None => None,
        Some(domain) => {
            let claimed = lock(&mirror.tables).claims_domain(&domain.uuid()?, &domain.name()?);
            let known = known.as_deref();
            let entry = absent(if claimed { domain.read(known, seen) } else { domain.read_plain(known, seen) })?;
            if claimed && entry.is_some() {
                domain.keep()?;
            }
            entry
        }
    };
    let uuid = entry.as_ref().map(|entry| entry.uuid.clone()).or_else(|| known.map(|known| known.uuid.clone()));
    if let Some(uuid) = uuid {
        mirror.store(stamp, |tables, written| tables.put_domain(&uuid, entry.map(Arc::new), written));
    }
    Ok(())
}

/// Of a claimed guest that ran its state is asked for first, in one call: if it is off, its owners know at once, and the rest is read after
/// that. Answers the state, with the running id that it may be of.
fn state_first(
    connection: &Connection,
    mirror: &Mirror,
    (stamp, known): (Stamp, &DomainEntry),
) -> Result<Option<Seen>, Error> {
    if known.id.is_none() || !known.persistent || known.inactive.is_none() {
        return Ok(None);
    }
    let Some(domain) = connection.known_domain(&known.uuid) else { return Ok(None) };
    let Some(state) = absent(domain.state())? else { return Ok(None) };
    if state.state != State::Shutoff {
        return Ok(Some(Seen { state, id: known.id }));
    }
    let off = DomainEntry { id: None, live: None, state, ..known.clone() };
    mirror.store(stamp, |tables, written| tables.put_domain(&known.uuid, Some(Arc::new(off)), written));
    Ok(Some(Seen { state, id: None }))
}

fn refresh_network(connection: &Connection, mirror: &Mirror, id: &str) -> Result<(), Error> {
    let stamp = mirror.begin();
    let known = lock(&mirror.tables).networks.by_either(id);
    let entry = match connection.network_by_id(id)? {
        None => None,
        Some(network) => {
            let (uuid, name) = (network.uuid()?, network.name()?);
            if lock(&mirror.tables).claims_network(&uuid, &name) {
                absent(network.read(known.as_deref()))?
            } else {
                let autostart = known.as_ref().is_some_and(|known| known.autostart);
                let active = absent(network.is_active())?;
                active.map(|active| NetworkEntry {
                    uuid,
                    name,
                    active,
                    persistent: true,
                    autostart,
                    inactive: None,
                    live: None,
                })
            }
        }
    };
    let uuid = entry.as_ref().map(|entry| entry.uuid.clone()).or_else(|| known.map(|known| known.uuid.clone()));
    if let Some(uuid) = uuid {
        mirror.store(stamp, |tables, written| tables.put_network(&uuid, entry.map(Arc::new), written));
    }
    Ok(())
}

fn refresh_pool(connection: &Connection, mirror: &Mirror, id: &str) -> Result<(), Error> {
    let stamp = mirror.begin();
    let known = lock(&mirror.tables).pools.by_either(id);
    let pool = connection.pool_by_id(id)?;
    let read = match &pool {
        None => None,
        Some(pool) => {
            let (uuid, name) = (pool.uuid()?, pool.name()?);
            if lock(&mirror.tables).claims_pool(&uuid, &name) {
                absent(pool.read_sized(known.as_deref()))?
            } else {
                let autostart = known.as_ref().is_some_and(|known| known.autostart);
                let active = absent(pool.is_active())?;
                active.map(|active| (PoolEntry { uuid, name, active, autostart, inactive: None, live: None }, None))
            }
        }
    };
    let (entry, space) = read.unzip();
    let keys = [entry.as_ref(), known.as_deref()];
    let keys: Vec<String> =
        keys.into_iter().flatten().flat_map(|entry| [entry.uuid.clone(), entry.name.clone()]).collect();
    let active = entry.as_ref().is_some_and(|entry| entry.active);
    if let Some(uuid) = keys.first() {
        let found = (entry.map(Arc::new), space.flatten());
        mirror.store(stamp, |tables, written| tables.put_sized_pool(uuid, found, written));
    }
    refresh_volumes(mirror, stamp, pool.as_ref().map(|pool| (pool, active)), &keys)
}

/// Reads the claimed volumes of one pool: one list, and one description each. `keys` are the names it is claimed by.
pub(super) fn refresh_volumes(
    mirror: &Mirror,
    stamp: Stamp,
    pool: Option<(&Pool<'_>, bool)>,
    keys: &[String],
) -> Result<(), Error> {
    let wanted: Vec<(String, String)> = {
        let tables = lock(&mirror.tables);
        let mine = tables.claims.volumes().filter(|(pool, _)| keys.iter().any(|key| key == pool));
        mine.map(|(pool, name)| (pool.to_owned(), name.to_owned())).collect()
    };
    if wanted.is_empty() {
        return Ok(());
    }
    let listed = match pool {
        Some((pool, true)) => absent(pool.volumes())?,
        Some((_, false)) | None => None,
    };
    let mut found = HashMap::new();
    for volume in listed.into_iter().flatten() {
        found.insert(volume.name()?, volume);
    }
    for (key, name) in wanted {
        let known = lock(&mirror.tables).volume(&key, &name);
        let presence = match (pool, found.get(&name)) {
            (None, _) => Presence::PoolAbsent,
            (Some((_, false)), _) => Presence::PoolInactive,
            (Some((_, true)), None) => Presence::Absent,
            (Some((_, true)), Some(volume)) => presence(volume, known.as_deref())?,
        };
        let entry = VolumeEntry { pool: key, name, presence };
        mirror.store(stamp, |tables, written| tables.put_volume(&entry, written));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_from_a_definition() {
        assert!(is_of_a_run("<domain type='kvm' id='3'>\n<name>a</name></domain>"));
        assert!(!is_of_a_run("<domain type='kvm'>\n<name id='3'>a</name></domain>"));
    }

    #[test]
    fn a_uuid_is_told_from_a_name() {
        let ids = [
            "6695eb01-f6a4-8304-79aa-97f2502e193f",
            "test",
            "6695eb01-f6a4-8304-79aa-97f2502e193",
            "-".repeat(36).as_str(),
        ]
        .map(is_uuid);
        assert_eq!(ids, [true, false, false, false]);
    }
}
