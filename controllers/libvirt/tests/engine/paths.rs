//! Paths, and which of them a wish tree owns.

use libvirt::wish::{Part, Path, Wishes};
use libvirt::xml::Element;

#[test]
fn a_path_survives_a_round_trip() {
    for text in
        ["memory", "os/type@machine", "@type", "devices/disk[ua-disk-root]/driver@cache", "a[%2Fmnt%5B1%5D%40%25]/b"]
    {
        assert_eq!(Path::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn the_pattern_of_a_path_has_no_keys() {
    let pattern = |text: &str| Path::parse(text).unwrap().pattern();
    assert_eq!(pattern("devices/disk[ua-disk-root]/driver@cache"), "devices/disk/driver@cache");
    assert_eq!(pattern("@type"), "@type");
    assert_eq!(pattern(""), "");
}

#[test]
fn malformed_paths_are_none() {
    for text in ["a@", "a//b", "a[", "a[b", "a]b", "a[%zz]", "a[%2]", "/a", "a/", "a[b]c"] {
        assert_eq!(Path::parse(text), None, "{text}");
    }
}

#[test]
fn the_owned_paths_are_values_items_presence_and_wholes_in_a_stable_order() {
    let mut wishes = Wishes::new("domain");
    wishes.set("vcpu", "1");
    wishes.set("memory", "1");
    wishes.set("memory@unit", "GiB");
    wishes.flag("features/acpi", true);
    wishes.flag("features/apic", false);
    wishes.replace("cpu", Element::new("cpu"));
    wishes.own("devices/disk", "ua-disk-");
    wishes.keep("devices/disk", "ua-disk-init");
    wishes.item("devices/disk", "ua-disk-root", Part::new().with("driver@cache", "none").with_flag("readonly", false));
    wishes.item("devices/filesystem", "/mnt", Part::new());
    wishes.forget(&["title".to_owned()]);
    assert_eq!(
        wishes.owned_paths(),
        [
            "cpu",
            "devices/disk[ua-disk-root]",
            "devices/disk[ua-disk-root]/driver@cache",
            "devices/filesystem[%2Fmnt]",
            "features/acpi",
            "memory",
            "memory@unit",
            "vcpu",
        ]
    );
}

#[test]
fn what_is_forgotten_once_is_not_owned_again() {
    let mut first = Wishes::new("domain");
    first.set("title", "t");
    first.item("devices/disk", "ua-disk-root", Part::new().with("driver@cache", "none"));
    let mut second = Wishes::new("domain");
    second.forget(&first.owned_paths());
    assert_eq!(second.owned_paths(), Vec::<String>::new());
    let mut absent = Wishes::new("domain");
    absent.flag("title", false);
    absent.flag("devices/disk[ua-disk-root]", false);
    second.forget(&first.owned_paths());
    assert_ne!(second, Wishes::new("domain"));
    assert_eq!(format!("{second:?}").matches("Absent").count(), format!("{absent:?}").matches("Absent").count());
}
