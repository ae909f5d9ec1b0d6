//! What is known of an unfinished volume beside its first bytes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use apis::{
    Managed, Volume,
    condition::{self, Type},
};

use super::{Imports, state::COPYING};

/// What is known of the volume of one object.
#[derive(Debug, Default)]
pub struct Trace {
    copied: AtomicBool,
    whole: AtomicBool,
}

impl Trace {
    /// The host may have begun to copy, which leaves no mark.
    pub(super) fn copies(&self) {
        self.copied.store(true, Ordering::Release);
    }

    /// Whether the host may have begun to copy.
    pub fn is_copied(&self) -> bool {
        self.copied.load(Ordering::Acquire)
    }

    /// This process makes it whole now, after which it has no mark; or has taken it away again.
    pub(super) fn is_made_whole(&self, is_whole: bool) {
        self.whole.store(is_whole, Ordering::Release);
    }

    /// Whether this process has made it whole.
    pub fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }
}

/// The traces, by the UID of their object.
#[derive(Debug, Default)]
pub(super) struct Traces(Mutex<HashMap<String, Arc<Trace>>>);

impl Imports {
    /// What is known of the volume of an object beside its first bytes.
    pub fn trace(&self, object: &Volume) -> Arc<Trace> {
        self.traces.of(object)
    }
}

impl Traces {
    /// That of an object. What its status says last of an import tells what an earlier process was at.
    pub(super) fn of(&self, object: &Volume) -> Arc<Trace> {
        let mut traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trace = traces.entry(object.uid().to_owned()).or_default().clone();
        let said = condition::find(object.conditions(), Type::Importing);
        if said.is_some_and(|said| said.status == "True" && said.reason == COPYING) {
            trace.copies();
        }
        trace
    }

    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}
