//! The Secrets and `ConfigMaps` that objects read: each is watched by its name for as long as somebody reads it, so that a change is
//! seen at once and nothing is asked for in a pass. Nobody else's are ever looked at.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Debug},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::watch, task::AbortHandle};

use crate::links::EMPTY;

/// How long a pass waits for the API server to show what it reads for the first time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The kinds of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

/// Something that objects read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Its kind.
    pub kind: SourceKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The API server has not told yet what a source holds.
#[derive(Debug)]
pub struct BeingRead(Source);

impl fmt::Display for BeingRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is being read", self.0)
    }
}

impl std::error::Error for BeingRead {}

/// Whether nothing is wrong but that the API server has not told yet what a source holds.
pub fn is_early(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<BeingRead>)
}

/// Who reads, by whatever tells one from another.
pub trait Reader: Clone + Ord + Hash + Send + Sync + 'static {}

impl<R: Clone + Ord + Hash + Send + Sync + 'static> Reader for R {}

/// What a source holds. Its values may be passwords, so `Debug` shows the keys only.
#[derive(PartialEq, Eq)]
pub struct Values(BTreeMap<String, Vec<u8>>);

impl Values {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }
}

impl Values {
    /// Every key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }
}

impl Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is known of a source.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The API server has not answered yet.
    Nothing,
    /// It did not let us look.
    Failure(String),
    /// It is there with these values, or is not there.
    Content(Option<Arc<Values>>),
}

/// What becomes of the first answer about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Readers wait for it themselves.
    Awaited,
    /// Readers are told, as of every later one.
    Told,
}

/// Everything that objects read.
pub struct Sources<R> {
    client: Client,
    first: First,
    wake: Wake<R>,
    table: Mutex<Table<R>>,
}

/// Who is told that what a reader reads has changed.
type Wake<R> = Arc<dyn Fn(&R) + Send + Sync>;

struct Table<R> {
    watched: HashMap<Source, Watched<R>>,
    read: HashMap<R, BTreeSet<Source>>,
}

/// A source under watch; dropping it ends the watch.
struct Watched<R> {
    seen: watch::Receiver<Seen>,
    readers: Arc<Mutex<BTreeSet<R>>>,
    task: AbortHandle,
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<R: Reader> Sources<R> {
    /// Nothing is watched yet. `wake` is told who reads something that has changed.
    pub fn new(client: Client, first: First, wake: impl Fn(&R) + Send + Sync + 'static) -> Self {
        let table = Table { watched: HashMap::new(), read: HashMap::new() };
        Self { client, first, wake: Arc::new(wake), table: Mutex::new(table) }
    }

    /// This one reads these sources from now on and no others.
    pub fn hold(&self, reader: &R, wanted: BTreeSet<Source>) {
        let mut table = lock(&self.table);
        let before = table.read.get(reader).cloned().unwrap_or_default();
        if before == wanted {
            return;
        }
        before.difference(&wanted).for_each(|source| table.drop_reader(source, reader));
        for source in wanted.difference(&before) {
            let watched = table.watched.entry(source.clone()).or_insert_with(|| self.watch(source));
            lock(&watched.readers).insert(reader.clone());
        }
        if wanted.is_empty() {
            table.read.remove(reader);
        } else {
            table.read.insert(reader.clone(), wanted);
        }
    }

    /// This one is gone and reads nothing any more.
    pub fn forget(&self, reader: &R) {
        self.hold(reader, BTreeSet::new());
    }

    /// What a source holds that somebody reads, from its watch; None where it is not there.
    pub async fn values(&self, source: &Source) -> anyhow::Result<Option<Arc<Values>>> {
        let seen = lock(&self.table).watched.get(source).map(|watched| watched.seen.clone());
        let Some(mut seen) = seen else { anyhow::bail!("{:?} {} is not watched", source.kind, source.name) };
        let known = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| *seen != Seen::Nothing)).await;
        // As an error of the API server's it is asked about again: nobody wakes the object.
        let failed = |why: &str| kube::Error::Service(format!("{:?} {}: {why}", source.kind, source.name).into());
        let Ok(Ok(seen)) = known else { return Err(failed("the API server does not answer").into()) };
        match &*seen {
            Seen::Content(values) => Ok(values.clone()),
            Seen::Failure(why) => Err(failed(why).into()),
            Seen::Nothing => Err(failed("the API server does not answer").into()),
        }
    }

    /// What a source holds that has to be there; an error that names it if it is not.
    pub async fn held(&self, source: &Source) -> anyhow::Result<Arc<Values>> {
        let Source { kind, namespace, name } = source;
        self.values(source).await?.with_context(|| {
            format!(
                "cannot get referenced resource: waiting for {kind:?} {name}: there is none in namespace {namespace}"
            )
        })
    }

    /// The value of a key that is needed; an error that names what is waited for.
    pub async fn required(&self, source: &Source, key: &str) -> anyhow::Result<Vec<u8>> {
        let Source { kind, namespace: _, name } = source;
        let values = self.held(source).await?;
        let value =
            values.get(key).with_context(|| format!("{EMPTY}: waiting for {kind:?} {name}: it has no key {key}"))?;
        Ok(value.to_vec())
    }

    /// The same without waiting: an error while the API server has not answered yet.
    pub fn known(&self, source: &Source) -> anyhow::Result<Option<Arc<Values>>> {
        let table = lock(&self.table);
        let watched = table.watched.get(source);
        match watched.map(|watched| watched.seen.borrow()).as_deref() {
            Some(Seen::Content(values)) => Ok(values.clone()),
            Some(Seen::Failure(why)) => anyhow::bail!("{source}: {why}"),
            Some(Seen::Nothing) | None => Err(BeingRead(source.clone()).into()),
        }
    }

    fn watch(&self, source: &Source) -> Watched<R> {
        let Source { kind, namespace, name } = source.clone();
        let (tell, seen) = watch::channel(Seen::Nothing);
        let readers = Arc::new(Mutex::new(BTreeSet::new()));
        let teller = Teller { tell, readers: readers.clone(), first: self.first, wake: self.wake.clone() };
        let task = match kind {
            SourceKind::Secret => tokio::spawn(follow::<Secret, R>(self.client.clone(), namespace, name, teller)),
            SourceKind::ConfigMap => tokio::spawn(follow::<ConfigMap, R>(self.client.clone(), namespace, name, teller)),
        };
        Watched { seen, readers, task: task.abort_handle() }
    }
}

