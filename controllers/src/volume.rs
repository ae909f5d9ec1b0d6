//! Volumes: find, compare, create, grow and delete disk images.

mod act;
mod circle;
pub(crate) mod devices;
pub(crate) mod encryption;
pub mod fetch;
pub mod image;
mod import;
mod left;
mod observed;
mod original;
mod partition;
mod permissions;
pub mod render;
mod room;
mod secrets;
mod standing;
mod stranger;
mod unfinished;
pub mod unpack;
mod wipe;
mod wished;
mod writer;

use std::sync::Arc;

use anyhow::{Context, anyhow};
use apis::{
    Managed, Volume,
    condition::{Status, Type, Wish},
    managed::annotation,
    placement::{ConfigId, Neighbour},
    volume::{Preallocation, Source, VolumeObservation, VolumeParameters},
};
use kube::Client;
use libvirt::mirror::{Presence, VolumeEntry};
use managed::{
    creation::Creation,
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
use act::{another_format, as_specified, clear, grow, make, shrink};
pub use encryption::encrypted;
use encryption::{Passphrase, Passphrases};
pub use import::Imports;
use original::Original;
use render::Below;
pub use secrets::ImageSecrets;
pub use standing::Change;
use standing::{absent, looked_at, was_whole, wished_format};
use wipe::Wipes;

/// The kind.
pub struct Volumes {
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    key: Key,
    adoption: Arc<Adoption>,
    imports: Arc<Imports>,
    secrets: ImageSecrets,
    passphrases: Passphrases,
    wipes: Arc<Wipes>,
    located: Located,
}

/// What other objects had to tell.
pub struct Referents {
    /// The name of the pool, empty where an object that only looks says none.
    pool: String,
    /// The volume below.
    backing: Option<Below>,
    /// The volume to copy.
    original: Option<Original>,
    /// What is to stand in the volume.
    content: Option<Vec<u8>>,
    /// What selectors chose.
    choices: Choices,
    /// How the image's servers are met.
    access: fetch::Access,
    /// What opens it, where it is encrypted.
    passphrase: Option<Passphrase>,
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

impl Volumes {
    /// The kind.
    pub fn new(
        cluster: Arc<Cluster>,
        connector: Arc<Connector>,
        adoption: Arc<Adoption>,
        imports: Arc<Imports>,
        client: Client,
    ) -> Self {
        let key = adoption.key().clone();
        let secrets = ImageSecrets::new(client.clone(), &cluster);
        let passphrases = Passphrases::new(client, &cluster, key.clone());
        let (wipes, located) = (Arc::default(), Located::default());
        Self { cluster, connector, key, adoption, imports, secrets, passphrases, wipes, located }
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

impl External for Volumes {
    type Managed = Volume;
    type Connector = Connector;
    type Referents = Referents;
    type Found = Found;
    type Change = Change;

    const CONDITIONS: &'static [Type] = &[Type::Importing];

    fn neighbours(&self, object: &Volume) -> Vec<Neighbour> {
        self.cluster.neighbours(object)
    }

    async fn resolve(&self, object: &Volume, config: &ConfigId) -> anyhow::Result<Referents> {
        initial::check(object)?;
        let proxy = self.cluster.host_spec(config).and_then(|spec| spec.policy?.image_proxy);
        let access = self.secrets.of(object, (config, proxy.as_ref())).await?;
        let content = self.secrets.content(object).await?;
        let passphrase = self.passphrases.read(object).await?;
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
        circle::check(&self.cluster, object)?;
        let original = Original::of(&self.cluster, &asker, &links)?;
        let Some(below) = links.find(&self.cluster.volumes, &asker, BACKING)? else {
            return Ok(Referents { pool, backing: None, original, content, choices, access, passphrase, theirs });
        };
        let capacity = below.observation().and_then(|seen| seen.capacity.as_ref()?.bytes().ok()).unwrap_or_default();
        // The chain as a whole must be there, not just its first link.
        chain(&self.cluster, &asker, object)?;
        let (path, format) = place(&below)?;
        let backing = Some(Below { path, format, capacity });
        Ok(Referents { pool, backing, original, content, choices, access, passphrase, theirs })
    }

    async fn find(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Found> {
        let Referents { pool, backing: _, original: _, content: _, choices: _, access: _, passphrase: _, theirs } =
            referents;
        let entry = match theirs {
            Some(wanted) => self.located.look(pass.host, pass.object, wanted.clone()).await?,
            None => storage::look(pass.host, &owner(pass.object), pool, pass.object.external_name()).await?,
        };
        let mut found = self.found(pass, &referents.pool, entry);
        let may_take = Adoption::asks(pass.object) && !self.is_ours(pass, found.pool_uuid.as_deref());
        if may_take && found.entry.description().is_some() {
            found.twins = storage::twins(pass.host, &referents.pool, pass.object.external_name()).await?;
        }
        if !pass.policies.is_held() {
            self.keep_passphrase(pass, referents, &found).await?;
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
        if found.pool_uuid.is_none() {
            return Err(storage::not_read(&referents.pool));
        }
        // What appeared after an attempt that failed is not its work, whatever record that attempt left.
        let failed = pass.creation == Creation::Failed && found.import.is_none();
        if failed || !self.is_ours(pass, found.pool_uuid.as_deref()) {
            return Ok(self.stranger(pass, referents, found, description).standing());
        }
        if pass.creation.is_incomplete() && found.import.is_none() && !was_whole(pass.object) {
            // What was cut short left a part, or is still made on the host, or somebody put something in its place: it is looked at there.
            return Ok(Standing::Absent);
        }
        if let Err(message) = as_specified(description, wished_format(pass.object)) {
            return Ok(Standing::Refused(Refusal { reason: "FormatChanged", message }));
        }
        if let Some(message) = stranger::another_backing(referents.backing.as_ref(), description) {
            return Ok(Standing::Refused(Refusal { reason: "BackingChanged", message }));
        }
        if let Some(refusal) = self.another_encryption(pass, referents, description) {
            return Ok(Standing::Refused(refusal));
        }
        let whole = pass.object.effective();
        let Some(wished) = &whole.parameters().capacity else { return Ok(Standing::Settled) };
        let (from, to) = (storage::bytes(description, "capacity"), render::sectors(wished)?);
        Ok(match to.cmp(&from) {
            std::cmp::Ordering::Equal => Standing::Settled,
            std::cmp::Ordering::Greater => Standing::Drifted(Change { from, to, format: None }, None),
            std::cmp::Ordering::Less if devices::is_rounded(description, to, from) => Standing::Settled,
            std::cmp::Ordering::Less => Standing::Refused(shrink(wished, from)),
        })
    }

    async fn record(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<managed::external::Record> {
        let name = pass.object.external_name();
        if pass.creation == Creation::Open {
            storage::look_through(pass.host, &referents.pool, name).await?;
        }
        // The record says "ours" of what will be there, so nothing may be there now but what an earlier attempt of ours left.
        let found = self.read(pass, &referents.pool).await?;
        let Some(pool) = found.pool_uuid.clone() else { return Err(storage::not_read(&referents.pool)) };
        let leftover = found.entry.description().is_some();
        let may_stay = pass.creation == Creation::Open && self.is_ours(pass, found.pool_uuid.as_deref());
        anyhow::ensure!(!leftover || may_stay, "{}", storage::foreign_volume(name, &referents.pool).message);
        self.check_wished(pass, referents, leftover).await?;
        self.claim(pass, referents, &pool)?;
        let mut annotations = storage::record(pass.object, pass.host, &pool, &[name.to_owned()], &self.key);
        annotations.push(references::record(&referents.choices));
        if !leftover {
            annotations.extend(self.print_to_be(pass, referents).await?);
        }
        Ok(managed::external::Record { annotations, leftover })
    }

    fn is_costly(&self, object: &Volume) -> bool {
        let whole = object.merged();
        let VolumeParameters { source, permissions, preallocation, .. } = whole.parameters();
        // A web server that fails is asked less and less, and a host does not copy all the time. What a Secret says is there at once.
        let is_far = |source: &Source| source.secret_key_ref.is_none() && source.config_map_key_ref.is_none();
        // Storage that keeps no owner or mode would have a file made and removed all the time.
        permissions.is_some() || *preallocation == Some(Preallocation::Falloc) || source.as_ref().is_some_and(is_far)
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
            let content = import::Content::of(pass, referents, source, policy)?;
            let left = (self.left(pass), self.imports.trace(pass.object));
            self.imports.start(import::Order::new(pass, referents, content, self.connector.clone(), left));
            return self.read(pass, &referents.pool).await;
        }
        let element = render::render(&whole, referents.backing.as_ref())?;
        let element = self.with_passphrase(pass, referents, element).await?;
        let (pool, name) = (referents.pool.clone(), pass.object.external_name().to_owned());
        let (tables, left) = (render::makes_tables(&whole), self.left(pass));
        let volume = name.clone();
        let made = pass
            .host
            .job(&referents.pool, &volume, move |host| make(host, (&pool, &name), &element, tables, left.as_ref()))
            .await;
        if let Err(error) = made {
            return Err(clear(pass.host, (&referents.pool, &volume), error).await);
        }
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
            let refused = Deletion::Refused(refusal);
            self.wipes.end(pass.object.uid(), &refused);
            return Ok(refused);
        }
        self.imports.cancel(pass.object.uid()).await;
        // What has the volume's name after an attempt that failed is none of its work, and what another object has a record of too, and
        // this one never saw whole, is not certain to be.
        let mut own = if pass.creation == Creation::Failed { Vec::new() } else { self.adoption.own(pass.object) };
        if pass.creation.is_incomplete() && !was_whole(pass.object) {
            own.retain(|record| self.adoption.claimant_of(record).is_none());
        }
        let guard = self.guard(pass);
        if let Some(obstacle) = self.overwrite(pass, &own, guard.as_ref())? {
            return Ok(obstacle);
        }
        let deletion = storage::take_away(pass.host, own, guard.as_ref()).await?;
        self.wipes.end(pass.object.uid(), &deletion);
        if matches!(deletion, Deletion::Absent | Deletion::Requested) {
            self.take_passphrase(pass).await?;
        }
        Ok(deletion)
    }

    fn report(&self, pass: &Pass<'_, Self>, referents: Option<&Referents>, found: &Found) -> Report<VolumeObservation> {
        let mut conditions = Vec::new();
        if let Some(import) = found.import.as_ref().filter(|import| import.has_begun()) {
            conditions.push(Wish::new(Type::Importing, Status::True, import.reason()).because(import.to_string()));
        }
        let whole = !found.import.as_ref().is_some_and(import::State::is_running);
        let Some(description) = found.entry.description().filter(|_| whole) else {
            return Report {
                conditions,
                complete: false,
                ..Report::of(VolumeObservation::default(), Wish::creating())
            };
        };
        let observation = observed::observe(pass.object, &found.entry, description);
        let details = details::volume(pass.object, &observation);
        // The leave to make a lost volume again is for once.
        let mut annotations =
            if pass.policies.only_observes() { Vec::new() } else { vec![(annotation::RECREATE, None)] };
        annotations.extend(referents.map(|referents| references::record(&referents.choices)));
        annotations.extend(self.print_seen(pass, referents, found));
        Report { annotations, details, ..Report::of(observation, Wish::available()) }
    }

    fn forget(&self, object: &Volume) {
        self.imports.forget(object.uid());
        self.secrets.forget(object);
        self.passphrases.forget(object);
        self.wipes.forget(object.uid());
        self.adoption.forget(object.uid());
        self.located.forget(object.uid());
        self.connector.unclaim(object);
    }
}
