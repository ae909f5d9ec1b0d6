//! Parameters of a Domain → wishes about its description: pure.
//!
//! What the user set is wished always. What we must choose (name, UUID, machine, MAC and target of a new device) is wished when
//! the thing is made, and read from the host ever after.

mod disks;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use apis::{
    Domain, Managed,
    domain::{
        BootDevice, Console, Cpu, CpuMode, Disk, DomainParameters, DomainType, Graphics, GraphicsType, InterfaceModel,
        NetworkInterface, Os, Rng, RngSource,
    },
    volume::Format,
};
use libvirt::{
    Facts,
    wish::{Part, Path, Wishes},
    xml::Element,
};

use crate::{
    mark,
    references::{self, Choices},
};

/// The data of a disk: the file that the guest writes, and what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// The path on the host.
    pub path: String,
    /// The format, from the spec and never from the pool.
    pub format: Format,
    /// The volumes below, top first.
    pub backing: Vec<(String, Format)>,
}

/// What other objects and the host's pools had to tell about a Domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The data of each disk, by the disk's name.
    pub media: BTreeMap<String, Medium>,
    /// The libvirt network of each interface that names a Network, by the interface's name.
    pub networks: BTreeMap<String, String>,
    /// The seed.
    pub seed: Option<String>,
    /// The kernel and its initial ramdisk.
    pub kernel: Option<String>,
    /// The initial ramdisk.
    pub initrd: Option<String>,
    /// The fields whose object is not there and need not be: nothing is made of them.
    pub left_out: BTreeSet<String>,
    /// What selectors chose.
    pub choices: Choices,
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

/// Everything wished of a domain. `base` is its inactive description, if it has one.
pub fn render(object: &Domain, around: &Surroundings, facts: &Facts, base: Option<&Element>) -> anyhow::Result<Wishes> {
    let parameters = object.parameters();
    let mut wishes = Wishes::new("domain");
    memory_and_processors(&mut wishes, parameters)?;
    if let Some(cpu) = &parameters.cpu {
        processor_model(&mut wishes, cpu);
    }
    boot(&mut wishes, parameters, around);
    disks::disks(&mut wishes, parameters, around, base)?;
    interfaces(&mut wishes, object, around)?;
    consoles(&mut wishes, object)?;
    graphics(&mut wishes, parameters.graphics.as_deref().unwrap_or_default());
    small_devices(&mut wishes, parameters);
    if let Some(base) = base {
        give_back(&mut wishes, base);
    }
    // What is chosen once is not owned: owned paths that are wished no more are taken away.
    let owned = wishes.owned_paths();
    if base.is_none() {
        identity(&mut wishes, object, facts)?;
    }
    new_interfaces(&mut wishes, object, around, base);
    wishes.replace("metadata/pl:object", mark::element(object, &owned));
    Ok(wishes)
}

/// What stays as the host has it when its field is unset: libvirt has no default for it, or another one than the guest was made with,
/// which would give it another machine, other cards, or a bus without a driver.
const KEPT: [&str; 7] = [
    "memory",
    "currentMemory",
    "os/type@machine",
    "devices/interface/mac@address",
    "devices/interface/model@type",
    "devices/controller",
    "devices/controller@model",
];

/// Wishes away what the mark of a description says was ours, and is wished no more.
pub(super) fn give_back(wishes: &mut Wishes, description: &Element) {
    let previous = mark::owned_paths(description).unwrap_or_default();
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
        wishes.flag("features/acpi", true);
        wishes.flag("features/apic", true);
        if machine.contains("q35") {
            ports_for_hot_plug(wishes, parameters);
        }
    }
    Ok(())
}

/// q35 has one spare port; every device plugged in later needs another, and ports cannot be plugged in.
fn ports_for_hot_plug(wishes: &mut Wishes, parameters: &DomainParameters) {
    let devices =
        parameters.disks.as_ref().map_or(0, Vec::len) + parameters.network_interfaces.as_ref().map_or(0, Vec::len);
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
    ensure!(has(chosen), "the host cannot run domains of type {chosen}; it offers {}", facts.domain_types.join(", "));
    Ok(chosen)
}

/// The least memory of a guest in KiB, which hypervisors round up to.
const LEAST_MEMORY: u64 = 1024;

