//! CloudInit: what a guest is told at its first boot.

mod config;
mod format;
mod interfaces;
mod parts;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    managed::{Managed, ResourceSpec, ResourceStatus},
    quantity::Quantity,
    reference::{KeyReference, Reference, Selector},
};

pub use config::{AuthorizedKeys, CloudConfig, User, WriteFile};
pub use format::SeedFormat;
pub use interfaces::{GuestInterface, GuestRoute, Nameservers};
pub use parts::{ContentType, Data, Part};

/// What a guest is told at its first boot: a NoCloud seed, or a config of Ignition.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "CloudInit",
    namespaced,
    status = "CloudInitStatus",
    derive = "PartialEq",
    category = "crossplane",
    category = "managed",
    category = "libvirt",
    doc = "What a guest is told at its first boot: a NoCloud seed, or a config of Ignition.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "SYNCED", type_ = "string", json_path = ".status.conditions[?(@.type=='Synced')].status"),
    printcolumn(
        name = "EXTERNAL-NAME",
        type_ = "string",
        json_path = ".metadata.annotations.crossplane\\.io/external-name"
    ),
    printcolumn(
        name = "UP-TO-DATE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='UpToDate')].status",
        priority = "1"
    ),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Synced')].message",
        priority = "1"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || has(self.forProvider.pool) || has(self.forProvider.poolRef) || has(self.forProvider.poolSelector) || (has(self.initProvider) && (has(self.initProvider.pool) || has(self.initProvider.poolRef) || has(self.initProvider.poolSelector)))").message("spec.forProvider needs pool, poolRef or poolSelector"),
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || has(self.forProvider.userData) || has(self.forProvider.cloudConfig) || (has(self.initProvider) && (has(self.initProvider.userData) || has(self.initProvider.cloudConfig)))").message("spec.forProvider.userData or cloudConfig is required unless managementPolicies only observe"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.pool) || has(oldSelf.forProvider.pool)").message("pool cannot be changed: create a new CloudInit instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.poolRef) || has(oldSelf.forProvider.poolRef)").message("poolRef cannot be changed: create a new CloudInit instead").field_path(".forProvider")
)]
pub struct CloudInitSpec {
    /// What it should be.
    #[x_kube(validation = Rule::new("!has(oldSelf.pool) || (has(self.pool) && self.pool == oldSelf.pool)").message("pool cannot be changed: create a new CloudInit instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.poolRef) || (has(self.poolRef) && self.poolRef.name == oldSelf.poolRef.name && (has(self.poolRef.__namespace__) ? has(oldSelf.poolRef.__namespace__) && self.poolRef.__namespace__ == oldSelf.poolRef.__namespace__ : !has(oldSelf.poolRef.__namespace__)))").message("poolRef cannot be changed: create a new CloudInit instead"))]
    #[x_kube(validation = Rule::new("(has(self.format) ? self.format : 'NoCloud') == (has(oldSelf.format) ? oldSelf.format : 'NoCloud')").message("format cannot be changed: create a new CloudInit instead"))]
    pub for_provider: CloudInitParameters,
    /// What counts only when the seed is made, beneath forProvider: lists whose items have a name, type, cidr or start are put together by it, a selector in forProvider replaces the reference here, and elsewhere forProvider wins. Afterwards nothing here is compared or brought back, and a change has no effect on what is there. Its pool and format stay as it was made, and another seed is made with what stands here then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_provider: Option<CloudInitParameters>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub resource: ResourceSpec,
}

