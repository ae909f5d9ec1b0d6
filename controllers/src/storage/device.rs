//! Volumes that are devices of the host, which have several names: `/dev/vg0/data` is `/dev/mapper/vg0-data`, `/dev/dm-3` and more.
//!
//! Where a name leads only the host knows, and libvirt tells it only where the volumes of a pool are named by `/dev/disk/…`
//! (`virStorageBackendStablePath`). What LVM calls a volume is known by its rule. Of the rest, what has another size is another device,
//! and what has the same may be it.

use std::path::Path;

use libvirt::{Backing, Connection, DiskSource, DiskUser, VolumeId, absent, xml::Element};

use super::{plain_path, used::stands_on};

/// A volume that is a device.
#[derive(Clone, Debug)]
pub struct Device {
    /// The name of its pool.
    pool: String,
    name: String,
    path: String,
    /// What libvirt knows it by for ever: of a logical volume LVM's UUID.
    key: String,
    /// In bytes.
    size: u64,
    is_logical: bool,
    /// The names of the other logical volumes of its pool that begin with its own.
    others: Vec<String>,
}

/// Where the name of a device leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leads {
    /// To the volume.
    There,
    Elsewhere,
    /// Nobody tells.
    Unknown,
}

impl Device {
    /// The volume at a path, if it is a device.
    pub fn find(host: &Connection, pool: &str, name: &str, path: &str) -> anyhow::Result<Option<Self>> {
        if !is_device(path) {
            return Ok(None);
        }
        let Some(found) = host.find_pool_by_name(pool)? else { return Ok(None) };
        let Some(volume) = found.find_volume(name)? else { return Ok(None) };
        let Some(text) = absent(volume.describe())? else { return Ok(None) };
        if Element::parse(&text)?.get("type") != Some("block") {
            return Ok(None);
        }
        let is_logical = found.type_()? == "logical";
        let mut others = Vec::new();
        if is_logical {
            for other in absent(found.volumes())?.unwrap_or_default() {
                others.push(other.name()?);
            }
            others.retain(|other| other != name && other.starts_with(name));
        }
        Ok(Some(Self {
            pool: pool.to_owned(),
            name: name.to_owned(),
            path: path.to_owned(),
            key: volume.key()?,
            size: volume.info()?.capacity,
            is_logical,
            others,
        }))
    }

    /// Whether a guest that has a device by this name has this one, or may have it: how, before the name.
    pub fn is_had_as(
        &self,
        host: &Connection,
        used: &str,
        size: &dyn Fn() -> anyhow::Result<Option<u64>>,
    ) -> anyhow::Result<Option<&'static str>> {
        Ok(match led_to(host, std::slice::from_ref(self), used, size)? {
            Leads::There => Some("which has it as "),
            Leads::Unknown => Some(PERHAPS),
            Leads::Elsewhere => None,
        })
    }

    /// Where a name leads, as far as the name itself tells, and libvirt, by which it is the volume `found`.
    fn reached_by(&self, used: &str, found: Option<&VolumeId>) -> Leads {
        let used = plain_path(used);
        if used == plain_path(&self.path) {
            return Leads::There;
        }
        let names = Names::of(&used);
        match (self.is_logical, names) {
            (true, Names::Mapped(mapped)) => return here(self.is_mapped_as(mapped)),
            (true, Names::Logical(uuid)) => return here(self.key.replace('-', "") == uuid),
            (true, Names::Disk | Names::Other) | (false, _) => {}
        }
        if let Some(VolumeId { pool, name }) = found {
            if *pool == self.pool {
                return here(*name == self.name);
            }
            // What another pool lists by a name of the device mapper's may be anything.
            if !matches!(names, Names::Mapped(_) | Names::Logical(_)) && !is_numbered(&used) {
                return Leads::Elsewhere;
            }
        }
        match (self.is_logical, names) {
            (true, Names::Disk) => Leads::Elsewhere,
            // What the kernel itself calls a device, it calls no other.
            (false, _) if is_of_the_kernel(&used) && is_of_the_kernel(&plain_path(&self.path)) => Leads::Elsewhere,
            (_, Names::Mapped(_) | Names::Logical(_) | Names::Disk | Names::Other) => Leads::Unknown,
        }
    }

    /// Whether the device mapper calls it so, or a partition in it: kpartx puts a number behind the name, with `p` or `-part` before it or,
    /// where that is not a digit, nothing.
    fn is_mapped_as(&self, mapped: &str) -> bool {
        let Some(rest) = mapped_name(&self.path).and_then(|own| mapped.strip_prefix(&*own)) else { return false };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_part = rest.strip_prefix("-part").is_some_and(is_number);
        let may_be_part = is_number(rest.strip_prefix('p').unwrap_or(rest));
        // Another logical volume may be called so too.
        rest.is_empty()
            || is_part
            || (may_be_part && !self.others.iter().any(|other| *other == format!("{}{rest}", self.name)))
    }
}

