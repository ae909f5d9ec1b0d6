//! A volume made as a copy of another one that its object names.

use std::sync::atomic::Ordering;

use anyhow::{Context, bail, ensure};
use libvirt::Connection;
use tokio::sync::watch;

use super::{
    Order,
    copy::sharing,
    permit::Permit,
    place::{NO_ROOM, Place},
};
use crate::{
    hosts::COPY,
    volume::{fetch::Progress, original::Original},
};

/// Copies the original on the host. What was written to it meanwhile, by a guest that began and ended in between or by hand, makes the copy
/// worthless: it is removed.
pub(super) async fn duplicate(
    order: &Order,
    original: &Original,
    permit: &Permit,
    progress: &watch::Sender<Progress>,
) -> anyhow::Result<()> {
    let turn = permit.next(order.host.copying()).await?;
    order.may_begin()?;
    // Snapshots that somebody took since are to be seen.
    permit.next(crate::storage::look_around(&order.host, &original.volume.pool)).await??;
    // While these are held nothing is deleted from either pool.
    let sharing = permit.next(sharing(order, &original.volume.pool)).await?;
    progress.send_replace(Progress::Copying);
    let (place, original, trace) = (Place::of(order, order.capacity), original.clone(), order.trace.clone());
    let object = place.object();
    let work = move |host: &Connection| {
        let _held = (turn, sharing);
        let from = &original.volume;
        let holder =
            host.find_pool_by_name(&from.pool)?.context("the pool of the volume to copy went away meanwhile")?;
        let content = holder.find_volume(&from.name)?.context("the volume to copy went away meanwhile")?;
        let before = original.look(host, &content)?;
        let info = content.info()?;
        let (pool, text) = place.ready(host, info.capacity)?;
        ensure!(original.need(host, info)? <= pool.info()?.available, NO_ROOM);
        let copy = pool.create_volume_from(&text, &content).map_err(|error| place.not_made(error))?;
        let torn = match original.look(host, &content) {
            Ok(after) if after == before => {
                trace.is_made_whole(true);
                return Ok(());
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        copy.delete().context("remove the copy")?;
        match torn {
            Some(error) => Err(error),
            None => bail!("volume {} in pool {} was written to while it was copied", from.name, from.pool),
        }
    };
    order.host.lasting(&object, COPY, work).await?;
    order.made.store(true, Ordering::Release);
    permit.check()
}
