//! Which item of a list on the host is which wished item. Never by position: libvirt reorders lists.

use crate::rule::{Key, Rules};
use crate::wish::{Form, Part, Wish, pattern};
use crate::xml::Element;

/// Aliases that begin so were given by a user; libvirt makes up all others anew at each start.
pub(crate) const USER_ALIAS: &str = "ua-";

/// A wished item (its place among the part's children) and the one on the host (its place among the element's nodes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) wish: usize,
    pub(crate) have: Option<usize>,
}

/// A list under examination.
pub(crate) struct List<'a> {
    pub(crate) name: &'a str,
    pub(crate) pattern: String,
    pub(crate) keys: &'static [Key],
    pub(crate) rules: &'a Rules,
}

impl<'a> List<'a> {
    /// The list of this name in an element at a pattern.
    pub(crate) fn new(parent: &str, name: &'a str, rules: &'a Rules) -> Self {
        let pattern = join(parent, name);
        let keys = match rules.keys(&pattern) {
            [] => &[Key::Alias],
            keys => keys,
        };
        Self { name, pattern, keys, rules }
    }

    /// Pairs each wished item with one on the host, stronger keys first.
    pub(crate) fn pairs(&self, part: &Part, have: &Element) -> Vec<Pair> {
        let items = self.items(have);
        let mut pairs: Vec<Pair> = self.wished(part).map(|(wish, _)| Pair { wish, have: None }).collect();
        for key in self.keys {
            for index in 0..pairs.len() {
                if pairs[index].have.is_none() {
                    let free = |at: usize| pairs.iter().all(|pair| pair.have != Some(at));
                    let wish = &part.children[pairs[index].wish];
                    let found = items.iter().find(|(at, item)| free(*at) && self.matches(key, wish, item));
                    pairs[index].have = found.map(|(at, _)| *at);
                }
            }
        }
        pairs
    }

    /// The items on the host that are owned and not wished: their places and keys.
    pub(crate) fn unwished(&self, part: &Part, have: &Element) -> Vec<(usize, String)> {
        let pairs = self.pairs(part, have);
        let is_paired = |at: usize| pairs.iter().any(|pair| pair.have == Some(at));
        let prefixes: Vec<&str> =
            part.lists.iter().filter(|list| list.name == self.name).map(|list| list.prefix.as_str()).collect();
        let is_owned = |item: &Element| {
            let alias = item.attr_at("alias@name").unwrap_or_default();
            prefixes.iter().any(|prefix| alias.starts_with(prefix))
        };
        let items = self.items(have).into_iter();
        items.filter(|(at, item)| !is_paired(*at) && is_owned(item)).map(|(at, item)| (at, self.label(item))).collect()
    }

    /// The item on the host that a key names: paired with the wish of that key, else bearing the key itself.
    pub(crate) fn find<'h>(&self, key: &str, part: Option<&Part>, have: &'h Element) -> Option<&'h Element> {
        let pairs = part.map(|part| (part, self.pairs(part, have)));
        let paired = pairs.and_then(|(part, pairs)| {
            let pair = pairs.into_iter().find(|pair| part.children[pair.wish].key.as_deref() == Some(key))?;
            have.nodes.get(pair.have?)?.element()
        });
        paired.or_else(|| self.items(have).into_iter().map(|(_, item)| item).find(|item| self.label(item) == key))
    }

    fn wished<'p>(&self, part: &'p Part) -> impl Iterator<Item = (usize, &'p Wish)> + use<'p, 'a> {
        let name = self.name;
        part.children.iter().enumerate().filter(move |(_, wish)| wish.name == name && wish.key.is_some())
    }

    fn items<'h>(&self, have: &'h Element) -> Vec<(usize, &'h Element)> {
        let elements = have.nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.element()?)));
        elements.filter(|(_, element)| element.name == self.name).collect()
    }

    fn matches(&self, key: &Key, wish: &Wish, item: &Element) -> bool {
        let has_alias = self.keys.contains(&Key::Alias);
        let is_claimable = !has_alias || !alias(item).starts_with(USER_ALIAS);
        let is_positive = matches!(wish.form, Form::Part(_) | Form::Whole(_));
        match key {
            Key::Alias => wish.key.as_deref() == Some(alias(item)),
            Key::Fields(fields) if !has_alias && !is_positive => {
                wish.key == self.fields(fields, item).map(|found| found.join(","))
            }
            Key::Fields(fields) => {
                let found = self.fields(fields, item);
                is_claimable
                    && is_positive
                    && found.is_some()
                    && found == wish.sketch().and_then(|sketch| self.fields(fields, &sketch))
            }
            Key::First => is_claimable && is_positive,
        }
    }

    /// The values of an item's key fields in normal form; `None` if one is missing and has no default.
    pub(crate) fn fields(&self, fields: &[(&str, &str)], item: &Element) -> Option<Vec<String>> {
        let value = |&(field, default): &(&str, &str)| {
            let value = if field.contains('@') { item.attr_at(field) } else { item.text_at(field) };
            let value = value.or_else(|| (!default.is_empty()).then_some(default))?;
            Some(self.rules.unit(&join(&self.pattern, field)).normal(value, None))
        };
        fields.iter().map(value).collect()
    }

    /// The key of an item on the host, as a path shows it.
    fn label(&self, item: &Element) -> String {
        let from_key = |key: &Key| match key {
            Key::Alias => item.attr_at("alias@name").map(str::to_owned),
            Key::Fields(fields) => self.fields(fields, item).map(|found| found.join(",")),
            Key::First => Some("first".to_owned()),
        };
        self.keys.iter().find_map(from_key).unwrap_or_default()
    }
}