/// Whether the name of a device is its number alone: `/dev/dm-3`.
fn is_numbered(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with("/dev/dm-"))
}

fn here(is_it: bool) -> Leads {
    if is_it { Leads::There } else { Leads::Elsewhere }
}

/// What a name says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names<'a> {
    /// What the device mapper calls it.
    Mapped(&'a str),
    /// The UUID that LVM gave it.
    Logical(&'a str),
    /// A disk or a part of one, and nothing that is made of disks.
    Disk,
    Other,
}

impl<'a> Names<'a> {
    fn of(path: &'a Path) -> Self {
        /// What the kernel calls disks, and what udev calls them by their bus.
        const KERNEL: [&str; 9] = ["sd", "vd", "xvd", "hd", "nvme", "mmcblk", "nbd", "sr", "loop"];
        const BUSES: [&str; 7] = ["ata-", "nvme-", "scsi-", "usb-", "virtio-", "wwn-", "mmc-"];
        /// The length of the UUID of a volume group, which stands before that of the volume.
        const GROUP: usize = 32;
        let Some(name) = path.to_str().and_then(|path| path.strip_prefix("/dev/")) else { return Self::Other };
        if let Some(id) = name.strip_prefix("disk/by-id/") {
            // What kpartx makes of a part of it begins with that, as `part1-`.
            let id =
                id.strip_prefix("dm-uuid-part").and_then(|part| part.split_once('-')).map_or(id, |(_, whole)| whole);
            let uuid = id.trim_start_matches("dm-uuid-").strip_prefix("LVM-").and_then(|uuids| uuids.get(GROUP..));
            return match (id.strip_prefix("dm-name-"), uuid) {
                (Some(mapped), _) => Self::Mapped(mapped),
                (None, Some(uuid)) => Self::Logical(uuid),
                (None, None) if BUSES.iter().any(|bus| id.starts_with(bus)) => Self::Disk,
                (None, None) => Self::Other,
            };
        }
        match name.strip_prefix("mapper/") {
            Some(mapped) => Self::Mapped(mapped),
            None if name.starts_with("disk/by-path/") => Self::Disk,
            None if !name.contains('/') && KERNEL.iter().any(|disk| name.starts_with(disk)) => Self::Disk,
            None => Self::Other,
        }
    }
}

/// What the device mapper calls a logical volume: group and volume, with a dash between, and two for each dash of theirs.
fn mapped_name(path: &str) -> Option<String> {
    let plain = plain_path(path);
    let (group, volume) = plain.to_str()?.strip_prefix("/dev/")?.split_once('/')?;
    Some(format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--")))
}

fn is_of_the_kernel(path: &Path) -> bool {
    path.parent() == Some(Path::new("/dev"))
}

/// Whether a path is one of a device.
fn is_device(path: &str) -> bool {
    let path = plain_path(path);
    path.starts_with("/dev") && !path.starts_with("/dev/shm")
}

/// Before the path of a device that may be the volume.
const PERHAPS: &str =
    "as far as can be told: which device that one has is not known, so name it there as its pool does; now it is ";

/// Who on the host uses one of these devices, by whatever name, or may use it as far as can be told.
pub fn user(
    host: &Connection,
    devices: &[Device],
    users: &[DiskUser],
    backings: &[Backing],
) -> anyhow::Result<Option<String>> {
    for user in users {
        let DiskSource::Path(path) = &user.source else { continue };
        let size = || Ok(host.find_domain(&user.uuid)?.and_then(|domain| domain.disk_size(path).ok()));
        let who = |how: &str| format!("domain {} on the host, {how}{path}", user.domain);
        match led_to(host, devices, path, &size)? {
            Leads::There => return Ok(Some(who("which has it as "))),
            Leads::Unknown => return Ok(Some(who(PERHAPS))),
            Leads::Elsewhere => {}
        }
    }
    for above in backings {
        let Backing { pool, volume, path } = above;
        match led_to(host, devices, path, &|| Ok(None))? {
            Leads::There => return Ok(Some(stands_on(above))),
            Leads::Unknown => return Ok(Some(format!("volume {volume} in pool {pool}, {PERHAPS}{path}"))),
            Leads::Elsewhere => {}
        }
    }
    Ok(None)
}

/// Whether a path leads to one of the devices. What has another size than all of them leads elsewhere.
fn led_to(
    host: &Connection,
    devices: &[Device],
    path: &str,
    size: &dyn Fn() -> anyhow::Result<Option<u64>>,
) -> anyhow::Result<Leads> {
    if !is_device(path) || devices.is_empty() {
        return Ok(Leads::Elsewhere);
    }
    let found = host.volume_at(path)?;
    let mut unknown = Vec::new();
    for device in devices {
        match device.reached_by(path, found.as_ref()) {
            Leads::There => return Ok(Leads::There),
            Leads::Elsewhere => {}
            Leads::Unknown => unknown.push(device.size),
        }
    }
    if unknown.is_empty() {
        return Ok(Leads::Elsewhere);
    }
    let may_be = size()?.is_none_or(|size| size == 0 || unknown.contains(&size));
    Ok(if may_be { Leads::Unknown } else { Leads::Elsewhere })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, is_logical: bool) -> Device {
        let (pool, name) = ("p".to_owned(), "v".to_owned());
        let others = vec!["data12".to_owned(), "datap3".to_owned()];
        Device { pool, name, path: path.to_owned(), key: "ab-cd".to_owned(), size: 1, is_logical, others }
    }

    #[test]
    fn a_logical_volume_is_known_by_each_name_that_lvm_gives_it_and_told_from_disks() {
        let group = "G".repeat(32);
        let there = ["/dev/vg-0/a", "/dev//vg-0/a", "/dev/mapper/vg--0-a", "/dev/disk/by-id/dm-name-vg--0-a"];
        let elsewhere = [
            "/dev/mapper/vg--0-b",
            "/dev/mapper/vg-0--a",
            "/dev/disk/by-id/dm-name-vg--0-b",
            "/dev/disk/by-id/ata-disk",
            "/dev/disk/by-path/pci-0000",
            "/dev/sda",
            "/dev/nvme0n1p2",
        ];
        let unknown = ["/dev/dm-3", "/dev/disk/by-uuid/x", "/dev/disk/by-id/lvm-pv-uuid-x", "/dev/other/a"];
        let volume = device("/dev/vg-0/a", true);
        let leads = |path: &str| volume.reached_by(path, None);
        assert_eq!(there.map(leads), [Leads::There; 4]);
        assert_eq!(elsewhere.map(leads), [Leads::Elsewhere; 7]);
        assert_eq!(unknown.map(leads), [Leads::Unknown; 4]);
        assert_eq!(leads(&format!("/dev/disk/by-id/dm-uuid-LVM-{group}abcd")), Leads::There);
        assert_eq!(leads(&format!("/dev/disk/by-id/dm-uuid-LVM-{group}abce")), Leads::Elsewhere);
    }

    #[test]
    fn what_another_pool_lists_is_told_by_lvms_rule_and_partitions_of_a_logical_volume_are_it() {
        let volume = Device { name: "data".to_owned(), ..device("/dev/vg/data", true) };
        let of_another = VolumeId { pool: "maps".to_owned(), name: "v".to_owned() };
        let leads = |path: &str| volume.reached_by(path, Some(&of_another));
        let group = "G".repeat(32);
        for name in ["data", "data1", "datap1", "data-part2", "data13"] {
            assert_eq!(leads(&format!("/dev/mapper/vg-{name}")), Leads::There, "{name}");
        }
        assert_eq!(leads(&format!("/dev/disk/by-id/dm-uuid-part1-LVM-{group}abcd")), Leads::There);
        // Others of the group are called so.
        for name in ["data12", "datap3", "data--part1", "data-real", "datapool", "dat"] {
            assert_eq!(leads(&format!("/dev/mapper/vg-{name}")), Leads::Elsewhere, "{name}");
        }
        assert_eq!(
            ["/dev/dm-3", "/dev/other/v", "/dev/sdb1"].map(leads),
            [Leads::Unknown, Leads::Elsewhere, Leads::Elsewhere]
        );
    }

    #[test]
    fn a_partition_is_told_from_what_the_kernel_calls_otherwise_and_known_by_what_libvirt_says() {
        let volume = device("/dev/sdb1", false);
        let leads = |path: &str| volume.reached_by(path, None);
        assert_eq!(["/dev/sdb1", "/dev/sdb2"].map(leads), [Leads::There, Leads::Elsewhere]);
        assert_eq!(["/dev/disk/by-id/ata-x-part1", "/dev/mapper/x1"].map(leads), [Leads::Unknown; 2]);
        let found = |name: &str| VolumeId { pool: "p".to_owned(), name: name.to_owned() };
        let said = |name: &str| volume.reached_by("/dev/disk/by-id/ata-x-part1", Some(&found(name)));
        assert_eq!([said("v"), said("w")], [Leads::There, Leads::Elsewhere]);
    }

    #[test]
    fn a_file_of_shared_memory_is_no_device() {
        assert_eq!(["/dev/sda", "/dev/shm/a", "/srv/a"].map(is_device), [true, false, false]);
    }
}
