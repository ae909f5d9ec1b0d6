//! Owner and mode of a volume's file, in libvirt's description.

use anyhow::Context;
use apis::{permissions::PermissionsObservation, volume::VolumePermissions};
use libvirt::{Volume, xml::Element};
use managed::external::Refusal;

use crate::{hosts::Left, storage::permissions as seen};

/// The description of a new volume with these permissions. What is not said is libvirt's own.
pub(super) fn permitted(mut description: Element, permissions: Option<&VolumePermissions>) -> Element {
    let Some(VolumePermissions { mode, owner, group }) = permissions else { return description };
    let parts =
        [("mode", mode.clone()), ("owner", owner.map(|id| id.to_string())), ("group", group.map(|id| id.to_string()))];
    let parts = parts.into_iter().filter_map(|(name, text)| Some(Element::new(name).text(text?)));
    let element = Element::new("permissions").children(parts);
    if let Some(target) = description.elements_mut().find(|child| child.name == "target") {
        target.push(element);
    }
    description
}

/// Those of a volume that is a file. A device's are its host's own business.
pub(super) fn observed(description: &Element) -> Option<PermissionsObservation> {
    seen(description).filter(|_| description.get("type") == Some("file"))
}

/// Whether a volume that was made has what was asked for. libvirt takes what it sees of a file that is still being made for what was asked:
/// who describes the volume at that moment has it made with the permissions that it happens to have.
pub(super) fn are_kept(wished: &Element, made: &Element) -> bool {
    let Some(want) = seen(wished) else { return true };
    let have = seen(made).unwrap_or_default();
    let mode = |text: &Option<String>| text.as_deref().and_then(|text| u32::from_str_radix(text, 8).ok());
    let ids = [(want.owner, have.owner), (want.group, have.group)];
    (want.mode.is_none() || mode(&want.mode) == mode(&have.mode))
        && ids.iter().all(|(want, have)| want.is_none() || want == have)
}

/// How often a volume is made in a row, in case somebody described it at that moment.
const TRIES: usize = 3;

/// Makes a volume with the permissions that are asked for, or leaves none.
pub(super) fn made<'c>(make: impl Fn() -> anyhow::Result<Volume<'c>>, wished: &Element) -> anyhow::Result<()> {
    const STAYS: Left = Left("the volume was made");
    let mut found = None;
    for _ in 0..TRIES {
        let volume = make()?;
        let made = read(&volume).context(STAYS)?;
        if are_kept(wished, &made) {
            return Ok(());
        }
        volume.delete().context("remove the volume").context(STAYS)?;
        found = seen(&made);
    }
    Err(lost(&found.unwrap_or_default()).into())
}

/// Whether a volume has the permissions that are asked for.
pub(super) fn is_as_wished(volume: &Volume<'_>, wished: &Element) -> anyhow::Result<bool> {
    Ok(are_kept(wished, &read(volume)?))
}

fn read(volume: &Volume<'_>) -> anyhow::Result<Element> {
    Element::parse(&volume.describe()?).context("read the volume's description")
}

/// That the pool makes files as it likes: what is exported with `root_squash` or has no owners at all.
fn lost(PermissionsObservation { mode, owner, group }: &PermissionsObservation) -> Refusal {
    let id = |id: &Option<i64>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let message = format!(
        "the file was made with mode {}, owner {} and group {} and not as spec.forProvider.permissions says, so it was removed: the pool's storage does not keep them. Say there what it keeps, or make the Volume without permissions or in another pool",
        mode.as_deref().unwrap_or("none"),
        id(owner),
        id(group)
    );
    Refusal { reason: "PermissionsNotKept", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(permissions: &str) -> Element {
        Element::parse(&format!("<volume><target>{permissions}</target></volume>")).unwrap()
    }

    #[test]
    fn a_file_has_what_was_asked_for_whatever_else_it_has() {
        let told = described("<permissions><mode>0640</mode><owner>107</owner></permissions>");
        let file = |mode: &str, owner: i64| {
            described(&format!("<permissions><mode>{mode}</mode><owner>{owner}</owner><group>9</group></permissions>"))
        };
        let kept = [("640", 107), ("0640", 107), ("0644", 107), ("0640", 0)]
            .map(|(mode, owner)| are_kept(&told, &file(mode, owner)));
        assert_eq!(kept, [true, true, false, false]);
        assert!(are_kept(&described(""), &file("0600", 0)) && !are_kept(&told, &described("")));
        let Refusal { reason, message } = lost(&seen(&file("0777", 99)).unwrap());
        assert_eq!(reason, "PermissionsNotKept");
        assert!(message.starts_with("the file was made with mode 0777, owner 99 and group 9 and not as"), "{message}");
    }
}
