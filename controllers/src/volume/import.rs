//! Imports: an image on its way from a web server into a volume, in the background of the passes.
//!
//! ```text
//! pass ─start─▶ task: fetch ─▶ unpack ─▶ look at the first bytes ─▶ create the volume ─▶ upload ─▶ checksum ─▶ grow
//!   ▲                                      │ progress, end                        └── anything wrong: the volume is removed
//!   └────────────── wake ◀─────────────────┘
//! ```
//! Several volumes of a host that want the same image at once share one fetch: see [`share`].
//!
//! Nothing is written once another process may lead: an import asks before each step, and ends before the lease is handed over.

mod copy;
mod permit;
mod share;
mod store;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use apis::{
    Managed,
    provider_config::Policy,
    quantity::Quantity,
    volume::{Format, HttpSource},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use libvirt::VolumeId;
use managed::{creation::Creation, external::Pass, lease::Term};

use self::{
    copy::Copied,
    permit::Permit,
    share::{Image, Shares, Turn},
};
use super::{Referents, Volumes, fetch, fetch::FetchError, image, render};
use crate::hosts::{Site, owner};

/// How long imports may take to end when this process is asked to.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is wanted.
pub struct Order {
    uid: String,
    owner: String,
    namespace: String,
    host: Arc<Site>,
    pool: String,
    name: String,
    format: Format,
    capacity: Option<u64>,
    source: HttpSource,
    access: fetch::Access,
    policy: Policy,
    /// Whether a volume of this name may be there already, left by an attempt before.
    resumed: bool,
    /// Whether this attempt has made the volume, which then goes if the attempt fails.
    made: AtomicBool,
}

impl Order {
    /// An import for the object of a pass.
    pub fn new(pass: &Pass<'_, Volumes>, referents: &Referents, source: HttpSource, policy: Policy) -> Self {
        let object = pass.object;
        let whole = object.merged();
        let parameters = whole.parameters();
        Self {
            uid: object.uid().to_owned(),
            owner: owner(object),
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            host: pass.host.clone(),
            resumed: pass.creation == Creation::Open,
            made: AtomicBool::new(false),
            pool: referents.pool.clone(),
            access: referents.access.clone(),
            name: object.external_name().to_owned(),
            format: parameters.format.unwrap_or_default(),
            capacity: parameters.capacity.as_ref().and_then(|capacity| render::sectors(capacity).ok()),
            source,
            policy,
        }
    }

    /// What is the same for all who want this image on this host.
    fn image(&self) -> Image {
        Image {
            host: self.host.clone(),
            namespace: self.namespace.clone(),
            source: self.source.clone(),
            format: self.format,
            capacity: self.capacity.filter(|_| self.format == Format::Raw),
            access: self.access.clone(),
            listed: self.policy.image_hosts.clone().unwrap_or_default(),
        }
    }

    fn volume(&self) -> VolumeId {
        VolumeId { pool: self.pool.clone(), name: self.name.clone() }
    }
}

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The image is on its way.
    Running(fetch::Progress),
    /// The volume is whole.
    Done,
}

