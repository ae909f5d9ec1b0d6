//! Several contents as one MIME message, which cloud-init takes apart again.
//!
//! ```text
//! Part, Part, … ─► multipart/mixed, equal for equal parts
//!    └─ its type: said, or what its first line says to cloud-init
//! ```
//! Source of types and beginnings: cloud-init's documentation, user data formats.

use std::fmt::Write;

use anyhow::{bail, ensure};
use apis::cloud_init::ContentType;
use data_encoding::BASE64;

/// What is between the parts: the same in every message, so that the same parts are the same seed.
const BOUNDARY: &str = "==provider-libvirt==";
/// The longest line that goes into the message as it is; RFC 5322 lets programs refuse more than 998.
const LINE_MAX: usize = 900;
/// How long the lines of encoded contents are (RFC 2045, section 6.8).
const ENCODED: usize = 76;

/// What begins how, the longer beginnings first.
const BEGINNINGS: [(&str, ContentType); 9] = [
    ("#cloud-config-archive", ContentType::CloudConfigArchive),
    ("#cloud-config-jsonp", ContentType::CloudConfigJsonp),
    ("## template: jinja", ContentType::Jinja2),
    ("#cloud-boothook", ContentType::CloudBoothook),
    ("#cloud-config", ContentType::CloudConfig),
    ("#include-once", ContentType::IncludeOnceUrl),
    ("#part-handler", ContentType::PartHandler),
    ("#include", ContentType::IncludeUrl),
    ("#!", ContentType::ShellScript),
];

/// One of several contents.
pub struct Part {
    /// What tells it from the others.
    pub name: String,
    /// What it is, if it is said.
    pub content_type: Option<ContentType>,
    /// What it says.
    pub content: Vec<u8>,
}

/// All the parts as one file: a MIME message, or the only part itself where its first line says what it is.
///
/// # Errors
/// When a part does not say what it is. The error tells nothing of what is in it.
pub fn merged(parts: &[Part]) -> anyhow::Result<Vec<u8>> {
    if let [only] = parts
        && is_plain_to_read(only)
    {
        return Ok(only.content.clone());
    }
    let mut message = format!("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\n\n");
    for (at, part) in parts.iter().enumerate() {
        append(&mut message, at, part)?;
    }
    let _ = writeln!(message, "--{BOUNDARY}--");
    Ok(message.into_bytes())
}

/// Whether a part is read for what it is when it is the whole file. What says so within its first 4096 bytes is taken for a MIME message.
fn is_plain_to_read(part: &Part) -> bool {
    let begin = part.content[..part.content.len().min(4096)].to_ascii_lowercase();
    let says_mime = begin.windows(MIME.len()).any(|window| window == MIME);
    part.content_type.is_none() && detected(&part.content).is_some() && !says_mime
}

/// The field of every MIME message.
const MIME: &[u8] = b"mime-version:";

fn append(message: &mut String, at: usize, part: &Part) -> anyhow::Result<()> {
    let kind = kind(part)?;
    let name = &part.name;
    // cloud-init runs scripts in the order of their files' names.
    let _ = write!(
        message,
        "--{BOUNDARY}\nContent-Type: {kind}\nMIME-Version: 1.0\nContent-Disposition: attachment; filename=\"{at:03}-{name}\"\n"
    );
    if let Some(text) = plain(&part.content) {
        let _ = writeln!(message, "Content-Transfer-Encoding: 7bit\n\n{text}");
        return Ok(());
    }
    message.push_str("Content-Transfer-Encoding: base64\n\n");
    for line in BASE64.encode(&part.content).as_bytes().chunks(ENCODED) {
        message.push_str(&String::from_utf8_lossy(line));
        message.push('\n');
    }
    Ok(())
}

/// The content, if it comes out of the message as it went in: plain lines of ASCII that are not too long and do not look like an end.
fn plain(content: &[u8]) -> Option<&str> {
    let is_plain = content.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n'));
    let text = std::str::from_utf8(content).ok().filter(|_| is_plain)?;
    (!text.contains(BOUNDARY) && text.split('\n').all(|line| line.len() <= LINE_MAX)).then_some(text)
}

/// The MIME type of a part.
fn kind(part: &Part) -> anyhow::Result<&'static str> {
    if part.content.starts_with(&[0x1f, 0x8b]) {
        ensure!(
            part.content_type.is_none(),
            "part {} is compressed by gzip, so cloud-init looks inside for what it is: leave contentType out",
            part.name
        );
        return Ok("application/gzip");
    }
    match part.content_type.or_else(|| detected(&part.content)) {
        Some(content_type) => Ok(word(content_type)),
        None => bail!(
            "part {} begins with nothing that cloud-init knows, such as #cloud-config or #!: set its contentType",
            part.name
        ),
    }
}

/// What the first line says, as cloud-init reads it: after blanks, in upper or lower case.
fn detected(content: &[u8]) -> Option<ContentType> {
    let content = content.trim_ascii_start();
    let begins =
        |with: &str| content.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with.as_bytes()));
    BEGINNINGS.iter().find(|(beginning, _)| begins(beginning)).map(|(_, content_type)| *content_type)
}

fn word(content_type: ContentType) -> &'static str {
    match content_type {
        ContentType::CloudConfig => "text/cloud-config",
        ContentType::CloudConfigArchive => "text/cloud-config-archive",
        ContentType::CloudConfigJsonp => "text/cloud-config-jsonp",
        ContentType::CloudBoothook => "text/cloud-boothook",
        ContentType::Jinja2 => "text/jinja2",
        ContentType::PartHandler => "text/part-handler",
        ContentType::IncludeUrl => "text/x-include-url",
        ContentType::IncludeOnceUrl => "text/x-include-once-url",
        ContentType::ShellScript => "text/x-shellscript",
        ContentType::ShellScriptPerBoot => "text/x-shellscript-per-boot",
        ContentType::ShellScriptPerInstance => "text/x-shellscript-per-instance",
        ContentType::ShellScriptPerOnce => "text/x-shellscript-per-once",
    }
}
