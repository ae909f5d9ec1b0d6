//! A lane: one connection and the few threads that make calls on it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;

use crate::counters::Counters;
use crate::lock::lock;
use crate::{Connection, Error};

/// Which of a host's two connections a call goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LaneKind {
    /// Lookups, reads, definitions: calls that answer in milliseconds. At most 4 at a time, since the daemon stops reading
    /// a client's socket, keepalives included, at its fifth unanswered request.
    Short,
    /// Starts, stops, builds, big allocations: calls that may take minutes. At most 3 at a time.
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

/// A call, ready to run; says whether it had been abandoned when it returned.
type Job = Box<dyn FnOnce(&Connection) -> bool + Send>;

/// A connection's queue and threads. Threads start when they are needed, up to the lane's limit, and end when it closes.
pub(crate) struct Lane {
    kind: LaneKind,
    host: String,
    state: Mutex<State>,
    work: Condvar,
    /// Weak, so that the last reference goes on a thread of the lane: closing is a call too.
    connection: Weak<Connection>,
    counters: Arc<Counters>,
    /// Called once, when so many threads are stuck that the lane is of no more use.
    worn_out: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Threads waiting for work.
    idle: usize,
    /// All threads, stuck ones included.
    threads: usize,
    /// Threads in calls that were abandoned.
    stuck: usize,
    started: usize,
    closed: bool,
}

impl Lane {
    /// Opens a lane over a connection, with its first thread.
    pub(crate) fn start(
        kind: LaneKind,
        host: &str,
        connection: Connection,
        counters: Arc<Counters>,
        worn_out: impl Fn() + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        let connection = Arc::new(connection);
        let lane = Arc::new(Self {
            kind,
            host: host.to_owned(),
            state: Mutex::default(),
            work: Condvar::new(),
            connection: Arc::downgrade(&connection),
            counters,
            worn_out: Box::new(worn_out),
        });
        lane.add_thread(&mut lock(&lane.state), connection)?;
        Ok(lane)
    }

    /// Queues a job and starts a thread for it if none is free and one more is allowed.
    pub(crate) fn push(self: &Arc<Self>, job: Job) -> Result<(), Error> {
        let mut state = lock(&self.state);
        let connection = if state.closed { None } else { self.connection.upgrade() };
        let Some(connection) = connection else {
            return Err(Error::unreachable("the connection to the host was closed"));
        };
        state.queue.push_back(job);
        if state.idle < state.queue.len() && state.threads < self.kind.limit() {
            self.add_thread(&mut state, connection)?;
        }
        self.work.notify_one();
        Ok(())
    }

    /// Ends the lane: what is queued is still answered, then its threads go, and the connection with the last of them.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.work.notify_all();
    }

    /// Writes a thread off. One usable thread is not enough: behind it everything would wait for the next stuck call.
    pub(super) fn lose_thread(&self) {
        let mut state = lock(&self.state);
        state.stuck += 1;
        let worn_out = state.stuck + 1 == self.kind.limit() && !state.closed;
        drop(state);
        if worn_out {
            (self.worn_out)();
        }
    }

    fn add_thread(self: &Arc<Self>, state: &mut State, connection: Arc<Connection>) -> Result<(), Error> {
        state.started += 1;
        let name = format!("lv-{}-{}-{}", self.host, self.kind.name(), state.started);
        let lane = Arc::clone(self);
        let spawned = thread::Builder::new().name(name).spawn(move || lane.work(&connection));
        match spawned {
            Ok(_) => state.threads += 1,
            // Another thread will come to the job.
            Err(error) if state.threads > 0 => tracing::warn!(%error, "start a call thread"),
            Err(error) => return Err(Error::other(format!("cannot start a call thread: {error}"))),
        }
        Ok(())
    }

    fn work(&self, connection: &Connection) {
        while let Some(job) = self.next() {
            self.counters.add_in_flight(1);
            let abandoned = job(connection);
            self.counters.add_in_flight(-1);
            if abandoned {
                lock(&self.state).stuck -= 1;
            }
        }
        lock(&self.state).threads -= 1;
    }

    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        state.idle += 1;
        while state.queue.is_empty() && !state.closed {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle -= 1;
        state.queue.pop_front()
    }
}
