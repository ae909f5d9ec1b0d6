//! The mark by which a domain is known as ours: kind, namespace, name and UID of its object in libvirt's `<metadata>`, and the paths we own.

use apis::{Managed, managed::annotation};
use libvirt::xml::Element;
use sha2::{Digest, Sha256};

/// The namespace of the mark's XML.
pub const NAMESPACE: &str = "https://libvirt.m.nourspeed.io/v1";

/// The value of [`annotation::RESTARTED`] that was last followed.
const RESTARTED: &str = "restarted-at";
/// The restart that is under way: why, and the run that is to end.
const RESTARTING: &str = "restarting";
/// In place of the run: it has ended.
const OFF: &str = "off";
/// What the last restart for changes was for.
const RESTARTED_FOR: &str = "restarted-for";

/// What a definition notes about restarts of its guest: there and not in memory, because the process may end between a stop and the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The value of [`annotation::RESTARTED`] that was last followed.
    pub token: Option<String>,
    /// The restart that is under way.
    pub under_way: Option<UnderWay>,
    /// A digest of the changes that the last restart was to bring about.
    pub tried: Option<String>,
}

/// A restart: once another run than this has begun, it is over. A number alone does not tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Why.
    pub cause: Cause,
    /// libvirt's number of the run that is to end; None once it has.
    pub run: Option<u32>,
}

/// Why a guest is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody set the annotation.
    Asked,
    /// Changes wait for it, and its policy says so.
    Changes,
}

impl Cause {
    const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Changes => "changes",
        }
    }
}

impl Note {
    /// The note of a guest that is made or taken over: nobody has asked for anything since.
    pub fn new<K: Managed>(object: &K) -> Self {
        Self { token: object.annotation(annotation::RESTARTED).map(str::to_owned), ..Self::default() }
    }

    fn attributes(&self) -> [(&'static str, Option<String>); 3] {
        let run = |run: Option<u32>| run.map_or_else(|| OFF.to_owned(), |run| run.to_string());
        let under_way = self.under_way.map(|under_way| format!("{} {}", under_way.cause.word(), run(under_way.run)));
        [(RESTARTED, self.token.clone()), (RESTARTING, under_way), (RESTARTED_FOR, self.tried.clone())]
    }
}

/// What a path of `rawXml` has in a mark.
const RAW: (&str, &str) = ("of", "rawXml");

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

/// The paths that an object owns.
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    /// All of them.
    pub paths: &'a [String],
    /// Those that its `rawXml` says.
    pub raw: &'a [String],
}

/// The mark of an object that owns these paths.
pub fn element<K: Managed>(object: &K, owned: Owned<'_>, note: &Note) -> Element {
    let Owner { kind, namespace, name, uid } = Owner::of(object);
    let path = |path: &String| {
        let element = Element::new("pl:path").text(path.as_str());
        if owned.raw.contains(path) { element.attr(RAW.0, RAW.1) } else { element }
    };
    let mut mark = Element::new("pl:object")
        .attr("xmlns:pl", NAMESPACE)
        .attr("kind", kind)
        .attr("namespace", namespace)
        .attr("name", name)
        .attr("uid", uid);
    write_note(&mut mark, note);
    mark.children(owned.paths.iter().map(path))
}

fn write_note(mark: &mut Element, note: &Note) {
    for (name, value) in note.attributes() {
        match value {
            Some(value) => mark.set(name, value),
            None => drop(mark.unset(name)),
        }
    }
}

/// What the mark of an object in its definition notes; None where it bears none of its own.
pub fn note<K: Managed>(object: &K, definition: &Element) -> Option<Note> {
    let mark = find(definition).filter(|mark| mark.get("uid") == Some(object.uid()))?;
    let get = |name| mark.get(name).map(str::to_owned);
    Some(Note { token: get(RESTARTED), under_way: mark.get(RESTARTING).and_then(under_way), tried: get(RESTARTED_FOR) })
}

fn under_way(text: &str) -> Option<UnderWay> {
    let (word, run) = text.split_once(' ')?;
    let cause = [Cause::Asked, Cause::Changes].into_iter().find(|cause| cause.word() == word)?;
    Some(UnderWay { cause, run: if run == OFF { None } else { Some(run.parse().ok()?) } })
}

/// Puts a note into the mark of a description, if there is one.
pub fn set_note(description: &mut Element, note: &Note) {
    for metadata in description.elements_mut().filter(|child| child.name == "metadata") {
        metadata.elements_mut().filter(|element| is_mark(element)).for_each(|mark| write_note(mark, note));
    }
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

/// Those of them that were `rawXml`'s.
pub fn raw_paths(description: &Element) -> Vec<String> {
    let paths = find(description).into_iter().flat_map(Element::elements);
    let raw = paths.filter(|path| path.get(RAW.0) == Some(RAW.1));
    raw.filter_map(|path| path.value().map(str::to_owned)).collect()
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
        let note = |run| Note {
            token: Some("x".to_owned()),
            under_way: Some(UnderWay { cause: Cause::Changes, run }),
            tried: Some("00".to_owned()),
        };
        let mark = element(&domain("a", "1"), Owned { paths: &paths, raw: &paths[..1] }, &note(Some(7)));
        let description = Element::new("domain").child(Element::new("metadata").child(mark));
        let mut stored = Element::parse(&description.write().unwrap()).unwrap();
        assert_eq!(owner(&stored), Some(Owner::of(&domain("a", "1"))));
        assert_eq!(owned_paths(&stored), Some(paths.to_vec()));
        assert_eq!(raw_paths(&stored), paths[..1]);
        assert_eq!(super::note(&domain("a", "1"), &stored), Some(note(Some(7))));
        assert_eq!(super::note(&domain("a", "2"), &stored), None);
        set_note(&mut stored, &note(None));
        assert_eq!(super::note(&domain("a", "1"), &stored), Some(note(None)));
    }

    #[test]
    fn a_note_is_exchanged_in_the_mark_alone() {
        let mark = element(&domain("a", "1"), Owned { paths: &["memory".to_owned()], raw: &[] }, &Note::default());
        let before = Element::new("domain").child(Element::new("metadata").child(mark));
        let mut after = before.clone();
        let note = Note { under_way: Some(UnderWay { cause: Cause::Asked, run: Some(1) }), ..Note::default() };
        set_note(&mut after, &note);
        assert_eq!(super::note(&domain("a", "1"), &after), Some(note));
        set_note(&mut after, &Note::default());
        assert_eq!(after, before);
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
