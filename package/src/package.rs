//! The package: what Crossplane reads, and the image that the provider runs in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use crate::{
    image::{Image, Run},
    layer::{Layer, Role},
    licences,
    manifests::{Metadata, examples_yaml, meta, package_yaml},
    root::USER,
    tree::Tree,
};

/// An image may not be larger than this, in bytes.
pub const MOST: usize = 120 << 20;

const PROGRAM: &str = "usr/bin/provider-libvirt";

/// The package of a source tree, to be made into an image.
#[derive(Clone, Debug)]
pub struct Package {
    root: PathBuf,
    meta: Metadata,
    version: String,
    created: Timestamp,
    revision: Option<String>,
    layers: [Layer; 2],
}

impl Package {
    /// Reads `package/` and `examples/` of the source tree in `root`.
    ///
    /// # Errors
    /// When a manifest cannot be read, or Crossplane would not take it.
    pub fn new(root: &Path, version: &str) -> Result<Self> {
        let (mut package, mut examples) = (Tree::default(), Tree::default());
        package.add_file("package.yaml", 0o644, package_yaml(root)?);
        examples.add_file(".up/examples.yaml", 0o644, examples_yaml(root)?);
        let layers = [
            Layer::new(Role::Base, "package.yaml: crossplane.yaml, CRDs, webhooks", &package)?,
            Layer::new(Role::Examples, ".up/examples.yaml", &examples)?,
        ];
        let meta = meta(root)?.metadata;
        let (root, version) = (root.to_owned(), version.to_owned());
        Ok(Self { root, meta, version, created: Timestamp::UNIX_EPOCH, revision: None, layers })
    }

    /// Says from which commit the package is made; without this it is from the beginning of time.
    ///
    /// # Errors
    /// When the time (seconds since 1970) is none.
    pub fn made_of(self, commit: Option<String>, seconds: i64) -> Result<Self> {
        let created = Timestamp::from_second(seconds).context("read the time of the commit")?;
        Ok(Self { created, revision: commit, ..self })
    }

    /// The package's name, of `package/crossplane.yaml`.
    pub fn name(&self) -> &str {
        &self.meta.name
    }

    /// The tag of this version.
    pub fn tag(&self) -> String {
        format!("v{}", self.version)
    }

    /// The package as an image of a few kilobytes that Crossplane installs and nothing can run: for tests that start the provider
    /// themselves.
    ///
    /// # Errors
    /// When it cannot be put together.
    pub fn without_runtime(&self) -> Result<Image> {
        Image::new(&self.layers, Run { labels: self.labels(), ..Run::default() }, &self.created())
    }

    /// The package with a root file system (see [`crate::root_file_system`]) and the provider's program in it.
    ///
    /// # Errors
    /// When it cannot be put together, or is larger than [`MOST`].
    pub fn with_runtime(&self, root: &Tree, program: Vec<u8>) -> Result<Image> {
        let [base, examples] = self.layers.clone();
        // The system below, the program above: an upgrade of the provider alone leaves a node nothing but the program to pull.
        let layers = [
            Layer::new(Role::Runtime, "Debian packages", root)?,
            Layer::new(Role::Runtime, "provider-libvirt", &self.program_layer(program)?)?,
            base,
            examples,
        ];
        let image = Image::new(&layers, self.run(), &self.created())?;
        bound(image.size(), MOST)?;
        Ok(image)
    }

    /// The program, which everybody may run, with the licences of what it is made of.
    fn program_layer(&self, program: Vec<u8>) -> Result<Tree> {
        let mut files = Tree::default();
        files.add_file(PROGRAM, 0o755, program);
        licences::add(&mut files, &self.root)?;
        Ok(files)
    }

    fn created(&self) -> String {
        self.created.to_string()
    }

    fn run(&self) -> Run {
        let port = |port: &str| (port.to_owned(), BTreeMap::new());
        let exposed_ports = [port("8080/tcp"), port("9443/tcp")].into();
        Run {
            user: format!("{USER}:{USER}"),
            exposed_ports,
            env: environment(),
            entrypoint: vec![format!("/{PROGRAM}")],
            working_dir: "/".to_owned(),
            labels: self.labels(),
        }
    }

    /// What tools other than Crossplane show of the image.
    fn labels(&self) -> BTreeMap<String, String> {
        let said = |key: &str| self.meta.annotations.get(&format!("meta.crossplane.io/{key}")).cloned();
        let labels = [
            ("title", Some(self.meta.name.clone())),
            ("version", Some(self.tag())),
            ("revision", self.revision.clone()),
            ("description", said("description")),
            ("licenses", said("license")),
            ("source", said("source")),
            ("vendor", said("maintainer")),
        ];
        let named = |(key, value): (&str, Option<String>)| Some((format!("org.opencontainers.image.{key}"), value?));
        labels.into_iter().filter_map(named).collect()
    }
}

fn bound(size: usize, most: usize) -> Result<()> {
    ensure!(
        size <= most,
        "the image has {size} bytes to pull, and {most} is the most: see what is large in the layers"
    );
    Ok(())
}

/// The environment of the program. What libvirt's client and ssh write goes below `/tmp`: the rest may be mounted read-only.
pub fn environment() -> Vec<String> {
    [
        "PATH=/usr/bin:/bin",
        "HOME=/tmp",
        "XDG_CACHE_HOME=/tmp/.cache",
        "XDG_CONFIG_HOME=/tmp/.config",
        "XDG_DATA_HOME=/tmp/.local/share",
        "XDG_RUNTIME_DIR=/tmp/.run",
    ]
    .map(ToOwned::to_owned)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_may_be_as_large_as_the_bound_and_no_larger() {
        assert!(bound(MOST, MOST).is_ok());
        let wanted =
            "the image has 125829121 bytes to pull, and 125829120 is the most: see what is large in the layers";
        assert_eq!(bound(MOST + 1, MOST).unwrap_err().to_string(), wanted);
    }
}
