//! What is done to a volume on its host: made, and grown; and the first bytes that both have to fit.

use anyhow::Context;
use apis::{quantity::Quantity, volume::Format};
use libvirt::{Connection, Running, xml::Element};
use managed::external::Refusal;

/// Makes a blank or overlay volume, unless a creation that was cut short made it already.
pub(super) fn make(
    host: &Connection,
    (pool, name): (&str, &str),
    wished: &Element,
    tables: bool,
    resumed: bool,
) -> anyhow::Result<()> {
    let pool = host.find_pool_by_name(pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
    if pool.find_volume(name)?.is_some() {
        anyhow::ensure!(resumed, "volume {name:?} is on the host already and is not ours");
        return Ok(());
    }
    let text = wished.write().context("write the description")?;
    let made = if tables { pool.create_preallocated_volume(&text) } else { pool.create_volume(&text) };
    made.context("create volume")?;
    Ok(())
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
    if volume.info()?.capacity >= to {
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
    volume.resize(to).context("grow volume")
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

/// What the volume's first bytes say, where that is not the format.
pub(super) fn another_format(description: &Element, format: Format) -> Option<&str> {
    let seen = description.attr_at("target/format@type").unwrap_or("raw");
    let fits = match format {
        Format::Raw => ["raw", "iso", "none", "unknown"].contains(&seen),
        Format::Qcow2 => seen == "qcow2",
    };
    (!fits).then_some(seen)
}
