//! One disk, one guest: two guests that write to one disk destroy it, and so does one that writes below another's overlay.

use std::sync::Arc;

use anyhow::bail;
use apis::{
    Domain, Managed, Volume,
    domain::{Disk, DiskDevice},
    managed::annotation,
};
use managed::creation::was_created;

use crate::{
    cluster::{Cluster, placed},
    index::ReferrerKind,
    located::only_observes,
    references::{BACKING, Referent, Refers, disk_path},
};

/// Fails when a guest may not write to a volume because of what else uses it.
pub(crate) fn check(cluster: &Cluster, me: &Domain, disk: &Disk, volume: &Volume) -> anyhow::Result<()> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let Some(referent) = volume.as_referent().filter(|_| writes(disk) && !only_observes(me)) else { return Ok(()) };
    let path = volume.observation().and_then(|seen| seen.path.as_deref()).unwrap_or_default();
    let users = cluster.users_of(volume, ReferrerKind::Domain).into_iter();
    let mut users = users.filter_map(|user| cluster.domains.get(&user.namespace, &user.name));
    let is_first = |other: &Arc<Domain>| {
        other.uid() != me.uid() && has(cluster, other, &referent) && comes_first(other, me, volume, path)
    };
    // A guest that has no such disk yet could also meet one whose object names another by now: what a disk holds is never swapped.
    let is_held = holds(me, path);
    let first = users.find(is_first).or_else(|| if is_held { None } else { holder(cluster, me, volume, path) });
    if let Some(other) = first {
        bail!(
            "Volume {name} is a disk of Domain {}: two guests that write to one disk destroy it. Give this one a volume of its own, or readOnly: true on both",
            other.full_name()
        );
    }
    if is_held {
        return Ok(());
    }
    for user in cluster.users_of(volume, ReferrerKind::Volume) {
        let Some(above) = cluster.volumes.get(&user.namespace, &user.name) else { continue };
        if cluster.links(&*above).leads_to(BACKING, &referent) {
            bail!(
                "Volume {name} has Volume {} standing on it, which a guest that writes to it would destroy. Give this guest a volume with backingStore {name}, or readOnly: true",
                above.full_name()
            );
        }
    }
    Ok(())
}

fn writes(disk: &Disk) -> bool {
    disk.device != Some(DiskDevice::Cdrom) && disk.read_only != Some(true)
}

/// Whether the guest writes to this Volume.
fn has(cluster: &Cluster, domain: &Domain, volume: &Referent) -> bool {
    let links = cluster.links(domain);
    let leads = |disk: &Disk| links.leads_to(&disk_path(&disk.name.0), volume);
    domain.effective().parameters().disks.iter().flatten().any(|disk| writes(disk) && leads(disk))
}

/// Whether the guest has had the disk when it was last looked at.
fn holds(domain: &Domain, path: &str) -> bool {
    domain.observation().is_some_and(|seen| seen.disks.iter().any(|disk| disk.path.as_deref() == Some(path)))
}

/// Another guest that writes to the volume, as it was last looked at.
fn holder(cluster: &Cluster, me: &Domain, volume: &Volume, path: &str) -> Option<Arc<Domain>> {
    let writes = |domain: &Domain| {
        let mut disks = domain.observation().into_iter().flat_map(|seen| &seen.disks);
        disks.any(|disk| {
            disk.path.as_deref() == Some(path) && disk.device != Some(DiskDevice::Cdrom) && disk.read_only != Some(true)
        })
    };
    let is_holder = |other: &Arc<Domain>| {
        // An object that only looks at a guest may be of the very guest that this one manages.
        let is_mine = only_observes(&**other) && other.external_name() == me.external_name();
        other.uid() != me.uid() && !is_mine && placed(&**other) == placed(volume) && writes(other)
    };
    cluster.domains.store.state().into_iter().find(is_holder)
}

/// Of two guests that want one disk, the one that has it comes first, then the one that was made, then one of the volume's own namespace,
/// then the older one.
fn comes_first(other: &Domain, me: &Domain, volume: &Volume, path: &str) -> bool {
    let is_elsewhere = |domain: &Domain| domain.metadata.namespace != volume.metadata.namespace;
    let age = |domain: &Domain| {
        let meta = &domain.metadata;
        (meta.creation_timestamp.as_ref().map(|time| time.0), meta.namespace.clone(), meta.name.clone())
    };
    // One whose making has begun may have been looked at before the other was known.
    let begun = |domain: &Domain| domain.annotation(annotation::CREATE_PENDING).is_some();
    let rank = |domain: &Domain| {
        (!holds(domain, path), !was_created(domain), !begun(domain), is_elsewhere(domain), age(domain))
    };
    rank(other) < rank(me)
}

#[cfg(test)]
mod tests {
    use apis::managed::annotation::CREATE_SUCCEEDED;
    use serde_json::json;

    use super::*;

    fn domain(name: &str, born: &str, made: bool, disk: Option<&str>) -> Domain {
        let annotations = if made { json!({CREATE_SUCCEEDED: born}) } else { json!({}) };
        let disks: Vec<_> = disk.into_iter().map(|path| json!({"target": "vda", "path": path})).collect();
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
            "metadata": {"namespace": "n", "name": name, "creationTimestamp": born, "annotations": annotations},
            "spec": {"forProvider": {}}, "status": {"atProvider": {"disks": disks}},
        }))
        .unwrap()
    }

    #[test]
    fn who_has_a_disk_comes_first_then_who_was_made_then_who_is_older() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let mut elsewhere = domain("a", early, false, None);
        elsewhere.metadata.namespace = Some("m".to_owned());
        let table = vec![
            (domain("b", late, true, Some("/v")), domain("a", early, true, None)),
            (domain("b", late, true, None), domain("a", early, false, None)),
            (domain("b", early, false, None), domain("a", late, false, None)),
            (domain("a", early, true, Some("/v")), domain("b", early, true, Some("/v"))),
            (domain("b", late, false, None), elsewhere),
        ];
        let volume: Volume = serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
            "metadata": {"namespace": "n", "name": "v"}, "spec": {"forProvider": {}},
        }))
        .unwrap();
        for (first, second) in table {
            let precedes = |one: &Domain, other: &Domain| comes_first(one, other, &volume, "/v");
            assert!(precedes(&first, &second) && !precedes(&second, &first), "{first:?} {second:?}");
        }
    }
}
