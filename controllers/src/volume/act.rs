//! What is done to a volume on its host: made, and grown; and the first bytes that both have to fit.

use anyhow::Context;
use apis::{quantity::Quantity, volume::Format};
use libvirt::{Connection, Running, xml::Element};
use managed::external::{Deletion, Refusal};

use super::{
    devices,
    encryption::patiently,
    import::vacant,
    left::{self, Expected},
    partition, permissions, room,
};
use crate::{
    hosts::{Left, Site},
    storage::{self, bytes},
};

/// Of a volume whose making failed.
const UNCLEARED: Left = Left("what the host may have made of the volume has not been removed yet");

/// Makes a blank or overlay volume, unless a creation that was cut short made it already, whole.
pub(super) fn make(
    host: &Connection,
    (pool, name): (&str, &str),
    wished: &Element,
    tables: bool,
    expected: Option<&Expected>,
) -> anyhow::Result<()> {
    let found = host.find_pool_by_name(pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
    if let Some(volume) = found.find_volume(name)? {
        let foreign = || storage::foreign_volume(name, pool);
        let expected = expected.ok_or_else(foreign)?;
        let aside = bytes(wished, "allocation");
        let takes_time = tables || aside > 0;
        if takes_time && volume.is_busy()? {
            // It goes on by itself; nobody may write there yet.
            let message = format!("the host still sets aside the room of volume {name}");
            return Err(libvirt::Error::busy(message).into());
        }
        left::look(host, &found, &volume, expected)?.ok_or_else(foreign)?;
        // One that was looked at while it was made has other permissions.
        if volume.info()?.allocation >= aside && permissions::is_as_wished(&volume, wished)? {
            return Ok(());
        }
    }
    // What the host itself did not come to an end with is nobody's yet.
    let pool = vacant(host, pool, name, expected)?;
    let text = devices::described(&pool, wished, None)?;
    let make = || if tables { pool.create_preallocated_volume(&text) } else { pool.create_volume(&text) };
    permissions::made(|| patiently(&make).map_err(devices::not_made), wished)
}

/// Takes away what a program of the host left that was making a volume and failed: one that is killed leaves its file, and libvirt lists no
/// volume of which the making failed, so that nobody would ever find it. libvirt starts that program where it has seen that nothing of the
/// name is there, so what is there now is its work; after any other failure nothing is looked for. Where the pool has other work, it is left
/// to a later pass. After a partition that could not be made the room of its disk is counted anew.
pub(super) async fn clear(host: &Site, (pool, name): (&str, &str), error: anyhow::Error) -> anyhow::Error {
    if partition::was_refused(&error) {
        room::count(host, pool).await;
    }
    let is_of_program = |cause: &libvirt::Error| cause.is_of_qemu_img();
    if !error.chain().filter_map(|cause| cause.downcast_ref()).any(is_of_program) {
        return error;
    }
    match storage::delete(host, (pool, name), None).await {
        Ok(Deletion::Absent) => error,
        Ok(Deletion::Requested) => {
            tracing::info!(pool, volume = name, "removed what was left of a volume whose making failed");
            error
        }
        Ok(Deletion::Waiting(why, _) | Deletion::Refused(Refusal { reason: _, message: why })) => {
            tracing::info!(pool, volume = name, why, "what is left of a volume whose making failed stays for now");
            error.context(UNCLEARED)
        }
        Err(why) => {
            tracing::info!(
                pool,
                volume = name,
                why = format!("{why:#}"),
                "what is left of a volume whose making failed stays for now"
            );
            error.context(UNCLEARED)
        }
    }
}

/// Grows a volume: through the guest that uses it, so that the guest sees it, else in the pool. Never shrinks one that grew meanwhile.
pub(super) fn grow(
    host: &Connection,
    (pool, name): (&str, &str),
    path: &str,
    format: Format,
    to: u64,
) -> anyhow::Result<()> {
    let pool = host.find_pool_by_name(pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
    let volume = pool.find_volume(name)?.context("the volume went away meanwhile")?;
    let from = volume.info()?.capacity;
    if from >= to {
        return Ok(());
    }
    for Running { domain, live } in host.running()? {
        let disk = live.find_all("devices/disk").into_iter().find(|disk| disk.attr_at("source@file") == Some(path));
        if let Some(target) = disk.and_then(|disk| disk.attr_at("target@dev")) {
            let whose = || format!("grow the disk that domain {} uses", domain.name().unwrap_or_default());
            return domain.block_resize(target, to).with_context(whose);
        }
    }
    let description = Element::parse(&volume.describe()?).context("read the volume's description")?;
    as_specified(&description, format).map_err(anyhow::Error::msg)?;
    volume.resize(to).map_err(|error| devices::not_grown(error, from))
}

/// That a volume does not become smaller.
pub(super) fn shrink(wished: &Quantity, from: u64) -> Refusal {
    Refusal {
        reason: "ShrinkRefused",
        message: format!(
            "capacity {wished} is smaller than the volume's {}; a volume never shrinks, because data would be cut off. Set capacity to at least that",
            Quantity::of_bytes(from)
        ),
    }
}

/// Whether the volume still is what its object says, as far as the host can tell by its first bytes. A guest can write any header into
/// a raw disk, other files of the host named in it, and libvirt follows such a header when it resizes.
pub(super) fn as_specified(description: &Element, format: Format) -> Result<(), String> {
    let Some(seen) = another_format(description, format) else { return Ok(()) };
    Err(format!(
        "the volume's first bytes say {seen}, and its object says {}; it is not resized, because the host would believe the bytes. A guest may have written them",
        format.as_libvirt()
    ))
}

/// What the volume's first bytes say, where that is not the format. Of a device libvirt tells what partition table it has, if that; and
/// it never resizes one by its header.
pub(super) fn another_format(description: &Element, format: Format) -> Option<&str> {
    if format == Format::Raw && matches!(description.get("type"), Some("block" | "network")) {
        return None;
    }
    let seen = description.attr_at("target/format@type").unwrap_or("raw");
    let fits = match format {
        Format::Raw => ["raw", "iso", "none", "unknown"].contains(&seen),
        Format::Qcow2 => seen == "qcow2",
    };
    (!fits).then_some(seen)
}
