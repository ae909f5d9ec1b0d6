//! Domains: find, compare, create, update and delete virtual machines.

mod above;
mod act;
mod attempts;
mod beneath;
pub mod claim;
mod cures;
pub(crate) mod exclusive;
mod fields;
pub(crate) mod find;
mod follow;
mod guests;
pub mod import;
pub mod initial;
mod live;
mod live_devices;
mod new_disks;
pub mod observed;
mod obstacle;
mod offered;
pub mod passwords;
mod pending;
pub(crate) mod possible;
mod power;
pub(crate) mod reach;
mod refused;
pub mod render;
mod report;
pub(crate) mod resolve;
mod restart;
pub mod rules;
mod running;
mod sealed;
mod search;
mod settled;
mod shutdown;
mod tune;
mod unresolved;
mod words;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use apis::{
    Domain, Managed,
    condition::Type,
    domain::DirectMode,
    placement::{ConfigId, Neighbour},
};
use kube::Client;
use libvirt::{
    Lease,
    diff::{Difference, diff},
    mirror::DomainEntry,
    rule::Rules,
};
use managed::external::{Deletion, External, Pass, Record, Refusal, Report, Standing};

use crate::{
    adopt::{Adoption, Obstacle},
    cluster::Cluster,
    hosts::Connector,
    mark::Note,
    ownership::Key,
    references,
};
use attempts::{Attempts, Lacking};
use guests::{Guests, Told};
pub(crate) use observed::interfaces::{bandwidth, vlan};
pub use power::Power;
use render::DiskType;
pub use render::Surroundings;
pub(crate) use render::interfaces::{rates, vlan_element};
use settled::Settled;
use words::Word as _;

/// libvirt's word for how guests on one device of the host reach each other.
pub(crate) fn direct_word(mode: DirectMode) -> &'static str {
    mode.word()
}

/// What libvirt's word for it means.
pub(crate) fn direct_mode(word: &str) -> Option<DirectMode> {
    DirectMode::read(word)
}

/// The kind.
pub struct Domains {
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    adoption: Arc<Adoption>,
    passwords: passwords::Reader,
    rules: Arc<Rules>,
    /// When each guest was asked to shut down, and when each was first seen stopped, by UID.
    clocks: Mutex<HashMap<String, Clock>>,
    /// Which volumes the disks of guests that others made are, by UID.
    volumes: Mutex<HashMap<String, observed::Volumes>>,
    attempts: Attempts,
    guests: Guests,
    sound: act::Sound,
    settled: Settled,
}

#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    asked: Option<Instant>,
    /// Since when it could not be saved.
    unsaved: Option<Instant>,
    /// It was not off when the time was over.
    ignored: bool,
    stopped: Option<(u32, Instant)>,
    started: Option<(u32, Instant)>,
    /// We took its definition away ourselves: that it is absent then is no riddle.
    undefined: bool,
}

/// What the host has of a Domain.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all of them may meet")]
pub struct Found {
    entry: Option<Arc<DomainEntry>>,
    /// What else stands in the way of making it.
    obstacle: Option<Obstacle>,
    leases: Vec<Lease>,
    /// Paths of volumes that no object stands for, with their disk's name.
    media: Vec<HostMedium>,
    /// What all that follows is made from.
    key: Option<u64>,
    /// What the running guest does not show as wished.
    lacking: Lacking,
    /// What the definition is to note about restarts, where it notes something else.
    note: Option<Note>,
    /// How far a shutdown is.
    shutdown: Option<String>,
    power: Option<Power>,
    /// A restart does not ask the guest.
    cut_off: bool,
    /// It could not be saved in time, and is forced off.
    overdue: bool,
    recheck: Option<Duration>,
    guest_agent: Option<bool>,
    /// What the guest tells of itself, and its neighbours of it.
    told: Told,
    /// Others made it, and it is only looked at.
    theirs: bool,
    /// Others made it, and the object took it over.
    adopted: bool,
    /// Which volumes its disks are, where others made it.
    volumes: observed::Volumes,
}

/// What would make a domain as wished.
#[derive(Debug)]
pub struct Change {
    differences: Vec<Difference>,
    /// What the running guest lacks and can be given.
    live: Vec<Difference>,
    note: Option<Note>,
    persist: bool,
    autostart: Option<bool>,
    power: Option<Power>,
    /// It could not be saved in time: this is another try than those before.
    overdue: bool,
}