impl State {
    /// Whether the volume is not to be used yet.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Whether some of the image has come. A server that has none to give is not worth a condition at each try.
    pub fn has_begun(&self) -> bool {
        matches!(self, Self::Running(fetch::Progress::Percent(_) | fetch::Progress::Bytes(_)))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(fetch::Progress::Asking) => f.write_str("the server is asked for the image"),
            Self::Running(fetch::Progress::Percent(percent)) => write!(f, "{percent}% of the image is on the host"),
            Self::Running(fetch::Progress::Bytes(bytes)) => {
                write!(f, "{} of the image are on the host", Quantity::of_bytes(*bytes))
            }
            Self::Done => f.write_str("the image is on the host"),
        }
    }
}

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
            wake: Box::new(wake),
        }
    }

    /// Ends all imports, for good. What is on the way then is fetched anew by whoever leads next.
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
        let task = tokio::spawn(self.clone().run(order, progress));
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
        if let Some(Import::Running(task, _)) = self.lock().remove(uid) {
            task.abort();
        }
    }

    async fn run(self: Arc<Self>, order: Order, progress: watch::Sender<fetch::Progress>) {
        let watcher = self.clone().tell(order.owner.clone(), progress.subscribe());
        let import = async {
            let whole = self.limits.whole;
            let late = || anyhow!("the image did not come within {} hours", whole.as_secs() / 3600);
            let end = match self.client(&order.policy) {
                Ok(client) => {
                    timeout(whole, self.import(&order, &client, progress)).await.unwrap_or_else(|_| Err(late()))
                }
                Err(error) => Err(error),
            };
            match end {
                // Who leads by then may be at it again.
                Err(error) if order.made.load(Ordering::Acquire) && self.permit.leads() => match remove(&order).await {
                    Ok(()) => Err(error),
                    Err(left) => Err(left.context(format!("{error:#}; and the part that came cannot be removed"))),
                },
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

    /// Fetches the image, or copies the volume of whoever is fetching it. Where there is no copy to be had the image is fetched anyway.
    async fn import(
        &self,
        order: &Order,
        client: &fetch::Client,
        progress: watch::Sender<fetch::Progress>,
    ) -> anyhow::Result<()> {
        loop {
            let other = match self.shares.turn(order.image(), progress.subscribe()) {
                Turn::Other(other) => other,
                Turn::Own(first) => {
                    let fetched = download(order, &self.permit, client, progress).await;
                    let why = fetched.as_ref().err().and_then(|error| error.downcast_ref::<FetchError>());
                    if let Some(why) = why.filter(|why| why.is_the_servers()) {
                        first.fail(why);
                    }
                    fetched?;
                    self.permit.next(self.shares.hand_out(&first, order.volume())).await?;
                    return settle(order).await;
                }
            };
            match copy::copy(order, &self.permit, other, &progress).await {
                Ok(Copied::Whole) => return settle(order).await,
                Ok(Copied::Nothing) => {}
                Ok(Copied::Failed(why)) => return Err(anyhow!(why)),
                Err(error) => {
                    self.permit.check()?;
                    tracing::info!(volume = order.name, ?error, "no copy of another's image; it is fetched");
                    download(order, &self.permit, client, progress).await?;
                    return settle(order).await;
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

/// The way of an image from its server into the volume.
async fn download(
    order: &Order,
    permit: &Permit,
    client: &fetch::Client,
    progress: watch::Sender<fetch::Progress>,
) -> anyhow::Result<()> {
    let (sender, chunks) = mpsc::channel(4);
    let room = room(order).await?;
    let sink = fetch::Sink { chunks: sender, progress, max_bytes: room };
    let fetch::Access { credentials, authorities } = &order.access;
    let client = client.trusting(authorities.as_ref())?.showing(credentials.clone(), &order.source);
    let fetching = fetch::fetch(&client, &order.source, sink);
    let storing = store::store(order, permit, chunks, room);
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
    stored.finish().await?;
    permit.check()
}

/// How many bytes the pool has room for.
async fn room(order: &Order) -> anyhow::Result<u64> {
    let pool = order.pool.clone();
    let info = move |host: &libvirt::Connection| host.find_pool_by_name(&pool)?.map(|pool| pool.info()).transpose();
    let info = order.host.short(&order.pool, info).await.context("look up pool")?;
    let info = info.with_context(|| format!("there is no pool {} on the host", order.pool))?;
    Ok(info.available.min(image::MAX_VIRTUAL_SIZE))
}

/// Grows the volume to the wished size, where that is more than the image's, and reads it as it is now.
async fn settle(order: &Order) -> anyhow::Result<()> {
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
        Ok(found.find_volume(&name)?.map_or(Ok(()), |volume| volume.delete())?)
    });
    removed.await.context("remove the part of an image")?;
    crate::storage::read(&order.host, &order.pool, &order.name).await.map(drop)
}

#[cfg(test)]
mod tests {
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
