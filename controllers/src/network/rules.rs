//! The drift rules of a network: path · key · unit · live route.

use libvirt::rule::{Key, Live, Route, Rule, Rules, Unit};

const TABLE: &[Rule] = &[
    Rule::value("name", Unit::Text, Route::Immutable),
    Rule::value("uuid", Unit::Text, Route::Immutable),
    Rule::value("forward@mode", Unit::Text, Route::Immutable),
    Rule::value("forward@dev", Unit::Text, Route::NextBoot),
    Rule::value("forward/interface", Unit::Element, Route::NextBoot),
    Rule::filled("forward/interface@connections"),
    Rule::value("virtualport@type", Unit::Text, Route::NextBoot),
    Rule::element("vlan", Route::NextBoot),
    Rule::element("bandwidth", Route::NextBoot),
    Rule::list("portgroup", &[Key::Fields(&[("@name", "")])], Route::Live(Live::Network)),
    Rule::value("portgroup@default", Unit::YesNo, Route::Live(Live::Network)),
    Rule::element("portgroup/vlan", Route::Live(Live::Network)),
    Rule::element("portgroup/bandwidth", Route::Live(Live::Network)),
    Rule::value("bridge@name", Unit::Text, Route::NextBoot),
    Rule::value("domain@name", Unit::Text, Route::NextBoot),
    Rule::value("domain@localOnly", Unit::YesNo, Route::NextBoot),
    Rule::value("dns@enable", Unit::YesNo, Route::NextBoot),
    Rule::value("dns@forwardPlainNames", Unit::YesNo, Route::NextBoot),
    Rule::value("dns/forwarder", Unit::Element, Route::NextBoot),
    Rule::list("dns/host", &[Key::Fields(&[("@ip", "")])], Route::Live(Live::Network)),
    Rule::element("dns/host/hostname", Route::Live(Live::Network)),
    Rule::list(
        "dns/srv",
        &[Key::Fields(&[("@service", ""), ("@protocol", ""), ("@target", "")])],
        Route::Live(Live::Network),
    ),
    Rule::value("dns/srv@domain", Unit::Text, Route::Live(Live::Network)),
    Rule::value("dns/srv@port", Unit::Number, Route::Live(Live::Network)),
    Rule::value("dns/srv@priority", Unit::Number, Route::Live(Live::Network)),
    Rule::value("dns/srv@weight", Unit::Number, Route::Live(Live::Network)),
    Rule::list("dns/txt", &[Key::Fields(&[("@name", "")])], Route::Live(Live::Network)),
    Rule::value("dns/txt@value", Unit::Text, Route::Live(Live::Network)),
    Rule::value("port@isolated", Unit::YesNo, Route::NextBoot),
    Rule::value("mtu@size", Unit::Number, Route::NextBoot),
    Rule::list("route", &[Key::Fields(&[("@address", ""), ("@prefix", ""), ("@family", "ipv4")])], Route::NextBoot),
    Rule::value("route@gateway", Unit::Ip, Route::NextBoot),
    Rule::value("route@metric", Unit::Number, Route::NextBoot),
    Rule::list("ip", &[Key::Fields(&[("@address", ""), ("@family", "ipv4")])], Route::NextBoot),
    Rule::value("ip@prefix", Unit::Number, Route::NextBoot),
    Rule::list("ip/dhcp/range", &[Key::Fields(&[("@start", ""), ("@end", "")])], Route::Live(Live::Network)),
    Rule::value("ip/dhcp/range/lease@expiry", Unit::Number, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/range/lease@unit", Unit::Text, Route::Live(Live::Network)),
    Rule::list("ip/dhcp/host", &[Key::Fields(&[("@mac", "")])], Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@mac", Unit::Mac, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@ip", Unit::Ip, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@name", Unit::Text, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host/lease@expiry", Unit::Number, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host/lease@unit", Unit::Text, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/bootp@file", Unit::Text, Route::NextBoot),
    Rule::value("ip/dhcp/bootp@server", Unit::Ip, Route::NextBoot),
    Rule::value("dnsmasq:options/dnsmasq:option", Unit::Element, Route::NextBoot),
];

/// The table, ready for use.
pub fn rules() -> Rules {
    Rules::new(TABLE)
}
