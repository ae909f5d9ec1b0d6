//! Consoles and small devices of a Domain → wishes about its description: pure.

use anyhow::ensure;
use apis::{
    Domain, Managed,
    domain::{Console, ConsoleType, DomainParameters, Graphics, Panic, Rng, TcpConsole, Tpm, Video, Watchdog},
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::cards::has_spice;
use super::{AGENT, CHANNEL, PANIC, RNG, SERIAL, THE_PANIC, THE_RNG, THE_TPM, THE_VIDEO, THE_WATCHDOG, TPM, WATCHDOG};
use crate::domain::words::Word as _;

/// Where the host keeps what a console prints. The directory is libvirt's own, so that no user names a path of the host.
/// A console's name has no dot, and libvirt's own files there end with `.log`: no two guests share a file.
fn log_path(name: &str, console: &str) -> anyhow::Result<String> {
    ensure!(
        !name.contains('/') && !name.starts_with('.'),
        "external name {name:?} cannot name a log file: it must not contain a slash or begin with a dot"
    );
    Ok(format!("/var/log/libvirt/qemu/{name}.{console}.console"))
}

/// Serial consoles.
pub(super) fn consoles(wishes: &mut Wishes, object: &Domain) -> anyhow::Result<()> {
    // libvirt shows the first serial once more as a console; both are one device and go together.
    wishes.own("devices/serial", SERIAL);
    wishes.own("devices/console", SERIAL);
    for (port, console) in object.parameters().consoles.as_deref().unwrap_or_default().iter().enumerate() {
        let Console { name, type_, tcp, log } = console;
        let alias = format!("{SERIAL}{name}");
        let type_ = type_.unwrap_or_default();
        let mut part = Part::new().with("@type", type_.word()).with("target@port", port.to_string());
        match (type_, tcp) {
            (ConsoleType::Pty, _) => {}
            (ConsoleType::File, _) => {
                part = part.with("source@path", log_path(object.external_name(), &name.0)?).with("source@append", "on");
            }
            (ConsoleType::Tcp, Some(tcp)) => part = listening(part, tcp),
            (ConsoleType::Tcp, None) => anyhow::bail!("consoles {name}: tcp and type Tcp need each other"),
        }
        if log.unwrap_or_default() {
            part = part.with("log@file", log_path(object.external_name(), &name.0)?).with("log@append", "on");
        } else {
            part.flag("log", false);
        }
        wishes.item("devices/serial", &alias, part);
        wishes.keep("devices/console", &alias);
    }
    Ok(())
}

fn listening(part: Part, TcpConsole { listen, port, protocol }: &TcpConsole) -> Part {
    part.with("source@mode", "bind")
        .with("source@host", listen.as_deref().unwrap_or("127.0.0.1"))
        .with("source@service", port.to_string())
        .with("protocol@type", protocol.unwrap_or_default().word())
}

/// Graphical consoles.
pub(super) fn graphics(wishes: &mut Wishes, parameters: &DomainParameters, base: Option<&Element>) {
    let sounds_by_spice = base.is_some_and(|base| base.attr_at("devices/audio@type") == Some("spice"));
    if sounds_by_spice && !has_spice(parameters, base) {
        // libvirt gave the guest a sound that goes by that console, and refuses it without.
        wishes.flag("devices/audio", false);
    }
    for Graphics { type_, listen, port, password_secret_ref: _ } in parameters.graphics.iter().flatten() {
        let listen = listen.as_deref().unwrap_or("127.0.0.1");
        let element = Element::new("listen").attr("type", "address").attr("address", listen);
        let mut part = Part::new().with("@listen", listen).with_whole("listen", element);
        match port {
            Some(port) => part = part.with("@autoport", "no").with("@port", port.to_string()),
            None => part.set("@autoport", "yes"),
        }
        wishes.item("devices/graphics", type_.word(), part);
    }
}

/// Devices of which a guest has one.
pub(super) fn small_devices(wishes: &mut Wishes, parameters: &DomainParameters) {
    wishes.own("devices/rng", RNG);
    if let Some(Rng { source }) = &parameters.rng {
        let part = Part::new()
            .with("@model", "virtio")
            .with("backend@model", "random")
            .with("backend", source.unwrap_or_default().word());
        wishes.item("devices/rng", THE_RNG, part);
    }
    wishes.own("devices/channel", CHANNEL);
    if parameters.guest_agent.unwrap_or_default() {
        let part = Part::new()
            .with("@type", "unix")
            .with("target@type", "virtio")
            .with("target@name", "org.qemu.guest_agent.0");
        wishes.item("devices/channel", AGENT, part);
    }
    for_crashes(wishes, parameters);
    wishes.own("devices/tpm", TPM);
    if let Some(Tpm { model, keep_state: _ }) = &parameters.tpm {
        let part = Part::new()
            .with("@model", model.unwrap_or_default().word())
            .with("backend@type", "emulator")
            .with("backend@version", "2.0");
        wishes.item("devices/tpm", THE_TPM, part);
    }
    if let Some(Video { model }) = &parameters.video {
        let part = model.map_or_else(Part::new, |model| Part::new().with("model@type", model.word()));
        wishes.item("devices/video", THE_VIDEO, part);
    }
}

fn for_crashes(wishes: &mut Wishes, parameters: &DomainParameters) {
    wishes.own("devices/watchdog", WATCHDOG);
    if let Some(Watchdog { action }) = &parameters.watchdog {
        let part = Part::new().with("@model", "i6300esb").with("@action", action.unwrap_or_default().word());
        wishes.item("devices/watchdog", THE_WATCHDOG, part);
    }
    wishes.own("devices/panic", PANIC);
    if let Some(Panic { model }) = &parameters.panic {
        let part = model.map_or_else(Part::new, |model| Part::new().with("@model", model.word()));
        wishes.item("devices/panic", THE_PANIC, part);
    }
}
