//! The image's root file system: Debian packages without what nobody reads there, and the few files that their scripts would have made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::{
    debian::{control, unpack},
    tree::{Content, Entry, Tree},
};

/// The user that Crossplane runs a provider as. libvirt's client and ssh ask who that is, so it has a record.
pub const USER: u32 = 2000;

/// Where authorities are that image servers' certificates are checked against.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";

/// Folders that are links to those of the same name in `usr`, whether a package knows that already or not.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Nothing in the image reads these.
const DROPPED: [&str; 17] = [
    "boot",
    "etc/default",
    "etc/dpkg",
    "etc/update-motd.d",
    "media",
    "mnt",
    "opt",
    "srv",
    "usr/games",
    "usr/include",
    "usr/lib/systemd",
    "usr/share/apport",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/src",
];

/// The root file system made of these package files.
///
/// # Errors
/// When a package cannot be unpacked, or there are no authorities in it.
pub fn root_file_system(packages: &[PathBuf]) -> Result<Tree> {
    let mut root = Tree::default();
    for package in packages {
        add(&mut root, package).with_context(|| format!("unpack {}", package.display()))?;
    }
    for name in MERGED {
        if root.get(&format!("usr/{name}")).is_some() {
            root.add_link(name, &format!("usr/{name}"));
        }
    }
    let authorities = authorities(&root)?;
    root.add_file(AUTHORITIES, 0o644, authorities);
    // Home is where ssh makes its folder; nothing else can be written to.
    let users =
        format!("root:x:0:0:root:/root:/usr/sbin/nologin\nprovider:x:{USER}:{USER}:provider:/tmp:/usr/sbin/nologin\n");
    root.add_file("etc/passwd", 0o644, users);
    root.add_file("etc/group", 0o644, format!("root:x:0:\nprovider:x:{USER}:\n"));
    root.add_file("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n");
    Ok(restrict(&root))
}

fn add(root: &mut Tree, package: &Path) -> Result<()> {
    unpack(package, root, place)?;
    // Where scanners for known vulnerabilities look in images that no package manager runs in.
    let control = control(package)?;
    let name = control.lines().find_map(|line| line.strip_prefix("Package: ")).context("find the package's name")?;
    root.add_file(&format!("var/lib/dpkg/status.d/{name}"), 0o644, control.clone());
    Ok(())
}

/// Where a path of a package is in the image, if it is there at all.
fn place(path: &str) -> Option<String> {
    let (first, below) = path.split_once('/').map_or((path, None), |(first, below)| (first, Some(below)));
    let path = match below {
        Some(_) if MERGED.contains(&first) => format!("usr/{path}"),
        None if MERGED.contains(&first) || first.is_empty() => return None,
        _ => path.to_owned(),
    };
    let dropped = DROPPED
        .iter()
        .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    // Converters between character sets: everything here speaks UTF-8.
    let converter = path.starts_with("usr/lib/") && path.split('/').any(|part| part == "gconv");
    (!dropped && !converter && is_read(&path)).then_some(path)
}

/// Of the documentation only the licences stay.
fn is_read(path: &str) -> bool {
    path.strip_prefix("usr/share/doc/").is_none_or(|below| !below.contains('/') || below.ends_with("/copyright"))
}

/// All authorities that the distribution trusts, in one file, as `update-ca-certificates` writes it.
fn authorities(root: &Tree) -> Result<Vec<u8>> {
    let mut bundle = Vec::new();
    for (path, _) in root.entries().filter(|(path, _)| path.starts_with("usr/share/ca-certificates/")) {
        if let Some(certificate) = root.file(path) {
            bundle.extend_from_slice(certificate.trim_ascii_end());
            bundle.push(b'\n');
        }
    }
    ensure!(!bundle.is_empty(), "no package holds certificates of authorities");
    Ok(bundle)
}

/// Nobody becomes another user by a file, and only root may write anywhere but in `/tmp`.
fn restrict(root: &Tree) -> Tree {
    let mut restricted = Tree::default();
    for (path, entry) in root.entries() {
        let mode = match &entry.content {
            Content::Folder if path == "tmp" => 0o1777,
            Content::Link(_) => entry.mode,
            Content::Folder | Content::File(_) => entry.mode & 0o755,
        };
        restricted.add(path, Entry { mode, content: entry.content.clone() });
    }
    restricted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_come_together_and_documentation_goes() {
        let wanted = [
            ("", None),
            ("lib", None),
            ("lib/x86_64-linux-gnu/libc.so.6", Some("usr/lib/x86_64-linux-gnu/libc.so.6")),
            ("usr/bin/ssh", Some("usr/bin/ssh")),
            ("usr/lib/x86_64-linux-gnu/gconv/BIG5.so", None),
            ("usr/share/man/man1/ssh.1.gz", None),
            ("usr/share/manners", Some("usr/share/manners")),
            ("usr/share/doc/libc6", Some("usr/share/doc/libc6")),
            ("usr/share/doc/libc6/copyright", Some("usr/share/doc/libc6/copyright")),
            ("usr/share/doc/libc6/changelog.gz", None),
        ];
        let found = wanted.map(|(path, _)| (path, place(path)));
        assert_eq!(found, wanted.map(|(path, place)| (path, place.map(ToOwned::to_owned))));
    }

    #[test]
    fn no_file_lends_another_users_rights() {
        let mut root = Tree::default();
        root.add_file("usr/lib/openssh/ssh-keysign", 0o4755, "x");
        root.add_folder("tmp", 0o1777);
        root.add_folder("var/local", 0o2775);
        let modes: Vec<_> = restrict(&root).entries().map(|(path, entry)| (path.to_owned(), entry.mode)).collect();
        let wanted = [
            ("tmp", 0o1777),
            ("usr", 0o755),
            ("usr/lib", 0o755),
            ("usr/lib/openssh", 0o755),
            ("usr/lib/openssh/ssh-keysign", 0o755),
            ("var", 0o755),
            ("var/local", 0o755),
        ];
        assert_eq!(modes, wanted.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
