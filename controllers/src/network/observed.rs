//! What a description says of a network, in the words of the spec: pure.

mod links;

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
};

use apis::network::{
    BootpObservation, DhcpHostObservation, DhcpObservation, DhcpOptionObservation, DhcpRangeObservation,
    DnsForwarderObservation, DnsHostObservation, DnsObservation, DnsProtocol, DnsSrvObservation, DnsTxtObservation,
    IpObservation, NetworkObservation, NetworkRouteObservation,
};
use apis::quantity::Span;
use libvirt::xml::Element;

use crate::domain;

/// The description with prefixes for netmasks, which others may have written: libvirt takes no address with both.
pub fn prefixed(description: &Element) -> Cow<'_, Element> {
    let mut prefixed = Cow::Borrowed(description);
    if description.named("ip").any(|ip| ip.get("netmask").is_some()) {
        for ip in prefixed.to_mut().elements_mut().filter(|child| child.name == "ip") {
            if let Some(prefix) = ip.get("netmask").and_then(prefix_of) {
                ip.unset("netmask");
                ip.set("family", "ipv4");
                ip.set("prefix", prefix.to_string());
            }
        }
    }
    prefixed
}

/// The description of a network that others made, written as we would write it: with its family, prefixes for netmasks, and a name for
/// each guest that DHCP knows.
pub fn named(description: &Element) -> Element {
    let mut named = prefixed(description).into_owned();
    for ip in named.elements_mut().filter(|child| child.name == "ip") {
        if ip.get("family").is_none() {
            ip.set("family", "ipv4");
        }
        let hosts = ip.elements_mut().filter(|child| child.name == "dhcp").flat_map(Element::elements_mut);
        for host in hosts.filter(|child| child.name == "host" && child.get("name").is_none()) {
            if let Some(id) =
                host.get("mac").or_else(|| host.get("id")).map(|id| id.to_ascii_lowercase().replace(':', "-"))
            {
                host.set("name", id);
            }
        }
    }
    named
}

fn prefix_of(netmask: &str) -> Option<u32> {
    let bits = u32::from(netmask.parse::<Ipv4Addr>().ok()?);
    (bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones())
}

/// What a network's definition says, with the bridge that it has while it runs.
pub fn observe(definition: Option<&Element>, live: Option<&Element>) -> NetworkObservation {
    let bridge = live.or(definition).and_then(|shown| shown.attr_at("bridge@name")).map(str::to_owned);
    let Some(definition) = definition.or(live) else { return NetworkObservation::default() };
    NetworkObservation {
        mode: links::mode(definition),
        direct: links::direct(definition),
        host_devices: links::host_devices(definition),
        open_v_switch: (definition.attr_at("virtualport@type") == Some("openvswitch")).then_some(true),
        vlan: domain::vlan(definition),
        bandwidth: domain::bandwidth(definition),
        port_groups: definition.named("portgroup").filter_map(links::port_group).collect(),
        bridge,
        domain: definition.attr_at("domain@name").map(str::to_owned),
        domain_local_only: truth(definition, "domain@localOnly"),
        dns: definition.find("dns").map(dns),
        isolated_ports: truth(definition, "port@isolated"),
        mtu: definition.attr_at("mtu@size").and_then(|size| size.parse().ok()),
        ips: definition.named("ip").filter_map(ip).collect(),
        dhcp_options: definition.find_all("dnsmasq:options/dnsmasq:option").into_iter().filter_map(option).collect(),
        routes: definition.named("route").filter_map(route).collect(),
        ..NetworkObservation::default()
    }
}

fn ip(element: &Element) -> Option<IpObservation> {
    let address = element.get("address")?;
    let ranges = element.find_all("dhcp/range").into_iter().filter_map(range).collect();
    let hosts = element.find_all("dhcp/host").into_iter().filter_map(host).collect();
    let bootp = element.find("dhcp/bootp").and_then(bootp);
    let dhcp = element.find("dhcp").map(|_| DhcpObservation { ranges, hosts, bootp });
    Some(IpObservation { cidr: format!("{address}/{}", prefix(element, address)?), dhcp })
}

