//! How a run of a guest is ended.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use apis::{Managed, quantity::Span};
use libvirt::{Affect, Connection, Description, End, Error, ShutdownMode, xml::Element};
use managed::external::Pass;

use super::Domains;

/// How long a guest has to shut down unless its object says otherwise.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_mins(2);
/// How often a guest that is shutting down is looked at, beside the event that says it is off.
pub(super) const SHUTDOWN_RECHECK: Duration = Duration::from_secs(5);

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

/// Why a run is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is to be off.
    Halt,
    /// Another is to begin.
    Restart,
    /// The domain is to go.
    Delete,
    /// Another is to begin, without the guest's consent.
    CutOff,
}

/// How a run is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Ask(ShutdownMode),
    Save,
    CutOff,
}

fn way(ending: Ending, force: bool, mode: apis::domain::ShutdownMode) -> Way {
    use apis::domain::ShutdownMode::{Acpi, Agent, Default, Save};
    match (ending, mode) {
        (Ending::CutOff, _) => Way::CutOff,
        (_, _) if force => Way::CutOff,
        (Ending::Halt, Save) => Way::Save,
        (Ending::Restart | Ending::Delete, Save) | (_, Default) => Way::Ask(ShutdownMode::Default),
        (_, Acpi) => Way::Ask(ShutdownMode::Acpi),
        (_, Agent) => Way::Ask(ShutdownMode::Agent),
    }
}

fn stop(host: &Connection, uuid: &str, way: Way) -> Result<(), Error> {
    let Some(domain) = host.find_domain(uuid)? else { return Ok(()) };
    let done = match way {
        Way::Ask(mode) => let_it_end(&domain).and_then(|()| domain.shutdown(mode)),
        Way::Save => domain.managed_save(),
        Way::CutOff => domain.destroy(false),
    };
    match done {
        Err(error) if error.is_invalid_state() => Ok(()),
        done => done,
    }
}

/// A guest that would be booted again after its shutdown is let go: libvirt itself makes a reboot of the request otherwise.
fn let_it_end(domain: &libvirt::Domain<'_>) -> Result<(), Error> {
    let live = Element::parse(&domain.describe(Description::Live)?).map_err(|error| Error::other(error.to_string()))?;
    match live.text_at("on_poweroff") {
        None | Some("destroy") => Ok(()),
        Some(_) => domain.set_lifecycle(End::Poweroff, "destroy", Affect::Live),
    }
}

impl Domains {
    /// Whether the guest was asked to shut down and may do so any time.
    pub(super) fn is_asked(&self, uid: &str) -> bool {
        self.clocks().get(uid).is_some_and(|clock| clock.asked.is_some())
    }

    /// How long a guest that cannot be saved has until it is forced off; None where that is not to come.
    pub(super) fn until_forced(&self, object: &apis::Domain) -> Option<Duration> {
        let wished = object.effective().parameters().shutdown.clone()?;
        let saves = wished.mode == Some(apis::domain::ShutdownMode::Save);
        let since = self.clocks().get(object.uid())?.unsaved?;
        let timeout = wished.timeout.as_ref().map_or(Ok(SHUTDOWN_TIMEOUT), Span::duration).ok()?;
        let forces = wished.force_after_timeout.unwrap_or_default();
        (saves && forces).then(|| timeout.saturating_sub(since.elapsed()))
    }

    /// Asks the guest to shut down, asks again when its time is over, or forces it off where the object allows. Says what it did.
    pub(super) async fn shut_down(&self, pass: &Pass<'_, Self>, ending: Ending) -> anyhow::Result<String> {
        let uid = pass.object.uid();
        let wished = pass.object.effective().parameters().shutdown.clone().unwrap_or_default();
        let timeout =
            wished.timeout.as_ref().map_or(Ok(SHUTDOWN_TIMEOUT), Span::duration).map_err(anyhow::Error::msg)?;
        let clock = *self.clocks().entry(uid.to_owned()).or_default();
        let may_force = wished.force_after_timeout.unwrap_or_default();
        let saves = ending == Ending::Halt && wished.mode == Some(apis::domain::ShutdownMode::Save);
        let since = clock.asked.or_else(|| clock.unsaved.filter(|_| saves));
        let overdue = since.is_some_and(|since| since.elapsed() >= timeout) || (clock.ignored && may_force);
        let shown = wished.timeout.map_or_else(|| "2m".to_owned(), |timeout| timeout.0);
        if clock.asked.is_some() && !overdue && ending != Ending::CutOff {
            return Ok(so_far(clock.ignored, &shown));
        }
        let way = way(ending, overdue && may_force, wished.mode.unwrap_or_default());
        let uuid = self.adoption.identity(pass.object, pass.host);
        let done = pass.host.long(&uuid.clone(), move |host| Ok(stop(host, &uuid, way)?)).await;
        let ignored = {
            let mut clocks = self.clocks();
            let clock = clocks.entry(uid.to_owned()).or_default();
            if way == Way::Save && done.is_err() {
                // It was asked for nothing: the next try need not wait until its time is over. That runs from the first.
                clock.unsaved.get_or_insert_with(Instant::now);
            } else {
                clock.asked = Some(Instant::now());
                clock.ignored |= overdue;
            }
            clock.ignored
        };
        Ok(match way {
            Way::Ask(_) => {
                done.context("ask domain to shut down")?;
                so_far(ignored, &shown)
            }
            Way::Save => {
                done.context("save domain")?;
                "the guest was saved".to_owned()
            }
            Way::CutOff => {
                done.context("destroy domain")?;
                let why =
                    (ending != Ending::CutOff).then(|| format!("did not shut down within {shown} and was forced"));
                format!("the guest {} off", why.as_deref().unwrap_or("was cut"))
            }
        })
    }
}
