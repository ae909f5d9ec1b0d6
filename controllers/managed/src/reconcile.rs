//! One pass over one object: the pipeline of the crate's front page, in order.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use apis::{
    Managed,
    condition::{self, Status, Type, Wish},
    placement::ConfigId,
};
use jiff::Timestamp;
use kube::Client;

use crate::{
    backoff::Backoff,
    barred::{absent, barred, held},
    creation::{self, Creation},
    events::{Recorder, Severity},
    external::{Connect, External, NotYet, Pass, Report, Retry, Standing},
    failure::{At, Attempt, Failure, Phase, Rest},
    intent::{Feature, Intent, is_requested, own_poll},
    outlook::Outlook,
    plan::{Policies, Step, Verdict, plan},
    publish::{self, Metadata, News},
    secret::Secrets,
    site::{Observation, Site},
    usage::Usages,
};

/// The reason of `UpToDate` while the host is away.
const UNREACHABLE: &str = "Unreachable";

/// When an object looks again whose host is not known yet, if nobody wakes it.
const NOT_YET: Duration = Duration::from_secs(30);

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
    /// Connection details.
    pub secrets: Secrets,
    /// Failures by UID.
    pub backoff: Backoff<String>,
    /// How long after a creation what is not there is waited for before it is made again.
    pub creation_grace: Duration,
    /// Whether management policies are honoured.
    pub policies: Feature,
}

/// When the object is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// When it or its surroundings change.
    Never,
    /// At its poll interval.
    Poll,
    /// After this time.
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
    /// What it found.
    pub verdict: Verdict,
}

impl<E: External> Reconciler<E> {
    /// One pass. It never fails as a whole: what goes wrong is in the status and in the outcome.
    pub async fn reconcile(&self, mut object: E::Managed) -> Outcome<E::Managed> {
        let (requeue, verdict) = match self.pass(&mut object).await {
            Ok(passed) => passed,
            Err(failure) => {
                if let Some(NotYet(why)) = failure.not_yet() {
                    // Whatever the object says of its host was so a moment ago, and most likely is.
                    tracing::debug!(object = object.full_name(), why, "come back");
                    return Outcome {
                        object,
                        requeue: Requeue::After(NOT_YET),
                        failed: false,
                        verdict: Verdict::Other,
                    };
                }
                let requeue = self.fail(&mut object, &failure).await;
                return Outcome { object, requeue, failed: true, verdict: Verdict::Other };
            }
        };
        let uid = object.uid().to_owned();
        let (requeue, verdict) = match requeue {
            Requeue::Backoff => (Requeue::After(self.backoff.failed(&uid)), verdict),
            // Whatever was tried, it has not helped.
            Requeue::Held(delay) => (Requeue::After(delay), Verdict::Other),
            Requeue::Never | Requeue::Poll | Requeue::After(_) => {
                // What is still being made may fail yet, and then the delay is to be longer than the last.
                if !Creation::of(&object).is_incomplete() {
                    self.backoff.reset(&uid);
                }
                (requeue, verdict)
            }
        };
        Outcome { object, requeue, failed: false, verdict }
    }

    async fn pass(&self, object: &mut E::Managed) -> Result<(Requeue, Verdict), Failure> {
        let intent = Intent::of(object, self.policies);
        if !matches!(intent, Intent::Paused(_)) {
            self.acknowledge_request(object).await;
        }
        let requeue = match intent {
            Intent::Paused(message) => {
                self.record(object, Severity::Normal, "ReconciliationPaused", message).await;
                let unknown = Wish::new(Type::UpToDate, Status::Unknown, "ReconcilePaused");
                let news = News { handled: false, ..News::conditions([Wish::paused(message), unknown]) };
                self.publish(object, &news).await?;
                Ok(Requeue::Never)
            }
            Intent::Invalid(message) => Err(Failure::new(Phase::Policies, anyhow!(message)).retry(Retry::Never)),
            Intent::Gone => {
                self.usages.let_go(object).await;
                Ok(self.let_go(object))
            }
            Intent::Orphan => self.release(object).await,
            Intent::WaitForOthers => Ok(Requeue::Backoff),
            Intent::Delete(policies) => self.remove(object, policies).await,
            Intent::Maintain(policies) => return self.maintain(object, policies).await,
        };
        Ok((requeue?, Verdict::Other))
    }

