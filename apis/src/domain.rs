//! Domain: a virtual machine.

mod observation;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    managed::{Managed, ResourceSpec, ResourceStatus},
    quantity::{ItemName, Quantity, Span},
    reference::{Reference, Selector},
    volume::Format,
};
pub use observation::{
    Address, ConsoleObservation, CpuObservation, DiskObservation, DomainObservation, GraphicsObservation,
    HostVolumeObservation, InterfaceObservation, OsObservation,
};

/// A virtual machine on a libvirt host.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "Domain",
    namespaced,
    status = "DomainStatus",
    derive = "PartialEq",
    category = "crossplane",
    category = "managed",
    category = "libvirt",
    doc = "A virtual machine on a libvirt host.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "SYNCED", type_ = "string", json_path = ".status.conditions[?(@.type=='Synced')].status"),
    printcolumn(name = "STATE", type_ = "string", json_path = ".status.atProvider.state"),
    printcolumn(name = "HOST", type_ = "string", json_path = ".metadata.labels.libvirt\\.nourspeed\\.io/instance"),
    printcolumn(name = "IP", type_ = "string", json_path = ".status.atProvider.addresses[0].ip"),
    printcolumn(
        name = "EXTERNAL-NAME",
        type_ = "string",
        json_path = ".metadata.annotations.crossplane\\.io/external-name"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || has(self.forProvider.memory) || (has(self.initProvider) && has(self.initProvider.memory))").message("spec.forProvider.memory is required unless managementPolicies only observe"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.type) || has(oldSelf.forProvider.type)").message("type cannot be changed: a guest keeps its hypervisor; create a new Domain instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.os) || !has(oldSelf.forProvider.os) || !has(self.forProvider.os.arch) || has(oldSelf.forProvider.os.arch)").message("os.arch cannot be changed: create a new Domain instead").field_path(".forProvider.os")
)]
pub struct DomainSpec {
    /// What the virtual machine should be.
    #[x_kube(validation = Rule::new("!has(oldSelf.type) || (has(self.type) && self.type == oldSelf.type)").message("type cannot be changed: a guest keeps its hypervisor; create a new Domain instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.os) || !has(oldSelf.os.arch) || (has(self.os) && has(self.os.arch) && self.os.arch == oldSelf.os.arch)").message("os.arch cannot be changed: create a new Domain instead").field_path(".os"))]
    pub for_provider: DomainParameters,
    /// What counts only when the virtual machine is made, beneath forProvider: lists whose items have a name, type, cidr or start are put together by it, a selector in forProvider replaces the reference here, and elsewhere forProvider wins. Afterwards nothing here is compared or brought back, and a change has no effect on what is there. Made again, it is made with what stands here then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_provider: Option<DomainParameters>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub resource: ResourceSpec,
}

/// What the virtual machine should be. What is left out is libvirt's choice and is not compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.maxVcpus) || !has(self.vcpus) || self.vcpus <= self.maxVcpus").message("vcpus must not be larger than maxVcpus")
)]
pub struct DomainParameters {
    /// Kvm, Qemu (emulated) or Auto: Kvm where the host has it. Default Auto.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<DomainType>,
    /// Always: a stopped guest is started again. Manual: it is started once, at creation, and then left to people. Halted: it is shut down. Default Always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_strategy: Option<RunStrategy>,
    /// How the guest is asked to shut down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Shutdown>,
    /// Whether the host starts the guest when it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// The guest's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// How far memory can grow while the guest runs. Default: memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Quantity>,
    /// The number of virtual CPUs. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub vcpus: Option<i32>,
    /// How far vcpus can grow while the guest runs. Default: vcpus.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub max_vcpus: Option<i32>,
    /// The CPU that the guest sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// The machine and what it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<Os>,
    /// Disks and CD-ROMs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub disks: Option<Vec<Disk>>,
    /// Network interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub network_interfaces: Option<Vec<NetworkInterface>>,
    /// The CloudInit whose seed the guest gets as a CD-ROM. A changed seed is swapped in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_init_ref: Option<Reference>,
    /// The CloudInit, by labels or owner. cloudInitRef goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_init_selector: Option<Selector>,
    /// Serial consoles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 4))]
    pub consoles: Option<Vec<Console>>,
    /// Graphical consoles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 1))]
    pub graphics: Option<Vec<Graphics>>,
    /// A random number generator for the guest; `{}` gives it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rng: Option<Rng>,
    /// Whether the guest has a channel for the QEMU guest agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_agent: Option<bool>,
}

