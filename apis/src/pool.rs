//! Pool: a place for volumes.

mod auth;
mod needs;
mod source;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{AuthObservation, PoolAuth};
pub use source::{
    AdapterObservation, HostObservation, PoolAdapter, PoolFormat, PoolHost, PoolSource, PoolType, SourceObservation,
};

use crate::{
    managed::{Managed, ResourceSpec, ResourceStatus},
    permissions::PermissionsObservation,
    quantity::Quantity,
};

/// A storage pool of a libvirt host.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "Pool",
    namespaced,
    status = "PoolStatus",
    derive = "PartialEq",
    category = "crossplane",
    category = "managed",
    category = "libvirt",
    doc = "A storage pool of a libvirt host.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "SYNCED", type_ = "string", json_path = ".status.conditions[?(@.type=='Synced')].status"),
    printcolumn(name = "CAPACITY", type_ = "string", json_path = ".status.atProvider.capacity"),
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
    validation = Rule::new(needs::placed()).message("spec.forProvider.target.path is required unless managementPolicies only observe"),
    validation = Rule::new(needs::placeless()).message("target is not for this type, whose place on the host is not chosen"),
    validation = Rule::new(needs::among_devices()).message("target.path of this type is a folder of device files: /dev, or one below it such as /dev/disk/by-path"),
    validation = Rule::new(needs::rule("hosts")).message(needs::sentence("hosts")),
    validation = Rule::new(needs::rule("dir")).message(needs::sentence("dir")),
    validation = Rule::new(needs::rule("devices")).message(needs::sentence("devices")),
    validation = Rule::new(needs::rule("iqn")).message(needs::sentence("iqn")),
    validation = Rule::new(needs::rule("initiatorIqn")).message(needs::sentence("initiatorIqn")),
    validation = Rule::new(needs::rule("adapter")).message(needs::sentence("adapter")),
    validation = Rule::new(needs::rule("name")).message(needs::sentence("name")),
    validation = Rule::new(needs::rule("format")).message(needs::sentence("format")),
    validation = Rule::new(needs::rule("protocolVersion")).message(needs::sentence("protocolVersion")),
    validation = Rule::new(needs::rule("auth")).message(needs::sentence("auth")),
    validation = Rule::new(needs::several_hosts()).message("source.hosts: only type Rbd has several"),
    validation = Rule::new(needs::several_devices()).message("source.devices: only type Logical has several"),
    validation = Rule::new(needs::formats()).message("source.format: this type does not know it"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.type) || has(oldSelf.forProvider.type)").message("type cannot be changed: create a new Pool instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.target) || !has(self.forProvider.target.path) || (has(oldSelf.forProvider.target) && has(oldSelf.forProvider.target.path))").message("path cannot be changed: the volumes would stay behind; create a new Pool instead").field_path(".forProvider.target")
)]
pub struct PoolSpec {
    /// What it should be.
    #[x_kube(validation = Rule::new("!has(oldSelf.type) || (has(self.type) && self.type == oldSelf.type)").message("type cannot be changed: create a new Pool instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.target) || !has(oldSelf.target.path) || (has(self.target) && has(self.target.path) && self.target.path == oldSelf.target.path)").message("path cannot be changed: the volumes would stay behind; create a new Pool instead").field_path(".target"))]
    #[x_kube(validation = Rule::new(needs::lasting()).message("source: dir, devices, iqn, adapter, name and format stay as they are, since the volumes would stay behind: create a new Pool instead"))]
    pub for_provider: PoolParameters,
    /// What counts only when the pool is made, beneath forProvider: lists whose items have a name, type, cidr or start are put together by it, a selector in forProvider replaces the reference here, and elsewhere forProvider wins. Afterwards nothing here is compared or brought back, and a change has no effect on what is there. Its type, source and target stay as they were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_provider: Option<PoolParameters>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub resource: ResourceSpec,
}

/// What the pool should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolParameters {
    /// The kind of storage. Default Dir: a directory of the host. A host needs libvirt's storage driver for it, else the pool is refused as NotOffered.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<PoolType>,
    /// What it is made of. Not of Dir and Mpath.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PoolSource>,
    /// Where it is on the host: the folder of Dir; where Fs, Netfs and Vstorage are mounted, which the config's policy.hostPaths must list; where the devices of Disk, Iscsi, Scsi and Mpath are found, such as /dev/disk/by-path. Not of the other types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<PoolTarget>,
    /// Whether what is missing is made, once, when the pool is new: the directory of Dir, or the one that is mounted on (default true); and, only where this says true, a file system on the device of Fs, a partition table on that of Disk, a volume group on those of Logical, a pool on that of Zfs. Nothing that exists is overwritten: a device on which anything is recognised is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<bool>,
    /// Whether the host starts the pool when it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
}

/// Where a pool is on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.path) || !self.path.matches('(^|/)[.]{1,2}(/|$)')").message("path must not have . or .. in it"))]
pub struct PoolTarget {
    /// An absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^/[^/\s][^\s]*$"))]
    pub path: Option<String>,
    /// Owner and mode of the directory, applied when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
}

/// Owner and mode of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// Octal digits, such as 0711.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 4), regex(pattern = r"^0?[0-7]{3}$"))]
    pub mode: Option<String>,
    /// The numeric user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647_i64))]
    pub owner: Option<i64>,
    /// The numeric group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647_i64))]
    pub group: Option<i64>,
}

/// What the provider saw and said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// What the host shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_provider: Option<PoolObservation>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole status")]
    pub resource: ResourceStatus,
}

/// What the host shows. What also stands in `forProvider` has its name and type there, so that a spec can be written from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolObservation {
    /// The UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Running or Inactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The kind of storage, where a spec can name it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<PoolType>,
    /// libvirt's word for the kind of storage, where a spec cannot name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_type: Option<String>,
    /// What its definition says it is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceObservation>,
    /// Where its definition says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetObservation>,
    /// Whether the host starts it when it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// The path on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The size of the storage below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
}

/// Where a pool is on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetObservation {
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Owner and mode of the directory, as far as the definition says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<PermissionsObservation>,
}

impl Managed for Pool {
    type Parameters = PoolParameters;
    type Observation = PoolObservation;

    const LASTING: &'static [&'static str] = &["type", "source", "target"];

    fn parameters(&self) -> &PoolParameters {
        &self.spec.for_provider
    }

    fn parameters_mut(&mut self) -> &mut PoolParameters {
        &mut self.spec.for_provider
    }

    fn initial(&self) -> Option<&PoolParameters> {
        self.spec.init_provider.as_ref()
    }

    fn resource(&self) -> &ResourceSpec {
        &self.spec.resource
    }

    fn observation(&self) -> Option<&PoolObservation> {
        self.status.as_ref()?.at_provider.as_ref()
    }

    fn resource_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.resource)
    }
}
