//! Parameters of a Domain → wishes about its description: pure.
//!
//! What the user set is wished always. What we must choose (name, UUID, machine, MAC and target of a new device) is wished when
//! the thing is made, and read from the host ever after.

mod cards;
mod devices;
mod disks;
pub(crate) mod interfaces;
mod numa;
mod passed;
mod platform;
pub mod raw;
mod sources;
mod sysinfo;
mod targets;
mod tune;
mod tuning;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use apis::{
    Domain, Managed,
    domain::{Disk, DomainParameters, DomainType, NetworkInterface},
    volume::{Format, VolumeType},
};
use libvirt::{
    Facts,
    wish::{Part, Path, Wishes},
    xml::Element,
};

pub use sources::{own_medium, port};

use super::passwords::{self, Passwords};
use crate::{
    mark,
    references::{self, Choices},
};

/// The data of a disk: the file that the guest writes, and what is below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Medium {
    /// The path on the host.
    pub path: String,
    /// How libvirt is told of it.
    pub type_: DiskType,
    /// The format, from the spec and never from the pool.
    pub format: Format,
    /// The volumes below, top first.
    pub backing: Vec<Layer>,
    /// The UUID of libvirt's secret that opens it, where it is encrypted.
    pub secret: Option<String>,
}

impl Medium {
    /// Of a file that stands on nothing.
    pub fn file(path: impl Into<String>, format: Format) -> Self {
        Self { path: path.into(), type_: DiskType::File, format, backing: Vec::new(), secret: None }
    }
}

/// How libvirt is told where data is. QEMU takes no device for a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DiskType {
    /// By the path of a file.
    File,
    /// By the path of a block device.
    Block,
    /// By pool and name: what is no file and no device of the host, such as a unit that each guest logs in for.
    Volume {
        /// The pool's name.
        pool: String,
        /// The volume's name.
        name: String,
    },
}

impl DiskType {
    /// Of a volume that its pool shows so.
    pub fn of(shown: Option<VolumeType>, pool: &str, name: &str) -> Self {
        match shown {
            None | Some(VolumeType::File) => Self::File,
            Some(VolumeType::Block) => Self::Block,
            Some(VolumeType::Network) => Self::Volume { pool: pool.to_owned(), name: name.to_owned() },
        }
    }
}

/// A volume below another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// The path on the host.
    pub path: String,
    /// Whether it is a block device.
    pub block: bool,
    /// The format, from the spec and never from the pool.
    pub format: Format,
}

/// What other objects and the host's pools had to tell about a Domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Surroundings {
    /// The data of each disk, by the disk's name.
    pub media: BTreeMap<String, Medium>,
    /// The libvirt network of each interface that names a Network, by the interface's name.
    pub networks: BTreeMap<String, String>,
    /// The seed.
    pub seed: Option<String>,
    /// What Ignition reads in its place.
    pub ignition: Option<String>,
    /// The passwords of graphical consoles.
    pub passwords: Passwords,
    /// The kernel and its initial ramdisk.
    pub kernel: Option<String>,
    /// The initial ramdisk.
    pub initrd: Option<String>,
    /// The fields whose object is not there and need not be: nothing is made of them.
    pub left_out: BTreeSet<String>,
    /// What selectors chose.
    pub choices: Choices,
    /// What `rawXml` may speak of, as the config lists it.
    pub raw_xml: Vec<String>,
    /// Names of disks that others plugged into the running guest alone: no disk of ours takes them.
    pub taken: BTreeSet<String>,
    /// Why Networks do not keep addresses that interfaces of a guest ask for that is there already.
    pub refused_addresses: Vec<String>,
}

impl Surroundings {
    pub(super) fn has_disk(&self, disk: &Disk) -> bool {
        self.left_out.is_empty() || !self.left_out.contains(&references::disk_path(&disk.name.0))
    }

    pub(super) fn has_interface(&self, nic: &NetworkInterface) -> bool {
        self.left_out.is_empty() || !self.left_out.contains(&references::interface_path(&nic.name.0))
    }
}

/// The alias prefixes of our devices, by class.
pub const DISK: &str = "ua-disk-";
/// The seed's own class, so that no disk's name meets it.
pub const SEED: &str = "ua-seed-";
/// Interfaces.
pub const NIC: &str = "ua-nic-";
/// Serial consoles.
pub const SERIAL: &str = "ua-serial-";
/// Random number generators.
pub const RNG: &str = "ua-rng-";
/// Channels.
pub const CHANNEL: &str = "ua-channel-";
/// TPMs.
pub const TPM: &str = "ua-tpm-";
/// Watchdogs.
pub const WATCHDOG: &str = "ua-watchdog-";
/// Devices that tell of a crash.
pub const PANIC: &str = "ua-panic-";
/// Graphics cards.
pub const VIDEO: &str = "ua-video-";
/// Channels that a user named, which have a class of their own, so that none meets the guest agent's.
pub const PORT: &str = "ua-port-";
/// Sound cards.
pub const SOUND: &str = "ua-sound-";
/// Input devices.
pub const INPUT: &str = "ua-input-";
/// Sockets between guest and host.
pub const VSOCK: &str = "ua-vsock-";

