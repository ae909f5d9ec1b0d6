//! Addresses that a network keeps for the interfaces of Domains.
//!
//! ```text
//! Domains that refer to the Network ──▶ what each asks for ──▶ judged, who has it already first
//!                                            │ may be kept: the Network's pass writes it, the Domain waits until it stands there
//!                                            └ may not: the Domain says why
//! ```

mod plan;
mod written;

use std::net::IpAddr;

use apis::{Domain, Managed, Network, domain::NetworkInterface, network::NetworkObservation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use managed::plan::only_observes;

use plan::Plan;
pub(super) use written::Written;

use crate::{
    applied,
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
    /// The Network's next pass does what is to be done, unless something keeps it from that.
    Coming(Option<&'static str>),
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

/// Owned paths without what is within a reservation: it is given back as a whole, and an annotation has no room for all of that.
pub(super) fn without_parts(mut paths: Vec<String>, reserved: &[Reservation]) -> Vec<String> {
    let whole: Vec<String> = reserved.iter().map(|one| format!("ip[{}]/dhcp/host[{}]@", one.within, one.mac)).collect();
    paths.retain(|path| !path.contains("/dhcp/host[") || !whole.iter().any(|whole| path.starts_with(whole)));
    paths
}

/// The paths that were ours and those of reservations that stand on the host since; None where there are none of these. They are ours
/// whatever else of the network is not as wished, and would pass for what others wrote if nothing said so.
pub(super) fn with_reserved(
    network: &Network,
    seen: &NetworkObservation,
    reserved: &[Reservation],
) -> Option<Vec<String>> {
    let (mut paths, kept) = (applied::paths(network), plan::kept(seen, |_| true));
    let stands = |one: &&Reservation| kept.contains(&(one.mac.clone(), one.ip));
    let path = |one: &Reservation| format!("ip[{}]/dhcp/host[{}]", one.within, one.mac);
    let new: Vec<String> = reserved.iter().filter(stands).map(path).filter(|path| !paths.contains(path)).collect();
    (!new.is_empty()).then(|| {
        paths.extend(new);
        paths
    })
}

/// What a Network keeps for the interfaces of the Domains that refer to it.
pub(super) fn reservations(cluster: &Cluster, network: &Network, written: &Written) -> Vec<Reservation> {
    if only_observes(network) {
        return Vec::new();
    }
    let mut plan = Plan::of(network);
    plan.others.retain(|one| !written.has(network.uid(), one));
    judge(&plan, asked(cluster, network, None)).into_iter().filter_map(|(_, judged)| judged.ok().flatten()).collect()
}

/// Where the address of an interface stands that is on this Network.
pub(crate) fn standing(cluster: &Cluster, domain: &Domain, nic: &NetworkInterface, network: &Network) -> Standing {
    let (plan, mac) = (Plan::of(network), mac(domain, nic));
    let Some(mine) = ask(domain, nic) else {
        // Such as the network's own spec names are not ours.
        let is_own = plan.hosts.iter().any(|(_, of, _)| *of == mac) || plan.others.iter().any(|(of, _)| *of == mac);
        let is_left =
            nic.address.is_none() && !plan.only_observed && !is_own && plan.kept.iter().any(|(of, _)| *of == mac);
        return if is_left { Standing::Coming(plan.held_up) } else { Standing::Kept };
    };
    // Who has it keeps it, so that a look at all others is for the few moments before.
    if plan.has_given(&mac, mine.ip) {
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
        Some(Ok(Some(_))) => Standing::Coming(plan.held_up),
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

/// Judges what is asked for, one after the other: who has an address already comes first, then who is older. `None` where the network's own
/// spec keeps the address for it, or what others wrote.
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
    mut before: impl Iterator<Item = &'a Asked> + Clone,
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
    plan.beside_others(mac, *ip)?;
    let of_its_namespace = before.clone().filter(|other| other.namespace == one.namespace).count();
    plan.has_room(one, of_its_namespace)?;
    if let Some(other) = before.find(|other| other.ip == *ip || other.mac == *mac) {
        let what = if other.ip == *ip { format!("address {ip}") } else { format!("MAC address {mac}") };
        let whose = if other.namespace == one.namespace {
            format!("interface {} of Domain {}/{}", other.interface, other.namespace, other.domain)
        } else {
            FOREIGN.to_owned()
        };
        return Err(format!("the {what} is that of {whose} on Network {}", plan.name));
    }
    if plan.is_of_others(mac, *ip) {
        // It stands there as it is asked for. If it were written down as ours, it would go with whoever asks.
        return Ok(None);
    }
    let within = format!("{},{}", subnet.address(), subnet.family());
    Ok(Some(Reservation { within, mac: mac.clone(), ip: *ip }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(parameters: &Value, kept: &Value) -> Plan {
        plan_of(parameters, kept, &json!([]))
    }

    fn plan_of(parameters: &Value, kept: &Value, applied: &Value) -> Plan {
        let annotations = json!({"libvirt.nourspeed.io/applied": applied.to_string()});
        Plan::of(
            &serde_json::from_value(json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Network",
                "metadata": {"namespace": "n", "name": "lan", "annotations": annotations},
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
    fn beside_what_others_wrote_on_the_host_no_address_is_kept_twice() {
        let bare = json!({"ips": [{"cidr": "10.0.0.1/24", "dhcp": {}}]});
        let written = json!([{"name": "x", "mac": "52:54:00:00:00:62", "ip": "10.0.0.9"}]);
        let (there, kept) = ("there already".to_owned(), "10.0.0.1,ipv4: 10.0.0.9 for 52:54:00:00:00:62".to_owned());
        let taken = "the address 10.0.0.9 is kept on the host for another MAC address, by an entry that others wrote into Network lan: take it out there, or choose another address".to_owned();
        let bound = "others wrote on the host that Network lan gives its MAC address 52:54:00:00:00:62 the address 10.0.0.9: take that entry out there, or choose that address".to_owned();
        let (a, b) = (asks("n", "a", "10.0.0.9"), asks("n", "b", "10.0.0.9"));
        assert_eq!(said(&plan(&bare, &written), &[a.clone(), b.clone()]), [taken, there.clone()]);
        assert_eq!(said(&plan(&bare, &written), &[asks("n", "b", "10.0.0.8")]), [bound]);
        // A list that the spec says is its own: what else is in it goes.
        let other = "10.0.0.1,ipv4: 10.0.0.8 for 52:54:00:00:00:62".to_owned();
        assert_eq!(said(&plan(&lan(), &written), &[asks("n", "b", "10.0.0.8")]), [other]);
        // What it wrote down itself is for the next.
        let ours = plan_of(&bare, &written, &json!(["ip[10.0.0.1,ipv4]/dhcp/host[52:54:00:00:00:62]"]));
        assert_eq!(said(&ours, &[asks("n", "a", "10.0.0.9")]), ["10.0.0.1,ipv4: 10.0.0.9 for 52:54:00:00:00:61"]);
        assert_eq!(said(&ours, &[a, b])[1], kept);
        // Whoever asks for what others wrote is counted like everybody else.
        let none = json!({"ips": [{"cidr": "10.0.0.1/24", "dhcp": {}}], "addressesPerNamespace": 0});
        let refused =
            "Network lan keeps no more than 0 addresses for Domains of namespace m, by its addressesPerNamespace";
        assert_eq!(said(&plan(&none, &written), &[asks("m", "b", "10.0.0.9")]), [refused]);
        assert_eq!(said(&plan(&none, &written), &[asks("n", "b", "10.0.0.9")]), [there]);
    }

    #[test]
    fn what_stands_on_the_host_for_a_guest_is_written_down_as_ours_whatever_else_is_missing() {
        let network: Network = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Network",
            "metadata": {"name": "lan", "annotations": {"libvirt.nourspeed.io/applied": "[\"mtu@size\"]"}},
            "spec": {"forProvider": {}},
        }))
        .unwrap();
        let hosts = json!([{"name": "a", "mac": "52:54:00:00:00:0A", "ip": "10.0.0.9"}]);
        let seen = serde_json::from_value(json!({"ips": [{"cidr": "10.0.0.1/24", "dhcp": {"hosts": hosts}}]})).unwrap();
        let of = |mac: &str, ip: &str| Reservation {
            within: "10.0.0.1,ipv4".to_owned(),
            mac: mac.to_owned(),
            ip: ip.parse().unwrap(),
        };
        let (stands, comes) = (of("52:54:00:00:00:0a", "10.0.0.9"), of("52:54:00:00:00:0b", "10.0.0.8"));
        let path = "ip[10.0.0.1,ipv4]/dhcp/host[52:54:00:00:00:0a]";
        let paths = |reserved: &[Reservation]| with_reserved(&network, &seen, reserved);
        assert_eq!(paths(&[stands, comes.clone()]), Some(vec!["mtu@size".to_owned(), path.to_owned()]));
        assert_eq!(paths(&[comes]), None);
        // Until then this process knows.
        let written = Written::default();
        let one = ("52:54:00:00:00:0a".to_owned(), "10.0.0.9".parse().unwrap());
        assert!(!written.has("u", &one));
        written.note("u", &[of("52:54:00:00:00:0a", "10.0.0.9")]);
        assert!(written.has("u", &one) && !written.has("v", &one));
        written.forget("u");
        assert!(!written.has("u", &one));
    }

    #[test]
    fn domains_of_another_namespace_have_as_many_addresses_as_the_network_says_and_keep_what_they_have() {
        let all: Vec<Asked> =
            (0..10u8).map(|at| asks("m", &char::from(b'a' + at).to_string(), &format!("10.0.0.{}", 20 + at))).collect();
        let refused = |plan: &Plan| {
            said(plan, &all).iter().filter(|said| !said.contains(" for 52:54")).cloned().collect::<Vec<_>>()
        };
        let why = |number: &str| {
            format!("Network lan keeps no more than {number} for Domains of namespace m, by its addressesPerNamespace")
        };
        let with = |number: i32, kept: &Value| {
            let mut parameters = lan();
            parameters["addressesPerNamespace"] = json!(number);
            plan(&parameters, kept)
        };
        assert_eq!(refused(&plan(&lan(), &json!([]))), [why("8 addresses"), why("8 addresses")]);
        assert_eq!(refused(&with(9, &json!([]))), [why("9 addresses")]);
        assert_eq!(refused(&with(0, &json!([]))).len(), 10);
        // The youngest has its address already, and another one waits instead.
        let kept = json!([{"name": "x", "mac": "52:54:00:00:00:6a", "ip": "10.0.0.29"}]);
        let said_of = said(&with(1, &kept), &all);
        assert_eq!(said_of[9], "10.0.0.1,ipv4: 10.0.0.29 for 52:54:00:00:00:6a");
        assert!(said_of[..9].iter().all(|said| *said == why("1 address")), "{said_of:?}");
        // Those of its own namespace are not counted.
        let own: Vec<Asked> = all.iter().map(|one| Asked { namespace: "n".to_owned(), ..one.clone() }).collect();
        assert!(said(&with(0, &json!([])), &own).iter().all(|said| said.contains(" for 52:54")));
    }

    #[test]
    fn what_keeps_a_network_from_keeping_an_address_is_known() {
        let held_up = |metadata: &Value, spec: &Value| {
            let mut network = json!({
                "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Network", "metadata": metadata,
                "spec": {"forProvider": {}},
            });
            if !spec.is_null() {
                network["spec"]["managementPolicies"] = spec.clone();
            }
            Plan::of(&serde_json::from_value(network).unwrap()).held_up
        };
        let (plain, paused) =
            (json!({"name": "lan"}), json!({"name": "lan", "annotations": {"crossplane.io/paused": "true"}}));
        assert_eq!(held_up(&plain, &Value::Null), None);
        assert_eq!(held_up(&paused, &Value::Null), Some("it is paused"));
        assert_eq!(held_up(&plain, &json!([])), Some("it is paused, by its empty managementPolicies"));
        assert_eq!(
            held_up(&plain, &json!(["Observe", "Create", "Delete"])),
            Some("its managementPolicies have no Update")
        );
        assert_eq!(held_up(&plain, &json!(["Observe", "Update"])), None);
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
