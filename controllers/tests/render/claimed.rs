//! A guest that others made and an object took over: its devices are told by what they are, and none is made twice or taken away.

use apis::volume::Format;
use libvirt::{diff::diff, overlay::overlay, rule::Rules, wish::Wishes, xml::Element};
use provider_libvirt::domain::{
    self, Surroundings,
    claim::{as_running, claim, running},
    render::Medium,
};
use serde_json::{Value, json};

use crate::cases::facts;

const OTHER_LIFE: &str = "<pl:object xmlns:pl='https://libvirt.m.nourspeed.io/v1' kind='Domain' namespace='n' name='web' uid='before'>\
    <pl:path>os/cmdline</pl:path></pl:object>";

/// A guest with two disks, two cards and a drive; `metadata` is what marks it.
fn theirs(metadata: &str) -> Element {
    Element::parse(&format!(
        "<domain type='qemu'><name>web</name><uuid>theirs</uuid><title>theirs</title><metadata>{metadata}</metadata>\
         <memory unit='KiB'>65536</memory><currentMemory unit='KiB'>65536</currentMemory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><cmdline>quiet</cmdline></os><devices>\
         <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/pool/root'/><target dev='sda' bus='sata'/></disk>\
         <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/pool/data'/><target dev='vda' bus='virtio'/><alias name='ua-disk-data'/></disk>\
         <disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>\
         <interface type='bridge'><mac address='52:54:00:00:00:0A'/><source bridge='br0'/><model type='e1000e'/></interface>\
         <interface type='bridge'><mac address='52:54:00:00:00:0b'/><source bridge='br0'/><model type='rtl8139'/><alias name='ua-mine'/></interface>\
         </devices></domain>"
    ))
    .unwrap()
}

#[test]
fn devices_and_folders_of_the_host_are_told_by_what_they_are() {
    let passed = "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source></hostdev>\
        <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></source></hostdev>\
        <filesystem type='mount' accessmode='mapped'><source dir='/srv/f'/><target dir='docs'/></filesystem></devices>";
    let base = Element::parse(&theirs("").write().unwrap().replace("</devices>", passed)).unwrap();
    let object = object(&json!({
        "hostDevices": [{"name": "card", "pci": {"address": "0000:02:00.0"}}],
        "filesystems": [{"name": "docs", "hostPath": "/srv/f"}],
    }));
    let result = taken(&object, &base);
    let names = |list: &str| -> Vec<Option<String>> {
        result.find_all(list).iter().map(|device| device.attr_at("alias@name").map(str::to_owned)).collect()
    };
    assert_eq!(names("devices/hostdev"), [None, Some("ua-host-card".to_owned())]);
    assert_eq!(names("devices/filesystem"), [Some("ua-fs-docs".to_owned())]);
    assert_eq!(result.attr_at("devices/filesystem@accessmode"), Some("mapped"));
}

fn object(parameters: &Value) -> apis::Domain {
    serde_json::from_value(json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
        "metadata": {"namespace": "n", "name": "web", "uid": "now"}, "spec": {"forProvider": parameters},
    }))
    .unwrap()
}

fn around() -> Surroundings {
    let medium = |path: &str, format| Medium::file(path, format);
    let media = [("system", medium("/pool/root", Format::Qcow2)), ("data", medium("/pool/data", Format::Raw))];
    Surroundings { media: media.map(|(name, medium)| (name.to_owned(), medium)).into(), ..Surroundings::default() }
}

fn wishes(object: &apis::Domain, base: &Element) -> (Wishes, Element, Rules) {
    let around = around();
    let claimed = claim(object, &around, base, true);
    let wishes = domain::render::render(&claimed.object, &claimed.around, &facts(), Some(&claimed.base)).unwrap();
    (wishes, claimed.base.into_owned(), domain::rules::rules())
}

/// The description that the object defines over what is there.
fn taken(object: &apis::Domain, base: &Element) -> Element {
    let (wishes, claimed, rules) = wishes(object, base);
    let result = overlay(&wishes, &claimed, &rules);
    let (wishes, claimed, rules) = self::wishes(object, &result);
    assert_eq!(diff(&wishes, &claimed, &rules), [], "it is not settled");
    result
}

/// Every device without its alias and the end of its chain, and every alias.
fn devices(description: &Element) -> (Vec<String>, Vec<Option<String>>) {
    let plain = |device: &Element| {
        let mut device = device.clone();
        device.retain(|child| child.name != "alias" && child.name != "backingStore");
        device.write().unwrap()
    };
    let all = description.find("devices").unwrap();
    let aliases = all.elements().map(|device| device.attr_at("alias@name").map(str::to_owned));
    (all.elements().map(plain).collect(), aliases.collect())
}

fn owned(names: &[Option<&str>]) -> Vec<Option<String>> {
    names.iter().map(|name| name.map(str::to_owned)).collect()
}

#[test]
fn a_disk_is_told_by_its_data_and_a_card_by_what_it_is_on_and_all_else_stays() {
    let parameters = json!({
        "memory": "64Mi", "disks": [{"name": "system", "volume": {"pool": "p", "name": "root", "format": "Qcow2"}}],
        "networkInterfaces": [{"name": "lan", "bridge": "br0"}],
    });
    for metadata in ["", OTHER_LIFE] {
        let before = theirs(metadata);
        let after = taken(&object(&parameters), &before);
        let names = [Some("ua-disk-system"), None, None, Some("ua-nic-lan"), Some("ua-mine")];
        assert_eq!(devices(&after), (devices(&before).0, owned(&names)));
        // What another life of the object owned and this one does not speak of is nobody's to take away.
        assert_eq!((after.text_at("os/cmdline"), after.text_at("uuid")), (Some("quiet"), Some("theirs")));
        assert_eq!(provider_libvirt::mark::owner(&after).unwrap().uid, "now");
    }
}

