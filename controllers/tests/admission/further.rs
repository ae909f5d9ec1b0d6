//! What only the API can see beside the one rule: moves, disks and addresses that two would have, and deletions that others wait for.

use kube::runtime::watcher::Event;
use provider_libvirt::admission::Verdict;
use serde_json::{Value, json};

use crate::world::{PLACEMENT, World, object, with};

const ONE: Option<&str> = Some("ClusterProviderConfig/one");
const TWO: Option<&str> = Some("ClusterProviderConfig/two");
const OWN: Option<&str> = Some("ProviderConfig/one");

fn denied(why: &str) -> Verdict {
    Verdict::Denied(why.to_owned())
}

fn warned(what: &str) -> Verdict {
    Verdict::Warned(vec![what.to_owned()])
}

fn net(config: Option<&str>, mode: &str) -> Value {
    object("Network", "lan", config, &json!({"mode": mode}))
}

fn annotated(config: Option<&str>, record: &str) -> Value {
    with(net(config, "Nat"), &json!({"annotations": {PLACEMENT: record}}))
}

fn placed(config: Option<&str>, record: &str) -> Value {
    with(annotated(config, record), &json!({"finalizers": ["finalizer.managedresource.crossplane.io"]}))
}

/// The refusal of a change of this that would move the network away.
fn kept(what: &str, on: &str) -> Verdict {
    let keep = if what == PLACEMENT { " Keep it: ClusterProviderConfig/one." } else { "" };
    denied(&format!(
        "{what} may be set once and not be changed: network lan uses {on}.{keep} \
         To move it, create a new Network with the other providerConfigRef and delete this one"
    ))
}

#[test]
fn an_object_stays_on_its_host_and_the_refusal_says_how_to_move() {
    let world = World::new();
    let (on_one, reference) = ("ClusterProviderConfig one", "spec.providerConfigRef");
    let (one, two) = ("ClusterProviderConfig/one", "ClusterProviderConfig/two");
    let table = [
        ("other things change", net(ONE, "Nat"), net(ONE, "Route"), Verdict::Allowed),
        ("it is set for the first time", net(None, "Nat"), net(ONE, "Nat"), Verdict::Allowed),
        ("it is changed", net(ONE, "Nat"), net(TWO, "Nat"), kept(reference, on_one)),
        ("its kind is changed", net(ONE, "Nat"), net(OWN, "Nat"), kept(reference, on_one)),
        ("and back", net(OWN, "Nat"), net(ONE, "Nat"), kept(reference, "ProviderConfig n/one")),
        ("it is taken away", net(ONE, "Nat"), net(None, "Nat"), kept(reference, on_one)),
        ("it is set, and the object is elsewhere", placed(None, one), placed(TWO, one), kept(reference, on_one)),
        ("it is set to where the object is", placed(None, one), placed(ONE, one), Verdict::Allowed),
        ("it is corrected to where the object is", placed(TWO, one), placed(ONE, one), Verdict::Allowed),
        ("it is taken away, and the record stays", placed(ONE, one), placed(None, one), Verdict::Allowed),
        ("one that never counted stays", placed(TWO, one), placed(TWO, one), Verdict::Allowed),
        ("the record is changed", placed(None, one), placed(None, two), kept(PLACEMENT, on_one)),
        ("the record is spoilt", placed(ONE, one), placed(ONE, "nonsense"), kept(PLACEMENT, on_one)),
        (
            "its annotation is corrected before it is placed",
            annotated(None, one),
            annotated(None, two),
            kept(PLACEMENT, on_one),
        ),
        ("or taken away", annotated(None, one), net(None, "Nat"), kept(PLACEMENT, on_one)),
        ("the reference then says otherwise", annotated(None, one), annotated(TWO, one), kept(reference, on_one)),
        ("the record is taken away", placed(None, one), net(None, "Nat"), kept(PLACEMENT, on_one)),
    ];
    for (what, old, new, expected) in table {
        assert_eq!(world.change(&old, &new), expected, "{what}");
        let leaving = with(new, &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
        assert_eq!(world.change(&old, &leaving), Verdict::Allowed, "{what}, while it is being deleted");
    }
}

#[test]
fn what_names_a_config_that_is_not_there_is_nowhere_yet_and_may_be_corrected() {
    let world = World::new();
    let nowhere = Some("ClusterProviderConfig/nope");
    let table = [
        (net(nowhere, "Nat"), net(ONE, "Nat"), true),
        (annotated(None, "ClusterProviderConfig/nope"), annotated(None, "ClusterProviderConfig/one"), true),
        (net(nowhere, "Nat"), net(None, "Nat"), true),
        // It was there, and may come back.
        (placed(nowhere, "ClusterProviderConfig/nope"), placed(ONE, "ClusterProviderConfig/nope"), false),
    ];
    for (old, new, is_allowed) in table {
        let said = world.change(&old, &new);
        assert_eq!(!matches!(said, Verdict::Denied(_)), is_allowed, "{said:?}");
    }
}

#[test]
fn a_record_that_was_changed_where_no_webhook_was_asked_is_put_right() {
    let world = World::new();
    let (right, wrong) = ("ClusterProviderConfig/one", "ClusterProviderConfig/two");
    let (spoilt, mended) = (placed(None, wrong), placed(None, right));
    assert!(matches!(world.change(&spoilt, &mended), Verdict::Denied(_)), "nothing says that it was on another one");
    let usage = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfigUsage",
        "metadata": {
            "name": "Network-lan", "namespace": "n", "finalizers": ["finalizer.providerconfigusage.crossplane.io"],
        },
        "providerConfigRef": {"kind": "ClusterProviderConfig", "name": "one"},
        "resourceRef": {"apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Network", "name": "lan"},
    });
    world.cluster.users.apply(&Event::Apply(serde_json::from_value(usage).unwrap()));
    assert_eq!(world.change(&spoilt, &mended), Verdict::Allowed);
    assert!(matches!(world.change(&mended, &spoilt), Verdict::Denied(_)));
    assert!(matches!(world.change(&placed(ONE, right), &placed(TWO, right)), Verdict::Denied(_)));
}

