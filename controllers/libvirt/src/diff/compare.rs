//! The walk over wishes and description, side by side. It finds the differences and what has to give way to them.

use std::collections::BTreeSet;

use super::pair::{List, Pair, join};
use super::{Difference, source, whole};
use crate::rule::{Refusal, Route, Rule, Rules, Unit};
use crate::wish::{Form, Part, Path, Wish, Wishes};
use crate::xml::Element;

/// What a comparison finds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) differences: Vec<Difference>,
    pub(crate) wipes: BTreeSet<Wipe>,
}

/// Something an overlay takes away before it renders the wishes, unless it is wished.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wipe {
    /// The pattern of the element or attribute.
    pub(crate) pattern: &'static str,
    /// The item it is in; empty for the whole document.
    pub(crate) scope: Path,
    /// Whether the element goes even if wished, to be rendered anew.
    pub(crate) is_whole: bool,
}

/// Compares prepared wishes with a description.
pub(crate) fn compare(wishes: &Wishes, have: &Element, rules: &Rules) -> Outcome {
    let mut comparison = Comparison { rules, outcome: Outcome::default() };
    comparison.part(&Path::default(), &wishes.part, Some(have));
    comparison.outcome.differences.sort_by(|a, b| a.path.cmp(&b.path));
    comparison.outcome
}

struct Comparison<'a> {
    rules: &'a Rules,
    outcome: Outcome,
}

/// One value on both sides, with the `unit` attributes beside them.
struct Leaf<'a> {
    unit: Unit,
    want: Option<&'a str>,
    want_scale: Option<&'a str>,
    have: Option<&'a str>,
    have_scale: Option<&'a str>,
}

