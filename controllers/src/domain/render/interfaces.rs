//! Network interfaces of a Domain → wishes about its description: pure.

use std::collections::BTreeSet;

use anyhow::ensure;
use apis::{
    Domain, Managed,
    domain::{Bandwidth, Direct, InterfaceModel, LinkState, NetworkInterface, Rate, UserNetwork, Vlan},
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::{NIC, Surroundings};
use crate::{domain::words::Word as _, mark};

/// Interfaces, with what the user set of each.
pub(super) fn interfaces(wishes: &mut Wishes, object: &Domain, around: &Surroundings) -> anyhow::Result<()> {
    wishes.own("devices/interface", NIC);
    let nics = object.parameters().network_interfaces.iter().flatten();
    for nic in nics.clone().filter(|nic| !around.has_interface(nic)) {
        wishes.keep("devices/interface", &format!("{NIC}{}", nic.name));
    }
    for nic in nics.filter(|nic| around.has_interface(nic)) {
        // libvirt drops them for other cards without a word.
        let has_queues = nic.queues.is_none() || nic.model.is_none_or(|model| model == InterfaceModel::Virtio);
        ensure!(has_queues, "networkInterfaces {}: queues needs model Virtio", nic.name);
        wishes.item("devices/interface", &format!("{NIC}{}", nic.name), interface(nic, around)?);
    }
    Ok(())
}

fn interface(nic: &NetworkInterface, around: &Surroundings) -> anyhow::Result<Part> {
    let NetworkInterface {
        name: _,
        network_ref: _,
        network_selector: _,
        network: _,
        port_group: _,
        bridge: _,
        direct: _,
        user: _,
        mac,
        // It is the Network that keeps it.
        address: _,
        model,
        mtu,
        queues,
        link_state,
        boot_order,
        vlan,
        bandwidth,
        filter,
        isolated,
    } = nic;
    let mut part = link(nic, around)?;
    let values = [
        ("mac@address", mac.as_ref().map(|mac| mac.to_ascii_lowercase())),
        ("model@type", model.map(|model| model.word().to_owned())),
        ("mtu@size", mtu.map(|mtu| mtu.to_string())),
        ("driver@queues", queues.map(|queues| queues.to_string())),
        ("boot@order", boot_order.map(|order| order.to_string())),
    ];
    for (path, value) in values {
        if let Some(value) = value {
            part.set(path, value);
        }
    }
    cable(&mut part, *link_state);
    for (path, figure) in bandwidth.as_ref().map(rates).unwrap_or_default() {
        part.set(&path, figure);
    }
    if let Some(filter) = filter {
        part = part.with_whole("filterref", Element::new("filterref").attr("filter", filter.as_str()));
    }
    isolate(&mut part, *isolated);
    Ok(match vlan {
        Some(vlan) => part.with_whole("vlan", vlan_element(vlan)),
        None => part,
    })
}

fn isolate(part: &mut Part, isolated: Option<bool>) {
    match isolated {
        Some(true) => part.set("port@isolated", "yes"),
        Some(false) => part.flag("port", false),
        None => {}
    }
}

fn cable(part: &mut Part, state: Option<LinkState>) {
    match state {
        // libvirt writes no state for a cable that is in, on some ways to say so.
        Some(LinkState::Up) => part.flag("link", false),
        Some(state) => part.set("link@state", state.word()),
        None => {}
    }
}

/// What it is on.
fn link(nic: &NetworkInterface, around: &Surroundings) -> anyhow::Result<Part> {
    let NetworkInterface { name, network, bridge, direct, user, .. } = nic;
    let mut part = Part::new();
    if let Some(group) = &nic.port_group {
        part.set("source@portgroup", group.0.as_str());
    }
    Ok(match (around.networks.get(&name.0).or(network.as_ref()), bridge, direct, user) {
        (Some(network), ..) => part.with("@type", "network").with("source@network", network.as_str()),
        (_, Some(bridge), ..) => part.with("@type", "bridge").with("source@bridge", bridge.as_str()),
        (_, _, Some(Direct { device, mode }), _) => part
            .with("@type", "direct")
            .with("source@dev", device.as_str())
            .with("source@mode", mode.unwrap_or_default().word()),
        (.., Some(UserNetwork {})) => part.with("@type", "user"),
        (None, None, None, None) => anyhow::bail!(
            "networkInterfaces {name}: set one of networkRef, networkSelector, network, bridge, direct and user"
        ),
    })
}

/// The attributes of a `<bandwidth>`, by their paths.
pub(crate) fn rates(Bandwidth { inbound, outbound }: &Bandwidth) -> Vec<(String, String)> {
    let mut rates = Vec::new();
    for (direction, rate) in [("inbound", inbound), ("outbound", outbound)] {
        let Some(Rate { average, peak, burst }) = rate else { continue };
        for (name, figure) in [("average", Some(average)), ("peak", peak.as_ref()), ("burst", burst.as_ref())] {
            if let Some(figure) = figure {
                rates.push((format!("bandwidth/{direction}@{name}"), figure.to_string()));
            }
        }
    }
    rates
}

/// A `<vlan>`.
pub(crate) fn vlan_element(Vlan { tags, trunk }: &Vlan) -> Element {
    let element = Element::new("vlan").children(tags.iter().map(|tag| Element::new("tag").attr("id", tag.to_string())));
    // libvirt makes a trunk of several by itself.
    if trunk.unwrap_or_default() || tags.len() > 1 { element.attr("trunk", "yes") } else { element }
}

/// MAC address and model of interfaces that the host does not have yet; both are kept ever after.
pub(super) fn new_interfaces(wishes: &mut Wishes, object: &Domain, around: &Surroundings, base: Option<&Element>) {
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
            wishes.set(&format!("devices/interface[{alias}]/model@type"), InterfaceModel::default().word());
        }
    }
}
