//! Packages of functions, for a registry that has only what the tests put there.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{process::run, registry::Registry};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes the package of a function that somebody else runs, without the schema of its input, as `repository:tag`.
///
/// # Errors
/// When the registry refuses it.
pub(crate) fn push(registry: &Registry, folder: &Path, repository: &str, tag: &str) -> Result<()> {
    let name = repository.rsplit('/').next().unwrap_or(repository);
    let meta = json!({
        "apiVersion": "meta.pkg.crossplane.io/v1", "kind": "Function", "metadata": {"name": name},
        "spec": {"capabilities": ["composition"]},
    });
    let folder = folder.join(name);
    fs::create_dir_all(&folder).context("make the package's folder")?;
    fs::write(folder.join("package.yaml"), meta.to_string()).context("write package.yaml")?;
    let (layer, inside) = (folder.join("layer.tar"), folder.display().to_string());
    run("tar", &["-C", &inside, "-cf", &layer.display().to_string(), "package.yaml"])?;

    let base = format!("http://{}/v2/{repository}", registry.host());
    let layer = upload(&base, &layer)?;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let file = folder.join("config.json");
    fs::write(&file, config.to_string()).context("write the configuration")?;
    let config = upload(&base, &file)?;
    let described = |media: &str, blob: &Value, annotations: Value| -> Value {
        json!({"mediaType": media, "digest": blob["digest"], "size": blob["size"], "annotations": annotations})
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described("application/vnd.oci.image.config.v1+json", &config, json!({})),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer, json!({"io.crossplane.xpkg": "base"}))],
    });
    let file = folder.join("manifest.json");
    fs::write(&file, manifest.to_string()).context("write the manifest")?;
    put(&format!("{base}/manifests/{tag}"), MANIFEST, &file)
}

/// Uploads a file; its digest and size.
fn upload(base: &str, file: &Path) -> Result<Value> {
    let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&content)));
    let begin = format!("{base}/blobs/uploads/");
    let answer = run("curl", &["-sSf", "-D", "-", "-o", "/dev/null", "-X", "POST", &begin])?;
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("location:"));
    let location = line.and_then(|line| line.split_once(' ')).context("find where to upload")?.1.trim();
    put(&format!("{location}&digest={digest}"), "application/octet-stream", file)?;
    Ok(json!({"digest": digest, "size": content.len()}))
}

fn put(url: &str, media: &str, file: &Path) -> Result<()> {
    let (header, data) = (format!("Content-Type: {media}"), format!("@{}", file.display()));
    run("curl", &["-sSf", "-X", "PUT", "-H", &header, "--data-binary", &data, url]).map(drop)
}
