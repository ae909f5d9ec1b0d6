//! What an update of a domain changes, and what it leaves alone.

use libvirt::{diff::diff, overlay::overlay, xml::Element};
use serde_json::json;

use crate::{
    cases::{Case, case, without},
    owned,
};

/// The description after an update, which must leave nothing to do.
fn updated(case: &Case, base: &Element) -> Element {
    let rules = case.rules();
    let result = overlay(&case.wishes(Some(base), &[]).unwrap(), base, &rules);
    assert_eq!(diff(&case.wishes(Some(&result), &[]).unwrap(), &result, &rules), [], "{} is not settled", case.name);
    result
}

/// The elements of `devices` that only the first has.
fn only_in<'a>(first: &'a Element, second: &Element) -> Vec<&'a Element> {
    let others: Vec<&Element> = second.find("devices").unwrap().elements().collect();
    first.find("devices").unwrap().elements().filter(|device| !others.contains(device)).collect()
}

/// A description without its devices and its mark.
fn rest(description: &Element) -> Element {
    let mut rest = description.clone();
    rest.retain(|child| child.name != "devices" && child.name != "metadata");
    rest
}

#[test]
fn a_new_interface_gets_its_mac_and_model_once_and_keeps_them() {
    let before = case("domain", "minimal");
    let base = before.create();
    let mut after = before.clone();
    after.object["spec"]["forProvider"]["networkInterfaces"] = json!([{"name": "lan", "bridge": "br0"}]);
    let result = updated(&after, &base);
    let added = only_in(&result, &base);
    let uid = before.object["metadata"]["uid"].as_str().unwrap();
    let expected = format!(
        "<interface type='bridge'><alias name='ua-nic-lan'/><source bridge='br0'/><mac address='{}'/><model type='virtio'/></interface>",
        provider_libvirt::mark::mac(uid, "lan")
    );
    assert_eq!(added.iter().map(|nic| sorted(nic)).collect::<Vec<_>>(), [sorted(&Element::parse(&expected).unwrap())]);
    assert_eq!(rest(&result), rest(&base));
    assert!(!owned(&result).iter().any(|path| path.contains("mac@address") || path.contains("model@type")));

    // What the host has counts from then on, whatever would be chosen today.
    let text = result.write().unwrap().replace(&provider_libvirt::mark::mac(uid, "lan"), "52:54:00:12:34:56");
    let moved = Element::parse(&text.replace("virtio'", "e1000'").replace("\"virtio\"", "\"e1000\"")).unwrap();
    assert_ne!(moved, result);
    assert_eq!(updated(&after, &moved), moved);
}

/// The element with attributes and children in order of their names.
fn sorted(element: &Element) -> String {
    let mut children: Vec<String> = element.elements().map(sorted).collect();
    children.sort();
    let mut attributes = element.attributes.clone();
    attributes.sort();
    format!("{} {attributes:?} {:?} {children:?}", element.name, element.value())
}

#[test]
fn a_device_taken_out_of_the_spec_goes_and_nothing_else_does() {
    let full = case("domain", "full");
    let base = full.create();
    let table = [
        ("disks/1", vec!["ua-disk-data"]),
        ("disks/2", vec!["ua-disk-drive"]),
        ("networkInterfaces/0", vec!["ua-nic-lan"]),
        ("cloudInitRef", vec!["ua-seed-cloud-init"]),
        ("consoles/1", vec!["ua-serial-second"]),
        ("consoles", vec!["ua-serial-main", "ua-serial-second"]),
        ("graphics", vec!["vnc"]),
        ("rng", vec!["ua-rng-0"]),
        ("guestAgent", vec!["ua-channel-agent"]),
    ];
    for (field, expected) in table {
        let changed = without(&full, &format!("/spec/forProvider/{field}"));
        let result = updated(&changed, &base);
        let gone: Vec<&str> = only_in(&base, &result)
            .into_iter()
            .map(|device| device.attr_at("alias@name").or_else(|| device.get("type")).unwrap())
            .collect();
        assert_eq!(gone, expected, "{field}");
        assert_eq!(only_in(&result, &base), [] as [&Element; 0], "{field}");
        assert_eq!(rest(&result), rest(&base), "{field}");
    }
}

