//! Who may read and write the file of a volume.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Owner and mode of the volume's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumePermissions {
    /// Octal digits, such as 0640. Default 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 4), regex(pattern = r"^0?[0-7]{3}$"))]
    pub mode: Option<String>,
    /// The numeric user. Default: that of libvirt, mostly root. While a guest uses the volume, libvirt may give it to the user that QEMU runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647_i64))]
    pub owner: Option<i64>,
    /// The numeric group. Default: that of libvirt, mostly root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647_i64))]
    pub group: Option<i64>,
}
