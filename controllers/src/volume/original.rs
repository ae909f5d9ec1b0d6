//! The volume that another one becomes a copy of.

use anyhow::{Context, bail, ensure};
use apis::{
    Managed, Volume,
    quantity::Quantity,
    volume::{Format, VolumeType},
};
use libvirt::{Connection, VolumeId, VolumeInfo, is_named_after, xml::Element};
use managed::external::Refusal;

use super::{
    act::another_format,
    encryption,
    writer::{self, Use},
};
use crate::{
    cluster::{Cluster, placed},
    domain::resolve::{chain, place},
    hosts::Site,
    links::{Asker, Links},
    references::SOURCE,
    storage::{self, is_same_path, type_},
};

/// A volume to copy, as its object says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// Where it is.
    pub volume: VolumeId,
    /// Its format, from its spec and never from the pool.
    pub format: Format,
    /// The size that a guest sees, in bytes.
    pub capacity: u64,
    /// The paths of the volumes that it stands on, from the top.
    pub below: Vec<String>,
    /// The names in its pool that snapshots of it could have and other Volumes have.
    pub known: Vec<String>,
}

impl Original {
    /// The volume that an object is to become a copy of, once it is Ready.
    pub fn of(cluster: &Cluster, asker: &Asker<'_>, links: &Links) -> anyhow::Result<Option<Self>> {
        let Some(original) = links.find(&cluster.volumes, asker, SOURCE)? else { return Ok(None) };
        let (_, format) = place(&original)?;
        let below = chain(cluster, asker, &original)?.into_iter().map(|below| below.path).collect();
        let seen = original.observation();
        let named = seen.and_then(|seen| Some(VolumeId { pool: seen.pool.clone()?, name: seen.name.clone()? }));
        let volume =
            named.with_context(|| format!("waiting for Volume {}: it has no pool yet", original.full_name()))?;
        let capacity = seen.and_then(|seen| seen.capacity.as_ref()?.bytes().ok()).unwrap_or_default();
        let known = known(cluster, asker, &volume);
        Ok(Some(Self { volume, format, capacity, below, known }))
    }

    /// That a volume with this content can be as wished.
    pub fn fits(&self, object: &Volume) -> anyhow::Result<()> {
        ensure!(
            object.parameters().permissions.is_none(),
            "permissions are not for copies of other volumes: libvirt may lose them while it copies"
        );
        let wished = object.parameters().capacity.as_ref().map(super::render::sectors).transpose()?;
        ensure!(
            wished.is_none_or(|wished| wished >= self.capacity),
            "capacity must not be smaller than the {} of the volume that is copied",
            Quantity::of_bytes(self.capacity)
        );
        Ok(())
    }

