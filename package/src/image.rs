//! An image: layers, the configuration to run them, and the manifest, as in the [OCI image specification].
//!
//! Keys are written in the order of the fields here, so the same image has the same bytes whoever built it.
//!
//! [OCI image specification]: https://github.com/opencontainers/image-spec

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::layer::{Layer, digest};

/// Media type of an image's manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index of images for several architectures.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Says what Crossplane takes a layer for.
const XPKG: &str = "io.crossplane.xpkg";

/// A reference to a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type.
    pub media_type: String,
    /// `sha256:` and the hash.
    pub digest: String,
    /// Size in bytes.
    pub size: u64,
    /// Architecture and operating system, of an image's manifest in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn new(media_type: &str, blob: &[u8]) -> Result<Self> {
        let size = u64::try_from(blob.len()).context("measure a blob")?;
        let (media_type, annotations) = (media_type.to_owned(), BTreeMap::new());
        Ok(Self { media_type, digest: digest(blob), size, platform: None, annotations })
    }
}

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// Architecture in Go's words, as `amd64`.
    pub architecture: String,
    /// Operating system.
    pub os: String,
}

impl Platform {
    /// The platform of this program.
    pub fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { architecture: architecture.to_owned(), os: std::env::consts::OS.to_owned() }
    }
}

/// A manifest: the configuration and the layers, or in an index the images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u8,
    media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// What the image says of itself.
    pub annotations: BTreeMap<String, String>,
}

/// An index: the images of several architectures under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u8,
    media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

impl Index {
    pub(crate) fn new(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: INDEX.to_owned(), manifests }
    }
}

/// How the image is run; names of Docker's.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Run {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) working_dir: String,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Configuration<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    config: &'a Run,
    rootfs: RootFs<'a>,
    history: Vec<History<'a>>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    r#type: &'a str,
    diff_ids: Vec<&'a str>,
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

/// An image with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub(crate) descriptor: Descriptor,
    pub(crate) blobs: BTreeMap<String, Bytes>,
}

impl Image {
    /// Puts layers together. Labels of the configuration repeat the layers' annotations: a Docker archive has no other place for them.
    pub(crate) fn new(layers: &[Layer], mut run: Run, created: &str) -> Result<Self> {
        let mut blobs = BTreeMap::new();
        let mut described = Vec::new();
        let annotations = run.labels.clone();
        for layer in layers {
            let mut descriptor = Descriptor::new(LAYER, &layer.blob)?;
            if let Some(role) = layer.role.annotation() {
                descriptor.annotations.insert(XPKG.to_owned(), role.to_owned());
                run.labels.insert(format!("{XPKG}:{}", descriptor.digest), role.to_owned());
            }
            blobs.insert(descriptor.digest.clone(), layer.blob.clone());
            described.push(descriptor);
        }
        let platform = Platform::here();
        let config = config(layers, &run, &platform, created)?;
        let config_descriptor = Descriptor::new(CONFIG, &config)?;
        blobs.insert(config_descriptor.digest.clone(), config.into());
        let media_type = MANIFEST.to_owned();
        let manifest =
            Manifest { schema_version: 2, media_type, config: config_descriptor, layers: described, annotations };
        let manifest = serde_json::to_vec(&manifest).context("write the manifest")?;
        let descriptor = Descriptor { platform: Some(platform), ..Descriptor::new(MANIFEST, &manifest)? };
        blobs.insert(descriptor.digest.clone(), manifest.into());
        Ok(Self { descriptor, blobs })
    }

    /// Says that the image is for another platform than this program's.
    #[must_use]
    pub fn on(mut self, platform: Platform) -> Self {
        self.descriptor.platform = Some(platform);
        self
    }

    /// The digest by which a registry and Crossplane know it.
    pub fn digest(&self) -> &str {
        &self.descriptor.digest
    }

    /// The manifest.
    ///
    /// # Errors
    /// When it is not there or no manifest.
    pub fn manifest(&self) -> Result<Manifest> {
        serde_json::from_slice(self.blob(self.digest())?).context("read the manifest")
    }

    /// The bytes with this digest.
    ///
    /// # Errors
    /// When the image has none.
    pub fn blob(&self, digest: &str) -> Result<&Bytes> {
        self.blobs.get(digest).with_context(|| format!("find {digest} in the image"))
    }

    /// The size of everything that a node pulls, in bytes.
    pub fn size(&self) -> usize {
        self.blobs.values().map(Bytes::len).sum()
    }
}

fn config(layers: &[Layer], run: &Run, platform: &Platform, created: &str) -> Result<Vec<u8>> {
    let config = Configuration {
        created,
        architecture: &platform.architecture,
        os: &platform.os,
        config: run,
        rootfs: RootFs { r#type: "layers", diff_ids: layers.iter().map(|layer| layer.diff_id.as_str()).collect() },
        history: layers.iter().map(|layer| History { created, created_by: &layer.made_of }).collect(),
    };
    serde_json::to_vec(&config).context("write the image's configuration")
}
