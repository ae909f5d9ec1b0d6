//! What changes a domain: each looks at it again first, in the same section of calls.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, bail, ensure};
use apis::{Domain, Managed};
use libvirt::{
    Connection, Description, Facts, Kept,
    diff::{Difference, diff},
    mirror::DomainEntry,
    overlay::overlay,
    rule::Rules,
    xml::Element,
};
use managed::external::{Deletion, Pass};

use super::{
    Change, Domains, Found, Power, Surroundings, beneath, claim,
    cures::failed,
    follow, initial,
    live::Failures,
    live_devices,
    new_disks::{self, Guest},
    obstacle::has_been,
    offered, passwords, render,
    shutdown::{Ending, SHUTDOWN_RECHECK},
};
use crate::{
    hosts::{CHANGE, LONG, owner},
    mark::{self, Note},
};

/// How often a definition is written again because a disk of the guest has moved.
const FOLLOWED: u8 = 5;

/// What an update does beside what the wishes say.
struct Todo {
    autostart: Option<bool>,
    /// Whether it is started with its host, as far as is known.
    autostarts: bool,
    power: Option<Power>,
    note: Option<Note>,
}

/// Everything an action needs on the thread of the calls.
pub(super) struct Order {
    pub(super) object: Domain,
    /// The domain's UUID.
    uuid: String,
    /// Whether others made it.
    adopted: bool,
    /// Whether its devices may have other names on the running guest than in its definition.
    pub(super) renamed: bool,
    /// Whether it was asked to shut down.
    pub(super) ending: bool,
    sound: Sound,
    around: Surroundings,
    /// The UUIDs of all guests that objects manage.
    managed: HashSet<String>,
    pub(super) facts: Facts,
    pub(super) rules: Arc<Rules>,
}

impl Domains {
    /// Boxed: an object is large, and what waits for a call would carry it.
    fn order(&self, pass: &Pass<'_, Self>, around: Surroundings) -> Box<Order> {
        let adopted = self.adoption.adopted(pass.object, pass.host);
        let (object, facts, rules) = (pass.object.clone(), pass.host.facts().clone(), self.rules.clone());
        let uuid = adopted.clone().unwrap_or_else(|| object.uid().to_owned());
        let (adopted, initial) = (adopted.is_some(), object.initially().is_some());
        let managed = self.cluster.domains.store.state();
        let managed = managed.iter().map(|domain| self.adoption.recorded_identity(&**domain, pass.host)).collect();
        let (renamed, ending) = (adopted || initial, self.is_asked(object.uid()));
        let sound = self.sound.clone();
        Box::new(Order { object, uuid, adopted, renamed, ending, sound, around, managed, facts, rules })
    }

    /// Defines a domain that is not there and starts it unless it is to be off.
    pub(super) async fn define_and_start(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Found> {
        // One that is made again is made of what is initial too.
        let whole = pass.object.merged();
        let around = self.resolve_to_make(pass, &whole).await?;
        let media = self.host_media(pass, &whole).await?;
        let found = self.found(pass, None, None, media);
        let around = found.complete(&around);
        self.check_above(pass, &whole, &around).await?;
        let order = self.order(pass, around);
        let (uuid, start) = (order.uuid.clone(), !super::find::is_halted(pass.object));
        let plugging = pass.host.plugging().await;
        let entry = pass.host.long(&uuid, move |host| order.create(host, start)).await?;
        drop(plugging);
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
            Some(Power::Shutdown) => Some(self.shut_down(pass, Ending::Halt).await?),
            Some(Power::Start | Power::Restart | Power::Pause | Power::Resume) | None => None,
        };
        let found = self.look(pass, around).await?;
        let order = self.order(pass, found.complete(around));
        let uuid = order.uuid.clone();
        let autostarts = found.entry.as_ref().is_some_and(|entry| entry.autostart);
        let todo = Todo { autostart: change.autostart, autostarts, power: change.power, note: change.note.clone() };
        let plugging = pass.host.plugging().await;
        let limit = if change.power.is_none() { CHANGE } else { LONG };
        let (entry, failures) = pass.host.lasting(&uuid, limit, move |host| order.update(host, &todo)).await?;
        drop(plugging);
        pass.host.mirror().replace_domain(&uuid, entry.clone());
        let mut found = self.found(pass, entry.map(Arc::new), None, found.media);
        self.note_attempts(pass, around, &found, failures);
        self.consider(pass, around, &mut found);
        found.shutdown = shutdown;
        match found.power {
            Some(Power::Restart) => self.restart(pass, around, &mut found).await?,
            // The guest was asked; its event, not this pass, says when it is off.
            Some(Power::Shutdown) => {
                found.power = None;
                found.recheck = Some(SHUTDOWN_RECHECK);
            }
            Some(Power::Start | Power::Pause | Power::Resume) | None => {}
        }
        Ok(found)
    }

