//! What the volume of a CloudInit holds: the image of a seed, or a config of Ignition as it is.

use std::fmt::{self, Debug, Formatter};

use anyhow::ensure;
use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::seed::Seed;

/// What a guest is told. It often holds passwords and keys.
#[derive(Clone, PartialEq, Eq)]
pub enum Told {
    /// By files that cloud-init reads.
    Files(Seed),
    /// By a config that Ignition reads.
    Ignition(Vec<u8>),
}

impl Told {
    /// What Ignition is told.
    ///
    /// # Errors
    /// When it could not read it; the error tells nothing of what it is.
    pub fn ignition(config: Vec<u8>) -> anyhow::Result<Self> {
        let said: Option<Value> = serde_json::from_slice(&config).ok();
        let version = said.as_ref().and_then(|said| said["ignition"]["version"].as_str());
        ensure!(
            version.is_some(),
            "that is no config of Ignition: it is JSON and says ignition.version, as butane makes it of its YAML"
        );
        Ok(Self::Ignition(config))
    }

    /// The bytes of the volume.
    ///
    /// # Errors
    /// When the image of a seed cannot be laid out.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::Files(seed) => seed.image(),
            Self::Ignition(config) => Ok(config.clone()),
        }
    }

    /// The first 16 hexadecimal digits of a SHA-256 over all of it.
    pub fn digest(&self) -> String {
        match self {
            Self::Files(seed) => seed.digest(),
            Self::Ignition(config) => HEXLOWER.encode(&Sha256::digest(config)[..8]),
        }
    }

    /// The file meta-data, where there is one.
    pub fn meta_data(&self) -> Option<&[u8]> {
        match self {
            Self::Files(seed) => Some(&seed.meta_data),
            Self::Ignition(_) => None,
        }
    }

    /// Whether a byte more would make it another thing: what follows the image of a seed nobody reads.
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Ignition(_) => true,
        }
    }
}

impl Debug for Told {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(seed) => seed.fmt(formatter),
            Self::Ignition(config) => write!(formatter, "Ignition: {}", config.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_of_ignition_is_told_byte_for_byte_and_anything_else_is_refused_without_showing_it() {
        let config = b" {\"ignition\": {\"version\": \"3.4.0\"}}\n";
        let told = Told::ignition(config.to_vec()).unwrap();
        assert_eq!((told.bytes().unwrap(), told.meta_data(), told.is_exact()), (config.to_vec(), None, true));
        assert_eq!(format!("{told:?}"), "Ignition: 36");
        assert_ne!(told.digest(), Told::ignition(config.trim_ascii().to_vec()).unwrap().digest());
        for other in [&b""[..], b"#cloud-config\npassword: hunter2\n", b"{\"ignition\": {}}", b"[\"hunter2\"]"] {
            let error = Told::ignition(other.to_vec()).unwrap_err().to_string();
            assert!(error.starts_with("that is no config of Ignition") && !error.contains("hunter2"), "{error}");
        }
    }
}
