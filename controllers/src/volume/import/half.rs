//! An image that an earlier process did not bring to its end.
//!
//! The head of an image is written last, so nothing boots from what is not whole. What was written behind it was written in order: all of it up
//! to the last piece that is not zeros came from the server. It is read back into the checksum, and the rest is fetched. Whether that was
//! right, the checksum of the whole tells. That it is a part of the object's own image at all, a mark in it says: see [`left`].

use anyhow::Context;
use apis::volume::Decompression;
use libvirt::Connection;
use tokio::{sync::OwnedRwLockWriteGuard, time::timeout};

use super::{Order, permit::Permit, store::goes_on};
use crate::{
    hosts::{COPY, LONG},
    storage,
    volume::{
        devices,
        fetch::{self, Begun},
        image::{self, ImageFormat},
        left, permissions,
    },
};

/// Of less than this it is not worth the while.
const LEAST: u64 = 1024 * 1024;

static NOTHING: [u8; 64 * 1024] = [0; 64 * 1024];

/// Whether enough of an image is there for the rest of it to be fetched.
pub(super) async fn is_there(order: &Order) -> anyhow::Result<bool> {
    Ok(order.left.is_some() && allocation(order).await? >= LEAST)
}

/// What is there of the image and can be gone on with; None where it is to be fetched from its beginning.
pub(super) async fn half(
    order: &Order,
    decompression: Decompression,
    permit: &Permit,
    (client, answer): (&fetch::Client, fetch::Answer),
) -> anyhow::Result<Option<Begun>> {
    let Some(begun) = permit.next(answer.begin(client, image::HEAD)).await?? else { return Ok(None) };
    let is_packed = matches!(image::inspect(&begun.head).format, ImageFormat::Compressed(_));
    // Of what is unpacked on the way the host has other bytes than the server.
    if is_packed && decompression == Decompression::Auto {
        return Ok(None);
    }
    // Guests start and stop over the same few threads, so one such job is done at a time; nobody waits for a copy that takes a day.
    let Ok(turn) = permit.next(timeout(LONG, order.host.copying())).await? else { return Ok(None) };
    let begun = permit.next(read(order, begun, turn)).await??;
    Ok(begun.filter(|begun| begun.received >= LEAST))
}

/// How much the volume takes on the host; 0 where there is none, or somebody uses it, or it has other permissions, or it is a device: what
/// was on that before is not told from what came.
async fn allocation(order: &Order) -> anyhow::Result<u64> {
    let (pool, name) = (order.pool.clone(), order.name.clone());
    let (object, wished) = (format!("{pool}/{name}"), order.shape().describe(0));
    let look = move |host: &Connection| {
        let Some(found) = host.find_pool_by_name(&pool)? else { return Ok(0) };
        if !devices::are_files(&found.type_()?) {
            return Ok(0);
        }
        let Some(volume) = found.find_volume(&name)? else { return Ok(0) };
        let is_used = storage::user(host, &pool, &name, &volume.path()?)?.is_some();
        // Its making may have been cut short before anybody looked at its permissions.
        if is_used || !permissions::is_as_wished(&volume, &wished)? { Ok(0) } else { Ok(volume.info()?.allocation) }
    };
    order.host.long(&object, look).await.context("look for the part of an image that was left")
}

/// Adds what is there, where it is a part of the image.
async fn read(order: &Order, mut begun: Begun, turn: OwnedRwLockWriteGuard<()>) -> anyhow::Result<Option<Begun>> {
    let (pool, name, format) = (order.pool.clone(), order.name.clone(), order.format);
    let expected = order.left(&begun.head, None);
    let read = move |host: &Connection| {
        let _held = turn;
        let found = host.find_pool_by_name(&pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
        let volume = found.find_volume(&name)?.context("the part of an image that was left went away meanwhile")?;
        let left = expected.map(|expected| left::look(host, &found, &volume, &expected)).transpose()?.flatten();
        if !left.is_some_and(|left| goes_on(left, format)) {
            return Ok(None);
        }
        let most = volume.info()?.allocation.min(begun.length - 1).saturating_sub(begun.received);
        let mut sure = Sure::default();
        volume.read(begun.received, most, |bytes| sure.take(bytes, &mut begun))?;
        Ok(Some(begun))
    };
    let read = order.host.lasting(&format!("{}/{}", order.pool, order.name), COPY, read).await;
    read.context("read the part of an image that was left")
}

/// What was read and may not have been written: nothing is sure of the last piece that is not zeros, and of zeros behind it.
#[derive(Default)]
struct Sure {
    last: Vec<u8>,
    zeros: u64,
}

impl Sure {
    fn take(&mut self, bytes: &[u8], begun: &mut Begun) {
        if bytes.iter().all(|byte| *byte == 0) {
            self.zeros += bytes.len() as u64;
            return;
        }
        begun.add(&std::mem::replace(&mut self.last, bytes.to_vec()));
        while self.zeros > 0 {
            let some = usize::try_from(self.zeros).unwrap_or(usize::MAX).min(NOTHING.len());
            begun.add(&NOTHING[..some]);
            self.zeros -= some as u64;
        }
    }
}
