//! Network interfaces of a Domain → wishes about its description: pure.

use std::collections::BTreeSet;

use anyhow::ensure;
use apis::{
    Domain, Managed,
    domain::{InterfaceModel, LinkState, NetworkInterface},
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
        let NetworkInterface {
            name,
            network_ref: _,
            network_selector: _,
            network,
            bridge,
            mac,
            model,
            mtu,
            queues,
            link_state,
        } = nic;
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
            part.set("model@type", model.word());
        }
        if let Some(mtu) = mtu {
            part.set("mtu@size", mtu.to_string());
        }
        if let Some(queues) = queues {
            // libvirt drops them for other cards without a word.
            let has_queues = model.is_none_or(|model| model == InterfaceModel::Virtio);
            ensure!(has_queues, "networkInterfaces {name}: queues needs model Virtio");
            part.set("driver@queues", queues.to_string());
        }
        match link_state {
            // libvirt writes no state for a cable that is in, on some ways to say so.
            Some(LinkState::Up) => part.flag("link", false),
            Some(state) => part.set("link@state", state.word()),
            None => {}
        }
        wishes.item("devices/interface", &alias, part);
    }
    Ok(())
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
