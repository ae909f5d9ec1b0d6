//! The one thread that belongs to a host: it connects, keeps the mirror, and connects again.
//!
//! ```text
//!            ┌────────── back-off with jitter ◀── failed, no answer ──┐
//!            ▼                                                        │
//!   open (on a thread that can hang) ──▶ up ──▶ sweep ──▶ events, polls ──▶ lost
//! ```

mod backoff;
mod open;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::error::Kind;
use crate::host::Inner;
use crate::mirror::{Claim, Look, refresh, sweep};

use backoff::{Backoff, jittered};
use open::Opened;

/// What the keeper is told.
pub(crate) enum Note {
    /// An event came for this.
    Event(Claim),
    /// This is to be read.
    Refresh(Claim),
    /// This was read by whoever wrote it, and is to be read once more unless it is anyway: the event of the write comes just now.
    Written(Claim),
    /// A connection of this generation ended.
    Closed(u64),
    /// Too many of its threads are stuck.
    WornOut(u64),
    /// An attempt to connect ended.
    Opened(Box<Result<Opened, Error>>),
    /// The host is being dropped.
    Stop,
}

/// How many attempts may hang at a time. An open to a frozen daemon hangs until the daemon goes on, and then succeeds.
const HANGING: usize = 2;

/// A connection that held for so long was a good one.
const LASTING: Duration = Duration::from_secs(10);

/// How long the event of a write is waited for before what was written is read once more without it.
const EVENT: Duration = Duration::from_millis(50);

/// How soon what could not be read is tried again.
const RETRY: Duration = Duration::from_secs(2);

struct Keeper {
    inner: Arc<Inner>,
    inbox: Receiver<Note>,
    /// Attempts that have not ended.
    hanging: usize,
    generation: u64,
    backoff: Backoff,
}

/// Why the keeper stopped serving a connection.
enum End {
    Stopped,
    Lost,
    WornOut,
}

/// Starts a host's thread.
pub(crate) fn start(inner: Arc<Inner>, inbox: Receiver<Note>) -> Result<(), Error> {
    let name = format!("lv-{}-keeper", inner.label);
    let keeper = Keeper { inner, inbox, hanging: 0, generation: 0, backoff: Backoff::default() };
    let spawned = thread::Builder::new().name(name).spawn(move || keeper.run());
    spawned.map(drop).map_err(|error| Error::other(format!("cannot start the host's thread: {error}")))
}

impl Keeper {
    fn run(mut self) {
        loop {
            let Some(opened) = self.connect() else { return };
            let begin = Instant::now();
            match self.serve(opened) {
                Ok(End::Stopped) => return,
                Ok(End::WornOut) => {}
                Ok(End::Lost) if begin.elapsed() > LASTING => self.backoff.reset(),
                // A daemon that lets us in and throws us out again is not asked all the time.
                Ok(End::Lost) => thread::sleep(self.backoff.next()),
                Err(error) => {
                    self.inner.down(&error);
                    thread::sleep(self.backoff.next());
                }
            }
            self.inner.counters.add_reconnect();
        }
    }

    /// Tries until a connection is open; `None` when the host is dropped.
    fn connect(&mut self) -> Option<Opened> {
        loop {
            if self.hanging < HANGING {
                self.generation += 1;
                match open::start(&self.inner, self.generation) {
                    Ok(()) => self.hanging += 1,
                    Err(error) => self.inner.down(&error),
                }
            }
            let timeout = self.inner.settings.connect_timeout;
            let failure = match self.wait_for_open(timeout)? {
                Some(Ok(opened)) => return Some(opened),
                Some(Err(error)) => error,
                None => Error::unreachable(format!("the host did not answer within {} s", timeout.as_secs_f32())),
            };
            self.inner.down(&failure);
            let pause = self.backoff.next();
            if let Some(Ok(opened)) = self.wait_for_open(pause)? {
                return Some(opened);
            }
        }
    }

