//! What a description says of what a network is on, and of its port groups: pure.

use apis::{
    domain::DirectMode,
    network::{NetworkDirectObservation, NetworkHostDevicesObservation, NetworkMode, PortGroupObservation},
};
use libvirt::xml::Element;

use crate::domain;

/// How a network reaches the outside; nothing where the spec has no word for it.
pub(super) fn mode(definition: &Element) -> Option<NetworkMode> {
    let Some(forward) = definition.find("forward") else { return Some(NetworkMode::Isolated) };
    match forward.get("mode") {
        None | Some("nat") => Some(NetworkMode::Nat),
        Some("route") => Some(NetworkMode::Route),
        Some("open") => Some(NetworkMode::Open),
        Some("hostdev") => Some(NetworkMode::HostDevices),
        // The same word with interfaces of the host is another thing.
        Some("bridge") if definition.find("bridge").is_some() => Some(NetworkMode::Bridge),
        Some(_) => direct(definition).map(|_| NetworkMode::Macvtap),
    }
}

pub(super) fn direct(definition: &Element) -> Option<NetworkDirectObservation> {
    let forward = definition.find("forward").filter(|_| definition.find("bridge").is_none())?;
    let mode = domain::direct_mode(forward.get("mode")?)?;
    let devices: Vec<String> =
        forward.named("interface").filter_map(|interface| interface.get("dev").map(str::to_owned)).collect();
    (!devices.is_empty())
        .then(|| NetworkDirectObservation { devices, mode: Some(mode).filter(|mode| *mode != DirectMode::Bridge) })
}

pub(super) fn host_devices(definition: &Element) -> Option<NetworkHostDevicesObservation> {
    let forward = definition.find("forward").filter(|forward| forward.get("mode") == Some("hostdev"))?;
    let physical_function = forward.attr_at("pf@dev").map(str::to_owned);
    // While the network runs its card's functions are listed beside the card.
    let addresses = forward.named("address").filter(|_| physical_function.is_none()).filter_map(function).collect();
    Some(NetworkHostDevicesObservation { physical_function, addresses })
}

fn function(address: &Element) -> Option<String> {
    let number = |name| u32::from_str_radix(address.get(name)?.trim_start_matches("0x"), 16).ok();
    let [domain, bus, slot, function] = ["domain", "bus", "slot", "function"].map(number);
    Some(format!("{:04x}:{:02x}:{:02x}.{:x}", domain?, bus?, slot?, function?))
}

pub(super) fn port_group(group: &Element) -> Option<PortGroupObservation> {
    Some(PortGroupObservation {
        name: group.get("name")?.to_owned(),
        default: (group.get("default") == Some("yes")).then_some(true),
        vlan: domain::vlan(group),
        bandwidth: domain::bandwidth(group),
    })
}
