//! Leader election: of several providers on one cluster, one works. A Lease says which, by the protocol of client-go's `leaderelection`.
//!
//! Nobody's clock is believed. Whether another's lease has run out is told by how long it has stood unchanged before our own eyes;
//! and the leader stops by its own watch, before anybody else may think that its lease has run out.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::Api;
use tokio::time::{Instant, timeout};

use crate::{backoff::jitter, publish::post_by_us};

/// How long handing over the lease may hold up the end of the process.
const GOODBYE: Duration = Duration::from_secs(5);

/// How long it is tried again where there is no right to: at an upgrade Crossplane takes the rights of the old version first, and gives
/// them to the new one, which may have the same service account, once that is deployed. Kubernetes kills after 30 s.
const WITHOUT_RIGHTS: Duration = Duration::from_secs(15);

/// How soon it is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// How patient the parties are. The names are those of client-go's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long others wait after the last renewal that they have seen. The Lease has it in whole seconds.
    pub lease: Duration,
    /// How long the leader goes on working without a renewal.
    pub renew: Duration,
    /// How often the lease is renewed, or asked for.
    pub retry: Duration,
}

impl Timing {
    /// What is wrong with it, if anything: a leader that outlives its lease would be one of two.
    pub fn check(&self) -> Result<(), String> {
        let Self { lease, renew, retry } = self;
        if lease.subsec_nanos() != 0 || lease.is_zero() {
            return Err(format!("the lease duration {lease:?} is not in whole seconds"));
        }
        if lease <= renew {
            return Err(format!("the lease duration {lease:?} is not longer than the renew deadline {renew:?}"));
        }
        if *renew <= *retry * 2 {
            return Err(format!("the renew deadline {renew:?} is not longer than twice the retry period {retry:?}"));
        }
        Ok(())
    }
}

/// How long what leads may begin something new. Clones of the `Arc` are asked before every pass: a process that was
/// stopped and goes on later has to notice that its time is over before it does anything else.
#[derive(Debug)]
pub struct Term(Mutex<Until>);

#[derive(Clone, Copy, Debug)]
enum Until {
    Over,
    Then(Instant),
    Ever,
}

impl Term {
    /// Nobody else is there to lead.
    pub fn endless() -> Self {
        Self(Mutex::new(Until::Ever))
    }

    /// Another leads, or nobody does yet.
    pub fn over() -> Self {
        Self(Mutex::new(Until::Over))
    }

    /// Whether something new may be begun.
    pub fn holds(&self) -> bool {
        match *self.lock() {
            Until::Over => false,
            Until::Then(end) => Instant::now() < end,
            Until::Ever => true,
        }
    }

    /// When it ends, as far as is known now.
    fn end(&self) -> Instant {
        match *self.lock() {
            Until::Then(end) => end,
            Until::Over | Until::Ever => Instant::now(),
        }
    }

    fn set(&self, until: Until) {
        *self.lock() = until;
    }

    fn lock(&self) -> MutexGuard<'_, Until> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a leader is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another holds the lease: this one.
    Taken(String),
    /// The lease could not be renewed in time.
    Expired,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(holder) => write!(f, "{holder} holds the lease"),
            Self::Expired => f.write_str("the lease could not be renewed in time"),
        }
    }
}

/// One party in an election.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    /// The lease as it was last seen, and since when it has been so.
    seen: Option<(LeaseSpec, Instant)>,
    term: Arc<Term>,
}

impl Election {
    /// A party of this identity, which nobody else may have, to the lease of this name.
    pub fn new(api: Api<Lease>, name: &str, identity: String, timing: Timing) -> Self {
        Self { api, name: name.to_owned(), identity, timing, seen: None, term: Arc::new(Term::over()) }
    }

    /// How long this party may begin something new.
    pub fn term(&self) -> Arc<Term> {
        self.term.clone()
    }

