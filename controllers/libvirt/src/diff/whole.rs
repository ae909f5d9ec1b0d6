//! Comparing an element that is wished whole.

use super::pair::join;
use crate::rule::{Rules, Unit};
use crate::xml::{Element, Node};

/// Children that survive a replacement: libvirt's place for the device, and the name its user gave it.
pub(crate) const SURVIVORS: [&str; 2] = ["alias", "address"];

/// Whether the elements are the wished ones, in their order.
pub(crate) fn all_equal(rules: &Rules, pattern: &str, want: &[Element], have: &[&Element]) -> bool {
    want.len() == have.len() && want.iter().zip(have).all(|(want, have)| equal(rules, pattern, want, have, true))
}

/// Whether the elements hold all that is wished of them, in any order, and there are no others. Values are compared as far as they tell.
pub(crate) fn all_alike(want: &[Element], have: &[&Element]) -> bool {
    want.len() == have.len() && each_has_its_own(want, have)
}

/// Whether every wished element finds one of its own: the paths of Kuhn's algorithm, since one may fit what another needs.
fn each_has_its_own(want: &[Element], have: &[&Element]) -> bool {
    let fits: Vec<Vec<usize>> =
        want.iter().map(|want| (0..have.len()).filter(|at| is_alike(want, have[*at])).collect()).collect();
    let mut taken: Vec<Option<usize>> = vec![None; have.len()];
    (0..want.len()).all(|wish| find(wish, &fits, &mut taken, &mut vec![false; have.len()]))
}

fn find(wish: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for &at in &fits[wish] {
        if std::mem::replace(&mut tried[at], true) {
            continue;
        }
        if taken[at].is_none_or(|other| find(other, fits, taken, tried)) {
            taken[at] = Some(wish);
            return true;
        }
    }
    false
}

fn is_alike(want: &Element, have: &Element) -> bool {
    let same = |wish: &str, found: &str| Unit::Unknown.equal(wish, want.get("unit"), found, have.get("unit"));
    let values = want.attributes.iter().filter(|(name, _)| name != "unit");
    let mut children: Vec<&str> = want.elements().map(|child| child.name.as_str()).collect();
    children.dedup();
    want.name == have.name
        && values.into_iter().all(|(name, value)| have.get(name).is_some_and(|found| same(value, found)))
        && want.value().is_none_or(|text| same(text, have.value().unwrap_or_default()))
        && children.into_iter().all(|name| {
            let wished: Vec<Element> = want.named(name).cloned().collect();
            each_has_its_own(&wished, &have.named(name).collect::<Vec<_>>())
        })
}

/// Whether an element holds nothing but what libvirt fills in, as the `source` of a drive that was emptied while it ran.
pub(crate) fn is_filled(rules: &Rules, pattern: &str, have: &Element) -> bool {
    let is_filled = |(name, _): &(String, String)| rules.is_filled(&join(pattern, &format!("@{name}")));
    !have.attributes.is_empty() && have.attributes.iter().all(is_filled) && have.nodes.is_empty()
}

/// Whether the element is the wished one: nothing else and nothing more, but for survivors and what libvirt fills in.
fn equal(rules: &Rules, pattern: &str, want: &Element, have: &Element, is_top: bool) -> bool {
    attributes_equal(rules, pattern, want, have)
        && texts_equal(rules, pattern, want, have)
        && children_equal(rules, pattern, want, have, is_top)
}

fn attributes_equal(rules: &Rules, pattern: &str, want: &Element, have: &Element) -> bool {
    let is_scale = |name: &str| name == "unit" && rules.is_sized(pattern);
    let wished = want.attributes.iter().filter(|(name, _)| !is_scale(name)).all(|(name, value)| {
        let unit = rules.unit(&join(pattern, &format!("@{name}")));
        have.get(name).is_some_and(|found| unit.equal(value, want.get("unit"), found, have.get("unit")))
    });
    let is_known =
        |name: &str| want.get(name).is_some() || is_scale(name) || rules.is_filled(&join(pattern, &format!("@{name}")));
    wished && have.attributes.iter().all(|(name, _)| is_known(name))
}

fn texts_equal(rules: &Rules, pattern: &str, want: &Element, have: &Element) -> bool {
    let text = |element: &Element| element.value().map(str::trim).unwrap_or_default().to_owned();
    rules.unit(pattern).equal(&text(want), want.get("unit"), &text(have), have.get("unit"))
}

fn children_equal(rules: &Rules, pattern: &str, want: &Element, have: &Element, is_top: bool) -> bool {
    let mut rest: Vec<&Element> = have.elements().collect();
    for child in want.elements() {
        let here = join(pattern, &child.name);
        let same = |found: &&Element| found.name == child.name && equal(rules, &here, child, found, false);
        match rest.iter().position(same) {
            Some(index) => drop(rest.remove(index)),
            None => return false,
        }
    }
    let is_known = |child: &Element| {
        rules.is_filled(&join(pattern, &child.name)) || (is_top && SURVIVORS.contains(&child.name.as_str()))
    };
    rest.into_iter().all(is_known)
}

/// The element on one line for a person, secrets hidden.
pub(crate) fn show(rules: &Rules, pattern: &str, element: &Element) -> String {
    hide(rules, pattern, element).inline()
}

fn hide(rules: &Rules, pattern: &str, element: &Element) -> Element {
    let is_secret = |pattern: &str| rules.unit(pattern) == Unit::Secret;
    let mut shown = element.clone();
    for (name, value) in &mut shown.attributes {
        if is_secret(&join(pattern, &format!("@{name}"))) {
            "(hidden)".clone_into(value);
        }
    }
    if is_secret(pattern) {
        shown.set_text("(hidden)");
    }
    for node in &mut shown.nodes {
        if let Node::Element(child) = node {
            *child = hide(rules, &join(pattern, &child.name), child);
        }
    }
    shown
}
