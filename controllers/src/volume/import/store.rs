//! The image into its volume: unpacked if it is packed, looked at, and written as it comes.

use std::{sync::atomic::Ordering, time::Duration};

use anyhow::{Context, bail};
use apis::{
    quantity::Quantity,
    volume::{Decompression, Format},
};
use bytes::Bytes;
use libvirt::{Upload, UploadRequest};
use tokio::sync::{OwnedRwLockReadGuard, mpsc};

use super::{Order, permit::Permit};
use crate::volume::{image, render, unpack::Pieces};

/// How long the host may take for one piece of an image.
const PIECE: Duration = Duration::from_mins(1);

/// What a qcow2 file may have beside data and tables.
const SPARE: u64 = 64 * 1024 * 1024;

const WRITE: &str = "write the image to the host";

/// Makes the volume when the first bytes are good, and writes all of them into it.
pub(super) async fn store(
    order: &Order,
    permit: &Permit,
    chunks: mpsc::Receiver<Bytes>,
    room: u64,
) -> anyhow::Result<Stored> {
    let mut pieces = match order.source.decompression.unwrap_or_default() {
        Decompression::Auto => permit.next(Pieces::of(chunks)).await?,
        Decompression::Never => Pieces::plain(chunks),
    };
    let mut head: Vec<u8> = Vec::new();
    while head.len() < image::HEAD {
        let Some(piece) = next(permit, &mut pieces).await? else { break };
        head.extend_from_slice(&piece);
    }
    let seen = image::inspect(&head);
    image::check(&seen, order.format).map_err(anyhow::Error::msg)?;
    let limit = if pieces.are_unpacked() { Limit::new(order, &seen, room) } else { Limit::none() };
    limit.check(head.len() as u64)?;
    let sharing = permit.next(order.host.sharing(&order.pool)).await?;
    make(order, seen.virtual_size.or(order.capacity).unwrap_or(head.len() as u64)).await?;
    let request = UploadRequest { pool: order.pool.clone(), volume: order.name.clone(), length: 0, progress: PIECE };
    let mut stored = Stored { upload: order.host.upload(request).await.context(WRITE)?, passed: 0, _sharing: sharing };
    stored.send(head).await?;
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

/// The next piece, unless nothing may be written any more or it cannot be unpacked.
async fn next(permit: &Permit, pieces: &mut Pieces) -> anyhow::Result<Option<Bytes>> {
    permit.next(pieces.next()).await?.map_err(anyhow::Error::msg)
}

/// Makes the volume for the image.
async fn make(order: &Order, size: u64) -> anyhow::Result<()> {
    let element = render::blank(&order.name, order.format, size);
    let (pool, name) = (order.pool.clone(), order.name.clone());
    let text = element.write().context("write the description")?;
    let resumed = order.resumed;
    order.host.long(&format!("{pool}/{name}"), move |host| replace(host, &pool, &name, &text, resumed)).await?;
    order.made.store(true, Ordering::Release);
    Ok(())
}

/// What is on its way to the host. While it is, the pool is not looked through.
pub(super) struct Stored {
    upload: Upload,
    passed: u64,
    _sharing: OwnedRwLockReadGuard<()>,
}

impl Stored {
    async fn send(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        self.passed += bytes.len() as u64;
        self.upload.send(bytes).await.context(WRITE)
    }

    /// Waits until the host has all of it.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        let Self { upload, passed, _sharing } = self;
        let sent = upload.finish().await.context(WRITE)?;
        anyhow::ensure!(sent == passed, "the host took {sent} of the image's {passed} bytes");
        Ok(())
    }
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
        anyhow::ensure!(bytes <= self.most, "{}", self.why);
        Ok(())
    }
}

/// Makes the volume.
fn replace(host: &libvirt::Connection, pool: &str, name: &str, text: &str, resumed: bool) -> anyhow::Result<()> {
    vacant(host, pool, name, resumed)?.create_volume(text).context("create volume")?;
    Ok(())
}

/// The pool, with nothing in it by that name. A part of the image that an earlier attempt left goes; anything else of that name is
/// somebody's.
pub(super) fn vacant<'c>(
    host: &'c libvirt::Connection,
    pool: &str,
    name: &str,
    resumed: bool,
) -> anyhow::Result<libvirt::Pool<'c>> {
    let Some(found) = host.find_pool_by_name(pool)? else { bail!("there is no pool {pool} on the host") };
    if let Some(volume) = found.find_volume(name)? {
        anyhow::ensure!(resumed, "{}", crate::storage::foreign_volume(name, pool).message);
        let path = volume.path()?;
        if let Some(user) = crate::storage::user(host, pool, name, &path)? {
            bail!("the volume is used by {user}");
        }
        volume.delete().context("remove the part of an image that was left")?;
    }
    Ok(found)
}
