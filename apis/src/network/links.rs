//! What a network is on beside bridges of its own, and what passes through it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Bandwidth, DirectMode, Vlan},
    quantity::ItemName,
};

/// Interfaces of the host that guests are on by macvtap. Guests and host do not reach each other through them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkDirect {
    /// The interfaces of the host: of several each guest gets the one with the fewest guests. Another list counts from the network's next start on, and for guests that are started then.
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z0-9._-]+$")))]
    pub devices: Vec<String>,
    /// Bridge: guests on the same device reach each other. Vepa: through the switch outside, which must send back. Private: never. Passthrough: each device is one guest's alone. Default Bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DirectMode>,
}

/// Settings that interfaces of guests choose by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortGroup {
    /// The name by which an interface's portGroup chooses it.
    pub name: ItemName,
    /// Whether interfaces are in it that choose none. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// VLANs of its interfaces. Needs openVSwitch: true, hostDevices, or direct.mode: Passthrough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// How much passes through each of its interfaces. The host's kernel must be able to shape traffic, or guests on it do not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

/// Interfaces of the host that guests are on by macvtap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkDirectObservation {
    /// The interfaces of the host.
    pub devices: Vec<String>,
    /// How guests on one of them reach each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DirectMode>,
}

/// Settings that interfaces of guests choose by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortGroupObservation {
    /// Its name.
    pub name: String,
    /// Whether interfaces are in it that choose none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// VLANs of its interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// How much passes through each of its interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}
