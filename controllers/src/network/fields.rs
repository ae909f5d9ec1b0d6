//! A path of a network's description → the field of the spec that it is of, for the messages that users read: pure.

/// What one path or everything below it is of; what is named first counts.
const FIELDS: &[(&str, &str)] = &[
    ("bridge@name", "bridge"),
    ("domain@name", "domain"),
    ("domain@localOnly", "domainLocalOnly"),
    ("mtu", "mtu"),
    ("port", "isolatedPorts"),
    ("dns@enable", "dns.enabled"),
    ("dns@forwardPlainNames", "dns.forwardPlainNames"),
    ("dns/forwarder", "dns.forwarders"),
    ("dns/host", "dns.hosts"),
    ("dns/srv", "dns.srvs"),
    ("dns/txt", "dns.txts"),
    ("dnsmasq:options", "dhcpOptions"),
    ("route", "routes"),
    ("forward@mode", "direct.mode"),
    ("forward@dev", "direct.devices"),
    ("forward/interface", "direct.devices"),
    ("forward@managed", "hostDevices"),
    ("forward/pf", "hostDevices.physicalFunction"),
    ("forward/address", "hostDevices.addresses"),
    ("virtualport", "openVSwitch"),
    ("vlan", "vlan"),
    ("bandwidth", "bandwidth"),
    ("portgroup", "portGroups"),
    ("ip", "ips"),
];

/// The field of the spec that a path of the description is of; what is none stays as libvirt says it.
pub(super) fn field(path: &str) -> String {
    let found = FIELDS.iter().find_map(|(begin, field)| {
        let rest = path.strip_prefix(begin)?;
        (rest.is_empty() || rest.starts_with(['@', '/', '['])).then_some((*field, rest))
    });
    let Some((field, rest)) = found else { return path.to_owned() };
    let one = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    match (field, one) {
        // libvirt tells addresses apart by their family, too.
        ("ips" | "routes", Some((key, rest))) => {
            format!("{field}[{}]{}", key.split(',').next().unwrap_or(key), below(rest))
        }
        ("dns.hosts" | "dns.srvs" | "dns.txts" | "portGroups", Some((key, _))) => format!("{field}[{key}]"),
        _ => field.to_owned(),
    }
}

/// The field below one address.
fn below(rest: &str) -> &'static str {
    const PARTS: &[(&str, &str)] =
        &[("/dhcp/range", ".dhcp.ranges"), ("/dhcp/host", ".dhcp.hosts"), ("/dhcp/bootp", ".dhcp.bootp")];
    PARTS.iter().find(|(begin, _)| rest.starts_with(begin)).map_or("", |(_, field)| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_by_the_words_of_the_spec() {
        let table = [
            ("mtu@size", "mtu"),
            ("dns@forwardPlainNames", "dns.forwardPlainNames"),
            ("dnsmasq:options/dnsmasq:option", "dhcpOptions"),
            ("domain@localOnly", "domainLocalOnly"),
            ("bandwidth/inbound@average", "bandwidth"),
            ("forward/interface", "direct.devices"),
            ("virtualport@type", "openVSwitch"),
            ("route[10.1.0.0,16,ipv4]@gateway", "routes[10.1.0.0]"),
            ("ip[10.0.0.1,ipv4]@prefix", "ips[10.0.0.1]"),
            ("ip[10.0.0.1,ipv4]", "ips[10.0.0.1]"),
            ("ip[10.0.0.1,ipv4]/dhcp/bootp@file", "ips[10.0.0.1].dhcp.bootp"),
            ("ipfoo", "ipfoo"),
            ("title", "title"),
        ];
        for (path, expected) in table {
            assert_eq!(field(path), expected);
        }
    }
}