    async fn acknowledge_request(&self, object: &E::Managed) {
        if is_requested(object) {
            self.secrets.forget(object.uid());
            self.record(object, Severity::Normal, "ReconcileRequestHandled", "Handling the reconcile request").await;
        }
    }

    // ---- keeping it true ----

    async fn maintain(&self, object: &mut E::Managed, policies: Policies) -> Result<(Requeue, Verdict), Failure> {
        if let Some(fault) = object.external_name_fault().or_else(|| object.initial_fault()) {
            return Err(Failure::new(Phase::Initialize, anyhow!(fault)).retry(Retry::Never));
        }
        let (placement, policies, hold) = self.place_held(object, policies).await?;
        self.usages.track(object, &placement.config).await.at(Phase::Connect)?;
        let may_act = hold.is_none() && !policies.only_observes();
        let host = self.connect(&placement.config, may_act).await?;
        self.usages.hold(object).await.at(Phase::Connect)?;
        if is_requested(object) || own_poll(object).is_some() {
            self.connector.renew(&host, object);
        }
        let resolved = self.external.resolve(object, &placement.config).await.map_err(waiting);
        let creation = Creation::of(object);
        let pass = Pass { object, host: &host, config: &placement.config, policies, creation };
        let referents = match resolved {
            Ok(referents) => referents,
            Err(failure) => {
                let (failure, shown) = self.show_unresolved(&pass, failure).await;
                if let Some(shown) = shown {
                    *object = shown;
                }
                return Err(failure);
            }
        };
        let found = self.external.find(&pass, &referents).await.at(Phase::Observe)?;
        let standing = self.external.compare(&pass, &referents, &found).at(Phase::Observe)?;
        let step = plan(standing, policies);
        let site = Site { host: &host, placement: &placement, policies, hold, referents: &referents };
        if self.is_settling(object, &step, policies) {
            let waiting = "Waiting for external resource existence to be confirmed";
            self.record(object, Severity::Normal, "PendingExternalResource", waiting).await;
            return Ok((Requeue::Backoff, Verdict::Other));
        }
        let verdict = step.verdict();
        let report = self.external.report(&site.pass(object), Some(&referents), &found);
        if !matches!(step, Step::Missing | Step::Bar(_) | Step::Adopt(_)) {
            self.expose(object, &report).await?;
        }
        if !matches!(step, Step::Create | Step::Missing | Step::Bar(_) | Step::Adopt(_)) {
            // Ours and known to be there, so the finalizer goes on before anything else is done.
            self.identify(object, &placement).await?;
        }
        let may_tidy = policies.may_delete() && matches!(step, Step::Keep);
        let requeue = self.act(object, &site, step, report).await?;
        if may_tidy {
            self.tidy(object, &site, &found).await?;
        }
        Ok((requeue, verdict))
    }

    /// Whether what is absent was made just now, and may only not be shown yet.
    fn is_settling(&self, object: &E::Managed, step: &Step<E::Change>, policies: Policies) -> bool {
        let is_missed = match step {
            Step::Create => true,
            Step::Missing => !policies.only_observes(),
            Step::Update(..) | Step::Keep | Step::Tolerate(_) | Step::Refuse(_) => false,
            Step::Bar(_) | Step::Wait | Step::Adopt(_) => false,
        };
        is_missed && E::SAME_FOR_LIFE && creation::is_fresh(object, self.creation_grace, Timestamp::now())
    }

    /// Takes away what earlier states of the object left.
    async fn tidy(&self, object: &mut E::Managed, site: &Site<'_, E>, found: &E::Found) -> Result<(), Failure> {
        let annotations = self.external.tidy(&site.pass(object), site.referents, found).await.at(Phase::Update)?;
        let mut kept = Metadata::default();
        kept.annotate_all(object, &annotations);
        self.keep(object, kept).await
    }

