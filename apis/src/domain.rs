//! Domain: a virtual machine.

mod cards;
mod consoles;
mod devices;
mod links;
mod numa;
mod observation;
mod passed;
mod platform;
mod seen;
mod storage;
mod sysinfo;
mod tuning;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    managed::{Managed, ResourceSpec, ResourceStatus},
    quantity::{Quantity, Span},
    reference::{Reference, Selector},
};
pub use cards::{Balloon, BalloonModel, Input, InputBus, InputType, Sound, SoundModel, Vsock};
pub use consoles::{Channel, ChannelType, Console, ConsoleType, Graphics, GraphicsType, TcpConsole, TcpProtocol};
pub use devices::{
    Disk, DiskBus, DiskCache, DiskDevice, DiskDiscard, DiskIo, DiskZeroes, HostVolume, InterfaceModel, LinkState,
    NetworkInterface, Panic, PanicModel, Rng, RngSource, Tpm, TpmModel, Video, VideoModel, Watchdog, WatchdogAction,
};
pub use links::{Bandwidth, Direct, DirectMode, Rate, UserNetwork, Vlan};
pub use numa::{CellDistance, MemAccess, MemNode, NumaCell, NumaMode, NumaTune};
pub use observation::{
    Address, ChannelObservation, ConsoleObservation, CpuObservation, DiskObservation, DomainObservation,
    FilesystemObservation, GraphicsObservation, GuestObservation, HostVolumeObservation, InterfaceObservation,
    OsObservation, VsockObservation,
};
pub use passed::{Filesystem, FilesystemAccess, FilesystemDriver, HostDevice, MediatedDevice, PciDevice, UsbDevice};
pub use platform::{
    BootDevice, Clock, ClockOffset, Cpu, CpuFeature, CpuMode, CrashAction, EndAction, FeaturePolicy, Features,
    Firmware, Hugepages, HypervFeatures, KvmFeatures, Lifecycle, MemoryBacking, MemorySource, Os, TickPolicy, Timer,
    TimerName, Topology,
};
pub use seen::{FolderObservation, HostDeviceObservation};
pub use storage::{ByteRates, DiskBlock, DiskFile, DiskHost, DiskNetwork, DiskProtocol, IoTune, IopsRates};
pub use sysinfo::{BaseBoardInfo, BiosInfo, ChassisInfo, OemString, SmbiosText, Sysinfo, SystemInfo};
pub use tuning::{BlockIoTune, CpuTune, IoThreadPin, MemoryTune, VcpuPin};

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
    printcolumn(name = "VCPUS", type_ = "integer", json_path = ".status.atProvider.vcpus", priority = "1"),
    printcolumn(name = "MEMORY", type_ = "string", json_path = ".status.atProvider.memory", priority = "1"),
    printcolumn(
        name = "UP-TO-DATE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='UpToDate')].status",
        priority = "1"
    ),
    printcolumn(
        name = "RESTART-REQUIRED",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='RestartRequired')].status",
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
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || has(self.forProvider.memory) || (has(self.initProvider) && has(self.initProvider.memory))").message("spec.forProvider.memory is required unless managementPolicies only observe"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.type) || has(oldSelf.forProvider.type)").message("type cannot be changed: a guest keeps its hypervisor; create a new Domain instead").field_path(".forProvider"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.os) || !has(oldSelf.forProvider.os) || !has(self.forProvider.os.arch) || has(oldSelf.forProvider.os.arch)").message("os.arch cannot be changed: create a new Domain instead").field_path(".forProvider.os"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.os) || !has(self.forProvider.os.firmware) || (has(oldSelf.forProvider.os) && has(oldSelf.forProvider.os.firmware))").message("os.firmware cannot be changed: what is installed would not start; create a new Domain instead").field_path(".forProvider.os"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.os) || !has(self.forProvider.os.secureBoot) || (has(oldSelf.forProvider.os) && has(oldSelf.forProvider.os.secureBoot))").message("os.secureBoot cannot be changed: create a new Domain instead").field_path(".forProvider.os")
)]
pub struct DomainSpec {
    /// What the virtual machine should be.
    #[x_kube(validation = Rule::new("!has(oldSelf.type) || (has(self.type) && self.type == oldSelf.type)").message("type cannot be changed: a guest keeps its hypervisor; create a new Domain instead"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.os) || !has(oldSelf.os.arch) || (has(self.os) && has(self.os.arch) && self.os.arch == oldSelf.os.arch)").message("os.arch cannot be changed: create a new Domain instead").field_path(".os"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.os) || !has(oldSelf.os.firmware) || (has(self.os) && has(self.os.firmware) && self.os.firmware == oldSelf.os.firmware)").message("os.firmware cannot be changed: what is installed would not start; create a new Domain instead").field_path(".os"))]
    #[x_kube(validation = Rule::new("!has(oldSelf.os) || !has(oldSelf.os.secureBoot) || (has(self.os) && has(self.os.secureBoot) && self.os.secureBoot == oldSelf.os.secureBoot)").message("os.secureBoot cannot be changed: create a new Domain instead").field_path(".os"))]
    pub for_provider: Box<DomainParameters>,
    /// What counts only when the virtual machine is made, beneath forProvider: lists whose items have a name, type, vcpu, ioThread, id or cell are put together by it, a selector in forProvider replaces the reference here, and elsewhere forProvider wins. Afterwards nothing here is compared or brought back, and a change has no effect on what is there. Made again, it is made with what stands here then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_provider: Option<Box<DomainParameters>>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub resource: ResourceSpec,
}

