//! Who uses which config: one `ProviderConfigUsage` an object, written before the config is used.
//!
//! The usage is owned by its object and goes with it; Crossplane grants no right to delete one (conventions of the package's RBAC).

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use anyhow::Context;
use apis::{
    Managed, ProviderConfigUsage,
    managed::ProviderConfigReference,
    placement::ConfigId,
    provider_config::{ProviderConfigUsageSpec, ResourceReference},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

/// The label that names the config.
pub const CONFIG_LABEL: &str = "crossplane.io/provider-config";
/// The label that names the config's kind.
pub const CONFIG_KIND_LABEL: &str = "crossplane.io/provider-config-kind";

type Tracked = HashMap<ConfigId, HashSet<Box<str>>>;

/// Writes usages, each once.
pub struct Usages {
    client: Client,
    /// The UIDs of those whose usage is written, by config.
    tracked: Mutex<Tracked>,
}

impl Usages {
    /// Nothing is tracked yet; an existing usage is found at its first writing.
    pub fn new(client: Client) -> Self {
        Self { client, tracked: Mutex::new(HashMap::new()) }
    }

    /// Makes sure that the usage of `config` by `object` is written. Costs nothing once it is.
    pub async fn track<K: Managed>(&self, object: &K, config: &ConfigId) -> anyhow::Result<()> {
        if self.lock().get(config).is_some_and(|users| users.contains(object.uid())) {
            return Ok(());
        }
        let api: Api<ProviderConfigUsage> =
            Api::namespaced(self.client.clone(), object.meta().namespace.as_deref().unwrap_or_default());
        self.write(&api, object, config).await.context("cannot apply ProviderConfigUsage")?;
        self.forget(object.uid());
        self.lock().entry(config.clone()).or_default().insert(object.uid().into());
        Ok(())
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().retain(|_, users| {
            users.remove(uid);
            !users.is_empty()
        });
    }

    async fn write<K: Managed>(
        &self,
        api: &Api<ProviderConfigUsage>,
        object: &K,
        config: &ConfigId,
    ) -> anyhow::Result<()> {
        let wished = usage(object, config);
        let Some(present) = api.get_opt(object.uid()).await? else {
            api.create(&PostParams::default(), &wished).await?;
            return Ok(());
        };
        let owned = present.metadata.owner_references.iter().flatten().any(|owner| owner.uid == object.uid());
        anyhow::ensure!(
            owned,
            "existing ProviderConfigUsage {} is not controlled by UID {:?}",
            object.uid(),
            object.uid()
        );
        if present.spec.provider_config_ref != wished.spec.provider_config_ref {
            let patch = json!({
                "metadata": { "resourceVersion": present.metadata.resource_version, "labels": wished.metadata.labels },
                "providerConfigRef": wished.spec.provider_config_ref,
            });
            api.patch(object.uid(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn usage<K: Managed>(object: &K, config: &ConfigId) -> ProviderConfigUsage {
    let meta = object.meta();
    let (api_version, kind) = (K::api_version(&()).into_owned(), K::kind(&()).into_owned());
    let name = meta.name.clone().unwrap_or_default();
    let spec = ProviderConfigUsageSpec {
        provider_config_ref: ProviderConfigReference { kind: config.kind, name: config.name.clone() },
        resource_ref: ResourceReference {
            api_version: api_version.clone(),
            kind: kind.clone(),
            name: name.clone(),
            uid: meta.uid.clone(),
        },
    };
    let owner = OwnerReference {
        api_version,
        kind,
        name,
        uid: object.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let labels = [(CONFIG_LABEL, config.name.as_str()), (CONFIG_KIND_LABEL, config.kind.as_str())];
    let metadata = ObjectMeta {
        name: meta.uid.clone(),
        namespace: meta.namespace.clone(),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    ProviderConfigUsage { metadata, spec }
}
