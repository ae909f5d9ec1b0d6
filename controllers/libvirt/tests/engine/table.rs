//! Rules as a kind writes them: a realistic table for domains, and short ones for networks and pools.

use libvirt::rule::{Key, Live, Route, Rule, Rules, Unit};

use Route::{Definition, Immutable, NextBoot};
use Unit::{Ip, Kibibytes, Mac, MachineAlias, Number, OctalMode, Path, Secret, Text, YesNo};

const DEVICE: Route = Route::Live(Live::Device);
const UPDATE: Route = Route::Live(Live::Update);

#[rustfmt::skip]
const DOMAIN: &[Rule] = &[
    Rule::value("name", Text, Immutable),
    Rule::value("uuid", Text, Immutable),
    Rule::value("title", Text, Definition),

    Rule::value("memory", Kibibytes, NextBoot).group("memory"),
    Rule::value("currentMemory", Kibibytes, Route::Live(Live::Memory)).group("memory"),
    Rule::value("maxMemory", Kibibytes, NextBoot).group("memory"),
    Rule::value("maxMemory@slots", Number, NextBoot).group("memory"),
    Rule::element("cpu/numa", NextBoot).group("memory"),
    Rule::value("cpu/numa/cell@memory", Kibibytes, NextBoot),

    Rule::value("vcpu", Number, NextBoot).group("vcpu"),
    Rule::value("vcpu@current", Number, Route::Live(Live::Vcpus)).group("vcpu"),
    Rule::element("vcpus", NextBoot).group("vcpu"),
    Rule::element("cpu/topology", NextBoot).group("vcpu"),

    Rule::element("cpu", NextBoot).group("cpu"),
    Rule::filled("cpu@check"),
    Rule::filled("cpu@match"),
    Rule::filled("cpu@migratable"),
    Rule::filled("cpu/model@fallback"),

    Rule::value("os/type@machine", MachineAlias, Immutable),
    Rule::value("os@firmware", Text, NextBoot).group("firmware"),
    Rule::element("os/firmware", NextBoot).group("firmware"),
    Rule::element("os/loader", NextBoot).group("firmware"),
    Rule::element("os/nvram", NextBoot).group("firmware"),
    Rule::element("features/smm", NextBoot).group("firmware"),
    Rule::element("os/boot", NextBoot).group("boot"),
    Rule::element("devices/disk/boot", NextBoot).group("boot"),
    Rule::element("devices/interface/boot", NextBoot).group("boot"),
    Rule::element("devices/hostdev/boot", NextBoot).group("boot"),
    Rule::element("devices/redirdev/boot", NextBoot).group("boot"),

    Rule::list("devices/disk", &[Key::Alias, Key::Fields(&[("target@dev", "")])], DEVICE),
    Rule::value("devices/disk/alias@name", Text, Definition),
    Rule::value("devices/disk@type", Text, UPDATE).group("source"),
    Rule::element("devices/disk/source", UPDATE).group("source"),
    Rule::value("devices/disk/source@file", Path, UPDATE),
    Rule::value("devices/disk/driver@type", Text, UPDATE).group("source"),
    Rule::element("devices/disk/backingStore", UPDATE).group("source"),
    Rule::value("devices/disk/target@bus", Text, NextBoot).clears(&["devices/disk/address"]),

    Rule::list("devices/interface", &[Key::Alias, Key::Fields(&[("mac@address", "")])], DEVICE),
    Rule::value("devices/interface/alias@name", Text, Definition),
    Rule::value("devices/interface/mac@address", Mac, Immutable),
    Rule::value("devices/interface@type", Text, NextBoot).group("network"),
    Rule::element("devices/interface/source", UPDATE).group("network"),
    Rule::value("devices/interface/model@type", Text, NextBoot).clears(&["devices/interface/address"]),
    Rule::value("devices/interface/link@state", Text, Route::Live(Live::InterfaceTune)),

    Rule::list("devices/hostdev", &[Key::Alias, Key::Fields(&[
        ("source/address@domain", "0"), ("source/address@bus", ""), ("source/address@slot", ""), ("source/address@function", "0"),
    ])], DEVICE),
    Rule::value("devices/hostdev/source/address@bus", Number, NextBoot),

    Rule::list("devices/graphics", &[Key::Fields(&[("@type", "")])], NextBoot),
    Rule::value("devices/graphics@passwd", Secret, UPDATE),
    Rule::value("devices/graphics@autoport", YesNo, NextBoot),
    Rule::value("devices/graphics@listen", Text, NextBoot).group("listen"),
    Rule::element("devices/graphics/listen", NextBoot).group("listen"),
    Rule::list("devices/video", &[Key::Alias, Key::First], NextBoot),
    Rule::value("devices/video/model@type", Text, NextBoot).clears(&["devices/video/address"]),

    Rule::list("devices/serial", &[Key::Alias, Key::Fields(&[("target@port", "0")]), Key::First], NextBoot),
    Rule::value("devices/serial/alias@name", Text, Definition),
    Rule::list("devices/console", &[Key::Alias], NextBoot),
    Rule::list("devices/channel", &[Key::Alias, Key::Fields(&[("target@name", "")])], DEVICE),
    Rule::value("devices/channel/alias@name", Text, Definition),
    Rule::list("devices/controller", &[Key::Fields(&[("@type", ""), ("@index", "0")])], DEVICE),
    Rule::list("devices/rng", &[Key::Alias, Key::First], DEVICE),
    Rule::value("devices/rng@model", Text, NextBoot).clears(&["devices/rng/address"]),
    Rule::value("devices/memballoon@model", Text, NextBoot).clears(&["devices/memballoon/address"]),
];

#[rustfmt::skip]
const NETWORK: &[Rule] = &[
    Rule::value("mac@address", Mac, NextBoot),
    Rule::list("ip", &[Key::Fields(&[("@address", ""), ("@family", "ipv4")])], NextBoot),
    Rule::value("ip@address", Ip, NextBoot),
    Rule::list("ip/dhcp/range", &[Key::Fields(&[("@start", ""), ("@end", "")])], Route::Live(Live::Network)),
    Rule::list("ip/dhcp/host", &[Key::Fields(&[("@mac", "")])], Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@mac", Mac, Route::Live(Live::Network)),
    Rule::value("ip/dhcp/host@ip", Ip, Route::Live(Live::Network)),
    Rule::list("route", &[Key::Fields(&[("@address", ""), ("@family", "ipv4")])], NextBoot),
    Rule::list("dns/host", &[Key::Fields(&[("@ip", "")])], Route::Live(Live::Network)),
    Rule::list("dns/host/hostname", &[Key::Fields(&[("", "")])], Route::Live(Live::Network)),
    Rule::list("dns/txt", &[Key::Fields(&[("@name", "")])], Route::Live(Live::Network)),
];

#[rustfmt::skip]
const POOL: &[Rule] = &[
    Rule::value("target/path", Path, Immutable),
    Rule::value("target/permissions/mode", OctalMode, NextBoot),
    Rule::value("target/permissions/owner", Number, NextBoot),
];

pub(crate) fn domain() -> Rules {
    Rules::new(DOMAIN)
}

pub(crate) fn network() -> Rules {
    Rules::new(NETWORK)
}

pub(crate) fn pool() -> Rules {
    Rules::new(POOL)
}
