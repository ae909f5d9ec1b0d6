//! How the content of a volume is encrypted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::KeyReference;

/// How the content of a blank volume is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// Luks, the default: the whole of a Raw volume, of which a guest reads noise where nobody wrote, or what is within a Qcow2 one, which reads as zeros there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<EncryptionFormat>,
    /// The key of a Secret of this namespace that holds the passphrase: 1 to 512 bytes of UTF-8, of which a line break at the end is a part. It is read for as long as this object is there. Keep it: without it nobody reads the volume again. It never changes once the volume is made, because libvirt cannot give a volume another; a Secret with another one is refused (PassphraseChanged).
    pub passphrase_ref: KeyReference,
}

/// Ways of encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = crate::schema::undescribed)]
pub enum EncryptionFormat {
    /// Linux Unified Key Setup, version 1.
    #[default]
    Luks,
}

/// How a volume's content is encrypted, as its first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EncryptionObservation {
    /// The format.
    pub format: EncryptionFormat,
}
