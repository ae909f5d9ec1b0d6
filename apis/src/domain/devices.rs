//! The devices of a virtual machine.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::links::{Bandwidth, Direct, UserNetwork, Vlan};
use super::{DiskBlock, DiskFile, DiskNetwork, IoTune};
use crate::{
    quantity::ItemName,
    reference::{Reference, Selector},
    volume::Format,
};

/// A disk or CD-ROM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.volumeRef) && has(self.volume))").message("set volumeRef or volume, not both"),
    validation = Rule::new("!(has(self.volumeSelector) && has(self.volume))").message("set volumeSelector or volume, not both"),
    validation = Rule::new("has(self.volumeRef) || has(self.volumeSelector) || has(self.volume) || has(self.file) || has(self.block) || has(self.network) || (has(self.device) && self.device == 'Cdrom')").message("a disk needs volumeRef, volumeSelector, volume, file, block or network"),
    validation = Rule::new("!(has(self.file) || has(self.block) || has(self.network)) || [has(self.volumeRef) || has(self.volumeSelector) || has(self.volume), has(self.file), has(self.block), has(self.network)].filter(x, x).size() == 1").message("set one of volumeRef, volumeSelector, volume, file, block and network"),
    validation = Rule::new("!has(self.network) || !(self.network.protocol in ['Http', 'Https']) || (has(self.readOnly) && self.readOnly) || (has(self.device) && self.device == 'Cdrom')").message("what is reached by Http or Https can only be read: set readOnly: true or device: Cdrom"),
    validation = Rule::new("!(has(self.io) && self.io == 'Native') || (has(self.cache) && self.cache in ['None', 'Directsync'])").message("io: Native needs cache: None or Directsync"),
    validation = Rule::new("!has(self.ioTune) || !has(self.device) || self.device != 'Cdrom'").message("a CD-ROM has no ioTune"),
    validation = Rule::new("!has(self.shareable) || !self.shareable || ((!has(self.cache) || self.cache in ['None', 'Directsync']) && (!has(self.device) || self.device != 'Cdrom'))").message("shareable: true is for disks, and goes with cache: None or Directsync only"),
    validation = Rule::new("!has(self.shareable) || !self.shareable || ((!has(self.volume) || self.volume.format == 'Raw') && (!has(self.file) || self.file.format == 'Raw') && (!has(self.block) || !has(self.block.format) || self.block.format == 'Raw') && (!has(self.network) || self.network.format == 'Raw'))").message("shareable: true needs format: Raw"),
    validation = Rule::new("!has(self.target) || !has(self.bus) || self.target.startsWith(self.bus == 'Virtio' ? 'vd' : self.bus == 'Ide' ? 'hd' : 'sd')").message("target begins with vd on bus Virtio, hd on Ide, and sd on Scsi, Sata and Usb"),
    validation = Rule::new("!has(self.device) || self.device != 'Cdrom' || !has(self.bus) || self.bus != 'Virtio'").message("a CD-ROM has bus Sata, Scsi, Ide or Usb, not Virtio"),
    validation = Rule::new("!has(self.ioThread) || ((!has(self.bus) || self.bus == 'Virtio') && !(has(self.device) && self.device == 'Cdrom'))").message("ioThread needs bus Virtio")
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
    /// A file of the host, which the config's policy.hostPaths must allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<DiskFile>,
    /// A block device of the host, which the config's policy.hostPaths must allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<DiskBlock>,
    /// A disk over the network, on servers that the config's policy.diskHosts must allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("has(self.name) || self.protocol == 'Nbd'").message("network.name is needed, but for protocol: Nbd"))]
    #[x_kube(validation = Rule::new("self.protocol != 'Iscsi' || !has(self.name) || self.name.matches('^[^/]+/[0-9]+$')").message("network.name of protocol: Iscsi ends with the unit, as in iqn.2026-01.org.example:disks/1"))]
    #[x_kube(validation = Rule::new("self.protocol == 'Rbd' || self.hosts.size() == 1").message("network.hosts has one server, but for protocol: Rbd"))]
    pub network: Option<DiskNetwork>,
    /// Disk or Cdrom. Default Disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DiskDevice>,
    /// How it is attached. Default Virtio for a disk, Scsi (virtio-scsi) for a CD-ROM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<DiskBus>,
    /// Whether the guest may only read it. A CD-ROM always is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Whether other guests may write to it at the same time: what is on it must be made for that, as a cluster's file system is. All of them say so, and its format is Raw. The host does not cache it. A change waits for the guest's next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shareable: Option<bool>,
    /// libvirt's name of the device, such as vda; it also orders the disks of a bus. Guests need not call it so: serial is surer. Default: the first that is free, and kept. A change waits for the guest's next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4), regex(pattern = r"^(vd|sd|hd)[a-z]{1,2}$"))]
    pub target: Option<String>,
    /// Its place in the boot order. Not together with os.boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub boot_order: Option<i32>,
    /// The serial number that the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 36), regex(pattern = r"^[A-Za-z0-9_.+ -]+$"))]
    pub serial: Option<String>,
    /// How the host caches it. None goes past the host's memory, Writethrough and Directsync wait for the disk, Unsafe forgets what was not written when the host fails. Default: the hypervisor's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<DiskCache>,
    /// How the hypervisor reads and writes it: Threads, Native (which needs cache None or Directsync) or IoUring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<DiskIo>,
    /// The number of the I/O thread that does its work, from 1 to iothreads. It needs bus Virtio. Default: the hypervisor's main thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub io_thread: Option<i32>,
    /// Whether what the guest trims is given back to the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard: Option<DiskDiscard>,
    /// Whether zeroes that the guest writes are looked for. Unmap gives them back, which needs discard: Unmap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_zeroes: Option<DiskZeroes>,
    /// How much the guest may read and write. Changed while the guest runs. `{}`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!has(self.bytesPerSecond) || !has(self.bytesPerSecond.total) || (!has(self.bytesPerSecond.read) && !has(self.bytesPerSecond.write))").message("bytesPerSecond: set total, or read and write, not both"))]
    #[x_kube(validation = Rule::new("!has(self.bytesPerSecond) || !has(self.bytesPerSecond.totalMax) || has(self.bytesPerSecond.total)").message("bytesPerSecond: totalMax needs total"))]
    #[x_kube(validation = Rule::new("!has(self.bytesPerSecond) || !has(self.bytesPerSecond.readMax) || has(self.bytesPerSecond.read)").message("bytesPerSecond: readMax needs read"))]
    #[x_kube(validation = Rule::new("!has(self.bytesPerSecond) || !has(self.bytesPerSecond.writeMax) || has(self.bytesPerSecond.write)").message("bytesPerSecond: writeMax needs write"))]
    #[x_kube(validation = Rule::new("!has(self.iopsPerSecond) || !has(self.iopsPerSecond.total) || (!has(self.iopsPerSecond.read) && !has(self.iopsPerSecond.write))").message("iopsPerSecond: set total, or read and write, not both"))]
    #[x_kube(validation = Rule::new("!has(self.iopsPerSecond) || !has(self.iopsPerSecond.totalMax) || (has(self.iopsPerSecond.total) && self.iopsPerSecond.totalMax >= self.iopsPerSecond.total)").message("iopsPerSecond: totalMax needs total and is not less"))]
    #[x_kube(validation = Rule::new("!has(self.iopsPerSecond) || !has(self.iopsPerSecond.readMax) || (has(self.iopsPerSecond.read) && self.iopsPerSecond.readMax >= self.iopsPerSecond.read)").message("iopsPerSecond: readMax needs read and is not less"))]
    #[x_kube(validation = Rule::new("!has(self.iopsPerSecond) || !has(self.iopsPerSecond.writeMax) || (has(self.iopsPerSecond.write) && self.iopsPerSecond.writeMax >= self.iopsPerSecond.write)").message("iopsPerSecond: writeMax needs write and is not less"))]
    pub io_tune: Option<IoTune>,
}

