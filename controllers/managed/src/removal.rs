//! Taking an object away: the half of a pass that deletes.

use std::time::Duration;

use anyhow::anyhow;
use apis::{
    Managed,
    condition::{Status, Type, Wish},
};

use crate::{
    creation::Creation,
    events::Severity,
    external::{Connect, Deletion, External, NoConfig, NoCredentials, Pass, Refusal, Retry},
    failure::{At, Failure, Phase},
    intent::Intent,
    plan::Policies,
    publish::{self, Metadata, News},
    reconcile::{Reconciler, Requeue},
};

/// What came of a look at what an object left that is gone.
pub(crate) enum Cleared {
    /// Nothing is left.
    Wholly,
    /// It takes time.
    NotYet,
    /// Its host is left alone for now, for this reason.
    Held(Refusal),
}

impl<E: External> Reconciler<E> {
    /// One look at an object that is being deleted: what is on the host goes, then our finalizer.
    pub(crate) async fn remove(&self, object: &mut E::Managed, policies: Policies) -> Result<Requeue, Failure> {
        let placement = self.place(object).await?;
        if let Some(Refusal { reason, message }) = self.connector.hold(&placement.config) {
            let waiting = Wish::new(Type::Ready, Status::False, reason).because(message.clone());
            return Err(Failure::new(Phase::Delete, anyhow!(message)).wish(waiting).retry(Retry::Poll));
        }
        let host = self.connect(&placement.config, true).await.map_err(with_cure)?;
        let creation = Creation::of(object);
        let pass = Pass { object, host: &host, config: &placement.config, policies, creation };
        let deleted = self
            .external
            .delete(&pass)
            .await
            .map_err(|error| Failure::new(Phase::Delete, error).wish(Wish::deleting()))?;
        match deleted {
            Deletion::Absent => self.release(object).await,
            Deletion::Requested => {
                tracing::info!(kind = %<E::Managed as kube::Resource>::kind(&()), object = object.full_name(), host = %placement.config, "deleted");
                self.record(
                    object,
                    Severity::Normal,
                    "DeletedExternalResource",
                    "Successfully requested deletion of external resource",
                )
                .await;
                self.publish(object, &News::conditions([Wish::deleting(), Wish::synced()])).await?;
                Ok(Requeue::After(Duration::from_millis(1)))
            }
            Deletion::Waiting(message, recheck) => {
                self.publish(object, &News::conditions([Wish::deleting().because(message), Wish::synced()])).await?;
                Ok(Requeue::After(recheck))
            }
            Deletion::Refused(refusal) => {
                let deleting = Wish::new(Type::Ready, Status::False, refusal.reason).because(refusal.message.clone());
                Err(Failure::new(Phase::Delete, anyhow!(refusal.message)).wish(deleting))
            }
        }
    }

    /// One look at what was made for an object that is gone although it had our finalizer.
    ///
    /// # Errors
    /// When it cannot be told, or what is there is used.
    pub(crate) async fn clear_up(&self, object: &E::Managed) -> anyhow::Result<Cleared> {
        let Intent::Delete(policies) = Intent::of(object, self.policies) else { return Ok(Cleared::Wholly) };
        let placement = self.place(object).await.map_err(|failure| failure.error)?;
        if let Some(hold) = self.connector.hold(&placement.config) {
            return Ok(Cleared::Held(hold));
        }
        let host = self.connect(&placement.config, true).await.map_err(|failure| failure.error)?;
        let creation = Creation::of(object);
        let pass = Pass { object, host: &host, config: &placement.config, policies, creation };
        match self.external.delete(&pass).await? {
            Deletion::Absent => {
                tracing::info!(kind = %<E::Managed as kube::Resource>::kind(&()), object = object.full_name(), host = %placement.config, "nothing is left of an object that was deleted while its making began");
                self.usages.let_go(object).await;
                self.forget(object);
                Ok(Cleared::Wholly)
            }
            Deletion::Requested | Deletion::Waiting(..) => Ok(Cleared::NotYet),
            Deletion::Refused(refusal) => Err(anyhow!(refusal.message)),
        }
    }

    /// Lets the object go: what is on the host is gone, or is to stay.
    pub(crate) async fn release(&self, object: &mut E::Managed) -> Result<Requeue, Failure> {
        let changes = Metadata { finalizer: Some(false), ..Metadata::default() };
        let written = publish::metadata(&self.client, object, &changes).await.at(Phase::Publish);
        written.map_err(|failure| failure.wish(Wish::deleting()).silently())?;
        self.usages.let_go(object).await;
        Ok(self.let_go(object))
    }

    /// Nothing is left to do for the object.
    pub(crate) fn let_go(&self, object: &E::Managed) -> Requeue {
        self.forget(object);
        Requeue::Never
    }

    /// Drops everything that is kept in memory for an object.
    pub fn forget(&self, object: &E::Managed) {
        self.external.forget(object);
        self.usages.forget(object.uid());
        self.secrets.forget(object.uid());
        self.events.forget(object.uid());
        self.backoff.reset(&object.uid().to_owned());
    }
}

/// Of an object that cannot be taken away because its config or what that needs is gone, the user is told how to let it go: nobody else can.
fn with_cure(failure: Failure) -> Failure {
    if !failure.error.is::<NoConfig>() && !failure.error.is::<NoCredentials>() {
        return failure;
    }
    let error = anyhow!("{:#}; drop Delete from spec.managementPolicies to let the object go", failure.error);
    Failure { error, ..failure }
}