fn memory_and_processors(wishes: &mut Wishes, parameters: &DomainParameters) -> anyhow::Result<()> {
    if let Some(memory) = &parameters.memory {
        let now = memory.kibibytes().map_err(anyhow::Error::msg).context("memory")?;
        let most = parameters
            .max_memory
            .as_ref()
            .map_or(Ok(now), apis::quantity::Quantity::kibibytes)
            .map_err(anyhow::Error::msg)
            .context("maxMemory")?;
        ensure!(now >= LEAST_MEMORY, "memory must be at least 1Mi: a number without a unit is in bytes");
        ensure!(now <= most, "memory must not be larger than maxMemory");
        wishes.set("memory", most.to_string());
        wishes.set("currentMemory", now.to_string());
    }
    let Some(most) = parameters.max_vcpus.or(parameters.vcpus) else { return Ok(()) };
    let now = parameters.vcpus.unwrap_or(1);
    ensure!(now <= most, "vcpus must not be larger than maxVcpus");
    wishes.set("vcpu", most.to_string());
    // libvirt does not write the number of now where it is the most, so it would never be seen as wished.
    if now == most {
        wishes.flag("vcpu@current", false);
    } else {
        wishes.set("vcpu@current", now.to_string());
    }
    Ok(())
}

fn processor_model(wishes: &mut Wishes, cpu: &Cpu) {
    let mode = match cpu.mode {
        None => return,
        Some(CpuMode::Custom) => "custom",
        Some(CpuMode::HostModel) => "host-model",
        Some(CpuMode::HostPassthrough) => "host-passthrough",
        Some(CpuMode::Maximum) => "maximum",
    };
    wishes.set("cpu@mode", mode);
    if let Some(model) = &cpu.model {
        wishes.set("cpu/model", model.as_str());
    }
}

fn boot(wishes: &mut Wishes, parameters: &DomainParameters, around: &Surroundings) {
    let Some(os) = &parameters.os else { return };
    let Os { arch: _, machine, kernel_ref: _, kernel_selector: _, initrd_ref: _, initrd_selector: _, cmdline, boot } =
        os;
    let has_kernel = !around.left_out.contains(references::KERNEL);
    if let Some(machine) = machine {
        wishes.set("os/type@machine", machine.as_str());
    }
    if let Some(kernel) = &around.kernel {
        wishes.set("os/kernel", kernel.as_str());
    }
    if let Some(initrd) = around.initrd.as_ref().filter(|_| has_kernel) {
        wishes.set("os/initrd", initrd.as_str());
    }
    if let Some(cmdline) = cmdline.as_ref().filter(|_| has_kernel) {
        wishes.set("os/cmdline", cmdline.as_str());
    }
    if let Some(devices) = boot {
        let element = |device: &BootDevice| {
            Element::new("boot").attr(
                "dev",
                match device {
                    BootDevice::Disk => "hd",
                    BootDevice::Cdrom => "cdrom",
                    BootDevice::Network => "network",
                },
            )
        };
        wishes.replace_all("os/boot", devices.iter().map(element).collect());
    }
}

fn interfaces(wishes: &mut Wishes, object: &Domain, around: &Surroundings) -> anyhow::Result<()> {
    wishes.own("devices/interface", NIC);
    let nics = object.parameters().network_interfaces.iter().flatten();
    for nic in nics.clone().filter(|nic| !around.has_interface(nic)) {
        wishes.keep("devices/interface", &format!("{NIC}{}", nic.name));
    }
    for nic in nics.filter(|nic| around.has_interface(nic)) {
        let NetworkInterface { name, network_ref: _, network_selector: _, network, bridge, mac, model } = nic;
        let alias = format!("{NIC}{name}");
        let mut part = Part::new();
        match (around.networks.get(&name.0).or(network.as_ref()), bridge) {
            (Some(network), _) => part = part.with("@type", "network").with("source@network", network.as_str()),
            (None, Some(bridge)) => part = part.with("@type", "bridge").with("source@bridge", bridge.as_str()),
            (None, None) => {
                anyhow::bail!("networkInterfaces {name}: set one of networkRef, networkSelector, network and bridge")
            }
        }
        if let Some(mac) = mac {
            part.set("mac@address", mac.to_ascii_lowercase());
        }
        if let Some(model) = model {
            part.set("model@type", card(*model));
        }
        wishes.item("devices/interface", &alias, part);
    }
    Ok(())
}

