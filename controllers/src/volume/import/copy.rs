//! A volume made on the host from another's, which holds the same image.

use std::sync::{Arc, atomic::Ordering};

use anyhow::{Context, ensure};
use apis::volume::Format;
use libvirt::{Connection, Pool, Volume, VolumeInfo, xml::Element};
use tokio::{
    sync::{OwnedRwLockReadGuard, watch},
    time::timeout,
};

use super::{
    Order,
    permit::Permit,
    place::{NO_ROOM, Place},
    share::{End, Other},
};
use crate::{
    hosts::{COPY, LONG},
    volume::{act::another_format, fetch::Progress},
};

/// What came of waiting for another's volume.
pub(super) enum Copied {
    /// A whole volume.
    Whole,
    /// Nothing: the other is gone.
    Nothing,
    /// The server gave the other no image.
    Failed(Arc<str>),
}

/// Copies another's volume once that is whole.
pub(super) async fn copy(
    order: &Order,
    permit: &Permit,
    mut other: Other,
    progress: &watch::Sender<Progress>,
) -> anyhow::Result<Copied> {
    let from = match permit.next(other.end(progress)).await? {
        Some(End::Whole(from)) => from,
        Some(End::Failed(why)) => return Ok(Copied::Failed(why)),
        None => return Ok(Copied::Nothing),
    };
    // While these are held nothing is deleted from either pool; for as long as the host copies, whoever waits for that.
    let turn = permit.next(timeout(LONG, order.host.copying())).await?;
    let turn = turn.context("wait for the host to copy others")?;
    order.may_begin()?;
    let sharing = permit.next(sharing(order, &from.pool)).await?;
    let most = order.capacity.filter(|_| order.format == Format::Raw);
    let place = Place::of_copy(order, most, &from);
    let trace = order.trace.clone();
    let object = place.object();
    let (watched, format) = (other.clone(), order.format);
    let work = move |host: &Connection| {
        let _held = (turn, sharing);
        let holder = host.find_pool_by_name(&from.pool)?.context("the image's pool went away meanwhile")?;
        let content = holder.find_volume(&from.name)?.context("the image went away meanwhile")?;
        if !comes_to_be_seen(&holder, &content, format)? {
            return Ok(false);
        }
        // The answer is of the file as it is now; the copy is made by it.
        let VolumeInfo { capacity: size, allocation } = content.info()?;
        ensure!(most.is_none_or(|most| size <= most), "the image is larger than the volume is to be");
        let (pool, text) = place.ready(host, size)?;
        ensure!(allocation <= pool.info()?.available, NO_ROOM);
        if !watched.still() {
            return Ok(false);
        }
        trace.copies();
        let copy = pool.create_volume_from(&text, &content).context("copy the image on the host")?;
        if watched.still() {
            trace.is_made_whole(true);
            return Ok(true);
        }
        // The first went meanwhile: somebody may have written to what was copied.
        copy.delete().context("remove the copy")?;
        Ok(false)
    };
    let copied = order.host.lasting(&object, COPY, work).await?;
    order.made.fetch_or(copied, Ordering::AcqRel);
    drop(other);
    permit.check()?;
    Ok(if copied { Copied::Whole } else { Copied::Nothing })
}

/// Whether the host takes a volume for what it is to be, if need be once it has looked again. libvirt copies a file as what it took it for
/// when it last looked, and that may have been before its head was there.
fn comes_to_be_seen(pool: &Pool<'_>, volume: &Volume<'_>, format: Format) -> anyhow::Result<bool> {
    if is_seen_as(volume, format)? {
        return Ok(true);
    }
    let refreshed = pool.refresh();
    let is_seen = is_seen_as(volume, format)?;
    if !is_seen {
        tracing::debug!(volume = volume.name().ok(), ?refreshed, "the host does not see what the image is");
    }
    Ok(is_seen)
}

/// Whether the host takes a volume for what it is to be.
pub(super) fn is_seen_as(volume: &Volume<'_>, format: Format) -> anyhow::Result<bool> {
    let description = Element::parse(&volume.describe()?).context("parse the image's description")?;
    Ok(another_format(&description, format).is_none())
}

/// Keeps both pools from being changed as a whole, always in the same order: two that wait for each other's would wait for ever.
pub(super) async fn sharing(order: &Order, other: &str) -> Vec<OwnedRwLockReadGuard<()>> {
    let mut pools = vec![order.pool.as_str(), other];
    pools.sort_unstable();
    pools.dedup();
    let mut held = Vec::new();
    for pool in pools {
        held.push(order.host.sharing(pool).await);
    }
    held
}
