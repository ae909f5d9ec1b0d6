//! A domain that was taken over, seen with our names on the devices that its object speaks of: pure.
//!
//! ```text
//! definition ──our names──▶ what is wished is laid over it, so that no device is made twice
//!     └─names by target and MAC──▶ running description, whose own names change with the next start only
//! ```
//! What the object does not speak of has no name of ours, so it is neither compared nor taken away.

mod running;

use std::{borrow::Cow, collections::BTreeSet};

use apis::{
    Domain, Managed,
    domain::{Direct, DiskDevice, DomainObservation, DomainParameters, Firmware, Rng, Sound, Tpm},
    quantity::Quantity,
};
use libvirt::xml::Element;

use super::{
    initial::{self, INITIAL},
    observed, passwords,
    render::{
        self, CHANNEL, DISK, FILESYSTEM, HOST_DEVICE, INPUT, NIC, PANIC, PORT, RNG, SEED, SERIAL, SOUND, Surroundings,
        TPM, VIDEO, VSOCK, WATCHDOG, raw::RAW,
    },
};
use crate::mark;
pub use running::{as_running, running};

/// The prefixes of all names that we give to devices.
pub(super) const OURS: [&str; 17] = [
    DISK,
    SEED,
    NIC,
    SERIAL,
    RNG,
    CHANNEL,
    TPM,
    WATCHDOG,
    PANIC,
    VIDEO,
    PORT,
    SOUND,
    INPUT,
    VSOCK,
    HOST_DEVICE,
    FILESYSTEM,
    RAW,
];
/// What begins every name that a user gave to a device.
const NAMED: &str = "ua-";

/// An object and the definition that its wishes are about.
#[derive(Debug)]
pub struct Claimed<'a> {
    /// The object; of a domain that was taken over, or made with `initProvider`, with what it leaves open as the host has it.
    pub object: Cow<'a, Domain>,
    /// What it refers to.
    pub around: Cow<'a, Surroundings>,
    /// The definition.
    pub base: Cow<'a, Element>,
}

/// The object and the definition, with our names on it where it was taken over.
pub fn claim<'a>(object: &'a Domain, around: &'a Surroundings, base: &'a Element, adopted: bool) -> Claimed<'a> {
    let initial = object.initially();
    if !adopted && initial.is_none() {
        return Claimed { object: Cow::Borrowed(object), around: Cow::Borrowed(around), base: Cow::Borrowed(base) };
    }
    let around = initial::lasting(object, around);
    let mut base = named(object, base);
    if adopted {
        name_disks(object, &around, &mut base);
        name_interfaces(object, &around, &mut base);
        name_passed(object, &mut base);
    }
    let mut object = object.clone();
    let seen = observed::observe(Some(&base), None, &observed::Volumes::new());
    let parameters = &mut object.spec.for_provider;
    fill_disks(parameters, &seen);
    if let Some(initial) = &initial {
        fill_sizes(parameters, initial, &seen);
        fill_devices(parameters, initial, &seen);
    }
    Claimed { object: Cow::Owned(object), around: Cow::Owned(around), base: Cow::Owned(base) }
}

/// A bus that is not said stays: on another one the guest might not find its root.
fn fill_disks(parameters: &mut DomainParameters, seen: &DomainObservation) {
    for disk in parameters.disks.iter_mut().flatten() {
        if let Some(seen) = seen.disks.iter().find(|seen| seen.name.as_ref() == Some(&disk.name.0)) {
            disk.device = disk.device.or(seen.device);
            disk.bus = disk.bus.or(seen.bus);
        }
    }
}

/// Memory and processors are wished as a whole; what of them only `initProvider` says is as the host has it.
fn fill_sizes(parameters: &mut DomainParameters, initial: &DomainParameters, seen: &DomainObservation) {
    let most = seen.max_memory.clone().or_else(|| seen.memory.clone());
    let larger = |one: &Quantity, other: &Quantity| one.kibibytes().ok() > other.kibibytes().ok();
    if parameters.memory.is_none() && parameters.max_memory.is_some() && initial.memory.is_some() {
        parameters.memory.clone_from(&seen.memory);
    }
    if let (Some(memory), None, Some(_)) = (&parameters.memory, &parameters.max_memory, &initial.max_memory) {
        parameters.max_memory = most.filter(|most| larger(most, memory));
    }
    if parameters.vcpus.is_none() && parameters.max_vcpus.is_some() && initial.vcpus.is_some() {
        parameters.vcpus = seen.vcpus;
    }
    if let (Some(vcpus), None, Some(_)) = (parameters.vcpus, parameters.max_vcpus, initial.max_vcpus) {
        parameters.max_vcpus = seen.max_vcpus.filter(|most| *most > vcpus);
    }
}

