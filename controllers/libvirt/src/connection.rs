//! One open connection, as the closures of [`crate::Host::call`] see it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use virt::connect::Connect;

use crate::counters::{Call, Counters};
use crate::lock::lock;
use crate::offers::Sort;
use crate::sys::{Owned, Registration};
use crate::xml::Element;
use crate::{Error, event_loop};

/// An open connection. It lives on the call threads of its host and closes when the last of them lets go.
pub struct Connection {
    connect: Owned<Connect>,
    registered: Mutex<Vec<Registration>>,
    counters: Arc<Counters>,
    offers: Mutex<HashMap<Sort, Option<Arc<Element>>>>,
}

impl Connection {
    /// Opens a connection. May block without bound: call it on a thread that can be given up.
    pub(crate) fn open(uri: &str, counters: Arc<Counters>) -> Result<Self, Error> {
        event_loop::start();
        let begin = Instant::now();
        let opened = Connect::open(Some(uri));
        counters.record(Call::Open, begin.elapsed());
        Ok(Self { connect: Owned::new(opened?), registered: Mutex::default(), counters, offers: Mutex::default() })
    }

    /// Asks for keepalive messages. Drivers that run in this process have nobody to ask.
    pub(crate) fn keep_alive(&self, interval: u32, count: u32) -> Result<(), Error> {
        let interval = i32::try_from(interval).unwrap_or(i32::MAX);
        match self.connect.set_keep_alive(interval, count).map_err(Error::from) {
            Err(error) if !error.is_unsupported() => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes one call and counts it.
    pub(crate) fn counted<T, E: Into<Error>>(
        &self,
        call: Call,
        make: impl FnOnce(&Connect) -> Result<T, E>,
    ) -> Result<T, Error> {
        let begin = Instant::now();
        let answer = make(&self.connect).map_err(Into::into);
        self.counters.record(call, begin.elapsed());
        answer
    }

    /// The domain capabilities that it has told.
    pub(crate) fn known_offers(&self) -> &Mutex<HashMap<Sort, Option<Arc<Element>>>> {
        &self.offers
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
