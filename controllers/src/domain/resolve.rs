//! What other objects have to tell about a Domain.

use std::borrow::Cow;

use anyhow::{Context, anyhow, bail, ensure};
use apis::{
    CloudInit, Domain, Managed, Network, Volume,
    cloud_init::SeedFormat,
    domain::{Disk, NetworkInterface},
    placement::ConfigId,
    volume::{Format, VolumeType},
};
use managed::{creation::was_created, external::Refusal, plan::only_observes};

use super::{
    Surroundings, exclusive,
    reach::refused,
    render::{DiskType, Layer, Medium, own_medium},
};
use crate::{
    cloud_init,
    cluster::Cluster,
    initial,
    links::{Asker, Links, ready},
    network::reserved,
    references::{self, BACKING, Referent},
    storage,
    volume::encryption::{is_encrypted, secret_of},
};

/// Reads the referents of a Domain as it is kept. What is missing or not Ready is waited for, unless its field may do without it.
pub(super) fn resolve(cluster: &Cluster, object: &Domain, config: &ConfigId) -> anyhow::Result<Surroundings> {
    initial::check(object)?;
    // Nothing is made of what is only looked at.
    let whole = if only_observes(object) { Cow::Borrowed(object) } else { object.effective() };
    gather(cluster, (object, &whole), &cluster.links_of(object, &whole), config)
}

/// The same for a Domain that is made with these fields.
pub(super) fn resolve_to_make(
    cluster: &Cluster,
    objects: (&Domain, &Domain),
    links: &Links,
    config: &ConfigId,
) -> anyhow::Result<Surroundings> {
    gather(cluster, objects, links, config)
}

/// What the fields lead to of a Domain that is made with them. One that is made again gets the disks that it had, whatever selectors would
/// choose by now: it is the same guest, and its data is there.
pub(super) fn links_to_make(cluster: &Cluster, object: &Domain, whole: &Domain) -> Links {
    let links = cluster.links_of(object, whole);
    if was_created(object) { links.with_former_disks() } else { links }
}

fn gather(
    cluster: &Cluster,
    (object, whole): (&Domain, &Domain),
    links: &Links,
    config: &ConfigId,
) -> anyhow::Result<Surroundings> {
    let (asker, parameters) = (Asker::of(object, config), whole.parameters());
    let policy = cluster.host_spec(config).and_then(|spec| spec.policy).unwrap_or_default();
    if !only_observes(object) {
        let refused = refused(parameters, &policy, config);
        if !refused.is_empty() {
            return Err(Refusal { reason: "NotAllowed", message: refused.join("; ") }.into());
        }
    }
    let raw_xml = policy.raw_xml.unwrap_or_default();
    let mut around = Surroundings { choices: links.choices(), raw_xml, ..Surroundings::default() };
    for disk in parameters.disks.iter().flatten() {
        let medium = medium(cluster, &asker, links, (object, config), disk)?;
        around.put_disk(links, disk, medium)?;
    }
    for nic in parameters.network_interfaces.iter().flatten() {
        let network = links.find(&cluster.networks, &asker, &references::interface_path(&nic.name.0))?;
        around.put_interface(cluster, object, links, (nic, network.as_deref()))?;
    }
    if parameters.cloud_init_ref.is_some() || parameters.cloud_init_selector.is_some() {
        let seed = links.find(&cluster.cloud_inits, &asker, references::CLOUD_INIT)?;
        around.put_seed(seed.as_deref())?;
    }
    if parameters.os.is_some() {
        around.kernel = boot_file(cluster, &asker, links, references::KERNEL)?;
        around.initrd = boot_file(cluster, &asker, links, references::INITRD)?;
        if around.kernel.is_none() {
            around.leave_out(links, references::KERNEL.to_owned());
        }
    }
    Ok(around)
}

impl Surroundings {
    /// What is in a disk, or that the disk is left out.
    fn put_disk(&mut self, links: &Links, disk: &Disk, medium: Option<Medium>) -> anyhow::Result<()> {
        let Some(medium) = medium else {
            self.leave_out(links, references::disk_path(&disk.name.0));
            return Ok(());
        };
        let is_raw = disk.shareable != Some(true) || medium.format == Format::Raw;
        ensure!(is_raw, "disks {}: shareable: true needs a volume of format Raw", disk.name);
        self.media.insert(disk.name.0.clone(), medium);
        Ok(())
    }

