//! Addresses that a network keeps for the interfaces of Domains.
//!
//! ```text
//! Domains that refer to the Network ──▶ what each asks for ──▶ judged, who has it already first
//!                                            │ may be kept: the Network's pass writes it, the Domain waits until it stands there
//!                                            └ may not: the Domain says why
//! ```

use std::net::IpAddr;

use apis::{
    Domain, Managed, Network,
    domain::NetworkInterface,
    network::{Ip, NetworkObservation},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use managed::plan::only_observes;

use super::subnet::Subnet;
use crate::{
    cluster::{Cluster, declared, may_use},
    index::ReferrerKind,
    mark,
    references::{Refers, interface_path},
};

/// What is told of a Domain that is not of the namespace of whoever is told.
pub(crate) const FOREIGN: &str = "a Domain of another namespace";

/// An address that a network keeps for an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The network's own address beside which it lies, by its key in the description: `192.168.150.1,ipv4`.
    pub within: String,
    /// The MAC address of the interface, in lower case.
    pub mac: String,
    /// The address that is kept.
    pub ip: IpAddr,
}

/// Where the address of an interface stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The network keeps it, or none is asked for.
    Kept,
    /// The Network's next pass does what is to be done.
    Coming,
    /// The network does not keep it, and why.
    Refused(String),
}

/// What an interface of a Domain asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    namespace: String,
    domain: String,
    uid: String,
    since: Option<Time>,
    interface: String,
    mac: String,
    ip: IpAddr,
}

/// What a network has to give.
#[derive(Debug, Default)]
struct Plan {
    name: String,
    /// It is only looked at, so that nothing is kept in it.
    only_observed: bool,
    /// Its own addresses, and whether it hands out others beside each.
    subnets: Vec<(Subnet, bool)>,
    /// What its own spec keeps: name, MAC address and address.
    hosts: Vec<(String, String, IpAddr)>,
    /// What it keeps for MAC addresses already.
    kept: Vec<(String, IpAddr)>,
}

/// Owned paths without what is within a reservation: it is given back as a whole, and an annotation has no room for all of that.
pub(super) fn without_parts(mut paths: Vec<String>, reserved: &[Reservation]) -> Vec<String> {
    let whole: Vec<String> = reserved.iter().map(|one| format!("ip[{}]/dhcp/host[{}]@", one.within, one.mac)).collect();
    paths.retain(|path| !path.contains("/dhcp/host[") || !whole.iter().any(|whole| path.starts_with(whole)));
    paths
}

/// What a Network keeps for the interfaces of the Domains that refer to it.
pub(super) fn reservations(cluster: &Cluster, network: &Network) -> Vec<Reservation> {
    if only_observes(network) {
        return Vec::new();
    }
    let plan = Plan::of(network);
    judge(&plan, asked(cluster, network, None)).into_iter().filter_map(|(_, judged)| judged.ok().flatten()).collect()
}

/// Where the address of an interface stands that is on this Network.
pub(crate) fn standing(cluster: &Cluster, domain: &Domain, nic: &NetworkInterface, network: &Network) -> Standing {
    let (plan, mac) = (Plan::of(network), mac(domain, nic));
    let Some(mine) = ask(domain, nic) else {
        // Such as the network's own spec names are not ours.
        let is_own = plan.hosts.iter().any(|(_, of, _)| *of == mac);
        let is_left =
            nic.address.is_none() && !plan.only_observed && !is_own && plan.kept.iter().any(|(of, _)| *of == mac);
        return if is_left { Standing::Coming } else { Standing::Kept };
    };
    // Who has it keeps it, so that a look at all others is for the few moments before.
    if plan.kept.contains(&(mac, mine.ip)) {
        return Standing::Kept;
    }
    let mut all = asked(cluster, network, Some(&mine.uid));
    let (whole, referent) = (domain.held(), network.as_referent());
    let links = cluster.links_of(domain, &whole);
    let others = whole.parameters().network_interfaces.iter().flatten().filter(|other| other.name != nic.name);
    let leads = |other: &&NetworkInterface| {
        referent.as_ref().is_some_and(|to| links.leads_to(&interface_path(&other.name.0), to))
    };
    all.extend(others.filter(leads).filter_map(|other| ask(domain, other)));
    all.push(mine.clone());
    let judged = judge(&plan, all).into_iter().find(|(asked, _)| *asked == mine);
    match judged.map(|(_, judged)| judged) {
        Some(Err(why)) => Standing::Refused(format!("networkInterfaces {}: {why}", nic.name)),
        Some(Ok(Some(_))) => Standing::Coming,
        Some(Ok(None)) | None => Standing::Kept,
    }
}

