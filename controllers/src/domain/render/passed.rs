//! What of its host a Domain gets → wishes about its description: pure.

use anyhow::{Context, ensure};
use apis::domain::{DomainParameters, Filesystem, FilesystemDriver, HostDevice, MediatedDevice, PciDevice, UsbDevice};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::{FILESYSTEM, HOST_DEVICE};
use crate::{domain::words::Word as _, mark};

/// Devices of the host.
pub(super) fn host_devices(wishes: &mut Wishes, parameters: &DomainParameters) -> anyhow::Result<()> {
    wishes.own("devices/hostdev", HOST_DEVICE);
    for device in parameters.host_devices.iter().flatten() {
        let HostDevice { name, pci, usb, mdev, boot_order } = device;
        let part = Part::new().with("@mode", "subsystem");
        let mut part = match (pci, usb, mdev) {
            (Some(pci), None, None) => of_pci(part, pci),
            (None, Some(usb), None) => Some(of_usb(part, usb)),
            (None, None, Some(MediatedDevice { uuid })) => {
                Some(part.with("@type", "mdev").with("@model", "vfio-pci").with("source/address@uuid", uuid.as_str()))
            }
            _ => None,
        }
        .with_context(|| format!("hostDevices {name}: set one of pci, usb and mdev"))?;
        if let Some(order) = boot_order {
            part.set("boot@order", order.to_string());
        }
        wishes.item("devices/hostdev", &format!("{HOST_DEVICE}{name}"), part);
    }
    Ok(())
}

/// The host gives a card up and takes it back by itself.
fn of_pci(part: Part, PciDevice { address }: &PciDevice) -> Option<Part> {
    let (bus, function) = address.rsplit_once('.')?;
    let mut numbers = bus.splitn(3, ':').map(|number| format!("0x{number}"));
    let part = part.with("@type", "pci").with("@managed", "yes").with("source/address@domain", numbers.next()?);
    let part = part.with("source/address@bus", numbers.next()?).with("source/address@slot", numbers.next()?);
    Some(part.with("source/address@function", format!("0x{function}")))
}

fn of_usb(part: Part, UsbDevice { vendor, product, bus, device }: &UsbDevice) -> Part {
    let mut part = part.with("@type", "usb");
    let named = [("source/vendor@id", vendor), ("source/product@id", product)];
    for (path, id) in named.into_iter().filter_map(|(path, id)| Some((path, id.as_ref()?))) {
        part.set(path, format!("0x{id}"));
    }
    let placed = [("source/address@bus", bus), ("source/address@device", device)];
    for (path, number) in placed.into_iter().filter_map(|(path, number)| Some((path, number.as_ref()?))) {
        part.set(path, number.to_string());
    }
    part
}

/// Whether somebody else had the guest's memory shared: what was ours is given back where it is said no more.
fn is_shared(base: &Element) -> bool {
    const MODE: &str = "memoryBacking/access@mode";
    let is_ours = mark::owned_paths(base).unwrap_or_default().iter().any(|path| path == MODE);
    base.attr_at(MODE) == Some("shared") && !is_ours
}

/// Folders of the host.
pub(super) fn filesystems(
    wishes: &mut Wishes,
    parameters: &DomainParameters,
    base: Option<&Element>,
) -> anyhow::Result<()> {
    wishes.own("devices/filesystem", FILESYSTEM);
    let said = parameters.memory_backing.as_ref().and_then(|backing| backing.shared);
    let has = || base.is_some_and(is_shared);
    for filesystem in parameters.filesystems.iter().flatten() {
        let Filesystem { name, host_path, driver, access_mode, read_only } = filesystem;
        let path = host_path.as_ref().with_context(|| format!("filesystems {name}: hostPath is missing"))?;
        let is_fit = *driver != Some(FilesystemDriver::Virtiofs) || said.unwrap_or_else(has);
        ensure!(is_fit, "filesystems {name}: driver: Virtiofs needs memoryBacking.shared: true");
        let mut part =
            Part::new().with("@type", "mount").with("source@dir", path.as_str()).with("target@dir", name.0.as_str());
        if let Some(driver) = driver {
            part.set("driver@type", driver.word());
        }
        if let Some(mode) = access_mode {
            part.set("@accessmode", mode.word());
        }
        if let Some(read_only) = read_only {
            part.flag("readonly", *read_only);
        }
        wishes.item("devices/filesystem", &format!("{FILESYSTEM}{name}"), part);
    }
    Ok(())
}