impl Comparison<'_> {
    fn part(&mut self, here: &Path, wish: &Part, have: Option<&Element>) {
        let pattern = here.pattern();
        let want_scale = wish.attributes.get("unit").and_then(Option::as_deref);
        let have_scale = have.and_then(|have| have.get("unit"));
        for (name, want) in &wish.attributes {
            if name != "unit" || !(wish.loose || self.rules.is_sized(&pattern)) {
                let have = have.and_then(|have| have.get(name));
                let unit = self.rules.unit_of(&join(&pattern, &format!("@{name}")), wish.loose);
                self.leaf(&here.at(name), &Leaf { unit, want: want.as_deref(), want_scale, have, have_scale });
            }
        }
        if let Some(want) = &wish.text {
            let have = have.and_then(Element::value);
            let unit = self.rules.unit_of(&pattern, wish.loose);
            self.leaf(here, &Leaf { unit, want: Some(want), want_scale, have, have_scale });
        }
        if have.is_none() && wish.present && wish.sketch("").is_empty() {
            self.differs(here, Some("present".to_owned()), None);
        }
        for child in wish.children.iter().filter(|child| child.key.is_none()) {
            self.child(&here.child(&child.name, None), child, have);
        }
        self.lists(here, wish, have);
    }

    fn leaf(&mut self, path: &Path, leaf: &Leaf<'_>) {
        let unit = leaf.unit;
        let is_equal = match (leaf.want, leaf.have) {
            (Some(want), Some(have)) => unit.equal(want, leaf.want_scale, have, leaf.have_scale),
            (None, Some(have)) => unit.is_nothing(have),
            (want, None) => want.is_none(),
        };
        if !is_equal {
            let want = leaf.want.map(|want| unit.shown(want, leaf.want_scale));
            self.differs(path, want, leaf.have.map(|have| unit.shown(have, leaf.have_scale)));
        }
    }

    fn child(&mut self, path: &Path, wish: &Wish, parent: Option<&Element>) {
        let have: Vec<&Element> = parent.map(|parent| parent.named(&wish.name).collect()).unwrap_or_default();
        match &wish.form {
            Form::Part(part) => self.part(path, part, have.first().copied()),
            Form::Whole(want) if wish.alike && whole::all_alike(want, &have) => {}
            Form::Whole(want) => self.whole(path, want, &have),
            Form::Absent if !self.is_nothing(path, &have) => self.differs(path, None, Some("present".to_owned())),
            Form::Absent | Form::Kept => {}
        }
    }

    /// Whether nothing is there, or what says the same.
    fn is_nothing(&self, path: &Path, have: &[&Element]) -> bool {
        let pattern = path.pattern();
        let unit = self.rules.unit(&pattern);
        have.iter().all(|have| {
            have.value().is_some_and(|value| unit.is_nothing(value)) || whole::is_filled(self.rules, &pattern, have)
        })
    }

    fn whole(&mut self, path: &Path, want: &[Element], have: &[&Element]) {
        let pattern = path.pattern();
        if whole::all_equal(self.rules, &pattern, want, have) {
            return;
        }
        let show = |elements: &mut dyn Iterator<Item = &Element>| {
            let shown: Vec<String> = elements.map(|element| whole::show(self.rules, &pattern, element)).collect();
            (!shown.is_empty()).then(|| shown.join(""))
        };
        let (wanted, found) = (show(&mut want.iter()), show(&mut have.iter().copied()));
        self.differs(path, wanted, found);
        if have.is_empty() || self.rules.route(&pattern) != Route::Immutable {
            self.trigger_inside(path, want.first(), have.first().copied());
        }
    }

    fn lists(&mut self, here: &Path, wish: &Part, have: Option<&Element>) {
        let pattern = here.pattern();
        let nothing = Element::default();
        let parent = have.unwrap_or(&nothing);
        for name in wish.list_names() {
            let list = List::new(&pattern, name, self.rules);
            for Pair { wish: index, have } in list.pairs(wish, parent) {
                let wish = &wish.children[index];
                let have = have.and_then(|at| parent.nodes.get(at)).and_then(|node| node.element());
                self.item(&here.child(name, wish.key.as_deref()), wish, have);
            }
            for (_, key) in list.unwished(wish, parent) {
                self.differs(&here.child(name, Some(&key)), None, Some("present".to_owned()));
            }
        }
    }

    fn item(&mut self, path: &Path, wish: &Wish, have: Option<&Element>) {
        match (&wish.form, have) {
            (Form::Part(_) | Form::Whole(_), Some(have)) if source::is_guarded(&path.pattern(), have) => {
                for refused in source::refused(&wish.form, have) {
                    self.refuse(path, refused);
                }
                self.existing(path, &source::without_source(&wish.form, have), have);
            }
            (form @ (Form::Part(_) | Form::Whole(_)), Some(have)) => self.existing(path, form, have),
            (Form::Part(_) | Form::Whole(_), None) => self.missing(path, wish),
            (Form::Absent, Some(_)) => self.differs(path, None, Some("present".to_owned())),
            (Form::Absent, None) | (Form::Kept, _) => {}
        }
    }

    fn existing(&mut self, path: &Path, form: &Form, have: &Element) {
        match form {
            Form::Part(part) => self.part(path, part, Some(have)),
            Form::Whole(want) => self.whole(path, want, &[have]),
            Form::Absent | Form::Kept => {}
        }
    }

    /// A missing item is one difference, but what it brings may push a group of the document aside (a boot order).
    fn missing(&mut self, path: &Path, wish: &Wish) {
        self.differs(path, Some("present".to_owned()), None);
        self.trigger_inside(path, wish.sketch().as_ref(), None);
    }

    fn refuse(&mut self, path: &Path, refused: source::Refused) {
        let path = join(&path.to_string(), refused.path);
        let route = Route::Refused(Refusal::DiskSourceChanged);
        self.outcome.differences.push(Difference {
            path,
            want: Some(refused.want),
            have: refused.have,
            route,
            group: None,
        });
    }

    fn differs(&mut self, path: &Path, want: Option<String>, have: Option<String>) {
        let pattern = path.pattern();
        let mut route = self.rules.route(&pattern);
        if route == Route::Immutable && have.is_none() {
            route = Route::NextBoot; // Nothing is there to be immutable yet.
        }
        let rules = self.rules;
        let grouping = rules.grouping(&pattern);
        if route != Route::Immutable {
            if let Some(rule) = grouping {
                self.give_way(path, rule);
            }
            for rule in rules.around(&pattern) {
                self.clear(path, rule);
            }
        }
        let group = grouping.and_then(|rule| rule.group);
        self.outcome.differences.push(Difference { path: path.to_string(), want, have, route, group });
    }

    /// Notes that the members of the rule's group give way to a change.
    fn give_way(&mut self, path: &Path, rule: &Rule) {
        let Some(group) = rule.group.and_then(|name| self.rules.group(name)) else { return };
        let scope = path.prefix(group.scope);
        let wipe =
            |member: &Rule| Wipe { pattern: member.path, scope: scope.clone(), is_whole: member.unit == Unit::Element };
        self.outcome.wipes.extend(group.members.iter().map(wipe));
    }

    /// Notes that what the rule clears gives way to a change, in the same item if it lies in one.
    fn clear(&mut self, path: &Path, rule: &Rule) {
        for pattern in rule.clears {
            let scope = path.prefix(self.rules.scope_of(pattern));
            let is_around = pattern.strip_prefix(&scope.pattern()).is_some_and(|rest| rest.starts_with('/'));
            let scope = if is_around { scope } else { Path::default() };
            self.outcome.wipes.insert(Wipe { pattern, scope, is_whole: true });
        }
    }

    /// The same for every rule inside of an element that is rendered whole.
    fn trigger_inside(&mut self, path: &Path, want: Option<&Element>, have: Option<&Element>) {
        let rules = self.rules;
        let pattern = path.pattern();
        for rule in rules.inside(&pattern) {
            let below = rule.path.get(pattern.len()..).unwrap_or_default().trim_start_matches('/');
            if changes(rule, below, want, have) {
                self.give_way(path, rule);
                self.clear(path, rule);
            }
        }
    }
}

/// Whether the value or element at a place below differs between the two.
fn changes(rule: &Rule, below: &str, want: Option<&Element>, have: Option<&Element>) -> bool {
    if rule.unit == Unit::Element {
        let element = |side: Option<&Element>| side.and_then(|side| side.find(below)).cloned();
        return element(want) != element(have);
    }
    let value = |side: Option<&Element>| {
        let value = side.and_then(|side| if below.contains('@') { side.attr_at(below) } else { side.text_at(below) });
        value.map(|value| rule.unit.normal(value, None))
    };
    value(want) != value(have)
}

impl Part {
    /// The lists these wishes speak of, in a stable order.
    pub(crate) fn list_names(&self) -> BTreeSet<&str> {
        let items = self.children.iter().filter(|wish| wish.key.is_some()).map(|wish| wish.name.as_str());
        items.chain(self.lists.iter().map(|list| list.name.as_str())).collect()
    }
}
