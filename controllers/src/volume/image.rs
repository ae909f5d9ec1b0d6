//! What an image is, judged by its first bytes: nothing else about a download says so, and QEMU follows what an image's header
//! names, other files of the host included.
//!
//! ```text
//! first chunk ─► inspect ─► Image ─► check(wished format) ─► Ok | a sentence with the cure
//! ```
//! Sources: QEMU's `docs/interop/qcow2.txt` for the header; the magic numbers of each format's specification.

use apis::volume::Format;

/// How many first bytes [`inspect`] wants. Fewer are fine when the image is shorter.
pub const HEAD: usize = 64 * 1024;

/// The largest virtual size that is believed: 1 PiB. A header beyond it is broken or hostile.
pub const MAX_VIRTUAL_SIZE: u64 = 1 << 50;

/// What the first bytes of an image say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The format.
    pub format: ImageFormat,
    /// The size that a guest sees, in bytes. `None` where the header does not say, as in a raw image.
    pub virtual_size: Option<u64>,
    /// Whether it is a difference to another file.
    pub backing: bool,
    /// Whether its data is in another file.
    pub external_data: bool,
    /// Whether it needs a key to be read.
    pub encrypted: bool,
    /// What is wrong with the header, where QEMU would refuse it or it claims the impossible.
    pub fault: Option<&'static str>,
}

/// The format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// Bytes as the guest sees them: whatever is no known format, an ISO 9660 image among others.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
    /// Another image format, by the name that qemu-img has for it.
    Other(&'static str),
    /// A compressed file, by the name of the program that unpacks it.
    Compressed(&'static str),
}

impl ImageFormat {
    fn of(head: &[u8]) -> Self {
        if head.starts_with(QCOW) {
            // Version 1 is the older format qcow, whose header says other things at the same places.
            return if be32(head, 4) == Some(1) { Self::Other("qcow") } else { Self::Qcow2 };
        }
        let found = MAGICS.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
        found.map_or(Self::Raw, |(_, _, format)| *format)
    }
}

const QCOW: &[u8] = b"QFI\xfb";

/// Where which bytes tell a format. A raw disk begins with boot code or zeros and has none of them.
const MAGICS: [(usize, &[u8], ImageFormat); 17] = [
    (0, b"QED\0", ImageFormat::Other("qed")),
    (0, b"KDMV", ImageFormat::Other("vmdk")),
    (0, b"COWD", ImageFormat::Other("vmdk")),
    (0, b"# Disk DescriptorFile", ImageFormat::Other("vmdk")),
    (0, b"vhdxfile", ImageFormat::Other("vhdx")),
    (0, b"conectix", ImageFormat::Other("vpc")),
    (64, b"\x7f\x10\xda\xbe", ImageFormat::Other("vdi")),
    (0, b"WithoutFreeSpace", ImageFormat::Other("parallels")),
    (0, b"WithouFreSpacExt", ImageFormat::Other("parallels")),
    (0, b"Bochs Virtual HD Image", ImageFormat::Other("bochs")),
    (0, b"OOOM", ImageFormat::Other("cow")),
    (0, b"LUKS\xba\xbe", ImageFormat::Other("luks")),
    (0, b"\x1f\x8b\x08", ImageFormat::Compressed("gzip")),
    (0, b"\xfd7zXZ\0", ImageFormat::Compressed("xz")),
    (0, b"\x28\xb5\x2f\xfd", ImageFormat::Compressed("zstd")),
    (0, b"PK\x03\x04", ImageFormat::Compressed("unzip")),
    (0, b"7z\xbc\xaf\x27\x1c", ImageFormat::Compressed("7z")),
];

/// What the first bytes of an image say; give it [`HEAD`] of them. It never fails: what it does not know is raw.
pub fn inspect(head: &[u8]) -> Image {
    let format = ImageFormat::of(head);
    match format {
        ImageFormat::Qcow2 => qcow2(head).unwrap_or_else(|| broken("its qcow2 header is cut off")),
        ImageFormat::Raw | ImageFormat::Other(_) | ImageFormat::Compressed(_) => {
            Image { format, virtual_size: None, backing: false, external_data: false, encrypted: false, fault: None }
        }
    }
}

/// Whether the image may become a volume of that format.
///
/// # Errors
/// A sentence for the user: what the image is, and what to do.
pub fn check(image: &Image, wished: Format) -> Result<(), String> {
    let Image { format, virtual_size: _, backing, external_data, encrypted, fault } = image;
    if *backing {
        return Err("the image refers to another file (a backing file); flatten it first with qemu-img convert".into());
    }
    if *external_data {
        return Err(
            "the image refers to another file (an external data file); flatten it first with qemu-img convert".into()
        );
    }
    if let Some(fault) = fault {
        return Err(format!("the image is not usable: {fault}"));
    }
    if *encrypted {
        return Err("the image is encrypted; decrypt it first with qemu-img convert".into());
    }
    match (format, wished) {
        // An initial ramdisk is a compressed file, and so are kernels: bytes that QEMU hands to the guest as they are.
        (ImageFormat::Raw | ImageFormat::Compressed(_), Format::Raw) | (ImageFormat::Qcow2, Format::Qcow2) => Ok(()),
        (ImageFormat::Raw, Format::Qcow2) => {
            Err("the image is not qcow2; create the Volume with format: Raw, or convert the image first with qemu-img convert -O qcow2".into())
        }
        (ImageFormat::Qcow2, Format::Raw) => {
            Err("the image is qcow2; create the Volume with format: Qcow2, or convert the image first with qemu-img convert -O raw".into())
        }
        (ImageFormat::Other(name), Format::Raw | Format::Qcow2) => {
            Err(format!("the image is {name}; convert it first with qemu-img convert -O {}", wished.as_libvirt()))
        }
        (ImageFormat::Compressed(program), Format::Qcow2) => {
            Err(format!("the image is compressed; unpack it first with {program}"))
        }
    }
}

/// The incompatible feature bits of a qcow2 header, version 3.
const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA: u64 = 1 << 2;
/// The header extension that names an external data file.
const DATA_FILE_NAME: u32 = 0x4441_5441;
/// Where the extensions begin in version 2, and where the first field of version 3 is.
const V2_LENGTH: usize = 72;
/// The shortest header of version 3.
const V3_LENGTH: usize = 104;

/// The header of a qcow2 image; `None` when it is cut off.
fn qcow2(head: &[u8]) -> Option<Image> {
    let version = be32(head, 4)?;
    let (backing_at, backing_length) = (be64(head, 8)?, be32(head, 16)?);
    let (cluster_bits, size, crypt_method) = (be32(head, 20)?, be64(head, 24)?, be32(head, 32)?);
    head.get(..V2_LENGTH)?;
    let (features, length) = match version {
        2 => (0, V2_LENGTH),
        3 => (be64(head, 72)?, usize::try_from(be32(head, 100)?).ok()?),
        _ => return Some(broken("its qcow2 version is neither 2 nor 3")),
    };
    Some(Image {
        format: ImageFormat::Qcow2,
        virtual_size: Some(size),
        // QEMU follows the offset; a length without one is no less suspicious.
        backing: backing_at != 0 || backing_length != 0,
        external_data: features & EXTERNAL_DATA != 0 || has_extension(head, length, DATA_FILE_NAME),
        encrypted: crypt_method != 0,
        fault: fault(&Header { version, length, cluster_bits, size, features }),
    })
}

struct Header {
    version: u32,
    length: usize,
    cluster_bits: u32,
    size: u64,
    features: u64,
}

fn fault(header: &Header) -> Option<&'static str> {
    let &Header { version, length, cluster_bits, size, features } = header;
    if !(9..=21).contains(&cluster_bits) {
        return Some("its qcow2 cluster size is impossible");
    }
    if version == 3 && !(V3_LENGTH..=1 << cluster_bits).contains(&length) {
        return Some("its qcow2 header length is impossible");
    }
    if size > MAX_VIRTUAL_SIZE {
        return Some("it claims to be larger than 1 PiB");
    }
    if features & CORRUPT != 0 {
        return Some("it is marked corrupt; repair it first with qemu-img check -r all");
    }
    None
}

