//! Rendering wishes into a description. What already is as wished is not touched.

use crate::diff::pair::{List, Pair, join};
use crate::diff::{source, whole};
use crate::rule::{Route, Rules};
use crate::wish::{Form, Part, Wish};
use crate::xml::{Element, Node};

/// The one place where libvirt's schema wants its children in an order.
const ORDERED: (&str, [&str; 2]) = ("devices/video/model", ["acceleration", "resolution"]);

pub(super) fn part(have: &mut Element, wish: &Part, pattern: &str, rules: &Rules) {
    attributes(have, wish, pattern, rules);
    text(have, wish, pattern, rules);
    for child in wish.children.iter().filter(|child| child.key.is_none()) {
        self::child(have, child, &join(pattern, &child.name), rules);
    }
    for name in wish.list_names() {
        list(have, wish, &List::new(pattern, name, rules), rules);
    }
    if pattern == ORDERED.0 && !wish.children.is_empty() {
        let rank = |node: &Node| node.element().and_then(|child| ORDERED.1.iter().position(|name| *name == child.name));
        have.nodes.sort_by_key(rank);
    }
}

fn attributes(have: &mut Element, wish: &Part, pattern: &str, rules: &Rules) {
    let scale = wish.attributes.get("unit").and_then(Option::as_deref);
    let keeps_unit = wish.loose && !is_rescaled(have, wish, pattern, rules);
    for (name, want) in &wish.attributes {
        let here = join(pattern, &format!("@{name}"));
        if (name == "unit" && (keeps_unit || rules.is_sized(pattern))) || is_fixed(rules, &here, have.get(name)) {
            continue;
        }
        let unit = rules.unit_of(&here, wish.loose);
        match want {
            Some(want) if have.get(name).is_some_and(|found| unit.equal(want, scale, found, have.get("unit"))) => {}
            Some(want) if unit.is_size() => {
                have.set(name, unit.normal(want, scale));
                have.set("unit", unit.suffix());
            }
            Some(want) => have.set(name, want.as_str()),
            None => drop(have.unset(name)),
        }
    }
}

/// Whether a size of which only its user knows that it is one changes, and its unit with it.
fn is_rescaled(have: &Element, wish: &Part, pattern: &str, rules: &Rules) -> bool {
    let scale = wish.attributes.get("unit").and_then(Option::as_deref);
    let differs = |place: &str, want: &str, found: Option<&str>| {
        let unit = rules.unit_of(place, true);
        found.is_none_or(|found| !unit.equal(want, scale, found, have.get("unit")))
    };
    let mut values = wish.attributes.iter().filter(|(name, _)| *name != "unit");
    wish.text.as_ref().is_some_and(|want| differs(pattern, want, have.value()))
        || values.any(|(name, want)| {
            want.as_ref().is_some_and(|want| differs(&join(pattern, &format!("@{name}")), want, have.get(name)))
        })
}

fn text(have: &mut Element, wish: &Part, pattern: &str, rules: &Rules) {
    let Some(want) = &wish.text else { return };
    let scale = wish.attributes.get("unit").and_then(Option::as_deref);
    let unit = rules.unit_of(pattern, wish.loose);
    let is_equal = have.value().is_some_and(|found| unit.equal(want, scale, found, have.get("unit")));
    if is_equal || is_fixed(rules, pattern, have.value()) {
        return;
    }
    if unit.is_size() {
        have.set_text(unit.normal(want, scale));
        have.set("unit", unit.suffix());
    } else {
        have.set_text(want.as_str());
    }
}

/// Whether a value is there and stays for ever.
fn is_fixed(rules: &Rules, pattern: &str, have: Option<&str>) -> bool {
    have.is_some() && rules.route(pattern) == Route::Immutable
}