/// MAC address and model of interfaces that the host does not have yet; both are kept ever after.
fn new_interfaces(wishes: &mut Wishes, object: &Domain, around: &Surroundings, base: Option<&Element>) {
    let devices = base.map(|base| base.find_all("devices/interface")).unwrap_or_default();
    let present: BTreeSet<&str> = devices.into_iter().filter_map(|nic| nic.attr_at("alias@name")).collect();
    let nics = object.parameters().network_interfaces.iter().flatten();
    for NetworkInterface { name, mac, model, .. } in nics.filter(|nic| around.has_interface(nic)) {
        let alias = format!("{NIC}{name}");
        if present.contains(alias.as_str()) {
            continue;
        }
        if mac.is_none() {
            let derived = mark::mac(object.uid(), &name.0);
            wishes.set(&format!("devices/interface[{alias}]/mac@address"), derived);
        }
        if model.is_none() {
            wishes.set(&format!("devices/interface[{alias}]/model@type"), card(InterfaceModel::default()));
        }
    }
}

fn card(model: InterfaceModel) -> &'static str {
    match model {
        InterfaceModel::Virtio => "virtio",
        InterfaceModel::E1000 => "e1000",
        InterfaceModel::E1000e => "e1000e",
        InterfaceModel::Rtl8139 => "rtl8139",
    }
}

/// Where the host keeps what a console prints. The directory is libvirt's own, so that no user names a path of the host.
/// A console's name has no dot, and libvirt's own files there end with `.log`: no two guests share a file.
fn log_path(name: &str, console: &str) -> anyhow::Result<String> {
    ensure!(
        !name.contains('/') && !name.starts_with('.'),
        "external name {name:?} cannot name a log file: it must not contain a slash or begin with a dot"
    );
    Ok(format!("/var/log/libvirt/qemu/{name}.{console}.console"))
}

fn consoles(wishes: &mut Wishes, object: &Domain) -> anyhow::Result<()> {
    // libvirt shows the first serial once more as a console; both are one device and go together.
    wishes.own("devices/serial", SERIAL);
    wishes.own("devices/console", SERIAL);
    for (port, console) in object.parameters().consoles.as_deref().unwrap_or_default().iter().enumerate() {
        let Console { name, log } = console;
        let alias = format!("{SERIAL}{name}");
        let mut part = Part::new().with("@type", "pty").with("target@port", port.to_string());
        if log.unwrap_or_default() {
            part = part.with("log@file", log_path(object.external_name(), &name.0)?).with("log@append", "on");
        } else {
            part.flag("log", false);
        }
        wishes.item("devices/serial", &alias, part);
        wishes.keep("devices/console", &alias);
    }
    Ok(())
}

fn graphics(wishes: &mut Wishes, graphics: &[Graphics]) {
    for Graphics { type_, listen } in graphics {
        let kind = match type_ {
            GraphicsType::Vnc => "vnc",
        };
        let listen = listen.as_deref().unwrap_or("127.0.0.1");
        let element = Element::new("listen").attr("type", "address").attr("address", listen);
        let part = Part::new().with("@autoport", "yes").with("@listen", listen).with_whole("listen", element);
        wishes.item("devices/graphics", kind, part);
    }
}

fn small_devices(wishes: &mut Wishes, parameters: &DomainParameters) {
    wishes.own("devices/rng", RNG);
    if let Some(Rng { source }) = &parameters.rng {
        let source = match source.unwrap_or_default() {
            RngSource::Urandom => "/dev/urandom",
            RngSource::Random => "/dev/random",
        };
        let part = Part::new().with("@model", "virtio").with("backend@model", "random").with("backend", source);
        wishes.item("devices/rng", "ua-rng-0", part);
    }
    wishes.own("devices/channel", CHANNEL);
    if parameters.guest_agent.unwrap_or_default() {
        let part = Part::new()
            .with("@type", "unix")
            .with("target@type", "virtio")
            .with("target@name", "org.qemu.guest_agent.0");
        wishes.item("devices/channel", "ua-channel-agent", part);
    }
}
