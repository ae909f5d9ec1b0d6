//! What an attempt that was cut short left of a volume, told from what somebody else put in its place meanwhile.
//!
//! ```text
//! first bytes, allocation ─┬─ the object's mark ─────────────────────────────▶ a part of an image
//!                          ├─ those of the image ────────────────────────────▶ the image, whose end nobody wrote down
//!                          ├─ zeros, empty tables, LUKS without content ─────▶ blank: nobody's data
//!                          ├─ the beginning of the volume that is copied ────▶ a copy
//!                          └─ anything else ─────────────────────────────────▶ somebody's: nothing is done to it
//! ```
//! A record says only that a volume of this name is the object's once it is there. Whoever removes an unfinished one on the host may make his own
//! under its name, and by the name alone his data would be deleted or written over.

mod tables;

use anyhow::Context;
use apis::volume::{Format, Preallocation};
use bytes::Bytes;
use libvirt::{Connection, Pool, Volume, VolumeId};
use managed::external::Refusal;

use self::tables::{Tables, be32, be64, is_zeros};
use super::{
    devices,
    image::{self, HEAD, Image, ImageFormat},
};
use crate::storage::is_same_path;

/// How many first bytes are looked at: the tables of a blank qcow2 image are among them, and where the content of a LUKS one begins.
pub(super) const LOOK: usize = 4 << 20;

/// The most that a file without content takes, whatever blocks its file system has.
const LITTLE: u64 = 1 << 20;

/// The fewest bytes that are worth comparing.
const LEAST: usize = 512;

/// What an attempt to make an object's volume may have left.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The object's UID.
    pub(super) uid: String,
    pub(super) format: Format,
    /// The bytes that a guest is to see, where that is known.
    pub(super) size: Option<u64>,
    pub(super) preallocation: Preallocation,
    pub(super) encrypted: bool,
    /// The path of the volume below; empty where there is one and nobody knows where.
    pub(super) below: Option<String>,
    /// The first bytes of the image, once they have come.
    pub(super) head: Option<Bytes>,
    /// The volume that the host is to copy, as its object says that it is.
    pub(super) original: Option<(VolumeId, Format)>,
    /// Whether the host may have begun to copy.
    pub(super) is_copied: bool,
}

/// What is there of a volume that may be the object's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// An image without its head, or a part of one.
    Part,
    /// An image with its head.
    Image,
    /// Nobody's data.
    Blank,
    /// What the host copied, or a part of that.
    Copy,
    /// A device. A new one shows what was on the disk before, whoever wrote that, so that its first bytes tell nothing of who made it: one of
    /// this name is taken for the object's. Else no attempt could be made again that was cut short between the making of a device and the
    /// first byte in it.
    Device,
}

/// The beginning of a volume.
#[derive(Debug, Default)]
struct First {
    /// At most [`LOOK`] bytes; fewer where that is all.
    bytes: Vec<u8>,
    /// The bytes that a guest sees, as libvirt says.
    capacity: u64,
    /// The bytes that it takes on the host.
    allocation: u64,
}

/// What is there of a volume; None where it is somebody else's.
pub(super) fn look(
    host: &Connection,
    pool: &Pool<'_>,
    volume: &Volume<'_>,
    expected: &Expected,
) -> anyhow::Result<Option<Left>> {
    if !devices::are_files(&pool.type_()?) {
        return Ok(Some(Left::Device));
    }
    let name = volume.name()?;
    let first = First::of(volume).map_err(|error| still(error, &name));
    let first = first.context("look at what was left of the volume")?;
    let original = expected.original.as_ref().map(|original| read(host, original)).transpose()?.flatten();
    let left = judge(&first, expected, original.as_ref().map(|(first, format)| (first, *format)));
    tracing::debug!(volume = name, ?left, allocation = first.allocation, "looked at what was left");
    Ok(left)
}

/// The beginning of the volume to copy; None where that is gone.
fn read(host: &Connection, (id, format): &(VolumeId, Format)) -> anyhow::Result<Option<(First, Format)>> {
    let VolumeId { pool, name } = id;
    let pool = host.find_pool_by_name(pool)?;
    let volume = pool.map(|pool| pool.find_volume(name)).transpose()?.flatten();
    let first = volume.map(|volume| First::of(&volume)).transpose().context("look at the volume to copy")?;
    Ok(first.map(|first| (first, *format)))
}

