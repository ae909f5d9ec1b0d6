//! Conditions, with Crossplane's exact types and reasons (crossplane/crossplane `apis/core/v2/condition.go`) and our own.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition of an object's status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about; unique in the list.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// A sentence for people, absent when the reason says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// The generation of the object that the condition was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The types of conditions that this provider writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// The external resource is usable.
    Ready,
    /// The last pass succeeded.
    Synced,
    /// The external resource is as the spec wishes.
    UpToDate,
    /// A change waits for the guest's next boot or the network's next start.
    RestartRequired,
    /// An image is being fetched.
    Importing,
    /// The guest agent answers.
    GuestAgentConnected,
    /// A config cannot go away yet.
    Terminating,
    /// The host of a config is not like the others.
    HostsDiffer,
}

impl Type {
    /// The word in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Synced => "Synced",
            Self::UpToDate => "UpToDate",
            Self::RestartRequired => "RestartRequired",
            Self::Importing => "Importing",
            Self::GuestAgentConnected => "GuestAgentConnected",
            Self::Terminating => "Terminating",
            Self::HostsDiffer => "HostsDiffer",
        }
    }
}

/// True, False or Unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody knows.
    Unknown,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition as one pass wishes it: without time and generation, which [`set`] adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What it is about.
    pub type_: Type,
    /// True, False or Unknown.
    pub status: Status,
    /// One word for programs.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: Option<String>,
}

impl Wish {
    /// A condition without a message.
    pub fn new(type_: Type, status: Status, reason: &'static str) -> Self {
        Self { type_, status, reason, message: None }
    }

    /// The same with a message, cut to what a status should carry.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if message.len() > 2048 {
            let cut = (0..=2048).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
        }
        Self { message: Some(message), ..self }
    }

    /// Ready: usable.
    pub fn available() -> Self {
        Self::new(Type::Ready, Status::True, "Available")
    }

    /// Not ready: it exists and cannot be used.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Type::Ready, Status::False, "Unavailable").because(message)
    }

    /// Not ready: it is being made.
    pub fn creating() -> Self {
        Self::new(Type::Ready, Status::False, "Creating")
    }

    /// Not ready: it is being taken away.
    pub fn deleting() -> Self {
        Self::new(Type::Ready, Status::False, "Deleting")
    }

    /// The pass succeeded.
    pub fn synced() -> Self {
        Self::new(Type::Synced, Status::True, "ReconcileSuccess")
    }

    /// The pass failed.
    pub fn sync_failed(message: impl Into<String>) -> Self {
        Self::new(Type::Synced, Status::False, "ReconcileError").because(message)
    }

    /// The object is paused.
    pub fn paused(message: impl Into<String>) -> Self {
        Self::new(Type::Synced, Status::False, "ReconcilePaused").because(message)
    }
}

/// Puts `wish` into the list. The transition time moves only when the status does; nothing at all changes when the condition is equal.
pub fn set(conditions: &mut Vec<Condition>, wish: &Wish, generation: Option<i64>, now: Timestamp) {
    let (type_, status) = (wish.type_.as_str(), wish.status.as_str());
    let old = conditions.iter().position(|condition| condition.type_ == type_);
    let since = old
        .map(|at| &conditions[at])
        .filter(|condition| condition.status == status)
        .map(|c| c.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: wish.reason.to_owned(),
        message: wish.message.clone(),
        last_transition_time: since.unwrap_or(Time(now)),
        observed_generation: generation,
    };
    match old {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// Takes the condition of this type out of the list.
pub fn remove(conditions: &mut Vec<Condition>, type_: Type) {
    conditions.retain(|condition| condition.type_ != type_.as_str());
}

/// The condition of a type, if it is there.
pub fn find(conditions: &[Condition], type_: Type) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// Whether the condition of this type is True.
pub fn is_true(conditions: &[Condition], type_: Type) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let (first, second) = (Timestamp::from_second(1).unwrap(), Timestamp::from_second(2).unwrap());
        let mut list = Vec::new();
        set(&mut list, &Wish::sync_failed("a"), Some(1), first);
        set(&mut list, &Wish::sync_failed("b"), Some(2), second);
        assert_eq!(list[0].last_transition_time, Time(first));
        assert_eq!((list[0].message.as_deref(), list[0].observed_generation), (Some("b"), Some(2)));
        set(&mut list, &Wish::synced(), Some(2), second);
        assert_eq!((list.len(), list[0].last_transition_time.clone()), (1, Time(second)));
    }
}
