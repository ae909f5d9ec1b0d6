//! `rawXml` of a Domain → wishes about its description: pure.
//!
//! What no field says is written in libvirt's own XML. Only what the config lists may be, and nothing that is ours or a field's.
//!
//! ```text
//! text ──parse──▶ tree ──known namespaces, names for devices──▶ checked place by place ──▶ merged into the other wishes
//! ```

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use apis::domain::DomainParameters;
use libvirt::{
    wish::Wishes,
    xml::{Element, Node},
};
use sha2::{Digest as _, Sha256};

use super::{SINGLE, Surroundings};
use crate::{
    domain::{claim, initial::INITIAL, rules::rules},
    mark,
};

/// What begins the names of devices to which `rawXml` gives none.
pub const RAW: &str = "ua-raw-";

/// The one namespace that libvirt has for guests of QEMU, and the prefix by which it writes it.
const QEMU: (&str, &str) = ("qemu", "http://libvirt.org/schemas/domain/qemu/1.0");

/// Devices to which libvirt gives no name, or of which another key tells which one is meant.
const NAMELESS: [&str; 6] = ["emulator", "graphics", "audio", "redirfilter", "controller", "memballoon"];

/// Devices of which a guest has one, beside those that have fields.
const ALONE: [&str; 3] = ["iommu", "vsock", "nvram"];

/// What belongs to the guest's identity, and the words of others in whose place a field stands for ever.
const FIXED: [(&str, &str); 3] = [
    ("name", "the name is the annotation crossplane.io/external-name"),
    ("uuid", "the UUID is that of the object"),
    ("os/type", "type, os.arch and os.machine say it"),
];

/// Merges what `rawXml` says into the wishes; answers the paths that are owned by it.
pub(super) fn raw(
    wishes: &mut Wishes,
    parameters: &DomainParameters,
    around: &Surroundings,
    base: Option<&Element>,
) -> anyhow::Result<Vec<String>> {
    let Some(text) = &parameters.raw_xml else { return Ok(Vec::new()) };
    let tree = read(text).context("rawXml")?;
    check(&tree, wishes, around).context("rawXml")?;
    let before: BTreeSet<String> = wishes.owned_paths().into_iter().collect();
    if let Err(clash) = wishes.merge(&tree, base, &rules()) {
        bail!("rawXml: {} belongs to a field of forProvider: say it there, or leave the field out", clash.path);
    }
    Ok(wishes.owned_paths().into_iter().filter(|path| !before.contains(path)).collect())
}

/// The names of all devices in it; none where it cannot be read.
pub(in crate::domain) fn aliases(parameters: &DomainParameters) -> Vec<String> {
    let tree = parameters.raw_xml.as_ref().and_then(|text| read(text).ok()).unwrap_or_default();
    let devices = tree.find_all("devices").into_iter().flat_map(Element::elements);
    devices.filter_map(|device| device.attr_at("alias@name").map(str::to_owned)).collect()
}

/// The tree with libvirt's prefixes, and a name for every device that can have one.
fn read(text: &str) -> anyhow::Result<Element> {
    let mut tree = Element::parse(text)?;
    ensure!(tree.name == "domain", "its root is <{}>, and must be <domain>", tree.name);
    let mut prefix = None;
    for (name, value) in std::mem::take(&mut tree.attributes) {
        let declared = name
            .strip_prefix("xmlns:")
            .with_context(|| format!("the attribute {name} of <domain> is not its to say"))?;
        if value == QEMU.1 {
            prefix = Some(declared.to_owned());
        } else if let Some(metadata) = tree.elements_mut().find(|child| child.name == "metadata") {
            declare(metadata, declared, &value);
        }
    }
    let mut names = BTreeSet::new();
    for child in tree.elements_mut() {
        ensure!(names.insert(child.name.clone()) || child.name == "seclabel", "<{}> is there twice", child.name);
        if child.name != "metadata" {
            known_names(child, prefix.as_deref())?;
        }
        if child.name == "devices" {
            name_devices(child)?;
        }
    }
    if tree.elements().any(is_of_qemu) {
        tree.set(&format!("xmlns:{}", QEMU.0), QEMU.1);
    }
    Ok(tree)
}

/// libvirt keeps what is in the metadata as it is, each part with its namespace.
fn declare(metadata: &mut Element, prefix: &str, namespace: &str) {
    let name = format!("xmlns:{prefix}");
    for part in metadata.elements_mut() {
        if part.name.starts_with(&format!("{prefix}:")) && part.get(&name).is_none() {
            part.set(&name, namespace);
        }
    }
}

fn is_of_qemu(element: &Element) -> bool {
    element.name.starts_with("qemu:") || element.elements().any(is_of_qemu)
}

/// Writes names of QEMU's namespace as libvirt does, and refuses those of others.
fn known_names(element: &mut Element, prefix: Option<&str>) -> anyhow::Result<()> {
    if let Some((before, name)) = element.name.split_once(':') {
        ensure!(
            Some(before) == prefix,
            "the prefix of <{}> is not that of xmlns:{}='{}', declared on <domain>: libvirt knows no other",
            element.name,
            QEMU.0,
            QEMU.1
        );
        element.name = format!("{}:{name}", QEMU.0);
    }
    for (name, _) in &element.attributes {
        let is_strange = name.contains(':') || name == "xmlns";
        ensure!(!is_strange, "the attribute {name} of <{}> is none of libvirt's", element.name);
        let is_password = ["passwd", "password"].contains(&name.as_str());
        ensure!(
            !is_password,
            "the attribute {name} of <{}> would show a password to all who read the object",
            element.name
        );
    }
    element.elements_mut().try_for_each(|child| known_names(child, prefix))
}

