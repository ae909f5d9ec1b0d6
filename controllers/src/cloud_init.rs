//! `CloudInit`: the seed of a guest, in a volume whose name tells its content. New content is a new volume; the old one goes when no guest has it.

pub mod seed;

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use anyhow::Context;
use apis::{
    CloudInit, Managed,
    cloud_init::{CloudInitObservation, Content},
    condition::{Type, Wish},
    managed::annotation,
    placement::ConfigId,
    reference::KeyReference,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use libvirt::{
    Connection, UploadRequest,
    mirror::{Presence, VolumeEntry},
    xml::Element,
};
use managed::external::{Annotations, Deletion, External, Pass, Refusal, Report, Standing};

use crate::{
    cluster::{Asker, Cluster},
    hosts::{Connector, owner},
    ownership::{Key, Record},
    references::{Referent, ReferentKind, Refers},
    storage::{self, PoolField},
};
use seed::Seed;

/// How long the host may take for one piece of a seed.
const PIECE: Duration = Duration::from_mins(1);
/// How often it is tried to take away a seed that guests may still have.
const TIDY: Duration = Duration::from_secs(10);

/// The kind.
pub struct CloudInits {
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    client: Client,
    key: Key,
}

/// What other objects had to tell: where the seed goes, and its content.
pub struct Referents {
    pool: String,
    seed: Seed,
    volume: String,
}

/// What the host has of a `CloudInit`.
pub struct Found {
    entry: Arc<VolumeEntry>,
    pool_uuid: String,
    instance_id: Option<String>,
    /// Volumes with earlier content that are there still.
    outdated: Vec<String>,
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
    pub fn new(cluster: Arc<Cluster>, connector: Arc<Connector>, client: Client, key: Key) -> Self {
        Self { cluster, connector, client, key }
    }

    /// The volumes that the object's signed records name, in this pool of this host.
    fn ours(&self, pass: &Pass<'_, Self>, pool_uuid: &str) -> Vec<String> {
        let text = pass.object.annotation(annotation::OWNERSHIP).unwrap_or_default();
        let records = text.lines().filter_map(|line| Record::verify(line, &self.key));
        let here = |record: &Record| record.is_of(pass.object.uid(), pass.host.uuid(), pool_uuid, &record.volume);
        records.filter(here).map(|record| record.volume).collect()
    }

    async fn content(&self, namespace: &str, field: &str, content: &Content) -> anyhow::Result<Vec<u8>> {
        let Content { inline, secret_key_ref, config_map_key_ref } = content;
        match (inline, secret_key_ref, config_map_key_ref) {
            (Some(text), _, _) => Ok(text.clone().into_bytes()),
            (None, Some(reference), _) => self.secret(namespace, reference).await.with_context(|| field.to_owned()),
            (None, None, Some(reference)) => {
                self.config_map(namespace, reference).await.with_context(|| field.to_owned())
            }
            (None, None, None) => anyhow::bail!("{field}: set one of inline, secretKeyRef and configMapKeyRef"),
        }
    }

    async fn secret(&self, namespace: &str, KeyReference { name, key }: &KeyReference) -> anyhow::Result<Vec<u8>> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = api
            .get_opt(name)
            .await?
            .with_context(|| format!("waiting for Secret {name}: there is none in namespace {namespace}"))?;
        let value = secret.data.and_then(|mut data| data.remove(key));
        value.map(|value| value.0).with_context(|| format!("waiting for Secret {name}: it has no key {key}"))
    }

    async fn config_map(&self, namespace: &str, KeyReference { name, key }: &KeyReference) -> anyhow::Result<Vec<u8>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let map = api
            .get_opt(name)
            .await?
            .with_context(|| format!("waiting for ConfigMap {name}: there is none in namespace {namespace}"))?;
        let text = map.data.and_then(|mut data| data.remove(key)).map(String::into_bytes);
        let value = text.or_else(|| map.binary_data?.remove(key).map(|bytes| bytes.0));
        value.with_context(|| format!("waiting for ConfigMap {name}: it has no key {key}"))
    }

    async fn optional(
        &self,
        namespace: &str,
        field: &str,
        content: Option<&Content>,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        match content {
            Some(content) => self.content(namespace, field, content).await.map(Some),
            None => Ok(None),
        }
    }

    async fn seed(&self, object: &CloudInit) -> anyhow::Result<Seed> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let parameters = object.parameters();
        let own = || seed::default_meta_data(object.uid(), object.metadata.name.as_deref().unwrap_or_default());
        Ok(Seed {
            user_data: self.optional(namespace, "userData", parameters.user_data.as_ref()).await?.unwrap_or_default(),
            meta_data: self.optional(namespace, "metaData", parameters.meta_data.as_ref()).await?.unwrap_or_else(own),
            network_config: self.optional(namespace, "networkConfig", parameters.network_config.as_ref()).await?,
            vendor_data: self.optional(namespace, "vendorData", parameters.vendor_data.as_ref()).await?,
        })
    }

    fn pool_name(&self, object: &CloudInit) -> Option<String> {
        pool_field(object)
            .name(&self.cluster, object.metadata.namespace.as_deref().unwrap_or_default())
            .or_else(|| object.observation()?.pool.clone())
    }

    fn pool_uuid(pass: &Pass<'_, Self>, pool: &str) -> String {
        pass.host.mirror().pool_by_name(pool).map(|pool| pool.uuid.clone()).unwrap_or_default()
    }

    /// Puts together what was found. Volumes with earlier content that nobody has any more are taken away on the way.
    fn found(&self, pass: &Pass<'_, Self>, referents: &Referents, entry: Arc<VolumeEntry>) -> Found {
        let pool_uuid = Self::pool_uuid(pass, &referents.pool);
        let outdated = self.ours(pass, &pool_uuid).into_iter().filter(|volume| *volume != referents.volume).collect();
        Found { entry, pool_uuid, instance_id: seed::instance_id(&referents.seed.meta_data), outdated }
    }

    /// Takes away earlier content that no guest has. Says what stays.
    async fn tidy(&self, pass: &Pass<'_, Self>, pool: &str, outdated: &[String]) -> anyhow::Result<Vec<String>> {
        let mut left = Vec::new();
        for volume in outdated {
            match storage::delete(pass.host, pool, volume).await? {
                Deletion::Absent | Deletion::Requested => {}
                Deletion::Waiting(..) | Deletion::Refused(_) => left.push(volume.clone()),
            }
        }
        Ok(left)
    }

    fn records(&self, pass: &Pass<'_, Self>, pool_uuid: &str, volumes: &[String]) -> String {
        let record = |volume: &String| Record {
            uid: pass.object.uid().to_owned(),
            host: pass.host.uuid().to_owned(),
            pool: pool_uuid.to_owned(),
            volume: volume.clone(),
        };
        volumes.iter().map(|volume| record(volume).sign(&self.key)).collect::<Vec<_>>().join("\n")
    }
}

