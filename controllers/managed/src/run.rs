//! The life of one kind: watch, queue, workers.

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
    managed::annotation::{CREATE_FAILED, CREATE_PENDING},
};
use futures::{FutureExt, StreamExt};
use kube::{
    Api,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event},
    },
};
use tokio::task::JoinSet;

use crate::{
    backoff::jitter,
    external::External,
    intent::poll_interval,
    lease::Term,
    plan::Verdict,
    queue::{Queue, Taken, Urgency},
    rate::Bucket,
    reconcile::{Outcome, Reconciler, Requeue},
};

/// When an object whose pass panicked is tried again.
const AFTER_PANIC: Duration = Duration::from_mins(1);

/// What `kubectl apply` keeps on an object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object's names. The queue, its timers and the watch keep one copy together.
pub type Key<K> = Arc<ObjectRef<K>>;

/// The queue of one kind.
pub type KindQueue<K> = Queue<Key<K>>;

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
        queue: Arc<KindQueue<E::Managed>>,
        store: Store<E::Managed>,
        observer: Arc<dyn Observer<E::Managed>>,
        pace: Pace,
    ) -> Self {
        Self { reconciler, queue, store, observer, pace, written: Mutex::new(HashMap::new()) }
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
        let Some(object) = self.latest(key) else { return };
        let begun = Instant::now();
        let first = condition::find(object.conditions(), Type::Synced).is_none();
        let Outcome { object, requeue, failed, verdict } = self.reconciler.reconcile(object).await;
        let pass = Passed { waited, took: begun.elapsed(), first, failed, verdict, requeue };
        self.observer.passed(&object, &pass);
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

/// Keeps store and queue of a kind up to date for ever. What cannot be read stops nobody else.
pub async fn watch<K: Managed>(
    api: Api<K>,
    mut writer: Writer<K>,
    queue: Arc<KindQueue<K>>,
    observer: Arc<dyn Observer<K>>,
) {
    let guarded = Api::<DeserializeGuard<K>>::all(api.into_client());
    let mut stream = kube::runtime::watcher(guarded, watcher::Config::default()).default_backoff().boxed();
    let mut watched = Watched { store: writer.as_reader(), seen: HashMap::new(), listed: Vec::new(), queue, observer };
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted");
                continue;
            }
        };
        let Some(event) = readable(event) else { continue };
        let missing = if matches!(event, Event::InitDone) { watched.missing() } else { Vec::new() };
        writer.apply_watcher_event(&event);
        watched.take(event);
        for object in missing {
            watched.gone(&object);
        }
    }
}

/// What the watch of a kind has shown so far.
struct Watched<K: Managed> {
    store: Store<K>,
    /// What each object asked for when it was last queued.
    seen: HashMap<Key<K>, u64>,
    /// The list that is coming in; the store shows it only when it is whole.
    listed: Vec<K>,
    queue: Arc<KindQueue<K>>,
    observer: Arc<dyn Observer<K>>,
}

