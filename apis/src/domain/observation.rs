//! What the host shows of a virtual machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Balloon, Bandwidth, BlockIoTune, BootDevice, ChannelType, Clock, ConsoleType, CpuFeature, CpuMode, CpuTune, Direct,
    DiskBlock, DiskBus, DiskCache, DiskDevice, DiskDiscard, DiskFile, DiskIo, DiskNetwork, DiskZeroes, DomainType,
    Features, Firmware, FolderObservation, HostDeviceObservation, Input, InterfaceModel, IoTune, Lifecycle, LinkState,
    MemoryBacking, MemoryTune, NumaCell, NumaTune, Panic, Rng, Sound, Sysinfo, TcpConsole, Topology, Tpm, UserNetwork,
    Video, Vlan, Watchdog,
};
use crate::{quantity::Quantity, volume::Format};

/// What the host shows. What also stands in `forProvider` has its name and type there, so that a spec can be written from it; what
/// the spec has no word for is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DomainObservation {
    /// The UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The state, with libvirt's reason where it is not an ordinary one: `Running`, `Shutoff`, `Paused (I/O error)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The hypervisor: Kvm or Qemu.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<DomainType>,
    /// The memory of its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// How far memory can grow, where that is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Quantity>,
    /// The number of virtual CPUs of its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<i32>,
    /// How far that can grow, where it is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_vcpus: Option<i32>,
    /// The number of its I/O threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iothreads: Option<i32>,
    /// How much of the host's processors its definition gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_tune: Option<CpuTune>,
    /// How much of the host's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_tune: Option<MemoryTune>,
    /// From which of the host's memory nodes its memory comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_tune: Option<NumaTune>,
    /// How much of the host's disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_io_tune: Option<BlockIoTune>,
    /// The CPU of its definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuObservation>,
    /// The machine and what it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<OsObservation>,
    /// What the firmware tells about the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sysinfo: Option<Sysinfo>,
    /// What the machine has and hides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// The guest's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// What the host does when the guest ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// Where the guest's memory comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_backing: Option<MemoryBacking>,
    /// Whether the host starts it when it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// The addresses of its interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    /// Its disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskObservation>,
    /// Its interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_interfaces: Vec<InterfaceObservation>,
    /// Its serial consoles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consoles: Vec<ConsoleObservation>,
    /// Its channels, without the guest agent's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ChannelObservation>,
    /// Its graphical consoles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub graphics: Vec<GraphicsObservation>,
    /// Devices of the host that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_devices: Vec<HostDeviceObservation>,
    /// Folders of the host that it mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<FolderObservation>,
    /// Its random number generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rng: Option<Rng>,
    /// Its TPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<Tpm>,
    /// Its watchdog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Watchdog>,
    /// The device by which it tells that its kernel crashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<Panic>,
    /// Its first graphics card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// Its sound card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<Sound>,
    /// Its keyboards and pointing devices on USB and virtio.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Its socket between guest and host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock: Option<VsockObservation>,
    /// The device by which the host asks for memory back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balloon: Option<Balloon>,
    /// Whether it has a channel for the QEMU guest agent; left out where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_agent: Option<bool>,
    /// What the guest tells of itself by its agent: its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestObservation>,
    /// The fields that wait for the guest's next boot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_changes: Vec<String>,
}

/// The CPU that the guest sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuObservation {
    /// libvirt's mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<CpuMode>,
    /// The model, for mode Custom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the virtual CPUs are laid out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Features beside those of the mode or model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<CpuFeature>,
    /// The NUMA cells that it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<NumaCell>,
}

/// The machine and what it boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OsObservation {
    /// The architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// The versioned machine type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// Whether the firmware starts only what is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The path of a kernel that is booted directly; a spec names a Volume instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The path of that kernel's initial ramdisk; a spec names a Volume instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// The command line of that kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
    /// What it boots from, first to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot: Vec<BootDevice>,
}

