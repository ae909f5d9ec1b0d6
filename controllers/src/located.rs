//! Volumes that others made, which an object only looks at: found by name alone, in whatever pool they are.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use apis::{Managed, cloud_init::SeedFormat};
use libvirt::{
    Connection, Listing, Pool, VolumeId,
    mirror::{Presence, VolumeEntry},
};

use crate::{
    hosts::{Site, owner},
    storage::look,
};

/// Something that others made, by what an object says of it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name of the pool; `None` looks into every pool that runs.
    pub pool: Option<String>,
    /// The name of the volume, or its path.
    pub name: String,
    /// Whether a seed that our kind of naming made of that name will do, where no volume has the name itself.
    pub seed: bool,
}

/// Finds the one volume that is wanted; an error if more than one could be meant.
pub async fn locate(host: &Site, wanted: Wanted) -> anyhow::Result<Option<VolumeId>> {
    let name = wanted.name.clone();
    let mut found = host.short(&name, move |host| search(host, &wanted)).await.context("look for volume")?;
    found.sort();
    if found.len() > 1 {
        let shown: Vec<String> = found.iter().map(|one| format!("{} in pool {}", one.name, one.pool)).collect();
        anyhow::bail!(
            "{} volumes could be meant by {name:?}: {}; say which with spec.forProvider.pool or the annotation crossplane.io/external-name",
            found.len(),
            shown.join(", ")
        );
    }
    Ok(found.pop())
}

fn search(host: &Connection, Wanted { pool, name, seed }: &Wanted) -> Result<Vec<VolumeId>, libvirt::Error> {
    let is_wanted = |volume: &VolumeId| pool.as_ref().is_none_or(|pool| *pool == volume.pool);
    if name.starts_with('/') {
        return Ok(host.volume_at(name)?.filter(is_wanted).into_iter().collect());
    }
    let is_named = pool.is_some();
    let pools = match pool {
        Some(pool) => host.find_pool_by_name(pool)?.into_iter().collect(),
        None => host.list_pools(Listing::Active)?,
    };
    let mut found = Vec::new();
    for pool in &pools {
        if told(is_named, pool, pool.find_volume(name))?.flatten().is_some() {
            found.push(VolumeId { pool: pool.name()?, name: name.clone() });
        }
    }
    for pool in pools.iter().filter(|_| *seed && found.is_empty()).collect::<Vec<_>>() {
        for volume in told(is_named, pool, pool.volumes())?.unwrap_or_default() {
            let called = volume.name()?;
            if is_seed(&called, name) {
                found.push(VolumeId { pool: pool.name()?, name: called });
            }
        }
    }
    Ok(found)
}

/// What a pool told; None where it was only one among others and has been stopped since it was listed.
fn told<T>(is_named: bool, pool: &Pool<'_>, told: Result<T, libvirt::Error>) -> Result<Option<T>, libvirt::Error> {
    if is_named { told.map(Some) } else { pool.while_active(told) }
}

/// Whether a volume is called like a seed of this name: `<name>-<16 hexadecimal digits>.iso`, or `.ign` of one for Ignition.
fn is_seed(volume: &str, name: &str) -> bool {
    let rest = volume.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')?.rsplit_once('.'));
    let is_suffix = |end: &str| [SeedFormat::NoCloud, SeedFormat::Ignition].iter().any(|format| format.suffix() == end);
    rest.is_some_and(|(digits, end)| {
        is_suffix(end) && digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Where the volumes of objects that only look were found, by UID.
#[derive(Debug, Default)]
pub struct Located(Mutex<HashMap<String, VolumeId>>);

impl Located {
    fn map(&self) -> MutexGuard<'_, HashMap<String, VolumeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.map().remove(uid);
    }

    /// The volume that others made and an object looks at: where it was found before, if it is there still, else by a search.
    pub async fn look<K: Managed>(&self, host: &Site, object: &K, wanted: Wanted) -> anyhow::Result<Arc<VolumeEntry>> {
        let known = self.map().get(object.uid()).cloned();
        let fits = |known: &VolumeId| {
            wanted.pool.as_ref().is_none_or(|pool| *pool == known.pool)
                && (wanted.name.starts_with('/') || known.name == wanted.name || is_seed(&known.name, &wanted.name))
        };
        if let Some(VolumeId { pool, name }) = known.filter(fits) {
            let entry = look(host, &owner(object), &pool, &name).await?;
            if entry.description().is_some() {
                return Ok(entry);
            }
        }
        let Wanted { pool, name, seed: _ } = wanted.clone();
        if let Some(found) = locate(host, wanted).await? {
            self.map().insert(object.uid().to_owned(), found.clone());
            return look(host, &owner(object), &found.pool, &found.name).await;
        }
        self.forget(object.uid());
        let presence = match &pool {
            Some(pool) if host.mirror().pool_by_name(pool).is_none() => Presence::PoolAbsent,
            Some(_) | None => Presence::Absent,
        };
        Ok(Arc::new(VolumeEntry { pool: pool.unwrap_or_default(), name, presence }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_told_by_its_name_and_its_digits() {
        let cases = [
            ("web-0123456789abcdef.iso", true),
            ("web-0123456789abcde.iso", false),
            ("web-0123456789abcdeg.iso", false),
            ("web-db-0123456789abcdef.iso", false),
            ("web-0123456789abcdef", false),
            ("web-0123456789abcdef.ign", true),
            ("web-0123456789abcdef.raw", false),
            ("web", false),
        ];
        for (volume, is) in cases {
            assert_eq!(is_seed(volume, "web"), is, "{volume}");
        }
    }
}
