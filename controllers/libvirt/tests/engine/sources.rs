//! The data of a disk is never exchanged: snapshots, moved sources, tables that forget to say so.

use libvirt::diff::{Difference, diff};
use libvirt::overlay::overlay;
use libvirt::rule::{Refusal, Route, Rules};
use libvirt::wish::{Part, Wishes};
use libvirt::xml::Element;

use crate::golden::{check, description};
use crate::table;

const IMAGES: &str = "/var/lib/libvirt/images";

fn root(file: &str) -> Part {
    let disk =
        Part::new().with("@type", "file").with("@device", "disk").with("source@file", format!("{IMAGES}/{file}"));
    disk.with("driver@type", "qcow2")
        .with_flag("backingStore", true)
        .with("target@dev", "vda")
        .with("target@bus", "virtio")
}

fn data() -> Part {
    let disk = Part::new()
        .with("@type", "volume")
        .with("@device", "disk")
        .with("source@pool", "engine-pool")
        .with("source@volume", "data.img");
    disk.with("driver@type", "raw")
        .with_flag("backingStore", true)
        .with("target@dev", "vdb")
        .with("target@bus", "virtio")
}

fn wishes(disks: &[(&str, Part)]) -> Wishes {
    let mut wishes = Wishes::new("domain");
    wishes.own("devices/disk", "ua-disk-");
    for (name, disk) in disks {
        wishes.item("devices/disk", name, disk.clone());
    }
    wishes
}

fn both() -> Wishes {
    wishes(&[("ua-disk-root", root("root.qcow2")), ("ua-disk-data", data())])
}

fn refused(path: &str, want: &str, have: &str) -> Difference {
    let route = Route::Refused(Refusal::DiskSourceChanged);
    Difference { path: path.to_owned(), want: Some(want.to_owned()), have: Some(have.to_owned()), route, group: None }
}

fn sources(domain: &Element) -> Vec<String> {
    let of = |disk: &&Element| {
        disk.elements()
            .filter(|child| child.name == "source" || child.name == "backingStore")
            .map(Element::inline)
            .collect()
    };
    domain.find_all("devices/disk").iter().filter(|disk| disk.get("device") == Some("disk")).map(of).collect()
}

#[test]
fn a_snapshot_by_a_backup_tool_is_no_difference_in_the_definition_and_in_the_live_description() {
    for base in ["snapshot", "live-snapshot"] {
        let base = description(base);
        assert_eq!(diff(&both(), &base, &table::domain()), []);
        assert_eq!(overlay(&both(), &base, &table::domain()), base);
    }
}

#[test]
fn an_edit_of_a_disk_with_a_snapshot_leaves_its_chain_alone() {
    let disks =
        wishes(&[("ua-disk-root", root("root.qcow2").with("driver@cache", "writeback")), ("ua-disk-data", data())]);
    check("snapshot-cache", &disks, &description("snapshot"), &table::domain());
}

#[test]
fn another_source_is_refused_and_not_written() {
    let (base, rules) = (description("rich"), table::domain());
    let disks =
        wishes(&[("ua-disk-root", root("other.qcow2").with("driver@cache", "writeback")), ("ua-disk-data", data())]);
    let result = overlay(&disks, &base, &rules);
    assert_eq!(sources(&result), sources(&base));
    assert_eq!(result.attr_at("devices/disk/driver@cache"), Some("writeback"));
    let path = "devices/disk[ua-disk-root]/source";
    let expected = refused(path, &format!("{IMAGES}/other.qcow2"), &format!("{IMAGES}/root.qcow2"));
    assert_eq!(diff(&disks, &result, &rules), std::slice::from_ref(&expected));
    assert_eq!(
        expected.to_string(),
        "devices/disk[ua-disk-root]/source: /var/lib/libvirt/images/root.qcow2, wished /var/lib/libvirt/images/other.qcow2; refused: DiskSourceChanged"
    );
}

#[test]
fn another_format_or_kind_of_device_is_refused_like_another_source() {
    let (base, rules) = (description("rich"), table::domain());
    let disks = wishes(&[
        ("ua-disk-root", root("root.qcow2").with("driver@type", "raw").with("@device", "cdrom")),
        ("ua-disk-data", data()),
    ]);
    assert_eq!(
        diff(&disks, &base, &rules),
        [
            refused("devices/disk[ua-disk-root]/driver@type", "raw", "qcow2"),
            refused("devices/disk[ua-disk-root]@device", "cdrom", "disk"),
        ]
    );
    assert_eq!(overlay(&disks, &base, &rules), base);
}

