//! Making a pool true on its host, and taking it away.

use anyhow::{Context, anyhow};
use apis::{Managed, Pool, pool::PoolParameters as Parameters};
use libvirt::{
    Connection, DiskSource, VolumeName,
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
use crate::{
    network::count,
    storage::{
        device::{self, Device},
        is_same_path,
    },
    volume::devices::are_found,
};

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
    let may_build =
        Building::of(base.get("type"), *build).filter(|_| create && !was_created(object) && !is_linked(&error));
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

/// Whether a volume group is there, and its devices by other names than the object has for them.
fn is_linked(error: &libvirt::Error) -> bool {
    error.message().contains("cannot find any matching source devices")
}

/// That a pool does not start, whatever it stands on being away.
fn unavailable(error: libvirt::Error) -> anyhow::Error {
    let message = if is_linked(&error) {
        "start pool: libvirt follows no links to the devices of a volume group, so source.devices must be as LVM shows them (pvs), or left out where the group is there already; create a new Pool instead"
    } else {
        "start pool"
    };
    anyhow::Error::new(error).context(Refusal { reason: "PoolUnavailable", message: message.to_owned() })
}

/// Reads what the pool holds, which can be seen only while it runs.
fn look_through(pool: &libvirt::Pool<'_>) -> Result<(), libvirt::Error> {
    if !pool.is_active()? {
        pool.create()?;
    }
    pool.refresh()
}

/// What a pool has in it that would be lost sight of.
fn content(pool: &libvirt::Pool<'_>) -> Result<Option<String>, libvirt::Error> {
    let mut volumes = pool.list_volumes()?;
    // A file system has this folder from its beginning, and keeps it.
    volumes.retain(|volume| volume.name != "lost+found");
    let first = volumes.first();
    Ok(first.map(|first| {
        let number = count(volumes.len(), "volume");
        format!("the pool holds {number}, {} first; it is deleted when it is empty", first.name)
    }))
}

/// Who has a volume of a pool that made none of them: they outlive it, but a host that logs out of a target takes its disks away.
fn user(host: &Connection, pool: &libvirt::Pool<'_>) -> anyhow::Result<Option<String>> {
    let (name, volumes) = (pool.name()?, pool.list_volumes()?);
    let uses = |source: &DiskSource| match source {
        DiskSource::Path(used) => volumes.iter().any(|volume| is_same_path(&volume.path, used)),
        DiskSource::Volume { pool, name: _ } => *pool == name,
    };
    let users = host.disk_users()?;
    if let Some(user) = users.iter().find(|user| uses(&user.source)) {
        let who = format!("domain {} on the host uses a volume of the pool", user.domain);
        return Ok(Some(format!("{who}; it is deleted when nobody does")));
    }
    let mut devices = Vec::new();
    for VolumeName { name: volume, key: _, path } in &volumes {
        devices.extend(Device::find(host, &name, volume, path)?);
    }
    let user = device::user(host, &devices, &users, &host.backings()?)?;
    Ok(user.map(|user| format!("a volume of the pool is used by {user}; it is deleted when nobody does")))
}

/// Stops the pool and takes its definition away, if it is empty or nobody uses what it found.
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
        let found = are_found(&pool.type_()?);
        if let Some(message) = if found { user(host, &pool)? } else { content(&pool)? } {
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
