//! A lane: a queue, and the few threads that make its calls, each over a connection of its own.
//!
//! ```text
//! push ──▶ queue ──▶ thread 1 ── the lane's first connection, kept as long as the lane
//!            ├─────▶ thread 2 ── one more, opened when calls wait, closed when it is not needed any more
//!            └─────▶ …
//! ```
//!
//! One thread, one connection: before 10.3 the client library leaves a source of events behind whose data is on the stack of a thread that
//! waits for its answer, whenever another thread of the same connection wakes that one (CVE-2024-4418; Debian 12's is not mended). The
//! source fires later, in whichever thread then waits: into a dead stack. A thread is woken by another one's call, and by keepalive messages,
//! which libvirt's event loop sends; so those are asked for only over connections that have been given up. That the host answers is seen by
//! the keeper's own question.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::Ticket;
use crate::connection::Keepalive;
use crate::counters::Counters;
use crate::lock::lock;
use crate::{Connection, Error};

/// Which of a host's two lanes a call goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// Lookups, reads, definitions: calls that answer in milliseconds. At most 4 at a time.
    Short,
    /// Starts, stops, builds, big allocations: calls that may take minutes. At most 3 at a time: each takes one of the daemon's 20 workers.
    Long,
}

impl LaneKind {
    fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
        }
    }

    fn limit(self) -> usize {
        match self {
            Self::Short => 4,
            Self::Long => 3,
        }
    }
}

/// How long libvirt may take to answer the calls on connections that are not used any more.
const GRACE: Duration = Duration::from_secs(2);

/// How long a connection is kept that the lane could do without.
const REST: Duration = Duration::from_secs(20);

/// How long one more connection may take before another one is tried beside it.
const OPENING: Duration = Duration::from_mins(1);

/// When one more is tried after one that could not be opened.
const AGAIN: Duration = Duration::from_secs(10);

/// A call, ready to run.
type Job = Box<dyn FnOnce(&Connection) -> Done + Send>;

/// What is left of a call that returned.
pub(crate) struct Done {
    /// Whether it had been abandoned.
    pub(crate) abandoned: bool,
    /// Answers the one who waits: last, so that whoever calls again at once finds this thread free, and no connection is opened for that.
    pub(crate) tell: Box<dyn FnOnce() + Send>,
}

/// Opens one more connection to the same host. It may block without bound.
pub(crate) type More = Box<dyn Fn() -> Result<Connection, Error> + Send + Sync>;

/// What a lane is made with.
pub(crate) struct Parts {
    pub(crate) kind: LaneKind,
    /// Short and safe in a thread's name.
    pub(crate) host: String,
    pub(crate) counters: Arc<Counters>,
    /// None where the driver runs in this process: then no client library is between, and all threads share the first connection.
    pub(crate) more: Option<More>,
    pub(crate) keepalive: Keepalive,
    /// Called when so many threads are stuck that the lane is of no more use.
    pub(crate) worn_out: Box<dyn Fn() + Send + Sync>,
    /// Called once, when its connection has ended by itself.
    pub(crate) ended: Box<dyn Fn() + Send + Sync>,
}

/// A queue and its threads. Threads start when they are needed, up to the lane's limit, and end when they are not, and when it closes.
pub(crate) struct Lane {
    parts: Parts,
    state: Mutex<State>,
    work: Condvar,
    /// Weak, so that the last reference goes on a thread of the lane: closing is a call too.
    first: Weak<Connection>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Threads waiting for work, or about to.
    idle: usize,
    /// All threads, stuck ones and those that open a connection included.
    threads: usize,
    /// Threads in calls that were abandoned.
    stuck: usize,
    started: usize,
    closed: bool,
    lost: bool,
    /// The calls of now, and some that are over.
    tickets: Vec<Weak<Ticket>>,
    /// The connections of now, and some that are closed.
    connections: Vec<Weak<Connection>>,
    /// Until then no further connection is opened.
    not_before: Option<Instant>,
    /// When a thread took a job and no other was free for one.
    needed: Option<Instant>,
}

