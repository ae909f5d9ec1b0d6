//! What a description says of what a domain gets of its host, in the words of the spec: pure.

use apis::{
    domain::{BlockIoTune, CpuTune, IoThreadPin, MemoryTune, VcpuPin},
    quantity::{CpuSet, Quantity, Span},
};
use libvirt::xml::Element;

use super::platform::number;

/// The number of I/O threads.
pub(super) fn iothreads(definition: &Element) -> Option<i32> {
    number(definition.text_at("iothreads")?)
}

/// Processors.
pub(super) fn cpu_tune(definition: &Element) -> Option<CpuTune> {
    // A negative quota is none.
    let span = |name: &str| {
        let micros = definition.text_at(&format!("cputune/{name}"))?.parse().ok();
        micros.filter(|micros| *micros > 0).map(Span::of_micros)
    };
    let cpus = |pin: &Element| pin.get("cpuset").map(|cpus| CpuSet(cpus.to_owned()));
    let vcpu = |pin: &Element| Some(VcpuPin { vcpu: number(pin.get("vcpu")?)?, cpus: cpus(pin) });
    let io_thread = |pin: &Element| Some(IoThreadPin { io_thread: number(pin.get("iothread")?)?, cpus: cpus(pin) });
    let vcpus: Vec<VcpuPin> = definition.find_all("cputune/vcpupin").into_iter().filter_map(vcpu).collect();
    let threads: Vec<IoThreadPin> =
        definition.find_all("cputune/iothreadpin").into_iter().filter_map(io_thread).collect();
    let seen = CpuTune {
        shares: definition.text_at("cputune/shares").and_then(number),
        period: span("period"),
        quota: span("quota"),
        global_period: span("global_period"),
        global_quota: span("global_quota"),
        emulator_period: span("emulator_period"),
        emulator_quota: span("emulator_quota"),
        io_thread_period: span("iothread_period"),
        io_thread_quota: span("iothread_quota"),
        vcpu_pins: Some(vcpus).filter(|pins| !pins.is_empty()),
        emulator_pin: definition.find("cputune/emulatorpin").and_then(cpus),
        io_thread_pins: Some(threads).filter(|pins| !pins.is_empty()),
    };
    (seen != CpuTune::default()).then_some(seen)
}

/// Memory.
pub(super) fn memory_tune(definition: &Element) -> Option<MemoryTune> {
    let limit = |name: &str| {
        let kibibytes = definition.text_at(&format!("memtune/{name}"))?.parse::<u64>().ok()?;
        kibibytes.checked_mul(1024).map(Quantity::of_bytes)
    };
    let seen = MemoryTune {
        hard_limit: limit("hard_limit"),
        soft_limit: limit("soft_limit"),
        swap_hard_limit: limit("swap_hard_limit"),
    };
    (seen != MemoryTune::default()).then_some(seen)
}

/// Disks.
pub(super) fn block_io_tune(definition: &Element) -> Option<BlockIoTune> {
    let weight = definition.text_at("blkiotune/weight").and_then(number)?;
    Some(BlockIoTune { weight: Some(weight) })
}
