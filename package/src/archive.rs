//! The `.xpkg` file: one tar archive that is a Docker archive and an OCI layout at once, as Docker's own `save` writes it.
//!
//! `docker load`, `podman load` and `crossplane xpkg push` read `manifest.json` and the labels of the configuration; `skopeo copy
//! oci-archive:…` and [`crate::push`] read `index.json`, and keep the layers' annotations.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use serde::Serialize;
use tar::Archive;
use tempfile::NamedTempFile;

use crate::{
    image::{Descriptor, Image, Index},
    layer::digest,
    tree::Tree,
};

const BLOBS: &str = "blobs/sha256/";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Loadable {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Image {
    /// Writes the image as an `.xpkg` file, which `docker load` then calls `name:tag`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path, name: &str, tag: &str) -> Result<()> {
        let archive = files(self, name, tag)?.to_tar()?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let written = || -> Result<()> {
            fs::create_dir_all(folder)?;
            // Under its name there is a whole file or none, also if two make it at once.
            let mut partial = NamedTempFile::new_in(folder)?;
            partial.write_all(&archive)?;
            partial.as_file().sync_all()?;
            partial.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
            partial.persist(file)?;
            Ok(())
        };
        written().with_context(|| format!("write {}", file.display()))
    }

    /// Reads an `.xpkg` file that [`Self::write`] wrote.
    ///
    /// # Errors
    /// When it cannot be read, or a blob in it is not what its name says.
    pub fn read(file: &Path) -> Result<Self> {
        read(file).with_context(|| format!("read {}", file.display()))
    }
}

fn files(image: &Image, name: &str, tag: &str) -> Result<Tree> {
    let mut files = Tree::default();
    for (digest, blob) in &image.blobs {
        files.add_file(&path(digest), 0o644, blob.clone());
    }
    let manifest = image.manifest()?;
    let loadable = Loadable {
        config: path(&manifest.config.digest),
        repo_tags: vec![format!("{name}:{tag}")],
        layers: manifest.layers.iter().map(|layer| path(&layer.digest)).collect(),
    };
    let json = |value: serde_json::Result<Vec<u8>>| value.context("write the archive's index");
    files.add_file("manifest.json", 0o644, json(serde_json::to_vec(&[loadable]))?);
    files.add_file("index.json", 0o644, json(serde_json::to_vec(&Index::new(vec![named(image, name, tag)])))?);
    files.add_file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
    Ok(files)
}

/// The image's entry in the index, with the names that Docker and others read there.
fn named(image: &Image, name: &str, tag: &str) -> Descriptor {
    let names = [
        ("io.containerd.image.name", format!("docker.io/library/{name}:{tag}")),
        ("org.opencontainers.image.ref.name", tag.to_owned()),
    ];
    let annotations = names.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Descriptor { annotations, ..image.descriptor.clone() }
}

fn read(file: &Path) -> Result<Image> {
    let mut found = BTreeMap::new();
    let mut archive = Archive::new(fs::File::open(file)?);
    for entry in archive.entries()? {
        // What the reader says of a file that is none quotes the file.
        let mut entry = entry.map_err(|_| anyhow!("this is no package of `make xpkg`, or it is cut short"))?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        found.insert(path, Bytes::from(bytes));
    }
    let index = found.remove("index.json").context("find index.json: this is no package of `make xpkg`")?;
    let mut index: Index = serde_json::from_slice(&index).context("read index.json")?;
    let mut descriptor = index.manifests.pop().context("find an image in index.json")?;
    descriptor.annotations.clear();
    let mut image = Image { descriptor, blobs: BTreeMap::new() };
    for (path, blob) in found {
        let Some(hash) = path.strip_prefix(BLOBS).filter(|hash| !hash.is_empty()) else { continue };
        let name = format!("sha256:{hash}");
        ensure!(digest(&blob) == name, "the blob {name} is damaged; make the package again");
        image.blobs.insert(name, blob);
    }
    Ok(image)
}

fn path(digest: &str) -> String {
    digest.replacen("sha256:", BLOBS, 1)
}