/// What the guest is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.pool) && has(self.poolRef))").message("set pool or poolRef, not both"),
    validation = Rule::new("!(has(self.poolRef) && has(self.poolRef.policy) && has(self.poolRef.policy.resolution) && self.poolRef.policy.resolution == 'Optional') && !(has(self.poolSelector) && has(self.poolSelector.policy) && has(self.poolSelector.policy.resolution) && self.poolSelector.policy.resolution == 'Optional')").message("a pool cannot be Optional: without one there is no place for the seed"),
    validation = Rule::new("!(has(self.pool) && has(self.poolSelector))").message("set pool or poolSelector, not both"),
    validation = Rule::new("!(has(self.networkConfig) && has(self.networkInterfaces))").message("set networkConfig or networkInterfaces, not both"),
    validation = Rule::new("!(has(self.format) && self.format == 'Ignition') || !(has(self.cloudConfig) || has(self.networkInterfaces) || has(self.metaData) || has(self.networkConfig) || has(self.vendorData) || has(self.instanceIdPolicy) || (has(self.userData) && has(self.userData.parts)))").message("format: Ignition takes userData alone, without parts"),
    validation = Rule::new("!(has(self.metaData) && has(self.instanceIdPolicy) && self.instanceIdPolicy == 'Content')").message("instanceIdPolicy: Content needs the provider's own meta-data: set it or metaData, which says its own instance-id, not both")
)]
pub struct CloudInitParameters {
    /// The name of the storage pool on the host, when no object stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pool: Option<String>,
    /// The Pool that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<Reference>,
    /// The Pool, by labels or owner. poolRef goes before it. What it chose counts for good once the seed is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_selector: Option<Selector>,
    /// Who reads it. NoCloud: cloud-init, from a CD-ROM of the guest. Ignition: guests such as Fedora CoreOS and Flatcar, at their first boot: userData is their config, in JSON, and QEMU tells it to the guest by fw_cfg as opt/com.coreos/config and opt/org.flatcar-linux/config, which x86 and ARM guests have; it takes nothing else, and its pool must be a folder. A change of it is told from the guest's next start on. It cannot be changed. Default NoCloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<SeedFormat>,
    /// What most guests are told, in fields: host name, users, packages, files, commands. Beside userData it is the first part of what cloud-init gets, so that userData counts over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_config: Option<CloudConfig>,
    /// How the guest sets up its interfaces, in fields, each found by its MAC address, which the Domain tells where it is not said. It becomes the file network-config, of version 2. Default: what networkConfig says; without both, the guest's own way, which is mostly DHCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub network_interfaces: Option<Vec<GuestInterface>>,
    /// The file user-data: cloud-config, a script, or anything else cloud-init reads. For Ignition its config, such as butane makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Data>,
    /// The file meta-data. Default: the instance-id that instanceIdPolicy says and the local-hostname from the object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<Content>,
    /// The file network-config, of version 1 or 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_config: Option<Content>,
    /// The file vendor-data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<Data>,
    /// Kept: the guest's instance-id is the object's UID, and a guest that was set up stays as it is when the seed changes, until its image is made anew. Content: the instance-id changes with all that the seed says, and at its next boot the guest is set up again like a new one: users, keys and scripts that run once an instance. metaData says its own instead. Default Kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id_policy: Option<InstanceIdPolicy>,
}

/// What a guest takes for a new instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum InstanceIdPolicy {
    /// Another object.
    #[default]
    Kept,
    /// Another content.
    Content,
}

/// The content of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.inline), has(self.secretKeyRef), has(self.configMapKeyRef)].filter(x, x).size() == 1").message("set exactly one of inline, secretKeyRef and configMapKeyRef")
)]
pub struct Content {
    /// The text itself. Passwords and keys belong in a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524_288))]
    pub inline: Option<String>,
    /// A key of a Secret of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
    /// A key of a ConfigMap of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
}

impl Content {
    /// Where it comes from.
    pub fn place(&self) -> Place<'_> {
        let Self { inline, secret_key_ref, config_map_key_ref } = self;
        Place::of(inline.as_ref(), secret_key_ref.as_ref(), config_map_key_ref.as_ref())
    }
}

/// Where a content comes from.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// It stands in the object.
    Inline(&'a str),
    /// A key of a Secret.
    Secret(&'a KeyReference),
    /// A key of a `ConfigMap`.
    ConfigMap(&'a KeyReference),
    /// Nobody says.
    Nowhere,
}

impl<'a> Place<'a> {
    fn of(inline: Option<&'a String>, secret: Option<&'a KeyReference>, config_map: Option<&'a KeyReference>) -> Self {
        match (inline, secret, config_map) {
            (Some(text), _, _) => Self::Inline(text),
            (None, Some(key), _) => Self::Secret(key),
            (None, None, Some(key)) => Self::ConfigMap(key),
            (None, None, None) => Self::Nowhere,
        }
    }
}

/// What the provider saw and said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudInitStatus {
    /// What the host shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_provider: Option<CloudInitObservation>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole status")]
    pub resource: ResourceStatus,
}

/// What the host shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CloudInitObservation {
    /// libvirt's key of the volume that holds the seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of the storage pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The name of the volume, which tells its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The path on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The size of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// The instance-id in the seed; of an imported one unknown, because nobody looks into it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
}

impl Managed for CloudInit {
    type Parameters = CloudInitParameters;
    type Observation = CloudInitObservation;

    const LASTING: &'static [&'static str] = &["pool", "poolRef", "poolSelector", "format"];
    const FORGOTTEN: &'static [&'static str] = &[
        "cloudConfig",
        "networkInterfaces",
        "userData",
        "metaData",
        "networkConfig",
        "vendorData",
        "instanceIdPolicy",
    ];

    fn parameters(&self) -> &CloudInitParameters {
        &self.spec.for_provider
    }

    fn parameters_mut(&mut self) -> &mut CloudInitParameters {
        &mut self.spec.for_provider
    }

    fn initial(&self) -> Option<&CloudInitParameters> {
        self.spec.init_provider.as_ref()
    }

    fn resource(&self) -> &ResourceSpec {
        &self.spec.resource
    }

    fn observation(&self) -> Option<&CloudInitObservation> {
        self.status.as_ref()?.at_provider.as_ref()
    }

    fn resource_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.resource)
    }
}