#[test]
fn a_volume_and_the_file_it_is_are_one_source_when_the_wish_says_so() {
    let (base, rules) = (description("rich"), table::domain());
    let volume =
        Part::new().with("@type", "volume").with("source@pool", "engine-pool").with("source@volume", "root.qcow2");
    let file = Element::new("source").attr("file", format!("{IMAGES}/root.qcow2"));
    let disks = |disk: Part| wishes(&[("ua-disk-root", disk), ("ua-disk-data", data())]);
    assert_eq!(diff(&disks(volume.clone().or_source(file)), &base, &rules), []);
    let expected = refused(
        "devices/disk[ua-disk-root]/source",
        "volume root.qcow2 of pool engine-pool",
        &format!("{IMAGES}/root.qcow2"),
    );
    assert_eq!(diff(&disks(volume), &base, &rules), [expected]);
}

#[test]
fn a_claimed_disk_keeps_its_source_too() {
    let (base, rules) = (description("rich"), table::domain());
    let mut wishes = Wishes::new("domain");
    wishes.item("devices/disk", "ua-disk-third", root("root.qcow2").with("target@dev", "vdc"));
    let result = overlay(&wishes, &base, &rules);
    assert_eq!(sources(&result), sources(&base));
    let expected = refused(
        "devices/disk[ua-disk-third]/source",
        &format!("{IMAGES}/root.qcow2"),
        &format!("{IMAGES}/foreign.img"),
    );
    assert_eq!(diff(&wishes, &result, &rules), [expected]);
}

#[test]
fn a_table_that_says_nothing_about_disks_cannot_exchange_their_data() {
    let base = description("snapshot");
    let none = Rules::new(&[]);
    let disks = wishes(&[("ua-disk-root", root("other.qcow2").with("driver@cache", "none")), ("ua-disk-data", data())]);
    assert_eq!(sources(&overlay(&disks, &base, &none)), sources(&base));
}

#[test]
fn replacing_a_disk_or_all_devices_whole_cannot_exchange_their_data() {
    let (base, rules) = (description("snapshot"), table::domain());
    let target = Element::new("target").attr("dev", "vda").attr("bus", "virtio");
    let source = Element::new("source").attr("file", format!("{IMAGES}/root.qcow2"));
    let driver = Element::new("driver").attr("name", "qemu").attr("type", "raw").attr("cache", "unsafe");
    let disk =
        Element::new("disk").attr("type", "file").attr("device", "disk").child(driver).child(source).child(target);

    let mut wishes = Wishes::new("domain");
    wishes.item_whole("devices/disk", "ua-disk-root", disk.clone());
    check("snapshot-whole", &wishes, &base, &rules);

    let mut wishes = Wishes::new("domain");
    let alias = Element::new("alias").attr("name", "ua-disk-root");
    wishes.replace("devices", Element::new("devices").child(disk.child(alias)));
    let result = overlay(&wishes, &base, &rules);
    assert_eq!(sources(&result), sources(&base)[..1]);
    assert_eq!(result.attr_at("devices/disk/driver@type"), Some("qcow2"));
}

#[test]
fn a_network_disk_is_compared_by_protocol_name_and_host() {
    let rules = table::domain();
    let host = |name: &str| Element::new("host").attr("name", name).attr("port", "3260");
    let source =
        |name: &str| Element::new("source").attr("protocol", "iscsi").attr("name", "iqn.x:1/0").child(host(name));
    let disk = Element::new("disk")
        .attr("type", "network")
        .child(source("a"))
        .child(Element::new("target").attr("dev", "vda"));
    let have = Element::new("domain").child(Element::new("devices").child(disk));
    let wish = |host: &str| {
        let mut wishes = Wishes::new("domain");
        wishes.item(
            "devices/disk",
            "ua-disk-n",
            Part::new().with_whole("source", source(host)).with("target@dev", "vda"),
        );
        diff(&wishes, &have, &rules).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let claimed = "devices/disk[ua-disk-n]/alias@name: absent, wished ua-disk-n";
    assert_eq!(wish("a"), [claimed]);
    let facts = |name: &str| format!("host/name={name} host/port=3260 name=iqn.x:1/0 protocol=iscsi");
    let changed =
        format!("devices/disk[ua-disk-n]/source: {}, wished {}; refused: DiskSourceChanged", facts("a"), facts("b"));
    assert_eq!(wish("b"), [claimed, &changed]);
}
