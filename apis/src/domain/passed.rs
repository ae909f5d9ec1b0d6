//! What of its host a virtual machine gets: devices and folders.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::ItemName;

/// A device of the host, which the config's policy.hostDevices must allow. It is plugged in and out while the guest runs; another device under the same name waits for the guest's next boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.pci), has(self.usb), has(self.mdev)].filter(x, x).size() == 1").message("set one of pci, usb and mdev"))]
pub struct HostDevice {
    /// The name of the device in this list; its alias on the host.
    pub name: ItemName,
    /// A PCI card. The host gives it up while the guest has it, which needs an IOMMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci: Option<PciDevice>,
    /// A USB device, by what it is or by where it is plugged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("has(self.vendor) == has(self.product) && has(self.bus) == has(self.device) && has(self.vendor) != has(self.bus)").message("usb: set vendor and product, or bus and device"))]
    pub usb: Option<UsbDevice>,
    /// A part of a card that the host has divided, such as a virtual GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mdev: Option<MediatedDevice>,
    /// Its place in the boot order. Not together with os.boot, and not of an mdev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub boot_order: Option<i32>,
}

/// A PCI card of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PciDevice {
    /// Its address, as lspci -D shows it: 0000:01:00.0.
    #[schemars(length(max = 12), regex(pattern = r"^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$"))]
    pub address: String,
}

/// A USB device of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsbDevice {
    /// Its vendor, as lsusb shows it: 1d6b. With product; the host must have one such device only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4), regex(pattern = r"^[0-9a-f]{4}$"))]
    pub vendor: Option<String>,
    /// What it is of its vendor's: 0002.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4), regex(pattern = r"^[0-9a-f]{4}$"))]
    pub product: Option<String>,
    /// The bus that it is on. With device; the host gives another number when it is plugged in anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub bus: Option<i32>,
    /// Its number on that bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub device: Option<i32>,
}

/// A mediated device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MediatedDevice {
    /// Its UUID, as /sys/bus/mdev/devices lists it.
    #[schemars(length(max = 36), regex(pattern = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"))]
    pub uuid: String,
}

/// A folder of the host that the guest mounts. A change waits for the guest's next boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.driver) || self.driver != 'Virtiofs' || ((!has(self.readOnly) || !self.readOnly) && (!has(self.accessMode) || self.accessMode == 'Passthrough'))").message("driver: Virtiofs has accessMode: Passthrough only, and no readOnly: true")
)]
pub struct Filesystem {
    /// The name of the folder in this list; the tag by which the guest mounts it, and its alias on the host.
    #[schemars(length(max = 31))]
    pub name: ItemName,
    /// The folder, which the config's policy.hostFolders must list: an absolute path, without `.` and `..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/\.{0,2}[^/.\x00-\x1f][^/\x00-\x1f]*)+$"))]
    pub host_path: Option<String>,
    /// Path: 9p, which is mounted with -t 9p -o trans=virtio. Virtiofs: faster, mounted with -t virtiofs; it needs memoryBacking.shared: true. Default Path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<FilesystemDriver>,
    /// Whose files are those that the guest makes. Default Passthrough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<FilesystemAccess>,
    /// Whether the guest may only read it. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// How a guest reaches a folder of its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum FilesystemDriver {
    /// 9p.
    #[default]
    Path,
    /// virtiofs.
    Virtiofs,
}

/// Whose files are those that a guest makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum FilesystemAccess {
    /// Those of the user that the guest says, as far as the hypervisor may.
    #[default]
    Passthrough,
    /// The hypervisor's, with the guest's users noted beside.
    Mapped,
    /// The hypervisor's, and what it may not do is left undone.
    Squash,
}
