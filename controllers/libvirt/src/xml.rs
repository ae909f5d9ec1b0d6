//! A small XML tree: what libvirt's descriptions are read into and written from.
//!
//! ```text
//! text ──parse──▶ Element ──(find, attr_at, elements)──▶ readers
//!                    ▲ builders (attr, text, child)
//!                    └──write──▶ text, indented and escaped
//! ```
//!
//! Elements, attributes, text and namespace prefixes survive a round trip unchanged, also those nobody here knows.
//! Comments, processing instructions and the white space between elements do not: libvirt gives them no meaning.

mod parse;
mod write;

use std::fmt;

/// The largest document read, in bytes: libvirt's protocol carries no longer string (`REMOTE_STRING_MAX`).
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How deep elements may nest. libvirt's own documents stay below 20; libxml2 stops at 256.
pub const MAX_DEPTH: usize = 128;

/// How many attributes one element may have. libvirt's have at most a dozen; looking for duplicates is quadratic.
pub const MAX_ATTRIBUTES: usize = 256;

/// Why a document could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What stands inside an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A child element.
    Element(Element),
    /// Text, unescaped.
    Text(String),
}

/// One element with everything in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// The name as written, with its namespace prefix if it has one.
    pub name: String,
    /// Attributes in document order, unescaped; namespace declarations are among them.
    pub attributes: Vec<(String, String)>,
    /// Children and text in document order.
    pub nodes: Vec<Node>,
}

impl Element {
    /// An empty element.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attributes: Vec::new(), nodes: Vec::new() }
    }

    /// Reads a document; its root is the answer.
    ///
    /// Errors name the fault: malformed or truncated input, more than one root, a document type declaration, an entity
    /// other than the five predefined ones, a forbidden character, nesting or size beyond the limits above.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::document(text)
    }

    /// Writes the element as an indented document, without an XML declaration, as libvirt does.
    ///
    /// Errors when a name is not an XML name or a text holds a character XML 1.0 cannot carry (most control characters).
    pub fn write(&self) -> Result<String, Error> {
        write::document(self)
    }

    /// The element on one line for a message; one that cannot be written is named only.
    pub fn inline(&self) -> String {
        write::inline(self)
    }

    /// The same element with this attribute, replacing one of that name.
    #[must_use]
    pub fn attr(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// The same element with this text in place of the text it had.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.set_text(text);
        self
    }

    /// The same element with one more child.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.push(child);
        self
    }

    /// The same element with more children.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self.attributes.iter_mut().find(|(have, _)| have == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name.to_owned(), value)),
        }
    }

    /// Removes an attribute; says whether it was there.
    pub fn unset(&mut self, name: &str) -> bool {
        let before = self.attributes.len();
        self.attributes.retain(|(have, _)| have != name);
        self.attributes.len() < before
    }

    /// Replaces the text; child elements stay.
    pub fn set_text(&mut self, text: impl Into<String>) {
        self.nodes.retain(|node| matches!(node, Node::Element(_)));
        self.nodes.insert(0, Node::Text(text.into()));
    }

    /// Appends a child.
    pub fn push(&mut self, child: Self) {
        self.nodes.push(Node::Element(child));
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The text, if there is any; of mixed content the first piece.
    pub fn value(&self) -> Option<&str> {
        self.nodes.iter().find_map(|node| match node {
            Node::Text(text) => Some(text.as_str()),
            Node::Element(_) => None,
        })
    }

    /// The child elements in document order.
    pub fn elements(&self) -> impl DoubleEndedIterator<Item = &Self> {
        self.nodes.iter().filter_map(Node::element)
    }

    /// The child elements, to be changed.
    pub fn elements_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Self> {
        self.nodes.iter_mut().filter_map(Node::element_mut)
    }

    /// The child elements of one name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Self> {
        self.elements().filter(move |child| child.name == name)
    }

    /// The first element at a path below this one, such as `devices/disk`; the empty path is the element itself.
    pub fn find(&self, path: &str) -> Option<&Self> {
        steps(path).try_fold(self, |at, step| at.elements().find(|child| child.name == step))
    }

    /// Every element at a path below this one, in document order.
    pub fn find_all(&self, path: &str) -> Vec<&Self> {
        let mut found = vec![self];
        for step in steps(path) {
            found = found.into_iter().flat_map(Self::elements).filter(|child| child.name == step).collect();
        }
        found
    }

    /// The attribute at a path such as `os/type@machine` or `@type`, of the first element there.
    pub fn attr_at(&self, path: &str) -> Option<&str> {
        let (path, name) = path.rsplit_once('@')?;
        self.find(path)?.get(name)
    }

    /// The text of the first element at a path, trimmed.
    pub fn text_at(&self, path: &str) -> Option<&str> {
        self.find(path)?.value().map(str::trim)
    }

    /// Keeps only the child elements that `keep` wants; text stays.
    pub fn retain(&mut self, mut keep: impl FnMut(&Self) -> bool) {
        self.nodes.retain(|node| node.element().is_none_or(&mut keep));
    }

    /// Whether nothing is in it: no attribute, no child, no text but white space.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
            && self.elements().next().is_none()
            && self.value().is_none_or(|text| text.trim().is_empty())
    }
}

impl Node {
    /// The element, if it is one.
    pub fn element(&self) -> Option<&Element> {
        match self {
            Self::Element(element) => Some(element),
            Self::Text(_) => None,
        }
    }

    /// The element, to be changed, if it is one.
    pub fn element_mut(&mut self) -> Option<&mut Element> {
        match self {
            Self::Element(element) => Some(element),
            Self::Text(_) => None,
        }
    }
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|step| !step.is_empty())
}

/// Whether XML 1.0 can carry the character at all, escaped or not (<https://www.w3.org/TR/xml/#charsets>).
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn check_characters(text: &str, place: impl Fn() -> String) -> Result<(), Error> {
    match text.chars().find(|c| !is_allowed(*c)) {
        None => Ok(()),
        Some(bad) => {
            Err(Error::new(format!("{} holds the character U+{:04X}, which XML cannot carry", place(), u32::from(bad))))
        }
    }
}

/// Accepts what is a name in every document libvirt reads; rarer Unicode rules are left to the schema.
fn check_name(name: &str) -> Result<(), Error> {
    let first = |c: char| c.is_alphabetic() || c == '_' || c == ':';
    let rest = |c: char| first(c) || c.is_numeric() || c == '-' || c == '.';
    let mut chars = name.chars();
    if chars.next().is_some_and(first) && chars.all(rest) {
        return Ok(());
    }
    Err(Error::new(format!("{name:?} is not an XML name")))
}
