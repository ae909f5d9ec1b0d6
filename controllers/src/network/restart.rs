//! Starting a network anew for what only a start makes true: never under a running guest.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use apis::{
    Managed, Network,
    condition::{Status, Type, Wish},
    network::NetworkRestartPolicy,
};
use libvirt::{Connection, Description, Error, diff::Difference, rule::Rules, wish::Wishes, xml::Element};

use super::{act::start, count, live};

/// What waits for a start that the policy lets be, and who is in its way.
#[derive(Debug, Default)]
pub(super) struct Restart {
    pub(super) paths: Vec<String>,
    pub(super) guests: Vec<String>,
}

impl Restart {
    /// That changes wait, and for what: `why` a start with them failed.
    pub(super) fn condition(&self, pending: &[String], why: Option<&str>) -> Option<Wish> {
        if pending.is_empty() {
            return None;
        }
        let what = match (self.guests.first(), why) {
            (Some(first), _) => format!(
                "It is started anew once it is used by no running guest; now by {}, {first} first",
                count(self.guests.len(), "domain")
            ),
            (None, Some(why)) => {
                format!("It did not start with them and runs as before, until its spec says something else: {why}")
            }
            (None, None) => "A restart cuts its guests off; do it when it suits them".to_owned(),
        };
        let message = format!("waiting for the network's next start: {}. {what}", pending.join(", "));
        let reason = if why.is_some() && self.guests.is_empty() { "StartFailed" } else { "ChangesPending" };
        Some(Wish::new(Type::RestartRequired, Status::True, reason).because(message))
    }
}

/// How an attempt to start a network anew came out.
#[derive(Debug)]
pub(super) enum Anew {
    /// None was made: nothing waits, it is not allowed, or somebody is in its way.
    None,
    /// It runs as it is defined.
    Done,
    /// It did not start with what waits, and why; it runs as before.
    Failed(String),
}

/// What starts have not helped, by UID: another one would not either.
#[derive(Debug, Default)]
pub(super) struct Vain(Mutex<HashMap<String, Left>>);

/// What a start has left, and why it did not start with it.
type Left = (Vec<Difference>, Option<String>);

impl Vain {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Left>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a start has left just this. Another value of the same is something else.
    pub(super) fn is(&self, uid: &str, waiting: &[Difference]) -> bool {
        self.all().get(uid).is_some_and(|(left, _)| left == waiting)
    }

    /// Why it does not start with this.
    pub(super) fn why(&self, uid: &str, waiting: &[Difference]) -> Option<String> {
        self.all().get(uid).filter(|(left, _)| left == waiting)?.1.clone()
    }

    /// What a start has left.
    pub(super) fn note(&self, uid: &str, left: Vec<Difference>, why: Option<String>) {
        self.all().insert(uid.to_owned(), (left, why));
    }

    /// The object is gone.
    pub(super) fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }
}

/// Whether a network is started anew for changes.
pub(super) fn is_allowed(object: &Network) -> bool {
    object.parameters().restart_policy == Some(NetworkRestartPolicy::WhenUnused)
}

/// The running guests that are on a network: by its name, or by the bridge that libvirt makes for it and takes away with it.
pub(super) fn guests_on(host: &Connection, network: &libvirt::Network<'_>) -> Result<Vec<String>, Error> {
    let name = network.name()?;
    let live = Element::parse(&network.describe(false)?)
        .map_err(|error| Error::other(format!("cannot read a network's description from the host: {error}")))?;
    let is_own = [None, Some("nat"), Some("route"), Some("open")].contains(&live.attr_at("forward@mode"));
    let bridge = live.attr_at("bridge@name").filter(|_| is_own);
    let is_on = |nic: &&Element| {
        nic.attr_at("source@network") == Some(name.as_str())
            || bridge.is_some_and(|bridge| nic.attr_at("source@bridge") == Some(bridge))
    };
    let running = host.running()?;
    let uses = |shown: &Element| shown.find_all("devices/interface").iter().any(is_on);
    let gives_cards = live.attr_at("forward@mode") == Some("hostdev");
    let mut guests = Vec::new();
    for running in &running {
        // A running guest that has a card of its own does not say any more where it is from: its definition does, and the card's address.
        let has_card = || has_card_of(&live, &running.live);
        if uses(&running.live) || gives_cards && (has_card() || uses(&defined(&running.domain)?)) {
            guests.push(running.domain.name()?);
        }
    }
    Ok(guests)
}

