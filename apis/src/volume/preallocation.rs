//! What is set aside for a blank volume.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is set aside for a blank volume when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Preallocation {
    /// Nothing.
    #[default]
    Off,
    /// The tables of a qcow2 file.
    Metadata,
    /// All of its room.
    Falloc,
}