    /// Ends the present run of a guest. That it is to be started again is written down with it before.
    async fn restart(&self, pass: &Pass<'_, Self>, around: &Surroundings, found: &mut Found) -> anyhow::Result<()> {
        if let Some(note) = found.note.take() {
            let order = self.order(pass, found.complete(around));
            let uuid = order.uuid.clone();
            let entry = pass.host.long(&uuid, move |host| order.write_note(host, &note)).await?;
            pass.host.mirror().replace_domain(&uuid, entry.clone());
            found.entry = entry.map(Arc::new);
        }
        let ending = if found.cut_off { Ending::CutOff } else { Ending::Restart };
        found.shutdown = Some(self.shut_down(pass, ending).await?);
        found.recheck = Some(SHUTDOWN_RECHECK);
        Ok(())
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
            let riddle = has_been(pass.object) && !undefined;
            let elsewhere = if riddle { self.elsewhere(pass, "let go").await? } else { None };
            return Ok(elsewhere.map_or(Deletion::Absent, Deletion::Refused));
        };
        if let Some(refusal) = self.left_behind(pass, &entry, "taken away").await? {
            return Ok(Deletion::Refused(refusal));
        }
        if entry.id.is_some() {
            let message = self.shut_down(pass, Ending::Delete).await?;
            let uuid = identity.clone();
            let on = pass
                .host
                .short(&identity, move |host| Ok(host.find_domain(&uuid)?.is_some_and(|domain| domain.id().is_some())))
                .await?;
            if on {
                return Ok(Deletion::Waiting(message, SHUTDOWN_RECHECK));
            }
        }
        let (uuid, kept) = (identity.clone(), kept(pass.object));
        pass.host
            .long(&identity, move |host| Ok(host.find_domain(&uuid)?.map_or(Ok(()), |domain| domain.undefine(kept))?))
            .await
            .context("undefine domain")?;
        self.clocks().entry(pass.object.uid().to_owned()).or_default().undefined = true;
        Ok(Deletion::Requested)
    }
}

