//! Which pools have not answered: libvirt holds a pool's lock for as long as it looks at the pool's storage, and a server that is gone
//! keeps it looking for ever. Whoever asks that pool then waits, and whoever has libvirt list, define or search all pools waits for it
//! with that one's lock in hand. Each such call would take one more of the daemon's workers, until it serves nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::Error;
use crate::lock::lock;

/// How long a pool may take before others are spared the waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// In what is said of a pool that does not answer.
pub const UNANSWERED: &str = "of the host does not answer, and libvirt would wait for it";

/// The calls on a host's pools that have not returned.
#[derive(Default)]
pub(crate) struct PoolCalls {
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    next: u64,
    /// The name or UUID of the pool, or nothing where all are asked; and since when.
    running: HashMap<u64, (String, Instant)>,
}

/// A call that is out until this is dropped.
pub(crate) struct PoolCall {
    number: u64,
    calls: Arc<PoolCalls>,
}

impl PoolCalls {
    /// Notes a call on a pool, which must not be made if an earlier one has not come back.
    pub(crate) fn begin(self: &Arc<Self>, name: &str, uuid: &str) -> Result<PoolCall, Error> {
        let mut calls = lock(&self.calls);
        if let Some(pool) = calls.stuck(|pool| pool == name || pool == uuid) {
            return Err(unanswered(&pool));
        }
        let number = calls.begin(name);
        Ok(PoolCall { number, calls: Arc::clone(self) })
    }

    /// Notes a call for which libvirt asks every pool. One that has not come back tells that a pool does not answer, and not which.
    pub(crate) fn begin_all(self: &Arc<Self>) -> Result<PoolCall, Error> {
        let mut calls = lock(&self.calls);
        if let Some(pool) = calls.stuck(|_| true) {
            return Err(unanswered(&pool));
        }
        let number = calls.begin("");
        Ok(PoolCall { number, calls: Arc::clone(self) })
    }

    /// Whether libvirt can be asked about all pools.
    pub(crate) fn check_all(&self) -> Result<(), Error> {
        lock(&self.calls).stuck(|_| true).map_or(Ok(()), |pool| Err(unanswered(&pool)))
    }

    /// Whether a pool of this name has not answered.
    pub(crate) fn is_stuck(&self, name: &str) -> bool {
        lock(&self.calls).stuck(|pool| pool == name).is_some()
    }
}

impl Calls {
    fn stuck(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let late = self.running.values().filter(|(pool, since)| since.elapsed() > PATIENCE && is_it(pool));
        late.map(|(pool, _)| pool).min_by_key(|pool| (pool.is_empty(), *pool)).cloned()
    }

    fn begin(&mut self, pool: &str) -> u64 {
        self.next += 1;
        self.running.insert(self.next, (pool.to_owned(), Instant::now()));
        self.next
    }
}

impl Drop for PoolCall {
    fn drop(&mut self) {
        lock(&self.calls.calls).running.remove(&self.number);
    }
}

/// Of the class that says nothing of what was done: the call may be the last of several.
fn unanswered(pool: &str) -> Error {
    let which = if pool.is_empty() { "a pool".to_owned() } else { format!("pool {pool}") };
    Error::unreachable(format!("{which} {UNANSWERED}: is its storage there?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(calls: &Arc<PoolCalls>, pool: &str, ago: Duration) -> PoolCall {
        let call = if pool.is_empty() { calls.begin_all() } else { calls.begin(pool, pool) }.unwrap();
        lock(&calls.calls).running.get_mut(&call.number).unwrap().1 = Instant::now().checked_sub(ago).unwrap();
        call
    }

    #[test]
    fn a_pool_that_does_not_answer_is_asked_no_more_and_neither_are_all_until_it_does() {
        let calls = Arc::new(PoolCalls::default());
        let quick = since(&calls, "quick", Duration::from_secs(1));
        assert!(calls.begin("quick", "u1").is_ok() && calls.check_all().is_ok());
        let dead = since(&calls, "dead", Duration::from_mins(1));
        let said = "pool dead of the host does not answer, and libvirt would wait for it: is its storage there?";
        assert_eq!(calls.begin("dead", "u2").err(), Some(Error::unreachable(said)));
        assert_eq!(calls.check_all(), Err(Error::unreachable(said)));
        assert!(calls.is_stuck("dead") && !calls.is_stuck("quick"));
        assert!(calls.begin("quick", "u1").is_ok());
        drop(dead);
        assert!(calls.begin("dead", "u2").is_ok() && calls.check_all().is_ok());
        drop(quick);
    }
    #[test]
    fn a_list_that_does_not_come_back_tells_that_a_pool_does_not_answer_and_keeps_nobody_from_the_others() {
        let calls = Arc::new(PoolCalls::default());
        let list = since(&calls, "", Duration::from_mins(1));
        let said = "a pool of the host does not answer, and libvirt would wait for it: is its storage there?";
        assert_eq!(
            (calls.check_all(), calls.begin_all().err()),
            (Err(Error::unreachable(said)), Some(Error::unreachable(said)))
        );
        assert!(calls.begin("near", "u1").is_ok() && !calls.is_stuck("near"));
        let dead = since(&calls, "dead", Duration::from_secs(11));
        let named = "pool dead of the host does not answer, and libvirt would wait for it: is its storage there?";
        assert_eq!(calls.check_all(), Err(Error::unreachable(named)));
        drop((list, dead));
        assert!(calls.begin_all().is_ok() && calls.check_all().is_ok());
    }
}
