//! What disks are beside volumes → wishes about a description: pure.

use apis::{
    domain::{Disk, DiskBlock, DiskFile, DiskHost, DiskNetwork, DiskProtocol},
    volume::Format,
};
use libvirt::{wish::Part, xml::Element};

use super::{DiskType, Medium};
use crate::domain::words::Word as _;

/// The data of a disk that is a file or block device of the host.
pub fn own_medium(disk: &Disk) -> Option<Medium> {
    let of_file = |DiskFile { path, format }: &DiskFile| Medium::file(path, *format);
    let of_block = |DiskBlock { path, format }: &DiskBlock| Medium {
        type_: DiskType::Block,
        ..Medium::file(path, format.unwrap_or(Format::Raw))
    };
    disk.file.as_ref().map(of_file).or_else(|| disk.block.as_ref().map(of_block))
}

/// The chain ends here: QEMU opens nothing that a header names.
fn last(part: Part, type_: &str, format: Format) -> Part {
    part.with("@type", type_)
        .with("driver@name", "qemu")
        .with("driver@type", format.as_libvirt())
        .with_whole("backingStore", Element::new("backingStore"))
}

/// A block device.
pub(super) fn block(medium: Option<&Medium>) -> Part {
    let Some(Medium { path, format, type_: _, backing: _, secret: _ }) = medium else { return Part::new() };
    last(Part::new(), "block", *format).with("source@dev", path.as_str())
}

/// A disk over the network.
pub(super) fn network(network: &DiskNetwork) -> Part {
    let DiskNetwork { protocol, name, hosts, format } = network;
    let mut source = Element::new("source").attr("protocol", protocol.word());
    if let Some(name) = name {
        source.set("name", name.as_str());
    }
    let hosts = hosts.iter().map(|host| {
        let element = Element::new("host").attr("name", host.name.as_str());
        match port(*protocol, host) {
            Some(port) => element.attr("port", port.to_string()),
            None => element,
        }
    });
    let mut source = source.children(hosts);
    if *protocol == DiskProtocol::Https {
        source.push(Element::new("ssl").attr("verify", "yes"));
    }
    last(Part::new(), "network", *format).with_whole("source", source)
}

/// The port of a server; libvirt would write down the same.
pub fn port(protocol: DiskProtocol, host: &DiskHost) -> Option<i32> {
    let usual = match protocol {
        DiskProtocol::Rbd => None,
        DiskProtocol::Iscsi => Some(3260),
        DiskProtocol::Nbd => Some(10809),
        DiskProtocol::Http => Some(80),
        DiskProtocol::Https => Some(443),
    };
    host.port.or(usual)
}
