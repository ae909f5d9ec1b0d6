//! The work of one kind: what is due, in which order, and that nothing is worked on twice at once.
//!
//! A user's edit goes before the initial list, resyncs and polls: with one line for all, a thousand polls would stand before it.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// A poll, a resync, or the initial list.
    Background,
    /// A user's edit, an event of the host, or a referent that changed.
    Event,
}

/// A queue without repeats.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<K> {
    lines: [VecDeque<K>; 2],
    queued: HashMap<K, Urgency>,
    active: HashSet<K>,
    again: HashMap<K, Urgency>,
    timers: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    serial: u64,
    closed: bool,
}

impl<K: Hash + Eq + Clone> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            lines: [VecDeque::new(), VecDeque::new()],
            queued: HashMap::new(),
            active: HashSet::new(),
            again: HashMap::new(),
            timers: BTreeMap::new(),
            due: HashMap::new(),
            serial: 0,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Asks for a pass now, and takes back a timer that is set.
    pub fn push(&self, key: K, urgency: Urgency) {
        let mut state = self.lock();
        state.disarm(&key);
        state.push(key, urgency);
        drop(state);
        self.changed.notify_one();
    }

    /// Asks for a pass after a while, unless one is due sooner.
    pub fn push_after(&self, key: K, delay: Duration) {
        let mut state = self.lock();
        let at = Instant::now() + delay;
        let sooner = state.due.get(&key).is_some_and(|(due, _)| *due <= at);
        if sooner || state.queued.contains_key(&key) || state.again.contains_key(&key) {
            return;
        }
        state.disarm(&key);
        state.serial += 1;
        let timer = (at, state.serial);
        state.due.insert(key.clone(), timer);
        state.timers.insert(timer, key);
        drop(state);
        self.changed.notify_one();
    }

    /// The next key, when there is one. None when the queue is closed. The key must be given back with [`Queue::done`].
    pub async fn pop(&self) -> Option<K> {
        loop {
            let (taken, next) = self.lock().take();
            match taken {
                Taken::Closed => {
                    // The next worker may be on its way to sleep and have missed the call.
                    self.changed.notify_one();
                    return None;
                }
                Taken::Key(key, more) => {
                    if more {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                Taken::Nothing => {}
            }
            match next {
                Some(at) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// The pass over this key is over. What was asked for meanwhile is due now.
    pub fn done(&self, key: &K) {
        let mut state = self.lock();
        state.active.remove(key);
        if let Some(urgency) = state.again.remove(key) {
            state.push(key.clone(), urgency);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The object is gone: no timer brings it back.
    pub fn forget(&self, key: &K) {
        self.lock().disarm(key);
    }

    /// No more keys: every worker finishes what it has in hand.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// How many keys wait.
    pub fn depth(&self) -> usize {
        self.lock().queued.len()
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self::new()
    }
}

enum Taken<K> {
    Closed,
    Key(K, bool),
    Nothing,
}

impl<K: Hash + Eq + Clone> State<K> {
    fn push(&mut self, key: K, urgency: Urgency) {
        if self.active.contains(&key) {
            let again = self.again.entry(key).or_insert(urgency);
            *again = (*again).max(urgency);
            return;
        }
        match self.queued.get(&key) {
            Some(known) if *known >= urgency => return,
            Some(_) => self.lines[0].retain(|queued| *queued != key),
            None => {}
        }
        self.queued.insert(key.clone(), urgency);
        self.lines[usize::from(urgency == Urgency::Event)].push_back(key);
    }

    fn disarm(&mut self, key: &K) {
        if let Some(timer) = self.due.remove(key) {
            self.timers.remove(&timer);
        }
    }

    fn take(&mut self) -> (Taken<K>, Option<Instant>) {
        if self.closed {
            return (Taken::Closed, None);
        }
        let now = Instant::now();
        while let Some((timer, key)) = self.timers.first_key_value().map(|(timer, key)| (*timer, key.clone())) {
            if timer.0 > now {
                break;
            }
            self.disarm(&key);
            self.push(key, Urgency::Background);
        }
        let [background, events] = &mut self.lines;
        let Some(key) = events.pop_front().or_else(|| background.pop_front()) else {
            return (Taken::Nothing, self.timers.first_key_value().map(|(timer, _)| timer.0));
        };
        self.queued.remove(&key);
        self.active.insert(key.clone());
        (Taken::Key(key, !self.queued.is_empty() || !self.timers.is_empty()), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn events_go_before_polls_and_nothing_is_queued_twice() {
        let queue = Queue::new();
        queue.push("poll", Urgency::Background);
        queue.push("both", Urgency::Background);
        queue.push("edit", Urgency::Event);
        queue.push("both", Urgency::Event);
        queue.push("both", Urgency::Background);
        let mut order = Vec::new();
        for _ in 0..3 {
            order.push(queue.pop().await.unwrap());
        }
        assert_eq!(order, ["edit", "both", "poll"]);
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test]
    async fn a_key_in_work_is_given_out_again_only_when_it_is_done() {
        let queue = Queue::new();
        queue.push("a", Urgency::Event);
        assert_eq!(queue.pop().await, Some("a"));
        queue.push("a", Urgency::Event);
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.pop()).await.is_err());
        queue.done(&"a");
        assert_eq!(queue.pop().await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_of_two_timers_counts_and_a_push_takes_it_back() {
        let queue = Queue::new();
        queue.push_after("a", Duration::from_mins(1));
        queue.push_after("a", Duration::from_secs(1));
        queue.push_after("a", Duration::from_secs(30));
        let before = Instant::now();
        assert_eq!(queue.pop().await, Some("a"));
        assert_eq!(before.elapsed().as_secs(), 1);
        queue.done(&"a");
        queue.push_after("a", Duration::from_secs(5));
        queue.push("a", Urgency::Event);
        assert_eq!(queue.pop().await, Some("a"));
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(100), queue.pop()).await.is_err());
    }

    #[tokio::test]
    async fn a_closed_queue_lets_every_worker_go() {
        let queue = std::sync::Arc::new(Queue::<u8>::new());
        let workers: Vec<_> = (0..3)
            .map(|_| {
                tokio::spawn({
                    let queue = queue.clone();
                    async move { queue.pop().await }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        queue.close();
        for worker in workers {
            assert_eq!(tokio::time::timeout(Duration::from_secs(5), worker).await.unwrap().unwrap(), None);
        }
    }
}