/// What only `initProvider` says of a device, and has a default when nobody says it, is as the host has it.
fn fill_devices(parameters: &mut DomainParameters, initial: &DomainParameters, seen: &DomainObservation) {
    fill_consoles(parameters, initial, seen);
    for nic in parameters.network_interfaces.iter_mut().flatten() {
        let said = initial.network_interfaces.iter().flatten().find(|said| said.name == nic.name);
        let seen = seen.network_interfaces.iter().find(|seen| seen.name.as_ref() == Some(&nic.name.0));
        if let (Some(direct), Some(Direct { mode: Some(_), .. })) =
            (&mut nic.direct, said.and_then(|said| said.direct.as_ref()))
        {
            direct.mode = direct.mode.or_else(|| seen?.direct.as_ref()?.mode);
        }
    }
    for input in parameters.inputs.iter_mut().flatten() {
        let said = initial.inputs.iter().flatten().any(|said| said.name == input.name && said.bus.is_some());
        let seen = seen.inputs.iter().find(|seen| seen.name == input.name);
        input.bus = input.bus.or_else(|| seen.filter(|_| said)?.bus);
    }
    if let (Some(sound), Some(Sound { model: Some(_) })) = (&mut parameters.sound, &initial.sound) {
        sound.model = sound.model.or_else(|| seen.sound.as_ref()?.model);
    }
    for graphics in parameters.graphics.iter_mut().flatten() {
        let Some(said) = initial.graphics.iter().flatten().find(|said| said.type_ == graphics.type_) else { continue };
        let seen = seen.graphics.iter().find(|seen| seen.type_ == format!("{:?}", graphics.type_));
        if graphics.listen.is_none() && said.listen.is_some() {
            graphics.listen = seen.and_then(|seen| seen.listen.clone());
        }
        graphics.port = graphics.port.or_else(|| said.port.and(seen?.port));
    }
    if let (Some(rng), Some(Rng { source: Some(_) })) = (&mut parameters.rng, &initial.rng) {
        rng.source = rng.source.or_else(|| seen.rng.as_ref()?.source);
    }
    if let (Some(tpm), Some(Tpm { model: Some(_), .. })) = (&mut parameters.tpm, &initial.tpm) {
        tpm.model = tpm.model.or_else(|| seen.tpm.as_ref()?.model);
    }
    if let (Some(watchdog), Some(said)) = (&mut parameters.watchdog, &initial.watchdog) {
        let seen = seen.watchdog.clone().unwrap_or_default();
        watchdog.action = watchdog.action.or_else(|| said.action.and(seen.action));
    }
}

/// The same of consoles and channels.
fn fill_consoles(parameters: &mut DomainParameters, initial: &DomainParameters, seen: &DomainObservation) {
    for console in parameters.consoles.iter_mut().flatten() {
        let Some(said) = initial.consoles.iter().flatten().find(|said| said.name == console.name) else { continue };
        let Some(seen) = seen.consoles.iter().find(|seen| seen.name == console.name.0) else { continue };
        if console.log.is_none() && said.log.is_some() {
            console.log = Some(seen.log.unwrap_or_default());
        }
        console.type_ = console.type_.or_else(|| said.type_.and(seen.type_));
        let Some(there) = said.tcp.as_ref().and(seen.tcp.as_ref()) else { continue };
        let tcp = console.tcp.get_or_insert_with(|| there.clone());
        tcp.listen = tcp.listen.take().or_else(|| there.listen.clone());
        tcp.protocol = tcp.protocol.or(there.protocol);
    }
    for channel in parameters.channels.iter_mut().flatten() {
        let Some(said) = initial.channels.iter().flatten().find(|said| said.name == channel.name) else { continue };
        let Some(seen) = seen.channels.iter().find(|seen| seen.name == channel.name.0) else { continue };
        channel.type_ = channel.type_.or_else(|| said.type_.and(seen.type_));
        if channel.target.is_none() && said.target.is_some() {
            channel.target.clone_from(&seen.target);
        }
    }
}

fn devices(description: &mut Element) -> impl Iterator<Item = &mut Element> {
    description.elements_mut().filter(|child| child.name == "devices").flat_map(Element::elements_mut)
}

fn alias_of(device: &Element) -> &str {
    device.attr_at("alias@name").unwrap_or_default()
}

