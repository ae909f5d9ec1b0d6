//! How much a pool has room for.
//!
//! A pool knows that as it was when it was last looked through, but for what libvirt itself has made and deleted there since: what guests fill
//! and what others put there or take away it sees no sooner. So nothing is refused before it was looked through for that.

use anyhow::Context;
use apis::quantity::Quantity;
use libvirt::Connection;

use crate::hosts::Site;

/// How many bytes the pool has room for, counted anew where it knows of less than is needed.
pub(super) async fn room(host: &Site, pool: &str, needed: u64) -> anyhow::Result<u64> {
    let room = known(host, pool).await?;
    if room >= needed {
        return Ok(room);
    }
    count(host, pool).await;
    known(host, pool).await
}

/// Fails where a pool has not the room that is to be set aside: the host would fill it up before it said so.
pub(super) async fn check(host: &Site, pool: &str, needed: u64) -> anyhow::Result<()> {
    if needed == 0 {
        return Ok(());
    }
    let left = room(host, pool, needed).await?;
    anyhow::ensure!(
        left >= needed,
        "preallocation: Falloc sets {} aside, and pool {pool} has {} left; make room there, or set a smaller capacity",
        Quantity::of_bytes(needed),
        Quantity::of_bytes(left)
    );
    Ok(())
}

/// Has the pool count its room anew, unless there is other work in it.
pub(super) async fn count(host: &Site, pool: &str) {
    let of = pool.to_owned();
    let count = move |host: &Connection| Ok(host.find_pool_by_name(&of)?.map_or(Ok(()), |pool| pool.refresh())?);
    if let Some(Err(error)) = host.if_free(pool, count).await {
        tracing::debug!(pool, ?error, "the room of the pool is not counted anew");
    }
}

async fn known(host: &Site, pool: &str) -> anyhow::Result<u64> {
    let of = pool.to_owned();
    let info = move |host: &Connection| host.find_pool_by_name(&of)?.map(|pool| pool.info()).transpose();
    let info = host.short(pool, info).await.context("look up pool")?;
    Ok(info.with_context(|| format!("there is no pool {pool} on the host"))?.available)
}
