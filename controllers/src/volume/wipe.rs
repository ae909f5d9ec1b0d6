//! Volumes that are overwritten before they are deleted: jobs that go on by themselves, because one may take hours.
//!
//! ```text
//! delete ─▶ look through the pool ─▶ overwrite, one volume of a host at a time ─▶ wake ─▶ delete
//! ```
//! Nothing is written down of it: a provider that ends meanwhile leaves the object where it is, and the next one begins again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use apis::{Managed, placement::ConfigId, quantity::Quantity, volume::Wipe};
use libvirt::{Connection, xml::Element};
use managed::external::{Connect, Deletion, Pass, Refusal};
use tokio::task::JoinHandle;

use super::Volumes;
use crate::{
    cluster::Cluster,
    hosts::{Connector, Site, kind},
    ownership::Record,
    storage::{self, Guard},
};

/// How long overwriting may take beside what its size needs, and how many bytes a slow disk writes in a second.
const BESIDE: Duration = Duration::from_mins(10);
const BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;
/// How soon an object is looked at again whose volume is being overwritten; it is woken at the end.
const RECHECK: Duration = Duration::from_secs(30);

enum Job {
    Running(JoinHandle<()>),
    /// Every volume is all zeros.
    Done,
    /// One is not there. That counts for the deletion that comes next: after it the volume may have come.
    Missing,
    Failed(anyhow::Error),
}

/// The volumes that are being overwritten, by the UID of their object.
#[derive(Default)]
pub(super) struct Wipes(Mutex<HashMap<String, Job>>);

impl Wipes {
    /// The object is gone.
    pub(super) fn forget(&self, uid: &str) {
        if let Some(Job::Running(task)) = self.lock().remove(uid) {
            task.abort();
        }
    }

