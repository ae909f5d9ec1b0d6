//! What the host has of a Domain.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use apis::{Domain, Managed, domain::RunStrategy};
use libvirt::{
    Claim, Connection, Lease, VolumeId,
    mirror::{DomainEntry, Presence, VolumeEntry},
};
use managed::external::{Pass, Refusal};
use std::sync::Arc;

use super::{
    Clock, Domains, Found, HostMedium, Surroundings,
    attempts::Lacking,
    complete, exclusive,
    guests::Told,
    observed::{self, Volumes, path},
    obstacle::has_been,
    power::{self, Past, Wished},
    render::DiskType,
};
use crate::{adopt::Obstacle, hosts::owner, mark, storage};

/// How long after its start a guest's address is asked for more often than at each poll.
const LEASE_HURRY: Duration = Duration::from_mins(5);

impl Domains {
    /// What the mirror of the host has.
    pub(super) async fn look(&self, pass: &Pass<'_, Self>, around: &Surroundings) -> anyhow::Result<Found> {
        let entry = self.entry(pass).await?;
        let may_make = !pass.policies.only_observes();
        let media = self.host_media(pass, &pass.object.effective()).await?;
        let may_meet = entry.is_none() && may_make;
        let obstacle = if may_meet { self.obstacle(pass, &complete(around, &media)).await? } else { None };
        let mut found = self.found(pass, entry, obstacle, media);
        self.consider(pass, around, &mut found);
        found.obstacle = self.twin(pass, &found).await?.map(Obstacle::Refused).or(found.obstacle);
        if found.theirs {
            found.volumes = self.volumes_of(pass, &found).await?;
        }
        Ok(found)
    }

    /// Why a guest that would be started is not: it runs on another host by now.
    async fn twin(&self, pass: &Pass<'_, Self>, found: &Found) -> anyhow::Result<Option<Refusal>> {
        let starts = found.power == Some(power::Power::Start) || found.recheck.is_some();
        let entry = found.entry.as_deref().filter(|_| starts && !found.theirs);
        let Some(entry) = entry else { return Ok(None) };
        self.left_behind(pass, entry, "started").await
    }

