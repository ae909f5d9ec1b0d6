//! What a description says of what of its host a domain has, in the words of the spec: pure.

use apis::domain::{
    FilesystemAccess, FilesystemDriver, FolderObservation, HostDeviceObservation, MediatedDevice, PciDevice, UsbDevice,
};
use libvirt::xml::Element;

use super::{own_name, platform};
use crate::domain::{render, words::Word as _};

/// The devices of the host that a spec has a word for.
pub(super) fn host_devices(shown: &Element) -> Vec<HostDeviceObservation> {
    let seen = shown.find_all("devices/hostdev").into_iter().map(host_device);
    seen.filter(|seen| seen.pci.is_some() || seen.usb.is_some() || seen.mdev.is_some()).collect()
}

/// A device of the host.
pub fn host_device(device: &Element) -> HostDeviceObservation {
    let is = |type_: &str| device.get("type") == Some(type_);
    let uuid = device.attr_at("source/address@uuid").filter(|_| is("mdev")).map(str::to_owned);
    HostDeviceObservation {
        name: own_name(device, render::HOST_DEVICE),
        pci: is("pci").then(|| pci(device)).flatten(),
        usb: is("usb").then(|| usb(device)).flatten(),
        mdev: uuid.map(|uuid| MediatedDevice { uuid }),
        boot_order: device.attr_at("boot@order").and_then(platform::number),
    }
}

fn pci(device: &Element) -> Option<PciDevice> {
    let part = |name: &str| {
        let text = device.attr_at(&format!("source/address@{name}"))?;
        u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (domain, bus) = (part("domain").unwrap_or_default(), part("bus")?);
    Some(PciDevice { address: format!("{domain:04x}:{bus:02x}:{:02x}.{:x}", part("slot")?, part("function")?) })
}

/// One that is told by what it is shows while it runs where it is, too.
fn usb(device: &Element) -> Option<UsbDevice> {
    let id = |name: &str| Some(device.attr_at(&format!("source/{name}@id"))?.trim_start_matches("0x").to_owned());
    if let (Some(vendor), Some(product)) = (id("vendor"), id("product")) {
        return Some(UsbDevice { vendor: Some(vendor), product: Some(product), ..UsbDevice::default() });
    }
    let number = |name: &str| device.attr_at(&format!("source/address@{name}")).and_then(platform::number);
    Some(UsbDevice { bus: Some(number("bus")?), device: Some(number("device")?), ..UsbDevice::default() })
}

/// A name for a device of the host that nobody named, by what it is.
pub fn host_device_name(device: &Element) -> Option<String> {
    let seen = host_device(device);
    let name = match (seen.pci, seen.usb, seen.mdev) {
        (Some(PciDevice { address }), ..) => format!("pci-{address}"),
        (_, Some(UsbDevice { vendor: Some(vendor), product: Some(product), .. }), _) => {
            format!("usb-{vendor}-{product}")
        }
        (_, Some(UsbDevice { bus: Some(bus), device: Some(device), .. }), _) => format!("usb-{bus}-{device}"),
        (_, _, Some(MediatedDevice { uuid })) => format!("mdev-{uuid}"),
        _ => return None,
    };
    Some(name.replace([':', '.'], "-"))
}

/// A folder of the host.
pub(super) fn filesystem(device: &Element) -> Option<FolderObservation> {
    Some(FolderObservation {
        name: device.attr_at("target@dir")?.to_owned(),
        host_path: device.attr_at("source@dir").map(str::to_owned),
        driver: FilesystemDriver::read(device.attr_at("driver@type").unwrap_or("path")),
        access_mode: FilesystemAccess::read(device.get("accessmode").unwrap_or("passthrough")),
        read_only: device.find("readonly").map(|_| true),
    })
}
