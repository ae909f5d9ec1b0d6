//! What differs between wishes and a description: pure, one for all kinds.
//!
//! ```text
//! Wishes ─┐
//! Rules  ─┼─▶ diff ─▶ [Difference { path, want, have, route, group }]   empty: nothing to do
//! have   ─┘
//! ```
//!
//! `have` may be the definition (what an update changes) or the live description (what still waits for a start).

mod compare;
pub(crate) mod pair;
pub(crate) mod source;
pub(crate) mod whole;

use std::fmt;

pub(crate) use compare::{Wipe, compare};

use crate::rule::{Refusal, Route, Rules};
use crate::wish::{Path, Wishes};
use crate::xml::Element;

/// One thing that is not as wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where: `memory`, `devices/disk[ua-disk-root]/driver@cache`; the path of an item is the whole item.
    pub path: String,
    /// The wished value in normal form, `present` for an item or element; `None` if it is to be absent.
    pub want: Option<String>,
    /// The value found, likewise; `None` if it is absent.
    pub have: Option<String>,
    /// How it comes true, or why it does not.
    pub route: Route,
    /// The group that is rendered with it.
    pub group: Option<&'static str>,
}

/// What is not as wished, sorted by path. Unwished values are not looked at.
pub fn diff(wishes: &Wishes, have: &Element, rules: &Rules) -> Vec<Difference> {
    compare(&prepared(wishes, rules), have, rules).differences
}

impl Wishes {
    /// The element of a description that a path of these wishes names: the device to attach (from the overlaid definition),
    /// to update, or to detach (from the live description). An item is found by its keys, as in a comparison.
    pub fn locate<'a>(&self, path: &str, have: &'a Element, rules: &Rules) -> Option<&'a Element> {
        let path = Path::parse(path)?;
        let prepared = prepared(self, rules);
        let mut part = Some(&prepared.part);
        let mut at = have;
        for (depth, step) in path.steps.iter().enumerate() {
            let pattern = path.prefix(depth).pattern();
            at = match &step.key {
                Some(key) => pair::List::new(&pattern, &step.name, rules).find(key, part, at)?,
                None => at.elements().find(|child| child.name == step.name)?,
            };
            part = part.and_then(|part| part.part_at(step));
        }
        Some(at)
    }
}

/// The wishes with what their keys imply.
pub(crate) fn prepared(wishes: &Wishes, rules: &Rules) -> Wishes {
    let mut wishes = wishes.clone();
    pair::imply_keys(&mut wishes.part, "", rules);
    wishes
}

impl Difference {
    /// Whether an overlay makes it true.
    pub fn is_applied(&self) -> bool {
        match self.route {
            Route::Live(_) | Route::NextBoot | Route::Definition => true,
            Route::Immutable | Route::Refused(_) => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let have = self.have.as_deref().unwrap_or("absent");
        let want = self.want.as_deref().unwrap_or("absent");
        write!(f, "{}: {have}, wished {want}", self.path)?;
        match self.route {
            Route::Live(_) | Route::NextBoot | Route::Definition => Ok(()),
            Route::Immutable => f.write_str("; it cannot be changed"),
            Route::Refused(reason) => write!(f, "; refused: {reason}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskSourceChanged => f.write_str("DiskSourceChanged"),
        }
    }
}
