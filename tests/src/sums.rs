//! Checksums of files, by the programs that users have for it.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::process::run;

/// The SHA-256 of a file, in hexadecimal digits.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(file: impl AsRef<Path>) -> Result<String> {
    sum("sha256sum", file)
}

/// The checksum that a program of the family of `sha256sum` prints of a file.
///
/// # Errors
/// When it cannot be started or fails.
pub fn sum(program: &str, file: impl AsRef<Path>) -> Result<String> {
    let printed = run(program, &[&file.as_ref().display().to_string()])?;
    Ok(printed.split(' ').next().context("read the checksum")?.to_owned())
}
