//! What the status says of a domain.

use std::borrow::Cow;

use apis::{
    Domain, Managed,
    condition::{Status, Type, Wish},
    domain::{DomainObservation, DomainParameters, RunStrategy},
    managed::annotation,
};
use libvirt::{
    State,
    diff::Difference,
    mirror::{Described, DomainEntry},
    xml::Element,
};
use managed::external::{Pass, Report};

use crate::{
    details,
    references::{self, Choices},
};

use super::{
    Domains, Found, Power, Surroundings, attempts::Lacking, claim, fields, find, guests, import, observed, passwords,
    pending, power, render,
};

impl Domains {
    /// Status from what was found.
    pub(super) fn observe(
        &self,
        pass: &Pass<'_, Self>,
        around: Option<&Surroundings>,
        found: &Found,
    ) -> Report<DomainObservation> {
        let Some(entry) = found.entry.as_deref() else {
            return Report::of(DomainObservation::default(), Wish::creating());
        };
        let chosen = around.map(|around| references::record(&choices(pass.object, around, entry)));
        let mut conditions: Vec<Wish> = waiting(pass.object.parameters(), found).into_iter().collect();
        if let Some(connected) = found.guest_agent {
            let (status, reason) =
                if connected { (Status::True, "Connected") } else { (Status::False, "Disconnected") };
            conditions.push(Wish::new(Type::GuestAgentConnected, status, reason));
        }
        let before = pass.object.observation().filter(|_| self.settled.shows(pass.object.uid(), found.key));
        let observation = observation(pass.object, entry, found, before);
        if pass.object.observation() == Some(&observation) {
            self.settled.note_shown(pass.object.uid(), found.key);
        }
        let password = around.and_then(|around| password(around, &observation));
        let details = details::domain(pass.object, (pass.host.uri(), password), &observation);
        let wishes_pause = !found.theirs && pass.object.effective().parameters().paused == Some(true);
        let ready = ready(find::strategy(pass.object, found.theirs), wishes_pause, entry, found);
        // The leave to make a lost one again is for once.
        let adopted = !found.theirs && self.adoption.adopted_anywhere(pass.object).is_some();
        let forgotten = adopted.then_some((annotation::RECREATE, None));
        let annotations = chosen.into_iter().chain(forgotten).collect();
        Report { conditions, annotations, details, recheck: found.recheck, ..Report::of(observation, ready) }
    }

    /// What the running guest does not show as wished.
    pub(super) fn pending(
        &self,
        pass: &Pass<'_, Self>,
        around: &Surroundings,
        found: &Found,
        entry: &DomainEntry,
    ) -> Vec<Difference> {
        let (Some(live), Some(base)) = (&entry.live, &entry.inactive) else { return Vec::new() };
        let is_ending = self.is_asked(pass.object.uid());
        let around = found.complete(around);
        let claimed = claim::claim(pass.object, &around, base, found.adopted);
        let live = shown(pass.object, &claimed.base, live, matches!(claimed.base, Cow::Owned(_)));
        render::render(&claimed.object, &claimed.around, pass.host.facts(), Some(&claimed.base))
            .map(|wishes| pending::pending(wishes, &live, &self.rules, &pass.host.facts().cpus))
            .map(|paths| [paths, passwords::waiting(&claimed.around.passwords, &live)].concat())
            .unwrap_or_default()
            .into_iter()
            // Whatever follows a shutdown otherwise, this one ends it.
            .filter(|difference| !(is_ending && difference.path == "on_poweroff"))
            .collect()
    }
}

/// The password of the first graphical console.
fn password<'a>(around: &'a Surroundings, seen: &DomainObservation) -> Option<&'a str> {
    let first = seen.graphics.first()?;
    Some(around.passwords.get(first.type_.to_lowercase().as_str())?.reveal())
}

/// What selectors chose, as it is written down. A guest keeps the data of its disks; what it has not got is not its, and what it has stays
/// in use, whatever a selector chooses by now.
fn choices(object: &Domain, around: &Surroundings, entry: &DomainEntry) -> Choices {
    let mut choices = around.choices.clone();
    for (path, before) in references::recorded(object) {
        let Some(disk) =
            object.parameters().disks.iter().flatten().find(|disk| references::disk_path(&disk.name.0) == path)
        else {
            continue;
        };
        let alias = format!("{}{}", render::DISK, disk.name);
        let medium = around.media.get(&disk.name.0).map(|medium| medium.path.as_str());
        let devices =
            [&entry.live, &entry.inactive].into_iter().flatten().flat_map(|shown| shown.find_all("devices/disk"));
        let has_another =
            |device: &Element| device.attr_at("alias@name") == Some(&alias) && observed::path(device) != medium;
        if devices.into_iter().any(has_another) {
            choices.insert(path, before);
        }
    }
    choices
}