/// What the interfaces of all Domains ask of a Network, but those of one.
fn asked(cluster: &Cluster, network: &Network, but: Option<&str>) -> Vec<Asked> {
    let Some(referent) = network.as_referent() else { return Vec::new() };
    let users = cluster.users_of(network, ReferrerKind::Domain).into_iter();
    let domains = users.filter_map(|user| cluster.domains.get(&user.namespace, &user.name));
    let mut all = Vec::new();
    for domain in domains.filter(|domain| but != Some(domain.uid()) && !only_observes(&**domain)) {
        // What its pass refuses has no say here either.
        let is_apart = match (declared(&*domain), declared(network)) {
            (theirs, Some(ours)) => !may_use(&*domain, &ours) || theirs.is_some_and(|theirs| theirs != ours),
            (_, None) => domain.metadata.namespace != network.metadata.namespace,
        };
        // What was initial is on the guest ever after.
        let whole = domain.held();
        let nics = whole.parameters().network_interfaces.iter().flatten().filter(|nic| nic.address.is_some());
        let mut nics = nics.peekable();
        if is_apart || nics.peek().is_none() {
            continue;
        }
        let links = cluster.links_of(&*domain, &whole);
        let is_here = |nic: &&NetworkInterface| links.leads_to(&interface_path(&nic.name.0), &referent);
        all.extend(nics.filter(is_here).filter_map(|nic| ask(&domain, nic)));
    }
    all
}

fn ask(domain: &Domain, nic: &NetworkInterface) -> Option<Asked> {
    let meta = &domain.metadata;
    Some(Asked {
        namespace: meta.namespace.clone().unwrap_or_default(),
        domain: meta.name.clone().unwrap_or_default(),
        uid: domain.uid().to_owned(),
        since: meta.creation_timestamp.clone(),
        interface: nic.name.0.clone(),
        mac: mac(domain, nic),
        ip: nic.address.as_ref()?.parse().ok()?,
    })
}

/// The MAC address that an interface has or will have, in lower case.
fn mac(domain: &Domain, nic: &NetworkInterface) -> String {
    let seen = domain.observation().into_iter().flat_map(|seen| &seen.network_interfaces);
    let seen = seen.filter(|seen| seen.name.as_ref() == Some(&nic.name.0)).map(|seen| seen.mac.as_str()).next();
    // A running guest has the one that it was started with, whatever waits for its next boot.
    let mac = seen.or(nic.mac.as_deref()).map(str::to_ascii_lowercase);
    mac.unwrap_or_else(|| mark::mac(domain.uid(), &nic.name.0))
}

impl Plan {
    fn of(network: &Network) -> Self {
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
                let ip = host.ip.parse().ok();
                hosts.extend(ip.map(|ip| (host.name.0.clone(), host.mac.to_ascii_lowercase(), ip)));
            }
        }
        if whole.parameters().ips.is_none() {
            subnets.extend(seen_ips.iter().filter_map(|ip| Some((Subnet::parse(&ip.cidr).ok()?, ip.dhcp.is_some()))));
        }
        let kept = seen_ips.iter().filter_map(|ip| ip.dhcp.as_ref()).flat_map(|dhcp| &dhcp.hosts);
        let kept = kept.filter_map(|host| Some((host.mac.to_ascii_lowercase(), host.ip.parse().ok()?)));
        Self {
            name: network.metadata.name.clone().unwrap_or_default(),
            only_observed: only_observes(network),
            subnets,
            hosts,
            kept: kept.collect(),
        }
    }

    /// The network's own address beside which one may be kept, if none else had it.
    fn place(&self, ip: IpAddr) -> Result<&Subnet, String> {
        let Self { name, only_observed, subnets, hosts: _, kept: _ } = self;
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
}

/// Judges what is asked for, one after the other: who has an address already comes first, then who is older. `None` where the network's own
/// spec keeps the address for it.
fn judge(plan: &Plan, mut all: Vec<Asked>) -> Vec<(Asked, Result<Option<Reservation>, String>)> {
    all.sort_by_cached_key(|one| {
        let is_kept = plan.kept.contains(&(one.mac.clone(), one.ip));
        (!is_kept, one.since.clone(), one.uid.clone(), one.interface.clone())
    });
    let mut judged: Vec<(Asked, Result<Option<Reservation>, String>)> = Vec::new();
    for one in all {
        let before = judged.iter().filter(|(_, judged)| judged.is_ok()).map(|(before, _)| before);
        let verdict = verdict(plan, &one, before);
        judged.push((one, verdict));
    }
    judged
}

