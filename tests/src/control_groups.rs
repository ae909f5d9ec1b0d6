//! Control groups of a host's own, so that its daemon can limit what guests get.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::wait::eventually;

/// The controllers that libvirt limits guests by.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "blkio"];

/// One folder a controller; dropping it removes them, with what their processes left.
#[derive(Debug)]
pub(crate) struct ControlGroups {
    folders: Vec<PathBuf>,
}

/// Why hosts here cannot have control groups of their own; `None` where they can.
///
/// They need those of the first version, each controller by itself: with the second one a daemon in a namespace of its own must not be
/// in the group that it divides.
pub fn no_control_groups() -> Option<String> {
    parents().err().map(|error| format!("{error:#}"))
}

/// This process's group of each controller.
fn parents() -> Result<Vec<PathBuf>> {
    let groups = fs::read_to_string("/proc/self/cgroup").context("read control groups")?;
    let parent = |controller: &str| -> Result<PathBuf> {
        let own = groups.lines().find_map(|line| line.split_once(&format!(":{controller}:")));
        let (_, below) =
            own.with_context(|| format!("control group {controller} of version 1 is not mounted by itself"))?;
        let folder = Path::new("/sys/fs/cgroup").join(controller).join(below.trim_start_matches('/'));
        let procs = folder.join("cgroup.procs");
        let may_write = fs::OpenOptions::new().write(true).open(&procs);
        may_write.with_context(|| format!("{} cannot be written", procs.display()))?;
        Ok(folder)
    };
    CONTROLLERS.iter().map(|controller| parent(controller)).collect()
}

impl ControlGroups {
    /// New groups of this name and this process's number.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let name = format!("{name}-{}", process::id());
        let folders: Vec<PathBuf> = parents()?.into_iter().map(|parent| parent.join(&name)).collect();
        let groups = Self { folders };
        for folder in &groups.folders {
            fs::create_dir(folder).with_context(|| format!("create {}", folder.display()))?;
            // A group of processors takes nobody before it has some.
            if folder.join("cpuset.cpus").exists() {
                let parent = folder.parent().context("a group has a parent")?;
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(folder.join(file), fs::read(parent.join(file))?)
                        .with_context(|| format!("write {file}"))?;
                }
                fs::write(folder.join("cgroup.clone_children"), "1").context("write cgroup.clone_children")?;
            }
        }
        Ok(groups)
    }

    /// The folders, as `groups.sh` takes them.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The controllers, as `inner.sh` takes them.
    pub(crate) fn controllers() -> [&'static str; 5] {
        CONTROLLERS
    }
}

/// Groups inside first; a group goes once its last process is gone.
fn remove(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    ensure!(fs::remove_dir(folder).is_ok() || !folder.exists(), "{} is in use", folder.display());
    Ok(())
}

impl Drop for ControlGroups {
    fn drop(&mut self) {
        for folder in self.folders.iter().filter(|folder| folder.exists()) {
            if let Err(error) = eventually(Duration::from_secs(20), || remove(folder)) {
                eprintln!("control groups are left: {error:#}");
            }
        }
    }
}
