//! Volumes of pools that hold no files: logical volumes, partitions, units of a SAN. libvirt makes them otherwise than files.

use anyhow::{Context, ensure};
use apis::quantity::Quantity;
use libvirt::{Pool, xml::Element};
use managed::external::Refusal;

use super::partition;

/// The most that a kind of pool rounds a volume's size up by: extents of a volume group are 4 MiB unless somebody chose others, and a
/// partition ends where the next track begins.
const ROUNDED: u64 = 64 << 20;

/// What a pool's type means for its volumes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Files, or what behaves like them.
    Files,
    /// Devices that are made of its room.
    Devices,
    /// Devices that somebody else made.
    Found,
}

fn holds(pool_type: &str) -> Holds {
    match pool_type {
        "logical" | "disk" | "zfs" => Holds::Devices,
        "iscsi" | "iscsi-direct" | "scsi" | "mpath" => Holds::Found,
        _ => Holds::Files,
    }
}

/// Whether the volumes of such a pool are files of the host.
pub(super) fn are_files(pool_type: &str) -> bool {
    matches!(pool_type, "dir" | "fs" | "netfs" | "vstorage")
}

/// Whether the volumes of such a pool are there before it and outlive it.
pub(crate) fn are_found(pool_type: &str) -> bool {
    holds(pool_type) == Holds::Found
}

/// The description of a new volume as a pool of this type takes it. `least` are the bytes that it is to have in the end, which a device
/// has from its beginning: not every kind of them grows.
///
/// A logical volume has all of its room set aside. With less libvirt makes it a snapshot of nothing, which becomes invalid, and with
/// it all that the guest wrote, as soon as the guest has written that much.
pub(super) fn fitted(wished: &Element, pool_type: &str, least: Option<u64>) -> anyhow::Result<Element> {
    let holds = holds(pool_type);
    if holds == Holds::Found {
        let message = format!(
            "the volumes of a pool of type {pool_type} are found, not made: say the name of one (virsh vol-list) with the annotation crossplane.io/external-name, and managementPolicies: [\"Observe\"]"
        );
        return Err(Refusal { reason: "NotOffered", message }.into());
    }
    ensure!(
        are_files(pool_type) || wished.find("target/permissions").is_none(),
        Refusal {
            reason: "NotOffered",
            message: format!(
                "a pool of type {pool_type} holds no files, and only a file has an owner and a mode: create the Volume without spec.forProvider.permissions"
            )
        }
    );
    if holds == Holds::Files {
        return Ok(wished.clone());
    }
    let format = wished.attr_at("target/format@type").unwrap_or("raw");
    let refusal = || Refusal {
        reason: "NotOffered",
        message: format!(
            "a pool of type {pool_type} holds devices, and a device is no {format} image: set spec.forProvider.format: Raw"
        ),
    };
    ensure!(format == "raw", refusal());
    // A device that is made without it would look encrypted, and not be.
    ensure!(
        wished.find("target/encryption").is_none() && wished.find("encryption").is_none(),
        Refusal {
            reason: "NotOffered",
            message: format!("volumes of a pool of type {pool_type} cannot be encrypted yet")
        }
    );
    let mut fitted = wished.clone();
    // The words of a partition's format are others, and a device has none.
    let all_set_aside = pool_type == "logical" || pool_type == "disk";
    fitted.retain(|child| child.name != "target" && (child.name != "allocation" || !all_set_aside));
    for size in fitted.elements_mut().filter(|child| child.name == "capacity") {
        let bytes = size.value().and_then(|bytes| bytes.parse().ok()).unwrap_or(0).max(least.unwrap_or(0));
        size.set_text(bytes.to_string());
    }
    Ok(fitted)
}

/// The description of a new volume, written, as this pool takes it; see [`fitted`].
pub(super) fn described(pool: &Pool<'_>, wished: &Element, least: Option<u64>) -> anyhow::Result<String> {
    let type_ = pool.type_()?;
    partition::check_name(pool, &type_, wished.text_at("name").unwrap_or_default())?;
    fitted(wished, &type_, least)?.write().context("write the description")
}

/// That a device has its size from its beginning, and so cannot take what ends nobody knows where.
pub(super) fn sized(pool_type: &str, is_endless: bool) -> Result<(), Refusal> {
    if holds(pool_type) != Holds::Devices || !is_endless {
        return Ok(());
    }
    let message = format!(
        "a volume of a pool of type {pool_type} has its size from its beginning, and a raw image does not say how large it is: set spec.forProvider.capacity"
    );
    Err(Refusal { reason: "NotOffered", message })
}

