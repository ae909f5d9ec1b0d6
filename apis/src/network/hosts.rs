//! Guests that DHCP knows.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{ItemName, Span};

/// An address for a known guest: of IPv4 by its MAC address, of IPv6 by its DUID, or by the name that it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.mac) != self.ip.contains(':')").message("a host of IPv4 needs mac, and one of IPv6 takes none: libvirt knows it by duid, or by its name"),
    validation = Rule::new("!has(self.duid) || self.ip.contains(':')").message("duid is for IPv6")
)]
pub struct DhcpHost {
    /// The name that the guest gets. One of IPv6 without duid is known by it: it must be the host name that the guest says when it asks.
    pub name: ItemName,
    /// The guest's MAC address, for IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17), regex(pattern = r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"))]
    pub mac: Option<String>,
    /// The guest's DUID, by which it asks for IPv6 addresses, as in 00:03:00:01:52:54:00:12:34:56. Of a guest with systemd-networkd networkctl status tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 389), regex(pattern = r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){2,129}$"))]
    pub duid: Option<String>,
    /// Its address.
    #[schemars(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub ip: String,
    /// How long it is lent, 2m or more. Default: as those of the ranges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<Span>,
}

/// An address for a known guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpHostObservation {
    /// The name that the guest gets; where it gets none, one made of its MAC address or DUID.
    pub name: String,
    /// The guest's MAC address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The guest's DUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duid: Option<String>,
    /// Its address.
    pub ip: String,
    /// How long it is lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<Span>,
}