fn is_ours(device: &Element) -> bool {
    OURS.iter().any(|prefix| alias_of(device).starts_with(prefix))
}

fn rename(device: &mut Element, alias: Option<&str>) {
    device.retain(|child| child.name != "alias");
    if let Some(alias) = alias {
        device.push(Element::new("alias").attr("name", alias));
    }
}

/// The definition with our names. Where it bears another mark than the object's, that mark and the names it came with count for nothing,
/// but for those that the object says too.
fn named(object: &Domain, base: &Element) -> Element {
    let mut base = base.clone();
    if mark::owner(&base).is_none_or(|owner| owner.uid != object.uid()) {
        mark::remove(&mut base);
        passwords::remove(&mut base);
        let said = said(object);
        for device in devices(&mut base).filter(|device| is_ours(device)) {
            if !said.contains(alias_of(device)) {
                rename(device, None);
            }
        }
    }
    rename_initial(object, &mut base);
    base
}

/// The names of all devices that the object speaks of.
fn said(object: &Domain) -> BTreeSet<String> {
    let parameters = object.parameters();
    let disks = parameters.disks.iter().flatten().map(|disk| format!("{DISK}{}", disk.name));
    let nics = parameters.network_interfaces.iter().flatten().map(|nic| format!("{NIC}{}", nic.name));
    let listed = render::listed(parameters).chain(render::passed(parameters));
    let value = serde_json::to_value(parameters).unwrap_or_default();
    let seed = initial::refers(&value, "cloudInit").then(|| format!("{SEED}cloud-init"));
    let single = render::single(parameters).map(str::to_owned);
    let agent = parameters.guest_agent.unwrap_or_default().then(|| render::AGENT.to_owned());
    let raw = render::raw::aliases(parameters);
    disks.chain(nics).chain(listed).chain(seed).chain(single).chain(agent).chain(raw).collect()
}

/// Gives devices that the object does not speak of, and was made with all the same, the names of their own class.
pub(super) fn name_initial(description: &mut Element, object: &Domain) {
    let said = said(object);
    for device in devices(description).filter(|device| is_ours(device)) {
        let alias = alias_of(device).to_owned();
        if let Some(class) = alias.strip_prefix(NAMED).filter(|_| !said.contains(&alias)) {
            rename(device, Some(&format!("{INITIAL}{class}")));
        }
    }
}

/// A device of that class that the object speaks of by now is one like the others.
fn rename_initial(object: &Domain, base: &mut Element) {
    let said = said(object);
    for device in devices(base) {
        let class = alias_of(device).strip_prefix(INITIAL).map(|class| format!("{NAMED}{class}"));
        if let Some(alias) = class.filter(|alias| said.contains(alias)) {
            rename(device, Some(&alias));
        }
    }
}

/// Gives a name to the first device that has none of a user and fits, unless another bears the name.
fn name(base: &mut Element, kind: &str, alias: &str, fits: impl Fn(&Element) -> bool) -> bool {
    if devices(base).any(|device| device.name == kind && alias_of(device) == alias) {
        return true;
    }
    let is_free = |device: &Element| device.name == kind && !alias_of(device).starts_with(NAMED);
    let device = devices(base).find(|device| is_free(device) && fits(device));
    let found = device.is_some();
    if let Some(device) = device {
        rename(device, Some(alias));
    }
    found
}

/// A disk is told by its data, else by its target.
fn name_disks(object: &Domain, around: &Surroundings, base: &mut Element) {
    if let Some(seed) = &around.seed {
        name(base, "disk", &format!("{SEED}cloud-init"), |device| observed::path(device) == Some(seed));
    }
    for disk in object.parameters().disks.iter().flatten().filter(|disk| around.has_disk(disk)) {
        let alias = format!("{DISK}{}", disk.name);
        let medium = around.media.get(&disk.name.0).map(|medium| medium.path.as_str());
        let by_data = |device: &Element| medium.is_some() && observed::path(device) == medium;
        if !name(base, "disk", &alias, by_data) {
            let target = disk.target.as_ref().unwrap_or(&disk.name.0);
            name(base, "disk", &alias, |device| device.attr_at("target@dev") == Some(target));
        }
    }
}

/// The disks that the object speaks of and the guest does not have, as far as its definition tells.
pub fn new_disks(object: &Domain, around: &Surroundings, base: &Element) -> Vec<String> {
    let (around, mut base) = (initial::lasting(object, around), named(object, base));
    name_disks(object, &around, &mut base);
    let has = |alias: &str| base.find_all("devices/disk").into_iter().any(|device| alias_of(device) == alias);
    let disks = object.parameters().disks.iter().flatten();
    let disks = disks.filter(|disk| around.has_disk(disk) && disk.device != Some(DiskDevice::Cdrom));
    disks.map(|disk| disk.name.0.clone()).filter(|name| !has(&format!("{DISK}{name}"))).collect()
}

