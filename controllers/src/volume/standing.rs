//! What a volume that was found is to its object: pure.

use std::fmt;

use anyhow::Context;
use apis::{Managed, Volume, managed::annotation, quantity::Quantity, volume::Format};
use libvirt::xml::Element;
use managed::{
    creation::was_created,
    external::{Pass, Refusal, Standing},
};

use super::Volumes;
use crate::storage;

/// What would make a volume as wished: it only ever grows. Of one that others made and that is only looked at: how it differs.
#[derive(Debug)]
pub struct Change {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The format that it has, and the wished one. Never changed.
    pub(super) format: Option<(Option<Format>, Format)>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, format } = self;
        let capacity = || format!("capacity: {}, wished {}", Quantity::of_bytes(*from), Quantity::of_bytes(*to));
        let format = format.map(|(have, want)| {
            format!("format: {}, wished {}", have.map_or("another", Format::as_libvirt), want.as_libvirt())
        });
        let parts: Vec<String> = (from != to).then(capacity).into_iter().chain(format).collect();
        f.write_str(&parts.join("; "))
    }
}

pub(super) fn wished_format(object: &Volume) -> Format {
    object.effective().parameters().format.unwrap_or_default()
}

/// Whether the status has shown the volume already, which it does only of a whole one. The annotation that says so may have been
/// taken away by hand; the image is not fetched over a guest's data for that.
pub(super) fn was_whole(object: &Volume) -> bool {
    !was_created(object) && object.observation().is_some_and(|seen| seen.id.is_some())
}

/// The format that the pool shows. Others are somebody's own doing and not ours to name.
pub(super) fn format(description: &Element) -> Option<Format> {
    [Format::Raw, Format::Qcow2]
        .into_iter()
        .find(|format| description.attr_at("target/format@type") == Some(format.as_libvirt()))
}

/// A volume that was there once and is gone is not made again by itself: its data would be missing, and a guest would boot blank.
pub(super) fn absent(pass: &Pass<'_, Volumes>) -> Standing<Change> {
    let allowed = pass.object.annotation(annotation::RECREATE) == Some(pass.object.uid());
    if !was_created(pass.object) || allowed {
        return Standing::Absent;
    }
    Standing::Barred(Refusal {
        reason: "Lost",
        message: format!(
            "the volume was there and is gone; it is not made again by itself, because its data would be missing. Bring it back, or allow an empty one with the annotation {}: {}",
            annotation::RECREATE,
            pass.object.uid()
        ),
    })
}

/// How a volume that is only looked at differs from what the spec says of it: nothing is done about it, so nothing is refused.
pub(super) fn looked_at(object: &Volume, description: &Element) -> anyhow::Result<Standing<Change>> {
    let (wished, from) = (object.parameters(), storage::bytes(description, "capacity"));
    let capacity = wished.capacity.as_ref().map(Quantity::bytes).transpose();
    let capacity = capacity.map_err(anyhow::Error::msg).context("capacity")?;
    let to = capacity.filter(|capacity| capacity.next_multiple_of(512) != from).unwrap_or(from);
    let have = format(description);
    let format = wished.format.filter(|wished| Some(*wished) != have).map(|wished| (have, wished));
    let settled = from == to && format.is_none();
    Ok(if settled { Standing::Settled } else { Standing::Drifted(Change { from, to, format }, None) })
}
