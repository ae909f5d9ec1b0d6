//! Making a pool true on its host, and taking it away.

use anyhow::{Context, anyhow};
use apis::{Managed, Pool, pool::PoolParameters as Parameters};
use libvirt::{
    Connection,
    diff::{Difference, diff},
    overlay::overlay,
    rule::Rules,
    xml::Element,
};
use managed::{
    creation::was_created,
    external::{Deletion, Refusal},
};

use super::{BUILT, wishes};
use crate::network::count;

/// Looks at the pool anew and does what is needed: define, build, set autostart, start. Says whether the directory is the object's.
/// That is written down before the directory is made: a provider that dies in between would never take it away again.
pub(super) fn make_true(
    host: &Connection,
    object: &Pool,
    uuid: &str,
    rules: &Rules,
    create: bool,
) -> anyhow::Result<bool> {
    let merged = object.merged();
    let Parameters { build, autostart, .. } = if create { merged.parameters() } else { object.parameters() };
    if host.find_pool(uuid)?.is_none() {
        define_new(host, object, uuid, rules)?;
    }
    let pool = host.find_pool(uuid)?.ok_or_else(|| anyhow!("the pool went away meanwhile"))?;
    let base = Element::parse(&pool.describe(true)?).context("read the pool's description")?;
    let wishes = wishes(object, false);
    if diff(&wishes, &base, rules).iter().any(Difference::is_applied) {
        let wished = overlay(&wishes, &base, rules);
        host.define_pool(&wished.write().context("write the description")?).context("define pool")?;
    }
    if let Some(autostart) = autostart.filter(|autostart| pool.autostart().is_ok_and(|present| present != *autostart)) {
        pool.set_autostart(autostart).context("set autostart of pool")?;
    }
    if pool.is_active()? {
        return Ok(false);
    }
    let Err(error) = pool.create() else { return Ok(false) };
    // Only a new pool is built: where an old one's directory is missing, a mount is, and volumes with it.
    let may_build = Building::of(base.get("type"), *build).filter(|_| create && !was_created(object));
    let Some(Building { folder, device }) = may_build else { return Err(unavailable(error)) };
    if folder && object.annotation(BUILT).is_none() {
        return Ok(true);
    }
    if folder {
        pool.make_folder().context("build pool")?;
    }
    if device {
        if pool.create().is_ok() {
            return Ok(folder);
        }
        pool.build().context("build pool")?;
    }
    pool.create().map_err(unavailable)?;
    Ok(folder)
}

fn define_new(host: &Connection, object: &Pool, uuid: &str, rules: &Rules) -> anyhow::Result<()> {
    let name = object.external_name();
    anyhow::ensure!(host.find_pool_by_name(name)?.is_none(), "pool {name:?} is on the host already and is not ours");
    let mut wishes = wishes(&object.merged(), true);
    wishes.set("uuid", uuid);
    let description = wishes.create(rules).write().context("write the description")?;
    host.define_pool(&description).map(drop).map_err(|error| {
        if error.message().contains("missing backend for pool type") {
            let message = "the host's libvirt has no storage driver for pools of this type: install the one that is named so, and restart libvirt there".to_owned();
            return anyhow::Error::new(error).context(Refusal { reason: "NotOffered", message });
        }
        anyhow::Error::new(error).context("define pool")
    })
}

/// What of a new pool may be built.
struct Building {
    /// The directory that it is in, or that is mounted on.
    folder: bool,
    /// What is on its device, where nothing is recognised there.
    device: bool,
}

impl Building {
    fn of(type_: Option<&str>, build: Option<bool>) -> Option<Self> {
        let folder = matches!(type_, Some("dir" | "fs" | "netfs" | "vstorage")) && build != Some(false);
        let device = matches!(type_, Some("fs" | "disk" | "logical" | "zfs")) && build == Some(true);
        (folder || device).then_some(Self { folder, device })
    }
}

/// That a pool does not start, whatever it stands on being away.
fn unavailable(error: libvirt::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(Refusal { reason: "PoolUnavailable", message: "start pool".to_owned() })
}

/// Reads what the pool holds, which can be seen only while it runs.
fn look_through(pool: &libvirt::Pool<'_>) -> Result<(), libvirt::Error> {
    if !pool.is_active()? {
        pool.create()?;
    }
    pool.refresh()
}

/// Stops the pool and takes its definition away, if it is empty.
pub(super) fn remove(host: &Connection, uuid: &str, built: bool, was_created: bool) -> anyhow::Result<Deletion> {
    let Some(pool) = host.find_pool(uuid)? else { return Ok(Deletion::Absent) };
    if let Err(error) = look_through(&pool) {
        // A pool that never was true has nothing of ours in it. Of another we must know: behind a missing mount there may be volumes.
        if was_created {
            let message = format!(
                "the pool cannot be started, so it cannot be told whether it is empty ({error}). Mend that, or let the pool go by dropping Delete from managementPolicies"
            );
            return Ok(Deletion::Refused(Refusal { reason: "PoolUnavailable", message }));
        }
    }
    if pool.is_active()? {
        let mut volumes = pool.list_volumes()?;
        // A file system has this folder from its beginning, and keeps it.
        volumes.retain(|volume| volume.name != "lost+found");
        if let Some(first) = volumes.first() {
            let message = format!(
                "the pool holds {}, {} first; it is deleted when it is empty",
                count(volumes.len(), "volume"),
                first.name
            );
            return Ok(Deletion::Refused(Refusal { reason: "InUse", message }));
        }
        pool.destroy().context("stop pool")?;
    }
    if built {
        // Takes away an empty directory and nothing else; one with content stays, and so it should.
        if let Err(error) = pool.remove_empty_directory() {
            tracing::info!(pool = uuid, %error, "the pool's directory stays");
        }
    }
    if pool.is_persistent()? {
        pool.undefine().context("undefine pool")?;
    }
    Ok(Deletion::Requested)
}
