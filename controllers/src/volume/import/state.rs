//! How far an import is, and the words for it.

use std::fmt;

use apis::quantity::Quantity;

use crate::volume::fetch;

/// The reason while the host copies.
pub(super) const COPYING: &str = "Copying";

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The image is on its way.
    Running(fetch::Progress),
    /// The volume is whole.
    Done,
}

impl State {
    /// Whether the volume is not to be used yet.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    /// Whether some of the image has come. A server that has none to give is not worth a condition at each try.
    pub fn has_begun(&self) -> bool {
        match self {
            Self::Running(progress) => *progress != fetch::Progress::Asking,
            Self::Done => false,
        }
    }

    /// One word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Running(fetch::Progress::Copying) => COPYING,
            Self::Running(_) | Self::Done => "Downloading",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(fetch::Progress::Asking) => f.write_str("the server is asked for the image"),
            Self::Running(fetch::Progress::Percent(percent)) => write!(f, "{percent}% of the image is on the host"),
            Self::Running(fetch::Progress::Bytes(bytes)) => {
                write!(f, "{} of the image are on the host", Quantity::of_bytes(*bytes))
            }
            Self::Running(fetch::Progress::Copying) => f.write_str("the host copies the volume"),
            Self::Done => f.write_str("the image is on the host"),
        }
    }
}
