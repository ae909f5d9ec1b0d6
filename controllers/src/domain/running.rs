//! What a running guest lacks, and whether it is to be started again for it.

use std::time::Duration;

use apis::{Domain, Managed, domain::RestartPolicy, managed::annotation};
use kube::Resource as _;
use libvirt::{State, mirror::DomainEntry, xml::Element};
use managed::external::Pass;

use super::{
    Domains, Found, Power, Surroundings,
    attempts::{Lacking, When},
    find,
    live::Failures,
    power::{self, Wished},
    restart,
};
use crate::mark::{self, Cause};

impl Domains {
    /// Completes what was found with what the running guest lacks and with what that means for its power.
    pub(super) fn consider(&self, pass: &Pass<'_, Self>, around: &Surroundings, found: &mut Found) {
        let Some(entry) = found.entry.clone().filter(|_| !found.theirs) else { return };
        found.key = self.key(pass, around, found);
        let is_settled = self.settled.knows(pass.object.uid(), found.key);
        let lacking = if is_settled { Vec::new() } else { self.pending(pass, around, found, &entry) };
        found.lacking = self.attempts.sort(pass.object.uid(), when(pass.object, &entry), lacking);
        found.recheck = soonest(found.recheck, found.lacking.patience);
        if let Some(base) = entry.inactive.as_ref().filter(|_| !is_settled) {
            consider_restart(pass, found, (&entry, base));
        }
        if let Some(rest) = self.until_forced(pass.object).filter(|_| found.power == Some(Power::Shutdown)) {
            found.overdue = rest.is_zero();
            found.recheck = soonest(found.recheck, Some(rest).filter(|rest| !rest.is_zero()));
        }
        let is_asked = matches!(found.power, Some(Power::Shutdown | Power::Restart));
        if !is_asked && pass.object.meta().deletion_timestamp.is_none() {
            self.take_back_request(pass.object.uid());
        }
    }

    /// Remembers what was tried on a running guest, so that it is not tried again and again.
    pub(super) fn note_attempts(
        &self,
        pass: &Pass<'_, Self>,
        around: &Surroundings,
        found: &Found,
        failures: Option<Failures>,
    ) {
        if let (Some(entry), Some(failures)) = (&found.entry, failures) {
            let lacking = self.pending(pass, around, found, entry);
            self.attempts.note(pass.object.uid(), when(pass.object, entry), &lacking, &failures);
        }
    }

    /// Whoever was asked to shut down and need not any more has its whole time when it is asked the next time.
    fn take_back_request(&self, uid: &str) {
        if let Some(clock) = self.clocks().get_mut(uid) {
            clock.asked = None;
            clock.unsaved = None;
            clock.ignored = false;
        }
    }
}

fn consider_restart(pass: &Pass<'_, Domains>, found: &mut Found, (entry, base): (&DomainEntry, &Element)) {
    // One that was made or taken over, and bears no mark of ours yet, gets its note with it.
    let Some(before) = mark::note(pass.object, base) else { return };
    let changes = restart::digest(&found.lacking.waiting);
    let guest = restart::Guest {
        knows: entry.live.as_ref().and_then(|live| mark::note(pass.object, live)).as_ref() == Some(&before),
        ..guest(pass.object, entry, &found.lacking, changes.as_deref())
    };
    let (cause, note) = restart::decide(guest, &before);
    if cause.is_some() {
        let wished = Wished { restart: true, ..find::wished(pass, entry, false) };
        (found.power, _) = power::decide(wished, entry.state, Duration::ZERO);
    }
    found.lacking.in_vain = note.under_way.is_none() && changes.is_some() && note.tried == changes;
    found.cut_off = cause == Some(Cause::Changes) && guest.policy == RestartPolicy::Force;
    found.note = (note != before).then_some(note);
}

/// The run and generation that attempts are for.
pub(super) fn when(object: &Domain, entry: &DomainEntry) -> When {
    When { run: entry.id, generation: object.meta().generation }
}

/// What is decided about: a guest that runs, or is off.
fn guest<'a>(
    object: &'a Domain,
    entry: &DomainEntry,
    lacking: &Lacking,
    changes: Option<&'a str>,
) -> restart::Guest<'a> {
    restart::Guest {
        token: object.annotation(annotation::RESTARTED),
        policy: object.effective().parameters().restart_policy.unwrap_or_default(),
        run: entry.id,
        knows: false,
        hears: matches!(entry.state.state, State::Running | State::Blocked),
        halted: find::is_halted(object),
        changes,
        whole: lacking.is_nothing(),
    }
}

fn soonest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}
