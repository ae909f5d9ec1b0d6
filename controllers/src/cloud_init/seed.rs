//! The seed: a small ISO 9660 image that cloud-init's `NoCloud` source reads.
//!
//! ```text
//! user-data, meta-data, … ─► Seed ─► image()   bytes of the volume, equal for equal content
//!                                └─► digest()  part of the volume's name
//! ```
//! The file names hold lower case and dashes, which plain ISO 9660 cannot: Linux reads the Rock Ridge names, others the Joliet ones.

use std::fmt::{self, Debug, Formatter, Write};

use anyhow::Context;
use data_encoding::HEXLOWER;
use hadris_fs::{Content, NoClock, Node, Tree};
use hadris_iso::{IsoId, IsoOptions};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The volume label that cloud-init looks for.
/// Source: cloud-init's documentation, datasource `NoCloud`.
pub const LABEL: &str = "cidata";

/// The longest host name that Linux takes (`HOST_NAME_MAX`).
const HOSTNAME_MAX: usize = 64;
/// The longest part between dots (RFC 1123).
const LABEL_MAX: usize = 63;

/// The files of one seed. They often hold passwords and keys, so `Debug` shows their sizes only.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed {
    /// The file `user-data`.
    pub user_data: Vec<u8>,
    /// The file `meta-data`.
    pub meta_data: Vec<u8>,
    /// The file `network-config`, left out when `None`.
    pub network_config: Option<Vec<u8>>,
    /// The file `vendor-data`, left out when `None`.
    pub vendor_data: Option<Vec<u8>>,
}

impl Seed {
    /// The ISO 9660 image, with Rock Ridge and Joliet names and the label `cidata`. Equal content gives equal bytes, at any time.
    ///
    /// # Errors
    /// When the image cannot be laid out.
    pub fn image(&self) -> anyhow::Result<Vec<u8>> {
        let mut tree = Tree::new();
        for (name, content) in self.files() {
            let Some(content) = content else { continue };
            tree.insert(name, Node::file(Content::bytes(content)))
                .with_context(|| format!("add {name} to the seed image"))?;
        }
        let mut image = Vec::new();
        hadris_iso::sync::write(&mut image, &tree, &options()).context("write the seed image")?;
        Ok(image)
    }

    /// The first 16 hexadecimal digits of a SHA-256 over all the content: what a volume's name says of it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (_, content) in self.files() {
            // The length before each part keeps two seeds apart whose concatenated parts are equal, and an absent file from an empty one.
            match content {
                Some(content) => {
                    hash.update([1]);
                    hash.update(u64::try_from(content.len()).unwrap_or(u64::MAX).to_be_bytes());
                    hash.update(content);
                }
                None => hash.update([0]),
            }
        }
        HEXLOWER.encode(&hash.finalize()[..8])
    }

    fn files(&self) -> [(&'static str, Option<&[u8]>); 4] {
        let Self { user_data, meta_data, network_config, vendor_data } = self;
        [
            ("meta-data", Some(meta_data)),
            ("network-config", network_config.as_deref()),
            ("user-data", Some(user_data)),
            ("vendor-data", vendor_data.as_deref()),
        ]
    }
}

impl Debug for Seed {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let mut sizes = formatter.debug_map();
        for (name, content) in self.files() {
            sizes.entry(&name, &content.map(<[u8]>::len));
        }
        sizes.finish()
    }
}

/// The image's options. Its times are fixed: a seed that differs only in when it was made is the same seed.
fn options() -> IsoOptions {
    IsoOptions::default().with_id(IsoId::Volume, LABEL).with_joliet().with_rock_ridge().with_time(NoClock::TIME)
}

/// Meta-data for an object that brings none: an instance-id from its UID and a local-hostname from its name.
pub fn default_meta_data(uid: &str, name: &str) -> Vec<u8> {
    let hostname = hostname(name);
    let mut text = format!("instance-id: {}\n", scalar(uid));
    if !hostname.is_empty() {
        let _ = writeln!(text, "local-hostname: {}", scalar(&hostname));
    }
    text.into_bytes()
}

/// The instance-id in a meta-data file, YAML or JSON. `None` when there is none or the file is neither.
pub fn instance_id(meta_data: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct MetaData {
        #[serde(rename = "instance-id")]
        instance_id: Option<String>,
    }
    let text = std::str::from_utf8(meta_data).ok()?;
    let MetaData { instance_id } = serde_saphyr::from_str(text).ok()?;
    instance_id.filter(|id| !id.is_empty())
}

/// The name as a host name: labels of lower-case letters, digits and inner dashes, as many of them as Linux takes.
fn hostname(name: &str) -> String {
    let mut hostname = String::new();
    for label in name.split('.') {
        let label = label_of(label);
        let dot = usize::from(!hostname.is_empty());
        if label.is_empty() {
            continue;
        }
        if hostname.len() + dot + label.len() > HOSTNAME_MAX {
            break;
        }
        if dot == 1 {
            hostname.push('.');
        }
        hostname.push_str(&label);
    }
    hostname
}

fn label_of(text: &str) -> String {
    let safe: String =
        text.chars().map(|char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '-' }).collect();
    let safe = safe.trim_matches('-');
    safe[..safe.len().min(LABEL_MAX)].trim_end_matches('-').to_owned()
}

/// The text as a YAML scalar that is a string to every reader: `1e3`, `null` and `no` would be other things without quotes.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|char: char| char.is_ascii_lowercase());
    let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    let keyword = matches!(text, "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain && ((word && !keyword) || is_uuid(text)) {
        text.to_owned()
    } else {
        // A JSON string is a YAML one, too.
        serde_json::Value::from(text).to_string()
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
