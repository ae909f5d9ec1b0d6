//! NUMA of a Domain → wishes about its description: pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use apis::{
    domain::{DomainParameters, MemNode, NumaCell, NumaTune},
    quantity::{CpuSet, Quantity},
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::platform;
use crate::{domain::words::Word as _, mark};

/// What a hypervisor gives memory in multiples of, in KiB.
const STEP: u64 = 1024;

/// The guest's cells, and the host's nodes that they come from.
pub(super) fn numa(wishes: &mut Wishes, parameters: &DomainParameters, base: Option<&Element>) -> anyhow::Result<()> {
    match parameters.cpu.as_ref().and_then(|cpu| cpu.numa.as_deref()).filter(|cells| !cells.is_empty()) {
        Some(said) => cells(wishes, said, parameters, base)?,
        None => check_others(parameters, base)?,
    }
    let Some(NumaTune { mode, nodeset, mem_nodes }) = &parameters.numa_tune else { return Ok(()) };
    if let Some(CpuSet(nodeset)) = nodeset {
        // What stays of one without its nodes libvirt refuses.
        let element = Element::new("memory").attr("mode", mode.unwrap_or_default().word());
        wishes.replace("numatune/memory", element.attr("nodeset", nodeset.as_str()));
    }
    let known = number_of_cells(parameters, base);
    for MemNode { cell, mode, nodeset } in mem_nodes.iter().flatten() {
        ensure!(
            usize::try_from(*cell).is_ok_and(|cell| cell < known),
            "numaTune.memNodes: cell {cell} is none of cpu.numa, which has {known}"
        );
        if let Some(CpuSet(nodeset)) = nodeset {
            let part = Part::new().with("@nodeset", nodeset.as_str()).with("@mode", mode.unwrap_or_default().word());
            wishes.item("numatune/memnode", &cell.to_string(), part);
        }
    }
    Ok(())
}

/// The cells by then: those of the spec, else those that others made.
fn number_of_cells(parameters: &DomainParameters, base: Option<&Element>) -> usize {
    let said = parameters.cpu.as_ref().and_then(|cpu| cpu.numa.as_ref()).map(Vec::len).filter(|cells| *cells > 0);
    let theirs = || base.filter(|base| !is_ours(base)).map(|base| base.find_all("cpu/numa/cell").len());
    said.or_else(theirs).unwrap_or(0)
}

/// Whether the cells of a definition are ours.
fn is_ours(base: &Element) -> bool {
    mark::owned_paths(base).is_some_and(|paths| paths.iter().any(|path| path == "cpu/numa"))
}

fn cells(
    wishes: &mut Wishes,
    cells: &[NumaCell],
    parameters: &DomainParameters,
    base: Option<&Element>,
) -> anyhow::Result<()> {
    let ids: BTreeSet<i32> = cells.iter().map(|cell| cell.id).collect();
    ensure!(
        ids.iter().zip(0..).all(|(id, at)| *id == at) && ids.len() == cells.len(),
        "cpu.numa: cells are numbered from 0, without a gap"
    );
    check_processors(cells, platform::most_vcpus(parameters, base).unwrap_or(1))?;
    let sizes = cells.iter().map(memory_of).collect::<anyhow::Result<Vec<u64>>>()?;
    if let Some(most) = most_memory(parameters, base) {
        let sum = sizes.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
        ensure!(
            sum == most,
            "cpu.numa: the cells have {} together and the guest has {}; the cells' memory must sum up to maxMemory, or to memory where that is not set",
            shown(sum),
            shown(most)
        );
    }
    let matrix = distances(cells);
    let element = cells.iter().zip(sizes).map(|(cell, size)| described(cell, size, &matrix));
    wishes.replace("cpu/numa", Element::new("numa").children(element));
    Ok(())
}

/// The distance from one cell to another.
type Distances = BTreeMap<(i32, i32), i32>;

/// All distances as libvirt completes them: the other direction is the same unless it is said, and a cell is 10 from itself.
fn distances(cells: &[NumaCell]) -> Distances {
    let said = cells.iter().flat_map(|cell| {
        let distances = cell.distances.iter().flatten();
        distances.filter_map(|distance| Some(((cell.id, distance.cell), distance.value?)))
    });
    let said: Distances = said.collect();
    let mut all = said.clone();
    for ((from, to), value) in said {
        all.entry((to, from)).or_insert(value);
        all.entry((from, from)).or_insert(10);
        all.entry((to, to)).or_insert(10);
    }
    all
}

