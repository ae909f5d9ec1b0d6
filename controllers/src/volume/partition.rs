//! Partitions, which have the names that their disk gives them.
//!
//! libvirt makes a partition before it looks whether it has the name that was wished, and takes it away again. Where the kernel is still
//! busy with the new one it stays, unlisted, and libvirt knows of no free room any more until it has looked through the pool. So a name
//! that cannot be is refused before, where it can be told.

use anyhow::Context;
use libvirt::{Pool, xml::Element};
use managed::external::Refusal;

/// Fails where the next partition of a pool of disks will have another name.
pub(super) fn check_name(pool: &Pool<'_>, pool_type: &str, name: &str) -> anyhow::Result<()> {
    if pool_type != "disk" {
        return Ok(());
    }
    let description = Element::parse(&pool.describe(false)?).context("parse the pool's description")?;
    let names: Vec<String> = pool.list_volumes()?.into_iter().map(|volume| volume.name).collect();
    match next(&description, &names).filter(|next| next != name) {
        Some(next) => Err(refusal(&next).into()),
        None => Ok(()),
    }
}

/// That a partition cannot have the name that is wished, and which one it can have.
pub(super) fn refusal(next: &str) -> Refusal {
    Refusal {
        reason: "NameRefused",
        message: format!(
            "create volume: a partition has the name that its disk gives it; the next one here is had by the annotation crossplane.io/external-name: {next}"
        ),
    }
}

/// Whether libvirt itself refused a name: it may have forgotten what room the disk has.
pub(super) fn was_refused(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.reason == "NameRefused")
}

/// The name of the next partition. None where the host alone can tell: of disks by other names than the kernel's, and of partition tables
/// other than GPT, whose partitions are of several kinds.
fn next(pool: &Element, names: &[String]) -> Option<String> {
    if pool.attr_at("source/format@type") != Some("gpt") {
        return None;
    }
    let disk = pool.attr_at("source/device@path")?.strip_prefix("/dev/")?;
    let is_kernels = ["sd", "vd", "xvd", "hd", "nvme", "mmcblk"].iter().any(|kind| disk.starts_with(kind));
    if !is_kernels || !disk.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let part = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    (1..=128).map(|number| format!("{disk}{part}{number}")).find(|name| !names.contains(name))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]
mod tests {
    use super::*;

    #[test]
    fn the_next_partition_has_the_lowest_number_that_is_free() {
        let next = |device: &str, format: &str, names: &[&str]| {
            let text =
                format!("<pool type='disk'><source><device path='{device}'/><format type='{format}'/></source></pool>");
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            next(&Element::parse(&text).unwrap(), &names)
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(next("/dev/vdc", "gpt", &[]), some("vdc1"));
        assert_eq!(next("/dev/vdc", "gpt", &["vdc1", "vdc3"]), some("vdc2"));
        assert_eq!(next("/dev/nvme0n1", "gpt", &["nvme0n1p1"]), some("nvme0n1p2"));
        for unknown in ["/dev/disk/by-id/a", "/dev/mapper/mpatha", "/dev/dm-1", "/srv/vdc"] {
            assert_eq!(next(unknown, "gpt", &[]), None, "{unknown}");
        }
        assert_eq!(next("/dev/vdc", "dos", &[]), None, "it has three kinds of partitions");
    }
}