fn pool_field(object: &CloudInit) -> PoolField<'_> {
    let parameters = object.parameters();
    PoolField { plain: parameters.pool.as_deref(), reference: parameters.pool_ref.as_ref() }
}

/// Makes the volume for a seed of this size. What an attempt before left goes first.
fn make(host: &Connection, pool: &str, name: &str, size: usize, resumed: bool) -> anyhow::Result<()> {
    let found = host.find_pool_by_name(pool)?.with_context(|| format!("there is no pool {pool} on the host"))?;
    if let Some(volume) = found.find_volume(name)? {
        anyhow::ensure!(resumed, "{}", storage::foreign_volume(name, pool).message);
        volume.delete().context("remove the part of a seed that was left")?;
    }
    let bytes = |name: &str| Element::new(name).attr("unit", "bytes").text(size.to_string());
    let element = Element::new("volume")
        .child(Element::new("name").text(name))
        .child(bytes("capacity"))
        .child(bytes("allocation"))
        .child(Element::new("target").child(Element::new("format").attr("type", "raw")));
    found.create_volume(&element.write().context("write the description")?).context("create volume")?;
    Ok(())
}

impl External for CloudInits {
    type Managed = CloudInit;
    type Connector = Connector;
    type Referents = Referents;
    type Found = Found;
    type Change = Change;

    const CONDITIONS: &'static [Type] = &[];

