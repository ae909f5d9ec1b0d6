//! Making what is not there, or owning what others made: the half of a pass that something becomes ours by.

use std::time::Duration;

use anyhow::Context;
use apis::{
    Managed,
    condition::{Type, Wish},
    managed::{FINALIZER, annotation},
    placement::Placement,
};

use crate::{
    creation::{self, Creation},
    events::Severity,
    external::{Annotations, Connect, Effect, External, Pass, Record, Report},
    failure::{At, Attempt, Failure, Phase, Rest},
    intent::is_requested,
    outlook::Outlook,
    publish::{self, Metadata, News},
    reconcile::{Reconciler, Requeue, what},
    site::{Observation, Site},
};

/// What is tried, when it is not a change.
const CREATE: &str = "create";

/// What is said when the end of a create cannot be written down.
const CRITICAL: &str = "cannot update critical annotations";

impl<E: External> Reconciler<E> {
    pub(crate) async fn create(
        &self,
        object: &mut E::Managed,
        site: &Site<'_, E>,
        outlook: Outlook,
    ) -> Result<Requeue, Failure> {
        if let Some(wait) = self.rests(object).await? {
            return Ok(Requeue::Held(wait));
        }
        // What an earlier attempt left is ours; what appears during this one is not.
        let before = Creation::of(object);
        let leftover = self.begin(object, site).await?;
        tracing::info!(kind = %<E::Managed as kube::Resource>::kind(&()), object = object.full_name(), host = %site.placement.config, "creating");
        let pass = Pass { creation: before, ..site.pass(object) };
        match self.external.create(&pass, site.referents).await {
            Ok(found) => {
                let report = self.external.report(&site.pass(object), Some(site.referents), &found);
                self.note_down(object, &report).await?;
                self.expose(object, &report).await.map_err(|failure| failure.wish(Wish::creating()))?;
                let requested = "Successfully requested creation of external resource";
                self.record(object, Severity::Normal, "CreatedExternalResource", requested).await;
                self.settle(object, report, outlook).await
            }
            Err(error) => {
                let ended = match self.connector.effect(&error) {
                    Effect::None => before != Creation::Open || !leftover,
                    Effect::Untried => before != Creation::Open,
                    Effect::Unknown => false,
                };
                if ended {
                    let mut failed = Metadata::default();
                    creation::fail(object, &mut failed);
                    self.persist(object, &failed).await?;
                }
                let failure = Failure::new(Phase::Create, error).wish(Wish::creating()).without(Type::UpToDate);
                let rest = if self.external.is_costly(object) { Rest::Growing } else { Rest::Moment };
                Err(failure.of(Attempt { what: what(object, CREATE), recheck: None, rest }))
            }
        }
    }

    /// How long a create that failed is not tried again, whatever brings the object here meanwhile.
    async fn rests(&self, object: &mut E::Managed) -> Result<Option<Duration>, Failure> {
        let held = self.backoff.held(&object.uid().to_owned(), &what(object, CREATE));
        let Some((wait, said)) = held.filter(|_| !is_requested(object)) else { return Ok(None) };
        let removed = E::CONDITIONS.iter().copied().chain([Type::UpToDate]).collect();
        self.publish(object, &News { removed, ..News::conditions(said) }).await?;
        Ok(Some(wait))
    }

    /// Writes down that a create begins, provided nobody else did since the object was read. Says whether an earlier attempt left something.
    async fn begin(&self, object: &mut E::Managed, site: &Site<'_, E>) -> Result<bool, Failure> {
        let mut changes = identity(object, site.placement);
        let Record { annotations, leftover } =
            self.external.record(&site.pass(object), site.referents).await.at(Phase::Create)?;
        changes.annotate_all(object, &annotations);
        changes.annotate(object, annotation::INITIAL, object.to_remember());
        creation::begin(object, &mut changes);
        let written = publish::metadata(&self.client, object, &changes).await.at(Phase::Publish);
        *object = written.map_err(|failure| failure.wish(Wish::creating()))?;
        self.announce(object, site.placement).await;
        Ok(leftover)
    }

    /// Writes down that what others made is the object's from now on, provided nobody else changed the object since it was read.
    /// The next pass keeps it true like anything that was made here.
    pub(crate) async fn adopt(
        &self,
        object: &mut E::Managed,
        placement: &Placement,
        annotations: &Annotations,
    ) -> Result<Requeue, Failure> {
        let mut changes = identity(object, placement);
        changes.annotate_all(object, annotations);
        changes.annotate(object, annotation::INITIAL, object.to_remember());
        creation::succeed(object, &mut changes);
        *object = publish::metadata(&self.client, object, &changes).await.at(Phase::Publish)?;
        self.announce(object, placement).await;
        tracing::info!(kind = %<E::Managed as kube::Resource>::kind(&()), object = object.full_name(), host = %placement.config, "took over what was on the host");
        let adopted = "Took over what was on the host already";
        self.record(object, Severity::Normal, "AdoptedExternalResource", adopted).await;
        Ok(Requeue::After(Duration::from_millis(1)))
    }

    /// Writes down what the object's annotations are to say by now: above all, that a create succeeded.
    pub(crate) async fn note_down(
        &self,
        object: &mut E::Managed,
        report: &Report<Observation<E>>,
    ) -> Result<(), Failure> {
        let mut kept = Metadata::default();
        kept.annotate_all(object, &report.annotations);
        if report.complete && Creation::of(object).is_incomplete() {
            creation::succeed(object, &mut kept);
            return self.persist(object, &kept).await;
        }
        self.keep(object, kept).await.map_err(|failure| failure.wish(report.ready.clone()))
    }

    async fn persist(&self, object: &mut E::Managed, changes: &Metadata) -> Result<(), Failure> {
        let written = publish::persist(&self.client, object, changes).await.context(CRITICAL).at(Phase::Publish);
        *object = written.map_err(|failure| failure.wish(Wish::creating()))?;
        Ok(())
    }
}

/// What our metadata on the object should be, as far as it is not so yet.
pub(crate) fn identity<K: Managed>(object: &K, placement: &Placement) -> Metadata {
    let mut changes = Metadata::default();
    changes.annotate(object, annotation::EXTERNAL_NAME, Some(object.external_name().to_owned()));
    changes.annotate(object, annotation::PLACEMENT, Some(placement.config.record()));
    let labels = object.meta().labels.as_ref();
    if labels.is_none_or(|labels| !labels.contains_key(annotation::INSTANCE_LABEL)) {
        changes.labels.insert(annotation::INSTANCE_LABEL.to_owned(), placement.config.name.clone());
    }
    if !object.meta().finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER) {
        changes.finalizer = Some(true);
    }
    changes
}
