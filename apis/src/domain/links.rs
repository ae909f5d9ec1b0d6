//! What an interface of a virtual machine is on, and what passes through it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An interface of the host that a guest is on by macvtap. Guest and host do not reach each other through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Direct {
    /// The interface of the host.
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub device: String,
    /// Bridge: guests on the same device reach each other. Vepa: through the switch outside, which must send back. Private: never. Passthrough: the device is the guest's alone. Default Bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DirectMode>,
}

/// How guests on one device of the host reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DirectMode {
    /// On the host.
    #[default]
    Bridge,
    /// Through the switch.
    Vepa,
    /// They do not.
    Private,
    /// There is one.
    Passthrough,
}

/// A network of the hypervisor's own: the guest reaches what the host reaches, and nobody reaches the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserNetwork {}

/// VLANs of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.tags.size() == 1 || (has(self.trunk) && self.trunk)").message("several tags need trunk: true")
)]
pub struct Vlan {
    /// The VLANs, by number.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 4094)))]
    pub tags: Vec<i32>,
    /// Whether the guest sends and gets packets with these tags. Otherwise it knows of none, and the host adds and takes away the one. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<bool>,
}

/// How much passes through an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// To the guest. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbound: Option<Rate>,
    /// From the guest. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Rate>,
}

/// How much passes in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    /// In the long run, in KiB a second.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub average: i32,
    /// The most, while a burst lasts, in KiB a second. Default: as fast as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub peak: Option<i32>,
    /// How much may pass at peak, in KiB. Default: the host's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub burst: Option<i32>,
}
