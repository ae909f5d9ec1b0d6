//! Descriptions, told apart cheaply and kept small.
//!
//! A tree takes ten times the memory of its text and a tenth of a millisecond to parse, so the mirror's tables keep the text, and
//! whoever looks at a copy parses it once, then.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::Error;
use crate::xml::Element;

/// A description. Two are equal when libvirt's text was, apart from what changes by itself. A clone shares the text, not the tree.
#[derive(Debug)]
pub struct Described {
    digest: u64,
    text: Arc<str>,
    element: OnceLock<Element>,
}

/// Elements whose content changes while nobody changes anything: space in use, times of access.
const VOLATILE: [&str; 4] = ["allocation", "available", "physical", "timestamps"];

impl Described {
    /// What tells this description from others: the same as long as it is equal.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Reads a description; where it is the one known already, that one's text is shared.
    pub fn parse(text: &str, known: Option<&Self>) -> Result<Self, Error> {
        let digest = digest(text);
        if let Some(known) = known.filter(|known| known.digest == digest) {
            return Ok(known.clone());
        }
        let element = Element::parse(text)
            .map_err(|error| Error::other(format!("cannot read a description from the host: {error}")))?;
        Ok(Self { digest, text: Arc::from(compact(text, &element)), element: OnceLock::from(element) })
    }
}

/// The text without its layout, which is a fifth of it, as long as it reads the same.
fn compact<'a>(text: &'a str, element: &Element) -> Cow<'a, str> {
    let inline = element.inline();
    if Element::parse(&inline).is_ok_and(|read| read == *element) { Cow::Owned(inline) } else { Cow::Borrowed(text) }
}

impl Deref for Described {
    type Target = Element;
    fn deref(&self) -> &Element {
        // The text has been parsed once, so it can be parsed again.
        self.element.get_or_init(|| Element::parse(&self.text).unwrap_or_default())
    }
}

impl Clone for Described {
    fn clone(&self) -> Self {
        Self { digest: self.digest, text: Arc::clone(&self.text), element: OnceLock::new() }
    }
}

impl PartialEq for Described {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Described {}

/// A digest of the text without its volatile elements.
fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = text;
    while let Some((start, end)) = VOLATILE.iter().filter_map(|name| span(rest, name)).min() {
        rest[..start].hash(&mut hasher);
        rest = &rest[end..];
    }
    rest.hash(&mut hasher);
    hasher.finish()
}

/// Where the first element of this name begins and ends. libvirt writes these four with content and without attributes other
/// than `unit`, and escapes `<` everywhere else.
fn span(text: &str, name: &str) -> Option<(usize, usize)> {
    let start = [format!("<{name}>"), format!("<{name} ")].iter().filter_map(|open| text.find(open)).min()?;
    let close = format!("</{name}>");
    let end = text[start..].find(&close)? + start + close.len();
    Some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: &str = "<volume><name>v</name><capacity unit='bytes'>9</capacity><allocation unit='bytes'>1</allocation>\
        <target><timestamps><atime>1.1</atime></timestamps><path>/p</path></target></volume>";

    #[test]
    fn figures_that_change_by_themselves_do_not_make_a_difference() {
        let first = Described::parse(VOLUME, None).unwrap();
        let later = Described::parse(&VOLUME.replace(">1<", ">2<").replace("1.1", "7"), Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first.text, &later.text));
    }

    #[test]
    fn what_is_kept_reads_as_what_was_written() {
        let kept = |text: &str| {
            let described = Described::parse(text, None).unwrap();
            assert_eq!(*described.clone(), Element::parse(text).unwrap());
            described.text.to_string()
        };
        assert_eq!(kept("<volume>\n  <name>v</name>\n</volume>\n"), "<volume><name>v</name></volume>");
        assert_eq!(kept("<a>\n  <b> x\n </b><c>y<d/>\n</c></a>\n"), "<a><b> x\n </b><c>y<d/>\n</c></a>");
        kept("<a>\n  <b c='&#10;&#9;&#13;'>&#13;&amp;</b>\n</a>\n");
    }

    #[test]
    fn anything_else_does() {
        let first = Described::parse(VOLUME, None).unwrap();
        let later = Described::parse(&VOLUME.replace(">9<", ">8<"), Some(&first)).unwrap();
        assert_ne!(first, later);
        assert_eq!(later.text_at("capacity"), Some("8"));
    }
}
