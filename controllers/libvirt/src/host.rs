//! One host: its calls, its state, its mirror.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::{RwLock, watch};

use crate::calls::{self, Lane, LaneKind, Quarantine, Request};
use crate::counters::Counters;
use crate::endpoint::{Dial, Endpoint, Settings};
use crate::error::Kind;
use crate::facts::Facts;
use crate::keeper::{self, Note};
use crate::lock::lock;
use crate::mirror::Mirror;
use crate::pool_calls::PoolCalls;
use crate::trouble::Trouble;
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
        /// It was in use a moment ago: what ended the connection is known, and not yet what keeps the next one from being made.
        parting: bool,
    },
}

/// How long nobody is told that a host is away that was in use until then: most of those that are not back by then have said why.
const PARTING: Duration = Duration::from_secs(1);

/// A host and everything that runs for it. Dropping it ends its threads; one that is stuck in a call ends with the call.
pub struct Host {
    inner: Arc<Inner>,
}

/// What outlives a connection and its credentials: jobs of before go on beside those of the connection that follows.
pub(crate) struct Lasting {
    counters: Arc<Counters>,
    quarantine: Arc<Quarantine>,
    pool_locks: Mutex<HashMap<String, Arc<RwLock<()>>>>,
}

impl Default for Lasting {
    fn default() -> Self {
        let counters = Arc::new(Counters::default());
        Self { quarantine: Quarantine::new(Arc::clone(&counters)), counters, pool_locks: Mutex::default() }
    }
}

/// What the host's threads share.
pub(crate) struct Inner {
    /// Short and safe in a thread's name.
    pub(crate) label: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) dial: Arc<Dial>,
    pub(crate) settings: Settings,
    pub(crate) lasting: Arc<Lasting>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) quarantine: Arc<Quarantine>,
    pub(crate) mirror: Mirror,
    pub(crate) pool_calls: Arc<PoolCalls>,
    pub(crate) notes: mpsc::Sender<Note>,
    session: Mutex<Option<Arc<Session>>>,
    /// Of all pairs whose threads have not ended.
    lanes: Mutex<Vec<(u64, Weak<Lane>)>>,
    /// The connections of the uploads under way, and of some that are over.
    pub(crate) uploads: Arc<Mutex<Vec<Weak<Connection>>>>,
    state: watch::Sender<HostState>,
}