fn verdict<'a>(
    plan: &Plan,
    one: &Asked,
    mut before: impl Iterator<Item = &'a Asked>,
) -> Result<Option<Reservation>, String> {
    let Asked { mac, ip, .. } = one;
    let subnet = plan.place(*ip)?;
    for (host, its_mac, its_ip) in &plan.hosts {
        let network = &plan.name;
        match (its_mac == mac, its_ip == ip) {
            (true, true) => return Ok(None),
            (false, true) => return Err(format!("the address {ip} is that of the host {host} of Network {network}")),
            (true, false) => {
                return Err(format!(
                    "Network {network} gives its MAC address {mac} the address {its_ip}, as the host {host}"
                ));
            }
            (false, false) => {}
        }
    }
    if let Some(other) = before.find(|other| other.ip == *ip || other.mac == *mac) {
        let what = if other.ip == *ip { format!("address {ip}") } else { format!("MAC address {mac}") };
        let whose = if other.namespace == one.namespace {
            format!("interface {} of Domain {}/{}", other.interface, other.namespace, other.domain)
        } else {
            FOREIGN.to_owned()
        };
        return Err(format!("the {what} is that of {whose} on Network {}", plan.name));
    }
    let within = format!("{},{}", subnet.address(), subnet.family());
    Ok(Some(Reservation { within, mac: mac.clone(), ip: *ip }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(parameters: &Value, kept: &Value) -> Plan {
        Plan::of(
            &serde_json::from_value(json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Network", "metadata": {"namespace": "n", "name": "lan"},
                "spec": {"forProvider": parameters}, "status": {"atProvider": {"ips": [{"cidr": "10.0.0.1/24", "dhcp": {"hosts": kept}}]}},
            }))
            .unwrap(),
        )
    }

    /// An interface `i` of a Domain whose name tells its age and its MAC address.
    fn asks(namespace: &str, domain: &str, ip: &str) -> Asked {
        let age = i64::from(domain.bytes().next().unwrap());
        Asked {
            namespace: namespace.to_owned(),
            domain: domain.to_owned(),
            uid: domain.to_owned(),
            since: Some(Time(jiff::Timestamp::from_second(age).unwrap())),
            interface: "i".to_owned(),
            mac: format!("52:54:00:00:00:{age:02x}"),
            ip: ip.parse().unwrap(),
        }
    }

    fn said(plan: &Plan, all: &[Asked]) -> Vec<String> {
        let mut judged = judge(plan, all.to_vec());
        judged.sort_by_key(|(one, _)| one.domain.clone());
        let said = judged.into_iter().map(|(_, judged)| match judged {
            Ok(Some(Reservation { within, mac, ip })) => format!("{within}: {ip} for {mac}"),
            Ok(None) => "there already".to_owned(),
            Err(why) => why,
        });
        said.collect()
    }

    fn lan() -> Value {
        let host = json!({"name": "web", "mac": "52:54:00:00:00:7A", "ip": "10.0.0.5"});
        json!({"ips": [{"cidr": "10.0.0.1/24", "dhcp": {"hosts": [host]}}, {"cidr": "10.0.1.1/24"}]})
    }

    #[test]
    fn an_address_that_cannot_be_kept_is_refused_with_its_reason() {
        let plan = plan(&lan(), &json!([]));
        let table = [
            ("a", "10.0.0.9", "10.0.0.1,ipv4: 10.0.0.9 for 52:54:00:00:00:61"),
            ("a", "10.9.0.9", "the address 10.9.0.9 is not within Network lan, which has 10.0.0.1/24, 10.0.1.1/24"),
            ("a", "10.0.0.1", "the address 10.0.0.1 is that of Network lan itself"),
            ("a", "10.0.0.255", "the address 10.0.0.255 is the first or last of Network lan, which no guest can have"),
            ("a", "10.0.1.9", "Network lan hands out no addresses beside 10.0.1.1: it has no dhcp there"),
            ("a", "10.0.0.5", "the address 10.0.0.5 is that of the host web of Network lan"),
            ("z", "10.0.0.5", "there already"),
            (
                "z",
                "10.0.0.6",
                "Network lan gives its MAC address 52:54:00:00:00:7a the address 10.0.0.5, as the host web",
            ),
        ];
        for (domain, ip, wanted) in table {
            assert_eq!(said(&plan, &[asks("n", domain, ip)]), [wanted], "{domain} {ip}");
        }
    }

    #[test]
    fn of_two_who_ask_for_one_address_the_one_has_it_that_had_it_before_or_is_older() {
        let (fresh, settled) = (
            plan(&lan(), &json!([])),
            plan(&lan(), &json!([{"name": "x", "mac": "52:54:00:00:00:62", "ip": "10.0.0.9"}])),
        );
        let (a, b, foreign) = (asks("n", "a", "10.0.0.9"), asks("n", "b", "10.0.0.9"), asks("m", "c", "10.0.0.9"));
        let kept = |age: &str| format!("10.0.0.1,ipv4: 10.0.0.9 for 52:54:00:00:00:{age}");
        let of =
            |domain: &str| format!("the address 10.0.0.9 is that of interface i of Domain n/{domain} on Network lan");
        let hidden = "the address 10.0.0.9 is that of a Domain of another namespace on Network lan".to_owned();
        assert_eq!(said(&fresh, &[b.clone(), a.clone(), foreign]), [kept("61"), of("a"), hidden]);
        assert_eq!(said(&settled, &[a, b]), [of("b"), kept("62")]);
    }
}
