//! The image into its volume: unpacked if it is packed, looked at, and written as it comes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use apis::{
    quantity::Quantity,
    volume::{Decompression, Format},
};
use bytes::Bytes;
use libvirt::{Upload, UploadRequest};
use tokio::sync::{OwnedRwLockReadGuard, mpsc};

use super::{Content, Order, permit::Permit};
use crate::volume::{
    devices, image,
    left::{self, Expected, LOOK, Left},
    permissions,
    unpack::Pieces,
};

/// How long the host may take for one piece of an image.
const PIECE: Duration = Duration::from_mins(1);

/// How much of what came already is handed over at once.
const AT_ONCE: usize = 1024 * 1024;

/// What a qcow2 file may have beside data and tables.
const SPARE: u64 = 64 * 1024 * 1024;

const WRITE: &str = "write the image to the host";

/// Keeps the pool from being changed as a whole.
type Sharing = Arc<OwnedRwLockReadGuard<()>>;

/// Makes the volume when the first bytes are good, and writes all of them into it.
pub(super) async fn store(
    order: &Order,
    decompression: Decompression,
    permit: &Permit,
    (chunks, room): (mpsc::Receiver<Bytes>, u64),
) -> anyhow::Result<Stored> {
    let mut pieces = match decompression {
        Decompression::Auto => permit.next(Pieces::of(chunks)).await?,
        Decompression::Never => Pieces::plain(chunks),
    };
    let mut head: Vec<u8> = Vec::new();
    // What was left is told by more than the header of an image.
    let needed = if order.left.is_some() { LOOK } else { image::HEAD };
    while head.len() < needed {
        let Some(piece) = next(permit, &mut pieces).await? else { break };
        head.extend_from_slice(&piece);
    }
    let seen = image::inspect(&head);
    image::check(&seen, order.format).map_err(anyhow::Error::msg)?;
    let limit = if pieces.are_unpacked() { Limit::new(order, &seen, room) } else { Limit::none() };
    limit.check(head.len() as u64)?;
    if pieces.are_unpacked() {
        order.parts.store(false, Ordering::Release);
    }
    let sharing = Arc::new(permit.next(order.host.sharing(&order.pool)).await?);
    make(order, &seen, &head, sharing.clone()).await?;
    let mut stored = Stored { upload: upload(order, 0).await?, passed: 0, head: Bytes::new(), _sharing: sharing };
    // Until all the rest is there and right, nothing boots.
    let rest = head.split_off(head.len().min(image::HEAD));
    stored.send(image::closed(&seen, head.len(), &order.uid)).await?;
    for piece in rest.chunks(AT_ONCE) {
        stored.send(piece.to_vec()).await?;
    }
    stored.head = head.into();
    pass_on(stored, permit, pieces, &limit).await
}

/// Writes the rest of an image whose beginning is there, but for its head.
pub(super) async fn go_on(
    order: &Order,
    permit: &Permit,
    (head, from): (Bytes, u64),
    chunks: mpsc::Receiver<Bytes>,
) -> anyhow::Result<Stored> {
    let seen = image::inspect(&head);
    image::check(&seen, order.format).map_err(anyhow::Error::msg)?;
    let sharing = Arc::new(permit.next(order.host.sharing(&order.pool)).await?);
    continues(order, order.left(&head, seen.virtual_size)).await?;
    order.made.store(true, Ordering::Release);
    order.parts.store(true, Ordering::Release);
    // The image's own head is there if that alone was not written down any more.
    permit.check()?;
    begin_with(order, image::closed(&seen, head.len(), &order.uid)).await?;
    let stored = Stored { upload: upload(order, from).await?, passed: 0, head, _sharing: sharing };
    pass_on(stored, permit, Pieces::plain(chunks), &Limit::none()).await
}