impl Lane {
    /// Opens a lane over a connection, with its first thread.
    pub(crate) fn start(parts: Parts, connection: Connection) -> Result<Arc<Self>, Error> {
        let connection = Arc::new(connection);
        let first = Arc::downgrade(&connection);
        let state = State { idle: 1, connections: vec![Weak::clone(&first)], ..State::default() };
        let lane = Arc::new(Self { parts, state: Mutex::new(state), work: Condvar::new(), first });
        let mine = Arc::clone(&lane);
        let started = lane.add_thread(&mut lock(&lane.state), move || mine.work(connection, true));
        started.map_err(|error| Error::other(format!("cannot start a call thread: {error}")))?;
        Ok(lane)
    }

    /// Which one it is.
    pub(crate) fn kind(&self) -> LaneKind {
        self.parts.kind
    }

    /// Queues a job and starts a thread for it if none is free and one more is allowed.
    pub(crate) fn push(self: &Arc<Self>, job: Job, ticket: Weak<Ticket>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(Error::lost());
        }
        state.queue.push_back(job);
        if state.tickets.len() >= 2 * (state.queue.len() + state.threads) {
            state.tickets.retain(|ticket| ticket.strong_count() > 0);
        }
        state.tickets.push(ticket);
        self.grow(&mut state);
        self.work.notify_one();
        Ok(())
    }

    /// Ends the lane: what is queued is still answered, then its threads go, each with its connection.
    pub(crate) fn close(self: &Arc<Self>) {
        self.end(false);
    }

    /// The connection has ended by itself, or nobody answers: calls that libvirt does not answer soon are answered without it.
    pub(crate) fn lose(self: &Arc<Self>) {
        self.end(true);
    }

    /// Asks the host over a connection that nobody uses just now; says whether there is one.
    pub(crate) fn ask(&self, tell: impl FnOnce(Result<(), Error>) + Send + 'static) -> bool {
        let mut state = lock(&self.state);
        let is_free = !state.closed && state.idle > state.queue.len();
        if is_free {
            let ask = move |connection: &Connection| {
                let answer = connection.ask();
                Done { abandoned: false, tell: Box::new(move || tell(answer)) }
            };
            state.queue.push_front(Box::new(ask));
            self.work.notify_one();
        }
        is_free
    }

    /// Asks the host by opening a connection, on a thread of its own; says whether that was possible.
    pub(crate) fn ask_anew(self: &Arc<Self>, tell: impl FnOnce(Result<(), Error>) + Send + 'static) -> bool {
        let lane = Arc::clone(self);
        let ask = move || {
            if let Some(more) = &lane.parts.more {
                tell(more().map(drop));
            }
        };
        thread::Builder::new().name(format!("lv-{}-ask", self.parts.host)).spawn(ask).is_ok()
    }

    /// Looks whether the connection has ended by itself.
    pub(super) fn check(self: &Arc<Self>) {
        let ended = self.first.upgrade().is_some_and(|connection| !connection.is_alive());
        if ended {
            self.lose();
        }
    }

    /// Writes a thread off. One usable thread is not enough: behind it everything would wait for the next stuck call.
    pub(super) fn lose_thread(&self) {
        let mut state = lock(&self.state);
        state.stuck += 1;
        let worn_out = state.stuck + 1 == self.parts.kind.limit() && !state.closed;
        drop(state);
        if worn_out {
            (self.parts.worn_out)();
        }
    }

    fn end(self: &Arc<Self>, lost: bool) {
        let mut state = lock(&self.state);
        let is_new = !state.closed || (lost && !state.lost);
        state.closed = true;
        state.lost |= lost;
        drop(state);
        if !is_new {
            return;
        }
        self.work.notify_all();
        if lost {
            (self.parts.ended)();
        }
        // Drivers in this process answer.
        if self.parts.more.is_none() && !lost {
            return;
        }
        let lane = Arc::clone(self);
        // Not here: this is called by the thread that tells libvirt's answers.
        let spawned =
            thread::Builder::new().name(format!("lv-{}-lost", self.parts.host)).spawn(move || lane.end_what_waits());
        if let Err(error) = spawned {
            tracing::warn!(%error, "start a thread to answer lost calls");
        }
    }

    /// What is still out after a while is answered, if the host is lost; and where the host is silent, libvirt is to notice it, so that no
    /// thread waits for ever.
    fn end_what_waits(&self) {
        thread::sleep(GRACE);
        let mut state = lock(&self.state);
        let tickets = if state.lost { std::mem::take(&mut state.tickets) } else { Vec::new() };
        let connections = std::mem::take(&mut state.connections);
        drop(state);
        tickets.iter().filter_map(Weak::upgrade).for_each(|ticket| ticket.lose());
        connections
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|connection| connection.end_if_silent(self.parts.keepalive));
    }

    /// Starts one more thread if calls wait and it is allowed.
    fn grow(self: &Arc<Self>, state: &mut State) {
        let is_allowed = !state.closed && state.threads < self.parts.kind.limit();
        if !is_allowed || state.idle >= state.queue.len() || state.not_before.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let lane = Arc::clone(self);
        let started = if self.parts.more.is_some() {
            state.not_before = Some(Instant::now() + OPENING);
            self.add_thread(state, move || lane.open())
        } else {
            let first = self.first.upgrade();
            first.map_or(Ok(()), |first| self.add_thread(state, move || lane.work(first, false)))
        };
        state.needed = Some(Instant::now());
        if let Err(error) = started {
            // Another thread will come to the job.
            tracing::warn!(%error, "start a call thread");
        }
    }

    fn add_thread(&self, state: &mut State, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let name = format!("lv-{}-{}-{}", self.parts.host, self.parts.kind.name(), state.started + 1);
        thread::Builder::new().name(name).spawn(run)?;
        state.started += 1;
        state.threads += 1;
        Ok(())
    }

    /// Opens one more connection, on the thread that is to use it.
    fn open(self: Arc<Self>) {
        let Some(more) = &self.parts.more else { return };
        let opened = more().map(Arc::new);
        let mut state = lock(&self.state);
        match opened {
            Ok(connection) => {
                state.not_before = None;
                state.needed = Some(Instant::now());
                state.connections.retain(|connection| connection.strong_count() > 0);
                state.connections.push(Arc::downgrade(&connection));
                drop(state);
                self.work(connection, false);
            }
            Err(error) => {
                state.not_before = Some(Instant::now() + AGAIN);
                state.threads -= 1;
                // Else everything would wait for the calls that do not return.
                let worn_out = state.threads <= state.stuck && !state.closed;
                drop(state);
                tracing::warn!(host = self.parts.host, %error, "open one more connection");
                if worn_out {
                    (self.parts.worn_out)();
                }
            }
        }
    }

    /// Makes calls over a connection, and closes it.
    fn work(self: Arc<Self>, connection: Arc<Connection>, is_first: bool) {
        // The first was free for work from its beginning.
        if !is_first {
            lock(&self.state).idle += 1;
        }
        while let Some(job) = self.next(is_first) {
            if !is_first && !connection.is_alive() {
                lock(&self.state).queue.push_front(job);
                break;
            }
            self.parts.counters.add_in_flight(1);
            let Done { abandoned, tell } = job(&connection);
            self.parts.counters.add_in_flight(-1);
            let mut state = lock(&self.state);
            state.idle += 1;
            if abandoned {
                state.stuck = state.stuck.saturating_sub(1);
            }
            drop(state);
            tell();
        }
        let mut state = lock(&self.state);
        state.threads -= 1;
        let lost = state.lost;
        self.grow(&mut state);
        drop(state);
        self.work.notify_one();
        if lost || connection.is_watched() {
            connection.settle(self.parts.keepalive);
        }
        // Here it closes: on the thread that has used it.
        drop(connection);
    }

    /// The next job; None when this thread is to end. It counts as idle until then.
    fn next(self: &Arc<Self>, is_first: bool) -> Option<Job> {
        let mut state = lock(&self.state);
        while state.queue.is_empty() && !state.closed {
            if is_first {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let rested = state.needed.is_none_or(|needed| needed.elapsed() >= REST);
            if rested {
                // The next one goes later: fewer may be just enough.
                state.needed = Some(Instant::now());
                break;
            }
            let (after, wait) = self.work.wait_timeout(state, REST).unwrap_or_else(PoisonError::into_inner);
            state = after;
            if wait.timed_out() {
                break;
            }
        }
        state.idle -= 1;
        let job = state.queue.pop_front();
        if job.is_some() && state.idle == 0 {
            state.needed = Some(Instant::now());
        }
        self.grow(&mut state);
        job
    }
}