/// What the virtual machine should be. What is left out is libvirt's choice and is not compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.maxVcpus) || !has(self.vcpus) || self.vcpus <= self.maxVcpus").message("vcpus must not be larger than maxVcpus"),
    validation = Rule::new("!has(self.iothreads) || !has(self.disks) || self.disks.all(d, !has(d.ioThread) || d.ioThread <= self.iothreads)").message("a disk's ioThread must not be larger than iothreads"),
    validation = Rule::new("!has(self.os) || !has(self.os.boot) || !((has(self.disks) && self.disks.exists(d, has(d.bootOrder))) || (has(self.networkInterfaces) && self.networkInterfaces.exists(n, has(n.bootOrder))) || (has(self.hostDevices) && self.hostDevices.exists(h, has(h.bootOrder))))").message("set os.boot or the bootOrder of devices, not both"),
    validation = Rule::new("!has(self.os) || !has(self.os.secureBoot) || !self.os.secureBoot || !has(self.features) || !has(self.features.smm) || self.features.smm").message("os.secureBoot does without features.smm: false: the firmware guards its keys with it"),
    validation = Rule::new("!has(self.lifecycle) || !(has(self.lifecycle.onPoweroff) && self.lifecycle.onPoweroff == 'Restart' && has(self.lifecycle.onReboot) && self.lifecycle.onReboot == 'Destroy')").message("lifecycle.onPoweroff: Restart does not go with onReboot: Destroy; no hypervisor of libvirt does both"),
    validation = Rule::new("!has(self.features) || !has(self.features.hyperv) || !has(self.features.hyperv.stimer) || !self.features.hyperv.stimer || (has(self.features.hyperv.synic) && self.features.hyperv.synic && has(self.features.hyperv.vpindex) && self.features.hyperv.vpindex && has(self.clock) && has(self.clock.timers) && self.clock.timers.exists(t, t.name == 'Hypervclock' && (!has(t.present) || t.present)))").message("features.hyperv.stimer needs vpindex and synic beside it, and the timer Hypervclock")
)]
pub struct DomainParameters {
    /// Kvm, Qemu (emulated) or Auto: Kvm where the host has it. Default Auto.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<DomainType>,
    /// Always: a stopped guest is started again. RerunOnFailure: only one that crashed or was cut off, not one that shut down or was saved. Once: it is started at creation; off afterwards, it is done if it shut down, and has failed if not. Manual: it is started at creation and then left to people. Halted: it is shut down. Default Always.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_strategy: Option<RunStrategy>,
    /// Whether the guest is paused. True pauses it, and starts it so; false ends the pause that a user made, and no other. Default: it is
    /// left as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// What is done when changes wait for the guest's next boot. Never: nothing, RestartRequired lists them. Graceful: it is asked to shut
    /// down, as shutdown says, and started again. Force: it is cut off and started again. Default Never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// How the guest is asked to shut down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Shutdown>,
    /// Whether the host starts the guest when it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// The guest's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// How far memory can grow while the guest runs. The guest boots with all of it, and its balloon driver gives back what is above memory: a guest without that driver uses it all. Default: memory.
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
    /// The number of threads that do the work of disks, beside the hypervisor's main thread; disks[].ioThread says which does whose. It grows while the guest runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub iothreads: Option<i32>,
    /// How much of the host's processors the guest gets, and which of them. Changed while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_tune: Option<CpuTune>,
    /// How much of the host's memory the guest may use. Changed while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_tune: Option<MemoryTune>,
    /// How much of the host's disks the guest gets. Changed while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_io_tune: Option<BlockIoTune>,
    /// From which of the host's memory nodes the guest's memory comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_tune: Option<NumaTune>,
    /// The CPU that the guest sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// The machine and what it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<Os>,
    /// What the firmware tells the guest about the machine: serial numbers, makers, free strings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sysinfo: Option<Sysinfo>,
    /// What the machine has and hides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// The guest's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// What the host does when the guest ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Where the guest's memory comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_backing: Option<MemoryBacking>,
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
    /// The CloudInit whose seed the guest gets as a CD-ROM; a changed seed is swapped in. One of format Ignition the firmware tells, a changed one from the guest's next start on.
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
    /// Channels between programs in the guest and on the host. The guest agent's is guestAgent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    pub channels: Option<Vec<Channel>>,
    /// Graphical consoles.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 2))]
    pub graphics: Option<Vec<Graphics>>,
    /// Devices of the host that the guest gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub host_devices: Option<Vec<HostDevice>>,
    /// Folders of the host that the guest mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub filesystems: Option<Vec<Filesystem>>,
    /// A random number generator for the guest; `{}` gives it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rng: Option<Rng>,
    /// A TPM 2.0; `{}` gives the guest one, whose state lasts as long as the guest is defined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Tpm>,
    /// What happens when the guest does not feed its watchdog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// A device by which the guest tells that its kernel crashed; `{}` gives it one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic: Option<Panic>,
    /// The graphics card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// A sound card; `{}` gives the guest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<Sound>,
    /// Keyboards and pointing devices, beside the PS/2 ones that libvirt gives every guest of x86.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    pub inputs: Option<Vec<Input>>,
    /// A socket between guest and host; `{}` gives the guest one. The host needs the kernel module vhost_vsock, or it refuses to start the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock: Option<Vsock>,
    /// The device by which the host asks for memory back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balloon: Option<Balloon>,
    /// Whether the guest has a channel for the QEMU guest agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest_agent: Option<bool>,
    /// libvirt's own XML for what has no field: `<domain>` with the elements that are laid over the rest, as `virsh dumpxml` would show them. Only what policy.rawXml of the config lists; nothing that a field says. A device is changed in place if it has an alias that begins with ua-, else replaced; what is taken out again is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub raw_xml: Option<String>,
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
    /// A guest that failed is started again: one that crashed or was cut off, not one that shut down by itself or was saved.
    RerunOnFailure,
    /// Started at creation; started again only where restartPolicy or an annotation restarts it.
    Once,
    /// Started once at creation, then left to people: that it is off is as well as that it runs.
    Manual,
    /// Shut down.
    Halted,
}

/// What is done for changes that wait for the next boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    Never,
    /// The guest is asked to shut down and started again.
    Graceful,
    /// The guest is cut off and started again.
    Force,
}

/// How a guest is asked to shut down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// Acpi presses the power button, Agent asks the guest agent, Default lets libvirt choose. Save writes its memory to the host, from where it goes on at its next start, changes made meanwhile waiting for a later one; it counts for runStrategy Halted, while a restart and a deletion shut the guest down as by Default.
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
    /// Not at all: its memory is saved on the host.
    Save,
}

/// What the provider saw and said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainStatus {
    /// What the host shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_provider: Option<Box<DomainObservation>>,
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
        self.spec.init_provider.as_deref()
    }

    fn resource(&self) -> &ResourceSpec {
        &self.spec.resource
    }

    fn observation(&self) -> Option<&DomainObservation> {
        self.status.as_ref()?.at_provider.as_deref()
    }

    fn resource_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads hold several of them on their stacks at once while they are read, and a store holds all.
    #[test]
    fn a_domain_is_small_where_it_lies() {
        assert!(size_of::<Domain>() < 1024, "{} bytes", size_of::<Domain>());
    }
}
