//! Who uses which files: asked before something is deleted, since libvirt itself deletes what a guest has open.

use crate::counters::Call;
use crate::domain::Description;
use crate::error::absent;
use crate::pool::Listing;
use crate::sys::block_physical;
use crate::volume::VolumeId;
use crate::xml::Element;
use crate::{Connection, Error};

/// A file, device or volume that a domain refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DiskSource {
    /// A path on the host.
    Path(String),
    /// A volume by pool and name.
    Volume {
        /// The pool's name.
        pool: String,
        /// The volume's name.
        name: String,
    },
}

/// A domain and one thing it uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiskUser {
    /// The domain's name.
    pub domain: String,
    /// The domain's UUID.
    pub uuid: String,
    /// What it uses.
    pub source: DiskSource,
    /// It was saved with it, and goes on with it.
    pub saved: bool,
}

/// A volume that stands on another file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Backing {
    /// The pool's name.
    pub pool: String,
    /// The volume's name.
    pub volume: String,
    /// The file it stands on.
    pub path: String,
}

/// A domain that is running, as it is now.
pub struct Running<'c> {
    /// The domain.
    pub domain: crate::Domain<'c>,
    /// Its description, the running one.
    pub live: Element,
}

impl Connection {
    /// Every running domain with its description. One list, and one call for each domain.
    pub fn running(&self) -> Result<Vec<Running<'_>>, Error> {
        let mut running = Vec::new();
        for listed in self.list_domains()?.into_iter().filter(|listed| listed.domain.id().is_some()) {
            // A guest that has gone meanwhile uses nothing.
            let Some(text) = absent(listed.domain.describe(Description::Live))? else { continue };
            running.push(Running { live: parse(&text)?, domain: listed.domain });
        }
        Ok(running)
    }

    /// What every domain of the host uses, running and at its next boot: disks with the backing chains that libvirt knows,
    /// copies in progress, firmware, kernels, files that the firmware tells; and what one was saved with. Sorted, each once. Two calls for each domain, one more for each
    /// that is off, and three for each disk that names a volume.
    ///
    /// The chain of a guest that is not running is known from its volumes only: see [`Connection::backings`].
    pub fn disk_users(&self) -> Result<Vec<DiskUser>, Error> {
        self.disk_users_of(|_| true)
    }

    /// The same of the domains whose UUID is asked for. Of the others only what they were saved with: the running cost no call.
    pub fn disk_users_of(&self, is_asked: impl Fn(&str) -> bool) -> Result<Vec<DiskUser>, Error> {
        let mut users = Vec::new();
        for listed in self.list_domains()? {
            let (domain, uuid) = (listed.domain.name()?, listed.domain.uuid()?);
            let user = |source, saved| DiskUser { domain: domain.clone(), uuid: uuid.clone(), source, saved };
            let image = if listed.domain.id().is_none() { listed.domain.describe_saved()? } else { None };
            let saved = image.as_deref().map(parse).transpose()?;
            users.extend(saved.iter().flat_map(sources).map(|source| user(source, true)));
            if !is_asked(&uuid) {
                continue;
            }
            for which in [Description::Inactive, Description::Live] {
                // A domain that has gone meanwhile uses nothing.
                let Some(text) = absent(listed.domain.describe(which))? else { continue };
                users.extend(sources(&parse(&text)?).into_iter().map(|source| user(source, false)));
            }
        }
        // A volume that is named through one pool may be a file of another.
        let paths: Vec<DiskUser> = users.iter().filter_map(|user| self.by_path(user)).collect();
        users.extend(paths);
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// The same user by the path of the volume it names. A pool that does not run has no paths to tell.
    fn by_path(&self, user: &DiskUser) -> Option<DiskUser> {
        let DiskSource::Volume { pool, name } = &user.source else { return None };
        let path = self.find_pool_by_name(pool).ok()??.find_volume(name).ok()??.path().ok()?;
        Some(DiskUser { source: DiskSource::Path(path), ..user.clone() })
    }

    /// The first volume of its pool that is named as libvirt names external snapshots of this one, which is at this path, and that stands
    /// on it. One list, and one description for each that is named so.
    pub fn snapshot_of(&self, volume: &VolumeId, path: &str) -> Result<Option<String>, Error> {
        self.snapshot_but(volume, path, |_| false)
    }

    /// The same of what is not known by its name to be something else.
    pub fn snapshot_but(
        &self,
        volume: &VolumeId,
        path: &str,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Option<String>, Error> {
        let Some(pool) = self.find_pool_by_name(&volume.pool)? else { return Ok(None) };
        for other in absent(pool.volumes())?.unwrap_or_default() {
            let name = other.name()?;
            if !is_named_after(&name, &volume.name) || is_known(&name) {
                continue;
            }
            let Some(text) = absent(other.describe())? else { continue };
            if parse(&text)?.text_at("backingStore/path") == Some(path) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Which volumes of the active pools stand on other files. One list for each pool and one description for each volume.
    pub fn backings(&self) -> Result<Vec<Backing>, Error> {
        let mut backings = Vec::new();
        for pool in self.list_pools(Listing::Active)? {
            for volume in pool.while_active(pool.volumes())?.unwrap_or_default() {
                let Some(text) = pool.while_active(volume.describe())? else { continue };
                if let Some(path) = parse(&text)?.text_at("backingStore/path") {
                    let (pool, volume, path) = (pool.name()?, volume.name()?, path.to_owned());
                    backings.push(Backing { pool, volume, path });
                }
            }
        }
        backings.sort();
        Ok(backings)
    }
}

impl crate::Domain<'_> {
    /// How many bytes the file or device of a disk holds on the host, by the disk's target or path. Also of a domain that is off.
    pub fn disk_size(&self, disk: &str) -> Result<u64, Error> {
        self.counted(Call::DomainBlockInfo, |domain| block_physical(domain, disk))
    }
}

/// Whether libvirt would name a snapshot so: what is behind the last point of the volume's name gives way to the snapshot's.
pub fn is_named_after(name: &str, volume: &str) -> bool {
    let stem = volume.rsplit_once('.').map_or(volume, |(stem, _)| stem);
    name != volume && name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))
}

