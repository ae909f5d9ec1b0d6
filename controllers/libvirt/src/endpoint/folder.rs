//! The folders with what lets in at hosts: one for each host, for nobody else to read. Whoever made one holds a lock of it, which the
//! system takes back when that process ends, however it ends; so a folder that nobody holds is of a process that was killed.

use std::fs::{self, DirEntry, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tempfile::TempDir;

use crate::Error;
use crate::lock::lock;

/// What the names of all folders begin with. Those that were made before folders were held began otherwise, and are left alone.
const PREFIX: &str = "provider-libvirt-host-";

const MODE: u32 = 0o700;

/// How often another folder is made where one was swept away before it was held.
const TRIES: u32 = 8;

/// Those of this process: nothing is dropped when it ends.
static OURS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A folder that goes with all that is in it.
#[derive(Debug)]
pub(super) struct Folder {
    // First, so that the folder is held for as long as it is there.
    folder: TempDir,
    _held: File,
}

impl Folder {
    /// A new folder for this user only, below `TMPDIR`.
    pub(super) fn new() -> Result<Self, Error> {
        let failed = |error| Error::other(format!("cannot make a folder for what lets in at the host: {error}"));
        let made = Self::below(&std::env::temp_dir()).map_err(failed)?;
        // It stands in the settings of the ssh program, where other characters may mean something.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if !made.path().to_str().is_some_and(|path| path.chars().all(is_plain)) {
            return Err(Error::other(
                "TMPDIR leads to a folder whose name has other characters than letters, digits, . _ and -",
            ));
        }
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn below(place: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let mut new = tempfile::Builder::new();
            let folder = new.prefix(PREFIX).permissions(Permissions::from_mode(MODE)).tempdir_in(place)?;
            match hold(folder.path()) {
                Ok(Some(held)) => {
                    lock(&OURS).push(folder.path().to_owned());
                    return Ok(Self { folder, _held: held });
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("each was removed at once"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        lock(&OURS).retain(|path| path != self.folder.path());
    }
}

/// Removes the folders of this process, which ends now: nothing connects any more.
pub fn leave() {
    for path in std::mem::take(&mut *lock(&OURS)) {
        // Whoever starts next sweeps.
        if let Err(error) = fs::remove_dir_all(&path) {
            tracing::warn!("cannot remove {}, in which is what lets in at a host: {error}", path.display());
        }
    }
}

/// Takes the lock of a folder that was just made; `None` where another process had swept it away by then.
fn hold(path: &Path) -> io::Result<Option<File>> {
    let held = File::open(path)?;
    // On file systems that know no locks nobody else gets one either, and so nobody takes the folder for a dead one's.
    if let Err(error) = held.lock() {
        tracing::debug!("cannot hold {}: {error}", path.display());
    }
    Ok(is_at(&held, path).then_some(held))
}

/// Whether this is what has the name now, and no link to it.
fn is_at(open: &File, path: &Path) -> bool {
    let same = |(one, other): (fs::Metadata, fs::Metadata)| (one.dev(), one.ino()) == (other.dev(), other.ino());
    open.metadata().ok().zip(fs::symlink_metadata(path).ok()).is_some_and(same)
}

/// Removes the folders below `TMPDIR` that this program has left there when it was killed. A folder of another user, or that a living
/// process holds, is left alone. One that cannot be removed is told in the log.
pub fn sweep() {
    sweep_below(&std::env::temp_dir());
}

fn sweep_below(place: &Path) {
    // Whose the folders of this process are.
    let (Ok(this), Ok(entries)) = (fs::metadata("/proc/self"), fs::read_dir(place)) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match remove_left(&entry, this.uid()) {
            Ok(true) => tracing::info!("removed {}, which a provider that was killed had left", path.display()),
            Ok(false) => {}
            // Another provider that starts sweeps as well.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(
                "cannot remove {}, in which a provider that was killed has left what lets in at a host: {error}",
                path.display()
            ),
        }
    }
}

/// Whether this was a folder of ours that nobody holds.
fn remove_left(entry: &DirEntry, user: u32) -> io::Result<bool> {
    let path = entry.path();
    if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
        return Ok(false);
    }
    let found = entry.metadata()?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o7777 != MODE {
        return Ok(false);
    }
    let open = File::open(&path)?;
    match open.try_lock() {
        Ok(()) if is_at(&open, &path) => fs::remove_dir_all(&path).map(|()| true),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt as _, symlink};

    use super::*;

    fn names(place: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn of_all_folders_only_those_are_swept_away_that_are_ours_and_that_nobody_holds() {
        let (place, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| place.path().join(name);
        let make = |name: &str, mode: u32| {
            fs::DirBuilder::new().mode(mode).create(at(name)).unwrap();
            fs::write(at(name).join("clientkey.pem"), "key").unwrap();
        };
        let held = Folder::below(place.path()).unwrap();
        fs::write(elsewhere.path().join("kept"), "").unwrap();
        make("provider-libvirt-host-dead", 0o700);
        make("provider-libvirt-host-open", 0o755);
        make("provider-libvirt-before", 0o700);
        fs::write(at("provider-libvirt-host-file"), "").unwrap();
        symlink(elsewhere.path(), at("provider-libvirt-host-link")).unwrap();
        sweep_below(place.path());
        let own = held.path().file_name().unwrap().to_str().unwrap().to_owned();
        let others = ["before", "host-file", "host-link", "host-open"].map(|name| format!("provider-libvirt-{name}"));
        let mut left = [others.as_slice(), std::slice::from_ref(&own)].concat();
        left.sort();
        assert_eq!(names(place.path()), left);
        assert_eq!(names(elsewhere.path()), ["kept"]);

        drop(held);
        assert_eq!(names(place.path()), others);
        let mode = fs::metadata(Folder::below(place.path()).unwrap().path()).unwrap().mode();
        assert_eq!(mode & 0o7777, MODE);
    }

    #[test]
    fn a_folder_that_was_swept_away_before_it_was_held_is_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("provider-libvirt-host-brief");
        fs::DirBuilder::new().mode(MODE).create(&path).unwrap();
        sweep_below(place.path());
        assert_eq!(hold(&path).unwrap_err().kind(), ErrorKind::NotFound);
        // Many at once make folders while others sweep: each has its own until it lets it go.
        std::thread::scope(|all| {
            for _ in 0..4 {
                all.spawn(|| {
                    for _ in 0..50 {
                        let folder = Folder::below(place.path()).unwrap();
                        fs::write(folder.path().join("key"), "key").unwrap();
                        assert_eq!(names(folder.path()), ["key"]);
                    }
                });
                all.spawn(|| (0..50).for_each(|_| sweep_below(place.path())));
            }
        });
        assert_eq!(names(place.path()), [""; 0]);
    }
}
