//! What this process writes into networks for guests. Until it is written down on the object, it would pass for what others wrote.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Reservation;

/// The MAC addresses and addresses that were written last, by the UID of the Network.
#[derive(Default)]
pub(in crate::network) struct Written(Mutex<HashMap<String, Vec<(String, IpAddr)>>>);

impl Written {
    /// These are about to be written.
    pub(in crate::network) fn note(&self, uid: &str, reserved: &[Reservation]) {
        let all = reserved.iter().map(|one| (one.mac.clone(), one.ip)).collect();
        self.all().insert(uid.to_owned(), all);
    }

    /// Whether this was.
    pub(super) fn has(&self, uid: &str, one: &(String, IpAddr)) -> bool {
        self.all().get(uid).is_some_and(|all| all.contains(one))
    }

    /// The object is gone.
    pub(in crate::network) fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Vec<(String, IpAddr)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
