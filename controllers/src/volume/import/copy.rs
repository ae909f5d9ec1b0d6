//! A volume made on the host from another's, which holds the same image.

use std::sync::{Arc, atomic::Ordering};

use anyhow::{Context, ensure};
use apis::volume::Format;
use libvirt::{Connection, VolumeInfo};
use tokio::sync::{OwnedRwLockReadGuard, watch};

use super::{
    Order,
    permit::Permit,
    share::{End, Other},
    store::vacant,
};
use crate::volume::{fetch::Progress, render};

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
    let turn = permit.next(order.host.copying()).await?;
    let sharing = permit.next(sharing(order, &from.pool)).await?;
    let (to, format, resumed) = (order.volume(), order.format, order.resumed);
    let most = order.capacity.filter(|_| format == Format::Raw);
    let object = format!("{}/{}", to.pool, to.name);
    let watched = other.clone();
    let work = move |host: &Connection| {
        let _held = (turn, sharing);
        let holder = host.find_pool_by_name(&from.pool)?.context("the image's pool went away meanwhile")?;
        let content = holder.find_volume(&from.name)?.context("the image went away meanwhile")?;
        // The answer is of the file as it is now; the copy is made by it.
        let VolumeInfo { capacity: size, allocation } = content.info()?;
        ensure!(most.is_none_or(|most| size <= most), "the image is larger than the volume is to be");
        let text = render::blank(&to.name, format, size).write().context("write the description")?;
        let pool = vacant(host, &to.pool, &to.name, resumed)?;
        ensure!(allocation <= pool.info()?.available, "the pool has no room for a copy");
        if !watched.still() {
            return Ok(false);
        }
        let copy = pool.create_volume_from(&text, &content).context("copy the image on the host")?;
        if watched.still() {
            return Ok(true);
        }
        // The first went meanwhile: somebody may have written to what was copied.
        copy.delete().context("remove the copy")?;
        Ok(false)
    };
    let copied = order.host.long(&object, work).await?;
    order.made.fetch_or(copied, Ordering::AcqRel);
    drop(other);
    permit.check()?;
    Ok(if copied { Copied::Whole } else { Copied::Nothing })
}

/// Keeps both pools from being changed as a whole, always in the same order: two that wait for each other's would wait for ever.
async fn sharing(order: &Order, other: &str) -> Vec<OwnedRwLockReadGuard<()>> {
    let mut pools = vec![order.pool.as_str(), other];
    pools.sort_unstable();
    pools.dedup();
    let mut held = Vec::new();
    for pool in pools {
        held.push(order.host.sharing(pool).await);
    }
    held
}
