//! One open connection, as the closures of [`crate::Host::call`] see it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use virt::connect::Connect;
use virt::domain;

use crate::counters::{Call, Counters};
use crate::endpoint::Dial;
use crate::error::Kind;
use crate::lock::lock;
use crate::offers::Sort;
use crate::pool_calls::{PoolCall, PoolCalls};
use crate::sys::{Owned, Registration, open};
use crate::xml::Element;
use crate::{Error, event_loop};

/// What is said of a host that lets in whoever comes.
const UNENCRYPTED: &str = "authentication is not wanted by the host, and nothing would be encrypted";

/// The domain capabilities that a host has told.
pub(crate) type Offers = Arc<Mutex<HashMap<Sort, Option<Arc<Element>>>>>;

/// When a host counts as silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keepalive {
    /// Seconds of silence before a message; at least one.
    pub(crate) interval: u32,
    /// How many may stay unanswered; at least one.
    pub(crate) count: u32,
}

impl Keepalive {
    /// After so long libvirt knows.
    fn patience(self) -> Duration {
        Duration::from_secs(u64::from(self.interval) * (u64::from(self.count) + 2))
    }
}

/// An open connection. One thread makes calls over it: several at once may bring the client library down, see `calls/lane.rs`.
pub struct Connection {
    // The handles go before the connection, which each of them holds.
    domains: Mutex<HashMap<String, Owned<domain::Domain>>>,
    connect: Owned<Connect>,
    registered: Mutex<Vec<Registration>>,
    counters: Arc<Counters>,
    /// How many calls the host has answered over this lane: the counters are those of all that one config ever opened.
    answers: Arc<AtomicU64>,
    offers: Offers,
    pool_calls: Arc<PoolCalls>,
    /// Whether libvirt asks by itself whether the host is there.
    watched: AtomicBool,
}

impl Connection {
    /// Opens a connection. May block without bound: call it on a thread that can be given up.
    pub(crate) fn open(dial: &Dial, counters: Arc<Counters>, pool_calls: Arc<PoolCalls>) -> Result<Self, Error> {
        event_loop::start();
        let begin = Instant::now();
        let opened = open(dial.uri(), dial.login(), dial.read_only());
        counters.record(Call::Open, begin.elapsed());
        let connect = Owned::new(opened.map_err(|error| dial.told(error))?);
        // The client library knows it by itself: nobody is asked.
        if dial.must_be_encrypted() && !connect.is_encrypted()? {
            return Err(dial.told(Error::new(Kind::Denied, UNENCRYPTED)));
        }
        Ok(Self {
            domains: Mutex::default(),
            connect,
            registered: Mutex::default(),
            counters,
            answers: Arc::default(),
            offers: Offers::default(),
            pool_calls,
            watched: AtomicBool::new(false),
        })
    }

    /// Lets libvirt end the connection by itself if its host is silent: then a call that waits on it returns. Only where nobody wants that
    /// call's answer any more: libvirt's event loop sends the messages, beside the thread that calls.
    pub(crate) fn end_if_silent(&self, keepalive: Keepalive) {
        self.watched.store(true, Ordering::Release);
        let interval = i32::try_from(keepalive.interval).unwrap_or(i32::MAX);
        // It may have ended already.
        let _ = self.connect.set_keep_alive(interval, keepalive.count);
    }

    /// Whether libvirt may end it by itself.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }

    /// Waits until libvirt knows whether the host is there: if it is not, closing asks nobody any more. Before it closes; makes no call.
    pub(crate) fn settle(&self, keepalive: Keepalive) {
        self.end_if_silent(keepalive);
        let end = Instant::now() + keepalive.patience();
        while self.is_alive() && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
        }
        let _ = self.connect.set_keep_alive(0, 0);
    }

    /// Asks the host for something that costs it nothing; it is not counted, because it is made only where no other call is.
    pub(crate) fn ask(&self) -> Result<(), Error> {
        self.connect.lib_version().map(drop).map_err(Error::from)
    }

    /// Whether it has not ended, as far as the client library knows by itself. Where it cannot tell, it has not.
    pub(crate) fn is_alive(&self) -> bool {
        self.connect.is_alive().unwrap_or(true)
    }

    /// Makes one call and counts it.
    pub(crate) fn counted<T, E: Into<Error>>(
        &self,
        call: Call,
        make: impl FnOnce(&Connect) -> Result<T, E>,
    ) -> Result<T, Error> {
        let begin = Instant::now();
        let answer = self.met(call).and_then(|()| make(&self.connect).map_err(Into::into));
        self.counters.record(call, begin.elapsed());
        if !answer.as_ref().is_err_and(|error| error.kind == Kind::Unreachable) {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// The count of answers that came over its lane.
    pub(crate) fn answers(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.answers)
    }

    /// What a test double does to a call before it is made.
    #[cfg(feature = "double")]
    fn met(&self, call: Call) -> Result<(), Error> {
        self.counters.double.meet(call)
    }

    /// Nothing comes between a call and libvirt.
    #[cfg(not(feature = "double"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "that of a test double does more")]
    fn met(&self, _: Call) -> Result<(), Error> {
        Ok(())
    }

    /// What arrives of a list, by a test double.
    #[cfg(feature = "double")]
    pub(crate) fn arrived<T>(&self, call: Call, list: Vec<T>) -> Vec<T> {
        self.counters.double.cut(call, list)
    }

    /// A list arrives whole.
    #[cfg(not(feature = "double"))]
    #[allow(clippy::unused_self, reason = "that of a test double does more")]
    pub(crate) fn arrived<T>(&self, _: Call, list: Vec<T>) -> Vec<T> {
        list
    }

    /// A call on one pool, by name and UUID where both are known; see [`PoolCalls`].
    pub(crate) fn on_pool(&self, name: &str, uuid: &str) -> Result<PoolCall, Error> {
        self.pool_calls.begin(name, uuid)
    }

    /// A call that lists pools, for which libvirt asks every one of them.
    pub(crate) fn listing_pools(&self) -> Result<PoolCall, Error> {
        self.pool_calls.begin_all()
    }

    /// Before another call for which libvirt asks every pool.
    pub(crate) fn on_all_pools(&self) -> Result<(), Error> {
        self.pool_calls.check_all()
    }

    /// Handles of domains that were found over this connection, by UUID.
    pub(crate) fn known_domains(&self) -> MutexGuard<'_, HashMap<String, Owned<domain::Domain>>> {
        lock(&self.domains)
    }

    /// The domain capabilities that the host has told.
    pub(crate) fn known_offers(&self) -> &Offers {
        &self.offers
    }

    /// What is told over either is known to both, and counts for both.
    pub(crate) fn share(&mut self, offers: &Offers, answers: &Arc<AtomicU64>) {
        self.offers = Arc::clone(offers);
        self.answers = Arc::clone(answers);
    }

    /// Registers callbacks, which are taken back before the connection closes.
    pub(crate) fn register<I>(&self, make: impl FnOnce(&Connect) -> Result<I, Error>) -> Result<(), Error>
    where
        I: IntoIterator<Item = Registration>,
    {
        let registrations = make(&self.connect)?;
        lock(&self.registered).extend(registrations);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let registered = std::mem::take(&mut *lock(&self.registered));
        for registration in registered {
            registration.remove(&self.connect);
        }
    }
}