impl Change {
    fn is_nothing(&self) -> bool {
        let Self { differences, live, note, persist, autostart, power, overdue: _ } = self;
        differences.is_empty()
            && live.is_empty()
            && note.is_none()
            && !persist
            && autostart.is_none()
            && power.is_none()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { differences, live, note, persist, autostart, power, overdue } = self;
        let mut parts: Vec<String> = differences.iter().map(shown).collect();
        let is_said = |path: &str| differences.iter().any(|said| said.path == path);
        parts.extend(live.iter().filter(|one| !is_said(&one.path)).map(|one| format!("running guest: {one}")));
        parts.extend(note.as_ref().map(|_| NOTED.to_owned()));
        parts.extend(persist.then(|| "definition: absent, wished present".to_owned()));
        parts.extend(autostart.map(|wished| format!("autostart: {}, wished {wished}", !wished)));
        parts.extend(power.map(|power| power.to_string()));
        parts.extend(overdue.then(|| "shutdown: not saved in time, to be forced off".to_owned()));
        f.write_str(&parts.join("; "))
    }
}

const NOTED: &str = "metadata: not up to date";

/// Our own mark is long and says nothing to people.
fn shown(difference: &Difference) -> String {
    if difference.path == "metadata/pl:passwords" {
        "graphics: not the passwords of the Secrets".to_owned()
    } else if difference.path.starts_with("metadata/") {
        NOTED.to_owned()
    } else {
        difference.to_string()
    }
}

impl Domains {
    /// The kind, with its rules ready. With `key` the prints of passwords are made.
    pub fn new(
        cluster: Arc<Cluster>,
        connector: Arc<Connector>,
        client: Client,
        key: Key,
        adoption: Arc<Adoption>,
    ) -> Self {
        let passwords = passwords::Reader::new(client, &cluster, key);
        Self {
            cluster,
            connector,
            adoption,
            passwords,
            rules: Arc::new(rules::rules()),
            clocks: Mutex::default(),
            volumes: Mutex::default(),
            attempts: Attempts::default(),
            guests: Guests::default(),
            sound: act::Sound::default(),
            settled: Settled::default(),
        }
    }

    fn clocks(&self) -> MutexGuard<'_, HashMap<String, Clock>> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn volumes(&self) -> MutexGuard<'_, HashMap<String, observed::Volumes>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a Domain that is made with these fields refers to.
    async fn resolve_to_make(&self, pass: &Pass<'_, Self>, whole: &Domain) -> anyhow::Result<Surroundings> {
        let links = resolve::links_to_make(&self.cluster, pass.object, whole);
        let mut around = resolve::resolve_to_make(&self.cluster, (pass.object, whole), &links, pass.config)?;
        self.check_opened(pass, whole, &links, &around)?;
        around.passwords = self.passwords.read(pass.object, whole.parameters()).await?;
        Ok(around)
    }

    /// The differences of the definition, and what is refused among them.
    fn differences(
        &self,
        pass: &Pass<'_, Self>,
        around: &Surroundings,
        found: &Found,
        entry: &DomainEntry,
    ) -> anyhow::Result<(Vec<Difference>, Option<Refusal>)> {
        let around = found.complete(around);
        if found.theirs {
            // Nothing is done about it, so nothing is refused.
            let Some(description) = entry.inactive.as_ref().or(entry.live.as_ref()) else {
                return Ok((Vec::new(), None));
            };
            return Ok((import::differences(pass.object, &around, pass.host.facts(), &self.rules, description)?, None));
        }
        let Some(base) = &entry.inactive else { return Ok((Vec::new(), None)) };
        let claimed = claim::claim(pass.object, &around, base, found.adopted);
        let wishes = render::render(&claimed.object, &claimed.around, pass.host.facts(), Some(&claimed.base))?;
        let (applied, refused): (Vec<_>, Vec<_>) =
            diff(&wishes, &claimed.base, &self.rules).into_iter().partition(Difference::is_applied);
        let live = entry.live.as_deref();
        let moved = live.map(|live| follow::moved(pass.object, &around, base, live)).unwrap_or_default();
        let applied = applied.into_iter().chain(moved.iter().map(follow::Moved::difference)).collect();
        let refusal = refused::refusal(&refused, pass.object.parameters(), &around.refused_addresses);
        Ok((applied, refusal))
    }
}

impl Found {
    /// The surroundings with the volumes that the host itself was asked for, and with what others plugged into the running guest.
    fn complete(&self, around: &Surroundings) -> Surroundings {
        let mut around = complete(around, &self.media);
        let live = self.entry.iter().flat_map(|entry| &entry.live);
        let theirs = live.flat_map(|live| live.find_all("devices/disk")).filter(|disk| {
            !disk
                .attr_at("alias@name")
                .is_some_and(|alias| [render::DISK, render::SEED].iter().any(|ours| alias.starts_with(ours)))
        });
        around.taken = theirs.filter_map(|disk| disk.attr_at("target@dev")).map(str::to_owned).collect();
        around
    }
}

