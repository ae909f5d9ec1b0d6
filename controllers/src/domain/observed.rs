//! What a description says of a domain, in the words of the spec: pure.

mod consoles;
pub(crate) mod interfaces;
mod numa;
mod passed;
mod platform;
mod storage;
mod sysinfo;
mod tuning;

use std::collections::BTreeMap;

use apis::{
    domain::{
        Balloon, BalloonModel, DiskBus, DiskCache, DiskDevice, DiskDiscard, DiskIo, DiskObservation, DiskZeroes,
        DomainObservation, DomainType, GraphicsObservation, GraphicsType, HostVolumeObservation, Input, InputBus,
        InputType, Panic, PanicModel, Rng, RngSource, Sound, SoundModel, Tpm, TpmModel, Video, VideoModel,
        VsockObservation, Watchdog, WatchdogAction,
    },
    quantity::{ItemName, Span},
};
use libvirt::{VolumeId, xml::Element};

pub use passed::{host_device, host_device_name};
pub use storage::name_sources;

use super::{initial::INITIAL, render, words::Word as _};

/// The volumes of files that a guest uses, by path.
pub type Volumes = BTreeMap<String, VolumeId>;

/// What a domain's definition and its running description say; a guest that is off has none of these.
pub fn observe(definition: Option<&Element>, live: Option<&Element>, volumes: &Volumes) -> DomainObservation {
    let Some(definition) = definition.or(live) else { return DomainObservation::default() };
    let shown = live.unwrap_or(definition);
    let (memory, max_memory) = platform::sizes(definition);
    let (vcpus, max_vcpus) = platform::processors(definition);
    DomainObservation {
        type_: match definition.get("type") {
            Some("kvm") => Some(DomainType::Kvm),
            Some("qemu") => Some(DomainType::Qemu),
            _ => None,
        },
        memory,
        max_memory,
        vcpus,
        max_vcpus,
        iothreads: tuning::iothreads(definition),
        cpu_tune: tuning::cpu_tune(definition),
        memory_tune: tuning::memory_tune(definition),
        block_io_tune: tuning::block_io_tune(definition),
        numa_tune: numa::numa_tune(definition),
        sysinfo: sysinfo::sysinfo(definition),
        cpu: platform::cpu(definition),
        os: platform::os(definition),
        disks: shown.find_all("devices/disk").into_iter().filter_map(|device| disk(device, volumes)).collect(),
        network_interfaces: shown.find_all("devices/interface").into_iter().filter_map(interfaces::interface).collect(),
        consoles: shown.find_all("devices/serial").into_iter().filter_map(consoles::console).collect(),
        channels: shown.find_all("devices/channel").into_iter().filter_map(consoles::channel).collect(),
        graphics: shown.find_all("devices/graphics").into_iter().filter_map(|one| graphics(one, live)).collect(),
        features: platform::features(definition),
        clock: platform::clock(definition),
        lifecycle: platform::lifecycle(definition),
        memory_backing: platform::memory_backing(definition),
        host_devices: passed::host_devices(shown),
        filesystems: shown.find_all("devices/filesystem").into_iter().filter_map(passed::filesystem).collect(),
        rng: rng(definition),
        tpm: tpm(definition),
        watchdog: watchdog(definition),
        panic: panic(definition),
        video: video(definition),
        sound: sound(definition),
        inputs: shown.find_all("devices/input").into_iter().filter_map(input).collect(),
        vsock: vsock(shown, live),
        balloon: balloon(definition),
        guest_agent: agent(definition).map(|_| true),
        ..DomainObservation::default()
    }
}

/// The guest agent's channel.
pub(super) fn agent(description: &Element) -> Option<&Element> {
    let channels = description.find_all("devices/channel");
    channels.into_iter().find(|channel| channel.attr_at("target@name") == Some("org.qemu.guest_agent.0"))
}

/// The name after our prefix in a device's alias.
pub(super) fn own_name(device: &Element, prefix: &str) -> Option<String> {
    let alias = device.attr_at("alias@name")?;
    let initial = || alias.strip_prefix(INITIAL)?.strip_prefix(prefix.strip_prefix("ua-")?);
    alias.strip_prefix(prefix).or_else(initial).map(str::to_owned)
}

/// A disk.
pub(super) fn disk(device: &Element, volumes: &Volumes) -> Option<DiskObservation> {
    let path = path(device).map(str::to_owned);
    Some(DiskObservation {
        name: own_name(device, render::DISK).or_else(|| own_name(device, render::SEED)),
        target: device.attr_at("target@dev")?.to_owned(),
        device: DiskDevice::read(device.get("device").unwrap_or("disk")),
        bus: device.attr_at("target@bus").and_then(DiskBus::read),
        read_only: device.find("readonly").map(|_| true),
        shareable: device.find("shareable").map(|_| true),
        boot_order: device.attr_at("boot@order").and_then(platform::number),
        serial: device.text_at("serial").map(str::to_owned),
        cache: device.attr_at("driver@cache").and_then(DiskCache::read),
        io: device.attr_at("driver@io").and_then(DiskIo::read),
        io_thread: device.attr_at("driver@iothread").and_then(platform::number),
        discard: device.attr_at("driver@discard").and_then(DiskDiscard::read),
        detect_zeroes: device.attr_at("driver@detect_zeroes").and_then(DiskZeroes::read),
        io_tune: storage::io_tune(device),
        network: storage::network(device),
        file: None,
        block: None,
        volume: volume(device, path.as_deref(), volumes),
        path,
        backing_paths: backing_paths(device),
    })
}

