//! Descriptions become what the status shows: golden files beside the descriptions, and what others wrote differently.

use libvirt::{VolumeId, diff::diff, xml::Element};
use provider_libvirt::{domain, network, pool};
use serde_json::{Value, json};

use super::{
    cases::{WISHED, cases, facts},
    golden,
};

fn seen(kind: &str, description: &Element) -> Value {
    let seen = match kind {
        "domain" => {
            serde_json::to_value(domain::observed::observe(Some(description), None, &domain::observed::Volumes::new()))
        }
        "network" => serde_json::to_value(network::observed::observe(Some(description), None)),
        "pool" => serde_json::to_value(pool::observed::observe(Some(description), None)),
        other => panic!("{other} has no description"),
    };
    seen.unwrap()
}

#[test]
fn every_description_is_shown_as_the_file_beside_it_says() {
    for case in WISHED.into_iter().flat_map(cases) {
        let text = serde_json::to_string_pretty(&seen(case.kind, &case.create())).unwrap() + "\n";
        golden(case.kind, &format!("{}.seen.json", case.name), &text);
    }
}

/// What a guest of others has that no pool has.
const PASSED: &str = "<domain type='qemu'><devices>\
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/a'/><target dev='vda' bus='virtio'/></disk>\
    <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/b'/><target dev='vdb' bus='virtio'/><shareable/></disk>\
    <disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='p/i'><host name='m'/></source><target dev='vdc' bus='virtio'/></disk>\
    <disk type='network' device='disk'><driver name='qemu' type='raw'/><auth username='u'/><source protocol='rbd' name='p/j'><host name='m'/></source><target dev='vdd' bus='virtio'/></disk>\
    <hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x0a' slot='0x00' function='0x1'/></source></hostdev>\
    <hostdev mode='subsystem' type='usb'><source><vendor id='0x1d6b'/><product id='0x0002'/><address bus='1' device='1'/></source></hostdev>\
    <hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/></source></hostdev>\
    <filesystem type='mount' accessmode='squash'><source dir='/srv/f'/><target dir='Docs'/><readonly/></filesystem></devices></domain>";

#[test]
fn what_of_its_host_a_guest_of_others_has_is_shown_in_the_words_of_the_spec() {
    let named = domain::import::named(&Element::parse(PASSED).unwrap());
    let mut seen = domain::observed::observe(Some(&named), None, &domain::observed::Volumes::new());
    domain::observed::name_sources(&mut seen.disks, &named);
    let disk = |target: &str| json!({"name": target, "target": target, "device": "Disk", "bus": "Virtio"});
    let with = |mut disk: Value, more: Value| {
        disk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        disk
    };
    let wanted = json!({
        "type": "Qemu",
        "disks": [
            with(disk("vda"), json!({"path": "/srv/a", "file": {"path": "/srv/a", "format": "Qcow2"}})),
            with(disk("vdb"), json!({"path": "/dev/b", "block": {"path": "/dev/b", "format": "Raw"}, "shareable": true})),
            with(disk("vdc"), json!({"network": {"protocol": "Rbd", "name": "p/i", "hosts": [{"name": "m"}], "format": "Raw"}})),
            disk("vdd"),
        ],
        "hostDevices": [
            {"name": "pci-0000-0a-00-1", "pci": {"address": "0000:0a:00.1"}},
            {"name": "usb-1d6b-0002", "usb": {"vendor": "1d6b", "product": "0002"}},
        ],
        "filesystems": [{"name": "Docs", "hostPath": "/srv/f", "driver": "Path", "accessMode": "Squash", "readOnly": true}],
    });
    assert_eq!(serde_json::to_value(seen).unwrap(), wanted);
}

