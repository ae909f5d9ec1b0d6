//! Network: a virtual network of a host.

mod dhcp;
mod dns;
mod hosts;
mod links;
mod passed;
mod restart;
mod seen;

pub use dhcp::{Bootp, BootpObservation, DhcpOption, DhcpOptionObservation};
pub use dns::{Dns, DnsForwarder, DnsHost, DnsProtocol, DnsSrv, DnsTxt, NetworkRoute};
pub use hosts::{DhcpHost, DhcpHostObservation};
pub use links::{NetworkDirect, NetworkDirectObservation, PortGroup, PortGroupObservation};
pub use passed::{NetworkHostDevices, NetworkHostDevicesObservation};
pub use restart::NetworkRestartPolicy;
pub use seen::{
    DnsForwarderObservation, DnsHostObservation, DnsObservation, DnsSrvObservation, DnsTxtObservation,
    NetworkRouteObservation,
};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    domain::{Bandwidth, Vlan},
    managed::{Managed, ResourceSpec, ResourceStatus},
    quantity::Span,
};

/// A virtual network of a libvirt host.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "libvirt.m.nourspeed.io",
    version = "v1alpha1",
    kind = "Network",
    namespaced,
    status = "NetworkStatus",
    derive = "PartialEq",
    category = "crossplane",
    category = "managed",
    category = "libvirt",
    doc = "A virtual network of a libvirt host.",
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "SYNCED", type_ = "string", json_path = ".status.conditions[?(@.type=='Synced')].status"),
    printcolumn(
        name = "EXTERNAL-NAME",
        type_ = "string",
        json_path = ".metadata.annotations.crossplane\\.io/external-name"
    ),
    printcolumn(
        name = "UP-TO-DATE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='UpToDate')].status",
        priority = "1"
    ),
    printcolumn(
        name = "MESSAGE",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Synced')].message",
        priority = "1"
    ),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.managementPolicies.exists(p, p in ['*', 'Create', 'Update']) || (has(self.forProvider.mode) && self.forProvider.mode in ['Isolated', 'Bridge', 'Macvtap', 'HostDevices']) || (has(self.forProvider.ips) && self.forProvider.ips.size() > 0) || (has(self.initProvider) && (has(self.initProvider.mode) && !has(self.forProvider.mode) && self.initProvider.mode in ['Isolated', 'Bridge', 'Macvtap', 'HostDevices'] || has(self.initProvider.ips) && self.initProvider.ips.size() > 0))").message("spec.forProvider.ips is required for mode Nat, which is the default, Route and Open: the host needs an address on the network"),
    validation = Rule::new("oldSelf.managementPolicies.exists(p, p == 'Observe') && !oldSelf.managementPolicies.exists(p, p in ['Create', 'Update', 'Delete']) || !has(self.forProvider.mode) || has(oldSelf.forProvider.mode)").message("mode cannot be changed: every guest on it would be cut off; create a new Network instead").field_path(".forProvider")
)]
pub struct NetworkSpec {
    /// What it should be.
    #[x_kube(validation = Rule::new("!has(oldSelf.mode) || (has(self.mode) && self.mode == oldSelf.mode)").message("mode cannot be changed: every guest on it would be cut off; create a new Network instead"))]
    pub for_provider: NetworkParameters,
    /// What counts only when the network is made, beneath forProvider: lists whose items have a name, type, cidr or start are put together by it, a selector in forProvider replaces the reference here, and elsewhere forProvider wins. Afterwards nothing here is compared or brought back, and a change has no effect on what is there. The mode stays as it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_provider: Option<NetworkParameters>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole spec")]
    pub resource: ResourceSpec,
}

