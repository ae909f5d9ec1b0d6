//! A pass that failed: what the object says of it, and when it is tried again.

use std::time::Duration;

use apis::{
    Managed,
    condition::{self, Status, Type, Wish},
};
use kube::Resource;

use crate::{
    creation::was_created,
    events::Severity,
    external::{Connect, Effect, External, Retry},
    failure::{Attempt, Failure, Phase, Rest},
    publish::News,
    reconcile::{Reconciler, Requeue},
};

/// The reason of `UpToDate` while no pass over the spec as it is got far enough to compare it: that of `Synced`, which says why.
const UNAPPLIED: &str = "ReconcileError";

/// How long a change that failed is not tried again at least. Its events bring the object back at once, those of the try among them, and so
/// does what may have been lacking.
const MOMENT: Duration = Duration::from_secs(1);

impl<E: External> Reconciler<E> {
    /// Whether the host is away for the same reason as the object says already: of thousands of objects whose host is away each would cost
    /// a write a minute, for an event that tells nothing new.
    fn is_still_away(&self, object: &E::Managed, failure: &Failure, message: &str) -> bool {
        let said = || condition::find(object.conditions(), Type::Synced);
        failure.phase == Phase::Connect
            && self.connector.effect(&failure.error) == Effect::Unknown
            && said().is_some_and(|said| said.status == "False" && said.message.as_deref() == Some(message))
    }

    /// Tells it in status and event, and chooses when the object is due again.
    pub(crate) async fn fail(&self, object: &mut E::Managed, failure: &Failure) -> Requeue {
        let key = object.uid().to_owned();
        if failure.is_gone() {
            return self.let_go(object);
        }
        if failure.is_conflict() {
            return Requeue::After(Duration::from_millis(200));
        }
        let message = failure.message();
        let kind = E::Managed::kind(&());
        if failure.phase == Phase::Resolve {
            tracing::debug!(object = object.full_name(), %kind, message, "waiting");
        } else {
            tracing::warn!(object = object.full_name(), %kind, message, "pass failed");
        }
        if !failure.silent && !self.is_still_away(object, failure, &message) {
            self.record(object, Severity::Warning, failure.phase.reason(), &message).await;
        }
        let named = failure.refusal().map(|refusal| {
            let type_ = if was_created(object) { Type::UpToDate } else { Type::Ready };
            Wish::new(type_, Status::False, refusal.reason).because(message.clone())
        });
        let is_renamed = |wish: &&Wish| named.as_ref().is_some_and(|named| named.type_ == wish.type_);
        let others = failure.wishes.iter().filter(|wish| !is_renamed(wish)).cloned();
        let mut wishes: Vec<Wish> = others.chain(named.clone()).chain([Wish::sync_failed(message)]).collect();
        if wishes.iter().all(|wish| wish.type_ != Type::UpToDate) {
            wishes.extend(unapplied(object));
        }
        let mut removed = failure.removed.clone();
        if failure.phase == Phase::Create {
            // Of what could not be made there is nothing more to tell, such as how far its image had come.
            removed.extend(E::CONDITIONS);
        }
        if let Err(error) = self.publish(object, &News { removed, ..News::conditions(wishes.clone()) }).await {
            tracing::warn!(object = object.full_name(), error = error.message(), "cannot write status");
        }
        self.again(&key, failure, wishes)
    }

    /// When what failed is tried again, and how long it is not, of which `said` is said meanwhile.
    fn again(&self, key: &String, failure: &Failure, said: Vec<Wish>) -> Requeue {
        let retry = failure.retry.unwrap_or_else(|| self.connector.retry(&failure.error));
        match (retry, &failure.attempt) {
            (Retry::Never, _) => Requeue::Never,
            (Retry::Soon, _) => Requeue::After(Duration::from_secs(2)),
            // A try may be an event itself, which brings the object back at once.
            (Retry::Backoff, Some(Attempt { what, recheck, rest: Rest::Growing })) => {
                let delay = self.backoff.hold(key, what.clone(), said);
                Requeue::After(recheck.map_or(delay, |recheck| recheck.min(delay)))
            }
            (Retry::Poll | Retry::Backoff, attempt) => {
                if let Some(Attempt { what, .. }) = attempt {
                    self.backoff.hold_for(key, what.clone(), said, MOMENT);
                }
                if retry == Retry::Poll { Requeue::Poll } else { Requeue::After(self.backoff.failed(key)) }
            }
        }
    }
}

/// What a pass that failed says of `UpToDate` where it has nothing better: that the host is as wished was told of an earlier spec, and
/// nobody knows whether it is so of this one. What is being deleted has another generation and no other spec.
fn unapplied<K: Managed>(object: &K) -> Option<Wish> {
    let meta = object.meta();
    let said = condition::find(object.conditions(), Type::UpToDate).filter(|_| meta.deletion_timestamp.is_none())?;
    let is_of_an_earlier = said.status == "True" && said.observed_generation < meta.generation;
    let is_said_already = said.status == "Unknown" && said.reason == UNAPPLIED;
    (is_of_an_earlier || is_said_already).then(|| Wish::new(Type::UpToDate, Status::Unknown, UNAPPLIED))
}
