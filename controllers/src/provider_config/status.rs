//! What is said of a config: how its host is, and what it is like.

use std::sync::Arc;

use apis::{
    condition::{self, Condition, Status, Type, Wish},
    placement::ConfigId,
    provider_config::{HostObservation, ProviderConfigStatus},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use libvirt::{Facts, HostState, Trouble};
use managed::external::{Connect as _, Refusal};

use super::{BLOCKED, Configs, UNVERIFIED};
use crate::{checks::lacking, sources::is_early};

impl Configs {
    pub(super) fn status(
        &self,
        id: &ConfigId,
        old: &ProviderConfigStatus,
        meta: &ObjectMeta,
        users: usize,
    ) -> ProviderConfigStatus {
        let generation = meta.generation;
        let (ready, facts) = self.health(id);
        let mut conditions: Vec<Condition> = old.conditions.clone();
        condition::set(&mut conditions, &ready, generation, Timestamp::now());
        if meta.deletion_timestamp.is_some() && users > 0 {
            let blocked = Wish::new(Type::Terminating, Status::True, "InUse").because(BLOCKED);
            condition::set(&mut conditions, &blocked, generation, Timestamp::now());
        }
        self.compare(id, &mut conditions, generation);
        let host = facts.map(|facts| observation(&facts)).or_else(|| old.host.clone());
        ProviderConfigStatus { users: i64::try_from(users).ok(), host, conditions }
    }

    /// Says whether the host is like the others.
    fn compare(&self, id: &ConfigId, conditions: &mut Vec<Condition>, generation: Option<i64>) {
        let Some(skew) = self.checks.skew(id) else { return condition::remove(conditions, Type::HostsDiffer) };
        let known = condition::find(conditions, Type::HostsDiffer).and_then(|known| known.message.clone());
        let differs = Wish::new(Type::HostsDiffer, Status::True, "VersionSkew").because(skew);
        if known != differs.message {
            tracing::warn!(config = %id, difference = differs.message, "hosts differ");
        }
        condition::set(conditions, &differs, generation, Timestamp::now());
    }

    fn health(&self, id: &ConfigId) -> (Wish, Option<Arc<Facts>>) {
        let not = |reason, message: String| Wish::new(Type::Ready, Status::False, reason).because(message);
        let host = match self.connector.host(id) {
            Ok((_, host)) => host,
            Err(error) => {
                let reason = if is_early(&error) { "Connecting" } else { "ConfigInvalid" };
                return (not(reason, format!("{error:#}")), None);
            }
        };
        let state = host.state().borrow().clone();
        match state {
            HostState::Up { facts } => match (self.connector.mismatch(id, &facts), self.connector.fault(id)) {
                (Some(mismatch), _) => (not("HostMismatch", mismatch), None),
                (None, Some((reason, fault))) => (not(reason, fault), Some(facts)),
                (None, None) => {
                    let unverified = host.endpoint().access().trusts_anybody().then_some(UNVERIFIED);
                    (available(unverified, self.connector.hold(id)), Some(facts))
                }
            },
            HostState::Connecting => (not("Connecting", "the first connection is being made".to_owned()), None),
            HostState::Down { since: _, reason, parting: _ } => {
                let trouble = reason.trouble.unwrap_or(Trouble::ConnectFailed);
                let (word, message) =
                    self.connector.fault(id).unwrap_or_else(|| (trouble.reason(), reason.to_string()));
                (not(word, message), None)
            }
        }
    }
}

/// A host that is connected, and what is to be known of it.
fn available(unverified: Option<&str>, hold: Option<Refusal>) -> Wish {
    let reason = hold.as_ref().map_or_else(|| Wish::available().reason, |hold| hold.reason);
    let said: Vec<String> = hold.map(|hold| hold.message).into_iter().chain(unverified.map(str::to_owned)).collect();
    let wish = Wish { reason, ..Wish::available() };
    if said.is_empty() { wish } else { wish.because(said.join("; ")) }
}

fn observation(facts: &Facts) -> HostObservation {
    HostObservation {
        uuid: facts.uuid.clone().unwrap_or_default(),
        hostname: facts.hostname.clone(),
        libvirt_version: facts.libvirt_version.clone(),
        hypervisor_version: facts.hypervisor_version.clone(),
        arch: facts.arch.clone().unwrap_or_default(),
        domain_types: facts.domain_types.clone(),
        lacks: lacking(facts).into_iter().map(str::to_owned).collect(),
    }
}
