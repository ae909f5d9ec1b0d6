//! The one thread that belongs to a host: it connects, keeps the mirror, and connects again.
//!
//! ```text
//!            ┌── back-off with jitter, or a knock ◀── failed, no answer ──┐
//!            ▼                                                             │
//!   open (on a thread that can hang) ──▶ up ──▶ sweep ──▶ events, polls ──▶ lost
//! ```

mod attempts;
mod backoff;
mod knock;
mod open;
mod pulse;
mod work;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::endpoint::Door;
use crate::error::Kind;
use crate::host::Inner;
use crate::mirror::{Claim, Look, refresh, sweep, sweep_pools};

use attempts::Attempts;
use backoff::{Backoff, jittered};
use knock::Knocker;
use open::{Opened, Step};
use work::{Cause, Work, object};

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
    /// The host's door opened.
    Knocked,
    /// The host is being dropped.
    Stop,
}

/// A connection that held for so long was a good one.
const LASTING: Duration = Duration::from_secs(10);

/// How long the event of a write is waited for before what was written is read once more without it.
const EVENT: Duration = Duration::from_millis(50);

/// Within this time most hosts let somebody in. Of an attempt that takes longer it is looked whether anybody is there at all: where packets
/// were lost it goes on a long time after they are not any more.
const PROMPT: Duration = Duration::from_secs(2);

/// How long after its end a connection is opened again when the first attempt failed at once.
const PARTING: Duration = Duration::from_millis(100);

/// How soon what could not be read is tried again.
const RETRY: Duration = Duration::from_secs(2);

struct Keeper {
    inner: Arc<Inner>,
    inbox: Receiver<Note>,
    attempts: Attempts,
    knocker: Knocker,
    generation: u64,
    /// Generations whose connections ended before they were in use.
    closed: HashSet<u64>,
    backoff: Backoff,
    /// What an attempt to connect ended with since the host was last in use.
    failure: Option<Error>,
    /// The host was in use a moment ago, and nothing was tried since.
    parting: bool,
    /// Of the newest attempt, until it was told.
    step: Option<Step>,
}

/// What ended a wait.
enum Heard {
    /// An attempt to connect.
    Opened(Box<Result<Opened, Error>>),
    /// The host's door opened.
    Knocked,
    /// The time was over.
    Nothing,
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
    let keeper = Keeper {
        inner,
        inbox,
        attempts: Attempts::default(),
        knocker: Knocker::default(),
        generation: 0,
        closed: HashSet::new(),
        backoff: Backoff::default(),
        failure: None,
        parting: false,
        step: None,
    };
    let spawned = thread::Builder::new().name(name).spawn(move || keeper.run());
    spawned.map(drop).map_err(|error| Error::other(format!("cannot start the host's thread: {error}")))
}

impl Keeper {
    fn run(mut self) {
        let mut early = None;
        loop {
            let Some(opened) = early.take().or_else(|| self.connect()) else { return };
            let begin = Instant::now();
            let paused = match self.serve(opened) {
                Ok(End::Stopped) => return,
                Ok(End::WornOut) => Some(None),
                Ok(End::Lost) if begin.elapsed() > LASTING => {
                    self.backoff.reset();
                    self.parting = true;
                    Some(None)
                }
                // A daemon that lets us in and throws us out again is not asked all the time.
                Ok(End::Lost) => self.pause(),
                Err(error) => {
                    self.inner.down(&error);
                    self.pause()
                }
            };
            self.inner.counters.add_reconnect();
            let Some(opened) = paused else { return };
            early = opened;
        }
    }

    /// Tries until a connection is open; `None` when the host is dropped.
    fn connect(&mut self) -> Option<Opened> {
        let timeout = self.inner.settings.connect_timeout;
        loop {
            let quiet = self.attempt().min(timeout);
            let heard = match self.listen(quiet)? {
                Heard::Nothing => {
                    let rest = timeout.saturating_sub(quiet);
                    self.knock(rest);
                    self.listen(rest)?
                }
                heard => heard,
            };
            let failure = match heard {
                Heard::Opened(ended) => match *ended {
                    Ok(opened) => return Some(opened),
                    // A daemon on its way out still takes connections and drops them. That is not why the host is away, and two sentences
                    // would be written to the objects that look meanwhile.
                    Err(_) if std::mem::take(&mut self.parting) => {
                        thread::sleep(PARTING);
                        continue;
                    }
                    Err(error) => self.failure.insert(error).clone(),
                },
                Heard::Knocked => {
                    self.welcome();
                    continue;
                }
                // What the last attempt ended with says more than that this one hangs, and two sentences that take turns would be written
                // to every object again and again.
                Heard::Nothing => {
                    self.log_hanging();
                    self.failure.clone().unwrap_or_else(|| self.silent(timeout))
                }
            };
            self.inner.down(&failure);
            if let Some(opened) = self.pause()? {
                return Some(opened);
            }
        }
    }

    /// Begins an attempt if one more may. Answers for how long the host's door is left alone.
    fn attempt(&mut self) -> Duration {
        if !self.attempts.may_begin(Instant::now()) {
            return Duration::ZERO;
        }
        self.generation += 1;
        match open::start(&self.inner, self.generation) {
            Ok(step) => {
                self.attempts.begun(Instant::now());
                self.step = Some(step);
            }
            Err(error) => self.inner.down(&error),
        }
        PROMPT
    }

    /// Knocks at the host's door for so long, unless somebody is known to be there.
    fn knock(&mut self, time: Duration) {
        let endpoint = &self.inner.endpoint;
        let door = Door::of(endpoint.address(), endpoint.access().read_only).filter(|_| !time.is_zero());
        self.knocker.start(door, time, self.inner.notes.clone());
    }