#[test]
fn what_others_added_to_a_domain_stays() {
    let full = case("domain", "full");
    let mut base = full.create();
    let foreign = "<devices><disk type='file' device='disk'><source file='/theirs'/><target dev='vdz' bus='virtio'/></disk>\
        <interface type='bridge'><mac address='52:54:00:00:00:99'/><source bridge='br9'/></interface>\
        <rng model='virtio'><backend model='random'>/dev/random</backend></rng><watchdog model='itco'/></devices>";
    for device in Element::parse(foreign).unwrap().elements() {
        base.elements_mut().find(|child| child.name == "devices").unwrap().push(device.clone());
    }
    base.push(Element::new("title").text("theirs"));
    assert_eq!(updated(&full, &base), base);
}

#[test]
fn a_snapshot_of_somebody_else_is_no_difference_and_is_not_undone() {
    let quickstart = case("domain", "quickstart");
    let mut base = quickstart.create();
    let devices = base.elements_mut().find(|child| child.name == "devices").unwrap();
    let disk = devices.elements_mut().find(|device| device.attr_at("alias@name") == Some("ua-disk-root")).unwrap();
    let store = |file: &str, below: Element| {
        Element::new("backingStore")
            .attr("type", "file")
            .child(Element::new("format").attr("type", "qcow2"))
            .child(Element::new("source").attr("file", file))
            .child(below)
    };
    let chain =
        store("/pool/web-root.snap1", store("/pool/web-root", store("/pool/base", Element::new("backingStore"))));
    disk.retain(|child| child.name != "source" && child.name != "backingStore");
    disk.push(Element::new("source").attr("file", "/pool/web-root.snap2"));
    disk.push(chain);
    assert_eq!(updated(&quickstart, &base), base);

    let mut bigger = quickstart.clone();
    bigger.object["spec"]["forProvider"]["memory"] = json!("512Mi");
    let result = updated(&bigger, &base);
    assert_eq!(result.find("devices"), base.find("devices"));
    assert_eq!(result.text_at("memory"), Some("524288"));
}

#[test]
fn a_disk_whose_volume_is_not_in_its_chain_is_refused_and_stays() {
    let quickstart = case("domain", "quickstart");
    let text = quickstart.create().write().unwrap().replace("/pool/web-root", "/pool/another");
    let base = Element::parse(&text).unwrap();
    let rules = quickstart.rules();
    let wishes = quickstart.wishes(Some(&base), &[]).unwrap();
    let found = diff(&wishes, &base, &rules);
    assert_eq!(
        found.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["devices/disk[ua-disk-root]/source: /pool/another, wished /pool/web-root; refused: DiskSourceChanged"]
    );
    assert_eq!(overlay(&wishes, &base, &rules), base);
}

/// The description with one more device.
fn with_device(description: &Element, device: &str) -> Element {
    let mut description = description.clone();
    let devices = description.elements_mut().find(|child| child.name == "devices").unwrap();
    devices.push(Element::parse(device).unwrap());
    description
}

#[test]
fn a_spice_console_takes_the_sounds_way_with_it_unless_it_is_somebody_elses() {
    let way = "<audio id='1' type='spice'/>";
    let full = ["channels/1", "graphics/1"]
        .iter()
        .fold(case("domain", "devices"), |case, field| without(&case, &format!("/spec/forProvider/{field}")));
    let mut before = full.clone();
    before.object["spec"]["forProvider"]["graphics"].as_array_mut().unwrap().push(json!({"type": "Spice"}));
    let silent = |case: &Case| without(case, "/spec/forProvider/sound");
    // With a sound card the way is wished, and without libvirt has added it by itself.
    let results =
        [updated(&full, &before.create()), updated(&silent(&full), &with_device(&silent(&before).create(), way))];
    for result in results {
        assert_eq!((result.find("devices/audio"), result.find_all("devices/graphics").len()), (None, 1));
    }
    let theirs = with_device(&with_device(&silent(&full).create(), way), "<graphics type='spice'/>");
    assert_eq!(updated(&silent(&full), &theirs), theirs);
}

