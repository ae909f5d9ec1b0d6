//! What Volumes and `CloudInits` share: volumes of a pool, looked up, recorded as ours, and deleted when nobody uses them.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use apis::{Managed, managed::annotation};
use jiff::Timestamp;
use libvirt::{
    Claim, Connection, DiskSource,
    mirror::{Presence, VolumeEntry},
    xml::Element,
};
use managed::external::{Annotations, Deletion, Refusal};

use crate::{
    cluster::Cluster,
    hosts::{Site, kind},
    links::{Asker, Links},
    ownership::{Key, Record},
    references::POOL,
};

/// How soon a deletion is tried again that waits for a pool to be at rest.
const BUSY: Duration = Duration::from_secs(2);

/// The name of the pool of a volume or seed on the host, once its Pool is ready; none where the object says none.
pub fn pool(
    cluster: &Cluster,
    asker: &Asker<'_>,
    links: &Links,
    plain: Option<&String>,
) -> anyhow::Result<Option<String>> {
    if let Some(name) = plain {
        return Ok(Some(name.clone()));
    }
    let pool = links.find(&cluster.pools, asker, POOL)?;
    Ok(pool.map(|pool| pool.external_name().to_owned()))
}

/// What is said of a volume or seed that is to be made and says no pool.
pub const NO_POOL: &str = "set pool, poolRef or poolSelector";

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

