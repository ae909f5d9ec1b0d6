//! Volumes: find, compare, create, grow and delete disk images.

mod act;
pub mod fetch;
pub mod image;
mod import;
pub mod render;
mod secrets;
mod stranger;
pub mod unpack;

use std::{fmt, sync::Arc};

use anyhow::{Context, anyhow};
use apis::{
    Managed, Volume,
    condition::{Status, Type, Wish},
    managed::annotation,
    placement::ConfigId,
    quantity::Quantity,
    volume::{BackingObservation, Format, VolumeObservation},
};
use libvirt::{
    mirror::{Presence, VolumeEntry},
    xml::Element,
};
use managed::{
    creation::{Creation, was_created},
    external::{Deletion, External, Pass, Refusal, Report, Standing},
    plan::only_observes,
};

use crate::{
    adopt::Adoption,
    cluster::Cluster,
    details,
    domain::resolve::{chain, place},
    hosts::{Connector, owner},
    initial,
    links::Asker,
    located::{Located, Wanted},
    ownership::{Key, Record},
    references::{self, BACKING, Choices},
    storage,
};
use act::{another_format, as_specified, grow, make, shrink};
pub use import::Imports;
use render::Below;
pub use secrets::ImageSecrets;

/// The kind.
pub struct Volumes {
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    key: Key,
    adoption: Arc<Adoption>,
    imports: Arc<Imports>,
    secrets: ImageSecrets,
    located: Located,
}

/// What other objects had to tell.
pub struct Referents {
    /// The name of the pool, empty where an object that only looks says none.
    pool: String,
    /// The volume below.
    backing: Option<Below>,
    /// What selectors chose.
    choices: Choices,
    /// How the image's servers are met.
    access: fetch::Access,
    /// Others made it, and it is only looked at.
    theirs: Option<Wanted>,
}

/// What the host has of a Volume.
pub struct Found {
    entry: Arc<VolumeEntry>,
    pool_uuid: Option<String>,
    /// The UUIDs of other pools that show the same file, where it is to be taken over.
    twins: Vec<String>,
    import: Option<import::State>,
}

/// What would make a volume as wished: it only ever grows. Of one that others made and that is only looked at: how it differs.
#[derive(Debug)]
pub struct Change {
    from: u64,
    to: u64,
    /// The format that it has, and the wished one. Never changed.
    format: Option<(Option<Format>, Format)>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, format } = self;
        let capacity = || format!("capacity: {}, wished {}", Quantity::of_bytes(*from), Quantity::of_bytes(*to));
        let format = format.map(|(have, want)| {
            format!("format: {}, wished {}", have.map_or("another", Format::as_libvirt), want.as_libvirt())
        });
        let parts: Vec<String> = (from != to).then(capacity).into_iter().chain(format).collect();
        f.write_str(&parts.join("; "))
    }
}

impl Volumes {
    /// The kind.
    pub fn new(
        cluster: Arc<Cluster>,
        connector: Arc<Connector>,
        adoption: Arc<Adoption>,
        imports: Arc<Imports>,
        secrets: ImageSecrets,
    ) -> Self {
        let key = adoption.key().clone();
        Self { cluster, connector, key, adoption, imports, secrets, located: Located::default() }
    }

    fn is_ours(&self, pass: &Pass<'_, Self>, pool_uuid: Option<&str>) -> bool {
        is_among(&storage::records(pass.object, &self.key), pass, pool_uuid)
    }

    async fn read(&self, pass: &Pass<'_, Self>, pool: &str) -> anyhow::Result<Found> {
        let entry = storage::read(pass.host, pool, pass.object.external_name()).await?;
        Ok(self.found(pass, pool, entry))
    }

    fn found(&self, pass: &Pass<'_, Self>, pool: &str, entry: Arc<VolumeEntry>) -> Found {
        let import = self.imports.state(pass.object.uid());
        Found { entry, pool_uuid: pass.host.pool_uuid(pool), twins: Vec::new(), import }
    }
}

/// Whether one of these records is of the object's volume in this pool.
fn is_among(records: &[Record], pass: &Pass<'_, Volumes>, pool_uuid: Option<&str>) -> bool {
    let (uid, name) = (pass.object.uid(), pass.object.external_name());
    let is_it = |record: &Record| pool_uuid.is_some_and(|pool| record.is_of(uid, pass.host.uuid(), pool, name));
    records.iter().any(is_it)
}

