//! Parameters of a Network → wishes about its description: pure.

mod dhcp;
mod dns;
mod links;

use std::net::IpAddr;

use anyhow::Context;
use apis::{
    Managed, Network,
    network::{DhcpHost, DhcpRange, Ip},
};
use libvirt::wish::{Part, Wishes};

use crate::network::{checks, reserved::Reservation, subnet::Subnet};

/// Everything that its own object wishes of a network. `previous` are the paths of the last apply; `create` says that it does not exist yet.
pub fn render(object: &Network, create: bool, previous: &[String]) -> anyhow::Result<Wishes> {
    whole(object, &[], create, previous)
}

/// The same with the addresses that are kept for the interfaces of Domains.
pub fn whole(object: &Network, reserved: &[Reservation], create: bool, previous: &[String]) -> anyhow::Result<Wishes> {
    let parameters = object.parameters();
    checks::addresses(parameters)?;
    let mut wishes = Wishes::new("network");
    if create {
        wishes.set("name", object.external_name());
        wishes.set("uuid", object.uid());
        if let Some(mode) = links::forward(parameters) {
            wishes.set("forward@mode", mode);
        }
    }
    let values = [
        ("bridge@name", parameters.bridge.clone()),
        ("domain@name", parameters.domain.clone()),
        ("domain@localOnly", parameters.domain_local_only.map(yes_no)),
        ("mtu@size", parameters.mtu.map(|mtu| mtu.to_string())),
        ("port@isolated", parameters.isolated_ports.map(yes_no)),
    ];
    for (path, value) in values {
        if let Some(value) = value {
            wishes.set(path, value);
        }
    }
    dns::dns(&mut wishes, parameters.dns.as_ref())?;
    dns::routes(&mut wishes, parameters.routes.as_deref())?;
    links::links(&mut wishes, parameters);
    dhcp::options(&mut wishes, parameters.dhcp_options.as_deref());
    if let Some(ips) = &parameters.ips {
        wishes.own_all("ip");
        for ip in ips {
            let (key, part) = address(ip)?;
            wishes.item("ip", &key, part);
            dhcp::dhcp(&mut wishes, &key, ip)?;
        }
    }
    for Reservation { within, mac, ip } in reserved {
        let part = Part::new().with("@mac", mac.as_str()).with("@ip", ip.to_string());
        wishes.item(&format!("ip[{within}]/dhcp/host"), mac, part);
    }
    if !create {
        keep_initial(&mut wishes, object)?;
    }
    wishes.forget(&given_back(object, previous));
    Ok(wishes)
}

/// The paths of the last apply that libvirt has back where nothing is wished of them any more.
fn given_back(object: &Network, previous: &[String]) -> Vec<String> {
    // Without a wished name the bridge keeps the one it has: another would cut every guest off at the next start. What it is
    // on never changes, and a prefix that is declared says nothing.
    let is_given_back =
        |path: &&String| !["bridge@name", "forward@mode"].contains(&path.as_str()) && !path.starts_with("@xmlns:");
    // An address that the network has from its beginning holds what is kept in it, and is nobody's to take away with that.
    let initial = object.initially().and_then(|initial| initial.ips.clone()).unwrap_or_default();
    let initial: Vec<String> = initial.iter().filter_map(|ip| Some(format!("ip[{}]", address(ip).ok()?.0))).collect();
    let holds = |path: &str| initial.iter().any(|ip| path == ip || path.strip_prefix(ip.as_str()) == Some("/dhcp"));
    previous.iter().filter(is_given_back).filter(|path| !holds(path)).cloned().collect()
}

/// What only `initProvider` said when the network was made stays as it is, also in lists that are owned whole.
fn keep_initial(wishes: &mut Wishes, object: &Network) -> anyhow::Result<()> {
    let Some(initial) = object.initially() else { return Ok(()) };
    if let Some(initial) = &initial.dns {
        dns::keep(wishes, object.parameters().dns.as_ref(), initial)?;
    }
    if object.parameters().routes.is_some() {
        dns::keep_routes(wishes, initial.routes.as_deref().unwrap_or_default())?;
    }
    if object.parameters().port_groups.is_some() {
        links::keep(wishes, initial.port_groups.as_deref().unwrap_or_default());
    }
    let own = object.parameters().ips.as_deref().unwrap_or_default();
    for ip in initial.ips.iter().flatten() {
        let (key, _) = address(ip)?;
        let Some(own) = own.iter().find(|own| own.cidr == ip.cidr) else {
            // One in which addresses are kept is wished as far as that goes, and the rest of it is nobody's to take away.
            if object.parameters().ips.is_some() && !wishes.has_item("ip", &key) {
                wishes.keep("ip", &key);
            }
            continue;
        };
        let (said, own) = (ip.dhcp.clone().unwrap_or_default(), own.dhcp.clone().unwrap_or_default());
        let is_own = |start: &str| own.ranges.iter().flatten().any(|range| range.start == start);
        for DhcpRange { start, end, .. } in said.ranges.iter().flatten().filter(|range| !is_own(&range.start)) {
            wishes.keep(&format!("ip[{key}]/dhcp/range"), &format!("{},{}", plain("ips", start)?, plain("ips", end)?));
        }
        let is_own = |host: &DhcpHost| own.hosts.iter().flatten().any(|own| own.name == host.name);
        for host in said.hosts.iter().flatten().filter(|host| !is_own(host)) {
            wishes.keep(&format!("ip[{key}]/dhcp/host"), &dhcp::host_key(host));
        }
    }
    Ok(())
}

fn address(ip: &Ip) -> anyhow::Result<(String, Part)> {
    let own = Subnet::parse(&ip.cidr).with_context(|| format!("ips: {:?}", ip.cidr))?;
    let part = Part::new()
        .with("@address", own.address().to_string())
        .with("@family", own.family())
        .with("@prefix", own.prefix().to_string());
    Ok((format!("{},{}", own.address(), own.family()), part))
}

/// An address as libvirt writes it. It reads 010 as eight, so such digits are no address here.
fn plain(field: &str, address: &str) -> anyhow::Result<String> {
    let address: IpAddr = address
        .parse()
        .with_context(|| format!("{field}: {address:?} is not an address (a part such as 010 must be written 10)"))?;
    Ok(address.to_string())
}

fn yes_no(value: bool) -> String {
    let word = if value { "yes" } else { "no" };
    word.to_owned()
}
