//! A guest that was taken over gets none of its own disks a second time: it would write to one from two sides.

use anyhow::bail;
use apis::Domain;
use libvirt::{Connection, DiskSource, xml::Element};

use super::{Surroundings, claim};
use crate::storage::is_same_path;

/// Fails when a disk that is to be plugged in is what the guest has already: said there by pool and volume, or below an overlay.
pub(super) fn check(
    host: &Connection,
    uuid: &str,
    (object, around): (&Domain, &Surroundings),
    definition: &Element,
) -> anyhow::Result<()> {
    let new = claim::new_disks(object, around, definition);
    if new.is_empty() {
        return Ok(());
    }
    let own: Vec<_> = host.disk_users()?.into_iter().filter(|user| user.uuid == uuid).collect();
    for disk in new {
        let Some(medium) = around.media.get(&disk) else { continue };
        let is_it = |source: &DiskSource| matches!(source, DiskSource::Path(path) if is_same_path(path, &medium.path));
        if own.iter().any(|user| is_it(&user.source)) {
            bail!(
                "disk {disk} of spec.forProvider.disks is {}, which the guest has already as one of its disks or below one; name it as that disk's target, or take it out",
                medium.path
            );
        }
    }
    Ok(())
}