    /// Waits for an attempt to end. Outer `None`: the host is dropped; inner: nothing ended in time.
    #[allow(clippy::option_option, reason = "the outer one is the end of the thread")]
    fn wait_for_open(&mut self, timeout: Duration) -> Option<Option<Result<Opened, Error>>> {
        let end = Instant::now() + timeout;
        loop {
            match self.inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Note::Opened(result)) => {
                    self.hanging = self.hanging.saturating_sub(1);
                    return Some(Some(*result));
                }
                // Everything is read anew once connected.
                Ok(Note::Event(_) | Note::Refresh(_) | Note::Written(_) | Note::Closed(_) | Note::WornOut(_)) => {}
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => return Some(None),
            }
        }
    }

    /// Takes a connection into use and keeps the mirror until it ends.
    fn serve(&mut self, opened: Opened) -> Result<End, Error> {
        let generation = opened.generation;
        let facts = Arc::clone(&opened.facts);
        self.inner.mirror.restart();
        self.inner.up(opened.into_session(&self.inner)?, facts);
        let mut work = Work { generation, ..Work::default() };
        let poll = self.inner.settings.poll;
        loop {
            if self.inner.generation() != Some(generation) {
                return Ok(End::Lost);
            }
            if work.poll_at.is_none_or(|at| at <= Instant::now()) {
                let swept = self.sweep(&mut work);
                let pause = if swept { jittered(poll) } else { RETRY };
                work.poll_at = Some(Instant::now() + pause);
            }
            let wait = work.poll_at.map_or(RETRY, |at| at.saturating_duration_since(Instant::now()));
            let wait = if work.later.is_empty() { wait } else { wait.min(RETRY) };
            let wait = work.written_wait().map_or(wait, |due| due.min(wait));
            match self.inbox.recv_timeout(wait) {
                Ok(note) => {
                    if let Some(end) = self.take(note, &mut work) {
                        return Ok(end);
                    }
                    work.take_written();
                    self.refresh(&mut work);
                }
                Err(RecvTimeoutError::Timeout) => {
                    if work.written_wait().is_none_or(|due| !due.is_zero()) {
                        work.now.extend(std::mem::take(&mut work.later));
                    }
                    work.take_written();
                    self.refresh(&mut work);
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(End::Stopped),
            }
        }
    }

    /// Sorts a note and all that came with it. `Some`: the connection is not to be served any longer.
    fn take(&mut self, first: Note, work: &mut Work) -> Option<End> {
        let mut next = Some(first);
        while let Some(note) = next {
            match note {
                Note::Event(claim) => drop(work.now.insert(claim, Cause::Event)),
                Note::Refresh(claim) => drop(work.now.entry(claim).or_insert(Cause::Asked)),
                Note::Written(claim) => drop(work.written.insert(claim, Instant::now() + EVENT)),
                Note::Closed(generation) if generation == work.generation => return Some(End::Lost),
                Note::WornOut(generation) if generation == work.generation => return Some(End::WornOut),
                Note::Closed(_) | Note::WornOut(_) => {}
                // A late attempt; its connections close as this goes.
                Note::Opened(_) => self.hanging = self.hanging.saturating_sub(1),
                Note::Stop => return Some(End::Stopped),
            }
            next = self.inbox.try_recv().ok();
        }
        None
    }

    /// Reads everything; says whether that went well.
    fn sweep(&mut self, work: &mut Work) -> bool {
        let look = work.look;
        // A description takes a round trip, and a host may be far away and have many.
        let objects = u32::try_from(self.inner.mirror.len()).unwrap_or(u32::MAX);
        let deadline = self.inner.settings.call_timeout + Duration::from_millis(50).saturating_mul(objects);
        let swept = self
            .inner
            .call_for_mirror("the host's lists", deadline, move |connection, mirror| sweep(connection, mirror, look));
        match swept {
            Ok(()) if look == Look::Whole => self.inner.mirror.complete(),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(host = self.inner.label, %error, "read the host's objects");
                self.inner.mirror.supersede();
                return false;
            }
        }
        work.look = look.next();
        true
    }

    /// Reads what changed, one after the other.
    fn refresh(&mut self, work: &mut Work) {
        for (claim, cause) in std::mem::take(&mut work.now) {
            let timeout = self.inner.settings.call_timeout;
            let object = object(&claim);
            let mine = claim.clone();
            let read = self
                .inner
                .call_for_mirror(&object, timeout, move |connection, mirror| refresh(connection, mirror, &mine));
            match read {
                Ok(()) => {
                    work.written.remove(&claim);
                    if cause == Cause::Event {
                        self.inner.mirror.happened(&claim);
                    }
                }
                Err(error) if self.inner.generation() != Some(work.generation) => {
                    tracing::debug!(host = self.inner.label, object, %error, "read an object of a lost host");
                    return;
                }
                Err(error) => {
                    tracing::warn!(host = self.inner.label, object, %error, "read an object");
                    if error.kind == Kind::Unreachable {
                        self.inner.mirror.supersede();
                    }
                    work.later.insert(claim, cause);
                }
            }
        }
    }
}

/// Why something is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Event,
    Asked,
}

/// What is to be done over the present connection.
#[derive(Default)]
struct Work {
    generation: u64,
    now: HashMap<Claim, Cause>,
    later: HashMap<Claim, Cause>,
    /// What was written and read by others, and when it is read once more.
    written: HashMap<Claim, Instant>,
    /// What the next poll reads.
    look: Look,
    poll_at: Option<Instant>,
}

impl Work {
    /// How long until the first that was written is due.
    fn written_wait(&self) -> Option<Duration> {
        self.written.values().min().map(|due| due.saturating_duration_since(Instant::now()))
    }

    fn take_written(&mut self) {
        let now = Instant::now();
        for (claim, _) in self.written.extract_if(|_, due| *due <= now) {
            self.now.entry(claim).or_insert(Cause::Asked);
        }
    }
}

/// What a stuck read of this would keep from being called on.
fn object(claim: &Claim) -> String {
    match claim {
        Claim::Domain(id) | Claim::Network(id) | Claim::Pool(id) => id.clone(),
        Claim::Volume { pool, name } => format!("{pool}/{name}"),
        Claim::Leases { network, mac: _ } => network.clone(),
    }
}
