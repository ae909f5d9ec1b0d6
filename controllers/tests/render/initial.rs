//! What stands in `initProvider`: part of what is made, and of nothing that is compared.

use std::collections::BTreeSet;

use apis::{initial::merge, managed::annotation};
use libvirt::{
    diff::{Difference, diff},
    overlay::overlay,
    xml::Element,
};
use provider_libvirt::{
    domain::{self, Surroundings, claim::claim, initial},
    network,
};
use serde_json::{Value, json};

use crate::{
    cases::{WISHED, cases, facts},
    leaves::{leaves, parameters},
};

/// An object; `made` says that it was made with this `initProvider` already.
fn object<K: serde::de::DeserializeOwned>(kind: &str, init: &Value, said: &Value, made: bool) -> K {
    let past = json!({annotation::CREATE_SUCCEEDED: "2026-01-01T00:00:00Z", annotation::INITIAL: init.to_string()});
    let (annotations, init) = if made { (past, Value::Null) } else { (json!({}), init.clone()) };
    serde_json::from_value(json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind,
        "metadata": {"namespace": "n", "name": "web", "uid": "now", "annotations": annotations},
        "spec": {"initProvider": init, "forProvider": said},
    }))
    .unwrap()
}

fn description(init: &Value, said: &Value, around: &Surroundings) -> Element {
    let object = object("Domain", init, said, false);
    initial::description(&object, around, &facts(), &domain::rules::rules(), "uuid").unwrap()
}

/// What differs once the guest is made, and the description that would mend it.
fn after(init: &Value, said: &Value, have: &Element) -> (Vec<String>, Element) {
    let object = object("Domain", init, said, true);
    let (around, rules) = (Surroundings::default(), domain::rules::rules());
    let claimed = claim(&object, &around, have, false);
    let wishes = domain::render::render(&claimed.object, &claimed.around, &facts(), Some(&claimed.base)).unwrap();
    let shown = |difference: &Difference| difference.to_string();
    (
        diff(&wishes, &claimed.base, &rules)
            .iter()
            .filter(|difference| !difference.path.starts_with("metadata/"))
            .map(shown)
            .collect(),
        overlay(&wishes, &claimed.base, &rules),
    )
}

fn init() -> Value {
    json!({
        "maxMemory": "2Gi", "maxVcpus": 4, "cpu": {"mode": "Maximum"},
        "os": {"machine": "pc", "boot": ["Disk"]},
        "disks": [{"name": "drive", "device": "Cdrom", "bus": "Sata"}, {"name": "tray", "device": "Cdrom", "bus": "Usb"}],
        "networkInterfaces": [{"name": "lan", "bridge": "br0"}], "guestAgent": true,
        "consoles": [{"name": "main", "log": true}, {"name": "more"}],
        "graphics": [{"type": "Vnc", "listen": "::1"}], "rng": {"source": "Random"},
    })
}

fn said() -> Value {
    json!({
        "memory": "1Gi", "vcpus": 2, "disks": [{"name": "drive", "device": "Cdrom"}],
        "consoles": [{"name": "main"}], "graphics": [{"type": "Vnc"}], "rng": {},
    })
}

#[test]
fn a_guest_is_made_of_both_and_only_what_the_spec_says_is_owned() {
    let made = description(&init(), &said(), &Surroundings::default());
    let text = |path: &str| made.text_at(path).or_else(|| made.attr_at(path));
    assert_eq!(
        [text("memory"), text("currentMemory"), text("vcpu"), text("vcpu@current")],
        ["2097152", "1048576", "4", "2"].map(Some)
    );
    assert_eq!(
        [text("cpu@mode"), text("os/type@machine"), text("os/boot@dev"), text("uuid")],
        ["maximum", "pc", "hd", "uuid"].map(Some)
    );
    let aliases: BTreeSet<&str> =
        made.find("devices").unwrap().elements().filter_map(|device| device.attr_at("alias@name")).collect();
    let names = [
        "ua-disk-drive",
        "ua-init-channel-agent",
        "ua-init-disk-tray",
        "ua-init-nic-lan",
        "ua-init-serial-more",
        "ua-rng-0",
        "ua-serial-main",
    ];
    assert_eq!(aliases, BTreeSet::from(names));
    let owned = provider_libvirt::mark::owned_paths(&made).unwrap();
    let initial: Vec<&String> = owned
        .iter()
        .filter(|path| path.contains("init") || path.starts_with("cpu") || path.starts_with("os/"))
        .collect();
    assert_eq!(initial, [] as [&String; 0]);
    let disks = domain::observed::observe(Some(&made), None, &domain::observed::Volumes::new()).disks;
    assert_eq!(disks.iter().map(|disk| disk.name.as_deref()).collect::<Vec<_>>(), [Some("drive"), Some("tray")]);
}

