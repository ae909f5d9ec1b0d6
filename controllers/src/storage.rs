//! What Volumes and `CloudInits` share: volumes of a pool, looked up, recorded as ours, and deleted when nobody uses them.

pub mod device;
mod permissions;
mod used;

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use apis::{Managed, managed::annotation, volume::VolumeType};
use jiff::Timestamp;
use libvirt::{
    Claim, Connection, Pool, Volume,
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

pub use permissions::permissions;
pub use used::user;

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
            // One that libvirt is still making may have no file yet.
            let ghost = libvirt::absent(volume.describe())?.is_none() && !volume.is_busy()?;
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

/// Has the pool list what is in its folder, where it does not list a volume that an attempt before may have begun: a program that a daemon
/// started goes on when that dies, and the next daemon does not know of what it makes. A pool with other work is left at that.
pub async fn look_through(host: &Site, pool: &str, name: &str) -> anyhow::Result<()> {
    let (of, called) = (pool.to_owned(), name.to_owned());
    let look = move |host: &Connection| {
        let Some(found) = host.find_pool_by_name(&of)? else { return Ok(()) };
        if found.find_volume(&called)?.is_none() && found.is_active()? { Ok(found.refresh()?) } else { Ok(()) }
    };
    host.if_free(pool, look).await.unwrap_or(Ok(())).context("refresh pool")
}

/// Has the pool list what others have put into it, unless it has other work or cannot: then what it listed before is looked at.
pub async fn look_around(host: &Site, pool: &str) -> anyhow::Result<()> {
    let of = pool.to_owned();
    let refresh = move |host: &Connection| {
        let pool = host.find_pool_by_name(&of)?;
        Ok(pool.map_or(Ok(()), |pool| pool.refresh())?)
    };
    match host.if_free(pool, refresh).await {
        Some(Err(error)) if kind(&error) == Some(libvirt::Kind::Unreachable) => return Err(error),
        Some(Err(error)) => tracing::debug!(pool, %error, "refresh pool"),
        Some(Ok(())) | None => {}
    }
    Ok(())
}

/// That nothing is known of a pool but its name, so nothing can be said of whose its volumes are: it hangs, or has come a moment ago.
pub fn not_read(pool: &str) -> anyhow::Error {
    anyhow::anyhow!("pool {pool} has not been read yet, so it cannot be told whose its volumes are")
}

/// A size in a description, in bytes, as libvirt writes it.
pub fn bytes(description: &Element, path: &str) -> u64 {
    description.text_at(path).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What a volume is, as its description says; None of what a guest cannot have, such as a folder.
pub fn type_(description: Option<&Element>) -> Option<VolumeType> {
    match description?.get("type")? {
        "file" => Some(VolumeType::File),
        "block" => Some(VolumeType::Block),
        "network" => Some(VolumeType::Network),
        _ => None,
    }
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

/// Why an object may not make a volume that is another object's by its record, whether it is there or not.
pub fn claimed(volume: &str, pool: &str, other: &str) -> String {
    format!(
        "volume {volume:?} in pool {pool} belongs to {other}, which makes it, or lost it and may get it back; choose another name with the annotation crossplane.io/external-name, or delete that object"
    )
}

/// Why an object makes nothing under another name, or in another pool, than what it has begun.
pub fn renamed(volume: &str) -> String {
    format!(
        "the object has begun to make volume {volume:?}, which would be left without an owner; set the annotation crossplane.io/external-name to that name again, or delete the object and make it anew under another name"
    )
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

/// Looks at a volume that is about to be deleted or written over, and answers why it is not to be.
pub type Guard = Arc<dyn Fn(&Connection, &Pool<'_>, &Volume<'_>) -> anyhow::Result<Option<Refusal>> + Send + Sync>;

/// Takes away the volumes that an object's records name, wherever its other fields lead by now, and nothing else.
/// What cannot be looked up is not let go, nor what the guard wants left.
pub async fn take_away(host: &Site, records: Vec<Record>, guard: Option<&Guard>) -> anyhow::Result<Deletion> {
    let mut deletion = Deletion::Absent;
    for record in records {
        match take_one(host, &record, guard).await? {
            Deletion::Absent => {}
            Deletion::Requested => deletion = Deletion::Requested,
            other @ (Deletion::Waiting(..) | Deletion::Refused(_)) => return Ok(other),
        }
    }
    Ok(deletion)
}

async fn take_one(host: &Site, record: &Record, guard: Option<&Guard>) -> anyhow::Result<Deletion> {
    if let Some(refusal) = of_another_host(record, host.uuid()) {
        return Ok(Deletion::Refused(refusal));
    }
    let Record { uid: _, host: _, pool: uuid, volume, at: _ } = record;
    let of = uuid.clone();
    let find = move |host: &Connection| host.find_pool(&of)?.map(|pool| pool.name()).transpose();
    let Some(pool) = host.short(uuid, find).await.context("look up pool")? else {
        return Ok(Deletion::Refused(pool_absent(record)));
    };
    let entry = match read(host, &pool, volume).await {
        Err(error) if kind(&error) == Some(libvirt::Kind::Busy) => {
            let message = "the volume is deleted when the host has come to an end with it".to_owned();
            return Ok(Deletion::Waiting(message, BUSY));
        }
        entry => entry?,
    };
    if matches!(entry.presence, Presence::PoolInactive | Presence::PoolAbsent) {
        return Ok(Deletion::Refused(pool_stopped(&pool)));
    }
    // A pool lists what it found when it last looked. Only one that has just looked can tell that a volume is not there.
    let deletion = delete(host, (&pool, volume), guard).await?;
    read(host, &pool, volume).await?;
    Ok(deletion)
}

/// Why nothing is done about the volume of a record on a host with this UUID: it was made on another one, and what has its name here is
/// somebody else's, whatever UUID its pool has.
pub fn of_another_host(Record { uid: _, host: there, pool: _, volume, at: _ }: &Record, here: &str) -> Option<Refusal> {
    let message = || {
        format!(
            "volume {volume} was made on the host with UUID {there}, and this one has {here}, so it cannot be told whether it is there. Correct the config's uri, or let the volume go by dropping Delete from managementPolicies"
        )
    };
    (there != here).then(|| Refusal { reason: "HostMismatch", message: message() })
}

/// That the pool of a volume is not on its host.
pub fn pool_absent(Record { uid: _, host: _, pool, volume, at: _ }: &Record) -> Refusal {
    unknown(&format!("the pool of volume {volume} (UUID {pool}) is not on the host"), "Bring the pool back")
}

/// That the pool of a volume is stopped.
pub fn pool_stopped(pool: &str) -> Refusal {
    unknown(&format!("pool {pool} is not running"), "Start the pool")
}

fn unknown(why: &str, cure: &str) -> Refusal {
    let message = format!(
        "{why}, so it cannot be told whether the volume is there. {cure}, or let the volume go by dropping Delete from managementPolicies"
    );
    Refusal { reason: "PoolUnavailable", message }
}

/// Deletes a volume unless a domain of the host or another volume uses it. Looks it up anew, and looks through the pool first:
/// an overlay that somebody put on the volume may be a file that the pool has not listed yet.
pub async fn delete(host: &Site, (pool, name): (&str, &str), guard: Option<&Guard>) -> anyhow::Result<Deletion> {
    let (of, called, guard) = (pool.to_owned(), name.to_owned(), guard.cloned());
    let deleted = host.alone(pool, move |host| remove(host, &of, &called, guard.as_ref())).await;
    match deleted {
        Err(error) if kind(&error) == Some(libvirt::Kind::Busy) => {
            let message = format!("the volume is deleted when nothing is written into pool {pool} any more");
            Ok(Deletion::Waiting(message, BUSY))
        }
        Err(error) if format!("{error:#}").contains(libvirt::UNANSWERED) => {
            Ok(Deletion::Waiting(format!("who uses the volume cannot be told now: {error:#}"), BUSY))
        }
        deleted => deleted,
    }
}

fn remove(host: &Connection, pool: &str, name: &str, guard: Option<&Guard>) -> anyhow::Result<Deletion> {
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
    if let Some(refusal) = guard.map(|look| look(host, &found, &volume)).transpose()?.flatten() {
        return Ok(Deletion::Refused(refusal));
    }
    match volume.delete() {
        Err(error) => match not_deleted(&error) {
            Some(refusal) => Ok(Deletion::Refused(refusal)),
            None => Err(error).context("delete volume"),
        },
        Ok(()) => Ok(Deletion::Requested),
    }
}

/// Why libvirt never deletes a volume like this one, if that is what it says.
fn not_deleted(error: &libvirt::Error) -> Option<Refusal> {
    let told = error.message();
    let why = if error.is_unsupported() {
        "the host's libvirt cannot delete volumes of this kind of pool"
    } else if told.contains("did not start with parent pool source device name") {
        "libvirt deletes a partition only where source.devices of its Pool names the disk as the kernel does, such as /dev/sdb: let that Pool go, and have one that says so"
    } else if told.contains("parted") && told.contains(" rm --script p") {
        "libvirt deletes no partitions of a disk whose name ends in a digit, such as one by NVMe"
    } else {
        return None;
    };
    let message = format!("{why} ({error}). Or let the volume go by dropping Delete from managementPolicies");
    Some(Refusal { reason: "NotOffered", message })
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
    fn of_a_volume_that_was_made_on_another_host_nothing_here_is_taken_for_it() {
        let record = |host: &str| Record {
            uid: "u".to_owned(),
            host: host.to_owned(),
            pool: "p".to_owned(),
            volume: "data".to_owned(),
            at: 0,
        };
        assert_eq!(of_another_host(&record("here"), "here").map(|refusal| refusal.message), None);
        let refusal = of_another_host(&record("there"), "here").unwrap();
        let said = "volume data was made on the host with UUID there, and this one has here, so it cannot be told whether it is there. Correct the config's uri, or let the volume go by dropping Delete from managementPolicies";
        assert_eq!((refusal.reason, refusal.message.as_str()), ("HostMismatch", said));
    }

    #[test]
    fn what_libvirt_never_deletes_is_told_from_what_fails_once() {
        let said = |text: &str| not_deleted(&libvirt::Error::other(text)).map(|refusal| refusal.message);
        let named = "internal error: Volume path '/dev/vda1' did not start with parent pool source device name.";
        assert!(said(named).unwrap().starts_with("libvirt deletes a partition only where source.devices"));
        let nvme = "internal error: Child process (/sbin/parted /dev/nvme0n1 rm --script p1) unexpected exit status 1";
        assert!(said(nvme).unwrap().starts_with("libvirt deletes no partitions of a disk whose name ends in a digit"));
        let once = "internal error: Child process (/sbin/parted /dev/sdb rm --script 1) unexpected exit status 1";
        assert_eq!(said(once), None);
    }

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
