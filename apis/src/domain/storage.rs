//! What the disks of a virtual machine are made of, and what they may cost their host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;

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
