//! The machine of a Domain, its processors, memory and clock → wishes about its description: pure.

use anyhow::{Context as _, bail, ensure};
use apis::domain::{
    BootDevice, Clock, Cpu, CpuFeature, DomainParameters, Features, Firmware, Hugepages, HypervFeatures, KvmFeatures,
    Lifecycle, MemoryBacking, Os, Timer, Topology,
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::Surroundings;
use crate::{domain::words::Word as _, references};

/// Everything about the machine.
pub(super) fn platform(
    wishes: &mut Wishes,
    parameters: &DomainParameters,
    around: &Surroundings,
    base: Option<&Element>,
) -> anyhow::Result<()> {
    memory_and_processors(wishes, parameters)?;
    if let Some(cpu) = &parameters.cpu {
        processor_model(wishes, cpu, most_vcpus(parameters, base))?;
    }
    if let Some(os) = &parameters.os {
        firmware(wishes, os, base)?;
        check_board(os.machine.as_deref(), base)?;
        boot(wishes, os, around);
    }
    if let Some(said) = &parameters.features {
        features(wishes, said);
    }
    if let Some(said) = &parameters.clock {
        clock(wishes, said);
    }
    if let Some(said) = &parameters.lifecycle {
        lifecycle(wishes, said);
    }
    if let Some(said) = &parameters.memory_backing {
        memory_backing(wishes, said)?;
    }
    Ok(())
}

/// The least memory of a guest in KiB, of which hypervisors give it a multiple.
const LEAST_MEMORY: u64 = 1024;

fn memory_and_processors(wishes: &mut Wishes, parameters: &DomainParameters) -> anyhow::Result<()> {
    if let Some(memory) = &parameters.memory {
        let now = memory.kibibytes().map_err(anyhow::Error::msg).context("memory")?;
        let most = parameters
            .max_memory
            .as_ref()
            .map_or(Ok(now), apis::quantity::Quantity::kibibytes)
            .map_err(anyhow::Error::msg)
            .context("maxMemory")?;
        ensure!(now >= LEAST_MEMORY, "memory must be at least 1Mi: a number without a unit is in bytes");
        ensure!(now <= most, "memory must not be larger than maxMemory");
        // A hypervisor rounds up, and the running guest would never show what is wished.
        let [most, now] = [most, now].map(|size| size.div_ceil(LEAST_MEMORY).saturating_mul(LEAST_MEMORY));
        wishes.set("memory", most.to_string());
        wishes.set("currentMemory", now.to_string());
    }
    let Some(most) = parameters.max_vcpus.or(parameters.vcpus) else { return Ok(()) };
    let now = parameters.vcpus.unwrap_or(1);
    ensure!(now <= most, "vcpus must not be larger than maxVcpus");
    wishes.set("vcpu", most.to_string());
    // libvirt does not write the number of now where it is the most, so it would never be seen as wished.
    if now == most {
        wishes.flag("vcpu@current", false);
    } else {
        wishes.set("vcpu@current", now.to_string());
    }
    Ok(())
}

/// How many processors the guest can have, where that is said or there.
pub(super) fn most_vcpus(parameters: &DomainParameters, base: Option<&Element>) -> Option<i32> {
    let there = || base.and_then(|base| base.text_at("vcpu")?.trim().parse().ok());
    parameters.max_vcpus.or(parameters.vcpus).or_else(there)
}

/// The CPU that the guest sees.
fn processor_model(wishes: &mut Wishes, cpu: &Cpu, most: Option<i32>) -> anyhow::Result<()> {
    let Cpu { mode, model, topology, features, numa: _ } = cpu;
    if let Some(mode) = mode {
        wishes.set("cpu@mode", mode.word());
    }
    if let Some(model) = model {
        wishes.set("cpu/model", model.as_str());
    }
    if let Some(Topology { sockets, cores, threads }) = topology {
        let [sockets, cores, threads] = [sockets, cores, threads].map(|figure| figure.unwrap_or(1));
        let product = sockets.checked_mul(cores).and_then(|product| product.checked_mul(threads));
        ensure!(
            product == Some(most.unwrap_or(1)),
            "cpu.topology makes {sockets} × {cores} × {threads} vCPUs, and the guest can have {}; set maxVcpus or the topology",
            most.unwrap_or(1)
        );
        let figures = [("sockets", sockets), ("cores", cores), ("threads", threads)];
        let element = Element::new("topology");
        let element = figures.iter().fold(element, |element, (name, figure)| element.attr(name, figure.to_string()));
        wishes.replace("cpu/topology", element);
    }
    for CpuFeature { name, policy } in features.iter().flatten() {
        let part = Part::new().with("@policy", policy.unwrap_or_default().word());
        wishes.item("cpu/feature", name, part);
    }
    Ok(())
}

/// Whose firmware it is that starts. It is chosen once: what is installed for one does not start under the other.
fn firmware(wishes: &mut Wishes, os: &Os, base: Option<&Element>) -> anyhow::Result<()> {
    let by_file = |base: &Element| base.attr_at("os/loader@type") == Some("pflash");
    match (os.firmware, base.filter(|base| base.attr_at("os@firmware").is_none())) {
        // Somebody chose the files; it is the firmware that is wished.
        (Some(Firmware::Efi), Some(base)) if by_file(base) => return Ok(()),
        (Some(Firmware::Efi), Some(_)) => {
            bail!(
                "os.firmware: the guest was made with a BIOS and what is installed would not start under Efi; unset it, or create a new Domain"
            )
        }
        (Some(Firmware::Efi), None) => wishes.set("os@firmware", "efi"),
        (Some(Firmware::Bios), _) => wishes.flag("os@firmware", false),
        (None, _) => {}
    }
    if let Some(secure) = os.secure_boot {
        let part = Part::new().with("@enabled", yes_no(secure));
        wishes.item("os/firmware/feature", "secure-boot", part);
    }
    Ok(())
}

/// A guest keeps its board, whatever version of it: its devices are in slots that another has not.
fn check_board(wished: Option<&str>, base: Option<&Element>) -> anyhow::Result<()> {
    let there = base.and_then(|base| base.attr_at("os/type@machine"));
    let (Some(wished), Some(there)) = (wished, there) else { return Ok(()) };
    let boards = [board(wished), board(there)];
    ensure!(
        boards.contains(&None) || boards[0] == boards[1],
        "os.machine: the guest was made as {there} and cannot become {wished}, where its devices would find no place; a newer or older version of its machine is possible, or create a new Domain"
    );
    Ok(())
}

/// The board of a machine type of PCs.
fn board(machine: &str) -> Option<&'static str> {
    let is = |alias: &str, versioned: &str| machine == alias || machine.starts_with(versioned);
    match () {
        () if is("q35", "pc-q35-") => Some("q35"),
        () if is("pc", "pc-i440fx-") => Some("pc"),
        () => None,
    }
}

