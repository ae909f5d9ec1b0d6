//! The drift rules of a network: path · key · unit · live route.

use libvirt::rule::{Key, Live, Route, Rule, Rules, Unit};

const TABLE: &[Rule] = &[
    Rule::value("name", Unit::Text, Route::Immutable),
    Rule::value("uuid", Unit::Text, Route::Immutable),
    Rule::value("forward@mode", Unit::Text, Route::Immutable),
    Rule::value("bridge@name", Unit::Text, Route::NextBoot),
    Rule::value("domain@name", Unit::Text, Route::NextBoot),
    Rule::list("ip", &[Key::Fields(&[("@address", ""), ("@family", "ipv4")])], Route::NextBoot),
    Rule::value("ip@prefix", Unit::Number, Route::NextBoot),
    Rule::list("ip/dhcp/range", &[Key::Fields(&[("@start", ""), ("@end", "")])], Route::Live(Live::Network)),
    Rule::list("ip/dhcp/host", &[Key::Fields(&[("@mac", "")])], Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@mac", Unit::Mac, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@ip", Unit::Ip, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@name", Unit::Text, Route::Live(Live::Network)),
];

/// The table, ready for use.
pub fn rules() -> Rules {
    Rules::new(TABLE)
}
