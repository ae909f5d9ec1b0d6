//! What the host shows of what a virtual machine has of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FilesystemAccess, FilesystemDriver, MediatedDevice, PciDevice, UsbDevice};

/// A device of the host that the guest has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostDeviceObservation {
    /// Its name in the spec, when it is ours; of an imported guest a name to use there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The PCI card that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pci: Option<PciDevice>,
    /// The USB device that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usb: Option<UsbDevice>,
    /// The mediated device that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mdev: Option<MediatedDevice>,
    /// Its place in the boot order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_order: Option<i32>,
}

/// A folder of the host that the guest has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FolderObservation {
    /// Its tag, which is its name in the spec.
    pub name: String,
    /// The folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// How the guest reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<FilesystemDriver>,
    /// Whose files are those that the guest makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<FilesystemAccess>,
    /// That the guest may only read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}
