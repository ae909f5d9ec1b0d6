//! What an image on a host refers to, before a guest gets it. A guest that had it as raw bytes may have written any header, and QEMU opens
//! the files that a header names.
//!
//! ```text
//! volume said by its names, qcow2 ──▶ first bytes ──▶ data file? refused ──▶ backing file: a volume of an active pool? ──▶ its first bytes …
//! ```

use std::path::Path;

use anyhow::Context as _;
use apis::{
    Domain, Managed,
    domain::{Disk, DiskDevice},
    volume::Format,
};
use libvirt::{Connection, xml::Element};
use managed::external::Refusal;

use super::{Surroundings, render::DISK};
use crate::{
    storage::plain_path,
    volume::image::{self, HEAD},
};

/// How many files may lie on each other.
const DEPTH: usize = 32;

/// Fails when an image that the guest is to get anew, said by the names of pool and volume, names a file that no volume of the host is. What
/// a Volume object stands for is looked at when it is imported.
pub(super) fn check(
    host: &Connection,
    whole: &Domain,
    around: &Surroundings,
    base: Option<&Element>,
) -> anyhow::Result<()> {
    for disk in whole.parameters().disks.iter().flatten().filter(|disk| disk.volume.is_some()) {
        let Some(medium) = around.media.get(&disk.name.0).filter(|medium| medium.format == Format::Qcow2) else {
            continue;
        };
        if !base.is_some_and(|base| has(base, disk, &medium.path)) {
            check_one(host, disk, &medium.path)?;
        }
    }
    Ok(())
}

/// Whether the guest has this image as qcow2 already: then it cannot write to the header. The data of a disk is never exchanged, though
/// others may put a snapshot on it; the medium of a drive is.
fn has(base: &Element, wished: &Disk, path: &str) -> bool {
    let alias = format!("{DISK}{}", wished.name);
    base.find_all("devices/disk").into_iter().filter(|disk| disk.attr_at("driver@type") == Some("qcow2")).any(|disk| {
        let source = disk.attr_at("source@file").or_else(|| disk.attr_at("source@dev"));
        let is_it = disk.attr_at("alias@name") == Some(&alias) && wished.device != Some(DiskDevice::Cdrom);
        is_it || source == Some(path)
    })
}

fn check_one(host: &Connection, disk: &Disk, path: &str) -> anyhow::Result<()> {
    let refuse = |what: String| -> anyhow::Result<()> {
        let name = &disk.name;
        let message = format!("disks[{name}].volume: {path} {what}");
        Err(Refusal { reason: "RefersElsewhere", message }.into())
    };
    let mut at = path.to_owned();
    for _ in 0..DEPTH {
        let read = host.volume_head(&at, HEAD).with_context(|| format!("read the first bytes of {at}"))?;
        let Some(head) = read else {
            return refuse(format!(
                "stands on {at}, which is no volume of an active pool of the host: make a pool of its folder, or flatten the image with qemu-img convert"
            ));
        };
        let seen = image::inspect(&head);
        if seen.external_data {
            return refuse(
                "keeps its data in another file, which its header names: flatten it with qemu-img convert".to_owned(),
            );
        }
        if !seen.backing {
            return Ok(());
        }
        at = match backing(&head).and_then(|name| beside(&at, name)) {
            Some(next) => next,
            None => {
                return refuse(
                    "stands on something that is no plain file: flatten it with qemu-img convert".to_owned(),
                );
            }
        };
    }
    refuse(format!("stands on more than {DEPTH} files"))
}

/// The name of the backing file in a header of qcow2.
fn backing(head: &[u8]) -> Option<&str> {
    let start = usize::try_from(u64::from_be_bytes(*head.get(8..)?.first_chunk()?)).ok()?;
    let length = usize::try_from(u32::from_be_bytes(*head.get(16..)?.first_chunk()?)).ok()?;
    std::str::from_utf8(head.get(start..start.checked_add(length)?)?).ok()
}

/// Where a file is that another one names. `None`: it is named by a protocol, or by nothing.
fn beside(image: &str, name: &str) -> Option<String> {
    let has_protocol = name.split('/').next().is_some_and(|first| first.contains(':'));
    if name.is_empty() || has_protocol {
        return None;
    }
    let whole = plain_path(Path::new(image).parent()?.join(name));
    whole.to_str().map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
mod tests {
    use super::*;

    #[test]
    fn a_backing_file_is_where_its_name_leads() {
        let table = [
            ("base.qcow2", Some("/pool/base.qcow2")),
            ("./a/../base", Some("/pool/base")),
            ("../../../etc/shadow", Some("/etc/shadow")),
            ("/etc/shadow", Some("/etc/shadow")),
            ("json:{\"file\":{}}", None),
            ("nbd://host/x", None),
            ("file:/etc/shadow", None),
            ("", None),
        ];
        for (name, wanted) in table {
            assert_eq!(beside("/pool/top.qcow2", name).as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn the_name_of_a_backing_file_is_read_from_the_header() {
        let mut head = vec![0; 128];
        head[..4].copy_from_slice(b"QFI\xfb");
        head[15] = 104;
        head[19] = 4;
        head[104..108].copy_from_slice(b"base");
        assert_eq!(backing(&head), Some("base"));
        head[19] = 200;
        assert_eq!(backing(&head), None, "it would lie behind the end");
        head[8] = 255;
        assert_eq!(backing(&head), None);
        assert_eq!(backing(b"QFI\xfb"), None);
    }

    #[test]
    fn only_an_image_that_is_had_as_qcow2_is_known() {
        let base = |format: &str| {
            Element::parse(&format!(
                "<domain><devices><disk><driver type='{format}'/><source file='/p/a'/><alias name='ua-disk-a'/></disk></devices></domain>"
            ))
            .unwrap()
        };
        let disk = |name: &str, device: Option<DiskDevice>| {
            let disk: Disk = serde_json::from_value(serde_json::json!({"name": name})).unwrap();
            Disk { device, ..disk }
        };
        let (a, b, drive) = (disk("a", None), disk("b", None), disk("a", Some(DiskDevice::Cdrom)));
        let has_of = |format: &str, disk: &Disk, path: &str| has(&base(format), disk, path);
        assert!(has_of("qcow2", &b, "/p/a") && has_of("qcow2", &a, "/p/a"));
        assert!(has_of("qcow2", &a, "/p/b"), "a snapshot of others is on it");
        assert!(!has_of("qcow2", &b, "/p/b") && !has_of("qcow2", &drive, "/p/b") && !has_of("raw", &a, "/p/a"));
    }
}