/// A guest as virsh users write one.
const THEIRS: &str = "<domain type='kvm'><name>x</name><memory unit='KiB'>2097152</memory>\
    <currentMemory unit='KiB'>1048576</currentMemory><vcpu current='2'>4</vcpu>\
    <metadata><pl:object xmlns:pl='https://libvirt.m.nourspeed.io/v1' kind='Domain' namespace='n' name='o' uid='u'><pl:path>vcpu</pl:path></pl:object></metadata>\
    <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='fd'/><boot dev='hd'/></os><devices>\
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/pool/a'/><target dev='vda' bus='virtio'/><alias name='ua-mine'/></disk>\
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>\
    <interface type='bridge'><mac address='52:54:00:AA:00:01'/><source bridge='br0'/><model type='igb'/></interface>\
    <serial type='pty'><target port='1'/><alias name='ua-serial-log'/></serial>\
    <graphics type='spice' port='5900'/></devices></domain>";

#[test]
fn what_others_made_gets_names_and_what_the_spec_has_no_word_for_is_left_out() {
    let named = domain::import::named(&Element::parse(THEIRS).unwrap());
    let volumes = [("/pool/a".to_owned(), VolumeId { pool: "p".to_owned(), name: "a".to_owned() })].into();
    let seen = domain::observed::observe(Some(&named), None, &volumes);
    let wanted = json!({
        "type": "Kvm", "memory": "1Gi", "maxMemory": "2Gi", "vcpus": 2, "maxVcpus": 4,
        "os": {"arch": "x86_64", "machine": "pc-q35-7.2", "boot": ["Disk"]},
        "disks": [
            {"name": "vda", "target": "vda", "device": "Disk", "bus": "Virtio", "path": "/pool/a",
             "volume": {"pool": "p", "name": "a", "format": "Raw"}},
            {"name": "sda", "target": "sda", "device": "Cdrom", "bus": "Sata", "readOnly": true},
        ],
        "networkInterfaces": [{"name": "52-54-00-aa-00-01", "mac": "52:54:00:AA:00:01", "bridge": "br0"}],
        "consoles": [{"name": "log", "type": "Pty"}], "graphics": [{"type": "Spice", "port": 5900}],
    });
    assert_eq!(serde_json::to_value(seen).unwrap(), wanted);
}

#[test]
fn consoles_channels_and_cards_that_others_made_can_be_said_in_a_spec_and_what_every_guest_has_need_not() {
    let theirs = "<domain type='qemu'><name>x</name><devices>\
        <serial type='tcp'><source mode='bind' host='0.0.0.0' service='4000'/><protocol type='telnet'/></serial>\
        <serial type='tcp'><source mode='connect' host='10.0.0.1' service='4000'/><protocol type='raw'/></serial>\
        <serial type='file'><source path='/tmp/log'/></serial><serial type='null'/>\
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>\
        <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>\
        <channel type='unix'><source mode='bind' path='/run/x'/><target type='virtio' name='Org_Example'/></channel>\
        <input type='mouse' bus='ps2'/><input type='keyboard' bus='ps2'/><input type='tablet' bus='usb'/>\
        <input type='keyboard' bus='virtio'/><input type='evdev'/><sound model='ich6'/><sound model='usb'/><audio id='1' type='none'/>\
        <vsock model='virtio'><cid auto='no' address='9'/></vsock><memballoon model='none'/>\
        <interface type='direct'><mac address='52:54:00:00:00:01'/><source dev='eno1' mode='vepa'/></interface>\
        <interface type='user'><mac address='52:54:00:00:00:02'/></interface></devices></domain>";
    let seen = seen("domain", &domain::import::named(&Element::parse(theirs).unwrap()));
    let wanted = json!({
        "type": "Qemu",
        "consoles": [
            {"name": "serial0", "type": "Tcp", "tcp": {"listen": "0.0.0.0", "port": 4000, "protocol": "Telnet"}},
            {"name": "serial1"},
            {"name": "serial2", "type": "File", "logFile": "/tmp/log"},
            {"name": "serial3"},
        ],
        "channels": [
            {"name": "com-redhat-spice-0", "type": "SpiceVmc", "target": "com.redhat.spice.0"},
            {"name": "org-example", "type": "Unix", "target": "Org_Example", "path": "/run/x"},
        ],
        "inputs": [{"name": "tablet0", "type": "Tablet", "bus": "Usb"}, {"name": "keyboard1", "type": "Keyboard", "bus": "Virtio"}],
        "sound": {"model": "Ich6"}, "vsock": {"cid": 9}, "balloon": {"model": "None"}, "guestAgent": true,
        "networkInterfaces": [
            {"name": "52-54-00-00-00-01", "mac": "52:54:00:00:00:01", "direct": {"device": "eno1", "mode": "Vepa"}},
            {"name": "52-54-00-00-00-02", "mac": "52:54:00:00:00:02", "user": {}},
        ],
    });
    assert_eq!(seen, wanted);
    let usual = "<domain><devices><memballoon model='virtio'/></devices></domain>";
    assert_eq!(self::seen("domain", &Element::parse(usual).unwrap()), json!({}));
}