/// The hypervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DomainType {
    /// Kvm where the host offers it, else Qemu.
    #[default]
    Auto,
    /// Hardware virtualization.
    Kvm,
    /// Emulation.
    Qemu,
}

/// When the guest runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum RunStrategy {
    /// A stopped guest is started again.
    #[default]
    Always,
    /// Started once at creation, then left to people.
    Manual,
    /// Shut down.
    Halted,
}

/// How a guest is asked to shut down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// Acpi presses the power button, Agent asks the guest agent, Default lets libvirt choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ShutdownMode>,
    /// How long the guest has before the request is repeated, or it is forced off. Default 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Whether a guest that does not obey within the timeout is forced off. Default false: it is asked again, and the status says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_after_timeout: Option<bool>,
}

/// The way of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ShutdownMode {
    /// libvirt chooses: the agent if it is connected, else ACPI.
    #[default]
    Default,
    /// The ACPI power button.
    Acpi,
    /// The guest agent.
    Agent,
}

/// The CPU that the guest sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.model) || (has(self.mode) && self.mode == 'Custom')").message("cpu.model needs cpu.mode: Custom"),
    validation = Rule::new("!(has(self.mode) && self.mode == 'Custom') || has(self.model)").message("cpu.mode: Custom needs cpu.model")
)]
pub struct Cpu {
    /// HostModel and HostPassthrough follow the host, Maximum offers all that the hypervisor can, Custom takes the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<CpuMode>,
    /// A model that libvirt knows, such as EPYC or Skylake-Server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub model: Option<String>,
}

/// libvirt's CPU modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum CpuMode {
    /// A named model.
    Custom,
    /// The host's model, portable.
    HostModel,
    /// The host's CPU as it is.
    HostPassthrough,
    /// Everything the hypervisor can offer.
    Maximum,
}

/// The machine and what it boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.initrdRef) || has(self.initrdSelector) || has(self.cmdline)) || has(self.kernelRef) || has(self.kernelSelector)").message("initrdRef, initrdSelector and cmdline need kernelRef or kernelSelector")
)]
pub struct Os {
    /// The guest's architecture. Default: the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 31), regex(pattern = r"^[a-z0-9_]+$"))]
    pub arch: Option<String>,
    /// The machine type, such as q35; a versioned name (pc-q35-7.2) pins it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub machine: Option<String>,
    /// A Volume that holds a kernel to boot directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_ref: Option<Reference>,
    /// The Volume of the kernel, by labels or owner. kernelRef goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_selector: Option<Selector>,
    /// A Volume that holds the initial ramdisk of that kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd_ref: Option<Reference>,
    /// The Volume of the initial ramdisk, by labels or owner. initrdRef goes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd_selector: Option<Selector>,
    /// The command line of that kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^[^\s\x00-\x1f]([^\x00-\x1f]*[^\s\x00-\x1f])?$"))]
    pub cmdline: Option<String>,
    /// What to boot from, first to last. Not together with bootOrder on a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    pub boot: Option<Vec<BootDevice>>,
}

/// A class of boot devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum BootDevice {
    /// Hard disks.
    Disk,
    /// CD-ROMs.
    Cdrom,
    /// The network.
    Network,
}

