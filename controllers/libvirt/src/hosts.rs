//! All hosts of the process.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};

use crate::Error;
use crate::endpoint::{Endpoint, Settings};
use crate::host::{Host, Lasting};
use crate::lock::lock;
use crate::wakes::{WakeHub, Wakes};

/// What tells one host from another. A rotated credential is another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Whoever configures it.
    pub who: String,
    /// Everything its connection depends on, credentials included.
    pub how: String,
}

/// The hosts in use, each opened once however many ask.
#[derive(Default)]
pub struct Hosts {
    in_use: Mutex<HashMap<Key, Arc<Host>>>,
    /// What a host has in common with the one that was configured by the same before it, for as long as either is there.
    lasting: Mutex<HashMap<String, Weak<Lasting>>>,
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
        let mut hosts = lock(&self.in_use);
        if let Some(host) = hosts.get(key) {
            return Ok(Arc::clone(host));
        }
        let hub = WakeHub::below(Arc::clone(&self.hub));
        let host = Host::start(&key.who, endpoint.clone(), settings.clone(), hub, self.lasting(&key.who))?;
        hosts.insert(key.clone(), Arc::clone(&host));
        Ok(host)
    }

    fn lasting(&self, who: &str) -> Arc<Lasting> {
        let mut all = lock(&self.lasting);
        all.retain(|_, lasting| lasting.strong_count() > 0);
        if let Some(lasting) = all.get(who).and_then(Weak::upgrade) {
            return lasting;
        }
        let lasting = Arc::new(Lasting::default());
        all.insert(who.to_owned(), Arc::downgrade(&lasting));
        lasting
    }

    /// The host of this key, if it is in use.
    pub fn peek(&self, key: &Key) -> Option<Arc<Host>> {
        lock(&self.in_use).get(key).cloned()
    }

    /// Every host in use, for metrics.
    pub fn all(&self) -> Vec<(Key, Arc<Host>)> {
        lock(&self.in_use).iter().map(|(key, host)| (key.clone(), Arc::clone(host))).collect()
    }

    /// A receiver of the owners to wake, of all hosts together.
    pub fn wakes(&self) -> Wakes {
        self.hub.subscribe()
    }

    /// Lets go of every host whose key is not in use any more. It closes when the last who holds it lets go too.
    pub fn retire(&self, in_use: &HashSet<Key>) {
        let mut hosts = lock(&self.in_use);
        let (kept, gone) = std::mem::take(&mut *hosts).into_iter().partition(|(key, _)| in_use.contains(key));
        *hosts = kept;
        drop(hosts);
        // Outside the lock: the last reference ends threads.
        drop::<HashMap<Key, Arc<Host>>>(gone);
    }
}