    /// The host's door has opened: attempts that hang were made when nobody was there.
    fn welcome(&mut self) {
        self.attempts.allow_more();
        self.backoff.reset();
    }

    /// Lets time pass before the next attempt, and less of it when there is news of the host. Outer `None`: the host is dropped; inner:
    /// no connection is open yet.
    #[allow(clippy::option_option, reason = "the outer one is the end of the thread")]
    fn pause(&mut self) -> Option<Option<Opened>> {
        let pause = self.backoff.next();
        self.knock(pause);
        match self.listen(pause)? {
            Heard::Opened(ended) => return Some(ended.ok()),
            Heard::Knocked => self.welcome(),
            Heard::Nothing => {}
        }
        Some(None)
    }

    /// Says once of each attempt how far it came; the word for objects stays the same whatever it hangs at.
    fn log_hanging(&mut self) {
        if let Some(step) = self.step.take() {
            tracing::warn!(
                host = self.inner.label,
                attempt = self.generation,
                step = step.name(),
                "an attempt to connect hangs"
            );
        }
    }

    fn silent(&self, timeout: Duration) -> Error {
        let error = Error::unreachable(format!("the host did not answer within {} s", timeout.as_secs_f32()));
        self.inner.dial.told(error)
    }

    /// Waits for news. `None`: the host is dropped.
    fn listen(&mut self, timeout: Duration) -> Option<Heard> {
        let end = Instant::now() + timeout;
        loop {
            match self.inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Note::Opened(result)) => {
                    self.ended();
                    return Some(Heard::Opened(result));
                }
                Ok(Note::Knocked) => return Some(Heard::Knocked),
                Ok(Note::Closed(generation)) => drop(self.closed.insert(generation)),
                // Everything is read anew once connected.
                Ok(Note::Event(_) | Note::Refresh(_) | Note::Written(_) | Note::WornOut(_)) => {}
                Ok(Note::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => return Some(Heard::Nothing),
            }
        }
    }

    /// An attempt has ended. If it hung, what it hung on has changed: the next one may well succeed.
    fn ended(&mut self) {
        self.knocker.forget();
        let begun = self.attempts.ended();
        if begun.is_some_and(|begun| begun.elapsed() >= self.inner.settings.connect_timeout) {
            self.backoff.reset();
        }
    }

    /// Takes a connection into use and keeps the mirror until it ends.
    fn serve(&mut self, opened: Opened) -> Result<End, Error> {
        let generation = opened.generation;
        let (facts, heard) = (Arc::clone(&opened.facts), opened.heard.clone());
        self.inner.mirror.restart();
        self.inner.up(opened.into_session(&self.inner)?, facts);
        (self.failure, self.parting, self.step) = (None, false, None);
        pulse::watch(&self.inner, generation, heard)?;
        if std::mem::take(&mut self.closed).contains(&generation) {
            self.inner.lost(generation, &Error::lost());
        }
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
                Note::Closed(generation) if generation == work.generation => {
                    // It may have ended just before it was taken into use.
                    self.inner.lost(generation, &Error::lost());
                    return Some(End::Lost);
                }
                Note::WornOut(generation) if generation == work.generation => return Some(End::WornOut),
                Note::Closed(_) | Note::WornOut(_) | Note::Knocked => {}
                // A late attempt; its connections close as this goes.
                Note::Opened(_) => self.ended(),
                Note::Stop => return Some(End::Stopped),
            }
            next = self.inbox.try_recv().ok();
        }
        None
    }

    /// Reads everything; says whether that went well.
    fn sweep(&mut self, work: &mut Work) -> bool {
        let look = work.look;
        // A description takes round trips, and a host may be far away and have many; that it is silent is noticed elsewhere.
        let objects = u32::try_from(self.inner.mirror.len()).unwrap_or(u32::MAX);
        let deadline = self.inner.settings.call_timeout + Duration::from_secs(1).saturating_mul(objects);
        let swept = self
            .inner
            .call_for_mirror("the host's lists", deadline, move |connection, mirror| sweep(connection, mirror, look))
            .and_then(|()| self.sweep_pools(deadline, look));
        match swept {
            Ok(()) if look == Look::Whole => self.inner.mirror.complete(),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(host = self.inner.label, %error, "read the host's objects");
                self.inner.mirror.supersede();
                if self.inner.generation() == Some(work.generation) {
                    self.inner.mirror.failed(&error);
                }
                return false;
            }
        }
        work.look = look.next();
        true
    }

    /// Reads the pools. While one of them does not answer libvirt lists none; then the others are read one by one, as far as their names
    /// are known: by an earlier list, or by objects.
    fn sweep_pools(&self, deadline: Duration, look: Look) -> Result<(), Error> {
        let listed = self.inner.call_for_mirror("the host's pools", deadline, move |connection, mirror| {
            sweep_pools(connection, mirror, look)
        });
        let Err(error) = listed else {
            self.inner.mirror.listed_pools();
            return Ok(());
        };
        if self.inner.pool_calls.check_all().is_ok() {
            return Err(error);
        }
        tracing::warn!(host = self.inner.label, %error, "list the host's pools");
        self.inner.mirror.supersede();
        for name in self.inner.mirror.pool_names() {
            if self.inner.pool_calls.is_stuck(&name) {
                continue;
            }
            let claim = Claim::Pool(name.clone());
            let timeout = self.inner.settings.call_timeout;
            let read = self
                .inner
                .call_for_mirror(&name, timeout, move |connection, mirror| refresh(connection, mirror, &claim));
            if let Err(error) = read {
                tracing::warn!(host = self.inner.label, pool = name, %error, "read a pool");
            }
        }
        Ok(())
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