/// Devices of the host.
pub const HOST_DEVICE: &str = "ua-host-";
/// Folders of the host.
pub const FILESYSTEM: &str = "ua-fs-";

/// Our alias of the random number generator.
pub const THE_RNG: &str = "ua-rng-0";
/// Of the TPM.
pub const THE_TPM: &str = "ua-tpm-0";
/// Of the watchdog.
pub const THE_WATCHDOG: &str = "ua-watchdog-0";
/// Of the device that tells of a crash.
pub const THE_PANIC: &str = "ua-panic-0";
/// Of the graphics card.
pub const THE_VIDEO: &str = "ua-video-0";
/// Of the sound card.
pub const THE_SOUND: &str = "ua-sound-0";
/// Of the socket between guest and host.
pub const THE_VSOCK: &str = "ua-vsock-0";
/// Of the guest agent's channel.
pub const AGENT: &str = "ua-channel-agent";

/// Devices of which a guest has one of ours: the element, and its alias.
pub const SINGLE: [(&str, &str); 7] = [
    ("rng", THE_RNG),
    ("tpm", THE_TPM),
    ("watchdog", THE_WATCHDOG),
    ("panic", THE_PANIC),
    ("video", THE_VIDEO),
    ("sound", THE_SOUND),
    ("vsock", THE_VSOCK),
];

/// The aliases of those that an object speaks of.
pub fn single(parameters: &DomainParameters) -> impl Iterator<Item = &'static str> {
    let DomainParameters { rng, tpm, watchdog, panic, video, sound, vsock, .. } = parameters;
    let said = [
        rng.is_some(),
        tpm.is_some(),
        watchdog.is_some(),
        panic.is_some(),
        video.is_some(),
        sound.is_some(),
        vsock.is_some(),
    ];
    SINGLE.into_iter().zip(said).filter_map(|((_, alias), said)| said.then_some(alias))
}

/// The aliases of the devices and folders of its host that an object speaks of.
pub fn passed(parameters: &DomainParameters) -> impl Iterator<Item = String> {
    let DomainParameters { host_devices, filesystems, .. } = parameters;
    let devices = host_devices.iter().flatten().map(|device| format!("{HOST_DEVICE}{}", device.name));
    devices.chain(filesystems.iter().flatten().map(|filesystem| format!("{FILESYSTEM}{}", filesystem.name)))
}

/// The aliases of the consoles, channels and input devices that an object names.
pub fn listed(parameters: &DomainParameters) -> impl Iterator<Item = String> {
    let consoles = parameters.consoles.iter().flatten().map(|console| format!("{SERIAL}{}", console.name));
    let channels = parameters.channels.iter().flatten().map(|channel| format!("{PORT}{}", channel.name));
    let inputs = parameters.inputs.iter().flatten().map(|input| format!("{INPUT}{}", input.name));
    consoles.chain(channels).chain(inputs)
}

/// Everything wished of a domain. `base` is its inactive description, if it has one.
pub fn render(object: &Domain, around: &Surroundings, facts: &Facts, base: Option<&Element>) -> anyhow::Result<Wishes> {
    let parameters = object.parameters();
    let mut wishes = Wishes::new("domain");
    platform::platform(&mut wishes, parameters, around, base)?;
    tuning::tuning(&mut wishes, parameters, base)?;
    numa::numa(&mut wishes, parameters, base)?;
    if let Some(said) = &parameters.sysinfo {
        sysinfo::sysinfo(&mut wishes, said);
    }
    if let Some(path) = &around.ignition {
        sysinfo::ignition(&mut wishes, path);
    }
    disks::disks(&mut wishes, parameters, around, base)?;
    interfaces::interfaces(&mut wishes, object, around)?;
    devices::consoles(&mut wishes, object)?;
    devices::graphics(&mut wishes, parameters, base);
    devices::small_devices(&mut wishes, parameters);
    cards::channels(&mut wishes, parameters, base)?;
    cards::cards(&mut wishes, parameters, base)?;
    passed::host_devices(&mut wishes, parameters)?;
    passed::filesystems(&mut wishes, parameters, base)?;
    let raw = raw::raw(&mut wishes, parameters, around, base)?;
    if let Some(base) = base {
        give_back(&mut wishes, base);
    }
    // What is chosen once is not owned: owned paths that are wished no more are taken away.
    let owned = wishes.owned_paths();
    if base.is_none() {
        identity(&mut wishes, object, facts)?;
        cards::new_balloon(&mut wishes, parameters);
    }
    interfaces::new_interfaces(&mut wishes, object, around, base);
    passwords::prints(&mut wishes, around);
    let note = base.and_then(|base| mark::note(object, base)).unwrap_or_else(|| mark::Note::new(object));
    wishes.replace("metadata/pl:object", mark::element(object, mark::Owned { paths: &owned, raw: &raw }, &note));
    Ok(wishes)
}

