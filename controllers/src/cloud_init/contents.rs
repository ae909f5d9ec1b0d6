//! The files of a seed, inline or read from Secrets and `ConfigMaps` as their watches show them.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context;
use apis::{
    CloudInit, Managed,
    cloud_init::{CloudInitParameters, Content},
    reference::KeyReference,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;

use super::seed::{self, Seed};
use crate::{
    cluster::Cluster,
    sources::{First, Source, SourceKind, Sources},
};

/// What seeds are read from.
pub(super) struct Contents {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
}

impl Contents {
    /// Nothing is read yet.
    pub(super) fn new(client: Client, cluster: &Arc<Cluster>) -> Self {
        let readers = cluster.clone();
        let sources = Sources::new(client, First::Awaited, move |(namespace, name): &(String, String)| {
            readers.cloud_inits.wake(namespace, name);
        });
        Self { sources }
    }

    /// The object is gone and reads nothing any more.
    pub(super) fn forget(&self, object: &CloudInit) {
        self.sources.forget(&reader(object));
    }

    /// The bytes of one file. What it reads from is watched, so that a change of it wakes the object.
    async fn content(&self, namespace: &str, content: &Content) -> anyhow::Result<Vec<u8>> {
        let Content { inline, secret_key_ref, config_map_key_ref } = content;
        let key = secret_key_ref.as_ref().or(config_map_key_ref.as_ref());
        let (source, key) = match (inline, source(namespace, content), key) {
            (Some(text), _, _) => return Ok(text.clone().into_bytes()),
            (None, Some(source), Some(KeyReference { name: _, key })) => (source, key),
            (None, _, _) => anyhow::bail!("set one of inline, secretKeyRef and configMapKeyRef"),
        };
        self.sources.required(&source, key).await
    }

    async fn optional(
        &self,
        namespace: &str,
        (field, content): (&str, Option<&Content>),
    ) -> anyhow::Result<Option<Vec<u8>>> {
        match content {
            Some(content) => self.content(namespace, content).await.map(Some).with_context(|| field.to_owned()),
            None => Ok(None),
        }
    }

    /// The seed that the parameters of an object say. What it may be read from is watched from now on, and nothing else.
    pub(super) async fn seed(&self, object: &CloudInit) -> anyhow::Result<Seed> {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        self.sources.hold(&reader(object), sources(object));
        let files = files(object);
        let own = || seed::default_meta_data(object.uid(), object.metadata.name.as_deref().unwrap_or_default());
        let [user_data, meta_data, network_config, vendor_data] = files;
        Ok(Seed {
            user_data: self.optional(namespace, user_data).await?.unwrap_or_default(),
            meta_data: self.optional(namespace, meta_data).await?.unwrap_or_else(own),
            network_config: self.optional(namespace, network_config).await?,
            vendor_data: self.optional(namespace, vendor_data).await?,
        })
    }
}

/// What a seed may be read from: it may yet be made, or made anew, with what is initial.
fn sources(object: &CloudInit) -> BTreeSet<Source> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let whole = object.merged();
    files(object).into_iter().chain(files(&whole)).filter_map(|(_, content)| source(namespace, content?)).collect()
}

/// The files of a seed by their fields.
fn files(object: &CloudInit) -> [(&'static str, Option<&Content>); 4] {
    let CloudInitParameters {
        pool: _,
        pool_ref: _,
        pool_selector: _,
        user_data,
        meta_data,
        network_config,
        vendor_data,
    } = object.parameters();
    [
        ("userData", user_data.as_ref()),
        ("metaData", meta_data.as_ref()),
        ("networkConfig", network_config.as_ref()),
        ("vendorData", vendor_data.as_ref()),
    ]
}

/// An object, as those who read are told apart.
fn reader(object: &CloudInit) -> (String, String) {
    let ObjectMeta { namespace, name, .. } = &object.metadata;
    (namespace.clone().unwrap_or_default(), name.clone().unwrap_or_default())
}

/// What a file is read from, unless it is inline.
fn source(namespace: &str, content: &Content) -> Option<Source> {
    let Content { inline: _, secret_key_ref, config_map_key_ref } = content;
    let secret = secret_key_ref.as_ref().map(|reference| (SourceKind::Secret, reference));
    let (kind, reference) = secret.or_else(|| Some((SourceKind::ConfigMap, config_map_key_ref.as_ref()?)))?;
    Some(Source { kind, namespace: namespace.to_owned(), name: reference.name.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_initial_is_watched_with_the_rest_whichever_of_both_is_read() {
        let from = |name: &str| json!({"secretKeyRef": {"name": name, "key": "k"}});
        let object: CloudInit = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "CloudInit",
            "metadata": {"namespace": "n", "name": "seed"},
            "spec": {
                "initProvider": {"pool": "p", "userData": from("hidden"), "networkConfig": from("initial")},
                "forProvider": {"userData": from("said")},
            },
        }))
        .unwrap();
        let names = |object: &CloudInit| sources(object).into_iter().map(|source| source.name).collect::<Vec<_>>();
        assert_eq!(names(&object), ["initial", "said"]);
        assert_eq!(names(&object.merged()), ["initial", "said"]);
    }
}
