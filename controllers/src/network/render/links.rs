//! What a network is on, its port groups, and what passes through it → wishes: pure.

use apis::{
    domain::{Bandwidth, DirectMode},
    network::{NetworkDirect, NetworkHostDevices, NetworkMode, NetworkParameters, PortGroup},
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use crate::domain::{direct_word, rates, vlan_element};

/// libvirt's word for how a network reaches the outside; none where it does not.
pub(super) fn forward(parameters: &NetworkParameters) -> Option<&'static str> {
    match parameters.mode.unwrap_or_default() {
        NetworkMode::Nat => Some("nat"),
        NetworkMode::Route => Some("route"),
        NetworkMode::Open => Some("open"),
        NetworkMode::Bridge => Some("bridge"),
        NetworkMode::Macvtap => {
            let mode = parameters.direct.as_ref().and_then(|direct| direct.mode);
            Some(direct_word(mode.unwrap_or(DirectMode::Bridge)))
        }
        NetworkMode::HostDevices => Some("hostdev"),
        NetworkMode::Isolated => None,
    }
}

/// Everything of these fields.
pub(super) fn links(wishes: &mut Wishes, parameters: &NetworkParameters) {
    if let Some(NetworkDirect { devices, mode }) = &parameters.direct {
        if let Some(mode) = mode {
            wishes.set("forward@mode", direct_word(*mode));
        }
        // libvirt takes no other device here than the first, and writes that one.
        wishes.set("forward@dev", devices.first().map(String::as_str).unwrap_or_default());
        let element = |device: &String| Element::new("interface").attr("dev", device.as_str());
        wishes.replace_all("forward/interface", devices.iter().map(element).collect());
    }
    if let Some(devices) = &parameters.host_devices {
        functions(wishes, devices);
    }
    match parameters.open_v_switch {
        Some(true) => wishes.set("virtualport@type", "openvswitch"),
        Some(false) => wishes.flag("virtualport", false),
        None => {}
    }
    if let Some(vlan) = &parameters.vlan {
        wishes.replace("vlan", vlan_element(vlan));
    }
    for (path, figure) in traffic(parameters.bandwidth.as_ref()) {
        wishes.set(&path, figure);
    }
    if let Some(groups) = &parameters.port_groups {
        wishes.own_all("portgroup");
        for group in groups {
            wishes.item("portgroup", &group.name.0, port_group(group));
        }
    }
}

/// The host gives each function up when a guest gets it, and takes it back.
fn functions(wishes: &mut Wishes, NetworkHostDevices { physical_function, addresses }: &NetworkHostDevices) {
    wishes.set("forward@managed", "yes");
    if let Some(card) = physical_function {
        wishes.replace_all("forward/pf", vec![Element::new("pf").attr("dev", card.as_str())]);
    }
    if let Some(addresses) = addresses {
        wishes.replace_all("forward/address", addresses.iter().filter_map(|address| function(address)).collect());
    }
}

fn function(address: &str) -> Option<Element> {
    let (rest, function) = address.rsplit_once('.')?;
    let mut element = Element::new("address").attr("type", "pci");
    for (name, number) in ["domain", "bus", "slot"].into_iter().zip(rest.splitn(3, ':')) {
        element.set(name, format!("0x{number}"));
    }
    Some(element.attr("function", format!("0x{function}")))
}

fn traffic(bandwidth: Option<&Bandwidth>) -> Vec<(String, String)> {
    bandwidth.map(rates).unwrap_or_default()
}

fn port_group(PortGroup { name, default, vlan, bandwidth }: &PortGroup) -> Part {
    let mut part = Part::new().with("@name", name.0.as_str());
    match default {
        Some(true) => part.set("@default", "yes"),
        // libvirt writes no word for those that are not.
        Some(false) => part.flag("@default", false),
        None => {}
    }
    for (path, figure) in traffic(bandwidth.as_ref()) {
        part.set(&path, figure);
    }
    match vlan {
        Some(vlan) => part.with_whole("vlan", vlan_element(vlan)),
        None => part,
    }
}

/// Port groups of `initProvider` stay in a list that is owned whole.
pub(super) fn keep(wishes: &mut Wishes, initial: &[PortGroup]) {
    for group in initial {
        if !wishes.has_item("portgroup", &group.name.0) {
            wishes.keep("portgroup", &group.name.0);
        }
    }
}