fn parse(text: &str) -> Result<Element, Error> {
    Element::parse(text).map_err(|error| Error::other(format!("cannot read a description from the host: {error}")))
}

fn sources(domain: &Element) -> Vec<DiskSource> {
    const FILES: [&str; 5] = ["os/kernel", "os/initrd", "os/loader", "os/nvram", "os/dtb"];
    let files = FILES.iter().filter_map(|path| domain.text_at(path)).filter(|path| !path.is_empty());
    let mut found: Vec<DiskSource> = files.map(|path| DiskSource::Path(path.to_owned())).collect();
    let told = domain.find_all("sysinfo/entry").into_iter().filter_map(|entry| entry.get("file"));
    found.extend(told.map(|path| DiskSource::Path(path.to_owned())));
    for disk in domain.find_all("devices/disk") {
        collect(disk, &mut found);
    }
    found
}

/// Every `source` below a disk: its own, its backing stores', its mirror's.
fn collect(element: &Element, found: &mut Vec<DiskSource>) {
    for child in element.elements() {
        if child.name == "source" {
            let paths = ["file", "dev", "dir"].iter().filter_map(|name| child.get(name));
            found.extend(paths.map(|path| DiskSource::Path(path.to_owned())));
            if let (Some(pool), Some(name)) = (child.get("pool"), child.get("volume")) {
                found.push(DiskSource::Volume { pool: pool.to_owned(), name: name.to_owned() });
            }
        }
        collect(child, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_told_by_its_name() {
        for (name, volume) in [("root.s1", "root"), ("disk.s1", "disk.qcow2"), ("a.b.s1", "a.b.img")] {
            assert!(is_named_after(name, volume), "{name} of {volume}");
        }
        for (name, volume) in
            [("root", "root"), ("rooted.s1", "root"), ("disk.qcow2", "disk.qcow2"), ("other.s1", "root")]
        {
            assert!(!is_named_after(name, volume), "{name} of {volume}");
        }
    }

    #[test]
    fn every_file_of_a_domain_is_found_down_its_backing_chain() {
        let text = "<domain><sysinfo type='fwcfg'><entry name='a' file='/f'/><entry name='b'>/text</entry></sysinfo><os><kernel>/k</kernel><nvram>/n</nvram></os><devices>\
            <disk><source file='/top'/><backingStore><source file='/mid'/><backingStore><source dev='/base'/></backingStore>\
            </backingStore><mirror><source file='/copy'/></mirror></disk>\
            <disk><source pool='p' volume='v'/></disk><disk device='cdrom'/></devices></domain>";
        let path = |path: &str| DiskSource::Path(path.to_owned());
        let volume = DiskSource::Volume { pool: "p".into(), name: "v".into() };
        let expected =
            [path("/k"), path("/n"), path("/f"), path("/top"), path("/mid"), path("/base"), path("/copy"), volume];
        assert_eq!(sources(&parse(text).unwrap()), expected);
    }
}