/// Fails where somebody uses the volume by now, or it is no part of the image: it may have been there for long.
async fn continues(order: &Order, expected: Option<Expected>) -> anyhow::Result<()> {
    let (pool, name) = (order.pool.clone(), order.name.clone());
    let format = order.format;
    let ask = move |host: &libvirt::Connection| {
        let Some(found) = host.find_pool_by_name(&pool)? else { bail!("there is no pool {pool} on the host") };
        let volume = found.find_volume(&name)?.context("the part of an image that was left went away meanwhile")?;
        not_used(host, &pool, &volume)?;
        let expected = expected.as_ref();
        let left = expected.map(|expected| left::look(host, &found, &volume, expected)).transpose()?.flatten();
        let is_part = left.is_some_and(|left| goes_on(left, format));
        ensure!(is_part, crate::storage::foreign_volume(&name, &pool));
        Ok(())
    };
    order.host.long(&format!("{}/{}", order.pool, order.name), ask).await
}

/// Whether what was left can be gone on with. The first bytes of a qcow2 image that have come by then are its header, which other images have as
/// well.
pub(super) fn goes_on(left: Left, format: Format) -> bool {
    left == Left::Part || (left == Left::Image && format == Format::Raw)
}

/// Fails where somebody on the host uses the volume.
pub(super) fn not_used(host: &libvirt::Connection, pool: &str, volume: &libvirt::Volume<'_>) -> anyhow::Result<()> {
    match crate::storage::user(host, pool, &volume.name()?, &volume.path()?)? {
        Some(user) => bail!("the volume is used by {user}"),
        None => Ok(()),
    }
}

async fn upload(order: &Order, offset: u64) -> anyhow::Result<Upload> {
    let (pool, volume) = (order.pool.clone(), order.name.clone());
    let request = UploadRequest { pool, volume, offset, length: 0, progress: PIECE };
    order.host.upload(request).await.context(WRITE)
}

/// Writes piece by piece.
async fn pass_on(mut stored: Stored, permit: &Permit, mut pieces: Pieces, limit: &Limit) -> anyhow::Result<Stored> {
    loop {
        let piece = match next(permit, &mut pieces).await {
            Ok(Some(piece)) => limit.check(stored.passed + piece.len() as u64).map(|()| piece),
            Ok(None) => return Ok(stored),
            Err(error) => Err(error),
        };
        match piece {
            Ok(piece) => stored.send(piece.to_vec()).await?,
            Err(error) => {
                // What waits on its way to the host is not to come later.
                let _ = stored.upload.abort().await;
                return Err(error);
            }
        }
    }
}

/// Makes the volume with this content.
pub(super) async fn write(order: &Order, permit: &Permit, bytes: &[u8], room: u64) -> anyhow::Result<()> {
    let most = order.capacity.filter(|_| order.format == Format::Raw).unwrap_or(room);
    ensure!(!bytes.is_empty(), "the content is empty");
    ensure!(bytes.len() as u64 <= most.min(room), "the content is larger than the volume is to be");
    let (sender, chunks) = mpsc::channel(1);
    sender.send(Bytes::copy_from_slice(bytes)).await.context("hand the content over")?;
    drop(sender);
    let stored = store(order, Decompression::Never, permit, (chunks, room)).await?;
    permit.check()?;
    stored.finish(order, permit).await
}

/// The next piece, unless nothing may be written any more or it cannot be unpacked.
async fn next(permit: &Permit, pieces: &mut Pieces) -> anyhow::Result<Option<Bytes>> {
    permit.next(pieces.next()).await?.map_err(anyhow::Error::msg)
}

/// Makes the volume for the content, of which so much has come. Who waits for that may be sent away while the host is at it: until it
/// has ended nobody is told that there is no such volume.
async fn make(order: &Order, seen: &image::Image, head: &[u8], sharing: Sharing) -> anyhow::Result<()> {
    let known = seen.virtual_size.or(order.capacity);
    // An image goes on for as long as its server likes; other content is there as a whole.
    let is_endless = known.is_none() && matches!(order.content, Content::Image(_));
    let size = known.unwrap_or(head.len() as u64);
    let (pool, name, wished) = (order.pool.clone(), order.name.clone(), order.shape().describe(size));
    let (left, least) = (order.left(head, known), order.capacity);
    let make = move |host: &libvirt::Connection| {
        let _held = sharing;
        let pool = vacant(host, &pool, &name, left.as_ref())?;
        devices::sized(&pool.type_()?, is_endless)?;
        let text = devices::described(&pool, &wished, least)?;
        permissions::made(|| pool.create_volume(&text).map_err(|error| not_made(error, &name, left.is_some())), &wished)
    };
    order.host.long(&format!("{}/{}", order.pool, order.name), make).await?;
    order.made.store(true, Ordering::Release);
    Ok(())
}

