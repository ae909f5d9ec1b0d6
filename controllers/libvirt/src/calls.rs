//! Calls under a deadline, on threads of their own.
//!
//! ```text
//! call ──▶ quarantine? ──▶ lane queue ──▶ thread lv-<host>-<lane>-<n> ──▶ libvirt
//!   │                                             │
//!   └── deadline: abandoned, object quarantined ◀─┴── until libvirt answers
//! ```
//!
//! A libvirt call cannot be cancelled. One that does not return in time is left to its thread; the thread counts as used up
//! until the call returns, and further calls on the same object are refused meanwhile: each of them would take another of
//! the daemon's workers.
//!
//! When a connection ends libvirt answers the call that waits on it, and where a host is silent it does not end by itself. So whoever waits
//! looks whether it is alive, and the keeper whether the host answers; such calls are answered here, and their objects may be called on
//! again. Their threads end once libvirt has seen for itself that the host is silent.

mod lane;
mod quarantine;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::lock::lock;
use crate::{Connection, Error};

use lane::Done;
pub use lane::LaneKind;
pub(crate) use lane::{Lane, More, Parts};
pub(crate) use quarantine::{Quarantine, Quarantined};

/// How often whoever waits looks whether the connection is alive. Nobody is asked for it.
const LOOK: Duration = Duration::from_secs(1);

/// What a running call tells the one who waits for it.
enum Signal<T> {
    Started,
    Finished(Result<T, Error>),
}

/// Where a call is.
enum Phase {
    Queued,
    Running,
    /// The deadline passed; the mark is lifted when the call returns.
    Abandoned(#[allow(dead_code, reason = "held for its drop")] Quarantined),
    /// Nobody wants it any more and it has not begun.
    Withdrawn,
    /// Its connection ended, and libvirt may never answer it.
    Lost,
    Done,
}

/// One call, shared by its thread and the one who waits.
pub(crate) struct Ticket {
    phase: Mutex<Phase>,
    object: String,
    lane: Arc<Lane>,
    quarantine: Arc<Quarantine>,
    /// Answers the one who waits that the connection ended.
    tell_lost: Box<dyn Fn() + Send + Sync>,
}

/// What became of a call that was given up.
enum GaveUp {
    NotStarted,
    Stuck,
    JustDone,
}

impl Ticket {
    fn begin(&self) -> bool {
        let mut phase = lock(&self.phase);
        let wanted = matches!(*phase, Phase::Queued);
        if wanted {
            *phase = Phase::Running;
        }
        wanted
    }

    /// Ends the call; says whether it had been abandoned.
    fn end(&self) -> bool {
        let before = std::mem::replace(&mut *lock(&self.phase), Phase::Done);
        matches!(before, Phase::Abandoned(_))
    }

    fn give_up(&self) -> GaveUp {
        let mut phase = lock(&self.phase);
        match *phase {
            Phase::Queued | Phase::Withdrawn => {
                *phase = Phase::Withdrawn;
                GaveUp::NotStarted
            }
            Phase::Running => {
                self.lane.lose_thread();
                *phase = Phase::Abandoned(self.quarantine.add(&self.object));
                GaveUp::Stuck
            }
            Phase::Abandoned(_) => GaveUp::Stuck,
            Phase::Done | Phase::Lost => GaveUp::JustDone,
        }
    }