/// What stays as the host has it when its field is unset: libvirt has no default for it, or another one than the guest was made with,
/// which would give it another machine, other cards, or a bus without a driver.
const KEPT: [&str; 18] = [
    "memory",
    "currentMemory",
    "os/type@machine",
    "os@firmware",
    "os/firmware/feature",
    "os/firmware/feature@enabled",
    "features/acpi",
    "features/apic",
    "clock",
    "clock@offset",
    "clock@timezone",
    "devices/video/model@type",
    "devices/memballoon",
    "devices/memballoon@model",
    "devices/interface/mac@address",
    "devices/interface/model@type",
    "devices/controller",
    "devices/controller@model",
];

/// Wishes away what the mark of a description says was ours, and is wished no more.
pub(super) fn give_back(wishes: &mut Wishes, description: &Element) {
    let previous = mark::owned_paths(description).unwrap_or_default();
    let raw = mark::raw_paths(description);
    // A namespace may have become that of others' elements too; libvirt drops one that nothing is of.
    let is_kept = |path: &String| path.starts_with("@xmlns:") || (is_kept(path) && !raw.contains(path));
    let given_back: Vec<String> = previous.into_iter().filter(|path| !is_kept(path)).collect();
    wishes.forget(&given_back);
}

fn is_kept(path: &str) -> bool {
    Path::parse(path).is_some_and(|path| KEPT.contains(&path.pattern().as_str()))
}

/// What is chosen once, at creation.
fn identity(wishes: &mut Wishes, object: &Domain, facts: &Facts) -> anyhow::Result<()> {
    let parameters = object.parameters();
    wishes.set("@type", hypervisor(parameters.type_.unwrap_or_default(), facts)?);
    wishes.set("name", object.external_name());
    wishes.set("uuid", object.uid());
    let os = parameters.os.clone().unwrap_or_default();
    let arch =
        os.arch.or_else(|| facts.arch.clone()).context("the host does not tell its architecture; set os.arch")?;
    wishes.set("os/type", "hvm");
    wishes.set("os/type@arch", arch.as_str());
    if ["x86_64", "i686"].contains(&arch.as_str()) {
        let machine = os.machine.unwrap_or_else(|| "q35".to_owned());
        wishes.set("os/type@machine", machine.as_str());
        // Without ACPI a guest cannot be asked to shut down.
        let said = parameters.features.clone().unwrap_or_default();
        wishes.flag("features/acpi", said.acpi.unwrap_or(true));
        wishes.flag("features/apic", said.apic.unwrap_or(true));
        if machine.contains("q35") {
            ports_for_hot_plug(wishes, parameters);
        }
    }
    Ok(())
}

/// q35 has one spare port; every device plugged in later needs another, and ports cannot be plugged in.
fn ports_for_hot_plug(wishes: &mut Wishes, parameters: &DomainParameters) {
    let DomainParameters { disks, network_interfaces, host_devices, filesystems, .. } = parameters;
    let devices = disks.as_ref().map_or(0, Vec::len)
        + network_interfaces.as_ref().map_or(0, Vec::len)
        + host_devices.as_ref().map_or(0, Vec::len)
        + filesystems.as_ref().map_or(0, Vec::len);
    wishes.item("devices/controller", "pci,0", Part::new().with("@model", "pcie-root"));
    for index in 1..=devices + 10 {
        wishes.item("devices/controller", &format!("pci,{index}"), Part::new().with("@model", "pcie-root-port"));
    }
}

fn hypervisor(wished: DomainType, facts: &Facts) -> anyhow::Result<&str> {
    let has = |name: &str| facts.domain_types.iter().any(|known| known == name);
    let chosen = match wished {
        DomainType::Kvm => "kvm",
        DomainType::Qemu => "qemu",
        DomainType::Auto => {
            return facts
                .domain_types
                .iter()
                .find(|name| *name == "kvm")
                .or_else(|| facts.domain_types.first())
                .map(String::as_str)
                .context("the host offers no type of domain");
        }
    };
    let cure = match wished {
        DomainType::Kvm => {
            ". For hardware virtualization its processor must offer it (in a virtual machine: nested virtualization), kvm_intel or kvm_amd be loaded, and libvirt be able to open /dev/kvm; or say type: Qemu"
        }
        DomainType::Qemu | DomainType::Auto => "",
    };
    ensure!(
        has(chosen),
        "the host cannot run domains of type {chosen}; it offers {}{cure}",
        facts.domain_types.join(", ")
    );
    Ok(chosen)
}