    async fn act(
        &self,
        object: &mut E::Managed,
        site: &Site<'_, E>,
        step: Step<E::Change>,
        report: Report<Observation<E>>,
    ) -> Result<Requeue, Failure> {
        let outlook = Outlook::of(site.placement).held(site.hold.as_ref());
        match step {
            Step::Create => Box::pin(self.create(object, site, outlook)).await,
            Step::Update(change, refusal) => {
                let outlook = outlook.refusing(refusal);
                let text = change.to_string();
                // What we define ourselves is an event too, which brings the object back at once.
                let held = self.backoff.held(&object.uid().to_owned(), &what(object, &text));
                let Some((wait, said)) = held.filter(|_| !is_requested(object)) else {
                    return Box::pin(self.update(object, site, &change, (report, outlook))).await;
                };
                let wait = report.recheck.map_or(wait, |recheck| recheck.min(wait));
                if said.is_empty() {
                    self.settle(object, report, outlook.not_yet("UpdateRequested", Some(text))).await?;
                } else {
                    self.show(object, report, said).await?;
                }
                Ok(Requeue::Held(wait))
            }
            Step::Keep => self.settle(object, report, outlook).await,
            Step::Wait => self.settle(object, report, outlook.not_yet("UpdateRequested", None)).await,
            Step::Tolerate(change) => {
                tracing::debug!(object = object.full_name(), host = %site.placement.config, %change, "tolerating");
                let outlook = match &site.hold {
                    None => outlook.not_yet("UpdateRestricted", Some(change.to_string())),
                    Some(hold) => outlook.not_yet(hold.reason, Some(format!("{}: {change}", hold.message))),
                };
                self.settle(object, report, outlook).await
            }
            Step::Refuse(refusal) => self.settle(object, report, outlook.refusing(Some(refusal))).await,
            Step::Bar(refusal) => Err(barred(&refusal)),
            Step::Adopt(annotations) => self.adopt(object, site.placement, &annotations).await,
            Step::Missing => Err(match &site.hold {
                Some(hold) => held(hold),
                None => absent(object, &site.placement.config),
            }),
        }
    }

    async fn update(
        &self,
        object: &mut E::Managed,
        site: &Site<'_, E>,
        change: &E::Change,
        (before, outlook): (Report<Observation<E>>, Outlook),
    ) -> Result<Requeue, Failure> {
        tracing::info!(kind = %<E::Managed as kube::Resource>::kind(&()), object = object.full_name(), host = %site.placement.config, %change, "updating");
        let pass = site.pass(object);
        let updated = self.external.update(&pass, site.referents, change).await;
        let found = match updated {
            Ok(found) => found,
            Err(error) => {
                let what = what(object, &change.to_string());
                let attempt = Attempt { what, recheck: before.recheck, rest: Rest::Growing };
                // What could not be changed is still to be shown as it is.
                self.show(object, before, Vec::new()).await?;
                let failed = Wish::new(Type::UpToDate, Status::False, "UpdateFailed").because(change.to_string());
                return Err(Failure::new(Phase::Update, error).wish(failed).of(attempt));
            }
        };
        let remains = self.external.compare(&pass, site.referents, &found).at(Phase::Observe)?;
        let report = self.external.report(&pass, Some(site.referents), &found);
        self.expose(object, &report).await?;
        let requested = "Successfully requested update of external resource";
        self.record(object, Severity::Normal, "UpdatedExternalResource", requested).await;
        match remains {
            // What an update did not mend is tried again with growing delays, never in a loop.
            Standing::Drifted(remains, refusal) => {
                let text = remains.to_string();
                let outlook = outlook.refusing(refusal).not_yet("UpdateRequested", Some(text.clone()));
                self.settle(object, report, outlook).await?;
                Ok(Requeue::Held(self.backoff.hold(&object.uid().to_owned(), what(object, &text), Vec::new())))
            }
            Standing::Refused(refusal) => self.settle(object, report, outlook.refusing(Some(refusal))).await,
            Standing::Absent
            | Standing::Underway
            | Standing::Settled
            | Standing::Barred(_)
            | Standing::Adoptable(_) => self.settle(object, report, outlook).await,
        }
    }

