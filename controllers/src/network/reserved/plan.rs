//! What a network has to give, and to whom: pure.

use std::net::IpAddr;

use apis::{
    Managed, Network,
    managed::annotation,
    network::{Ip, NetworkObservation, NetworkParameters},
};
use managed::plan::{Policies, only_observes};

use super::Asked;
use crate::{
    applied,
    network::{count_of_addresses, subnet::Subnet},
};

/// How many addresses Domains of one other namespace may have, where the Network does not say.
const PER_NAMESPACE: i32 = 8;

/// What a network has to give.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) name: String,
    namespace: String,
    /// It is only looked at, so that nothing is kept in it.
    pub(super) only_observed: bool,
    /// Why nothing of it is changed at the moment.
    pub(super) held_up: Option<&'static str>,
    /// Its own addresses, and whether it hands out others beside each.
    subnets: Vec<(Subnet, bool)>,
    /// What its own spec keeps: name, MAC address and address.
    pub(super) hosts: Vec<(String, String, IpAddr)>,
    /// What it keeps for MAC addresses already; an empty one where it knows the guest by something else.
    pub(super) kept: Vec<(String, IpAddr)>,
    /// What of that others wrote into it, who may still mean it.
    pub(super) others: Vec<(String, IpAddr)>,
    /// How many addresses Domains of one other namespace may have.
    per_namespace: usize,
}

impl Plan {
    pub(super) fn of(network: &Network) -> Self {
        // What was initial is in the network ever after.
        let whole = network.held();
        let seen = network.observation().cloned().unwrap_or_default();
        let NetworkObservation { ips: seen_ips, .. } = &seen;
        let (mut subnets, mut hosts) = (Vec::new(), Vec::new());
        for Ip { cidr, dhcp } in whole.parameters().ips.iter().flatten() {
            // What the spec leaves out may be as the host has it.
            let hands_out = dhcp.is_some() || seen_ips.iter().any(|seen| seen.cidr == *cidr && seen.dhcp.is_some());
            subnets.extend(Subnet::parse(cidr).ok().map(|subnet| (subnet, hands_out)));
            for host in dhcp.iter().flat_map(|dhcp| &dhcp.hosts).flatten() {
                let (ip, mac) = (host.ip.parse().ok(), host.mac.as_deref().unwrap_or_default().to_ascii_lowercase());
                hosts.extend(ip.map(|ip| (host.name.0.clone(), mac, ip)));
            }
        }
        if whole.parameters().ips.is_none() {
            subnets.extend(seen_ips.iter().filter_map(|ip| Some((Subnet::parse(&ip.cidr).ok()?, ip.dhcp.is_some()))));
        }
        let per_namespace = whole.parameters().addresses_per_namespace.unwrap_or(PER_NAMESPACE);
        Self {
            name: network.metadata.name.clone().unwrap_or_default(),
            namespace: network.metadata.namespace.clone().unwrap_or_default(),
            only_observed: only_observes(network),
            held_up: held_up(network),
            subnets,
            kept: kept(&seen, |_| true),
            others: others(network, &seen, &hosts),
            hosts,
            per_namespace: usize::try_from(per_namespace).unwrap_or_default(),
        }
    }

    /// The network's own address beside which one may be kept, if none else had it.
    pub(super) fn place(&self, ip: IpAddr) -> Result<&Subnet, String> {
        let Self { name, only_observed, subnets, .. } = self;
        if *only_observed {
            return Err(format!("Network {name} is only observed, so it keeps no address {ip}"));
        }
        let Some((subnet, hands_out)) = subnets.iter().find(|(subnet, _)| subnet.holds(ip)) else {
            let own: Vec<String> =
                subnets.iter().map(|(own, _)| format!("{}/{}", own.address(), own.prefix())).collect();
            let own = if own.is_empty() { "has no addresses".to_owned() } else { format!("has {}", own.join(", ")) };
            return Err(format!("the address {ip} is not within Network {name}, which {own}"));
        };
        let (first, last) = (subnet.first(), subnet.last());
        if ip == subnet.address() {
            return Err(format!("the address {ip} is that of Network {name} itself"));
        }
        if subnet.prefix() < 31 && (ip == first || ip == last) {
            return Err(format!("the address {ip} is the first or last of Network {name}, which no guest can have"));
        }
        if !hands_out {
            return Err(format!(
                "Network {name} hands out no addresses beside {}: it has no dhcp there",
                subnet.address()
            ));
        }
        Ok(subnet)
    }