impl Order {
    fn guest(&self) -> Guest<'_> {
        Guest { uuid: &self.uuid, object: &self.object, around: &self.around, managed: &self.managed }
    }

    fn create(self, host: &Connection, start: bool) -> anyhow::Result<Option<DomainEntry>> {
        let uuid = self.uuid.as_str();
        let known = host.find_domain(uuid)?;
        let is_known = known.is_some();
        let domain = known.map_or_else(|| self.define_new(host), Ok)?;
        let autostart = self.object.merged().parameters().autostart == Some(true);
        if autostart {
            domain.set_autostart(true).context("set autostart of domain")?;
        }
        if start && domain.id().is_none() {
            self.start(&domain)?;
        }
        Ok(if is_known { host.read_domain(uuid)? } else { host.read_new_domain(&domain, autostart)? })
    }

    fn define_new<'c>(&self, host: &'c Connection) -> anyhow::Result<libvirt::Domain<'c>> {
        let (whole, name) = (self.object.merged(), self.object.external_name());
        ensure!(host.find_domain_by_name(name)?.is_none(), "domain {name:?} is on the host already and is not ours");
        self.guest().check_make(host, &whole)?;
        beneath::check(host, &whole, &self.around, None)?;
        let description = initial::description(&self.object, &self.around, &self.facts, &self.rules, &self.uuid)?;
        offered::check(host, &description, None)?;
        define(host, &description, None)
    }

    /// Brings the definition, and what runs, to what is wished. Tells what could not be changed on a running guest, by path.
    fn update(self, host: &Connection, todo: &Todo) -> anyhow::Result<(Option<DomainEntry>, Option<Failures>)> {
        let domain = host.find_domain(&self.uuid)?.context("the domain went away meanwhile")?;
        let mut base =
            Element::parse(&domain.describe(Description::InactiveSecure)?).context("read the domain's description")?;
        let mut live = running(&domain)?;
        let moved = self.follow(live.as_ref(), &mut base);
        self.guest().check_attach(host, &base)?;
        beneath::check(host, &self.object.effective(), &self.around, Some(&base))?;
        let claimed = claim::claim(&self.object, &self.around, &base, self.adopted);
        let wishes = render::render(&claimed.object, &claimed.around, &self.facts, Some(&claimed.base))?;
        let mut revealed = wishes.clone();
        passwords::reveal(&mut revealed, &claimed.around, Some(&claimed.base));
        let mut wished = overlay(&revealed, &claimed.base, &self.rules);
        let differs = moved || diff(&revealed, &claimed.base, &self.rules).iter().any(Difference::is_applied);
        // A restart is noted when everything else is done, if it is still needed then.
        let note = todo.note.as_ref().filter(|_| todo.power != Some(Power::Restart));
        if let Some(note) = note {
            mark::set_note(&mut wished, note);
        }
        if differs || note.is_some() || !domain.is_persistent()? {
            if new_disks::would_leave_saved(&domain, &base, &wished)? {
                if todo.power != Some(Power::Start) {
                    return Err(new_disks::saved().into());
                }
                // It goes on as it was saved; what is wished else is done to the running guest.
                self.start(&domain)?;
                return Ok((host.read_domain(&self.uuid)?, None));
            }
            offered::check(host, &wished, Some(&base))?;
            live = self.define_where_it_is(host, &domain, &mut wished, (&base, live))?;
        }
        if let Some(autostart) = todo.autostart {
            domain.set_autostart(autostart).context("set autostart of domain")?;
        }
        let mut failures = None;
        if let Some(live) = live {
            let mut failed = self.change_running(&domain, wishes, [&wished, &claimed.base, &live])?;
            failed.extend(live_devices::change_passwords(&domain, &claimed.around.passwords)?);
            failures = Some(failed);
            match todo.power {
                Some(Power::Pause) => domain.suspend().context("pause domain")?,
                Some(Power::Resume) => domain.resume().context("end the pause of domain")?,
                Some(Power::Start | Power::Shutdown | Power::Restart) | None => {}
            }
        } else if todo.power == Some(Power::Start) {
            self.start(&domain)?;
        }
        Ok((host.read_domain_back(&self.uuid, todo.autostart.unwrap_or(todo.autostarts))?, failures))
    }

    /// Writes down with a domain what is to be known of restarts.
    fn write_note(self, host: &Connection, note: &Note) -> anyhow::Result<Option<DomainEntry>> {
        let domain = host.find_domain(&self.uuid)?.context("the domain went away meanwhile")?;
        let base =
            Element::parse(&domain.describe(Description::InactiveSecure)?).context("read the domain's description")?;
        let mut noted = base.clone();
        mark::set_note(&mut noted, note);
        let live = running(&domain)?;
        self.follow(live.as_ref(), &mut noted);
        self.define_where_it_is(host, &domain, &mut noted, (&base, live))?;
        Ok(host.read_domain(&self.uuid)?)
    }

    /// Puts the disks of a description where the running guest has them; says whether one was elsewhere.
    fn follow(&self, live: Option<&Element>, description: &mut Element) -> bool {
        let moved = live.map(|live| follow::moved(&self.object, &self.around, description, live)).unwrap_or_default();
        follow::follow(&moved, description);
        !moved.is_empty()
    }

    /// Defines, and again where a disk of the running guest went elsewhere meanwhile: what was read before is then too old to be written.
    /// Nothing is defined during a block job, whose end writes into the definition too. Answers what runs then.
    fn define_where_it_is(
        &self,
        host: &Connection,
        domain: &libvirt::Domain<'_>,
        wished: &mut Element,
        (base, mut live): (&Element, Option<Element>),
    ) -> anyhow::Result<Option<Element>> {
        for _ in 0..FOLLOWED {
            if let Some(disk) = live.as_ref().and_then(follow::under_way) {
                return Err(libvirt::Error::busy(format!(
                    "disk {disk} is being copied or merged on the host: changes wait until that is over"
                ))
                .into());
            }
            if live.is_some() {
                domain.await_snapshot()?;
            }
            define(host, wished, Some((base, self)))?;
            live = running(domain)?;
            if !self.follow(live.as_ref(), wished) {
                return Ok(live);
            }
        }
        bail!("the guest's disks went to other files {FOLLOWED} times while its definition was written")
    }

    /// Whether the host's own description validates. That is seen by defining it as it is, which wakes whoever watches the domain: so only
    /// once.
    fn is_sound(&self, host: &Connection, base: &Element) -> bool {
        let Ok(text) = base.write() else { return true };
        let digest = BuildHasherDefault::<DefaultHasher>::default().hash_one(&text);
        let known = || self.sound.lock().unwrap_or_else(PoisonError::into_inner);
        if known().get(self.object.uid()) == Some(&digest) {
            return true;
        }
        let is_sound = !host.define_domain(&text, true).is_err_and(|error| error.is_invalid_schema());
        if is_sound {
            known().insert(self.object.uid().to_owned(), digest);
        }
        is_sound
    }

    fn start(&self, domain: &libvirt::Domain<'_>) -> anyhow::Result<()> {
        let paused = self.object.effective().parameters().paused == Some(true);
        let started = if paused { domain.create_paused() } else { domain.create() };
        started.map_err(|error| failed("start domain", error))
    }
}