/// How the host caches a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DiskCache {
    /// Past the host's memory.
    None,
    /// Read from the host's memory, written through it.
    Writethrough,
    /// Written when the host likes, or the guest asks.
    Writeback,
    /// Past the host's memory, and written at once.
    Directsync,
    /// Written when the host likes.
    Unsafe,
}

/// How a disk is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DiskIo {
    /// By threads.
    Threads,
    /// By the kernel's asynchronous calls.
    Native,
    /// By `io_uring`.
    IoUring,
}

/// What becomes of what a guest trims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DiskDiscard {
    /// It is given back.
    Unmap,
    /// Nothing.
    Ignore,
}

/// What becomes of zeroes that a guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DiskZeroes {
    /// They are written.
    Off,
    /// They are written as a hole's note.
    On,
    /// They are given back.
    Unmap,
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
    validation = Rule::new("!has(self.queues) || !has(self.model) || self.model == 'Virtio'").message("queues needs model Virtio"),
    validation = Rule::new("[has(self.networkRef) || has(self.networkSelector), has(self.network), has(self.bridge), has(self.direct), has(self.user)].filter(x, x).size() == 1").message("set exactly one of networkRef, networkSelector, network, bridge, direct and user"),
    validation = Rule::new("!has(self.portGroup) || has(self.networkRef) || has(self.networkSelector) || has(self.network)").message("portGroup needs networkRef, networkSelector or network"),
    validation = Rule::new("!has(self.address) || has(self.networkRef) || has(self.networkSelector)").message("address needs networkRef or networkSelector: it is the Network that keeps it"),
    validation = Rule::new("!has(self.address) || !self.address.contains(':')").message("address is IPv4: guests that ask for IPv6 are known by their DUID or name and not by their MAC address; say it in ips[].dhcp.hosts of the Network"),
    validation = Rule::new("!has(self.user) || !(has(self.vlan) || has(self.bandwidth) || has(self.filter) || has(self.isolated) || has(self.mtu) || has(self.queues))").message("a user interface has no vlan, bandwidth, filter, isolated, mtu and queues"),
    validation = Rule::new("!has(self.direct) || !(has(self.filter) || has(self.isolated) || has(self.mtu))").message("a direct interface has no filter, isolated and mtu"),
    validation = Rule::new("!has(self.direct) || !has(self.vlan) || (has(self.direct.mode) && self.direct.mode == 'Passthrough')").message("vlan needs direct.mode: Passthrough, on a virtual function of an SR-IOV card")
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
    /// The port group of the network that it is in. Default: the one that the network says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_group: Option<ItemName>,
    /// A bridge of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub bridge: Option<String>,
    /// An interface of the host, shared by macvtap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// `{}` puts it on a network of the hypervisor's own, behind the host's addresses. Nobody reaches the guest there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserNetwork>,
    /// Its MAC address. Default: derived from the object's UID and the interface's name, and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17), regex(pattern = r"^[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}$"))]
    pub mac: Option<String>,
    /// The IPv4 address that its Network keeps for it, and gives it by DHCP. Needs networkRef or networkSelector, and dhcp where the Network has ips; the Domain is made once the address is kept. Changed while the guest runs, which gets the new one when it asks anew, at the latest when its lease is over. Default: any that is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 2, max = 45),
        regex(
            pattern = r"^(((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|[0-9a-fA-F.]*:[0-9a-fA-F:.]*)$"
        )
    )]
    pub address: Option<String>,
    /// The card that the guest sees. Default Virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<InterfaceModel>,
    /// The largest packet, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<i32>,
    /// The number of queues, of model Virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub queues: Option<i32>,
    /// Up, or Down: as if the cable were out. Changed while the guest runs. Default Up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_state: Option<LinkState>,
    /// Its place in the boot order. Not together with os.boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub boot_order: Option<i32>,
    /// VLANs. Only a network of Open vSwitch or of SR-IOV functions has them, or direct with mode Passthrough on such a function: on a plain bridge and on a NAT, routed or isolated network the host refuses to start the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// How much passes through it, changed while the guest runs. The host's kernel must be able to shape traffic, or it refuses to start the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// The host's network filter (nwfilter) that its packets pass, such as clean-traffic; changed while the guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9_.:-]+$"))]
    pub filter: Option<String>,
    /// Whether it is kept apart from the other isolated ones of its bridge; changed while the guest runs. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
}

