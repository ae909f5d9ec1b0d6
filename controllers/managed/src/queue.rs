//! The work of one kind: what is due, in which order, and that nothing is worked on twice at once.
//!
//! A user's edit goes before the initial list, resyncs and polls: with one line for all, a thousand polls would stand before it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
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

/// A key that was given out, and how long it had waited for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken<K> {
    /// The key.
    pub key: K,
    /// From when it was asked for, or its timer ran out, until now.
    pub waited: Duration,
}

/// What a queue has done and does, as client-go's `workqueue` figures tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many keys wait.
    pub depth: usize,
    /// How many keys were ever queued.
    pub adds: u64,
    /// How many keys are worked on.
    pub active: usize,
    /// For how long all keys that are worked on have been, together.
    pub unfinished: Duration,
    /// For how long the one has been that has been longest.
    pub longest: Duration,
}

#[derive(Debug)]
struct State<K> {
    /// A key whose urgency grew stands in both; only where `queued` says it is counts.
    lines: [VecDeque<K>; 2],
    queued: HashMap<K, (Urgency, Instant)>,
    active: HashMap<K, Instant>,
    adds: u64,
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
            active: HashMap::new(),
            adds: 0,
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
    pub async fn pop(&self) -> Option<Taken<K>> {
        loop {
            let (taken, next) = self.lock().take();
            match taken {
                Next::Closed => {
                    // The next worker may be on its way to sleep and have missed the call.
                    self.changed.notify_one();
                    return None;
                }
                Next::Key(taken, more) => {
                    if more {
                        self.changed.notify_one();
                    }
                    return Some(taken);
                }
                Next::Nothing => {}
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

    /// What it has done and does.
    pub fn load(&self) -> Load {
        let state = self.lock();
        let now = Instant::now();
        let times = state.active.values().map(|begun| now.duration_since(*begun));
        Load {
            depth: state.queued.len(),
            adds: state.adds,
            active: state.active.len(),
            unfinished: times.clone().sum(),
            longest: times.max().unwrap_or_default(),
        }
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

enum Next<K> {
    Closed,
    Key(Taken<K>, bool),
    Nothing,
}

impl<K: Hash + Eq + Clone> State<K> {
    fn push(&mut self, key: K, urgency: Urgency) {
        if self.active.contains_key(&key) {
            let again = self.again.entry(key).or_insert(urgency);
            *again = (*again).max(urgency);
            return;
        }
        let since = match self.queued.get(&key) {
            Some((known, _)) if *known >= urgency => return,
            Some((_, since)) => *since,
            None => {
                self.adds += 1;
                Instant::now()
            }
        };
        self.queued.insert(key.clone(), (urgency, since));
        self.lines[usize::from(urgency == Urgency::Event)].push_back(key);
    }

    fn disarm(&mut self, key: &K) {
        if let Some(timer) = self.due.remove(key) {
            self.timers.remove(&timer);
        }
    }

    fn take(&mut self) -> (Next<K>, Option<Instant>) {
        if self.closed {
            return (Next::Closed, None);
        }
        let now = Instant::now();
        while let Some((timer, key)) = self.timers.first_key_value().map(|(timer, key)| (*timer, key.clone())) {
            if timer.0 > now {
                break;
            }
            self.disarm(&key);
            self.push(key, Urgency::Background);
        }
        let Some(key) = self.first(Urgency::Event).or_else(|| self.first(Urgency::Background)) else {
            return (Next::Nothing, self.timers.first_key_value().map(|(timer, _)| timer.0));
        };
        let waited = self.queued.remove(&key).map(|(_, since)| now.duration_since(since)).unwrap_or_default();
        self.active.insert(key.clone(), now);
        (Next::Key(Taken { key, waited }, !self.queued.is_empty() || !self.timers.is_empty()), None)
    }

    /// Takes the first key of a line that is queued there still.
    fn first(&mut self, urgency: Urgency) -> Option<K> {
        let line = &mut self.lines[usize::from(urgency == Urgency::Event)];
        while let Some(key) = line.pop_front() {
            if self.queued.get(&key).is_some_and(|(queued, _)| *queued == urgency) {
                return Some(key);
            }
        }
        None
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
            order.push(queue.pop().await.unwrap().key);
        }
        assert_eq!(order, ["edit", "both", "poll"]);
        assert_eq!((queue.load().depth, queue.load().adds, queue.load().active), (0, 3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_tells_how_long_its_keys_have_waited_and_been_worked_on() {
        let queue = Queue::new();
        queue.push("slow", Urgency::Background);
        queue.push("late", Urgency::Background);
        let taken = queue.pop().await.unwrap();
        assert_eq!((taken.key, taken.waited), ("slow", Duration::ZERO));
        tokio::time::advance(Duration::from_secs(3)).await;
        queue.push("late", Urgency::Event);
        let taken = queue.pop().await.unwrap();
        assert_eq!((taken.key, taken.waited), ("late", Duration::from_secs(3)), "an event does not make it wait anew");
        tokio::time::advance(Duration::from_secs(2)).await;
        let (unfinished, longest) = (Duration::from_secs(7), Duration::from_secs(5));
        assert_eq!(queue.load(), Load { depth: 0, adds: 2, active: 2, unfinished, longest });
        queue.done(&"slow");
        queue.done(&"late");
        assert_eq!(queue.load(), Load { adds: 2, ..Load::default() });
    }

    #[tokio::test]
    async fn a_key_that_stood_in_both_lines_is_given_out_once_and_can_come_back() {
        let queue = Queue::new();
        queue.push("a", Urgency::Background);
        queue.push("a", Urgency::Event);
        assert_eq!(queue.pop().await.unwrap().key, "a");
        queue.done(&"a");
        queue.push("a", Urgency::Background);
        queue.push("b", Urgency::Background);
        assert_eq!(queue.pop().await.unwrap().key, "a");
        assert_eq!(queue.pop().await.unwrap().key, "b");
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.pop()).await.is_err());
    }

    #[tokio::test]
    async fn a_key_in_work_is_given_out_again_only_when_it_is_done() {
        let queue = Queue::new();
        queue.push("a", Urgency::Event);
        assert_eq!(queue.pop().await.map(|taken| taken.key), Some("a"));
        queue.push("a", Urgency::Event);
        assert!(tokio::time::timeout(Duration::from_millis(20), queue.pop()).await.is_err());
        queue.done(&"a");
        assert_eq!(queue.pop().await.map(|taken| taken.key), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_sooner_of_two_timers_counts_and_a_push_takes_it_back() {
        let queue = Queue::new();
        queue.push_after("a", Duration::from_mins(1));
        queue.push_after("a", Duration::from_secs(1));
        queue.push_after("a", Duration::from_secs(30));
        let before = Instant::now();
        assert_eq!(queue.pop().await.map(|taken| taken.key), Some("a"));
        assert_eq!(before.elapsed().as_secs(), 1);
        queue.done(&"a");
        queue.push_after("a", Duration::from_secs(5));
        queue.push("a", Urgency::Event);
        assert_eq!(queue.pop().await.map(|taken| taken.key), Some("a"));
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
