//! The Debian packages that the image is made of: found and fetched by apt, from the machine's own sources, and unpacked without a
//! container engine or root. The image is of this machine's distribution, because the program was linked against its libraries.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use tar::{Archive, EntryType};

use crate::{
    layer::digest,
    tree::{Content, Entry, Tree},
};

/// What the provider needs at run time, with all that these depend on: libvirt's client, the ssh that it starts, the ways to prove
/// who one is over TCP, the authorities behind image servers' certificates, and the folders and licences of the distribution.
const WANTED: [&str; 5] = ["base-files", "ca-certificates", "libsasl2-modules", "libvirt0", "openssh-client"];

/// Only maintainer scripts call these, and none is run: apt is told that they are there.
const SCRIPTS_ONLY: &str = "adduser (= 9999), awk, debconf (= 9999), debconf-2.0, openssl (= 9999), passwd (= 9999)";

/// The package files, fetched if they are not in the folder `cache` yet, in the order in which apt would unpack them.
///
/// # Errors
/// When apt does not find or fetch them; what it said is in the error.
pub fn fetch(cache: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(cache).with_context(|| format!("create {}", cache.display()))?;
    // apt would look for a relative folder below the root.
    let cache = &cache.canonicalize().with_context(|| format!("find {}", cache.display()))?;
    let apt = Apt::new(cache)?;
    let names = apt.resolve()?;
    let digests = apt.digests(&names)?;
    let files: Vec<_> = names.iter().map(|name| cache.join("archives").join(name)).collect();
    let mut missing = 0;
    for (file, name) in files.iter().zip(&names) {
        if !is_whole(file, name, &digests)? {
            // Else apt would keep it, as long as it has the right size.
            drop(fs::remove_file(file));
            missing += 1;
        }
    }
    if missing == 0 {
        return Ok(files);
    }
    eprintln!("xpkg: fetching {missing} of {} Debian packages into {}", files.len(), cache.display());
    apt.run(&["--download-only", "--yes"])?;
    for (file, name) in files.iter().zip(&names) {
        let is_whole = is_whole(file, name, &digests)?;
        ensure!(is_whole, "apt has not fetched {}; run `apt-get update` as root and try again", file.display());
    }
    Ok(files)
}

