//! Who needs what.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Something on the host that an owner needs to be kept whole. Names and UUIDs may be used alike; whichever is claimed is the
/// key to ask for a volume or leases with.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Claim {
    /// A domain by UUID or name.
    Domain(String),
    /// A network by UUID or name.
    Network(String),
    /// A pool by UUID or name.
    Pool(String),
    /// A volume.
    Volume {
        /// The pool's UUID or name.
        pool: String,
        /// The volume's name.
        name: String,
    },
    /// The DHCP leases of a network.
    Leases {
        /// The network's UUID or name.
        network: String,
        /// The client to be woken for; `None` for any.
        mac: Option<String>,
    },
}

/// Claims by object and by owner.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_claim: HashMap<Claim, HashSet<Arc<str>>>,
    by_owner: HashMap<Arc<str>, HashSet<Claim>>,
}

impl Claims {
    /// Adds a claim; says whether it is new.
    pub(super) fn add(&mut self, claim: &Claim, owner: &str) -> bool {
        let owner = self.by_owner.get_key_value(owner).map_or_else(|| Arc::from(owner), |(owner, _)| Arc::clone(owner));
        self.by_owner.entry(Arc::clone(&owner)).or_default().insert(claim.clone());
        self.by_claim.entry(claim.clone()).or_default().insert(owner)
    }

    pub(super) fn remove(&mut self, claim: &Claim, owner: &str) {
        if let Some(owners) = self.by_claim.get_mut(claim) {
            owners.remove(owner);
            if owners.is_empty() {
                self.by_claim.remove(claim);
            }
        }
        if let Some(claims) = self.by_owner.get_mut(owner) {
            claims.remove(claim);
            if claims.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }

    pub(super) fn remove_owner(&mut self, owner: &str) {
        for claim in self.of_owner(owner) {
            self.remove(&claim, owner);
        }
    }

    pub(super) fn of_owner(&self, owner: &str) -> Vec<Claim> {
        self.by_owner.get(owner).into_iter().flatten().cloned().collect()
    }

    pub(super) fn has(&self, claim: &Claim) -> bool {
        self.by_claim.contains_key(claim)
    }

    pub(super) fn of(&self, claim: &Claim) -> impl Iterator<Item = Arc<str>> + '_ {
        self.by_claim.get(claim).into_iter().flatten().cloned()
    }

    pub(super) fn owners(&self) -> Vec<Arc<str>> {
        self.by_owner.keys().cloned().collect()
    }

    /// The claimed volumes, as pool and name.
    pub(super) fn volumes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_claim.keys().filter_map(|claim| match claim {
            Claim::Volume { pool, name } => Some((pool.as_str(), name.as_str())),
            Claim::Domain(_) | Claim::Network(_) | Claim::Pool(_) | Claim::Leases { .. } => None,
        })
    }

    /// The claimed leases, as network and client.
    pub(super) fn leases(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.by_claim.keys().filter_map(|claim| match claim {
            Claim::Leases { network, mac } => Some((network.as_str(), mac.as_deref())),
            Claim::Domain(_) | Claim::Network(_) | Claim::Pool(_) | Claim::Volume { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_lasts_as_long_as_its_last_owner() {
        let claim = Claim::Domain("d".into());
        let mut claims = Claims::default();
        assert_eq!([claims.add(&claim, "a"), claims.add(&claim, "b"), claims.add(&claim, "a")], [true, true, false]);
        claims.remove_owner("a");
        assert_eq!(claims.of(&claim).collect::<Vec<_>>(), [Arc::from("b")]);
        claims.remove(&claim, "b");
        assert_eq!((claims.has(&claim), claims.owners()), (false, Vec::new()));
    }
}
