//! How the way to a host is checked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of connections by TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// Whether the host must show a certificate of an authority in ca.crt, for the name or address in the URI. Strict, the default, or Insecure: whoever answers is taken for the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

/// Of connections by SSH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SshSpec {
    /// Whether the host's key must be in known_hosts of the Secret. Strict, the default, or Insecure: whoever answers is taken for the host, and is told the password where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key_verification: Option<Verification>,
}

/// Whether a host must show that it is the one that is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum Verification {
    /// It must.
    #[default]
    Strict,
    /// It need not.
    Insecure,
}
