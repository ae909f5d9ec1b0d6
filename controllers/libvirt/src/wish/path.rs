//! Paths into a description: `memory`, `os/type@machine`, `devices/disk[ua-disk-root]/driver@cache`.

use std::fmt;

/// One step of a path: an element's name and, in a list, the key of the item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) key: Option<String>,
}

/// A place in a description: an element, or one attribute of it.
///
/// Keys are written in brackets; the characters `% / [ ] @` in them as `%xx`, so that a path can be cut at its slashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    pub(crate) steps: Vec<Step>,
    pub(crate) attribute: Option<String>,
}

impl Path {
    /// Reads a path, the empty one being the element itself; `None` if it is malformed, as a path kept on a host may be.
    pub fn parse(text: &str) -> Option<Self> {
        let (elements, attribute) = match text.rsplit_once('@') {
            Some((_, "")) => return None,
            Some((elements, attribute)) => (elements, Some(attribute.to_owned())),
            None => (text, None),
        };
        let steps = match elements {
            "" => Vec::new(),
            elements => elements.split('/').map(Step::parse).collect::<Option<_>>()?,
        };
        Some(Self { steps, attribute })
    }

    /// The path without its keys: what a row of the rules names.
    pub fn pattern(&self) -> String {
        let names: Vec<&str> = self.steps.iter().map(|step| step.name.as_str()).collect();
        pattern(&names.join("/"), self.attribute.as_deref())
    }

    pub(crate) fn child(&self, name: &str, key: Option<&str>) -> Self {
        let mut steps = self.steps.clone();
        steps.push(Step { name: name.to_owned(), key: key.map(str::to_owned) });
        Self { steps, attribute: None }
    }

    pub(crate) fn at(&self, attribute: &str) -> Self {
        Self { steps: self.steps.clone(), attribute: Some(attribute.to_owned()) }
    }

    /// The first `length` steps.
    pub(crate) fn prefix(&self, length: usize) -> Self {
        Self { steps: self.steps.iter().take(length).cloned().collect(), attribute: None }
    }
}

/// Joins an element's pattern and an attribute.
pub(crate) fn pattern(element: &str, attribute: Option<&str>) -> String {
    match attribute {
        Some(attribute) => format!("{element}@{attribute}"),
        None => element.to_owned(),
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let (name, key) = match text.split_once('[') {
            Some((name, rest)) => (name, Some(unescape(rest.strip_suffix(']')?)?)),
            None => (text, None),
        };
        let plain = !name.is_empty() && !name.contains(['[', ']', '@']);
        plain.then(|| Self { name: name.to_owned(), key })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                f.write_str("/")?;
            }
            f.write_str(&step.name)?;
            if let Some(key) = &step.key {
                write!(f, "[{}]", escape(key))?;
            }
        }
        match &self.attribute {
            Some(attribute) => write!(f, "@{attribute}"),
            None => Ok(()),
        }
    }
}

fn escape(key: &str) -> String {
    let mut out = String::new();
    for c in key.chars() {
        match c {
            '%' => out.push_str("%25"),
            '/' => out.push_str("%2F"),
            '[' => out.push_str("%5B"),
            ']' => out.push_str("%5D"),
            '@' => out.push_str("%40"),
            c => out.push(c),
        }
    }
    out
}

fn unescape(key: &str) -> Option<String> {
    let mut pieces = key.split('%');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = (piece.get(..2)?, piece.get(2..)?);
        out.push(char::from(u8::from_str_radix(code, 16).ok().filter(u8::is_ascii)?));
        out.push_str(rest);
    }
    (!key.contains(['[', ']'])).then_some(out)
}