#[test]
fn a_new_object_names_one_config_and_not_two() {
    let world = World::new();
    let why = format!(
        "spec.providerConfigRef names ClusterProviderConfig one, and annotation {PLACEMENT} says \"ClusterProviderConfig/two\": \
         take the annotation out, or have both say the same"
    );
    assert_eq!(world.review(&annotated(ONE, "ClusterProviderConfig/two")), denied(&why));
    assert_eq!(world.review(&annotated(ONE, "ClusterProviderConfig/one")), Verdict::Allowed);
    // From a backup.
    assert_eq!(world.review(&placed(ONE, "ClusterProviderConfig/two")), Verdict::Allowed);
}

#[test]
fn an_annotation_that_does_not_count_yet_may_not_say_another_host() {
    let world = World::new();
    let kept = kept(PLACEMENT, "ClusterProviderConfig one");
    let (one, two) = ("ClusterProviderConfig/one", "ClusterProviderConfig/two");
    assert_eq!(world.change(&net(ONE, "Nat"), &annotated(ONE, two)), kept);
    assert_eq!(world.change(&net(ONE, "Nat"), &annotated(ONE, one)), Verdict::Allowed);
    // Taken off and lied about at once.
    assert_eq!(world.change(&placed(ONE, one), &annotated(ONE, two)), kept);
}

/// A guest with one disk of this name on this Volume, and what else is said of that disk.
fn guest(name: &str, volume: &str, more: &Value) -> Value {
    let mut disk = json!({"name": "root", "volumeRef": {"name": volume}});
    disk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let born =
        json!({"creationTimestamp": if name == "first" { "2026-01-01T00:00:00Z" } else { "2026-01-02T00:00:00Z" }});
    with(object("Domain", name, ONE, &json!({"disks": [disk]})), &born)
}

const TAKEN: &str = "Volume v is a disk of Domain n/first: two guests that write to one disk destroy it. \
                     Give this one a volume of its own, or readOnly: true on both";

fn writing() -> Value {
    json!({})
}

fn reading() -> Value {
    json!({"readOnly": true})
}

fn leaving(object: Value) -> Value {
    with(object, &json!({"deletionTimestamp": "2026-01-03T00:00:00Z"}))
}

/// Volumes v and base, an overlay above the latter, and these.
fn shelf(others: &[Value]) -> World {
    let mut world = World::new();
    for name in ["v", "base"] {
        world.put(&object("Volume", name, ONE, &json!({})));
    }
    world.put(&object("Volume", "above", ONE, &json!({"backingStore": {"volumeRef": {"name": "base"}}})));
    for other in others {
        world.put(other);
    }
    world
}

