//! What a guest has by `rawXml`: laid over the rest, owned like the rest, and refused where it may not be.

use libvirt::{diff::diff, overlay::overlay, xml::Element};
use serde_json::json;

use crate::cases::{Case, case};

/// A guest with this XML, under a config that allows these lines.
fn with(xml: &str, lines: &[&str]) -> Case {
    let mut case = case("domain", "full");
    case.object["spec"]["forProvider"]["rawXml"] = json!(xml);
    let mut around = serde_json::to_value(&case.around).unwrap();
    around["raw_xml"] = json!(lines);
    case.around = serde_json::from_value(around).unwrap();
    case
}

fn without_any() -> Case {
    case("domain", "full")
}

/// The description after an update, which must leave nothing to do.
fn updated(case: &Case, base: &Element) -> Element {
    let rules = case.rules();
    let result = overlay(&case.wishes(Some(base), &[]).unwrap(), base, &rules);
    assert_eq!(diff(&case.wishes(Some(&result), &[]).unwrap(), &result, &rules), [], "it is not settled");
    result
}

fn refusal(xml: &str, lines: &[&str]) -> String {
    format!("{:#}", with(xml, lines).wishes(None, &[]).unwrap_err())
}

fn shown(base: &Element, path: &str) -> Vec<String> {
    base.find_all(path).into_iter().map(Element::inline).collect()
}

#[test]
fn what_is_taken_out_again_is_taken_away_and_nothing_else_is() {
    let base = without_any().create();
    let all = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><title>t</title>\
        <keywrap><cipher name='aes' state='on'/><cipher name='dea' state='on'/></keywrap><devices>\
        <disk><alias name='ua-disk-root'/><driver queues='2'/></disk><redirdev bus='usb' type='spicevmc'/>\
        <controller type='usb' index='0' model='qemu-xhci'/></devices>\
        <qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>";
    let changed = updated(&with(all, &["*"]), &base);
    assert_eq!(shown(&changed, "qemu:commandline"), ["<qemu:commandline><qemu:arg value=\"-S\"/></qemu:commandline>"]);
    let fewer = with("<domain><title>t</title><keywrap><cipher name='dea' state='on'/></keywrap></domain>", &["*"]);
    // Of a list that has become one element its mark is written once more.
    let less = overlay(&fewer.wishes(Some(&changed), &[]).unwrap(), &changed, &fewer.rules());
    let fewer = updated(&fewer, &less);
    assert_eq!(shown(&fewer, "keywrap"), ["<keywrap><cipher name=\"dea\" state=\"on\"/></keywrap>"]);
    let mut none = updated(&without_any(), &fewer);
    // A namespace that nothing is of is libvirt's to drop.
    none.unset("xmlns:qemu");
    let plain = |element: &Element| {
        let mut plain = element.clone();
        plain.retain(|child| child.name != "metadata");
        plain
    };
    assert_eq!(plain(&none), plain(&base));
}

#[test]
fn devices_keep_their_names_whatever_stands_before_them_and_one_that_is_changed_is_another() {
    let device = |port: u16| {
        format!("<redirdev bus='usb' type='tcp'><source mode='connect' host='h' service='{port}'/></redirdev>")
    };
    let all = |ports: &[u16]| {
        let devices: String = ports.iter().map(|port| device(*port)).collect();
        with(&format!("<domain><devices>{devices}</devices></domain>"), &["devices/redirdev"])
    };
    let names = |element: &Element| -> Vec<(String, String)> {
        let get = |device: &Element, path| device.attr_at(path).unwrap().to_owned();
        let devices = element.find_all("devices/redirdev").into_iter();
        devices.map(|device| (get(device, "alias@name"), get(device, "source@service"))).collect()
    };
    let first = all(&[1, 2, 2]).create();
    let named = names(&first);
    assert!(named.iter().all(|(name, _)| name.starts_with("ua-raw-")), "{named:?}");
    assert_eq!(named[2].0, format!("{}-2", named[1].0));
    assert_eq!(names(&updated(&all(&[2]), &first)), [named[1].clone()]);
    let other = names(&updated(&all(&[3, 2]), &first));
    assert_eq!((other[0].clone(), other[1].1.as_str()), (named[1].clone(), "3"));
    let twice = with("<domain><devices><memballoon model='none'/></devices></domain>", &["*"]).create();
    let again = updated(&with("<domain><devices><memballoon model='virtio'/></devices></domain>", &["*"]), &twice);
    assert_eq!(shown(&again, "devices/memballoon").len(), 1);
}

#[test]
fn what_libvirt_writes_otherwise_or_fills_in_is_no_difference() {
    let xml = "<domain><memtune><hard_limit unit='GiB'>1</hard_limit></memtune><devices>\
        <hostdev mode='subsystem' type='pci'><source><address domain='0' bus='6' slot='0x0' function='0'/></source></hostdev>\
        </devices></domain>";
    let case = with(xml, &["*"]);
    let text = case.create().write().unwrap();
    let text = text.replace("<hard_limit unit=\"GiB\">1<", "<hard_limit unit=\"KiB\">1048576<");
    let text = text
        .replace("domain=\"0\" bus=\"6\"", "domain=\"0x0000\" bus=\"0x06\"")
        .replace("slot=\"0x0\"", "slot=\"0x00\"");
    let text = text
        .replace("<hostdev ", "<hostdev managed=\"no\" ")
        .replace("</hostdev>", "<address type=\"pci\"/></hostdev>");
    let stored = Element::parse(&text).unwrap();
    assert_ne!(stored, case.create());
    assert_eq!(updated(&case, &stored), stored);
}

