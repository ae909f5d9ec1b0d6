//! The machine, its processors and clocks, and where its memory comes from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NumaCell;
use crate::{
    quantity::Quantity,
    reference::{Reference, Selector},
};

/// The CPU that the guest sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.model) || (has(self.mode) && self.mode == 'Custom')").message("cpu.model needs cpu.mode: Custom"),
    validation = Rule::new("!(has(self.mode) && self.mode == 'Custom') || has(self.model)").message("cpu.mode: Custom needs cpu.model"),
    validation = Rule::new("!has(self.features) || has(self.mode)").message("cpu.features needs cpu.mode: HostModel, HostPassthrough, Maximum, or Custom with a model")
)]
pub struct Cpu {
    /// HostModel and HostPassthrough follow the host, Maximum offers all that the hypervisor can, Custom takes the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<CpuMode>,
    /// A model that libvirt knows, such as EPYC or Skylake-Server.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub model: Option<String>,
    /// How the virtual CPUs are laid out. Their product is maxVcpus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
    /// Features that the guest gets or does not get, beside those of the mode or model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 64))]
    pub features: Option<Vec<CpuFeature>>,
    /// The NUMA cells that the guest sees. Their memory sums up to maxMemory, or to memory where that is not set, and every vCPU is in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    #[schemars(length(max = 32))]
    pub numa: Option<Vec<NumaCell>>,
}

/// How virtual CPUs are laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// Sockets. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub sockets: Option<i32>,
    /// Cores of a socket. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub cores: Option<i32>,
    /// Threads of a core. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub threads: Option<i32>,
}

/// A feature of a CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuFeature {
    /// libvirt's name of it, such as vmx.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub name: String,
    /// Require: the guest has it, and does not start where the host cannot give it. Optional: where the host can. Force: even where the host says that it cannot. Disable: it has it not. Forbid: it has it not, and does not start where the host has it. Default Require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<FeaturePolicy>,
}

/// What becomes of a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum FeaturePolicy {
    /// The guest has it, or does not start.
    #[default]
    Require,
    /// The guest has it where the host can give it.
    Optional,
    /// The guest has it whatever the host says.
    Force,
    /// The guest has it not.
    Disable,
    /// The guest has it not, and does not start where the host has it.
    Forbid,
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
    validation = Rule::new("!has(self.secureBoot) || !self.secureBoot || (has(self.firmware) && self.firmware == 'Efi')").message("os.secureBoot needs os.firmware: Efi"),
    validation = Rule::new("!has(self.keepNvram) || !self.keepNvram || (has(self.firmware) && self.firmware == 'Efi')").message("os.keepNvram needs os.firmware: Efi"),
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
    /// The program that runs the guest: an absolute path on the host that its config lists in policy.emulators. Default: the host's own for the architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/\.{0,2}[^/.\x00-\x1f][^/\x00-\x1f]*)+$"))]
    pub emulator: Option<String>,
    /// Bios, or Efi: libvirt chooses the files, and the guest keeps its variables for as long as it is defined. It cannot be changed. Default Bios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// Whether the firmware starts only what is signed. It needs Efi, and cannot be changed. Default: libvirt's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// Whether the firmware's variables stay on the host when the Domain is deleted: a guest that is made there under the same name finds them. Default false: they go with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_nvram: Option<bool>,
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

/// The firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Firmware {
    /// A BIOS.
    #[default]
    Bios,
    /// UEFI.
    Efi,
}

/// What the machine has and hides. What is left out is libvirt's choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// ACPI, without which a guest cannot be asked to shut down. Default true on x86.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acpi: Option<bool>,
    /// The interrupt controllers of each processor. Default true on x86.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apic: Option<bool>,
    /// Addresses of 36 bits for guests of 32 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pae: Option<bool>,
    /// System management mode, as secure boot needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smm: Option<bool>,
    /// The port by which guests of VMware speak to their host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmport: Option<bool>,
    /// What KVM tells its guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvm: Option<KvmFeatures>,
    /// What a Windows guest is offered to run faster under a hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperv: Option<HypervFeatures>,
}

