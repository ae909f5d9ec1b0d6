//! What cannot be, said before anything is made: addresses that do not fit together, and other networks of the host in the way. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, bail, ensure};
use apis::network::{Dhcp, DhcpHost, Ip, NetworkParameters, NetworkRoute};
use libvirt::xml::Element;

use super::subnet::Subnet;

/// Fails where addresses of the spec overlap, are out of their network, or are given twice.
pub(super) fn addresses(parameters: &NetworkParameters) -> anyhow::Result<()> {
    let Some(ips) = &parameters.ips else { return Ok(()) };
    let mut subnets: Vec<Subnet> = Vec::new();
    for ip in ips {
        let own = Subnet::parse(&ip.cidr).with_context(|| format!("ips: {:?}", ip.cidr))?;
        if let Some(other) = subnets.iter().find(|other| other.overlaps(&own)) {
            bail!("ips: {} and {} have addresses in common", shown(other), ip.cidr);
        }
        ensure!(
            !is_end(&own, own.address()),
            "ips: {}: the address is the first or last of its network, which no host can have",
            ip.cidr
        );
        dhcp(ip, &own).with_context(|| format!("ips: {}", ip.cidr))?;
        subnets.push(own);
    }
    for NetworkRoute { cidr, gateway, metric: _ } in parameters.routes.iter().flatten() {
        let router = address(gateway)?;
        let is_near = subnets.iter().any(|subnet| subnet.holds(router));
        ensure!(
            is_near,
            "routes: the gateway {gateway} of {cidr} is in no network of ips, so the host cannot reach it"
        );
    }
    Ok(())
}

/// Whether an address is one of the two of an IPv4 network that mean all of it.
fn is_end(own: &Subnet, address: IpAddr) -> bool {
    address.is_ipv4() && own.prefix() < 31 && (address == own.first() || address == own.last())
}

fn shown(subnet: &Subnet) -> String {
    format!("{}/{}", subnet.address(), subnet.prefix())
}

fn address(text: &str) -> anyhow::Result<IpAddr> {
    text.parse().with_context(|| format!("{text:?} is not an address (a part such as 010 must be written 10)"))
}

