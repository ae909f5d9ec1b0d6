//! One disk, one guest: two guests that write to one disk destroy it, and so does one that writes below another's overlay.

use std::sync::Arc;

use anyhow::bail;
use apis::{
    Domain, Managed, Volume,
    domain::{Disk, DiskDevice, DiskHost, DiskNetwork, DiskObservation, HostVolume},
    managed::annotation,
    placement::ConfigId,
    volume::Format,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use managed::{creation::was_created, plan::only_observes};

use super::render::{Medium, own_medium, port};
use crate::{
    cluster::{Cluster, placed},
    index::ReferrerKind,
    references::{BACKING, Referent, Refers, disk_path},
    storage::is_same_path,
};

/// Data of a host that a guest wants for a disk.
struct Data<'a> {
    /// The config of the host, once that is known.
    config: Option<ConfigId>,
    /// The names of its pool and its own there, where they are known.
    names: Option<(&'a str, &'a str)>,
    /// Where it is there, empty where that is not known.
    path: &'a str,
    /// The object that stands for it, if the guest says it so.
    volume: Option<&'a Volume>,
    /// The disk of a server that it is.
    network: Option<&'a DiskNetwork>,
    /// Whether the guest lets others write to it that let others too.
    shared: bool,
}

/// What uses data already that a guest wants to write to.
pub(crate) enum Taken {
    /// A guest that writes to it.
    Guest(Arc<Domain>),
    /// An overlay that stands on it.
    Overlay(Arc<Volume>),
}

impl Taken {
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Guest(guest) => &guest.metadata,
            Self::Overlay(overlay) => &overlay.metadata,
        }
    }

    /// Whether it is on its way out, so that the data is free soon.
    pub(crate) fn is_leaving(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    /// Whether it is seen to have the data, and does not only say so.
    pub(crate) fn is_seen_with(&self, path: &str) -> bool {
        match self {
            Self::Guest(guest) => holds(guest, path),
            Self::Overlay(overlay) => overlay.observation().is_some(),
        }
    }

    /// Whether it is of another namespace than a guest.
    pub(crate) fn is_foreign(&self, me: &Domain) -> bool {
        self.meta().namespace != me.metadata.namespace
    }

    /// Why a guest does not get the data. What others call theirs is not told across namespaces.
    fn sentence(&self, me: &Domain, data: &Data<'_>) -> String {
        let (shown, near) = (data.shown(), !self.is_foreign(me));
        let named = |kind: &str, name: String| {
            if near { format!("{kind} {name}") } else { format!("a {kind} of another namespace") }
        };
        match self {
            Self::Guest(guest) => {
                let whose = named("Domain", guest.full_name());
                let unless = if data.shared {
                    "; shareable: true counts where both guests have been started with it"
                } else {
                    ""
                };
                format!(
                    "{shown} is a disk of {whose}: two guests that write to one disk destroy it. Give this one a volume of its own, or readOnly: true on both{unless}"
                )
            }
            Self::Overlay(overlay) => {
                let what = named("Volume", overlay.full_name());
                let below =
                    data.volume.map_or(shown.as_str(), |volume| volume.metadata.name.as_deref().unwrap_or_default());
                format!(
                    "{shown} has {what} standing on it, which a guest that writes to it would destroy. Give this guest a volume with backingStore {below}, or readOnly: true"
                )
            }
        }
    }
}

/// Who asks what else uses data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// A pass, for a guest that is stored as everybody else is.
    Pass,
    /// Admission, for a guest that is to be stored: whoever is there already comes first.
    Admission,
}

/// Fails when a guest may not write to a volume because of what else uses it.
pub(crate) fn check(cluster: &Cluster, me: &Domain, disk: &Disk, volume: &Volume) -> anyhow::Result<()> {
    refuse(taken(cluster, me, disk, &Data::of(disk, volume), By::Pass))
}

/// What keeps a guest that is to be stored from a volume, and why.
pub(crate) fn before(cluster: &Cluster, me: &Domain, disk: &Disk, volume: &Volume) -> Option<(Taken, String)> {
    taken(cluster, me, disk, &Data::of(disk, volume), By::Admission)
}

/// The same as [`check`] for a volume that is said by the names that it has on the host.
pub(super) fn check_plain(
    cluster: &Cluster,
    (me, config): (&Domain, &ConfigId),
    disk: &Disk,
    volume: &HostVolume,
    path: &str,
) -> anyhow::Result<()> {
    let names = Some((volume.pool.as_str(), volume.name.as_str()));
    let shared = may_share(disk, Some(volume.format));
    let data = Data { config: Some(config.clone()), names, path, volume: None, network: None, shared };
    refuse(taken(cluster, me, disk, &data, By::Pass))
}

