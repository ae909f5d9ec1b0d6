//! Where the host makes a copy.

use libvirt::{Connection, Pool, VolumeId};

use super::{Order, order::Shape, store};
use crate::volume::{devices, left::Expected};

/// What is said where a copy does not fit.
pub(super) const NO_ROOM: &str = "the pool has no room for a copy";

/// The volume that is to be made of another one.
pub(super) struct Place {
    to: VolumeId,
    shape: Shape,
    left: Option<Expected>,
    /// The bytes that it is to have in the end, where that is known.
    least: Option<u64>,
}

impl Place {
    pub(super) fn of(order: &Order, least: Option<u64>) -> Self {
        Self { to: order.volume(), shape: order.shape(), left: order.left.clone(), least }
    }

    /// The same, of a copy of this volume.
    pub(super) fn of_copy(order: &Order, least: Option<u64>, from: &VolumeId) -> Self {
        let original = Some((from.clone(), order.format));
        let left = order.left.clone().map(|left| Expected { original, ..left });
        Self { left, ..Self::of(order, least) }
    }

    /// What jobs of the host are told apart by.
    pub(super) fn object(&self) -> String {
        format!("{}/{}", self.to.pool, self.to.name)
    }

    /// The pool, with nothing in it by that name, and the description of a volume of so many bytes as that pool takes it.
    pub(super) fn ready<'c>(&self, host: &'c Connection, size: u64) -> anyhow::Result<(Pool<'c>, String)> {
        let pool = store::vacant(host, &self.to.pool, &self.to.name, self.left.as_ref())?;
        let text = devices::described(&pool, &self.shape.describe(size), self.least)?;
        Ok((pool, text))
    }

    /// Why it could not be made.
    pub(super) fn not_made(&self, error: libvirt::Error) -> anyhow::Error {
        store::not_made(error, &self.to.name, self.left.is_some())
    }
}