/// A volume that no object stands for, as the host has it.
pub(crate) struct HostMedium {
    /// The disk's name.
    disk: String,
    path: String,
    type_: DiskType,
}

/// The surroundings with these volumes that no object stands for.
fn complete(around: &Surroundings, media: &[HostMedium]) -> Surroundings {
    let mut around = around.clone();
    for HostMedium { disk, path, type_ } in media {
        if let Some(medium) = around.media.get_mut(disk) {
            medium.path.clone_from(path);
            medium.type_ = type_.clone();
        }
    }
    around
}

impl External for Domains {
    type Managed = Domain;
    type Connector = Connector;
    type Referents = Surroundings;
    type Found = Found;
    type Change = Change;

    const CONDITIONS: &'static [Type] = &[Type::RestartRequired, Type::GuestAgentConnected];

    fn neighbours(&self, object: &Domain) -> Vec<Neighbour> {
        self.cluster.neighbours(object)
    }

    async fn search(&self, object: &Domain) -> Result<Option<ConfigId>, String> {
        self.seek(object).await
    }

    async fn resolve(&self, object: &Domain, config: &ConfigId) -> anyhow::Result<Surroundings> {
        let mut around = resolve::resolve(&self.cluster, object, config)?;
        around.passwords = self.passwords.read(object, object.effective().parameters()).await?;
        Ok(around)
    }

    async fn find(&self, pass: &Pass<'_, Self>, around: &Surroundings) -> anyhow::Result<Found> {
        let whole = pass.object.effective();
        self.check_opened(pass, &whole, &self.cluster.links_of(pass.object, &whole), around)?;
        self.look(pass, around).await
    }

    async fn unresolved(
        &self,
        pass: &Pass<'_, Self>,
    ) -> anyhow::Result<Option<Report<apis::domain::DomainObservation>>> {
        Box::pin(self.bare(pass)).await
    }

    fn compare(&self, pass: &Pass<'_, Self>, around: &Surroundings, found: &Found) -> anyhow::Result<Standing<Change>> {
        if let Some(obstacle) = &found.obstacle {
            return Ok(obstacle.standing());
        }
        let Some(entry) = &found.entry else { return Ok(Standing::Absent) };
        if self.settled.knows(pass.object.uid(), found.key) && found.power.is_none() {
            return Ok(Standing::Settled);
        }
        let (differences, refusal) = self.differences(pass, around, found, entry)?;
        let parameters = &pass.object.spec.for_provider;
        let autostart = parameters.autostart.filter(|wished| entry.persistent && *wished != entry.autostart);
        let persist = !entry.persistent && !found.theirs;
        let (live, note) = (found.lacking.untried.clone(), found.note.clone());
        let change = Change { differences, live, note, persist, autostart, power: found.power, overdue: found.overdue };
        let is_settled = change.is_nothing() && refusal.is_none() && found.lacking.is_nothing();
        self.settled.note(pass.object.uid(), found.key.filter(|_| is_settled));
        Ok(match (change.is_nothing(), refusal) {
            (true, None) => Standing::Settled,
            (true, Some(refusal)) => Standing::Refused(refusal),
            (false, refusal) => Standing::Drifted(change, refusal),
        })
    }

    async fn record(&self, pass: &Pass<'_, Self>, _: &Surroundings) -> anyhow::Result<Record> {
        // What is waited for or cannot be described is said before anything is written down.
        let around = self.resolve_to_make(pass, &pass.object.merged()).await?;
        initial::description(pass.object, &around, pass.host.facts(), &self.rules, pass.object.uid())?;
        Ok(Record { annotations: vec![references::record(&around.choices)], ..Record::default() })
    }

    async fn create(&self, pass: &Pass<'_, Self>, _: &Surroundings) -> anyhow::Result<Found> {
        Box::pin(self.define_and_start(pass)).await
    }

    async fn update(&self, pass: &Pass<'_, Self>, around: &Surroundings, change: &Change) -> anyhow::Result<Found> {
        Box::pin(self.apply(pass, around, change)).await
    }

    async fn delete(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Deletion> {
        self.undefine(pass).await
    }

    fn report(
        &self,
        pass: &Pass<'_, Self>,
        around: Option<&Surroundings>,
        found: &Found,
    ) -> Report<apis::domain::DomainObservation> {
        self.observe(pass, around, found)
    }

    fn forget(&self, object: &Domain) {
        let uid = object.metadata.uid.as_deref().unwrap_or_default();
        self.adoption.forget(uid);
        self.passwords.forget(object);
        self.clocks().remove(uid);
        self.volumes().remove(uid);
        self.attempts.forget(uid);
        self.guests.forget(uid);
        self.settled.forget(uid);
        self.sound.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        self.connector.unclaim(object);
    }
}
