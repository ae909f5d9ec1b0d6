//! A domain that others made, seen as if it were ours: pure. Nothing here is ever written to the host.
//!
//! ```text
//! description ──named──▶ each device has the alias that our name for it gives ──▶ observe
//!                  └─────spoken_of──▶ only those that the spec speaks of ──▶ diff with what is wished
//! ```

use std::collections::BTreeSet;

use apis::{Domain, Managed};
use libvirt::{
    Facts,
    diff::{Difference, diff},
    rule::Rules,
    xml::Element,
};

use super::{
    observed::{self, agent, own_name},
    render::{self, AGENT, DISK, FILESYSTEM, HOST_DEVICE, INPUT, NIC, PORT, SEED, SERIAL, Surroundings},
};

/// The description with a name for each of its devices, and without anybody's mark. A disk is called like its target, an interface
/// like its MAC address, a serial console like its port, a channel like its target; what another object of ours named keeps that name.
pub fn named(description: &Element) -> Element {
    let agent = agent(description).cloned();
    let mut named = description.clone();
    named.retain(|child| child.name != "metadata");
    let (mut serials, mut inputs, mut singles) = (0, 0, BTreeSet::new());
    for device in named.elements_mut().filter(|child| child.name == "devices").flat_map(Element::elements_mut) {
        let alias = match device.name.as_str() {
            "disk" => own(device, DISK).or_else(|| Some(format!("{DISK}{}", device.attr_at("target@dev")?))),
            "interface" => own(device, NIC).or_else(|| {
                Some(format!("{NIC}{}", device.attr_at("mac@address")?.to_ascii_lowercase().replace(':', "-")))
            }),
            "serial" => {
                let port = device.attr_at("target@port").map_or_else(|| serials.to_string(), str::to_owned);
                serials += 1;
                own(device, SERIAL).or_else(|| Some(format!("{SERIAL}serial{port}")))
            }
            "hostdev" => own(device, HOST_DEVICE).or_else(|| {
                let name = observed::host_device_name(device)?;
                Some(format!("{HOST_DEVICE}{name}"))
            }),
            "filesystem" => Some(format!("{FILESYSTEM}{}", device.attr_at("target@dir").unwrap_or_default())),
            "channel" if agent.as_ref() == Some(device) => Some(AGENT.to_owned()),
            "channel" => own(device, PORT).or_else(|| Some(format!("{PORT}{}", slug(device.attr_at("target@name")?)))),
            "input" if device.get("bus") == Some("ps2") => None,
            "input" => {
                let at = inputs;
                inputs += 1;
                own(device, INPUT).or_else(|| Some(format!("{INPUT}{}{at}", device.get("type")?)))
            }
            // The first of them; further ones are nobody's.
            kind => render::SINGLE
                .iter()
                .find(|(element, alias)| *element == kind && singles.insert(*alias))
                .map(|(_, alias)| (*alias).to_owned()),
        };
        device.retain(|child| child.name != "alias");
        if let Some(alias) = alias {
            device.push(Element::new("alias").attr("name", alias));
        }
    }
    named
}

/// A name as items of a spec have them.
fn slug(name: &str) -> String {
    name.to_ascii_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
}

/// The alias that another object of ours gave a device.
fn own(device: &Element, prefix: &str) -> Option<String> {
    own_name(device, prefix).map(|name| format!("{prefix}{name}"))
}

/// The description with names for those devices only that the spec speaks of: the others are nobody's wish.
fn spoken_of(object: &Domain, around: &Surroundings, named: &Element) -> Element {
    let parameters = object.parameters();
    let disks = parameters
        .disks
        .iter()
        .flatten()
        .filter(|disk| around.has_disk(disk))
        .map(|disk| format!("{DISK}{}", disk.name));
    let nics = parameters
        .network_interfaces
        .iter()
        .flatten()
        .filter(|nic| around.has_interface(nic))
        .map(|nic| format!("{NIC}{}", nic.name));
    let listed = render::listed(parameters);
    let single = render::single(parameters).map(str::to_owned);
    let agent = parameters.guest_agent.unwrap_or_default().then(|| AGENT.to_owned());
    let raw = render::raw::aliases(parameters);
    let listed = listed.chain(render::passed(parameters));
    let known: BTreeSet<String> = disks.chain(nics).chain(listed).chain(single).chain(agent).chain(raw).collect();
    let mut description = named.clone();
    let devices = description.elements_mut().filter(|child| child.name == "devices").flat_map(Element::elements_mut);
    for device in devices {
        let is_seed =
            device.name == "disk" && around.seed.is_some() && super::observed::path(device) == around.seed.as_deref();
        let is_known = device.attr_at("alias@name").is_some_and(|alias| known.contains(alias));
        if is_known {
            continue;
        }
        device.retain(|child| child.name != "alias");
        if is_seed {
            device.push(Element::new("alias").attr("name", format!("{SEED}cloud-init")));
        }
    }
    description
}

/// How the domain differs from what the spec says of it.
pub fn differences(
    object: &Domain,
    around: &Surroundings,
    facts: &Facts,
    rules: &Rules,
    description: &Element,
) -> anyhow::Result<Vec<Difference>> {
    let base = spoken_of(object, around, &named(description));
    let wishes = render::render(object, around, facts, Some(&base))?;
    Ok(diff(&wishes, &base, rules).into_iter().filter(is_said).collect())
}

/// Whether the spec says it: the mark and a controller it has no word for, and what others leave to libvirt it does not mind.
fn is_said(difference: &Difference) -> bool {
    let path = difference.path.as_str();
    // A drive without a driver is read as raw.
    let default = path.ends_with("/driver@type") && difference.want.as_deref() == Some("raw");
    let left_to_libvirt = default || path.ends_with("/backingStore") || path.ends_with("/driver@name");
    !(path.starts_with("metadata/")
        || path.starts_with("devices/controller")
        || (left_to_libvirt && difference.have.is_none()))
}
