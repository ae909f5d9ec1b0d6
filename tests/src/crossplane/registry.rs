//! A registry of packages, and packages for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::SLOW;
use crate::{
    files::registry_program,
    http,
    process::{Process, run},
    wait::eventually,
};

/// Its port in the rig's network.
const PORT: u16 = 5000;

/// Debian's docker-registry; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    _process: Process,
    folder: PathBuf,
}

impl Registry {
    /// Its address in the rig's network.
    pub const ADDRESS: &str = "127.0.0.1:5000";

    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let folder = folder.join("registry");
        fs::create_dir_all(&folder).context("make the registry's folder")?;
        let config = json!({
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": folder.join("data")}},
            "http": {"addr": Self::ADDRESS},
        });
        let file = folder.join("config.yml");
        fs::write(&file, config.to_string()).context("write the registry's configuration")?;
        let mut command = Command::new(registry_program()?);
        command.arg("serve").arg(&file);
        let mut process = Process::spawn(&command, &folder.join("registry.log"))?;
        eventually(SLOW, || {
            process.check_running()?;
            http::get(PORT, "/v2/")
        })
        .context("wait for the registry")?;
        Ok(Self { _process: process, folder })
    }

    /// Pushes a package of others that has nothing but its manifests, as `repository:tag`.
    ///
    /// # Errors
    /// When the registry refuses it.
    pub fn push(&self, repository: &str, tag: &str, package: &str) -> Result<()> {
        let folder = self.folder.join(format!("{}-{tag}", repository.replace('/', "-")));
        fs::create_dir_all(&folder).context("make the package's folder")?;
        fs::write(folder.join("package.yaml"), package).context("write package.yaml")?;
        let (layer, inside) = (folder.join("layer.tar"), folder.display().to_string());
        let fixed = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=0644"];
        let file = layer.display().to_string();
        run("tar", &[&fixed[..], &["-C", &inside, "-cf", &file, "package.yaml"]].concat())?;
        let layer = self.blob(repository, &layer)?;
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = self.blob_of(repository, &folder.join("config.json"), &config.to_string())?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described("application/vnd.oci.image.config.v1+json", &config, &json!({})),
            "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer, &json!({"io.crossplane.xpkg": "base"}))],
        });
        let path = folder.join("manifest.json");
        fs::write(&path, manifest.to_string()).context("write the manifest")?;
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", Self::ADDRESS);
        put(&url, MANIFEST, &path)
    }

    fn blob_of(&self, repository: &str, path: &Path, content: &str) -> Result<serde_json::Value> {
        fs::write(path, content).with_context(|| format!("write {}", path.display()))?;
        self.blob(repository, path)
    }

    /// Uploads a file; its digest and size.
    fn blob(&self, repository: &str, path: &Path) -> Result<serde_json::Value> {
        let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let hex: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{hex}");
        let begin = format!("http://{}/v2/{repository}/blobs/uploads/", Self::ADDRESS);
        let answer = run("curl", &["-sSf", "-D", "-", "-o", "/dev/null", "-X", "POST", &begin])?;
        let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("location:"));
        let location = line.and_then(|line| line.split_once(' ')).context("find where to upload")?.1.trim();
        let url = format!("{location}&digest={digest}");
        put(&url, "application/octet-stream", path)?;
        Ok(json!({"digest": digest, "size": content.len()}))
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn described(media: &str, blob: &serde_json::Value, annotations: &serde_json::Value) -> serde_json::Value {
    json!({"mediaType": media, "digest": blob["digest"], "size": blob["size"], "annotations": annotations})
}

fn put(url: &str, media: &str, file: &Path) -> Result<()> {
    let (header, data) = (format!("Content-Type: {media}"), format!("@{}", file.display()));
    run("curl", &["-sSf", "-X", "PUT", "-H", &header, "--data-binary", &data, url]).map(drop)
}

/// A function's package, without its input's schema.
pub fn function_package(name: &str) -> String {
    let meta = json!({
        "apiVersion": "meta.pkg.crossplane.io/v1", "kind": "Function", "metadata": {"name": name},
        "spec": {"capabilities": ["composition"]},
    });
    format!("---\n{meta}\n")
}