/// The same as [`check`] for a file or block device of the host.
pub(super) fn check_path(
    cluster: &Cluster,
    (me, config): (&Domain, &ConfigId),
    disk: &Disk,
    medium: &Medium,
) -> anyhow::Result<()> {
    refuse(taken(cluster, me, disk, &Data::at(disk, Some(config), medium), By::Pass))
}

/// The same as [`before`] for a file or block device of the host.
pub(crate) fn before_path(
    cluster: &Cluster,
    (me, config): (&Domain, &ConfigId),
    disk: &Disk,
    medium: &Medium,
) -> Option<(Taken, String)> {
    taken(cluster, me, disk, &Data::at(disk, Some(config), medium), By::Admission)
}

/// The same as [`check`] for a disk of a server.
pub(super) fn check_network(
    cluster: &Cluster,
    (me, config): (&Domain, &ConfigId),
    disk: &Disk,
    network: &DiskNetwork,
) -> anyhow::Result<()> {
    refuse(taken(cluster, me, disk, &Data::on(disk, config, network), By::Pass))
}

/// The same as [`before`] for a disk of a server.
pub(crate) fn before_network(
    cluster: &Cluster,
    (me, config): (&Domain, &ConfigId),
    disk: &Disk,
    network: &DiskNetwork,
) -> Option<(Taken, String)> {
    taken(cluster, me, disk, &Data::on(disk, config, network), By::Admission)
}

fn refuse(taken: Option<(Taken, String)>) -> anyhow::Result<()> {
    match taken {
        Some((_, why)) => bail!(why),
        None => Ok(()),
    }
}

fn taken(cluster: &Cluster, me: &Domain, disk: &Disk, data: &Data<'_>, by: By) -> Option<(Taken, String)> {
    if !writes(disk) || only_observes(me) {
        return None;
    }
    let taken = taken_by(cluster, me, data, by)?;
    let why = taken.sentence(me, data);
    Some((taken, why))
}

fn taken_by(cluster: &Cluster, me: &Domain, data: &Data<'_>, by: By) -> Option<Taken> {
    // A guest that has no such disk yet could also meet one that says it otherwise, or whose object names another by now.
    let is_held = holds(me, data.path);
    let others = if is_held { Vec::new() } else { standing_for(cluster, data) };
    let volumes: Vec<&Volume> = data.volume.into_iter().chain(others.iter().map(|volume| &**volume)).collect();
    let homes = volumes.iter().map(|volume| &volume.metadata.namespace).collect();
    // One that wants the disk already, as it is stored, keeps its place.
    let wants = |volume: &&Volume| wants_already(cluster, me, volume);
    let says = || stored(cluster, me).is_some_and(|stored| data.is_said(&stored));
    let is_late = by == By::Admission && !volumes.iter().any(wants) && !says();
    let rivals = Rivals { cluster, me, data, homes, is_late };
    let user = || volumes.iter().find_map(|volume| rivals.user(volume));
    let first = if is_held { user() } else { rivals.writer().or_else(user).or_else(|| rivals.sayer()) };
    if let Some(guest) = first {
        return Some(Taken::Guest(guest));
    }
    if is_held {
        return None;
    }
    let overlay = volumes.iter().find_map(|volume| overlay_of(cluster, volume)).map(Taken::Overlay);
    overlay.or_else(|| rivals.reader().map(Taken::Guest))
}

/// A guest as it is stored.
fn stored(cluster: &Cluster, me: &Domain) -> Option<Arc<Domain>> {
    let (namespace, name) = (me.metadata.namespace.as_deref(), me.metadata.name.as_deref());
    let stored = cluster.domains.get(namespace.unwrap_or_default(), name.unwrap_or_default());
    stored.filter(|stored| stored.uid() == me.uid())
}

/// Whether a guest as it is stored writes to this Volume.
fn wants_already(cluster: &Cluster, me: &Domain, volume: &Volume) -> bool {
    stored(cluster, me)
        .zip(volume.as_referent())
        .is_some_and(|(stored, referent)| has(cluster, &stored, &referent, &writes))
}

/// An overlay that stands on this Volume.
fn overlay_of(cluster: &Cluster, volume: &Volume) -> Option<Arc<Volume>> {
    let referent = volume.as_referent()?;
    let users = cluster.users_of(volume, ReferrerKind::Volume).into_iter();
    let mut above = users.filter_map(|user| cluster.volumes.get(&user.namespace, &user.name));
    above.find(|above| cluster.links(&**above).leads_to(BACKING, &referent))
}

