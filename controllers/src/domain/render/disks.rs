//! Disks of a Domain → wishes about its description: pure.

use apis::{
    domain::{Disk, DiskBus, DiskCache, DiskDevice, DiskDiscard, DiskIo, DiskZeroes, DomainParameters},
    volume::Format,
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::{
    DISK, DiskType, Layer, Medium, SEED, Surroundings, own_medium, sources,
    targets::{Targets, prefix},
    tune,
};
use crate::domain::words::Word as _;

/// Wishes about all disks, and the seed as a CD-ROM.
pub(super) fn disks(
    wishes: &mut Wishes,
    parameters: &DomainParameters,
    around: &Surroundings,
    base: Option<&Element>,
) -> anyhow::Result<()> {
    let disks: Vec<&Disk> = parameters.disks.iter().flatten().filter(|disk| around.has_disk(disk)).collect();
    let mut targets = Targets::of(base, parameters, &around.taken)?;
    wishes.own("devices/disk", DISK);
    wishes.own("devices/disk", SEED);
    for disk in &disks {
        let alias = format!("{DISK}{}", disk.name);
        wishes.item("devices/disk", &alias, disk_part(disk, &alias, around, &mut targets)?);
    }
    // What a guest has is not taken from it because the object behind it has gone. A drive may stand empty.
    let is_kept = |disk: &&Disk| !around.has_disk(disk) && disk.device != Some(DiskDevice::Cdrom);
    for disk in parameters.disks.iter().flatten().filter(is_kept) {
        wishes.keep("devices/disk", &format!("{DISK}{}", disk.name));
    }
    if let Some(path) = &around.seed {
        let alias = format!("{SEED}cloud-init");
        let medium = Medium::file(path, Format::Raw);
        let part = data(Part::new(), Some(&medium)).with("@device", "cdrom").with_flag("readonly", true);
        wishes.item("devices/disk", &alias, place(part, &alias, DiskBus::Scsi, &mut targets)?);
    }
    let scsi = around.seed.is_some() || disks.iter().any(|disk| bus(disk) == DiskBus::Scsi);
    if scsi {
        // libvirt's own choice, lsilogic, has no driver in the kernels of cloud images.
        wishes.item("devices/controller", "scsi,0", Part::new().with("@model", "virtio-scsi"));
    }
    Ok(())
}

fn disk_part(disk: &Disk, alias: &str, around: &Surroundings, targets: &mut Targets) -> anyhow::Result<Part> {
    let device = disk.device.unwrap_or_default();
    let own = own_medium(disk);
    let medium = around.media.get(&disk.name.0).or(own.as_ref());
    let part = match (&disk.network, &disk.block) {
        (Some(network), _) => sources::network(network),
        (None, Some(_)) => sources::block(medium),
        (None, None) => data(Part::new(), medium),
    };
    let mut part = part.with("@device", device.word());
    let always = match device {
        DiskDevice::Disk => None,
        DiskDevice::Cdrom => Some(true),
    };
    if let Some(read_only) = always.or(disk.read_only) {
        part.flag("readonly", read_only);
    }
    if let Some(shareable) = disk.shareable {
        part.flag("shareable", shareable);
    }
    if let Some(order) = disk.boot_order {
        part.set("boot@order", order.to_string());
    }
    tuning(&mut part, disk);
    tune::io_tune(&mut part, disk)?;
    place(part, alias, bus(disk), targets)
}

fn tuning(part: &mut Part, disk: &Disk) {
    if let Some(serial) = &disk.serial {
        part.set("serial", serial.as_str());
    }
    let driver = [
        ("cache", disk.cache.map(DiskCache::word)),
        ("io", disk.io.map(DiskIo::word)),
        ("discard", disk.discard.map(DiskDiscard::word)),
        ("detect_zeroes", disk.detect_zeroes.map(DiskZeroes::word)),
    ];
    if let Some(thread) = disk.io_thread {
        part.set("driver@iothread", thread.to_string());
    }
    for (attribute, word) in driver {
        if let Some(word) = word {
            part.set(&format!("driver@{attribute}"), word);
        }
    }
}

pub(super) fn bus(disk: &Disk) -> DiskBus {
    let usual = match disk.device.unwrap_or_default() {
        DiskDevice::Disk => DiskBus::Virtio,
        DiskDevice::Cdrom => DiskBus::Scsi,
    };
    disk.bus.unwrap_or(usual)
}

/// The whole chain is spelled out, down to its end: QEMU then opens no file that an image's header names.
fn data(part: Part, medium: Option<&Medium>) -> Part {
    let part = part.with("driver@name", "qemu");
    let Some(medium) = medium else {
        return part.with("@type", "file").with("driver@type", "raw").with_flag("source", false);
    };
    let end = Element::new("backingStore");
    let chain = medium.backing.iter().rev().fold(end, |below, Layer { path, block, format }| {
        let (type_, attribute) = if *block { ("block", "dev") } else { ("file", "file") };
        Element::new("backingStore")
            .attr("type", type_)
            .child(Element::new("format").attr("type", format.as_libvirt()))
            .child(Element::new("source").attr(attribute, path.as_str()))
            .child(below)
    });
    let path = medium.path.as_str();
    let part = match &medium.type_ {
        DiskType::File => part.with("@type", "file").with("source@file", path),
        DiskType::Block => part.with("@type", "block").with("source@dev", path),
        DiskType::Volume { pool, name } => {
            part.with("@type", "volume").with("source@pool", pool.as_str()).with("source@volume", name.as_str())
        }
    };
    let part = part.with("driver@type", medium.format.as_libvirt()).with_whole("backingStore", chain);
    let Some(secret) = &medium.secret else { return part };
    part.with("source/encryption@format", "luks")
        .with("source/encryption/secret@type", "passphrase")
        .with("source/encryption/secret@uuid", secret.as_str())
}

fn place(part: Part, alias: &str, bus: DiskBus, targets: &mut Targets) -> anyhow::Result<Part> {
    let target = targets.target(alias, prefix(bus))?;
    Ok(part.with("target@bus", bus.word()).with("target@dev", target))
}
