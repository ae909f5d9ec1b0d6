//! Whose device is whose: claims, removals, what is kept, what is forgotten, and devices of others.

use libvirt::diff::diff;
use libvirt::overlay::overlay;
use libvirt::wish::{Part, Wishes};
use libvirt::xml::Element;

use crate::golden::{check, description};
use crate::table;

fn on(base: &str, case: &str, wish: impl FnOnce(&mut Wishes)) {
    let mut wishes = Wishes::new("domain");
    wish(&mut wishes);
    check(case, &wishes, &description(base), &table::domain());
}

fn shown(wishes: &Wishes, have: &Element) -> Vec<String> {
    diff(wishes, have, &table::domain()).iter().map(ToString::to_string).collect()
}

fn paths(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn a_device_with_our_key_and_no_alias_is_claimed_and_not_duplicated() {
    on("rich", "claimed", |wishes| {
        wishes.item(
            "devices/disk",
            "ua-disk-third",
            Part::new().with("target@dev", "vdc").with("driver@cache", "none"),
        );
        wishes.item("devices/interface", "ua-nic-second", Part::new().with("mac@address", "52:54:00:AA:00:02"));
        wishes.item("devices/channel", "ua-channel-agent", Part::new().with("target@name", "org.qemu.guest_agent.0"));
    });
}

#[test]
fn a_device_that_another_user_named_is_not_claimed() {
    let mut have = description("rich");
    let named = Element::new("disk")
        .child(Element::new("target").attr("dev", "vdy"))
        .child(Element::new("alias").attr("name", "ua-backup"));
    have.elements_mut().find(|child| child.name == "devices").unwrap().push(named);
    let mut wishes = Wishes::new("domain");
    wishes.item("devices/disk", "ua-disk-y", Part::new().with("target@dev", "vdy"));
    assert_eq!(shown(&wishes, &have), ["devices/disk[ua-disk-y]: absent, wished present"]);
}

#[test]
fn an_owned_list_loses_what_is_not_wished_and_leaves_devices_of_others_alone() {
    on("rich", "owned-list", |wishes| {
        wishes.own("devices/disk", "ua-disk-");
        wishes.own("devices/interface", "ua-nic-");
        wishes.item("devices/disk", "ua-disk-root", Part::new().with("target@dev", "vda"));
    });
}

#[test]
fn a_kept_device_is_neither_compared_nor_removed() {
    on("rich", "kept", |wishes| {
        wishes.own("devices/disk", "ua-disk-");
        wishes.keep("devices/disk", "ua-disk-data");
        wishes.item("devices/disk", "ua-disk-root", Part::new());
        wishes.forget(&paths(&["devices/disk[ua-disk-data]", "devices/disk[ua-disk-data]/driver@cache"]));
    });
}

#[test]
fn one_name_in_two_classes_is_two_devices() {
    let mut wishes = Wishes::new("domain");
    wishes.own("devices/disk", "ua-disk-");
    wishes.own("devices/interface", "ua-nic-");
    wishes.item("devices/disk", "ua-disk-data", Part::new().with("driver@cache", "none"));
    wishes.item("devices/disk", "ua-disk-root", Part::new());
    wishes.item("devices/interface", "ua-nic-data", Part::new().with("link@state", "down"));
    assert_eq!(
        shown(&wishes, &description("rich")),
        [
            "devices/disk[ua-disk-data]/driver@cache: absent, wished none",
            "devices/interface[ua-nic-data]/link@state: absent, wished down",
        ]
    );
    check("alias-classes", &wishes, &description("rich"), &table::domain());
}

#[test]
fn two_classes_in_one_list_do_not_take_each_others_devices() {
    let mut wishes = Wishes::new("domain");
    wishes.own("devices/disk", "ua-seeds-");
    assert_eq!(shown(&wishes, &description("rich")), Vec::<String>::new());
}

#[test]
fn a_value_once_ours_and_wished_no_more_returns_to_the_default() {
    on("rich", "forgotten-value", |wishes| {
        wishes.item("devices/disk", "ua-disk-root", Part::new().with("driver@discard", "unmap"));
        wishes.forget(&paths(&[
            "devices/disk[ua-disk-root]",
            "devices/disk[ua-disk-root]/driver@cache",
            "devices/disk[ua-disk-root]/driver@discard",
            "features/apic",
        ]));
    });
}

#[test]
fn a_device_once_ours_and_wished_no_more_goes_even_if_the_list_is_unset() {
    on("rich", "forgotten-device", |wishes| {
        wishes.forget(&paths(&[
            "devices/disk[ua-disk-data]/target@dev",
            "devices/disk[ua-disk-data]",
            "devices/rng[ua-rng-main]",
        ]));
    });
}

#[test]
fn forgetting_never_takes_the_source_of_a_disk() {
    let mut wishes = Wishes::new("domain");
    wishes.item("devices/disk", "ua-disk-root", Part::new().with("target@dev", "vda"));
    wishes.forget(&paths(&[
        "devices/disk[ua-disk-root]/source@file",
        "devices/disk[ua-disk-root]/driver@type",
        "devices/disk[ua-disk-root]@type",
        "devices/disk[ua-disk-root]/backingStore",
    ]));
    let base = description("rich");
    assert_eq!(overlay(&wishes, &base, &table::domain()), base);
}

#[test]
fn a_forgotten_path_that_is_malformed_or_covered_is_ignored() {
    let mut wishes = Wishes::new("domain");
    wishes.replace("cpu", Element::new("cpu").attr("mode", "host-model"));
    wishes.set("memory", "1");
    let before = wishes.clone();
    wishes.forget(&paths(&["", "@", "a[", "a[b", "memory", "cpu", "cpu/topology", "cpu@mode", "x@y@"]));
    assert_eq!(wishes, before);
}

#[test]
fn the_console_of_a_serial_goes_with_it_and_stays_with_it() {
    on("rich", "serial-gone", |wishes| {
        wishes.own("devices/serial", "ua-serial-");
        wishes.own("devices/console", "ua-serial-");
    });
    on("rich", "serial-changed", |wishes| {
        wishes.own("devices/serial", "ua-serial-");
        wishes.own("devices/console", "ua-serial-");
        wishes.keep("devices/console", "ua-serial-log");
        let log = Element::new("log").attr("file", "/var/log/libvirt/engine.log").attr("append", "on");
        let serial = Part::new().with("@type", "pty").with_flag("source", false).with_whole("log", log);
        wishes.item("devices/serial", "ua-serial-log", serial);
    });
}

#[test]
fn a_device_wished_whole_is_replaced_and_keeps_its_place_unless_the_model_changes() {
    let backend = |source: &str| Element::new("backend").attr("model", "random").text(source);
    on("rich", "rng-backend", |wishes| {
        let rng = Element::new("rng").attr("model", "virtio").child(backend("/dev/random"));
        wishes.item_whole("devices/rng", "ua-rng-main", rng);
    });
    on("rich", "rng-model", |wishes| {
        let rng = Element::new("rng").attr("model", "virtio-non-transitional").child(backend("/dev/urandom"));
        wishes.item_whole("devices/rng", "ua-rng-main", rng);
    });
}

#[test]
fn a_new_domain_holds_what_is_wished_and_nothing_else() {
    let mut wishes = Wishes::new("domain");
    wishes.set("@type", "qemu");
    wishes.set("name", "engine-new");
    wishes.set("memory", "128");
    wishes.set("memory@unit", "MiB");
    wishes.set("vcpu", "1");
    wishes.set("os/type@machine", "q35");
    wishes.set("os/type", "hvm");
    wishes.flag("features/acpi", true);
    wishes.flag("features/apic", false);
    let disk = Part::new()
        .with("@type", "file")
        .with("source@file", "/var/lib/libvirt/images/data.img")
        .with("driver@type", "raw");
    wishes.item("devices/disk", "ua-disk-root", disk.with_flag("backingStore", true).with("target@dev", "vda"));
    wishes.item("devices/graphics", "vnc", Part::new().with("@port", "-1"));
    let new = wishes.create(&table::domain());
    let expected = concat!(
        "<domain type=\"qemu\">\n",
        "  <name>engine-new</name>\n",
        "  <memory unit=\"KiB\">131072</memory>\n",
        "  <vcpu>1</vcpu>\n",
        "  <os>\n    <type machine=\"q35\">hvm</type>\n  </os>\n",
        "  <features>\n    <acpi/>\n  </features>\n",
        "  <devices>\n",
        "    <disk type=\"file\">\n",
        "      <source file=\"/var/lib/libvirt/images/data.img\"/>\n",
        "      <driver type=\"raw\"/>\n",
        "      <backingStore/>\n",
        "      <target dev=\"vda\"/>\n",
        "      <alias name=\"ua-disk-root\"/>\n",
        "    </disk>\n",
        "    <graphics port=\"-1\" type=\"vnc\"/>\n",
        "  </devices>\n",
        "</domain>\n",
    );
    assert_eq!(new.write().unwrap(), expected);
}

#[test]
fn the_live_description_shows_only_what_waits_for_a_start() {
    let mut wishes = Wishes::new("domain");
    wishes.set("memory", "131072");
    wishes.set("vcpu", "2");
    wishes.set("os/type@machine", "pc");
    wishes.item("devices/disk", "ua-disk-root", Part::new().with("source@file", "/var/lib/libvirt//images/root.qcow2"));
    wishes.item("devices/interface", "ua-nic-data", Part::new().with("mac@address", "52-54-00-AA-00-01"));
    wishes.item("devices/channel", "ua-channel-agent", Part::new().with("target@name", "org.qemu.guest_agent.0"));
    assert_eq!(
        shown(&wishes, &description("live")),
        ["devices/channel[ua-channel-agent]/alias@name: channel0, wished ua-channel-agent", "vcpu: 4, wished 2"]
    );
}

#[test]
fn a_difference_leads_to_the_element_to_attach_update_or_detach() {
    let (rules, base) = (table::domain(), description("rich"));
    let mut wishes = Wishes::new("domain");
    wishes.own("devices/disk", "ua-disk-");
    let third = Part::new().with("target@dev", "vdc");
    wishes.item("devices/disk", "ua-disk-third", third);
    wishes.item("devices/disk", "ua-disk-new", Part::new().with("target@dev", "vdn"));
    let result = overlay(&wishes, &base, &rules);
    let target = |path: &str, have: &Element| {
        wishes.locate(path, have, &rules).and_then(|disk| disk.attr_at("target@dev").map(str::to_owned))
    };
    assert_eq!(target("devices/disk[ua-disk-new]", &result).as_deref(), Some("vdn"));
    assert_eq!(target("devices/disk[ua-disk-third]", &base).as_deref(), Some("vdc"), "claimed by its target");
    assert_eq!(target("devices/disk[ua-disk-data]", &base).as_deref(), Some("vdb"), "ours and to be detached");
    assert_eq!(target("devices/disk[ua-disk-data]", &result), None);
    assert_eq!(
        wishes.locate("devices/disk[ua-disk-third]/target", &base, &rules).and_then(|target| target.get("bus")),
        Some("virtio")
    );
}

#[test]
fn differences_come_in_one_order_whatever_the_order_of_the_wishes() {
    let base = description("rich");
    let mut there = Wishes::new("domain");
    let mut back = Wishes::new("domain");
    for (path, value) in [("vcpu", "3"), ("memory", "1"), ("title", "t")] {
        there.set(path, value);
    }
    for (path, value) in [("title", "t"), ("memory", "1"), ("vcpu", "3")] {
        back.set(path, value);
    }
    let expected = ["memory: 131072 KiB, wished 1 KiB", "title: absent, wished t", "vcpu: 4, wished 3"];
    assert_eq!(shown(&there, &base), expected);
    assert_eq!(shown(&back, &base), expected);
}
