//! What is done about changes that only a network's start makes true.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done for changes that wait for the network's next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum NetworkRestartPolicy {
    /// Nothing.
    #[default]
    Never,
    /// The network is started anew as soon as no running guest is on it.
    WhenUnused,
}