/// What the network should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.mode) && self.mode == 'Bridge') || has(self.bridge)").message("mode: Bridge needs bridge: the name of a bridge that the host has"),
    validation = Rule::new("!(has(self.mode) && self.mode == 'Bridge') || !(has(self.ips) || has(self.domain))").message("mode: Bridge takes no ips and no domain: the bridge belongs to the host"),
    validation = Rule::new("!(has(self.mode) && self.mode == 'Bridge') || !(has(self.dns) || has(self.mtu) || has(self.routes) || has(self.dhcpOptions))").message("mode: Bridge takes no dns, mtu, routes and dhcpOptions: the bridge belongs to the host"),
    validation = Rule::new("has(self.direct) == (has(self.mode) && self.mode == 'Macvtap')").message("mode: Macvtap and direct, the host's interfaces that guests are on, need each other"),
    validation = Rule::new("!has(self.direct) || !(has(self.bridge) || has(self.ips) || has(self.domain) || has(self.dns) || has(self.mtu) || has(self.routes) || has(self.dhcpOptions) || has(self.isolatedPorts))").message("mode: Macvtap takes no bridge, ips, domain, dns, mtu, routes, dhcpOptions and isolatedPorts: guests are on the host's interfaces"),
    validation = Rule::new("has(self.hostDevices) == (has(self.mode) && self.mode == 'HostDevices')").message("mode: HostDevices and hostDevices, the functions that guests get, need each other"),
    validation = Rule::new("!has(self.hostDevices) || !(has(self.bridge) || has(self.ips) || has(self.domain) || has(self.dns) || has(self.mtu) || has(self.routes) || has(self.dhcpOptions) || has(self.isolatedPorts))").message("mode: HostDevices takes no bridge, ips, domain, dns, mtu, routes, dhcpOptions and isolatedPorts: guests are on cards of their own"),
    validation = Rule::new("!has(self.openVSwitch) || (has(self.mode) && self.mode == 'Bridge')").message("openVSwitch needs mode: Bridge, with a bridge of Open vSwitch"),
    validation = Rule::new("!(has(self.vlan) || (has(self.portGroups) && self.portGroups.exists(g, has(g.vlan)))) || (has(self.openVSwitch) && self.openVSwitch) || has(self.hostDevices) || (has(self.direct) && has(self.direct.mode) && self.direct.mode == 'Passthrough')").message("vlan needs openVSwitch: true, or virtual functions of an SR-IOV card, by hostDevices or direct.mode: Passthrough: a plain bridge has no VLANs"),
    validation = Rule::new("!(has(self.direct) || has(self.hostDevices)) || !has(self.portGroups) || !self.portGroups.exists(g, has(g.bandwidth))").message("modes Macvtap and HostDevices have no bandwidth of port groups: say it at interfaces"),
    validation = Rule::new("!has(self.bandwidth) || !(has(self.mode) && self.mode in ['Bridge', 'Macvtap', 'HostDevices'])").message("bandwidth is for networks whose bridge libvirt makes; say it at port groups or interfaces"),
    validation = Rule::new("!has(self.portGroups) || self.portGroups.filter(g, has(g.default) && g.default).size() <= 1").message("one port group at most is the default"),
    validation = Rule::new("!has(self.domainLocalOnly) || has(self.domain)").message("domainLocalOnly needs domain")
)]
pub struct NetworkParameters {
    /// Nat, Route, Open, Isolated, Bridge, Macvtap or HostDevices. Open routes as Route does, and libvirt makes no rules in the host's firewall: they are the administrator's. Default Nat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
    /// The name of the bridge: the host's own for mode Bridge, else the one that libvirt makes. Default: libvirt chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub bridge: Option<String>,
    /// The DNS domain of its guests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9.-]+$"))]
    pub domain: Option<String>,
    /// Whether what nobody here knows of that domain is asked of nobody else. Default false. Another value counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_local_only: Option<bool>,
    /// What the network's DNS server tells its guests. Names, services and texts change while the network runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// The largest packet, in bytes. Default: that of the host's bridges, 1500. Another value counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 68, max = 65535))]
    pub mtu: Option<i32>,
    /// The addresses of the host on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cidr".into()]))]
    #[schemars(length(max = 8))]
    pub ips: Option<Vec<Ip>>,
    /// What its DHCP server tells guests beside their addresses, by IPv4: whatever was told in the server's own words before is replaced. Another list counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["code".into()]))]
    #[schemars(length(max = 32))]
    pub dhcp_options: Option<Vec<DhcpOption>>,
    /// The ways that the host takes to other networks by routers on this one. Another list counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["cidr".into()]))]
    #[schemars(length(max = 16))]
    pub routes: Option<Vec<NetworkRoute>>,
    /// The interfaces of the host that guests are on, for mode Macvtap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<NetworkDirect>,
    /// The functions of cards of the host that guests get, for mode HostDevices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_devices: Option<NetworkHostDevices>,
    /// Whether the bridge is one of Open vSwitch, for mode Bridge. Default false. Another value counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_v_switch: Option<bool>,
    /// VLANs of its guests. Needs openVSwitch: true, hostDevices, or direct.mode: Passthrough. Another value counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// How much passes between its guests together and the outside. The host's kernel must be able to shape traffic, or the network does not start. Another value counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Settings that interfaces of guests choose by name. Changed while the network runs; a running guest has what it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 32))]
    pub port_groups: Option<Vec<PortGroup>>,
    /// How many addresses Domains of one other namespace may have it keep for their interfaces, all together: who may write Domains there could take all of them. Those of its own namespace are not limited, and one that is kept already stays. Default 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1024))]
    pub addresses_per_namespace: Option<i32>,
    /// Whether its guests reach the host and what is beyond, and not each other. Default false. Another value counts from the network's next start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated_ports: Option<bool>,
    /// What is done when changes wait for the network's next start. Never: nothing, RestartRequired lists them. WhenUnused: it is started anew once a poll finds no running guest of the host on it, and while none is plugged in. If it then does not start, it gets back what it had, and RestartRequired says why, until its spec says something else. Default Never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<NetworkRestartPolicy>,
    /// Whether the host starts the network when it boots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
}

