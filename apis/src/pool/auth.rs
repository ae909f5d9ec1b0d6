//! How a host is let in by the servers of a pool.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::KeyReference;

/// How a host is let in by the servers of a pool: by CHAP at a target of Iscsi or IscsiDirect, by cephx at the cluster of Rbd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolAuth {
    /// The name of the account. A change counts from the pool's next start.
    #[schemars(length(min = 1, max = 223), regex(pattern = r"^[^\s]+$"))]
    pub username: String,
    /// The key of a Secret of this namespace with the account's password: for CHAP 1 to 255 printable characters of ASCII, for cephx the key of the account as `ceph auth get-key` prints it. It is read for as long as this object is there; another one counts from the pool's next start.
    pub secret_ref: KeyReference,
}

/// How a host is let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthObservation {
    /// The name of the account.
    pub username: String,
}
