//! `CloudInit`: the seed of a guest, in a volume whose name tells its content. New content is a new volume; the old one goes when no guest has it.

pub mod cloud_config;
mod contents;
pub(crate) mod macs;
pub mod mime;
mod obstacle;
pub mod seed;
pub mod told;

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use anyhow::Context;
use apis::{
    CloudInit, Managed,
    cloud_init::{CloudInitObservation, SeedFormat},
    condition::{Type, Wish},
    managed::annotation,
    placement::{ConfigId, Neighbour},
    quantity::Quantity,
};
use kube::Client;
use libvirt::{
    Connection, UploadRequest,
    mirror::{Presence, VolumeEntry},
    xml::Element,
};
use managed::{
    external::{Annotations, Deletion, External, Pass, Report, Standing},
    plan::only_observes,
};

use crate::{
    adopt::{Adoption, Obstacle},
    applied,
    cluster::Cluster,
    details,
    hosts::{Connector, owner},
    initial,
    links::Asker,
    located::{Located, Wanted},
    ownership::{Key, Record},
    references::{self, Choices},
    storage,
};
use contents::Contents;
use told::Told;

/// How long the host may take for one piece of a seed.
const PIECE: Duration = Duration::from_mins(1);
/// How often it is tried to take away a seed that guests may still have.
const TIDY: Duration = Duration::from_secs(10);

/// The kind.
pub struct CloudInits {
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    contents: Contents,
    key: Key,
    adoption: Arc<Adoption>,
    located: Located,
}

/// What other objects had to tell: where the seed goes, and its content.
pub struct Referents {
    /// The name of the pool, empty where an object that only looks says none.
    pool: String,
    /// The content, and the volume whose name tells it; none where others made it.
    seed: Option<Told>,
    volume: String,
    /// What selectors chose.
    choices: Choices,
    /// A name for the content that tells nothing of it.
    content: String,
    /// Whether that volume was taken over, or made with content that is no more in the spec.
    kept: bool,
    /// Others made it, and it is only looked at.
    theirs: Option<Wanted>,
}

/// What the host has of a `CloudInit`.
pub struct Found {
    entry: Arc<VolumeEntry>,
    pool_uuid: Option<String>,
    instance_id: Option<String>,
    /// Volumes with earlier content that are there still.
    outdated: Vec<String>,
    /// A volume that is not the object's where its seed is to be.
    obstacle: Option<Obstacle>,
}

/// There is nothing to change: other content is another volume.
pub struct Change(Infallible);

impl fmt::Display for Change {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {}
    }
}

impl CloudInits {
    /// The kind. `key` signs who owns which volume.
    pub fn new(
        cluster: Arc<Cluster>,
        connector: Arc<Connector>,
        client: Client,
        key: Key,
        adoption: Arc<Adoption>,
    ) -> Self {
        let contents = Contents::new(client, &cluster, key.clone());
        Self { cluster, connector, contents, key, adoption, located: Located::default() }
    }

    /// The volumes that the object's signed records name, in this pool of this host.
    fn ours(&self, pass: &Pass<'_, Self>, pool_uuid: Option<&str>) -> Vec<String> {
        let here = |record: &Record| record.host == pass.host.uuid() && Some(record.pool.as_str()) == pool_uuid;
        let records = storage::records(pass.object, &self.key).into_iter().filter(here);
        records.map(|record| record.volume).collect()
    }

    fn found(&self, pass: &Pass<'_, Self>, referents: &Referents, entry: Arc<VolumeEntry>) -> Found {
        let pool_uuid = pass.host.pool_uuid(&referents.pool);
        let mut outdated = self.ours(pass, pool_uuid.as_deref());
        outdated.retain(|volume| *volume != referents.volume);
        let instance_id = match &referents.seed {
            Some(_) if referents.kept => pass.object.observation().and_then(|seen| seen.instance_id.clone()),
            seed => seed.as_ref().and_then(|seed| instance_id(pass.object, seed)),
        };
        Found { entry, pool_uuid, instance_id, outdated, obstacle: None }
    }

