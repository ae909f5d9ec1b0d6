//! Imports: an image on its way from a web server into a volume, in the background of the passes.
//!
//! ```text
//! pass ─start─▶ task: fetch ─▶ unpack ─▶ look at the first bytes ─▶ create the volume ─▶ upload ─▶ checksum ─▶ head ─▶ grow
//!   ▲                                      │ progress, end                        └── anything wrong: the volume is removed
//!   └────────────── wake ◀─────────────────┘
//! ```
//! Several volumes of a host that want the same image at once share one fetch: see [`share`]. A volume that is to be a copy of another one is
//! made by the host in the same way, in the background: see [`duplicate`].
//!
//! Nothing is written once another process may lead: an import asks before each step, and ends before the lease is handed over.

mod copy;
mod duplicate;
mod half;
mod order;
mod permit;
mod place;
mod see;
mod share;
mod state;
mod store;
mod threads;
mod trace;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, anyhow};
use apis::provider_config::Policy;
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use managed::lease::Term;

pub(super) use self::order::{Content, Order};
pub(super) use self::state::State;
pub(super) use self::store::vacant;
use self::{
    copy::Copied,
    order::Wanted,
    permit::Permit,
    share::{Shares, Turn},
    threads::Threads,
    trace::Traces,
};
use super::{fetch, fetch::FetchError, image, room};
use crate::hosts::LONG;

/// How long imports may take to end when this process is asked to.
const FAREWELL: Duration = Duration::from_secs(10);

enum Import {
    Running(JoinHandle<()>, watch::Receiver<fetch::Progress>),
    Done,
    Failed(anyhow::Error),
}

/// All imports, by the UID of their object.
pub struct Imports {
    by_uid: Mutex<HashMap<String, Import>>,
    limits: fetch::Limits,
    permit: Permit,
    /// Made when the first image is wanted; it holds the system's certificate authorities.
    client: OnceLock<fetch::Client>,
    shares: Shares,
    threads: Threads,
    traces: Traces,
    wake: Box<dyn Fn(&str) + Send + Sync>,
}

