//! How much of the host a virtual machine gets, and which part of it.

#![allow(clippy::struct_field_names, reason = "each of libvirt's names of limits ends so")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{CpuSet, Quantity, Span};

/// How much of the host's processors the guest gets, and which of them. What is left out is not limited. All but the pins needs the host's control group cpu: without it a guest that says so does not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CpuTune {
    /// The guest's weight among all that want the processors: one of 2000 gets twice the time of one of 1000. A number of the host's control groups: 2 to 262144 with their first version, 1 to 10000 with the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 262_144))]
    pub shares: Option<i32>,
    /// The span of time for which quota counts, 1ms to 1s. Default 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('1s')").message("a period is 1ms to 1s"))]
    pub period: Option<Span>,
    /// The time that each vCPU may run in a period: 50ms of 100ms is half a processor. At least 1ms. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms')").message("a quota is at least 1ms"))]
    pub quota: Option<Span>,
    /// The span of time for which globalQuota counts, 1ms to 1s. Default 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('1s')").message("a period is 1ms to 1s"))]
    pub global_period: Option<Span>,
    /// The time that the whole guest may run in a period, its vCPUs and all else together: 250ms of 100ms are two and a half processors. At least 1ms. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms')").message("a quota is at least 1ms"))]
    pub global_quota: Option<Span>,
    /// The span of time for which emulatorQuota counts, 1ms to 1s. Default 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('1s')").message("a period is 1ms to 1s"))]
    pub emulator_period: Option<Span>,
    /// The time that the hypervisor itself may run in a period, without vCPUs and I/O threads. At least 1ms. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms')").message("a quota is at least 1ms"))]
    pub emulator_quota: Option<Span>,
    /// The span of time for which ioThreadQuota counts, 1ms to 1s. Default 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms') && duration(self) <= duration('1s')").message("a period is 1ms to 1s"))]
    pub io_thread_period: Option<Span>,
    /// The time that each I/O thread may run in a period. At least 1ms. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1ms')").message("a quota is at least 1ms"))]
    pub io_thread_quota: Option<Span>,
    /// On which of the host's processors a vCPU runs. One that is not named runs on any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["vcpu".into()]))]
    #[schemars(length(max = 256))]
    pub vcpu_pins: Option<Vec<VcpuPin>>,
    /// On which of the host's processors the hypervisor itself runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator_pin: Option<CpuSet>,
    /// On which of the host's processors an I/O thread runs. One that is not named runs on any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ioThread".into()]))]
    #[schemars(length(max = 64))]
    pub io_thread_pins: Option<Vec<IoThreadPin>>,
}

/// Where a vCPU runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VcpuPin {
    /// The number of the vCPU, from 0.
    #[schemars(range(min = 0, max = 1023))]
    pub vcpu: i32,
    /// The host's processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<CpuSet>,
}

/// Where an I/O thread runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IoThreadPin {
    /// The number of the I/O thread, from 1.
    #[schemars(range(min = 1, max = 64))]
    pub io_thread: i32,
    /// The host's processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<CpuSet>,
}

/// How much of the host's memory the guest may use. It needs the host's control group memory: without it a guest that says so does not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.swapHardLimit) || has(self.hardLimit)").message("memoryTune.swapHardLimit needs memoryTune.hardLimit, and is at least as much")
)]
pub struct MemoryTune {
    /// The most memory of the host that the guest's process may use, the hypervisor's own included. Beyond it the host ends the guest, so it should be far above memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_limit: Option<Quantity>,
    /// To how much the guest is pressed back when the host is short of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_limit: Option<Quantity>,
    /// The most memory and swap together. At least hardLimit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_hard_limit: Option<Quantity>,
}

/// How much of the host's disks the guest gets. It needs the host's control group for block devices: without it a guest that says so does not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockIoTune {
    /// The guest's weight among all that use the host's disks, 100 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 1000))]
    pub weight: Option<i32>,
}
