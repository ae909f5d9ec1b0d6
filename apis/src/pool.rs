//! Pool: a place for volumes.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    managed::{Managed, ResourceSpec, ResourceStatus},
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
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || (has(self.forProvider.target) && has(self.forProvider.target.path)) || (has(self.initProvider) && has(self.initProvider.target) && has(self.initProvider.target.path))").message("spec.forProvider.target.path is required unless managementPolicies only observe"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.type) || has(oldSelf.forProvider.type)").message("type cannot be changed: create a new Pool instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.target) || !has(self.forProvider.target.path) || (has(oldSelf.forProvider.target) && has(oldSelf.forProvider.target.path))").message("path cannot be changed: the volumes would stay behind; create a new Pool instead").field_path(".forProvider.target")
)]
pub struct PoolSpec {
    /// What it should be.
    #[x_kube(validation = Rule::new("!has(oldSelf.type) || (has(self.type) && self.type == oldSelf.type)").message("type cannot be changed: create a new Pool instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.target) || !has(oldSelf.target.path) || (has(self.target) && has(self.target.path) && self.target.path == oldSelf.target.path)").message("path cannot be changed: the volumes would stay behind; create a new Pool instead").field_path(".target"))]
    pub for_provider: PoolParameters,
    /// What counts only when the pool is made, beneath forProvider: lists whose items have a name, type, cidr or start are put together by it, a selector in forProvider replaces the reference here, and elsewhere forProvider wins. Afterwards nothing here is compared or brought back, and a change has no effect on what is there. Its type and target stay as they were made.
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
    /// The kind of storage. Default Dir: a directory of the host.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<PoolType>,
    /// Where it is on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<PoolTarget>,
    /// Whether the directory is made when it is missing. Default true; nothing that exists is overwritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<bool>,
    /// Whether the host starts the pool when it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
}

/// Kinds of storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum PoolType {
    /// A directory.
    #[default]
    Dir,
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

/// Owner and mode of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionsObservation {
    /// Octal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The numeric user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<i64>,
    /// The numeric group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<i64>,
}

impl Managed for Pool {
    type Parameters = PoolParameters;
    type Observation = PoolObservation;

    const LASTING: &'static [&'static str] = &["type", "target"];

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
