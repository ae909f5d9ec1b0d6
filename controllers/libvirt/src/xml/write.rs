//! Tree to text. Every name and value passes through here, so nothing a user wrote can become markup.

use quick_xml::escape::escape;

use super::{Element, Error, Node, check_characters, check_name};

pub(super) fn document(root: &Element) -> Result<String, Error> {
    let mut out = String::new();
    element(&mut out, root, Some(0))?;
    out.push('\n');
    Ok(out)
}

pub(super) fn inline(root: &Element) -> String {
    let mut out = String::new();
    match element(&mut out, root, None) {
        Ok(()) => out,
        Err(_) => format!("<{}/> (not writable)", root.name),
    }
}

/// `depth` is the indentation; `None` inside of mixed content, where white space is content.
fn element(out: &mut String, element: &Element, depth: Option<usize>) -> Result<(), Error> {
    check_name(&element.name)?;
    out.push('<');
    out.push_str(&element.name);
    for (name, value) in &element.attributes {
        attribute(out, element, name, value)?;
    }
    if element.nodes.is_empty() {
        out.push_str("/>");
        return Ok(());
    }
    out.push('>');
    nodes(out, element, depth)?;
    out.push_str("</");
    out.push_str(&element.name);
    out.push('>');
    Ok(())
}

fn nodes(out: &mut String, parent: &Element, depth: Option<usize>) -> Result<(), Error> {
    let has_text = parent.nodes.iter().any(|node| matches!(node, Node::Text(_)));
    let inner = depth.filter(|_| !has_text).map(|depth| depth + 1);
    for node in &parent.nodes {
        match node {
            Node::Text(text) => {
                check_characters(text, || format!("the text of {}", parent.name))?;
                out.push_str(&escape(text.as_str()));
            }
            Node::Element(child) => {
                indent(out, inner);
                element(out, child, inner)?;
            }
        }
    }
    indent(out, depth.filter(|_| !has_text));
    Ok(())
}

/// Line ends and tabs are written as references: a reader turns the plain characters into spaces.
fn attribute(out: &mut String, element: &Element, name: &str, value: &str) -> Result<(), Error> {
    check_name(name)?;
    check_characters(value, || format!("the attribute {name} of {}", element.name))?;
    let escaped = escape(value).replace('\n', "&#10;").replace('\t', "&#9;");
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    out.push_str(&escaped);
    out.push('"');
    Ok(())
}

fn indent(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    }
}
