//! What the disks of a virtual machine are made of, and what they may cost their host.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{quantity::Quantity, volume::Format};

/// How much a guest may read from a disk and write to it. What is left out has no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IoTune {
    /// Bytes a second, as in total: 50Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<ByteRates>,
    /// Requests a second, as in total: 500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops_per_second: Option<IopsRates>,
}

/// Bytes a second: in total, or of reads and writes by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ByteRates {
    /// Reads and writes together. Not beside read or write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Quantity>,
    /// Reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Quantity>,
    /// Writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Quantity>,
    /// How far reads and writes together may go beyond total for a second. Not less than total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_max: Option<Quantity>,
    /// How far reads may go beyond read for a second. Not less than read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_max: Option<Quantity>,
    /// How far writes may go beyond write for a second. Not less than write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_max: Option<Quantity>,
}

/// Requests a second: in total, or of reads and writes by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IopsRates {
    /// Reads and writes together. Not beside read or write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub total: Option<i32>,
    /// Reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub read: Option<i32>,
    /// Writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub write: Option<i32>,
    /// How far reads and writes together may go beyond total for a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub total_max: Option<i32>,
    /// How far reads may go beyond read for a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub read_max: Option<i32>,
    /// How far writes may go beyond write for a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub write_max: Option<i32>,
}

/// A file of the host as a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskFile {
    /// Its absolute path, without `.` and `..`.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/\.{0,2}[^/.\x00-\x1f][^/\x00-\x1f]*)+$"))]
    pub path: String,
    /// Its format. It is never guessed. One that stands on another file is read as if nothing were below.
    pub format: Format,
}

/// A block device of the host as a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskBlock {
    /// Its absolute path, without `.` and `..`. The same device by another name is not known to be the same: name it as the other guests do.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/\.{0,2}[^/.\x00-\x1f][^/\x00-\x1f]*)+$"))]
    pub path: String,
    /// The format of what is on it. Default Raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

/// A disk that the hypervisor reaches over the network, without a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskNetwork {
    /// How it is reached.
    pub protocol: DiskProtocol,
    /// What it is called there: pool/image of Rbd, target/unit of Iscsi as in iqn.2026-01.org.example:disks/1, the export of Nbd, the path of Http and Https. Nbd has one without a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[A-Za-z0-9._:/@+%=~,-]+$"))]
    pub name: Option<String>,
    /// The servers: the monitors of Rbd, and one of any other protocol.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(min = 1, max = 16))]
    pub hosts: Vec<DiskHost>,
    /// The format of what is there. It is never guessed.
    pub format: Format,
}

/// A server that has disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskHost {
    /// Its host name or address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.:_-]+$"))]
    pub name: String,
    /// Its port. Default: the protocol's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// How a disk is reached over the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DiskProtocol {
    /// Ceph's block devices.
    Rbd,
    /// SCSI over TCP.
    Iscsi,
    /// The network block device.
    Nbd,
    /// A file of a web server, to be read only.
    Http,
    /// The same with TLS, whose certificate is verified.
    Https,
}
