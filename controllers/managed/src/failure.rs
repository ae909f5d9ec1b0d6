//! A pass that failed: where, why, and when to try again.

use std::time::Duration;

use apis::condition::{Type, Wish};

use crate::external::{NotYet, Refusal, Retry};

/// The step that failed. It gives the event's reason and the start of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The policies are not a supported set.
    Policies,
    /// The object could not be placed or prepared.
    Initialize,
    /// A referent is missing or not ready.
    Resolve,
    /// The host could not be reached.
    Connect,
    /// The host could not be asked.
    Observe,
    /// Making it failed.
    Create,
    /// Changing it failed.
    Update,
    /// Taking it away failed.
    Delete,
    /// The connection Secret could not be written.
    Details,
    /// Kubernetes refused a write.
    Publish,
}

impl Phase {
    /// The reason of the event. Two of crossplane-runtime's never come: connections are shared and not closed after a pass
    /// (`CannotDisconnectFromProvider`), and a connection Secret goes with its object by itself (`CannotUnpublishConnectionDetails`).
    pub fn reason(self) -> &'static str {
        match self {
            Self::Policies => "CannotUseInvalidManagementPolicy",
            Self::Initialize => "CannotInitializeManagedResource",
            Self::Resolve => "CannotResolveResourceReferences",
            Self::Connect => "CannotConnectToProvider",
            Self::Observe => "CannotObserveExternalResource",
            Self::Create => "CannotCreateExternalResource",
            Self::Update => "CannotUpdateExternalResource",
            Self::Delete => "CannotDeleteExternalResource",
            Self::Details => "CannotPublishConnectionDetails",
            Self::Publish => "CannotUpdateManagedResource",
        }
    }

    /// What the message begins with.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Policies | Self::Initialize | Self::Details => "",
            Self::Resolve => "cannot resolve references: ",
            Self::Connect => "connect failed: ",
            Self::Observe => "observe failed: ",
            Self::Create => "create failed: ",
            Self::Update => "update failed: ",
            Self::Delete => "delete failed: ",
            Self::Publish => "cannot update managed resource: ",
        }
    }
}

/// A change that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which: the same is not tried again before its time.
    pub what: String,
    /// When to look again all the same.
    pub recheck: Option<Duration>,
    /// How long it is not tried again, whatever brings the object back meanwhile.
    pub rest: Rest,
}

/// How long a change that failed is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A moment: what the try itself did on the host is an event, too.
    Moment,
    /// As long as the delay that grows with each failure.
    Growing,
}

/// A pass that failed.
#[derive(Debug)]
pub struct Failure {
    /// Where.
    pub phase: Phase,
    /// Why.
    pub error: anyhow::Error,
    /// When to try again; None leaves it to the connector's judgement of the error.
    pub retry: Option<Retry>,
    /// The change that failed.
    pub attempt: Option<Attempt>,
    /// Other conditions that the failure brings.
    pub wishes: Vec<Wish>,
    /// Conditions that are not so any more.
    pub removed: Vec<Type>,
    /// Whether no event tells of it.
    pub silent: bool,
}

impl Failure {
    /// A failure of this step.
    pub fn new(phase: Phase, error: anyhow::Error) -> Self {
        Self { phase, error, retry: None, attempt: None, wishes: Vec::new(), removed: Vec::new(), silent: false }
    }

    /// The same, to be tried again at a set time.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry: Some(retry), ..self }
    }

    /// The same, of this change.
    #[must_use]
    pub fn of(self, attempt: Attempt) -> Self {
        Self { attempt: Some(attempt), ..self }
    }

    /// The same, with another condition.
    #[must_use]
    pub fn wish(mut self, wish: Wish) -> Self {
        self.wishes.push(wish);
        self
    }

    /// The same, with a condition that goes.
    #[must_use]
    pub fn without(mut self, type_: Type) -> Self {
        self.removed.push(type_);
        self
    }

    /// The same, told by the status alone: of finalizers there are no events.
    #[must_use]
    pub fn silently(self) -> Self {
        Self { silent: true, ..self }
    }

    /// The sentence of the condition and the event.
    pub fn message(&self) -> String {
        let mut words = Vec::new();
        for cause in self.error.chain() {
            // The client's own words repeat the API server's answer three times, fields and all.
            if let Some(kube::Error::Api(status)) = cause.downcast_ref::<kube::Error>() {
                words.push(status.message.clone());
                break;
            }
            words.push(cause.to_string());
        }
        format!("{}{}", self.phase.prefix(), words.join(": "))
    }

    /// What stands in the way, where the error has a name for programs.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.error.downcast_ref()
    }

    /// Whether Kubernetes said that our copy of the object is old: no failure, the newer one is on its way.
    pub fn is_conflict(&self) -> bool {
        self.api_status().is_some_and(kube::core::Status::is_conflict)
    }

    /// What is not known of the host yet, where that is all.
    pub(crate) fn not_yet(&self) -> Option<&NotYet> {
        self.error.chain().find_map(<dyn std::error::Error>::downcast_ref).filter(|_| self.phase == Phase::Connect)
    }

    /// Whether the object is gone from Kubernetes.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Publish && self.api_status().is_some_and(kube::core::Status::is_not_found)
    }

    fn api_status(&self) -> Option<&kube::core::Status> {
        self.error.chain().find_map(|cause| match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => Some(&**status),
            _ => None,
        })
    }
}

/// Marks errors with the step they came from.
pub(crate) trait At<T> {
    fn at(self, phase: Phase) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> At<T> for Result<T, E> {
    fn at(self, phase: Phase) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(phase, error.into()))
    }
}
