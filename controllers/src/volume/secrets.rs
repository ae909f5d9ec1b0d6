//! The Secrets that let in at image servers: each is watched for as long as an image is still to be fetched.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, anyhow};
use apis::{Managed, Volume, managed::annotation};
use kube::Client;
use managed::{creation::was_created, plan::only_observes};

use super::fetch::Credentials;
use crate::{
    cluster::Cluster,
    links::EMPTY,
    sources::{First, Source, SourceKind, Sources},
};

/// What image servers are shown.
pub struct ImageSecrets {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
}

impl ImageSecrets {
    /// Nothing is read yet.
    pub fn new(client: Client, cluster: &Arc<Cluster>) -> Self {
        let readers = cluster.clone();
        let wake = move |(namespace, name): &(String, String)| readers.volumes.wake(namespace, name);
        Self { sources: Sources::new(client, First::Awaited, wake) }
    }

    /// The object reads nothing any more.
    pub(super) fn forget(&self, object: &Volume) {
        self.sources.forget(&reader(object));
    }

    /// What the server of an object's image is to be shown, if its image is still to be fetched and it says so.
    pub(super) async fn of(&self, object: &Volume) -> anyhow::Result<Option<Credentials>> {
        let Some(source) = wanted(object) else {
            self.forget(object);
            return Ok(None);
        };
        self.sources.hold(&reader(object), BTreeSet::from([source.clone()]));
        let values = self.sources.values(&source).await?.with_context(|| {
            let Source { kind, namespace, name } = &source;
            format!(
                "cannot get referenced resource: waiting for {kind:?} {name}: there is none in namespace {namespace}"
            )
        })?;
        let credentials = Credentials::of(|key| values.get(key));
        let reason = |reason| anyhow!("{EMPTY}: waiting for Secret {}: {reason}", source.name);
        credentials.map(Some).map_err(reason)
    }
}

/// The Secret that is needed for an image which is not there yet.
fn wanted(object: &Volume) -> Option<Source> {
    let again = object.annotation(annotation::RECREATE) == Some(object.uid());
    if only_observes(object) || was_created(object) && !again {
        return None;
    }
    let whole = object.merged();
    let reference = whole.parameters().source.as_ref()?.http.credentials_ref.as_ref()?;
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    Some(Source { kind: SourceKind::Secret, namespace, name: reference.name.clone() })
}

/// An object, as those who read are told apart.
fn reader(object: &Volume) -> (String, String) {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}
