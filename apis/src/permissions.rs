//! Whose the files and folders of a host are, as Pool and Volume show it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Owner and mode of a file or a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionsObservation {
    /// Octal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The numeric user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<i64>,
    /// The numeric group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<i64>,
}
