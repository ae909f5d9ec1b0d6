//! Volume: a disk image in a storage pool.

mod access;
mod encryption;
mod permissions;
mod preallocation;
mod source;
mod wipe;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    managed::{Managed, ResourceSpec, ResourceStatus},
    permissions::PermissionsObservation,
    quantity::Quantity,
    reference::{Reference, Selector},
};

pub use access::{CaBundle, SecretReference};
pub use encryption::{Encryption, EncryptionFormat, EncryptionObservation};
pub use permissions::VolumePermissions;
pub use preallocation::Preallocation;
pub use source::{Decompression, HttpSource, Source};
pub use wipe::Wipe;

/// A disk image in a storage pool of a libvirt host.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "Volume",
    namespaced,
    status = "VolumeStatus",
    derive = "PartialEq",
    category = "crossplane",
    category = "managed",
    category = "libvirt",
    doc = "A disk image in a storage pool of a libvirt host.",
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
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || has(self.forProvider.pool) || has(self.forProvider.poolRef) || has(self.forProvider.poolSelector) || (has(self.initProvider) && (has(self.initProvider.pool) || has(self.initProvider.poolRef) || has(self.initProvider.poolSelector)))").message("spec.forProvider needs pool, poolRef or poolSelector"),
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || has(self.forProvider.capacity) || has(self.forProvider.source) || has(self.forProvider.backingStore) || (has(self.initProvider) && (has(self.initProvider.capacity) || has(self.initProvider.source) || has(self.initProvider.backingStore)))").message("spec.forProvider needs capacity, source or backingStore"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.pool) || has(oldSelf.forProvider.pool)").message("pool cannot be changed: data would have to move; create a new Volume instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.poolRef) || has(oldSelf.forProvider.poolRef)").message("poolRef cannot be changed: data would have to move; create a new Volume instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.format) || has(oldSelf.forProvider.format)").message("format cannot be changed: data would have to be converted; create a new Volume instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.preallocation) || has(oldSelf.forProvider.preallocation)").message("preallocation cannot be changed: it counts when the volume is made; create a new Volume instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.permissions) || has(oldSelf.forProvider.permissions)").message("permissions cannot be changed: libvirt sets them when the volume is made; create a new Volume instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.source) || has(oldSelf.forProvider.source)").message("source cannot be changed, because the volume may hold its image already: create a new Volume instead, or delete this one first if its import failed").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.backingStore) || has(oldSelf.forProvider.backingStore)").message("backingStore cannot be changed: the volume's data is a difference to it; create a new Volume instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.encryption) || has(oldSelf.forProvider.encryption)").message("encryption cannot be added: what is written would have to be written anew; create a new Volume instead").field_path(".forProvider")
)]
pub struct VolumeSpec {
    /// What it should be.
    #[x_kube(validation = Rule::new("!has(oldSelf.pool) || (has(self.pool) && self.pool == oldSelf.pool)").message("pool cannot be changed: data would have to move; create a new Volume instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.poolRef) || (has(self.poolRef) && self.poolRef.name == oldSelf.poolRef.name && (has(self.poolRef.__namespace__) ? has(oldSelf.poolRef.__namespace__) && self.poolRef.__namespace__ == oldSelf.poolRef.__namespace__ : !has(oldSelf.poolRef.__namespace__)))").message("poolRef cannot be changed: data would have to move; create a new Volume instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.format) || (has(self.format) && self.format == oldSelf.format)").message("format cannot be changed: data would have to be converted; create a new Volume instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.preallocation) || (has(self.preallocation) && self.preallocation == oldSelf.preallocation)").message("preallocation cannot be changed: it counts when the volume is made; create a new Volume instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.permissions) || (has(self.permissions) && self.permissions == oldSelf.permissions)").message("permissions cannot be changed: libvirt sets them when the volume is made; create a new Volume instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.source) || (has(self.source) && self.source == oldSelf.source)").message("source cannot be changed, because the volume may hold its image already: create a new Volume instead, or delete this one first if its import failed"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.backingStore) || (has(self.backingStore) && (has(self.backingStore.volumeRef) ? has(oldSelf.backingStore.volumeRef) && (self.backingStore.volumeRef.name == oldSelf.backingStore.volumeRef.name && (has(self.backingStore.volumeRef.__namespace__) ? has(oldSelf.backingStore.volumeRef.__namespace__) && self.backingStore.volumeRef.__namespace__ == oldSelf.backingStore.volumeRef.__namespace__ : !has(oldSelf.backingStore.volumeRef.__namespace__))) : !has(oldSelf.backingStore.volumeRef)))").message("backingStore cannot be changed: the volume's data is a difference to it; create a new Volume instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.encryption) || (has(self.encryption) && has(self.encryption.format) == has(oldSelf.encryption.format) && (!has(self.encryption.format) || self.encryption.format == oldSelf.encryption.format))").message("encryption.format cannot be changed, and encryption not be taken away: what is written would have to be written anew; create a new Volume instead"))]
    pub for_provider: VolumeParameters,
    /// What counts only when the volume is made, beneath forProvider: lists whose items have a name, type, cidr or start are put together by it, a selector in forProvider replaces the reference here, and elsewhere forProvider wins. Afterwards nothing here is compared or brought back, and a change has no effect on what is there. Its pool, format, backingStore and encryption stay as they were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_provider: Option<VolumeParameters>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub resource: ResourceSpec,
}