#[test]
fn afterwards_nothing_initial_is_compared_or_taken_away_however_it_is_by_then() {
    let made = description(&init(), &said(), &Surroundings::default());
    assert_eq!(after(&init(), &said(), &made), (vec![], made.clone()));
    // Its owner changes all of it.
    let text = made.write().unwrap();
    let mut changed = Element::parse(
        &text
            .replace("2097152", "3145728")
            .replace(">4</vcpu>", ">8</vcpu>")
            .replace("maximum", "host-passthrough")
            .replace("/dev/random", "/dev/urandom")
            .replace("::1", "0.0.0.0"),
    )
    .unwrap();
    let devices = changed.elements_mut().find(|child| child.name == "devices").unwrap();
    devices.retain(|device| !device.attr_at("alias@name").is_some_and(|alias| alias.starts_with("ua-init-")));
    assert_ne!(changed, made);
    assert_eq!(after(&init(), &said(), &changed), (vec![], changed));
    // What the spec says is brought back beside it.
    let drifted = Element::parse(&text.replace("1048576", "524288")).unwrap();
    assert_eq!(after(&init(), &said(), &drifted).0, ["currentMemory: 524288 KiB, wished 1048576 KiB"]);
    assert_eq!(after(&init(), &said(), &drifted).1, made);
}

#[test]
fn what_only_the_making_says_of_consoles_and_cards_stays_and_so_does_a_password() {
    let init = json!({
        "graphics": [{"type": "Vnc", "port": 5950, "passwordSecretRef": {"name": "s", "key": "k"}}],
        "consoles": [{"name": "main", "type": "Tcp", "tcp": {"port": 4000, "protocol": "Telnet"}}],
        "channels": [{"name": "app", "target": "app.0"}], "sound": {"model": "Ac97"}, "balloon": {"autodeflate": true},
        "inputs": [{"name": "pen", "type": "Tablet", "bus": "Virtio"}, {"name": "more", "type": "Mouse"}],
        "networkInterfaces": [{"name": "lan", "direct": {"device": "eno1", "mode": "Vepa"}, "isolated": true}],
    });
    let said = json!({
        "memory": "1Gi", "graphics": [{"type": "Vnc"}], "consoles": [{"name": "main"}], "sound": {}, "vsock": {},
        "inputs": [{"name": "pen", "type": "Tablet"}], "networkInterfaces": [{"name": "lan", "direct": {"device": "eno1"}}],
    });
    let passwords = [("vnc", domain::passwords::Password::new("word", "print"))].into();
    let made = description(&init, &said, &Surroundings { passwords, ..Surroundings::default() });
    assert_eq!(after(&init, &said, &made), (vec![], made.clone()));
    let text = |path: &str| made.attr_at(path);
    assert_eq!(
        [text("devices/graphics@passwd"), text("devices/graphics@port"), text("devices/serial/protocol@type")],
        ["word", "5950", "telnet"].map(Some)
    );
    assert_eq!(
        [text("devices/sound@model"), text("devices/input@bus"), text("devices/interface/source@mode")],
        ["ac97", "virtio", "vepa"].map(Some)
    );
    // A print would make the password the spec's.
    assert_eq!(made.find("metadata/pl:passwords"), None);
}

#[test]
fn a_device_that_the_spec_comes_to_name_is_not_made_twice() {
    let made = description(&init(), &said(), &Surroundings::default());
    let more = merge(said(), json!({"networkInterfaces": [{"name": "lan", "bridge": "br0"}]}));
    let (_, result) = after(&init(), &more, &made);
    let count = |description: &Element| description.find_all("devices/interface").len();
    assert_eq!((count(&result), count(&made)), (1, 1));
    let nic = |description: &Element, path: &str| {
        description.find_all("devices/interface")[0].attr_at(path).map(str::to_owned)
    };
    assert_eq!(nic(&result, "alias@name").as_deref(), Some("ua-nic-lan"));
    assert_eq!(nic(&result, "mac@address"), nic(&made, "mac@address"));
}

#[test]
fn a_card_that_somebody_plugged_in_is_not_taken_for_one_of_the_spec() {
    let made = description(&init(), &said(), &Surroundings::default());
    let mut theirs = made.clone();
    let card = "<interface type='bridge'><mac address='52:54:00:00:00:99'/><source bridge='br1'/></interface>";
    let devices = theirs.elements_mut().find(|child| child.name == "devices").unwrap();
    devices.push(Element::parse(card).unwrap());
    let more = merge(said(), json!({"networkInterfaces": [{"name": "own", "bridge": "br1"}]}));
    let (_, result) = after(&init(), &more, &theirs);
    let cards: Vec<_> =
        result.find_all("devices/interface").into_iter().map(|card| card.attr_at("alias@name")).collect();
    assert_eq!(cards, [Some("ua-init-nic-lan"), None, Some("ua-nic-own")]);
}

