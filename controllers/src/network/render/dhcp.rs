//! What a network's DHCP server hands out and tells → wishes: pure.

use anyhow::{Context, ensure};
use apis::{
    network::{Bootp, Dhcp, DhcpHost, DhcpOption, DhcpRange},
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
pub(super) fn dhcp(wishes: &mut Wishes, key: &str, dhcp: Option<&Dhcp>) -> anyhow::Result<()> {
    let Some(Dhcp { ranges, hosts, bootp }) = dhcp else { return Ok(()) };
    if let Some(list) = ranges {
        let path = format!("ip[{key}]/dhcp/range");
        wishes.own_all(&path);
        for DhcpRange { start, end, lease_time } in list {
            let (start, end) = (plain("ips", start)?, plain("ips", end)?);
            let mut part = Part::new().with("@start", start.as_str()).with("@end", end.as_str());
            lease(&mut part, lease_time.as_ref())?;
            wishes.item(&path, &format!("{start},{end}"), part);
        }
    }
    if let Some(list) = hosts {
        let path = format!("ip[{key}]/dhcp/host");
        wishes.own_all(&path);
        for DhcpHost { name, mac, ip, lease_time } in list {
            let (mac, ip) = (mac.to_ascii_lowercase(), plain("ips", ip)?);
            let mut part =
                Part::new().with("@mac", mac.as_str()).with("@name", name.0.as_str()).with("@ip", ip.as_str());
            lease(&mut part, lease_time.as_ref())?;
            wishes.item(&path, &mac, part);
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
