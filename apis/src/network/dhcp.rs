//! What a network's DHCP server tells its guests beside their addresses.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What guests boot over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bootp {
    /// The file that they load, by its path on the server or its URL.
    #[schemars(length(min = 1, max = 127), regex(pattern = r"^[A-Za-z0-9._/:?&=%+~@-]+$"))]
    pub file: String,
    /// The IPv4 address of the server that they load it from. Default: the host's own on the network, where something must serve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 7, max = 15), regex(pattern = r"^[0-9.]+$"))]
    pub server: Option<String>,
}

/// An option of DHCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.code in [1, 28, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 61, 82])").message("this option is the server's own: its addresses, lease times and messages")
)]
pub struct DhcpOption {
    /// Its number, such as 3 for the router, 6 for DNS servers, 42 for time servers, 119 for search domains, 121 for routes.
    #[schemars(range(min = 1, max = 254))]
    pub code: i32,
    /// What guests are told: addresses, names, numbers or a text, with commas between several. The server does not start with one that is not what the option is for.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9._/:@+-]+(,[A-Za-z0-9._/:@+-]+)*$"))]
    pub value: String,
}

/// What guests boot over the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootpObservation {
    /// The file that they load.
    pub file: String,
    /// The server that they load it from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// An option of DHCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpOptionObservation {
    /// Its number.
    pub code: i32,
    /// What guests are told.
    pub value: String,
}
