//! What holds for any wishes over any description, tried on some hundreds that a small deterministic generator makes.

use libvirt::diff::diff;
use libvirt::overlay::overlay;
use libvirt::rule::Rules;
use libvirt::wish::{Part, Wishes};
use libvirt::xml::Element;

use crate::golden::{description, left_over};
use crate::table;

const ROUNDS: u64 = 600;

/// Paths outside of lists, each with values that some of the descriptions have.
const VALUES: [(&str, &[&str]); 18] = [
    ("memory", &["131072", "262144"]),
    ("memory@unit", &["KiB", "MiB"]),
    ("currentMemory", &["131072", "65536"]),
    ("maxMemory", &["524288"]),
    ("maxMemory@slots", &["4", "8"]),
    ("vcpu", &["1", "4"]),
    ("vcpu@current", &["1", "2"]),
    ("cpu@mode", &["custom", "host-model"]),
    ("cpu/topology@cores", &["2", "4"]),
    ("os@firmware", &["efi"]),
    ("os/type@machine", &["q35", "pc"]),
    ("os/boot@dev", &["hd", "network"]),
    ("features/smm@state", &["on"]),
    ("title", &["a", "b < c & \"d\""]),
    ("devices/memballoon@model", &["none", "virtio"]),
    ("uuid", &["11111111-2222-4333-8444-555555555555"]),
    ("clock/timer@name", &["rtc"]),
    ("on_crash", &["restart", "destroy"]),
];

/// Paths inside of a disk and of an interface.
const DISK: [(&str, &[&str]); 14] = [
    ("@type", &["file", "block", "volume"]),
    ("@device", &["disk", "cdrom"]),
    ("driver@type", &["raw", "qcow2"]),
    ("driver@cache", &["none", "writeback"]),
    ("source@file", &["/var/lib/libvirt/images/root.qcow2", "/elsewhere"]),
    ("source@dev", &["/dev/sr0"]),
    ("source@pool", &["engine-pool"]),
    ("source@volume", &["data.img", "b.iso"]),
    ("target@dev", &["vda", "vdb", "vdc", "sda", "vdq"]),
    ("target@bus", &["virtio", "sata"]),
    ("boot@order", &["1", "2"]),
    ("serial", &["s"]),
    ("backingStore@type", &["file"]),
    ("address@type", &["pci"]),
];
const NIC: [(&str, &[&str]); 6] = [
    ("@type", &["user", "network", "bridge"]),
    ("mac@address", &["52:54:00:AA:00:01", "52-54-00-aa-00-02"]),
    ("source@network", &["engine-net"]),
    ("model@type", &["virtio", "e1000"]),
    ("boot@order", &["1", "3"]),
    ("link@state", &["down"]),
];
const DISK_NAMES: [&str; 6] =
    ["ua-disk-root", "ua-disk-data", "ua-disk-new", "ua-disk-q", "ua-seed-cloud", "ua-disk-third"];
const NIC_NAMES: [&str; 3] = ["ua-nic-data", "ua-nic-second", "ua-nic-new"];

/// The generator of George Marsaglia's xorshift family, for repeatable choices.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % limit
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    fn of<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn fields(&mut self, from: &[(&str, &[&str])]) -> Part {
        let mut part = Part::new();
        for (path, values) in from {
            match self.below(6) {
                0 => part.flag(path, false),
                1 | 2 => part.set(path, self.of(values)),
                _ => {}
            }
        }
        if self.one_in(4) {
            part.flag("readonly", self.one_in(2));
        }
        if self.one_in(8) {
            part.flag("source", false);
        }
        part
    }

    fn wishes(&mut self) -> Wishes {
        let mut wishes = Wishes::new("domain");
        for (path, values) in VALUES {
            match self.below(12) {
                0 => wishes.flag(path, false),
                1 | 2 => wishes.set(path, self.of(values)),
                _ => {}
            }
        }
        self.elements(&mut wishes);
        for (list, class, names, fields) in [
            ("devices/disk", "ua-disk-", &DISK_NAMES[..], &DISK[..]),
            ("devices/interface", "ua-nic-", &NIC_NAMES, &NIC),
        ] {
            if self.one_in(2) {
                wishes.own(list, class);
            }
            for name in names {
                match self.below(8) {
                    0..3 => wishes.item(list, name, self.fields(fields)),
                    3 => wishes.keep(list, name),
                    _ => {}
                }
            }
        }
        let mut previous = Vec::new();
        for name in DISK_NAMES {
            if self.one_in(2) {
                continue;
            }
            let below = DISK[self.below(DISK.len())].0;
            let slash = if below.starts_with('@') { "" } else { "/" };
            previous.push(format!("devices/disk[{name}]{slash}{below}"));
        }
        wishes.forget(&previous);
        wishes
    }

    fn elements(&mut self, wishes: &mut Wishes) {
        let named = |name: &str, attribute: &str, value: &str| Element::new(name).attr(attribute, value);
        if self.one_in(4) {
            wishes.replace(
                "cpu",
                named("cpu", "mode", self.of(&["custom", "host-model"])).child(Element::new("model").text("qemu64")),
            );
        }
        if self.one_in(4) {
            let order = [named("boot", "dev", "network"), named("boot", "dev", "hd")];
            wishes.replace_all("os/boot", order[self.below(2)..].to_vec());
        }
        if self.one_in(4) {
            let cell = named("cell", "id", "0").attr("memory", "128").attr("unit", "MiB").attr("cpus", "0-1");
            wishes.replace("cpu/numa", Element::new("numa").child(cell));
        }
        if self.one_in(3) {
            wishes.flag(self.of(&["features/acpi", "features/pae", "os/firmware", "os/loader"]), self.one_in(2));
        }
        if self.one_in(4) {
            let model = self.of(&["virtio", "virtio-transitional"]);
            wishes.item_whole(
                "devices/rng",
                "ua-rng-main",
                named("rng", "model", model).child(named("backend", "model", "builtin")),
            );
        }
        if self.one_in(4) {
            wishes.item(
                "devices/graphics",
                "vnc",
                Part::new().with("listen@address", self.of(&["127.0.0.1", "0.0.0.0"])),
            );
        }
    }
}