#[test]
fn a_password_goes_with_its_field_and_one_of_somebody_elses_stays() {
    let before = case("domain", "devices");
    let base = before.create();
    let after = without(&before, "/spec/forProvider/graphics/0/passwordSecretRef");
    let shown = |description: &Element| {
        let consoles = description.find_all("devices/graphics").into_iter();
        consoles.map(|console| console.get("passwd").map(str::to_owned)).collect::<Vec<_>>()
    };
    let spice = shown(&base)[1].clone();
    assert_eq!(shown(&updated(&after, &base)), [None, spice.clone()]);
    assert_eq!(shown(&updated(&before, &updated(&after, &base))), [Some("word".to_owned()), spice]);
    let minimal = case("domain", "minimal");
    let mut said = minimal.clone();
    said.object["spec"]["forProvider"]["graphics"] = json!([{"type": "Vnc"}]);
    let theirs = with_device(&minimal.create(), "<graphics type='vnc' port='5901' autoport='no' passwd='theirs'/>");
    assert_eq!(shown(&updated(&said, &theirs)), [Some("theirs".to_owned())]);
}

#[test]
fn a_topology_fits_the_processors_there_can_be() {
    let shape = |topology: serde_json::Value| {
        let mut case = case("domain", "minimal");
        let spec = &mut case.object["spec"]["forProvider"];
        (spec["vcpus"], spec["maxVcpus"], spec["cpu"]) = (json!(2), json!(8), json!({"topology": topology}));
        case.wishes(None, &[]).map(|wishes| wishes.create(&case.rules()))
    };
    let attributes = |topology: serde_json::Value| {
        let made = shape(topology).unwrap();
        ["sockets", "cores", "threads"].map(|name| made.attr_at(&format!("cpu/topology@{name}")).unwrap().to_owned())
    };
    assert_eq!(attributes(json!({"sockets": 1, "cores": 4, "threads": 2})), ["1", "4", "2"]);
    assert_eq!(attributes(json!({"sockets": 8})), ["8", "1", "1"]);
    let refused = |topology| shape(topology).unwrap_err().to_string();
    assert_eq!(
        refused(json!({"sockets": 2, "cores": 3})),
        "cpu.topology makes 2 × 3 × 1 vCPUs, and the guest can have 8; set maxVcpus or the topology"
    );
    assert!(refused(json!({"sockets": 1024, "cores": 1024, "threads": 1024})).starts_with("cpu.topology makes 1024"));
    assert!(refused(json!({"sockets": 1_000_000, "cores": 1_000_000})).starts_with("cpu.topology makes 1000000"));
}

#[test]
fn a_firmware_is_chosen_once_and_files_that_somebody_chose_count_as_it() {
    let before = case("domain", "minimal");
    let base = before.create();
    let mut after = before.clone();
    after.object["spec"]["forProvider"]["os"] = json!({"firmware": "Efi"});
    let refused = after.wishes(Some(&base), &[]).unwrap_err().to_string();
    assert_eq!(
        refused,
        "os.firmware: the guest was made with a BIOS and what is installed would not start under Efi; unset it, or create a new Domain"
    );
    let by_file = base.write().unwrap().replace("<os>", "<os><loader readonly='yes' type='pflash'>/f</loader>");
    let by_file = Element::parse(&by_file).unwrap();
    assert_eq!(rest(&updated(&after, &by_file)), rest(&by_file));

    let made = after.create();
    assert_eq!(made.attr_at("os@firmware"), Some("efi"));
    assert_eq!(rest(&updated(&before, &made)), rest(&made), "it stays when its field is unset");
}

#[test]
fn a_guest_keeps_its_board_in_whatever_version() {
    let before = case("domain", "minimal");
    let base = before.create();
    let with = |machine: &str| {
        let mut after = before.clone();
        after.object["spec"]["forProvider"]["os"] = json!({"machine": machine});
        after.wishes(Some(&base), &[]).map(drop)
    };
    for machine in ["q35", "pc-q35-7.1"] {
        with(machine).unwrap();
    }
    assert_eq!(
        with("pc").unwrap_err().to_string(),
        "os.machine: the guest was made as q35 and cannot become pc, where its devices would find no place; a newer or older version of its machine is possible, or create a new Domain"
    );
}
