//! Files of a layer in memory, and the tar archive of them, which is the same for the same files.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Folder,
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A symbolic link with this target.
    Link(String),
}

/// A folder, file or link with its mode. Everything belongs to root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits.
    pub mode: u32,
    /// What is there.
    pub content: Content,
}

/// Entries by path, without a slash at either end; sorted, so that a folder comes before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// Adds a file, and the folders it lies in where they are missing.
    pub fn add_file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.add(path, Entry { mode, content: Content::File(bytes.into()) });
    }

    /// Adds a folder.
    pub fn add_folder(&mut self, path: &str, mode: u32) {
        self.add(path, Entry { mode, content: Content::Folder });
    }

    /// Adds a symbolic link.
    pub fn add_link(&mut self, path: &str, target: &str) {
        self.add(path, Entry { mode: 0o777, content: Content::Link(target.to_owned()) });
    }

    /// Adds an entry in place of what was there, and the folders it lies in where they are missing.
    pub fn add(&mut self, path: &str, entry: Entry) {
        for (end, _) in path.match_indices('/') {
            let folder = || Entry { mode: 0o755, content: Content::Folder };
            self.entries.entry(path[..end].to_owned()).or_insert_with(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// The entry at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// All entries by path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The bytes of the file at a path.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        match &self.get(path)?.content {
            Content::File(bytes) => Some(bytes),
            Content::Folder | Content::Link(_) => None,
        }
    }

    /// A tar archive of all of it: sorted, owned by root, at the beginning of time. A time of the files' own would make equal layers
    /// of two versions different, and a registry and a node would keep both.
    ///
    /// # Errors
    /// When a path or link is too long for the format.
    pub fn to_tar(&self) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry).with_context(|| format!("archive {path}"))?;
        }
        archive.into_inner().context("end the archive")
    }
}

fn append(archive: &mut Builder<Vec<u8>>, path: &str, entry: &Entry) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    match &entry.content {
        Content::Folder => {
            header.set_entry_type(EntryType::Directory);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Content::File(bytes) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(u64::try_from(bytes.len())?);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            archive.append_link(&mut header, path, target)?;
        }
    }
    Ok(())
}
