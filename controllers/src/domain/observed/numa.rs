//! What a description says of a domain's NUMA, in the words of the spec: pure.

use apis::{
    domain::{CellDistance, MemAccess, MemNode, NumaCell, NumaMode, NumaTune},
    quantity::{CpuSet, Quantity},
};
use libvirt::xml::Element;

use super::platform::number;
use crate::domain::words::Word as _;

fn set(element: &Element, attribute: &str) -> Option<CpuSet> {
    element.get(attribute).map(|set| CpuSet(set.to_owned()))
}

/// The cells that the guest sees.
pub(super) fn cells(definition: &Element) -> Vec<NumaCell> {
    definition.find_all("cpu/numa/cell").into_iter().filter_map(cell).collect()
}

fn cell(cell: &Element) -> Option<NumaCell> {
    let sibling = |sibling: &Element| {
        Some(CellDistance { cell: number(sibling.get("id")?)?, value: sibling.get("value").and_then(number) })
    };
    let distances: Vec<CellDistance> = cell.find_all("distances/sibling").into_iter().filter_map(sibling).collect();
    Some(NumaCell {
        id: number(cell.get("id")?)?,
        cpus: set(cell, "cpus"),
        memory: cell.get("memory").and_then(|size| size.parse::<u64>().ok()?.checked_mul(1024)).map(Quantity::of_bytes),
        mem_access: cell.get("memAccess").and_then(MemAccess::read),
        distances: Some(distances).filter(|distances| !distances.is_empty()),
    })
}

/// The host's nodes that its memory comes from.
pub(super) fn numa_tune(definition: &Element) -> Option<NumaTune> {
    let mode = |element: &Element| element.get("mode").and_then(NumaMode::read);
    let node = |node: &Element| {
        Some(MemNode { cell: number(node.get("cellid")?)?, mode: mode(node), nodeset: set(node, "nodeset") })
    };
    // Without nodes the host chooses them, for which a spec has no word.
    let memory = definition.find("numatune/memory").filter(|memory| memory.get("nodeset").is_some());
    let nodes: Vec<MemNode> = definition.find_all("numatune/memnode").into_iter().filter_map(node).collect();
    let seen = NumaTune {
        mode: memory.and_then(mode),
        nodeset: memory.and_then(|memory| set(memory, "nodeset")),
        mem_nodes: Some(nodes).filter(|nodes| !nodes.is_empty()),
    };
    (seen != NumaTune::default()).then_some(seen)
}