    /// The volume that holds what `forProvider` says, where its name does not tell: it was taken over, or holds more.
    fn kept(&self, object: &CloudInit, content: &str) -> Option<String> {
        let [of, volume] = <[String; 2]>::try_from(applied::paths(object)).ok()?;
        let records = storage::records(object, &self.key);
        (of == content && records.iter().any(|record| record.volume == volume)).then_some(volume)
    }

    /// The volume of a seed that was made of `forProvider` alone: what `initProvider` came to say later never counts for it.
    fn plain(&self, object: &CloudInit, content: &str) -> Option<String> {
        let plain = named(object, content);
        storage::records(object, &self.key).iter().any(|record| record.volume == plain).then_some(plain)
    }
}

/// The name of the volume with this content.
fn named(object: &CloudInit, content: &str) -> String {
    format!("{}-{content}.{}", object.external_name(), format(object).suffix())
}

/// Who reads the seed of an object.
pub(crate) fn format(object: &CloudInit) -> SeedFormat {
    object.effective().parameters().format.unwrap_or_default()
}

/// The instance-id of the guest, unless it stands in a Secret.
fn instance_id(object: &CloudInit, seed: &Told) -> Option<String> {
    let from_secret =
        object.merged().parameters().meta_data.as_ref().is_some_and(|content| content.secret_key_ref.is_some());
    if from_secret { None } else { seed::instance_id(seed.meta_data()?) }
}

