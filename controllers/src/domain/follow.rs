//! Where the data of a running guest's disks is, put into its definition.
//!
//! Snapshots and block jobs of others move a disk of a running guest to another file and write that into its definition themselves. A
//! definition that is written at the same moment has what was before: from it the guest would start with old data.

use apis::{
    Domain, Managed,
    domain::{Disk, DiskDevice},
};
use libvirt::{diff::Difference, rule::Route, xml::Element};

use super::{
    Surroundings,
    render::{DISK, Medium},
};
use crate::storage::is_same_path;

/// A disk whose definition is not where the running guest has it.
pub(super) struct Moved {
    alias: String,
    /// Where the definition has it.
    from: String,
    /// Where the guest has it.
    to: String,
    running: Element,
}

impl Moved {
    /// The same as something to be changed.
    pub(super) fn difference(&self) -> Difference {
        Difference {
            path: format!("devices/disk[{}]/source", self.alias),
            want: Some(self.to.clone()),
            have: Some(self.from.clone()),
            route: Route::Definition,
            group: None,
        }
    }
}

/// The disks whose data the running guest has in another file than the definition, where that file is the wished one or stands on it.
pub(super) fn moved(object: &Domain, around: &Surroundings, definition: &Element, live: &Element) -> Vec<Moved> {
    let whole = object.effective();
    let disks = whole.parameters().disks.iter().flatten().filter(|disk| disk.device != Some(DiskDevice::Cdrom));
    disks.filter_map(|disk| moved_one(disk, around.media.get(&disk.name.0)?, definition, live)).collect()
}

fn moved_one(disk: &Disk, medium: &Medium, definition: &Element, live: &Element) -> Option<Moved> {
    let alias = format!("{DISK}{}", disk.name);
    let defined = with_alias(definition, &alias)?;
    let target = defined.attr_at("target@dev");
    let of_target = || live.find_all("devices/disk").into_iter().find(|disk| disk.attr_at("target@dev") == target);
    let running = with_alias(live, &alias).or_else(of_target)?;
    let (from, to) = (path(defined)?, path(running)?);
    let layers = std::iter::successors(Some(running), |layer| layer.find("backingStore"));
    let is_ours = layers.filter_map(path).any(|path| is_same_path(path, &medium.path));
    // What is transient is gone with the run.
    let counts = is_ours && running.find("transient").is_none() && !is_same_path(from, to);
    counts.then(|| Moved { alias, from: from.to_owned(), to: to.to_owned(), running: running.clone() })
}

/// The first disk of a running guest that a block job copies or merges, by its target.
pub(super) fn under_way(live: &Element) -> Option<&str> {
    let disk = live.find_all("devices/disk").into_iter().find(|disk| disk.find("mirror").is_some())?;
    Some(disk.attr_at("target@dev").unwrap_or("without a target"))
}

fn with_alias<'a>(description: &'a Element, alias: &str) -> Option<&'a Element> {
    description.find_all("devices/disk").into_iter().find(|disk| disk.attr_at("alias@name") == Some(alias))
}

fn path(disk: &Element) -> Option<&str> {
    disk.attr_at("source@file").or_else(|| disk.attr_at("source@dev"))
}

/// Puts the disks where the running guest has them.
pub(super) fn follow(moved: &[Moved], definition: &mut Element) {
    let devices = definition.elements_mut().filter(|child| child.name == "devices");
    for disk in devices.flat_map(Element::elements_mut).filter(|child| child.name == "disk") {
        let alias = disk.attr_at("alias@name").map(str::to_owned);
        if let Some(moved) = moved.iter().find(|moved| Some(&moved.alias) == alias.as_ref()) {
            put(&moved.running, disk);
        }
    }
}

fn put(running: &Element, disk: &mut Element) {
    if let Some(kind) = running.get("type") {
        disk.set("type", kind);
    }
    // What it stands on libvirt sees for itself.
    disk.retain(|child| child.name != "source" && child.name != "backingStore");
    if let Some(mut source) = running.find("source").cloned() {
        source.unset("index");
        disk.push(source);
    }
    let format = running.attr_at("driver@type").unwrap_or("raw");
    if let Some(driver) = disk.elements_mut().find(|child| child.name == "driver") {
        driver.set("type", format);
    } else {
        disk.push(Element::new("driver").attr("type", format));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
mod tests {
    use apis::volume::Format;
    use serde_json::json;

    use super::*;

    fn domain() -> Domain {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain", "metadata": {"name": "g"},
            "spec": {"providerConfigRef": {"kind": "ClusterProviderConfig", "name": "c"},
                     "forProvider": {"disks": [{"name": "root", "volumeRef": {"name": "root"}}]}},
        }))
        .unwrap()
    }

    fn around() -> Surroundings {
        let medium = Medium::file("/p/root", Format::Raw);
        Surroundings { media: [("root".to_owned(), medium)].into(), ..Surroundings::default() }
    }

    fn description(alias: &str, format: &str, layers: &[&str]) -> Element {
        let below = layers[1..].iter().rev().fold("<backingStore/>".to_owned(), |below, path| {
            format!("<backingStore type='file'><source file='{path}'/>{below}</backingStore>")
        });
        let top = layers[0];
        Element::parse(&format!(
            "<domain><devices><disk type='file'><driver name='qemu' type='{format}'/><source file='{top}' index='3'/>{below}\
             <target dev='vda'/><alias name='{alias}'/></disk></devices></domain>"
        ))
        .unwrap()
    }

    fn followed(definition: &Element, live: &Element) -> Option<(String, String)> {
        let moved = moved(&domain(), &around(), definition, live);
        let mut result = definition.clone();
        follow(&moved, &mut result);
        let at = |path: &str| result.attr_at(path).map(str::to_owned);
        let path = at("devices/disk/source@file").filter(|_| !moved.is_empty())?;
        assert!(self::moved(&domain(), &around(), &result, live).is_empty(), "it is done at once");
        assert_eq!(at("devices/disk/source@index"), None);
        Some((path, at("devices/disk/driver@type").unwrap()))
    }

    #[test]
    fn a_definition_goes_where_the_guest_is() {
        let ours = "ua-disk-root";
        let (base, snapshot) =
            (description(ours, "raw", &["/p/root"]), description(ours, "qcow2", &["/p/root.1", "/p/root"]));
        assert_eq!(followed(&base, &base), None);
        assert_eq!(followed(&snapshot, &base), Some(("/p/root".to_owned(), "raw".to_owned())), "it was committed");
        assert_eq!(followed(&base, &snapshot), Some(("/p/root.1".to_owned(), "qcow2".to_owned())), "it was taken");
        let renamed = description("virtio-disk0", "qcow2", &["/p/root.1", "/p/root"]);
        assert_eq!(followed(&base, &renamed), Some(("/p/root.1".to_owned(), "qcow2".to_owned())));
    }

    #[test]
    fn a_guest_that_has_other_data_is_not_followed() {
        let base = description("ua-disk-root", "raw", &["/p/root"]);
        assert_eq!(followed(&base, &description("ua-disk-root", "qcow2", &["/p/copy"])), None, "nowhere in its chain");
        assert_eq!(
            followed(&base, &description("ua-disk-old", "raw", &["/p/old"])),
            None,
            "one that waits for its boot"
        );
    }
}