/// Whether the file is there and the one that the distribution's signed lists speak of.
fn is_whole(file: &Path, name: &str, digests: &BTreeMap<String, String>) -> Result<bool> {
    let Some(wanted) = digests.get(name) else { bail!("apt tells no SHA256 of {name}") };
    match fs::read(file) {
        Ok(bytes) => Ok(digest(&bytes).strip_prefix("sha256:") == Some(wanted)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// apt with a state of its own, in which nothing is installed; of the machine's it has the sources and the lists of packages.
struct Apt<'a> {
    cache: &'a Path,
}

impl<'a> Apt<'a> {
    fn new(cache: &'a Path) -> Result<Self> {
        fs::create_dir_all(cache.join("archives/partial")).with_context(|| format!("create {}", cache.display()))?;
        let installed = format!(
            "Package: maintainer-scripts\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\
             Maintainer: nobody\nProvides: {SCRIPTS_ONLY}\nDescription: what only maintainer scripts need\n"
        );
        fs::write(cache.join("status"), installed).context("write the state of an empty machine")?;
        Ok(Self { cache })
    }

    /// The names of the package files.
    fn resolve(&self) -> Result<Vec<String>> {
        let plan = self.run(&["--simulate"])?;
        let names: Vec<_> = plan.lines().filter_map(file_name).collect();
        ensure!(names.len() > WANTED.len(), "apt plans to install only {names:?}; run `apt-get update` as root");
        Ok(names)
    }

    /// The SHA256 of each package file that apt knows under these names, by the file's name.
    fn digests(&self, files: &[String]) -> Result<BTreeMap<String, String>> {
        let versions: Vec<String> = files.iter().filter_map(|file| wanted_version(file)).collect();
        let mut command = self.command("apt-cache");
        let known = output(command.arg("show").args(&versions)).context("ask apt for the packages' digests")?;
        Ok(known.split("\n\n").filter_map(file_digest).collect())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.cache.display();
        for setting in [
            format!("Dir::State={folder}"),
            "Dir::State::lists=/var/lib/apt/lists".to_owned(),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}"),
            "APT::Install-Recommends=false".to_owned(),
            // As root apt would fetch as a user who may not write here.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("--option").arg(setting);
        }
        command
    }

    fn run(&self, options: &[&str]) -> Result<String> {
        let mut command = self.command("apt-get");
        command.args(["--quiet=2", "install"]).args(options).args(WANTED);
        output(&mut command).context(
            "ask apt for the image's packages (the image is made on Debian or Ubuntu; if its lists are old, run `apt-get update` as root)",
        )
    }
}

/// `Inst libfoo (1:2.3 Debian:12/stable [amd64])` becomes `libfoo_1%3a2.3_amd64.deb`.
fn file_name(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    let (version, rest) = rest.split_once(' ')?;
    let (architecture, _) = rest.split_once('[')?.1.split_once(']')?;
    Some(format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a")))
}

/// `libfoo_1%3a2.3_amd64.deb` is version `1:2.3` of `libfoo`, which apt takes as `libfoo=1:2.3`.
fn wanted_version(file: &str) -> Option<String> {
    let (name, rest) = file.split_once('_')?;
    let (version, _) = rest.split_once('_')?;
    Some(format!("{name}={}", version.replace("%3a", ":")))
}

/// The file that a paragraph of apt's lists speaks of, and its SHA256.
fn file_digest(paragraph: &str) -> Option<(String, String)> {
    let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let (name, version, architecture) = (field("Package")?, field("Version")?, field("Architecture")?);
    let file = format!("{name}_{}_{architecture}.deb", version.replace(':', "%3a"));
    Some((file, field("SHA256")?.to_owned()))
}

/// Unpacks a package file into `root`, without running anything of it: what `keep` says of each path, at the place that it says.
///
/// # Errors
/// When it is no package file, or holds devices.
pub(crate) fn unpack(file: &Path, root: &mut Tree, keep: impl Fn(&str) -> Option<String>) -> Result<()> {
    let archive = bytes(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(file))?;
    let mut archive = Archive::new(archive.as_slice());
    for entry in archive.entries().context("read the archive")? {
        let mut entry = entry.context("read the archive")?;
        let path = String::from_utf8(entry.path_bytes().into_owned()).context("read a path")?;
        let Some(path) = keep(path.trim_start_matches("./").trim_end_matches('/')) else { continue };
        let mode = entry.header().mode().context("read a mode")?;
        let target = entry.link_name_bytes().map(|target| String::from_utf8(target.into_owned()));
        let target = target.transpose().context("read a link")?.unwrap_or_default();
        let found = match entry.header().entry_type() {
            EntryType::Directory => Entry { mode, content: Content::Folder },
            EntryType::Symlink => Entry { mode: 0o777, content: Content::Link(target) },
            EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).with_context(|| format!("unpack {path}"))?;
                Entry { mode, content: Content::File(bytes) }
            }
            EntryType::Link => {
                let first = keep(target.trim_start_matches("./"));
                first.and_then(|first| root.get(&first).cloned()).with_context(|| format!("find {target}"))?
            }
            other => bail!("{path} is of type {other:?}"),
        };
        root.add(&path, found);
    }
    Ok(())
}

/// The control file of a package file: name, version, source and so on.
pub(crate) fn control(file: &Path) -> Result<String> {
    output(Command::new("dpkg-deb").arg("--field").arg(file))
}

fn output(command: &mut Command) -> Result<String> {
    String::from_utf8(bytes(command)?).context("read what it says")
}

fn bytes(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("start {program}"))?;
    ensure!(
        output.status.success(),
        "{program}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_apts_plan_names_a_file() {
        let line = "Inst openssh-client (1:9.2p1-2+deb12u10 Debian:12.15/oldstable, Debian-Security:12/x [amd64]) []";
        assert_eq!(file_name(line), Some("openssh-client_1%3a9.2p1-2+deb12u10_amd64.deb".to_owned()));
        assert_eq!(file_name("Conf openssh-client (1:9.2p1-2+deb12u10 Debian:12.15/oldstable [amd64])"), None);
    }

    #[test]
    fn a_paragraph_of_apts_lists_tells_what_a_file_holds() {
        let paragraph = "Package: openssh-client\nVersion: 1:9.2p1-2\nArchitecture: amd64\nSHA256: ab12\nSize: 3";
        let file = "openssh-client_1%3a9.2p1-2_amd64.deb";
        assert_eq!(file_digest(paragraph), Some((file.to_owned(), "ab12".to_owned())));
        assert_eq!(wanted_version(file), Some("openssh-client=1:9.2p1-2".to_owned()));
    }
}