/// Adds to each wished item what its key implies: the alias, or the key fields.
pub(crate) fn imply_keys(part: &mut Part, parent: &str, rules: &Rules) {
    for wish in &mut part.children {
        let here = join(parent, &wish.name);
        if let Some(key) = &wish.key {
            let keys = List::new(parent, &wish.name, rules).keys;
            imply(&mut wish.form, key, keys);
        }
        if let Form::Part(part) = &mut wish.form {
            imply_keys(part, &here, rules);
        }
    }
}

fn imply(form: &mut Form, key: &str, keys: &[Key]) {
    if let (Form::Part(part), [_, _, ..]) = (&*form, keys)
        && !keys.contains(&Key::Alias)
    {
        // Of several ways to know an item one is enough, and the wish may say it itself.
        let sketch = part.sketch("");
        let is_said = |&(path, _): &(&str, &str)| sketch.attr_at(path).is_some();
        let says = |key: &Key| matches!(key, Key::Fields(fields) if fields.iter().all(is_said));
        if keys.iter().any(says) {
            return;
        }
    }
    let fields = keys.iter().find_map(|key| match key {
        Key::Fields(fields) => Some(*fields),
        Key::Alias | Key::First => None,
    });
    let implied: Vec<(&str, &str)> = if keys.contains(&Key::Alias) {
        vec![("alias@name", key)]
    } else {
        let values = fields.unwrap_or_default().iter().zip(key.split(','));
        values.filter(|((_, default), value)| default != value).map(|((field, _), value)| (*field, value)).collect()
    };
    match form {
        Form::Part(part) => {
            let sketch = part.sketch("");
            let is_missing =
                |path: &str| if path.contains('@') { sketch.attr_at(path) } else { sketch.text_at(path) }.is_none();
            implied.into_iter().filter(|(path, _)| is_missing(path)).for_each(|(path, value)| part.set(path, value));
        }
        Form::Whole(elements) => {
            if let Some(element) = elements.first_mut()
                && keys.contains(&Key::Alias)
            {
                element.retain(|child| child.name != "alias");
                element.push(Element::new("alias").attr("name", key));
            }
        }
        Form::Absent | Form::Kept => {}
    }
}

fn alias(item: &Element) -> &str {
    item.attr_at("alias@name").unwrap_or_default()
}

/// The pattern of a child, an attribute (`@name`) or a place (`a/b@c`) below a pattern.
pub(crate) fn join(parent: &str, below: &str) -> String {
    match below.strip_prefix('@') {
        None if below.is_empty() => parent.to_owned(),
        Some(attribute) => pattern(parent, Some(attribute)),
        None if parent.is_empty() => below.to_owned(),
        None => format!("{parent}/{below}"),
    }
}
