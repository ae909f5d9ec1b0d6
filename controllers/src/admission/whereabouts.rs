//! Where an object is or will be, as far as it can be told now.

use apis::placement::{ConfigId, Known, named, place};

use super::Admission;
use crate::{cluster::may_use, references::Refers};

/// How many referents of referents are looked at: as many as a chain of volumes may have.
pub(super) const DEPTH: u8 = 17;

/// Where an object is or will be.
#[derive(Debug)]
pub(super) enum Where {
    /// On the host of this config.
    On(ConfigId),
    /// It follows something that is not there or not placed yet.
    Open,
    /// Nothing tells, and what would.
    Nowhere(String),
    /// What it refers to is on several hosts.
    Torn(String),
}

impl Where {
    /// The config, if it can be told.
    pub(super) fn on(self) -> Option<ConfigId> {
        match self {
            Self::On(config) => Some(config),
            Self::Open | Self::Nowhere(_) | Self::Torn(_) => None,
        }
    }
}

impl Admission<'_> {
    /// Where an object is or will be.
    pub(super) fn whereabouts<K: Refers>(&self, object: &K) -> Where {
        self.whereabouts_at(object, DEPTH)
    }

    pub(super) fn whereabouts_at<K: Refers>(&self, object: &K, depth: u8) -> Where {
        match named(object) {
            Ok(Some((config, _))) => Where::On(config),
            Ok(None) => self.following(object, depth),
            Err(why) => Where::Nowhere(why),
        }
    }

    /// Where an object goes that names no config.
    fn following<K: Refers>(&self, object: &K, depth: u8) -> Where {
        let Some(depth) = depth.checked_sub(1) else { return Where::Open };
        let (mut referents, mut open) = (Vec::new(), false);
        for led in self.cluster.links(object).all() {
            match led.to.ok().and_then(|referent| Some(referent.clone().on(self.seen_at(referent, depth)?.config?))) {
                Some(neighbour) if may_use(object, &neighbour.config) => referents.push(neighbour),
                // It cannot follow there.
                Some(_) => {}
                None => open = true,
            }
        }
        let led = !referents.is_empty();
        let torn = referents.iter().any(|other| other.config != referents[0].config);
        if open && !led {
            return Where::Open;
        }
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let configs = self.cluster.configs_for(namespace);
        match place(object, &Known { configs, referents, default: self.default.cloned() }) {
            Ok(placement) => Where::On(placement.config),
            Err(why) if torn => Where::Torn(why),
            Err(why) => Where::Nowhere(why),
        }
    }
}