    /// The object's domain by its UUID; where it is only looked at, else the one of that name, whoever made it.
    pub(super) async fn entry(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Option<Arc<DomainEntry>>> {
        let (mirror, name) = (pass.host.mirror(), pass.object.external_name());
        let own = self.adoption.identity(pass.object, pass.host);
        let by_name = || mirror.domain_by_name(name).map(|entry| entry.uuid.clone());
        let ours = !pass.policies.only_observes() || mirror.domain(&own).is_some();
        let Some(uuid) = (if ours { Some(own) } else { by_name() }) else {
            mirror.claim(Claim::Domain(name.to_owned()), &owner(pass.object));
            return Ok(None);
        };
        if !mirror.claim(Claim::Domain(uuid.clone()), &owner(pass.object)) && mirror.domain(&uuid).is_some() {
            // Claimed just now: read it here rather than in a second pass.
            let of = uuid.clone();
            let entry = pass.host.short(&uuid, move |host| host.read_domain(&of)).await?;
            mirror.replace_domain(&uuid, entry);
        }
        Ok(mirror.domain(&uuid))
    }

    /// Which volumes the files of a domain's disks are. The host is asked once for each; again for one that is in no pool, whose pool
    /// may be started any time.
    pub(super) async fn volumes_of(&self, pass: &Pass<'_, Self>, found: &Found) -> anyhow::Result<Volumes> {
        let description = found.entry.as_ref().and_then(|entry| entry.live.as_ref().or(entry.inactive.as_ref()));
        let disks = description.map(|description| description.find_all("devices/disk")).unwrap_or_default();
        let paths: Vec<String> = disks.into_iter().filter_map(path).map(str::to_owned).collect();
        let is_there =
            |volume: &VolumeId| pass.host.mirror().pool_by_name(&volume.pool).is_some_and(|pool| pool.active);
        let mut volumes = self.volumes().get(pass.object.uid()).cloned().unwrap_or_default();
        volumes.retain(|path, volume| paths.contains(path) && is_there(volume));
        let unknown: Vec<String> = paths.into_iter().filter(|path| !volumes.contains_key(path)).collect();
        if !unknown.is_empty() {
            let look = move |host: &Connection| -> Result<Volumes, libvirt::Error> {
                let volume = |path: String| host.volume_at(&path).map(|volume| volume.map(|volume| (path, volume)));
                unknown.into_iter().filter_map(|path| volume(path).transpose()).collect()
            };
            volumes.extend(pass.host.short(pass.object.uid(), look).await.context("look up volumes of disks")?);
        }
        self.volumes().insert(pass.object.uid().to_owned(), volumes.clone());
        Ok(volumes)
    }

    /// Puts together what was found, with what follows from it about power and leases.
    pub(super) fn found(
        &self,
        pass: &Pass<'_, Self>,
        entry: Option<Arc<DomainEntry>>,
        obstacle: Option<Obstacle>,
        media: Vec<HostMedium>,
    ) -> Found {
        let leases = entry.as_deref().map(|entry| leases(pass, entry)).unwrap_or_default();
        let mut found = Found {
            entry,
            obstacle,
            leases,
            media,
            key: None,
            lacking: Lacking::default(),
            note: None,
            shutdown: None,
            power: None,
            cut_off: false,
            overdue: false,
            recheck: None,
            guest_agent: None,
            told: Told::default(),
            theirs: false,
            adopted: false,
            volumes: Volumes::new(),
        };
        let Some(entry) = &found.entry else { return found };
        found.adopted = self.adoption.adopted(pass.object, pass.host).as_ref() == Some(&entry.uuid);
        found.theirs = !found.adopted && pass.policies.only_observes() && entry.uuid != pass.object.uid();
        let wished = wished(pass, entry, found.theirs);
        let stopped_for = self.stopped_for(pass.object.uid(), entry);
        (found.power, found.recheck) = power::decide(wished, entry.state, stopped_for);
        if found.theirs {
            // Nothing is done when its time is over.
            found.recheck = None;
        }
        found.guest_agent = agent(entry);
        let hurry = self.lease_recheck(pass.object.uid(), &found);
        if hurry.is_some() {
            hurry_leases(pass, entry);
        }
        found.recheck = found.recheck.or(hurry);
        self.listen(pass, &mut found);
        found
    }

    /// How long the guest has been off, as far as we know.
    fn stopped_for(&self, uid: &str, entry: &DomainEntry) -> Duration {
        let mut clocks = self.clocks();
        let clock = clocks.entry(uid.to_owned()).or_default();
        if entry.id.is_some() {
            let started = clock.started.filter(|(id, _)| Some(*id) == entry.id);
            // One that somebody started meanwhile has not been asked.
            let is_same = started.is_some() || clock.started.is_none();
            let (asked, ignored) = (clock.asked.filter(|_| is_same), clock.ignored && is_same);
            let unsaved = clock.unsaved.filter(|_| is_same);
            *clock = Clock { stopped: None, started, asked, ignored, unsaved, ..*clock };
            if let (Some(id), None) = (entry.id, clock.started) {
                clock.started = Some((id, Instant::now()));
            }
            return Duration::ZERO;
        }
        clock.started = None;
        clock.asked = None;
        clock.unsaved = None;
        clock.ignored = false;
        let (_, since) = *clock.stopped.get_or_insert_with(|| (entry.state.reason, Instant::now()));
        since.elapsed()
    }

    /// Whether the guest was started lately.
    pub(super) fn is_young(&self, uid: &str) -> bool {
        self.clocks().get(uid).and_then(|clock| clock.started).is_some_and(|(_, at)| at.elapsed() < LEASE_HURRY)
    }

    /// While a guest that was started lately has no address, look again soon: leases make no events.
    fn lease_recheck(&self, uid: &str, found: &Found) -> Option<Duration> {
        let live = found.entry.as_ref()?.live.as_ref()?;
        let waits = live.find_all("devices/interface").iter().any(|nic| {
            nic.get("type") == Some("network")
                && nic.attr_at("mac@address").is_some_and(|mac| found.leases.iter().all(|lease| lease.mac != mac))
        });
        (waits && self.is_young(uid)).then_some(Duration::from_secs(2))
    }

    /// The volumes that no object stands for, of a Domain with these fields.
    pub(super) async fn host_media(&self, pass: &Pass<'_, Self>, whole: &Domain) -> anyhow::Result<Vec<HostMedium>> {
        let mut media = Vec::new();
        let disks = whole.parameters().disks.iter().flatten();
        for (disk, volume) in disks.filter_map(|disk| Some((disk, disk.volume.as_ref()?))) {
            let claim = Claim::Volume { pool: volume.pool.clone(), name: volume.name.clone() };
            pass.host.mirror().claim(claim, &owner(pass.object));
            let entry = if let Some(entry) = pass.host.mirror().volume(&volume.pool, &volume.name) {
                entry
            } else {
                let (pool, name) = (volume.pool.clone(), volume.name.clone());
                let entry = pass.host.short(&volume.pool, move |host| host.read_volume(&pool, &name)).await?;
                pass.host.mirror().replace_volume(entry.clone());
                Arc::new(entry)
            };
            let path = entry.description().and_then(|description| description.text_at("target/path"));
            let Some(path) = path else {
                if pass.policies.only_observes() {
                    // Shown as what the disk should be and is not.
                    let path = format!("volume {} in pool {}", volume.name, volume.pool);
                    media.push(HostMedium { disk: disk.name.0.clone(), path, type_: DiskType::File });
                    continue;
                }
                bail!("disks {}: {}", disk.name, missing(&entry))
            };
            exclusive::check_plain(&self.cluster, (pass.object, pass.config), disk, volume, path)?;
            let type_ =
                DiskType::of(storage::type_(entry.description().map(|seen| &**seen)), &volume.pool, &volume.name);
            media.push(HostMedium { disk: disk.name.0.clone(), path: path.to_owned(), type_ });
        }
        Ok(media)
    }
}

/// What is wished of a guest's power, as its object and the mark of its definition say.
pub(super) fn wished(pass: &Pass<'_, Domains>, entry: &DomainEntry, theirs: bool) -> Wished {
    let strategy = strategy(pass.object, theirs);
    if theirs {
        return Wished { strategy, ..Wished::default() };
    }
    let being_made = (pass.creation.is_incomplete() || !has_been(pass.object)) && !is_halted(pass.object);
    let note = entry.inactive.as_ref().filter(|_| entry.id.is_none()).and_then(|base| mark::note(pass.object, base));
    let restarting = note.is_some_and(|note| note.under_way.is_some());
    let state = pass.object.observation().and_then(|seen| seen.state.as_deref());
    let ran = state.is_some_and(|state| !state.starts_with("Shutoff") && state != "Crashed");
    let paused = pass.object.effective().parameters().paused;
    let past = match (being_made || restarting, ran) {
        (true, _) => Past::Begun,
        (false, true) => Past::Ran,
        (false, false) => Past::Unknown,
    };
    Wished { strategy, past, paused, restart: false, alive: entry.id.is_some() }
}

/// Why a volume cannot be had, and what helps.
fn missing(VolumeEntry { pool, name, presence }: &VolumeEntry) -> String {
    match presence {
        Presence::PoolAbsent => format!(
            "there is no pool {pool} on the host; make it there, or a Pool object for it and a Volume that volumeRef names"
        ),
        Presence::PoolInactive => {
            format!("pool {pool} is not active on the host; start it, or have a Pool object keep it active")
        }
        Presence::Absent | Presence::Present(_) => format!(
            "there is no volume {name} in pool {pool} on the host; make it there, or a Volume object for it that volumeRef names"
        ),
    }
}

/// The leases of the guest's interfaces on libvirt networks.
fn leases(pass: &Pass<'_, Domains>, entry: &DomainEntry) -> Vec<Lease> {
    let Some(live) = &entry.live else { return Vec::new() };
    let mirror = pass.host.mirror();
    let owner = owner(pass.object);
    let mut macs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for nic in live.find_all("devices/interface") {
        if let (Some(network), Some(mac)) = (nic.attr_at("source@network"), nic.attr_at("mac@address")) {
            macs.entry(network.to_owned()).or_default().push(mac.to_owned());
        }
    }
    let mut found = Vec::new();
    for (network, macs) in macs {
        for mac in &macs {
            mirror.claim(Claim::Leases { network: network.clone(), mac: Some(mac.clone()) }, &owner);
        }
        let leases = mirror.leases(&network).unwrap_or_default();
        found.extend(leases.iter().filter(|lease| macs.contains(&lease.mac)).cloned());
    }
    found.sort_by(|a, b| (&a.mac, &a.ip).cmp(&(&b.mac, &b.ip)));
    found
}

/// Asks for the leases of the guest's networks to be read now.
fn hurry_leases(pass: &Pass<'_, Domains>, entry: &DomainEntry) {
    for nic in entry.live.iter().flat_map(|live| live.find_all("devices/interface")) {
        if let (Some(network), Some(mac)) = (nic.attr_at("source@network"), nic.attr_at("mac@address")) {
            pass.host.mirror().refresh(Claim::Leases { network: network.to_owned(), mac: Some(mac.to_owned()) });
        }
    }
}

/// Whether the guest agent's channel is connected; None where there is no channel.
fn agent(entry: &DomainEntry) -> Option<bool> {
    let channel = observed::agent(entry.live.as_ref()?)?;
    Some(channel.attr_at("target@state") == Some("connected"))
}

/// When the guest is to run. One that others made and of which the spec says nothing is left to people, and so is one of which only
/// `initProvider` says something.
pub(super) fn strategy(object: &Domain, theirs: bool) -> RunStrategy {
    let was_said = || object.initially().is_some_and(|initial| initial.run_strategy.is_some());
    let of_others = || if theirs || was_said() { RunStrategy::Manual } else { RunStrategy::default() };
    object.parameters().run_strategy.unwrap_or_else(of_others)
}

/// The strategy under which nothing is started.
pub(super) fn is_halted(object: &Domain) -> bool {
    object.merged().parameters().run_strategy == Some(RunStrategy::Halted)
}