/// An address of the guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The address.
    pub ip: String,
    /// The MAC address of the interface.
    pub mac: String,
    /// The name of the interface in the spec, when it is ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Where it was seen: Lease (DHCP of a libvirt network), Agent (the guest says so) or Arp (the host's neighbour table).
    pub source: String,
}

/// A disk on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskObservation {
    /// The name of the disk in the spec, when it is ours; of an imported guest a name to use there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// libvirt's name of the device, such as vda.
    pub target: String,
    /// Disk or Cdrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DiskDevice>,
    /// How it is attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<DiskBus>,
    /// That the guest may only read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// That other guests may write to it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shareable: Option<bool>,
    /// Its place in the boot order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_order: Option<i32>,
    /// The serial number that the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// How the host caches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<DiskCache>,
    /// How it is read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<DiskIo>,
    /// The I/O thread that does its work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_thread: Option<i32>,
    /// What becomes of what the guest trims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard: Option<DiskDiscard>,
    /// What becomes of zeroes that the guest writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_zeroes: Option<DiskZeroes>,
    /// How much the guest may read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_tune: Option<IoTune>,
    /// The volume that it is, of an imported guest and where an active pool has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<HostVolumeObservation>,
    /// The file that it is, of an imported guest and where no active pool has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<DiskFile>,
    /// The block device that it is, of an imported guest and where no active pool has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<DiskBlock>,
    /// The disk over the network that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<DiskNetwork>,
    /// The file or device that the guest writes to; after a snapshot by others this is the top of the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What it stands on, from the top: what the guest reads wherever nothing was written since, such as its own volume after a snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backing_paths: Vec<String>,
}

/// A volume by its names on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostVolumeObservation {
    /// The name of the storage pool.
    pub pool: String,
    /// The name of the volume.
    pub name: String,
    /// The format that the guest's definition says.
    pub format: Format,
}

/// An interface on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceObservation {
    /// The name of the interface in the spec, when it is ours; of an imported guest a name to use there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MAC address.
    pub mac: String,
    /// The libvirt network that it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The port group of that network that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_group: Option<String>,
    /// The bridge that it is on, where it is on no libvirt network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The interface of the host that it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// That it is on a network of the hypervisor's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserNetwork>,
    /// The card that the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<InterfaceModel>,
    /// The largest packet, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<i32>,
    /// The number of queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<i32>,
    /// Down, where the cable is out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_state: Option<LinkState>,
    /// Its place in the boot order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_order: Option<i32>,
    /// Its VLANs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// How much passes through it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// The network filter that its packets pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// That it is kept apart from the other isolated ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
}

/// A serial console on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleObservation {
    /// The name of the console in the spec; of an imported guest a name to use there.
    pub name: String,
    /// What it is on the host; left out where a spec has no word for it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ConsoleType>,
    /// Where it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpConsole>,
    /// That the host keeps what the guest prints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<bool>,
    /// The file on the host in which it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_file: Option<String>,
}

/// A channel on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelObservation {
    /// The name of the channel in the spec; of an imported guest a name to use there.
    pub name: String,
    /// What it is on the host; left out where a spec has no word for it.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ChannelType>,
    /// The name by which the guest finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The socket on the host, while the guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The socket between guest and host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VsockObservation {
    /// The number that the definition says; left out where libvirt chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<i64>,
    /// The number that the guest has while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_cid: Option<i64>,
}

/// A graphical console on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GraphicsObservation {
    /// The protocol: Vnc or Spice, or libvirt's word for one that a spec cannot name.
    #[serde(rename = "type")]
    pub type_: String,
    /// The address that it is told to listen on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// The address it listens on while the guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port that its definition says; left out where libvirt chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// The port it listens on while the guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<i32>,
}

/// What a guest tells of itself by its agent. What changes by itself, such as free space, is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestObservation {
    /// Its host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The short name of its system, such as debian.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_id: Option<String>,
    /// Its system as people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_name: Option<String>,
    /// The version of its system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// The release of its kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// What it has mounted, 32 at the most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<FilesystemObservation>,
}

/// A mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FilesystemObservation {
    /// Where.
    pub mountpoint: String,
    /// Its type, such as ext4.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// The device, as the guest calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}