/// The host goes on with what it was asked for, also when nobody waits for that any more.
pub(super) fn still(error: libvirt::Error, name: &str) -> libvirt::Error {
    if error.is_invalid_state() {
        return libvirt::Error::busy(format!(
            "the host still writes volume {name} for an earlier process of this provider"
        ));
    }
    error
}

/// That it cannot be told whose a volume is that is to be deleted with its object.
pub(super) fn doubtful(name: &str, pool: &str) -> Refusal {
    let message = format!(
        "volume {name} in pool {pool} may be what somebody else put in the place of an unfinished volume of this object, and is not deleted; remove it on the host, or take Delete out of spec.managementPolicies"
    );
    Refusal { reason: "ForeignObject", message }
}

impl First {
    /// That of a volume; nothing, where its file is not there, as of one that the host is about to make.
    fn of(volume: &Volume<'_>) -> Result<Self, libvirt::Error> {
        let info = libvirt::absent(volume.info())?;
        let Some(libvirt::VolumeInfo { capacity, allocation }) = info else { return Ok(Self::default()) };
        let mut bytes = Vec::new();
        volume.read(0, LOOK as u64, |piece| bytes.extend_from_slice(piece))?;
        bytes.truncate(LOOK);
        Ok(Self { bytes, capacity, allocation })
    }

    /// What the guest sees of it, where it is of the format and stands alone.
    fn alone(&self, format: Format) -> Option<Disk<'_>> {
        match format {
            Format::Raw => Some(Disk { size: self.capacity, content: Content::Plain(&self.bytes) }),
            Format::Qcow2 => {
                let seen = image::inspect(&self.bytes);
                let size = seen.virtual_size.filter(|_| image::check(&seen, format).is_ok())?;
                Some(Disk { size, content: Content::Clusters(Tables::of(&self.bytes, LOOK)?) })
            }
        }
    }
}

/// A disk as its guest sees it, as far as the first bytes of the volume tell that.
struct Disk<'a> {
    size: u64,
    content: Content<'a>,
}

enum Content<'a> {
    Plain(&'a [u8]),
    Clusters(Tables<'a>),
}

impl Disk<'_> {
    /// The data that is known, by the offset on the disk. Of zeros there are many.
    fn data(&self) -> Vec<(u64, &[u8])> {
        let mut data: Vec<(u64, &[u8])> = match &self.content {
            Content::Plain(bytes) => (0..).step_by(HEAD).zip(bytes.chunks(HEAD)).collect(),
            Content::Clusters(tables) => tables.plain().collect(),
        };
        data.retain(|(_, bytes)| !is_zeros(bytes));
        data
    }

    fn at(&self, offset: u64) -> Option<&[u8]> {
        match &self.content {
            Content::Plain(bytes) => bytes.get(usize::try_from(offset).ok()?..),
            Content::Clusters(tables) => tables.plain().find(|(at, _)| *at == offset).map(|(_, bytes)| bytes),
        }
    }

    /// Whether it begins as another one does; None where no data of both is known.
    fn begins_as(&self, other: &Self) -> Option<bool> {
        let mut pairs = self.data().into_iter().filter_map(|(at, own)| Some((own, other.at(at)?)));
        let (own, others) = pairs.find(|(own, others)| own.len().min(others.len()) >= LEAST)?;
        let length = own.len().min(others.len());
        Some(own[..length] == others[..length])
    }
}

/// What a volume that begins so is; None where it is somebody else's.
fn judge(first: &First, expected: &Expected, original: Option<(&First, Format)>) -> Option<Left> {
    if image::has_mark(&first.bytes, &expected.uid) {
        return Some(Left::Part);
    }
    if is_blank(first, expected, original.map(|(first, _)| first.capacity)) {
        return Some(Left::Blank);
    }
    if expected.head.as_ref().is_some_and(|head| is_image(first, head, expected.format)) {
        return Some(Left::Image);
    }
    is_copy(first, expected, original).then_some(Left::Copy)
}

