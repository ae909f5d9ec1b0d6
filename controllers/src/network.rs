//! Networks: find, compare, create, update and delete virtual networks.

mod act;
mod checks;
mod fields;
mod live;
pub mod observed;
pub(crate) mod reach;
pub mod render;
pub(crate) mod reserved;
mod restart;
pub mod rules;
pub mod subnet;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use apis::{
    Managed, Network,
    condition::{Type, Wish},
    managed::annotation,
    network::NetworkObservation,
    placement::{ConfigId, Neighbour},
};
use libvirt::{
    Claim,
    diff::{Difference, diff},
    mirror::NetworkEntry,
    rule::Rules,
};
use managed::{
    external::{Deletion, External, Pass, Record, Refusal, Report, Standing},
    plan::only_observes,
};

use act::{Wished, make_true, remove, wishes};
use reserved::Reservation;

use crate::{
    adopt::{Adoption, Asking, Obstacle},
    applied,
    cluster::Cluster,
    defined::{Change, Present, Stops, imported, restarted, standing},
    details,
    hosts::{Connector, owner},
};

/// The kind.
pub struct Networks {
    cluster: Arc<Cluster>,
    connector: Arc<Connector>,
    adoption: Arc<Adoption>,
    rules: Arc<Rules>,
    stops: Stops,
    vain: restart::Vain,
    written: reserved::Written,
}

/// What the host has of a Network.
pub struct Found {
    entry: Option<Arc<NetworkEntry>>,
    obstacle: Option<Obstacle>,
    /// Others made it, and it is only looked at.
    theirs: bool,
    /// It was stopped a moment ago, and is started after this time.
    settling: Option<Duration>,
    /// What waits for a start that its policy lets be.
    restart: restart::Restart,
}

impl Networks {
    /// The kind, with its rules ready.
    pub fn new(cluster: Arc<Cluster>, connector: Arc<Connector>, adoption: Arc<Adoption>) -> Self {
        Self {
            cluster,
            connector,
            adoption,
            rules: Arc::new(rules::rules()),
            stops: Stops::default(),
            vain: restart::Vain::default(),
            written: reserved::Written::default(),
        }
    }