/// The prefix as written, or what an address without one gets: for IPv4 that of its old class, for IPv6 64.
pub(super) fn prefix(element: &Element, address: &str) -> Option<u32> {
    if let Some(prefix) = element.get("prefix") {
        return prefix.parse().ok();
    }
    if let Some(netmask) = element.get("netmask") {
        return prefix_of(netmask);
    }
    Some(match address.parse().ok()? {
        IpAddr::V4(address) => match address.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            192..=255 => 24,
        },
        IpAddr::V6(_) => 64,
    })
}

fn range(range: &Element) -> Option<DhcpRangeObservation> {
    let get = |name| range.get(name).map(str::to_owned);
    Some(DhcpRangeObservation { start: get("start")?, end: get("end")?, lease_time: lease(range) })
}

fn host(host: &Element) -> Option<DhcpHostObservation> {
    let get = |name| host.get(name).map(str::to_owned);
    let (mac, duid) = (get("mac"), get("id"));
    Some(DhcpHostObservation { name: get("name")?, mac, duid, ip: get("ip")?, lease_time: lease(host) })
}

/// How long an address is lent; nothing where that is for ever.
fn lease(of: &Element) -> Option<Span> {
    let lease = of.find("lease")?;
    let number = lease.get("expiry").filter(|number| *number != "0")?;
    let unit = match lease.get("unit") {
        Some("hours") => "h",
        Some("seconds") => "s",
        Some(_) | None => "m",
    };
    Some(Span(format!("{number}{unit}")))
}

fn bootp(bootp: &Element) -> Option<BootpObservation> {
    Some(BootpObservation { file: bootp.get("file")?.to_owned(), server: bootp.get("server").map(str::to_owned) })
}

/// An option as the spec would say it; the server's other words it cannot say.
fn option(option: &Element) -> Option<DhcpOptionObservation> {
    let (code, value) = option.get("value")?.strip_prefix("dhcp-option=")?.split_once(',')?;
    Some(DhcpOptionObservation { code: code.parse().ok()?, value: value.to_owned() })
}

fn truth(element: &Element, path: &str) -> Option<bool> {
    element.attr_at(path).map(|word| word == "yes")
}

fn dns(dns: &Element) -> DnsObservation {
    let get = |element: &Element, name| element.get(name).map(str::to_owned);
    let forwarder =
        |element: &Element| DnsForwarderObservation { address: get(element, "addr"), domain: get(element, "domain") };
    let named = |element: &Element| {
        let hostnames = element.named("hostname").filter_map(|name| name.value().map(str::to_owned)).collect();
        Some(DnsHostObservation { ip: get(element, "ip")?, hostnames })
    };
    let text =
        |element: &Element| Some(DnsTxtObservation { name: get(element, "name")?, value: get(element, "value")? });
    DnsObservation {
        enabled: truth(dns, "@enable"),
        forward_plain_names: truth(dns, "@forwardPlainNames"),
        forwarders: dns.named("forwarder").map(forwarder).collect(),
        hosts: dns.named("host").filter_map(named).collect(),
        srvs: dns.named("srv").filter_map(service).collect(),
        txts: dns.named("txt").filter_map(text).collect(),
    }
}

/// A service of which the spec can say all; libvirt takes such without a target, too.
fn service(element: &Element) -> Option<DnsSrvObservation> {
    let get = |name| element.get(name).map(str::to_owned);
    let number = |name| element.get(name).and_then(|number| number.parse().ok());
    let protocol = match element.get("protocol")? {
        "tcp" => DnsProtocol::Tcp,
        "udp" => DnsProtocol::Udp,
        _ => return None,
    };
    Some(DnsSrvObservation {
        service: get("service")?,
        protocol,
        domain: get("domain"),
        target: get("target")?,
        port: number("port"),
        priority: number("priority"),
        weight: number("weight"),
    })
}

fn route(element: &Element) -> Option<NetworkRouteObservation> {
    let address = element.get("address")?;
    Some(NetworkRouteObservation {
        cidr: format!("{address}/{}", prefix(element, address)?),
        gateway: element.get("gateway")?.to_owned(),
        metric: element.get("metric").and_then(|metric| metric.parse().ok()),
    })
}
