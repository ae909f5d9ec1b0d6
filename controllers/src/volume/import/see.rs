//! That the host sees what an image is.
//!
//! libvirt looks at the kind of a file when it looks through the pool, and by that it grows and copies. It does so after each upload by itself,
//! and leaves it out where others write into the pool.

use std::time::Duration;

use anyhow::{Context, bail};
use libvirt::{Connection, Kind, xml::Element};

use super::{Order, permit::Permit};
use crate::{
    hosts::kind,
    volume::{act::another_format, devices},
};

/// When a pool is looked at again that others write into.
const AGAIN: Duration = Duration::from_secs(1);

/// What the host takes an image for.
struct Seen {
    /// Whether that is what it is to be. What a device holds the host is not asked about.
    as_wished: bool,
    /// The file that it has the image stand on.
    below: Option<String>,
}

/// Has the host look through the pool where it takes the image for something else, once nobody writes into the pool. Fails where the host would
/// then have the image stand on a file: what the image's first bytes name, it opens.
pub(super) async fn see(order: &Order, permit: &Permit) -> anyhow::Result<()> {
    loop {
        permit.check()?;
        if seen(order).await?.as_wished {
            return Ok(());
        }
        let pool = order.pool.clone();
        let refresh = move |host: &Connection| {
            let found =
                host.find_pool_by_name(&pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
            Ok(found.refresh()?)
        };
        match permit.next(order.host.alone(&order.pool, refresh)).await? {
            Err(error) if kind(&error) == Some(Kind::Busy) => {
                tracing::debug!(volume = order.name, "the host is to look at the image once its pool is at rest");
                permit.next(tokio::time::sleep(AGAIN)).await?;
            }
            looked => {
                looked.context("have the host look at the image")?;
                break;
            }
        }
    }
    match seen(order).await? {
        Seen { as_wished: false, below: Some(below) } => {
            bail!("the host takes the image for one that stands on {below}, and only images that stand alone are taken")
        }
        Seen { .. } => Ok(()),
    }
}

async fn seen(order: &Order) -> anyhow::Result<Seen> {
    let (pool, name, format) = (order.pool.clone(), order.name.clone(), order.format);
    let look = move |host: &Connection| {
        let found = host.find_pool_by_name(&pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
        if !devices::are_files(&found.type_()?) {
            return Ok(Seen { as_wished: true, below: None });
        }
        let volume = found.find_volume(&name)?.context("the volume went away meanwhile")?;
        let description = Element::parse(&volume.describe()?).context("parse the image's description")?;
        let below = description.text_at("backingStore/path").map(str::to_owned);
        Ok(Seen { as_wished: another_format(&description, format).is_none(), below })
    };
    order.host.long(&format!("{}/{}", order.pool, order.name), look).await
}