    fn neighbours(&self, object: &CloudInit) -> Vec<ConfigId> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        object.referents().iter().filter_map(|referent| self.cluster.host_of(namespace, referent)).collect()
    }

    async fn resolve(&self, object: &CloudInit, config: &ConfigId) -> anyhow::Result<Referents> {
        let pool = pool_field(object).resolve(&self.cluster, &Asker::of(object, config))?;
        let seed = self.seed(object).await?;
        // The content may be a password; a plain digest in a name that others can read would let them test guesses.
        let volume = format!("{}-{}.iso", object.external_name(), self.key.name_of(&seed.digest()));
        Ok(Referents { pool, seed, volume })
    }

    async fn find(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Found> {
        let entry = storage::look(pass.host, &owner(pass.object), &referents.pool, &referents.volume).await?;
        let mut found = self.found(pass, referents, entry);
        if !found.outdated.is_empty() && found.entry.description().is_some() && !pass.incomplete {
            found.outdated = self.tidy(pass, &referents.pool, &found.outdated).await?;
        }
        Ok(found)
    }

    fn compare(&self, pass: &Pass<'_, Self>, referents: &Referents, found: &Found) -> anyhow::Result<Standing<Change>> {
        let pool = &referents.pool;
        match &found.entry.presence {
            Presence::Present(_) if !self.ours(pass, &found.pool_uuid).contains(&referents.volume) => {
                Ok(Standing::Barred(storage::foreign_volume(&referents.volume, pool)))
            }
            // A seed that was cut short is written anew: its content is in the spec.
            Presence::Present(_) if pass.incomplete => Ok(Standing::Absent),
            Presence::Present(_) => Ok(Standing::Settled),
            Presence::Absent => Ok(Standing::Absent),
            Presence::PoolInactive => anyhow::bail!("pool {pool} is not running, so nothing can be said of the seed"),
            Presence::PoolAbsent => anyhow::bail!("there is no pool {pool} on the host"),
        }
    }

    async fn record(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Annotations> {
        let pool_uuid = Self::pool_uuid(pass, &referents.pool);
        let mut volumes = self.ours(pass, &pool_uuid);
        if !volumes.contains(&referents.volume) {
            let entry = storage::read(pass.host, &referents.pool, &referents.volume).await?;
            anyhow::ensure!(
                entry.description().is_none(),
                "{}",
                storage::foreign_volume(&referents.volume, &referents.pool).message
            );
            volumes.push(referents.volume.clone());
        }
        Ok(vec![(annotation::OWNERSHIP, Some(self.records(pass, &pool_uuid, &volumes)))])
    }

    async fn create(&self, pass: &Pass<'_, Self>, referents: &Referents) -> anyhow::Result<Found> {
        let image = referents.seed.image()?;
        storage::forget_ghost(pass.host, &referents.pool, &referents.volume).await?;
        let (pool, name, size) = (referents.pool.clone(), referents.volume.clone(), image.len());
        // The name tells the content and the record was there before, so a volume of that name that is left is ours.
        let resumed = pass.incomplete;
        let _sharing = pass.host.sharing(&referents.pool).await;
        pass.host.long(&format!("{pool}/{name}"), move |host| make(host, &pool, &name, size, resumed)).await?;
        let request = UploadRequest {
            pool: referents.pool.clone(),
            volume: referents.volume.clone(),
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
        let namespace = pass.object.metadata.namespace.as_deref().unwrap_or_default();
        let referent =
            Referent { kind: ReferentKind::CloudInit, name: pass.object.metadata.name.clone().unwrap_or_default() };
        if let Some(user) = self.cluster.referrer(namespace, &referent) {
            return Ok(Deletion::Refused(Refusal {
                reason: "InUse",
                message: format!("the seed is used by {user}; it is deleted after it"),
            }));
        }
        let Some(pool) = self.pool_name(pass.object) else { return Ok(Deletion::Absent) };
        let mut deletion = Deletion::Absent;
        for volume in self.ours(pass, &Self::pool_uuid(pass, &pool)) {
            let entry = storage::read(pass.host, &pool, &volume).await?;
            match storage::without_deleting(&entry, &pool) {
                Some(Deletion::Absent) => continue,
                Some(other) => return Ok(other),
                None => {}
            }
            match storage::delete(pass.host, &pool, &volume).await? {
                Deletion::Absent => {}
                Deletion::Requested => deletion = Deletion::Requested,
                other @ (Deletion::Waiting(..) | Deletion::Refused(_)) => return Ok(other),
            }
        }
        Ok(deletion)
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
            instance_id: found.instance_id.clone(),
        };
        let mut kept = found.outdated.clone();
        kept.extend(referents.map(|referents| referents.volume.clone()));
        let recheck = (!found.outdated.is_empty()).then_some(TIDY);
        let annotations = vec![(annotation::OWNERSHIP, Some(self.records(pass, &found.pool_uuid, &kept)))];
        Report { annotations, recheck, ..Report::of(observation, Wish::available()) }
    }

    fn forget(&self, object: &CloudInit) {
        self.connector.unclaim(object);
    }
}
