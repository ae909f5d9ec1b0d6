//! What is not done whatever the object says: as the failure of a pass.

use anyhow::anyhow;
use apis::{
    Managed,
    condition::{self, Status, Type, Wish},
    placement::ConfigId,
};

use crate::{
    external::{Refusal, Retry},
    failure::{Failure, Phase},
};

/// What is not to be used or touched.
pub(crate) fn barred(refusal: &Refusal) -> Failure {
    refused(Phase::Observe, refusal)
}

/// What is not there, or others made, on a host that is left alone.
pub(crate) fn held(hold: &Refusal) -> Failure {
    refused(Phase::Create, hold)
}

/// What is not there and not to be made.
pub(crate) fn absent<K: Managed>(object: &K, host: &ConfigId) -> Failure {
    let absent = Failure::new(Phase::Observe, anyhow!("external resource does not exist"));
    let absent = absent.retry(Retry::Poll).without(Type::UpToDate);
    // Of what was never seen nobody thinks that it can be used.
    if condition::find(object.conditions(), Type::Ready).is_none() {
        return absent;
    }
    let name = object.external_name();
    absent.wish(Wish::unavailable(format!("there is nothing of the name {name} on {host} any more")))
}

fn refused(phase: Phase, refusal: &Refusal) -> Failure {
    let wish = |type_| Wish::new(type_, Status::False, refusal.reason).because(refusal.message.clone());
    let failure = Failure::new(phase, anyhow!(refusal.message.clone())).retry(Retry::Poll);
    failure.wish(wish(Type::Ready)).wish(wish(Type::UpToDate))
}