    /// That it can be copied now, before anything is written down of a copy.
    pub async fn check(&self, host: &Site) -> anyhow::Result<()> {
        let original = self.clone();
        let VolumeId { pool, name } = &self.volume;
        storage::look_around(host, pool).await?;
        let look = move |host: &Connection| {
            let VolumeId { pool, name } = &original.volume;
            let holder =
                host.find_pool_by_name(pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
            let volume = holder.find_volume(name)?;
            let volume = volume.with_context(|| format!("there is no volume {name} in pool {pool} on the host"))?;
            original.look(host, &volume).map(drop)
        };
        host.long(&format!("{pool}/{name}"), look).await
    }

    /// That the volume on the host is what its object says and that nobody writes to it. Answers when it last changed, where the pool's kind
    /// tells that.
    pub fn look(&self, host: &Connection, volume: &libvirt::Volume<'_>) -> anyhow::Result<Option<String>> {
        let VolumeId { pool, name } = &self.volume;
        // Before anything else is asked: a guest that starts later changes what is looked at here.
        let description = Element::parse(&volume.describe()?).context("read the volume's description")?;
        if encryption::observed(&description).is_some() {
            let message = format!("volume {name} in pool {pool} is encrypted, so it is not copied");
            return Err(Refusal { reason: "Encrypted", message }.into());
        }
        if !matches!(type_(Some(&description)), Some(VolumeType::File | VolumeType::Block)) {
            let message = format!(
                "volume {name} in pool {pool} is no file or device of the host, so it is not copied: who writes to it cannot be told"
            );
            return Err(Refusal { reason: "NotOffered", message }.into());
        }
        // The host copies what the first bytes name, other files of the host included.
        if let Some(seen) = another_format(&description, self.format) {
            bail!(
                "the first bytes of volume {name} in pool {pool} say {seen}, and its object says {}; it is not copied, because the host would believe the bytes. A guest may have written them",
                self.format.as_libvirt()
            );
        }
        let stands = match (description.text_at("backingStore/path"), self.below.first()) {
            (None, None) => true,
            (Some(seen), Some(below)) => is_same_path(seen, below),
            (Some(_), None) | (None, Some(_)) => false,
        };
        ensure!(stands, "volume {name} in pool {pool} does not stand on what its object says, so it is not copied");
        let path = volume.path()?;
        if let Some(above) =
            host.snapshot_but(&self.volume, &path, |name| self.is_known(name)).context("look for snapshots")?
        {
            return Err(self.outgrown(&format!("volume {above} of pool {pool} stands on it")).into());
        }
        match writer::writer(host, &self.volume, &path, |name| self.is_known(name))? {
            Some(Use::Written { domain, how }) => bail!(
                "volume {name} in pool {pool} is written to by the running domain {domain}{how}, and a copy of it would be torn; stop the guest, or give it the disk readOnly"
            ),
            Some(Use::Snapshot { domain, path }) => {
                Err(self.outgrown(&format!("domain {domain} runs on {path}, which stands on it")).into())
            }
            None => Ok(description.text_at("target/timestamps/mtime").map(str::to_owned)),
        }
    }

    fn is_known(&self, name: &str) -> bool {
        self.known.iter().any(|known| known == name)
    }

    /// That somebody took a snapshot of a guest that has it.
    fn outgrown(&self, how: &str) -> Refusal {
        let VolumeId { pool, name } = &self.volume;
        let message = format!(
            "volume {name} in pool {pool} is not copied: {how} and looks like a snapshot, with all that was written since, and a copy would have none of that. Merge it, with virsh blockcommit while the guest runs or else with qemu-img commit, and remove it"
        );
        Refusal { reason: "SnapshotPresent", message }
    }

    /// How much a copy may take, of which the volume itself takes so much: what it stands on is copied too.
    pub fn need(&self, host: &Connection, VolumeInfo { capacity, allocation }: VolumeInfo) -> anyhow::Result<u64> {
        let mut sum = allocation;
        for path in &self.below {
            let below = match host.volume_at(path)? {
                Some(VolumeId { pool, name }) => {
                    host.find_pool_by_name(&pool)?.map(|pool| pool.find_volume(&name)).transpose()?.flatten()
                }
                None => None,
            };
            let Some(below) = below else { return Ok(capacity) };
            sum = sum.saturating_add(below.info()?.allocation);
        }
        // What stands alone may take more than its size: tables, and what it keeps besides.
        Ok(if self.below.is_empty() { sum } else { sum.min(capacity) })
    }
}

/// What stands on a volume because an object says so is no snapshot, however it is called.
fn known(cluster: &Cluster, asker: &Asker<'_>, volume: &VolumeId) -> Vec<String> {
    let VolumeId { pool, name } = volume;
    let all = cluster.volumes.store.state();
    let here = all.iter().filter(|other| placed(&***other).as_ref() == Some(asker.config));
    let seen = here.filter_map(|other| other.observation());
    let names = seen.filter(|seen| seen.pool.as_ref() == Some(pool)).filter_map(|seen| seen.name.clone());
    names.filter(|other| is_named_after(other, name)).collect()
}
