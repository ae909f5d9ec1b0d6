//! Objects with a call that libvirt has not answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::Error;
use crate::counters::Counters;
use crate::lock::lock;

/// The objects of one host that no call may be made on now. Outlives connections: a stuck call does too.
pub(crate) struct Quarantine {
    objects: Mutex<HashMap<String, usize>>,
    counters: Arc<Counters>,
}

/// Keeps an object in quarantine until dropped.
pub(crate) struct Quarantined {
    object: String,
    quarantine: Arc<Quarantine>,
}

impl Quarantine {
    pub(crate) fn new(counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), counters })
    }

    pub(crate) fn check(&self, object: &str) -> Result<(), Error> {
        if lock(&self.objects).contains_key(object) {
            return Err(Error::busy(format!("{object} is still waiting for a call that libvirt has not answered")));
        }
        Ok(())
    }

    pub(crate) fn add(self: &Arc<Self>, object: &str) -> Quarantined {
        *lock(&self.objects).entry(object.to_owned()).or_insert(0) += 1;
        self.counters.add_quarantined(1);
        Quarantined { object: object.to_owned(), quarantine: Arc::clone(self) }
    }
}

impl Drop for Quarantined {
    fn drop(&mut self) {
        let mut objects = lock(&self.quarantine.objects);
        if let Some(count) = objects.get_mut(&self.object) {
            *count -= 1;
            if *count == 0 {
                objects.remove(&self.object);
            }
        }
        self.quarantine.counters.add_quarantined(-1);
    }
}
