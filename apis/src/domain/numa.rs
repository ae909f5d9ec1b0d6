//! NUMA: the cells that a virtual machine sees, and the host's memory that they come from.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{CpuSet, Quantity};

/// A NUMA cell that the guest sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NumaCell {
    /// Its number: cells are counted from 0.
    #[schemars(range(min = 0, max = 31))]
    pub id: i32,
    /// Its vCPUs. Every vCPU, up to maxVcpus, is in one cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<CpuSet>,
    /// Its memory. All cells together have maxMemory, or memory where that is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
    /// Whether other processes of the host may share its memory. Default: as memoryBacking says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_access: Option<MemAccess>,
    /// How far its memory is from other cells. What is left out is the hypervisor's choice, and the same in both directions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cell".into()]))]
    #[schemars(length(max = 32))]
    pub distances: Option<Vec<CellDistance>>,
}

/// How far the memory of another cell is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellDistance {
    /// The number of the other cell.
    #[schemars(range(min = 0, max = 31))]
    pub cell: i32,
    /// 10 is the cell's own memory, 20 twice as far, 255 out of reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 255))]
    pub value: Option<i32>,
}

/// Who may share memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum MemAccess {
    /// Other processes of the host.
    Shared,
    /// The guest alone.
    Private,
}

/// From which of the host's memory nodes the guest's memory comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.mode) || has(self.nodeset)").message("numaTune.mode needs numaTune.nodeset")
)]
pub struct NumaTune {
    /// Strict: from these nodes or not at all. Preferred: from them while they have some; one node only. Interleave: from them in turn. Restrictive: from them, by the host's control group, so that it may change later. Default Strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NumaMode>,
    /// The host's memory nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodeset: Option<CpuSet>,
    /// The same for single cells of cpu.numa.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cell".into()]))]
    #[schemars(length(max = 32))]
    pub mem_nodes: Option<Vec<MemNode>>,
}

/// From which of the host's memory nodes the memory of a cell comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemNode {
    /// The number of the cell in cpu.numa.
    #[schemars(range(min = 0, max = 31))]
    pub cell: i32,
    /// As of the whole guest. Default Strict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NumaMode>,
    /// The host's memory nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodeset: Option<CpuSet>,
}

/// How memory comes from nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum NumaMode {
    /// From them or not at all.
    #[default]
    Strict,
    /// From them while they have some.
    Preferred,
    /// From them in turn.
    Interleave,
    /// From them, by the control group.
    Restrictive,
}
