//! Opening a host's two connections on a thread that may hang.

use std::sync::{Arc, mpsc};
use std::thread;

use super::Note;
use crate::calls::{Lane, LaneKind};
use crate::facts::Facts;
use crate::host::{Inner, Session};
use crate::mirror::Claim;
use crate::sys::{CloseReason, on_close, on_domain_events, on_network_events, on_pool_events};
use crate::{Connection, Error};

/// Two open connections, callbacks registered, facts read.
pub(crate) struct Opened {
    pub(super) generation: u64,
    pub(super) facts: Arc<Facts>,
    short: Connection,
    long: Connection,
}

impl Opened {
    /// Starts the lanes.
    pub(super) fn into_session(self, inner: &Arc<Inner>) -> Result<Session, Error> {
        let Self { generation, facts: _, short, long } = self;
        let lane = |kind, connection| {
            let notes = inner.notes.clone();
            let worn_out = move || drop(notes.send(Note::WornOut(generation)));
            Lane::start(kind, &inner.label, connection, Arc::clone(&inner.counters), worn_out)
        };
        let short = lane(LaneKind::Short, short)?;
        match lane(LaneKind::Long, long) {
            Ok(long) => Ok(Session { generation, short, long }),
            Err(error) => {
                short.close();
                Err(error)
            }
        }
    }
}

/// Starts an attempt; its end is told to the keeper.
pub(super) fn start(inner: &Arc<Inner>, generation: u64) -> Result<(), Error> {
    let name = format!("lv-{}-open-{generation}", inner.label);
    let inner = Arc::clone(inner);
    let attempt = move || {
        let opened = open(&inner, generation);
        // If the keeper is gone, what was opened closes here.
        let _ = inner.notes.send(Note::Opened(Box::new(opened)));
    };
    let spawned = thread::Builder::new().name(name).spawn(attempt);
    spawned.map(drop).map_err(|error| Error::other(format!("cannot start a thread to connect: {error}")))
}

fn open(inner: &Arc<Inner>, generation: u64) -> Result<Opened, Error> {
    let short = connect(inner, generation)?;
    // Callbacks before the lists: what happens in between is then noted.
    register(inner, &short)?;
    let long = connect(inner, generation)?;
    let facts = Arc::new(short.facts()?);
    Ok(Opened { generation, facts, short, long })
}

fn connect(inner: &Arc<Inner>, generation: u64) -> Result<Connection, Error> {
    let connection = Connection::open(inner.endpoint.uri(), Arc::clone(&inner.counters))?;
    // A driver in this process cannot go away, and takes a close callback without ever giving it back.
    if inner.endpoint.is_in_process() {
        return Ok(connection);
    }
    connection.keep_alive(inner.settings.keepalive_interval, inner.settings.keepalive_count)?;
    let weak = Arc::downgrade(inner);
    connection.register(|connect| {
        let closed = move |reason| {
            if let Some(inner) = weak.upgrade() {
                inner.lost(generation, &Error::unreachable(sentence(reason)));
                let _ = inner.notes.send(Note::Closed(generation));
            }
        };
        Ok([on_close(connect, closed)?])
    })?;
    Ok(connection)
}

fn sentence(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Error => "the connection to the host failed",
        CloseReason::Eof => "the host closed the connection",
        CloseReason::Keepalive => "the host did not answer keepalive messages",
        CloseReason::Client => "the connection to the host was closed",
    }
}

/// Registers for events. Hosts without networks or storage have no such events.
fn register(inner: &Arc<Inner>, connection: &Connection) -> Result<(), Error> {
    let sender = EventSender { notes: inner.notes.clone(), counters: Arc::clone(&inner.counters) };
    let domains = sender.clone();
    connection.register(|connect| on_domain_events(connect, move |uuid| domains.send(Claim::Domain(uuid))))?;
    let networks = sender.clone();
    let registered = connection
        .register(|connect| Ok([on_network_events(connect, move |uuid| networks.send(Claim::Network(uuid)))?]));
    supported(registered)?;
    supported(connection.register(|connect| on_pool_events(connect, move |uuid| sender.send(Claim::Pool(uuid)))))
}

fn supported(registered: Result<(), Error>) -> Result<(), Error> {
    match registered {
        Err(error) if error.is_unsupported() => Ok(()),
        registered => registered,
    }
}

#[derive(Clone)]
struct EventSender {
    notes: mpsc::Sender<Note>,
    counters: Arc<crate::Counters>,
}

impl EventSender {
    fn send(&self, claim: Claim) {
        self.counters.add_event();
        let _ = self.notes.send(Note::Event(claim));
    }
}