/// How many layers of a disk are told of.
const MAX_BACKING: usize = 64;

/// The files or devices below that of a disk, from the top.
fn backing_paths(disk: &Element) -> Vec<String> {
    let layers = std::iter::successors(disk.find("backingStore"), |layer| layer.find("backingStore"));
    layers.filter_map(path).map(str::to_owned).take(MAX_BACKING).collect()
}

/// The file or device that a disk writes to.
pub(super) fn path(disk: &Element) -> Option<&str> {
    disk.attr_at("source@file").or_else(|| disk.attr_at("source@dev"))
}

/// The volume of a disk, with the format that the definition says: never what a pool guesses from the content.
fn volume(disk: &Element, path: Option<&str>, volumes: &Volumes) -> Option<HostVolumeObservation> {
    let format = storage::format(disk)?;
    let VolumeId { pool, name } = volumes.get(path?)?.clone();
    Some(HostVolumeObservation { pool, name, format })
}

fn graphics(device: &Element, live: Option<&Element>) -> Option<GraphicsObservation> {
    let listen = device.attr_at("listen@address").or_else(|| device.get("listen")).map(str::to_owned);
    let port = device.get("port").and_then(platform::number).filter(|port| *port > 0);
    let host_port = port.filter(|_| live.is_some());
    let word = device.get("type")?;
    Some(GraphicsObservation {
        type_: GraphicsType::read(word).map_or_else(|| word.to_owned(), |type_| format!("{type_:?}")),
        host: listen.clone().filter(|_| host_port.is_some()),
        listen,
        port: port.filter(|_| device.get("autoport") != Some("yes")),
        host_port,
    })
}

fn rng(definition: &Element) -> Option<Rng> {
    let source = RngSource::read(definition.find("devices/rng")?.text_at("backend")?)?;
    Some(Rng { source: Some(source) })
}

/// An emulated TPM; a spec has no word for the host's own.
fn tpm(definition: &Element) -> Option<Tpm> {
    let tpm = definition.find("devices/tpm").filter(|tpm| tpm.attr_at("backend@type") == Some("emulator"))?;
    Some(Tpm { model: tpm.get("model").and_then(TpmModel::read), keep_state: None })
}

fn watchdog(definition: &Element) -> Option<Watchdog> {
    let watchdog = definition.find("devices/watchdog")?;
    Some(Watchdog { action: watchdog.get("action").and_then(WatchdogAction::read) })
}

fn panic(definition: &Element) -> Option<Panic> {
    Some(Panic { model: definition.find("devices/panic")?.get("model").and_then(PanicModel::read) })
}

fn video(definition: &Element) -> Option<Video> {
    Some(Video { model: Some(VideoModel::read(definition.find("devices/video")?.attr_at("model@type")?)?) })
}

fn sound(definition: &Element) -> Option<Sound> {
    Some(Sound { model: Some(SoundModel::read(definition.find("devices/sound")?.get("model")?)?) })
}

/// A keyboard or pointing device that a spec can name: libvirt gives a guest those on PS/2 by itself.
fn input(device: &Element) -> Option<Input> {
    let (type_, bus) = (InputType::read(device.get("type")?)?, InputBus::read(device.get("bus")?)?);
    Some(Input { name: ItemName(own_name(device, render::INPUT)?), type_, bus: Some(bus) })
}

fn vsock(shown: &Element, live: Option<&Element>) -> Option<VsockObservation> {
    let vsock = shown.find("devices/vsock")?;
    let cid = vsock.attr_at("cid@address").and_then(|cid| cid.parse().ok());
    let chosen = vsock.attr_at("cid@auto") == Some("yes");
    Some(VsockObservation { cid: cid.filter(|_| !chosen), guest_cid: cid.filter(|_| live.is_some()) })
}

/// The balloon, where it is another than the one that libvirt gives every guest.
fn balloon(definition: &Element) -> Option<Balloon> {
    let balloon = definition.find("devices/memballoon")?;
    let switch = |name| balloon.get(name).map(|state| state == "on");
    let seen = Balloon {
        model: balloon.get("model").and_then(BalloonModel::read),
        autodeflate: switch("autodeflate"),
        free_page_reporting: switch("freePageReporting"),
        stats_period: balloon.attr_at("stats@period").map(|seconds| Span(format!("{seconds}s"))),
    };
    let usual = Balloon { model: Some(BalloonModel::Virtio), ..Balloon::default() };
    Some(seen).filter(|seen| *seen != usual)
}
