//! Whose a file or a folder of the host is, in libvirt's description of a volume or a pool.

use apis::permissions::PermissionsObservation;
use libvirt::xml::Element;

/// What a description says of them; none where it says nothing.
pub fn permissions(description: &Element) -> Option<PermissionsObservation> {
    let text = |name: &str| description.text_at(&format!("target/permissions/{name}")).map(str::to_owned);
    // -1 stands for "as it is".
    let id = |name: &str| text(name)?.parse().ok().filter(|id| *id >= 0);
    let seen = PermissionsObservation { mode: text("mode"), owner: id("owner"), group: id("group") };
    (seen != PermissionsObservation::default()).then_some(seen)
}