    /// Waits until this party leads.
    pub async fn acquire(&mut self) {
        let mut said = String::new();
        loop {
            let obstacle = match timeout(self.timing.renew, self.attempt()).await {
                Ok(Ok(true)) => break,
                Ok(Ok(false)) => format!("{} leads", self.other().unwrap_or("another")),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if obstacle != said {
                tracing::info!(lease = self.name, identity = self.identity, "waiting to lead: {obstacle}");
                said = obstacle;
            }
            tokio::time::sleep(jitter(self.timing.retry, 10, self.seed())).await;
        }
        tracing::info!(lease = self.name, identity = self.identity, "leading");
    }

    /// Keeps the lease of a leader, for as long as that goes. It may be left and called again.
    pub async fn hold(&mut self) -> Lost {
        loop {
            let end = self.term.end();
            tokio::time::sleep_until(end.min(Instant::now() + self.timing.retry)).await;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.lose(Lost::Expired);
            }
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => {}
                // Somebody else wrote; the next attempt shows what.
                Ok(Ok(false)) => {
                    if let Some(holder) = self.other().map(ToOwned::to_owned) {
                        return self.lose(Lost::Taken(holder));
                    }
                }
                Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "cannot renew the lease"),
                Err(_) => return self.lose(Lost::Expired),
            }
        }
    }

    /// Gives the lease to whoever comes next, if it is this party's. Nothing may be done after it, so it is the last thing to do.
    pub async fn release(&mut self) {
        self.term.set(Until::Over);
        let end = Instant::now() + WITHOUT_RIGHTS;
        let obstacle = loop {
            match timeout(GOODBYE, self.hand_over()).await {
                Ok(Ok(())) => return,
                Ok(Err(kube::Error::Api(status))) if status.is_forbidden() && Instant::now() < end => {
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(Err(error)) => break error.to_string(),
                Err(_) => break "the API server does not answer".to_owned(),
            }
        };
        tracing::warn!(lease = self.name, "cannot release the lease: {obstacle}");
    }

    fn lose(&self, lost: Lost) -> Lost {
        self.term.set(Until::Over);
        lost
    }

    /// Takes or renews the lease if that may be; says whether it was.
    async fn attempt(&mut self) -> kube::Result<bool> {
        let begun = Instant::now();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.claim(None)) };
            let written = self.api.create(&post_by_us(), &lease).await;
            return self.written(begun, written);
        };
        let found = lease.spec.take().unwrap_or_default();
        self.see(&found);
        if self.is_held_by_another(&found) {
            return Ok(false);
        }
        lease.spec = Some(self.claim(Some(&found)));
        // It carries the version that was read: of two that take it at once, one does.
        let written = self.api.replace(&self.name, &post_by_us(), &lease).await;
        self.written(begun, written)
    }

    fn written(&mut self, begun: Instant, written: kube::Result<Lease>) -> kube::Result<bool> {
        match written {
            Ok(lease) => {
                self.see(&lease.spec.unwrap_or_default());
                // Others count from when they saw it, which is later than when it was begun.
                self.term.set(Until::Then(begun + self.timing.renew));
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn see(&mut self, spec: &LeaseSpec) {
        if self.seen.as_ref().is_none_or(|(seen, _)| seen != spec) {
            self.seen = Some((spec.clone(), Instant::now()));
        }
    }

    /// Who else holds the lease, as it was last seen.
    fn other(&self) -> Option<&str> {
        let holder = self.seen.as_ref()?.0.holder_identity.as_deref()?;
        Some(holder).filter(|holder| !holder.is_empty() && *holder != self.identity)
    }

    fn is_held_by_another(&self, spec: &LeaseSpec) -> bool {
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lease = seconds.map_or(self.timing.lease, Duration::from_secs);
        self.other().is_some() && self.seen.as_ref().is_some_and(|(_, since)| since.elapsed() < lease)
    }

    /// The lease with this party as its holder.
    fn claim(&self, found: Option<&LeaseSpec>) -> LeaseSpec {
        let mine = found.filter(|found| found.holder_identity.as_deref() == Some(self.identity.as_str()));
        let transitions = found.map_or(0, |found| found.lease_transitions.unwrap_or(0));
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease.as_secs()).ok(),
            acquire_time: mine.and_then(|mine| mine.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if found.is_none() || mine.is_some() { transitions } else { transitions + 1 }),
            ..found.cloned().unwrap_or_default()
        }
    }

    /// As client-go does: nobody holds it, and a second later nobody could.
    async fn hand_over(&mut self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return Ok(());
        }
        let now = MicroTime(Timestamp::now());
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.acquire_time = Some(now.clone());
        spec.renew_time = Some(now);
        self.api.replace(&self.name, &post_by_us(), &lease).await?;
        tracing::info!(lease = self.name, identity = self.identity, "released the lease");
        Ok(())
    }

    fn seed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.identity, Instant::now()).hash(&mut hasher);
        hasher.finish()
    }
}
