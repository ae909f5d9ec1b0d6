//! An object whose referents cannot be resolved: what it is on its host is told all the same.

use apis::{
    Managed,
    condition::{Status, Type, Wish},
};

use crate::{
    external::{External, Pass, Retry},
    failure::Failure,
    reconcile::Reconciler,
};

impl<E: External> Reconciler<E> {
    /// Publishes what the host shows of an object that is there, and adds to the failure what follows: nobody knows whether it is as wished.
    pub(crate) async fn show_unresolved(&self, pass: &Pass<'_, E>, failure: Failure) -> (Failure, Option<E::Managed>) {
        let report = match self.external.unresolved(pass).await {
            Ok(Some(report)) => report,
            Ok(None) => return (failure, None),
            Err(error) => {
                // What is waited for is said; this is said when that is there.
                tracing::debug!(object = pass.object.full_name(), error = format!("{error:#}"), "cannot be shown");
                return (failure, None);
            }
        };
        let recheck = report.recheck;
        let mut object = pass.object.clone();
        let unknown = Wish::new(Type::UpToDate, Status::Unknown, "Unresolved");
        if let Err(failure) = self.show(&mut object, report, vec![unknown.clone()]).await {
            return (failure, None);
        }
        let failure = failure.wish(unknown);
        (if recheck.is_some() { failure.retry(Retry::Soon) } else { failure }, Some(object))
    }
}
