//! One pass over one object: the pipeline of the crate's front page, in order.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use apis::{
    Managed,
    condition::{Status, Type, Wish},
    managed::{FINALIZER, annotation},
    placement::{ConfigId, Placement},
};
use kube::{Client, Resource};

use crate::{
    backoff::Backoff,
    creation::{self, Creation},
    events::{Recorder, Severity},
    external::{Connect, Effect, External, Pass, Record, Refusal, Report, Retry, Standing},
    failure::{At, Failure, Phase},
    intent::Intent,
    outlook::Outlook,
    plan::{Policies, Step, plan},
    publish::{self, Metadata, News},
    usage::Usages,
};

/// The reason of `UpToDate` while the host is away.
const UNREACHABLE: &str = "Unreachable";

/// Reconciles the objects of one kind.
pub struct Reconciler<E: External> {
    /// The kind.
    pub external: E,
    /// The hosts.
    pub connector: Arc<E::Connector>,
    /// Kubernetes.
    pub client: Client,
    /// Where events go.
    pub events: Recorder,
    /// Who uses which config; shared by all kinds.
    pub usages: Arc<Usages>,
    /// Failures by UID.
    pub backoff: Backoff<String>,
}

/// When the object is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When it or its surroundings change.
    Never,
    /// At its poll interval.
    Poll,
    /// After this time, or at its poll interval if that is sooner.
    After(Duration),
    /// After a delay that grows each time.
    Backoff,
    /// After this time, because what was tried did not help.
    Held(Duration),
}

/// What came of a pass.
pub struct Outcome<K> {
    /// The object as last written.
    pub object: K,
    /// When it is due again.
    pub requeue: Requeue,
    /// Whether the pass failed.
    pub failed: bool,
}

impl<E: External> Reconciler<E> {
    /// One pass. It never fails as a whole: what goes wrong is in the status and in the outcome.
    pub async fn reconcile(&self, mut object: E::Managed) -> Outcome<E::Managed> {
        match self.pass(&mut object).await {
            Ok(Requeue::Backoff) => {
                let requeue = Requeue::After(self.backoff.failed(&object.uid().to_owned()));
                Outcome { object, requeue, failed: false }
            }
            Ok(Requeue::Held(delay)) => Outcome { object, requeue: Requeue::After(delay), failed: false },
            Ok(requeue) => {
                // What is still being made may fail yet, and then the delay is to be longer than the last.
                if !Creation::of(&object).is_incomplete() {
                    self.backoff.reset(&object.uid().to_owned());
                }
                Outcome { object, requeue, failed: false }
            }
            Err(failure) => {
                let requeue = self.fail(&mut object, &failure).await;
                Outcome { object, requeue, failed: true }
            }
        }
    }

    async fn pass(&self, object: &mut E::Managed) -> Result<Requeue, Failure> {
        self.acknowledge_request(object).await;
        match Intent::of(object) {
            Intent::Paused(message) => {
                self.record(object, Severity::Normal, "ReconciliationPaused", message).await;
                self.publish(object, &News::conditions([Wish::paused(message)])).await?;
                Ok(Requeue::Never)
            }
            Intent::Invalid(message) => Err(Failure::new(Phase::Policies, anyhow!(message)).retry(Retry::Poll)),
            Intent::Gone => {
                self.usages.let_go(object).await;
                Ok(self.let_go(object))
            }
            Intent::Orphan => self.release(object).await,
            Intent::WaitForOthers => Ok(Requeue::Backoff),
            Intent::Delete(policies) => self.remove(object, policies).await,
            Intent::Maintain(policies) => self.maintain(object, policies).await,
        }
    }

    async fn acknowledge_request(&self, object: &E::Managed) {
        let handled = object.resource_status().and_then(|status| status.last_handled_reconcile_at.as_deref());
        let asked = object.annotation(annotation::RECONCILE_REQUESTED);
        if asked.is_some() && asked != handled {
            self.record(object, Severity::Normal, "ReconcileRequestHandled", "Handling the reconcile request").await;
        }
    }

    // ---- keeping it true ----