/// What boots, and how.
fn boot(wishes: &mut Wishes, os: &Os, around: &Surroundings) {
    let Os { machine, emulator, cmdline, boot, .. } = os;
    let has_kernel = !around.left_out.contains(references::KERNEL);
    if let Some(machine) = machine {
        wishes.set("os/type@machine", machine.as_str());
    }
    if let Some(emulator) = emulator {
        wishes.set("devices/emulator", emulator.as_str());
    }
    if let Some(kernel) = &around.kernel {
        wishes.set("os/kernel", kernel.as_str());
    }
    if let Some(initrd) = around.initrd.as_ref().filter(|_| has_kernel) {
        wishes.set("os/initrd", initrd.as_str());
    }
    if let Some(cmdline) = cmdline.as_ref().filter(|_| has_kernel) {
        wishes.set("os/cmdline", cmdline.as_str());
    }
    if let Some(devices) = boot {
        let element = |device: &BootDevice| Element::new("boot").attr("dev", device.word());
        wishes.replace_all("os/boot", devices.iter().map(element).collect());
    }
}

/// What the machine has and hides.
fn features(wishes: &mut Wishes, features: &Features) {
    let Features { acpi, apic, pae, smm, vmport, kvm, hyperv } = features;
    for (name, wished) in [("acpi", acpi), ("apic", apic), ("pae", pae)] {
        if let Some(wished) = wished {
            wishes.flag(&format!("features/{name}"), *wished);
        }
    }
    states(wishes, "features", &[("smm", smm), ("vmport", vmport)]);
    if let Some(KvmFeatures { hidden }) = kvm {
        states(wishes, "features/kvm", &[("hidden", hidden)]);
    }
    if let Some(hyperv) = hyperv {
        enlightenments(wishes, hyperv);
    }
}