/// How a network reaches the outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum NetworkMode {
    /// Guests share the host's address.
    #[default]
    Nat,
    /// The host routes, without translation.
    Route,
    /// The host routes, and libvirt makes no firewall rules.
    Open,
    /// Not at all.
    Isolated,
    /// Guests are on a bridge of the host.
    Bridge,
    /// Guests are on interfaces of the host, beside it.
    Macvtap,
    /// Guests have functions of cards of the host as their own.
    HostDevices,
}

/// An address of the host on the network, and what it hands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ip {
    /// The host's own address with the length of the prefix, such as 192.168.150.1/24.
    #[schemars(length(max = 49), regex(pattern = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"))]
    pub cidr: String,
    /// What DHCP hands out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<Dhcp>,
}

/// What DHCP hands out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dhcp {
    /// Ranges of addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["start".into()]))]
    #[schemars(length(max = 8))]
    pub ranges: Option<Vec<DhcpRange>>,
    /// Addresses for known guests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 128))]
    pub hosts: Option<Vec<DhcpHost>>,
    /// What guests boot over the network, by IPv4. Another value counts from the network's next start on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootp: Option<Bootp>,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpRange {
    /// The first address.
    #[schemars(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub start: String,
    /// The last address.
    #[schemars(length(max = 45), regex(pattern = r"^[0-9a-fA-F.:]+$"))]
    pub end: String,
    /// How long an address of it is lent, 2m or more. Default 1h, which is the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<Span>,
}

/// What the provider saw and said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// What the host shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_provider: Option<NetworkObservation>,
    #[serde(flatten)]
    #[allow(missing_docs, reason = "a doc here would become the description of the whole status")]
    pub resource: ResourceStatus,
}

/// What the host shows. What also stands in `forProvider` has its name and type there, so that a spec can be written from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkObservation {
    /// The UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How it reaches the outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
    /// The bridge on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// The DNS domain of its guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Whether what nobody here knows of that domain is asked of nobody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_local_only: Option<bool>,
    /// What the network's DNS server tells its guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsObservation>,
    /// The largest packet, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<i32>,
    /// The addresses of the host on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpObservation>,
    /// What its DHCP server tells guests beside their addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dhcp_options: Vec<DhcpOptionObservation>,
    /// The ways that the host takes to other networks by routers on this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<NetworkRouteObservation>,
    /// The interfaces of the host that guests are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct: Option<NetworkDirectObservation>,
    /// The functions of cards of the host that guests get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_devices: Option<NetworkHostDevicesObservation>,
    /// Whether the bridge is one of Open vSwitch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_v_switch: Option<bool>,
    /// VLANs of its guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// How much passes between its guests together and the outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Settings that interfaces of guests choose by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_groups: Vec<PortGroupObservation>,
    /// Whether its guests do not reach each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated_ports: Option<bool>,
    /// Whether the host starts it when it boots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<bool>,
    /// Whether it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The fields that wait for the network's next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_changes: Vec<String>,
}

/// An address of the host on the network, and what it hands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpObservation {
    /// The host's own address with the length of the prefix.
    pub cidr: String,
    /// What DHCP hands out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<DhcpObservation>,
}

/// What DHCP hands out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpObservation {
    /// Ranges of addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<DhcpRangeObservation>,
    /// Addresses for known guests, and those that are kept for interfaces of Domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<DhcpHostObservation>,
    /// What guests boot over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootp: Option<BootpObservation>,
}

/// A range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DhcpRangeObservation {
    /// The first address.
    pub start: String,
    /// The last address.
    pub end: String,
    /// How long an address of it is lent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<Span>,
}

impl Managed for Network {
    type Parameters = NetworkParameters;
    type Observation = NetworkObservation;

    const LASTING: &'static [&'static str] = &["mode"];

    fn parameters(&self) -> &NetworkParameters {
        &self.spec.for_provider
    }

    fn parameters_mut(&mut self) -> &mut NetworkParameters {
        &mut self.spec.for_provider
    }

    fn initial(&self) -> Option<&NetworkParameters> {
        self.spec.init_provider.as_ref()
    }

    fn resource(&self) -> &ResourceSpec {
        &self.spec.resource
    }

    fn observation(&self) -> Option<&NetworkObservation> {
        self.status.as_ref()?.at_provider.as_ref()
    }

    fn resource_status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().map(|status| &status.resource)
    }
}
