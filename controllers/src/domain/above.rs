//! What stands on the data that a guest is made with: a snapshot that others took of a guest before it. The guest would see nothing of what
//! was written since, and its first write would destroy that.

use anyhow::Context as _;
use apis::{Domain, Managed, domain::DiskDevice};
use libvirt::{Connection, VolumeId};
use managed::external::{Pass, Refusal};

use super::{Domains, Surroundings};
use crate::storage;

impl Domains {
    /// Fails when a disk that the guest would write to has a snapshot on it.
    pub(super) async fn check_above(
        &self,
        pass: &Pass<'_, Self>,
        whole: &Domain,
        around: &Surroundings,
    ) -> anyhow::Result<()> {
        let disks = whole.parameters().disks.iter().flatten();
        for disk in disks.filter(|disk| disk.device != Some(DiskDevice::Cdrom) && disk.read_only != Some(true)) {
            let Some(path) = around.media.get(&disk.name.0).map(|medium| medium.path.clone()) else { continue };
            let at = path.clone();
            let volume = pass.host.short(&path, move |host| host.volume_at(&at)).await.context("look up volume")?;
            let Some(volume) = volume else { continue };
            if let Some(above) = snapshot_of(pass, &volume, &path).await? {
                let (name, VolumeId { pool, name: below }) = (&disk.name, &volume);
                let message = format!(
                    "disks[{name}]: volume {above} of pool {pool} stands on {below}: it looks like a snapshot of a guest that had it, with all \
                     that was written since. This guest would see none of that and destroy it. Merge it with qemu-img commit and remove it, or \
                     remove it with virsh vol-delete {above} --pool {pool} if it is of no use"
                );
                return Err(Refusal { reason: "SnapshotPresent", message }.into());
            }
        }
        Ok(())
    }
}

/// The first volume of the pool that is named as libvirt names snapshots of this one, and that stands on it. Somebody may have taken it
/// after the pool was looked through; that is done again unless the pool has other work.
async fn snapshot_of(pass: &Pass<'_, Domains>, volume: &VolumeId, path: &str) -> anyhow::Result<Option<String>> {
    storage::look_around(pass.host, &volume.pool).await?;
    let (volume, path) = (volume.clone(), path.to_owned());
    let look = move |host: &Connection| host.snapshot_of(&volume, &path);
    pass.host.short(pass.object.uid(), look).await.context("look for snapshots of a disk")
}
