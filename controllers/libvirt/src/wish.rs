//! Wishes: the part of a description that a kind wants, and nothing else.
//!
//! ```text
//! parameters ──render──▶ Wishes ──┬─ diff(have) ──▶ what differs
//!      forget(previous paths) ─────┘└ overlay(base) ▶ the description to define
//! ```
//!
//! A wish is a value to have, an absence, or an element to be exactly as given. Where nothing is wished, nothing is
//! compared and nothing is touched.

mod merge;
mod owned;
mod path;

use std::collections::BTreeMap;

pub use merge::Clash;
pub use path::Path;
pub(crate) use path::{Step, pattern};

use crate::xml::Element;

/// A partial description: one wish tree for a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub(crate) root: String,
    pub(crate) part: Part,
}

/// What is wished of one element and what is below it.
///
/// Paths are relative: `target@dev` is an attribute, `source` an element, `devices/disk[key]/driver@cache` a place in a list.
/// A setter whose path is malformed does nothing: paths are written in code, and the golden tests of a kind see them.
/// Below an element that is wished whole, absent or kept nothing more can be wished; a later wish about that element itself counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Whether the element itself is wished, even if empty.
    pub(crate) present: bool,
    /// Whether values that no rule knows are compared by what they mean, as far as that can be told: `0x06` is `6`, 1 GiB is 1048576 KiB.
    pub(crate) loose: bool,
    /// Attributes: a value to have, or `None` for one that must not be there.
    pub(crate) attributes: BTreeMap<String, Option<String>>,
    pub(crate) text: Option<String>,
    pub(crate) children: Vec<Wish>,
    pub(crate) lists: Vec<OwnedList>,
    /// Other ways to say what the wished `source` says.
    pub(crate) same_sources: Vec<Element>,
}

/// A wish about one child element, or one item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) key: Option<String>,
    pub(crate) form: Form,
    /// Whether elements that are wished whole may hold more than is wished of them.
    pub(crate) alike: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Some of its content is wished.
    Part(Part),
    /// Exactly these elements are wished in place of all of that name; in a list, this one item.
    Whole(Vec<Element>),
    /// It must not be there.
    Absent,
    /// It is ours and stays as it is.
    Kept,
}

/// A list in which we own the items whose alias begins so; the empty prefix owns all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedList {
    pub(crate) name: String,
    pub(crate) prefix: String,
}

impl Wishes {
    /// No wishes yet about a document whose root element has this name.
    pub fn new(root: &str) -> Self {
        Self { root: root.to_owned(), part: Part::default() }
    }

    /// Wishes that the attribute, or the text of the element, has this value.
    pub fn set(&mut self, path: &str, value: impl Into<String>) {
        self.part.set(path, value);
    }

    /// Wishes that the element is there (`true`) or that the element or attribute is not (`false`).
    pub fn flag(&mut self, path: &str, present: bool) {
        self.part.flag(path, present);
    }

    /// Wishes that the element is exactly this one, but for its `alias` and `address` and what the rules call filled by libvirt.
    pub fn replace(&mut self, path: &str, element: Element) {
        self.part.replace_all(path, vec![element]);
    }

    /// Wishes that the elements at this path are exactly these, in this order.
    pub fn replace_all(&mut self, path: &str, elements: Vec<Element>) {
        self.part.replace_all(path, elements);
    }

    /// Wishes an item of a list, `key` being its alias or, in lists without aliases, its key fields joined by commas.
    pub fn item(&mut self, list: &str, key: &str, wish: Part) {
        self.part.item(list, key, wish);
    }

    /// Wishes that an item of a list is exactly this element, but for its `alias`, its `address` and what libvirt fills in.
    pub fn item_whole(&mut self, list: &str, key: &str, element: Element) {
        self.part.put_item(list, key, Form::Whole(vec![element]));
    }

    /// Declares that an item of ours stays as it is: neither compared nor removed, such as a network's addresses of `initProvider`, a device
    /// that may be without its object, or a serial's console.
    pub fn keep(&mut self, list: &str, key: &str) {
        self.part.put_item(list, key, Form::Kept);
    }

    /// Whether an item of a list is wished by this key.
    pub fn has_item(&self, list: &str, key: &str) -> bool {
        let Some(mut path) = Path::parse(list) else { return false };
        let Some(mut last) = path.steps.pop() else { return false };
        last.key = Some(key.to_owned());
        let parent = path.steps.iter().try_fold(&self.part, |part, step| part.part_at(step));
        parent.is_some_and(|parent| parent.part_at(&last).is_some())
    }

    /// Owns the list's items whose alias begins with `prefix`: those not wished are removed.
    pub fn own(&mut self, list: &str, prefix: &str) {
        self.part.own(list, prefix);
    }

    /// Owns every item of the list, whoever made it.
    pub fn own_all(&mut self, list: &str) {
        self.part.own(list, "");
    }
}

impl Part {
    /// Nothing wished yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// [`Wishes::set`], to be chained.
    #[must_use]
    pub fn with(mut self, path: &str, value: impl Into<String>) -> Self {
        self.set(path, value);
        self
    }

    /// [`Wishes::flag`], to be chained.
    #[must_use]
    pub fn with_flag(mut self, path: &str, present: bool) -> Self {
        self.flag(path, present);
        self
    }

