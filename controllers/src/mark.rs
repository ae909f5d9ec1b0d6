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
    description.find("metadata")?.elements().find(|element| {
        element.name.ends_with(":object") && element.attributes.iter().any(|(_, value)| value == NAMESPACE)
    })
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