impl<R: Reader> Table<R> {
    fn drop_reader(&mut self, source: &Source, reader: &R) {
        let Some(watched) = self.watched.get(source) else { return };
        let is_idle = {
            let mut readers = lock(&watched.readers);
            readers.remove(reader);
            readers.is_empty()
        };
        if is_idle {
            self.watched.remove(source);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what is seen of a source to those who read it.
struct Teller<R> {
    tell: watch::Sender<Seen>,
    readers: Arc<Mutex<BTreeSet<R>>>,
    first: First,
    wake: Wake<R>,
}

impl<R: Reader> Teller<R> {
    fn tell(&self, now: Seen) {
        let mut is_first = false;
        let changed = self.tell.send_if_modified(|seen| {
            is_first = *seen == Seen::Nothing;
            // What is known counts until the watch is back.
            let is_news = *seen != now && (is_first || matches!(now, Seen::Content(_)));
            if is_news {
                *seen = now;
            }
            is_news
        });
        if changed && (!is_first || self.first == First::Told) {
            lock(&self.readers).iter().for_each(|reader| (self.wake)(reader));
        }
    }
}

/// A kind that holds values under keys.
trait Holds:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    fn values(self) -> Values;
}

impl Holds for Secret {
    fn values(self) -> Values {
        Values(self.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect())
    }
}

impl Holds for ConfigMap {
    fn values(self) -> Values {
        let texts = self.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
        let bytes = self.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
        Values(bytes.chain(texts).collect())
    }
}

/// Watches one object for ever.
async fn follow<K: Holds, R: Reader>(client: Client, namespace: String, name: String, teller: Teller<R>) {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher::watcher(Api::<K>::namespaced(client, &namespace), config).default_backoff().boxed();
    let mut listed = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = None,
            Ok(Event::InitApply(object)) => listed = Some(Arc::new(object.values())),
            Ok(Event::InitDone) => teller.tell(Seen::Content(listed.take())),
            Ok(Event::Apply(object)) => teller.tell(Seen::Content(Some(Arc::new(object.values())))),
            Ok(Event::Delete(_)) => teller.tell(Seen::Content(None)),
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), namespace, name, %error, "watch interrupted");
                teller.tell(Seen::Failure(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(value: &str) -> Seen {
        Seen::Content(Some(Arc::new(Values(BTreeMap::from([("key".to_owned(), value.as_bytes().to_vec())])))))
    }

    #[test]
    fn those_who_read_are_told_of_changes_and_not_of_the_first_answer_or_of_a_watch_that_is_away() {
        let woken = Arc::new(Mutex::new(0));
        let count = woken.clone();
        let (tell, seen) = watch::channel(Seen::Nothing);
        let readers = Arc::new(Mutex::new(BTreeSet::from([("n".to_owned(), "seed".to_owned())])));
        let first = First::Awaited;
        let teller = Teller { tell, readers, first, wake: Arc::new(move |_| *lock(&count) += 1) };
        let failed = || Seen::Failure("forbidden".to_owned());
        let table = [
            (failed(), failed(), 0),
            (content("a"), content("a"), 1),
            (content("a"), content("a"), 1),
            (failed(), content("a"), 1),
            (content("b"), content("b"), 2),
            (Seen::Content(None), Seen::Content(None), 3),
        ];
        for (told, known, times) in table {
            teller.tell(told);
            assert_eq!((&*seen.borrow(), *lock(&woken)), (&known, times));
        }
    }

    #[test]
    fn values_are_not_shown() {
        assert_eq!(format!("{:?}", content("secret")), "Content(Some({\"key\"}))");
    }
}