/// A pair of lanes, each with the connection that it was opened with and more while it is busy.
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
    pub(crate) fn start(
        label: &str,
        endpoint: Endpoint,
        settings: Settings,
        hub: WakeHub,
        lasting: Arc<Lasting>,
    ) -> Result<Arc<Self>, Error> {
        let (notes, inbox) = mpsc::channel();
        let inner = Arc::new(Inner {
            label: label.chars().filter(char::is_ascii_alphanumeric).take(24).collect(),
            dial: Arc::new(Dial::of(&endpoint)?),
            endpoint,
            settings,
            quarantine: Arc::clone(&lasting.quarantine),
            counters: Arc::clone(&lasting.counters),
            lasting,
            mirror: Mirror::new(hub, notes.clone()),
            notes,
            pool_calls: Arc::default(),
            session: Mutex::new(None),
            lanes: Mutex::default(),
            uploads: Arc::default(),
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
        let mut locks = lock(&self.inner.lasting.pool_locks);
        // Those nobody holds are as good as new.
        locks.retain(|name, held| name == pool || Arc::strong_count(held) > 1);
        Arc::clone(locks.entry(pool.to_owned()).or_default())
    }

    /// The host's facts; waits for the first connection, and a second for the next one where the connection was just lost. Fails at once
    /// when the host is known to be down.
    pub async fn facts(&self) -> Result<Arc<Facts>, Error> {
        let mut state = self.inner.state.subscribe();
        loop {
            let left = match &*state.borrow_and_update() {
                HostState::Up { facts } => return Ok(Arc::clone(facts)),
                HostState::Down { since, reason, parting } => match moment_left(*since).filter(|_| *parting) {
                    Some(left) => Some(left),
                    None => return Err(unreachable(reason)),
                },
                HostState::Connecting => None,
            };
            match left {
                Some(left) => drop(tokio::time::timeout(left, state.changed()).await),
                None => self.changed(&mut state).await?,
            }
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

    /// What it was asked, and what goes wrong on it.
    #[cfg(feature = "double")]
    pub fn double(&self) -> &crate::double::Double {
        &self.inner.counters.double
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    async fn session(&self) -> Result<Arc<Session>, Error> {
        self.facts().await?;
        let session = lock(&self.inner.session).clone();
        session.ok_or_else(Error::lost)
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
        let mut lanes = lock(&self.lanes);
        lanes.retain(|(_, lane)| lane.strong_count() > 0);
        lanes.extend([&session.short, &session.long].map(|lane| (session.generation, Arc::downgrade(lane))));
        drop(lanes);
        let before = lock(&self.session).replace(Arc::new(session));
        if let Some(before) = before {
            before.close();
        }
        self.state.send_replace(HostState::Up { facts });
    }

    /// Says that the host cannot be reached. The time of the first failure stays.
    pub(crate) fn down(&self, reason: &Error) {
        self.away(reason, false);
    }

    fn away(&self, reason: &Error, parting: bool) {
        self.disconnect();
        self.state.send_modify(|state| {
            let since = match state {
                HostState::Down { since, .. } => *since,
                HostState::Up { .. } | HostState::Connecting => SystemTime::now(),
            };
            *state = HostState::Down { since, reason: reason.clone(), parting };
        });
    }

    /// Says so if this pair is the one in use; from the callback of the end of one of its connections.
    pub(crate) fn lost_lane(&self, generation: u64, kind: LaneKind, (reason, is_silent): (&Error, bool)) {
        let all = lock(&self.lanes);
        let mine = all.iter().filter(|(of, _)| *of == generation).filter_map(|(_, lane)| lane.upgrade());
        let lanes: Vec<_> = mine.filter(|lane| lane.kind() == kind).collect();
        drop(all);
        // Of one that is silent it is known what is the matter. That is said first: who is sent away from a lane knows less of it.
        if is_silent && self.generation() == Some(generation) {
            self.down(reason);
        } else {
            self.lost(generation, reason);
        }
        for lane in &lanes {
            lane.lose();
        }
    }

    /// Whether the host answers over the pair in use: over a connection of it that is free, else over a new one. True where it cannot be
    /// told. It blocks.
    pub(crate) fn is_answered(&self, deadline: Duration) -> bool {
        let Some(session) = lock(&self.session).clone() else { return false };
        let (sender, answer) = mpsc::channel();
        let tell = || {
            let sender = sender.clone();
            move |answer| drop(sender.send(answer))
        };
        let is_asked = session.short.ask(tell()) || session.long.ask(tell()) || session.short.ask_anew(tell());
        !is_asked
            || match answer.recv_timeout(deadline) {
                // Where no further connection is let in somebody is there.
                Ok(Err(error)) => match error.trouble {
                    Some(trouble) => trouble != Trouble::HostUnreachable,
                    None => error.kind != Kind::Unreachable,
                },
                Ok(Ok(())) => true,
                Err(_) => false,
            }
    }

    /// The host does not answer over this pair any more: nobody waits for it any longer, also not over those of before.
    pub(crate) fn silent(&self, generation: u64, reason: &Error) {
        let lanes: Vec<_> = lock(&self.lanes).iter().filter_map(|(_, lane)| lane.upgrade()).collect();
        if self.generation() == Some(generation) {
            self.down(reason);
        }
        lanes.iter().for_each(Lane::lose);
        self.end_uploads();
    }

    /// Lets libvirt end those to a host that is silent. Not here: whoever lets go of a connection last closes it, and that may wait.
    fn end_uploads(&self) {
        let (uploads, keepalive) = (std::mem::take(&mut *lock(&self.uploads)), self.settings.keepalive());
        let end = move || {
            uploads.iter().filter_map(Weak::upgrade).for_each(|connection| connection.end_if_silent(keepalive));
        };
        if let Err(error) = thread::Builder::new().name(format!("lv-{}-lost", self.label)).spawn(end) {
            tracing::warn!(%error, "start a thread to end uploads");
        }
    }

    /// The pair is of no more use.
    pub(crate) fn lost(&self, generation: u64, reason: &Error) {
        if self.generation() == Some(generation) {
            self.away(reason, true);
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
        let session = session.ok_or_else(Error::lost)?;
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

/// How much is left of the moment in which nobody is told that a host is away since then.
fn moment_left(since: SystemTime) -> Option<Duration> {
    // A clock that was set back would have everybody wait.
    let passed = since.elapsed().unwrap_or(PARTING);
    PARTING.checked_sub(passed).filter(|left| !left.is_zero())
}

/// What a caller gets while the host is down: the cause, in the class that means "wait for the host".
fn unreachable(reason: &Error) -> Error {
    let mut error = reason.clone();
    error.kind = Kind::Unreachable;
    error
}