impl<'a> Data<'a> {
    fn of(disk: &Disk, volume: &'a Volume) -> Self {
        let seen = volume.observation();
        let names = seen.and_then(|seen| Some((seen.pool.as_deref()?, seen.name.as_deref()?)));
        let path = seen.and_then(|seen| seen.path.as_deref()).unwrap_or_default();
        let shared = may_share(disk, volume.effective().parameters().format);
        Self { config: placed(volume), names, path, volume: Some(volume), network: None, shared }
    }

    fn at(disk: &Disk, config: Option<&ConfigId>, medium: &'a Medium) -> Self {
        let shared = may_share(disk, Some(medium.format));
        Self { config: config.cloned(), names: None, path: &medium.path, volume: None, network: None, shared }
    }

    fn on(disk: &Disk, config: &ConfigId, network: &'a DiskNetwork) -> Self {
        let shared = may_share(disk, Some(network.format));
        Self { config: Some(config.clone()), names: None, path: "", volume: None, network: Some(network), shared }
    }

    fn shown(&self) -> String {
        if let Some(DiskNetwork { protocol, name, hosts, format: _ }) = self.network {
            let host = hosts.first().map(|host| host.name.as_str()).unwrap_or_default();
            return format!("{protocol:?} {} of {host}", name.as_deref().unwrap_or_default());
        }
        match (self.volume, self.names) {
            (Some(volume), _) => format!("Volume {}", volume.metadata.name.as_deref().unwrap_or_default()),
            (None, Some((pool, name))) => format!("volume {name} in pool {pool}"),
            (None, None) => self.path.to_owned(),
        }
    }

    /// Whether an object is on the host of the data, by whatever config.
    fn is_with<K: Managed>(&self, cluster: &Cluster, object: &K) -> bool {
        placed(object).zip(self.config.as_ref()).is_some_and(|(theirs, ours)| cluster.is_one_host(&theirs, ours))
    }

    /// Whether this is the disk of a server: of one name, and of one server in common.
    fn is_on(&self, other: Option<&DiskNetwork>) -> bool {
        let (Some(ours), Some(theirs)) = (self.network, other) else { return false };
        let place =
            |network: &DiskNetwork, host: &DiskHost| (host.name.to_ascii_lowercase(), port(network.protocol, host));
        let is_shared = |host: &DiskHost| theirs.hosts.iter().any(|other| place(ours, host) == place(theirs, other));
        (ours.protocol, &ours.name) == (theirs.protocol, &theirs.name) && ours.hosts.iter().any(is_shared)
    }

    /// Whether a guest with such a disk and this one would destroy each other's data.
    fn clashes(&self, disk: &Disk) -> bool {
        writes(disk) && !(self.shared && disk.shareable == Some(true))
    }

    /// Whether a guest says this data by the names or the path that it has on the host.
    fn is_said(&self, domain: &Domain) -> bool {
        let whole = domain.effective();
        let mut disks = whole.parameters().disks.iter().flatten().filter(|disk| self.clashes(disk));
        let names = |volume: &HostVolume| self.names == Some((volume.pool.as_str(), volume.name.as_str()));
        let is_at = |medium: Medium| !self.path.is_empty() && is_same_path(&medium.path, self.path);
        disks.any(|disk| {
            disk.volume.as_ref().is_some_and(names)
                || own_medium(disk).is_some_and(is_at)
                || self.is_on(disk.network.as_ref())
        })
    }
}

/// Whether a disk is one that several guests may write to: libvirt has that of format Raw alone.
fn may_share(disk: &Disk, format: Option<Format>) -> bool {
    disk.shareable == Some(true) && format == Some(Format::Raw)
}

/// Whether a guest may write to a disk.
pub(crate) fn writes(disk: &Disk) -> bool {
    disk.device != Some(DiskDevice::Cdrom) && disk.read_only != Some(true)
}

/// All Volumes that stand for the data.
fn standing_for(cluster: &Cluster, data: &Data<'_>) -> Vec<Arc<Volume>> {
    let is_it = |volume: &Arc<Volume>| {
        let path = volume.observation().and_then(|seen| seen.path.as_deref());
        path == Some(data.path) && data.is_with(cluster, &**volume)
    };
    if data.path.is_empty() { Vec::new() } else { cluster.volumes.store.state().into_iter().filter(is_it).collect() }
}

/// The other guests that may want the data.
struct Rivals<'a> {
    cluster: &'a Cluster,
    me: &'a Domain,
    data: &'a Data<'a>,
    /// The namespaces of the Volumes that stand for the data.
    homes: Vec<&'a Option<String>>,
    /// Whether everybody who is there already comes first.
    is_late: bool,
}

