//! What a network's DHCP server hands out and tells → wishes: pure.

use anyhow::{Context, ensure};
use apis::{
    network::{Bootp, Dhcp, DhcpHost, DhcpOption, DhcpRange, Ip},
    quantity::Span,
};
use libvirt::{
    wish::{Part, Wishes},
    xml::Element,
};

use super::plain;

/// Where libvirt takes what the DNS and DHCP server is to be told in its own words.
const SERVER: &str = "http://libvirt.org/schemas/network/dnsmasq/1.0";

/// Ranges, known guests, and what is booted, beside one of the network's own addresses.
pub(super) fn dhcp(wishes: &mut Wishes, key: &str, Ip { cidr, dhcp }: &Ip) -> anyhow::Result<()> {
    let Some(Dhcp { ranges, hosts, bootp }) = dhcp else { return Ok(()) };
    if let Some(list) = ranges {
        let path = format!("ip[{key}]/dhcp/range");
        wishes.own_all(&path);
        for DhcpRange { start, end, lease_time } in list {
            let (start, end) = (plain("ips", start)?, plain("ips", end)?);
            let mut part = Part::new().with("@start", start.as_str()).with("@end", end.as_str());
            lease(&mut part, lease_time.as_ref()).with_context(|| format!("ips[{cidr}].dhcp.ranges[{start}]"))?;
            wishes.item(&path, &format!("{start},{end}"), part);
        }
    }
    if let Some(list) = hosts {
        let path = format!("ip[{key}]/dhcp/host");
        wishes.own_all(&path);
        for host in list {
            wishes.item(&path, &host_key(host), known(cidr, host)?);
        }
    }
    if let Some(Bootp { file, server }) = bootp {
        wishes.set(&format!("ip[{key}]/dhcp/bootp@file"), file.as_str());
        if let Some(server) = server {
            wishes.set(&format!("ip[{key}]/dhcp/bootp@server"), plain("bootp", server)?);
        }
    }
    Ok(())
}

/// What the description knows a guest by: the MAC address of IPv4, the DUID of IPv6, or the name that it says.
pub(super) fn host_key(DhcpHost { name, mac, duid, ip: _, lease_time: _ }: &DhcpHost) -> String {
    mac.as_ref().or(duid.as_ref()).map_or_else(|| name.0.clone(), |id| id.to_ascii_lowercase())
}

fn known(cidr: &str, DhcpHost { name, mac, duid, ip, lease_time }: &DhcpHost) -> anyhow::Result<Part> {
    let mut part = Part::new().with("@name", name.0.as_str()).with("@ip", plain("ips", ip)?);
    for (at, value) in [("@mac", mac), ("@id", duid)] {
        if let Some(value) = value {
            part.set(at, value.to_ascii_lowercase());
        }
    }
    lease(&mut part, lease_time.as_ref()).with_context(|| format!("ips[{cidr}].dhcp.hosts[{name}]"))?;
    Ok(part)
}

/// How long an address is lent, in the largest unit that says it whole, as people write it.
fn lease(part: &mut Part, time: Option<&Span>) -> anyhow::Result<()> {
    let Some(time) = time else { return Ok(()) };
    let span = time.duration().map_err(anyhow::Error::msg).context("leaseTime")?;
    let seconds = span.as_secs();
    ensure!(seconds >= 120 && span.subsec_nanos() == 0, "leaseTime: {} is not 2m or more, in whole seconds", time.0);
    let (number, unit) = match seconds {
        _ if seconds % 3600 == 0 => (seconds / 3600, "hours"),
        _ if seconds % 60 == 0 => (seconds / 60, "minutes"),
        _ => (seconds, "seconds"),
    };
    part.set("lease@expiry", number.to_string());
    part.set("lease@unit", unit);
    Ok(())
}

/// What guests are told beside their addresses.
pub(super) fn options(wishes: &mut Wishes, options: Option<&[DhcpOption]>) {
    let Some(options) = options else { return };
    let element = |DhcpOption { code, value }: &DhcpOption| {
        Element::new("dnsmasq:option").attr("value", format!("dhcp-option={code},{value}"))
    };
    wishes.set("@xmlns:dnsmasq", SERVER);
    wishes.replace_all("dnsmasq:options/dnsmasq:option", options.iter().map(element).collect());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_that_is_too_short_is_named() {
        let range = json!({"ranges": [{"start": "10.0.0.10", "end": "10.0.0.20", "leaseTime": "30s"}]});
        let host =
            json!({"hosts": [{"name": "z", "mac": "52:54:00:00:00:01", "ip": "10.0.0.9", "leaseTime": "2500ms"}]});
        let table = [
            (range, "ips[10.0.0.1/24].dhcp.ranges[10.0.0.10]: leaseTime: 30s is not 2m or more, in whole seconds"),
            (host, "ips[10.0.0.1/24].dhcp.hosts[z]: leaseTime: 2500ms is not 2m or more, in whole seconds"),
        ];
        for (said, expected) in table {
            let ip: Ip = serde_json::from_value(json!({"cidr": "10.0.0.1/24", "dhcp": said})).unwrap();
            let error = dhcp(&mut Wishes::new("network"), "10.0.0.1,ipv4", &ip).unwrap_err();
            assert_eq!(format!("{error:#}"), expected);
        }
    }
}
