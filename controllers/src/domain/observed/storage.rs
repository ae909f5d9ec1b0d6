//! What a description says of a domain's disks beyond what they are, in the words of the spec: pure.

use apis::{
    domain::{ByteRates, DiskBlock, DiskFile, DiskHost, DiskNetwork, DiskObservation, DiskProtocol, IoTune, IopsRates},
    quantity::Quantity,
    volume::Format,
};
use libvirt::xml::Element;

use super::platform;
use crate::domain::words::Word as _;

/// The limits of a disk.
pub(super) fn io_tune(disk: &Element) -> Option<IoTune> {
    let text = |name: &str| disk.text_at(&format!("iotune/{name}"));
    let bytes = |name: &str| text(name)?.parse().ok().filter(|rate| *rate > 0).map(Quantity::of_bytes);
    let requests = |name: &str| platform::number(text(name)?).filter(|rate| *rate > 0);
    let of_bytes = ByteRates {
        total: bytes("total_bytes_sec"),
        read: bytes("read_bytes_sec"),
        write: bytes("write_bytes_sec"),
        total_max: bytes("total_bytes_sec_max"),
        read_max: bytes("read_bytes_sec_max"),
        write_max: bytes("write_bytes_sec_max"),
    };
    let of_requests = IopsRates {
        total: requests("total_iops_sec"),
        read: requests("read_iops_sec"),
        write: requests("write_iops_sec"),
        total_max: requests("total_iops_sec_max"),
        read_max: requests("read_iops_sec_max"),
        write_max: requests("write_iops_sec_max"),
    };
    let seen = IoTune {
        bytes_per_second: (of_bytes != ByteRates::default()).then_some(of_bytes),
        iops_per_second: (of_requests != IopsRates::default()).then_some(of_requests),
    };
    (seen != IoTune::default()).then_some(seen)
}

/// The format that a definition says: never what a pool guesses from the content.
pub(super) fn format(disk: &Element) -> Option<Format> {
    [Format::Raw, Format::Qcow2].into_iter().find(|one| disk.attr_at("driver@type") == Some(one.as_libvirt()))
}

/// A disk over the network, where a spec could say the same.
pub(super) fn network(disk: &Element) -> Option<DiskNetwork> {
    let source = disk.find("source")?;
    let host = |host: &Element| {
        Some(DiskHost { name: host.get("name")?.to_owned(), port: host.get("port").and_then(platform::number) })
    };
    let is_simple = disk.find("auth").is_none() && source.find("auth").is_none() && source.get("query").is_none();
    let protocol = source.get("protocol").and_then(DiskProtocol::read).filter(|_| is_simple)?;
    let (name, format) = (source.get("name").map(str::to_owned), format(disk)?);
    let hosts: Vec<DiskHost> = source.named("host").filter_map(host).collect();
    (!hosts.is_empty()).then_some(DiskNetwork { protocol, name, hosts, format })
}

/// Files and block devices of a guest that others made, by what they are, where no pool has them.
pub fn name_sources(disks: &mut [DiskObservation], description: &Element) {
    for seen in disks.iter_mut().filter(|seen| seen.volume.is_none()) {
        let devices = description.find_all("devices/disk");
        let device = devices.into_iter().find(|device| device.attr_at("target@dev") == Some(&seen.target));
        let Some((device, format)) = device.and_then(|device| Some((device, format(device)?))) else { continue };
        let path = |attribute: &str| device.attr_at(&format!("source@{attribute}")).map(str::to_owned);
        seen.file = path("file").map(|path| DiskFile { path, format });
        seen.block = path("dev").map(|path| DiskBlock { path, format: Some(format) });
    }
}
