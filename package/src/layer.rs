//! A layer of an image: a compressed tar archive and its two digests.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use crate::tree::Tree;

/// What Crossplane takes a layer for, by its annotation; see the [xpkg specification].
///
/// [xpkg specification]: https://github.com/crossplane/crossplane/blob/main/contributing/specifications/xpkg.md
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A part of the root file system, of which Crossplane reads nothing.
    Runtime,
    /// Holds `package.yaml`.
    Base,
    /// Holds `.up/examples.yaml`.
    Examples,
}

impl Role {
    /// The value of the annotation `io.crossplane.xpkg`; none for the runtime.
    pub(crate) fn annotation(self) -> Option<&'static str> {
        match self {
            Self::Runtime => None,
            Self::Base => Some("base"),
            Self::Examples => Some("upbound"),
        }
    }
}

/// A layer.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) role: Role,
    /// The tar archive, compressed by gzip without a time or name.
    pub(crate) blob: Bytes,
    /// Digest of the archive before compression.
    pub(crate) diff_id: String,
    /// What people are told about where it comes from.
    pub(crate) made_of: String,
}

impl Layer {
    pub(crate) fn new(role: Role, made_of: impl Into<String>, files: &Tree) -> Result<Self> {
        let archive = files.to_tar()?;
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
        gzip.write_all(&archive).context("compress a layer")?;
        let blob = gzip.finish().context("compress a layer")?.into();
        Ok(Self { role, blob, diff_id: digest(&archive), made_of: made_of.into() })
    }
}

/// `sha256:` and the hash of the bytes, as images name everything.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)))
}
