//! Turns that all take together who lead to one host, by whichever config. Each config has connections, and locks, of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use libvirt::Facts;
use tokio::{sync::OwnedMutexGuard, time::timeout};

/// How long the turn of another config is waited for. It is a moment's work where a host answers; a config whose host hangs, or only says
/// that it is this one, holds up the others no longer. libvirt itself then refuses most of what collides.
const PATIENCE: Duration = Duration::from_secs(10);

/// By what a host is known. Boards are shipped with the same UUID, so the name counts too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    uuid: Option<String>,
    hostname: String,
    driver: String,
}

impl Identity {
    pub(super) fn of(facts: &Facts) -> Self {
        Self { uuid: facts.uuid.clone(), hostname: facts.hostname.clone(), driver: facts.driver.clone() }
    }
}

/// The turn of one host.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// The turns of all hosts.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Identity, Turn>>);

impl Turns {
    /// That of a host.
    pub(super) fn of(&self, facts: &Facts) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = Identity::of(facts);
        // Those nobody holds are as good as new.
        turns.retain(|known, turn| *known == identity || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(identity).or_default())
    }
}

/// The turn, or none where it does not come in time.
pub(super) async fn take(turn: &Turn) -> Option<OwnedMutexGuard<()>> {
    timeout(PATIENCE, Arc::clone(turn).lock_owned()).await.ok()
}