/// Whether a running guest has, as an interface, one of the functions that a running network gives. It lists them while they are in use,
/// also where its definition names the card only.
fn has_card_of(network: &Element, guest: &Element) -> bool {
    let given: HashSet<_> = network.find_all("forward/address").into_iter().filter_map(function).collect();
    let cards = guest.find_all("devices/interface").into_iter().filter(|nic| nic.get("type") == Some("hostdev"));
    cards.filter_map(|nic| nic.find("source/address").and_then(function)).any(|card| given.contains(&card))
}

/// The address of a function on the host's PCI bus: domain, bus, slot and function.
fn function(address: &Element) -> Option<[u32; 4]> {
    let number = |name: &str| {
        let text = address.get(name)?;
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u32::from_str_radix(digits, 16).ok())
    };
    let is_pci = address.get("type").is_none_or(|type_| type_ == "pci");
    let [domain, bus, slot, function] = ["domain", "bus", "slot", "function"].map(number);
    is_pci.then_some([domain.unwrap_or_default(), bus?, slot?, function?])
}

fn defined(domain: &libvirt::Domain<'_>) -> Result<Element, Error> {
    let text = domain.describe(Description::Inactive)?;
    Element::parse(&text)
        .map_err(|error| Error::other(format!("cannot read a guest's description from the host: {error}")))
}

/// Starts a network anew where something waits for that and no guest is on it. One that does not start so gets back what it had.
pub(super) fn anew(
    host: &Connection,
    network: &libvirt::Network<'_>,
    wishes: &Wishes,
    rules: &Rules,
) -> anyhow::Result<Anew> {
    let live = Element::parse(&network.describe(false)?).context("read the network's description")?;
    if live::waiting(wishes, &live, rules).is_empty() || !guests_on(host, network)?.is_empty() {
        return Ok(Anew::None);
    }
    let definition = network.describe(true)?;
    network.destroy().context("stop network, to start it anew")?;
    let Err(why) = start(network) else { return Ok(Anew::Done) };
    let why = format!("{why:#}");
    back(host, network, (live, &definition))
        .with_context(|| format!("bring network back as it was, because of {why}"))?;
    Ok(Anew::Failed(why))
}

/// The description of a run as a definition: a card's functions are listed beside the card only while they are in use.
fn startable(mut live: Element) -> Element {
    for forward in live.elements_mut().filter(|child| child.name == "forward" && child.find("pf").is_some()) {
        forward.retain(|child| child.name != "address");
    }
    live
}

/// Starts a network by the description of its last run. Its definition is for the next start again, whether that helps or not.
fn back(
    host: &Connection,
    network: &libvirt::Network<'_>,
    (before, definition): (Element, &str),
) -> anyhow::Result<()> {
    let before = startable(before).write().context("write the description")?;
    host.define_network(&before).context("define network as it was")?;
    let started = start(network);
    host.define_network(definition).context("define network as it is wished")?;
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_known_by_the_function_that_its_network_gave_it_whatever_its_definition_says_by_now() {
        let read = |text: &str| Element::parse(text).unwrap();
        let network = read(
            "<network><forward mode='hostdev'><pf dev='eno1'/><address type='pci' domain='0x0000' bus='0x03' slot='0x10' function='0x2'/></forward></network>",
        );
        let guest = |kind: &str, function: &str| {
            read(&format!(
                "<domain><devices><interface type='{kind}'><source><address type='pci' domain='0' bus='0x3' slot='0x10' function='{function}'/></source></interface></devices></domain>"
            ))
        };
        assert!(has_card_of(&network, &guest("hostdev", "0x2")));
        assert!(!has_card_of(&network, &guest("hostdev", "0x4")) && !has_card_of(&network, &guest("network", "0x2")));
    }
}
