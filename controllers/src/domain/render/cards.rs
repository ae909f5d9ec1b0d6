//! Channels and cards of a Domain → wishes about its description: pure.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use apis::domain::{Balloon, BalloonModel, Channel, ChannelType, DomainParameters, GraphicsType, Input, Sound, Vsock};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::{INPUT, PORT, SOUND, THE_SOUND, THE_VSOCK, VSOCK};
use crate::{domain::words::Word as _, mark};

/// Where SPICE's agent in the guest looks.
const SPICE_AGENT: &str = "com.redhat.spice.0";

/// Whether the guest has a SPICE console, by this object or by somebody else.
pub(super) fn has_spice(parameters: &DomainParameters, base: Option<&Element>) -> bool {
    let wished = parameters.graphics.iter().flatten().any(|console| console.type_ == GraphicsType::Spice);
    let ours = base.and_then(mark::owned_paths).unwrap_or_default();
    let consoles = base.map(|base| base.find_all("devices/graphics")).unwrap_or_default();
    let there = consoles.iter().any(|console| console.get("type") == Some("spice"));
    wished || (there && !ours.iter().any(|path| path == "devices/graphics[spice]"))
}

/// Channels that the user named.
pub(super) fn channels(
    wishes: &mut Wishes,
    parameters: &DomainParameters,
    base: Option<&Element>,
) -> anyhow::Result<()> {
    wishes.own("devices/channel", PORT);
    let mut targets = BTreeSet::new();
    for Channel { name, type_, target } in parameters.channels.iter().flatten() {
        let type_ = type_.unwrap_or_default();
        let usual = (type_ == ChannelType::SpiceVmc).then_some(SPICE_AGENT);
        let target = target
            .as_deref()
            .or(usual)
            .with_context(|| format!("channels {name}: a channel of type Unix needs target"))?;
        let fits = type_ != ChannelType::SpiceVmc || has_spice(parameters, base);
        ensure!(fits, "channels {name}: type SpiceVmc needs graphics of type Spice");
        // A guest with two of them does not start.
        ensure!(targets.insert(target), "channels {name}: another channel has the target {target} already");
        let part = Part::new().with("@type", type_.word()).with("target@type", "virtio").with("target@name", target);
        wishes.item("devices/channel", &format!("{PORT}{name}"), part);
    }
    Ok(())
}

/// Sound, input devices, socket and balloon.
pub(super) fn cards(wishes: &mut Wishes, parameters: &DomainParameters, base: Option<&Element>) -> anyhow::Result<()> {
    sound(wishes, parameters, base);
    wishes.own("devices/input", INPUT);
    for Input { name, type_, bus } in parameters.inputs.iter().flatten() {
        let part = Part::new().with("@type", type_.word()).with("@bus", bus.unwrap_or_default().word());
        wishes.item("devices/input", &format!("{INPUT}{name}"), part);
    }
    wishes.own("devices/vsock", VSOCK);
    if let Some(Vsock { cid }) = &parameters.vsock {
        let mut part = Part::new().with("@model", "virtio");
        // Without a number libvirt says by itself that it chooses one.
        if let Some(cid) = cid {
            part = part.with("cid@auto", "no").with("cid@address", cid.to_string());
        }
        wishes.item("devices/vsock", THE_VSOCK, part);
    }
    if let Some(said) = &parameters.balloon {
        balloon(wishes, said)?;
    }
    Ok(())
}

/// The kind of balloon of a guest that is made: libvirt adds one with all its attributes only where nothing of it is said.
pub(super) fn new_balloon(wishes: &mut Wishes, parameters: &DomainParameters) {
    if matches!(parameters.balloon, Some(Balloon { model: None, .. })) {
        wishes.set("devices/memballoon@model", BalloonModel::Virtio.word());
    }
}

fn sound(wishes: &mut Wishes, parameters: &DomainParameters, base: Option<&Element>) {
    wishes.own("devices/sound", SOUND);
    let Some(Sound { model }) = &parameters.sound else { return };
    wishes.item("devices/sound", THE_SOUND, Part::new().with("@model", model.unwrap_or_default().word()));
    let way = base.and_then(|base| base.attr_at("devices/audio@type"));
    // A guest that had no SPICE console got a sound that goes nowhere. Whoever chose another way for it meant it.
    if has_spice(parameters, base) && way.is_none_or(|way| ["none", "spice"].contains(&way)) {
        wishes.item("devices/audio", "1", Part::new().with("@type", "spice"));
    }
}

/// Every guest has one, and libvirt keeps no name for one that is `none`.
fn balloon(wishes: &mut Wishes, balloon: &Balloon) -> anyhow::Result<()> {
    let Balloon { model, autodeflate, free_page_reporting, stats_period } = balloon;
    wishes.flag("devices/memballoon", true);
    if let Some(model) = model {
        wishes.set("devices/memballoon@model", model.word());
    }
    for (name, wished) in [("autodeflate", autodeflate), ("freePageReporting", free_page_reporting)] {
        if let Some(wished) = wished {
            wishes.set(&format!("devices/memballoon@{name}"), if *wished { "on" } else { "off" });
        }
    }
    if let Some(period) = stats_period {
        let duration = period.duration().map_err(anyhow::Error::msg).context("balloon.statsPeriod")?;
        let seconds = duration.as_secs();
        ensure!(
            seconds > 0 && duration.subsec_nanos() == 0 && i32::try_from(seconds).is_ok(),
            "balloon.statsPeriod: {} is not a number of whole seconds",
            period.0
        );
        wishes.set("devices/memballoon/stats@period", seconds.to_string());
    }
    Ok(())
}