    /// [`Wishes::replace`], to be chained.
    #[must_use]
    pub fn with_whole(mut self, path: &str, element: Element) -> Self {
        self.replace_all(path, vec![element]);
        self
    }

    /// Says that this `source` element names the same bytes as the wished one (a volume and the file it is), to be chained.
    #[must_use]
    pub fn or_source(mut self, source: Element) -> Self {
        self.same_sources.push(source);
        self
    }

    /// Wishes that the attribute, or the text of the element, has this value.
    pub fn set(&mut self, path: &str, value: impl Into<String>) {
        let Some(path) = Path::parse(path) else { return };
        let Some(at) = self.descend(&path.steps) else { return };
        match path.attribute {
            Some(attribute) => drop(at.attributes.insert(attribute, Some(value.into()))),
            None => at.text = Some(value.into()),
        }
    }

    /// Wishes that the element is there (`true`) or that the element or attribute is not (`false`).
    pub fn flag(&mut self, path: &str, present: bool) {
        let Some(path) = Path::parse(path) else { return };
        if present {
            if let Some(at) = self.descend(&path.steps) {
                at.present = true;
            }
        } else {
            self.forbid(&path);
        }
    }

    /// Wishes an item of a list below, as [`Wishes::item`] does.
    pub fn item(&mut self, list: &str, key: &str, wish: Self) {
        self.put_item(list, key, Form::Part(wish));
    }

    /// Owns every item of a list below, whoever made it.
    pub fn own_all(&mut self, list: &str) {
        self.own(list, "");
    }

    fn own(&mut self, list: &str, prefix: &str) {
        let Some(mut path) = Path::parse(list) else { return };
        let Some(step) = path.steps.pop() else { return };
        if let Some(parent) = self.descend(&path.steps) {
            parent.lists.push(OwnedList { name: step.name, prefix: prefix.to_owned() });
        }
    }

    fn put_item(&mut self, list: &str, key: &str, mut form: Form) {
        if let Form::Part(part) = &mut form {
            part.present = true;
        }
        let Some(mut path) = Path::parse(list) else { return };
        let Some(step) = path.steps.last_mut() else { return };
        step.key = Some(key.to_owned());
        self.put(&path, form);
    }

    pub(crate) fn forbid(&mut self, path: &Path) {
        match &path.attribute {
            Some(attribute) => {
                if let Some(at) = self.descend(&path.steps) {
                    at.attributes.insert(attribute.clone(), None);
                }
            }
            None => self.put(path, Form::Absent),
        }
    }

    /// [`Wishes::replace_all`] below this element.
    pub fn replace_all(&mut self, path: &str, elements: Vec<Element>) {
        let Some(path) = Path::parse(path) else { return };
        self.put(&path, Form::Whole(elements));
    }

    /// The wishes about the element that the steps lead to, made where there are none; `None` if something else is wished of it.
    fn descend(&mut self, steps: &[Step]) -> Option<&mut Self> {
        let Some((first, rest)) = steps.split_first() else { return Some(self) };
        let index = self.index_of(first).unwrap_or_else(|| {
            let form = Form::Part(Self::default());
            self.children.push(Wish { name: first.name.clone(), key: first.key.clone(), form, alike: false });
            self.children.len() - 1
        });
        match &mut self.children[index].form {
            Form::Part(part) => part.descend(rest),
            Form::Whole(_) | Form::Absent | Form::Kept => None,
        }
    }

    fn put(&mut self, path: &Path, form: Form) {
        let Some((last, parents)) = path.steps.split_last() else { return };
        let Some(parent) = self.descend(parents) else { return };
        if let Some(index) = parent.index_of(last) {
            parent.children[index].form = form;
        } else {
            parent.children.push(Wish { name: last.name.clone(), key: last.key.clone(), form, alike: false });
        }
    }

    fn index_of(&self, step: &Step) -> Option<usize> {
        self.children.iter().position(|wish| wish.name == step.name && wish.key == step.key)
    }

    /// The wishes below one step, if parts of it are wished.
    pub(crate) fn part_at(&self, step: &Step) -> Option<&Self> {
        self.index_of(step).and_then(|index| self.children[index].part())
    }
}

impl Wish {
    /// The wishes below, if parts of it are wished.
    pub(crate) fn part(&self) -> Option<&Part> {
        match &self.form {
            Form::Part(part) => Some(part),
            Form::Whole(_) | Form::Absent | Form::Kept => None,
        }
    }

    /// What this wish alone would make of nothing; `None` for an absence and for what is kept.
    pub(crate) fn sketch(&self) -> Option<Element> {
        match &self.form {
            Form::Part(part) => Some(part.sketch(&self.name)),
            Form::Whole(elements) => elements.first().cloned(),
            Form::Absent | Form::Kept => None,
        }
    }
}

impl Part {
    /// What these wishes alone would make of nothing.
    pub(crate) fn sketch(&self, name: &str) -> Element {
        let mut element = Element::new(name);
        for (name, value) in &self.attributes {
            if let Some(value) = value {
                element.set(name, value.as_str());
            }
        }
        if let Some(text) = &self.text {
            element.set_text(text.as_str());
        }
        element.children(self.children.iter().filter_map(Wish::sketch))
    }
}
