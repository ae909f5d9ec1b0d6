//! What a Domain gets of its host → wishes about its description: pure.

use anyhow::{Context as _, ensure};
use apis::{
    domain::{BlockIoTune, CpuTune, DomainParameters, IoThreadPin, MemoryTune, VcpuPin},
    quantity::{CpuSet, Quantity},
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::platform;
use crate::mark;

/// Threads, shares, limits and pins.
pub(super) fn tuning(wishes: &mut Wishes, parameters: &DomainParameters, base: Option<&Element>) -> anyhow::Result<()> {
    let threads = iothreads(wishes, parameters, base)?;
    if let Some(said) = &parameters.cpu_tune {
        limits(wishes, said)?;
        pins(wishes, said, platform::most_vcpus(parameters, base).unwrap_or(1), threads)?;
    }
    if let Some(said) = &parameters.memory_tune {
        memory(wishes, said, parameters.memory.as_ref())?;
    }
    if let Some(BlockIoTune { weight: Some(weight) }) = &parameters.block_io_tune {
        wishes.set("blkiotune/weight", weight.to_string());
    }
    Ok(())
}

/// How many I/O threads the guest has by then; libvirt refuses a disk of another one without saying which disk.
fn iothreads(wishes: &mut Wishes, parameters: &DomainParameters, base: Option<&Element>) -> anyhow::Result<i32> {
    match parameters.iothreads {
        // libvirt does not write none.
        Some(0) => wishes.flag("iothreads", false),
        Some(threads) => wishes.set("iothreads", threads.to_string()),
        None => {}
    }
    let is_owned =
        |base: &Element| mark::owned_paths(base).is_some_and(|paths| paths.iter().any(|path| path == "iothreads"));
    let there = || base.filter(|base| !is_owned(base)).and_then(|base| base.text_at("iothreads")?.trim().parse().ok());
    let threads = parameters.iothreads.or_else(there).unwrap_or(0);
    for disk in parameters.disks.iter().flatten() {
        if let Some(thread) = disk.io_thread.filter(|thread| *thread > threads) {
            anyhow::bail!("disks {}: ioThread {thread} is more than iothreads, which is {threads}", disk.name);
        }
    }
    Ok(threads)
}

fn limits(wishes: &mut Wishes, tune: &CpuTune) -> anyhow::Result<()> {
    let CpuTune {
        shares,
        period,
        quota,
        global_period,
        global_quota,
        emulator_period,
        emulator_quota,
        io_thread_period,
        io_thread_quota,
        vcpu_pins: _,
        emulator_pin: _,
        io_thread_pins: _,
    } = tune;
    if let Some(shares) = shares {
        wishes.set("cputune/shares", shares.to_string());
    }
    let spans = [
        ("period", "period", period),
        ("quota", "quota", quota),
        ("globalPeriod", "global_period", global_period),
        ("globalQuota", "global_quota", global_quota),
        ("emulatorPeriod", "emulator_period", emulator_period),
        ("emulatorQuota", "emulator_quota", emulator_quota),
        ("ioThreadPeriod", "iothread_period", io_thread_period),
        ("ioThreadQuota", "iothread_quota", io_thread_quota),
    ];
    for (field, name, span) in spans {
        if let Some(span) = span {
            let micros = span.micros().map_err(anyhow::Error::msg).with_context(|| format!("cpuTune.{field}"))?;
            wishes.set(&format!("cputune/{name}"), micros.to_string());
        }
    }
    Ok(())
}

/// libvirt drops the pin of a processor that cannot be, and it would be wished for ever.
fn pins(wishes: &mut Wishes, tune: &CpuTune, vcpus: i32, threads: i32) -> anyhow::Result<()> {
    for VcpuPin { vcpu, cpus } in tune.vcpu_pins.iter().flatten() {
        ensure!(
            *vcpu < vcpus,
            "cpuTune.vcpuPins: vCPU {vcpu} is pinned, and the guest can have {vcpus}, counted from 0"
        );
        pin(wishes, "cputune/vcpupin", *vcpu, cpus.as_ref());
    }
    if let Some(CpuSet(cpus)) = &tune.emulator_pin {
        wishes.set("cputune/emulatorpin@cpuset", cpus.as_str());
    }
    for IoThreadPin { io_thread, cpus } in tune.io_thread_pins.iter().flatten() {
        ensure!(
            *io_thread <= threads,
            "cpuTune.ioThreadPins: I/O thread {io_thread} is pinned, and iothreads is {threads}"
        );
        pin(wishes, "cputune/iothreadpin", *io_thread, cpus.as_ref());
    }
    Ok(())
}

fn pin(wishes: &mut Wishes, list: &str, number: i32, cpus: Option<&CpuSet>) {
    if let Some(CpuSet(cpus)) = cpus {
        wishes.item(list, &number.to_string(), Part::new().with("@cpuset", cpus.as_str()));
    }
}

fn memory(wishes: &mut Wishes, tune: &MemoryTune, memory: Option<&Quantity>) -> anyhow::Result<()> {
    let MemoryTune { hard_limit, soft_limit, swap_hard_limit } = tune;
    let kibibytes = |field: &str, size: &Option<Quantity>| -> anyhow::Result<Option<u64>> {
        let size = size.as_ref().map(Quantity::kibibytes).transpose();
        size.map_err(anyhow::Error::msg).with_context(|| format!("memoryTune.{field}"))
    };
    let (hard, soft) = (kibibytes("hardLimit", hard_limit)?, kibibytes("softLimit", soft_limit)?);
    let swap = kibibytes("swapHardLimit", swap_hard_limit)?;
    let memory = memory.and_then(|memory| memory.kibibytes().ok());
    ensure!(
        hard.is_none() || memory.is_none() || hard > memory,
        "memoryTune.hardLimit must be larger than memory: the hypervisor needs some of its own, and beyond it the host ends the guest"
    );
    ensure!(swap.is_none() || swap >= hard, "memoryTune.swapHardLimit must not be smaller than memoryTune.hardLimit");
    for (name, limit) in [("hard_limit", hard), ("soft_limit", soft), ("swap_hard_limit", swap)] {
        if let Some(limit) = limit {
            wishes.set(&format!("memtune/{name}"), limit.to_string());
        }
    }
    Ok(())
}