fn wished_format(object: &Volume) -> Format {
    object.effective().parameters().format.unwrap_or_default()
}

/// Whether the status has shown the volume already, which it does only of a whole one. The annotation that says so may have been
/// taken away by hand; the image is not fetched over a guest's data for that.
fn was_whole(object: &Volume) -> bool {
    !was_created(object) && object.observation().is_some_and(|seen| seen.id.is_some())
}

impl External for Volumes {
    type Managed = Volume;
    type Connector = Connector;
    type Referents = Referents;
    type Found = Found;
    type Change = Change;

    const CONDITIONS: &'static [Type] = &[Type::Importing];

    fn neighbours(&self, object: &Volume) -> Vec<ConfigId> {
        self.cluster.hosts_of_referents(object)
    }

    async fn resolve(&self, object: &Volume, config: &ConfigId) -> anyhow::Result<Referents> {
        initial::check(object)?;
        let access = self.secrets.of(object).await?;
        let (asker, links) = (Asker::of(object, config), self.cluster.links(object));
        let choices = links.choices();
        let whole = object.effective();
        let pool = storage::pool(&self.cluster, &asker, &links, whole.parameters().pool.as_ref())?;
        let theirs = only_observes(object) && storage::records(object, &self.key).is_empty();
        let (pool, theirs) = if theirs {
            let wanted = Wanted { pool: pool.clone(), name: object.external_name().to_owned(), seed: false };
            (pool.unwrap_or_default(), Some(wanted))
        } else {
            let name = object.external_name();
            anyhow::ensure!(
                !name.starts_with('/'),
                "the annotation crossplane.io/external-name is the path {name}, by which a volume is only looked at; to manage it, say its name there and its pool in spec.forProvider"
            );
            (pool.context(storage::NO_POOL)?, None)
        };
        let Some(below) = links.find(&self.cluster.volumes, &asker, BACKING)? else {
            return Ok(Referents { pool, backing: None, choices, access, theirs });
        };
        let capacity = below.observation().and_then(|seen| seen.capacity.as_ref()?.bytes().ok()).unwrap_or_default();
        // The chain as a whole must be there, not just its first link.
        chain(&self.cluster, &asker, object)?;
        let (path, format) = place(&below)?;
        Ok(Referents { pool, backing: Some(Below { path, format, capacity }), choices, access, theirs })
    }

