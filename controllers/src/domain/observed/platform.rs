//! What a description says of a domain's machine, in the words of the spec: pure.

use apis::{
    domain::{
        BootDevice, Clock, ClockOffset, CpuFeature, CpuMode, CpuObservation, CrashAction, EndAction, FeaturePolicy,
        Features, Firmware, Hugepages, HypervFeatures, KvmFeatures, Lifecycle, MemoryBacking, MemorySource,
        OsObservation, TickPolicy, Timer, TimerName, Topology,
    },
    quantity::Quantity,
};
use libvirt::xml::Element;

use crate::domain::words::Word as _;

fn kibibytes(definition: &Element, path: &str) -> Option<u64> {
    definition.text_at(path)?.parse().ok()
}

/// Memory, and how far it can grow where that is more.
pub(super) fn sizes(definition: &Element) -> (Option<Quantity>, Option<Quantity>) {
    let most = kibibytes(definition, "memory");
    let now = kibibytes(definition, "currentMemory").or(most);
    let quantity = |kibibytes: Option<u64>| kibibytes?.checked_mul(1024).map(Quantity::of_bytes);
    (quantity(now), quantity(most.filter(|_| most > now)))
}

/// Processors, and how many there can be where that is more.
pub(super) fn processors(definition: &Element) -> (Option<i32>, Option<i32>) {
    let most: Option<i32> = definition.text_at("vcpu").and_then(|text| text.parse().ok());
    let now = definition.attr_at("vcpu@current").and_then(|text| text.parse().ok()).or(most);
    (now, most.filter(|_| most > now))
}

/// The CPU.
pub(super) fn cpu(definition: &Element) -> Option<CpuObservation> {
    let mode = definition.attr_at("cpu@mode").and_then(CpuMode::read);
    let model = definition.text_at("cpu/model").filter(|_| mode == Some(CpuMode::Custom)).map(str::to_owned);
    let feature = |feature: &Element| {
        let policy = feature.get("policy").and_then(FeaturePolicy::read);
        Some(CpuFeature { name: feature.get("name")?.to_owned(), policy })
    };
    let seen = CpuObservation {
        // A custom CPU without a model is libvirt's own writing for features alone.
        mode: mode.filter(|mode| *mode != CpuMode::Custom || model.is_some()),
        model,
        topology: topology(definition),
        features: definition.find_all("cpu/feature").into_iter().filter_map(feature).collect(),
        numa: super::numa::cells(definition),
    };
    (seen != CpuObservation::default()).then_some(seen)
}

fn topology(definition: &Element) -> Option<Topology> {
    let figure = |name: &str| number(definition.attr_at(&format!("cpu/topology@{name}"))?);
    let seen = Topology { sockets: figure("sockets"), cores: figure("cores"), threads: figure("threads") };
    (seen != Topology::default()).then_some(seen)
}

/// A number of the spec's own type.
pub(super) fn number(text: &str) -> Option<i32> {
    text.parse().ok()
}

/// The machine and what it boots. Not the emulator: libvirt fills in its own, and a guest that is written down from its status must not need
/// a policy for that.
pub(super) fn os(definition: &Element) -> Option<OsObservation> {
    let text = |path| definition.text_at(path).map(str::to_owned);
    let boot = |device: &Element| BootDevice::read(device.get("dev")?);
    let features = definition.find_all("os/firmware/feature");
    let secure = features.into_iter().find(|feature| feature.get("name") == Some("secure-boot"));
    let seen = OsObservation {
        arch: definition.attr_at("os/type@arch").map(str::to_owned),
        machine: definition.attr_at("os/type@machine").map(str::to_owned),
        firmware: (definition.attr_at("os@firmware") == Some("efi")).then_some(Firmware::Efi),
        secure_boot: secure.and_then(|feature| is_on(feature.get("enabled")?)),
        kernel: text("os/kernel"),
        initrd: text("os/initrd"),
        cmdline: text("os/cmdline"),
        boot: definition.find_all("os/boot").into_iter().filter_map(boot).collect(),
    };
    (seen != OsObservation::default()).then_some(seen)
}