#[test]
fn a_volume_has_one_guest_that_writes_to_it() {
    let (rw, ro) = (writing(), reading());
    let below = "Volume base has Volume n/above standing on it, which a guest that writes to it would destroy. \
                 Give this guest a volume with backingStore base, or readOnly: true";
    let table = [
        (guest("first", "v", &rw), guest("second", "v", &rw), denied(TAKEN)),
        (guest("first", "v", &rw), guest("second", "v", &ro), Verdict::Allowed),
        (guest("first", "v", &ro), guest("second", "v", &rw), Verdict::Allowed),
        (guest("first", "v", &rw), guest("first", "v", &rw), Verdict::Allowed),
        // Whoever is there comes first, were it applied in the same second and of a later name.
        (guest("second", "v", &rw), guest("first", "v", &rw), denied(&TAKEN.replace("n/first", "n/second"))),
        (leaving(guest("first", "v", &rw)), guest("second", "v", &rw), warned(TAKEN)),
        // An earlier life of the same name is not another guest.
        (with(guest("second", "v", &rw), &json!({"uid": "before"})), guest("second", "v", &rw), Verdict::Allowed),
        (guest("first", "v", &rw), guest("second", "base", &rw), denied(below)),
        (guest("first", "v", &rw), guest("second", "base", &ro), Verdict::Allowed),
    ];
    for (first, second, expected) in table {
        assert_eq!(shelf(std::slice::from_ref(&first)).review(&second), expected, "{second} beside {first}");
    }
}

#[test]
fn nothing_stands_on_an_encrypted_volume_or_is_copied_from_it() {
    let sealed = json!({"encryption": {"passphraseRef": {"name": "s", "key": "k"}}});
    let world = shelf(&[object("Volume", "sealed", ONE, &sealed)]);
    let refused = |path: &str| {
        denied(&format!(
            "{path}: Volume n/sealed is encrypted: only disks of guests can be made of it, and nothing can stand on it or be copied from it"
        ))
    };
    let copy = |of: &str| object("Volume", "w", ONE, &json!({"source": {"volumeRef": {"name": of}}}));
    assert_eq!(world.review(&copy("sealed")), refused("source.volume"));
    assert_eq!(world.review(&copy("v")), Verdict::Allowed);
    let chosen = json!({"source": {"volumeSelector": {"matchLabels": {"name": "sealed"}}}});
    assert_eq!(world.review(&object("Volume", "w", ONE, &chosen)), refused("source.volume"));
    let above = object("Volume", "w", ONE, &json!({"backingStore": {"volumeRef": {"name": "sealed"}}}));
    assert_eq!(world.review(&above), refused("backingStore.volume"));
    assert_eq!(world.review(&guest("first", "sealed", &writing())), Verdict::Allowed);
}

#[test]
fn two_guests_write_to_one_volume_where_both_say_so_and_it_is_raw() {
    let (rw, share) = (writing(), json!({"shareable": true}));
    let unless = format!("{TAKEN}; shareable: true counts where both guests have been started with it");
    let table = [
        (json!({"format": "Raw"}), &share, &share, Verdict::Allowed),
        (json!({"format": "Raw"}), &rw, &share, denied(&unless)),
        (json!({"format": "Raw"}), &share, &rw, denied(TAKEN)),
        (json!({"format": "Qcow2"}), &share, &share, denied(TAKEN)),
        (json!({}), &share, &share, denied(TAKEN)),
    ];
    for (volume, first, second, expected) in table {
        let world = shelf(&[object("Volume", "v", ONE, &volume), guest("first", "v", first)]);
        assert_eq!(world.review(&guest("second", "v", second)), expected, "{second} beside {first} on {volume}");
    }
}

/// A guest with these disks that was placed.
fn with_disks(name: &str, disks: &Value) -> Value {
    let mut domain = guest(name, "v", &json!({}));
    domain["spec"]["forProvider"]["disks"] = disks.clone();
    let placed = json!({"finalizers": ["finalizer.managedresource.crossplane.io"], "annotations": {PLACEMENT: "ClusterProviderConfig/one"}});
    with(domain, &placed)
}

