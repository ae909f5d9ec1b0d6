//! Connection Secrets, as crossplane-runtime writes them (`pkg/reconciler/managed/api.go`, `pkg/resource/resource.go`).
//!
//! A Secret belongs to its object by a controller reference and goes with it by garbage collection, so there is nothing to take back when
//! an object is let go. In memory there is a number for each Secret, never a value.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, ensure};
use apis::{Managed, managed::SecretName};
use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Client, api::Patch};
use serde_json::{Map, Value, json};

use crate::{
    external::Details,
    publish::{patch_by_us, post_by_us},
};

/// The type of connection Secrets.
pub const SECRET_TYPE: &str = "connection.crossplane.io/v1alpha1";

/// How many passes rely on what was written before the Secret is looked at again.
const TRUST: u8 = 9;

/// Writes the connection Secrets of the objects of one kind.
pub struct Secrets {
    client: Client,
    written: Mutex<HashMap<String, Written>>,
}

/// What was last seen to be so.
struct Written {
    print: u64,
    passes: u8,
}

impl Secrets {
    /// Nothing is known to be written yet.
    pub fn new(client: Client) -> Self {
        Self { client, written: Mutex::new(HashMap::new()) }
    }

    /// Makes sure that the Secret which the object names says these details. Without such a name there is nothing to do.
    pub(crate) async fn publish<K: Managed>(&self, object: &K, details: &Details) -> anyhow::Result<()> {
        let Some(SecretName { name }) = &object.resource().write_connection_secret_to_ref else { return Ok(()) };
        let print = print(name, details);
        if self.is_trusted(object.uid(), print) {
            return Ok(());
        }
        self.write(object, name, details).await.context("cannot create or update connection secret")?;
        self.lock().insert(object.uid().to_owned(), Written { print, passes: 0 });
        Ok(())
    }

    /// What was written is looked at again with the next pass; or the object is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn is_trusted(&self, uid: &str, print: u64) -> bool {
        let mut known = self.lock();
        let Some(written) = known.get_mut(uid).filter(|written| written.print == print) else { return false };
        written.passes += 1;
        written.passes <= TRUST
    }

    async fn write<K: Managed>(&self, object: &K, name: &str, details: &Details) -> anyhow::Result<()> {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let mut present = api.get_opt(name).await?;
        if present.is_none() {
            match api.create(&post_by_us(), &secret(object, name, details)).await {
                Ok(_) => return Ok(()),
                // Somebody was faster; what is there now is judged like any other.
                Err(kube::Error::Api(status)) if status.code == 409 => present = Some(api.get(name).await?),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(present) = present else { return Ok(()) };
        let Some(patch) = difference(object, &present, details)? else { return Ok(()) };
        api.patch(name, &patch_by_us(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that tells whether something else is to be written.
fn print(name: &str, details: &Details) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, &details.0).hash(&mut hasher);
    hasher.finish()
}

fn owner<K: Managed>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.meta().name.clone().unwrap_or_default(),
        uid: object.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn secret<K: Managed>(object: &K, name: &str, details: &Details) -> Secret {
    let data = details.0.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.clone())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: object.meta().namespace.clone(),
            owner_references: Some(vec![owner(object)]),
            ..ObjectMeta::default()
        },
        type_: Some(SECRET_TYPE.to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    }
}

/// The merge patch that brings a Secret up to date; None when it is. The error says whose it is.
fn difference<K: Managed>(object: &K, present: &Secret, details: &Details) -> anyhow::Result<Option<Value>> {
    let owners = present.metadata.owner_references.clone().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller == Some(true));
    if let Some(controller) = controller {
        ensure!(controller.uid == object.uid(), "existing secret is not controlled by UID {:?}", object.uid());
    } else {
        let type_ = present.type_.as_deref().unwrap_or_default();
        ensure!(type_ == SECRET_TYPE, "refusing to modify uncontrolled secret of type {type_:?}");
    }
    let said = |key: &str| present.data.as_ref()?.get(key).map(|value| &value.0);
    let news = details.0.iter().filter(|(key, value)| said(key) != Some(value));
    let data: Map<String, Value> =
        news.map(|(key, value)| ((*key).to_owned(), json!(ByteString(value.clone())))).collect();
    if controller.is_some() && data.is_empty() {
        return Ok(None);
    }
    let mut metadata = json!({ "resourceVersion": present.metadata.resource_version });
    if controller.is_none() {
        let others = owners.into_iter().filter(|owner| owner.uid != object.uid()).map(|other| json!(other));
        metadata["ownerReferences"] = others.chain([json!(owner(object))]).collect();
    }
    Ok(Some(json!({ "metadata": metadata, "data": data })))
}
