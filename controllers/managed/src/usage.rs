//! Who uses which config: one `ProviderConfigUsage` an object, written before the config is used, and held until the object is done with it.
//!
//! The usage is owned by its object and goes with it; Crossplane grants no right to delete one (conventions of the package's RBAC).
//! A namespace that is deleted, and an object that is deleted in the foreground, take the usage first. So it has a finalizer from the
//! first connection on until the object's own finalizer has gone: else the config would go while the object still needs it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use apis::{
    Managed, ProviderConfigUsage,
    managed::ProviderConfigReference,
    placement::ConfigId,
    provider_config::{ProviderConfigUsageSpec, ResourceReference},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Api, Client, api::Patch};
use serde_json::{Value, json};

use crate::publish::{patch_by_us, post_by_us};

/// The label that names the config.
pub const CONFIG_LABEL: &str = "crossplane.io/provider-config";
/// The label that names the config's kind.
pub const CONFIG_KIND_LABEL: &str = "crossplane.io/provider-config-kind";
/// The finalizer of a usage, by crossplane-runtime's name.
pub const FINALIZER: &str = "finalizer.providerconfigusage.crossplane.io";

/// What a watch last showed of usages. It may be behind what was written.
pub trait Shown: Send + Sync {
    /// Whether the usage of this config by the object of this namespace and UID [is settled](is_settled).
    fn is_settled(&self, config: &ConfigId, namespace: &str, uid: &str) -> bool;
    /// The config of the object's usage, if that has the finalizer.
    fn held(&self, namespace: &str, uid: &str) -> Option<ConfigId>;
}

/// Writes usages, each once.
pub struct Usages {
    client: Client,
    shown: Arc<dyn Shown>,
    tracked: Mutex<Tracked>,
}

#[derive(Default)]
struct Tracked {
    /// The UIDs of those whose usage is written, by config.
    written: HashMap<ConfigId, HashSet<Box<str>>>,
    /// Those of them that the finalizer is yet to be added to, by UID.
    loose: HashMap<Box<str>, Loose>,
}

/// What a usage was when it was written.
#[derive(Clone)]
struct Loose {
    version: Option<String>,
    finalizers: Vec<String>,
}

impl Tracked {
    /// Answers whether the finalizer was there.
    fn forget(&mut self, uid: &str) -> bool {
        let mut known = false;
        self.written.retain(|_, users| {
            known |= users.remove(uid);
            !users.is_empty()
        });
        self.loose.remove(uid).is_none() && known
    }
}

impl Usages {
    /// Nothing is tracked yet; a usage that a watch showed to be settled costs no request.
    pub fn new(client: Client, shown: Arc<dyn Shown>) -> Self {
        Self { client, shown, tracked: Mutex::default() }
    }

    /// Makes sure that the usage of `config` by `object` is written. Costs nothing once it is.
    pub async fn track<K: Managed>(&self, object: &K, config: &ConfigId) -> anyhow::Result<()> {
        let uid = object.uid();
        if self.lock().written.get(config).is_some_and(|users| users.contains(uid)) {
            return Ok(());
        }
        let mut loose = None;
        if !self.shown.is_settled(config, namespace(object), uid) {
            let meta = self.write(object, config).await.context("cannot apply ProviderConfigUsage")?;
            if meta.deletion_timestamp.is_none() && !is_held(&meta) {
                let finalizers = meta.finalizers.unwrap_or_default();
                loose = Some(Loose { version: meta.resource_version, finalizers });
            }
        }
        let mut tracked = self.lock();
        tracked.forget(uid);
        tracked.written.entry(config.clone()).or_default().insert(uid.into());
        if let Some(loose) = loose {
            tracked.loose.insert(uid.into(), loose);
        }
        Ok(())
    }

    /// Adds the finalizer to the tracked usage of an object whose host was reached. Costs nothing once it is there.
    pub async fn hold<K: Managed>(&self, object: &K) -> anyhow::Result<()> {
        let loose = self.lock().loose.get(object.uid()).cloned();
        let Some(Loose { version, mut finalizers }) = loose else { return Ok(()) };
        finalizers.push(FINALIZER.to_owned());
        let patch = finalizers_patch(version.as_deref(), &finalizers);
        match self.api(object).patch_metadata(object.uid(), &patch_by_us(), &Patch::Merge(&patch)).await {
            Ok(_) => {
                self.lock().loose.remove(object.uid());
                Ok(())
            }
            Err(error) => {
                // Somebody wrote first, or took it away: the next pass looks at it anew.
                if is_outdated(&error) {
                    self.forget(object.uid());
                }
                Err(error).context("cannot hold ProviderConfigUsage")
            }
        }
    }

    /// Takes the finalizer off the usage of an object whose own finalizer has gone. There is no object to try again by, so what fails
    /// is left to those who sweep usages without an object.
    pub async fn let_go<K: Managed>(&self, object: &K) {
        let held = self.lock().forget(object.uid());
        if !held && self.shown.held(namespace(object), object.uid()).is_none() {
            return;
        }
        if let Err(error) = release(&self.api(object), object.uid()).await {
            tracing::warn!(object = object.full_name(), %error, "cannot let go of ProviderConfigUsage");
        }
    }

