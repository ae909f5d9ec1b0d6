//! What waits for the guest's next boot: pure.

use super::{render, tune::Pin};
use libvirt::{
    CpuSet,
    diff::{Difference, diff},
    rule::{Live, Route, Rules},
    wish::{Path, Wishes},
    xml::Element,
};

/// The wished paths that the running guest does not show, and those that it shows still though they are ours no more: the mark of a
/// running guest is the one it was started with. What libvirt rewrites in a running description is no difference.
pub(super) fn pending(mut wishes: Wishes, live: &Element, rules: &Rules, cpus: &CpuSet) -> Vec<Difference> {
    render::give_back(&mut wishes, live);
    let mut pending = diff(&wishes, live, rules);
    // No boot changes what cannot be changed: a running description without it only does not tell.
    pending.retain(|difference| !is_immutable(difference, rules) && waits(difference, live, cpus));
    pending.dedup_by(|later, earlier| later.path == earlier.path);
    pending
}

fn is_immutable(difference: &Difference, rules: &Rules) -> bool {
    Path::parse(&difference.path).is_some_and(|path| rules.route(&path.pattern()) == Route::Immutable)
}

fn waits(difference: &Difference, live: &Element, cpus: &CpuSet) -> bool {
    match difference.route {
        Route::Definition | Route::Immutable | Route::Refused(_) => false,
        Route::Live(Live::Memory) => balloon_is_too_small(difference, live),
        Route::Live(Live::Scheduler) => !is_pinned_to_all(difference, live, cpus),
        Route::Live(_) | Route::NextBoot => {
            !is_expanded_model(difference, live)
                && !is_bridge_of_network(difference)
                && !is_card_of_network(difference, live)
                && !is_format_of_nothing(difference)
        }
    }
}

/// The balloon moves by itself within the running maximum; only a wish beyond that waits.
fn balloon_is_too_small(difference: &Difference, live: &Element) -> bool {
    let kibibytes = |text: &str| text.split(' ').next().and_then(|text| text.parse::<u64>().ok());
    let wished = difference.want.as_deref().and_then(kibibytes);
    let most = live.text_at("memory").and_then(kibibytes);
    matches!((wished, most), (Some(wished), Some(most)) if wished > most)
}

/// A running guest keeps a pin that was taken away as one to all of the host's processors.
fn is_pinned_to_all(difference: &Difference, live: &Element, cpus: &CpuSet) -> bool {
    let pinned = Pin::read(&difference.path).filter(|_| difference.want.is_none()).and_then(|pin| pin.cpus(live));
    !cpus.is_empty() && pinned.is_some_and(|pinned| pinned.covers(cpus))
}

/// A running CPU is written out in full once it was checked so: a host-model as a custom one, a feature as what became of it.
fn is_expanded_model(difference: &Difference, live: &Element) -> bool {
    let policies = ["require", "optional", "force", "disable", "forbid"];
    let is_feature = difference.path.starts_with("cpu/feature[");
    let of_feature =
        is_feature && difference.want.as_deref().is_none_or(|want| want == "present" || policies.contains(&want));
    difference.path.starts_with("cpu")
        && (difference.want.as_deref() == Some("host-model") || of_feature)
        && live.attr_at("cpu@check") == Some("full")
}

/// The running interface of a network that is a bridge or an interface of the host's says what it is plugged into.
fn is_bridge_of_network(difference: &Difference) -> bool {
    let is_type = difference.path.starts_with("devices/interface[") && difference.path.ends_with("]@type");
    let shown = difference.have.as_deref().is_some_and(|have| ["bridge", "direct"].contains(&have));
    is_type && difference.want.as_deref() == Some("network") && shown
}

/// The running interface of a network of host devices is such a device, and says nothing of the network.
fn is_card_of_network(difference: &Difference, live: &Element) -> bool {
    let Some(alias) = difference.path.strip_prefix("devices/interface[").and_then(|rest| rest.split(']').next()) else {
        return false;
    };
    let nics = live.find_all("devices/interface").into_iter();
    let mut cards = nics.filter(|nic| nic.get("type") == Some("hostdev"));
    let is_card = cards.any(|nic| nic.attr_at("alias@name") == Some(alias));
    is_card && (difference.have.is_none() || difference.path.ends_with("]@type"))
}

