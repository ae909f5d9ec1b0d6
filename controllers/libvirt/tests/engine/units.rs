//! Two spellings of one value are equal, two values are not, and a difference is shown in normal form.

use libvirt::diff::diff;
use libvirt::rule::{Route, Rule, Rules, Unit};
use libvirt::wish::Wishes;
use libvirt::xml::Element;

/// The difference between two spellings, the wished one first; a size may be followed by its unit.
fn between(unit: Unit, want: &str, have: &str) -> Option<String> {
    let rules = Rules::new(&[Rule::value("v", unit, Route::NextBoot)]);
    let split = |text: &str| match (unit, text.split_once(' ')) {
        (Unit::Kibibytes | Unit::Bytes, Some((number, scale))) => (number.to_owned(), Some(scale.to_owned())),
        _ => (text.to_owned(), None),
    };
    let mut wishes = Wishes::new("d");
    let (number, scale) = split(want);
    wishes.set("v", number);
    if let Some(scale) = scale {
        wishes.set("v@unit", scale);
    }
    let (number, scale) = split(have);
    let mut value = Element::new("v").text(number);
    if let Some(scale) = scale {
        value.set("unit", scale);
    }
    let found = diff(&wishes, &Element::new("d").child(value), &rules);
    found.first().map(ToString::to_string)
}

#[test]
fn equal_values_in_other_spellings_are_no_difference() {
    for (unit, want, have) in [
        (Unit::Text, " a ", "a"),
        (Unit::Kibibytes, "4 GiB", "4194304 KiB"),
        (Unit::Kibibytes, "1 GB", "976563 KiB"),
        (Unit::Kibibytes, "1 b", "1 KiB"),
        (Unit::Kibibytes, "1", "1024 bytes"),
        (Unit::Kibibytes, "18446744073709551615 EiB", "18446744073709551615 EiB"),
        (Unit::Bytes, "1 MiB", "1048576"),
        (Unit::Bytes, "1 k", "1024 bytes"),
        (Unit::Number, "0x1f", "31"),
        (Unit::Number, "007", "7"),
        (Unit::OctalMode, "711", "0711"),
        (Unit::YesNo, "on", "yes"),
        (Unit::YesNo, "no", "off"),
        (Unit::Path, "/a//b/", "/a/b"),
        (Unit::Path, "/", "//"),
        (Unit::Mac, "52-54-00-AA-00-01", "52:54:00:aa:00:01"),
        (Unit::Ip, "fd00:0:0::1", "fd00::1"),
        (Unit::MachineAlias, "q35", "pc-q35-7.2"),
        (Unit::MachineAlias, "pc", "pc-i440fx-7.2"),
        (Unit::MachineAlias, "virt", "virt-7.2"),
        (Unit::MachineAlias, "pc-q35-7.2", "pc-q35-7.2"),
        (Unit::Secret, "a", "a"),
    ] {
        assert_eq!(between(unit, want, have), None, "{unit:?} {want} {have}");
    }
}

#[test]
fn different_values_are_shown_in_normal_form() {
    for (unit, want, have, shown) in [
        (Unit::Text, "a", "A", "v: A, wished a"),
        (Unit::Kibibytes, "4 GiB", "2 GiB", "v: 2097152 KiB, wished 4194304 KiB"),
        (Unit::Kibibytes, "lots", "1 KiB", "v: 1 KiB, wished lots KiB"),
        (Unit::Kibibytes, "1025 b", "1 KiB", "v: 1 KiB, wished 2 KiB"),
        (Unit::Bytes, "1 KB", "1 KiB", "v: 1024 bytes, wished 1000 bytes"),
        (Unit::Number, "0x10", "10", "v: 10, wished 16"),
        (Unit::OctalMode, "755", "0711", "v: 0711, wished 0755"),
        (Unit::YesNo, "on", "off", "v: no, wished yes"),
        (Unit::Path, "/a", "/a/b", "v: /a/b, wished /a"),
        (Unit::MachineAlias, "q35", "pc-i440fx-7.2", "v: pc-i440fx-7.2, wished q35"),
        (Unit::MachineAlias, "pc", "pc-q35-7.2", "v: pc-q35-7.2, wished pc"),
        (Unit::MachineAlias, "pc-q35-8.0", "pc-q35-7.2", "v: pc-q35-7.2, wished pc-q35-8.0"),
        (Unit::Secret, "a", "b", "v: (hidden), wished (hidden)"),
    ] {
        assert_eq!(between(unit, want, have).as_deref(), Some(shown), "{unit:?}");
    }
}

#[test]
fn a_rule_reads_as_a_line_of_the_documentation() {
    let rows: Vec<String> = crate::table::domain().rows().map(ToString::to_string).collect();
    let of = |path: &str| rows.iter().find(|row| row.split(' ').next() == Some(path)).cloned().unwrap_or_default();
    assert_eq!(of("memory"), "memory · - · KiB · memory · next boot");
    assert_eq!(of("devices/disk"), "devices/disk · alias, then target@dev · element · - · live: attach or detach");
    assert_eq!(of("devices/video"), "devices/video · alias, then the first · element · - · next boot");
    assert_eq!(
        of("devices/disk/target@bus"),
        "devices/disk/target@bus · - · text · - · next boot, clears devices/disk/address"
    );
    assert_eq!(of("cpu@check"), "cpu@check · - · text · - · filled by libvirt");
}
