//! The drift rules of a domain: path · key · unit · live route, with group and what a change clears where there is any.
//!
//! What no line names is text that a redefine changes and the next boot shows.

use libvirt::rule::{Key, Live, Route, Rule, Rules, Unit};

use Live::{BlockTune, BlockWeight, Device, IoThreads, Memory, MemoryTune, Scheduler, Update, Vcpus};
use Route::{Definition, Immutable, NextBoot};

const TABLE: &[Rule] = &[
    // identity
    Rule::value("@type", Unit::Text, Immutable),
    Rule::value("name", Unit::Text, Immutable),
    Rule::value("uuid", Unit::Text, Immutable),
    Rule::element("metadata/pl:object", Definition),
    // memory: libvirt keeps three figures for one wish
    Rule::value("memory", Unit::Kibibytes, NextBoot).group("memory"),
    Rule::value("currentMemory", Unit::Kibibytes, Route::Live(Memory)).group("memory"),
    Rule::value("maxMemory", Unit::Kibibytes, NextBoot).group("memory"),
    // processors
    Rule::value("vcpu", Unit::Number, NextBoot).group("vcpu"),
    Rule::value("vcpu@current", Unit::Number, Route::Live(Vcpus)).group("vcpu"),
    Rule::value("cpu@mode", Unit::Text, NextBoot).group("cpu"),
    Rule::value("cpu/model", Unit::Text, NextBoot).group("cpu"),
    // What libvirt adds for one mode is an error beside another.
    Rule::value("cpu@check", Unit::Text, NextBoot).group("cpu"),
    Rule::value("cpu@match", Unit::Text, NextBoot).group("cpu"),
    Rule::value("cpu@migratable", Unit::Text, NextBoot).group("cpu"),
    Rule::value("cpu/model@fallback", Unit::Text, NextBoot).group("cpu"),
    Rule::element("cpu/topology", NextBoot),
    Rule::filled("cpu/topology@dies"),
    Rule::filled("cpu/topology@clusters"),
    Rule::list("cpu/feature", &[Key::Fields(&[("@name", "")])], NextBoot),
    // what the guest gets of its host
    Rule::value("iothreads", Unit::Number, Route::Live(IoThreads)).clears(&["iothreadids"]),
    Rule::value("cputune/shares", Unit::Number, Route::Live(Scheduler)),
    Rule::value("cputune/period", Unit::CpuPeriod, Route::Live(Scheduler)),
    Rule::value("cputune/quota", Unit::CpuQuota, Route::Live(Scheduler)),
    Rule::value("cputune/global_period", Unit::CpuPeriod, Route::Live(Scheduler)),
    Rule::value("cputune/global_quota", Unit::CpuQuota, Route::Live(Scheduler)),
    Rule::value("cputune/emulator_period", Unit::CpuPeriod, Route::Live(Scheduler)),
    Rule::value("cputune/emulator_quota", Unit::CpuQuota, Route::Live(Scheduler)),
    Rule::value("cputune/iothread_period", Unit::CpuPeriod, Route::Live(Scheduler)),
    Rule::value("cputune/iothread_quota", Unit::CpuQuota, Route::Live(Scheduler)),
    Rule::list("cputune/vcpupin", &[Key::Fields(&[("@vcpu", "")])], Route::Live(Scheduler)),
    Rule::value("cputune/vcpupin@cpuset", Unit::CpuSet, Route::Live(Scheduler)),
    Rule::value("cputune/emulatorpin@cpuset", Unit::CpuSet, Route::Live(Scheduler)),
    Rule::list("cputune/iothreadpin", &[Key::Fields(&[("@iothread", "")])], Route::Live(Scheduler)),
    Rule::value("cputune/iothreadpin@cpuset", Unit::CpuSet, Route::Live(Scheduler)),
    Rule::value("memtune/hard_limit", Unit::Kibibytes, Route::Live(MemoryTune)),
    Rule::value("memtune/soft_limit", Unit::Kibibytes, Route::Live(MemoryTune)),
    Rule::value("memtune/swap_hard_limit", Unit::Kibibytes, Route::Live(MemoryTune)),
    Rule::value("blkiotune/weight", Unit::Number, Route::Live(BlockWeight)),
    Rule::element("numatune/memory", NextBoot),
    Rule::value("numatune/memory@nodeset", Unit::CpuSet, NextBoot),
    Rule::filled("numatune/memory@placement"),
    Rule::list("numatune/memnode", &[Key::Fields(&[("@cellid", "")])], NextBoot),
    Rule::value("numatune/memnode@nodeset", Unit::CpuSet, NextBoot),
    Rule::element("cpu/numa", NextBoot),
    Rule::value("cpu/numa/cell@cpus", Unit::CpuSet, NextBoot),
    Rule::value("cpu/numa/cell@memory", Unit::Kibibytes, NextBoot),
    // what the firmware tells
    Rule::list("sysinfo", &[Key::Fields(&[("@type", "")])], NextBoot),
    Rule::list("sysinfo/bios/entry", &[Key::Fields(&[("@name", "")])], NextBoot),
    Rule::list("sysinfo/system/entry", &[Key::Fields(&[("@name", "")])], NextBoot),
    Rule::list("sysinfo/baseBoard/entry", &[Key::Fields(&[("@name", "")])], NextBoot),
    Rule::list("sysinfo/chassis/entry", &[Key::Fields(&[("@name", "")])], NextBoot),
    // what boots
    Rule::value("os/type@arch", Unit::Text, Immutable),
    Rule::value("os/type@machine", Unit::MachineAlias, NextBoot),
    // Another firmware would not start what is installed, and its variables are not those of the first.
    Rule::value("os@firmware", Unit::Text, Immutable),
    Rule::list("os/firmware/feature", &[Key::Fields(&[("@name", "")])], Immutable),
    Rule::value("os/firmware/feature@enabled", Unit::Text, Immutable),
    Rule::value("os/kernel", Unit::Path, NextBoot),
    Rule::value("os/initrd", Unit::Path, NextBoot),
    Rule::element("os/boot", NextBoot).group("boot"),
    Rule::element("devices/disk/boot", NextBoot).group("boot"),
    Rule::element("devices/hostdev/boot", NextBoot).group("boot"),
    Rule::element("devices/interface/boot", NextBoot).group("boot"),
    // time
    Rule::value("clock@offset", Unit::Text, NextBoot).group("clock"),
    Rule::value("clock@timezone", Unit::Text, NextBoot).group("clock"),
    Rule::list("clock/timer", &[Key::Fields(&[("@name", "")])], NextBoot),
    // disks: attached and detached live; a medium is changed live; data is never swapped
    Rule::list("devices/disk", &[Key::Alias, Key::Fields(&[("target@dev", "")])], Route::Live(Device)),
    Rule::value("devices/disk@type", Unit::Text, Route::Live(Update)).group("data"),
    Rule::value("devices/disk/driver@type", Unit::Text, Route::Live(Update)).group("data"),
    Rule::element("devices/disk/source", Route::Live(Update)).group("data"),
    Rule::value("devices/disk/source@file", Unit::Path, Route::Live(Update)),
    Rule::value("devices/disk/source@dev", Unit::Path, Route::Live(Update)),
    Rule::filled("devices/disk/source@index"),
    Rule::filled("devices/disk/source@tls"),
    Rule::element("devices/disk/backingStore", Definition).group("data"),
    // Libvirt counts how long a burst lasts by itself, and may put disks of one guest together.
    Rule::element("devices/disk/iotune", Route::Live(BlockTune)),
    Rule::filled("devices/disk/iotune/group_name"),
    Rule::filled("devices/disk/iotune/size_iops_sec"),
    Rule::filled("devices/disk/iotune/total_bytes_sec_max_length"),
    Rule::filled("devices/disk/iotune/read_bytes_sec_max_length"),
    Rule::filled("devices/disk/iotune/write_bytes_sec_max_length"),
    Rule::filled("devices/disk/iotune/total_iops_sec_max_length"),
    Rule::filled("devices/disk/iotune/read_iops_sec_max_length"),
    Rule::filled("devices/disk/iotune/write_iops_sec_max_length"),
    Rule::value("devices/disk@device", Unit::Text, NextBoot).clears(&["devices/disk/address"]),
    Rule::value("devices/disk/target@bus", Unit::Text, NextBoot).clears(&["devices/disk/address"]),
    Rule::value("devices/disk/target@dev", Unit::Text, NextBoot).clears(&["devices/disk/address"]),
    Rule::value("devices/disk/alias@name", Unit::Text, Definition),
    // what of the host a guest has
    Rule::list("devices/hostdev", &[Key::Alias], Route::Live(Device)),
    Rule::value("devices/hostdev@type", Unit::Text, NextBoot).group("passed").clears(&["devices/hostdev/address"]),
    Rule::value("devices/hostdev@model", Unit::Text, NextBoot).group("passed"),
    Rule::value("devices/hostdev@managed", Unit::Text, NextBoot).group("passed"),
    Rule::element("devices/hostdev/source", NextBoot).group("passed"),
    Rule::value("devices/hostdev/source/address@domain", Unit::Number, NextBoot),
    Rule::value("devices/hostdev/source/address@bus", Unit::Number, NextBoot),
    Rule::value("devices/hostdev/source/address@slot", Unit::Number, NextBoot),
    Rule::value("devices/hostdev/source/address@function", Unit::Number, NextBoot),
    Rule::value("devices/hostdev/source/address@device", Unit::Number, NextBoot),
    Rule::value("devices/hostdev/alias@name", Unit::Text, Definition),
    // 9p cannot be plugged in, and a libvirtd without control groups (9.0) dies of plugging virtiofs in.
    Rule::list("devices/filesystem", &[Key::Alias, Key::Fields(&[("target@dir", "")])], NextBoot),
    Rule::value("devices/filesystem/source@dir", Unit::Path, NextBoot),
    Rule::value("devices/filesystem/driver@type", Unit::Text, NextBoot).clears(&["devices/filesystem/address"]),
    Rule::value("devices/filesystem/alias@name", Unit::Text, Definition),
    // interfaces
    Rule::list("devices/interface", &[Key::Alias, Key::Fields(&[("mac@address", "")])], Route::Live(Device)),
    Rule::value("devices/interface@type", Unit::Text, NextBoot).group("link"),
    Rule::element("devices/interface/source", Route::Live(Update)).group("link"),
    Rule::value("devices/interface/source@network", Unit::Text, Route::Live(Update)),
    Rule::value("devices/interface/source@bridge", Unit::Text, Route::Live(Update)),
    Rule::filled("devices/interface/source@portid"),
    Rule::value("devices/interface/mac@address", Unit::Mac, NextBoot),
    Rule::value("devices/interface/model@type", Unit::Text, NextBoot).clears(&["devices/interface/address"]),
    Rule::value("devices/interface/link@state", Unit::Text, Route::Live(Update)),
    Rule::element("devices/interface/link", Route::Live(Update)),
    Rule::value("devices/interface/alias@name", Unit::Text, Definition),
    // other devices
    Rule::list("devices/controller", &[Key::Fields(&[("@type", ""), ("@index", "0")])], NextBoot),
    Rule::list("devices/serial", &[Key::Alias, Key::Fields(&[("target@port", "0")])], NextBoot),
    Rule::list("devices/console", &[Key::Alias], NextBoot),
    Rule::list("devices/graphics", &[Key::Fields(&[("@type", "")])], NextBoot),
    Rule::value("devices/graphics/listen@address", Unit::Ip, NextBoot),
    Rule::list("devices/rng", &[Key::Alias, Key::First], Route::Live(Device)),
    Rule::list("devices/tpm", &[Key::Alias, Key::First], NextBoot),
    Rule::list("devices/watchdog", &[Key::Alias, Key::First], NextBoot),
    // From 9.1 on libvirt gives a q35 guest another one, and refuses two that do not act alike.
    Rule::value("devices/watchdog@action", Unit::Text, Immutable),
    Rule::list("devices/panic", &[Key::Alias, Key::First], NextBoot),
    Rule::list("devices/video", &[Key::Alias, Key::First], NextBoot),
    Rule::value("devices/video/model@type", Unit::Text, NextBoot).clears(&[
        "devices/video/address",
        "devices/video/model@ram",
        "devices/video/model@vram",
        "devices/video/model@vram64",
        "devices/video/model@vgamem",
    ]),
    // A guest has one, and libvirt keeps no name for one that is `none`.
    Rule::list("devices/memballoon", &[Key::Fields(&[])], NextBoot),
    Rule::list("devices/iommu", &[Key::Alias, Key::First], NextBoot),
    Rule::list("devices/vsock", &[Key::Alias, Key::First], NextBoot),
    Rule::list("devices/nvram", &[Key::Alias, Key::First], NextBoot),
    Rule::list("devices/channel", &[Key::Alias, Key::Fields(&[("target@name", "")])], Route::Live(Device)),
];

/// The table, ready for use.
pub fn rules() -> Rules {
    Rules::new(TABLE)
}