/// What is on its way to the host. While it is, the pool is not looked through.
pub(super) struct Stored {
    upload: Upload,
    passed: u64,
    /// The first bytes of the image, which come last.
    head: Bytes,
    _sharing: Sharing,
}

impl Stored {
    async fn send(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.passed += bytes.len() as u64;
        self.upload.send(bytes).await.context(WRITE)
    }

    /// Waits until the host has all of it.
    pub(super) async fn finish(self, order: &Order, permit: &Permit) -> anyhow::Result<()> {
        let Self { upload: rest, passed, head, _sharing } = self;
        let sent = rest.finish().await.context(WRITE)?;
        ensure!(sent == passed, "the host took {sent} of the image's {passed} bytes");
        permit.check()?;
        order.trace.is_made_whole(true);
        begin_with(order, head.to_vec()).await?;
        permit.check()
    }
}

/// Writes the first bytes of the volume.
async fn begin_with(order: &Order, head: Vec<u8>) -> anyhow::Result<()> {
    let (mut first, length) = (upload(order, 0).await?, head.len() as u64);
    first.send(head).await.context(WRITE)?;
    let sent = first.finish().await.context(WRITE)?;
    ensure!(sent == length, "the host took {sent} of the image's first {length} bytes");
    Ok(())
}

/// How much may come of a packed image, whose length says nothing of that.
struct Limit {
    most: u64,
    why: String,
}

impl Limit {
    fn none() -> Self {
        Self { most: u64::MAX, why: String::new() }
    }

    fn new(order: &Order, seen: &image::Image, room: u64) -> Self {
        let by_room = Self { most: room, why: "the image is larger than the room there is for it".to_owned() };
        let by_size = |most: u64, what: &str, size: u64| {
            let why = format!("the unpacked image is larger than {what} of {}", Quantity::of_bytes(size));
            Self { most, why }
        };
        let own = match (order.format, seen.virtual_size, order.capacity) {
            // Beside the data there are tables, an eighth of it at most, and what a snapshot in the file keeps.
            (Format::Qcow2, Some(size), wished) => {
                let size = size.max(wished.unwrap_or_default());
                Some(by_size((size + size / 8).saturating_add(SPARE), "a qcow2 file can be for a disk", size))
            }
            (Format::Raw, _, Some(capacity)) => Some(by_size(capacity, "the volume's capacity", capacity)),
            (Format::Qcow2, None, _) | (Format::Raw, _, None) => None,
        };
        own.filter(|own| own.most < room).unwrap_or(by_room)
    }

    fn check(&self, bytes: u64) -> anyhow::Result<()> {
        ensure!(bytes <= self.most, "{}", self.why);
        Ok(())
    }
}

/// The pool, with nothing in it by that name. What an earlier attempt left goes, if one did; anything else of that name is somebody's.
pub(in crate::volume) fn vacant<'c>(
    host: &'c libvirt::Connection,
    pool: &str,
    name: &str,
    expected: Option<&Expected>,
) -> anyhow::Result<libvirt::Pool<'c>> {
    let Some(found) = host.find_pool_by_name(pool)? else { bail!("there is no pool {pool} on the host") };
    if let Some(volume) = found.find_volume(name)? {
        let foreign = || crate::storage::foreign_volume(name, pool);
        let expected = expected.ok_or_else(foreign)?;
        not_used(host, pool, &volume)?;
        left::look(host, &found, &volume, expected)?.ok_or_else(foreign)?;
        volume
            .delete()
            .map_err(|error| left::still(error, name))
            .context("remove the part of a volume that was left")?;
    }
    Ok(found)
}

/// Why a volume could not be made: what an earlier attempt left may not be listed yet. Later its pool has been looked through.
pub(super) fn not_made(error: libvirt::Error, name: &str, resumed: bool) -> anyhow::Error {
    if resumed && error.kind == libvirt::Kind::Exists {
        let message =
            format!("what an earlier attempt left of volume {name} is removed when nothing is written into its pool");
        return libvirt::Error::busy(message).into();
    }
    devices::not_made(error)
}
