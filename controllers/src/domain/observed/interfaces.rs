//! What a description says of a domain's interfaces, in the words of the spec: pure.

use apis::domain::{
    Bandwidth, Direct, DirectMode, InterfaceModel, InterfaceObservation, LinkState, Rate, UserNetwork, Vlan,
};
use libvirt::xml::Element;

use super::{own_name, platform::number};
use crate::domain::{render, words::Word as _};

/// An interface.
pub(super) fn interface(device: &Element) -> Option<InterfaceObservation> {
    let network = device.attr_at("source@network").map(str::to_owned);
    // What runs on a network shows the network's bridge or device too.
    let is_plain = network.is_none();
    Some(InterfaceObservation {
        name: own_name(device, render::NIC),
        mac: device.attr_at("mac@address")?.to_owned(),
        network,
        port_group: device.attr_at("source@portgroup").map(str::to_owned),
        bridge: device.attr_at("source@bridge").filter(|_| is_plain).map(str::to_owned),
        direct: direct(device).filter(|_| is_plain),
        user: (device.get("type") == Some("user")).then(UserNetwork::default),
        model: device.attr_at("model@type").and_then(InterfaceModel::read),
        mtu: device.attr_at("mtu@size").and_then(number),
        queues: device.attr_at("driver@queues").and_then(number),
        link_state: device.attr_at("link@state").and_then(LinkState::read).filter(|state| *state == LinkState::Down),
        boot_order: device.attr_at("boot@order").and_then(number),
        vlan: vlan(device),
        bandwidth: bandwidth(device),
        filter: device.attr_at("filterref@filter").map(str::to_owned),
        isolated: (device.attr_at("port@isolated") == Some("yes")).then_some(true),
    })
}

fn direct(device: &Element) -> Option<Direct> {
    device.get("type").filter(|type_| *type_ == "direct")?;
    let name = device.attr_at("source@dev")?.to_owned();
    Some(Direct { device: name, mode: device.attr_at("source@mode").and_then(DirectMode::read) })
}

/// A `<vlan>` in an element.
pub(crate) fn vlan(device: &Element) -> Option<Vlan> {
    let tags = device.find_all("vlan/tag").into_iter().filter_map(|tag| number(tag.get("id")?)).collect();
    let trunk = (device.find("vlan")?.get("trunk") == Some("yes")).then_some(true);
    Some(Vlan { tags, trunk })
}

/// A `<bandwidth>` in an element.
pub(crate) fn bandwidth(device: &Element) -> Option<Bandwidth> {
    let rate = |direction: &str| {
        let figure = |name: &str| device.attr_at(&format!("bandwidth/{direction}@{name}")).and_then(number);
        Some(Rate { average: figure("average")?, peak: figure("peak"), burst: figure("burst") })
    };
    let seen = Bandwidth { inbound: rate("inbound"), outbound: rate("outbound") };
    (seen != Bandwidth::default()).then_some(seen)
}
