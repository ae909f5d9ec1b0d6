//! Who writes to a volume, or has something written elsewhere that belongs to it.

use std::path::Path;

use libvirt::{Connection, Running, VolumeId, is_named_after, xml::Element};

use crate::storage::{device::Device, is_same_path};

/// What a running guest does with a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It may write to it.
    Written {
        /// The guest.
        domain: String,
        /// Where that is not known for sure: how it has it.
        how: String,
    },
    /// It writes to a snapshot that was made of it.
    Snapshot {
        /// The guest.
        domain: String,
        /// Where the snapshot is.
        path: String,
    },
}

/// A running domain that may write to a volume, by whatever name or path it has it, as a disk or as what a disk is copied to; or to a
/// snapshot of it.
pub(super) fn writer(
    host: &Connection,
    volume: &VolumeId,
    path: &str,
    is_known: impl Fn(&str) -> bool,
) -> anyhow::Result<Option<Use>> {
    let VolumeId { pool, name } = volume;
    let twins = host.twins(pool, name)?;
    let device = Device::find(host, pool, name, path)?;
    let is_path = |used: &str| is_same_path(used, path) || twins.iter().any(|twin| is_same_path(used, &twin.path));
    let is_named = |of: &str| of == pool || twins.iter().any(|twin| twin.volume.pool == of);
    let is_it = |layer: &Layer| match layer {
        Layer::Path(used) => is_path(used),
        Layer::Volume { pool, name: called } => called == name && is_named(pool),
    };
    for Running { domain, live } in host.running()? {
        for disk in live.find_all("devices/disk").into_iter().filter(|disk| disk.find("readonly").is_none()) {
            let Disk { written, chain } = Disk::of(disk);
            if written.iter().any(is_it) {
                return Ok(Some(Use::Written { domain: domain.name()?, how: String::new() }));
            }
            for used in written.iter().filter_map(Layer::path) {
                let size = || Ok(domain.disk_size(used).ok());
                if let Some(how) =
                    device.as_ref().map(|device| device.is_had_as(host, used, &size)).transpose()?.flatten()
                {
                    return Ok(Some(Use::Written { domain: domain.name()?, how: format!(", {how}{used}") }));
                }
            }
            if let Some(path) = snapshot(&chain, is_it, |called| is_named_after(called, name) && !is_known(called)) {
                return Ok(Some(Use::Snapshot { domain: domain.name()?, path: path.to_owned() }));
            }
        }
    }
    Ok(None)
}

/// What of a chain stands right on the volume and is named as libvirt names snapshots of it. What others made to stand there is no snapshot:
/// a guest that runs on it leaves the volume as it is, and complete.
fn snapshot(chain: &[Layer], is_it: impl Fn(&Layer) -> bool, is_named: impl Fn(&str) -> bool) -> Option<&str> {
    chain.windows(2).find_map(|pair| {
        let [above, below] = pair else { return None };
        let path = above.path().filter(|_| is_it(below))?;
        let called = Path::new(path).file_name()?.to_str()?;
        is_named(called).then_some(path)
    })
}

/// What a running guest has as a disk.
#[derive(Debug, Default, PartialEq, Eq)]
struct Disk {
    /// What is written to: the disk, and what it is copied or committed to.
    written: Vec<Layer>,
    /// The disk and what it stands on, from the top.
    chain: Vec<Layer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Layer {
    Path(String),
    Volume { pool: String, name: String },
}

impl Layer {
    fn of(element: &Element) -> Option<Self> {
        let at = |place: &str| element.attr_at(place).map(str::to_owned);
        if let Some(path) = at("source@file").or_else(|| at("source@dev")) {
            return Some(Self::Path(path));
        }
        Some(Self::Volume { pool: at("source@pool")?, name: at("source@volume")? })
    }

    fn path(&self) -> Option<&str> {
        match self {
            Self::Path(path) => Some(path),
            Self::Volume { .. } => None,
        }
    }
}

impl Disk {
    fn of(disk: &Element) -> Self {
        let top = Layer::of(disk);
        let mirror = disk.find("mirror").and_then(Layer::of);
        let written = top.clone().into_iter().chain(mirror).collect();
        let (mut chain, mut next) = (Vec::from_iter(top), disk.find("backingStore"));
        while let Some(store) = next {
            chain.extend(Layer::of(store));
            next = store.find("backingStore");
        }
        Self { written, chain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(inner: &str) -> Disk {
        Disk::of(&Element::parse(&format!("<disk type='file'>{inner}</disk>")).unwrap())
    }

    fn path(path: &str) -> Layer {
        Layer::Path(path.to_owned())
    }

    #[test]
    fn what_a_disk_is_copied_to_is_written_to_and_what_it_stands_on_is_not() {
        let copied =
            disk("<source file='/p/a'/><backingStore/><mirror type='file' job='copy'><source file='/p/b'/></mirror>");
        assert_eq!(copied, Disk { written: vec![path("/p/a"), path("/p/b")], chain: vec![path("/p/a")] });
        let above = disk(
            "<source file='/p/a'/><backingStore type='block'><source dev='/dev/v/b'/><backingStore><source file='/p/c'/></backingStore></backingStore>",
        );
        let chain = ["/p/a", "/dev/v/b", "/p/c"].map(path).to_vec();
        assert_eq!(above, Disk { written: vec![path("/p/a")], chain });
        let named = Layer::Volume { pool: "p".to_owned(), name: "v".to_owned() };
        assert_eq!(disk("<source pool='p' volume='v'/>"), Disk { written: vec![named.clone()], chain: vec![named] });
        assert_eq!(disk("<target dev='sda'/>"), Disk::default());
    }

    #[test]
    fn a_snapshot_is_told_from_what_was_made_to_stand_on_a_volume() {
        let of = |paths: &[&str]| {
            let chain: Vec<Layer> = paths.iter().map(|name| path(name)).collect();
            let is_named = |name: &str| is_named_after(name, "root") && name != "root.web";
            snapshot(&chain, |layer| *layer == path("/p/root"), is_named).map(str::to_owned)
        };
        assert_eq!(of(&["/p/root.s2", "/p/root.s1", "/p/root"]), Some("/p/root.s1".to_owned()));
        assert_eq!(
            [of(&["/p/clone", "/p/root"]), of(&["/p/root"]), of(&["/p/root.s1", "/p/other"])],
            [None, None, None]
        );
    }
}
