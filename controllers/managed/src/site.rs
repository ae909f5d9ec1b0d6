//! Where a pass takes place.

use std::sync::Arc;

use apis::{Managed, placement::Placement};

use crate::{
    creation::Creation,
    external::{Connect, External, Pass, Refusal},
    plan::Policies,
};

/// `status.atProvider` of a kind's objects.
pub(crate) type Observation<E> = <<E as External>::Managed as Managed>::Observation;

/// Where a pass takes place.
pub(crate) struct Site<'a, E: External> {
    pub(crate) host: &'a Arc<<E::Connector as Connect>::Host>,
    pub(crate) placement: &'a Placement,
    pub(crate) policies: Policies,
    /// Why the host is left alone.
    pub(crate) hold: Option<Refusal>,
    pub(crate) referents: &'a E::Referents,
}

impl<E: External> Site<'_, E> {
    pub(crate) fn pass<'b>(&'b self, object: &'b E::Managed) -> Pass<'b, E> {
        let Self { host, placement, policies, hold: _, referents: _ } = self;
        Pass { object, host, config: &placement.config, policies: *policies, creation: Creation::of(object) }
    }
}
