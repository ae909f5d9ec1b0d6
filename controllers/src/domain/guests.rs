//! What guests tell of themselves, and what the host's neighbours know of them: asked for beside the passes, so that no silent agent
//! holds one up.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use apis::{
    Managed,
    domain::{Address, FilesystemObservation, GuestObservation},
};
use libvirt::{Connection, Guest, GuestAddress, State, mirror::DomainEntry};
use managed::external::Pass;
use tokio::sync::Semaphore;

use super::{Domains, Found};
use crate::hosts::Site;

/// How old an answer may be before it is asked for again.
const FRESH: Duration = Duration::from_secs(20);
/// The same of a guest that was started lately and has no address yet.
const HURRY: Duration = Duration::from_secs(3);
/// When a pass looks for an answer that is on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// The same where the last one is long in coming.
const LONG_ON_ITS_WAY: Duration = Duration::from_secs(5);
/// How often a guest that did not answer is let wait twice as long before it is asked again.
const SILENCES: u32 = 5;
/// How many guests of a host are asked at once: each may keep a worker of its daemon waiting for seconds.
const AT_ONCE: usize = 4;

/// The answers, by the UID of the guest's object.
#[derive(Default)]
pub(super) struct Guests {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    /// Whose turn it is, by the host's URI: silent guests of one host hold up none of another.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

#[derive(Default)]
struct Answer {
    /// The run that it is of.
    run: u32,
    /// When it was last asked for.
    asked: Option<Instant>,
    /// It is on its way.
    awaited: bool,
    /// How often one with an agent has not answered since it last did.
    silent: u32,
    told: Told,
}

/// What is known of a running guest beside its description and its leases.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// By itself.
    pub(super) guest: Option<Guest>,
    /// By the host's neighbour table.
    pub(super) neighbours: Vec<GuestAddress>,
}

/// Who is to be asked.
#[derive(Clone, Copy)]
struct Whom {
    agent: bool,
    neighbours: bool,
    /// How old their answer may be.
    fresh: Duration,
}

impl Guests {
    fn answers(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        lock(&self.answers)
    }

    /// Forgets a guest whose object has gone.
    pub(super) fn forget(&self, uid: &str) {
        self.answers().remove(uid);
    }

    /// What is known of this run; asks anew where that is old.
    fn know(&self, host: &Arc<Site>, uid: &str, entry: &DomainEntry, whom: Whom) -> (Told, Option<Duration>) {
        let Some(run) = entry.id else {
            self.forget(uid);
            return (Told::default(), None);
        };
        let mut answers = self.answers();
        let answer = answers.entry(uid.to_owned()).or_default();
        if answer.run != run {
            *answer = Answer { run, ..Answer::default() };
        }
        let is_fresh = answer.asked.is_some_and(|asked| asked.elapsed() < whom.fresh * 2_u32.pow(answer.silent));
        if (whom.agent || whom.neighbours) && !answer.awaited && !is_fresh {
            let first = answer.asked.is_none();
            answer.awaited = true;
            answer.asked = Some(Instant::now());
            self.ask(host, (uid.to_owned(), entry.uuid.clone(), run), whom, first);
        }
        let is_late = answer.asked.is_some_and(|asked| asked.elapsed() > LONG_ON_ITS_WAY);
        let soon = if is_late { LONG_ON_ITS_WAY } else { ON_ITS_WAY };
        (answer.told.clone(), answer.awaited.then_some(soon))
    }

