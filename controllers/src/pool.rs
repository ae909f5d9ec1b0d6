//! Pools: find, compare, create, update and delete storage pools.

mod act;
mod auth;
pub mod observed;
pub(crate) mod reach;
pub mod render;
pub mod rules;
mod words;

use std::{sync::Arc, time::Duration};

use apis::{
    Managed, Pool,
    condition::{Type, Wish},
    managed::annotation,
    placement::{ConfigId, Neighbour},
    pool::PoolObservation,
};
use kube::Client;
use libvirt::{
    Claim,
    diff::{Difference, diff},
    mirror::PoolEntry,
    rule::Rules,
    wish::Wishes,
    xml::Element,
};
use managed::{
    creation::was_created,
    external::{Annotations, Deletion, External, Pass, Record, Refusal, Report, Standing},
    plan::only_observes,
};

use crate::{
    adopt::{Adoption, Asking, Obstacle},
    applied,
    cluster::Cluster,
    defined::{Change, Present, imported, standing},
    details,
    host_secrets::Value,
    hosts::{Connector, owner},
};
use auth::Passwords;

/// Remembers that we made the pool's directory, so that it goes with the pool if it is empty.
const BUILT: &str = "libvirt.nourspeed.io/built";

/// How soon a pool is looked at again whose directory is to be made now.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The kind.
pub struct Pools {
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    adoption: Arc<Adoption>,
    passwords: Passwords,
    rules: Arc<Rules>,
}

/// What the host has of a Pool.
pub struct Found {
    entry: Option<Arc<PoolEntry>>,
    obstacle: Option<Obstacle>,
    built: bool,
    /// Others made it, and it is only looked at.
    theirs: bool,
}

impl Pools {
    /// The kind, with its rules ready.
    pub fn new(cluster: Arc<Cluster>, connector: Arc<Connector>, adoption: Arc<Adoption>, client: Client) -> Self {
        let passwords = Passwords::new(client, &cluster);
        Self { cluster, connector, adoption, passwords, rules: Arc::new(rules::rules()) }
    }