/// Whether there is nothing of anybody's in it. A copy has the size of its original at first.
fn is_blank(first: &First, expected: &Expected, original: Option<u64>) -> bool {
    let Expected { format, size, preallocation, encrypted, below, .. } = expected;
    let sets_aside = *format == Format::Raw && *preallocation == Preallocation::Falloc;
    if is_zeros(&first.bytes) {
        return first.allocation <= LITTLE || sets_aside;
    }
    match format {
        Format::Raw => *encrypted && is_blank_luks(first),
        Format::Qcow2 => {
            let seen = image::inspect(&first.bytes);
            let fits = is_as_wished(&seen, expected) && stands_on(&first.bytes, &seen, below.as_deref());
            // One whose program was killed before it had a size is nobody's.
            let is_sized = size.is_none() || [*size, original, Some(0)].contains(&seen.virtual_size);
            let tables = Tables::of(&first.bytes, LOOK).filter(|_| fits && is_sized);
            let may_hold = *preallocation != Preallocation::Off;
            tables.is_some_and(|tables| tables.are_empty() || (may_hold && tables.hold_zeros()))
        }
    }
}

/// Whether an image is of the kind that is made for a Qcow2 volume.
fn is_as_wished(seen: &Image, expected: &Expected) -> bool {
    let Image { format, virtual_size: _, backing: _, external_data, encrypted, fault } = seen;
    *format == ImageFormat::Qcow2 && !external_data && *encrypted == expected.encrypted && fault.is_none()
}

/// Whether a qcow2 image stands on the file at this path, or on none.
fn stands_on(bytes: &[u8], seen: &Image, below: Option<&str>) -> bool {
    let named = || {
        let at = usize::try_from(be64(bytes, 8)?).ok()?;
        let length = usize::try_from(be32(bytes, 16)?).ok()?;
        std::str::from_utf8(bytes.get(at..at.checked_add(length)?)?).ok()
    };
    match below {
        None => !seen.backing,
        Some(below) => seen.backing && named().is_some_and(|named| is_same_path(named, below)),
    }
}

/// Whether it is encrypted as QEMU does it, and nothing was written to it.
fn is_blank_luks(First { bytes, capacity: _, allocation }: &First) -> bool {
    // Where the content begins, in sectors.
    let payload = be32(bytes, 104).map(|sectors| u64::from(sectors) * 512).filter(|at| *at < LOOK as u64);
    let content = payload.and_then(|at| bytes.get(usize::try_from(at).ok()?..));
    bytes.starts_with(b"LUKS\xba\xbe\0\x01")
        && content.is_some_and(is_zeros)
        && payload.is_some_and(|payload| *allocation <= payload + LITTLE)
}

/// Whether it is the image that begins so, which may have grown since.
fn is_image(first: &First, head: &[u8], format: Format) -> bool {
    match format {
        Format::Raw => {
            let (own, others) = (&first.bytes, &head[..head.len().min(LOOK)]);
            let behind = own.get(others.len()..own.len().min(HEAD)).unwrap_or_default();
            let pairs = || own.chunks(HEAD).zip(others.chunks(HEAD));
            // What was not written yet is zeros, of which there are many.
            own.len() >= others.len()
                && pairs().all(|(own, others)| own.starts_with(others) || is_zeros(own))
                && pairs().any(|(own, others)| own.starts_with(others) && !is_zeros(others))
                && (others.len() >= HEAD || is_zeros(behind))
        }
        // The first cluster is the header alone, which is the same of all images of one size. The data is where it was also when it has grown.
        Format::Qcow2 => {
            let piece = Tables::of(head, head.len()).as_ref().and_then(Tables::piece);
            let is_qcow2 = image::check(&image::inspect(&first.bytes), format).is_ok();
            piece.map_or_else(
                || first.bytes.starts_with(head),
                |(at, data)| is_qcow2 && first.bytes.get(at..).is_some_and(|own| own.starts_with(data)),
            )
        }
    }
}

/// Whether it is what the host copies: it writes that by itself, without a mark. An original that was written to since is another one, and may
/// have grown.
fn is_copy(first: &First, expected: &Expected, original: Option<(&First, Format)>) -> bool {
    let is_kept =
        |(original, format): (&First, Format)| format == expected.format && is_image(first, &original.bytes, format);
    if original.is_some_and(is_kept) {
        return true;
    }
    let Some(own) = first.alone(expected.format) else { return false };
    let is_wished = expected.size == Some(own.size);
    let original = original.map(|(first, format)| (first.capacity, first.alone(format)));
    match original {
        None => expected.is_copied && expected.format == Format::Qcow2 && is_wished,
        Some((size, disk)) => match disk.and_then(|disk| own.begins_as(&disk)) {
            Some(is_same) => is_same && own.size <= size.max(expected.size.unwrap_or_default()),
            None => expected.is_copied && (own.size == size || is_wished),
        },
    }
}

#[cfg(test)]
#[path = "left/tests.rs"]
mod tests;
