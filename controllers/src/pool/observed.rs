//! What a description says of a pool, in the words of the spec: pure.

use apis::{
    pool::{PermissionsObservation, PoolObservation, PoolType, TargetObservation},
    quantity::Quantity,
};
use libvirt::xml::Element;

/// What a pool's definition says, with its size while it runs.
pub fn observe(definition: Option<&Element>, live: Option<&Element>) -> PoolObservation {
    let shown = live.or(definition);
    let capacity = shown.and_then(|shown| shown.text_at("capacity")).and_then(|bytes| bytes.parse().ok());
    let Some(definition) = definition.or(live) else { return PoolObservation::default() };
    let (type_, pool_type) = match definition.get("type") {
        Some("dir") => (Some(PoolType::Dir), None),
        other => (None, other.map(str::to_owned)),
    };
    PoolObservation {
        type_,
        pool_type,
        target: target(definition),
        path: shown.and_then(|shown| shown.text_at("target/path")).map(str::to_owned),
        capacity: capacity.filter(|bytes| *bytes > 0).map(Quantity::of_bytes),
        ..PoolObservation::default()
    }
}

fn target(definition: &Element) -> Option<TargetObservation> {
    let text = |path: &str| definition.text_at(path).map(str::to_owned);
    // -1 stands for "as it is".
    let id = |path: &str| text(path)?.parse().ok().filter(|id| *id >= 0);
    let permissions = PermissionsObservation {
        mode: text("target/permissions/mode"),
        owner: id("target/permissions/owner"),
        group: id("target/permissions/group"),
    };
    let permissions = (permissions != PermissionsObservation::default()).then_some(permissions);
    let target = TargetObservation { path: text("target/path"), permissions };
    (target != TargetObservation::default()).then_some(target)
}