/// What the volume should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.pool) && has(self.poolRef))").message("set pool or poolRef, not both"),
    validation = Rule::new("!(has(self.poolRef) && has(self.poolRef.policy) && has(self.poolRef.policy.resolution) && self.poolRef.policy.resolution == 'Optional') && !(has(self.poolSelector) && has(self.poolSelector.policy) && has(self.poolSelector.policy.resolution) && self.poolSelector.policy.resolution == 'Optional')").message("a pool cannot be Optional: without one there is no place for the volume"),
    validation = Rule::new("!(has(self.pool) && has(self.poolSelector))").message("set pool or poolSelector, not both"),
    validation = Rule::new("!(has(self.source) && has(self.backingStore))").message("set source or backingStore, not both: an image brings its own content"),
    validation = Rule::new("!has(self.preallocation) || self.preallocation == 'Off' || (!has(self.source) && !has(self.backingStore))").message("preallocation is for blank volumes: a source or backingStore decides itself what is written"),
    validation = Rule::new("!has(self.permissions) || !has(self.source) || !(has(self.source.volumeRef) || has(self.source.volumeSelector))").message("permissions are not for copies of other volumes: libvirt may lose them while it copies"),
    validation = Rule::new("!has(self.preallocation) || self.preallocation != 'Metadata' || !has(self.format) || self.format == 'Qcow2'").message("preallocation: Metadata needs format: Qcow2, because a raw file has no tables"),
    validation = Rule::new("!has(self.backingStore) || !has(self.format) || self.format == 'Qcow2'").message("a volume on a backingStore must have format: Qcow2"),
    validation = Rule::new("!has(self.encryption) || !has(self.preallocation) || self.preallocation == 'Off' || !has(self.format) || self.format == 'Qcow2'").message("preallocation of an encrypted volume needs format: Qcow2, because libvirt sets nothing aside for an encrypted Raw one"),
    validation = Rule::new("!has(self.wipe) || self.wipe == 'Off' || !has(self.format) || self.format == 'Raw'").message("wipe: Zero needs format: Raw: a qcow2 file has holes, and of such a file libvirt only gives the room back"),
    validation = Rule::new("!(has(self.encryption) && has(self.source))").message("set source or encryption, not both: content is stored on the host as it comes. Make a blank encrypted volume, and write the content into it from a guest"),
    validation = Rule::new("!(has(self.encryption) && has(self.backingStore))").message("set backingStore or encryption, not both: what is below would be readable still. Encrypt volumes that stand on nothing")
)]
pub struct VolumeParameters {
    /// The name of the storage pool on the host, when no object stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub pool: Option<String>,
    /// The Pool that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_ref: Option<Reference>,
    /// The Pool, by labels or owner. poolRef goes before it. What it chose counts for good once the volume is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_selector: Option<Selector>,
    /// The size that the guest sees. It can grow, also while a guest uses it, and never shrinks. Default: that of the image, the volume that is copied, or the backing volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// Raw or Qcow2. Default Qcow2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// What is set aside for a blank volume when it is made. Off: nothing, it takes room as it is written to. Metadata: the tables of a Qcow2 file, so that they are not made while a guest writes. Falloc: all of its capacity, so that no guest's write fails for want of room; where the pool's file system cannot do that at once, zeros are written. What it grows by later is not set aside. Default Off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preallocation: Option<Preallocation>,
    /// Owner and mode of the volume's file, as libvirt sets them when it makes it. It cannot change them later, and gives files to the user that QEMU runs as while guests use them: what is so by now is in the status, and a difference is not mended. For pools of files, and not for copies of other volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<VolumePermissions>,
    /// The volume that this one is a difference to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backing_store: Option<BackingStore>,
    /// Where its first content comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How a blank volume is encrypted. QEMU does that: guests see plain content, and without the passphrase nobody reads the file or device. The host knows the passphrase in the memory of its libvirt daemon only, so a guest with such a disk cannot be started by its host's autostart before this provider has been there. Disks that name the volume by volumeRef need nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// What is done with its content before it is deleted. Off: nothing; what was in it stays on the host's disk until something else is written there, and of a Logical or Disk pool a new volume shows it to its guest, so say Zero for all volumes of such pools. Zero: it is overwritten with zeros, which may take hours; the object stays until that has worked, and no other volume of its pool is deleted meanwhile. For Raw volumes that have all of their room: of a file with holes libvirt would only give the room back, so that is refused when it is deleted (WipeRefused). Say preallocation: Falloc with this, or encryption instead. A disk that keeps copies of what is overwritten, as an SSD or a copy-on-write file system does, has them still. Default Off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wipe: Option<Wipe>,
}

