//! Which hosts may be asked for images: the public ones, and those that are listed.
//!
//! Who can create a Volume chooses its URL. Without this, the provider would fetch from whatever its own network shows it:
//! metadata services, the cluster, the host itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;

/// The hosts that need not be public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    host: String,
    port: Option<u16>,
}

impl Allowed {
    pub(super) fn new(entries: &[String]) -> Self {
        Self(entries.iter().map(|entry| Entry::of(entry.trim())).collect())
    }

    /// Whether a host, without brackets, may be asked at these addresses: listed by name, or each address public or listed itself.
    pub(super) fn permits(&self, host: &str, addresses: &[SocketAddr]) -> bool {
        addresses.iter().all(|address| {
            let port = address.port();
            self.lists(&canonical(host), port)
                || forbidden(address.ip()).is_none()
                || self.lists(&address.ip().to_string(), port)
        })
    }

    /// Whether the host of a URL is listed as it stands there.
    pub(super) fn lists_host_of(&self, url: &Url) -> bool {
        self.lists(&canonical(url.host_str().unwrap_or_default()), url.port_or_known_default().unwrap_or_default())
    }

    fn lists(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|entry| entry.host == host && entry.port.is_none_or(|listed| listed == port))
    }
}

impl Entry {
    fn of(text: &str) -> Self {
        let (host, port) = match (text.parse::<IpAddr>(), text.rsplit_once(':')) {
            // An IPv6 address without brackets has colons, and no port.
            (Ok(_), _) | (Err(_), None) => (text, None),
            (Err(_), Some((host, port))) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (text, None),
            },
        };
        Self { host: canonical(host), port }
    }
}

/// The one spelling of a host: lower case, no final dot, no brackets, addresses as Rust writes them.
pub(super) fn canonical(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    host.parse::<IpAddr>().map_or_else(|_| host.to_ascii_lowercase(), |address| address.to_string())
}

/// Why an address is not one of the public internet; `None` when it is.
/// Source: IANA's special-purpose address registries for IPv4 and IPv6.
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [169, 254, ..] => Some("link-local"),
        [100, 64..=127, ..] => Some("shared by a provider's customers"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Some("reserved")
        }
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([first, second], [third, fourth]) = (high.to_be_bytes(), low.to_be_bytes());
        forbidden_v4(Ipv4Addr::new(first, second, third, fourth))
    };
    match segments {
        _ if address.is_unspecified() => Some("unspecified"),
        _ if address.is_loopback() => Some("loopback"),
        // Addresses that carry an IPv4 address are what that one is: mapped, translated (NAT64), 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        // Unique local, and the site-local that they replaced.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some("private"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // Protocol assignments (Teredo among them), documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("reserved"),
        // All that IANA has given out as global unicast.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Option<&'static str> {
        forbidden(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_public_internet_are_not_forbidden() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "223.255.255.255",
        ] {
            assert_eq!(of(address), None, "{address}");
        }
        for address in [
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(of(address), None, "{address}");
        }
    }

    #[test]
    fn every_other_address_is_forbidden_with_its_kind() {
        let cases = [
            ("unspecified", &["0.0.0.0", "0.1.2.3", "::"][..]),
            (
                "loopback",
                &["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"],
            ),
            (
                "private",
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "fc00::1",
                    "fd12::1",
                    "fec0::1",
                    "::ffff:10.0.0.1",
                ],
            ),
            ("link-local", &["169.254.169.254", "fe80::1", "febf::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"]),
            ("shared by a provider's customers", &["100.64.0.1", "100.127.255.255"]),
            ("multicast", &["224.0.0.1", "239.255.255.255", "ff02::1"]),
            (
                "reserved",
                &[
                    "240.0.0.1",
                    "255.255.255.255",
                    "192.0.0.8",
                    "192.0.2.1",
                    "198.18.0.1",
                    "198.51.100.1",
                    "203.0.113.1",
                ],
            ),
            (
                "reserved",
                &["::127.0.0.1", "2001::1", "2001:db8::1", "3fff::1", "64:ff9b:1::1", "100::1", "5f00::1", "4000::1"],
            ),
        ];
        for (kind, addresses) in cases {
            for address in addresses {
                assert_eq!(of(address), Some(kind), "{address}");
            }
        }
    }

    fn permits(entry: &str, host: &str, address: &str) -> bool {
        Allowed::new(&[entry.to_owned()]).permits(host, &[address.parse().unwrap()])
    }

    #[test]
    fn a_listed_host_is_permitted_in_every_spelling() {
        assert!(permits("mirror.internal", "Mirror.Internal.", "10.0.0.1:80"));
        assert!(permits(" mirror.internal:8080 ", "mirror.internal", "10.0.0.1:8080"));
        assert!(permits("10.0.0.1", "10.0.0.1", "10.0.0.1:80"));
        assert!(permits("10.0.0.1:80", "mirror.internal", "10.0.0.1:80"));
        assert!(permits("fd00:0::1", "fd00::1", "[fd00::1]:80"));
        assert!(permits("[fd00::1]", "fd00::1", "[fd00::1]:80"));
        assert!(permits("[fd00::1]:80", "fd00::1", "[fd00::1]:80"));
    }

    #[test]
    fn what_is_not_listed_is_not_permitted() {
        assert!(!permits("mirror.internal:8080", "mirror.internal", "10.0.0.1:80"));
        assert!(!permits("internal", "mirror.internal", "10.0.0.1:80"));
        assert!(!permits("10.0.0.1:80", "10.0.0.1", "10.0.0.1:81"));
        assert!(!permits("[fd00::1]:80", "fd00::1", "[fd00::1]:81"));
        assert!(!permits("", "mirror.internal", "10.0.0.1:80"));
        assert!(!permits("*", "mirror.internal", "10.0.0.1:80"));
    }

    #[test]
    fn one_private_address_among_public_ones_is_enough_to_refuse() {
        let addresses = ["1.1.1.1:80", "127.0.0.1:80"].map(|address| address.parse().unwrap());
        assert!(!Allowed::default().permits("rebinding.example", &addresses));
        assert!(Allowed::default().permits("public.example", &addresses[..1]));
    }
}
