//! What two guests cannot have both, which no host tells before both have it.

use std::collections::HashMap;

use apis::{
    Domain, Managed, Network, Pool, domain::Disk, managed::annotation, placement::ConfigId, provider_config::Policy,
};

use managed::plan::only_observes;

use super::{Admission, Findings};
use crate::{
    cluster::{declared, may_use},
    domain::{exclusive, possible, reach::refused, render::own_medium},
    network::{self, reserved},
    pool,
    references::{Referent, disk_path, interface_path},
};

impl Admission<'_> {
    /// A disk has one guest that writes to it. One that is on its way out is waited for.
    pub(super) fn disks(&self, object: &Domain, ours: Option<&ConfigId>, findings: &mut Findings) {
        let (links, whole) = (self.cluster.links(object), object.effective());
        let disks = whole.parameters().disks.as_deref().unwrap_or_default();
        let mut known: HashMap<Referent, Vec<&Disk>> = HashMap::new();
        self.paths(object, disks, ours, findings);
        for disk in disks {
            let Some(referent) = links.referent(&disk_path(&disk.name.0)) else { continue };
            let before = known.entry(referent.clone()).or_default();
            let same = before.iter().find(|other| exclusive::writes(disk) || exclusive::writes(other));
            if let Some(other) = same {
                let (one, two, name) = (&other.name, &disk.name, &referent.name);
                findings.deny(format!(
                    "disks {one} and {two} are both volume {name}: a guest that writes to one disk by two names destroys it"
                ));
            }
            before.push(disk);
            let Some(volume) = self.cluster.volumes.get(&referent.namespace, &referent.name) else { continue };
            let Some((taken, why)) = exclusive::before(self.cluster, object, disk, &volume) else { continue };
            // What is only said in another namespace is no proof: else any tenant could keep a disk from its owner.
            let path = volume.observation().and_then(|seen| seen.path.as_deref()).unwrap_or_default();
            let is_proven = !taken.is_foreign(object) || taken.is_seen_with(path);
            if taken.is_leaving() || !is_proven { findings.warn(why) } else { findings.deny(why) }
        }
    }

    /// Nor has a file or block device of the host two.
    fn paths(&self, object: &Domain, disks: &[Disk], ours: Option<&ConfigId>, findings: &mut Findings) {
        let mut known: HashMap<String, &Disk> = HashMap::new();
        for (disk, medium) in disks.iter().filter_map(|disk| Some((disk, own_medium(disk)?))) {
            let path = &medium.path;
            let same = known.insert(path.clone(), disk);
            if let Some(other) = same.filter(|other| exclusive::writes(disk) || exclusive::writes(other)) {
                let (one, two) = (&other.name, &disk.name);
                findings.deny(format!(
                    "disks {one} and {two} are both {path}: a guest that writes to one disk by two names destroys it"
                ));
            }
            let taken = ours.and_then(|ours| exclusive::before_path(self.cluster, (object, ours), disk, &medium));
            let Some((taken, why)) = taken else { continue };
            let is_proven = !taken.is_foreign(object) || taken.is_seen_with(path);
            if taken.is_leaving() || !is_proven { findings.warn(why) } else { findings.deny(why) }
        }
        let Some(ours) = ours else { return };
        for (disk, network) in disks.iter().filter_map(|disk| Some((disk, disk.network.as_ref()?))) {
            let taken = exclusive::before_network(self.cluster, (object, ours), disk, network);
            let Some((taken, why)) = taken else { continue };
            if taken.is_leaving() || taken.is_foreign(object) { findings.warn(why) } else { findings.deny(why) }
        }
    }

    /// What the policy of the host's config does not let a guest reach.
    pub(super) fn reach(&self, object: &Domain, ours: Option<&ConfigId>, findings: &mut Findings) {
        self.deny(object, ours, findings, |policy, ours| refused(object.effective().parameters(), policy, ours));
    }

    /// What no host could make. Of a guest that may be there already it is only said: what is left out may be as its host has it.
    pub(super) fn possible(&self, object: &Domain, ours: Option<&ConfigId>, findings: &mut Findings) {
        if only_observes(object) {
            return;
        }
        let policy = ours.and_then(|ours| self.cluster.host_spec(ours));
        let raw_xml = policy.map(|spec| spec.policy.and_then(|policy| policy.raw_xml).unwrap_or_default());
        let Some(why) = possible::fault(object, raw_xml) else { return };
        if object.annotation(annotation::EXTERNAL_NAME).is_some() { findings.warn(why) } else { findings.deny(why) }
    }

    /// What it does not let a pool reach.
    pub(super) fn pool_reach(&self, object: &Pool, ours: Option<&ConfigId>, findings: &mut Findings) {
        self.deny(object, ours, findings, |policy, ours| pool::reach::refused_of(object, policy, ours));
    }

    /// What it does not let a network reach.
    pub(super) fn network_reach(&self, object: &Network, ours: Option<&ConfigId>, findings: &mut Findings) {
        self.deny(object, ours, findings, |policy, ours| network::reach::refused_of(object, policy, ours));
    }

    /// Denies what the policy of the host's config refuses of an object that is more than looked at.
    fn deny<K: Managed>(
        &self,
        object: &K,
        ours: Option<&ConfigId>,
        findings: &mut Findings,
        refused: impl FnOnce(&Policy, &ConfigId) -> Vec<String>,
    ) {
        let Some(ours) = ours.filter(|_| !only_observes(object)) else { return };
        let Some(spec) = self.cluster.host_spec(ours) else { return };
        let policy = spec.policy.unwrap_or_default();
        for why in refused(&policy, ours) {
            findings.deny(why);
        }
    }

    /// A MAC address has one guest on a host.
    pub(super) fn addresses(&self, object: &Domain, ours: Option<&ConfigId>, findings: &mut Findings) {
        let whole = object.effective();
        let nics = whole.parameters().network_interfaces.as_deref().unwrap_or_default();
        let addresses: Vec<_> = nics.iter().filter_map(|nic| Some((&nic.name, nic.mac.as_deref()?))).collect();
        let mut known: HashMap<String, _> = HashMap::new();
        for (name, mac) in &addresses {
            if let Some(other) = known.insert(mac.to_ascii_lowercase(), name) {
                findings.deny(format!("interfaces {other} and {name} have both the MAC address {mac}"));
            }
        }
        if addresses.is_empty() || only_observes(object) {
            return;
        }
        let Some(ours) = ours else { return };
        for other in self.cluster.domains.store.state() {
            let is_near = other.metadata.namespace == object.metadata.namespace;
            // Words alone count only in their own namespace: else any tenant could keep addresses from all others.
            let taken = addresses_of(&other, is_near);
            let is_it = |(_, mac): &&(_, &str)| taken.contains(&mac.to_ascii_lowercase());
            let Some((name, mac)) = addresses.iter().find(is_it).filter(|_| self.competes(object, &other, ours)) else {
                continue;
            };
            let whose = if is_near {
                format!("Domain {}", other.full_name())
            } else {
                "a Domain of another namespace".to_owned()
            };
            findings.deny(format!(
                "interface {name} has the MAC address {mac} of {whose} on the same libvirt instance: give it another one, or leave mac out"
            ));
        }
    }

    /// An address that a Network cannot keep for it. One that somebody else asks for as well is only said where that one is of another
    /// namespace: else any tenant could keep addresses from all others by words alone.
    pub(super) fn kept_addresses(&self, object: &Domain, findings: &mut Findings) {
        if only_observes(object) {
            return;
        }
        let whole = object.effective();
        let links = self.cluster.links_of(object, &whole);
        for nic in whole.parameters().network_interfaces.iter().flatten().filter(|nic| nic.address.is_some()) {
            let Some(referent) = links.referent(&interface_path(&nic.name.0)) else { continue };
            let Some(network) = self.cluster.networks.get(&referent.namespace, &referent.name) else { continue };
            // Of a network that it may not use nothing is told.
            let is_near = network.metadata.namespace == object.metadata.namespace;
            if !is_near && declared(&*network).is_none_or(|theirs| !may_use(object, &theirs)) {
                continue;
            }
            if let reserved::Standing::Refused(why) = reserved::standing(self.cluster, object, nic, &network) {
                if why.contains(reserved::FOREIGN) { findings.warn(why) } else { findings.deny(why) }
            }
        }
    }

    /// Whether another guest is to be on the same host at the same time.
    fn competes(&self, object: &Domain, other: &Domain, ours: &ConfigId) -> bool {
        let is_other =
            !exclusive::is_same(other, object) && other.metadata.deletion_timestamp.is_none() && !only_observes(other);
        is_other && self.whereabouts(other).on().is_some_and(|theirs| self.cluster.is_one_host(&theirs, ours))
    }
}

/// The MAC addresses that a guest had when it was last looked at, and those that it is to have, in lower case.
fn addresses_of(domain: &Domain, and_said: bool) -> Vec<String> {
    let seen = domain.observation().into_iter().flat_map(|seen| &seen.network_interfaces);
    let mut addresses: Vec<String> = seen.map(|nic| nic.mac.to_ascii_lowercase()).collect();
    if and_said {
        let whole = domain.effective();
        let said = whole.parameters().network_interfaces.iter().flatten().filter_map(|nic| nic.mac.as_deref());
        addresses.extend(said.map(str::to_ascii_lowercase));
    }
    addresses
}