fn child(parent: &mut Element, wish: &Wish, pattern: &str, rules: &Rules) {
    let is_there = parent.elements().any(|child| child.name == wish.name);
    match &wish.form {
        Form::Part(part) => partial(parent, wish, part, pattern, rules),
        Form::Whole(want) => {
            let have: Vec<&Element> = parent.named(&wish.name).collect();
            let is_fixed = is_there && rules.route(pattern) == Route::Immutable;
            let is_alike = wish.alike && whole::all_alike(want, &have);
            if !is_fixed && !is_alike && !whole::all_equal(rules, pattern, want, &have) {
                replace_all(parent, &wish.name, want);
            }
        }
        Form::Absent if rules.route(pattern) != Route::Immutable => parent.retain(|child| child.name != wish.name),
        Form::Absent | Form::Kept => {}
    }
}

/// An element that was not there is added if it has come to hold something; one emptied by an absence goes.
fn partial(parent: &mut Element, wish: &Wish, part: &Part, pattern: &str, rules: &Rules) {
    let index = parent.nodes.iter().position(|node| node.element().is_some_and(|child| child.name == wish.name));
    let Some(have) = index.and_then(|index| parent.nodes[index].element_mut()) else {
        let mut new = Element::new(wish.name.as_str());
        self::part(&mut new, part, pattern, rules);
        if part.present || !new.is_empty() {
            parent.push(new);
        }
        return;
    };
    let was_empty = have.is_empty();
    self::part(have, part, pattern, rules);
    if have.is_empty() && !was_empty && !part.present {
        index.map(|index| parent.nodes.remove(index));
    }
}

fn replace_all(parent: &mut Element, name: &str, want: &[Element]) {
    let is_old = |node: &Node| node.element().is_some_and(|child| child.name == name);
    let at = parent.nodes.iter().position(is_old).unwrap_or(parent.nodes.len());
    let old: Vec<Element> = parent.named(name).cloned().collect();
    parent.nodes.retain(|node| !is_old(node));
    let new = want.iter().enumerate().map(|(index, want)| Node::Element(replaced(want, old.get(index))));
    parent.nodes.splice(at..at, new);
}

/// The wished element with what survives of the old one.
fn replaced(want: &Element, old: Option<&Element>) -> Element {
    let mut new = want.clone();
    for name in whole::SURVIVORS {
        if new.find(name).is_none()
            && let Some(kept) = old.and_then(|old| old.find(name))
        {
            new.push(kept.clone());
        }
    }
    new
}

fn list(parent: &mut Element, wish: &Part, list: &List<'_>, rules: &Rules) {
    let mut gone: Vec<usize> = list.unwished(wish, parent).into_iter().map(|(at, _)| at).collect();
    for Pair { wish: index, have } in list.pairs(wish, parent) {
        let wish = &wish.children[index];
        let existing = have.and_then(|at| parent.nodes.get_mut(at)).and_then(Node::element_mut);
        match (&wish.form, existing) {
            (form @ (Form::Part(_) | Form::Whole(_)), Some(item)) => existing_item(item, form, &list.pattern, rules),
            (Form::Part(part), None) => {
                let mut new = Element::new(wish.name.as_str());
                self::part(&mut new, part, &list.pattern, rules);
                parent.push(new);
            }
            (Form::Whole(want), None) => parent.nodes.extend(want.first().cloned().map(Node::Element)),
            (Form::Absent, Some(_)) => gone.extend(have),
            (Form::Absent, None) | (Form::Kept, _) => {}
        }
    }
    let mut at = 0;
    parent.nodes.retain(|_| {
        at += 1;
        !gone.contains(&(at - 1))
    });
}

fn existing_item(item: &mut Element, form: &Form, pattern: &str, rules: &Rules) {
    let form = if source::is_guarded(pattern, item) { source::without_source(form, item) } else { form.clone() };
    match &form {
        Form::Part(part) => self::part(item, part, pattern, rules),
        Form::Whole(want) if !whole::all_equal(rules, pattern, want, &[item]) => {
            if let Some(want) = want.first() {
                *item = replaced(want, Some(item));
            }
        }
        Form::Whole(_) | Form::Absent | Form::Kept => {}
    }
}
