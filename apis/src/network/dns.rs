//! What the DNS server of a network tells its guests.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the DNS server of a network tells its guests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.enabled) || self.enabled || !(has(self.forwardPlainNames) || has(self.forwarders) || has(self.hosts) || has(self.srvs) || has(self.txts))").message("with enabled: false there is nobody to tell the rest: take it out, or set enabled: true")
)]
pub struct Dns {
    /// Whether there is a DNS server on the network. Default true. Another value counts from the network's next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whether names without a dot are asked of the servers above when nobody here knows them. Default true. Another value counts from the network's next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_plain_names: Option<bool>,
    /// The servers that are asked what nobody here knows, in their order. Default: those of the host. Another list counts from the network's next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub forwarders: Option<Vec<DnsForwarder>>,
    /// Names of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["ip".into()]))]
    #[schemars(length(max = 64))]
    pub hosts: Option<Vec<DnsHost>>,
    /// Where services are (SRV records). No two have the same service, protocol and target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub srvs: Option<Vec<DnsSrv>>,
    /// Texts (TXT records), one a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 32))]
    pub txts: Option<Vec<DnsTxt>>,
}

/// A server that is asked what nobody here knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.address) || has(self.domain)").message("a forwarder needs address, domain or both"))]
pub struct DnsForwarder {
    /// Its address. Without one the servers of the host are asked about the domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub address: Option<String>,
    /// The domain that it is asked about. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+$"))]
    pub domain: Option<String>,
}

/// The names of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsHost {
    /// The address.
    #[schemars(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub ip: String,
    /// Its names; the first is the one that is told of the address.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+$")))]
    pub hostnames: Vec<String>,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsSrv {
    /// The service, such as ldap: without the underscore that it has in the record.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub service: String,
    /// How it is spoken to.
    pub protocol: DnsProtocol,
    /// The domain whose service it is. Default: that of the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+$"))]
    pub domain: Option<String>,
    /// The name of the host that it is on.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+$"))]
    pub target: String,
    /// The port there. Default 1, which DNS servers say where nothing is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Of several, those with the lowest are tried first. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub priority: Option<i32>,
    /// Of several with the same priority, how often this one is taken. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub weight: Option<i32>,
}

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum DnsProtocol {
    /// In streams.
    Tcp,
    /// In packets.
    Udp,
}

/// The text of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsTxt {
    /// The name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+$"))]
    pub name: String,
    /// Its text, without line ends.
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[ -~]+$"))]
    pub value: String,
}

/// A way to other networks, by a router on this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkRoute {
    /// The addresses that are reached by it, such as 10.20.0.0/16.
    #[schemars(length(max = 49), regex(pattern = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"))]
    pub cidr: String,
    /// The router's address on this network.
    #[schemars(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub gateway: String,
    /// What it costs: of several ways the host takes the cheapest. Default 1 of libvirt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub metric: Option<i32>,
}
