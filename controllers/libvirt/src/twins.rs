//! One file by several names: a pool on a link to another pool's folder, or on a second mount of it, shows the same volumes.
//!
//! libvirt tells no inode. What it tells of a file and two files hardly have in common is its name, its size, and when it last changed, in
//! nanoseconds.

use crate::error::absent;
use crate::pool::Listing;
use crate::volume::{Volume, VolumeId};
use crate::xml::Element;
use crate::{Connection, Error};

/// The same file as a volume of another pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// Its names there.
    pub volume: VolumeId,
    /// Its path there.
    pub path: String,
}

impl Connection {
    /// The volumes of other active pools that are, as far as can be told, the file of this one. One call for each pool, and three for each
    /// volume of the same name. Two files of one name, size and moment of change count as one: who asks wants to be sure of the contrary.
    pub fn twins(&self, pool: &str, name: &str) -> Result<Vec<Twin>, Error> {
        let Some(own) = self.find_pool_by_name(pool)? else { return Ok(Vec::new()) };
        let Some(volume) = own.find_volume(name)? else { return Ok(Vec::new()) };
        let mut twins = Vec::new();
        for other in self.list_pools(Listing::Active)? {
            let called = other.name()?;
            if called == pool {
                continue;
            }
            let Some(there) = other.while_active(other.find_volume(name))?.flatten() else { continue };
            // A guest may be writing: what is seen in between was seen of one file only if it lies between.
            let looks = [Look::at(&volume)?, other.while_active(Look::at(&there))?.flatten(), Look::at(&volume)?];
            if let [Some(before), Some(seen), Some(after)] = looks
                && seen.is_between(&before, &after)
                && let Some(path) = other.while_active(there.path())?
            {
                twins.push(Twin { volume: VolumeId { pool: called, name: name.to_owned() }, path });
            }
        }
        Ok(twins)
    }
}

/// What tells a file apart.
struct Look {
    /// In bytes.
    capacity: u64,
    /// When it last changed, in seconds and nanoseconds.
    changed: (u64, u32),
}

impl Look {
    /// None where the file has gone, or where the pool's kind tells no times.
    fn at(volume: &Volume<'_>) -> Result<Option<Self>, Error> {
        let Some(text) = absent(volume.describe())? else { return Ok(None) };
        let description = Element::parse(&text)
            .map_err(|error| Error::other(format!("cannot read a volume's description from the host: {error}")))?;
        Ok(Self::of(&description))
    }

    fn of(description: &Element) -> Option<Self> {
        let capacity = description.text_at("capacity")?.parse().ok()?;
        Some(Self { capacity, changed: moment(description.text_at("target/timestamps/ctime")?)? })
    }

    fn is_between(&self, before: &Self, after: &Self) -> bool {
        (before.capacity..=after.capacity).contains(&self.capacity)
            && (before.changed..=after.changed).contains(&self.changed)
    }
}

/// A time as libvirt writes it: `1700000000.123456789`, or whole seconds.
fn moment(text: &str) -> Option<(u64, u32)> {
    let (seconds, fraction) = text.trim().split_once('.').unwrap_or_else(|| (text.trim(), "0"));
    Some((seconds.parse().ok()?, fraction.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(capacity: u64, ctime: &str) -> Look {
        let text = format!(
            "<volume><capacity unit='bytes'>{capacity}</capacity><target><timestamps><mtime>1.1</mtime><ctime>{ctime}</ctime>\
             </timestamps></target></volume>"
        );
        Look::of(&Element::parse(&text).unwrap()).unwrap()
    }

    #[test]
    fn a_file_is_the_same_if_it_did_not_change_or_changed_in_between() {
        let table = [
            ((8, "5.000000007"), (8, "5.000000007"), (8, "5.000000007"), true),
            ((8, "5.000000007"), (8, "5.000000008"), (8, "5.000000007"), false),
            ((8, "5.000000007"), (9, "5.000000007"), (8, "5.000000007"), false),
            ((8, "5.900000000"), (8, "6.100000000"), (8, "6.200000000"), true),
            ((8, "5"), (8, "5"), (8, "5"), true),
            ((8, "5"), (9, "6"), (9, "7"), true),
        ];
        for (before, seen, after, is_same) in table {
            let look = |(capacity, ctime)| look(capacity, ctime);
            assert_eq!(look(seen).is_between(&look(before), &look(after)), is_same, "{before:?} {seen:?} {after:?}");
        }
        for text in [
            "<volume><capacity>1</capacity></volume>",
            "<volume><target><timestamps><ctime>x</ctime></timestamps></target></volume>",
        ] {
            assert!(Look::of(&Element::parse(text).unwrap()).is_none(), "{text}");
        }
    }
}