/// The description of what runs; `None` where nothing does.
fn running(domain: &libvirt::Domain<'_>) -> anyhow::Result<Option<Element>> {
    if domain.id().is_none() {
        return Ok(None);
    }
    let live = Element::parse(&domain.describe(Description::Live)?).context("read the running domain's description")?;
    // Of one that has gone off meanwhile libvirt tells the definition.
    Ok(live.get("id").is_some().then_some(live))
}

/// What of a deleted guest stays on its host.
fn kept(object: &Domain) -> Kept {
    let whole = object.effective();
    let parameters = whole.parameters();
    let nvram = parameters.os.as_ref().and_then(|os| os.keep_nvram).unwrap_or_default();
    let tpm = parameters.tpm.as_ref().and_then(|tpm| tpm.keep_state).unwrap_or_default();
    Kept { nvram, tpm }
}

/// Digests of descriptions, by the object's UID, that their hosts took with validation although they had not taken what was wished of
/// them: what is wrong is wrong with the wish, and is not tried out again.
pub(super) type Sound = Arc<Mutex<HashMap<String, u64>>>;

/// Defines with validation. A host whose own description does not validate gets it without, as it wrote it.
fn define<'c>(
    host: &'c Connection,
    description: &Element,
    present: Option<(&Element, &Order)>,
) -> anyhow::Result<libvirt::Domain<'c>> {
    let text = description.write().context("write the description")?;
    let error = match host.define_domain(&text, true) {
        Ok(domain) => return Ok(domain),
        Err(error) => error,
    };
    let is_sound = match present {
        Some((base, order)) if error.is_invalid_schema() => order.is_sound(host, base),
        _ => true,
    };
    if is_sound {
        return Err(anyhow::Error::new(error).context("define domain"));
    }
    tracing::warn!(
        domain = description.text_at("name"),
        "the host's own description does not validate; defining without validation"
    );
    host.define_domain(&text, false).context("define domain")
}