    /// Publishes what was found. A refusal beside it is an error of the pass that leaves Ready as the host shows it.
    pub(crate) async fn settle(
        &self,
        object: &mut E::Managed,
        report: Report<Observation<E>>,
        outlook: Outlook,
    ) -> Result<Requeue, Failure> {
        self.note_down(object, &report).await?;
        let (complete, recheck) = (report.complete, report.recheck);
        let outlook = if complete { outlook } else { outlook.not_yet("UpdateRequested", None) };
        // A second try that is under way has not mended what the first one met: its sentence stays until there is a better one.
        let said = if complete || !says_create_failed(object) { outlook.wishes().into() } else { Vec::new() };
        self.show(object, report, said).await?;
        if let Some(refusal) = outlook.refusal {
            self.record(object, Severity::Warning, Phase::Update.reason(), &refusal.message).await;
        }
        Ok(recheck.map_or(Requeue::Poll, Requeue::After))
    }

    /// Publishes what the host shows, and what is said beside it.
    pub(crate) async fn show(
        &self,
        object: &mut E::Managed,
        report: Report<Observation<E>>,
        said: Vec<Wish>,
    ) -> Result<(), Failure> {
        let Report { observation, ready, conditions, annotations: _, details: _, complete: _, recheck: _ } = report;
        let missing = |type_: &&Type| conditions.iter().all(|wish| wish.type_ != **type_);
        let removed = E::CONDITIONS.iter().filter(missing).copied().collect();
        let wishes = [ready].into_iter().chain(said).chain(conditions).collect();
        self.publish(object, &News { wishes, removed, observation: Some(observation), handled: true }).await
    }

    // ---- steps that taking away shares ----

    /// The host of a config. Whoever may act there is stopped if it came out meanwhile that the host is to be left alone: which host a
    /// config leads to, and what others say of that one, is known by the first connection only.
    pub(crate) async fn connect(
        &self,
        config: &ConfigId,
        may_act: bool,
    ) -> Result<Arc<<E::Connector as Connect>::Host>, Failure> {
        let unknown = || Wish::new(Type::UpToDate, Status::Unknown, UNREACHABLE);
        let host = self.connector.connect(config).await;
        let host = host.map_err(|error| Failure::new(Phase::Connect, error).wish(unknown()))?;
        match self.connector.hold(config).filter(|_| may_act) {
            None => Ok(host),
            Some(hold) => Err(Failure::new(Phase::Connect, NotYet(hold.message).into())),
        }
    }

    /// Brings the connection Secret up to date, if the object names one.
    pub(crate) async fn expose(&self, object: &E::Managed, report: &Report<Observation<E>>) -> Result<(), Failure> {
        self.secrets.publish(object, &report.details).await.at(Phase::Details)
    }

    /// Writes metadata that is not so yet. Of a finalizer that cannot be written there is no event.
    pub(crate) async fn keep(&self, object: &mut E::Managed, changes: Metadata) -> Result<(), Failure> {
        if changes.is_empty() {
            return Ok(());
        }
        *object = match changes.finalizer {
            Some(_) => {
                let written = publish::metadata(&self.client, object, &changes).await.at(Phase::Publish);
                written.map_err(Failure::silently)?
            }
            None => publish::annotate(&self.client, object, &changes).await.at(Phase::Publish)?,
        };
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

    pub(crate) async fn record(&self, object: &E::Managed, severity: Severity, reason: &'static str, message: &str) {
        self.events.record(object, severity, reason, message).await;
    }
}

/// What is not tried again before its time: the same change, as long as the object wishes the same.
pub(crate) fn what<K: Managed>(object: &K, change: &str) -> String {
    format!("{}: {change}", object.meta().generation.unwrap_or_default())
}

/// Whether the status says that the last attempt to make the object failed.
fn says_create_failed<K: Managed>(object: &K) -> bool {
    let synced = condition::find(object.conditions(), Type::Synced);
    synced.is_some_and(|synced| synced.message.as_deref().unwrap_or_default().starts_with(Phase::Create.prefix()))
}

/// A referent that is not there yet is waited for; its change wakes us.
fn waiting(error: anyhow::Error) -> Failure {
    let asked = error.chain().any(<dyn std::error::Error>::is::<kube::Error>);
    let failure = Failure::new(Phase::Resolve, error);
    // Nobody wakes us when it was Kubernetes that did not answer.
    if asked { failure } else { failure.retry(Retry::Poll) }
}
