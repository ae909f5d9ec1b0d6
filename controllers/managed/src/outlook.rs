//! What a pass says of an object beside what the host shows: pure.

use apis::{
    condition::{Status, Type, Wish},
    placement::Placement,
};

use crate::external::Refusal;

/// What is said of the object beside what the host shows.
pub(crate) struct Outlook {
    up_to_date: Wish,
    /// What is refused.
    pub(crate) refusal: Option<Refusal>,
}

impl Outlook {
    /// All is as wished, but for a config that the object names and is not on.
    pub(crate) fn of(placement: &Placement) -> Self {
        let up_to_date = match &placement.ignored {
            None => Wish::new(Type::UpToDate, Status::True, "ObserveMatched"),
            Some(ignored) => Wish::new(Type::UpToDate, Status::False, "PlacementChanged").because(format!(
                "spec.providerConfigRef names {ignored}, but the object is on {}; it stays there",
                placement.config
            )),
        };
        Self { up_to_date, refusal: None }
    }

    /// The same of an object on a host that is left alone.
    pub(crate) fn held(self, hold: Option<&Refusal>) -> Self {
        let Some(Refusal { reason, message }) = hold else { return self };
        let message = match self.up_to_date.message {
            None => message.clone(),
            Some(said) => format!("{said}; {message}"),
        };
        let up_to_date = Wish { reason, message: Some(message), ..self.up_to_date };
        Self { up_to_date, ..self }
    }

    /// The same, with this refused.
    pub(crate) fn refusing(self, refusal: Option<Refusal>) -> Self {
        Self { refusal, ..self }
    }

    /// The same, but it is not as wished.
    pub(crate) fn not_yet(self, reason: &'static str, message: Option<String>) -> Self {
        Self { up_to_date: Wish { message, ..Wish::new(Type::UpToDate, Status::False, reason) }, ..self }
    }

    /// The conditions `Synced` and `UpToDate`.
    pub(crate) fn wishes(&self) -> [Wish; 2] {
        match &self.refusal {
            None => [Wish::synced(), self.up_to_date.clone()],
            Some(Refusal { reason, message }) => [
                Wish::sync_failed(format!("update failed: {message}")),
                Wish::new(Type::UpToDate, Status::False, reason).because(message.clone()),
            ],
        }
    }
}
