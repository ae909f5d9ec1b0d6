//! What every managed kind shares: the envelope around `forProvider` and `atProvider`.

use std::{borrow::Cow, fmt::Debug};

use k8s_openapi::NamespaceResourceScope;
use kube::{KubeSchema, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    condition::Condition,
    initial::{making, over, recorded},
};

/// The annotations that Crossplane and this provider read and write.
pub mod annotation {
    /// The name in libvirt; defaults to the object's name.
    pub const EXTERNAL_NAME: &str = "crossplane.io/external-name";
    /// Written right before a create.
    pub const CREATE_PENDING: &str = "crossplane.io/external-create-pending";
    /// Written after a create that worked, and when something that others made was taken over.
    pub const CREATE_SUCCEEDED: &str = "crossplane.io/external-create-succeeded";
    /// Written after a create that failed.
    pub const CREATE_FAILED: &str = "crossplane.io/external-create-failed";
    /// `"true"` stops all work on the object.
    pub const PAUSED: &str = "crossplane.io/paused";
    /// The poll interval of this one object.
    pub const POLL_INTERVAL: &str = "crossplane.io/poll-interval";
    /// A token; a new one asks for a pass at once.
    pub const RECONCILE_REQUESTED: &str = "crossplane.io/reconcile-requested-at";
    /// Which config the object was placed with: `<Kind>/<name>`. Once written it is the record.
    pub const PLACEMENT: &str = "libvirt.nourspeed.io/provider-config";
    /// The signed record of what on the host is this object's, where its UID does not tell.
    pub const OWNERSHIP: &str = "libvirt.nourspeed.io/ownership";
    /// What was applied last, for kinds whose thing on the host cannot tell: the paths in its description, or which volume holds a seed.
    pub const APPLIED: &str = "libvirt.nourspeed.io/applied";
    /// What selectors chose, as JSON: the field, and the name of the object chosen.
    pub const REFERENCES: &str = "libvirt.nourspeed.io/references";
    /// What `initProvider` said when the object was made, as far as it counts afterwards.
    pub const INITIAL: &str = "libvirt.nourspeed.io/initial";
    /// The UID of the object, by which a user allows a lost volume, or a domain that was taken over and is lost, to be made again.
    pub const RECREATE: &str = "libvirt.nourspeed.io/recreate";
    /// `"true"` takes over an existing object that is not ours.
    pub const ADOPT: &str = "libvirt.nourspeed.io/adopt";
    /// A token; a guest that runs since before it was set is restarted once, gracefully.
    pub const RESTARTED: &str = "libvirt.nourspeed.io/restarted-at";
    /// The label that names the host an object is on.
    pub const INSTANCE_LABEL: &str = "libvirt.nourspeed.io/instance";
}

/// The finalizer that Crossplane's managed reconciler uses.
pub const FINALIZER: &str = "finalizer.managedresource.crossplane.io";

/// What the provider may do with the external resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ManagementPolicy {
    /// Look at it.
    Observe,
    /// Make it.
    Create,
    /// Change it.
    Update,
    /// Take it away.
    Delete,
    /// Fill unset fields of the spec from it. Accepted for Crossplane's sake and without effect: no field of a spec is ever written.
    LateInitialize,
    /// All of these.
    #[serde(rename = "*")]
    All,
}

impl ManagementPolicy {
    /// The word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "Observe",
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::LateInitialize => "LateInitialize",
            Self::All => "*",
        }
    }
}

/// The kinds of configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ConfigKind {
    /// Of the object's own namespace.
    ProviderConfig,
    /// For all namespaces.
    ClusterProviderConfig,
}

impl ConfigKind {
    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProviderConfig => "ProviderConfig",
            Self::ClusterProviderConfig => "ClusterProviderConfig",
        }
    }
}

/// Which config an object uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ProviderConfigReference {
    /// The kind of the config.
    pub kind: ConfigKind,
    /// The name of the config.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The part of `spec` that all managed kinds share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSpec {
    /// What the provider may do with the resource on the host. `["*"]` is everything, `["Observe"]` only looks, `[]` pauses.
    #[serde(default = "everything")]
    #[schemars(length(max = 6))]
    pub management_policies: Vec<ManagementPolicy>,
    /// The config of the libvirt host. Left out, the host follows from references, the default config, or the only config there is. It never changes after the first placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_config_ref: Option<ProviderConfigReference>,
    /// The Secret that connection details are written to, such as the path of a volume or the addresses of a guest. It is made if it is not there; one that belongs to something else is left alone. Keys are added and changed, never removed: a guest that is off keeps its last addresses there. The Secret goes with the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_connection_secret_to_ref: Option<SecretName>,
}

/// A Secret in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretName {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn everything() -> Vec<ManagementPolicy> {
    vec![ManagementPolicy::All]
}

