//! Parameters of a Network → wishes about its description: pure.

use std::net::IpAddr;

use anyhow::{Context, bail};
use apis::{
    Managed, Network,
    network::{Dhcp, DhcpHost, DhcpRange, Ip, NetworkMode},
};
use libvirt::wish::{Part, Wishes};

/// Everything wished of a network. `previous` are the paths of the last apply; `create` says that it does not exist yet.
pub fn render(object: &Network, create: bool, previous: &[String]) -> anyhow::Result<Wishes> {
    let parameters = object.parameters();
    let mut wishes = Wishes::new("network");
    if create {
        wishes.set("name", object.external_name());
        wishes.set("uuid", object.uid());
        match parameters.mode.unwrap_or_default() {
            NetworkMode::Nat => wishes.set("forward@mode", "nat"),
            NetworkMode::Route => wishes.set("forward@mode", "route"),
            NetworkMode::Bridge => wishes.set("forward@mode", "bridge"),
            NetworkMode::Isolated => {}
        }
    }
    if let Some(bridge) = &parameters.bridge {
        wishes.set("bridge@name", bridge.as_str());
    }
    if let Some(domain) = &parameters.domain {
        wishes.set("domain@name", domain.as_str());
    }
    if let Some(ips) = &parameters.ips {
        wishes.own_all("ip");
        for ip in ips {
            let (key, part) = address(ip)?;
            wishes.item("ip", &key, part);
            dhcp(&mut wishes, &key, ip.dhcp.as_ref())?;
        }
    }
    if !create {
        keep_initial(&mut wishes, object)?;
    }
    // Without a wished name the bridge keeps the one it has: another would cut every guest off at the next start.
    let given_back: Vec<String> = previous.iter().filter(|path| *path != "bridge@name").cloned().collect();
    wishes.forget(&given_back);
    Ok(wishes)
}

/// What only `initProvider` said when the network was made stays as it is, also in lists that are owned whole.
fn keep_initial(wishes: &mut Wishes, object: &Network) -> anyhow::Result<()> {
    let Some(initial) = object.initially() else { return Ok(()) };
    let own = object.parameters().ips.as_deref().unwrap_or_default();
    for ip in initial.ips.iter().flatten() {
        let (key, _) = address(ip)?;
        let Some(own) = own.iter().find(|own| own.cidr == ip.cidr) else {
            wishes.keep("ip", &key);
            continue;
        };
        let (said, own) = (ip.dhcp.clone().unwrap_or_default(), own.dhcp.clone().unwrap_or_default());
        let is_own = |start: &str| own.ranges.iter().flatten().any(|range| range.start == start);
        for DhcpRange { start, end } in said.ranges.iter().flatten().filter(|range| !is_own(&range.start)) {
            wishes.keep(&format!("ip[{key}]/dhcp/range"), &format!("{},{}", plain(start)?, plain(end)?));
        }
        let is_own = |host: &DhcpHost| own.hosts.iter().flatten().any(|own| own.name == host.name);
        for host in said.hosts.iter().flatten().filter(|host| !is_own(host)) {
            wishes.keep(&format!("ip[{key}]/dhcp/host"), &host.mac.to_ascii_lowercase());
        }
    }
    Ok(())
}

fn address(ip: &Ip) -> anyhow::Result<(String, Part)> {
    let (address, prefix) = ip
        .cidr
        .split_once('/')
        .with_context(|| format!("ips: {:?} is not an address with a prefix, such as 192.168.150.1/24", ip.cidr))?;
    let address: IpAddr =
        address.parse().with_context(|| format!("ips: {:?} does not begin with an address", ip.cidr))?;
    let prefix: u8 = prefix.parse().with_context(|| format!("ips: {:?} does not end with a prefix", ip.cidr))?;
    let (family, longest) = match address {
        IpAddr::V4(_) => ("ipv4", 32),
        IpAddr::V6(_) => ("ipv6", 128),
    };
    if prefix == 0 || prefix > longest {
        bail!("ips: the prefix of {:?} is not between 1 and {longest}", ip.cidr);
    }
    let part =
        Part::new().with("@address", address.to_string()).with("@family", family).with("@prefix", prefix.to_string());
    Ok((format!("{address},{family}"), part))
}

/// An address as libvirt writes it. It reads 010 as eight, so such digits are no address here.
fn plain(address: &str) -> anyhow::Result<String> {
    let address: IpAddr = address
        .parse()
        .with_context(|| format!("ips: {address:?} is not an address (a part such as 010 must be written 10)"))?;
    Ok(address.to_string())
}

fn dhcp(wishes: &mut Wishes, key: &str, dhcp: Option<&Dhcp>) -> anyhow::Result<()> {
    let (ranges, hosts) = (format!("ip[{key}]/dhcp/range"), format!("ip[{key}]/dhcp/host"));
    let Some(dhcp) = dhcp else { return Ok(()) };
    if let Some(list) = &dhcp.ranges {
        wishes.own_all(&ranges);
        for DhcpRange { start, end } in list {
            let (start, end) = (plain(start)?, plain(end)?);
            wishes.item(
                &ranges,
                &format!("{start},{end}"),
                Part::new().with("@start", start.as_str()).with("@end", end.as_str()),
            );
        }
    }
    if let Some(list) = &dhcp.hosts {
        wishes.own_all(&hosts);
        for DhcpHost { name, mac, ip } in list {
            let (mac, ip) = (mac.to_ascii_lowercase(), plain(ip)?);
            wishes.item(
                &hosts,
                &mac,
                Part::new().with("@mac", mac.as_str()).with("@name", name.0.as_str()).with("@ip", ip.as_str()),
            );
        }
    }
    Ok(())
}
