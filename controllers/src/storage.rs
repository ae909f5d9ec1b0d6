//! What Volumes and `CloudInits` share: volumes of a pool, looked up, recorded as ours, and deleted when nobody uses them.

use std::sync::Arc;

use anyhow::Context;
use apis::{Managed, Pool, managed::annotation, reference::Reference};
use libvirt::{
    Claim, Connection, DiskSource,
    mirror::{Presence, VolumeEntry},
    xml::Element,
};
use managed::external::{Annotations, Deletion, Refusal};

use crate::{
    cluster::{Asker, Cluster, ready},
    hosts::Site,
    ownership::{Key, Record},
};

/// The pool of a volume or seed, by name or by reference.
#[derive(Clone, Copy, Debug)]
pub struct PoolField<'a> {
    /// The name on the host.
    pub plain: Option<&'a str>,
    /// The Pool.
    pub reference: Option<&'a Reference>,
}

impl PoolField<'_> {
    /// The name of the pool on the host, once its Pool is ready.
    pub fn resolve(self, cluster: &Cluster, asker: &Asker<'_>) -> anyhow::Result<String> {
        match (self.plain, self.reference) {
            (Some(name), _) => Ok(name.to_owned()),
            (None, Some(reference)) => {
                let pool = ready(&cluster.pools, asker, &reference.name)?;
                Ok(pool.external_name().to_owned())
            }
            (None, None) => anyhow::bail!("set pool or poolRef"),
        }
    }

    /// The name of the pool on the host, ready or not; None when its Pool is gone.
    pub fn name(self, cluster: &Cluster, namespace: &str) -> Option<String> {
        let named = |reference: &Reference| {
            cluster.pools.get(namespace, &reference.name).map(|pool: Arc<Pool>| pool.external_name().to_owned())
        };
        self.plain.map(str::to_owned).or_else(|| named(self.reference?))
    }
}

/// A volume from the mirror, read now if the mirror does not have it yet.
pub async fn look(host: &Site, owner: &str, pool: &str, name: &str) -> anyhow::Result<Arc<VolumeEntry>> {
    host.mirror().claim(Claim::Volume { pool: pool.to_owned(), name: name.to_owned() }, owner);
    match host.mirror().volume(pool, name) {
        Some(entry) => Ok(entry),
        None => read(host, pool, name).await,
    }
}

/// A volume read now.
pub async fn read(host: &Site, pool: &str, name: &str) -> anyhow::Result<Arc<VolumeEntry>> {
    let (of, called) = (pool.to_owned(), name.to_owned());
    let entry = host
        .short(&format!("{pool}/{name}"), move |host| host.read_volume(&of, &called))
        .await
        .context("look up volume")?;
    host.mirror().replace_volume(entry.clone());
    Ok(Arc::new(entry))
}

/// Makes the pool forget a volume that it lists while its file is gone; a new one of that name could not be made.
pub async fn forget_ghost(host: &Site, pool: &str, name: &str) -> anyhow::Result<()> {
    let look = |refresh: bool| {
        let (of, called) = (pool.to_owned(), name.to_owned());
        move |host: &Connection| -> Result<bool, libvirt::Error> {
            let Some(found) = host.find_pool_by_name(&of)? else { return Ok(false) };
            let Some(volume) = found.find_volume(&called)? else { return Ok(false) };
            let ghost = libvirt::absent(volume.describe())?.is_none();
            if ghost && refresh {
                found.refresh()?;
            }
            Ok(ghost)
        }
    };
    if host.short(&format!("{pool}/{name}"), look(false)).await? {
        let refresh = look(true);
        host.alone(pool, move |host| Ok(refresh(host)?)).await.context("refresh pool")?;
    }
    Ok(())
}

/// A size in a description, in bytes, as libvirt writes it.
pub fn bytes(description: &Element, path: &str) -> u64 {
    description.text_at(path).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Somebody else's volume of that name.
pub fn foreign_volume(name: &str, pool: &str) -> Refusal {
    Refusal {
        reason: "ForeignObject",
        message: format!(
            "volume {name:?} is in pool {pool:?} already and is not ours: no record of this provider says that this object made it. It is left alone; choose another name with the annotation crossplane.io/external-name, or remove it"
        ),
    }
}

/// The annotation that records a volume as this object's, signed; it is there before the volume is.
pub fn record<K: Managed>(
    object: &K,
    host: &Site,
    pool_uuid: &str,
    volume: &str,
    key: &Key,
) -> anyhow::Result<Annotations> {
    let record = Record {
        uid: object.uid().to_owned(),
        host: host.uuid().to_owned(),
        pool: pool_uuid.to_owned(),
        volume: volume.to_owned(),
    };
    Ok(vec![(annotation::OWNERSHIP, Some(record.sign(key)))])
}

/// What to answer to a deletion when there is no volume to look at.
pub fn without_deleting(entry: &VolumeEntry, pool: &str) -> Option<Deletion> {
    let unknown = |state: &str| {
        let message = format!(
            "pool {pool} {state}, so it cannot be told whether the volume is there. Start the pool, or let the volume go by dropping Delete from managementPolicies"
        );
        Deletion::Refused(Refusal { reason: "PoolUnavailable", message })
    };
    match &entry.presence {
        Presence::Present(_) => None,
        Presence::Absent => Some(Deletion::Absent),
        Presence::PoolInactive => Some(unknown("is not running")),
        Presence::PoolAbsent => Some(unknown("is not on the host")),
    }
}

/// Deletes a volume unless a domain of the host or another volume uses it. Looks it up anew.
pub async fn delete(host: &Site, pool: &str, name: &str) -> anyhow::Result<Deletion> {
    let (of, called) = (pool.to_owned(), name.to_owned());
    host.job(pool, name, move |host| remove(host, &of, &called)).await
}

fn remove(host: &Connection, pool: &str, name: &str) -> anyhow::Result<Deletion> {
    let Some(found) = host.find_pool_by_name(pool)? else { anyhow::bail!("there is no pool {pool} on the host") };
    let Some(volume) = found.find_volume(name)? else { return Ok(Deletion::Absent) };
    let path = volume.path()?;
    if let Some(user) = user(host, pool, name, &path)? {
        return Ok(Deletion::Refused(Refusal {
            reason: "InUse",
            message: format!("the volume is used by {user}; it is deleted when nobody uses it"),
        }));
    }
    volume.delete().context("delete volume")?;
    Ok(Deletion::Requested)
}

/// Who on the host uses a volume.
pub fn user(host: &Connection, pool: &str, name: &str, path: &str) -> anyhow::Result<Option<String>> {
    let uses = |source: &DiskSource| match source {
        DiskSource::Path(used) => used == path,
        DiskSource::Volume { pool: of, name: called } => of == pool && called == name,
    };
    if let Some(user) = host.disk_users()?.into_iter().find(|user| uses(&user.source)) {
        return Ok(Some(format!("domain {} on the host", user.domain)));
    }
    let above = host.backings()?.into_iter().find(|backing| backing.path == path);
    Ok(above.map(|above| format!("volume {} in pool {}, which stands on it", above.volume, above.pool)))
}