/// What is to be said about what the running guest does not show as wished.
fn waiting(parameters: &DomainParameters, found: &Found) -> Option<Wish> {
    let Lacking { leaving, waiting, hindrances, in_vain, .. } = &found.lacking;
    let required = |reason, message| Some(Wish::new(Type::RestartRequired, Status::True, reason).because(message));
    if let Some(how) = found.shutdown.as_ref().filter(|_| found.power == Some(Power::Restart)) {
        return required("Restarting", format!("to be started again: {how}"));
    }
    if waiting.is_empty() {
        let leaving = fields::fields(leaving.iter().map(String::as_str), parameters);
        let message = format!("the guest was asked to give up {}", leaving.join(", "));
        let wish = Wish::new(Type::RestartRequired, Status::False, "Unplugging").because(message);
        return (!leaving.is_empty()).then_some(wish);
    }
    let names = fields::fields(waiting.iter().map(|difference| difference.path.as_str()), parameters);
    let mut message = format!("waiting for the guest's next boot: {}", names.join(", "));
    if !hindrances.is_empty() {
        let why = hindrances.iter().map(|(path, why)| format!("{}: {why}", fields::field(path, parameters)));
        message = format!("{message} (not possible on the running guest: {})", why.collect::<Vec<_>>().join("; "));
    }
    if *in_vain {
        message.push_str("; a restart has not brought it about");
    }
    required("ChangesPending", message)
}

fn ready(strategy: RunStrategy, wishes_pause: bool, entry: &DomainEntry, found: &Found) -> Wish {
    use RunStrategy::{Always, Halted, Manual, Once, RerunOnFailure};
    let state = power::shown(entry.state);
    match (strategy, entry.state.state) {
        (Always | RerunOnFailure | Once, State::Running | State::Blocked) => Wish::available(),
        (Always | RerunOnFailure | Once, State::Paused) if wishes_pause => Wish::available(),
        (RerunOnFailure | Once, _) if power::is_done(entry.state) => Wish::available(),
        (Once, State::Shutoff | State::Crashed) => {
            Wish::unavailable(format!("the guest is {state}, and runStrategy Once does not start it again"))
        }
        (Always, State::Shutoff) if found.recheck.is_some() => {
            Wish::unavailable(format!("the guest is {state}; it is started again if it stays so for 15s"))
        }
        (Always | RerunOnFailure | Once, _) | (Manual, State::Crashed) => {
            Wish::unavailable(format!("the guest is {state}"))
        }
        (Manual, _) => Wish::available(),
        (Halted, State::Shutoff | State::Crashed) if entry.id.is_none() => Wish::available(),
        (Halted, _) => Wish::unavailable(
            found.shutdown.clone().unwrap_or_else(|| format!("the guest is {state} and was asked to shut down")),
        ),
    }
}

/// The running description, where the definition has names of its own with those.
fn shown<'a>(object: &Domain, definition: &Element, live: &'a Element, named: bool) -> Cow<'a, Element> {
    if named { Cow::Owned(claim::running(definition, live, object)) } else { Cow::Borrowed(live) }
}

/// What is to be seen. What the descriptions say is taken from `before` where that is known to be of them.
fn observation(
    object: &Domain,
    entry: &DomainEntry,
    found: &Found,
    before: Option<&DomainObservation>,
) -> DomainObservation {
    let mut seen = before.cloned().unwrap_or_else(|| described(object, entry, found));
    seen.id = Some(entry.uuid.clone());
    seen.state = Some(power::shown(entry.state));
    seen.autostart = entry.persistent.then_some(entry.autostart);
    let macs: Vec<_> = seen.network_interfaces.iter().map(|nic| (nic.mac.clone(), nic.name.clone())).collect();
    seen.addresses = guests::addresses(&found.leases, &found.told, &macs);
    seen.guest = found.told.guest.as_ref().map(guests::shown);
    let waiting = found.lacking.waiting.iter().map(|difference| difference.path.as_str());
    seen.pending_changes = fields::fields(waiting, object.parameters());
    seen
}

/// What the descriptions say.
fn described(object: &Domain, entry: &DomainEntry, found: &Found) -> DomainObservation {
    let named =
        |description: &Described| if found.theirs { import::named(description) } else { Element::clone(description) };
    let (definition, live) = (entry.inactive.as_ref().map(named), entry.live.as_ref().map(named));
    let live = match (&definition, live) {
        (Some(definition), Some(live)) if found.adopted => Some(claim::running(definition, &live, object)),
        (_, live) => live,
    };
    let mut seen = observed::observe(definition.as_ref(), live.as_ref(), &found.volumes);
    if let Some(shown) = live.as_ref().or(definition.as_ref()).filter(|_| found.theirs) {
        observed::name_sources(&mut seen.disks, shown);
    }
    seen
}
