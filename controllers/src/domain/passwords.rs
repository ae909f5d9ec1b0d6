//! The passwords of graphical consoles. A description that is kept has none, so what a comparison sees of one is its print, in the
//! metadata beside our mark.
//!
//! ```text
//! Secret ──watch──▶ Password ─┬─ print ──▶ metadata of the definition, and of the running guest once it was told
//!                             └─ text ───▶ the definition, in the moment it is defined; the running console; the connection Secret
//! ```
//! Others may read the metadata, so the print is made with our key: without it nobody can try passwords on one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use apis::{
    Domain, Managed,
    domain::{DomainParameters, Graphics, GraphicsType},
    reference::KeyReference,
};
use kube::Client;
use libvirt::{
    diff::Difference,
    rule::{Live, Route},
    wish::Wishes,
    xml::Element,
};

use super::{Surroundings, words::Word as _};
use crate::{
    cluster::Cluster,
    ownership::Key,
    sources::{First, Source, SourceKind, Sources},
};

/// The namespace of the prints' XML.
pub const NAMESPACE: &str = "https://libvirt.m.nourspeed.io/passwords/v1";
/// Where the prints are in a description.
const PRINTS: &str = "metadata/pl:passwords";
/// The most that VNC knows of a password, in bytes: it makes a key of 8 of them (RFC 6143, section 7.2.2).
const VNC_MAX: usize = 8;
/// The most that SPICE knows, in bytes (`SPICE_MAX_PASSWORD_LENGTH`).
const SPICE_MAX: usize = 60;

/// Passwords by libvirt's word for the console's type.
pub type Passwords = BTreeMap<&'static str, Password>;

/// A password and its print. `Debug` shows the print.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Password {
    text: String,
    print: String,
}

impl Password {
    /// This text, which is found again by this print.
    pub fn new(text: impl Into<String>, print: impl Into<String>) -> Self {
        Self { text: text.into(), print: print.into() }
    }

    /// The password itself: for the host and the connection Secret, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Its print.
    pub fn print(&self) -> &str {
        &self.print
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({})", self.print)
    }
}

/// The Secrets that Domains read.
pub(super) struct Reader {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
    key: Key,
}

impl Reader {
    /// Nothing is read yet.
    pub(super) fn new(client: Client, cluster: &Arc<Cluster>, key: Key) -> Self {
        let readers = cluster.clone();
        let wake = move |(namespace, name): &(String, String)| readers.domains.wake(namespace, name);
        Self { sources: Sources::new(client, First::Awaited, wake), key }
    }

    /// The object is gone and reads nothing any more.
    pub(super) fn forget(&self, object: &Domain) {
        self.sources.forget(&full_name(object));
    }

    /// The passwords that these parameters of the object say. What the object may read is watched from now on, so that a change wakes it.
    pub(super) async fn read(&self, object: &Domain, parameters: &DomainParameters) -> anyhow::Result<Passwords> {
        let (namespace, _) = full_name(object);
        self.sources.hold(&full_name(object), sources(object));
        let mut passwords = Passwords::new();
        for (type_, reference) in references(parameters) {
            let field = || format!("graphics {type_:?}: passwordSecretRef");
            let value = self.sources.required(&source(&namespace, reference), &reference.key).await;
            let text = checked(type_, &value.with_context(field)?).with_context(field)?;
            let print = self.key.print_of(&format!("{} {}", object.uid(), type_.word()), &text);
            passwords.insert(type_.word(), Password { text, print });
        }
        Ok(passwords)
    }
}

/// The password, where a console of the type can have it. No error tells anything of it.
fn checked(type_: GraphicsType, value: &[u8]) -> anyhow::Result<String> {
    let (most, whose) = match type_ {
        GraphicsType::Vnc => (VNC_MAX, "VNC"),
        GraphicsType::Spice => (SPICE_MAX, "SPICE"),
    };
    ensure!(!value.is_empty(), "the password is empty");
    ensure!(
        value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '),
        "the password has a character that is not printable ASCII, such as a line break at its end"
    );
    ensure!(value.len() <= most, "the password is longer than {most} characters, the most that {whose} knows");
    Ok(String::from_utf8_lossy(value).into_owned())
}