/// The UUIDs of other pools that show the file of a volume.
pub async fn twins(host: &Site, pool: &str, name: &str) -> anyhow::Result<Vec<String>> {
    let (of, called) = (pool.to_owned(), name.to_owned());
    let look = move |host: &Connection| host.twins(&of, &called);
    let twins = host.short(&format!("{pool}/{name}"), look).await.context("look for the volume in other pools")?;
    Ok(twins.iter().filter_map(|twin| host.pool_uuid(&twin.volume.pool)).collect())
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

/// That a volume of that name is there and is not ours, and whose it is.
pub fn not_ours(name: &str, pool: &str, owner: Option<&str>) -> String {
    let whose = owner.map_or_else(
        || "no record of this provider says that this object made it".to_owned(),
        |owner| format!("it belongs to {owner}"),
    );
    format!("volume {name:?} is in pool {pool:?} already and is not ours: {whose}")
}

/// Somebody else's volume of that name, which is not to be taken over either.
pub fn foreign_volume(name: &str, pool: &str) -> Refusal {
    let said = not_ours(name, pool, None);
    let message = format!(
        "{said}. It is left alone; choose another name with the annotation crossplane.io/external-name, or remove it"
    );
    Refusal { reason: "ForeignObject", message }
}

/// The volumes that an object's signed records name, one in each line of the annotation.
pub fn records<K: Managed>(object: &K, key: &Key) -> Vec<Record> {
    let text = object.annotation(annotation::OWNERSHIP).unwrap_or_default();
    text.lines().filter_map(|line| Record::verify(line, key)).filter(|record| record.uid == object.uid()).collect()
}

/// The annotation that records volumes of a pool as this object's, signed; it is there before they are.
pub fn record<K: Managed>(object: &K, host: &Site, pool_uuid: &str, volumes: &[String], key: &Key) -> Annotations {
    let (known, now) = (records(object, key), Timestamp::now().as_millisecond());
    let record = |volume: &String| {
        let is_it = |known: &&Record| known.is_of(object.uid(), host.uuid(), pool_uuid, volume);
        Record {
            uid: object.uid().to_owned(),
            host: host.uuid().to_owned(),
            pool: pool_uuid.to_owned(),
            volume: volume.clone(),
            at: known.iter().find(is_it).map_or(now, |known| known.at),
        }
    };
    let lines: Vec<String> = volumes.iter().map(|volume| record(volume).sign(key)).collect();
    vec![(annotation::OWNERSHIP, Some(lines.join("\n")))]
}

/// Takes away the volumes that an object's records name, wherever its other fields lead by now, and nothing else.
/// What cannot be looked up is not let go.
pub async fn take_away(host: &Site, records: Vec<Record>) -> anyhow::Result<Deletion> {
    let mut deletion = Deletion::Absent;
    for record in records {
        match take_one(host, &record).await? {
            Deletion::Absent => {}
            Deletion::Requested => deletion = Deletion::Requested,
            other @ (Deletion::Waiting(..) | Deletion::Refused(_)) => return Ok(other),
        }
    }
    Ok(deletion)
}

async fn take_one(
    host: &Site,
    Record { uid: _, host: made_on, pool: uuid, volume, at: _ }: &Record,
) -> anyhow::Result<Deletion> {
    if made_on != host.uuid() {
        let message = format!(
            "volume {volume} was made on the host with UUID {made_on}, and this one has {}, so it cannot be told whether it is there. Correct the config's uri, or let the volume go by dropping Delete from managementPolicies",
            host.uuid()
        );
        return Ok(Deletion::Refused(Refusal { reason: "HostMismatch", message }));
    }
    let of = uuid.clone();
    let find = move |host: &Connection| host.find_pool(&of)?.map(|pool| pool.name()).transpose();
    let Some(pool) = host.short(uuid, find).await.context("look up pool")? else {
        return Ok(unknown(
            &format!("the pool of volume {volume} (UUID {uuid}) is not on the host"),
            "Bring the pool back",
        ));
    };
    let entry = read(host, &pool, volume).await?;
    if matches!(entry.presence, Presence::PoolInactive | Presence::PoolAbsent) {
        return Ok(unknown(&format!("pool {pool} is not running"), "Start the pool"));
    }
    // A pool lists what it found when it last looked. Only one that has just looked can tell that a volume is not there.
    let deletion = delete(host, &pool, volume).await?;
    read(host, &pool, volume).await?;
    Ok(deletion)
}

fn unknown(why: &str, cure: &str) -> Deletion {
    let message = format!(
        "{why}, so it cannot be told whether the volume is there. {cure}, or let the volume go by dropping Delete from managementPolicies"
    );
    Deletion::Refused(Refusal { reason: "PoolUnavailable", message })
}

/// Deletes a volume unless a domain of the host or another volume uses it. Looks it up anew, and looks through the pool first:
/// an overlay that somebody put on the volume may be a file that the pool has not listed yet.
pub async fn delete(host: &Site, pool: &str, name: &str) -> anyhow::Result<Deletion> {
    let (of, called) = (pool.to_owned(), name.to_owned());
    let deleted = host.alone(pool, move |host| remove(host, &of, &called)).await;
    match deleted {
        Err(error) if kind(&error) == Some(libvirt::Kind::Busy) => {
            let message = format!("the volume is deleted when nothing is written into pool {pool} any more");
            Ok(Deletion::Waiting(message, BUSY))
        }
        deleted => deleted,
    }
}

fn remove(host: &Connection, pool: &str, name: &str) -> anyhow::Result<Deletion> {
    let Some(found) = host.find_pool_by_name(pool)? else { anyhow::bail!("there is no pool {pool} on the host") };
    found.refresh().context("refresh pool")?;
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
    // The same file may be used by the name that it has in another pool.
    let twins = host.twins(pool, name)?;
    let is_path = |used: &str| is_same_path(used, path) || twins.iter().any(|twin| is_same_path(used, &twin.path));
    let is_volume =
        |of: &str, called: &str| called == name && (of == pool || twins.iter().any(|twin| twin.volume.pool == of));
    let uses = |source: &DiskSource| match source {
        DiskSource::Path(used) => is_path(used),
        DiskSource::Volume { pool: of, name: called } => is_volume(of, called),
    };
    if let Some(user) = host.disk_users()?.into_iter().find(|user| uses(&user.source)) {
        return Ok(Some(format!("domain {} on the host", user.domain)));
    }
    let above = host.backings()?.into_iter().find(|backing| is_path(&backing.path));
    Ok(above.map(|above| format!("volume {} in pool {}, which stands on it", above.volume, above.pool)))
}

/// Whether two texts name one path: `/a//b/../c/.` is `/a/c`. What is behind a symbolic link only the host can tell.
pub fn is_same_path(one: &str, other: &str) -> bool {
    plain_path(one) == plain_path(other)
}

/// A path without what leads nowhere: `/a//b/../c/.` is `/a/c`.
pub fn plain_path(path: impl AsRef<Path>) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.as_ref().components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_same_however_it_is_written() {
        for other in ["/a/c/d", "/a//c/d", "/a/./c/d/.", "/a/b/../c/d", "/../a/c/x/../d"] {
            assert!(is_same_path("/a/c/d", other), "{other}");
        }
        for other in ["/a/c", "/a/c/d/e", "a/c/d", "/a/c/D", "/a/c/d/.."] {
            assert!(!is_same_path("/a/c/d", other), "{other}");
        }
    }
}
