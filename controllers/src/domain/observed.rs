//! What a description says of a domain, in the words of the spec: pure.

use std::collections::BTreeMap;

use apis::{
    domain::{
        BootDevice, ConsoleObservation, CpuMode, CpuObservation, DiskBus, DiskDevice, DiskObservation,
        DomainObservation, DomainType, GraphicsObservation, HostVolumeObservation, InterfaceModel,
        InterfaceObservation, OsObservation, Rng, RngSource,
    },
    quantity::Quantity,
    volume::Format,
};
use libvirt::{VolumeId, xml::Element};

use super::{initial::INITIAL, render};

/// The volumes of files that a guest uses, by path.
pub type Volumes = BTreeMap<String, VolumeId>;

/// What a domain's definition and its running description say; a guest that is off has none of these.
pub fn observe(definition: Option<&Element>, live: Option<&Element>, volumes: &Volumes) -> DomainObservation {
    let Some(definition) = definition.or(live) else { return DomainObservation::default() };
    let shown = live.unwrap_or(definition);
    let (memory, max_memory) = sizes(definition);
    let (vcpus, max_vcpus) = processors(definition);
    DomainObservation {
        type_: match definition.get("type") {
            Some("kvm") => Some(DomainType::Kvm),
            Some("qemu") => Some(DomainType::Qemu),
            _ => None,
        },
        memory,
        max_memory,
        vcpus,
        max_vcpus,
        cpu: cpu(definition),
        os: os(definition),
        disks: shown.find_all("devices/disk").into_iter().filter_map(|device| disk(device, volumes)).collect(),
        network_interfaces: shown.find_all("devices/interface").into_iter().filter_map(interface).collect(),
        consoles: shown.find_all("devices/serial").into_iter().filter_map(console).collect(),
        graphics: shown.find_all("devices/graphics").into_iter().filter_map(|one| graphics(one, live)).collect(),
        rng: rng(definition),
        guest_agent: agent(definition).map(|_| true),
        ..DomainObservation::default()
    }
}

/// The guest agent's channel.
pub(super) fn agent(description: &Element) -> Option<&Element> {
    let channels = description.find_all("devices/channel");
    channels.into_iter().find(|channel| channel.attr_at("target@name") == Some("org.qemu.guest_agent.0"))
}

fn kibibytes(definition: &Element, path: &str) -> Option<u64> {
    definition.text_at(path)?.parse().ok()
}

/// Memory, and how far it can grow where that is more.
fn sizes(definition: &Element) -> (Option<Quantity>, Option<Quantity>) {
    let most = kibibytes(definition, "memory");
    let now = kibibytes(definition, "currentMemory").or(most);
    let quantity = |kibibytes: Option<u64>| kibibytes?.checked_mul(1024).map(Quantity::of_bytes);
    (quantity(now), quantity(most.filter(|_| most > now)))
}

/// Processors, and how many there can be where that is more.
fn processors(definition: &Element) -> (Option<i32>, Option<i32>) {
    let most: Option<i32> = definition.text_at("vcpu").and_then(|text| text.parse().ok());
    let now = definition.attr_at("vcpu@current").and_then(|text| text.parse().ok()).or(most);
    (now, most.filter(|_| most > now))
}

fn cpu(definition: &Element) -> Option<CpuObservation> {
    let mode = match definition.attr_at("cpu@mode")? {
        "custom" => CpuMode::Custom,
        "host-model" => CpuMode::HostModel,
        "host-passthrough" => CpuMode::HostPassthrough,
        "maximum" => CpuMode::Maximum,
        _ => return None,
    };
    let model = definition.text_at("cpu/model").filter(|_| mode == CpuMode::Custom).map(str::to_owned);
    // A custom CPU without a model is libvirt's own writing for features alone.
    (mode != CpuMode::Custom || model.is_some()).then_some(CpuObservation { mode: Some(mode), model })
}

fn os(definition: &Element) -> Option<OsObservation> {
    let text = |path| definition.text_at(path).map(str::to_owned);
    let boot = |device: &Element| match device.get("dev") {
        Some("hd") => Some(BootDevice::Disk),
        Some("cdrom") => Some(BootDevice::Cdrom),
        Some("network") => Some(BootDevice::Network),
        _ => None,
    };
    let seen = OsObservation {
        arch: definition.attr_at("os/type@arch").map(str::to_owned),
        machine: definition.attr_at("os/type@machine").map(str::to_owned),
        kernel: text("os/kernel"),
        initrd: text("os/initrd"),
        cmdline: text("os/cmdline"),
        boot: definition.find_all("os/boot").into_iter().filter_map(boot).collect(),
    };
    (seen != OsObservation::default()).then_some(seen)
}

