//! What two guests cannot have both, which no host tells before both have it.

use std::sync::Arc;

use apis::{Domain, Managed, domain::Disk, placement::ConfigId};

use managed::plan::only_observes;

use super::{Admission, Findings};
use crate::{
    domain::exclusive,
    index::{Referrer, ReferrerKind},
    references::{Referent, disk_path},
};

impl Admission<'_> {
    /// A disk has one guest that writes to it. One that is on its way out is waited for.
    pub(super) fn disks(&self, object: &Domain, findings: &mut Findings) {
        let (links, whole) = (self.cluster.links(object), object.effective());
        let disks = whole.parameters().disks.as_deref().unwrap_or_default();
        let led = |disk: &Disk| links.referent(&disk_path(&disk.name.0));
        for (at, disk) in disks.iter().enumerate() {
            let Some(referent) = led(disk) else { continue };
            let same = |other: &&Disk| {
                (exclusive::writes(disk) || exclusive::writes(other)) && led(other).as_ref() == Some(&referent)
            };
            if let Some(other) = disks[..at].iter().find(same) {
                let (one, two, name) = (&other.name, &disk.name, &referent.name);
                findings.deny(format!(
                    "disks {one} and {two} are both volume {name}: a guest that writes to one disk by two names destroys it"
                ));
            }
            let Some(volume) = self.cluster.volumes.get(&referent.namespace, &referent.name) else { continue };
            match exclusive::check(self.cluster, object, disk, &volume) {
                Ok(()) => {}
                Err(why) if self.users_leave(object, &referent) => findings.warn(format!("{why:#}")),
                Err(why) => findings.deny(format!("{why:#}")),
            }
        }
    }

    /// Whether all others that refer to this are being deleted.
    fn users_leave(&self, object: &Domain, referent: &Referent) -> bool {
        let me = Referrer::of(object);
        let users = self.cluster.index.referrers(referent);
        let mut others = users.iter().filter(|user| Some(&***user) != me.as_ref()).peekable();
        others.peek().is_some() && others.all(|user| self.leaves(user))
    }

    fn leaves(&self, Referrer { kind, namespace, name }: &Referrer) -> bool {
        fn leaves<K: Managed>(object: Option<Arc<K>>) -> bool {
            object.is_none_or(|object| object.meta().deletion_timestamp.is_some())
        }
        match kind {
            ReferrerKind::Domain => leaves(self.cluster.domains.get(namespace, name)),
            ReferrerKind::Volume => leaves(self.cluster.volumes.get(namespace, name)),
            ReferrerKind::CloudInit => leaves(self.cluster.cloud_inits.get(namespace, name)),
        }
    }

    /// A MAC address has one guest on a host.
    pub(super) fn addresses(&self, object: &Domain, ours: Option<&ConfigId>, findings: &mut Findings) {
        let whole = object.effective();
        let nics = whole.parameters().network_interfaces.as_deref().unwrap_or_default();
        let addresses: Vec<_> = nics.iter().filter_map(|nic| Some((&nic.name, nic.mac.as_deref()?))).collect();
        for (at, (name, mac)) in addresses.iter().enumerate() {
            if let Some((other, _)) = addresses[..at].iter().find(|(_, other)| other.eq_ignore_ascii_case(mac)) {
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
            let is_it = |(_, mac): &&(_, &str)| has(&other, mac) || (is_near && says(&other, mac));
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

    /// Whether another guest is to be on the same host at the same time.
    fn competes(&self, object: &Domain, other: &Domain, ours: &ConfigId) -> bool {
        let is_other =
            other.uid() != object.uid() && other.metadata.deletion_timestamp.is_none() && !only_observes(other);
        is_other && self.whereabouts(other).on().is_some_and(|theirs| self.cluster.is_one_host(&theirs, ours))
    }
}

/// Whether a guest had a MAC address when it was last looked at.
fn has(domain: &Domain, mac: &str) -> bool {
    let mut seen = domain.observation().into_iter().flat_map(|seen| &seen.network_interfaces);
    seen.any(|nic| nic.mac.eq_ignore_ascii_case(mac))
}

/// Whether a guest is to have a MAC address.
fn says(domain: &Domain, mac: &str) -> bool {
    let whole = domain.effective();
    let mut said = whole.parameters().network_interfaces.iter().flatten().filter_map(|nic| nic.mac.as_deref());
    said.any(|said| said.eq_ignore_ascii_case(mac))
}
