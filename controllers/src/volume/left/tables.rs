//! The tables of a qcow2 image, as far as its first bytes hold them: where its guest's data is in the file. Pure.
//!
//! Source: QEMU's `docs/interop/qcow2.txt`.

/// An offset in an entry of either table, without its flags.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// That a cluster is compressed.
const PACKED: u64 = 1 << 62;
/// That a cluster is all zeros, whatever is in the file.
const ZEROS: u64 = 1;
/// The incompatible features by which tables are no others: that it was not closed, and how it is compressed.
const PLAIN: u64 = 1 | 1 << 3;

/// The tables of an image.
pub(super) struct Tables<'a> {
    bytes: &'a [u8],
    cluster_bits: u32,
    /// The first table: where the second ones are.
    first: Vec<u64>,
}

/// Where a cluster of the guest's disk is in the file.
#[derive(Clone, Copy)]
struct Cluster {
    /// Its offset on the disk.
    guest: u64,
    /// Its offset in the file.
    at: usize,
    packed: bool,
}

impl<'a> Tables<'a> {
    /// The tables of an image that begins so. What is behind the end of a file is zeros, so `bytes` are to be all of a shorter one. None where
    /// the first table is not among them, or the image keeps snapshots, of which these tables tell nothing, or has features that change them.
    pub(super) fn of(bytes: &'a [u8], looked_at: usize) -> Option<Self> {
        let cluster_bits = be32(bytes, 20).filter(|bits| (9..=21).contains(bits))?;
        let (entries, at, snapshots) = (be32(bytes, 36)?, be64(bytes, 40)?, be32(bytes, 60)?);
        let features = if be32(bytes, 4)? == 3 { be64(bytes, 72)? } else { 0 };
        let (at, entries) = (usize::try_from(at).ok()?, usize::try_from(entries).ok()?);
        let end = entries.checked_mul(8)?.checked_add(at)?;
        if snapshots != 0 || features & !PLAIN != 0 || end > looked_at {
            return None;
        }
        let first = (0..entries).map(|entry| be64(bytes, at + entry * 8).unwrap_or_default()).collect();
        Some(Self { bytes, cluster_bits, first })
    }

    /// Whether nothing was ever written to the disk.
    pub(super) fn are_empty(&self) -> bool {
        self.first.iter().all(|entry| *entry == 0)
    }

    /// Whether the tables were made beforehand, and all data that is among the bytes is zeros.
    pub(super) fn hold_zeros(&self) -> bool {
        let is_zeros = |cluster: Cluster| !cluster.packed && self.data(cluster).is_none_or(is_zeros);
        self.second().is_some_and(|_| self.clusters().all(is_zeros))
    }

    /// The first piece of data that is among the bytes: its offset in the file, and the data.
    pub(super) fn piece(&self) -> Option<(usize, &'a [u8])> {
        self.clusters().find_map(|cluster| Some((cluster.at, self.data(cluster)?)))
    }

    /// The data that is among the bytes, by its offset on the disk. What is compressed is left out.
    pub(super) fn plain(&self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let plain = self.clusters().filter(|cluster| !cluster.packed);
        plain.filter_map(|cluster| Some((cluster.guest, self.data(cluster)?)))
    }

    /// The bytes of a cluster; of a compressed one as many as are always there.
    fn data(&self, Cluster { guest: _, at, packed }: Cluster) -> Option<&'a [u8]> {
        let length = if packed { 64 } else { 1 << self.cluster_bits };
        self.bytes.get(at..at.checked_add(length)?)
    }

    /// Where the second table is that the first entry leads to.
    fn second(&self) -> Option<usize> {
        let at = usize::try_from(self.first.first()? & OFFSET).ok().filter(|at| *at != 0)?;
        self.bytes.get(at..at.checked_add(1 << self.cluster_bits)?).map(|_| at)
    }

    /// The clusters that the second table tells of.
    fn clusters(&self) -> impl Iterator<Item = Cluster> {
        let (table, bits) = (self.second(), self.cluster_bits);
        let entries = table.map_or(0, |_| 1_u64 << (bits - 3));
        (0..entries).filter_map(move |index| {
            let entry = be64(self.bytes, table? + usize::try_from(index).ok()? * 8)?;
            let packed = entry & PACKED != 0;
            let at = if packed { entry & ((1 << (70 - bits)) - 1) } else { entry & OFFSET };
            let is_there = at != 0 && (packed || entry & ZEROS == 0);
            is_there.then_some(Cluster { guest: index << bits, at: usize::try_from(at).ok()?, packed })
        })
    }
}

/// Whether there is nothing but zeros.
pub(super) fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

pub(super) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_be_bytes)
}
