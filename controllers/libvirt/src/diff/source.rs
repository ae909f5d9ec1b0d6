//! The source of a disk that holds data. It is never rewritten: a snapshot makes the wished volume a backing file of
//! another, and putting the wished path back would drop every write since and leave a guest that does not start.

use std::collections::BTreeSet;

use crate::rule::unit::host_path;
use crate::wish::{Form, Part};
use crate::xml::Element;

/// Where the disks of a domain are.
pub(crate) const DISKS: &str = "devices/disk";

/// Where a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    Path(String),
    Volume(String, String),
    Other(BTreeSet<String>),
}

/// Something about a disk's data that differs and stays as it is: path below the disk, wished, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) path: &'static str,
    pub(crate) want: String,
    pub(crate) have: Option<String>,
}

/// Whether the element on the host is a disk whose data must not be exchanged: anything but a drive with removable media.
pub(crate) fn is_guarded(pattern: &str, have: &Element) -> bool {
    pattern == DISKS && !matches!(have.get("device"), Some("cdrom" | "floppy"))
}

/// The wish without everything that says where the disk's data is and how it is read.
pub(crate) fn without_source(form: &Form, have: &Element) -> Form {
    match form {
        Form::Part(part) => Form::Part(strip(part)),
        Form::Whole(elements) => {
            let mut elements = elements.clone();
            for want in &mut elements {
                restore(have, want);
            }
            Form::Whole(elements)
        }
        Form::Absent => Form::Absent,
        Form::Kept => Form::Kept,
    }
}

fn strip(part: &Part) -> Part {
    let mut part = part.clone();
    part.attributes.retain(|name, _| name != "type" && name != "device");
    part.children.retain(|wish| wish.name != "source" && wish.name != "backingStore");
    part.children.retain(|wish| wish.name != "driver" || wish.form != Form::Absent);
    for driver in part.children.iter_mut().filter(|wish| wish.name == "driver") {
        if let Form::Part(driver) = &mut driver.form {
            driver.attributes.remove("type");
        }
    }
    part
}

/// Puts the data of `from` into `to`: type, device, source, backing store and format.
pub(crate) fn restore(from: &Element, to: &mut Element) {
    for name in ["type", "device"] {
        copy_attribute(from, to, name);
    }
    if !from.named("source").chain(from.named("backingStore")).eq(to.named("source").chain(to.named("backingStore"))) {
        to.retain(|child| child.name != "source" && child.name != "backingStore");
        from.named("source").chain(from.named("backingStore")).for_each(|child| to.push(child.clone()));
    }
    if from.attr_at("driver@type") != to.attr_at("driver@type") {
        if to.find("driver").is_none() {
            to.push(Element::new("driver"));
        }
        let from = from.find("driver").cloned().unwrap_or_default();
        to.elements_mut()
            .filter(|child| child.name == "driver")
            .for_each(|driver| copy_attribute(&from, driver, "type"));
    }
}

fn copy_attribute(from: &Element, to: &mut Element, name: &str) {
    match from.get(name) {
        Some(value) => to.set(name, value),
        None => drop(to.unset(name)),
    }
}

/// Puts back the data of every disk that `base` has and `result` still has, whatever happened to it in between.
pub(crate) fn restore_all(base: &Element, result: &mut Element) {
    let before = base.find_all(DISKS);
    let unnamed: Vec<Element> =
        result.find_all(DISKS).into_iter().filter(|disk| user_alias(disk).is_none()).cloned().collect();
    let devices = result.elements_mut().filter(|child| child.name == "devices");
    for disk in devices.flat_map(Element::elements_mut).filter(|child| child.name == "disk") {
        if let Some(before) = origin(disk, &before, &unnamed).filter(|before| is_guarded(DISKS, before)) {
            restore(before, disk);
        }
    }
}

