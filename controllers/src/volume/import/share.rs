//! An image that several volumes of a host want at once is fetched once.
//!
//! ```text
//! first  ─▶ fetch ─▶ its volume is whole ───── waits ─────▶ grown to its capacity, then its object's
//! others ─▶ wait ◀── progress ───┘ └─▶ copied by the host ─▶ grown to theirs, then their objects'
//! ```
//! Until all copies are made the first volume is nobody's to use: its object is not Ready. Where the first is deleted or its own volume
//! cannot be made, the next of those that wait fetches; what the server refused the first it has refused all of them. Only Volumes of one namespace share: what a server sends to one tenant is for no other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use apis::volume::{Format, HttpSource};
use libvirt::VolumeId;
use tokio::sync::watch;

use crate::{
    hosts::Site,
    volume::fetch::{Access, FetchError, Progress},
};

/// An image for the volumes of one host, as far as it is the same for all of them.
pub(super) struct Image {
    pub(super) host: Arc<Site>,
    pub(super) namespace: String,
    pub(super) source: HttpSource,
    pub(super) format: Format,
    /// Of a raw volume, which has its size from the start.
    pub(super) capacity: Option<u64>,
    pub(super) access: Access,
    /// The image servers that the config lists.
    pub(super) listed: Vec<String>,
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let Self { host, namespace, source, format, capacity, access, listed } = self;
        // One connection, so that one set of locks keeps the volumes while they are copied.
        host.is_connected_as(&other.host)
            && (namespace, source, format) == (&other.namespace, &other.source, &other.format)
            && (capacity, access, listed) == (&other.capacity, &other.access, &other.listed)
    }
}

/// Whose turn it is to fetch.
pub(super) enum Turn {
    /// The one that asks.
    Own(First),
    /// Another, which is at it.
    Other(Other),
}

/// What became of the first one's fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has the image in this volume.
    Whole(VolumeId),
    /// The server gave none, for this reason: it would give the others none either.
    Failed(Arc<str>),
}

/// Who fetches. While it is there its volume stays as it is.
pub(super) struct First(Arc<watch::Sender<Option<End>>>);

/// Who waits for another's volume.
#[derive(Clone)]
pub(super) struct Other {
    end: watch::Receiver<Option<End>>,
    progress: watch::Receiver<Progress>,
}

struct Share<I> {
    image: I,
    first: Weak<watch::Sender<Option<End>>>,
    progress: watch::Receiver<Progress>,
}

/// The images that are on their way.
pub(super) struct Shares<I = Image>(Mutex<Vec<Share<I>>>);

impl<I> Default for Shares<I> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<I: PartialEq> Shares<I> {
    /// Whose turn it is to fetch an image. `progress` is that of the one who asks.
    pub(super) fn turn(&self, image: I, progress: watch::Receiver<Progress>) -> Turn {
        let mut shares = self.lock();
        shares.retain(|share| share.first.strong_count() > 0);
        let mut running = shares.iter().filter(|share| share.image == image);
        let joined = running.find_map(|share| Some((share.first.upgrade()?, share.progress.clone())));
        if let Some((first, progress)) = joined {
            return Turn::Other(Other { end: first.subscribe(), progress });
        }
        let first = Arc::new(watch::Sender::new(None));
        shares.push(Share { image, first: Arc::downgrade(&first), progress });
        Turn::Own(First(first))
    }

    /// Tells those who wait that the volume is whole, and waits until each has its copy or gave up. Who comes from now on fetches: else the
    /// first would wait for as long as others come.
    pub(super) async fn hand_out(&self, first: &First, volume: VolumeId) {
        self.lock().retain(|share| !std::ptr::eq(share.first.as_ptr(), Arc::as_ptr(&first.0)));
        first.0.send_replace(Some(End::Whole(volume)));
        first.0.closed().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Share<I>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl First {
    /// Tells those who wait why there is no image, so that a server that fails is not asked by each of them.
    pub(super) fn fail(&self, why: &FetchError) {
        self.0.send_replace(Some(End::Failed(why.to_string().into())));
    }
}

impl Other {
    /// What became of the fetch; None when the first is gone. Its progress is that of all.
    pub(super) async fn end(&mut self, own: &watch::Sender<Progress>) -> Option<End> {
        let Self { end, progress } = self;
        let mut moves = true;
        loop {
            tokio::select! {
                biased;
                seen = end.wait_for(Option::is_some) => return seen.ok()?.clone(),
                seen = progress.changed(), if moves => {
                    moves = seen.is_ok();
                    own.send_replace(*progress.borrow_and_update());
                }
            }
        }
    }

    /// Whether the first still is there, and its volume as it was.
    pub(super) fn still(&self) -> bool {
        self.end.has_changed().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume() -> VolumeId {
        VolumeId { pool: "pool".to_owned(), name: "first".to_owned() }
    }

    fn whole() -> End {
        End::Whole(volume())
    }

    fn other(turn: Turn) -> Other {
        match turn {
            Turn::Other(other) => other,
            Turn::Own(_) => panic!("it is to wait for another"),
        }
    }

    fn first(turn: Turn) -> First {
        match turn {
            Turn::Own(first) => first,
            Turn::Other(_) => panic!("nobody else fetches it"),
        }
    }

    #[tokio::test]
    async fn one_fetches_and_the_others_copy_and_it_waits_for_them() {
        let (shares, progress) = (Shares::default(), watch::channel(Progress::Asking));
        let one = first(shares.turn("image", progress.1.clone()));
        first(shares.turn("another image", progress.1.clone()));
        let (mut two, own) = (other(shares.turn("image", progress.1.clone())), watch::channel(Progress::Asking));
        progress.0.send_replace(Progress::Percent(30));
        let copied = async {
            let early = two.end(&own.0).await;
            assert!(two.still());
            // Who comes while copies are made fetches, and keeps nobody waiting.
            let late = first(shares.turn("image", progress.1.clone()));
            drop(two);
            (early, late)
        };
        let ((), (early, _late)) = tokio::join!(shares.hand_out(&one, volume()), copied);
        assert_eq!(early, Some(whole()));
        other(shares.turn("image", progress.1.clone()));
    }

    #[tokio::test]
    async fn the_next_fetches_when_the_first_is_gone() {
        let (shares, progress) = (Shares::default(), watch::channel(Progress::Percent(20)));
        let one = first(shares.turn("image", progress.1.clone()));
        let [mut two, mut three] = [(); 2].map(|()| other(shares.turn("image", progress.1.clone())));
        drop(one);
        assert!(!two.still());
        assert_eq!(two.end(&progress.0).await, None);
        let two = first(shares.turn("image", progress.1.clone()));
        assert_eq!(three.end(&progress.0).await, None);
        let mut three = other(shares.turn("image", progress.1.clone()));
        let (own, _seen) = watch::channel(Progress::Asking);
        let ((), copied) = tokio::join!(shares.hand_out(&two, volume()), async {
            let copied = three.end(&own).await;
            drop(three);
            copied
        });
        assert_eq!(copied, Some(whole()));
    }

    #[tokio::test]
    async fn what_the_server_refuses_one_it_refuses_all_who_wait() {
        let (shares, progress) = (Shares::default(), watch::channel(Progress::Asking));
        let one = first(shares.turn("image", progress.1.clone()));
        let mut two = other(shares.turn("image", progress.1.clone()));
        one.fail(&FetchError::Source("it is gone".to_owned()));
        drop(one);
        assert_eq!(two.end(&progress.0).await, Some(End::Failed("it is gone".into())));
        first(shares.turn("image", progress.1.clone()));
    }
}
