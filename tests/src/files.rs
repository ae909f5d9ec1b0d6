//! Where things are: the workspace, cached programs and images, scratch folders.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};

use crate::{guest::GuestFiles, process::run};

/// Root folder of the workspace.
pub fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Copies what a package is made of into a folder.
///
/// # Errors
/// When it cannot be read or written.
pub fn copy_package_sources(to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make {}", to.display()))?;
    for folder in ["package", "examples"] {
        run("cp", &["-r", &workspace().join(folder).display().to_string(), &to.display().to_string()])?;
    }
    Ok(())
}

/// Where everything is kept that takes long to make.
///
/// # Errors
/// When the environment names neither a cache nor a home.
pub fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    Ok(base.context("find the cache folder: set HOME")?.join("provider-libvirt"))
}

/// Folder with etcd, kube-apiserver, kube-controller-manager and kubectl.
///
/// # Errors
/// When they have not been built: `make setup` does it.
pub fn control_plane_programs() -> Result<PathBuf> {
    cached("tests/controlplane/build.sh", "kubectl")
}

/// Folder with crossplane, its CRDs in `crds`, and function-auto-ready.
///
/// # Errors
/// When they have not been built: `make setup` does it.
pub fn crossplane_programs() -> Result<PathBuf> {
    cached("tests/controlplane/crossplane.sh", "function-auto-ready")
}

/// Kernel, initrd and disk of the test guest.
///
/// # Errors
/// When it has not been built: `make setup` does it.
pub fn guest_files() -> Result<GuestFiles> {
    Ok(GuestFiles::new(&cached("tests/guest/build.sh", "guest.qcow2")?))
}

/// Kernel, initrd and disk of a Debian with a real cloud-init, or why there is none on this machine.
///
/// # Errors
/// When it has not been built: `make setup` does it.
pub fn debian_files() -> Result<std::result::Result<[PathBuf; 3], &'static str>> {
    debian("tests/debian/build.sh")
}

/// The same of a Debian that is a libvirt host for storage.
///
/// # Errors
/// As there.
pub(crate) fn storage_host_files() -> Result<std::result::Result<[PathBuf; 3], &'static str>> {
    debian("tests/storagehost/build.sh")
}

fn debian(script: &str) -> Result<std::result::Result<[PathBuf; 3], &'static str>> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.lines().any(|line| line == "ID=debian") || !cfg!(target_arch = "x86_64") {
        return Ok(Err("a Debian guest is built on a Debian of x86_64 only"));
    }
    let folder = cached(script, "root.qcow2")?;
    Ok(Ok(["vmlinuz", "initrd.img", "root.qcow2"].map(|name| folder.join(name))))
}

/// A registry of images.
///
/// # Errors
/// When it has not been fetched: `make setup` does it.
pub fn registry_program() -> Result<PathBuf> {
    Ok(cached("tests/registry/build.sh", "docker-registry")?.join("docker-registry"))
}

/// The folder of an SSH server and of saslpasswd2.
///
/// # Errors
/// When they have not been fetched: `make setup` does it.
pub fn servers() -> Result<PathBuf> {
    cached("tests/servers/build.sh", "sshd")
}

/// The script knows the key of what it builds; asking it keeps that rule in one place.
fn cached(script: &str, member: &str) -> Result<PathBuf> {
    let folder = PathBuf::from(run(workspace().join(script), &["path"])?.trim());
    if !folder.join(member).exists() {
        bail!("{} is missing in {}: run `make setup`", member, folder.display());
    }
    Ok(folder)
}

/// The provider's binary: `PROVIDER_LIBVIRT_BIN`, else the one in the folder cargo builds into.
///
/// # Errors
/// When it is not there; `cargo build -p provider-libvirt` makes it.
pub fn provider_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PROVIDER_LIBVIRT_BIN") {
        return Ok(path.into());
    }
    built("provider-libvirt")
}

/// `xpkg`, which makes and pushes packages, in the folder cargo builds into.
///
/// # Errors
/// When it is not there; `cargo build -p package` makes it.
pub fn packager() -> Result<PathBuf> {
    built("xpkg")
}

fn built(program: &str) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let here = std::env::current_exe().context("find the test's own path")?;
    // With a separate build directory the test is not beside the binary, so the target directory is asked first.
    let beside = here.ancestors().skip(1).map(Path::to_owned);
    [target.join("debug"), target.join("release")]
        .into_iter()
        .chain(beside)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("find {program}: run `cargo build --workspace`"))
}

/// A folder that is removed with its value; its path is short, because UNIX sockets in it must stay below 108 bytes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes an empty folder below the system's folder for temporary files.
    ///
    /// It stays if `KEEP_SCRATCH` is set, for a look at the logs after a failure.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("plv-{}-{number}-{name}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        let keep = std::env::var_os("KEEP_SCRATCH").is_some();
        if !keep {
            sweep_at_exit();
        }
        Ok(Self { path, keep })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Values in statics are never dropped, and a killed process drops nothing: a shell that outlives this process sweeps behind it.
fn sweep_at_exit() {
    static SWEEPER: OnceLock<Option<Child>> = OnceLock::new();
    SWEEPER.get_or_init(|| {
        let ours = std::env::temp_dir().join(format!("plv-{}-", std::process::id()));
        // Its input ends when this process does; what this process started needs a moment more to end and write no more.
        let script = "cat; sleep 1; rm -rf -- \"$0\"*";
        let mut shell = Command::new("setsid");
        shell.args(["sh", "-c", script]).arg(ours).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        shell.spawn().ok()
    });
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // A left-over below the temporary folder does no harm and must not hide a test's failure.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
