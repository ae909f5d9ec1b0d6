//! The drift rules of a pool: path · key · unit · live route.

use libvirt::rule::{Route, Rule, Rules, Unit};

const TABLE: &[Rule] = &[
    Rule::value("@type", Unit::Text, Route::Immutable),
    Rule::value("name", Unit::Text, Route::Immutable),
    Rule::value("uuid", Unit::Text, Route::Immutable),
    Rule::value("target/path", Unit::Path, Route::Immutable),
    Rule::value("target/permissions/mode", Unit::OctalMode, Route::NextBoot),
    Rule::value("target/permissions/owner", Unit::Number, Route::NextBoot),
    Rule::value("target/permissions/group", Unit::Number, Route::NextBoot),
];

/// The table, ready for use.
pub fn rules() -> Rules {
    Rules::new(TABLE)
}