/// What the machine has and hides.
pub(super) fn features(definition: &Element) -> Option<Features> {
    let there = |name: &str| definition.find(&format!("features/{name}")).map(|_| true);
    let state = |path: &str| is_on(definition.attr_at(&format!("features/{path}@state"))?);
    let kvm = KvmFeatures { hidden: state("kvm/hidden") };
    let hyperv = HypervFeatures {
        relaxed: state("hyperv/relaxed"),
        vapic: state("hyperv/vapic"),
        spinlocks: definition.attr_at("features/hyperv/spinlocks@retries").and_then(number),
        vpindex: state("hyperv/vpindex"),
        runtime: state("hyperv/runtime"),
        synic: state("hyperv/synic"),
        stimer: state("hyperv/stimer"),
        reset: state("hyperv/reset"),
        frequencies: state("hyperv/frequencies"),
        vendor_id: definition.attr_at("features/hyperv/vendor_id@value").map(str::to_owned),
    };
    let seen = Features {
        acpi: there("acpi"),
        apic: there("apic"),
        pae: there("pae"),
        smm: state("smm"),
        vmport: state("vmport"),
        kvm: Some(kvm).filter(|kvm| *kvm != KvmFeatures::default()),
        hyperv: Some(hyperv).filter(|hyperv| *hyperv != HypervFeatures::default()),
    };
    (seen != Features::default()).then_some(seen)
}

/// libvirt's two ways to say yes and no.
fn is_on(word: &str) -> Option<bool> {
    match word {
        "on" | "yes" => Some(true),
        "off" | "no" => Some(false),
        _ => None,
    }
}

/// The guest's clock.
pub(super) fn clock(definition: &Element) -> Option<Clock> {
    let timer = |timer: &Element| {
        Some(Timer {
            name: TimerName::read(timer.get("name")?)?,
            present: timer.get("present").and_then(is_on),
            tick_policy: timer.get("tickpolicy").and_then(TickPolicy::read),
        })
    };
    let timers: Vec<Timer> = definition.find_all("clock/timer").into_iter().filter_map(timer).collect();
    let seen = Clock {
        offset: definition.attr_at("clock@offset").and_then(ClockOffset::read),
        timezone: definition.attr_at("clock@timezone").map(str::to_owned),
        timers: Some(timers).filter(|timers| !timers.is_empty()),
    };
    (seen != Clock::default()).then_some(seen)
}

/// What follows the guest's end.
pub(super) fn lifecycle(definition: &Element) -> Option<Lifecycle> {
    let seen = Lifecycle {
        on_poweroff: definition.text_at("on_poweroff").and_then(EndAction::read),
        on_reboot: definition.text_at("on_reboot").and_then(EndAction::read),
        on_crash: definition.text_at("on_crash").and_then(CrashAction::read),
    };
    (seen != Lifecycle::default()).then_some(seen)
}

/// Where the guest's memory comes from.
pub(super) fn memory_backing(definition: &Element) -> Option<MemoryBacking> {
    let page = definition.attr_at("memoryBacking/hugepages/page@size").and_then(|size| size.parse::<u64>().ok());
    let hugepages = definition
        .find("memoryBacking/hugepages")
        .map(|_| Hugepages { size: page.and_then(|kibibytes| kibibytes.checked_mul(1024)).map(Quantity::of_bytes) });
    let seen = MemoryBacking {
        hugepages,
        merge: definition.find("memoryBacking/nosharepages").map(|_| false),
        locked: definition.find("memoryBacking/locked").map(|_| true),
        shared: match definition.attr_at("memoryBacking/access@mode") {
            Some("shared") => Some(true),
            Some("private") => Some(false),
            _ => None,
        },
        source: definition.attr_at("memoryBacking/source@type").and_then(MemorySource::read),
    };
    (seen != MemoryBacking::default()).then_some(seen)
}
