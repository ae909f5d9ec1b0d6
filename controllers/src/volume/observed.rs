//! What a description says of a volume, in the words of the spec: pure.

use apis::{
    Managed, Volume,
    quantity::Quantity,
    volume::{BackingObservation, VolumeObservation},
};
use libvirt::{mirror::VolumeEntry, xml::Element};

use super::{encryption, permissions, standing::format};
use crate::storage;

/// What is shown of an object's volume, which is described like this.
pub(super) fn observe(object: &Volume, entry: &VolumeEntry, description: &Element) -> VolumeObservation {
    let says_permissions = object.effective().parameters().permissions.is_some();
    VolumeObservation {
        id: description.text_at("key").map(str::to_owned),
        pool: Some(entry.pool.clone()),
        name: Some(entry.name.clone()),
        path: description.text_at("target/path").map(str::to_owned),
        type_: storage::type_(Some(description)),
        capacity: Some(Quantity::of_bytes(storage::bytes(description, "capacity"))),
        format: format(description),
        // libvirt gives a file to whoever runs a guest on it, and back: what changes by itself is nothing to tell unasked.
        permissions: permissions::observed(description).filter(|_| says_permissions),
        backing_store: description
            .text_at("backingStore/path")
            .map(|path| BackingObservation { path: path.to_owned() }),
        encryption: encryption::observed(description),
    }
}
