//! The files of a seed, inline or read from Secrets and `ConfigMaps` as their watches show them.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context;
use apis::{
    CloudInit, Managed,
    cloud_init::{
        CloudConfig, CloudInitParameters, Content, Data, GuestInterface, InstanceIdPolicy, Part, Place, SeedFormat,
    },
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;

use super::{
    cloud_config,
    macs::with_macs,
    mime,
    seed::{self, Seed},
    told::Told,
};
use crate::{
    cluster::Cluster,
    ownership::Key,
    sources::{First, Source, SourceKind, Sources},
    withheld,
};

/// What seeds are read from.
pub(super) struct Contents {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
    /// What makes an instance-id that tells nothing of the content.
    key: Key,
    /// Who tells the addresses of interfaces.
    cluster: Arc<Cluster>,
}

impl Contents {
    /// Nothing is read yet.
    pub(super) fn new(client: Client, cluster: &Arc<Cluster>, key: Key) -> Self {
        let readers = cluster.clone();
        let sources = Sources::new(client, First::Awaited, move |(namespace, name): &(String, String)| {
            readers.cloud_inits.wake(namespace, name);
        });
        Self { sources, key, cluster: cluster.clone() }
    }

    /// The object is gone and reads nothing any more.
    pub(super) fn forget(&self, object: &CloudInit) {
        self.sources.forget(&reader(object));
    }

    /// The bytes of one content. What it reads from is watched, so that a change of it wakes the object.
    async fn content(&self, namespace: &str, place: Place<'_>) -> anyhow::Result<Vec<u8>> {
        match (place, source(namespace, place)) {
            (Place::Inline(text), _) => Ok(text.as_bytes().to_vec()),
            (Place::Secret(key) | Place::ConfigMap(key), Some(source)) => {
                withheld::check(&self.cluster, &source)?;
                self.sources.required(&source, &key.key).await
            }
            (_, _) => anyhow::bail!("set one of inline, secretKeyRef and configMapKeyRef"),
        }
    }

    /// A file of one content.
    async fn file(&self, namespace: &str, content: Option<&Content>) -> anyhow::Result<Option<Vec<u8>>> {
        let Some(content) = content else { return Ok(None) };
        self.content(namespace, content.place()).await.map(Some)
    }

    /// A file that may be of several parts, after one that the object says in fields.
    async fn data(
        &self,
        namespace: &str,
        (field, data): (&str, Option<&Data>),
        first: Option<mime::Part>,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        let place = data.and_then(Data::place);
        if let (Some(place), None) = (place, &first) {
            return self.content(namespace, place).await.map(Some);
        }
        let mut parts: Vec<mime::Part> = first.into_iter().collect();
        if let Some(place) = place {
            let content = self.content(namespace, place).await?;
            parts.push(mime::Part { name: field.to_owned(), content_type: None, content });
        }
        for part in data.into_iter().flat_map(|data| data.parts.iter().flatten()) {
            let content = self.content(namespace, part.place()).await;
            let content = content.with_context(|| format!("part {}", part.name))?;
            parts.push(mime::Part { name: part.name.clone(), content_type: part.content_type, content });
        }
        if parts.is_empty() { Ok(None) } else { mime::merged(&parts).map(Some) }
    }

    /// What the object says in fields.
    async fn cloud_config(&self, namespace: &str, config: Option<&CloudConfig>) -> anyhow::Result<Option<mime::Part>> {
        let Some(config) = config else { return Ok(None) };
        let mut said = cloud_config::Said::new();
        for (field, place) in config.places() {
            let content = self.content(namespace, place).await.with_context(|| field.clone())?;
            said.insert(field, content);
        }
        let content = cloud_config::user_data(config, &said)?;
        Ok(Some(mime::Part { name: "cloud-config".to_owned(), content_type: None, content }))
    }

    fn network_config(&self, object: &CloudInit, interfaces: &[GuestInterface]) -> anyhow::Result<Vec<u8>> {
        cloud_config::network_config(&with_macs(&self.cluster, object, interfaces)?)
    }

    /// The seed that the parameters of an object say. What it may be read from is watched from now on, and nothing else.
    pub(super) async fn seed(&self, object: &CloudInit) -> anyhow::Result<Told> {
        self.sources.hold(&reader(object), sources(object));
        match super::format(object) {
            SeedFormat::NoCloud => self.files(object).await.map(Told::Files),
            SeedFormat::Ignition => self.ignition(object).await,
        }
    }

    async fn ignition(&self, object: &CloudInit) -> anyhow::Result<Told> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let CloudInitParameters {
            pool: _,
            pool_ref: _,
            pool_selector: _,
            format: _,
            cloud_config: None,
            network_interfaces: None,
            user_data,
            meta_data: None,
            network_config: None,
            vendor_data: None,
            instance_id_policy: None,
        } = object.parameters()
        else {
            anyhow::bail!("format: Ignition takes userData alone, without parts");
        };
        let place = user_data.as_ref().and_then(Data::place);
        let Some(place) = place else {
            // All of it may stand in initProvider: then forProvider alone says nothing.
            let is_initial = user_data.is_none() && object.initial().is_some();
            anyhow::ensure!(is_initial, "userData: format: Ignition needs one content, without parts");
            return Ok(Told::Ignition(Vec::new()));
        };
        let config = self.content(namespace, place).await.context("userData")?;
        Told::ignition(config).context("userData")
    }

    async fn files(&self, object: &CloudInit) -> anyhow::Result<Seed> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let said = object.parameters();
        let fields = self.cloud_config(namespace, said.cloud_config.as_ref()).await.context("cloudConfig")?;
        let user_data = self.data(namespace, ("user-data", said.user_data.as_ref()), fields).await;
        let vendor_data = self.data(namespace, ("vendor-data", said.vendor_data.as_ref()), None).await;
        let meta_data = self.file(namespace, said.meta_data.as_ref()).await.context("metaData");
        let network_config = match &said.network_interfaces {
            Some(interfaces) => self.network_config(object, interfaces).map(Some).context("networkInterfaces"),
            None => self.file(namespace, said.network_config.as_ref()).await.context("networkConfig"),
        };
        let seed = Seed {
            user_data: user_data.context("userData")?.unwrap_or_default(),
            meta_data: meta_data?.unwrap_or_default(),
            network_config: network_config?,
            vendor_data: vendor_data.context("vendorData")?,
        };
        if said.meta_data.is_some() {
            return Ok(seed);
        }
        let meta_data = self.own_meta_data(object, &seed);
        Ok(Seed { meta_data, ..seed })
    }

    /// The meta-data of an object that brings none, for a seed with all but that.
    fn own_meta_data(&self, object: &CloudInit, seed: &Seed) -> Vec<u8> {
        let config = object.parameters().cloud_config.as_ref();
        let name = config.and_then(|config| config.hostname.as_deref().or(config.fqdn.as_deref()));
        let name = name.or(object.metadata.name.as_deref()).unwrap_or_default();
        match object.parameters().instance_id_policy.unwrap_or_default() {
            InstanceIdPolicy::Kept => seed::default_meta_data(object.uid(), name),
            InstanceIdPolicy::Content => {
                let id = format!("{}-{}", object.uid(), self.key.name_of(&seed.digest()));
                seed::default_meta_data(&id, name)
            }
        }
    }
}

