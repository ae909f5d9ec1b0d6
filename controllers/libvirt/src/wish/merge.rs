//! Wishes that are written as a description: what has no field is merged into the rest, element by element.

use super::{Form, Part, Step, Wish, Wishes};
use crate::diff::pair::{List, USER_ALIAS, join};
use crate::rule::{Key, Rules};
use crate::xml::Element;

/// A place of which something else is wished already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// The pattern of the place: `os/kernel`, `devices/disk/driver@cache`.
    pub path: String,
}

impl Wishes {
    /// Wishes everything that an element of the same root says: its attributes, texts and elements, and nothing about what it does not say.
    ///
    /// Items of lists are told by their keys, devices by their aliases. Other elements that are there more than once, in it or in `base`, are
    /// wished to be these and no others. Where something is wished already nothing is merged, and the answer is that place.
    pub fn merge(&mut self, element: &Element, base: Option<&Element>, rules: &Rules) -> Result<(), Clash> {
        Merge { rules }.element(&mut self.part, Place { element, base, pattern: "" })
    }
}

struct Merge<'a> {
    rules: &'a Rules,
}

/// An element that is merged, what is there in its place, and the pattern of the place.
#[derive(Clone, Copy)]
struct Place<'a> {
    element: &'a Element,
    base: Option<&'a Element>,
    pattern: &'a str,
}

impl Merge<'_> {
    fn element(&self, part: &mut Part, place: Place<'_>) -> Result<(), Clash> {
        let Place { element, base: _, pattern } = place;
        let clash = |path: String| Err(Clash { path });
        part.loose = true;
        for (name, value) in &element.attributes {
            if part.attributes.insert(name.clone(), Some(value.clone())).is_some_and(|old| old.as_ref() != Some(value))
            {
                return clash(join(pattern, &format!("@{name}")));
            }
        }
        if let Some(text) = element.value() {
            if part.text.is_some() {
                return clash(pattern.to_owned());
            }
            part.text = Some(text.trim().to_owned());
        }
        part.present |= element.is_empty();
        let mut done: Vec<&str> = Vec::new();
        // The name of an item is its key.
        let is_name = |child: &Element| child.get("name").is_some_and(|name| name.starts_with(USER_ALIAS));
        for child in element.elements().filter(|child| child.name != "alias" || !is_name(child)) {
            match self.key(pattern, child) {
                Some(key) => {
                    let step = Step { name: child.name.clone(), key: Some(key) };
                    self.below(part, &step, child, place)?;
                }
                None if done.contains(&child.name.as_str()) => {}
                None => {
                    done.push(&child.name);
                    self.plain(part, child, place)?;
                }
            }
        }
        Ok(())
    }

    /// The key of an item: its user's alias, or the key fields of its list.
    fn key(&self, pattern: &str, child: &Element) -> Option<String> {
        let alias = child.attr_at("alias@name").filter(|alias| alias.starts_with(USER_ALIAS));
        let list = List::new(pattern, &child.name, self.rules);
        let from_rule = |key: &Key| match key {
            Key::Fields(fields) => list.fields(fields, child).map(|found| found.join(",")),
            Key::Alias | Key::First => None,
        };
        let is_known = !self.rules.keys(&list.pattern).is_empty();
        let named = alias.map(str::to_owned).filter(|_| list.keys.contains(&Key::Alias));
        named.or_else(|| list.keys.iter().find_map(from_rule).filter(|_| is_known))
    }

    /// An element that is no item of a list.
    fn plain(&self, part: &mut Part, child: &Element, place: Place<'_>) -> Result<(), Clash> {
        let Place { element, base, pattern } = place;
        let count = |of: &Element| of.named(&child.name).count();
        if count(element) < 2 && base.is_none_or(|base| count(base) < 2) {
            return self.below(part, &Step { name: child.name.clone(), key: None }, child, place);
        }
        let is_wished = part.children.iter().any(|wish| wish.name == child.name);
        if is_wished || part.lists.iter().any(|list| list.name == child.name) {
            return Err(Clash { path: join(pattern, &child.name) });
        }
        let all = element.named(&child.name).cloned().collect();
        part.children.push(Wish { name: child.name.clone(), key: None, form: Form::Whole(all), alike: true });
        Ok(())
    }

    fn below(&self, part: &mut Part, step: &Step, child: &Element, place: Place<'_>) -> Result<(), Clash> {
        let Place { element: _, base, pattern } = place;
        let here = join(pattern, &child.name);
        let base = base.and_then(|base| match &step.key {
            Some(key) => List::new(pattern, &child.name, self.rules).find(key, None, base),
            None => base.find(&child.name),
        });
        match part.descend(std::slice::from_ref(step)) {
            Some(below) => self.element(below, Place { element: child, base, pattern: &here }),
            None => Err(Clash { path: here }),
        }
    }
}
