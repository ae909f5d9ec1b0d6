//! What the host has, kept up to date by its events: reads cost no call.
//!
//! ```text
//! libvirt events ──▶ the host's thread ──▶ one object read anew ──▶ tables ──changed?──▶ owners woken
//! poll (jittered) ─▶        "          ──▶ bulk lists, claimed descriptions ──▶ "
//! a write's read-back (replace) ───────────────────────────────────────────▶ "
//! ```
//!
//! Of every domain, network and pool it holds name, UUID and state; descriptions, volumes and leases only of what is claimed.
//! It may be a moment behind, so it can answer "nothing to do" and nothing else: whoever changes or releases something asks
//! the host again.

mod claims;
mod described;
mod entry;
mod index;
mod read;
mod sizes;
mod sweep;
mod tables;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::Error;
use crate::Lease;
use crate::PoolInfo;
use crate::keeper::Note;
use crate::lock::lock;
use crate::wakes::{WakeHub, Wakes};

pub use claims::Claim;
pub use described::Described;
pub use entry::{DomainEntry, NetworkEntry, PoolEntry, Presence, VolumeEntry};
pub(crate) use read::refresh;
pub(crate) use sweep::{Look, sweep, sweep_pools};

use tables::Tables;

/// The mirror of one host.
pub struct Mirror {
    tables: Mutex<Tables>,
    /// Grows when what is being read must not be stored any more: a new connection, or an abandoned read.
    epoch: AtomicU64,
    hub: WakeHub,
    keeper: mpsc::Sender<Note>,
    reading: watch::Sender<Reading>,
}

/// How far the host has been read over its present connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It has not, since this moment: it is being connected or read.
    Underway(Instant),
    /// Wholly.
    Whole,
    /// It could not be, for this reason; it is tried again.
    Failed(Error),
}

/// When a read began; what was written later is newer than what it found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    epoch: u64,
    writes: u64,
}

impl Mirror {
    pub(crate) fn new(hub: WakeHub, keeper: mpsc::Sender<Note>) -> Self {
        let reading = watch::Sender::new(Reading::Underway(Instant::now()));
        Self { tables: Mutex::default(), epoch: AtomicU64::new(0), hub, keeper, reading }
    }

    /// Claims something for an owner: it is kept whole from now on, and the owner is woken when it changes. Says whether the
    /// mirror holds it already; if not, the owner is woken once it does.
    pub fn claim(&self, claim: Claim, owner: &str) -> bool {
        let mut tables = lock(&self.tables);
        let added = tables.claims.add(&claim, owner);
        let held = tables.synced && tables.holds(&claim);
        let load = added && tables.synced && !held;
        drop(tables);
        if load {
            self.tell(Note::Refresh(claim));
        }
        held
    }

    /// Drops one claim of an owner.
    pub fn unclaim_one(&self, claim: &Claim, owner: &str) {
        let mut tables = lock(&self.tables);
        tables.claims.remove(claim, owner);
        tables.forget_unclaimed();
    }

    /// Drops all claims of an owner; what nobody claims any more is kept by name and state only.
    pub fn unclaim(&self, owner: &str) {
        let mut tables = lock(&self.tables);
        tables.claims.remove_owner(owner);
        tables.forget_unclaimed();
    }

    /// Asks for something to be read again soon: for changes that no event tells of, such as a lease that is being waited for.
    pub fn refresh(&self, claim: Claim) {
        self.tell(Note::Refresh(claim));
    }

    /// The same for everything that an owner has claimed.
    pub fn refresh_of(&self, owner: &str) {
        let claims = lock(&self.tables).claims.of_owner(owner);
        for claim in claims {
            self.refresh(claim);
        }
    }

    /// The names of the pools that it holds, and of those that are expected.
    pub(crate) fn pool_names(&self) -> BTreeSet<String> {
        let tables = lock(&self.tables);
        tables.pools.names().into_iter().chain(tables.pools_expected.iter().cloned()).collect()
    }

    /// Names pools that may be there, for a host that has a pool which does not answer: it cannot list the others, and they are read one by
    /// one.
    pub fn expect_pools(&self, names: impl IntoIterator<Item = String>) {
        let mut tables = lock(&self.tables);
        if !tables.pools_listed {
            tables.pools_expected.extend(names);
        }
    }

    /// The pools have been listed.
    pub(crate) fn listed_pools(&self) {
        let mut tables = lock(&self.tables);
        tables.pools_listed = true;
        tables.pools_expected.clear();
    }

    /// Whether everything has been read once over the present connection. Until then "not there" means "not known".
    pub fn synced(&self) -> bool {
        lock(&self.tables).synced
    }

    /// The same, to be watched, and why not.
    pub fn reading(&self) -> watch::Receiver<Reading> {
        self.reading.subscribe()
    }

    /// A receiver of the owners to wake.
    pub fn wakes(&self) -> Wakes {
        self.hub.subscribe()
    }