/// Whether an extension of this kind is among those after the header. A list that does not end in the bytes at hand ends there.
fn has_extension(head: &[u8], start: usize, kind: u32) -> bool {
    let mut at = start;
    while let (Some(found), Some(length)) = (be32(head, at), at.checked_add(4).and_then(|at| be32(head, at))) {
        if found == 0 || found == kind {
            return found == kind;
        }
        let next = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_next_multiple_of(8)?.checked_add(8)?.checked_add(at));
        let Some(next) = next else { return false };
        at = next;
    }
    false
}

/// Where the mark is in what is not whole: behind the header of a qcow2 image and the boot code of a raw disk.
const MARKED: usize = 512;

/// How what is not whole says whose it is.
fn mark(uid: &str) -> String {
    format!("provider-libvirt: this image is not whole; object {uid}\n")
}

/// Whether a file that begins so is an image that is not whole, for the object with this UID.
pub fn has_mark(head: &[u8], uid: &str) -> bool {
    head.get(MARKED..).is_some_and(|rest| rest.starts_with(mark(uid).as_bytes()))
}

/// What stands where the first `length` bytes of an image belong until the rest of it is right: nothing boots from it. Of a qcow2 image it is
/// a header that names a feature which nobody knows, so QEMU refuses it, and whoever looks at the file sees its kind and size nevertheless. If
/// there is room for it, a mark says whose it is, so that nothing else is taken for it.
pub fn closed(image: &Image, length: usize, uid: &str) -> Vec<u8> {
    const UNKNOWN: u64 = 1 << 63;
    let mut head = vec![0; length];
    if let Some(room) = head.get_mut(MARKED..).and_then(|rest| rest.get_mut(..mark(uid).len())) {
        room.copy_from_slice(mark(uid).as_bytes());
    }
    let (ImageFormat::Qcow2, Some(size), true) = (image.format, image.virtual_size, length >= V3_LENGTH) else {
        return head;
    };
    let mut put = |at: usize, bytes: &[u8]| head[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, QCOW);
    put(4, &3_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(72, &UNKNOWN.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    head
}

fn broken(fault: &'static str) -> Image {
    Image {
        format: ImageFormat::Qcow2,
        virtual_size: None,
        backing: false,
        external_data: false,
        encrypted: false,
        fault: Some(fault),
    }
}

fn be32(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn be64(head: &[u8], at: usize) -> Option<u64> {
    head.get(at..)?.first_chunk().copied().map(u64::from_be_bytes)
}