/// The disk of the base that a disk of the result was: the one of its alias, else the one without alias of its target, which
/// is either unnamed still or was claimed.
fn origin<'a>(disk: &Element, before: &[&'a Element], unnamed: &[Element]) -> Option<&'a Element> {
    let target = |disk: &Element| disk.attr_at("target@dev").map(str::to_owned);
    let of_target = || before.iter().find(|old| user_alias(old).is_none() && target(old) == target(disk));
    match user_alias(disk) {
        None => of_target().copied(),
        Some(alias) => match before.iter().find(|old| user_alias(old) == Some(alias)) {
            Some(old) => Some(old),
            None if unnamed.iter().any(|other| target(other) == target(disk)) => None,
            None => of_target().copied(),
        },
    }
}

fn user_alias(disk: &Element) -> Option<&str> {
    disk.attr_at("alias@name").filter(|alias| alias.starts_with(super::pair::USER_ALIAS))
}

/// What the wish would change about the data of an existing disk; empty if the wished source is anywhere in its chain.
pub(crate) fn refused(form: &Form, have: &Element) -> Vec<Refused> {
    let (want, same) = match form {
        Form::Part(part) => (part.sketch("disk"), part.same_sources.as_slice()),
        Form::Whole(elements) => (elements.first().cloned().unwrap_or_default(), [].as_slice()),
        Form::Absent | Form::Kept => return Vec::new(),
    };
    let mut refused = Vec::new();
    let mut compare = |path: &'static str, have: &str| {
        if let Some(want) = want.attr_at(path).filter(|want| *want != have) {
            refused.push(Refused { path, want: want.to_owned(), have: Some(have.to_owned()) });
        }
    };
    compare("@device", have.get("device").unwrap_or("disk"));
    let Some(first) = want.find("source").and_then(location) else { return refused };
    let wished: Vec<Location> = std::iter::once(first.clone()).chain(same.iter().filter_map(location)).collect();
    let chain = chain(have);
    match chain.iter().position(|found| wished.contains(found)) {
        Some(0) => compare("driver@type", have.attr_at("driver@type").unwrap_or("raw")),
        Some(_) => {}
        None => refused.push(Refused { path: "source", want: first.show(), have: chain.first().map(Location::show) }),
    }
    refused
}

/// The places of a disk's data: its source, then what backs it, down to the last that the description names.
fn chain(disk: &Element) -> Vec<Location> {
    let layers = std::iter::successors(Some(disk), |layer| layer.find("backingStore"));
    layers.filter_map(|layer| layer.find("source").and_then(location)).collect()
}

fn location(source: &Element) -> Option<Location> {
    if let (Some(pool), Some(volume)) = (source.get("pool"), source.get("volume")) {
        return Some(Location::Volume(pool.to_owned(), volume.to_owned()));
    }
    if let Some(path) = ["file", "dev", "dir"].iter().find_map(|name| source.get(name)) {
        return Some(Location::Path(host_path(path)));
    }
    let mut facts = BTreeSet::new();
    collect(source, "", &mut facts);
    (!facts.is_empty()).then_some(Location::Other(facts))
}

/// Every attribute that tells where a source that is no path and no volume is.
fn collect(element: &Element, path: &str, facts: &mut BTreeSet<String>) {
    for (name, value) in
        element.attributes.iter().filter(|(name, _)| !["index", "startupPolicy", "tls"].contains(&name.as_str()))
    {
        facts.insert(format!("{path}{name}={value}"));
    }
    for child in element
        .elements()
        .filter(|child| matches!(child.name.as_str(), "host" | "address" | "snapshot" | "initiator" | "iqn"))
    {
        collect(child, &format!("{path}{}/", child.name), facts);
    }
}

impl Location {
    fn show(&self) -> String {
        match self {
            Self::Path(path) => path.clone(),
            Self::Volume(pool, volume) => format!("volume {volume} of pool {pool}"),
            Self::Other(facts) => facts.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
        }
    }
}
