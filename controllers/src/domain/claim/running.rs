//! The guest that runs, which knows its devices by the names that it was started with.

use apis::{Domain, Managed, domain::HostDeviceObservation};
use libvirt::xml::Element;

use super::{alias_of, devices, is_ours, rename};
use crate::{domain::observed, mark};

/// The running description with the names of the definition: those that a guest was started with are the ones of before.
pub fn running(definition: &Element, live: &Element, object: &Domain) -> Element {
    let mut live = live.clone();
    let is_foreign = mark::owner(&live).is_none_or(|owner| owner.uid != object.uid());
    if is_foreign {
        mark::remove(&mut live);
    }
    let known: Vec<&Element> =
        definition.find("devices").map(|devices| devices.elements().collect()).unwrap_or_default();
    for device in devices(&mut live) {
        let same = known.iter().find(|known| same_place(known, device));
        let is_strange = is_foreign && is_ours(device) && known.iter().all(|known| alias_of(known) != alias_of(device));
        match same.filter(|same| is_ours(same)) {
            Some(same) => rename(device, Some(alias_of(same))),
            None if is_strange => rename(device, None),
            None => {}
        }
    }
    live
}

/// Whether two descriptions are of one disk or interface, by where it is plugged in.
fn same_place(one: &Element, other: &Element) -> bool {
    let key = |device: &Element| match device.name.as_str() {
        "disk" => device.attr_at("target@dev").map(str::to_owned),
        "interface" => device.attr_at("mac@address").map(str::to_ascii_lowercase),
        "filesystem" => device.attr_at("target@dir").map(str::to_owned),
        "hostdev" => serde_json::to_string(&HostDeviceObservation {
            name: None,
            boot_order: None,
            ..observed::host_device(device)
        })
        .ok(),
        _ => None,
    };
    one.name == other.name && key(one).is_some() && key(one) == key(other)
}

/// A device with the name that the running guest knows it by: no other is taken there.
pub fn as_running(mut device: Element, live: &Element) -> Element {
    let mut devices = live.find("devices").into_iter().flat_map(Element::elements);
    if let Some(present) = devices.find(|present| same_place(present, &device)) {
        rename(&mut device, present.attr_at("alias@name"));
    }
    device
}