/// The drive of a guest that was started with nothing in it has no format.
fn is_format_of_nothing(difference: &Difference) -> bool {
    let is_format = difference.path.starts_with("devices/disk[") && difference.path.ends_with("]/driver@type");
    is_format && (difference.want.as_deref(), difference.have.as_deref()) == (Some("raw"), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rules::rules;
    use libvirt::wish::Part;

    fn waiting(wish: impl FnOnce(&mut Wishes), live: &str) -> Vec<String> {
        let mut wishes = Wishes::new("domain");
        wish(&mut wishes);
        let pending = pending(wishes, &Element::parse(live).unwrap(), &rules(), &CpuSet::parse("0-3").unwrap());
        pending.into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn what_limited_a_guest_does_not_wait_once_it_is_lifted() {
        let mark = "<metadata><pl:object xmlns:pl='https://libvirt.m.nourspeed.io/v1'><pl:path>cputune/vcpupin[0]</pl:path>\
                    <pl:path>cputune/quota</pl:path><pl:path>cputune/period</pl:path><pl:path>cputune/shares</pl:path></pl:object></metadata>";
        let live = |tune: &str| format!("<domain>{mark}<cputune>{tune}</cputune></domain>");
        let lifted = "<period>100000</period><quota>-1</quota><vcpupin vcpu='0' cpuset='0-3'/>";
        assert_eq!(waiting(|_| {}, &live(lifted)), [""; 0]);
        let limited = "<shares>5</shares><period>50000</period><quota>9000</quota><vcpupin vcpu='0' cpuset='0-2'/>";
        let all = ["cputune/period", "cputune/quota", "cputune/shares", "cputune/vcpupin[0]"];
        assert_eq!(waiting(|_| {}, &live(limited)), all);
    }

    #[test]
    fn the_balloon_waits_only_beyond_the_running_maximum() {
        let live = "<domain><memory unit='KiB'>2048</memory><currentMemory unit='KiB'>1024</currentMemory></domain>";
        assert_eq!(waiting(|wishes| wishes.set("currentMemory", "2048"), live), [""; 0]);
        assert_eq!(waiting(|wishes| wishes.set("currentMemory", "2049"), live), ["currentMemory"]);
        assert_eq!(waiting(|wishes| wishes.set("memory", "4096"), live), ["memory"]);
    }

    #[test]
    fn a_host_model_that_is_written_out_does_not_wait_and_another_model_does() {
        let host_model = |wishes: &mut Wishes| wishes.set("cpu@mode", "host-model");
        let expanded = "<domain><cpu mode='custom' match='exact' check='full'><model>EPYC</model></cpu></domain>";
        let other = "<domain><cpu mode='custom' match='exact' check='partial'><model>EPYC</model></cpu></domain>";
        assert_eq!(waiting(host_model, expanded), [""; 0]);
        assert_eq!(waiting(host_model, other), ["cpu@mode"]);
        assert_eq!(waiting(|wishes| wishes.set("cpu/model", "Westmere"), expanded), ["cpu/model"]);
    }

    #[test]
    fn what_a_guest_was_started_with_and_is_wished_no_more_waits_until_it_is_gone() {
        let live = |cmdline: &str| {
            format!(
                "<domain><metadata><pl:object xmlns:pl='https://libvirt.m.nourspeed.io/v1'><pl:path>os/cmdline</pl:path>\
                 <pl:path>memory</pl:path></pl:object></metadata><memory unit='KiB'>9</memory><os>{cmdline}</os></domain>"
            )
        };
        assert_eq!(waiting(|_| {}, &live("<cmdline>quiet</cmdline>")), ["os/cmdline"]);
        assert_eq!(waiting(|_| {}, &live("")), [""; 0]);
        assert_eq!(waiting(|wishes| wishes.set("os/cmdline", "quiet"), &live("<cmdline>quiet</cmdline>")), [""; 0]);
    }

    #[test]
    fn what_a_boot_changes_waits_and_what_it_does_not_change_does_not() {
        let live = "<domain><name>a</name><vcpu>1</vcpu><os><type machine='pc-q35-7.2'>hvm</type></os></domain>";
        let wish = |wishes: &mut Wishes| {
            wishes.set("name", "b");
            wishes.set("vcpu", "2");
            wishes.set("os/type@machine", "q35");
            wishes.set("os@firmware", "efi");
            wishes.set("os/cmdline", "quiet");
            wishes.replace("metadata/pl:object", Element::new("pl:object"));
        };
        assert_eq!(waiting(wish, live), ["os/cmdline", "vcpu"]);
    }

    #[test]
    fn a_drive_that_is_empty_shows_no_format_or_a_source_that_says_nothing_and_waits_for_neither() {
        let live = "<domain><devices><disk device='cdrom'><alias name='ua-disk-a'/><driver name='qemu'/></disk></devices></domain>";
        let wish = |wishes: &mut Wishes| {
            let part = Part::new().with("driver@name", "qemu").with("driver@type", "raw").with_flag("source", false);
            wishes.item("devices/disk", "ua-disk-a", part);
        };
        assert_eq!(waiting(wish, live), [""; 0]);
        assert_eq!(waiting(wish, &live.replace("<driver", "<source index='7'/><driver")), [""; 0]);
        let full = live.replace("<driver", "<source file='/a' index='7'/><driver");
        assert_eq!(waiting(wish, &full), ["devices/disk[ua-disk-a]/source"]);
    }

    #[test]
    fn a_network_that_is_a_bridge_of_the_hosts_shows_as_one_on_the_running_guest() {
        let card = "<domain><devices><interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:01'/><alias name='ua-nic-a'/>\
                    <source><address type='pci' domain='0x0000' bus='0x03' slot='0x10' function='0x0'/></source></interface></devices></domain>";
        let on_lan = |wishes: &mut Wishes| {
            let part = Part::new().with("@type", "network").with("source@network", "lan");
            wishes.item("devices/interface", "ua-nic-a", part.with("model@type", "virtio"));
        };
        assert_eq!(waiting(on_lan, card), [""; 0]);
        let live = "<domain><devices><interface type='bridge'><alias name='ua-nic-a'/>\
                    <source network='lan' portid='1' bridge='br0'/></interface></devices></domain>";
        let wish = |wishes: &mut Wishes| {
            let part = Part::new().with("@type", "network").with("source@network", "lan");
            wishes.item("devices/interface", "ua-nic-a", part);
        };
        assert_eq!(waiting(wish, live), [""; 0]);
        assert_eq!(waiting(wish, &live.replace("type='bridge'", "type='direct'")), [""; 0]);
        assert_eq!(waiting(wish, &live.replace("'lan'", "'other'")), ["devices/interface[ua-nic-a]/source@network"]);
    }
}
