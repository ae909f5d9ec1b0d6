//! What only the API can see beside the one rule: moves, disks and addresses that two would have, and deletions that others wait for.

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

#[test]
fn an_object_stays_on_its_host_and_the_refusal_says_how_to_move() {
    let world = World::new();
    let net = |config, mode: &str| object("Network", "lan", config, &json!({"mode": mode}));
    let placed = |config, record: &str| {
        let metadata =
            json!({"annotations": {PLACEMENT: record}, "finalizers": ["finalizer.managedresource.crossplane.io"]});
        with(net(config, "Nat"), &metadata)
    };
    let annotated = |config, record: &str| with(net(config, "Nat"), &json!({"annotations": {PLACEMENT: record}}));
    let kept = |what: &str, on: &str| {
        denied(&format!(
            "{what} may be set once and not be changed: network lan uses {on}. \
             To move it, create a new Network with the other providerConfigRef and delete this one"
        ))
    };
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

/// A guest with one disk of this name on this Volume, and what else is said of that disk.
fn guest(name: &str, volume: &str, more: &Value) -> Value {
    let mut disk = json!({"name": "root", "volumeRef": {"name": volume}});
    disk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let born =
        json!({"creationTimestamp": if name == "first" { "2026-01-01T00:00:00Z" } else { "2026-01-02T00:00:00Z" }});
    with(object("Domain", name, ONE, &json!({"disks": [disk]})), &born)
}

#[test]
fn a_volume_has_one_guest_that_writes_to_it() {
    let (rw, ro) = (json!({}), json!({"readOnly": true}));
    let taken = "Volume v is a disk of Domain n/first: two guests that write to one disk destroy it. \
                 Give this one a volume of its own, or readOnly: true on both";
    let below = "Volume base has Volume n/above standing on it, which a guest that writes to it would destroy. \
                 Give this guest a volume with backingStore base, or readOnly: true";
    let leaving = json!({"deletionTimestamp": "2026-01-03T00:00:00Z"});
    let world = |first: &Value| {
        let mut world = World::new();
        for name in ["v", "base"] {
            world.put(&object("Volume", name, ONE, &json!({})));
        }
        world.put(&object("Volume", "above", ONE, &json!({"backingStore": {"volumeRef": {"name": "base"}}})));
        world.put(first);
        world
    };
    let table = [
        (guest("first", "v", &rw), guest("second", "v", &rw), denied(taken)),
        (guest("first", "v", &rw), guest("second", "v", &ro), Verdict::Allowed),
        (guest("first", "v", &ro), guest("second", "v", &rw), Verdict::Allowed),
        (guest("first", "v", &rw), guest("first", "v", &rw), Verdict::Allowed),
        (guest("second", "v", &rw), guest("first", "v", &rw), Verdict::Allowed),
        (with(guest("first", "v", &rw), &leaving), guest("second", "v", &rw), warned(taken)),
        (guest("first", "v", &rw), guest("second", "base", &rw), denied(below)),
        (guest("first", "v", &rw), guest("second", "base", &ro), Verdict::Allowed),
    ];
    for (first, second, expected) in table {
        assert_eq!(world(&first).review(&second), expected, "{second} beside {first}");
    }
    let disks = |more: &Value| {
        let mut other = json!({"name": "again", "volumeRef": {"name": "v"}});
        other.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"disks": [{"name": "root", "volumeRef": {"name": "v"}, "readOnly": more["readOnly"]}, other]})
    };
    let twice = "disks root and again are both volume v: a guest that writes to one disk by two names destroys it";
    let world = world(&object("Network", "none", ONE, &json!({})));
    assert_eq!(world.review(&object("Domain", "d", ONE, &disks(&rw))), denied(twice));
    assert_eq!(world.review(&object("Domain", "d", ONE, &disks(&ro))), Verdict::Allowed);
}

#[test]
fn a_mac_address_has_one_guest_on_a_host() {
    let nics = |macs: &[&str]| {
        let nics: Vec<_> = macs
            .iter()
            .enumerate()
            .map(|(at, mac)| json!({"name": format!("lan{at}"), "bridge": "br0", "mac": mac}))
            .collect();
        json!({"networkInterfaces": nics})
    };
    let named = |name: &str, config, macs: &[&str]| object("Domain", name, config, &nics(macs));
    let (low, up, other) = ("52:54:00:aa:bb:cc", "52:54:00:AA:BB:CC", "52:54:00:00:00:01");
    let mut seen = object("Domain", "seen", ONE, &json!({}));
    seen["status"] = json!({"atProvider": {"networkInterfaces": [{"mac": low}]}});
    let taken = |whose: &str| {
        denied(&format!(
            "interface lan0 has the MAC address {up} of {whose} on the same libvirt instance: give it another one, or leave mac out"
        ))
    };
    let mut watching = named("first", ONE, &[low]);
    watching["spec"]["managementPolicies"] = json!(["Observe"]);
    let table = [
        (named("first", ONE, &[low]), ONE, taken("Domain n/first")),
        (seen.clone(), ONE, taken("Domain n/seen")),
        (with(named("first", ONE, &[low]), &json!({"namespace": "m"})), ONE, Verdict::Allowed),
        (with(seen.clone(), &json!({"namespace": "m"})), ONE, taken("a Domain of another namespace")),
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
    // Two that have one address already can be changed, and are told.
    let mut world = World::new();
    world.put(&named("first", ONE, &[low]));
    let (old, mut new) = (named("second", ONE, &[up]), named("second", ONE, &[up]));
    new["spec"]["forProvider"]["memory"] = json!("2Gi");
    let Verdict::Denied(why) = taken("Domain n/first") else { panic!() };
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
