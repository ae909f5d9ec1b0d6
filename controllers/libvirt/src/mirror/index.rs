//! Rows by UUID and name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entry::Entry;

/// A row and the number of the write it came from.
pub(super) struct Row<E> {
    entry: Arc<E>,
    written: u64,
}

impl<E: Clone> Row<E> {
    /// A row keeps a copy, and gives copies: no reader's parsed descriptions stay with it (see [`super::Described`]).
    pub(super) fn new(entry: &E, written: u64) -> Self {
        Self { entry: Arc::new(entry.clone()), written }
    }

    /// A copy to look at.
    pub(super) fn entry(&self) -> Arc<E> {
        Arc::new(E::clone(&self.entry))
    }

    /// Whether it was written after a read with this stamp began.
    pub(super) fn is_newer(&self, stamp: u64) -> bool {
        self.written > stamp
    }
}

/// A table of objects that have a UUID and a name.
pub(super) struct Index<E> {
    rows: HashMap<Arc<str>, Row<E>>,
    /// UUIDs by name; the UUID is the one of the rows.
    names: HashMap<Box<str>, Arc<str>>,
}

impl<E> Default for Index<E> {
    fn default() -> Self {
        Self { rows: HashMap::new(), names: HashMap::new() }
    }
}

/// What changed: a row before and after.
pub(super) struct Change<E> {
    pub(super) before: Option<Arc<E>>,
    pub(super) after: Option<Arc<E>>,
}

impl<E: Entry + PartialEq + Clone> Index<E> {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().map(ToString::to_string).collect()
    }

    pub(super) fn by_uuid(&self, uuid: &str) -> Option<Arc<E>> {
        self.rows.get(uuid).map(Row::entry)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<Arc<E>> {
        self.by_uuid(self.names.get(name)?)
    }

    pub(super) fn by_either(&self, id: &str) -> Option<Arc<E>> {
        self.by_uuid(id).or_else(|| self.by_name(id))
    }

    /// Puts a row or takes it away, unless a later write put the one that is there. Says what changed.
    pub(super) fn put(&mut self, uuid: &str, entry: Option<Arc<E>>, stamp: u64) -> Option<Change<E>> {
        if self.rows.get(uuid).is_some_and(|row| row.is_newer(stamp)) {
            return None;
        }
        let before = match &entry {
            Some(entry) => self.insert(uuid, entry, stamp),
            None => self.take(uuid),
        };
        (before != entry).then_some(Change { before, after: entry })
    }

    /// Puts a row; the one before. Most rows are put again and again under the same name.
    fn insert(&mut self, uuid: &str, entry: &E, stamp: u64) -> Option<Arc<E>> {
        let is_known = self.names.get(entry.name()).is_some_and(|owner| **owner == *uuid);
        if let Some(row) = self.rows.get_mut(uuid).filter(|row| is_known && row.entry.name() == entry.name()) {
            return Some(std::mem::replace(row, Row::new(entry, stamp)).entry);
        }
        let before = self.take(uuid);
        let uuid: Arc<str> = Arc::from(uuid);
        self.names.insert(Box::from(entry.name()), Arc::clone(&uuid));
        self.rows.insert(uuid, Row::new(entry, stamp));
        before
    }

    fn take(&mut self, uuid: &str) -> Option<Arc<E>> {
        let row = self.rows.remove(uuid)?;
        if self.names.get(row.entry.name()).is_some_and(|owner| **owner == *uuid) {
            self.names.remove(row.entry.name());
        }
        Some(row.entry)
    }

    /// Those that a bulk list did not show.
    pub(super) fn missing(&self, seen: &HashSet<String>) -> Vec<String> {
        self.rows.keys().filter(|uuid| !seen.contains(&***uuid)).map(ToString::to_string).collect()
    }

    /// Keeps the descriptions of those that are claimed only.
    pub(super) fn strip(&mut self, claimed: impl Fn(&E) -> bool) {
        for row in self.rows.values_mut() {
            if row.entry.is_described() && !claimed(&row.entry) {
                row.entry = Arc::new(row.entry.plain());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NetworkEntry;
    use super::*;

    fn network(name: &str, active: bool) -> Arc<NetworkEntry> {
        let (uuid, name) = ("u".to_owned(), name.to_owned());
        Arc::new(NetworkEntry { uuid, name, active, persistent: true, autostart: false, inactive: None, live: None })
    }

    #[test]
    fn a_read_that_began_before_a_write_does_not_undo_it() {
        let mut index = Index::default();
        index.put("u", Some(network("n", true)), 5);
        assert!(index.put("u", Some(network("n", false)), 4).is_none());
        assert_eq!(index.by_name("n"), Some(network("n", true)));
        assert!(index.put("u", None, 5).is_some());
        assert_eq!(index.by_name("n"), None);
    }

    #[test]
    fn a_renamed_object_is_not_found_by_its_old_name() {
        let mut index = Index::default();
        index.put("u", Some(network("old", true)), 0);
        index.put("u", Some(network("new", true)), 0);
        assert_eq!((index.by_name("old"), index.by_name("new")), (None, Some(network("new", true))));
    }
}
