//! One host: its calls, its state, its mirror.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, SystemTime};

use tokio::sync::{RwLock, watch};

use crate::calls::{self, Lane, LaneKind, Quarantine, Request};
use crate::counters::Counters;
use crate::endpoint::{Endpoint, Settings};
use crate::error::Kind;
use crate::facts::Facts;
use crate::keeper::{self, Note};
use crate::lock::lock;
use crate::mirror::Mirror;
use crate::upload::{self, Upload, UploadRequest};
use crate::wakes::WakeHub;
use crate::{Connection, Error};

/// Whether a host can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostState {
    /// The first connection is being made.
    Connecting,
    /// Connected.
    Up {
        /// What the host said about itself.
        facts: Arc<Facts>,
    },
    /// Not reachable; one thread keeps trying.
    Down {
        /// Since when.
        since: SystemTime,
        /// The last failure, with its own class: `Denied` for refused credentials and so on.
        reason: Error,
    },
}

/// A host and everything that runs for it. Dropping it ends its threads; one that is stuck in a call ends with the call.
pub struct Host {
    inner: Arc<Inner>,
}

/// What the host's threads share.
pub(crate) struct Inner {
    /// Short and safe in a thread's name.
    pub(crate) label: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) mirror: Mirror,
    pub(crate) notes: mpsc::Sender<Note>,
    session: Mutex<Option<Arc<Session>>>,
    pool_locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
    state: watch::Sender<HostState>,
}

/// A pair of open connections.
pub(crate) struct Session {
    pub(crate) generation: u64,
    pub(crate) short: Arc<Lane>,
    pub(crate) long: Arc<Lane>,
}

impl Session {
    fn lane(&self, kind: LaneKind) -> Arc<Lane> {
        match kind {
            LaneKind::Short => Arc::clone(&self.short),
            LaneKind::Long => Arc::clone(&self.long),
        }
    }

    fn close(&self) {
        self.short.close();
        self.long.close();
    }
}

impl Host {
    /// Starts a host; connecting goes on by itself.
    pub(crate) fn start(label: &str, endpoint: Endpoint, settings: Settings, hub: WakeHub) -> Result<Arc<Self>, Error> {
        let (notes, inbox) = mpsc::channel();
        let counters = Arc::new(Counters::default());
        let inner = Arc::new(Inner {
            label: label.chars().filter(char::is_ascii_alphanumeric).take(24).collect(),
            endpoint,
            settings,
            quarantine: Quarantine::new(Arc::clone(&counters)),
            counters,
            mirror: Mirror::new(hub, notes.clone()),
            notes,
            session: Mutex::new(None),
            pool_locks: Mutex::default(),
            state: watch::Sender::new(HostState::Connecting),
        });
        keeper::start(Arc::clone(&inner), inbox)?;
        Ok(Arc::new(Self { inner }))
    }

    /// Makes a call on one of the host's threads.
    ///
    /// `object` names what the call is about (a domain's UUID, a pool's name and so on): calls on an object whose earlier
    /// call is unanswered are refused with [`Kind::Busy`]. A call that does not answer within the deadline is left behind
    /// and answered with [`Kind::Unreachable`]; so is, at once, any call to a host known to be down.
    ///
    /// libvirt's handles cannot leave the closure. Waiting for a free thread may take as long as the deadline once more.
    pub async fn call<T, F>(&self, lane: LaneKind, object: &str, deadline: Duration, make: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let session = self.session().await?;
        let quarantine = Arc::clone(&self.inner.quarantine);
        calls::call(session.lane(lane), quarantine, Request { object, deadline }, make).await
    }

    /// Starts to send bytes into a volume, over a connection of its own.
    pub async fn upload(&self, request: UploadRequest) -> Result<Upload, Error> {
        self.session().await?;
        upload::start(&self.inner, request)
    }