/// The name after our prefix in a device's alias.
pub(super) fn own_name(device: &Element, prefix: &str) -> Option<String> {
    let alias = device.attr_at("alias@name")?;
    let initial = || alias.strip_prefix(INITIAL)?.strip_prefix(prefix.strip_prefix("ua-")?);
    alias.strip_prefix(prefix).or_else(initial).map(str::to_owned)
}

/// A disk.
pub(super) fn disk(device: &Element, volumes: &Volumes) -> Option<DiskObservation> {
    let path = path(device).map(str::to_owned);
    Some(DiskObservation {
        name: own_name(device, render::DISK).or_else(|| own_name(device, render::SEED)),
        target: device.attr_at("target@dev")?.to_owned(),
        device: match device.get("device") {
            None | Some("disk") => Some(DiskDevice::Disk),
            Some("cdrom") => Some(DiskDevice::Cdrom),
            Some(_) => None,
        },
        bus: match device.attr_at("target@bus") {
            Some("virtio") => Some(DiskBus::Virtio),
            Some("scsi") => Some(DiskBus::Scsi),
            Some("sata") => Some(DiskBus::Sata),
            Some("ide") => Some(DiskBus::Ide),
            Some("usb") => Some(DiskBus::Usb),
            _ => None,
        },
        read_only: device.find("readonly").map(|_| true),
        boot_order: device.attr_at("boot@order").and_then(|order| order.parse().ok()),
        volume: volume(device, path.as_deref(), volumes),
        path,
    })
}

/// The file or device that a disk writes to.
pub(super) fn path(disk: &Element) -> Option<&str> {
    disk.attr_at("source@file").or_else(|| disk.attr_at("source@dev"))
}

/// The volume of a disk, with the format that the definition says: never what a pool guesses from the content.
fn volume(disk: &Element, path: Option<&str>, volumes: &Volumes) -> Option<HostVolumeObservation> {
    let format =
        [Format::Raw, Format::Qcow2].into_iter().find(|one| disk.attr_at("driver@type") == Some(one.as_libvirt()))?;
    let VolumeId { pool, name } = volumes.get(path?)?.clone();
    Some(HostVolumeObservation { pool, name, format })
}

fn interface(device: &Element) -> Option<InterfaceObservation> {
    let network = device.attr_at("source@network").map(str::to_owned);
    // What runs on a network shows the network's bridge too.
    let bridge = device.attr_at("source@bridge").filter(|_| network.is_none()).map(str::to_owned);
    Some(InterfaceObservation {
        name: own_name(device, render::NIC),
        mac: device.attr_at("mac@address")?.to_owned(),
        network,
        bridge,
        model: match device.attr_at("model@type") {
            Some("virtio") => Some(InterfaceModel::Virtio),
            Some("e1000") => Some(InterfaceModel::E1000),
            Some("e1000e") => Some(InterfaceModel::E1000e),
            Some("rtl8139") => Some(InterfaceModel::Rtl8139),
            _ => None,
        },
    })
}

fn console(device: &Element) -> Option<ConsoleObservation> {
    let log_file = device.attr_at("log@file").map(str::to_owned);
    Some(ConsoleObservation { name: own_name(device, render::SERIAL)?, log: log_file.as_ref().map(|_| true), log_file })
}

fn graphics(device: &Element, live: Option<&Element>) -> Option<GraphicsObservation> {
    let listen = device.attr_at("listen@address").or_else(|| device.get("listen")).map(str::to_owned);
    let port = live.and_then(|_| device.get("port")?.parse().ok()).filter(|port| *port > 0);
    Some(GraphicsObservation {
        type_: if device.get("type")? == "vnc" { "Vnc" } else { device.get("type")? }.to_owned(),
        host: listen.clone().filter(|_| port.is_some()),
        listen,
        port,
    })
}

fn rng(definition: &Element) -> Option<Rng> {
    let source = match definition.find("devices/rng")?.text_at("backend") {
        Some("/dev/urandom") => RngSource::Urandom,
        Some("/dev/random") => RngSource::Random,
        _ => return None,
    };
    Some(Rng { source: Some(source) })
}