    /// Fails where others wrote into the network what does not go together with this.
    pub(super) fn beside_others(&self, mac: &str, ip: IpAddr) -> Result<(), String> {
        let Self { name, others, .. } = self;
        for (its_mac, its_ip) in others {
            match (its_mac == mac, *its_ip == ip) {
                (false, true) => {
                    return Err(format!(
                        "the address {ip} is kept on the host for another MAC address, by an entry that others wrote into Network {name}: take it out there, or choose another address"
                    ));
                }
                (true, false) => {
                    return Err(format!(
                        "others wrote on the host that Network {name} gives its MAC address {mac} the address {its_ip}: take that entry out there, or choose that address"
                    ));
                }
                (true, true) | (false, false) => {}
            }
        }
        Ok(())
    }

    /// Whether others wrote just this into the network.
    pub(super) fn is_of_others(&self, mac: &str, ip: IpAddr) -> bool {
        self.others.iter().any(|(its_mac, its_ip)| its_mac == mac && *its_ip == ip)
    }

    /// Whether the network keeps an address for somebody because we wrote that into it.
    pub(super) fn has_given(&self, mac: &str, ip: IpAddr) -> bool {
        self.kept.iter().any(|(its_mac, its_ip)| its_mac == mac && *its_ip == ip) && !self.is_of_others(mac, ip)
    }

    /// Fails where Domains of its namespace have as many addresses as that one may have. One that is kept already stays.
    pub(super) fn has_room(&self, one: &Asked, before: usize) -> Result<(), String> {
        let Self { name, namespace, per_namespace, .. } = self;
        let is_kept = self.has_given(&one.mac, one.ip);
        if is_kept || one.namespace == *namespace || before < *per_namespace {
            return Ok(());
        }
        Err(format!(
            "Network {name} keeps no more than {} for Domains of namespace {}, by its addressesPerNamespace",
            count_of_addresses(*per_namespace),
            one.namespace
        ))
    }
}

/// What the host keeps beside these of its networks, for MAC addresses in lower case.
pub(super) fn kept(seen: &NetworkObservation, beside: impl Fn(&str) -> bool) -> Vec<(String, IpAddr)> {
    let dhcp = seen.ips.iter().filter(|ip| beside(&ip.cidr)).filter_map(|ip| ip.dhcp.as_ref());
    let hosts = dhcp.flat_map(|dhcp| &dhcp.hosts);
    let mac = |mac: &Option<String>| mac.as_deref().unwrap_or_default().to_ascii_lowercase();
    hosts.filter_map(|host| Some((mac(&host.mac), host.ip.parse().ok()?))).collect()
}

/// What neither the spec says nor an earlier pass wrote. Where the spec says a list it is owned whole, and the rest of it goes.
fn others(network: &Network, seen: &NetworkObservation, own: &[(String, String, IpAddr)]) -> Vec<(String, IpAddr)> {
    let NetworkParameters { ips, .. } = network.parameters();
    let says_list = |cidr: &str| {
        let said = ips.iter().flatten().find(|ip| ip.cidr == cidr).and_then(|ip| ip.dhcp.as_ref());
        said.is_some_and(|dhcp| dhcp.hosts.is_some())
    };
    let written = applied::paths(network);
    let is_ours = |(mac, ip): &(String, IpAddr)| {
        let item = format!("/dhcp/host[{mac}]");
        own.iter().any(|(_, of, its)| of == mac && (!mac.is_empty() || its == ip))
            || written.iter().any(|path| path.contains(&item))
    };
    let mut others = kept(seen, |cidr| !says_list(cidr));
    others.retain(|one| !is_ours(one));
    others
}

fn held_up(network: &Network) -> Option<&'static str> {
    let policies = &network.resource().management_policies;
    if network.annotation(annotation::PAUSED) == Some("true") {
        return Some("it is paused");
    }
    if policies.is_empty() {
        return Some("it is paused, by its empty managementPolicies");
    }
    let may_update = Policies::check(policies).is_ok_and(Policies::may_update);
    (!may_update).then_some("its managementPolicies have no Update")
}
