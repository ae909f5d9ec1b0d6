//! What reads a seed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What reads a seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum SeedFormat {
    /// cloud-init, from a CD-ROM.
    #[default]
    NoCloud,
    /// Ignition, from what QEMU's firmware tells.
    Ignition,
}

impl SeedFormat {
    /// How the names of such volumes end.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::NoCloud => "iso",
            Self::Ignition => "ign",
        }
    }
}