    /// The connection has ended, and the call has had the time to return.
    fn lose(&self) {
        let mut phase = lock(&self.phase);
        match *phase {
            // All threads may wait for ever.
            Phase::Queued => *phase = Phase::Withdrawn,
            Phase::Running | Phase::Abandoned(_) => *phase = Phase::Lost,
            Phase::Withdrawn | Phase::Lost | Phase::Done => return,
        }
        (self.tell_lost)();
    }
}

/// Gives the call up when the one who waits goes away.
struct Waiting(Arc<Ticket>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// What a call is made on and how long it may take.
pub(crate) struct Request<'a> {
    pub(crate) object: &'a str,
    pub(crate) deadline: Duration,
}

/// Makes a call and waits for it without blocking the caller's thread.
pub(crate) async fn call<T, F>(
    lane: Arc<Lane>,
    quarantine: Arc<Quarantine>,
    request: Request<'_>,
    make: F,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let waiting = submit(&lane, quarantine, request.object, make, move |signal| {
        // The receiver is gone when the caller is; then nobody wants the answer.
        let _ = sender.send(signal);
    })?;
    // The runtime's clock: where it is moved on, the deadline comes.
    let mut end = tokio::time::Instant::now() + request.deadline;
    loop {
        let slice = end.saturating_duration_since(tokio::time::Instant::now()).min(LOOK);
        match tokio::time::timeout(slice, receiver.recv()).await {
            Ok(Some(Signal::Started)) => end = tokio::time::Instant::now() + request.deadline,
            Ok(Some(Signal::Finished(answer))) => return answer,
            Ok(None) => return Err(Error::lost()),
            Err(_) if tokio::time::Instant::now() >= end => return Err(passed(&waiting.0, request.deadline)),
            Err(_) => lane.check(),
        }
    }
}

/// Makes a call and blocks until it answers; for the host's own thread.
pub(crate) fn call_blocking<T, F>(
    lane: &Arc<Lane>,
    quarantine: Arc<Quarantine>,
    request: &Request<'_>,
    make: F,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    let waiting = submit(lane, quarantine, request.object, make, move |signal| {
        let _ = sender.send(signal);
    })?;
    let mut end = Instant::now() + request.deadline;
    loop {
        let slice = end.saturating_duration_since(Instant::now()).min(LOOK);
        match receiver.recv_timeout(slice) {
            Ok(Signal::Started) => end = Instant::now() + request.deadline,
            Ok(Signal::Finished(answer)) => return answer,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::lost()),
            Err(RecvTimeoutError::Timeout) if Instant::now() >= end => {
                return Err(passed(&waiting.0, request.deadline));
            }
            Err(RecvTimeoutError::Timeout) => lane.check(),
        }
    }
}

/// Queues a call, unless an earlier one on the same object is still out.
fn submit<T, F>(
    lane: &Arc<Lane>,
    quarantine: Arc<Quarantine>,
    object: &str,
    make: F,
    tell: impl Fn(Signal<T>) + Send + Sync + 'static,
) -> Result<Waiting, Error>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
{
    quarantine.check(object)?;
    let phase = Mutex::new(Phase::Queued);
    let tell = Arc::new(tell);
    let teller = Arc::clone(&tell);
    let tell_lost = Box::new(move || teller(Signal::Finished(Err(Error::lost()))));
    let ticket = Arc::new(Ticket { phase, object: object.to_owned(), lane: Arc::clone(lane), quarantine, tell_lost });
    let mine = Arc::clone(&ticket);
    lane.push(Box::new(move |connection| run(&mine, connection, make, tell)), Arc::downgrade(&ticket))?;
    Ok(Waiting(ticket))
}

/// Runs a call on its thread.
fn run<T, F, S>(ticket: &Ticket, connection: &Connection, make: F, tell: Arc<S>) -> Done
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Error>,
    S: Fn(Signal<T>) + Send + Sync + 'static,
{
    if !ticket.begin() {
        return Done { abandoned: false, tell: Box::new(|| ()) };
    }
    tell(Signal::Started);
    #[cfg(feature = "double")]
    crate::double::about(&ticket.object);
    let answer = catch_unwind(AssertUnwindSafe(|| make(connection)))
        .unwrap_or_else(|_| Err(Error::other(format!("a call on {} panicked", ticket.object))));
    let abandoned = ticket.end();
    // To one who was told that it is lost nobody listens any more.
    Done { abandoned, tell: Box::new(move || tell(Signal::Finished(answer))) }
}

fn passed(ticket: &Ticket, deadline: Duration) -> Error {
    let seconds = deadline.as_secs_f32();
    match ticket.give_up() {
        GaveUp::NotStarted => Error::busy(format!("no call to the host could begin within {seconds} s")),
        GaveUp::Stuck | GaveUp::JustDone => Error::unreachable(format!("libvirt did not answer within {seconds} s")),
    }
}