    async fn maintain(&self, object: &mut E::Managed, policies: Policies) -> Result<Requeue, Failure> {
        let placement = self.place(object)?;
        self.usages.track(object, &placement.config).await.at(Phase::Connect)?;
        let host = self.connect(&placement.config).await?;
        self.usages.hold(object).await.at(Phase::Connect)?;
        let referents = self.external.resolve(object, &placement.config).await.map_err(waiting)?;
        let creation = Creation::of(object);
        let pass = Pass { object, host: &host, config: &placement.config, policies, creation };
        let found = self.external.find(&pass, &referents).await.at(Phase::Observe)?;
        let standing = self.external.compare(&pass, &referents, &found).at(Phase::Observe)?;
        let step = plan(standing, policies);
        let site = Site { host: &host, placement: &placement, policies, referents: &referents };
        if !matches!(step, Step::Create | Step::Missing | Step::Bar(_)) {
            // Ours and known to be there, so the finalizer goes on before anything else is done.
            self.keep(object, identity(object, &placement)).await?;
        }
        let may_tidy = policies.may_delete() && matches!(step, Step::Keep);
        if may_tidy {
            let requeue = self.settle(object, &site, &found, Outlook::of(&placement)).await?;
            return self.tidy(object, &site, &found).await.map(|()| requeue);
        }
        self.act(object, &site, step, found).await
    }

    /// Takes away what earlier states of the object left.
    async fn tidy(&self, object: &mut E::Managed, site: &Site<'_, E>, found: &E::Found) -> Result<(), Failure> {
        let annotations = self.external.tidy(&site.pass(object), site.referents, found).await.at(Phase::Update)?;
        let mut kept = Metadata::default();
        for (key, value) in annotations {
            kept.annotate(object, key, value);
        }
        self.keep(object, kept).await
    }

    async fn act(
        &self,
        object: &mut E::Managed,
        site: &Site<'_, E>,
        step: Step<E::Change>,
        found: E::Found,
    ) -> Result<Requeue, Failure> {
        let outlook = Outlook::of(site.placement);
        match step {
            Step::Create => self.create(object, site, outlook).await,
            Step::Update(change, refusal) => {
                let outlook = outlook.refusing(refusal);
                let text = change.to_string();
                // What we define ourselves is an event too, which brings the object back at once.
                match self.backoff.held(&object.uid().to_owned(), &text) {
                    None => self.update(object, site, &change, outlook).await,
                    Some(wait) => {
                        let outlook = outlook.not_yet("UpdateRequested", Some(text));
                        self.settle(object, site, &found, outlook).await?;
                        Ok(Requeue::Held(wait))
                    }
                }
            }
            Step::Keep => self.settle(object, site, &found, outlook).await,
            Step::Wait => self.settle(object, site, &found, outlook.not_yet("UpdateRequested", None)).await,
            Step::Tolerate(change) => {
                let outlook = outlook.not_yet("UpdateRestricted", Some(change.to_string()));
                self.settle(object, site, &found, outlook).await
            }
            Step::Refuse(refusal) => self.settle(object, site, &found, outlook.refusing(Some(refusal))).await,
            Step::Bar(refusal) => Err(barred(&refusal)),
            Step::Missing => {
                Err(Failure::new(Phase::Observe, anyhow!("external resource does not exist")).retry(Retry::Poll))
            }
        }
    }

