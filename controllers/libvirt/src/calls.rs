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

mod lane;
mod quarantine;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::lock::lock;
use crate::{Connection, Error};

pub(crate) use lane::Lane;
pub use lane::LaneKind;
pub(crate) use quarantine::{Quarantine, Quarantined};

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
    Done,
}

/// One call, shared by its thread and the one who waits.
struct Ticket {
    phase: Mutex<Phase>,
    object: String,
    lane: Arc<Lane>,
    quarantine: Arc<Quarantine>,
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
            Phase::Done => GaveUp::JustDone,
        }
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
    loop {
        match tokio::time::timeout(request.deadline, receiver.recv()).await {
            Ok(Some(Signal::Started)) => {}
            Ok(Some(Signal::Finished(answer))) => return answer,
            Ok(None) => return Err(closed()),
            Err(_) => return Err(passed(&waiting.0, request.deadline)),
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
    loop {
        match receiver.recv_timeout(request.deadline) {
            Ok(Signal::Started) => {}
            Ok(Signal::Finished(answer)) => return answer,
            Err(RecvTimeoutError::Disconnected) => return Err(closed()),
            Err(RecvTimeoutError::Timeout) => return Err(passed(&waiting.0, request.deadline)),
        }
    }
}

/// Queues a call, unless an earlier one on the same object is still out.
fn submit<T, F>(
    lane: &Arc<Lane>,
    quarantine: Arc<Quarantine>,
    object: &str,
    make: F,
    tell: impl Fn(Signal<T>) + Send + 'static,
) -> Result<Waiting, Error>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
{
    quarantine.check(object)?;
    let phase = Mutex::new(Phase::Queued);
    let ticket = Arc::new(Ticket { phase, object: object.to_owned(), lane: Arc::clone(lane), quarantine });
    let mine = Arc::clone(&ticket);
    lane.push(Box::new(move |connection| run(&mine, connection, make, tell)))?;
    Ok(Waiting(ticket))
}

/// Runs a call on its thread; says whether it had been abandoned when it returned.
fn run<T, F>(ticket: &Ticket, connection: &Connection, make: F, tell: impl Fn(Signal<T>)) -> bool
where
    F: FnOnce(&Connection) -> Result<T, Error>,
{
    if !ticket.begin() {
        return false;
    }
    tell(Signal::Started);
    let answer = catch_unwind(AssertUnwindSafe(|| make(connection)))
        .unwrap_or_else(|_| Err(Error::other(format!("a call on {} panicked", ticket.object))));
    let abandoned = ticket.end();
    tell(Signal::Finished(answer));
    abandoned
}

fn passed(ticket: &Ticket, deadline: Duration) -> Error {
    let seconds = deadline.as_secs_f32();
    match ticket.give_up() {
        GaveUp::NotStarted => Error::busy(format!("no call to the host could begin within {seconds} s")),
        GaveUp::Stuck | GaveUp::JustDone => Error::unreachable(format!("libvirt did not answer within {seconds} s")),
    }
}

fn closed() -> Error {
    Error::unreachable("the connection to the host was closed")
}
