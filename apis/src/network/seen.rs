//! What a host shows of a network, with the names of `forProvider`: without limits, because others may have written it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DnsProtocol;

/// What the DNS server of a network tells its guests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsObservation {
    /// Whether there is a DNS server on the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether names without a dot are asked of the servers above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_plain_names: Option<bool>,
    /// The servers that are asked what nobody here knows, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwarders: Vec<DnsForwarderObservation>,
    /// Names of addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<DnsHostObservation>,
    /// Where services are (SRV records).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub srvs: Vec<DnsSrvObservation>,
    /// Texts (TXT records).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub txts: Vec<DnsTxtObservation>,
}

/// A server that is asked what nobody here knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsForwarderObservation {
    /// Its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The domain that it is asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// The names of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsHostObservation {
    /// The address.
    pub ip: String,
    /// Its names.
    pub hostnames: Vec<String>,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsSrvObservation {
    /// The service.
    pub service: String,
    /// How it is spoken to.
    pub protocol: DnsProtocol,
    /// The domain whose service it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The name of the host that it is on.
    pub target: String,
    /// The port there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Of several, those with the lowest are tried first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Of several with the same priority, how often this one is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}

/// The text of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsTxtObservation {
    /// The name.
    pub name: String,
    /// Its text.
    pub value: String,
}

/// A way to other networks, by a router on this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRouteObservation {
    /// The addresses that are reached by it.
    pub cidr: String,
    /// The router's address on this network.
    pub gateway: String,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<i32>,
}
