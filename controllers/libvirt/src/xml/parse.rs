//! Text to tree. The text comes from a host that may be hostile: size and depth are limited, no entity is expanded.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::{Element, Error, MAX_ATTRIBUTES, MAX_BYTES, MAX_DEPTH, Node, check_characters, check_name, is_allowed};

/// Elements opened and not yet closed, outermost first, and the root once it is closed.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
}

pub(super) fn document(text: &str) -> Result<Element, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::new(format!("the XML document has {} bytes, more than {MAX_BYTES}", text.len())));
    }
    let mut reader = Reader::from_str(text);
    let mut tree = Tree::default();
    loop {
        let event = reader.read_event().map_err(|error| at(&reader, &error.to_string()))?;
        if matches!(event, Event::Eof) {
            return tree.finish();
        }
        tree.take(event).map_err(|error| at(&reader, &error.message))?;
    }
}

fn at(reader: &Reader<&[u8]>, message: &str) -> Error {
    Error::new(format!("XML at byte {}: {message}", reader.buffer_position()))
}

impl Tree {
    fn take(&mut self, event: Event<'_>) -> Result<(), Error> {
        match event {
            Event::Start(start) => self.open(&start),
            Event::Empty(start) => {
                self.open(&start)?;
                self.close();
                Ok(())
            }
            Event::End(_) => {
                self.close();
                Ok(())
            }
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(data) => self.text(&data.xml10_content()),
            Event::GeneralRef(reference) => self.text(&resolve(&reference)?),
            Event::DocType(_) => Err(Error::new("a document type declaration is not accepted")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::Eof => Ok(()),
        }
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), Error> {
        if self.root.is_some() {
            return Err(Error::new("a second root element"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Error::new(format!("elements nest deeper than {MAX_DEPTH}")));
        }
        self.open.push(element(start)?);
        Ok(())
    }

    fn close(&mut self) {
        let Some(mut done) = self.open.pop() else { return };
        drop_layout(&mut done);
        match self.open.last_mut() {
            Some(parent) => parent.push(done),
            None => self.root = Some(done),
        }
    }

    /// Adds to the text before it, so that text broken up by entities and CDATA is one piece.
    fn text(&mut self, text: &str) -> Result<(), Error> {
        let Some(parent) = self.open.last_mut() else {
            return if text.trim().is_empty() { Ok(()) } else { Err(Error::new("text outside of the root element")) };
        };
        check_characters(text, || format!("the text of {}", parent.name))?;
        match parent.nodes.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ => parent.nodes.push(Node::Text(text.to_owned())),
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, Error> {
        if let Some(open) = self.open.last() {
            return Err(Error::new(format!("the XML document ends inside of element {}", open.name)));
        }
        self.root.ok_or_else(|| Error::new("the XML document has no element"))
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element, Error> {
    let name = start.name().as_ref().to_owned();
    check_name(&name)?;
    let mut element = Element::new(name);
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| Error::new(error.to_string()))?;
        let key = attribute.key.as_ref().to_owned();
        check_name(&key)?;
        let value = attribute
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(|error| Error::new(error.to_string()))?
            .into_owned();
        check_characters(&value, || format!("the attribute {key} of {}", element.name))?;
        element.attributes.push((key, value));
        if element.attributes.len() > MAX_ATTRIBUTES {
            return Err(Error::new(format!("{} has more than {MAX_ATTRIBUTES} attributes", element.name)));
        }
    }
    Ok(element)
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, Error> {
    if let Some(c) = reference.resolve_char_ref().map_err(|error| Error::new(error.to_string()))? {
        let forbidden = || Error::new(format!("the character U+{:04X} is forbidden in XML", u32::from(c)));
        return is_allowed(c).then(|| c.to_string()).ok_or_else(forbidden);
    }
    let name = reference.xml10_content();
    quick_xml::escape::resolve_xml_entity(&name)
        .map(str::to_owned)
        .ok_or_else(|| Error::new(format!("the entity &{name}; is not accepted")))
}

/// White space between elements is layout, and so are line ends in an empty one; beside other text all of it is content.
fn drop_layout(element: &mut Element) {
    let is_blank = |text: &str| text.trim().is_empty();
    let has_elements = element.elements().next().is_some();
    let is_layout = |node: &Node| match node {
        Node::Element(_) => true,
        Node::Text(text) => is_blank(text) && (has_elements || text.contains('\n')),
    };
    if element.nodes.iter().all(is_layout) {
        element.nodes.retain(|node| node.element().is_some());
    }
}
