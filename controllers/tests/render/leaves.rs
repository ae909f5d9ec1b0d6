//! Every leaf of `forProvider` of every managed kind has a line here that says what it changes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cases::{Case, case};

/// How a leaf's effect is shown.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    /// Setting this value at this place of this example changes the description.
    Described(&'static str, &'static str, &'static str),
    /// Setting this value at this place of this example changes what the object refers to.
    Refers(&'static str, &'static str, &'static str),
    /// This test shows it; its file names the field by this word.
    Test(&'static str, &'static str, &'static str),
}

use Shown::{Described, Refers as Referent, Test};

const LIFE: &str = "tests/tests/lifecycle.rs";
const POWER: &str = "tests/tests/power.rs";
const FIELDS: &str = "tests/tests/fields.rs";
const GROWN: &str = "disks_come_go_and_grow_under_a_running_guest_that_then_halts_and_comes_back";
const PLAIN: &str =
    "a_pool_that_is_not_to_be_built_waits_for_its_directory_and_plain_names_find_what_no_object_stands_for";
const SEEDS: &str = "every_file_of_a_seed_can_be_inline_or_come_from_a_secret_or_a_config_map";
const DEVICES: &str = "tests/tests/devices.rs";
const PASSWORD: &str = "a_console_asks_for_the_password_of_the_secret_as_it_is_by_now";
const CARDS: &str = "cards_come_and_go_under_a_running_guest_that_answers_and_a_sound_card_waits_for_its_boot";
const IMPORTS: &str = "tests/tests/imports.rs";
const PACKED: &str =
    "packed_images_come_unpacked_and_whole_and_one_that_is_larger_than_its_volume_leaves_nothing_behind";
const LET_IN: &str =
    "an_image_that_is_not_for_everybody_comes_with_the_credentials_of_a_secret_which_are_nowhere_to_be_seen";
const DOORS: &str = "tests/tests/image_doors.rs";
const KNOWN: &str = "an_image_comes_by_https_from_a_server_that_only_the_object_knows_and_that_wants_a_header_which_is_nowhere_to_be_seen";
const ENCRYPTED: &str = "tests/tests/encrypted.rs";
const OPENED: &str =
    "a_guest_reads_what_it_wrote_to_encrypted_disks_and_nobody_else_does_and_the_passphrase_is_nowhere_to_be_seen";
const CHAP: &str = "tests/tests/chap.rs";
const LET: &str = "a_pool_is_let_in_with_the_password_of_its_secret_and_with_no_other";
const TRACES: &str = "tests/tests/traces.rs";
const KEPT: &str = "firmware_variables_and_the_state_of_a_tpm_stay_where_the_object_says_so_and_only_there";
const AUTOSTART: Shown = Test("tests/tests/drift.rs", "autostart_flipped_by_hand_is_flipped_back", "autostart");

#[rustfmt::skip]
const DOMAIN: &[(&str, Shown)] = &[
    ("autostart", AUTOSTART),
    ("blockIoTune.weight", Described("tuning", "blockIoTune/weight", "500")),
    ("clock.offset", Described("platform", "clock/offset", "\"Utc\"")),
    ("clock.timers[].name", Described("platform", "clock/timers/2/name", "\"Tsc\"")),
    ("clock.timers[].present", Described("platform", "clock/timers/2/present", "true")),
    ("clock.timers[].tickPolicy", Described("platform", "clock/timers/0/tickPolicy", "\"Delay\"")),
    ("clock.timezone", Described("zone", "clock/timezone", "\"America/Lima\"")),
    ("consoles[].log", Described("full", "consoles/1/log", "true")),
    ("consoles[].name", Described("full", "consoles/1/name", "\"other\"")),
    ("cpu.features[].name", Described("platform", "cpu/features/0/name", "\"avx\"")),
    ("cpu.features[].policy", Described("platform", "cpu/features/1/policy", "\"Force\"")),
    ("cpu.mode", Described("host-model", "cpu/mode", "\"Maximum\"")),
    ("cpu.model", Described("full", "cpu/model", "\"Nehalem\"")),
    ("cpu.numa[].cpus", Described("numa", "cpu/numa", "[{\"id\": 0, \"cpus\": \"0\", \"memory\": \"96Mi\"}, {\"id\": 1, \"cpus\": \"1-3\", \"memory\": \"160Mi\"}]")),
    ("cpu.numa[].distances[].cell", Described("numa", "cpu/numa/1/distances", "[{\"cell\": 0, \"value\": 30}]")),
    ("cpu.numa[].distances[].value", Described("numa", "cpu/numa/0/distances/0/value", "30")),
    ("cpu.numa[].id", Described("numa", "cpu/numa", "[{\"id\": 1, \"cpus\": \"0-1\", \"memory\": \"96Mi\"}, {\"id\": 0, \"cpus\": \"2-3\", \"memory\": \"160Mi\"}]")),
    ("cpu.numa[].memAccess", Described("numa", "cpu/numa/0/memAccess", "\"Shared\"")),
    ("cpu.numa[].memory", Described("numa", "cpu/numa", "[{\"id\": 0, \"cpus\": \"0-1\", \"memory\": \"128Mi\"}, {\"id\": 1, \"cpus\": \"2-3\", \"memory\": \"128Mi\"}]")),
    ("cpu.topology.cores", Described("platform", "cpu/topology", "{\"sockets\": 2, \"cores\": 4}")),
    ("cpu.topology.sockets", Described("platform", "cpu/topology", "{\"sockets\": 8}")),
    ("cpu.topology.threads", Described("platform", "cpu/topology", "{\"sockets\": 4, \"threads\": 2}")),
    ("cpuTune.emulatorPeriod", Described("tuning", "cpuTune/emulatorPeriod", "\"50ms\"")),
    ("cpuTune.emulatorPin", Described("tuning", "cpuTune/emulatorPin", "\"0\"")),
    ("cpuTune.emulatorQuota", Described("tuning", "cpuTune/emulatorQuota", "\"50ms\"")),
    ("cpuTune.globalPeriod", Described("tuning", "cpuTune/globalPeriod", "\"50ms\"")),
    ("cpuTune.globalQuota", Described("tuning", "cpuTune/globalQuota", "\"50ms\"")),
    ("cpuTune.ioThreadPeriod", Described("tuning", "cpuTune/ioThreadPeriod", "\"50ms\"")),
    ("cpuTune.ioThreadPins[].cpus", Described("tuning", "cpuTune/ioThreadPins/0/cpus", "\"1\"")),
    ("cpuTune.ioThreadPins[].ioThread", Described("tuning", "cpuTune/ioThreadPins", "[{\"ioThread\": 2, \"cpus\": \"1\"}]")),
    ("cpuTune.ioThreadQuota", Described("tuning", "cpuTune/ioThreadQuota", "\"50ms\"")),
    ("cpuTune.period", Described("tuning", "cpuTune/period", "\"40ms\"")),
    ("cpuTune.quota", Described("tuning", "cpuTune/quota", "\"50ms\"")),
    ("cpuTune.shares", Described("tuning", "cpuTune/shares", "100")),
    ("cpuTune.vcpuPins[].cpus", Described("tuning", "cpuTune/vcpuPins/0/cpus", "\"1\"")),
    ("cpuTune.vcpuPins[].vcpu", Described("tuning", "cpuTune/vcpuPins/0/vcpu", "1")),
    ("disks[].block.format", Described("storage", "disks/5/block/format", "\"Qcow2\"")),
    ("disks[].block.path", Described("storage", "disks/5/block/path", "\"/dev/vg0/other\"")),
    ("disks[].bootOrder", Described("full", "disks/0/bootOrder", "2")),
    ("disks[].bus", Described("full", "disks/1/bus", "\"Virtio\"")),
    ("disks[].cache", Described("platform", "disks/0/cache", "\"Directsync\"")),
    ("disks[].detectZeroes", Described("platform", "disks/0/detectZeroes", "\"Off\"")),
    ("disks[].device", Described("drives", "disks/0/device", "\"Disk\"")),
    ("disks[].discard", Described("platform", "disks/0/discard", "\"Ignore\"")),
    ("disks[].io", Described("platform", "disks/0/io", "\"IoUring\"")),
    ("disks[].ioThread", Described("tuning", "disks/0/ioThread", "1")),
    ("disks[].file.format", Described("storage", "disks/4/file/format", "\"Raw\"")),
    ("disks[].file.path", Described("storage", "disks/4/file/path", "\"/srv/other\"")),
    ("disks[].ioTune.bytesPerSecond.read", Described("storage", "disks/1/ioTune/bytesPerSecond/read", "\"1M\"")),
    ("disks[].ioTune.bytesPerSecond.readMax", Described("storage", "disks/1/ioTune/bytesPerSecond/readMax", "\"900Mi\"")),
    ("disks[].ioTune.bytesPerSecond.total", Described("storage", "disks/0/ioTune/bytesPerSecond/total", "\"60Mi\"")),
    ("disks[].ioTune.bytesPerSecond.totalMax", Described("storage", "disks/0/ioTune/bytesPerSecond/totalMax", "\"900Mi\"")),
    ("disks[].ioTune.bytesPerSecond.write", Described("storage", "disks/1/ioTune/bytesPerSecond/write", "\"1M\"")),
    ("disks[].ioTune.bytesPerSecond.writeMax", Described("storage", "disks/1/ioTune/bytesPerSecond/writeMax", "\"900Mi\"")),
    ("disks[].ioTune.iopsPerSecond.read", Described("storage", "disks/0/ioTune/iopsPerSecond/read", "70")),
    ("disks[].ioTune.iopsPerSecond.readMax", Described("storage", "disks/0/ioTune/iopsPerSecond/readMax", "7000")),
    ("disks[].ioTune.iopsPerSecond.total", Described("storage", "disks/1/ioTune/iopsPerSecond/total", "70")),
    ("disks[].ioTune.iopsPerSecond.totalMax", Described("storage", "disks/1/ioTune/iopsPerSecond/totalMax", "7000")),
    ("disks[].ioTune.iopsPerSecond.write", Described("storage", "disks/0/ioTune/iopsPerSecond/write", "70")),
    ("disks[].ioTune.iopsPerSecond.writeMax", Described("storage", "disks/0/ioTune/iopsPerSecond/writeMax", "7000")),
    ("disks[].name", Described("full", "disks/2/name", "\"other\"")),
    ("disks[].network.format", Described("storage", "disks/6/network/format", "\"Qcow2\"")),
    ("disks[].network.hosts[].name", Described("storage", "disks/6/network/hosts/0/name", "\"other\"")),
    ("disks[].network.hosts[].port", Described("storage", "disks/6/network/hosts/0/port", "6791")),
    ("disks[].network.name", Described("storage", "disks/6/network/name", "\"pool/other\"")),
    ("disks[].network.protocol", Described("storage", "disks/9/network/protocol", "\"Http\"")),
    ("disks[].readOnly", Described("full", "disks/0/readOnly", "true")),
    ("disks[].serial", Described("platform", "disks/0/serial", "\"other\"")),
    ("disks[].shareable", Described("storage", "disks/0/shareable", "true")),
    ("disks[].target", Described("storage", "disks/1/target", "\"vdz\"")),
    ("disks[].volume.format", Test(FIELDS, PLAIN, "format: Raw}")),
    ("disks[].volume.name", Test(FIELDS, PLAIN, "volume: {pool: pool, name: theirs")),
    ("disks[].volume.pool", Test(FIELDS, PLAIN, "volume: {pool: pool, name: theirs")),
    ("features.acpi", Described("minimal", "features", "{\"acpi\": false}")),
    ("features.apic", Described("platform", "features/apic", "false")),
    ("features.hyperv.frequencies", Described("platform", "features/hyperv/frequencies", "false")),
    ("features.hyperv.relaxed", Described("platform", "features/hyperv/relaxed", "false")),
    ("features.hyperv.reset", Described("platform", "features/hyperv/reset", "false")),
    ("features.hyperv.runtime", Described("platform", "features/hyperv/runtime", "false")),
    ("features.hyperv.spinlocks", Described("platform", "features/hyperv/spinlocks", "4096")),
    ("features.hyperv.stimer", Described("platform", "features/hyperv/stimer", "false")),
    ("features.hyperv.synic", Described("platform", "features/hyperv/synic", "false")),
    ("features.hyperv.vapic", Described("platform", "features/hyperv/vapic", "false")),
    ("features.hyperv.vendorId", Described("platform", "features/hyperv/vendorId", "\"other\"")),
    ("features.hyperv.vpindex", Described("platform", "features/hyperv/vpindex", "false")),
    ("features.kvm.hidden", Described("platform", "features/kvm/hidden", "false")),
    ("features.pae", Described("platform", "features/pae", "false")),
    ("features.smm", Described("platform", "features/smm", "false")),
    ("features.vmport", Described("platform", "features/vmport", "true")),
    ("filesystems[].accessMode", Described("passed", "filesystems/1/accessMode", "\"Squash\"")),
    ("filesystems[].driver", Described("passed", "filesystems/0/driver", "\"Path\"")),
    ("filesystems[].hostPath", Described("passed", "filesystems/0/hostPath", "\"/srv/other\"")),
    ("filesystems[].name", Described("passed", "filesystems/0/name", "\"other\"")),
    ("filesystems[].readOnly", Described("passed", "filesystems/1/readOnly", "false")),
    ("graphics[].listen", Described("full", "graphics/0/listen", "\"::1\"")),
    ("graphics[].passwordSecretRef.key", Test(DEVICES, PASSWORD, "key: vnc}")),
    ("graphics[].passwordSecretRef.name", Test(DEVICES, PASSWORD, "passwordSecretRef: {name: desk")),
    ("graphics[].port", Described("devices", "graphics/0/port", "5931")),
    ("graphics[].type", Described("minimal", "graphics", "[{\"type\": \"Vnc\"}]")),
    ("guestAgent", Described("full", "guestAgent", "false")),
    ("iothreads", Described("tuning", "iothreads", "3")),
    ("hostDevices[].bootOrder", Described("passed", "hostDevices/0/bootOrder", "3")),
    ("hostDevices[].mdev.uuid", Described("passed", "hostDevices/3/mdev/uuid", "\"c2177883-f1bb-47f0-914d-32a22e3a8805\"")),
    ("hostDevices[].name", Described("passed", "hostDevices/0/name", "\"other\"")),
    ("hostDevices[].pci.address", Described("passed", "hostDevices/0/pci/address", "\"0000:02:00.1\"")),
    ("hostDevices[].usb.bus", Described("passed", "hostDevices/2/usb/bus", "2")),
    ("hostDevices[].usb.device", Described("passed", "hostDevices/2/usb/device", "5")),
    ("hostDevices[].usb.product", Described("passed", "hostDevices/1/usb/product", "\"0003\"")),
    ("hostDevices[].usb.vendor", Described("passed", "hostDevices/1/usb/vendor", "\"1d6c\"")),
    ("lifecycle.onCrash", Described("platform", "lifecycle/onCrash", "\"Restart\"")),
    ("lifecycle.onPoweroff", Described("platform", "lifecycle", "{\"onPoweroff\": \"Restart\"}")),
    ("lifecycle.onReboot", Described("platform", "lifecycle/onReboot", "\"Restart\"")),
    ("maxMemory", Described("full", "maxMemory", "\"3Gi\"")),
    ("maxVcpus", Described("full", "maxVcpus", "8")),
    ("memory", Described("full", "memory", "\"512Mi\"")),
    ("memoryBacking.hugepages.size", Described("platform", "memoryBacking/hugepages/size", "\"1Gi\"")),
    ("memoryBacking.locked", Described("platform", "memoryBacking/locked", "false")),
    ("memoryBacking.merge", Described("platform", "memoryBacking/merge", "true")),
    ("memoryBacking.shared", Described("platform", "memoryBacking/shared", "false")),
    ("memoryBacking.source", Described("platform", "memoryBacking/source", "\"File\"")),
    ("memoryTune.hardLimit", Described("tuning", "memoryTune/hardLimit", "\"2Gi\"")),
    ("memoryTune.softLimit", Described("tuning", "memoryTune/softLimit", "\"2Gi\"")),
    ("memoryTune.swapHardLimit", Described("tuning", "memoryTune/swapHardLimit", "\"3Gi\"")),
    ("networkInterfaces[].address", Test("tests/tests/networks.rs", "a_guest_gets_the_address_that_its_network_keeps_for_it_and_nobody_else_does", "address: ")),
    ("networkInterfaces[].bridge", Described("full", "networkInterfaces/2/bridge", "\"br9\"")),
    ("networkInterfaces[].linkState", Described("platform", "networkInterfaces/0/linkState", "\"Up\"")),
    ("networkInterfaces[].mac", Described("full", "networkInterfaces/2/mac", "\"52:54:00:00:00:01\"")),
    ("networkInterfaces[].model", Described("full", "networkInterfaces/0/model", "\"E1000\"")),
    ("networkInterfaces[].mtu", Described("platform", "networkInterfaces/0/mtu", "9000")),
    ("networkInterfaces[].name", Described("full", "networkInterfaces/1/name", "\"other\"")),
    ("networkInterfaces[].network", Described("full", "networkInterfaces/1/network", "\"other\"")),
    ("networkInterfaces[].portGroup", Described("links", "networkInterfaces/4/portGroup", "\"other\"")),
    ("networkInterfaces[].queues", Described("platform", "networkInterfaces/0/queues", "2")),
    ("numaTune.memNodes[].cell", Described("numa", "numaTune/memNodes", "[{\"cell\": 1, \"nodeset\": \"0\"}]")),
    ("numaTune.memNodes[].mode", Described("numa", "numaTune/memNodes/0/mode", "\"Strict\"")),
    ("numaTune.memNodes[].nodeset", Described("numa", "numaTune/memNodes/0/nodeset", "\"1\"")),
    ("numaTune.mode", Described("numa", "numaTune/mode", "\"Strict\"")),
    ("numaTune.nodeset", Described("numa", "numaTune/nodeset", "\"1\"")),
    ("os.arch", Described("full", "os/arch", "\"aarch64\"")),
    ("os.boot[]", Described("kernel", "os/boot/0", "\"Cdrom\"")),
    ("os.cmdline", Described("kernel", "os/cmdline", "\"quiet\"")),
    ("os.emulator", Described("platform", "os/emulator", "\"/usr/bin/kvm\"")),
    ("os.firmware", Described("platform", "os", "{\"firmware\": \"Bios\"}")),
    ("os.keepNvram", Test(TRACES, KEPT, "keepNvram")),
    ("os.machine", Described("full", "os/machine", "\"pc-q35-7.1\"")),
    ("os.secureBoot", Described("platform", "os/secureBoot", "false")),
    ("panic.model", Described("platform", "panic/model", "\"Hyperv\"")),
    ("rawXml", Described("raw", "rawXml", "\"<domain><devices><input type='tablet' bus='usb'/></devices></domain>\"")),
    ("rng.source", Described("full", "rng/source", "\"Urandom\"")),
    ("paused", Test(POWER, "a_guest_is_paused_and_goes_on_as_its_object_says", "paused")),
    ("restartPolicy", Test(POWER, "changes_that_wait_for_a_boot_get_it_where_the_policy_says_so", "restartPolicy")),
    ("runStrategy", Test(LIFE, GROWN, "Halted")),
    ("shutdown.forceAfterTimeout", Test(FIELDS, "a_guest_is_asked_to_shut_down_in_the_way_that_its_object_says", "forceAfterTimeout")),
    ("shutdown.mode", Test(FIELDS, "a_guest_is_asked_to_shut_down_in_the_way_that_its_object_says", "mode: Agent")),
    ("shutdown.timeout", Test(FIELDS, "a_guest_is_asked_to_shut_down_in_the_way_that_its_object_says", "timeout")),
    ("sysinfo.baseBoard.asset", Described("numa", "sysinfo/baseBoard/asset", "\"other\"")),
    ("sysinfo.baseBoard.location", Described("numa", "sysinfo/baseBoard/location", "\"other\"")),
    ("sysinfo.baseBoard.manufacturer", Described("numa", "sysinfo/baseBoard/manufacturer", "\"other\"")),
    ("sysinfo.baseBoard.product", Described("numa", "sysinfo/baseBoard/product", "\"other\"")),
    ("sysinfo.baseBoard.serial", Described("numa", "sysinfo/baseBoard/serial", "\"other\"")),
    ("sysinfo.baseBoard.version", Described("numa", "sysinfo/baseBoard/version", "\"other\"")),
    ("sysinfo.bios.date", Described("numa", "sysinfo/bios/date", "\"02/01/2026\"")),
    ("sysinfo.bios.release", Described("numa", "sysinfo/bios/release", "\"4.3\"")),
    ("sysinfo.bios.vendor", Described("numa", "sysinfo/bios/vendor", "\"other\"")),
    ("sysinfo.bios.version", Described("numa", "sysinfo/bios/version", "\"other\"")),
    ("sysinfo.chassis.asset", Described("numa", "sysinfo/chassis/asset", "\"other\"")),
    ("sysinfo.chassis.manufacturer", Described("numa", "sysinfo/chassis/manufacturer", "\"other\"")),
    ("sysinfo.chassis.serial", Described("numa", "sysinfo/chassis/serial", "\"other\"")),
    ("sysinfo.chassis.sku", Described("numa", "sysinfo/chassis/sku", "\"other\"")),
    ("sysinfo.chassis.version", Described("numa", "sysinfo/chassis/version", "\"other\"")),
    ("sysinfo.oemStrings[]", Described("numa", "sysinfo/oemStrings/0", "\"other\"")),
    ("sysinfo.system.family", Described("numa", "sysinfo/system/family", "\"other\"")),
    ("sysinfo.system.manufacturer", Described("numa", "sysinfo/system/manufacturer", "\"other\"")),
    ("sysinfo.system.product", Described("numa", "sysinfo/system/product", "\"other\"")),
    ("sysinfo.system.serial", Described("numa", "sysinfo/system/serial", "\"other\"")),
    ("sysinfo.system.sku", Described("numa", "sysinfo/system/sku", "\"other\"")),
    ("sysinfo.system.version", Described("numa", "sysinfo/system/version", "\"other\"")),
    ("tpm.keepState", Test(TRACES, KEPT, "keepState")),
    ("tpm.model", Described("platform", "tpm/model", "\"Crb\"")),
    ("type", Described("full", "type", "\"Kvm\"")),
    ("vcpus", Described("full", "vcpus", "3")),
    ("video.model", Described("platform", "video/model", "\"Bochs\"")),
    ("watchdog.action", Described("platform", "watchdog/action", "\"Reset\"")),
    ("balloon.autodeflate", Described("devices", "balloon/autodeflate", "false")),
    ("balloon.freePageReporting", Described("devices", "balloon/freePageReporting", "true")),
    ("balloon.model", Described("full", "balloon", "{\"model\": \"None\"}")),
    ("balloon.statsPeriod", Described("devices", "balloon/statsPeriod", "\"5s\"")),
    ("channels[].name", Described("devices", "channels/0/name", "\"other\"")),
    ("channels[].target", Described("devices", "channels/0/target", "\"org.example.other.0\"")),
    ("channels[].type", Described("devices", "channels/0/type", "\"SpiceVmc\"")),
    ("consoles[].tcp.listen", Described("devices", "consoles/2/tcp/listen", "\"::1\"")),
    ("consoles[].tcp.port", Described("devices", "consoles/2/tcp/port", "4556")),
    ("consoles[].tcp.protocol", Described("devices", "consoles/2/tcp/protocol", "\"Raw\"")),
    ("consoles[].type", Described("devices", "consoles/0/type", "\"File\"")),
    ("inputs[].bus", Described("devices", "inputs/1/bus", "\"Usb\"")),
    ("inputs[].name", Described("devices", "inputs/0/name", "\"other\"")),
    ("inputs[].type", Described("devices", "inputs/0/type", "\"Mouse\"")),
    ("networkInterfaces[].bandwidth.inbound.average", Described("links", "networkInterfaces/3/bandwidth/inbound/average", "7")),
    ("networkInterfaces[].bandwidth.inbound.burst", Described("links", "networkInterfaces/3/bandwidth/inbound/burst", "7")),
    ("networkInterfaces[].bandwidth.inbound.peak", Described("links", "networkInterfaces/3/bandwidth/inbound/peak", "7")),
    ("networkInterfaces[].bandwidth.outbound.average", Described("links", "networkInterfaces/3/bandwidth/outbound/average", "7")),
    ("networkInterfaces[].bandwidth.outbound.burst", Described("links", "networkInterfaces/3/bandwidth/outbound/burst", "7")),
    ("networkInterfaces[].bandwidth.outbound.peak", Described("links", "networkInterfaces/3/bandwidth/outbound/peak", "7")),
    ("networkInterfaces[].bootOrder", Described("links", "networkInterfaces/0/bootOrder", "2")),
    ("networkInterfaces[].direct.device", Described("links", "networkInterfaces/0/direct/device", "\"eno9\"")),
    ("networkInterfaces[].direct.mode", Described("links", "networkInterfaces/0/direct/mode", "\"Private\"")),
    ("networkInterfaces[].filter", Described("links", "networkInterfaces/3/filter", "\"other\"")),
    ("networkInterfaces[].isolated", Described("links", "networkInterfaces/3/isolated", "false")),
    ("networkInterfaces[].user", Test(DEVICES, CARDS, "user: {}")),
    ("networkInterfaces[].vlan.tags[]", Described("links", "networkInterfaces/1/vlan/tags/0", "43")),
    ("networkInterfaces[].vlan.trunk", Described("links", "networkInterfaces/1/vlan/trunk", "true")),
    ("sound.model", Described("devices", "sound/model", "\"Ac97\"")),
    ("vsock.cid", Described("devices", "vsock/cid", "78")),
];

#[rustfmt::skip]
const VOLUME: &[(&str, Shown)] = &[
    ("capacity", Described("larger", "capacity", "\"4G\"")),
    ("encryption.format", Test(ENCRYPTED, OPENED, "format: Luks")),
    ("encryption.passphraseRef.key", Test(ENCRYPTED, OPENED, "passphraseRef")),
    ("encryption.passphraseRef.name", Test(ENCRYPTED, OPENED, "passphraseRef")),
    ("format", Described("blank", "format", "\"Qcow2\"")),
    ("pool", Test(FIELDS, PLAIN, "pool: pool, capacity")),
    ("permissions.group", Described("permitted", "permissions/group", "7")),
    ("permissions.mode", Described("permitted", "permissions/mode", "\"0644\"")),
    ("permissions.owner", Described("permitted", "permissions/owner", "7")),
    ("preallocation", Described("reserved", "preallocation", "\"Off\"")),
    ("source.configMapKeyRef.key", Test(CONTENTS, WRITTEN, "configMapKeyRef: {name: c, key: bytes}")),
    ("source.configMapKeyRef.name", Test(CONTENTS, WRITTEN, "configMapKeyRef: {name: c, key: bytes}")),
    ("source.http.caBundle.configMapKeyRef.key", Test(DOORS, KNOWN, "configMapKeyRef")),
    ("source.http.caBundle.configMapKeyRef.name", Test(DOORS, KNOWN, "configMapKeyRef")),
    ("source.http.caBundle.inline", Test(DOORS, KNOWN, "inline")),
    ("source.http.caBundle.secretKeyRef.key", Test(DOORS, KNOWN, "secretKeyRef")),
    ("source.http.caBundle.secretKeyRef.name", Test(DOORS, KNOWN, "secretKeyRef")),
    ("source.http.checksum", Test("controllers/tests/fetch.rs", "a_wrong_checksum_is_said_and_the_last_chunk_kept_back", "checksum")),
    ("source.http.checksumUrl", Test(IMPORTS, PACKED, "checksumUrl")),
    ("source.http.credentialsRef.name", Test(IMPORTS, LET_IN, "credentialsRef")),
    ("source.http.decompression", Test(IMPORTS, PACKED, "decompression: Never")),
    ("source.http.headersRef.name", Test(DOORS, KNOWN, "headersRef")),
    ("source.http.url", Test("controllers/tests/fetch.rs", "an_image_comes_whole_in_chunks_of_one_size", "url")),
    ("source.secretKeyRef.key", Test(CONTENTS, WRITTEN, "secretKeyRef: {name: s, key: word}")),
    ("source.secretKeyRef.name", Test(CONTENTS, WRITTEN, "secretKeyRef: {name: s, key: word}")),
    ("wipe", Test("tests/tests/wiped.rs", "a_volume_that_is_to_be_wiped_is_all_zeros_before_it_goes_and_one_that_cannot_be_stays", "wipe: Zero")),
];

#[rustfmt::skip]
const POOL: &[(&str, Shown)] = &[
    ("autostart", AUTOSTART),
    ("build", Test(FIELDS, PLAIN, "build: false")),
    ("target.path", Described("full", "target/path", "\"/srv/other\"")),
    ("target.permissions.group", Described("full", "target/permissions/group", "7")),
    ("target.permissions.mode", Described("full", "target/permissions/mode", "\"0750\"")),
    ("target.permissions.owner", Described("full", "target/permissions/owner", "7")),
    ("source.auth.secretRef.key", Test(CHAP, LET, "secretRef")),
    ("source.auth.secretRef.name", Test(CHAP, LET, "secretRef")),
    ("source.auth.username", Described("iscsi-chap", "source/auth/username", "\"other\"")),
    ("source.adapter.name", Described("scsi", "source/adapter/name", "\"scsi_host6\"")),
    ("source.adapter.parent", Described("fc", "source/adapter/parent", "\"scsi_host6\"")),
    ("source.adapter.wwnn", Described("fc", "source/adapter/wwnn", "\"20000000c9831b4c\"")),
    ("source.adapter.wwpn", Described("fc", "source/adapter/wwpn", "\"10000000c9831b4c\"")),
    ("source.devices[]", Described("logical", "source/devices/1", "\"/dev/sdd1\"")),
    ("source.dir", Described("netfs", "source/dir", "\"/export/other\"")),
    ("source.format", Described("fs", "source/format", "\"Xfs\"")),
    ("source.hosts[].name", Described("rbd", "source/hosts/1/name", "\"mon3.example.org\"")),
    ("source.hosts[].port", Described("rbd", "source/hosts/1/port", "6790")),
    ("source.initiatorIqn", Described("iscsi", "source/initiatorIqn", "\"iqn.2013-06.com.example:other\"")),
    ("source.iqn", Described("iscsi", "source/iqn", "\"iqn.2013-06.com.example:other\"")),
    ("source.name", Described("vstorage", "source/name", "\"other\"")),
    ("source.protocolVersion", Described("netfs", "source/protocolVersion", "\"3\"")),
    ("type", Described("mpath", "type", "\"Dir\"")),
];

#[rustfmt::skip]
const NETWORK: &[(&str, Shown)] = &[
    ("addressesPerNamespace", Test("tests/tests/reservations.rs", "guests_of_another_namespace_have_as_many_addresses_as_the_network_says", "addressesPerNamespace: 1")),
    ("autostart", AUTOSTART),
    ("bandwidth.inbound.average", Described("shaped", "bandwidth/inbound/average", "7")),
    ("bandwidth.inbound.burst", Described("shaped", "bandwidth/inbound/burst", "7")),
    ("bandwidth.inbound.peak", Described("shaped", "bandwidth/inbound/peak", "7")),
    ("bandwidth.outbound.average", Described("shaped", "bandwidth/outbound/average", "7")),
    ("bandwidth.outbound.burst", Described("shaped", "bandwidth/outbound/burst", "7")),
    ("bandwidth.outbound.peak", Described("shaped", "bandwidth/outbound/peak", "7")),
    ("bridge", Described("route", "bridge", "\"virbr-other\"")),
    ("dhcpOptions[].code", Described("dhcp", "dhcpOptions/0/code", "4")),
    ("dhcpOptions[].value", Described("dhcp", "dhcpOptions/0/value", "\"10.41.0.9\"")),
    ("dns.enabled", Described("route", "dns", "{\"enabled\": false}")),
    ("dns.forwardPlainNames", Described("open", "dns/forwardPlainNames", "true")),
    ("dns.forwarders[].address", Described("open", "dns/forwarders/0/address", "\"10.8.0.1\"")),
    ("dns.forwarders[].domain", Described("open", "dns/forwarders/1/domain", "\"other.example\"")),
    ("dns.hosts[].hostnames[]", Described("open", "dns/hosts/0/hostnames/1", "\"other.open.internal\"")),
    ("dns.hosts[].ip", Described("open", "dns/hosts/0/ip", "\"10.40.0.9\"")),
    ("dns.srvs[].domain", Described("open", "dns/srvs/0/domain", "\"other.internal\"")),
    ("dns.srvs[].port", Described("open", "dns/srvs/0/port", "636")),
    ("dns.srvs[].priority", Described("open", "dns/srvs/0/priority", "7")),
    ("dns.srvs[].protocol", Described("open", "dns/srvs/0/protocol", "\"Udp\"")),
    ("dns.srvs[].service", Described("open", "dns/srvs/0/service", "\"other\"")),
    ("dns.srvs[].target", Described("open", "dns/srvs/0/target", "\"other.open.internal\"")),
    ("dns.srvs[].weight", Described("open", "dns/srvs/0/weight", "7")),
    ("dns.txts[].name", Described("open", "dns/txts/0/name", "\"other\"")),
    ("dns.txts[].value", Described("open", "dns/txts/0/value", "\"other\"")),
    ("direct.devices[]", Described("macvtap", "direct/devices/0", "\"eno9\"")),
    ("direct.mode", Described("beside", "direct/mode", "\"Private\"")),
    ("domain", Described("nat", "domain", "\"other.internal\"")),
    ("domainLocalOnly", Described("open", "domainLocalOnly", "false")),
    ("ips[].cidr", Described("nat", "ips/1/cidr", "\"fd00:151::1/64\"")),
    ("ips[].dhcp.bootp.file", Described("dhcp", "ips/0/dhcp/bootp/file", "\"http://10.41.0.2/boot.ipxe\"")),
    ("ips[].dhcp.bootp.server", Described("dhcp", "ips/0/dhcp/bootp/server", "\"10.41.0.9\"")),
    ("ips[].dhcp.hosts[].duid", Described("ipv6", "ips/0/dhcp/hosts/0/duid", "\"00:03:00:01:52:54:00:aa:00:09\"")),
    ("ips[].dhcp.hosts[].ip", Described("nat", "ips/0/dhcp/hosts/0/ip", "\"192.168.150.7\"")),
    ("ips[].dhcp.hosts[].leaseTime", Described("dhcp", "ips/0/dhcp/hosts/0/leaseTime", "\"1h\"")),
    ("ips[].dhcp.hosts[].mac", Described("nat", "ips/0/dhcp/hosts/0/mac", "\"52:54:00:aa:00:07\"")),
    ("ips[].dhcp.hosts[].name", Described("nat", "ips/0/dhcp/hosts/0/name", "\"other\"")),
    ("ips[].dhcp.ranges[].end", Described("nat", "ips/0/dhcp/ranges/0/end", "\"192.168.150.98\"")),
    ("ips[].dhcp.ranges[].leaseTime", Described("dhcp", "ips/0/dhcp/ranges/1/leaseTime", "\"2h\"")),
    ("ips[].dhcp.ranges[].start", Described("nat", "ips/0/dhcp/ranges/0/start", "\"192.168.150.11\"")),
    ("hostDevices.addresses[]", Described("functions", "hostDevices/addresses/1", "\"0000:03:10.4\"")),
    ("hostDevices.physicalFunction", Described("card", "hostDevices/physicalFunction", "\"eno9\"")),
    ("isolatedPorts", Described("isolated", "isolatedPorts", "false")),
    ("mode", Described("nat", "mode", "\"Open\"")),
    ("mtu", Described("open", "mtu", "1400")),
    ("openVSwitch", Described("bridge", "openVSwitch", "true")),
    ("portGroups[].bandwidth.inbound.average", Described("shaped", "portGroups/1/bandwidth/inbound/average", "7")),
    ("portGroups[].bandwidth.inbound.burst", Described("shaped", "portGroups/1/bandwidth/inbound/burst", "7")),
    ("portGroups[].bandwidth.inbound.peak", Described("shaped", "portGroups/1/bandwidth/inbound/peak", "7")),
    ("portGroups[].bandwidth.outbound.average", Described("shaped", "portGroups/1/bandwidth/outbound/average", "7")),
    ("portGroups[].bandwidth.outbound.burst", Described("shaped", "portGroups/1/bandwidth/outbound/burst", "7")),
    ("portGroups[].bandwidth.outbound.peak", Described("shaped", "portGroups/1/bandwidth/outbound/peak", "7")),
    ("portGroups[].default", Described("macvtap", "portGroups/0/default", "false")),
    ("portGroups[].name", Described("macvtap", "portGroups/1/name", "\"other\"")),
    ("portGroups[].vlan.tags[]", Described("macvtap", "portGroups/0/vlan/tags/0", "9")),
    ("portGroups[].vlan.trunk", Described("macvtap", "portGroups/1/vlan/trunk", "true")),
    ("restartPolicy", Test("tests/tests/networks.rs", "names_and_addresses_change_under_a_running_guest_that_stays_on_the_network", "restartPolicy")),
    ("routes[].cidr", Described("open", "routes/0/cidr", "\"10.60.0.0/16\"")),
    ("routes[].gateway", Described("open", "routes/0/gateway", "\"10.40.0.3\"")),
    ("routes[].metric", Described("open", "routes/0/metric", "7")),
    ("vlan.tags[]", Described("macvtap", "vlan/tags/0", "43")),
    ("vlan.trunk", Described("macvtap", "vlan/trunk", "true")),
];

/// Each reference and selector of the Domain, and where an example has it.
const LINKS_OF_DOMAIN: [(&str, &str, &str); 10] = [
    ("cloudInitRef", "full", "cloudInitRef"),
    ("cloudInitSelector", "selected", "cloudInitSelector"),
    ("disks[].volumeRef", "full", "disks/0/volumeRef"),
    ("disks[].volumeSelector", "selected", "disks/0/volumeSelector"),
    ("networkInterfaces[].networkRef", "full", "networkInterfaces/0/networkRef"),
    ("networkInterfaces[].networkSelector", "selected", "networkInterfaces/0/networkSelector"),
    ("os.initrdRef", "kernel", "os/initrdRef"),
    ("os.initrdSelector", "selected", "os/initrdSelector"),
    ("os.kernelRef", "kernel", "os/kernelRef"),
    ("os.kernelSelector", "selected", "os/kernelSelector"),
];

/// The same of the Volume.
const LINKS_OF_VOLUME: [(&str, &str, &str); 6] = [
    ("backingStore.volumeRef", "overlay", "backingStore/volumeRef"),
    ("backingStore.volumeSelector", "selected", "backingStore/volumeSelector"),
    ("poolRef", "blank", "poolRef"),
    ("poolSelector", "selected", "poolSelector"),
    ("source.volumeRef", "copied", "source/volumeRef"),
    ("source.volumeSelector", "chosen", "source/volumeSelector"),
];

/// The leaves of a reference and of a selector, each with a value that no example has.
const NAMED: [(&str, &str); 4] = [
    ("name", "\"other\""),
    ("namespace", "\"other\""),
    ("policy.resolution", "{\"resolution\": \"Optional\"}"),
    ("policy.resolve", "{\"resolve\": \"Always\"}"),
];
const CHOSEN: [(&str, &str); 5] =
    [("matchControllerRef", "true"), ("matchLabels", "{\"other\": \"other\"}"), NAMED[1], NAMED[2], NAMED[3]];

/// A line for every leaf of these references and selectors. What each means is shown by the tests of the links.
fn links(fields: &[(&'static str, &'static str, &'static str)]) -> Vec<(String, Shown)> {
    let mut lines = Vec::new();
    for (field, example, place) in fields {
        let leaves = if field.ends_with("Ref") { &NAMED[..] } else { &CHOSEN };
        for (leaf, value) in leaves {
            let place = format!("{place}/{}", leaf.split('.').next().unwrap());
            lines.push((format!("{field}.{leaf}"), Referent(example, place.leak(), value)));
        }
    }
    lines
}

const SELECTORS: &str = "tests/tests/selectors.rs";
const REFUSALS: &str = "tests/tests/refused.rs";
const REFUSED: &str = "a_reference_that_could_mean_nothing_is_refused_with_what_it_needs";
const LINKS: &str = "controllers/tests/links.rs";
const POLICIES: &str = "a_selector_chooses_when_its_policy_says";
const FOUND: &str = "objects_of_one_owner_find_each_other_and_leave_those_of_another_alone";
const ELSEWHERE: &str = "objects_of_another_namespace_are_found_and_kept_while_they_are_used";

const CONTENTS: &str = "tests/tests/contents.rs";
const WRITTEN: &str = "a_key_of_a_secret_or_config_map_is_a_volume_byte_for_byte_and_nothing_of_it_is_told";

const CLOUD_INIT: &str = "tests/tests/cloud_init.rs";
const PARTS: &str = "several_parts_are_one_message_in_the_seed_and_lose_no_byte";
const DEBIAN: &str = "tests/tests/debian.rs";
const TYPED: &str = "a_real_cloud_init_does_what_a_seed_says_and_its_guest_has_the_address_that_its_network_keeps";
const INTERFACES: &str = "interfaces_are_a_network_config_of_version_2";
const IGNITED: &str = "a_config_of_ignition_is_told_by_the_firmware_and_seen_nowhere_else";
const INSTANCE: &str = "an_instance_id_is_kept_or_changes_with_the_content_as_the_object_says";

/// What a `CloudInit` says in fields; one guest shows them all.
const TYPED_FIELDS: [&str; 47] = [
    "cloudConfig.bootCommands[]",
    "cloudConfig.defaultUser",
    "cloudConfig.fqdn",
    "cloudConfig.hostname",
    "cloudConfig.manageEtcHosts",
    "cloudConfig.packageUpdate",
    "cloudConfig.packageUpgrade",
    "cloudConfig.packages[]",
    "cloudConfig.runCommands[]",
    "cloudConfig.sshPasswordAuthentication",
    "cloudConfig.timezone",
    "cloudConfig.users[].gecos",
    "cloudConfig.users[].groups[]",
    "cloudConfig.users[].hashedPasswordSecretRef.key",
    "cloudConfig.users[].hashedPasswordSecretRef.name",
    "cloudConfig.users[].name",
    "cloudConfig.users[].primaryGroup",
    "cloudConfig.users[].shell",
    "cloudConfig.users[].sshAuthorizedKeys[].configMapKeyRef.key",
    "cloudConfig.users[].sshAuthorizedKeys[].configMapKeyRef.name",
    "cloudConfig.users[].sshAuthorizedKeys[].inline",
    "cloudConfig.users[].sshAuthorizedKeys[].name",
    "cloudConfig.users[].sshAuthorizedKeys[].secretKeyRef.key",
    "cloudConfig.users[].sshAuthorizedKeys[].secretKeyRef.name",
    "cloudConfig.users[].sudo[]",
    "cloudConfig.writeFiles[].append",
    "cloudConfig.writeFiles[].configMapKeyRef.key",
    "cloudConfig.writeFiles[].configMapKeyRef.name",
    "cloudConfig.writeFiles[].defer",
    "cloudConfig.writeFiles[].inline",
    "cloudConfig.writeFiles[].name",
    "cloudConfig.writeFiles[].owner",
    "cloudConfig.writeFiles[].path",
    "cloudConfig.writeFiles[].permissions",
    "cloudConfig.writeFiles[].secretKeyRef.key",
    "cloudConfig.writeFiles[].secretKeyRef.name",
    "networkInterfaces[].addresses[]",
    "networkInterfaces[].dhcp4",
    "networkInterfaces[].dhcp6",
    "networkInterfaces[].mac",
    "networkInterfaces[].mtu",
    "networkInterfaces[].name",
    "networkInterfaces[].nameservers.addresses[]",
    "networkInterfaces[].nameservers.search[]",
    "networkInterfaces[].routes[].name",
    "networkInterfaces[].routes[].to",
    "networkInterfaces[].routes[].via",
];

/// A `CloudInit`'s files are alike.
fn cloud_init() -> Vec<(String, Shown)> {
    let mut table = vec![
        ("pool".to_owned(), Test(FIELDS, SEEDS, "\"pool: pool\"")),
        ("poolRef.name".to_owned(), Test(FIELDS, SEEDS, "poolRef: {name: pool}")),
        ("poolRef.namespace".to_owned(), Test(SELECTORS, ELSEWHERE, "poolRef: {{name: base, namespace: {other}}}")),
        (
            "poolSelector.matchControllerRef".to_owned(),
            Test(SELECTORS, FOUND, "poolSelector: {matchControllerRef: true}"),
        ),
        (
            "poolSelector.matchLabels".to_owned(),
            Test(SELECTORS, ELSEWHERE, "poolSelector: {{matchLabels: {{store: fast}}, namespace: {other}}}"),
        ),
        (
            "poolSelector.namespace".to_owned(),
            Test(SELECTORS, ELSEWHERE, "poolSelector: {{matchLabels: {{store: fast}}, namespace: {other}}}"),
        ),
    ];
    for field in ["poolRef", "poolSelector"] {
        table.push((format!("{field}.policy.resolve"), Test(LINKS, POLICIES, "for good")));
        table.push((format!("{field}.policy.resolution"), Test(REFUSALS, REFUSED, "a pool cannot be Optional")));
    }
    for file in ["userData", "metaData", "networkConfig", "vendorData"] {
        for source in ["secretKeyRef", "configMapKeyRef"] {
            table.push((format!("{file}.{source}.name"), Test(FIELDS, SEEDS, file)));
            table.push((format!("{file}.{source}.key"), Test(FIELDS, SEEDS, file)));
        }
        table.push((format!("{file}.inline"), Test(FIELDS, SEEDS, "inline")));
    }
    for file in ["userData", "vendorData"] {
        for leaf in ["name", "contentType", "inline", "secretKeyRef.name", "secretKeyRef.key"] {
            table.push((format!("{file}.parts[].{leaf}"), Test(CLOUD_INIT, PARTS, "contentType: ShellScriptPerBoot")));
        }
        for leaf in ["configMapKeyRef.name", "configMapKeyRef.key"] {
            table.push((format!("{file}.parts[].{leaf}"), Test(CLOUD_INIT, PARTS, "configMapKeyRef: {{name: big")));
        }
    }
    table.extend(TYPED_FIELDS.iter().map(|field| {
        let mut words = field.split('.').map(|word| word.trim_end_matches("[]"));
        let word = words.rfind(|word| !["name", "key"].contains(word)).unwrap();
        ((*field).to_owned(), Test(DEBIAN, TYPED, word))
    }));
    // The networkd of cloud-init 22.4 drops it.
    let metric = Test("controllers/tests/cloud_config.rs", INTERFACES, "metric");
    table.push(("networkInterfaces[].routes[].metric".to_owned(), metric));
    table.push(("format".to_owned(), Test("tests/tests/ignition.rs", IGNITED, "format: Ignition")));
    table.push(("instanceIdPolicy".to_owned(), Test(CLOUD_INIT, INSTANCE, "instanceIdPolicy: Content")));
    table
}

/// The table of a kind: a line for every leaf of its `forProvider`.
pub(crate) fn table(kind: &str) -> Vec<(String, Shown)> {
    let (own, fields) = match kind {
        "Domain" => (DOMAIN, &LINKS_OF_DOMAIN[..]),
        "Volume" => (VOLUME, &LINKS_OF_VOLUME[..]),
        "Pool" => (POOL, &[][..]),
        "Network" => (NETWORK, &[][..]),
        "CloudInit" => return cloud_init(),
        other => panic!("no kind {other}"),
    };
    own.iter().map(|(leaf, shown)| ((*leaf).to_owned(), *shown)).chain(links(fields)).collect()
}

/// The schema of a part of a kind's spec, as its CRD has it.
pub(crate) fn parameters(kind: &str, part: &str) -> Value {
    let crd = apis::crds().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
    schema["openAPIV3Schema"]["properties"]["spec"]["properties"][part].clone()
}

/// Every leaf of such a part.
pub(crate) fn leaves(parameters: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(parameters, "", &mut found);
    found
}

fn walk(schema: &Value, here: &str, found: &mut BTreeSet<String>) {
    match (schema["properties"].as_object(), &schema["items"]) {
        (Some(fields), _) => {
            let dot = if here.is_empty() { "" } else { "." };
            fields.iter().for_each(|(name, field)| walk(field, &format!("{here}{dot}{name}"), found));
        }
        (None, Value::Null) => drop(found.insert(here.to_owned())),
        (None, items) => walk(items, &format!("{here}[]"), found),
    }
}

/// The example, and the example with the value set, which must be where the leaf says and not there already.
pub(crate) fn pair(kind: &'static str, leaf: &str, example: &str, place: &str, value: &str) -> (Case, Case) {
    let before = case(kind, example);
    let mut after = before.clone();
    let value: Value = serde_json::from_str(value).unwrap();
    let pointer = format!("/spec/forProvider/{place}");
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match after.object.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        fields => fields[name] = value,
    }
    assert_ne!(before.object, after.object, "{kind} {leaf} has the value already");
    let steps: Vec<&str> = place.split('/').filter(|step| step.parse::<usize>().is_err()).collect();
    let names = leaf.replace("[]", "");
    assert!(names.starts_with(&steps.join(".")), "{place} is not {leaf}");
    (before, after)
}

/// A place in an object as the leaves are named: `disks[].name` for `/spec/forProvider/disks/0/name`.
pub(crate) fn as_field(object: &Value, pointer: &str) -> String {
    let mut at = object;
    let mut field = String::new();
    for step in pointer.split('/').skip(1) {
        if at.is_array() {
            field.push_str("[]");
        } else {
            field = format!("{field}.{step}");
        }
        at = if at.is_array() { &at[step.parse::<usize>().unwrap()] } else { &at[step] };
    }
    field.trim_start_matches(".spec.forProvider.").to_owned()
}
