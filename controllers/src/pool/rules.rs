//! The drift rules of a pool: path · key · unit · live route.

use libvirt::rule::{Route, Rule, Rules, Unit};

const TABLE: &[Rule] = &[
    Rule::value("@type", Unit::Text, Route::Immutable),
    Rule::value("name", Unit::Text, Route::Immutable),
    Rule::value("uuid", Unit::Text, Route::Immutable),
    Rule::element("source/host", Route::NextBoot),
    Rule::element("source/device", Route::Immutable),
    Rule::value("source/device@path", Unit::Path, Route::Immutable),
    Rule::filled("source/device/freeExtent"),
    Rule::filled("source/device@part_separator"),
    Rule::value("source/dir@path", Unit::Path, Route::Immutable),
    Rule::value("source/name", Unit::Text, Route::Immutable),
    Rule::value("source/format@type", Unit::Text, Route::Immutable),
    Rule::value("source/adapter@type", Unit::Text, Route::Immutable),
    Rule::value("source/adapter@name", Unit::Text, Route::Immutable),
    Rule::value("source/adapter@wwnn", Unit::Text, Route::Immutable),
    Rule::value("source/adapter@wwpn", Unit::Text, Route::Immutable),
    Rule::value("source/adapter@parent", Unit::Text, Route::Immutable),
    Rule::value("source/initiator/iqn@name", Unit::Text, Route::NextBoot),
    Rule::value("source/protocol@ver", Unit::Text, Route::NextBoot),
    Rule::value("target/path", Unit::Path, Route::Immutable),
    Rule::value("target/permissions/mode", Unit::OctalMode, Route::NextBoot),
    Rule::value("target/permissions/owner", Unit::Number, Route::NextBoot),
    Rule::value("target/permissions/group", Unit::Number, Route::NextBoot),
];

/// The table, ready for use.
pub fn rules() -> Rules {
    Rules::new(TABLE)
}