    /// The config whose host the object was last worked on at, by its usage: who may edit the object need not be let edit that.
    pub fn held<K: Managed>(&self, object: &K) -> Option<ConfigId> {
        let uid = object.uid();
        let tracked = self.lock();
        if tracked.loose.contains_key(uid) {
            return None;
        }
        let written = tracked.written.iter().find(|(_, users)| users.contains(uid)).map(|(config, _)| config.clone());
        written.or_else(|| self.shown.held(namespace(object), uid))
    }

    /// The object is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().forget(uid);
    }

    /// Writes the usage where it is not so yet. Answers its metadata.
    async fn write<K: Managed>(&self, object: &K, config: &ConfigId) -> anyhow::Result<ObjectMeta> {
        let (api, wished) = (self.api(object), usage(object, config));
        match api.create(&post_by_us(), &wished).await {
            Err(kube::Error::Api(status)) if status.code == 409 => match api.get_opt(object.uid()).await? {
                Some(present) => mend(&api, present, &wished).await,
                // It has gone since.
                None => Err(kube::Error::Api(status).into()),
            },
            made => Ok(made?.metadata),
        }
    }

    fn api<K: Managed>(&self, object: &K) -> Api<ProviderConfigUsage> {
        Api::namespaced(self.client.clone(), namespace(object))
    }

    fn lock(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the finalizer off a usage that is there and has it.
pub async fn release(api: &Api<ProviderConfigUsage>, name: &str) -> kube::Result<()> {
    for last in [false, true] {
        let Some(usage) = api.get_metadata_opt(name).await? else { return Ok(()) };
        if !is_held(&usage.metadata) {
            return Ok(());
        }
        let others = usage.metadata.finalizers.into_iter().flatten().filter(|finalizer| finalizer != FINALIZER);
        let patch = finalizers_patch(usage.metadata.resource_version.as_deref(), &others.collect::<Vec<_>>());
        match api.patch_metadata(name, &patch_by_us(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            // Its deletion was asked for meanwhile.
            Err(kube::Error::Api(status)) if status.is_conflict() && !last => {}
            written => return written.map(drop),
        }
    }
    Ok(())
}

/// Whether a usage has the finalizer.
pub fn is_held(usage: &ObjectMeta) -> bool {
    usage.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whether a usage is as we write it and keep it: of the object that gave it its name, labelled, held, and not being deleted.
pub fn is_settled(usage: &ProviderConfigUsage) -> bool {
    let ours = |owner: &OwnerReference| is_controller(owner) && Some(&owner.uid) == usage.metadata.name.as_ref();
    usage.metadata.owner_references.iter().flatten().any(ours)
        && labels(&usage.spec.provider_config_ref).iter().all(|label| has_label(usage, label))
        && is_held(&usage.metadata)
        && usage.metadata.deletion_timestamp.is_none()
}

/// Whether a usage has an owner that controls it. One that was brought back from a backup has none.
pub fn has_controller(usage: &ObjectMeta) -> bool {
    usage.owner_references.iter().flatten().any(is_controller)
}

/// Makes a usage that is there what it should be. One that another object controls is not touched.
async fn mend(
    api: &Api<ProviderConfigUsage>,
    present: ProviderConfigUsage,
    wished: &ProviderConfigUsage,
) -> anyhow::Result<ObjectMeta> {
    let uid = wished.metadata.name.as_deref().unwrap_or_default();
    let owners = present.metadata.owner_references.as_deref().unwrap_or_default();
    let foreign = owners.iter().any(|owner| is_controller(owner) && owner.uid != uid);
    anyhow::ensure!(!foreign, "existing ProviderConfigUsage {uid} is not controlled by UID {uid:?}");
    if is_as_wished(&present, wished) {
        return Ok(present.metadata);
    }
    let others = owners.iter().filter(|owner| owner.uid != uid);
    let owners: Vec<_> = others.chain(wished.metadata.owner_references.iter().flatten()).collect();
    let patch = json!({
        "metadata": {
            "resourceVersion": present.metadata.resource_version,
            "labels": wished.metadata.labels,
            "ownerReferences": owners,
        },
        "providerConfigRef": wished.spec.provider_config_ref,
    });
    Ok(api.patch(uid, &patch_by_us(), &Patch::Merge(&patch)).await?.metadata)
}

fn is_as_wished(present: &ProviderConfigUsage, wished: &ProviderConfigUsage) -> bool {
    present.spec.provider_config_ref == wished.spec.provider_config_ref
        && has_controller(&present.metadata)
        && labels(&wished.spec.provider_config_ref).iter().all(|label| has_label(present, label))
}

fn has_label(usage: &ProviderConfigUsage, (key, value): &(&str, &str)) -> bool {
    usage.metadata.labels.as_ref().and_then(|labels| labels.get(*key)).is_some_and(|found| found == value)
}

fn is_controller(owner: &OwnerReference) -> bool {
    owner.controller == Some(true)
}

fn is_outdated(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_not_found())
}

fn finalizers_patch(version: Option<&str>, finalizers: &[String]) -> Value {
    json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } })
}

fn labels(config: &ProviderConfigReference) -> [(&'static str, &str); 2] {
    [(CONFIG_LABEL, config.name.as_str()), (CONFIG_KIND_LABEL, config.kind.as_str())]
}

fn namespace<K: Managed>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
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
    let labels = labels(&spec.provider_config_ref).map(|(key, value)| (key.to_owned(), value.to_owned()));
    let metadata = ObjectMeta {
        name: meta.uid.clone(),
        namespace: meta.namespace.clone(),
        labels: Some(labels.into()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    ProviderConfigUsage { metadata, spec }
}
