//! A network of a rig's own, so that fixed ports of several rigs are not in each other's way.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    process::{Process, run},
    wait::eventually,
};

/// Where the kernel tells a thread which network it is in.
const OURS: &str = "/proc/thread-self/ns/net";

/// A network namespace with nothing but loopback and [`PrivateNetwork::ADDRESS`]; it lives as long as its value and what runs in it.
#[derive(Debug)]
pub struct PrivateNetwork {
    name: String,
    // Keeps the namespace, and its file in the process table.
    _holder: Process,
}

impl PrivateNetwork {
    /// An address that is not loopback: API servers advertise no other.
    pub const ADDRESS: &str = "10.99.0.1";

    /// Makes it, with the log of its first process in `folder`. Needs root.
    ///
    /// # Errors
    /// When a namespace cannot be made.
    pub fn start(folder: &Path) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "infinity"]);
        let holder = Process::spawn(&command, &folder.join("network.log"))?;
        let file = PathBuf::from(format!("/proc/{}/ns/net", holder.pid()));
        let outside = name_of(Path::new(OURS))?;
        let name = eventually(Duration::from_secs(10), || {
            let name = name_of(&file)?;
            ensure!(name != outside, "unshare has not begun");
            Ok(name)
        })?;
        let inside = format!("--net={}", file.display());
        run("nsenter", &[&inside, "ip", "link", "set", "lo", "up"])?;
        run("nsenter", &[&inside, "ip", "address", "add", &format!("{}/32", Self::ADDRESS), "dev", "lo"])?;
        known().insert(name.clone(), file);
        Ok(Self { name, _holder: holder })
    }

    /// Moves the calling thread into it, for good: its connections, its servers and what it starts, threads and processes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        let path = known().get(&self.name).cloned().context("find the network")?;
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context("enter the network")
    }
}

impl Drop for PrivateNetwork {
    fn drop(&mut self) {
        known().remove(&self.name);
    }
}

/// Whether the calling thread is in a private network.
pub(crate) fn is_private() -> Result<bool> {
    Ok(known().contains_key(&name_of(Path::new(OURS))?))
}

/// The command in front of a program that shall be where the calling thread is, whoever starts it; it becomes the program.
pub(crate) fn enter_command() -> Result<Vec<String>> {
    let path = known().get(&name_of(Path::new(OURS))?).cloned();
    Ok(path
        .map_or_else(Vec::new, |path| vec!["nsenter".to_owned(), format!("--net={}", path.display()), "--".to_owned()]))
}

/// The private networks there are: the file that leads to each, by the name the kernel has for it.
fn known() -> MutexGuard<'static, HashMap<String, PathBuf>> {
    static KNOWN: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name_of(file: &Path) -> Result<String> {
    let name = fs::read_link(file).with_context(|| format!("read {}", file.display()))?;
    Ok(name.display().to_string())
}