/// A disk or CD-ROM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.volumeRef) && has(self.volume))").message("set volumeRef or volume, not both"),
    validation = Rule::new("!(has(self.volumeSelector) && has(self.volume))").message("set volumeSelector or volume, not both"),
    validation = Rule::new("has(self.volumeRef) || has(self.volumeSelector) || has(self.volume) || (has(self.device) && self.device == 'Cdrom')").message("a disk needs volumeRef, volumeSelector or volume")
)]
pub struct Disk {
    /// The name of the disk in this list; its alias on the host.
    pub name: ItemName,
    /// The Volume that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_ref: Option<Reference>,
    /// The Volume, by labels or owner. volumeRef goes before it. A disk that is no CD-ROM keeps its data whatever is chosen later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_selector: Option<Selector>,
    /// A volume on the host that no object stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<HostVolume>,
    /// Disk or Cdrom. Default Disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DiskDevice>,
    /// How it is attached. Default Virtio for a disk, Scsi (virtio-scsi) for a CD-ROM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<DiskBus>,
    /// Whether the guest may only read it. A CD-ROM always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Its place in the boot order. Not together with os.boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub boot_order: Option<i32>,
}

/// A volume by its names on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostVolume {
    /// The name of the storage pool.
    #[schemars(length(min = 1, max = 253))]
    pub pool: String,
    /// The name of the volume.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its format. It is never guessed: a guest could write one format into a disk of the other.
    pub format: Format,
}

/// What a disk is to the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DiskDevice {
    /// A hard disk.
    #[default]
    Disk,
    /// A CD-ROM, whose medium can be changed.
    Cdrom,
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DiskBus {
    /// virtio-blk.
    Virtio,
    /// virtio-scsi.
    Scsi,
    /// AHCI.
    Sata,
    /// IDE.
    Ide,
    /// USB.
    Usb,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.networkRef) || has(self.networkSelector), has(self.network), has(self.bridge)].filter(x, x).size() == 1").message("set exactly one of networkRef, networkSelector, network and bridge")
)]
pub struct NetworkInterface {
    /// The name of the interface in this list; its alias on the host. Its MAC address follows from it unless mac is set.
    pub name: ItemName,
    /// The Network that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_ref: Option<Reference>,
    /// The Network, by labels or owner. networkRef goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_selector: Option<Selector>,
    /// A libvirt network on the host that no object stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s\x00-\x1f]([^\x00-\x1f]*[^\s\x00-\x1f])?$"))]
    pub network: Option<String>,
    /// A bridge of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub bridge: Option<String>,
    /// Its MAC address. Default: derived from the object's UID and the interface's name, and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17), regex(pattern = r"^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$"))]
    pub mac: Option<String>,
    /// The card that the guest sees. Default Virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<InterfaceModel>,
}

/// Network cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum InterfaceModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
    /// Realtek 8139.
    Rtl8139,
}

/// A serial console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Console {
    /// The name of the console in this list; its alias on the host.
    pub name: ItemName,
    /// Whether the host keeps what the guest prints in a file, which the status names. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<bool>,
}

/// A graphical console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Graphics {
    /// The protocol.
    #[serde(rename = "type")]
    pub type_: GraphicsType,
    /// The address of the host that it listens on. Default 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub listen: Option<String>,
}

/// Protocols of graphical consoles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum GraphicsType {
    /// VNC, on a port that libvirt chooses.
    Vnc,
}

/// A random number generator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rng {
    /// The host device it reads. Default Urandom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<RngSource>,
}

/// Sources of randomness on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum RngSource {
    /// /dev/urandom.
    #[default]
    Urandom,
    /// /dev/random.
    Random,
}

/// What the provider saw and said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainStatus {
    /// What the host shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_provider: Option<DomainObservation>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole status")]
    pub resource: ResourceStatus,
}

impl Managed for Domain {
    type Parameters = DomainParameters;
    type Observation = DomainObservation;

    fn parameters(&self) -> &DomainParameters {
        &self.spec.for_provider
    }

    fn parameters_mut(&mut self) -> &mut DomainParameters {
        &mut self.spec.for_provider
    }

    fn initial(&self) -> Option<&DomainParameters> {
        self.spec.init_provider.as_ref()
    }

    fn resource(&self) -> &ResourceSpec {
        &self.spec.resource
    }

    fn observation(&self) -> Option<&DomainObservation> {
        self.status.as_ref()?.at_provider.as_ref()
    }

    fn resource_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.resource)
    }
}
