//! What a description says of a domain's serial consoles and channels, in the words of the spec: pure.

use apis::domain::{ChannelObservation, ChannelType, ConsoleObservation, ConsoleType, TcpConsole, TcpProtocol};
use libvirt::xml::Element;

use super::{own_name, platform::number};
use crate::domain::{render, words::Word as _};

/// A serial console.
pub(super) fn console(device: &Element) -> Option<ConsoleObservation> {
    let log = device.attr_at("log@file").map(str::to_owned);
    let type_ =
        device.get("type").and_then(ConsoleType::read).filter(|type_| *type_ != ConsoleType::Tcp || listens(device));
    let file = device.attr_at("source@path").filter(|_| type_ == Some(ConsoleType::File)).map(str::to_owned);
    Some(ConsoleObservation {
        name: own_name(device, render::SERIAL)?,
        tcp: tcp(device).filter(|_| type_ == Some(ConsoleType::Tcp)),
        type_,
        log: log.as_ref().map(|_| true),
        log_file: log.or(file),
    })
}

/// A spec has no word for a console that connects to somebody.
fn listens(device: &Element) -> bool {
    device.attr_at("source@mode") == Some("bind")
}

fn tcp(device: &Element) -> Option<TcpConsole> {
    Some(TcpConsole {
        listen: device.attr_at("source@host").map(str::to_owned),
        port: number(device.attr_at("source@service")?)?,
        protocol: device.attr_at("protocol@type").and_then(TcpProtocol::read),
    })
}

/// A channel that a user named.
pub(super) fn channel(device: &Element) -> Option<ChannelObservation> {
    let type_ = device.get("type").and_then(ChannelType::read);
    Some(ChannelObservation {
        name: own_name(device, render::PORT)?,
        target: device.attr_at("target@name").map(str::to_owned),
        path: device.attr_at("source@path").filter(|_| type_ == Some(ChannelType::Unix)).map(str::to_owned),
        type_,
    })
}