impl Imports {
    /// None yet. They write to hosts during this term; `wake` is told whose import moved on.
    pub fn new(limits: fetch::Limits, term: Arc<Term>, wake: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            by_uid: Mutex::default(),
            limits,
            permit: Permit::new(term),
            client: OnceLock::new(),
            shares: Shares::default(),
            threads: Threads::default(),
            traces: Traces::default(),
            wake: Box::new(wake),
        }
    }

    /// Ends all imports, for good. What is on the way then is gone on with by whoever leads next, where its server gives parts, and else fetched anew.
    pub async fn end(&self) {
        self.permit.end();
        let deadline = Instant::now() + FAREWELL;
        let all = std::mem::take(&mut *self.lock());
        for import in all.into_values() {
            let Import::Running(mut task, _) = import else { continue };
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }

    /// How far the import of an object is; None when there is none.
    pub fn state(&self, uid: &str) -> Option<State> {
        match self.lock().get(uid)? {
            Import::Running(_, progress) => Some(State::Running(*progress.borrow())),
            Import::Done => Some(State::Done),
            Import::Failed(_) => None,
        }
    }

    /// Whether an import failed and nobody was told yet.
    pub fn has_failed(&self, uid: &str) -> bool {
        matches!(self.lock().get(uid), Some(Import::Failed(_)))
    }

    /// Why the last import failed, told once.
    pub fn take_failure(&self, uid: &str) -> Option<anyhow::Error> {
        let mut imports = self.lock();
        match imports.remove(uid)? {
            Import::Failed(error) => Some(error),
            other @ (Import::Running(..) | Import::Done) => {
                imports.insert(uid.to_owned(), other);
                None
            }
        }
    }

    /// Starts an import, unless one is running.
    pub fn start(self: &Arc<Self>, order: Order) {
        let mut imports = self.lock();
        if let Some(Import::Running(..)) = imports.get(&order.uid) {
            return;
        }
        let (progress, seen) = watch::channel(fetch::Progress::Asking);
        let uid = order.uid.clone();
        let task = self.threads.spawn(self.clone().run(order, progress));
        imports.insert(uid, Import::Running(task, seen));
    }

    /// Ends an import. What it left in the pool is the caller's.
    pub async fn cancel(&self, uid: &str) {
        let running = self.lock().remove(uid);
        if let Some(Import::Running(task, _)) = running {
            task.abort();
            let _ = task.await;
        }
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.traces.forget(uid);
        if let Some(Import::Running(task, _)) = self.lock().remove(uid) {
            task.abort();
        }
    }

    async fn run(self: Arc<Self>, order: Order, progress: watch::Sender<fetch::Progress>) {
        let watcher = self.clone().tell(order.owner.clone(), progress.subscribe());
        let import = async {
            match self.fill(&order, progress).await {
                Err(error) if order.made.load(Ordering::Acquire) && !self.is_gone_on_with(&order) => {
                    match remove(&order).await {
                        Ok(()) => {
                            if !is_the_servers(&error) {
                                // The pool may have been fuller than it knew.
                                room::count(&order.host, &order.pool).await;
                            }
                            Err(error)
                        }
                        Err(left) => Err(left.context(format!("{error:#}; and the part that came cannot be removed"))),
                    }
                }
                end => end,
            }
        };
        let (end, ()) = tokio::join!(import, watcher);
        let state = match end {
            Ok(()) => Import::Done,
            Err(error) => Import::Failed(error),
        };
        if let Some(import) = self.lock().get_mut(&order.uid) {
            *import = state;
        }
        (self.wake)(&order.owner);
    }

    /// Whether what an import left is another process's: one that leads by now, or the next, which fetches the rest.
    fn is_gone_on_with(&self, order: &Order) -> bool {
        !self.permit.leads() || (self.permit.is_ended() && order.parts.load(Ordering::Acquire))
    }

    /// Makes the volume, whole and of the wished size.
    async fn fill(&self, order: &Order, progress: watch::Sender<fetch::Progress>) -> anyhow::Result<()> {
        match &order.content {
            Content::Image(wanted) => {
                let (whole, client) = (self.limits.whole, self.client(&wanted.policy)?);
                let late = || anyhow!("the image did not come within {} hours", whole.as_secs() / 3600);
                let import = self.import(order, wanted, &client, progress);
                timeout(whole, import).await.unwrap_or_else(|_| Err(late()))
            }
            Content::Bytes(bytes) => {
                let room = room(order, bytes.len() as u64).await?;
                store::write(order, &self.permit, bytes, room).await?;
                settle(order, &self.permit).await
            }
            Content::Copy(original) => {
                duplicate::duplicate(order, original, &self.permit, &progress).await?;
                settle(order, &self.permit).await
            }
        }
    }

    /// Fetches the image, or copies the volume of whoever is fetching it. Where there is no copy to be had the image is fetched anyway.
    async fn import(
        &self,
        order: &Order,
        wanted: &Wanted,
        client: &fetch::Client,
        progress: watch::Sender<fetch::Progress>,
    ) -> anyhow::Result<()> {
        if order.permissions.is_some() {
            // A copy may lose them on the host.
            download((order, wanted), &self.permit, client, progress).await?;
            return settle(order, &self.permit).await;
        }
        loop {
            let other = match self.shares.turn(order.image(wanted), progress.subscribe()) {
                Turn::Other(other) => other,
                Turn::Own(first) => {
                    let fetched = download((order, wanted), &self.permit, client, progress).await;
                    let why = fetched.as_ref().err().and_then(|error| error.downcast_ref::<FetchError>());
                    if let Some(why) = why.filter(|why| why.is_the_servers()) {
                        first.fail(why);
                    }
                    fetched?;
                    // Onto a pool that hangs no copy ever comes. Whoever has none by then fetches the image.
                    let handed = timeout(LONG, self.shares.hand_out(&first, order.volume()));
                    if self.permit.next(handed).await?.is_err() {
                        tracing::info!(volume = order.name, "copies of the image take long; they are not waited for");
                    }
                    return settle(order, &self.permit).await;
                }
            };
            match copy::copy(order, &self.permit, other, &progress).await {
                Ok(Copied::Whole) => return settle(order, &self.permit).await,
                Ok(Copied::Nothing) => {}
                Ok(Copied::Failed(why)) => return Err(anyhow!(why)),
                Err(error) => {
                    self.permit.check()?;
                    tracing::info!(volume = order.name, ?error, "no copy of another's image; it is fetched");
                    download((order, wanted), &self.permit, client, progress).await?;
                    return settle(order, &self.permit).await;
                }
            }
        }
    }

    fn client(&self, policy: &Policy) -> anyhow::Result<fetch::Client> {
        let hosts = policy.image_hosts.as_deref().unwrap_or_default();
        if let Some(client) = self.client.get() {
            return Ok(client.allowing(hosts));
        }
        let client = fetch::Client::new(self.limits)?;
        Ok(self.client.get_or_init(|| client).allowing(hosts))
    }

    /// Wakes the object at each step, until the sender is dropped.
    async fn tell(self: Arc<Self>, owner: String, mut progress: watch::Receiver<fetch::Progress>) {
        while progress.changed().await.is_ok() {
            (self.wake)(&owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Import>> {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it was not the host that failed.
fn is_the_servers(error: &anyhow::Error) -> bool {
    error.downcast_ref::<FetchError>().is_some_and(FetchError::is_the_servers)
}

/// The way of an image from its server into the volume: the rest of it, where an earlier process left a part, else all.
async fn download(
    (order, wanted): (&Order, &Wanted),
    permit: &Permit,
    client: &fetch::Client,
    progress: watch::Sender<fetch::Progress>,
) -> anyhow::Result<()> {
    let Wanted { source, access: fetch::Access { credentials, authorities, proxy }, .. } = wanted;
    let client = client.trusting(authorities.as_ref())?.showing(credentials.clone(), source).by(proxy.clone());
    let decompression = source.decompression.unwrap_or_default();
    let is_there = half::is_there(order).await?;
    let mut answer = permit.next(fetch::ask(&client, source)).await??;
    if is_there && answer.gives_parts(image::HEAD) {
        if let Some(begun) = half::half(order, decompression, permit, (&client, answer)).await? {
            let Some(another) = go_on((order, permit), &client, begun, progress.clone()).await? else { return Ok(()) };
            tracing::info!(volume = order.name, %another, "the part that was there is of no use; the image is fetched");
        }
        answer = permit.next(fetch::ask(&client, source)).await??;
    }
    let room = room(order, answer.length().unwrap_or_default()).await?;
    let (sink, chunks) = sink(order, progress, room);
    let storing = store::store(order, decompression, permit, (chunks, room));
    Box::pin(join((order, permit), answer.whole(&client, sink), storing)).await
}

/// Fetches the rest of an image; what is wrong, where the part that was there is no part of it.
async fn go_on(
    (order, permit): (&Order, &Permit),
    client: &fetch::Client,
    begun: fetch::Begun,
    progress: watch::Sender<fetch::Progress>,
) -> anyhow::Result<Option<FetchError>> {
    tracing::info!(volume = order.name, bytes = begun.received, "a part of the image is there; the rest is fetched");
    let room = room(order, begun.length.saturating_sub(begun.received)).await?;
    let (sink, chunks) = sink(order, progress, room.saturating_add(begun.received));
    let storing = store::go_on(order, permit, (begun.head.clone(), begun.received), chunks);
    let joined = Box::pin(join((order, permit), begun.rest(client, sink), storing)).await;
    let Err(error) = joined else { return Ok(None) };
    let another = error.downcast::<FetchError>()?;
    if another.is_of_another() { Ok(Some(another)) } else { Err(another.into()) }
}

/// How many bytes of an image or content its pool has room for.
async fn room(order: &Order, needed: u64) -> anyhow::Result<u64> {
    Ok(room::room(&order.host, &order.pool, needed).await?.min(image::MAX_VIRTUAL_SIZE))
}

fn sink(
    order: &Order,
    progress: watch::Sender<fetch::Progress>,
    max_bytes: u64,
) -> (fetch::Sink, mpsc::Receiver<Bytes>) {
    let (chunks, receiver) = mpsc::channel(4);
    (fetch::Sink { chunks, progress, max_bytes, parts: order.parts.clone() }, receiver)
}

/// Fetches and writes, until both have come to their ends.
async fn join(
    (order, permit): (&Order, &Permit),
    fetching: impl Future<Output = Result<fetch::Fetched, FetchError>>,
    storing: impl Future<Output = anyhow::Result<store::Stored>>,
) -> anyhow::Result<()> {
    tokio::pin!(fetching, storing);
    // Where both end at once, it is the host's side that tells the cause: the other only notices that nobody is there any more.
    let (fetched, stored) = tokio::select! {
        biased;
        stored = &mut storing => {
            let stored = stored?;
            (fetching.await?, stored)
        }
        fetched = &mut fetching => {
            let fetched = fetched?;
            (fetched, storing.await?)
        }
    };
    permit.check()?;
    tracing::debug!(volume = order.name, bytes = fetched.bytes, checksum = %fetched.checksum, "the image came whole");
    stored.finish(order, permit).await
}

/// Grows the volume to the wished size, where that is more than the image's, and reads it as it is now.
async fn settle(order: &Order, permit: &Permit) -> anyhow::Result<()> {
    see::see(order, permit).await?;
    let (pool, name, wished) = (order.pool.clone(), order.name.clone(), order.capacity.unwrap_or_default());
    let grow = move |host: &libvirt::Connection| {
        let found = host.find_pool_by_name(&pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
        let volume = found.find_volume(&name)?.context("the volume went away meanwhile")?;
        if wished > volume.info()?.capacity { volume.resize(wished).context("grow volume") } else { Ok(()) }
    };
    order.host.long(&format!("{}/{}", order.pool, order.name), grow).await?;
    crate::storage::read(&order.host, &order.pool, &order.name).await?;
    Ok(())
}

/// Takes away what a failed import made. An image that is not whole must not be there for anything to boot.
async fn remove(order: &Order) -> anyhow::Result<()> {
    let (pool, name) = (order.pool.clone(), order.name.clone());
    let object = format!("{pool}/{name}");
    let removed = order.host.long(&object, move |host| {
        let Some(found) = host.find_pool_by_name(&pool)? else { return Ok(()) };
        let Some(volume) = found.find_volume(&name)? else { return Ok(()) };
        // Whoever was quick enough to use it goes before the rule that nothing stays.
        store::not_used(host, &pool, &volume)?;
        Ok(volume.delete()?)
    });
    removed.await.context("remove the part of an image")?;
    order.trace.is_made_whole(false);
    crate::storage::read(&order.host, &order.pool, &order.name).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[tokio::test]
    async fn imports_that_run_are_waited_for_when_they_end() {
        let limits = fetch::Limits::default();
        let imports = Arc::new(Imports::new(limits, Arc::new(Term::endless()), |_| ()));
        let (writes, ours) = (Arc::new(AtomicBool::new(false)), imports.clone());
        let written = writes.clone();
        let task = tokio::spawn(async move {
            let _ = ours.permit.next(std::future::pending::<u8>()).await;
            tokio::task::yield_now().await;
            written.store(true, Ordering::Release);
        });
        imports.lock().insert("u".to_owned(), Import::Running(task, watch::channel(fetch::Progress::Asking).1));
        imports.end().await;
        assert!(writes.load(Ordering::Acquire), "it was not waited for");
        assert_eq!(imports.state("u"), None);
    }
}