    async fn create(&self, object: &mut E::Managed, site: &Site<'_, E>, outlook: Outlook) -> Result<Requeue, Failure> {
        // What an earlier attempt left is ours; what appears during this one is not.
        let before = Creation::of(object);
        let mut changes = identity(object, site.placement);
        let Record { annotations, leftover } =
            self.external.record(&site.pass(object), site.referents).await.at(Phase::Create)?;
        for (key, value) in annotations {
            changes.annotate(object, key, value);
        }
        creation::begin(object, &mut changes);
        let written = publish::metadata(&self.client, object, &changes).await.at(Phase::Publish);
        *object = written.map_err(|failure| failure.wish(Wish::creating()))?;
        tracing::info!(object = object.full_name(), host = %site.placement.config, "creating");
        let pass = Pass { creation: before, ..site.pass(object) };
        match self.external.create(&pass, site.referents).await {
            Ok(found) => {
                let requested = "Successfully requested creation of external resource";
                self.record(object, Severity::Normal, "CreatedExternalResource", requested).await;
                self.settle(object, site, &found, outlook).await
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
                    *object = publish::annotate(&self.client, object, &failed).await.at(Phase::Publish)?;
                }
                Err(Failure::new(Phase::Create, error).wish(Wish::creating()))
            }
        }
    }

    async fn update(
        &self,
        object: &mut E::Managed,
        site: &Site<'_, E>,
        change: &E::Change,
        outlook: Outlook,
    ) -> Result<Requeue, Failure> {
        tracing::info!(object = object.full_name(), host = %site.placement.config, %change, "updating");
        let pass = site.pass(object);
        let updated = self.external.update(&pass, site.referents, change).await;
        let found = updated.map_err(|error| {
            let failed = Wish::new(Type::UpToDate, Status::False, "UpdateFailed").because(change.to_string());
            Failure::new(Phase::Update, error).wish(failed)
        })?;
        let remains = self.external.compare(&pass, site.referents, &found).at(Phase::Observe)?;
        let requested = "Successfully requested update of external resource";
        self.record(object, Severity::Normal, "UpdatedExternalResource", requested).await;
        match remains {
            // What an update did not mend is tried again with growing delays, never in a loop.
            Standing::Drifted(remains, refusal) => {
                let text = remains.to_string();
                let outlook = outlook.refusing(refusal).not_yet("UpdateRequested", Some(text.clone()));
                self.settle(object, site, &found, outlook).await?;
                Ok(Requeue::Held(self.backoff.hold(&object.uid().to_owned(), text)))
            }
            Standing::Refused(refusal) => self.settle(object, site, &found, outlook.refusing(Some(refusal))).await,
            Standing::Absent | Standing::Underway | Standing::Settled | Standing::Barred(_) => {
                self.settle(object, site, &found, outlook).await
            }
        }
    }

    /// Publishes what was found. A refusal beside it is an error of the pass that leaves Ready as the host shows it.
    async fn settle(
        &self,
        object: &mut E::Managed,
        site: &Site<'_, E>,
        found: &E::Found,
        outlook: Outlook,
    ) -> Result<Requeue, Failure> {
        let Report { observation, ready, conditions, annotations, details: _, complete, recheck } =
            self.external.report(&site.pass(object), Some(site.referents), found);
        let mut kept = Metadata::default();
        for (key, value) in annotations {
            kept.annotate(object, key, value);
        }
        if complete && Creation::of(object).is_incomplete() {
            creation::succeed(object, &mut kept);
        }
        self.keep(object, kept).await.map_err(|failure| failure.wish(ready.clone()))?;
        let missing = |type_: &&Type| conditions.iter().all(|wish| wish.type_ != **type_);
        let removed = E::CONDITIONS.iter().filter(missing).copied().collect();
        let mut wishes = vec![ready];
        // A second try that is under way has not mended what the first one met: its sentence stays until there is a better one.
        if complete || !says_create_failed(object) {
            wishes.extend(outlook.wishes());
        }
        wishes.extend(conditions);
        self.publish(object, &News { wishes, removed, observation: Some(observation) }).await?;
        if let Some(refusal) = outlook.refusal {
            self.record(object, Severity::Warning, Phase::Update.reason(), &refusal.message).await;
        }
        Ok(recheck.map_or(Requeue::Poll, Requeue::After))
    }

    // ---- steps that taking away shares ----

    pub(crate) fn place(&self, object: &E::Managed) -> Result<Placement, Failure> {
        let neighbours = self.external.neighbours(object);
        self.connector
            .place(object, neighbours)
            .map_err(|message| Failure::new(Phase::Initialize, anyhow!(message)).retry(Retry::Poll))
    }

    pub(crate) async fn connect(&self, config: &ConfigId) -> Result<Arc<<E::Connector as Connect>::Host>, Failure> {
        let unknown = || Wish::new(Type::UpToDate, Status::Unknown, UNREACHABLE);
        self.connector.connect(config).await.map_err(|error| Failure::new(Phase::Connect, error).wish(unknown()))
    }

    /// Writes metadata that is not so yet.
    async fn keep(&self, object: &mut E::Managed, changes: Metadata) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        let written = match changes.finalizer {
            Some(_) => publish::metadata(&self.client, object, &changes).await,
            None => publish::annotate(&self.client, object, &changes).await,
        };
        *object = written.at(Phase::Publish)?;
        Ok(())
    }

    pub(crate) async fn publish(
        &self,
        object: &mut E::Managed,
        news: &News<<E::Managed as Managed>::Observation>,
    ) -> Result<(), Failure> {
        if let Some(written) = publish::status(&self.client, object, news).await.at(Phase::Publish)? {
            *object = written;
        }
        Ok(())
    }

    async fn fail(&self, object: &mut E::Managed, failure: &Failure) -> Requeue {
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
        self.record(object, Severity::Warning, failure.phase.reason(), &message).await;
        let wishes = failure.wishes.iter().cloned().chain([Wish::sync_failed(message)]);
        // Of what could not be made there is nothing more to tell, such as how far its image had come.
        let mut removed = if failure.phase == Phase::Create { E::CONDITIONS.to_vec() } else { Vec::new() };
        if failure.phase != Phase::Connect && says_unreachable(object) {
            removed.push(Type::UpToDate);
        }
        if let Err(error) = self.publish(object, &News { removed, ..News::conditions(wishes) }).await {
            tracing::warn!(object = object.full_name(), error = error.message(), "cannot write status");
        }
        match failure.retry.unwrap_or_else(|| self.connector.retry(&failure.error)) {
            Retry::Never => Requeue::Never,
            Retry::Poll => Requeue::Poll,
            Retry::Soon => Requeue::After(Duration::from_secs(2)),
            Retry::Backoff => Requeue::After(self.backoff.failed(&key)),
        }
    }

    pub(crate) async fn record(&self, object: &E::Managed, severity: Severity, reason: &'static str, message: &str) {
        self.events.record(object, severity, reason, message).await;
    }
}