/// Gives a name to every device that its user gave none.
///
/// One that there may be several of is named by what it is, so that it stays the same device whatever comes before it: one that is
/// changed is another one.
fn name_devices(devices: &mut Element) -> anyhow::Result<()> {
    let mut taken = BTreeSet::new();
    for device in devices.elements_mut().filter(|device| !NAMELESS.contains(&device.name.as_str())) {
        let said = device.attr_at("alias@name").map(str::to_owned);
        let alias = said.clone().unwrap_or_else(|| usual(device, &taken));
        let is_reserved = said.is_some() && [RAW, INITIAL].iter().any(|prefix| alias.starts_with(prefix));
        ensure!(
            alias.starts_with("ua-") && !is_reserved,
            "the alias {alias} of a <{}> must begin with ua-, and not with {RAW} or {INITIAL}",
            device.name
        );
        ensure!(taken.insert(alias.clone()), "two devices have the alias {alias}");
        if said.is_none() {
            device.retain(|child| child.name != "alias");
            device.push(Element::new("alias").attr("name", alias));
        }
    }
    Ok(())
}

fn usual(device: &Element, taken: &BTreeSet<String>) -> String {
    let single = SINGLE.iter().map(|(name, _)| *name).chain(ALONE).any(|name| name == device.name);
    let first = if single {
        format!("{RAW}{}", device.name)
    } else {
        let digest = Sha256::digest(sorted(device).inline());
        format!("{RAW}{}", data_encoding::HEXLOWER.encode(&digest[..4]))
    };
    let more = (2..=taken.len() + 2).map(|number| format!("{first}-{number}"));
    std::iter::once(first.clone()).chain(more).find(|name| !taken.contains(name)).unwrap_or(first)
}

/// The same device however it is written.
fn sorted(element: &Element) -> Element {
    let mut element = element.clone();
    element.attributes.sort();
    for node in &mut element.nodes {
        match node {
            Node::Element(child) => *child = sorted(child),
            Node::Text(text) => *text = text.trim().to_owned(),
        }
    }
    element.nodes.sort_by_key(|node| match node {
        Node::Element(child) => child.inline(),
        Node::Text(text) => text.clone(),
    });
    element
}

/// Whether it may speak of every place that it speaks of.
fn check(tree: &Element, wishes: &Wishes, around: &Surroundings) -> anyhow::Result<()> {
    for (place, why) in FIXED {
        ensure!(tree.find(place).is_none(), "{place} cannot be said here: {why}");
    }
    let parts = tree.find_all("metadata").into_iter().flat_map(Element::elements);
    for part in parts {
        let is_ours = part.name == "pl:object" || part.attributes.iter().any(|(_, value)| value == mark::NAMESPACE);
        ensure!(!is_ours, "metadata/{} is the provider's own mark", part.name);
    }
    for device in tree.find_all("devices").into_iter().flat_map(Element::elements) {
        check_device(device, wishes, around)?;
    }
    let mut places = Vec::new();
    tree.elements().for_each(|child| collect(child, &child.name, &mut places));
    let is_allowed = |place: &str| around.raw_xml.iter().any(|line| allows(line, place));
    if let Some(place) = places.iter().find(|place| !is_allowed(place)) {
        let line: Vec<&str> = place.split(['/', '@']).take(if place.starts_with("devices/") { 2 } else { 1 }).collect();
        bail!(
            "{place} is not allowed here: the config of the host would have to list {:?} in its spec.policy.rawXml",
            line.join("/")
        );
    }
    Ok(())
}

fn check_device(device: &Element, wishes: &Wishes, around: &Surroundings) -> anyhow::Result<()> {
    let alias = device.attr_at("alias@name").unwrap_or_default();
    let is_known = wishes.has_item(&format!("devices/{}", device.name), alias);
    let prefix = claim::OURS.iter().find(|prefix| **prefix != RAW && alias.starts_with(**prefix));
    if let Some(prefix) = prefix.filter(|_| !is_known) {
        bail!("no field makes a <{}> {alias}; the alias of another device must not begin with {prefix}", device.name);
    }
    let ours = around
        .media
        .values()
        .flat_map(|medium| std::iter::once(&medium.path).chain(medium.backing.iter().map(|layer| &layer.path)));
    let ours = ours.chain(&around.seed).chain(&around.ignition).chain(&around.kernel).chain(&around.initrd);
    for path in ours.filter(|path| !path.is_empty()) {
        let source = device.find_all("source").into_iter().flat_map(|source| &source.attributes);
        ensure!(
            source.into_iter().all(|(_, value)| value != path),
            "{path} is a file of the guest's already, and would be written to by two"
        );
    }
    Ok(())
}

/// Every place of which something is said.
fn collect(element: &Element, here: &str, places: &mut Vec<String>) {
    let said = element.attributes.iter().filter(|(name, _)| !name.starts_with("xmlns"));
    places.extend(said.map(|(name, _)| format!("{here}@{name}")));
    let children: Vec<&Element> = element.elements().filter(|child| child.name != "alias").collect();
    if element.value().is_some() || (element.attributes.is_empty() && children.is_empty()) {
        places.push(here.to_owned());
    }
    for child in children {
        collect(child, &format!("{here}/{}", child.name), places);
    }
}

/// Whether a line of the policy lists the place, itself or around it.
fn allows(line: &str, place: &str) -> bool {
    line == "*" || place.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
}
