//! Networks: find, compare, create, update and delete virtual networks.

mod checks;
mod live;
pub mod observed;
pub mod render;
pub(crate) mod reserved;
pub mod rules;
pub mod subnet;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use apis::{
    Managed, Network,
    condition::{Status, Type, Wish},
    managed::annotation,
    network::NetworkObservation,
    placement::ConfigId,
};
use libvirt::{
    Claim, Connection, Error, Listing,
    diff::{Difference, diff},
    mirror::NetworkEntry,
    overlay::overlay,
    rule::Rules,
    wish::Wishes,
    xml::Element,
};
use managed::external::{Deletion, External, Pass, Record, Refusal, Report, Standing};

use reserved::Reservation;

use crate::{
    adopt::{Adoption, Asking, Obstacle},
    applied,
    cluster::Cluster,
    defined::{Change, Present, Stops, imported, standing},
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
}

/// What the host has of a Network.
pub struct Found {
    entry: Option<Arc<NetworkEntry>>,
    obstacle: Option<Obstacle>,
    /// Others made it, and it is only looked at.
    theirs: bool,
    /// It was stopped a moment ago, and is started after this time.
    settling: Option<Duration>,
}

impl Networks {
    /// The kind, with its rules ready.
    pub fn new(cluster: Arc<Cluster>, connector: Arc<Connector>, adoption: Arc<Adoption>) -> Self {
        Self { cluster, connector, adoption, rules: Arc::new(rules::rules()), stops: Stops::default() }
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
        let wished = Wished { object: pass.object.clone(), reserved: reserved.to_vec() };
        let rules = self.rules.clone();
        let uuid = self.adoption.identity(pass.object, pass.host);
        let of = uuid.clone();
        pass.host.in_turn(&uuid, move |host| make_true(host, &wished, &of, &rules, create)).await?;
        let entry = read(pass, &uuid).await?.map(Arc::new);
        pass.host.mirror().claim(Claim::Network(uuid), &owner(pass.object));
        Ok(Found { entry, obstacle: None, theirs: false, settling: None })
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

fn wishes(object: &Network, reserved: &[Reservation], create: bool) -> anyhow::Result<Wishes> {
    render::whole(object, reserved, create, &applied::paths(object))
}

/// A Network, and what it keeps for the interfaces of Domains.
struct Wished {
    object: Network,
    reserved: Vec<Reservation>,
}

impl Wished {
    fn wishes(&self) -> anyhow::Result<Wishes> {
        wishes(&self.object, &self.reserved, false)
    }
}

/// Looks at the network anew and does what is needed: define, change live, set autostart, start.
fn make_true(host: &Connection, wished: &Wished, uuid: &str, rules: &Rules, create: bool) -> anyhow::Result<()> {
    let is_new = host.find_network(uuid)?.is_none();
    if is_new {
        define_new(host, wished, uuid, rules)?;
    }
    let network = host.find_network(uuid)?.ok_or_else(|| anyhow!("the network went away meanwhile"))?;
    let done = bring_about(host, &network, wished, rules, create);
    if done.is_err() && is_new && !network.is_active()? {
        // What cannot start leaves nothing behind.
        network.undefine().context("undefine a network that does not start")?;
    }
    done
}

fn define_new(
    host: &Connection,
    Wished { object, reserved }: &Wished,
    uuid: &str,
    rules: &Rules,
) -> anyhow::Result<()> {
    let name = object.external_name();
    anyhow::ensure!(
        host.find_network_by_name(name)?.is_none(),
        "network {name:?} is on the host already and is not ours"
    );
    let mut wishes = wishes(&object.merged(), reserved, true)?;
    wishes.set("uuid", uuid);
    let description = wishes.create(rules);
    is_apart(host, uuid, &description)?;
    define(host, &description)
}

fn define(host: &Connection, description: &Element) -> anyhow::Result<()> {
    host.define_network(&description.write().context("write the description")?).context("define network").map(drop)
}

/// Fails where another network of the host has the bridge or addresses of this description.
fn is_apart(host: &Connection, uuid: &str, description: &Element) -> anyhow::Result<()> {
    for other in host.list_networks(Listing::All)? {
        // One that neither runs nor will by itself is in nobody's way.
        if other.uuid()? != uuid && (other.is_active()? || other.autostart().unwrap_or(false)) {
            let other = other.describe(false).context("read the description of another network")?;
            checks::apart(description, &Element::parse(&other).context("read the description of another network")?)?;
        }
    }
    Ok(())
}

fn bring_about(
    host: &Connection,
    network: &libvirt::Network<'_>,
    wished: &Wished,
    rules: &Rules,
    create: bool,
) -> anyhow::Result<()> {
    let object = &wished.object;
    let base = Element::parse(&network.describe(true)?).context("read the network's description")?;
    let (base, wishes) = (observed::prefixed(&base), wished.wishes()?);
    // What runs without a definition would be gone with its next stop.
    let differences = diff(&wishes, &base, rules);
    if !network.is_persistent()? || differences.iter().any(Difference::is_applied) {
        let wished = overlay(&wishes, &base, rules);
        // What others have made of it meanwhile must not keep a network from changes of other fields.
        if differences.iter().any(|difference| checks::is_place(&difference.path)) {
            is_apart(host, &network.uuid()?, &wished)?;
        }
        define(host, &wished)?;
    }
    let autostart = if create { object.merged().parameters().autostart } else { object.parameters().autostart };
    if let Some(autostart) =
        autostart.filter(|autostart| network.autostart().is_ok_and(|present| present != *autostart))
    {
        network.set_autostart(autostart).context("set autostart of network")?;
    }
    if network.is_active()? { live::change(network, &wishes, rules) } else { start(network) }
}

fn start(network: &libvirt::Network<'_>) -> anyhow::Result<()> {
    network.create().map_err(|error| {
        // libvirt's words name an interface only, which may be of another network, of the host, or left by a network that is gone.
        let said = error.to_string();
        let cure = if said.contains("is already in use by interface") {
            "the host has its addresses already: set others in spec.forProvider.ips, or remove that interface if nothing uses it"
        } else if said.contains("error creating bridge interface") && said.contains("File exists") {
            "the host has an interface of that name already: set another one in spec.forProvider.bridge, or remove that interface if nothing uses it"
        } else {
            return anyhow::Error::from(error).context("start network");
        };
        anyhow::Error::from(error).context(cure).context("start network")
    })
}

/// The running guests that are on a network.
fn guests_on(host: &Connection, network: &str) -> Result<Vec<String>, Error> {
    let uses = |live: &Element| {
        live.find_all("devices/interface").iter().any(|nic| nic.attr_at("source@network") == Some(network))
    };
    let running = host.running()?;
    running.iter().filter(|running| uses(&running.live)).map(|running| running.domain.name()).collect()
}

fn remove(host: &Connection, uuid: &str) -> anyhow::Result<Deletion> {
    let Some(network) = host.find_network(uuid)? else { return Ok(Deletion::Absent) };
    let guests = guests_on(host, &network.name()?)?;
    if let Some(guest) = guests.first() {
        let message = format!(
            "the network is used by {} running on the host, {guest} first; it is not deleted before they are off it",
            count(guests.len(), "domain")
        );
        return Ok(Deletion::Refused(Refusal { reason: "InUse", message }));
    }
    if network.is_active()? {
        network.destroy().context("stop network")?;
    }
    if network.is_persistent()? {
        network.undefine().context("undefine network")?;
    }
    Ok(Deletion::Requested)
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

    fn neighbours(&self, _: &Network) -> Vec<ConfigId> {
        Vec::new()
    }

    async fn resolve(&self, object: &Network, _: &ConfigId) -> anyhow::Result<Vec<Reservation>> {
        Ok(reserved::reservations(&self.cluster, object))
    }

    async fn find(&self, pass: &Pass<'_, Self>, _: &Vec<Reservation>) -> anyhow::Result<Found> {
        let entry = self.entry(pass).await?;
        let only_observes = pass.policies.only_observes();
        let own = |entry: &Arc<NetworkEntry>| entry.uuid == self.adoption.identity(pass.object, pass.host);
        let theirs = only_observes && entry.as_ref().is_some_and(|entry| !own(entry));
        let obstacle = if entry.is_some() || only_observes { None } else { self.obstacle(pass).await? };
        let active = entry.as_ref().is_some_and(|entry| entry.active);
        let settling =
            self.stops.wait(pass.object.uid(), active, Instant::now()).filter(|_| !theirs && entry.is_some());
        Ok(Found { entry, obstacle, theirs, settling })
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
        Ok(standing(differences, present, pass.object.parameters().autostart))
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
        let pending_changes = match (&wishes, &entry.live) {
            (Some(wishes), Some(live)) => live::waiting(wishes, live, &self.rules),
            (_, None) | (None, _) => Vec::new(),
        };
        let mut conditions = Vec::new();
        if !pending_changes.is_empty() {
            let message = format!(
                "waiting for the network's next start: {}. A restart cuts its guests off; do it when it suits them",
                pending_changes.join(", ")
            );
            conditions.push(Wish::new(Type::RestartRequired, Status::True, "ChangesPending").because(message));
        }
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
        let as_wished = wishes
            .as_ref()
            .filter(|_| !pass.policies.only_observes())
            .zip(entry.inactive.as_ref())
            .filter(|(wishes, base)| diff(wishes, &observed::prefixed(base), &self.rules).is_empty());
        let annotations = as_wished
            .map(|(wishes, _)| (annotation::APPLIED, Some(applied::text(&wishes.owned_paths()))))
            .into_iter()
            .collect();
        let recheck = found.settling;
        Report { conditions, annotations, details, recheck, ..Report::of(observation, ready) }
    }

    fn forget(&self, object: &Network) {
        self.stops.forget(object.uid());
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