#[test]
fn a_block_device_and_a_disk_of_a_server_have_one_guest_that_writes_to_them() {
    let block = json!([{"name": "a", "block": {"path": "/dev/vg0/a"}}]);
    let file = json!([{"name": "b", "file": {"path": "/dev/vg0/a", "format": "Raw"}}]);
    let read = json!([{"name": "a", "block": {"path": "/dev/vg0/a"}, "readOnly": true}]);
    let share = json!([{"name": "a", "block": {"path": "/dev/vg0/a"}, "shareable": true}]);
    let other = json!([{"name": "a", "block": {"path": "/dev/vg0/b"}}]);
    let taken = TAKEN.replace("Volume v", "/dev/vg0/a");
    let ceph = |hosts: &[&str], name: &str| {
        let hosts: Vec<_> = hosts.iter().map(|host| json!({"name": host})).collect();
        json!([{"name": "a", "network": {"protocol": "Rbd", "name": name, "hosts": hosts, "format": "Raw"}}])
    };
    let table = [
        (&block, &block, denied(&taken)),
        (&block, &file, denied(&taken)),
        (&block, &read, Verdict::Allowed),
        (&block, &other, Verdict::Allowed),
        (&share, &share, Verdict::Allowed),
        (&ceph(&["a", "b"], "p/i"), &ceph(&["B", "c"], "p/i"), denied(&TAKEN.replace("Volume v", "Rbd p/i of B"))),
        (&ceph(&["a"], "p/i"), &ceph(&["c"], "p/i"), Verdict::Allowed),
        (&ceph(&["a"], "p/i"), &ceph(&["a"], "p/j"), Verdict::Allowed),
        (
            &block,
            &share,
            denied(&format!("{taken}; shareable: true counts where both guests have been started with it")),
        ),
    ];
    for (first, second, expected) in table {
        let mut world = shelf(&[with_disks("first", first)]);
        world.allow(&json!({"hostPaths": ["/dev/vg0"], "diskHosts": ["a", "b", "c"]}));
        assert_eq!(world.review(&with_disks("second", second)), expected, "{second} beside {first}");
        assert_eq!(world.review(&with_disks("first", first)), Verdict::Allowed, "it keeps its own");
    }
    let mut world = shelf(&[]);
    world.allow(&json!({"hostPaths": ["/dev/vg0"]}));
    let both = json!([block[0], file[0]]);
    let twice = "disks a and b are both /dev/vg0/a: a guest that writes to one disk by two names destroys it";
    assert_eq!(world.review(&with_disks("first", &both)), denied(twice));
}

#[test]
fn what_a_guest_reaches_of_its_host_must_be_in_the_policy_of_its_config() {
    let reaching = json!({
        "disks": [
            {"name": "a", "file": {"path": "/srv/a", "format": "Raw"}},
            {"name": "b", "network": {"protocol": "Nbd", "hosts": [{"name": "nas"}], "format": "Raw"}},
        ],
        "hostDevices": [{"name": "c", "usb": {"vendor": "1d6b", "product": "0002"}}, {"name": "d", "usb": {"bus": 1, "device": 2}}],
        "filesystems": [{"name": "e", "hostPath": "/srv/e"}],
        "os": {"emulator": "/opt/qemu"},
    });
    let not = |what: &str, line: &str, list: &str| {
        format!(
            "{what} is not allowed on ClusterProviderConfig one; it would be with the line {line} in its spec.policy.{list}"
        )
    };
    let all = [
        not("disks a: /srv/a", "/srv/a", "hostPaths"),
        not("disks b: server nas", "nas", "diskHosts"),
        not("hostDevices c: usb/1d6b:0002", "usb/1d6b:0002", "hostDevices"),
        not("hostDevices d: usb/1.2", "usb/1.2", "hostDevices"),
        not("os.emulator: /opt/qemu", "/opt/qemu", "emulators"),
        not("filesystems e: /srv/e", "/srv/e", "hostFolders"),
    ];
    let mut world = World::new();
    assert_eq!(world.review(&object("Domain", "d", ONE, &reaching)), denied(&all.join("; ")));
    world.allow(&json!({"hostPaths": ["/srv/a"], "diskHosts": ["nas:10809"], "hostDevices": ["usb/1d6b:*"]}));
    assert_eq!(
        world.review(&object("Domain", "d", ONE, &reaching)),
        denied(&[&all[3..4], &all[4..]].concat().join("; "))
    );
    world.allow(
        &json!({"hostPaths": ["/srv"], "hostFolders": ["/srv/*"], "diskHosts": ["nas"], "hostDevices": ["usb/*"], "emulators": ["/opt/qemu"]}),
    );
    let within = "disks a: /srv/a/x is not allowed on ClusterProviderConfig one: it is in /srv/* of its spec.policy.hostFolders, where guests may put links to anything";
    let mut linked = reaching.clone();
    linked["disks"][0]["file"]["path"] = json!("/srv/a/x");
    assert_eq!(world.review(&object("Domain", "d", ONE, &linked)), denied(within));
    linked["disks"] = reaching["disks"].clone();
    linked["os"]["emulator"] = json!("/opt/qemu-2");
    let other = not("os.emulator: /opt/qemu-2", "/opt/qemu-2", "emulators");
    assert_eq!(world.review(&object("Domain", "d", ONE, &linked)), denied(&other));
    assert_eq!(world.review(&object("Domain", "d", ONE, &reaching)), Verdict::Allowed);
    // One that is only looked at reaches nothing.
    let mut watching = object("Domain", "d", ONE, &reaching);
    watching["spec"]["managementPolicies"] = json!(["Observe"]);
    assert_eq!(World::new().review(&watching), Verdict::Allowed);
}