fn described(cell: &NumaCell, size: u64, matrix: &Distances) -> Element {
    let NumaCell { id, cpus, memory: _, mem_access, distances: _ } = cell;
    let mut element = Element::new("cell").attr("id", id.to_string());
    if let Some(CpuSet(cpus)) = cpus {
        element.set("cpus", cpus.as_str());
    }
    element.set("memory", size.to_string());
    element.set("unit", "KiB");
    if let Some(access) = mem_access {
        element.set("memAccess", access.word());
    }
    let own = matrix.iter().filter(|((from, _), _)| from == id);
    let siblings: Vec<Element> = own
        .map(|((_, to), value)| Element::new("sibling").attr("id", to.to_string()).attr("value", value.to_string()))
        .collect();
    if siblings.is_empty() { element } else { element.child(Element::new("distances").children(siblings)) }
}

/// libvirt gives processors without a cell to the first one, and they would be taken away from it for ever.
fn check_processors(cells: &[NumaCell], most: i32) -> anyhow::Result<()> {
    let mut known = BTreeSet::new();
    for NumaCell { id, cpus, .. } in cells {
        let Some(CpuSet(text)) = cpus else { continue };
        let cpus = libvirt::CpuSet::parse(text).with_context(|| format!("cpu.numa {id}: {text:?} are no vCPUs"))?;
        for vcpu in cpus.iter() {
            ensure!(known.insert(vcpu), "cpu.numa: vCPU {vcpu} is in two cells");
        }
    }
    let all: BTreeSet<u32> = (0..u32::try_from(most).unwrap_or(0)).collect();
    if let Some(vcpu) = known.difference(&all).next() {
        anyhow::bail!("cpu.numa: vCPU {vcpu} is in a cell, and the guest can have {most}, counted from 0");
    }
    let missing = all.difference(&known).next();
    ensure!(missing.is_none(), "cpu.numa: vCPU {} is in no cell", missing.unwrap_or(&0));
    Ok(())
}

fn memory_of(cell: &NumaCell) -> anyhow::Result<u64> {
    let size = cell.memory.as_ref().with_context(|| format!("cpu.numa {}: a cell needs memory", cell.id))?;
    rounded(size).with_context(|| format!("cpu.numa {}", cell.id))
}

fn rounded(size: &Quantity) -> anyhow::Result<u64> {
    let size = size.kibibytes().map_err(anyhow::Error::msg)?;
    Ok(size.div_ceil(STEP).saturating_mul(STEP))
}

/// All memory that the guest can have, in KiB.
fn most_memory(parameters: &DomainParameters, base: Option<&Element>) -> Option<u64> {
    let said = parameters.memory.as_ref().map(|memory| parameters.max_memory.as_ref().unwrap_or(memory));
    match said {
        Some(most) => rounded(most).ok(),
        None => base?.text_at("memory")?.trim().parse().ok(),
    }
}

fn shown(kibibytes: u64) -> String {
    Quantity::of_bytes(kibibytes.saturating_mul(1024)).0
}

/// libvirt gives a guest the memory of its cells, whatever else is said. Those that others made stay as they are.
fn check_others(parameters: &DomainParameters, base: Option<&Element>) -> anyhow::Result<()> {
    let Some(base) = base.filter(|_| parameters.memory.is_some()) else { return Ok(()) };
    let sizes = base.find_all("cpu/numa/cell").into_iter();
    let sizes: Vec<u64> = sizes.filter_map(|cell| cell.get("memory")?.parse().ok()).collect();
    if is_ours(base) || sizes.is_empty() {
        return Ok(());
    }
    let (sum, most) = (sizes.into_iter().fold(0, u64::saturating_add), most_memory(parameters, None));
    ensure!(
        most == Some(sum),
        "the guest's memory lies in NUMA cells of {} together, and the spec says {}; say the cells in cpu.numa, or the memory that they have",
        shown(sum),
        shown(most.unwrap_or(0))
    );
    Ok(())
}
