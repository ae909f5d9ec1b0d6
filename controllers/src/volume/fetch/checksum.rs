//! Checksums: how they are written, how they are made, and how a list of them names one.

use std::fmt;

use apis::volume::HttpSource;
use data_encoding::HEXLOWER;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

/// The algorithms, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// MD5, which tells damage and not forgery.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Md5, Self::Sha256, Self::Sha512];

    fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// How it is made.
    pub algorithm: Algorithm,
    /// Its hexadecimal digits, in lower case.
    pub digits: String,
}

impl fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm.name(), self.digits)
    }
}

impl Checksum {
    /// What a user wrote: the digits, whose number tells the algorithm, with its name before them or without.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (named, digits) = match text.split_once(':') {
            Some((name, digits)) => (Some(name), digits),
            None => (None, text),
        };
        let found = Self::of_digits(digits)?;
        named.is_none_or(|name| name == found.algorithm.name()).then_some(found)
    }

    fn of_digits(digits: &str) -> Option<Self> {
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.digits() == digits.len())?;
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal.then(|| Self { algorithm, digits: digits.to_ascii_lowercase() })
    }

    /// The checksum that a list has for a file: the strongest. `Ok(None)` where it has none.
    ///
    /// # Errors
    /// When it has several of one algorithm.
    pub(super) fn listed(list: &str, file: &str) -> Result<Option<Self>, Ambiguous> {
        let lines = || list.lines().filter_map(Line::parse);
        let names_it = |line: &Line<'_>| line.name.map(|name| name.strip_prefix("./").unwrap_or(name)) == Some(file);
        let mut named: Vec<_> = lines().filter(names_it).map(|line| line.checksum).collect();
        if named.is_empty() && lines().count() == 1 {
            named.extend(lines().filter(|line| line.name.is_none()).map(|line| line.checksum));
        }
        let Some(strongest) = named.iter().max_by_key(|checksum| checksum.algorithm).cloned() else { return Ok(None) };
        let differs = |other: &Self| other.algorithm == strongest.algorithm && *other != strongest;
        if named.iter().any(differs) { Err(Ambiguous) } else { Ok(Some(strongest)) }
    }
}

/// A list has several checksums for one file.
pub(super) struct Ambiguous;

/// A line of a list, as `sha256sum` (`digits  name`, `digits *name`) or, with `--tag`, BSD's programs (`SHA256 (name) = digits`) write it.
struct Line<'a> {
    checksum: Checksum,
    name: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let line = line.trim();
        if let Some((name, digits)) = line.split_once(" (").and_then(|(_, rest)| rest.rsplit_once(") = ")) {
            return Some(Self { checksum: Checksum::of_digits(digits)?, name: Some(name) });
        }
        let (digits, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let name = name.trim_start();
        let name = name.strip_prefix('*').unwrap_or(name);
        Some(Self { checksum: Checksum::of_digits(digits)?, name: (!name.is_empty()).then_some(name) })
    }
}

/// A checksum that is being made.
pub(super) enum Hasher {
    Md5(Md5),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hash) => hash.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Checksum {
        let (algorithm, digits) = match self {
            Self::Md5(hash) => (Algorithm::Md5, HEXLOWER.encode(&hash.finalize())),
            Self::Sha256(hash) => (Algorithm::Sha256, HEXLOWER.encode(&hash.finalize())),
            Self::Sha512(hash) => (Algorithm::Sha512, HEXLOWER.encode(&hash.finalize())),
        };
        Checksum { algorithm, digits }
    }
}

/// Where the expected checksum is said.
pub(super) enum Said<'a> {
    Here(Checksum),
    /// In the list at this address.
    At(&'a str),
}

/// Where a source says what is expected; a sentence when it does not.
pub(super) fn said(source: &HttpSource) -> Result<Said<'_>, &'static str> {
    match (&source.checksum, &source.checksum_url) {
        (Some(text), _) => Checksum::parse(text).map(Said::Here).ok_or(
            "checksum must be 64 hexadecimal digits of SHA-256, 128 of SHA-512 or 32 of MD5, with sha256:, sha512: or md5: before them or without",
        ),
        (None, Some(url)) => Ok(Said::At(url)),
        (None, None) => Err("checksum or checksumUrl is needed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(list: &str) -> Result<Option<String>, &'static str> {
        Checksum::listed(list, "disk.img").map(|sum| sum.map(|sum| sum.to_string())).map_err(|Ambiguous| "ambiguous")
    }

    #[test]
    fn a_checksum_is_read_with_its_algorithm_before_it_or_told_by_its_length() {
        for (name, digits) in [("md5", 32), ("sha256", 64), ("sha512", 128)] {
            let (bare, all) = ("A".repeat(digits), format!("{name}:{}", "a".repeat(digits)));
            for text in [bare.clone(), format!("{name}:{bare}")] {
                assert_eq!(Checksum::parse(&text).map(|sum| sum.to_string()), Some(all.clone()), "{text}");
            }
            for text in [format!("sha1:{bare}"), format!(":{bare}"), format!("{bare}a"), "g".repeat(digits)] {
                assert_eq!(Checksum::parse(&text), None, "{text}");
            }
        }
    }

    #[test]
    fn a_list_is_read_as_the_programs_that_check_it_write_it() {
        let (one, other, long) = ("1".repeat(64), "2".repeat(64), "3".repeat(128));
        let one_of = |text: String| assert_eq!(listed(&text), Ok(Some(format!("sha256:{one}"))), "{text}");
        one_of(format!("{other}  other.img\n{one}  disk.img\n"));
        one_of(format!("{one} *disk.img\r\n{other} *disk.img.xz\r\n"));
        one_of(format!("{one}\t./disk.img"));
        one_of(format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# disk.img: 7 bytes\nSHA256 (disk.img) = {one}\nSHA256 (other.img) = {other}\n"
        ));
        one_of(format!("{one}\n"));
        one_of(format!("{one}  disk.img\n{one}  disk.img\n"));
        let strongest = format!("{one}  disk.img\n{long}  disk.img\n{}  disk.img", "4".repeat(32));
        assert_eq!(listed(&strongest), Ok(Some(format!("sha512:{long}"))));
        assert_eq!(listed(&format!("{one}  disk.img\n{other}  disk.img")), Err("ambiguous"));
        for none in
            [String::new(), format!("{one}  other.img"), format!("{one}  a/disk.img"), format!("{one}\n{other}\n")]
        {
            assert_eq!(listed(&none), Ok(None), "{none}");
        }
    }
}
