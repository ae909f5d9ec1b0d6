//! What is to be read over a connection, and why.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::mirror::{Claim, Look};

/// Why something is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Event,
    Asked,
}

/// What is to be done over the present connection.
#[derive(Default)]
pub(super) struct Work {
    pub(super) generation: u64,
    pub(super) now: HashMap<Claim, Cause>,
    pub(super) later: HashMap<Claim, Cause>,
    /// What was written and read by others, and when it is read once more.
    pub(super) written: HashMap<Claim, Instant>,
    /// What the next poll reads.
    pub(super) look: Look,
    pub(super) poll_at: Option<Instant>,
}

impl Work {
    /// How long until the first that was written is due.
    pub(super) fn written_wait(&self) -> Option<Duration> {
        self.written.values().min().map(|due| due.saturating_duration_since(Instant::now()))
    }

    pub(super) fn take_written(&mut self) {
        let now = Instant::now();
        for (claim, _) in self.written.extract_if(|_, due| *due <= now) {
            self.now.entry(claim).or_insert(Cause::Asked);
        }
    }
}

/// What a stuck read of this would keep from being called on.
pub(super) fn object(claim: &Claim) -> String {
    match claim {
        Claim::Domain(id) | Claim::Network(id) | Claim::Pool(id) => id.clone(),
        Claim::Volume { pool, name } => format!("{pool}/{name}"),
        Claim::Leases { network, mac: _ } => network.clone(),
    }
}