/// Whether the cable is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum LinkState {
    /// It is.
    #[default]
    Up,
    /// It is not.
    Down,
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

/// A TPM 2.0, emulated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tpm {
    /// How the guest sees it. Default Crb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<TpmModel>,
    /// Whether its state, with the keys in it, stays on the host when the Domain is deleted: in a folder named by the UUID of the guest. Default false: it goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_state: Option<bool>,
}

/// Kinds of TPM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum TpmModel {
    /// A command response buffer, as newer guests know it.
    #[default]
    Crb,
    /// The interface of older ones.
    Tis,
}

/// A watchdog: a PCI card of Intel's, i6300esb.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Watchdog {
    /// What happens when it is not fed. It cannot be changed: newer hosts have a second watchdog, which must say the same. Default Reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<WatchdogAction>,
}

/// What a watchdog does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum WatchdogAction {
    /// The guest starts anew.
    #[default]
    Reset,
    /// It is asked to shut down.
    Shutdown,
    /// It is switched off.
    Poweroff,
    /// It is halted, to be looked at.
    Pause,
    /// Its memory is written to a file on the host, and it starts anew.
    Dump,
    /// Nothing.
    None,
    /// It gets a non-maskable interrupt.
    InjectNmi,
}

/// A device by which a guest tells that its kernel crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Panic {
    /// How the guest sees it. Default Isa on x86.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PanicModel>,
}

/// Kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum PanicModel {
    /// pvpanic on the ISA bus.
    Isa,
    /// What Windows tells Hyper-V.
    Hyperv,
}

/// A graphics card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Video {
    /// Which one the guest sees. Default: libvirt's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<VideoModel>,
}

/// Graphics cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum VideoModel {
    /// virtio-gpu.
    Virtio,
    /// Plain VGA.
    Vga,
    /// A card of Cirrus Logic's.
    Cirrus,
    /// Bochs, for UEFI guests without VGA.
    Bochs,
    /// A card for SPICE.
    Qxl,
    /// None.
    None,
}
