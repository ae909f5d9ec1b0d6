//! What becomes of a volume's content when it is deleted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a volume's content is overwritten before it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Wipe {
    /// It is not.
    #[default]
    Off,
    /// With zeros.
    Zero,
}