fn enlightenments(wishes: &mut Wishes, hyperv: &HypervFeatures) {
    let HypervFeatures { relaxed, vapic, spinlocks, vpindex, runtime, synic, stimer, reset, frequencies, vendor_id } =
        hyperv;
    let plain = [
        ("relaxed", relaxed),
        ("vapic", vapic),
        ("vpindex", vpindex),
        ("runtime", runtime),
        ("synic", synic),
        ("stimer", stimer),
        ("reset", reset),
        ("frequencies", frequencies),
    ];
    states(wishes, "features/hyperv", &plain);
    if let Some(retries) = spinlocks {
        wishes.set("features/hyperv/spinlocks@state", "on");
        wishes.set("features/hyperv/spinlocks@retries", retries.to_string());
    }
    if let Some(vendor) = vendor_id {
        wishes.set("features/hyperv/vendor_id@state", "on");
        wishes.set("features/hyperv/vendor_id@value", vendor.as_str());
    }
}

fn states(wishes: &mut Wishes, parent: &str, features: &[(&str, &Option<bool>)]) {
    for (name, wished) in features {
        if let Some(wished) = wished {
            wishes.set(&format!("{parent}/{name}@state"), if *wished { "on" } else { "off" });
        }
    }
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// The guest's clock.
fn clock(wishes: &mut Wishes, clock: &Clock) {
    let Clock { offset, timezone, timers } = clock;
    if let Some(timezone) = timezone {
        wishes.set("clock@offset", "timezone");
        wishes.set("clock@timezone", timezone.as_str());
    } else if let Some(offset) = offset {
        wishes.set("clock@offset", offset.word());
    } else if timers.is_some() {
        // A clock needs one.
        wishes.flag("clock", true);
    }
    for Timer { name, present, tick_policy } in timers.iter().flatten() {
        let mut part = Part::new();
        if let Some(present) = present {
            part.set("@present", yes_no(*present));
        }
        if let Some(policy) = tick_policy {
            part.set("@tickpolicy", policy.word());
        }
        wishes.item("clock/timer", name.word(), part);
    }
}

/// What follows the guest's end.
fn lifecycle(wishes: &mut Wishes, lifecycle: &Lifecycle) {
    let Lifecycle { on_poweroff, on_reboot, on_crash } = lifecycle;
    if let Some(action) = on_poweroff {
        wishes.set("on_poweroff", action.word());
    }
    if let Some(action) = on_reboot {
        wishes.set("on_reboot", action.word());
    }
    if let Some(action) = on_crash {
        wishes.set("on_crash", action.word());
    }
}

/// Where the guest's memory comes from.
fn memory_backing(wishes: &mut Wishes, backing: &MemoryBacking) -> anyhow::Result<()> {
    let MemoryBacking { hugepages, merge, locked, shared, source } = backing;
    if let Some(Hugepages { size }) = hugepages {
        wishes.flag("memoryBacking/hugepages", true);
        if let Some(size) = size {
            let size = size.kibibytes().map_err(anyhow::Error::msg).context("memoryBacking.hugepages.size")?;
            let page = Element::new("page").attr("size", size.to_string()).attr("unit", "KiB");
            wishes.replace("memoryBacking/hugepages/page", page);
        }
    }
    if let Some(merge) = merge {
        wishes.flag("memoryBacking/nosharepages", !*merge);
    }
    if let Some(locked) = locked {
        wishes.flag("memoryBacking/locked", *locked);
    }
    if let Some(source) = source {
        wishes.set("memoryBacking/source@type", source.word());
    }
    if let Some(shared) = shared {
        wishes.set("memoryBacking/access@mode", if *shared { "shared" } else { "private" });
    }
    Ok(())
}