#[test]
fn only_what_the_config_lists_may_be_said() {
    let xml = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><devices><redirdev bus='usb' type='spicevmc'/></devices>\
        <qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>";
    let not = |place: &str, line: &str| {
        format!(
            "rawXml: {place} is not allowed here: the config of the host would have to list {line:?} in its spec.policy.rawXml"
        )
    };
    assert_eq!(refusal(xml, &[]), not("devices/redirdev@bus", "devices/redirdev"));
    assert_eq!(refusal(xml, &["devices/redir"]), not("devices/redirdev@bus", "devices/redirdev"));
    assert_eq!(refusal(xml, &["devices/redirdev"]), not("qemu:commandline/qemu:arg@value", "qemu:commandline"));
    for lines in [
        &["*"][..],
        &["devices", "qemu:commandline/qemu:arg"],
        &["devices/redirdev@bus", "devices/redirdev@type", "qemu:commandline"],
    ] {
        with(xml, lines).wishes(None, &[]).unwrap();
    }
}

/// What cannot be said, and why.
const REFUSED: &[(&str, &str)] = &[
    ("<domain type='kvm'/>", "rawXml: the attribute type of <domain> is not its to say"),
    ("<network/>", "rawXml: its root is <network>, and must be <domain>"),
    (
        "<domain><name>x</name></domain>",
        "rawXml: name cannot be said here: the name is the annotation crossplane.io/external-name",
    ),
    ("<domain><uuid>x</uuid></domain>", "rawXml: uuid cannot be said here: the UUID is that of the object"),
    (
        "<domain><os><type>hvm</type></os></domain>",
        "rawXml: os/type cannot be said here: type, os.arch and os.machine say it",
    ),
    (
        "<domain><metadata><p:object xmlns:p='https://libvirt.m.nourspeed.io/v1'/></metadata></domain>",
        "rawXml: metadata/p:object is the provider's own mark",
    ),
    (
        "<domain><memory>1</memory></domain>",
        "rawXml: memory belongs to a field of forProvider: say it there, or leave the field out",
    ),
    (
        "<domain><cpu><model>EPYC</model></cpu></domain>",
        "rawXml: cpu/model belongs to a field of forProvider: say it there, or leave the field out",
    ),
    (
        "<domain><devices><disk><alias name='ua-disk-root'/><source file='/etc/shadow'/></disk></devices></domain>",
        "rawXml: devices/disk/source@file belongs to a field of forProvider: say it there, or leave the field out",
    ),
    (
        "<domain><devices><disk><alias name='ua-disk-drive'/><source file='/etc/shadow'/></disk></devices></domain>",
        "rawXml: devices/disk/source belongs to a field of forProvider: say it there, or leave the field out",
    ),
    (
        "<domain><devices><disk><source file='/pool/base'/></disk></devices></domain>",
        "rawXml: /pool/base is a file of the guest's already, and would be written to by two",
    ),
    (
        "<domain><devices><disk><alias name='ua-disk-more'/></disk></devices></domain>",
        "rawXml: no field makes a <disk> ua-disk-more; the alias of another device must not begin with ua-disk-",
    ),
    (
        "<domain><devices><input type='tablet'><alias name='mine'/></input></devices></domain>",
        "rawXml: the alias mine of a <input> must begin with ua-, and not with ua-raw- or ua-init-",
    ),
    (
        "<domain><devices><graphics type='spice' passwd='x'/></devices></domain>",
        "rawXml: the attribute passwd of <graphics> would show a password to all who read the object",
    ),
    (
        "<domain><x:commandline/></domain>",
        "rawXml: the prefix of <x:commandline> is not that of xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0', declared on <domain>: libvirt knows no other",
    ),
    ("<domain><devices/><devices/></domain>", "rawXml: <devices> is there twice"),
    ("<domain>", "rawXml: the XML document ends inside of element domain"),
    ("<!DOCTYPE x [<!ENTITY a 'b'>]><domain/>", "rawXml: XML at byte 30: a document type declaration is not accepted"),
    ("<domain><title>&a;</title></domain>", "rawXml: XML at byte 18: the entity &a; is not accepted"),
];

#[test]
fn nothing_that_is_ours_a_fields_or_no_xml_of_libvirt_can_be_said() {
    let deep = format!("<domain>{}{}</domain>", "<a>".repeat(200), "</a>".repeat(200));
    let deep = [(deep.as_str(), "rawXml: XML at byte 392: elements nest deeper than 128")];
    for (xml, sentence) in REFUSED.iter().copied().chain(deep) {
        assert_eq!(refusal(xml, &["*"]), sentence, "{xml}");
    }
}
