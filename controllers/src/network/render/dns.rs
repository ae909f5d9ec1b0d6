//! What a network's DNS server tells, and the ways to other networks → wishes: pure.

use anyhow::{Context, ensure};
use apis::network::{Dns, DnsForwarder, DnsHost, DnsProtocol, DnsSrv, DnsTxt, NetworkRoute};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::{plain, yes_no};
use crate::network::subnet::Subnet;

/// Names, services, texts, and who is asked about others.
pub(super) fn dns(wishes: &mut Wishes, dns: Option<&Dns>) -> anyhow::Result<()> {
    let Some(Dns { enabled, forward_plain_names, forwarders, hosts, srvs, txts }) = dns else { return Ok(()) };
    for (path, value) in [("dns@enable", enabled), ("dns@forwardPlainNames", forward_plain_names)] {
        if let Some(value) = value {
            wishes.set(path, yes_no(*value));
        }
    }
    if let Some(list) = forwarders {
        let elements: anyhow::Result<Vec<Element>> = list.iter().map(forwarder).collect();
        wishes.replace_all("dns/forwarder", elements?);
    }
    if let Some(list) = hosts {
        wishes.own_all("dns/host");
        for host in list {
            let (key, part) = named(host)?;
            wishes.item("dns/host", &key, part);
        }
    }
    if let Some(list) = srvs {
        wishes.own_all("dns/srv");
        services(wishes, list)?;
    }
    if let Some(list) = txts {
        wishes.own_all("dns/txt");
        for DnsTxt { name, value } in list {
            wishes.item("dns/txt", name, Part::new().with("@name", name.as_str()).with("@value", value.as_str()));
        }
    }
    Ok(())
}

fn forwarder(DnsForwarder { address, domain }: &DnsForwarder) -> anyhow::Result<Element> {
    let mut element = Element::new("forwarder");
    if let Some(address) = address {
        element.set("addr", plain("dns.forwarders", address)?);
    }
    if let Some(domain) = domain {
        element.set("domain", domain.as_str());
    }
    Ok(element)
}

fn named(DnsHost { ip, hostnames }: &DnsHost) -> anyhow::Result<(String, Part)> {
    let ip = plain("dns.hosts", ip)?;
    let mut part = Part::new().with("@ip", ip.as_str());
    part.replace_all("hostname", hostnames.iter().map(|name| Element::new("hostname").text(name.as_str())).collect());
    Ok((ip, part))
}

fn services(wishes: &mut Wishes, list: &[DnsSrv]) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for DnsSrv { service, protocol, domain, target, port, priority, weight } in list {
        let protocol = protocol_word(*protocol);
        let key = format!("{service},{protocol},{target}");
        ensure!(seen.insert(key.clone()), "dns.srvs: the service {service} over {protocol} on {target} is there twice");
        let mut part = Part::new().with("@service", service.as_str()).with("@protocol", protocol);
        if let Some(domain) = domain {
            part.set("@domain", domain.as_str());
        }
        part.set("@target", target.as_str());
        for (attribute, number) in [("@port", port), ("@priority", priority), ("@weight", weight)] {
            if let Some(number) = number {
                part.set(attribute, number.to_string());
            }
        }
        wishes.item("dns/srv", &key, part);
    }
    Ok(())
}

fn protocol_word(protocol: DnsProtocol) -> &'static str {
    match protocol {
        DnsProtocol::Tcp => "tcp",
        DnsProtocol::Udp => "udp",
    }
}

/// What `dns` of `initProvider` brought into lists of `own` that are owned whole stays there.
pub(super) fn keep(wishes: &mut Wishes, own: Option<&Dns>, initial: &Dns) -> anyhow::Result<()> {
    let own = own.cloned().unwrap_or_default();
    for host in initial.hosts.iter().flatten().filter(|_| own.hosts.is_some()) {
        let key = plain("dns.hosts", &host.ip)?;
        if !wishes.has_item("dns/host", &key) {
            wishes.keep("dns/host", &key);
        }
    }
    for txt in initial.txts.iter().flatten().filter(|_| own.txts.is_some()) {
        if !wishes.has_item("dns/txt", &txt.name) {
            wishes.keep("dns/txt", &txt.name);
        }
    }
    Ok(())
}

/// The ways to other networks.
pub(super) fn routes(wishes: &mut Wishes, routes: Option<&[NetworkRoute]>) -> anyhow::Result<()> {
    let Some(routes) = routes else { return Ok(()) };
    wishes.own_all("route");
    for NetworkRoute { cidr, gateway, metric } in routes {
        let to = way(cidr)?;
        let mut part = Part::new()
            .with("@family", to.family())
            .with("@address", to.address().to_string())
            .with("@prefix", to.prefix().to_string())
            .with("@gateway", plain("routes", gateway)?);
        if let Some(metric) = metric {
            part.set("@metric", metric.to_string());
        }
        wishes.item("route", &route_key(&to), part);
    }
    Ok(())
}

/// Routes of `initProvider` stay in a list that is owned whole.
pub(super) fn keep_routes(wishes: &mut Wishes, initial: &[NetworkRoute]) -> anyhow::Result<()> {
    for route in initial {
        let key = route_key(&way(&route.cidr)?);
        if !wishes.has_item("route", &key) {
            wishes.keep("route", &key);
        }
    }
    Ok(())
}

fn way(cidr: &str) -> anyhow::Result<Subnet> {
    let to = Subnet::parse(cidr).with_context(|| format!("routes: {cidr:?}"))?;
    let first = to.first();
    ensure!(first == to.address(), "routes: {cidr:?} says an address within; write {first}/{}", to.prefix());
    Ok(to)
}

fn route_key(to: &Subnet) -> String {
    format!("{},{},{}", to.address(), to.prefix(), to.family())
}
