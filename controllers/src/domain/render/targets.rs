//! Which device names disks get: pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use apis::domain::{Disk, DiskBus, DomainParameters};
use libvirt::xml::Element;

use super::{DISK, disks::bus};

/// What the names of a bus begin with.
pub(super) fn prefix(bus: DiskBus) -> &'static str {
    match bus {
        DiskBus::Virtio => "vd",
        DiskBus::Scsi | DiskBus::Sata | DiskBus::Usb => "sd",
        DiskBus::Ide => "hd",
    }
}

/// Which device names are taken, and by which of our disks.
pub(super) struct Targets {
    /// What the spec says, by alias.
    said: BTreeMap<String, String>,
    /// What our disks have, by alias.
    ours: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl Targets {
    /// Fails when a name that is said is another disk's, which would have to give it up.
    pub(super) fn of(
        base: Option<&Element>,
        parameters: &DomainParameters,
        taken: &BTreeSet<String>,
    ) -> anyhow::Result<Self> {
        let mut targets = Self { said: BTreeMap::new(), ours: BTreeMap::new(), taken: taken.clone() };
        let disks = || parameters.disks.iter().flatten();
        for (disk, target) in disks().filter_map(|disk| Some((disk, disk.target.as_ref()?))) {
            targets.say(disk, target)?;
        }
        for device in base.map(|base| base.find_all("devices/disk")).unwrap_or_default() {
            let Some(target) = device.attr_at("target@dev") else { continue };
            let alias = device.attr_at("alias@name").unwrap_or_default();
            let moves = targets.said.get(alias).is_some_and(|said| said != target);
            // One of ours that the spec has no more goes, and its name is free.
            let goes = alias.starts_with(DISK) && disks().all(|disk| alias_of(disk) != alias);
            let wanted = targets.said.iter().find(|(other, said)| *said == target && *other != alias);
            if let Some((other, _)) = wanted.filter(|_| !moves && !goes) {
                let whose = alias
                    .strip_prefix(DISK)
                    .map_or_else(|| "another disk of the guest".to_owned(), |name| format!("disk {name}"));
                let disk = other.strip_prefix(DISK).unwrap_or(other);
                anyhow::bail!(
                    "disks {disk}: target {target} is that of {whose}; say another one, or one for that disk too"
                );
            }
            targets.taken.insert(target.to_owned());
            if !alias.is_empty() {
                targets.ours.insert(alias.to_owned(), target.to_owned());
            }
        }
        targets.taken.extend(targets.said.values().cloned());
        Ok(targets)
    }

    fn say(&mut self, disk: &Disk, target: &str) -> anyhow::Result<()> {
        let (name, begin) = (&disk.name, prefix(bus(disk)));
        ensure!(
            target.starts_with(begin),
            "disks {name}: target {target} does not begin with {begin}, as its bus wants"
        );
        let twice = self.said.iter().find(|(_, said)| *said == target);
        ensure!(twice.is_none(), "disks {name}: target {target} is said of two disks");
        self.said.insert(alias_of(disk), target.to_owned());
        Ok(())
    }

    /// What is said counts; else a disk keeps its name for as long as its bus allows, and a new one gets the first free.
    pub(super) fn target(&mut self, alias: &str, prefix: &str) -> anyhow::Result<String> {
        if let Some(target) = self.said.get(alias).or_else(|| self.kept(alias, prefix)) {
            return Ok(target.clone());
        }
        let free = ('a'..='z').map(|letter| format!("{prefix}{letter}")).find(|target| !self.taken.contains(target));
        let target = free.with_context(|| format!("no name is free for {alias}: 26 disks on one bus are the most"))?;
        self.taken.insert(target.clone());
        Ok(target)
    }

    fn kept(&self, alias: &str, prefix: &str) -> Option<&String> {
        self.ours.get(alias).filter(|target| target.starts_with(prefix))
    }
}

fn alias_of(disk: &Disk) -> String {
    format!("{DISK}{}", disk.name)
}
