//! Wishes laid over a description: what to define. Everything not wished stays as the host has it.
//!
//! ```text
//! base (fresh, inactive) ─▶ take away what gives way ─▶ render the wishes ─▶ put disk data back ─▶ define
//! ```
//!
//! Laying the same wishes over the result changes nothing, and [`diff`](crate::diff::diff) finds nothing in it but what is
//! immutable or refused.

mod render;
mod wipe;

use crate::diff::{compare, prepared, source};
use crate::rule::Rules;
use crate::wish::Wishes;
use crate::xml::Element;

/// The base with every wish made true that may be. No wishes: the base itself.
pub fn overlay(wishes: &Wishes, base: &Element, rules: &Rules) -> Element {
    let wishes = prepared(wishes, rules);
    let outcome = compare(&wishes, base, rules);
    let mut result = base.clone();
    if !outcome.differences.iter().any(crate::diff::Difference::is_applied) {
        return result;
    }
    for wipe in &outcome.wipes {
        wipe::apply(&mut result, &wishes.part, wipe, rules);
    }
    render::part(&mut result, &wishes.part, "", rules);
    source::restore_all(base, &mut result);
    result
}

impl Wishes {
    /// A new description that has what is wished and nothing else.
    pub fn create(&self, rules: &Rules) -> Element {
        overlay(self, &Element::new(self.root.as_str()), rules)
    }
}
