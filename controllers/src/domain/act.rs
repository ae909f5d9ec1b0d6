//! What changes a domain: each looks at it again first, in the same section of calls.

use std::{collections::HashSet, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use apis::{Domain, Managed, quantity::Span};
use libvirt::{
    Affect, Connection, Description, Error, Facts, Kind, ShutdownMode,
    diff::{Difference, diff},
    mirror::DomainEntry,
    overlay::overlay,
    rule::{Live, Route, Rules},
    wish::Wishes,
    xml::Element,
};
use managed::{
    creation::was_created,
    external::{Deletion, Pass},
};
use std::time::Duration;

use super::{Change, Domains, Found, Power, Surroundings, claim, initial, new_disks::Guest, render, resolve};
use crate::hosts::owner;

/// How long a guest has to shut down unless its object says otherwise.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(2);
/// How often a guest that is shutting down is looked at, beside the event that says it is off.
const SHUTDOWN_RECHECK: Duration = Duration::from_secs(5);

/// Everything an action needs on the thread of the calls.
struct Order {
    object: Domain,
    /// The domain's UUID.
    uuid: String,
    /// Whether others made it.
    adopted: bool,
    /// Whether its devices may have other names on the running guest than in its definition.
    renamed: bool,
    around: Surroundings,
    /// The UUIDs of all guests that objects manage.
    managed: HashSet<String>,
    facts: Facts,
    rules: Arc<Rules>,
}

impl Domains {
    fn order(&self, pass: &Pass<'_, Self>, around: Surroundings) -> Order {
        let adopted = self.adoption.adopted(pass.object, pass.host);
        let (object, facts, rules) = (pass.object.clone(), pass.host.facts().clone(), self.rules.clone());
        let uuid = adopted.clone().unwrap_or_else(|| object.uid().to_owned());
        let (adopted, initial) = (adopted.is_some(), object.initially().is_some());
        let managed = self.cluster.domains.store.state();
        let managed = managed.iter().map(|domain| self.adoption.recorded_identity(&**domain, pass.host)).collect();
        Order { object, uuid, adopted, renamed: adopted || initial, around, managed, facts, rules }
    }

    /// Defines a domain that is not there and starts it unless it is to be off.
    pub(super) async fn define_and_start(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Found> {
        // One that is made again is made of what is initial too.
        let whole = pass.object.merged();
        let around = resolve::resolve_to_make(&self.cluster, pass.object, &whole, pass.config)?;
        let media = self.host_media(pass, &whole).await?;
        let found = self.found(pass, None, None, media);
        let order = self.order(pass, found.complete(&around));
        let (uuid, start) = (order.uuid.clone(), !super::find::is_halted(pass.object));
        let entry = pass.host.long(&uuid, move |host| order.create(host, start)).await?;
        pass.host.mirror().claim(libvirt::Claim::Domain(uuid.clone()), &owner(pass.object));
        pass.host.mirror().replace_domain(&uuid, entry.clone());
        Ok(self.found(pass, entry.map(Arc::new), None, found.media))
    }

    /// Brings a domain that is there to what is wished.
    pub(super) async fn apply(
        &self,
        pass: &Pass<'_, Self>,
        around: &Surroundings,
        change: &Change,
    ) -> anyhow::Result<Found> {
        let shutdown = match change.power {
            Some(Power::Shutdown) => Some(self.shut_down(pass).await?),
            Some(Power::Start) | None => None,
        };
        let found = self.look(pass, around).await?;
        let order = self.order(pass, found.complete(around));
        let (uuid, start) = (order.uuid.clone(), change.power == Some(Power::Start));
        let autostart = change.autostart;
        let (entry, hindrances) = pass.host.long(&uuid, move |host| order.update(host, autostart, start)).await?;
        pass.host.mirror().replace_domain(&uuid, entry.clone());
        let mut found = self.found(pass, entry.map(Arc::new), None, found.media);
        // The guest was asked; its event, not this pass, says when it is off.
        if found.power == Some(Power::Shutdown) {
            found.power = None;
            found.recheck = Some(SHUTDOWN_RECHECK);
        }
        found.hindrances = hindrances;
        found.shutdown = shutdown;
        Ok(found)
    }

    /// Asks the guest to shut down, asks again when its time is over, or forces it off where the object allows. Says what it did.
    async fn shut_down(&self, pass: &Pass<'_, Self>) -> anyhow::Result<String> {
        let uid = pass.object.uid();
        let wished = pass.object.effective().parameters().shutdown.clone().unwrap_or_default();
        let timeout =
            wished.timeout.as_ref().map_or(Ok(SHUTDOWN_TIMEOUT), Span::duration).map_err(anyhow::Error::msg)?;
        let clock = *self.clocks().entry(uid.to_owned()).or_default();
        let may_force = wished.force_after_timeout.unwrap_or_default();
        let overdue = clock.asked.is_some_and(|asked| asked.elapsed() >= timeout) || (clock.ignored && may_force);
        let shown = wished.timeout.map_or_else(|| "2m".to_owned(), |timeout| timeout.0);
        if clock.asked.is_some() && !overdue {
            return Ok(so_far(clock.ignored, &shown));
        }
        let force = overdue && may_force;
        let mode = match wished.mode.unwrap_or_default() {
            apis::domain::ShutdownMode::Default => ShutdownMode::Default,
            apis::domain::ShutdownMode::Acpi => ShutdownMode::Acpi,
            apis::domain::ShutdownMode::Agent => ShutdownMode::Agent,
        };
        let uuid = self.adoption.identity(pass.object, pass.host);
        let done = pass.host.long(&uuid.clone(), move |host| Ok(stop(host, &uuid, mode, force)?)).await;
        let ignored = {
            let mut clocks = self.clocks();
            let clock = clocks.entry(uid.to_owned()).or_default();
            clock.asked = Some(Instant::now());
            clock.ignored |= overdue;
            clock.ignored
        };
        done.context(if force { "destroy domain" } else { "ask domain to shut down" })?;
        Ok(if force {
            format!("the guest did not shut down within {shown} and was forced off")
        } else {
            so_far(ignored, &shown)
        })
    }

    /// Takes a domain away: off first, then its definition. Disks stay; they are Volumes of their own.
    pub(super) async fn undefine(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Deletion> {
        let identity = self.adoption.identity(pass.object, pass.host);
        pass.host.mirror().claim(libvirt::Claim::Domain(identity.clone()), &owner(pass.object));
        let uuid = identity.clone();
        let present = pass.host.short(&identity, move |host| host.read_domain(&uuid)).await?;
        let Some(entry) = present else {
            pass.host.mirror().replace_domain(&identity, None);
            let undefined = self.clocks().get(pass.object.uid()).is_some_and(|clock| clock.undefined);
            let riddle = was_created(pass.object) && !undefined;
            let elsewhere = if riddle { self.elsewhere(pass, "let go").await? } else { None };
            return Ok(elsewhere.map_or(Deletion::Absent, Deletion::Refused));
        };
        if entry.id.is_some() {
            let message = self.shut_down(pass).await?;
            let uuid = identity.clone();
            let on = pass
                .host
                .short(&identity, move |host| Ok(host.find_domain(&uuid)?.is_some_and(|domain| domain.id().is_some())))
                .await?;
            if on {
                return Ok(Deletion::Waiting(message, SHUTDOWN_RECHECK));
            }
        }
        let uuid = identity.clone();
        pass.host
            .long(&identity, move |host| Ok(host.find_domain(&uuid)?.map_or(Ok(()), |domain| domain.undefine())?))
            .await
            .context("undefine domain")?;
        self.clocks().entry(pass.object.uid().to_owned()).or_default().undefined = true;
        Ok(Deletion::Requested)
    }
}

/// How far a shutdown is. A guest that let its time pass once is said to, until it is off.
fn so_far(ignored: bool, timeout: &str) -> String {
    if ignored {
        format!(
            "the guest did not shut down within {timeout} and was asked again; set shutdown.forceAfterTimeout to force it off"
        )
    } else {
        format!("the guest was asked to shut down and has {timeout} to do so")
    }
}

fn stop(host: &Connection, uuid: &str, mode: ShutdownMode, force: bool) -> Result<(), Error> {
    let Some(domain) = host.find_domain(uuid)? else { return Ok(()) };
    let done = if force { domain.destroy(false) } else { domain.shutdown(mode) };
    match done {
        Err(error) if error.is_invalid_state() => Ok(()),
        done => done,
    }
}

impl Order {
    fn guest(&self) -> Guest<'_> {
        Guest { uuid: &self.uuid, object: &self.object, around: &self.around, managed: &self.managed }
    }

    fn create(self, host: &Connection, start: bool) -> anyhow::Result<Option<DomainEntry>> {
        let (uuid, name) = (self.uuid.as_str(), self.object.external_name());
        if host.find_domain(uuid)?.is_none() {
            ensure!(
                host.find_domain_by_name(name)?.is_none(),
                "domain {name:?} is on the host already and is not ours"
            );
            self.guest().check_make(host, &self.object.merged())?;
            let description = initial::description(&self.object, &self.around, &self.facts, &self.rules, uuid)?;
            define(host, &description, None)?;
        }
        let domain = host.find_domain(uuid)?.context("the domain went away meanwhile")?;
        if self.object.merged().parameters().autostart == Some(true) {
            domain.set_autostart(true).context("set autostart of domain")?;
        }
        if start && domain.id().is_none() {
            domain.create().context("start domain")?;
        }
        Ok(host.read_domain(uuid)?)
    }

    fn update(
        self,
        host: &Connection,
        autostart: Option<bool>,
        start: bool,
    ) -> anyhow::Result<(Option<DomainEntry>, Vec<String>)> {
        let domain = host.find_domain(&self.uuid)?.context("the domain went away meanwhile")?;
        let base =
            Element::parse(&domain.describe(Description::InactiveSecure)?).context("read the domain's description")?;
        self.guest().check_attach(host, &base)?;
        let claimed = claim::claim(&self.object, &self.around, &base, self.adopted);
        let wishes = render::render(&claimed.object, &claimed.around, &self.facts, Some(&claimed.base))?;
        let wished = overlay(&wishes, &claimed.base, &self.rules);
        let differs = diff(&wishes, &claimed.base, &self.rules).iter().any(Difference::is_applied);
        if differs || !domain.is_persistent()? {
            define(host, &wished, Some(&base))?;
        }
        if let Some(autostart) = autostart {
            domain.set_autostart(autostart).context("set autostart of domain")?;
        }
        let mut hindrances = Vec::new();
        if domain.id().is_some() {
            hindrances = self.change_running(&domain, &wishes, [&wished, &claimed.base])?;
        } else if start {
            domain.create().context("start domain")?;
        }
        Ok((host.read_domain(&self.uuid)?, hindrances))
    }

    /// Changes on the running guest what can be changed there. What fails waits for the next boot, and the reason is told.
    fn change_running(
        &self,
        domain: &libvirt::Domain<'_>,
        wishes: &Wishes,
        [wished, base]: [&Element; 2],
    ) -> anyhow::Result<Vec<String>> {
        let present =
            Element::parse(&domain.describe(Description::Live)?).context("read the running domain's description")?;
        let live = if self.renamed { claim::running(base, &present, &self.object) } else { present.clone() };
        let mut hindrances = Vec::new();
        let mut updated: Vec<String> = Vec::new();
        for difference in diff(wishes, &live, &self.rules) {
            let Route::Live(how) = difference.route else { continue };
            let item = device_of(&difference.path);
            let done = match how {
                Live::Device | Live::Update => {
                    if updated.iter().any(|known| known == item) {
                        continue;
                    }
                    updated.push(item.to_owned());
                    self.change_device(domain, &difference, wishes, [wished, &live, &present])
                }
                Live::Memory => change_memory(domain, wished, &live),
                Live::Vcpus => change_vcpus(domain, wished, &live),
                Live::BlockTune | Live::InterfaceTune | Live::Scheduler | Live::Network => Ok(()),
            };
            match done {
                Err(error) if error.kind == Kind::Unreachable => return Err(error.into()),
                Err(error) => hindrances.push(format!("{}: {error}", difference.path)),
                Ok(()) => {}
            }
        }
        Ok(hindrances)
    }

    fn change_device(
        &self,
        domain: &libvirt::Domain<'_>,
        difference: &Difference,
        wishes: &Wishes,
        [wished, live, present]: [&Element; 3],
    ) -> Result<(), Error> {
        let item = device_of(&difference.path);
        let text = |element: &Element| {
            element.write().map_err(|error| Error::other(format!("cannot write a device: {error}")))
        };
        let whole = difference.path == item;
        let known = |device: Element| if self.renamed { claim::as_running(device, present) } else { device };
        match (wishes.locate(item, wished, &self.rules), wishes.locate(item, live, &self.rules)) {
            (Some(device), None) => domain.attach_device(&text(device)?, Affect::Live),
            (None, Some(device)) if whole => domain.detach_device(&text(&known(device.clone()))?, Affect::Live),
            (Some(device), Some(present)) => {
                domain.update_device(&text(&known(at_its_address(device, present)))?, Affect::Live)
            }
            (None, Some(_) | None) => Ok(()),
        }
    }
}

/// The device in which a path lies: `devices/disk[ua-disk-a]` of `devices/disk[ua-disk-a]/source@file`.
fn device_of(path: &str) -> &str {
    path.find(']').map_or(path, |end| &path[..=end])
}

/// The device as wished, at the address where it is plugged in now.
fn at_its_address(wished: &Element, present: &Element) -> Element {
    let mut device = wished.clone();
    if device.find("address").is_none()
        && let Some(address) = present.find("address")
    {
        device.push(address.clone());
    }
    device
}

fn change_memory(domain: &libvirt::Domain<'_>, wished: &Element, live: &Element) -> Result<(), Error> {
    let figure = |description: &Element, path| description.text_at(path).and_then(|text| text.parse::<u64>().ok());
    match (figure(wished, "currentMemory"), figure(live, "memory")) {
        (Some(now), Some(most)) if now <= most => domain.set_memory(now, Affect::Live),
        _ => Ok(()),
    }
}

/// Only upwards: a guest that is asked to give a processor up may not, and QEMU does not survive asking again.
fn change_vcpus(domain: &libvirt::Domain<'_>, wished: &Element, live: &Element) -> Result<(), Error> {
    let most =
        |description: &Element| description.text_at("vcpu").and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
    let now = |description: &Element| {
        description.attr_at("vcpu@current").and_then(|text| text.parse().ok()).unwrap_or_else(|| most(description))
    };
    let (wished, present) = (now(wished), now(live));
    if wished > present && wished <= most(live) { domain.set_vcpus(wished, Affect::Live) } else { Ok(()) }
}

/// Defines with validation. A host whose own description does not validate gets it without, as it wrote it.
fn define(host: &Connection, description: &Element, base: Option<&Element>) -> anyhow::Result<()> {
    let text = description.write().context("write the description")?;
    let Err(error) = host.define_domain(&text, true) else { return Ok(()) };
    let valid = match base {
        Some(base) if error.is_invalid_schema() => !own_description_is_invalid(host, base),
        _ => true,
    };
    if valid {
        return Err(anyhow::Error::new(error).context("define domain"));
    }
    tracing::warn!(
        domain = description.text_at("name"),
        "the host's own description does not validate; defining without validation"
    );
    host.define_domain(&text, false).context("define domain")?;
    Ok(())
}

fn own_description_is_invalid(host: &Connection, base: &Element) -> bool {
    base.write().is_ok_and(|text| host.define_domain(&text, true).is_err_and(|error| error.is_invalid_schema()))
}
