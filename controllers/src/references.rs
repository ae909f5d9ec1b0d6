//! Which objects an object refers to: what it waits for, whose changes wake it, and whose host it follows.

use apis::{CloudInit, Domain, Managed, Network, Pool, Volume, reference::Reference};

/// The kinds that can be referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferentKind {
    /// A Volume.
    Volume,
    /// A Pool.
    Pool,
    /// A `CloudInit`.
    CloudInit,
    /// A Network.
    Network,
}

/// An object of the same namespace that is referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referent {
    /// Its kind.
    pub kind: ReferentKind,
    /// Its name.
    pub name: String,
}

/// Says what it refers to.
pub trait Refers {
    /// The kind by which others refer to objects of this kind, if any do.
    const AS_REFERENT: Option<ReferentKind>;
    /// Everything it refers to.
    fn referents(&self) -> Vec<Referent>;
}

fn one(kind: ReferentKind, reference: Option<&Reference>) -> Option<Referent> {
    reference.map(|reference| Referent { kind, name: reference.name.clone() })
}

impl Refers for Domain {
    const AS_REFERENT: Option<ReferentKind> = None;

    fn referents(&self) -> Vec<Referent> {
        let whole = self.merged();
        let parameters = whole.parameters();
        let disks =
            parameters.disks.iter().flatten().filter_map(|disk| one(ReferentKind::Volume, disk.volume_ref.as_ref()));
        let nics = parameters
            .network_interfaces
            .iter()
            .flatten()
            .filter_map(|nic| one(ReferentKind::Network, nic.network_ref.as_ref()));
        let os = parameters.os.as_ref();
        let boot = [os.and_then(|os| os.kernel_ref.as_ref()), os.and_then(|os| os.initrd_ref.as_ref())];
        let boot = boot.into_iter().filter_map(|reference| one(ReferentKind::Volume, reference));
        disks.chain(boot).chain(one(ReferentKind::CloudInit, parameters.cloud_init_ref.as_ref())).chain(nics).collect()
    }
}

impl Refers for Volume {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::Volume);

    fn referents(&self) -> Vec<Referent> {
        let whole = self.merged();
        let parameters = whole.parameters();
        let backing = parameters.backing_store.as_ref().map(|backing| &backing.volume_ref);
        one(ReferentKind::Pool, parameters.pool_ref.as_ref())
            .into_iter()
            .chain(one(ReferentKind::Volume, backing))
            .collect()
    }
}

impl Refers for CloudInit {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::CloudInit);

    fn referents(&self) -> Vec<Referent> {
        one(ReferentKind::Pool, self.merged().parameters().pool_ref.as_ref()).into_iter().collect()
    }
}

impl Refers for Pool {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::Pool);

    fn referents(&self) -> Vec<Referent> {
        Vec::new()
    }
}

impl Refers for Network {
    const AS_REFERENT: Option<ReferentKind> = Some(ReferentKind::Network);

    fn referents(&self) -> Vec<Referent> {
        Vec::new()
    }
}