#[test]
fn names_from_what_the_status_showed_and_addresses_tell_the_devices_too() {
    let parameters = json!({
        "memory": "64Mi",
        "disks": [{"name": "data", "volume": {"pool": "p", "name": "data", "format": "Raw"}}, {"name": "sdb", "device": "Cdrom"}],
        "networkInterfaces": [{"name": "52-54-00-00-00-0a", "bridge": "br0"}],
    });
    let before = theirs(OTHER_LIFE);
    let after = taken(&object(&parameters), &before);
    let names = [None, Some("ua-disk-data"), Some("ua-disk-sdb"), Some("ua-nic-52-54-00-00-00-0a"), Some("ua-mine")];
    assert_eq!(devices(&after).1, owned(&names));
    assert_eq!(devices(&after).0.len(), 5);
    assert_eq!(after.find_all("devices/disk")[2].attr_at("target@bus"), Some("sata"));
}

#[test]
fn a_disk_of_the_name_with_other_data_is_refused_and_not_made_beside() {
    let parameters = json!({
        "memory": "64Mi", "disks": [{"name": "sda", "volume": {"pool": "p", "name": "data", "format": "Raw"}}],
    });
    let text = theirs("").write().unwrap().replace("/pool/data", "/pool/third");
    let (base, rules) = (Element::parse(&text).unwrap(), domain::rules::rules());
    let mut around = around();
    around.media.insert("sda".to_owned(), around.media["data"].clone());
    let object = object(&parameters);
    let claimed = claim(&object, &around, &base, true);
    let wishes = domain::render::render(&claimed.object, &around, &facts(), Some(&claimed.base)).unwrap();
    let refused: Vec<String> = diff(&wishes, &claimed.base, &rules)
        .iter()
        .filter(|difference| !difference.is_applied())
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        refused,
        ["devices/disk[ua-disk-sda]/source: /pool/root, wished /pool/data; refused: DiskSourceChanged"]
    );
}

#[test]
fn a_running_guest_is_compared_by_our_names_and_changed_by_its_own() {
    let parameters = json!({
        "memory": "64Mi", "disks": [{"name": "system", "volume": {"pool": "p", "name": "root", "format": "Qcow2"}}],
    });
    let object = object(&parameters);
    let text = theirs(OTHER_LIFE).write().unwrap();
    let live = Element::parse(&text.replacen("</disk>", "<alias name='sata0-0-0'/></disk>", 1)).unwrap();
    let definition = taken(&object, &theirs(OTHER_LIFE));
    let seen = running(&definition, &live, &object);
    // Its second disk was started with a name of another life, which the definition has no more.
    let names = [Some("ua-disk-system"), None, None, None, Some("ua-mine")];
    assert_eq!(devices(&seen).1, owned(&names));
    let (wishes, ..) = wishes(&object, &definition);
    let unplugged: Vec<_> = diff(&wishes, &seen, &domain::rules::rules())
        .into_iter()
        .filter(|difference| difference.path.ends_with(']'))
        .collect();
    assert_eq!(unplugged, []);
    let device = definition.find_all("devices/disk")[0].clone();
    assert_eq!(as_running(device, &live).attr_at("alias@name"), Some("sata0-0-0"));
}

#[test]
fn what_can_never_change_must_be_said_as_it_is_or_not_at_all() {
    let found = |parameters: &Value| domain::claim::mismatch(&object(parameters), &around(), &theirs(""));
    for same in [json!({}), json!({"type": "Auto"}), json!({"type": "Qemu", "os": {"arch": "x86_64", "machine": "pc"}})]
    {
        assert_eq!(found(&same), None, "{same}");
    }
    let hypervisor = "its type is qemu, and spec.forProvider.type says Kvm";
    assert_eq!(found(&json!({"type": "Kvm"})).as_deref(), Some(hypervisor));
    let arch = "its architecture is x86_64, and spec.forProvider.os.arch says aarch64";
    assert_eq!(found(&json!({"os": {"arch": "aarch64"}})).as_deref(), Some(arch));
}

#[test]
fn a_disk_must_be_one_of_the_guests_by_its_name_or_its_file() {
    let found =
        |disks: Value, base: &Element| domain::claim::mismatch(&object(&json!({ "disks": disks })), &around(), base);
    let base = theirs("");
    let cdrom = json!({"name": "drive", "device": "Cdrom"});
    for known in [json!([{"name": "system"}, {"name": "data"}]), json!([{"name": "sda"}]), json!([cdrom])] {
        assert_eq!(found(known.clone(), &base), None, "{known}");
    }
    let said = "disk system of spec.forProvider.disks is none of the guest's disks by its name or its file (those are sda, vda, sdb). \
        If it is one of them, name it as its target there; if it is a new one, take it out until the guest is taken over";
    let elsewhere = ["file='/link/root'", "file='/pool/root.snap'", "pool='pool' volume='root'"];
    for source in elsewhere {
        let text = base.write().unwrap().replace('"', "'").replace("file='/pool/root'", source);
        let base = Element::parse(&text).unwrap();
        assert_eq!(found(json!([{"name": "system"}]), &base).as_deref(), Some(said), "{source}");
    }
}
