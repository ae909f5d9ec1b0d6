//! Consoles and small devices of a Domain → wishes about its description: pure.

use anyhow::ensure;
use apis::{
    Domain, Managed,
    domain::{Console, DomainParameters, Graphics, GraphicsType, Panic, Rng, Tpm, Video, Watchdog},
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

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
        let Console { name, log } = console;
        let alias = format!("{SERIAL}{name}");
        let mut part = Part::new().with("@type", "pty").with("target@port", port.to_string());
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

/// Graphical consoles.
pub(super) fn graphics(wishes: &mut Wishes, graphics: &[Graphics]) {
    for Graphics { type_, listen } in graphics {
        let kind = match type_ {
            GraphicsType::Vnc => "vnc",
        };
        let listen = listen.as_deref().unwrap_or("127.0.0.1");
        let element = Element::new("listen").attr("type", "address").attr("address", listen);
        let part = Part::new().with("@autoport", "yes").with("@listen", listen).with_whole("listen", element);
        wishes.item("devices/graphics", kind, part);
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
    if let Some(Tpm { model }) = &parameters.tpm {
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
