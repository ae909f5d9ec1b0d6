//! Which guests were found as wished, and from what: what is the same again is neither rendered nor compared again.
//!
//! ```text
//! object at its resourceVersion, what it refers to, descriptions, host ──▶ key ──▶ known: as wished, and as its status shows it
//! ```

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use apis::Managed as _;
use libvirt::mirror::{Described, DomainEntry};
use managed::external::Pass;

use super::{Domains, Found, Surroundings};

/// By UID.
#[derive(Default)]
pub(super) struct Settled(Mutex<HashMap<String, Memo>>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Memo {
    key: u64,
    /// The status of the object shows what the host does.
    shown: bool,
}

impl Settled {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Memo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this was found as wished before.
    pub(super) fn knows(&self, uid: &str, key: Option<u64>) -> bool {
        key.is_some_and(|key| self.all().get(uid).is_some_and(|memo| memo.key == key))
    }

    /// Whether its status shows this.
    pub(super) fn shows(&self, uid: &str, key: Option<u64>) -> bool {
        key.is_some_and(|key| self.all().get(uid) == Some(&Memo { key, shown: true }))
    }

    /// Remembers that this is as wished; `None`: what is there is not, or cannot be told apart.
    pub(super) fn note(&self, uid: &str, key: Option<u64>) {
        let mut all = self.all();
        match key {
            None => drop(all.remove(uid)),
            Some(key) if all.get(uid).is_some_and(|memo| memo.key == key) => {}
            Some(key) => drop(all.insert(uid.to_owned(), Memo { key, shown: false })),
        }
    }

    /// Remembers that its status shows this.
    pub(super) fn note_shown(&self, uid: &str, key: Option<u64>) {
        if let Some(memo) = self.all().get_mut(uid).filter(|memo| key == Some(memo.key)) {
            memo.shown = true;
        }
    }

    /// Forgets a guest whose object has gone.
    pub(super) fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }
}

impl Domains {
    /// What a look at a guest is made from, as one number. An object that was never stored has none, nor has a guest that is only looked
    /// at: nothing is rendered for it.
    pub(super) fn key(&self, pass: &Pass<'_, Self>, around: &Surroundings, found: &Found) -> Option<u64> {
        let version = pass.object.metadata.resource_version.as_deref()?;
        let entry = found.entry.as_deref().filter(|_| !found.theirs)?;
        let DomainEntry { uuid, name, id, state, autostart, persistent, inactive, live } = entry;
        let digest = |description: &Option<Described>| description.as_ref().map(Described::digest);
        let guest =
            (uuid, name, id, state.state as u32, state.reason, autostart, persistent, digest(inactive), digest(live));
        let of_us = (found.adopted, self.is_asked(pass.object.uid()));
        let whole = (version, found.complete(around), guest, of_us, pass.host.facts());
        Some(BuildHasherDefault::<DefaultHasher>::default().hash_one(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_is_known_and_only_what_was_seen_in_the_status_is_shown() {
        let settled = Settled::default();
        settled.note("u", Some(1));
        assert!(settled.knows("u", Some(1)) && !settled.shows("u", Some(1)));
        assert!(!settled.knows("u", Some(2)) && !settled.knows("other", Some(1)) && !settled.knows("u", None));
        settled.note_shown("u", Some(2));
        assert!(!settled.shows("u", Some(1)), "that was of something else");
        settled.note_shown("u", Some(1));
        settled.note("u", Some(1));
        assert!(settled.shows("u", Some(1)));
        settled.note("u", Some(2));
        assert!(settled.knows("u", Some(2)) && !settled.shows("u", Some(2)), "its status may still show the other");
        settled.note("u", None);
        assert!(!settled.knows("u", Some(2)));
    }
}