/// Whether a device that is larger than wished is no larger than its kind of pool makes it.
pub(super) fn is_rounded(description: &Element, wished: u64, from: u64) -> bool {
    description.get("type") == Some("block") && from.saturating_sub(wished) < ROUNDED
}

/// Why a volume could not be made, with what helps where its name cannot be.
pub(super) fn not_made(error: libvirt::Error) -> anyhow::Error {
    let expected = error.message().split_once("invalid partition name").and_then(|(_, rest)| rest.rsplit('\'').nth(1));
    let refusal = expected.map(partition::refusal);
    let error = anyhow::Error::new(error);
    match refusal {
        Some(refusal) => error.context(refusal),
        None => error.context("create volume"),
    }
}

/// Why a volume did not grow, with what helps where its kind of pool cannot.
pub(super) fn not_grown(error: libvirt::Error, from: u64) -> anyhow::Error {
    if error.kind == libvirt::Kind::Busy {
        return libvirt::Error::busy("the volume grows when the host has come to an end with it, which copies it")
            .into();
    }
    let can_not = error.is_unsupported();
    let error = anyhow::Error::new(error);
    if !can_not {
        return error.context("grow volume");
    }
    let message = format!(
        "the host's libvirt cannot grow volumes of this kind of pool; the volume stays at {}. Set capacity to that, or grow the device on the host",
        Quantity::of_bytes(from)
    );
    error.context(Refusal { reason: "GrowRefused", message })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
mod tests {
    use apis::volume::{Format, VolumePermissions};

    use super::*;
    use crate::volume::{permissions::permitted, render::blank};

    fn made(pool_type: &str, format: Format, least: Option<u64>) -> Result<String, String> {
        let wished = blank("a", format, 8 << 20);
        match fitted(&wished, pool_type, least) {
            Ok(fitted) => Ok(fitted.inline()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_device_is_raw_has_its_whole_size_from_the_beginning_and_all_of_its_room() {
        let file = blank("a", Format::Qcow2, 8 << 20);
        assert!(fitted(&file, "dir", None).unwrap() == file);
        let device =
            |bytes: u64| Ok(format!("<volume><name>a</name><capacity unit=\"bytes\">{bytes}</capacity></volume>"));
        assert_eq!(made("logical", Format::Raw, None), device(8 << 20));
        assert_eq!(made("disk", Format::Raw, Some(16 << 20)), device(16 << 20));
        assert_eq!(
            made("logical", Format::Qcow2, None),
            Err("a pool of type logical holds devices, and a device is no qcow2 image: set spec.forProvider.format: Raw".to_owned())
        );
        assert!(
            made("scsi", Format::Raw, None)
                .unwrap_err()
                .starts_with("the volumes of a pool of type scsi are found, not made")
        );
    }

    #[test]
    fn only_files_have_an_owner_and_a_mode_and_only_they_grow_as_content_comes() {
        let permissions = VolumePermissions { mode: Some("0640".to_owned()), ..VolumePermissions::default() };
        let wished = permitted(blank("a", Format::Raw, 8 << 20), Some(&permissions));
        let refusal = |pool_type: &str| fitted(&wished, pool_type, None).err().map(|error| error.to_string());
        let sentence = |pool_type: &str| {
            format!(
                "a pool of type {pool_type} holds no files, and only a file has an owner and a mode: create the Volume without spec.forProvider.permissions"
            )
        };
        assert_eq!(["dir", "netfs"].map(refusal), [None, None]);
        for pool_type in ["logical", "disk", "rbd"] {
            assert_eq!(refusal(pool_type), Some(sentence(pool_type)));
        }
        assert!(sized("dir", true).is_ok() && sized("logical", false).is_ok());
        assert_eq!(
            sized("logical", true).map_err(|refusal| refusal.message),
            Err("a volume of a pool of type logical has its size from its beginning, and a raw image does not say how large it is: set spec.forProvider.capacity".to_owned())
        );
    }

    #[test]
    fn a_device_may_be_as_much_larger_as_extents_and_tracks_make_it() {
        let of = |type_: &str| Element::new("volume").attr("type", type_);
        assert!(is_rounded(&of("block"), 10 << 20, 12 << 20));
        assert!(!is_rounded(&of("block"), 10 << 20, 1 << 30));
        assert!(!is_rounded(&of("file"), 10 << 20, 12 << 20));
    }

    #[test]
    fn the_name_that_a_partition_can_have_is_told() {
        let said = "internal error: invalid partition name 'data', expected 'vdc1'";
        let told = not_made(libvirt::Error::from_codes(1, 18, said));
        assert_eq!(
            format!("{told:#}"),
            format!(
                "create volume: a partition has the name that its disk gives it; the next one here is had by the annotation crossplane.io/external-name: vdc1: {said}"
            )
        );
    }
}