    fn ask(&self, host: &Arc<Site>, (uid, uuid, run): (String, String, u32), whom: Whom, first: bool) {
        let (host, answers) = (Arc::clone(host), Arc::clone(&self.answers));
        let turns =
            lock(&self.turns).entry(host.uri().to_owned()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))).clone();
        tokio::spawn(async move {
            let _turn = turns.acquire_owned().await;
            // Not by the domain's own name: what its agent holds up holds up nothing else of it.
            let told = host.long(&format!("{uuid}/agent"), move |host| Ok(told(host, &uuid, whom, first))).await;
            let mut answers = lock(&answers);
            let Some(answer) = answers.get_mut(&uid).filter(|answer| answer.run == run) else { return };
            answer.awaited = false;
            let has_answered = matches!(&told, Ok(Some(told)) if told.guest.is_some());
            answer.silent = if has_answered || !whom.agent { 0 } else { (answer.silent + 1).min(SILENCES) };
            match told {
                Ok(told) => answer.told = told.unwrap_or_else(|| answer.told.clone()),
                Err(error) => tracing::debug!(%error, "the guest cannot be asked"),
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks on the thread of the calls. Who does not answer says nothing.
fn told(host: &Connection, uuid: &str, whom: Whom, first: bool) -> Option<Told> {
    let domain = host.find_domain(uuid).ok().flatten()?;
    let said = |error: &libvirt::Error| tracing::debug!(domain = uuid, %error, "the guest does not say");
    let guest = whom.agent.then(|| domain.guest(first).inspect_err(said).ok()).flatten();
    let neighbours = whom.neighbours.then(|| domain.neighbours().inspect_err(said).unwrap_or_default());
    Some(Told { guest, neighbours: neighbours.unwrap_or_default() })
}

impl Domains {
    /// Completes what was found with what a running guest tells, or says when to look for it.
    pub(super) fn listen(&self, pass: &Pass<'_, Self>, found: &mut Found) {
        let Some(entry) = found.entry.clone() else { return };
        let runs = matches!(entry.state.state, State::Running | State::Blocked);
        let has_address = |mac: &str| {
            let told = found.told.guest.iter().flat_map(|guest| &guest.addresses).any(|address| address.mac == mac);
            told || found.leases.iter().any(|lease| lease.mac == mac)
        };
        // Of a libvirt network the leases tell, for all of its guests in one call.
        let nics = entry.live.iter().flat_map(|live| live.find_all("devices/interface"));
        let nics = nics.filter(|nic| !matches!(nic.get("type"), Some("network" | "user")));
        let lacks = nics.filter_map(|nic| nic.attr_at("mac@address")).any(|mac| !has_address(mac));
        let (agent, neighbours) = (runs && found.guest_agent == Some(true), runs && lacks);
        let hurries = neighbours && self.is_young(pass.object.uid());
        let whom = Whom { agent, neighbours, fresh: if hurries { HURRY } else { FRESH } };
        let (told, awaited) = self.guests.know(pass.host, pass.object.uid(), &entry, whom);
        found.told = told;
        let soon = awaited.or_else(|| hurries.then_some(HURRY));
        found.recheck = found.recheck.into_iter().chain(soon).min();
    }
}

/// The addresses of a guest's interfaces: what DHCP gave it, else what it says, else what its neighbours know. What counts on one link
/// only is left out.
pub(super) fn addresses(leases: &[libvirt::Lease], told: &Told, macs: &[(String, Option<String>)]) -> Vec<Address> {
    let leases = leases.iter().map(|lease| (lease.mac.clone(), lease.ip.clone(), "Lease"));
    let said = told.guest.iter().flat_map(|guest| &guest.addresses);
    let said = said.map(|address| (address.mac.clone(), address.ip.clone(), "Agent"));
    let seen = told.neighbours.iter().map(|address| (address.mac.clone(), address.ip.clone(), "Arp"));
    let mut found: Vec<Address> = Vec::new();
    for (mac, ip, source) in leases.chain(said).chain(seen) {
        let Some((_, interface)) = macs.iter().find(|(known, _)| known.eq_ignore_ascii_case(&mac)) else { continue };
        // Guests say what they like.
        let Ok(parsed) = ip.parse() else { continue };
        let is_local = match parsed {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_loopback(),
            IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_loopback(),
        };
        let is_known = found.iter().any(|known| known.mac == mac && (known.ip == ip || source == "Arp"));
        if !is_local && !is_known {
            found.push(Address { ip, mac, interface: interface.clone(), source: source.to_owned() });
        }
    }
    found
}

/// What a guest tells, as the status shows it.
pub(super) fn shown(guest: &Guest) -> GuestObservation {
    let Guest { hostname, os_id, os_name, os_version, kernel, filesystems, addresses: _ } = guest;
    let filesystem = |one: &libvirt::Filesystem| FilesystemObservation {
        mountpoint: one.mountpoint.clone(),
        type_: one.kind.clone(),
        device: one.device.clone(),
    };
    GuestObservation {
        hostname: hostname.clone(),
        os_id: os_id.clone(),
        os_name: os_name.clone(),
        os_version: os_version.clone(),
        kernel: kernel.clone(),
        filesystems: filesystems.iter().map(filesystem).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_once_with_its_best_source_and_only_of_own_interfaces() {
        let at = |mac: &str, ip: &str| GuestAddress { mac: mac.to_owned(), ip: ip.to_owned() };
        let lease = libvirt::Lease { mac: "m1".to_owned(), ip: "10.0.0.2".to_owned(), prefix: 24, hostname: None };
        let guest = Guest {
            addresses: vec![
                at("m1", "10.0.0.2"),
                at("m1", "fe80::1"),
                at("m1", "2001:db8::2"),
                at("docker", "172.17.0.1"),
                at("lo", "127.0.0.1"),
            ],
            ..Guest::default()
        };
        let told = Told { guest: Some(guest), neighbours: vec![at("m1", "10.0.0.9"), at("m2", "10.1.0.3")] };
        let macs = [("m1".to_owned(), Some("lan".to_owned())), ("m2".to_owned(), None)];
        let found: Vec<(String, String, Option<String>)> = addresses(&[lease], &told, &macs)
            .into_iter()
            .map(|address| (address.ip, address.source, address.interface))
            .collect();
        let one = |ip: &str, source: &str, interface: Option<&str>| {
            (ip.to_owned(), source.to_owned(), interface.map(str::to_owned))
        };
        let expected = [
            one("10.0.0.2", "Lease", Some("lan")),
            one("2001:db8::2", "Agent", Some("lan")),
            one("10.1.0.3", "Arp", None),
        ];
        assert_eq!(found, expected);
    }
}
