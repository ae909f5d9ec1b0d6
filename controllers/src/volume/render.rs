//! Parameters of a Volume → the description of a new one: pure.

use anyhow::{Context, ensure};
use apis::{Managed, Volume, quantity::Quantity, volume::Format};
use libvirt::xml::Element;

/// The volume that a new one is a difference to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// The path on the host.
    pub path: String,
    /// The format, from the spec and never from the pool.
    pub format: Format,
    /// The size that a guest sees, in bytes.
    pub capacity: u64,
}

/// The description of a blank or overlay volume.
pub fn render(object: &Volume, below: Option<&Below>) -> anyhow::Result<Element> {
    let format = object.parameters().format.unwrap_or_default();
    let volume = blank(object.external_name(), format, capacity(object, below)?);
    Ok(match below {
        None => volume,
        Some(Below { path, format, capacity: _ }) => volume.child(
            Element::new("backingStore").child(Element::new("path").text(path.as_str())).child(element(*format)),
        ),
    })
}

/// The description of a volume without content, `capacity` in bytes.
pub fn blank(name: &str, format: Format, capacity: u64) -> Element {
    let size = |name: &str, bytes: u64| Element::new(name).attr("unit", "bytes").text(bytes.to_string());
    Element::new("volume")
        .child(Element::new("name").text(name))
        .child(size("capacity", capacity))
        .child(size("allocation", 0))
        .child(target(format))
}

/// A qcow2 volume is of version 3: libvirt still makes version 2 by itself, which cannot tell incremental backups what changed.
fn target(format: Format) -> Element {
    let target = Element::new("target").child(element(format));
    match format {
        Format::Qcow2 => target.child(Element::new("compat").text("1.1")),
        Format::Raw => target,
    }
}

fn element(format: Format) -> Element {
    Element::new("format").attr("type", format.as_libvirt())
}

/// A wished size in bytes. Sizes are whole sectors, and at least one.
pub fn sectors(capacity: &Quantity) -> anyhow::Result<u64> {
    let bytes = capacity.bytes().map_err(anyhow::Error::msg).context("capacity")?;
    ensure!(bytes > 0, "capacity must be more than nothing");
    bytes.checked_next_multiple_of(512).context("capacity is too large")
}

fn capacity(object: &Volume, below: Option<&Below>) -> anyhow::Result<u64> {
    let wished = object.parameters().capacity.as_ref().map(sectors).transpose()?;
    let least = below.map(|below| below.capacity);
    let capacity = wished
        .or(least)
        .context("capacity is needed: there is neither an image nor a backing volume to take it from")?;
    ensure!(
        least.is_none_or(|least| least <= capacity),
        "capacity must not be smaller than the backing volume's {}",
        Quantity::of_bytes(least.unwrap_or_default())
    );
    Ok(capacity)
}
