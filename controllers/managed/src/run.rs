//! The life of one kind: its workers, fed by the queue that the watch fills.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use apis::{
    Managed,
    condition::{self, Type},
};
use futures::FutureExt;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::task::JoinSet;

use crate::{
    backoff::jitter,
    external::{External, Refusal},
    intent::poll_interval,
    lease::Term,
    plan::Verdict,
    queue::{Queue, Taken, Urgency},
    rate::Bucket,
    reconcile::{Outcome, Reconciler, Requeue},
    removal::Cleared,
    vanished::Vanished,
    watch::drop_unread,
};

/// When an object whose pass panicked is tried again.
const AFTER_PANIC: Duration = Duration::from_mins(1);
/// How soon it is looked again at what is left of an object that vanished.
const AGAIN: Duration = Duration::from_secs(1);

/// An object's names. The queue, its timers and the watch keep one copy together.
pub type Key<K> = Arc<ObjectRef<K>>;

/// The queue of one kind.
pub type KindQueue<K> = Queue<Key<K>>;

/// What there is to do for a kind. The watch fills it, the workers empty it.
#[derive(Debug)]
pub struct Work<K: Managed> {
    /// The objects that are due.
    pub queue: Arc<KindQueue<K>>,
    /// Those that are gone and may have left something.
    pub vanished: Arc<Vanished<K>>,
}

/// Boxed, because a map's table never gets smaller and many objects may be on their way at once.
type Written<K> = HashMap<Key<K>, Box<K>>;

/// What others want to know of a kind's objects and passes.
pub trait Observer<K>: Send + Sync + 'static {
    /// The object appeared or changed.
    fn changed(&self, object: &K);
    /// The object is gone from Kubernetes: nothing is kept in memory for it any more.
    fn gone(&self, object: &K);
    /// All objects have been listed, at the start or after an interruption.
    fn listed(&self);
    /// A pass is over; the object as it is then.
    fn passed(&self, object: &K, pass: &Passed);
}

/// One pass, as figures tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How long the object waited for it.
    pub waited: Duration,
    /// How long it took.
    pub took: Duration,
    /// Whether no pass had written the status before.
    pub first: bool,
    /// Whether it failed.
    pub failed: bool,
    /// What it found.
    pub verdict: Verdict,
    /// When the object is due again.
    pub requeue: Requeue,
}

/// How a kind is run.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How often each object is looked at.
    pub poll: Duration,
    /// No object is polled more often than this, whatever else is asked for.
    pub least_poll: Duration,
    /// By how many per cent a poll may be early or late.
    pub jitter: u8,
    /// How often everything is queued, whatever the poll intervals of the objects.
    pub sync: Duration,
    /// How many objects of the kind are worked on at once.
    pub workers: usize,
    /// How many passes may begin, over all kinds.
    pub rate: Arc<Bucket>,
    /// How long passes may begin.
    pub term: Arc<Term>,
}

impl Pace {
    /// A poll interval, a little longer or shorter, and never shorter than allowed.
    fn spread(&self, poll: Duration, seed: u64) -> Duration {
        jitter(poll, self.jitter, seed).max(self.least_poll)
    }
}

/// One kind at work.
pub struct Runner<E: External> {
    reconciler: Arc<Reconciler<E>>,
    queue: Arc<KindQueue<E::Managed>>,
    vanished: Arc<Vanished<E::Managed>>,
    store: Store<E::Managed>,
    observer: Arc<dyn Observer<E::Managed>>,
    pace: Pace,
    /// Objects as we wrote them, until the watch has caught up: a pass on an older copy would write the same again.
    written: Mutex<Written<E::Managed>>,
}

impl<E: External> Runner<E> {
    /// Everything a kind needs to run.
    pub fn new(
        reconciler: Arc<Reconciler<E>>,
        work: Work<E::Managed>,
        store: Store<E::Managed>,
        observer: Arc<dyn Observer<E::Managed>>,
        pace: Pace,
    ) -> Self {
        let Work { queue, vanished } = work;
        Self { reconciler, queue, vanished, store, observer, pace, written: Mutex::new(HashMap::new()) }
    }

    /// Works until the queue is closed, and ends when every pass in hand has ended.
    pub async fn work(self) {
        let this = Arc::new(self);
        let mut workers = JoinSet::new();
        for _ in 0..this.pace.workers.max(1) {
            workers.spawn(this.clone().worker());
        }
        let resync = tokio::spawn(this.clone().resync());
        while workers.join_next().await.is_some() {}
        resync.abort();
    }

    async fn worker(self: Arc<Self>) {
        loop {
            self.pace.rate.take().await;
            let Some(Taken { key, waited }) = self.queue.pop().await else { return };
            if !self.pace.term.holds() {
                self.queue.done(&key);
                return;
            }
            // A defect that one object brings to light must not take the worker from all the others.
            // A pass has its memory only while it lasts: most workers wait most of the time.
            if AssertUnwindSafe(Box::pin(self.one(&key, waited))).catch_unwind().await.is_err() {
                tracing::error!(object = %key, "a pass panicked; this is a defect of the provider, please report it");
                self.queue.push_after(key.clone(), AFTER_PANIC);
            }
            self.queue.done(&key);
        }
    }