impl<K: Managed> Watched<K> {
    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Apply(object) => self.note(&object, Urgency::Event),
            Event::Delete(object) => self.gone(&object),
            Event::Init => self.listed.clear(),
            Event::InitApply(object) => self.listed.push(object),
            Event::InitDone => {
                for object in std::mem::take(&mut self.listed) {
                    self.note(&object, Urgency::Background);
                }
                self.observer.listed();
            }
        }
    }

    /// What went away while nobody watched: the list that has come in does not have it.
    fn missing(&self) -> Vec<Arc<K>> {
        let listed: HashMap<Key<K>, &str> = self.listed.iter().map(|object| (key(object), object.uid())).collect();
        let known = self.seen.keys().filter_map(|key| self.store.get(key));
        known.filter(|object| listed.get(&key(&**object)) != Some(&object.uid())).collect()
    }

    fn gone(&mut self, object: &K) {
        let key = key(object);
        self.seen.remove(&key);
        self.queue.forget(&key);
        self.observer.gone(object);
    }

    /// Queues the object if something changed that a pass reads: our own status writes do not.
    fn note(&mut self, object: &K, urgency: Urgency) {
        let key = key(object);
        self.observer.changed(object);
        let now = desired_state(object);
        let known = self.seen.get_key_value(&key).map(|(key, _)| key.clone());
        let key = known.unwrap_or(key);
        if self.seen.insert(key.clone(), now) != Some(now) {
            self.queue.push(key, urgency);
        }
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

/// A number that changes with what asks for a pass: generation, labels, annotations but those of a create, finalizers, deletion.
fn desired_state<K: Managed>(object: &K) -> u64 {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for annotation in
        meta.annotations.iter().flatten().filter(|(key, _)| ![CREATE_PENDING, CREATE_FAILED].contains(&key.as_str()))
    {
        annotation.hash(&mut hasher);
    }
    hasher.finish()
}

/// Takes the object out of its guard, without the parts that nobody here reads.
fn readable<K: Managed>(event: Event<DeserializeGuard<K>>) -> Option<Event<K>> {
    let open = |guard: DeserializeGuard<K>| match guard.0 {
        Ok(mut object) => {
            drop_unread(&mut object);
            Some(object)
        }
        Err(invalid) => {
            let name = invalid.metadata.name.unwrap_or_default();
            tracing::warn!(kind = %K::kind(&()), name, error = %invalid.error, "object cannot be read");
            None
        }
    };
    match event {
        Event::Apply(guard) => open(guard).map(Event::Apply),
        Event::InitApply(guard) => open(guard).map(Event::InitApply),
        Event::Delete(guard) => open(guard).map(Event::Delete),
        Event::Init => Some(Event::Init),
        Event::InitDone => Some(Event::InitDone),
    }
}

/// Takes out what nobody here reads, which is more than the rest of an object.
fn drop_unread<K: Managed>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    // A copy of the whole spec, for kubectl alone.
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
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
    use apis::Pool;
    use serde_json::{Value, json};

    use super::*;

    /// An edit and its name.
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Value));

    #[test]
    fn a_pass_is_asked_for_by_what_it_reads_and_not_by_what_it_writes() {
        let state = |edit: &dyn Fn(&mut Value)| {
            let mut pool = json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool",
                "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1, "annotations": {"a": "b"}},
                "spec": {"forProvider": {"target": {"path": "/p"}}},
            });
            edit(&mut pool);
            desired_state(&serde_json::from_value::<Pool>(pool).unwrap())
        };
        let annotate = |key: &'static str| move |pool: &mut Value| pool["metadata"]["annotations"][key] = json!("x");
        let before = state(&|_| ());
        let ignored: [Edit<'_>; 4] = [
            ("a status", &|pool| pool["status"] = json!({"atProvider": {"path": "/p"}})),
            ("a version", &|pool| pool["metadata"]["resourceVersion"] = json!("7")),
            ("that a create begins", &annotate(CREATE_PENDING)),
            ("that it failed", &annotate(CREATE_FAILED)),
        ];
        for (what, edit) in ignored {
            assert_eq!(state(edit), before, "{what}");
        }
        let asks: [Edit<'_>; 8] = [
            ("a generation", &|pool| pool["metadata"]["generation"] = json!(2)),
            ("a label", &|pool| pool["metadata"]["labels"] = json!({"a": "b"})),
            ("an annotation", &|pool| pool["metadata"]["annotations"]["a"] = json!("c")),
            ("a request", &annotate("crossplane.io/reconcile-requested-at")),
            ("that a create succeeded", &annotate("crossplane.io/external-create-succeeded")),
            ("a finalizer", &|pool| pool["metadata"]["finalizers"] = json!(["a"])),
            ("a deletion", &|pool| pool["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
            ("another of the same name", &|pool| pool["metadata"]["uid"] = json!("v")),
        ];
        for (what, edit) in asks {
            assert_ne!(state(edit), before, "{what}");
        }
    }

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