    /// How many domains, networks, pools and volumes it holds.
    pub fn len(&self) -> usize {
        lock(&self.tables).len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A domain by UUID.
    pub fn domain(&self, uuid: &str) -> Option<Arc<DomainEntry>> {
        lock(&self.tables).domains.by_uuid(uuid)
    }

    /// A domain by name.
    pub fn domain_by_name(&self, name: &str) -> Option<Arc<DomainEntry>> {
        lock(&self.tables).domains.by_name(name)
    }

    /// A network by UUID.
    pub fn network(&self, uuid: &str) -> Option<Arc<NetworkEntry>> {
        lock(&self.tables).networks.by_uuid(uuid)
    }

    /// A network by name.
    pub fn network_by_name(&self, name: &str) -> Option<Arc<NetworkEntry>> {
        lock(&self.tables).networks.by_name(name)
    }

    /// A pool by UUID.
    pub fn pool(&self, uuid: &str) -> Option<Arc<PoolEntry>> {
        lock(&self.tables).pools.by_uuid(uuid)
    }

    /// A pool by name.
    pub fn pool_by_name(&self, name: &str) -> Option<Arc<PoolEntry>> {
        lock(&self.tables).pools.by_name(name)
    }

    /// How full a claimed pool is that is active, by UUID: as libvirt had it at the last poll or event. It looks for itself when the pool is
    /// refreshed or a volume is made or deleted through it. Nobody is woken when it changes.
    pub fn pool_sizes(&self, uuid: &str) -> Option<PoolInfo> {
        lock(&self.tables).sizes.get(uuid).copied()
    }

    /// A claimed volume, by the pool's name or UUID as claimed and its own name. `None`: not claimed or not read yet.
    pub fn volume(&self, pool: &str, name: &str) -> Option<Arc<VolumeEntry>> {
        lock(&self.tables).volume(pool, name)
    }

    /// The leases of a claimed network, by its name or UUID as claimed. `None`: not claimed or not read yet.
    pub fn leases(&self, network: &str) -> Option<Arc<Vec<Lease>>> {
        lock(&self.tables).leases(network)
    }

    /// Puts a domain as read back after a write, `None` when it is gone. The mirror reads it once more: something else may
    /// have happened between the read-back and now.
    pub fn replace_domain(&self, uuid: &str, entry: Option<DomainEntry>) {
        self.write(|tables, stamp| tables.put_domain(uuid, entry.map(Arc::new), stamp));
        self.tell(Note::Written(Claim::Domain(uuid.to_owned())));
    }

    /// Puts a network as read back after a write.
    pub fn replace_network(&self, uuid: &str, entry: Option<NetworkEntry>) {
        self.write(|tables, stamp| tables.put_network(uuid, entry.map(Arc::new), stamp));
        self.tell(Note::Written(Claim::Network(uuid.to_owned())));
    }

    /// Puts a pool as read back after a write.
    pub fn replace_pool(&self, uuid: &str, entry: Option<PoolEntry>) {
        self.write(|tables, stamp| tables.put_pool(uuid, entry.map(Arc::new), stamp));
        self.tell(Note::Written(Claim::Pool(uuid.to_owned())));
    }

    /// Puts a volume as read back after a write; its absence is an entry too.
    pub fn replace_volume(&self, entry: VolumeEntry) {
        let claim = Claim::Volume { pool: entry.pool.clone(), name: entry.name.clone() };
        self.write(move |tables, stamp| tables.put_volume(&entry, stamp));
        self.tell(Note::Written(claim));
    }

    fn write(&self, put: impl FnOnce(&mut Tables, u64) -> Vec<Arc<str>>) {
        let mut tables = lock(&self.tables);
        tables.writes += 1;
        let stamp = tables.writes;
        let owners = put(&mut tables, stamp);
        drop(tables);
        self.wake(&owners);
    }

    /// Marks the beginning of a read.
    pub(crate) fn begin(&self) -> Stamp {
        let writes = lock(&self.tables).writes;
        Stamp { epoch: self.epoch.load(Ordering::Acquire), writes }
    }

    /// Makes what is being read now unfit to be stored.
    pub(crate) fn supersede(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Stores what a read found, unless the read was superseded.
    fn store(&self, stamp: Stamp, put: impl FnOnce(&mut Tables, u64) -> Vec<Arc<str>>) {
        let mut tables = lock(&self.tables);
        if stamp.epoch != self.epoch.load(Ordering::Acquire) {
            return;
        }
        let owners = put(&mut tables, stamp.writes);
        drop(tables);
        self.wake(&owners);
    }

    /// A new connection: nothing is known until it is read again. What was held stays readable, marked as not synced.
    pub(crate) fn restart(&self) {
        self.supersede();
        let mut tables = lock(&self.tables);
        (tables.synced, tables.pools_listed) = (false, false);
        drop(tables);
        self.reading.send_replace(Reading::Underway(Instant::now()));
    }

    /// Not everything could be read. What is known of before stays so.
    pub(crate) fn failed(&self, error: &Error) {
        self.reading.send_if_modified(|reading| {
            let is_news = matches!(reading, Reading::Underway(_));
            if is_news {
                *reading = Reading::Failed(error.clone());
            }
            is_news
        });
    }

    /// Everything has been read: everybody may look.
    pub(crate) fn complete(&self) {
        let mut tables = lock(&self.tables);
        tables.synced = true;
        // Under the lock: whoever sees that it is synced has been woken for it, and is woken next for a change.
        self.wake(&tables.claims.owners());
        drop(tables);
        self.reading.send_if_modified(|reading| std::mem::replace(reading, Reading::Whole) != Reading::Whole);
    }

    /// After an event of a domain was read: its owners look even if the tables show no change, since some events are about
    /// nothing else (a job ended, the guest keeps a device). Pools and networks have no such events.
    pub(crate) fn happened(&self, claim: &Claim) {
        let Claim::Domain(uuid) = claim else { return };
        let owners = lock(&self.tables).owners_of_domain(uuid);
        self.wake(&owners);
    }

    fn wake(&self, owners: &[Arc<str>]) {
        for owner in owners {
            self.hub.wake(owner);
        }
    }

    fn tell(&self, note: Note) {
        // The keeper is gone only when the host is being dropped.
        let _ = self.keeper.send(note);
    }
}