/// An object, as those who read are told apart.
fn full_name(object: &Domain) -> (String, String) {
    let meta = &object.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn source(namespace: &str, reference: &KeyReference) -> Source {
    Source { kind: SourceKind::Secret, namespace: namespace.to_owned(), name: reference.name.clone() }
}

fn references(parameters: &DomainParameters) -> impl Iterator<Item = (GraphicsType, &KeyReference)> {
    let graphics = parameters.graphics.iter().flatten();
    graphics.filter_map(|Graphics { type_, password_secret_ref, .. }| Some((*type_, password_secret_ref.as_ref()?)))
}

/// What an object may read: it may yet be made, or made anew, with what is initial.
fn sources(object: &Domain) -> BTreeSet<Source> {
    let (namespace, _) = full_name(object);
    let whole = object.merged();
    let all = references(object.parameters()).chain(references(whole.parameters()));
    all.map(|(_, reference)| source(&namespace, reference)).collect()
}

/// The passwords without those of which only `initProvider` speaks.
pub(super) fn lasting(object: &Domain, passwords: &mut Passwords) {
    let said: BTreeSet<&str> = references(object.parameters()).map(|(type_, _)| type_.word()).collect();
    passwords.retain(|word, _| said.contains(word));
}

/// Wishes the prints: what a comparison without the passwords sees of them.
pub(super) fn prints(wishes: &mut Wishes, around: &Surroundings) {
    if around.passwords.is_empty() {
        wishes.flag(PRINTS, false);
        return;
    }
    let element = Element::new("pl:passwords").attr("xmlns:pl", NAMESPACE);
    let attribute =
        |element: Element, (word, password): (&&'static str, &Password)| element.attr(word, password.print.as_str());
    wishes.replace(PRINTS, around.passwords.iter().fold(element, attribute));
}

/// Wishes the passwords themselves, and away those of ours that are wished no more: for a description that is defined now.
pub fn reveal(wishes: &mut Wishes, around: &Surroundings, base: Option<&Element>) {
    for (word, password) in &around.passwords {
        wishes.set(&format!("devices/graphics[{word}]@passwd"), password.text.as_str());
    }
    let before = base.map(known).unwrap_or_default();
    let has = |word: &str| {
        let consoles = base.map(|base| base.find_all("devices/graphics")).unwrap_or_default();
        consoles.iter().any(|console| console.get("type") == Some(word))
    };
    for word in before.keys().filter(|word| !around.passwords.contains_key(word.as_str()) && has(word)) {
        wishes.forget(&[format!("devices/graphics[{word}]@passwd")]);
    }
}

/// The prints in a description, by libvirt's word for the console's type.
pub(super) fn known(description: &Element) -> BTreeMap<String, String> {
    let elements =
        description.find("metadata").into_iter().flat_map(Element::elements).filter(|child| is_prints(child));
    let attributes = elements.flat_map(|element| &element.attributes).filter(|(name, _)| !name.starts_with("xmlns"));
    attributes.cloned().collect()
}

/// Takes the prints out of a description.
pub fn remove(description: &mut Element) {
    for metadata in description.elements_mut().filter(|child| child.name == "metadata") {
        metadata.retain(|element| !is_prints(element));
    }
}

fn is_prints(element: &Element) -> bool {
    element.name.ends_with(":passwords") && element.attributes.iter().any(|(_, value)| value == NAMESPACE)
}

/// The passwords that consoles of the running guest do not ask for yet, or still. Another one is told to a running console; none can be
/// taken from it.
pub(super) fn waiting(passwords: &Passwords, live: &Element) -> Vec<Difference> {
    let known = known(live);
    let consoles = live.find_all("devices/graphics").into_iter().filter_map(|console| console.get("type"));
    let difference = |word: &str| {
        let (want, have) = (passwords.get(word).map(Password::print), known.get(word).map(String::as_str));
        let hidden = |print: Option<&str>| print.map(|_| "(hidden)".to_owned());
        let route = if want.is_some() { Route::Live(Live::Update) } else { Route::NextBoot };
        let path = format!("devices/graphics[{word}]@passwd");
        let differs = want != have;
        differs.then(|| Difference { path, want: hidden(want), have: hidden(have), route, group: None })
    };
    consoles.filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_a_viewer_could_not_type_or_that_would_be_cut_is_refused_without_being_told() {
        let of = |type_, text: &str| checked(type_, text.as_bytes()).map_err(|error| error.to_string());
        let (vnc, spice) = (GraphicsType::Vnc, GraphicsType::Spice);
        assert_eq!(of(vnc, "a b<&'\"8"), Ok("a b<&'\"8".to_owned()));
        assert_eq!(of(spice, &"x".repeat(60)), Ok("x".repeat(60)));
        let sentence = |text: &str| Err(format!("the password {text}"));
        assert_eq!(of(vnc, "123456789"), sentence("is longer than 8 characters, the most that VNC knows"));
        assert_eq!(of(spice, &"x".repeat(61)), sentence("is longer than 60 characters, the most that SPICE knows"));
        assert_eq!(of(vnc, ""), sentence("is empty"));
        for odd in ["word\n", "wörd", "a\0"] {
            let said = "has a character that is not printable ASCII, such as a line break at its end";
            assert_eq!(of(vnc, odd), sentence(said), "{odd:?}");
        }
        assert!(checked(vnc, &[0xff]).is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Password::new("word", "print")), "Password(print)");
    }

    #[test]
    fn a_running_console_waits_while_its_print_is_another_and_only_then() {
        let live = |prints: &str| {
            let text = format!(
                "<domain><metadata><pl:passwords xmlns:pl='{NAMESPACE}' {prints}/></metadata>\
                 <devices><graphics type='vnc'/><graphics type='sdl'/></devices></domain>"
            );
            Element::parse(&text).unwrap()
        };
        let passwords = Passwords::from([("vnc", Password::new("word", "a")), ("spice", Password::new("word", "b"))]);
        let of = |passwords: &Passwords, prints: &str| {
            let found = waiting(passwords, &live(prints)).into_iter();
            found.map(|difference| (difference.to_string(), difference.route)).collect::<Vec<_>>()
        };
        let waits = |text: &str, route| vec![(format!("devices/graphics[vnc]@passwd: {text}"), route)];
        let none = Passwords::new();
        assert_eq!(of(&passwords, "vnc='a'"), []);
        assert_eq!(of(&passwords, "vnc='b'"), waits("(hidden), wished (hidden)", Route::Live(Live::Update)));
        assert_eq!(of(&passwords, ""), waits("absent, wished (hidden)", Route::Live(Live::Update)));
        assert_eq!(of(&none, "vnc='a'"), waits("(hidden), wished absent", Route::NextBoot));
        assert_eq!(of(&none, ""), []);
    }
}