    /// The object's network by its UUID; where it is only looked at, else the one of that name, whoever made it.
    async fn entry(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Option<Arc<NetworkEntry>>> {
        let (mirror, name) = (pass.host.mirror(), pass.object.external_name());
        let own = self.adoption.identity(pass.object, pass.host);
        let by_name = || mirror.network_by_name(name).map(|entry| entry.uuid.clone());
        let ours = !pass.policies.only_observes() || mirror.network(&own).is_some();
        let Some(uuid) = (if ours { Some(own) } else { by_name() }) else {
            mirror.claim(Claim::Network(name.to_owned()), &owner(pass.object));
            return Ok(None);
        };
        if !mirror.claim(Claim::Network(uuid.clone()), &owner(pass.object)) && mirror.network(&uuid).is_some() {
            read(pass, &uuid).await?;
        }
        Ok(mirror.network(&uuid))
    }

    /// Makes the network as wished; a new one, where it is to be created, with what is initial.
    async fn apply(&self, pass: &Pass<'_, Self>, reserved: &[Reservation], create: bool) -> anyhow::Result<Found> {
        let rules = self.rules.clone();
        let uuid = self.adoption.identity(pass.object, pass.host);
        let entry = pass.host.mirror().network(&uuid);
        let waiting = self.waiting(pass.object, reserved, entry.as_deref());
        let helps = !waiting.is_empty() && !self.vain.is(pass.object.uid(), &waiting);
        let unplugged = if helps && restart::is_allowed(pass.object) { pass.host.unplugged() } else { None };
        let wished =
            Wished { object: pass.object.clone(), reserved: reserved.to_vec(), may_restart: unplugged.is_some() };
        let of = uuid.clone();
        self.written.note(pass.object.uid(), reserved);
        let anew = pass.host.in_turn(&uuid, move |host| make_true(host, &wished, &of, &rules, create)).await?;
        let entry = read(pass, &uuid).await?.map(Arc::new);
        let left = || self.waiting(pass.object, reserved, entry.as_deref());
        match anew {
            restart::Anew::None => {}
            restart::Anew::Done => self.vain.note(pass.object.uid(), left(), None),
            restart::Anew::Failed(why) => self.vain.note(pass.object.uid(), left(), Some(why)),
        }
        pass.host.mirror().claim(Claim::Network(uuid), &owner(pass.object));
        Ok(Found { entry, obstacle: None, theirs: false, settling: None, restart: restart::Restart::default() })
    }

    /// What waits for the network's next start.
    fn waiting(&self, object: &Network, reserved: &[Reservation], entry: Option<&NetworkEntry>) -> Vec<Difference> {
        let live = entry.and_then(|entry| entry.live.as_deref());
        let waiting = wishes(object, reserved, false).ok().zip(live);
        waiting.map(|(wishes, live)| live::waiting(&wishes, live, &self.rules)).unwrap_or_default()
    }

    /// What waits for a start that its policy lets be, and the guests that are in its way.
    async fn restart(
        &self,
        pass: &Pass<'_, Self>,
        reserved: &[Reservation],
        entry: Option<&NetworkEntry>,
    ) -> anyhow::Result<restart::Restart> {
        let waiting =
            if restart::is_allowed(pass.object) { self.waiting(pass.object, reserved, entry) } else { Vec::new() };
        let is_vain = self.vain.is(pass.object.uid(), &waiting);
        let Some(entry) = entry.filter(|_| !waiting.is_empty() && !is_vain) else {
            return Ok(restart::Restart::default());
        };
        let uuid = entry.uuid.clone();
        let look = move |host: &libvirt::Connection| {
            host.find_network(&uuid)?.map_or(Ok(Vec::new()), |network| restart::guests_on(host, &network))
        };
        let guests = pass.host.short(&entry.uuid, look).await?;
        Ok(restart::Restart { paths: live::fields(&waiting), guests })
    }

    /// What stands in the way of making a network that is not there.
    async fn obstacle(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Option<Obstacle>> {
        if let Some(refusal) = self.adoption.left_behind(pass.object, pass.host) {
            return Ok(Some(Obstacle::Refused(refusal)));
        }
        match pass.host.mirror().network_by_name(pass.object.external_name()) {
            Some(other) => self.stranger(pass, &other.uuid).await,
            None => Ok(None),
        }
    }

    /// What is to be done about a network of the object's name that is not the object's.
    async fn stranger(&self, pass: &Pass<'_, Self>, uuid: &str) -> anyhow::Result<Option<Obstacle>> {
        let of = uuid.to_owned();
        let Some(entry) = pass.host.short(uuid, move |host| host.read_network(&of)).await? else { return Ok(None) };
        let seen = entry.inactive.as_deref().map(|text| observed::observe(Some(text), None));
        let mismatch = seen.and_then(|seen| mismatch(pass.object, &seen));
        let asking = Asking { object: pass.object, config: pass.config, host: pass.host };
        Ok(Some(self.adoption.judge(&asking, &self.cluster.networks, uuid, mismatch)))
    }
}

/// What the network is and the spec does not say, where it can never change.
fn mismatch(object: &Network, seen: &NetworkObservation) -> Option<String> {
    let wished = object.merged().parameters().mode.filter(|wished| Some(*wished) != seen.mode)?;
    let mode = seen.mode.map_or_else(|| "another".to_owned(), |mode| format!("{mode:?}"));
    Some(format!("its mode is {mode}, and spec.forProvider.mode says {wished:?}"))
}

async fn read(pass: &Pass<'_, Networks>, uuid: &str) -> anyhow::Result<Option<NetworkEntry>> {
    let of = uuid.to_owned();
    let entry = pass.host.short(uuid, move |host| host.read_network(&of)).await?;
    pass.host.mirror().replace_network(uuid, entry.clone());
    Ok(entry)
}

/// `1 address`, `2 addresses`.
fn count_of_addresses(number: usize) -> String {
    format!("{number} address{}", if number == 1 { "" } else { "es" })
}

/// `1 domain`, `2 domains`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

impl External for Networks {
    type Managed = Network;
    type Connector = Connector;
    type Referents = Vec<Reservation>;
    type Found = Found;
    type Change = Change;

    const CONDITIONS: &'static [Type] = &[Type::RestartRequired];

    fn neighbours(&self, _: &Network) -> Vec<Neighbour> {
        Vec::new()
    }

    async fn resolve(&self, object: &Network, config: &ConfigId) -> anyhow::Result<Vec<Reservation>> {
        if !only_observes(object) {
            let policy = self.cluster.host_spec(config).and_then(|spec| spec.policy).unwrap_or_default();
            let refused = reach::refused_of(object, &policy, config);
            anyhow::ensure!(refused.is_empty(), Refusal { reason: "NotAllowed", message: refused.join("; ") });
        }
        Ok(reserved::reservations(&self.cluster, object, &self.written))
    }

    async fn find(&self, pass: &Pass<'_, Self>, reserved: &Vec<Reservation>) -> anyhow::Result<Found> {
        let entry = self.entry(pass).await?;
        let only_observes = pass.policies.only_observes();
        let own = |entry: &Arc<NetworkEntry>| entry.uuid == self.adoption.identity(pass.object, pass.host);
        let theirs = only_observes && entry.as_ref().is_some_and(|entry| !own(entry));
        let obstacle = if entry.is_some() || only_observes { None } else { self.obstacle(pass).await? };
        let active = entry.as_ref().is_some_and(|entry| entry.active);
        let settling =
            self.stops.wait(pass.object.uid(), active, Instant::now()).filter(|_| !theirs && entry.is_some());
        let restart = if theirs || only_observes {
            restart::Restart::default()
        } else {
            self.restart(pass, reserved, entry.as_deref()).await?
        };
        Ok(Found { entry, obstacle, theirs, settling, restart })
    }

    fn compare(
        &self,
        pass: &Pass<'_, Self>,
        reserved: &Vec<Reservation>,
        found: &Found,
    ) -> anyhow::Result<Standing<Change>> {
        if let Some(obstacle) = &found.obstacle {
            return Ok(obstacle.standing());
        }
        let Some(entry) = &found.entry else { return Ok(Standing::Absent) };
        if found.theirs {
            return import(pass.object, entry, &self.rules);
        }
        let wishes = || wishes(pass.object, reserved, false);
        let differences = match &entry.inactive {
            Some(base) => diff(&wishes()?, &observed::prefixed(base), &self.rules),
            None => Vec::new(),
        };
        let differences = live::and_running(differences, entry.live.as_deref(), wishes, &self.rules)?;
        let active = entry.active || found.settling.is_some();
        let present = Present { active, autostart: entry.autostart, persistent: entry.persistent };
        let standing = standing(differences, present, pass.object.parameters().autostart);
        let restart::Restart { paths, guests } = &found.restart;
        Ok(if paths.is_empty() || !guests.is_empty() { standing } else { restarted(standing, paths) })
    }

    async fn record(&self, pass: &Pass<'_, Self>, reserved: &Vec<Reservation>) -> anyhow::Result<Record> {
        // What cannot be described is said before anything is written down.
        wishes(&pass.object.merged(), reserved, true)?;
        Ok(Record::default())
    }

    async fn create(&self, pass: &Pass<'_, Self>, reserved: &Vec<Reservation>) -> anyhow::Result<Found> {
        self.apply(pass, reserved, true).await
    }

    async fn update(&self, pass: &Pass<'_, Self>, reserved: &Vec<Reservation>, _: &Change) -> anyhow::Result<Found> {
        self.apply(pass, reserved, false).await
    }

    async fn delete(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Deletion> {
        if let Some(refusal) = self.cluster.in_use(pass.object) {
            return Ok(Deletion::Refused(refusal));
        }
        if let Some(refusal) = self.adoption.left_behind(pass.object, pass.host) {
            return Ok(Deletion::Refused(refusal));
        }
        let uuid = self.adoption.identity(pass.object, pass.host);
        let of = uuid.clone();
        let deleted = pass.host.long(&uuid, move |host| remove(host, &of)).await?;
        read(pass, &uuid).await?;
        Ok(deleted)
    }

    fn report(
        &self,
        pass: &Pass<'_, Self>,
        reserved: Option<&Vec<Reservation>>,
        found: &Found,
    ) -> Report<NetworkObservation> {
        let Some(entry) = found.entry.as_deref() else {
            return Report::of(NetworkObservation::default(), Wish::creating());
        };
        // Of what others made nothing waits on our behalf, and nothing is written down as ours.
        let reserved = reserved.map(Vec::as_slice).unwrap_or_default();
        let wishes = wishes(pass.object, reserved, false).ok().filter(|_| !found.theirs);
        let waiting = match (&wishes, &entry.live) {
            (Some(wishes), Some(live)) => live::waiting(wishes, live, &self.rules),
            (_, None) | (None, _) => Vec::new(),
        };
        let pending_changes = live::fields(&waiting);
        let why = self.vain.why(pass.object.uid(), &waiting).filter(|_| restart::is_allowed(pass.object));
        let conditions = found.restart.condition(&pending_changes, why.as_deref()).into_iter().collect();
        let ready = if entry.active { Wish::available() } else { Wish::unavailable("the network is not active") };
        let [definition, live] =
            [&entry.inactive, &entry.live].map(|description| description.as_ref().map(|text| observed::named(text)));
        let observation = NetworkObservation {
            id: Some(entry.uuid.clone()),
            active: Some(entry.active),
            autostart: entry.persistent.then_some(entry.autostart),
            pending_changes,
            ..observed::observe(definition.as_ref(), live.as_ref())
        };
        let details = details::network(pass.object, &observation);
        let managed = wishes.as_ref().filter(|_| !pass.policies.only_observes()).zip(entry.inactive.as_ref());
        let owned = managed.and_then(|(wishes, base)| {
            let as_wished = diff(wishes, &observed::prefixed(base), &self.rules).is_empty();
            let all = || reserved::without_parts(wishes.owned_paths(), reserved);
            if as_wished { Some(all()) } else { reserved::with_reserved(pass.object, &observation, reserved) }
        });
        let annotations = owned.map(|owned| (annotation::APPLIED, Some(applied::text(&owned)))).into_iter().collect();
        let recheck = found.settling;
        Report { conditions, annotations, details, recheck, ..Report::of(observation, ready) }
    }

    fn forget(&self, object: &Network) {
        self.stops.forget(object.uid());
        self.vain.forget(object.uid());
        self.written.forget(object.uid());
        self.adoption.forget(object.uid());
        self.connector.unclaim(object);
    }
}

/// How a network that others made differs from what the spec says of it. That it runs is nothing that the spec says.
fn import(object: &Network, entry: &NetworkEntry, rules: &Rules) -> anyhow::Result<Standing<Change>> {
    let differences = match entry.inactive.as_ref().or(entry.live.as_ref()) {
        Some(description) => diff(&render::render(object, false, &[])?, &observed::named(description), rules),
        None => Vec::new(),
    };
    let autostart = object.parameters().autostart.filter(|_| entry.persistent);
    Ok(imported(differences, entry.autostart, autostart))
}
