//! What a description says of a pool, in the words of the spec: pure.

use apis::{
    pool::{
        AdapterObservation, AuthObservation, HostObservation, PoolObservation, PoolType, SourceObservation,
        TargetObservation,
    },
    quantity::Quantity,
};
use libvirt::xml::Element;

use super::words;
use crate::storage;

/// What a pool's definition says, with its size while it runs.
pub fn observe(definition: Option<&Element>, live: Option<&Element>) -> PoolObservation {
    let shown = live.or(definition);
    let capacity = shown.and_then(|shown| shown.text_at("capacity")).and_then(|bytes| bytes.parse().ok());
    let Some(definition) = definition.or(live) else { return PoolObservation::default() };
    let word = definition.get("type");
    let type_ = word.and_then(words::type_of);
    let pool_type = word.filter(|_| type_.is_none()).map(str::to_owned);
    PoolObservation {
        type_,
        pool_type,
        source: source(definition, type_),
        target: target(definition),
        path: shown.and_then(|shown| shown.text_at("target/path")).map(str::to_owned),
        capacity: capacity.filter(|bytes| *bytes > 0).map(Quantity::of_bytes),
        ..PoolObservation::default()
    }
}

fn source(definition: &Element, type_: Option<PoolType>) -> Option<SourceObservation> {
    let attr = |path: &str| definition.attr_at(path).map(str::to_owned);
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let host = |host: &Element| {
        Some(HostObservation {
            name: host.get("name")?.to_owned(),
            port: host.get("port").and_then(|port| port.parse().ok()).filter(|port| *port > 0),
        })
    };
    let hosts: Vec<HostObservation> = definition.find_all("source/host").into_iter().filter_map(host).collect();
    let paths = definition.find_all("source/device").into_iter().filter_map(|device| device.get("path"));
    let mut devices: Vec<String> = paths.map(str::to_owned).collect();
    let of_iscsi = matches!(type_, Some(PoolType::Iscsi | PoolType::IscsiDirect));
    let iqn = if of_iscsi { devices.pop() } else { None };
    let adapter = AdapterObservation {
        name: attr("source/adapter@name"),
        wwnn: attr("source/adapter@wwnn"),
        wwpn: attr("source/adapter@wwpn"),
        parent: attr("source/adapter@parent"),
    };
    let source = SourceObservation {
        hosts: (!hosts.is_empty()).then_some(hosts),
        dir: attr("source/dir@path"),
        devices: some(devices),
        iqn,
        initiator_iqn: attr("source/initiator/iqn@name"),
        adapter: (adapter != AdapterObservation::default()).then_some(adapter),
        name: definition.text_at("source/name").map(str::to_owned),
        format: attr("source/format@type").and_then(|word| words::format_of(&word)),
        protocol_version: attr("source/protocol@ver"),
        auth: attr("source/auth@username").map(|username| AuthObservation { username }),
    };
    (source != SourceObservation::default()).then_some(source)
}

fn target(definition: &Element) -> Option<TargetObservation> {
    let path = definition.text_at("target/path").map(str::to_owned);
    let target = TargetObservation { path, permissions: storage::permissions(definition) };
    (target != TargetObservation::default()).then_some(target)
}
