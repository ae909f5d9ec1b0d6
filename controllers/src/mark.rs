//! The mark by which a domain is known as ours: kind, namespace, name and UID of its object in libvirt's `<metadata>`, and the paths we own.

use apis::Managed;
use libvirt::xml::Element;
use sha2::{Digest, Sha256};

/// The namespace of the mark's XML.
pub const NAMESPACE: &str = "https://libvirt.m.nourspeed.io/v1";

/// Who a mark names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The kind.
    pub kind: String,
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// The UID of the object.
    pub uid: String,
}

impl Owner {
    /// The owner that an object is.
    pub fn of<K: Managed>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: object.uid().to_owned(),
        }
    }

    /// Whether this is an earlier life of the other: the same object by name, with another UID.
    pub fn is_earlier_life_of(&self, other: &Self) -> bool {
        self.uid != other.uid
            && (&self.kind, &self.namespace, &self.name) == (&other.kind, &other.namespace, &other.name)
    }
}

/// The mark of an object that owns these paths.
pub fn element<K: Managed>(object: &K, owned: &[String]) -> Element {
    let Owner { kind, namespace, name, uid } = Owner::of(object);
    let path = |path: &String| Element::new("pl:path").text(path.as_str());
    Element::new("pl:object")
        .attr("xmlns:pl", NAMESPACE)
        .attr("kind", kind)
        .attr("namespace", namespace)
        .attr("name", name)
        .attr("uid", uid)
        .children(owned.iter().map(path))
}

fn find(description: &Element) -> Option<&Element> {
    description.find("metadata")?.elements().find(|element| is_mark(element))
}

/// Takes the mark out of a description.
pub fn remove(description: &mut Element) {
    for metadata in description.elements_mut().filter(|child| child.name == "metadata") {
        metadata.retain(|element| !is_mark(element));
    }
}

fn is_mark(element: &Element) -> bool {
    element.name.ends_with(":object") && element.attributes.iter().any(|(_, value)| value == NAMESPACE)
}

/// Whom the mark of a description names.
pub fn owner(description: &Element) -> Option<Owner> {
    let mark = find(description)?;
    let get = |name| mark.get(name).map(str::to_owned);
    Some(Owner { kind: get("kind")?, namespace: get("namespace")?, name: get("name")?, uid: get("uid")? })
}

/// The paths that were ours at the last apply.
pub fn owned_paths(description: &Element) -> Option<Vec<String>> {
    Some(find(description)?.elements().filter_map(|path| path.value().map(str::to_owned)).collect())
}

/// The MAC address of an interface of ours: 52:54:00 (QEMU's prefix) and three bytes from the object's UID and the interface's name.
pub fn mac(uid: &str, interface: &str) -> String {
    let digest = Sha256::new().chain_update(uid).chain_update([0]).chain_update(interface).finalize();
    format!("52:54:00:{:02x}:{:02x}:{:02x}", digest[0], digest[1], digest[2])
}

#[cfg(test)]
mod tests {
    use apis::Domain;
    use serde_json::json;

    use super::*;

    fn domain(name: &str, uid: &str) -> Domain {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
            "metadata": {"namespace": "n", "name": name, "uid": uid}, "spec": {"forProvider": {}},
        }))
        .unwrap()
    }

    #[test]
    fn a_mark_tells_owner_and_paths_also_after_libvirt_has_stored_it() {
        let paths = ["memory".to_owned(), "devices/disk[ua-disk-a%2Fb]".to_owned()];
        let mark = element(&domain("a", "1"), &paths);
        let description = Element::new("domain").child(Element::new("metadata").child(mark));
        let stored = Element::parse(&description.write().unwrap()).unwrap();
        assert_eq!(owner(&stored), Some(Owner::of(&domain("a", "1"))));
        assert_eq!(owned_paths(&stored), Some(paths.to_vec()));
    }

    #[test]
    fn what_others_keep_in_the_metadata_is_no_mark() {
        for metadata in [
            "<metadata/>",
            "<metadata><x:object xmlns:x='https://example.org/' kind='Domain' namespace='n' name='a' uid='1'/></metadata>",
            "<metadata><pl:other xmlns:pl='https://libvirt.m.nourspeed.io/v1' kind='Domain'/></metadata>",
            "",
        ] {
            let description = Element::parse(&format!("<domain>{metadata}</domain>")).unwrap();
            assert_eq!((owner(&description), owned_paths(&description)), (None, None), "{metadata}");
        }
        let text = "<domain><metadata><pl:object xmlns:pl='https://libvirt.m.nourspeed.io/v1' kind='Domain'/></metadata></domain>";
        assert_eq!(owner(&Element::parse(text).unwrap()), None);
    }

    #[test]
    fn the_same_name_with_another_uid_is_an_earlier_life() {
        let (now, before, other) = (domain("a", "2"), domain("a", "1"), domain("b", "1"));
        let owner = |domain: &Domain| Owner::of(domain);
        assert!(owner(&before).is_earlier_life_of(&owner(&now)));
        assert!(!owner(&now).is_earlier_life_of(&owner(&now)));
        assert!(!owner(&other).is_earlier_life_of(&owner(&now)));
    }

    #[test]
    fn a_mac_follows_from_uid_and_interface_and_is_one_of_qemus() {
        // Written out: another derivation would give every new interface of every guest another address.
        assert_eq!(mac("11111111-2222-3333-4444-555555555555", "lan"), "52:54:00:a7:69:4c");
        assert_ne!(mac("a", "bc"), mac("ab", "c"));
    }
}