#[test]
fn a_guest_has_a_volume_once() {
    let (rw, ro) = (writing(), reading());
    let disks = |more: &Value| {
        let mut other = json!({"name": "again", "volumeRef": {"name": "v"}});
        other.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"disks": [{"name": "root", "volumeRef": {"name": "v"}, "readOnly": more["readOnly"]}, other]})
    };
    let twice = "disks root and again are both volume v: a guest that writes to one disk by two names destroys it";
    let world = shelf(&[]);
    assert_eq!(world.review(&object("Domain", "d", ONE, &disks(&rw))), denied(twice));
    assert_eq!(world.review(&object("Domain", "d", ONE, &disks(&ro))), Verdict::Allowed);
}

#[test]
fn who_wants_a_disk_already_comes_first_and_only_who_stays_is_a_rival() {
    let (rw, ro) = (writing(), reading());
    // One that has wanted the disk for longer than another keeps it, and is not kept from changing.
    let both = shelf(&[guest("first", "v", &rw), guest("second", "v", &rw)]);
    let mut edited = guest("first", "v", &rw);
    edited["spec"]["forProvider"]["memory"] = json!("2Gi");
    assert_eq!(both.change(&guest("first", "v", &rw), &edited), Verdict::Allowed);
    let taker = shelf(&[guest("first", "base", &ro), guest("second", "v", &rw)]);
    let taken_over = denied(&TAKEN.replace("n/first", "n/second"));
    assert_eq!(taker.change(&guest("first", "base", &ro), &guest("first", "v", &rw)), taken_over);
    // One that leaves is no rival, whoever else reads the disk, and one that stays is one, whoever else leaves.
    let read = shelf(&[leaving(guest("first", "v", &rw)), guest("third", "v", &ro)]);
    assert_eq!(read.review(&guest("second", "v", &rw)), warned(TAKEN));
    let stays = shelf(&[guest("first", "v", &rw), leaving(guest("a-third", "v", &rw))]);
    assert_eq!(stays.review(&guest("second", "v", &rw)), denied(TAKEN));
    // What a guest of another namespace only says is told without its name, and keeps the disk from nobody.
    let made = json!({"crossplane.io/external-create-succeeded": "2026-01-01T00:00:00Z"});
    let mut foreign = with(guest("first", "v", &rw), &json!({"namespace": "m", "annotations": made}));
    foreign["spec"]["forProvider"]["disks"][0]["volumeRef"]["namespace"] = json!("n");
    let unnamed = TAKEN.replace("Domain n/first", "a Domain of another namespace");
    assert_eq!(shelf(&[foreign]).review(&guest("second", "v", &rw)), warned(&unnamed));
}

const LOW: &str = "52:54:00:aa:bb:cc";
const UP: &str = "52:54:00:AA:BB:CC";
const OTHER: &str = "52:54:00:00:00:01";

/// A guest with interfaces of these addresses.
fn named(name: &str, config: Option<&str>, macs: &[&str]) -> Value {
    let nic = |(at, mac): (usize, &&str)| json!({"name": format!("lan{at}"), "bridge": "br0", "mac": mac});
    let nics: Vec<_> = macs.iter().enumerate().map(nic).collect();
    object("Domain", name, config, &json!({"networkInterfaces": nics}))
}

fn shared(whose: &str) -> String {
    format!(
        "interface lan0 has the MAC address {UP} of {whose} on the same libvirt instance: give it another one, or leave mac out"
    )
}