/// An interface is told by its MAC address, which may also be its name; one of which the spec says no address by what it is on.
fn name_interfaces(object: &Domain, around: &Surroundings, base: &mut Element) {
    let all = || object.parameters().network_interfaces.iter().flatten();
    let nics = || all().filter(|nic| around.has_interface(nic));
    let has =
        |device: &Element, mac: &str| device.attr_at("mac@address").is_some_and(|it| it.eq_ignore_ascii_case(mac));
    for nic in nics() {
        let (alias, called) = (format!("{NIC}{}", nic.name), nic.name.0.replace('-', ":"));
        let mac = nic.mac.as_deref().unwrap_or(&called);
        name(base, "interface", &alias, |device| has(device, mac));
    }
    for nic in nics().filter(|nic| nic.mac.is_none()) {
        let network = nic.network.as_ref().or_else(|| around.networks.get(&nic.name.0));
        let is_on = |device: &Element| match network {
            Some(network) => device.attr_at("source@network") == Some(network),
            None if nic.direct.is_some() => {
                device.attr_at("source@dev") == nic.direct.as_ref().map(|direct| direct.device.as_str())
            }
            None if nic.user.is_some() => device.get("type") == Some("user"),
            None => nic.bridge.is_some() && device.attr_at("source@bridge") == nic.bridge.as_deref(),
        };
        name(base, "interface", &format!("{NIC}{}", nic.name), is_on);
    }
}

/// A device of the host is told by what it is; a folder's tag is its name.
fn name_passed(object: &Domain, base: &mut Element) {
    let observe = |device: &Element| observed::host_device(device);
    for said in object.parameters().host_devices.iter().flatten() {
        let is_it = |device: &Element| {
            let seen = observe(device);
            (&seen.pci, &seen.usb, &seen.mdev) == (&said.pci, &said.usb, &said.mdev)
        };
        name(base, "hostdev", &format!("{HOST_DEVICE}{}", said.name), is_it);
    }
    for said in object.parameters().filesystems.iter().flatten() {
        let is_it = |device: &Element| device.attr_at("target@dir") == Some(&said.name.0);
        name(base, "filesystem", &format!("{FILESYSTEM}{}", said.name), is_it);
    }
}

/// What the description says and the spec does not, where it can never change, or where it cannot be told what the spec means.
pub fn mismatch(object: &Domain, around: &Surroundings, description: &Element) -> Option<String> {
    let seen = observed::observe(Some(description), None, &observed::Volumes::new());
    let wished = object.parameters();
    let hypervisor = description.get("type").unwrap_or_default();
    let type_ = wished.type_.filter(|type_| *type_ != apis::domain::DomainType::Auto && Some(*type_) != seen.type_);
    if let Some(type_) = type_ {
        return Some(format!("its type is {hypervisor}, and spec.forProvider.type says {type_:?}"));
    }
    let arch = wished.os.as_ref().and_then(|os| os.arch.as_ref());
    let seen = seen.os.and_then(|os| os.arch);
    if let Some(arch) = arch.filter(|arch| Some(*arch) != seen.as_ref()) {
        let seen = seen.unwrap_or_default();
        return Some(format!("its architecture is {seen}, and spec.forProvider.os.arch says {arch}"));
    }
    let wishes_efi = wished.os.as_ref().is_some_and(|os| os.firmware == Some(Firmware::Efi));
    if wishes_efi && description.attr_at("os@firmware").is_none() && description.find("os/loader").is_none() {
        return Some("it starts by a BIOS, and spec.forProvider.os.firmware says Efi".to_owned());
    }
    // One of its own disks that is written otherwise, or that an overlay stands on, would be plugged in a second time.
    let new = new_disks(object, around, description);
    let targets = description.find_all("devices/disk").into_iter().filter_map(|disk| disk.attr_at("target@dev"));
    let targets: Vec<&str> = targets.collect();
    let targets =
        if targets.is_empty() { "it has none".to_owned() } else { format!("those are {}", targets.join(", ")) };
    new.first().map(|disk| {
        format!(
            "disk {disk} of spec.forProvider.disks is none of the guest's disks by its name or its file ({targets}). If it is one of them, name it as its target there; if it is a new one, take it out until the guest is taken over"
        )
    })
}
