//! What Crossplane reads of the package: the manifests in `package/` and `examples/`, each as one stream.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// API versions and kinds that Crossplane takes from a provider's package, and how many of each it can install: it gives every webhook
/// configuration of a package the same name. Anything else is left out or fails the installation.
pub const KINDS: [(&str, &str, usize); 4] = [
    ("meta.pkg.crossplane.io/v1", "Provider", 1),
    ("apiextensions.k8s.io/v1", CRD, usize::MAX),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", 1),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", 1),
];

/// What a package says of itself in `package/crossplane.yaml`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Meta {
    pub(crate) metadata: Metadata,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    api_version: String,
    kind: String,
    metadata: Name,
}

#[derive(Debug, Deserialize)]
struct Name {
    #[serde(default)]
    name: String,
}

/// The API group of every kind of the package.
const GROUP: &str = "libvirt.m.nourspeed.io";
const CRD: &str = "CustomResourceDefinition";

/// The content of `package.yaml`: `package/crossplane.yaml`, the CRDs by name, the webhook configuration.
///
/// # Errors
/// When a file of them cannot be read, or holds what Crossplane does not take.
pub fn package_yaml(root: &Path) -> Result<String> {
    let package = root.join("package");
    let mut files = vec![package.join("crossplane.yaml")];
    files.extend(yaml_files(&package.join("crds"))?);
    files.extend(yaml_files(&package.join("webhooks"))?);
    let stream = join(root, &files)?;
    check(&stream)?;
    Ok(stream)
}

/// The content of `.up/examples.yaml`: every example, by path.
///
/// # Errors
/// When a file of them cannot be read or is no YAML.
pub fn examples_yaml(root: &Path) -> Result<String> {
    let stream = join(root, &yaml_files(&root.join("examples"))?)?;
    objects(&stream)?;
    Ok(stream)
}

/// What the package says of itself.
pub(crate) fn meta(root: &Path) -> Result<Meta> {
    let file = root.join("package/crossplane.yaml");
    serde_saphyr::from_str(&read(&file)?).with_context(|| format!("read {}", file.display()))
}

/// The files in a folder and those below it that Crossplane takes for manifests, by path.
fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let (path, kind) = (entry.path(), entry.file_type().context("read a file's type")?);
        ensure!(kind.is_dir() || kind.is_file(), "{} is neither a folder nor a file", path.display());
        if kind.is_dir() {
            found.extend(yaml_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// One stream of all files, as they are, each under its path.
fn join(root: &Path, files: &[PathBuf]) -> Result<String> {
    files.iter().map(|file| titled(root, file)).collect()
}

fn titled(root: &Path, file: &Path) -> Result<String> {
    let text = read(file)?;
    let name = file.strip_prefix(root).unwrap_or(file).display();
    Ok(format!("---\n# {name}\n{}\n", text.trim_start().trim_start_matches("---\n").trim_end()))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn objects(stream: &str) -> Result<Vec<Object>> {
    serde_saphyr::from_multiple(stream).context("read the manifests")
}

fn check(stream: &str) -> Result<()> {
    let objects = objects(stream)?;
    for Object { api_version, kind, metadata: _ } in &objects {
        if !KINDS.iter().any(|(version, name, _)| version == api_version && name == kind) {
            bail!(
                "{kind} of {api_version} is in package/, and Crossplane takes no such object from a provider's package"
            );
        }
    }
    let kinds: Vec<&str> =
        objects.iter().filter(|object| object.kind == CRD).map(|object| object.metadata.name.as_str()).collect();
    ensure!(!kinds.is_empty(), "package/crds holds no CustomResourceDefinition");
    for (at, name) in kinds.iter().enumerate() {
        ensure!(
            name.strip_suffix(GROUP).is_some_and(|plural| plural.ends_with('.')),
            "{name} in package/ is not of the group {GROUP}"
        );
        ensure!(!kinds[..at].contains(name), "{name} is in package/ twice");
    }
    for (_, kind, most) in KINDS {
        let count = objects.iter().filter(|object| object.kind == kind).count();
        ensure!(count <= most, "package/ holds {count} objects of kind {kind}, and Crossplane can install only {most}");
    }
    Ok(())
}
