//! What the mirror holds of each object.

use super::Described;
use crate::domain::StateReason;

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEntry {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Its running id, another one at each start.
    pub id: Option<u32>,
    /// State and reason.
    pub state: StateReason,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// Whether it has a definition that outlives its run.
    pub persistent: bool,
    /// When claimed: the description of the next boot, without secrets. `None` for a transient domain.
    pub inactive: Option<Described>,
    /// When claimed and active: the description of the running guest.
    pub live: Option<Described>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkEntry {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Whether it is started.
    pub active: bool,
    /// Whether it has a definition that outlives its stop.
    pub persistent: bool,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// When claimed: the description of the next start.
    pub inactive: Option<Described>,
    /// When claimed and active: the description of now.
    pub live: Option<Described>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolEntry {
    /// Its UUID.
    pub uuid: String,
    /// Its name.
    pub name: String,
    /// Whether it is started.
    pub active: bool,
    /// Whether it starts with the host.
    pub autostart: bool,
    /// When claimed: the description of the next start.
    pub inactive: Option<Described>,
    /// When claimed and active: the description of now, with its capacity. Sizes in use may be old.
    pub live: Option<Described>,
}

/// A claimed volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeEntry {
    /// The pool's UUID or name, as claimed.
    pub pool: String,
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether a volume is there, as far as the pool can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// It is; its description holds key, path, capacity and format. The sizes in use may be old.
    Present(Described),
    /// The active pool does not have it.
    Absent,
    /// The pool is not started, so nothing can be said.
    PoolInactive,
    /// There is no such pool.
    PoolAbsent,
}

impl VolumeEntry {
    /// The description, when it is there.
    pub fn description(&self) -> Option<&Described> {
        match &self.presence {
            Presence::Present(description) => Some(description),
            Presence::Absent | Presence::PoolInactive | Presence::PoolAbsent => None,
        }
    }
}

/// What has a UUID and a name.
pub(super) trait Entry {
    fn uuid(&self) -> &str;
    fn name(&self) -> &str;
    /// Whether nothing of it has to be read again for a claim.
    fn is_described(&self) -> bool;
    /// The same without what only a claim keeps.
    fn plain(&self) -> Self;
}

impl Entry for DomainEntry {
    fn uuid(&self) -> &str {
        &self.uuid
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn is_described(&self) -> bool {
        self.inactive.is_some() || self.live.is_some()
    }
    fn plain(&self) -> Self {
        Self { inactive: None, live: None, ..self.clone() }
    }
}

impl Entry for NetworkEntry {
    fn uuid(&self) -> &str {
        &self.uuid
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn is_described(&self) -> bool {
        self.inactive.is_some()
    }
    fn plain(&self) -> Self {
        Self { inactive: None, live: None, ..self.clone() }
    }
}

impl Entry for PoolEntry {
    fn uuid(&self) -> &str {
        &self.uuid
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn is_described(&self) -> bool {
        self.inactive.is_some()
    }
    fn plain(&self) -> Self {
        Self { inactive: None, live: None, ..self.clone() }
    }
}
