//! Taking away what gives way to a wish: the other members of a group, an address that no longer fits.

use crate::diff::Wipe;
use crate::diff::pair::{List, join};
use crate::rule::Rules;
use crate::wish::{Form, Part, Step};
use crate::xml::Element;

pub(super) fn apply(root: &mut Element, wishes: &Part, wipe: &Wipe, rules: &Rules) {
    let (elements, attribute) = match wipe.pattern.split_once('@') {
        Some((elements, attribute)) => (elements, Some(attribute)),
        None => (wipe.pattern, None),
    };
    let names: Vec<&str> = elements.split('/').filter(|name| !name.is_empty()).collect();
    Descent { wipe, attribute, rules }.down(root, Some(wishes), &names, &mut Vec::new());
}

struct Descent<'a> {
    wipe: &'a Wipe,
    attribute: Option<&'a str>,
    rules: &'a Rules,
}

impl Descent<'_> {
    /// `done` are the steps already taken, `names` those to take.
    fn down(&self, have: &mut Element, wishes: Option<&Part>, names: &[&str], done: &mut Vec<Step>) {
        match (names, self.attribute) {
            ([], Some(attribute)) => {
                let is_wished = wishes.is_some_and(|part| part.attributes.get(attribute).is_some_and(Option::is_some));
                if !is_wished {
                    have.unset(attribute);
                }
            }
            ([], None) => {}
            ([last], None) => {
                if self.wipe.is_whole || !wishes.is_some_and(|part| part.wishes_element(last)) {
                    have.retain(|child| child.name != *last);
                }
            }
            ([name, rest @ ..], _) => self.children(have, wishes, (name, rest), done),
        }
    }

    fn children(&self, have: &mut Element, wishes: Option<&Part>, (name, rest): (&str, &[&str]), done: &mut Vec<Step>) {
        let pattern = done.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join("/");
        let is_list = !self.rules.keys(&join(&pattern, name)).is_empty();
        let list = List::new(&pattern, name, self.rules);
        let pairs = wishes.map(|part| list.pairs(part, have)).unwrap_or_default();
        for (at, node) in have.nodes.iter_mut().enumerate() {
            let Some(child) = node.element_mut().filter(|child| child.name == name) else { continue };
            let pair = pairs.iter().find(|pair| pair.have == Some(at));
            let wish = match (is_list, wishes) {
                (true, Some(part)) => pair.map(|pair| &part.children[pair.wish]),
                (false, Some(part)) => part.children.iter().find(|wish| wish.name == name && wish.key.is_none()),
                (_, None) => None,
            };
            let step = Step { name: name.to_owned(), key: wish.and_then(|wish| wish.key.clone()) };
            if self.wipe.scope.steps.get(done.len()).is_none_or(|scope| *scope == step) {
                done.push(step);
                let below = wish.and_then(|wish| wish.part());
                self.down(child, below, rest, done);
                done.pop();
            }
        }
    }
}

impl Part {
    /// Whether something is wished to be at a child of this name.
    fn wishes_element(&self, name: &str) -> bool {
        self.children.iter().filter(|wish| wish.name == name).any(|wish| match &wish.form {
            Form::Part(part) => part.present || !part.sketch("").is_empty(),
            Form::Whole(elements) => !elements.is_empty(),
            Form::Absent => false,
            Form::Kept => true,
        })
    }
}
