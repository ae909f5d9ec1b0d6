//! Parameters of a Volume → the description of a new one: pure.

use anyhow::{Context, bail, ensure};
use apis::{
    Managed, Volume,
    quantity::Quantity,
    volume::{Format, Preallocation},
};
use libvirt::xml::Element;

use super::permissions::permitted;

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
    let capacity = capacity(object, below)?;
    let element = match below {
        None => described(object.external_name(), format, capacity, allocation(object, capacity)?),
        Some(Below { path, format: below, capacity: _ }) => blank(object.external_name(), format, capacity).child(
            Element::new("backingStore").child(Element::new("path").text(path.as_str())).child(format_of(*below)),
        ),
    };
    Ok(permitted(element, object.parameters().permissions.as_ref()))
}

/// Whether the host is to make the tables of a new volume at once. Those of a qcow2 file are needed before its room can be set aside.
pub fn makes_tables(object: &Volume) -> bool {
    let parameters = object.parameters();
    match (parameters.preallocation.unwrap_or_default(), parameters.format.unwrap_or_default()) {
        (Preallocation::Off, Format::Raw | Format::Qcow2)
        | (Preallocation::Metadata | Preallocation::Falloc, Format::Raw) => false,
        (Preallocation::Metadata | Preallocation::Falloc, Format::Qcow2) => true,
    }
}

/// How many bytes of a blank volume's file are set aside when it is made.
///
/// # Errors
/// As [`render`].
pub fn set_aside(object: &Volume, below: Option<&Below>) -> anyhow::Result<u64> {
    if below.is_some() { Ok(0) } else { allocation(object, capacity(object, below)?) }
}

/// How many bytes of a blank volume are set aside.
fn allocation(object: &Volume, capacity: u64) -> anyhow::Result<u64> {
    let parameters = object.parameters();
    match (parameters.preallocation.unwrap_or_default(), parameters.format.unwrap_or_default()) {
        (Preallocation::Off, Format::Raw | Format::Qcow2) | (Preallocation::Metadata, Format::Qcow2) => Ok(0),
        (Preallocation::Metadata, Format::Raw) => bail!("preallocation: Metadata needs format: Qcow2"),
        (Preallocation::Falloc, Format::Raw | Format::Qcow2) => Ok(capacity),
    }
}

/// The description of a volume without content, `capacity` in bytes, of which none are set aside.
pub fn blank(name: &str, format: Format, capacity: u64) -> Element {
    described(name, format, capacity, 0)
}

fn described(name: &str, format: Format, capacity: u64, allocation: u64) -> Element {
    let size = |name: &str, bytes: u64| Element::new(name).attr("unit", "bytes").text(bytes.to_string());
    Element::new("volume")
        .child(Element::new("name").text(name))
        .child(size("capacity", capacity))
        .child(size("allocation", allocation))
        .child(target(format))
}

/// A qcow2 volume is of version 3: libvirt still makes version 2 by itself, which cannot tell incremental backups what changed.
fn target(format: Format) -> Element {
    let target = Element::new("target").child(format_of(format));
    match format {
        Format::Qcow2 => target.child(Element::new("compat").text("1.1")),
        Format::Raw => target,
    }
}

fn format_of(format: Format) -> Element {
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
