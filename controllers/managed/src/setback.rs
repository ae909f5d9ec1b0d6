//! A pass that failed: what the object says of it, and when it is tried again.

use std::time::Duration;

use apis::{
    Managed,
    condition::{Status, Type, Wish},
};
use kube::Resource;

use crate::{
    creation::was_created,
    events::Severity,
    external::{Connect, External, Retry},
    failure::{Attempt, Failure, Phase},
    publish::News,
    reconcile::{Reconciler, Requeue},
};

impl<E: External> Reconciler<E> {
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
        if !failure.silent {
            self.record(object, Severity::Warning, failure.phase.reason(), &message).await;
        }
        let named = failure.refusal().map(|refusal| {
            let type_ = if was_created(object) { Type::UpToDate } else { Type::Ready };
            Wish::new(type_, Status::False, refusal.reason).because(message.clone())
        });
        let is_renamed = |wish: &&Wish| named.as_ref().is_some_and(|named| named.type_ == wish.type_);
        let others = failure.wishes.iter().filter(|wish| !is_renamed(wish)).cloned();
        let wishes: Vec<Wish> = others.chain(named.clone()).chain([Wish::sync_failed(message)]).collect();
        let mut removed = failure.removed.clone();
        if failure.phase == Phase::Create {
            // Of what could not be made there is nothing more to tell, such as how far its image had come.
            removed.extend(E::CONDITIONS);
        }
        if let Err(error) = self.publish(object, &News { removed, ..News::conditions(wishes.clone()) }).await {
            tracing::warn!(object = object.full_name(), error = error.message(), "cannot write status");
        }
        match failure.retry.unwrap_or_else(|| self.connector.retry(&failure.error)) {
            Retry::Never => Requeue::Never,
            Retry::Poll => Requeue::Poll,
            Retry::Soon => Requeue::After(Duration::from_secs(2)),
            Retry::Backoff => Requeue::After(match &failure.attempt {
                // A try may be an event itself, which brings the object back at once.
                Some(Attempt { what, recheck }) => {
                    let delay = self.backoff.hold(&key, what.clone(), wishes);
                    recheck.map_or(delay, |recheck| recheck.min(delay))
                }
                None => self.backoff.failed(&key),
            }),
        }
    }
}
