//! Disks that a guest is to get, against what the host itself says of who has them: guests that others made are no objects, and a guest
//! that was taken over may have a disk already that is said otherwise.

use std::collections::HashSet;

use anyhow::{Context, bail};
use apis::{
    Domain, Managed,
    domain::{Disk, DiskDevice},
};
use libvirt::{Connection, DiskSource, DiskUser, xml::Element};
use managed::external::Refusal;

use super::{Surroundings, claim};
use crate::storage::is_same_path;

/// A guest that is to get disks.
pub(super) struct Guest<'a> {
    /// Its UUID on the host.
    pub(super) uuid: &'a str,
    /// Its object.
    pub(super) object: &'a Domain,
    /// What that refers to.
    pub(super) around: &'a Surroundings,
    /// The UUIDs of all guests that objects manage: of them it is known without asking.
    pub(super) managed: &'a HashSet<String>,
}

/// Whether a disk would be taken from a guest that was saved with it, or exchanged: it goes on with that disk, so nobody else may have it
/// before.
pub(super) fn would_leave_saved(
    domain: &libvirt::Domain<'_>,
    base: &Element,
    wished: &Element,
) -> Result<bool, libvirt::Error> {
    let sources = |description: &Element| -> HashSet<String> {
        let disks = description.find_all("devices/disk");
        disks.into_iter().filter_map(|disk| disk.find("source")?.write().ok()).collect()
    };
    let kept = sources(wished);
    let leaves = sources(base).iter().any(|source| !kept.contains(source));
    Ok(domain.id().is_none() && leaves && domain.has_managed_save()?)
}

/// What is said of it.
pub(super) fn saved() -> Refusal {
    let message = "the guest was saved with the disks that it has, and goes on with them: start it before one is taken from it or exchanged, \
                   or drop what was saved with virsh managedsave-remove";
    Refusal { reason: "Saved", message: message.to_owned() }
}

impl Guest<'_> {
    /// Fails when a disk that is to be plugged in is what the guest has already, or what a guest of others has.
    pub(super) fn check_attach(&self, host: &Connection, definition: &Element) -> anyhow::Result<()> {
        let disks = self.object.parameters().disks.iter().flatten();
        let new = claim::new_disks(self.object, self.around, definition);
        self.check(host, disks.filter(|disk| new.contains(&disk.name.0)).collect())
    }

    /// The same for all disks of a guest that is made with these fields.
    pub(super) fn check_make(&self, host: &Connection, whole: &Domain) -> anyhow::Result<()> {
        let disks = whole.parameters().disks.iter().flatten();
        self.check(host, disks.filter(|disk| disk.device != Some(DiskDevice::Cdrom)).collect())
    }

    fn check(&self, host: &Connection, new: Vec<&Disk>) -> anyhow::Result<()> {
        let has_medium = |disk: &&Disk| self.around.media.contains_key(&disk.name.0);
        let new: Vec<&Disk> = new.into_iter().filter(has_medium).collect();
        if new.is_empty() {
            return Ok(());
        }
        let is_asked = |uuid: &str| uuid == self.uuid || !self.managed.contains(uuid);
        let users = host.disk_users_of(is_asked).context("look up who uses which disk")?;
        new.into_iter().try_for_each(|disk| self.check_one(&users, disk))
    }

    fn check_one(&self, users: &[DiskUser], disk: &Disk) -> anyhow::Result<()> {
        let Some(medium) = self.around.media.get(&disk.name.0) else { return Ok(()) };
        let is_it =
            |user: &&DiskUser| matches!(&user.source, DiskSource::Path(path) if is_same_path(path, &medium.path));
        let (name, path) = (&disk.name, &medium.path);
        // What the guest itself was saved with it may get again.
        let users = || users.iter().filter(|user| !user.saved || user.uuid != self.uuid);
        match users().find(is_it) {
            Some(user) if user.uuid == self.uuid => bail!(
                "disk {name} of spec.forProvider.disks is {path}, which the guest has already as one of its disks or below one; name it as that disk's target, or take it out"
            ),
            Some(user) if user.saved => bail!(
                "disk {name} is {path}, which domain {} of the host was saved with: it goes on with it, and two guests that write to one disk destroy it. Start that one first, or drop what was saved with virsh managedsave-remove",
                user.domain
            ),
            Some(user) if disk.read_only != Some(true) => bail!(
                "disk {name} is {path}, which domain {} of the host has, which no object manages: two guests that write to one disk destroy it. Take it out there, or give this guest a volume of its own",
                user.domain
            ),
            Some(_) | None => Ok(()),
        }
    }
}