    /// What an interface is on, or that the interface is left out.
    fn put_interface(
        &mut self,
        cluster: &Cluster,
        object: &Domain,
        links: &Links,
        (nic, network): (&NetworkInterface, Option<&Network>),
    ) -> anyhow::Result<()> {
        let path = references::interface_path(&nic.name.0);
        match network {
            Some(network) if self.has_address(cluster, object, (nic, network))? => {
                self.networks.insert(nic.name.0.clone(), network.external_name().to_owned());
            }
            Some(_) => drop(self.left_out.insert(path)),
            None => self.leave_out(links, path),
        }
        Ok(())
    }

    /// Where the seed is, if there is one by now.
    fn put_seed(&mut self, seed: Option<&CloudInit>) -> anyhow::Result<()> {
        let Some(seed) = seed else { return Ok(()) };
        let path = seed.observation().and_then(|seen| seen.path.clone());
        let path = path.with_context(|| format!("waiting for CloudInit {}: it has no path yet", seed.full_name()))?;
        match cloud_init::format(seed) {
            SeedFormat::NoCloud => self.seed = Some(path),
            SeedFormat::Ignition => self.ignition = Some(path),
        }
        Ok(())
    }

    /// Whether an interface can be made: it has the address that it asks of its Network. No guest is made without; one that is there already
    /// goes on, and its interfaces stay.
    fn has_address(
        &mut self,
        cluster: &Cluster,
        object: &Domain,
        (nic, network): (&NetworkInterface, &Network),
    ) -> anyhow::Result<bool> {
        if only_observes(object) {
            return Ok(true);
        }
        let standing = reserved::standing(cluster, object, nic, network);
        if matches!(standing, reserved::Standing::Coming(_)) {
            let meta = &network.metadata;
            cluster
                .networks
                .wake(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        }
        let guest = object.observation().filter(|seen| seen.id.is_some());
        let mut nics = guest.into_iter().flat_map(|guest| &guest.network_interfaces);
        let is_there = nics.any(|seen| seen.name.as_ref() == Some(&nic.name.0));
        let is_refused = matches!(standing, reserved::Standing::Refused(_));
        let why = match (standing, &nic.address) {
            (reserved::Standing::Kept, _) | (reserved::Standing::Coming(_), None) => return Ok(true),
            (reserved::Standing::Coming(None), Some(_)) if is_there => return Ok(true),
            (reserved::Standing::Refused(why), _) => why,
            (reserved::Standing::Coming(held_up), Some(address)) => {
                let why = held_up.map(|why| format!(": {why}")).unwrap_or_default();
                format!("waiting for Network {} to keep the address {address}{why}", network.full_name())
            }
        };
        if guest.is_none() {
            let reason = "AddressRefused";
            return Err(if is_refused { Refusal { reason, message: why }.into() } else { anyhow!(why) });
        }
        self.refused_addresses.push(why);
        Ok(is_there)
    }

    /// Nothing is made of a field whose object is not there and need not be.
    fn leave_out(&mut self, links: &Links, path: String) {
        if links.is_set(&path) {
            self.left_out.insert(path);
        }
    }
}

fn boot_file(cluster: &Cluster, asker: &Asker<'_>, links: &Links, path: &str) -> anyhow::Result<Option<String>> {
    let volume = links.find(&cluster.volumes, asker, path)?;
    let path = |volume: std::sync::Arc<Volume>| {
        check_plain(&volume)?;
        path_of(&volume)
    };
    volume.map(path).transpose()
}

fn medium(
    cluster: &Cluster,
    asker: &Asker<'_>,
    links: &Links,
    (object, config): (&Domain, &ConfigId),
    disk: &Disk,
) -> anyhow::Result<Option<Medium>> {
    if let Some(medium) = own_medium(disk) {
        exclusive::check_path(cluster, (object, config), disk, &medium)?;
        return Ok(Some(medium));
    }
    if let Some(network) = &disk.network {
        exclusive::check_network(cluster, (object, config), disk, network)?;
        return Ok(None);
    }
    if let Some(volume) = links.find(&cluster.volumes, asker, &references::disk_path(&disk.name.0))? {
        exclusive::check(cluster, object, disk, &volume)?;
        let backing = chain(cluster, asker, &volume)?;
        let path = path_of(&volume)?;
        let secret = is_encrypted(&volume).then(|| secret_of(&path));
        let seen = volume.observation().cloned().unwrap_or_default();
        let names = [seen.pool, seen.name].map(Option::unwrap_or_default);
        let type_ = DiskType::of(seen.type_, &names[0], &names[1]);
        return Ok(Some(Medium { path, type_, format: format_of(&volume)?, backing, secret }));
    }
    // What a volume is that no object stands for is asked of the host.
    Ok(disk.volume.as_ref().map(|volume| Medium::file("", volume.format)))
}

/// The volumes below a volume, top first.
pub(crate) fn chain(cluster: &Cluster, asker: &Asker<'_>, volume: &Volume) -> anyhow::Result<Vec<Layer>> {
    let mut below = Vec::new();
    let mut next = below_of(cluster, volume)?;
    let mut above = backing_path(volume);
    while let Some(referent) = next {
        anyhow::ensure!(below.len() < 16, "Volume {} stands on more than 16 others", volume.full_name());
        let volume = ready(&cluster.volumes, asker, &referent)?;
        let path = path_of(&volume)?;
        // Read over other data than it was made on, an overlay is garbage, and what is written to it is lost.
        let fits = above.is_none_or(|above| storage::is_same_path(&above, &path));
        anyhow::ensure!(fits, "Volume {} is not what the volume above it was made on", volume.full_name());
        let block = volume.observation().and_then(|seen| seen.type_) == Some(VolumeType::Block);
        below.push(Layer { path, block, format: format_of(&volume)? });
        above = backing_path(&volume);
        next = below_of(cluster, &volume)?;
    }
    Ok(below)
}

/// Where a volume is on the host, and in what format, for what reads it without its passphrase.
pub(crate) fn place(volume: &Volume) -> anyhow::Result<(String, Format)> {
    check_plain(volume)?;
    Ok((path_of(volume)?, format_of(volume)?))
}

/// That a volume is readable without a passphrase, as far as its object tells.
pub(crate) fn check_plain(volume: &Volume) -> Result<(), Refusal> {
    let seen = volume.observation().is_some_and(|seen| seen.encryption.is_some());
    if !seen && !is_encrypted(volume) {
        return Ok(());
    }
    let message = format!(
        "Volume {} is encrypted: only disks of guests can be made of it, and nothing can stand on it or be copied from it",
        volume.full_name()
    );
    Err(Refusal { reason: "Encrypted", message })
}

/// What the host said of the volume below, when it was last looked at.
fn backing_path(volume: &Volume) -> Option<String> {
    Some(volume.observation()?.backing_store.as_ref()?.path.clone())
}

fn path_of(volume: &Volume) -> anyhow::Result<String> {
    volume
        .observation()
        .and_then(|seen| seen.path.clone())
        .with_context(|| format!("waiting for Volume {}: it has no path yet", volume.full_name()))
}

/// The Volume below. What a volume that others made stands on, an object must say: a guest would read holes there.
fn below_of(cluster: &Cluster, volume: &Volume) -> anyhow::Result<Option<Referent>> {
    let links = cluster.links(volume);
    let said = links.referent(BACKING);
    anyhow::ensure!(
        said.is_some() || !links.is_set(BACKING),
        "waiting for Volume {}: it is not known what it stands on",
        volume.full_name()
    );
    let seen = volume.observation().and_then(|seen| seen.backing_store.as_ref());
    // What was made on nothing, or was flattened since, has nothing below, whatever its object says by now.
    if seen.is_none() && was_created(volume) && volume.observation().is_some_and(|seen| seen.id.is_some()) {
        return Ok(None);
    }
    if let (None, Some(seen), false) = (&said, seen, was_created(volume)) {
        bail!(
            "waiting for Volume {}: it was not made by this provider and stands on {}; set its spec.forProvider.backingStore",
            volume.full_name(),
            seen.path
        );
    }
    Ok(said)
}

/// The format of a volume, never guessed: others do not make them by our default.
fn format_of(volume: &Volume) -> anyhow::Result<Format> {
    let said = volume.effective().parameters().format.or_else(|| was_created(volume).then(Format::default));
    said.with_context(|| {
        format!(
            "waiting for Volume {}: it was not made by this provider; set its spec.forProvider.format",
            volume.full_name()
        )
    })
}