#[test]
fn a_seed_or_kernel_that_only_the_making_refers_to_is_not_owned() {
    let around = Surroundings {
        seed: Some("/pool/seed.iso".to_owned()),
        kernel: Some("/pool/kernel".to_owned()),
        ..Surroundings::default()
    };
    let init = json!({"cloudInitRef": {"name": "seed"}, "os": {"kernelRef": {"name": "kernel"}}});
    let said = json!({"memory": "1Gi", "os": {"machine": "q35"}});
    let made = description(&init, &said, &around);
    assert_eq!(
        (made.text_at("os/kernel"), made.attr_at("devices/disk/alias@name")),
        (Some("/pool/kernel"), Some("ua-init-seed-cloud-init"))
    );
    assert_eq!(after(&init, &said, &made), (vec![], made));
}

#[test]
fn addresses_and_ranges_that_were_initial_stay_in_lists_that_are_owned_whole() {
    let range = |start: &str, end: &str| json!({"start": start, "end": end});
    let init = json!({"ips": [
        {"cidr": "10.0.0.1/24", "dhcp": {"ranges": [range("10.0.0.10", "10.0.0.20")], "hosts": [{"name": "a", "mac": "52:54:00:AA:00:01", "ip": "10.0.0.5"}]}},
        {"cidr": "10.0.1.1/24", "dhcp": {"ranges": [range("10.0.1.10", "10.0.1.20")]}},
    ]});
    let said =
        json!({"ips": [{"cidr": "10.0.0.1/24", "dhcp": {"ranges": [range("10.0.0.30", "10.0.0.40")], "hosts": []}}]});
    let rules = network::rules::rules();
    let new: apis::Network = object("Network", &init, &said, false);
    let made = network::render::render(&apis::Managed::merged(&new), true, &[]).unwrap().create(&rules);
    assert_eq!((made.find_all("ip").len(), made.find_all("ip/dhcp/range").len()), (2, 3));
    let later: apis::Network = object("Network", &init, &said, true);
    let wishes = network::render::render(&later, false, &[]).unwrap();
    assert_eq!(diff(&wishes, &made, &rules), []);
    // Nobody else's range is left.
    let text = made.write().unwrap();
    let theirs =
        Element::parse(&text.replacen("<range", "<range start='10.0.0.50' end='10.0.0.60'/><range", 1)).unwrap();
    let found: Vec<String> = diff(&wishes, &theirs, &rules).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["ip[10.0.0.1,ipv4]/dhcp/range[10.0.0.50,10.0.0.60]: present, wished absent"]);
    let gone = Element::parse(&text.replace("10.0.0.10", "10.0.0.11")).unwrap();
    let found: Vec<String> = diff(&wishes, &gone, &rules).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["ip[10.0.0.1,ipv4]/dhcp/range[10.0.0.11,10.0.0.20]: present, wished absent"]);
}

#[test]
fn every_field_of_a_spec_can_be_initial_and_is_laid_under_that_of_the_spec() {
    for kind in ["Domain", "Volume", "Pool", "Network", "CloudInit"] {
        assert_eq!(leaves(&parameters(kind, "initProvider")), leaves(&parameters(kind, "forProvider")), "{kind}");
        for leaf in leaves(&parameters(kind, "forProvider")) {
            let (one, other) = (said_at(&leaf, "one"), said_at(&leaf, "other"));
            assert_eq!(merge(one.clone(), json!({})), one, "{kind} {leaf}");
            assert_eq!(merge(json!({}), one.clone()), one, "{kind} {leaf}");
            let is_key = ["name", "type", "cidr", "start", "ip"].iter().any(|key| leaf.ends_with(&format!("[].{key}")));
            let both = merge(one, other.clone());
            assert!(both == other || is_key && both.to_string().contains("\"other\""), "{kind} {leaf}: {both}");
        }
    }
}

/// An object in which a leaf has a value, and every list on the way to it an item of one name.
fn said_at(leaf: &str, value: &str) -> Value {
    leaf.rsplit('.').fold(Value::Null, |inner, step| {
        let inner = if inner.is_null() { json!(value) } else { inner };
        match step.strip_suffix("[]") {
            Some(list) if inner.is_object() => {
                let item = merge(json!({"name": "item"}), inner);
                json!({ list: [item] })
            }
            Some(list) => json!({ list: [inner] }),
            None => json!({ step: inner }),
        }
    })
}

#[test]
fn an_object_without_anything_initial_is_made_as_ever() {
    for case in WISHED.into_iter().flat_map(cases).filter(|case| case.kind == "domain") {
        let object: apis::Domain = case.object();
        let uid = case.object["metadata"]["uid"].as_str().unwrap();
        let made = initial::description(&object, &case.surroundings(), &facts(), &case.rules(), uid).unwrap();
        assert_eq!(made, case.create(), "{}", case.name);
    }
}
