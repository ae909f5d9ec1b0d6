//! What the firmware tells a virtual machine about the machine it is.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a guest reads of its machine by dmidecode or in /sys/class/dmi: SMBIOS. Its UUID is always the guest's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sysinfo {
    /// The BIOS (block 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bios: Option<BiosInfo>,
    /// The machine (block 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemInfo>,
    /// Its board (block 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_board: Option<BaseBoardInfo>,
    /// Its case (block 3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chassis: Option<ChassisInfo>,
    /// Free strings for programs in the guest (block 11). By custom each begins with the name of who it is for. They are no place for secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub oem_strings: Option<Vec<OemString>>,
}

/// What is said of the BIOS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BiosInfo {
    /// Its vendor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<SmbiosText>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SmbiosText>,
    /// Its date, as month/day/year: 01/31/2026.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10), regex(pattern = r"^(0[1-9]|1[0-2])/(0[1-9]|[12][0-9]|3[01])/(19|20)[0-9]{2}$"))]
    pub date: Option<String>,
    /// Its release, two numbers of at most 255: 4.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 7),
        regex(pattern = r"^(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$")
    )]
    pub release: Option<String>,
}

/// What is said of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SystemInfo {
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<SmbiosText>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<SmbiosText>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SmbiosText>,
    /// Its serial number, where cloud-init also looks for its source of data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SmbiosText>,
    /// Its number in the maker's catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<SmbiosText>,
    /// The family that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<SmbiosText>,
}

/// What is said of the board.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BaseBoardInfo {
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<SmbiosText>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<SmbiosText>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SmbiosText>,
    /// Its serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SmbiosText>,
    /// Its number in its owner's books.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<SmbiosText>,
    /// Where in the case it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<SmbiosText>,
}

/// What is said of the case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChassisInfo {
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<SmbiosText>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<SmbiosText>,
    /// Its serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<SmbiosText>,
    /// Its number in its owner's books.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<SmbiosText>,
    /// Its number in the maker's catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<SmbiosText>,
}

/// A short text that firmware can tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SmbiosText(pub String);

/// A longer one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OemString(pub String);

impl JsonSchema for SmbiosText {
    fn schema_name() -> Cow<'static, str> {
        "SmbiosText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        printable(255)
    }
}

impl JsonSchema for OemString {
    fn schema_name() -> Cow<'static, str> {
        "OemString".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        printable(1024)
    }
}

/// SMBIOS knows ASCII; a blank at an end would be lost on the way.
fn printable(most: u32) -> Schema {
    json_schema!({"type": "string", "pattern": "^[!-~]([ -~]*[!-~])?$", "maxLength": most})
}