#[test]
fn a_mac_address_has_one_guest_on_a_host() {
    let (low, up, other) = (LOW, UP, OTHER);
    let mut seen = object("Domain", "seen", ONE, &json!({}));
    seen["status"] = json!({"atProvider": {"networkInterfaces": [{"mac": low}]}});
    let mut watching = named("first", ONE, &[low]);
    watching["spec"]["managementPolicies"] = json!(["Observe"]);
    let table = [
        (named("first", ONE, &[low]), ONE, denied(&shared("Domain n/first"))),
        (seen.clone(), ONE, denied(&shared("Domain n/seen"))),
        (with(named("first", ONE, &[low]), &json!({"namespace": "m"})), ONE, Verdict::Allowed),
        (with(seen.clone(), &json!({"namespace": "m"})), ONE, denied(&shared("a Domain of another namespace"))),
        (named("first", TWO, &[low]), ONE, Verdict::Allowed),
        (named("first", ONE, &[other]), ONE, Verdict::Allowed),
        (
            with(named("first", ONE, &[low]), &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})),
            ONE,
            Verdict::Allowed,
        ),
        (watching, ONE, Verdict::Allowed),
    ];
    for (first, config, expected) in table {
        let mut world = World::new();
        world.put(&first);
        assert_eq!(world.review(&named("second", config, &[up])), expected, "beside {first}");
    }
    // Two configs may lead to one host.
    for (led, expected) in [(false, Verdict::Allowed), (true, denied(&shared("Domain n/first")))] {
        let mut world = World::new();
        world.put(&named("first", TWO, &[low]));
        if led {
            world.lead_to_one_host(&["one", "two"]);
        }
        assert_eq!(world.review(&named("second", ONE, &[up])), expected, "{led}");
    }
    // Two that have one address already can be changed, and are told.
    let mut world = World::new();
    world.put(&named("first", ONE, &[low]));
    let (old, mut new) = (named("second", ONE, &[up]), named("second", ONE, &[up]));
    new["spec"]["forProvider"]["memory"] = json!("2Gi");
    let why = shared("Domain n/first");
    assert_eq!(world.change(&old, &new), warned(&why));
    assert_eq!(world.change(&named("second", ONE, &[other]), &new), denied(&why));
    let both = "interfaces lan0 and lan1 have both the MAC address 52:54:00:AA:BB:CC";
    assert_eq!(World::new().review(&named("d", ONE, &[low, up])), denied(both));
}

#[test]
fn what_others_need_may_be_deleted_and_it_is_told_who_is_waited_for() {
    let uses = json!({
        "disks": [{"name": "root", "volumeRef": {"name": "it"}}], "cloudInitRef": {"name": "it"},
        "networkInterfaces": [{"name": "lan", "networkRef": {"name": "it"}}],
    });
    let mut world = World::new();
    world.put(&object("Domain", "web", ONE, &uses));
    world.put(&object("Volume", "root", ONE, &json!({"poolRef": {"name": "it"}})));
    let made = json!({"finalizers": ["finalizer.managedresource.crossplane.io"]});
    let it = |kind: &str| with(object(kind, "it", ONE, &json!({})), &made);
    let said = |kind: &str| world.delete(&it(kind));
    assert_eq!(said("Volume"), warned("the volume is used by Domain n/web; it is deleted after it"));
    assert_eq!(said("CloudInit"), warned("the cloudinit disk is used by Domain n/web; it is deleted after it"));
    assert_eq!(said("Network"), warned("the network is used by Domain n/web; it is deleted after it"));
    assert_eq!(said("Pool"), warned("the pool is used by Volume n/root; it is deleted after it"));
    assert_eq!(world.delete(&object("Volume", "it", ONE, &json!({}))), Verdict::Allowed, "nothing was made of it yet");
    let leaving = with(it("Volume"), &json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}));
    assert_eq!(world.delete(&leaving), Verdict::Allowed, "that was said before");
    let mut kept = it("Volume");
    kept["spec"]["managementPolicies"] = json!(["Observe", "Create", "Update"]);
    assert_eq!(world.delete(&kept), Verdict::Allowed, "it goes at once, and the volume stays");
    assert_eq!(world.delete(&with(object("Domain", "web", ONE, &uses), &made)), Verdict::Allowed);
    assert_eq!(world.delete(&with(object("Pool", "lonely", ONE, &json!({})), &made)), Verdict::Allowed);
}