    /// The object's pool by its UUID; where it is only looked at, else the one of that name, whoever made it.
    async fn entry(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Option<Arc<PoolEntry>>> {
        let (mirror, name) = (pass.host.mirror(), pass.object.external_name());
        let own = self.adoption.identity(pass.object, pass.host);
        let by_name = || mirror.pool_by_name(name).map(|entry| entry.uuid.clone());
        let ours = !pass.policies.only_observes() || mirror.pool(&own).is_some();
        let Some(uuid) = (if ours { Some(own) } else { by_name() }) else {
            mirror.claim(Claim::Pool(name.to_owned()), &owner(pass.object));
            return Ok(None);
        };
        if !mirror.claim(Claim::Pool(uuid.clone()), &owner(pass.object)) && mirror.pool(&uuid).is_some() {
            read(pass, &uuid).await?;
        }
        Ok(mirror.pool(&uuid))
    }

    /// Makes the pool as wished; a new one, where it is to be created, with what is initial.
    async fn apply(&self, pass: &Pass<'_, Self>, password: Option<&Value>, create: bool) -> anyhow::Result<Found> {
        self.passwords.give(pass.host, pass.object, password).await?;
        let (object, rules) = (pass.object.clone(), self.rules.clone());
        let uuid = self.adoption.identity(&object, pass.host);
        let of = uuid.clone();
        let built = pass
            .host
            .alone(pass.object.external_name(), move |host| act::make_true(host, &object, &of, &rules, create))
            .await?;
        let entry = read(pass, &uuid).await?.map(Arc::new);
        pass.host.mirror().claim(Claim::Pool(uuid), &owner(pass.object));
        Ok(Found { entry, obstacle: None, built, theirs: false })
    }

    /// What stands in the way of making a pool that is not there.
    async fn obstacle(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Option<Obstacle>> {
        if let Some(refusal) = self.adoption.left_behind(pass.object, pass.host) {
            return Ok(Some(Obstacle::Refused(refusal)));
        }
        match pass.host.mirror().pool_by_name(pass.object.external_name()) {
            Some(other) => self.stranger(pass, &other.uuid).await,
            None => Ok(None),
        }
    }

    /// What is to be done about a pool of the object's name that is not the object's.
    async fn stranger(&self, pass: &Pass<'_, Self>, uuid: &str) -> anyhow::Result<Option<Obstacle>> {
        let of = uuid.to_owned();
        let Some(entry) = pass.host.short(uuid, move |host| host.read_pool(&of)).await? else { return Ok(None) };
        let mismatch = entry.inactive.as_deref().and_then(|description| self.mismatch(pass.object, description));
        let asking = Asking { object: pass.object, config: pass.config, host: pass.host };
        Ok(Some(self.adoption.judge(&asking, &self.cluster.pools, uuid, mismatch)))
    }

    /// What the pool is and the spec does not say, where it can never change.
    fn mismatch(&self, object: &Pool, description: &Element) -> Option<String> {
        let wishes = render::render(&object.merged(), true, &[]);
        let differences = diff(&wishes, description, &self.rules);
        let fixed = |difference: &&Difference| !["name", "uuid"].contains(&difference.path.as_str());
        let mut refused = differences.iter().filter(|difference| !difference.is_applied()).filter(fixed);
        refused.next().map(|difference| format!("that cannot be changed: {difference}"))
    }
}

async fn read(pass: &Pass<'_, Pools>, uuid: &str) -> anyhow::Result<Option<PoolEntry>> {
    let of = uuid.to_owned();
    let entry = pass.host.short(uuid, move |host| host.read_pool(&of)).await?;
    pass.host.mirror().replace_pool(uuid, entry.clone());
    Ok(entry)
}

fn wishes(object: &Pool, create: bool) -> Wishes {
    render::render(object, create, &applied::paths(object))
}

impl External for Pools {
    type Managed = Pool;
    type Connector = Connector;
    /// The password by which the pool's servers let in.
    type Referents = Option<Value>;
    type Found = Found;
    type Change = Change;

    const CONDITIONS: &'static [Type] = &[];

    fn neighbours(&self, _: &Pool) -> Vec<Neighbour> {
        Vec::new()
    }

    async fn resolve(&self, object: &Pool, config: &ConfigId) -> anyhow::Result<Option<Value>> {
        let password = self.passwords.read(object).await?;
        if only_observes(object) {
            return Ok(None);
        }
        let policy = self.cluster.host_spec(config).and_then(|spec| spec.policy).unwrap_or_default();
        let refused = reach::refused_of(object, &policy, config);
        anyhow::ensure!(refused.is_empty(), Refusal { reason: "NotAllowed", message: refused.join("; ") });
        Ok(password)
    }

    async fn find(&self, pass: &Pass<'_, Self>, password: &Option<Value>) -> anyhow::Result<Found> {
        let entry = self.entry(pass).await?;
        if entry.is_some() && !pass.policies.is_held() {
            self.passwords.give(pass.host, pass.object, password.as_ref()).await?;
        }
        let only_observes = pass.policies.only_observes();
        let own = |entry: &Arc<PoolEntry>| entry.uuid == self.adoption.identity(pass.object, pass.host);
        let theirs = only_observes && entry.as_ref().is_some_and(|entry| !own(entry));
        let obstacle = if entry.is_some() || only_observes { None } else { self.obstacle(pass).await? };
        Ok(Found { entry, obstacle, built: false, theirs })
    }

    fn compare(&self, pass: &Pass<'_, Self>, _: &Option<Value>, found: &Found) -> anyhow::Result<Standing<Change>> {
        if let Some(obstacle) = &found.obstacle {
            return Ok(obstacle.standing());
        }
        let Some(entry) = &found.entry else { return Ok(Standing::Absent) };
        if found.theirs {
            let wishes = render::render(pass.object, false, &[]);
            let description = entry.inactive.as_ref().or(entry.live.as_ref());
            let differences = description.map(|description| diff(&wishes, description, &self.rules));
            return Ok(imported(differences.unwrap_or_default(), entry.autostart, pass.object.parameters().autostart));
        }
        if pass.creation.is_incomplete() && !entry.active {
            // A creation that was cut short may have to build still.
            return Ok(Standing::Absent);
        }
        let differences = match &entry.inactive {
            Some(base) => diff(&wishes(pass.object, false), base, &self.rules),
            None => Vec::new(),
        };
        let present = Present { active: entry.active, autostart: entry.autostart, persistent: true };
        Ok(standing(differences, present, pass.object.parameters().autostart))
    }

    async fn record(&self, _: &Pass<'_, Self>, _: &Option<Value>) -> anyhow::Result<Record> {
        Ok(Record::default())
    }

    async fn create(&self, pass: &Pass<'_, Self>, password: &Option<Value>) -> anyhow::Result<Found> {
        self.apply(pass, password.as_ref(), true).await
    }

    async fn update(&self, pass: &Pass<'_, Self>, password: &Option<Value>, _: &Change) -> anyhow::Result<Found> {
        self.apply(pass, password.as_ref(), false).await
    }

    async fn delete(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Deletion> {
        if let Some(refusal) = self.cluster.in_use(pass.object) {
            return Ok(Deletion::Refused(refusal));
        }
        if let Some(refusal) = self.adoption.left_behind(pass.object, pass.host) {
            return Ok(Deletion::Refused(refusal));
        }
        let uuid = self.adoption.identity(pass.object, pass.host);
        let of = uuid.clone();
        let built = pass.object.annotation(BUILT).is_some();
        let created = was_created(pass.object);
        let object = pass.object.clone();
        let remove = move |host: &libvirt::Connection| {
            let deleted = act::remove(host, &of, built, created)?;
            if matches!(deleted, Deletion::Absent | Deletion::Requested) {
                auth::take(host, &object)?;
            }
            Ok(deleted)
        };
        let deleted = pass.host.alone(pass.object.external_name(), remove).await?;
        read(pass, &uuid).await?;
        Ok(deleted)
    }

    fn report(&self, pass: &Pass<'_, Self>, _: Option<&Option<Value>>, found: &Found) -> Report<PoolObservation> {
        let Some(entry) = found.entry.as_deref() else {
            return Report::of(PoolObservation::default(), Wish::creating());
        };
        let observation = PoolObservation {
            id: Some(entry.uuid.clone()),
            state: Some(if entry.active { "Running" } else { "Inactive" }.to_owned()),
            autostart: Some(entry.autostart),
            ..observed::observe(entry.inactive.as_deref(), entry.live.as_deref())
        };
        let details = details::pool(pass.object, &observation);
        let ready = if entry.active { Wish::available() } else { Wish::unavailable("the pool is not running") };
        if pass.policies.only_observes() {
            return Report { details, ..Report::of(observation, ready) };
        }
        let wishes = wishes(pass.object, false);
        let as_wished = entry.inactive.as_ref().is_some_and(|base| diff(&wishes, base, &self.rules).is_empty());
        let mut annotations: Annotations =
            as_wished.then(|| (annotation::APPLIED, Some(applied::text(&wishes.owned_paths())))).into_iter().collect();
        annotations.extend(found.built.then(|| (BUILT, Some("true".to_owned()))));
        // Built it is as soon as that is written down.
        let recheck = (found.built && !entry.active).then_some(AT_ONCE);
        Report { annotations, details, complete: recheck.is_none(), recheck, ..Report::of(observation, ready) }
    }

    fn forget(&self, object: &Pool) {
        self.adoption.forget(object.uid());
        self.passwords.forget(object);
        self.connector.unclaim(object);
    }
}