/// Makes the volume for a seed of this size, which may have to be exactly that. What an attempt before left goes first.
fn make(host: &Connection, pool: &str, name: &str, (size, is_exact): (usize, bool)) -> anyhow::Result<()> {
    let found = host.find_pool_by_name(pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
    if let Some(volume) = found.find_volume(name)? {
        let path = volume.path()?;
        if let Some(user) = storage::user(host, pool, name, &path)? {
            anyhow::bail!("the part of a seed that was left is used by {user}");
        }
        volume.delete().context("remove the part of a seed that was left")?;
    }
    let bytes = |name: &str| Element::new(name).attr("unit", "bytes").text(size.to_string());
    let element = Element::new("volume")
        .child(Element::new("name").text(name))
        .child(bytes("capacity"))
        .child(bytes("allocation"))
        .child(Element::new("target").child(Element::new("format").attr("type", "raw")));
    let volume = found.create_volume(&element.write().context("write the description")?).context("create volume")?;
    if is_exact {
        let made = Element::parse(&volume.describe()?).context("read the description of the volume")?;
        if storage::bytes(&made, "capacity") != size as u64 {
            volume.delete().context("remove the volume")?;
            anyhow::bail!(
                "pool {pool} makes no volumes of {size} bytes; format: Ignition needs a pool that is a folder"
            );
        }
    }
    Ok(())
}

impl External for CloudInits {
    type Managed = CloudInit;
    type Connector = Connector;
    type Referents = Referents;
    type Found = Found;
    type Change = Change;

    const CONDITIONS: &'static [Type] = &[];
    /// New content is a new volume, which nobody made before.
    const SAME_FOR_LIFE: bool = false;

    fn neighbours(&self, object: &CloudInit) -> Vec<Neighbour> {
        self.cluster.neighbours(object)
    }

    async fn resolve(&self, object: &CloudInit, config: &ConfigId) -> anyhow::Result<Referents> {
        initial::check(object)?;
        let (asker, whole, links) = (Asker::of(object, config), object.effective(), self.cluster.links(object));
        let choices = links.choices();
        let pool = storage::pool(&self.cluster, &asker, &links, whole.parameters().pool.as_ref())?;
        if only_observes(object) && storage::records(object, &self.key).is_empty() {
            let wanted = Wanted { pool: pool.clone(), name: object.external_name().to_owned(), seed: true };
            let pool = pool.unwrap_or_default();
            let (volume, content) = (String::new(), String::new());
            return Ok(Referents { pool, seed: None, volume, choices, content, kept: false, theirs: Some(wanted) });
        }
        let pool = pool.context(storage::NO_POOL)?;
        let mut seed = self.contents.seed(object).await?;
        // The content may be a password; a plain digest in a name that others can read would let them test guesses.
        let content = self.key.name_of(&seed.digest());
        let kept = self.kept(object, &content);
        let is_kept = kept.is_some();
        let known = kept.or_else(|| self.plain(object, &content));
        if known.is_none() && object.initial().is_some() {
            seed = self.contents.seed(&object.merged()).await?;
        }
        let volume = known.unwrap_or_else(|| named(object, &self.key.name_of(&seed.digest())));
        Ok(Referents { pool, seed: Some(seed), volume, choices, content, kept: is_kept, theirs: None })
    }

    async fn find(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Found> {
        if let Some(wanted) = &referents.theirs {
            let entry = self.located.look(pass.host, pass.object, wanted.clone()).await?;
            return Ok(self.found(pass, referents, entry));
        }
        let entry = storage::look(pass.host, &owner(pass.object), &referents.pool, &referents.volume).await?;
        let obstacle = self.obstacle(pass, referents, &entry).await?;
        Ok(Found { obstacle, ..self.found(pass, referents, entry) })
    }

    fn compare(&self, pass: &Pass<'_, Self>, referents: &Referents, found: &Found) -> anyhow::Result<Standing<Change>> {
        let pool = &referents.pool;
        let may_change = !pass.policies.only_observes();
        if let Some(obstacle) = &found.obstacle {
            return Ok(obstacle.standing());
        }
        match &found.entry.presence {
            Presence::Present(_) if !may_change => Ok(Standing::Settled),
            Presence::Present(_) if found.pool_uuid.is_none() => Err(storage::not_read(pool)),
            Presence::Present(_) if !self.ours(pass, found.pool_uuid.as_deref()).contains(&referents.volume) => {
                Ok(Standing::Barred(storage::foreign_volume(&referents.volume, pool)))
            }
            // A seed that was cut short is written anew: its content is in the spec.
            Presence::Present(_) if pass.creation.is_incomplete() => Ok(Standing::Absent),
            Presence::Present(_) => Ok(Standing::Settled),
            Presence::Absent => Ok(Standing::Absent),
            Presence::PoolInactive => anyhow::bail!("pool {pool} is not running, so nothing can be said of the seed"),
            Presence::PoolAbsent => anyhow::bail!("there is no pool {pool} on the host"),
        }
    }

    async fn record(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<managed::external::Record> {
        let Referents { pool, volume, choices, seed: _, content, kept: _, theirs: _ } = referents;
        let uuid = pass.host.pool_uuid(pool).ok_or_else(|| storage::not_read(pool))?;
        let mut volumes = self.ours(pass, Some(&uuid));
        let leftover = storage::read(pass.host, pool, volume).await?.description().is_some();
        if !volumes.contains(volume) {
            anyhow::ensure!(!leftover, "{}", storage::foreign_volume(volume, pool).message);
            volumes.push(volume.clone());
        }
        if let Some(other) = self.adoption.claim(pass.object.uid(), pass.host, &uuid, volume) {
            anyhow::bail!("{}", storage::claimed(volume, pool, &other));
        }
        let mut annotations = storage::record(pass.object, pass.host, &uuid, &volumes, &self.key);
        annotations.push(references::record(choices));
        if pass.object.initial().is_some() {
            let kept = applied::text(&[content.clone(), volume.clone()]);
            annotations.push((annotation::APPLIED, Some(kept)));
        }
        Ok(managed::external::Record { annotations, leftover })
    }

    async fn create(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Found> {
        // A seed that was kept, of which the spec no more says all, is made of what is initial today.
        let anew = if referents.kept && pass.object.initial().is_some() {
            Some(self.contents.seed(&pass.object.merged()).await?)
        } else {
            None
        };
        let told = anew.as_ref().or(referents.seed.as_ref()).context("the seed is not known")?;
        let (image, is_exact) = (told.bytes()?, told.is_exact());
        storage::forget_ghost(pass.host, &referents.pool, &referents.volume).await?;
        let (pool, name, size) = (referents.pool.clone(), referents.volume.clone(), image.len());
        // The name tells the content and the record was there before, so a volume of that name that is left is ours.
        let _sharing = pass.host.sharing(&referents.pool).await;
        pass.host.long(&format!("{pool}/{name}"), move |host| make(host, &pool, &name, (size, is_exact))).await?;
        let request = UploadRequest {
            pool: referents.pool.clone(),
            volume: referents.volume.clone(),
            offset: 0,
            length: size as u64,
            progress: PIECE,
        };
        let mut upload = pass.host.upload(request).await.context("write the seed to the host")?;
        upload.send(image).await.context("write the seed to the host")?;
        upload.finish().await.context("write the seed to the host")?;
        let entry = storage::read(pass.host, &referents.pool, &referents.volume).await?;
        Ok(self.found(pass, referents, entry))
    }

    async fn update(&self, _: &Pass<'_, Self>, _: &Referents, change: &Change) -> anyhow::Result<Found> {
        match change.0 {}
    }

    async fn delete(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Deletion> {
        if let Some(refusal) = self.cluster.in_use(pass.object) {
            return Ok(Deletion::Refused(refusal));
        }
        storage::take_away(pass.host, self.adoption.own(pass.object), None).await
    }

    /// Takes away earlier content that no guest has any more.
    async fn tidy(&self, pass: &Pass<'_, Self>, referents: &Referents, found: &Found) -> anyhow::Result<Annotations> {
        let Some(uuid) = found.pool_uuid.as_deref().filter(|_| !found.outdated.is_empty()) else {
            return Ok(Annotations::new());
        };
        let own = self.adoption.own(pass.object);
        let is_own = |volume: &&String| own.iter().any(|record| record.pool == uuid && record.volume == **volume);
        let mut left = Vec::new();
        for volume in found.outdated.iter().filter(is_own) {
            match storage::delete(pass.host, (&referents.pool, volume), None).await? {
                Deletion::Absent | Deletion::Requested => {}
                Deletion::Waiting(..) | Deletion::Refused(_) => left.push(volume.clone()),
            }
        }
        left.push(referents.volume.clone());
        Ok(storage::record(pass.object, pass.host, uuid, &left, &self.key))
    }

    fn report(
        &self,
        pass: &Pass<'_, Self>,
        referents: Option<&Referents>,
        found: &Found,
    ) -> Report<CloudInitObservation> {
        let Some(description) = found.entry.description() else {
            return Report::of(CloudInitObservation::default(), Wish::creating());
        };
        let observation = CloudInitObservation {
            id: description.text_at("key").map(str::to_owned),
            pool: Some(found.entry.pool.clone()),
            volume: Some(found.entry.name.clone()),
            path: description.text_at("target/path").map(str::to_owned),
            capacity: Some(Quantity::of_bytes(storage::bytes(description, "capacity"))),
            instance_id: found.instance_id.clone(),
        };
        let details = details::cloud_init(pass.object, &observation);
        let chosen = referents.map(|referents| references::record(&referents.choices));
        if pass.policies.only_observes() {
            // A record would make it ours, and ours to delete.
            return Report {
                annotations: chosen.into_iter().collect(),
                details,
                ..Report::of(observation, Wish::available())
            };
        }
        let mut kept = found.outdated.clone();
        kept.extend(referents.map(|referents| referents.volume.clone()));
        let recheck = (!found.outdated.is_empty()).then_some(TIDY);
        let signed = |uuid: &String| storage::record(pass.object, pass.host, uuid, &kept, &self.key);
        let mut annotations = found.pool_uuid.as_ref().map(signed).unwrap_or_default();
        annotations.extend(chosen);
        Report { annotations, details, recheck, ..Report::of(observation, Wish::available()) }
    }

    fn forget(&self, object: &CloudInit) {
        self.contents.forget(object);
        self.adoption.forget(object.uid());
        self.located.forget(object.uid());
        self.connector.unclaim(object);
    }
}
