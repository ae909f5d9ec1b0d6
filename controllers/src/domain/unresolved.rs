//! A guest whose object's referents cannot be resolved: what its host alone tells, and the stop that needs nothing else.

use apis::{
    Domain, Managed,
    condition::{self, Status, Type, Wish},
    domain::{DomainObservation, RunStrategy},
};
use managed::external::{Pass, Report};

use super::{
    Domains, find,
    shutdown::{Ending, SHUTDOWN_RECHECK},
};

/// Why a guest waits for its next boot, in the words of [`super::report`].
const REASONS: [&str; 3] = ["ChangesPending", "Restarting", "Unplugging"];

impl Domains {
    /// The status of a guest that is on its host. One that is to be off is asked to shut down.
    pub(super) async fn bare(&self, pass: &Pass<'_, Self>) -> anyhow::Result<Option<Report<DomainObservation>>> {
        let Some(entry) = self.entry(pass).await? else { return Ok(None) };
        let runs = entry.id.is_some();
        let mut found = self.found(pass, Some(entry), None, Vec::new());
        if found.theirs {
            found.volumes = self.volumes_of(pass, &found).await?;
        }
        // Nothing is started while it is not known with what.
        found.recheck = None;
        let halted = find::strategy(pass.object, found.theirs) == RunStrategy::Halted;
        if halted && runs && !found.theirs && pass.policies.may_update() {
            let asked = self.shut_down(pass, Ending::Halt).await;
            found.shutdown = Some(asked.unwrap_or_else(|error| format!("{error:#}")));
            found.recheck = Some(SHUTDOWN_RECHECK);
        }
        let mut report = self.observe(pass, None, &found);
        if runs {
            // What it lacks cannot be told anew, and has not become less.
            report.conditions.extend(still_waiting(pass.object));
            let before = pass.object.observation().map(|seen| seen.pending_changes.clone());
            report.observation.pending_changes = before.unwrap_or_default();
        }
        Ok(Some(report))
    }
}

/// The condition `RestartRequired` as it is.
fn still_waiting(object: &Domain) -> Option<Wish> {
    let known = condition::find(object.conditions(), Type::RestartRequired)?;
    let reason = REASONS.into_iter().find(|reason| *reason == known.reason)?;
    let status = if known.status == "True" { Status::True } else { Status::False };
    Some(Wish { message: known.message.clone(), ..Wish::new(Type::RestartRequired, status, reason) })
}