fn dhcp(ip: &Ip, own: &Subnet) -> anyhow::Result<()> {
    let Some(Dhcp { ranges, hosts, bootp }) = &ip.dhcp else { return Ok(()) };
    ensure!(bootp.is_none() || own.address().is_ipv4(), "bootp is for IPv4");
    let mut taken: Vec<(IpAddr, IpAddr)> = Vec::new();
    for range in ranges.iter().flatten() {
        let (start, end) = (address(&range.start)?, address(&range.end)?);
        let what = format!("the range {start} to {end}");
        ensure!(own.holds(start) && own.holds(end), "{what} is not within the network");
        ensure!(start <= end, "{what} ends before it begins");
        ensure!(
            !is_end(own, start) && !is_end(own, end),
            "{what} has the first or last address of the network, which no guest can have"
        );
        if let Some((from, to)) = taken.iter().find(|(from, to)| *from <= end && start <= *to) {
            bail!("{what} and the range {from} to {to} have addresses in common");
        }
        taken.push((start, end));
    }
    let (mut known, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for host in hosts.iter().flatten() {
        let (name, its) = (&host.name, address(&host.ip)?);
        ensure!(own.holds(its), "the address {its} of the host {name} is not within the network");
        ensure!(its != own.address(), "the address {its} of the host {name} is that of the network itself");
        ensure!(addresses.insert(its), "two hosts have the address {its}, {name} is one of them");
        ensure!(
            !is_end(own, its),
            "the address {its} of the host {name} is the first or last of the network, which no guest can have"
        );
        known_by(host, its, &mut known)?;
    }
    Ok(())
}

/// Fails where a guest cannot be known by what is said of it, or another one is known by the same.
fn known_by(host: &DhcpHost, its: IpAddr, known: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let DhcpHost { name, mac, duid, ip: _, lease_time: _ } = host;
    ensure!(
        its.is_ipv4() == mac.is_some() && (its.is_ipv6() || duid.is_none()),
        "the host {name} is known by mac where its address is IPv4, else by duid or by its name alone"
    );
    for (what, id) in [("MAC address", mac), ("DUID", duid)] {
        let Some(id) = id.as_ref().map(|id| id.to_ascii_lowercase()) else { continue };
        ensure!(known.insert(id.clone()), "two hosts have the {what} {id}, {name} is one of them");
    }
    Ok(())
}

/// Whether a difference is about the bridge or the addresses that networks of one host cannot share.
pub(super) fn is_place(path: &str) -> bool {
    path == "bridge@name" || path.starts_with("ip[") && !path.contains("/dhcp/")
}

/// Fails where another network of the host has the bridge or addresses that a description says.
pub(super) fn apart(wished: &Element, other: &Element) -> anyhow::Result<()> {
    let name = other.text_at("name").unwrap_or_default();
    let makes_bridge = wished.attr_at("forward@mode") != Some("bridge");
    if let Some(bridge) = wished.attr_at("bridge@name").filter(|_| makes_bridge) {
        ensure!(
            other.attr_at("bridge@name") != Some(bridge),
            "the bridge {bridge} is that of network {name:?} of the host: set another one in spec.forProvider.bridge"
        );
    }
    let theirs = subnets(other);
    for own in subnets(wished) {
        if let Some(their) = theirs.iter().find(|their| their.overlaps(&own)) {
            bail!(
                "{} has addresses in common with {} of network {name:?} of the host: set others in spec.forProvider.ips",
                shown(&own),
                shown(their)
            );
        }
    }
    Ok(())
}

/// The networks of a description, with prefixes for netmasks.
fn subnets(description: &Element) -> Vec<Subnet> {
    let description = super::observed::prefixed(description);
    let subnet = |ip: &Element| {
        let address: IpAddr = ip.get("address")?.parse().ok()?;
        Subnet::new(address, u8::try_from(super::observed::prefix(ip, ip.get("address")?)?).ok()?).ok()
    };
    description.named("ip").filter_map(subnet).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn refusal(parameters: &Value) -> String {
        let parameters: NetworkParameters = serde_json::from_value(parameters.clone()).unwrap();
        addresses(&parameters).map_or_else(|error| format!("{error:#}"), |()| String::new())
    }

    fn host(name: &str, mac: u8, ip: &str) -> Value {
        json!({"name": name, "mac": format!("52:54:00:AA:00:0{mac}"), "ip": ip})
    }

    fn with(dhcp: &Value) -> Value {
        json!({"ips": [{"cidr": "10.0.0.1/24", "dhcp": dhcp}]})
    }

    fn ranges([one, other]: [[u8; 2]; 2]) -> Value {
        let range = |[start, end]: [u8; 2]| json!({"start": format!("10.0.0.{start}"), "end": format!("10.0.0.{end}")});
        with(&json!({"ranges": [range(one), range(other)]}))
    }

    #[test]
    fn addresses_that_do_not_fit_together_are_refused_with_their_reason() {
        let table = [
            (ranges([[10, 20], [21, 30]]), ""),
            (
                json!({"ips": [{"cidr": "10.0.0.1/24"}, {"cidr": "10.0.0.129/25"}]}),
                "ips: 10.0.0.1/24 and 10.0.0.129/25 have addresses in common",
            ),
            (json!({"ips": [{"cidr": "10.0.0.1/24"}, {"cidr": "fd00::1/64"}]}), ""),
            (
                with(&json!({"ranges": [{"start": "10.0.1.10", "end": "10.0.1.20"}]})),
                "ips: 10.0.0.1/24: the range 10.0.1.10 to 10.0.1.20 is not within the network",
            ),
            (
                with(&json!({"ranges": [{"start": "10.0.0.20", "end": "10.0.0.10"}]})),
                "ips: 10.0.0.1/24: the range 10.0.0.20 to 10.0.0.10 ends before it begins",
            ),
            (
                ranges([[10, 20], [20, 30]]),
                "ips: 10.0.0.1/24: the range 10.0.0.20 to 10.0.0.30 and the range 10.0.0.10 to 10.0.0.20 have addresses in common",
            ),
            (
                with(&json!({"hosts": [host("a", 1, "10.9.0.5")]})),
                "ips: 10.0.0.1/24: the address 10.9.0.5 of the host a is not within the network",
            ),
            (
                with(&json!({"hosts": [host("a", 1, "10.0.0.1")]})),
                "ips: 10.0.0.1/24: the address 10.0.0.1 of the host a is that of the network itself",
            ),
            (
                with(&json!({"hosts": [host("a", 1, "10.0.0.5"), host("b", 2, "10.0.0.5")]})),
                "ips: 10.0.0.1/24: two hosts have the address 10.0.0.5, b is one of them",
            ),
            (
                with(&json!({"hosts": [host("a", 1, "10.0.0.5"), host("b", 1, "10.0.0.6")]})),
                "ips: 10.0.0.1/24: two hosts have the MAC address 52:54:00:aa:00:01, b is one of them",
            ),
            (
                json!({"ips": [{"cidr": "10.0.0.1/24"}], "routes": [{"cidr": "10.9.0.0/16", "gateway": "10.1.0.2"}]}),
                "routes: the gateway 10.1.0.2 of 10.9.0.0/16 is in no network of ips, so the host cannot reach it",
            ),
        ];
        for (parameters, wanted) in table {
            assert_eq!(refusal(&parameters), wanted, "{parameters}");
        }
    }

    #[test]
    fn what_no_guest_can_have_or_be_known_by_is_refused_with_its_reason() {
        let table = [
            (
                json!({"ips": [{"cidr": "10.0.0.0/24"}]}),
                "ips: 10.0.0.0/24: the address is the first or last of its network, which no host can have",
            ),
            (
                ranges([[10, 20], [30, 255]]),
                "ips: 10.0.0.1/24: the range 10.0.0.30 to 10.0.0.255 has the first or last address of the network, which no guest can have",
            ),
            (
                with(&json!({"hosts": [host("a", 1, "10.0.0.255")]})),
                "ips: 10.0.0.1/24: the address 10.0.0.255 of the host a is the first or last of the network, which no guest can have",
            ),
            (
                json!({"ips": [{"cidr": "fd00::1/64", "dhcp": {"hosts": [host("a", 1, "fd00::5")]}}]}),
                "ips: fd00::1/64: the host a is known by mac where its address is IPv4, else by duid or by its name alone",
            ),
            (
                json!({"ips": [{"cidr": "fd00::1/64", "dhcp": {"hosts": [
                    {"name": "a", "ip": "fd00::5"}, {"name": "b", "duid": "00:03:AA", "ip": "fd00::6"}, {"name": "c", "duid": "00:03:aa", "ip": "fd00::7"},
                ]}}]}),
                "ips: fd00::1/64: two hosts have the DUID 00:03:aa, c is one of them",
            ),
        ];
        for (parameters, wanted) in table {
            assert_eq!(refusal(&parameters), wanted, "{parameters}");
        }
    }

    #[test]
    fn a_bridge_and_addresses_of_another_network_are_refused_by_its_name() {
        let refusal = |wished: &str, other: &str| {
            let parse = |text: &str| Element::parse(&format!("<network><name>x</name>{text}</network>")).unwrap();
            apart(&parse(wished), &parse(other)).map_or_else(|error| format!("{error:#}"), |()| String::new())
        };
        let (ours, theirs) =
            ("<ip address='10.0.0.1' prefix='24'/>", "<ip address='10.0.0.9' netmask='255.255.255.0'/>");
        let common = "10.0.0.1/24 has addresses in common with 10.0.0.9/24 of network \"x\" of the host: set others in spec.forProvider.ips";
        assert_eq!(refusal(ours, theirs), common);
        assert_eq!(refusal(ours, "<ip address='10.0.1.1' prefix='24'/>"), "");
        let bridge = "<bridge name='br7'/>";
        let taken = "the bridge br7 is that of network \"x\" of the host: set another one in spec.forProvider.bridge";
        assert_eq!(refusal(bridge, bridge), taken);
        assert_eq!(
            refusal(&format!("<forward mode='bridge'/>{bridge}"), &format!("<forward mode='bridge'/>{bridge}")),
            ""
        );
    }
}
