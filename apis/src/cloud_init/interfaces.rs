//! The network as the guest is to set it up, in fields.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the guest sets up one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestInterface {
    /// What the guest calls it; without mac also what the Domain calls it.
    #[schemars(length(max = 15), regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$"))]
    pub name: String,
    /// The address of the card by which the guest finds it. Default: that of the interface of this name in the networkInterfaces of the Domain of this namespace that refers to this CloudInit, which must be the only one; the seed is made anew when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17), regex(pattern = r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"))]
    pub mac: Option<String>,
    /// Whether it asks for an IPv4 address. Default: true where there are no addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp4: Option<bool>,
    /// Whether it asks for an IPv6 address. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dhcp6: Option<bool>,
    /// Addresses with the length of their network's prefix, such as 192.0.2.10/24.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 16), inner(length(max = 49), regex(pattern = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")))]
    pub addresses: Option<Vec<String>>,
    /// What is reached through it. The way to everywhere else is the one to 0.0.0.0/0 or ::/0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 16))]
    pub routes: Option<Vec<GuestRoute>>,
    /// Who is asked for names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nameservers: Option<Nameservers>,
    /// The largest packet, in bytes. Default: the card's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68, max = 65_535))]
    pub mtu: Option<i32>,
}

/// A way to other networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestRoute {
    /// What tells it from the others.
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// The network, such as 198.51.100.0/24.
    #[schemars(length(max = 49), regex(pattern = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"))]
    pub to: String,
    /// The address of the router.
    #[schemars(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub via: String,
    /// Of several ways the one with the lower number is taken. Some cloud-inits pass it on to some guests only: that of Debian 12 not to systemd-networkd. Default: the guest's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub metric: Option<i32>,
}

/// Who is asked for names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nameservers {
    /// Their addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(length(max = 8), inner(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$")))]
    pub addresses: Option<Vec<String>>,
    /// Domains that names without one are looked for in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[schemars(
        length(max = 8),
        inner(length(max = 253), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))
    )]
    pub search: Option<Vec<String>>,
}