impl Rivals<'_> {
    /// A guest that writes to the data, as it was last looked at.
    fn writer(&self) -> Option<Arc<Domain>> {
        let is_it = |disk: &DiskObservation| {
            let writes = disk.device != Some(DiskDevice::Cdrom) && disk.read_only != Some(true);
            let shares = self.data.shared && disk.shareable == Some(true);
            let is_it = disk.path.as_deref() == Some(self.data.path) || self.data.is_on(disk.network.as_ref());
            writes && !shares && is_it
        };
        // An object that only looks at a guest may be of the very guest that this one manages.
        let is_mine = |other: &Domain| only_observes(other) && other.external_name() == self.me.external_name();
        self.other(|other| !is_mine(other) && other.observation().is_some_and(|seen| seen.disks.iter().any(is_it)))
    }

    /// A guest that stands on the data, as it was last looked at: by a snapshot that others made.
    fn reader(&self) -> Option<Arc<Domain>> {
        let is_it = |disk: &DiskObservation| disk.backing_paths.iter().any(|path| path == self.data.path);
        self.other(|other| other.observation().is_some_and(|seen| seen.disks.iter().any(is_it)))
    }

    /// A guest that writes to this Volume, and comes first.
    fn user(&self, volume: &Volume) -> Option<Arc<Domain>> {
        let referent = volume.as_referent()?;
        let users = self.cluster.users_of(volume, ReferrerKind::Domain).into_iter();
        let users = users.filter_map(|user| self.cluster.domains.get(&user.namespace, &user.name));
        let clashes = |disk: &Disk| self.data.clashes(disk);
        let has_it = |other: &Domain| has(self.cluster, other, &referent, &clashes) && self.comes_first(other);
        users.filter(|other| !is_same(other, self.me) && has_it(other)).min_by_key(is_leaving)
    }

    /// A guest that says the data by its names on the host, and comes first.
    fn sayer(&self) -> Option<Arc<Domain>> {
        self.other(|other| !only_observes(other) && self.data.is_said(other) && self.comes_first(other))
    }

    /// Another guest on the host of the data.
    fn other(&self, is_it: impl Fn(&Domain) -> bool) -> Option<Arc<Domain>> {
        let is_it =
            |other: &Arc<Domain>| !is_same(other, self.me) && is_it(other) && self.data.is_with(self.cluster, &**other);
        self.cluster.domains.store.state().into_iter().filter(is_it).min_by_key(is_leaving)
    }

    fn comes_first(&self, other: &Domain) -> bool {
        self.is_late || comes_first(other, self.me, self.data.path, &self.homes)
    }
}

/// Who stays is named before who is on the way out.
fn is_leaving(domain: &Arc<Domain>) -> bool {
    domain.metadata.deletion_timestamp.is_some()
}

/// Whether both are one object, or one an earlier life of the other that is not seen to be gone yet.
pub(crate) fn is_same(one: &Domain, other: &Domain) -> bool {
    let names = |domain: &Domain| (domain.metadata.namespace.clone(), domain.metadata.name.clone());
    one.uid() == other.uid() || names(one) == names(other)
}

/// Of two guests that want one disk, the one that has it comes first, then the one that was made, then one of a namespace that has a Volume
/// for it, then the older one. The answer is the same whoever asks.
fn comes_first(other: &Domain, me: &Domain, path: &str, homes: &[&Option<String>]) -> bool {
    let is_elsewhere = |domain: &Domain| !homes.is_empty() && !homes.contains(&&domain.metadata.namespace);
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

/// Whether the guest has this Volume as a disk that is so.
fn has(cluster: &Cluster, domain: &Domain, volume: &Referent, is_so: &dyn Fn(&Disk) -> bool) -> bool {
    let links = cluster.links(domain);
    let leads = |disk: &Disk| links.leads_to(&disk_path(&disk.name.0), volume);
    domain.effective().parameters().disks.iter().flatten().any(|disk| is_so(disk) && leads(disk))
}

/// Whether the guest has had the disk when it was last looked at.
fn holds(domain: &Domain, path: &str) -> bool {
    domain.observation().is_some_and(|seen| seen.disks.iter().any(|disk| disk.path.as_deref() == Some(path)))
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
        let home = Some("n".to_owned());
        for (first, second) in table {
            let precedes = |one: &Domain, other: &Domain| comes_first(one, other, "/v", &[&home]);
            assert!(precedes(&first, &second) && !precedes(&second, &first), "{first:?} {second:?}");
        }
    }
}