/// What KVM tells its guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KvmFeatures {
    /// Whether the guest is not told that it runs under KVM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
}

/// The enlightenments of Hyper-V.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HypervFeatures {
    /// Relaxed time-outs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxed: Option<bool>,
    /// A virtual APIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vapic: Option<bool>,
    /// How often a spin lock is tried before the hypervisor is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4095, max = 2_147_483_647))]
    pub spinlocks: Option<i32>,
    /// Indices of virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpindex: Option<bool>,
    /// The time that a processor ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<bool>,
    /// Synthetic interrupts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synic: Option<bool>,
    /// Synthetic timers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stimer: Option<bool>,
    /// A reset by the hypervisor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<bool>,
    /// Frequencies of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequencies: Option<bool>,
    /// The name of the hypervisor's vendor that the guest sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 12), regex(pattern = r"^[A-Za-z0-9 ._-]+$"))]
    pub vendor_id: Option<String>,
}

/// The guest's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.offset) && has(self.timezone))").message("set clock.offset or clock.timezone, not both")
)]
pub struct Clock {
    /// Utc, or Localtime: the host's. Default Utc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<ClockOffset>,
    /// The time zone of which the guest sees the local time, such as Europe/Berlin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9+-]+(/[A-Za-z0-9_+-]+)*$"))]
    pub timezone: Option<String>,
    /// Single sources of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    pub timers: Option<Vec<Timer>>,
}

/// Which time the clock shows at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum ClockOffset {
    /// UTC.
    #[default]
    Utc,
    /// The host's local time.
    Localtime,
}

/// A source of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    /// Which one.
    pub name: TimerName,
    /// Whether the guest has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// What becomes of ticks that the guest missed. Of Rtc and Pit only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_policy: Option<TickPolicy>,
}

/// Sources of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum TimerName {
    /// The clock with the battery.
    Rtc,
    /// The interval timer.
    Pit,
    /// The high precision timer.
    Hpet,
    /// The processor's counter.
    Tsc,
    /// The clock of KVM.
    Kvmclock,
    /// The clock of Hyper-V.
    Hypervclock,
}

/// What becomes of missed ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum TickPolicy {
    /// They come late, one after the other.
    Delay,
    /// They come faster until the guest has caught up.
    Catchup,
    /// Those missed become one.
    Merge,
    /// They are gone.
    Discard,
}

/// What the host does when the guest ends by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// After a shutdown from inside. Restart boots it again at once; a shutdown that its object wishes ends it all the same. Default Destroy: it is off then, and runStrategy says what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_poweroff: Option<EndAction>,
    /// After a reboot from inside. Default Restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_reboot: Option<EndAction>,
    /// After a crash that the guest or its hypervisor told. Default Destroy: it is off then, and runStrategy says what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_crash: Option<CrashAction>,
}

/// What follows a reboot or a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum EndAction {
    /// The guest is off, and runStrategy says what follows: with what waits for its next boot.
    Destroy,
    /// It boots again, as it runs.
    Restart,
}

/// What follows a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum CrashAction {
    /// The guest is off.
    Destroy,
    /// It boots again.
    Restart,
    /// Its memory is written to a file on the host, and it is off.
    CoredumpDestroy,
    /// Its memory is written to a file on the host, and it boots again.
    CoredumpRestart,
}

/// Where the guest's memory comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryBacking {
    /// The host's huge pages; `{}` takes those of its usual size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugepages: Option<Hugepages>,
    /// Whether the host may merge equal pages of several guests. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<bool>,
    /// Whether the host must not swap it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<bool>,
    /// Whether other processes of the host may share it, as virtiofs and vhost-user need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// What kind of memory it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<MemorySource>,
}

/// Huge pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hugepages {
    /// The size of a page, such as 2Mi or 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,
}

/// Kinds of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum MemorySource {
    /// Memory of the process alone.
    Anonymous,
    /// A file in a folder of libvirt's.
    File,
    /// A file without a name.
    Memfd,
}