    /// The lock of a pool, by whichever of its names all callers agree on: volume jobs (create, upload, resize) share it,
    /// refresh and delete take it alone, since a refresh drops volumes that are being made.
    pub fn pool_lock(&self, pool: &str) -> Arc<RwLock<()>> {
        let mut locks = lock(&self.inner.pool_locks);
        // Those nobody holds are as good as new.
        locks.retain(|name, held| name == pool || Arc::strong_count(held) > 1);
        Arc::clone(locks.entry(pool.to_owned()).or_default())
    }

    /// The host's facts; waits for the first connection, fails at once when the host is known to be down.
    pub async fn facts(&self) -> Result<Arc<Facts>, Error> {
        let mut state = self.inner.state.subscribe();
        loop {
            match &*state.borrow_and_update() {
                HostState::Up { facts } => return Ok(Arc::clone(facts)),
                HostState::Down { since: _, reason } => return Err(unreachable(reason)),
                HostState::Connecting => {}
            }
            self.changed(&mut state).await?;
        }
    }

    /// The state, to be watched.
    pub fn state(&self) -> watch::Receiver<HostState> {
        self.inner.state.subscribe()
    }

    /// What the host has.
    pub fn mirror(&self) -> &Mirror {
        &self.inner.mirror
    }

    /// What the host has cost.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    async fn session(&self) -> Result<Arc<Session>, Error> {
        self.facts().await?;
        let session = lock(&self.inner.session).clone();
        session.ok_or_else(|| Error::unreachable("the connection to the host was closed"))
    }

    async fn changed(&self, state: &mut watch::Receiver<HostState>) -> Result<(), Error> {
        // The keeper says Down when the time is over; this is for the case that it cannot.
        let patience = self.inner.settings.connect_timeout + Duration::from_secs(5);
        match tokio::time::timeout(patience, state.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::unreachable("the host did not answer in time")),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.inner.notes.send(Note::Stop);
        self.inner.disconnect();
    }
}

impl Inner {
    /// Takes a new pair of connections into use, in place of the one before.
    pub(crate) fn up(&self, session: Session, facts: Arc<Facts>) {
        let before = lock(&self.session).replace(Arc::new(session));
        if let Some(before) = before {
            before.close();
        }
        self.state.send_replace(HostState::Up { facts });
    }

    /// Says that the host cannot be reached. The time of the first failure stays.
    pub(crate) fn down(&self, reason: &Error) {
        self.disconnect();
        self.state.send_modify(|state| {
            let since = match state {
                HostState::Down { since, .. } => *since,
                HostState::Up { .. } | HostState::Connecting => SystemTime::now(),
            };
            *state = HostState::Down { since, reason: reason.clone() };
        });
    }

    /// Says so if this pair is the one in use; from the callback of its end.
    pub(crate) fn lost(&self, generation: u64, reason: &Error) {
        if self.generation() == Some(generation) {
            self.down(reason);
        }
    }

    /// The pair in use.
    pub(crate) fn generation(&self) -> Option<u64> {
        lock(&self.session).as_ref().map(|session| session.generation)
    }

    /// Makes one of the mirror's calls, on the host's own thread.
    pub(crate) fn call_for_mirror<F>(self: &Arc<Self>, object: &str, deadline: Duration, make: F) -> Result<(), Error>
    where
        F: FnOnce(&Connection, &Mirror) -> Result<(), Error> + Send + 'static,
    {
        let session = lock(&self.session).clone();
        let session = session.ok_or_else(|| Error::unreachable("the connection to the host was closed"))?;
        let (quarantine, inner) = (Arc::clone(&self.quarantine), Arc::downgrade(self));
        let request = Request { object, deadline };
        calls::call_blocking(&session.short, quarantine, &request, move |connection| {
            Weak::upgrade(&inner).map_or(Ok(()), |inner| make(connection, &inner.mirror))
        })
    }

    fn disconnect(&self) {
        let session = lock(&self.session).take();
        if let Some(session) = session {
            session.close();
        }
    }
}

/// What a caller gets while the host is down: the cause, in the class that means "wait for the host".
fn unreachable(reason: &Error) -> Error {
    let mut error = reason.clone();
    error.kind = Kind::Unreachable;
    error
}
