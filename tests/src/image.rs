//! The package's image, made of the binary under test and unpacked as a node unpacks it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use package::{Image, Package};

use crate::{
    files::{Scratch, cache, provider_binary, workspace},
    process::{Process, run, stdout_of},
};

/// An image and its root file system in a folder; dropping it removes the folder. Needs root.
#[derive(Debug)]
pub struct UnpackedImage {
    image: Image,
    scratch: Scratch,
}

impl UnpackedImage {
    /// Makes the image of the binary under test, which may be a debug build, without its symbols, and unpacks its layers.
    ///
    /// Its Debian packages are fetched once.
    ///
    /// # Errors
    /// When a package cannot be fetched or unpacked.
    pub fn make() -> Result<Self> {
        let scratch = Scratch::new("image")?;
        let program = scratch.path().join("program");
        run("strip", &["-o", &program.display().to_string(), &provider_binary()?.display().to_string()])?;
        let program = fs::read(program).context("read the program")?;
        let system = package::root_file_system(&fetch()?)?;
        let image = Package::new(&workspace(), "0.0.0")?.with_runtime(&system, program)?;
        let unpacked = Self { image, scratch };
        unpacked.unpack()?;
        Ok(unpacked)
    }

    /// The image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The root file system, outside.
    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// Runs a program of the image in it, as its user and with its environment, to the end: what it says on both outputs together.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = self.command(self.scratch.path(), &[], program);
        command.args(args).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("start {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(stdout_of(&output).with_context(|| format!("run {program} {}", args.join(" ")))? + &said)
    }

    /// Starts the provider in the image with additional `variables` (as `NAME=value`); it finds the folder `shared` as `/tmp/shared`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, shared: &Path, variables: &[&str], args: &[String]) -> Result<Process> {
        let mut command = self.command(shared, variables, "/usr/bin/provider-libvirt");
        command.args(args);
        Process::spawn(&command, &shared.join("provider.log"))
    }

    fn command(&self, shared: &Path, variables: &[&str], program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(workspace().join("tests/image/inner.sh")).arg(self.root()).arg(shared);
        command.args(package::environment()).args(variables).arg(program);
        command
    }

    fn unpack(&self) -> Result<()> {
        let root = self.root();
        fs::create_dir(&root).context("create the root file system")?;
        let file = self.scratch.path().join("layer.tar.gz");
        for layer in self.image.manifest()?.layers {
            fs::write(&file, self.image.blob(&layer.digest)?).context("write a layer")?;
            let (root, file) = (root.display().to_string(), file.display().to_string());
            run("tar", &["--extract", "--gzip", "--same-permissions", "--directory", &root, "--file", &file])?;
        }
        fs::remove_file(file).context("remove a layer")
    }
}

/// The Debian packages, from the cache that `make xpkg` has too: it stays its owner's when the tests run by sudo.
fn fetch() -> Result<Vec<PathBuf>> {
    let folder = cache()?.join("image");
    let packages = package::fetch(&folder)?;
    let (owner, folder) = (cache()?.display().to_string(), folder.display().to_string());
    run("chown", &["--recursive", "--reference", &owner, &folder])?;
    Ok(packages)
}