/// Where a pass takes place.
struct Site<'a, E: External> {
    host: &'a Arc<<E::Connector as Connect>::Host>,
    placement: &'a Placement,
    policies: Policies,
    referents: &'a E::Referents,
}

impl<E: External> Site<'_, E> {
    fn pass<'b>(&'b self, object: &'b E::Managed) -> Pass<'b, E> {
        let Self { host, placement, policies, referents: _ } = *self;
        Pass { object, host, config: &placement.config, policies, creation: Creation::of(object) }
    }
}

/// What our metadata on the object should be, as far as it is not so yet.
fn identity<K: Managed>(object: &K, placement: &Placement) -> Metadata {
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

/// Whether the status still says that the host is away.
fn says_unreachable<K: Managed>(object: &K) -> bool {
    let up_to_date = object.conditions().iter().find(|condition| condition.type_ == Type::UpToDate.as_str());
    up_to_date.is_some_and(|condition| condition.reason == UNREACHABLE)
}

/// Whether the status says that the last attempt to make the object failed.
fn says_create_failed<K: Managed>(object: &K) -> bool {
    let synced = object.conditions().iter().find(|condition| condition.type_ == Type::Synced.as_str());
    synced.is_some_and(|synced| synced.message.as_deref().unwrap_or_default().starts_with(Phase::Create.prefix()))
}

/// A referent that is not there yet is waited for; its change wakes us.
fn waiting(error: anyhow::Error) -> Failure {
    let asked = error.chain().any(<dyn std::error::Error>::is::<kube::Error>);
    let failure = Failure::new(Phase::Resolve, error);
    // Nobody wakes us when it was Kubernetes that did not answer.
    if asked { failure } else { failure.retry(Retry::Poll) }
}

fn barred(refusal: &Refusal) -> Failure {
    let ready = Wish::new(Type::Ready, Status::False, refusal.reason).because(refusal.message.clone());
    Failure::new(Phase::Observe, anyhow!(refusal.message.clone())).retry(Retry::Poll).wish(ready)
}