    /// What came of the deletion. While one waits for somebody, that one may write: the volume is overwritten anew then.
    pub(super) fn end(&self, uid: &str, deletion: &Deletion) {
        // What the host does not offer keeps nobody waiting who would write, and overwriting at each look would wear its disks out.
        let waits = matches!(deletion, Deletion::Refused(refusal) if refusal.reason != "NotOffered");
        let mut jobs = self.lock();
        if waits && matches!(jobs.get(uid), Some(Job::Done)) {
            jobs.remove(uid);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Volumes {
    /// What keeps an object's volumes from being deleted yet: they are to be overwritten first. None where that is done or not wished.
    pub(super) fn overwrite(
        &self,
        pass: &Pass<'_, Self>,
        records: &[Record],
        guard: Option<&Guard>,
    ) -> anyhow::Result<Option<Deletion>> {
        let uid = pass.object.uid();
        match pass.object.effective().parameters().wipe.unwrap_or_default() {
            Wipe::Off => {
                self.wipes.forget(uid);
                return Ok(None);
            }
            Wipe::Zero if records.is_empty() => return Ok(None),
            Wipe::Zero => {}
        }
        let strange = |record: &Record| storage::of_another_host(record, pass.host.uuid());
        if let Some(refusal) = records.iter().find_map(strange) {
            return Ok(Some(Deletion::Refused(refusal)));
        }
        let mut jobs = self.wipes.lock();
        let waits = || {
            let message = "the volume is being overwritten, and is deleted then".to_owned();
            Some(Deletion::Waiting(message, RECHECK))
        };
        match jobs.remove(uid) {
            // Until the deletion says that somebody uses it: nobody is given a volume that is being deleted.
            Some(Job::Done) => {
                jobs.insert(uid.to_owned(), Job::Done);
                Ok(None)
            }
            Some(Job::Missing) => Ok(None),
            Some(Job::Failed(error)) => match error.downcast::<Refusal>() {
                Ok(refusal) => Ok(Some(Deletion::Refused(refusal))),
                Err(error) if kind(&error) == Some(libvirt::Kind::Busy) => Ok(waits()),
                Err(error) => Err(error),
            },
            Some(running @ Job::Running(_)) => {
                jobs.insert(uid.to_owned(), running);
                Ok(waits())
            }
            None => {
                let order = Order::new(self, pass, (records, guard));
                jobs.insert(uid.to_owned(), Job::Running(tokio::spawn(order.run())));
                Ok(waits())
            }
        }
    }
}

/// What is to be overwritten, and who is told of the end.
struct Order {
    connector: Arc<Connector>,
    config: ConfigId,
    host: Arc<Site>,
    cluster: Arc<Cluster>,
    wipes: Arc<Wipes>,
    records: Vec<Record>,
    guard: Option<Guard>,
    uid: String,
    namespace: String,
    name: String,
}

impl Order {
    fn new(volumes: &Volumes, pass: &Pass<'_, Volumes>, (records, guard): (&[Record], Option<&Guard>)) -> Self {
        let metadata = &pass.object.metadata;
        Self {
            connector: volumes.connector.clone(),
            config: pass.config.clone(),
            host: pass.host.clone(),
            cluster: volumes.cluster.clone(),
            wipes: volumes.wipes.clone(),
            records: records.to_vec(),
            guard: guard.cloned(),
            uid: pass.object.uid().to_owned(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    async fn run(self) {
        let mut end = Job::Done;
        for record in &self.records {
            match self.overwrite(record).await {
                Ok(true) => {}
                Ok(false) => end = Job::Missing,
                Err(error) => {
                    end = Job::Failed(error);
                    break;
                }
            }
        }
        if let Some(job) = self.wipes.lock().get_mut(&self.uid) {
            *job = end;
        }
        self.cluster.volumes.wake(&self.namespace, &self.name);
    }

    /// Overwrites a volume, if it is there. Refused where that cannot be told.
    async fn overwrite(&self, record: &Record) -> anyhow::Result<bool> {
        let host = &self.host;
        let uuid = record.pool.clone();
        let look = move |host: &Connection| host.find_pool(&uuid)?.map(|pool| pool.name()).transpose();
        let Some(pool) = host.short(&record.pool, look).await.context("look up pool")? else {
            return Err(storage::pool_absent(record).into());
        };
        let (of, name) = (pool.clone(), record.volume.clone());
        // A pool lists what it found when it last looked.
        let size = host.alone(&pool, move |host| size(host, &of, &name)).await?;
        let Some(size) = size else { return Ok(false) };
        let deadline = BESIDE + Duration::from_secs(size / BYTES_PER_SECOND);
        // Guests start and stop over the same few threads, so there is one such job on a host at a time.
        let _turn = host.wiping().await;
        // That may have taken hours, and the host be left alone by now.
        if let Some(hold) = self.connector.hold(&self.config) {
            return Err(hold.into());
        }
        let _sharing = host.sharing(&pool).await;
        let (of, name, guard) = (pool.clone(), record.volume.clone(), self.guard.clone());
        let object = format!("{pool}/{}", record.volume);
        host.lasting(&object, deadline, move |host| zero(host, (&of, &name), guard.as_ref())).await
    }
}

/// How many bytes of a volume are to be overwritten; None where it is not there.
fn size(host: &Connection, pool: &str, name: &str) -> anyhow::Result<Option<u64>> {
    let found = host.find_pool_by_name(pool)?.with_context(|| format!("pool {pool} went away meanwhile"))?;
    if !found.is_active()? {
        return Err(storage::pool_stopped(pool).into());
    }
    found.refresh().context("refresh pool")?;
    let Some(volume) = found.find_volume(name)? else { return Ok(None) };
    Ok(Some(volume.info()?.allocation))
}

/// Overwrites a volume with zeros, unless somebody uses it or libvirt would only give its room back. Whether it was there.
fn zero(host: &Connection, (pool, name): (&str, &str), guard: Option<&Guard>) -> anyhow::Result<bool> {
    let found = host.find_pool_by_name(pool)?.with_context(|| format!("pool {pool} went away meanwhile"))?;
    let Some(volume) = found.find_volume(name)? else { return Ok(false) };
    if let Some(user) = storage::user(host, pool, name, &volume.path()?)? {
        let message = format!("the volume is used by {user}; it is overwritten and deleted when nobody uses it");
        return Err(Refusal { reason: "InUse", message }.into());
    }
    if let Some(refusal) = guard.map(|look| look(host, &found, &volume)).transpose()?.flatten() {
        return Err(refusal.into());
    }
    let description = Element::parse(&volume.describe()?).context("read the volume's description")?;
    if let Some(message) = hollow(&description) {
        return Err(Refusal { reason: "WipeRefused", message }.into());
    }
    volume.wipe().context(
        "overwrite the volume, which stays; mend that, or take wipe out of spec.forProvider to delete it without",
    )?;
    Ok(true)
}

/// That a file has holes. libvirt does not overwrite such a file: it cuts it to nothing and makes it as long again
/// (`storageBackendVolWipeLocalFile`), so what was in it stays on the disk below until something else is written there.
fn hollow(description: &Element) -> Option<String> {
    let of = |path: &str| description.text_at(path).and_then(|text| text.parse::<u64>().ok());
    let (set_aside, length) = (of("allocation")?, of("physical")?);
    (set_aside < length).then(|| {
        format!(
            "the volume's file has holes, {} of {} are set aside, and of such a file libvirt only gives the room back: what was in it would stay on the host's disk. Fill it from a guest first, or take wipe out of spec.forProvider to delete it without; volumes that are to be wiped are best made with preallocation: Falloc, or encrypted",
            Quantity::of_bytes(set_aside),
            Quantity::of_bytes(length)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_overwritten_is_so_no_more_once_its_deletion_waits_for_somebody() {
        let stays = |deletion: &Deletion| {
            let wipes = Wipes::default();
            wipes.lock().insert("u".to_owned(), Job::Done);
            wipes.end("u", deletion);
            wipes.lock().contains_key("u")
        };
        let refused = |reason| Deletion::Refused(Refusal { reason, message: String::new() });
        assert!(!stays(&refused("InUse")) && !stays(&refused("PoolUnavailable")));
        assert!(stays(&refused("NotOffered")) && stays(&Deletion::Requested));
        assert!(stays(&Deletion::Waiting(String::new(), RECHECK)));
    }

    #[test]
    fn a_file_with_holes_is_told_from_one_that_is_all_set_aside() {
        let of = |set_aside: u64, length: u64| {
            let size = |name: &str, bytes: u64| Element::new(name).attr("unit", "bytes").text(bytes.to_string());
            hollow(&Element::new("volume").child(size("allocation", set_aside)).child(size("physical", length)))
        };
        assert_eq!(of(1 << 20, 1 << 20), None);
        assert_eq!(of((1 << 20) + 4096, 1 << 20), None);
        assert!(of(4096, 1 << 20).unwrap().starts_with("the volume's file has holes, 4Ki of 1Mi are set aside"));
        assert_eq!(hollow(&Element::new("volume")), None);
    }
}