/// The part of `status` that all managed kinds share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// What is so and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The metadata.generation of the last spec that was made true, 0 before the first: until it is the present one, tools that follow a
    /// roll-out go on waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The last value of the annotation crossplane.io/reconcile-requested-at that a pass has handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// A managed resource: an object of ours that stands for one thing on a libvirt host.
pub trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + Unpin
    + 'static
{
    /// What the user wishes: `spec.forProvider`.
    type Parameters: Clone + Serialize + DeserializeOwned + Send + Sync;
    /// What the host shows: `status.atProvider`.
    type Observation: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync;

    /// The fields by which the thing is found and read for as long as it is there. Where `initProvider` said them when it was made,
    /// they count ever after.
    const LASTING: &'static [&'static str] = &[];
    /// The fields of `initProvider` that nothing needs once the thing is made, and that may be large.
    const FORGOTTEN: &'static [&'static str] = &[];

    /// `spec.forProvider`.
    fn parameters(&self) -> &Self::Parameters;
    /// `spec.forProvider`, to be changed.
    fn parameters_mut(&mut self) -> &mut Self::Parameters;
    /// `spec.initProvider`.
    fn initial(&self) -> Option<&Self::Parameters>;
    /// The shared part of `spec`.
    fn resource(&self) -> &ResourceSpec;
    /// `status.atProvider` as it was last written.
    fn observation(&self) -> Option<&Self::Observation>;
    /// The shared part of `status` as it was last written.
    fn resource_status(&self) -> Option<&ResourceStatus>;

    /// Whether the thing was made once, so that `initProvider` is the past.
    fn was_made(&self) -> bool {
        self.annotation(annotation::CREATE_SUCCEEDED).is_some()
    }

    /// What the thing is made of: `forProvider` over `initProvider`. Without `initProvider` the object itself.
    fn merged(&self) -> Cow<'_, Self> {
        over(self, making(self))
    }

    /// What the thing is found and read by: as it is made before it is there, and then `forProvider` over the lasting fields of what
    /// was `initProvider` when it was made.
    fn effective(&self) -> Cow<'_, Self> {
        if !self.was_made() {
            return self.merged();
        }
        let mut kept = recorded(self);
        kept.retain(|field, _| Self::LASTING.contains(&field.as_str()));
        over(self, kept)
    }

    /// What the thing may have: as it is made before it is there, and then `forProvider` over all that was `initProvider` when it
    /// was made.
    fn held(&self) -> Cow<'_, Self> {
        if self.was_made() { over(self, recorded(self)) } else { self.merged() }
    }

    /// What `initProvider` said when the thing was made; before that, what it says.
    fn initially(&self) -> Option<Cow<'_, Self::Parameters>> {
        if !self.was_made() {
            return self.initial().map(Cow::Borrowed);
        }
        self.annotation(annotation::INITIAL)?;
        serde_json::from_value(Value::Object(recorded(self))).ok().map(Cow::Owned)
    }

    /// What is to be written down of `initProvider` when the thing is made.
    fn to_remember(&self) -> Option<String> {
        let mut fields = making(self);
        fields.retain(|field, _| !Self::FORGOTTEN.contains(&field.as_str()));
        (!fields.is_empty()).then(|| Value::Object(fields).to_string())
    }

    /// The conditions as they were last written.
    fn conditions(&self) -> &[Condition] {
        self.resource_status().map_or(&[], |status| status.conditions.as_slice())
    }

    /// The value of an annotation.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The name in libvirt: the external-name annotation, or the object's name.
    fn external_name(&self) -> &str {
        let name = self.meta().name.as_deref().unwrap_or_default();
        self.annotation(annotation::EXTERNAL_NAME).filter(|name| !name.is_empty()).unwrap_or(name)
    }

    /// Why the external name cannot be used, if so. XML drops or changes such characters, and then it would be another thing's name.
    fn external_name_fault(&self) -> Option<String> {
        let name = self.external_name();
        let is_odd = name.trim() != name || name.chars().any(char::is_control) || name.chars().count() > 253;
        is_odd.then(|| {
            format!(
                "the annotation {} is {name:?}: it must not begin or end with white space, contain control characters or have more than 253 characters",
                annotation::EXTERNAL_NAME
            )
        })
    }

    /// Why what was `initProvider` cannot be read, if so. Without it, a raw volume would be taken for another format.
    fn initial_fault(&self) -> Option<String> {
        let text = self.annotation(annotation::INITIAL)?;
        let error = serde_json::from_str::<Self::Parameters>(text).err()?;
        Some(format!("the annotation {} cannot be read: {error}", annotation::INITIAL))
    }

    /// The object's UID, which is what it owns things on the host by.
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// `namespace/name`, as messages name objects.
    fn full_name(&self) -> String {
        let meta = self.meta();
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}