/// What a seed may be read from: it may yet be made, or made anew, with what is initial.
fn sources(object: &CloudInit) -> BTreeSet<Source> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let whole = object.merged();
    let places = places(object.parameters()).into_iter().chain(places(whole.parameters()));
    places.filter_map(|place| source(namespace, place)).collect()
}

/// Where all of a seed comes from.
fn places(parameters: &CloudInitParameters) -> Vec<Place<'_>> {
    let CloudInitParameters {
        pool: _,
        pool_ref: _,
        pool_selector: _,
        format: _,
        cloud_config,
        network_interfaces: _,
        user_data,
        meta_data,
        network_config,
        vendor_data,
        instance_id_policy: _,
    } = parameters;
    let files = [meta_data, network_config].into_iter().flatten().map(Content::place);
    let mut places: Vec<_> = files.collect();
    places.extend(cloud_config.iter().flat_map(CloudConfig::places).map(|(_, place)| place));
    for data in [user_data, vendor_data].into_iter().flatten() {
        places.extend(data.place());
        places.extend(data.parts.iter().flatten().map(Part::place));
    }
    places
}

/// An object, as those who read are told apart.
fn reader(object: &CloudInit) -> (String, String) {
    let ObjectMeta { namespace, name, .. } = &object.metadata;
    (namespace.clone().unwrap_or_default(), name.clone().unwrap_or_default())
}

/// What a content is read from, unless it is inline.
fn source(namespace: &str, place: Place<'_>) -> Option<Source> {
    let (kind, reference) = match place {
        Place::Secret(reference) => (SourceKind::Secret, reference),
        Place::ConfigMap(reference) => (SourceKind::ConfigMap, reference),
        Place::Inline(_) | Place::Nowhere => return None,
    };
    Some(Source { kind, namespace: namespace.to_owned(), name: reference.name.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_initial_is_watched_with_the_rest_whichever_of_both_is_read() {
        let from = |name: &str| json!({"secretKeyRef": {"name": name, "key": "k"}});
        let part = |name: &str, of: &str| json!({"name": name, "configMapKeyRef": {"name": of, "key": "k"}});
        let object: CloudInit = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "CloudInit",
            "metadata": {"namespace": "n", "name": "seed"},
            "spec": {
                "initProvider": {
                    "pool": "p", "userData": from("hidden"), "networkConfig": from("initial"),
                    "vendorData": {"parts": [part("first", "below"), part("other", "part")]},
                },
                "forProvider": {"userData": from("said"), "vendorData": {"parts": [part("first", "above")]}},
            },
        }))
        .unwrap();
        let names = |object: &CloudInit| sources(object).into_iter().map(|source| source.name).collect::<Vec<_>>();
        assert_eq!(names(&object), ["initial", "said", "above", "part"]);
        assert_eq!(names(&object.merged()), ["initial", "said", "above", "part"]);
    }
}
