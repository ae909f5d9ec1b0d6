//! All hosts of the process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::Error;
use crate::endpoint::{Endpoint, Settings};
use crate::host::Host;
use crate::lock::lock;
use crate::wakes::{WakeHub, Wakes};

/// What tells one host from another: whoever configures it, and everything its connection depends on, credentials included.
/// A rotated credential is another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub String);

/// The hosts in use, each opened once however many ask.
#[derive(Default)]
pub struct Hosts {
    hosts: Mutex<HashMap<Key, Arc<Host>>>,
    hub: Arc<WakeHub>,
}

impl Hosts {
    /// No hosts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The host of this key, started if it is new. Never waits: [`Host::call`] does. Endpoint and settings are those of the
    /// first who asked, so both belong into the key.
    pub fn get(&self, key: &Key, endpoint: &Endpoint, settings: &Settings) -> Result<Arc<Host>, Error> {
        let mut hosts = lock(&self.hosts);
        if let Some(host) = hosts.get(key) {
            return Ok(Arc::clone(host));
        }
        let hub = WakeHub::below(Arc::clone(&self.hub));
        let host = Host::start(&key.0, endpoint.clone(), settings.clone(), hub)?;
        hosts.insert(key.clone(), Arc::clone(&host));
        Ok(host)
    }

    /// The host of this key, if it is in use.
    pub fn peek(&self, key: &Key) -> Option<Arc<Host>> {
        lock(&self.hosts).get(key).cloned()
    }

    /// Every host in use, for metrics.
    pub fn all(&self) -> Vec<(Key, Arc<Host>)> {
        lock(&self.hosts).iter().map(|(key, host)| (key.clone(), Arc::clone(host))).collect()
    }

    /// A receiver of the owners to wake, of all hosts together.
    pub fn wakes(&self) -> Wakes {
        self.hub.subscribe()
    }

    /// Lets go of every host whose key is not in use any more. It closes when the last who holds it lets go too.
    pub fn retire(&self, in_use: &HashSet<Key>) {
        let mut hosts = lock(&self.hosts);
        let (kept, gone) = std::mem::take(&mut *hosts).into_iter().partition(|(key, _)| in_use.contains(key));
        *hosts = kept;
        drop(hosts);
        // Outside the lock: the last reference ends threads.
        drop::<HashMap<Key, Arc<Host>>>(gone);
    }
}