/// Formats of disk images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Format {
    /// Bytes as the guest sees them.
    Raw,
    /// QEMU's copy-on-write format.
    #[default]
    Qcow2,
}

impl Format {
    /// libvirt's word for it.
    pub fn as_libvirt(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// The volume below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.volumeRef) || has(self.volumeSelector)").message("set volumeRef or volumeSelector"),
    validation = Rule::new("!(has(self.volumeRef) && has(self.volumeRef.policy) && has(self.volumeRef.policy.resolution) && self.volumeRef.policy.resolution == 'Optional') && !(has(self.volumeSelector) && has(self.volumeSelector.policy) && has(self.volumeSelector.policy.resolution) && self.volumeSelector.policy.resolution == 'Optional')").message("a volume below cannot be Optional: the volume's data is a difference to it")
)]
pub struct BackingStore {
    /// The Volume below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_ref: Option<Reference>,
    /// The Volume below, by labels or owner. volumeRef goes before it. What it chose counts for good once this volume is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_selector: Option<Selector>,
}

/// What the provider saw and said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    /// What the host shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_provider: Option<VolumeObservation>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole status")]
    pub resource: ResourceStatus,
}

/// What the host shows. What also stands in `forProvider` has its name and type there, so that a spec can be written from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeObservation {
    /// libvirt's key of the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The name of the storage pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The name in the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The path on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What it is there: a File, a Block device, or a Network resource, which each guest connects to by itself.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<VolumeType>,
    /// The size that the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// The format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Owner and mode of its file; of a device there is nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<PermissionsObservation>,
    /// The file that it is a difference to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing_store: Option<BackingObservation>,
    /// How it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionObservation>,
}

/// What a volume is on its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum VolumeType {
    /// A file.
    File,
    /// A block device.
    Block,
    /// A resource of a server.
    Network,
}

/// The file below a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackingObservation {
    /// The path on the host; a spec names a Volume instead.
    pub path: String,
}

impl Managed for Volume {
    type Parameters = VolumeParameters;
    type Observation = VolumeObservation;

    const LASTING: &'static [&'static str] =
        &["pool", "poolRef", "poolSelector", "format", "backingStore", "encryption"];

    fn parameters(&self) -> &VolumeParameters {
        &self.spec.for_provider
    }

    fn parameters_mut(&mut self) -> &mut VolumeParameters {
        &mut self.spec.for_provider
    }

    fn initial(&self) -> Option<&VolumeParameters> {
        self.spec.init_provider.as_ref()
    }

    fn resource(&self) -> &ResourceSpec {
        &self.spec.resource
    }

    fn observation(&self) -> Option<&VolumeObservation> {
        self.status.as_ref()?.at_provider.as_ref()
    }

    fn resource_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.resource)
    }
}
