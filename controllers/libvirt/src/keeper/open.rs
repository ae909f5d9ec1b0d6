//! Opening a host's two connections on a thread that may hang.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use super::Note;
use crate::calls::{Lane, LaneKind, More, Parts};
use crate::facts::{Facts, Feature};
use crate::host::{Inner, Session};
use crate::lock::lock;
use crate::mirror::Claim;
use crate::sys::{CloseReason, on_close, on_domain_events, on_network_events, on_pool_events};
use crate::{Connection, Error};

/// Two open connections, callbacks registered, facts read.
pub(crate) struct Opened {
    pub(super) generation: u64,
    pub(super) facts: Arc<Facts>,
    short: Connection,
    long: Connection,
    /// Counts what came over them.
    pub(super) heard: Heard,
}

/// How far an attempt has come.
#[derive(Clone)]
pub(super) struct Step(Arc<Mutex<&'static str>>);

impl Step {
    fn begin(&self, step: &'static str) {
        *lock(&self.0) = step;
    }

    pub(super) fn name(&self) -> &'static str {
        *lock(&self.0)
    }
}

/// What has been heard of a host over one pair of lanes: answers over each of them, and events.
#[derive(Clone)]
pub(super) struct Heard([Arc<AtomicU64>; 3]);

impl Heard {
    /// How much it is so far.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl Opened {
    /// Starts the lanes.
    pub(super) fn into_session(self, inner: &Arc<Inner>) -> Result<Session, Error> {
        let Self { generation, facts, short, long, heard: _ } = self;
        let lane = |kind, connection: Connection| {
            let [worn, ended] = [inner.notes.clone(), inner.notes.clone()];
            let parts = Parts {
                kind,
                host: inner.label.clone(),
                counters: Arc::clone(&inner.counters),
                more: more(inner, &facts, &connection),
                keepalive: inner.settings.keepalive(),
                worn_out: Box::new(move || drop(worn.send(Note::WornOut(generation)))),
                ended: Box::new(move || drop(ended.send(Note::Closed(generation)))),
            };
            Lane::start(parts, connection)
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
pub(super) fn start(inner: &Arc<Inner>, generation: u64) -> Result<Step, Error> {
    let name = format!("lv-{}-open-{generation}", inner.label);
    let (inner, step) = (Arc::clone(inner), Step(Arc::new(Mutex::new("begin"))));
    let mine = step.clone();
    let attempt = move || {
        let opened = open(&inner, generation, &mine);
        // If the keeper is gone, what was opened closes here.
        let _ = inner.notes.send(Note::Opened(Box::new(opened)));
    };
    let spawned = thread::Builder::new().name(name).spawn(attempt);
    spawned.map(|_| step).map_err(|error| Error::other(format!("cannot start a thread to connect: {error}")))
}

fn open(inner: &Arc<Inner>, generation: u64, step: &Step) -> Result<Opened, Error> {
    step.begin("open the connection for short calls");
    let short = connect(inner, generation, LaneKind::Short)?;
    // Callbacks before the lists: what happens in between is then noted.
    step.begin("register for events");
    let events = Arc::default();
    let lacks = register(inner, &short, &events)?;
    step.begin("open the connection for long calls");
    let long = connect(inner, generation, LaneKind::Long)?;
    step.begin("read the facts");
    let facts = Arc::new(short.facts(lacks)?);
    let heard = Heard([short.answers(), long.answers(), events]);
    Ok(Opened { generation, facts, short, long, heard })
}

fn connect(inner: &Arc<Inner>, generation: u64, kind: LaneKind) -> Result<Connection, Error> {
    let connection = Connection::open(&inner.dial, Arc::clone(&inner.counters), Arc::clone(&inner.pool_calls))?;
    // A driver in this process cannot go away, and takes a close callback without ever giving it back.
    if inner.endpoint.is_in_process() {
        return Ok(connection);
    }
    let weak = Arc::downgrade(inner);
    connection.register(|connect| {
        let closed = move |reason| {
            if let Some(inner) = weak.upgrade() {
                let is_silent = matches!(reason, CloseReason::Keepalive);
                let lost = Error::unreachable(sentence(reason));
                let lost = if is_silent { inner.dial.told(lost) } else { lost };
                inner.lost_lane(generation, kind, (&lost, is_silent));
                let _ = inner.notes.send(Note::Closed(generation));
            }
        };
        Ok([on_close(connect, closed)?])
    })?;
    Ok(connection)
}

/// How to open a connection beside the first one of a lane. None where one is enough for any number of threads.
fn more(inner: &Arc<Inner>, facts: &Arc<Facts>, first: &Connection) -> Option<More> {
    if inner.endpoint.is_in_process() {
        return None;
    }
    let (dial, facts) = (Arc::clone(&inner.dial), Arc::clone(facts));
    let (offers, answers) = (Arc::clone(first.known_offers()), first.answers());
    let (counters, pool_calls) = (Arc::clone(&inner.counters), Arc::clone(&inner.pool_calls));
    Some(Box::new(move || {
        let mut connection = Connection::open(&dial, Arc::clone(&counters), Arc::clone(&pool_calls))?;
        if !connection.leads_to(&facts)? {
            return Err(Error::other(
                "another host answers than the one that is connected, or it has another name by now",
            ));
        }
        connection.share(&offers, &answers);
        Ok(connection)
    }))
}

fn sentence(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Error => "the connection to the host failed",
        CloseReason::Eof => "the host closed the connection",
        CloseReason::Keepalive => "the host did not answer keepalive messages",
        CloseReason::Client => "the connection to the host was lost",
    }
}

/// Registers for events. Hosts without networks or storage have no such events: answers which of them are missing.
fn register(inner: &Arc<Inner>, connection: &Connection, events: &Arc<AtomicU64>) -> Result<Vec<Feature>, Error> {
    let (notes, counters) = (inner.notes.clone(), Arc::clone(&inner.counters));
    let sender = EventSender { notes, counters, heard: Arc::clone(events) };
    let domains = sender.clone();
    connection.register(|connect| on_domain_events(connect, move |uuid| domains.send(Claim::Domain(uuid))))?;
    let networks = sender.clone();
    let registered = connection
        .register(|connect| Ok([on_network_events(connect, move |uuid| networks.send(Claim::Network(uuid)))?]));
    let networks = lacking(registered, Feature::Networks)?;
    let registered = connection.register(|connect| on_pool_events(connect, move |uuid| sender.send(Claim::Pool(uuid))));
    let storage = lacking(registered, Feature::Storage)?;
    Ok(networks.into_iter().chain(storage).collect())
}

/// The feature, where the host does not have it.
fn lacking(registered: Result<(), Error>, feature: Feature) -> Result<Option<Feature>, Error> {
    match registered {
        Err(error) if error.is_unsupported() => Ok(Some(feature)),
        registered => registered.map(|()| None),
    }
}

#[derive(Clone)]
struct EventSender {
    notes: mpsc::Sender<Note>,
    counters: Arc<crate::Counters>,
    /// Of this connection alone.
    heard: Arc<AtomicU64>,
}

impl EventSender {
    fn send(&self, claim: Claim) {
        #[cfg(feature = "double")]
        if self.shift(&claim) {
            return;
        }
        self.arrive(claim);
    }

    /// Has an event arrive when a test wants it to; says whether one does.
    #[cfg(feature = "double")]
    fn shift(&self, claim: &Claim) -> bool {
        let Some(arrivals) = self.counters.double.arrivals() else { return false };
        for late in arrivals {
            let (sender, claim) = (self.clone(), claim.clone());
            if late.is_zero() {
                sender.arrive(claim);
            } else {
                std::thread::spawn(move || {
                    std::thread::sleep(late);
                    sender.arrive(claim);
                });
            }
        }
        true
    }

    fn arrive(&self, claim: Claim) {
        self.counters.add_event();
        self.heard.fetch_add(1, Ordering::Relaxed);
        let _ = self.notes.send(Note::Event(claim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Host, Lasting};
    use crate::wakes::WakeHub;
    use crate::{Endpoint, Settings};

    #[test]
    fn what_is_heard_over_one_pair_is_not_heard_over_another_of_the_same_config() {
        let endpoint = Endpoint::parse("test:///default").unwrap();
        let lasting = Arc::new(Lasting::default());
        let started = || {
            let hub = WakeHub::default();
            Host::start("heard", endpoint.clone(), Settings::default(), hub, Arc::clone(&lasting)).unwrap()
        };
        let (one, other) = (started(), started());
        let [one, other] = [&one, &other].map(|host| open(host.inner(), 7, &Step(Arc::default())).unwrap());
        let before = (one.heard.total(), other.heard.total());
        one.short.facts(Vec::new()).unwrap();
        one.long.facts(Vec::new()).unwrap();
        assert!(one.heard.total() >= before.0 + 2);
        assert_eq!(other.heard.total(), before.1, "only what came over its own connections counts");
    }
}
