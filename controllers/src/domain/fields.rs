//! libvirt's paths in the words of the spec: people wrote fields, not XML. Pure.

use apis::domain::DomainParameters;

use super::{initial::INITIAL, render};

/// Where libvirt's paths begin, and the field that they are of. The first line that fits counts.
#[rustfmt::skip]
const FIELDS: &[(&str, &str)] = &[
    ("iothreads", "iothreads"),
    ("memoryBacking", "memoryBacking"),
    ("cputune/shares", "cpuTune.shares"),
    ("cputune/period", "cpuTune.period"),
    ("cputune/quota", "cpuTune.quota"),
    ("cputune/global_period", "cpuTune.globalPeriod"),
    ("cputune/global_quota", "cpuTune.globalQuota"),
    ("cputune/emulator_period", "cpuTune.emulatorPeriod"),
    ("cputune/emulator_quota", "cpuTune.emulatorQuota"),
    ("cputune/iothread_period", "cpuTune.ioThreadPeriod"),
    ("cputune/iothread_quota", "cpuTune.ioThreadQuota"),
    ("cputune/vcpupin", "cpuTune.vcpuPins"),
    ("cputune/emulatorpin", "cpuTune.emulatorPin"),
    ("cputune/iothreadpin", "cpuTune.ioThreadPins"),
    ("cputune", "cpuTune"),
    ("memtune/hard_limit", "memoryTune.hardLimit"),
    ("memtune/soft_limit", "memoryTune.softLimit"),
    ("memtune/swap_hard_limit", "memoryTune.swapHardLimit"),
    ("memtune", "memoryTune"),
    ("blkiotune", "blockIoTune.weight"),
    ("numatune", "numaTune"),
    ("sysinfo[fwcfg]", "cloudInitRef"),
    ("sysinfo[smbios]", "sysinfo"),
    ("sysinfo", "sysinfo"),
    ("os/smbios", "sysinfo"),
    ("os/type@arch", "os.arch"),
    ("os/type@machine", "os.machine"),
    ("devices/emulator", "os.emulator"),
    ("os@firmware", "os.firmware"),
    ("os/firmware", "os.secureBoot"),
    ("os/loader", "os.secureBoot"),
    ("os/kernel", "os.kernelRef"),
    ("os/initrd", "os.initrdRef"),
    ("os/cmdline", "os.cmdline"),
    ("os/boot", "os.boot"),
    ("cpu/topology", "cpu.topology"),
    ("cpu/numa", "cpu.numa"),
    ("cpu/feature", "cpu.features"),
    ("cpu/model", "cpu.model"),
    ("cpu", "cpu.mode"),
    ("features/kvm", "features.kvm"),
    ("features/hyperv", "features.hyperv"),
    ("features", "features"),
    ("clock/timer", "clock.timers"),
    ("clock@timezone", "clock.timezone"),
    ("clock", "clock.offset"),
    ("on_poweroff", "lifecycle.onPoweroff"),
    ("on_reboot", "lifecycle.onReboot"),
    ("on_crash", "lifecycle.onCrash"),
    ("devices/disk", "disks"),
    ("devices/interface", "networkInterfaces"),
    ("devices/hostdev", "hostDevices"),
    ("devices/filesystem", "filesystems"),
    ("devices/graphics", "graphics"),
    ("devices/video", "video"),
    ("devices/serial", "consoles"),
    ("devices/console", "consoles"),
    ("devices/channel", "channels"),
    ("devices/rng", "rng"),
    ("devices/tpm", "tpm"),
    ("devices/watchdog", "watchdog"),
    ("devices/panic", "panic"),
    ("devices/sound", "sound"),
    ("devices/input", "inputs"),
    ("devices/vsock", "vsock"),
    ("devices/memballoon", "balloon"),
];

/// What is said of one of several, below it.
#[rustfmt::skip]
const PARTS: &[(&str, &str, &str)] = &[
    ("disks", "target@dev", "target"),
    ("disks", "target@bus", "bus"),
    ("disks", "@device", "device"),
    ("disks", "driver@cache", "cache"),
    ("disks", "driver@io", "io"),
    ("disks", "driver@discard", "discard"),
    ("disks", "driver@detect_zeroes", "detectZeroes"),
    ("disks", "driver@iothread", "ioThread"),
    ("disks", "boot@order", "bootOrder"),
    ("disks", "serial", "serial"),
    ("disks", "readonly", "readOnly"),
    ("disks", "shareable", "shareable"),
    ("disks", "iotune", "ioTune"),
    ("networkInterfaces", "model@type", "model"),
    ("networkInterfaces", "mac@address", "mac"),
    ("networkInterfaces", "mtu@size", "mtu"),
    ("networkInterfaces", "driver@queues", "queues"),
    ("networkInterfaces", "boot@order", "bootOrder"),
    ("networkInterfaces", "link", "linkState"),
    ("networkInterfaces", "vlan", "vlan"),
    ("networkInterfaces", "bandwidth", "bandwidth"),
    ("networkInterfaces", "filterref", "filter"),
    ("networkInterfaces", "port", "isolated"),
];