/// The differences of an object that says this of the guest above.
fn differences(parameters: &Value) -> Vec<String> {
    let object = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
        "metadata": {"namespace": "n", "name": "x", "uid": "another"}, "spec": {"forProvider": parameters},
    });
    let object: apis::Domain = serde_json::from_value(object).unwrap();
    let medium = domain::render::Medium::file("/pool/a", apis::volume::Format::Raw);
    let around = domain::Surroundings { media: [("vda".to_owned(), medium)].into(), ..domain::Surroundings::default() };
    let theirs = Element::parse(THEIRS).unwrap();
    let found = domain::import::differences(&object, &around, &facts(), &domain::rules::rules(), &theirs).unwrap();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn an_import_differs_in_what_its_spec_says_otherwise_and_in_nothing_else() {
    let disk = json!({"name": "vda", "volume": {"pool": "p", "name": "a", "format": "Raw"}});
    let cases = [
        (json!({}), vec![]),
        (json!({"memory": "1Gi", "maxMemory": "2Gi", "vcpus": 2, "maxVcpus": 4, "disks": [disk]}), vec![]),
        (json!({"disks": [{"name": "sda", "device": "Cdrom", "bus": "Sata"}]}), vec![]),
        (json!({"networkInterfaces": [{"name": "52-54-00-aa-00-01", "bridge": "br0"}]}), vec![]),
        (json!({"vcpus": 4}), vec!["vcpu@current: 2, wished absent"]),
        (
            json!({"networkInterfaces": [{"name": "52-54-00-aa-00-01", "network": "lan"}]}),
            vec![
                "devices/interface[ua-nic-52-54-00-aa-00-01]/source@network: absent, wished lan",
                "devices/interface[ua-nic-52-54-00-aa-00-01]@type: bridge, wished network",
            ],
        ),
        (json!({"rng": {}}), vec!["devices/rng[ua-rng-0]: absent, wished present"]),
    ];
    for (parameters, wanted) in cases {
        assert_eq!(differences(&parameters), wanted, "{parameters}");
    }
}

#[test]
fn a_network_that_others_wrote_with_a_netmask_and_a_nameless_guest_can_be_said_in_a_spec() {
    let theirs = "<network><name>x</name><forward/><ip address='10.0.0.1' netmask='255.255.252.0'><dhcp>\
                  <host mac='52:54:00:AA:00:01' ip='10.0.0.9'/></dhcp></ip><ip address='10.1.0.1'/></network>";
    let named = network::observed::named(&Element::parse(theirs).unwrap());
    let seen = seen("network", &named);
    let host = json!({"name": "52-54-00-aa-00-01", "mac": "52:54:00:AA:00:01", "ip": "10.0.0.9"});
    let ips = json!([{"cidr": "10.0.0.1/22", "dhcp": {"hosts": [host]}}, {"cidr": "10.1.0.1/8"}]);
    assert_eq!(seen, json!({"mode": "Nat", "ips": ips}));
    let object = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Network", "metadata": {"name": "x"},
        "spec": {"forProvider": {"ips": [ips[0]]}},
    });
    let wishes = network::render::render(&serde_json::from_value(object).unwrap(), false, &[]).unwrap();
    let left: Vec<String> = diff(&wishes, &named, &network::rules::rules()).iter().map(ToString::to_string).collect();
    assert_eq!(left, ["ip[10.1.0.1,ipv4]: present, wished absent"]);
}
