//! An address with the length of its network's prefix: pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, ensure};

/// An address in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// Reads `192.168.150.1/24`.
    pub fn parse(cidr: &str) -> anyhow::Result<Self> {
        let (address, prefix) =
            cidr.split_once('/').context("it is not an address with a prefix, such as 192.168.150.1/24")?;
        let address: IpAddr = address.parse().context("it does not begin with an address")?;
        let prefix: u8 = prefix.parse().context("it does not end with a prefix")?;
        Self::new(address, prefix)
    }

    /// An address whose network's prefix has this length.
    pub fn new(address: IpAddr, prefix: u8) -> anyhow::Result<Self> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        ensure!(prefix != 0 && prefix <= longest, "its prefix is not between 1 and {longest}");
        Ok(Self { address, prefix })
    }

    /// The address itself.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of the prefix.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// libvirt's word for the kind of address.
    pub fn family(&self) -> &'static str {
        if self.address.is_ipv4() { "ipv4" } else { "ipv6" }
    }

    /// The same for addresses of 32 bits.
    fn hosts_v4(&self) -> u32 {
        u32::try_from(self.hosts()).unwrap_or(u32::MAX)
    }

    /// The first address of the network.
    pub fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) & !self.hosts_v4()).into(),
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !self.hosts()).into(),
        }
    }

    /// The last address of the network.
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => Ipv4Addr::from(u32::from(address) | self.hosts_v4()).into(),
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) | self.hosts()).into(),
        }
    }

    /// Whether the address lies in the network.
    pub fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && self.first() <= address && address <= self.last()
    }

    /// Whether the two networks have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.holds(other.first()) || other.holds(self.first())
    }

    /// The bits that tell the addresses of the network apart.
    fn hosts(&self) -> u128 {
        let bits = if self.address.is_ipv4() { 32 } else { 128 } - u32::from(self.prefix);
        u128::MAX.checked_shr(128 - bits).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_begin_and_end_where_they_do_and_overlap_when_they_share_an_address() {
        let subnet = |text: &str| Subnet::parse(text).unwrap();
        let ends = |text: &str| (subnet(text).first().to_string(), subnet(text).last().to_string());
        assert_eq!(ends("192.168.150.1/24"), ("192.168.150.0".to_owned(), "192.168.150.255".to_owned()));
        assert_eq!(ends("10.1.2.3/32"), ("10.1.2.3".to_owned(), "10.1.2.3".to_owned()));
        assert_eq!(ends("128.0.0.1/1"), ("128.0.0.0".to_owned(), "255.255.255.255".to_owned()));
        assert_eq!(ends("fd00:1::1/64"), ("fd00:1::".to_owned(), "fd00:1::ffff:ffff:ffff:ffff".to_owned()));
        let overlaps = |one: &str, other: &str| {
            assert_eq!(subnet(one).overlaps(&subnet(other)), subnet(other).overlaps(&subnet(one)));
            subnet(one).overlaps(&subnet(other))
        };
        assert!(overlaps("10.0.0.1/8", "10.9.0.1/24"));
        assert!(!overlaps("10.8.0.1/24", "10.9.0.1/24"));
        assert!(!overlaps("fd00::1/64", "10.9.0.1/24"));
        let refused = |text: &str| format!("{:#}", Subnet::parse(text).unwrap_err());
        assert_eq!(refused("10.0.0.1"), "it is not an address with a prefix, such as 192.168.150.1/24");
        assert_eq!(refused("10.0.0.1/33"), "its prefix is not between 1 and 32");
    }
}