    async fn find(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Found> {
        let Referents { pool, backing: _, choices: _, access: _, theirs } = referents;
        let entry = match theirs {
            Some(wanted) => self.located.look(pass.host, pass.object, wanted.clone()).await?,
            None => storage::look(pass.host, &owner(pass.object), pool, pass.object.external_name()).await?,
        };
        let mut found = self.found(pass, &referents.pool, entry);
        let may_take = Adoption::asks(pass.object) && !self.is_ours(pass, found.pool_uuid.as_deref());
        if may_take && found.entry.description().is_some() {
            found.twins = storage::twins(pass.host, &referents.pool, pass.object.external_name()).await?;
        }
        Ok(found)
    }

    fn compare(&self, pass: &Pass<'_, Self>, referents: &Referents, found: &Found) -> anyhow::Result<Standing<Change>> {
        if found.import.as_ref().is_some_and(import::State::is_running) {
            return Ok(Standing::Underway);
        }
        let description = match &found.entry.presence {
            Presence::Present(description) => description,
            Presence::Absent if pass.policies.only_observes() => return Ok(Standing::Absent),
            Presence::Absent => return Ok(absent(pass)),
            Presence::PoolInactive => {
                return Err(anyhow!("pool {} is not running, so nothing can be said of the volume", referents.pool));
            }
            Presence::PoolAbsent => return Err(anyhow!("there is no pool {} on the host", referents.pool)),
        };
        if pass.policies.only_observes() {
            return looked_at(pass.object, description);
        }
        // What appeared after an attempt that failed is not its work, whatever record that attempt left.
        let failed = pass.creation == Creation::Failed && found.import.is_none();
        if failed || !self.is_ours(pass, found.pool_uuid.as_deref()) {
            return Ok(self.stranger(pass, referents, found, description).standing());
        }
        let imported = pass.object.merged().parameters().source.is_some();
        if pass.creation.is_incomplete() && imported && found.import.is_none() && !was_whole(pass.object) {
            // An import that was cut short left a part of the image; it is fetched anew.
            return Ok(Standing::Absent);
        }
        if let Err(message) = as_specified(description, wished_format(pass.object)) {
            return Ok(Standing::Refused(Refusal { reason: "FormatChanged", message }));
        }
        if let Some(message) = stranger::another_backing(referents.backing.as_ref(), description) {
            return Ok(Standing::Refused(Refusal { reason: "BackingChanged", message }));
        }
        let whole = pass.object.effective();
        let Some(wished) = &whole.parameters().capacity else { return Ok(Standing::Settled) };
        let (from, to) = (storage::bytes(description, "capacity"), render::sectors(wished)?);
        Ok(match to.cmp(&from) {
            std::cmp::Ordering::Equal => Standing::Settled,
            std::cmp::Ordering::Greater => Standing::Drifted(Change { from, to, format: None }, None),
            std::cmp::Ordering::Less => Standing::Refused(shrink(wished, from)),
        })
    }

    async fn record(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<managed::external::Record> {
        let name = pass.object.external_name();
        // The record says "ours" of what will be there, so nothing may be there now but what an earlier attempt of ours left.
        let found = self.read(pass, &referents.pool).await?;
        let leftover = found.entry.description().is_some();
        let may_stay = pass.creation == Creation::Open && self.is_ours(pass, found.pool_uuid.as_deref());
        anyhow::ensure!(!leftover || may_stay, "{}", storage::foreign_volume(name, &referents.pool).message);
        let whole = pass.object.merged();
        if whole.parameters().source.is_none() {
            // What cannot be described is said before anything is written down.
            render::render(&whole, referents.backing.as_ref())?;
        }
        let pool = found.pool_uuid.with_context(|| format!("there is no pool {} on the host", referents.pool))?;
        if let Some(other) = self.adoption.claimant(pass.object.uid(), pass.host, &pool, name) {
            anyhow::bail!(
                "volume {name:?} in pool {} belongs to {other}, which lost it and may get it back; choose another name with the annotation crossplane.io/external-name, or delete that object",
                referents.pool
            );
        }
        let mut annotations = storage::record(pass.object, pass.host, &pool, &[name.to_owned()], &self.key);
        annotations.push(references::record(&referents.choices));
        Ok(managed::external::Record { annotations, leftover })
    }

    fn is_costly(&self, object: &Volume) -> bool {
        // A web server that fails is asked less and less.
        object.merged().parameters().source.is_some()
    }

    async fn create(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Found> {
        let whole = pass.object.merged();
        let parameters = whole.parameters();
        storage::forget_ghost(pass.host, &referents.pool, pass.object.external_name()).await?;
        if let Some(source) = &parameters.source {
            if let Some(error) = self.imports.take_failure(pass.object.uid()) {
                return Err(error);
            }
            let policy = self.cluster.host_spec(pass.config).and_then(|spec| spec.policy).unwrap_or_default();
            let order = import::Order::new(pass, referents, source.http.clone(), policy);
            self.imports.start(order);
            return self.read(pass, &referents.pool).await;
        }
        let element = render::render(&whole, referents.backing.as_ref())?;
        let (pool, name) = (referents.pool.clone(), pass.object.external_name().to_owned());
        let (tables, resumed) = (render::makes_tables(&whole), pass.creation == Creation::Open);
        let volume = name.clone();
        pass.host
            .job(&referents.pool, &volume, move |host| make(host, (&pool, &name), &element, tables, resumed))
            .await?;
        self.read(pass, &referents.pool).await
    }

    async fn update(&self, pass: &Pass<'_, Self>, referents: &Referents, change: &Change) -> anyhow::Result<Found> {
        let found = self.read(pass, &referents.pool).await?;
        let Some(description) = found.entry.description() else { anyhow::bail!("the volume went away meanwhile") };
        let is_own = is_among(&self.adoption.own(pass.object), pass, found.pool_uuid.as_deref());
        anyhow::ensure!(is_own, "the volume is not ours any more");
        let path = description.text_at("target/path").context("the volume has no path")?.to_owned();
        let (pool, name, to) = (referents.pool.clone(), pass.object.external_name().to_owned(), change.to);
        if to > storage::bytes(description, "capacity") {
            let volume = name.clone();
            let format = wished_format(pass.object);
            pass.host.job(&referents.pool, &volume, move |host| grow(host, (&pool, &name), &path, format, to)).await?;
        }
        self.read(pass, &referents.pool).await
    }

    async fn delete(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Deletion> {
        if let Some(refusal) = self.cluster.in_use(pass.object) {
            return Ok(Deletion::Refused(refusal));
        }
        self.imports.cancel(pass.object.uid()).await;
        if pass.creation == Creation::Failed {
            // What has the volume's name now came after the attempt that made nothing.
            return Ok(Deletion::Absent);
        }
        storage::take_away(pass.host, self.adoption.own(pass.object)).await
    }

    fn report(&self, pass: &Pass<'_, Self>, referents: Option<&Referents>, found: &Found) -> Report<VolumeObservation> {
        let mut conditions = Vec::new();
        if let Some(import) = found.import.as_ref().filter(|import| import.has_begun()) {
            conditions.push(Wish::new(Type::Importing, Status::True, "Downloading").because(import.to_string()));
        }
        let whole = !found.import.as_ref().is_some_and(import::State::is_running);
        let Some(description) = found.entry.description().filter(|_| whole) else {
            return Report {
                conditions,
                complete: false,
                ..Report::of(VolumeObservation::default(), Wish::creating())
            };
        };
        let observation = VolumeObservation {
            id: description.text_at("key").map(str::to_owned),
            pool: Some(found.entry.pool.clone()),
            name: Some(found.entry.name.clone()),
            path: description.text_at("target/path").map(str::to_owned),
            capacity: Some(Quantity::of_bytes(storage::bytes(description, "capacity"))),
            format: format(description),
            backing_store: description
                .text_at("backingStore/path")
                .map(|path| BackingObservation { path: path.to_owned() }),
        };
        let details = details::volume(pass.object, &observation);
        // The leave to make a lost volume again is for once.
        let mut annotations =
            if pass.policies.only_observes() { Vec::new() } else { vec![(annotation::RECREATE, None)] };
        annotations.extend(referents.map(|referents| references::record(&referents.choices)));
        Report { annotations, details, ..Report::of(observation, Wish::available()) }
    }

    fn forget(&self, object: &Volume) {
        self.imports.forget(object.uid());
        self.secrets.forget(object);
        self.adoption.forget(object.uid());
        self.located.forget(object.uid());
        self.connector.unclaim(object);
    }
}

/// The format that the pool shows. Others are somebody's own doing and not ours to name.
fn format(description: &Element) -> Option<Format> {
    [Format::Raw, Format::Qcow2]
        .into_iter()
        .find(|format| description.attr_at("target/format@type") == Some(format.as_libvirt()))
}

/// A volume that was there once and is gone is not made again by itself: its data would be missing, and a guest would boot blank.
fn absent(pass: &Pass<'_, Volumes>) -> Standing<Change> {
    let allowed = pass.object.annotation(annotation::RECREATE) == Some(pass.object.uid());
    if !was_created(pass.object) || allowed {
        return Standing::Absent;
    }
    Standing::Barred(Refusal {
        reason: "Lost",
        message: format!(
            "the volume was there and is gone; it is not made again by itself, because its data would be missing. Bring it back, or allow an empty one with the annotation {}: {}",
            annotation::RECREATE,
            pass.object.uid()
        ),
    })
}

/// How a volume that is only looked at differs from what the spec says of it: nothing is done about it, so nothing is refused.
fn looked_at(object: &Volume, description: &Element) -> anyhow::Result<Standing<Change>> {
    let (wished, from) = (object.parameters(), storage::bytes(description, "capacity"));
    let capacity = wished.capacity.as_ref().map(Quantity::bytes).transpose();
    let capacity = capacity.map_err(anyhow::Error::msg).context("capacity")?;
    let to = capacity.filter(|capacity| capacity.next_multiple_of(512) != from).unwrap_or(from);
    let have = format(description);
    let format = wished.format.filter(|wished| Some(*wished) != have).map(|wished| (have, wished));
    let settled = from == to && format.is_none();
    Ok(if settled { Standing::Settled } else { Standing::Drifted(Change { from, to, format }, None) })
}