/// Runs a property on many wishes; half of the descriptions are themselves the result of an overlay.
fn for_many(property: impl Fn(&Wishes, &Element, &Rules, u64)) {
    let rules = table::domain();
    let bases: Vec<Element> = ["rich", "snapshot", "live-snapshot", "numa", "uefi"].map(description).to_vec();
    for round in 1..=ROUNDS {
        let mut choices = Choices(round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut base = bases[choices.below(bases.len())].clone();
        if choices.one_in(2) {
            base = overlay(&choices.wishes(), &base, &rules);
        }
        property(&choices.wishes(), &base, &rules, round);
    }
}

#[test]
fn an_overlay_of_an_overlay_changes_nothing() {
    for_many(|wishes, base, rules, round| {
        let once = overlay(wishes, base, rules);
        assert_eq!(overlay(wishes, &once, rules), once, "round {round}");
    });
}

#[test]
fn after_an_overlay_nothing_differs_but_what_is_immutable_or_refused() {
    let changed = std::cell::Cell::new(0_u64);
    for_many(|wishes, base, rules, round| {
        let result = overlay(wishes, base, rules);
        assert_eq!(left_over(wishes, &result, rules), [], "round {round}");
        changed.set(changed.get() + u64::from(!left_over(wishes, base, rules).is_empty()));
    });
    assert!(changed.get() > ROUNDS / 2, "the generator must make wishes that differ, not only {} times", changed.get());
}

#[test]
fn where_nothing_differs_an_overlay_is_the_description_itself() {
    for_many(|wishes, base, rules, round| {
        let nothing = Wishes::new("domain");
        assert_eq!(diff(&nothing, base, rules), [], "round {round}");
        assert_eq!(overlay(&nothing, base, rules), *base, "round {round}");
        if left_over(wishes, base, rules).is_empty() {
            assert_eq!(overlay(wishes, base, rules), *base, "round {round}");
        }
    });
}

#[test]
fn no_overlay_exchanges_the_data_of_a_disk() {
    let data = |disk: &Element| {
        let mut data = disk.clone();
        data.retain(|child| child.name == "source" || child.name == "backingStore");
        let format = disk.attr_at("driver@type").map(str::to_owned);
        (data.get("type").map(str::to_owned), data.get("device").map(str::to_owned), format, data.nodes)
    };
    let alias = |disk: &Element| disk.attr_at("alias@name").filter(|alias| alias.starts_with("ua-")).map(str::to_owned);
    for_many(|wishes, base, rules, round| {
        let result = overlay(wishes, base, rules);
        for before in base.find_all("devices/disk") {
            let is_disk = before.get("device").is_none_or(|device| device == "disk");
            let is_same = |after: &&Element| alias(after).is_some() && alias(after) == alias(before);
            if let Some(after) = result.find_all("devices/disk").into_iter().find(is_same)
                && is_disk
            {
                assert_eq!(data(after), data(before), "round {round}");
            }
        }
    });
}

#[test]
fn what_was_never_ours_is_never_touched() {
    let foreign = |domain: &Element| {
        let mut kept: Vec<Element> = domain.find("metadata").cloned().into_iter().collect();
        for path in ["devices/controller", "devices/input", "devices/serial", "devices/channel", "devices/emulator"] {
            kept.extend(domain.find_all(path).into_iter().cloned());
        }
        kept
    };
    for_many(|wishes, base, rules, round| {
        assert_eq!(foreign(&overlay(wishes, base, rules)), foreign(base), "round {round}");
    });
}

#[test]
fn every_overlay_can_be_written_and_read_back() {
    for_many(|wishes, base, rules, round| {
        let result = overlay(wishes, base, rules);
        assert_eq!(Element::parse(&result.write().unwrap()).unwrap(), result, "round {round}");
    });
}

#[test]
fn differences_are_sorted_and_each_path_is_named_once() {
    for_many(|wishes, base, rules, round| {
        let paths: Vec<String> = diff(wishes, base, rules).into_iter().map(|difference| difference.path).collect();
        let mut sorted = paths.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(paths, sorted, "round {round}");
    });
}

#[test]
fn what_is_wished_and_then_forgotten_is_not_there_any_more() {
    for_many(|wishes, base, rules, round| {
        let result = overlay(wishes, base, rules);
        let mut nothing = Wishes::new("domain");
        nothing.forget(&wishes.owned_paths());
        let gone = overlay(&nothing, &result, rules);
        assert_eq!(left_over(&nothing, &gone, rules), [], "round {round}");
        for name in DISK_NAMES {
            let path = format!("devices/disk[{name}]");
            if wishes.owned_paths().contains(&path) {
                assert_eq!(nothing.locate(&path, &gone, rules), None, "round {round}");
            }
        }
    });
}
