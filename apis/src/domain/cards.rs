//! Small devices of a virtual machine.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{ItemName, Span};

/// A socket between guest and host that needs no network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vsock {
    /// The guest's number (CID), which no other guest of the host may have. Default: one that is free, chosen at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 3_i64, max = 4_294_967_294_i64))]
    pub cid: Option<i64>,
}

/// The device by which the host asks a guest for memory back. Every guest has one unless model is None.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.model) || self.model != 'None' || !(has(self.autodeflate) || has(self.freePageReporting) || has(self.statsPeriod))").message("a balloon of model None has no autodeflate, freePageReporting and statsPeriod")
)]
pub struct Balloon {
    /// Virtio, or None: the guest has no such device, and memory changes with its next boot only. Default: libvirt's choice, Virtio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<BalloonModel>,
    /// Whether a guest that is out of memory gets back what it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autodeflate: Option<bool>,
    /// Whether the guest tells the host which pages are free, so that the host uses them otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_page_reporting: Option<bool>,
    /// How often the guest is asked for its memory figures, in whole seconds; changed while the guest runs. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats_period: Option<Span>,
}

/// Kinds of balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum BalloonModel {
    /// virtio-balloon.
    Virtio,
    /// None.
    None,
}

/// A sound card. It is heard through a SPICE console, and nowhere otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sound {
    /// Which one the guest sees. Default Ich9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<SoundModel>,
}

/// Sound cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum SoundModel {
    /// Intel's HDA of the ICH9.
    #[default]
    Ich9,
    /// That of the ICH6.
    Ich6,
    /// AC97.
    Ac97,
    /// USB audio.
    Usb,
}

/// A keyboard or pointing device beside those that every guest has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// The name of the device in this list; its alias on the host.
    pub name: ItemName,
    /// Tablet: a pointer that is where the viewer's is. Mouse, or Keyboard.
    #[serde(rename = "type")]
    pub type_: InputType,
    /// How it is attached. Default Usb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<InputBus>,
}

/// Kinds of input devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum InputType {
    /// A pointer with a place of its own.
    Tablet,
    /// A pointer that is moved.
    Mouse,
    /// A keyboard.
    Keyboard,
}

/// How an input device is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum InputBus {
    /// USB.
    #[default]
    Usb,
    /// virtio-input.
    Virtio,
}