/// The prefixes of aliases that a name from the spec follows.
const NAMED: &[&str] = &[
    render::DISK,
    render::NIC,
    render::SERIAL,
    render::PORT,
    render::INPUT,
    render::HOST_DEVICE,
    render::FILESYSTEM,
    INITIAL,
];

/// The field of the spec that a path of the description is of; what is none stays as libvirt says it.
pub(super) fn field(path: &str, parameters: &DomainParameters) -> String {
    match path {
        "memory" if parameters.max_memory.is_some() => return "maxMemory".to_owned(),
        "memory" | "currentMemory" => return "memory".to_owned(),
        "vcpu" if parameters.max_vcpus.is_some() => return "maxVcpus".to_owned(),
        "vcpu" | "vcpu@current" => return "vcpus".to_owned(),
        _ => {}
    }
    if path.contains(render::AGENT) {
        return "guestAgent".to_owned();
    }
    if path.contains(render::SEED) {
        return "cloudInitRef".to_owned();
    }
    let begins =
        |begin: &str| path.strip_prefix(begin).filter(|rest| rest.is_empty() || rest.starts_with(['/', '@', '[']));
    let Some((field, rest)) = FIELDS.iter().find_map(|(begin, field)| Some((*field, begins(begin)?))) else {
        return path.to_owned();
    };
    let Some((key, rest)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        return field.to_owned();
    };
    let rest = rest.trim_start_matches('/');
    let name = NAMED.iter().find_map(|prefix| key.strip_prefix(prefix)).unwrap_or(key);
    // What there can be only one of has no name in the spec.
    let item = if key.starts_with("ua-") && name == key { field.to_owned() } else { format!("{field}[{name}]") };
    let is_part =
        |begin: &str| rest.strip_prefix(begin).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']));
    let part = PARTS.iter().find(|(of, begin, _)| *of == field && is_part(begin)).map(|(_, _, part)| part);
    part.map_or_else(|| item.clone(), |part| format!("{item}.{part}"))
}

/// The fields of these paths, each once.
pub(super) fn fields<'a>(paths: impl IntoIterator<Item = &'a str>, parameters: &DomainParameters) -> Vec<String> {
    let mut fields: Vec<String> = paths.into_iter().map(|path| field(path, parameters)).collect();
    fields.sort();
    fields.dedup();
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_said_as_the_fields_that_people_wrote() {
        let plain = DomainParameters::default();
        for (path, expected) in [
            ("memory", "memory"),
            ("vcpu@current", "vcpus"),
            ("cputune/vcpupin[0]@cpuset", "cpuTune.vcpuPins[0]"),
            ("cputune/quota", "cpuTune.quota"),
            ("cpu@mode", "cpu.mode"),
            ("cpu/feature[avx]@policy", "cpu.features[avx]"),
            ("clock@offset", "clock.offset"),
            ("clock/timer[rtc]@tickpolicy", "clock.timers[rtc]"),
            ("on_crash", "lifecycle.onCrash"),
            ("devices/disk[ua-disk-data]", "disks[data]"),
            ("devices/disk[ua-disk-data]/target@dev", "disks[data].target"),
            ("devices/disk[ua-disk-data]/iotune/total_bytes_sec", "disks[data].ioTune"),
            ("devices/disk[ua-disk-data]/source@file", "disks[data]"),
            ("devices/disk[vdq]", "disks[vdq]"),
            ("devices/disk[ua-seed-cloud-init]", "cloudInitRef"),
            ("sysinfo[fwcfg]", "cloudInitRef"),
            ("sysinfo[fwcfg]/entry[opt%2Fcom.coreos%2Fconfig]@file", "cloudInitRef"),
            ("sysinfo[smbios]/system/entry[serial]", "sysinfo"),
            ("devices/interface[ua-nic-lan]/link@state", "networkInterfaces[lan].linkState"),
            ("devices/graphics[vnc]@passwd", "graphics[vnc]"),
            ("devices/video[ua-video-0]/model@type", "video"),
            ("devices/channel[ua-channel-agent]", "guestAgent"),
            ("devices/channel[ua-port-talk]", "channels[talk]"),
            ("devices/redirdev[ua-raw-1]", "devices/redirdev[ua-raw-1]"),
            ("cpus", "cpus"),
        ] {
            assert_eq!(field(path, &plain), expected, "{path}");
        }
        let with_most = DomainParameters { max_vcpus: Some(4), ..DomainParameters::default() };
        assert_eq!(
            fields(["vcpu", "vcpu@current", "memory", "currentMemory"], &with_most),
            ["maxVcpus", "memory", "vcpus"]
        );
    }
}