    async fn one(&self, key: &Key<E::Managed>, waited: Duration) {
        if let Some(object) = self.vanished.get(key) {
            self.clear_up(key, &object).await;
        }
        let Some(object) = self.latest(key) else { return };
        let begun = Instant::now();
        let first = condition::find(object.conditions(), Type::Synced).is_none();
        let Outcome { object, requeue, failed, verdict } = self.reconciler.reconcile(object).await;
        let pass = Passed { waited, took: begun.elapsed(), first, failed, verdict, requeue };
        self.observer.passed(&object, &pass);
        if self.store.get(key).is_none_or(|watched| watched.uid() != object.uid()) {
            // It went meanwhile, and the pass may have kept something in memory after everything was dropped.
            self.reconciler.forget(&object);
        }
        let poll = poll_interval(&object, self.pace.poll).max(self.pace.least_poll);
        let delay = match requeue {
            Requeue::Never => None,
            Requeue::Poll => Some(self.pace.spread(poll, seed(&object))),
            Requeue::After(delay) => Some(delay),
            // The reconciler has turned it into a delay already.
            Requeue::Backoff | Requeue::Held(_) => Some(poll),
        };
        self.remember(key, object);
        if let Some(delay) = delay {
            self.queue.push_after(key.clone(), delay);
        }
    }

    /// Takes away what was made for an object that is gone, as its deletion would have.
    async fn clear_up(&self, key: &Key<E::Managed>, object: &E::Managed) {
        let kind = <E::Managed as kube::Resource>::kind(&());
        match self.reconciler.clear_up(object).await {
            Ok(Cleared::Wholly) => self.vanished.settle(key),
            Ok(Cleared::NotYet) => self.queue.push_after(key.clone(), AGAIN),
            Ok(Cleared::Held(Refusal { reason, message })) => {
                if self.vanished.postpone(key) {
                    tracing::info!(%kind, object = %key, reason, message, "what was made for an object that is gone is taken away later");
                }
                self.queue.push_after(key.clone(), 10 * AGAIN);
            }
            Err(error) if self.vanished.may_try_again(key) => {
                tracing::warn!(%kind, object = %key, %error, "what was made for an object that is gone cannot be taken away yet");
                self.queue.push_after(key.clone(), 10 * AGAIN);
            }
            Err(error) => {
                let uid = object.uid();
                tracing::error!(%kind, object = %key, uid, %error, "what was made for an object that is gone stays on the host");
            }
        }
    }

    /// Keeps the object as we wrote it for as long as the watch is behind; in steady state nothing is kept twice.
    fn remember(&self, key: &Key<E::Managed>, mut object: E::Managed) {
        let mut written = self.written();
        if !self.is_behind(key, &object) {
            written.remove(key);
            return;
        }
        drop_unread(&mut object);
        // Before the table grows, those go that the watch has caught up with: their next pass may be minutes away.
        if written.len() == written.capacity() {
            written.retain(|key, ours| self.is_behind(key, ours));
        }
        written.insert(key.clone(), Box::new(object));
    }

    /// Whether the watch has the object, but not yet as we wrote it.
    fn is_behind(&self, key: &Key<E::Managed>, ours: &E::Managed) -> bool {
        self.store.get(key).is_some_and(|watched| version(ours) > version(&*watched))
    }

    /// The object as we last wrote it or as the watch last showed it, whichever is newer.
    fn latest(&self, key: &Key<E::Managed>) -> Option<E::Managed> {
        let Some(watched) = self.store.get(key) else {
            self.written().remove(key);
            return None;
        };
        let mut written = self.written();
        match written.get(key) {
            Some(ours) if ours.uid() == watched.uid() && version(&**ours) > version(&*watched) => {
                Some(E::Managed::clone(ours))
            }
            Some(_) => {
                written.remove(key);
                Some((*watched).clone())
            }
            None => Some((*watched).clone()),
        }
    }

    async fn resync(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.pace.sync).await;
            for object in self.store.state() {
                self.queue.push(key(&*object), Urgency::Background);
            }
        }
    }

    fn written(&self) -> MutexGuard<'_, Written<E::Managed>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object's names alone: kube's own references carry its UID and version too, and a queue keeps several.
pub fn key<K: Managed>(object: &K) -> Key<K> {
    let meta = object.meta();
    let key = ObjectRef::new(meta.name.as_deref().unwrap_or_default());
    Arc::new(match meta.namespace.as_deref() {
        Some(namespace) => key.within(namespace),
        None => key,
    })
}

/// Resource versions are numbers that grow (Kubernetes 1.35 made them comparable); what is no number is oldest.
fn version<K: Managed>(object: &K) -> u128 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn seed<K: Managed>(object: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    (object.uid(), &object.meta().resource_version, Instant::now()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_is_spread_and_never_sooner_than_allowed() {
        let second = Duration::from_secs(1);
        let pace = |least_poll, jitter| Pace {
            poll: second,
            least_poll,
            jitter,
            sync: second,
            workers: 1,
            rate: Arc::new(Bucket::new(1)),
            term: Arc::new(Term::endless()),
        };
        let range = |pace: &Pace| {
            let delays = (0..1000).map(|seed| pace.spread(10 * second, seed).as_secs_f64());
            delays.fold((f64::MAX, f64::MIN), |(least, most), delay| (least.min(delay), most.max(delay)))
        };
        let (least, most) = range(&pace(second, 50));
        assert!((5.0..5.1).contains(&least) && (14.9..=15.0).contains(&most), "{least} to {most}");
        let (least, most) = range(&pace(10 * second, 50));
        assert!((10.0..10.001).contains(&least) && (14.9..=15.0).contains(&most), "{least} to {most}");
        let (least, most) = range(&pace(second, 0));
        assert!((9.999..=most).contains(&least) && most < 10.001, "{least} to {most}");
    }
}
