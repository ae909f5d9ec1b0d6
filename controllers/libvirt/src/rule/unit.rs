//! Units and their normal forms: two spellings of one value are equal.

use std::fmt;
use std::net::IpAddr;

use crate::CpuSet;

/// What a value is a spelling of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Text, surrounding white space aside.
    Text,
    /// No value of its own: an element with content.
    Element,
    /// A size with a `unit` attribute beside it, KiB if there is none; libvirt rounds up to whole KiB.
    Kibibytes,
    /// A size with a `unit` attribute beside it, bytes if there is none.
    Bytes,
    /// A whole number, decimal or hexadecimal with `0x`.
    Number,
    /// A permission mode in octal.
    OctalMode,
    /// `yes` and `on` are one, `no` and `off` too.
    YesNo,
    /// A path of the host; doubled and trailing slashes do not count.
    Path,
    /// A MAC address; case and separators do not count.
    Mac,
    /// An IP address in any spelling.
    Ip,
    /// A machine type; `q35` has become `pc-q35-7.2` once libvirt stored it.
    MachineAlias,
    /// Processors or memory nodes by their numbers; `0,1,2` is `0-2`.
    CpuSet,
    /// A limit of processor time in microseconds; -1 is none.
    CpuQuota,
    /// The period of such a limit in microseconds; 100000 is what counts where none is said.
    CpuPeriod,
    /// Compared, and never shown.
    Secret,
    /// A value of which nobody here knows what it is: equal numbers are equal, in decimal or hexadecimal, and sizes with their `unit`s.
    Unknown,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Element => "element",
            Self::Kibibytes => "KiB",
            Self::Bytes => "bytes",
            Self::Number => "number",
            Self::OctalMode => "octal mode",
            Self::YesNo => "yes or no",
            Self::Path => "path",
            Self::Mac => "MAC",
            Self::Ip => "IP",
            Self::MachineAlias => "machine alias",
            Self::CpuSet => "processors",
            Self::CpuQuota => "quota in µs",
            Self::CpuPeriod => "period in µs",
            Self::Secret => "secret",
            Self::Unknown => "unknown",
        })
    }
}

impl Unit {
    pub(crate) fn is_size(self) -> bool {
        matches!(self, Self::Kibibytes | Self::Bytes)
    }

    /// The `unit` attribute a normal form of this size is written with.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Kibibytes => "KiB",
            Self::Bytes => "bytes",
            _ => "",
        }
    }

    /// The number or text all spellings of a value share; the value itself where it is malformed.
    pub(crate) fn normal(self, value: &str, scale: Option<&str>) -> String {
        let value = value.trim();
        let normal = match self {
            Self::Text | Self::Element | Self::Secret | Self::MachineAlias => None,
            Self::Kibibytes => bytes(value, scale.unwrap_or("KiB")).map(|bytes| bytes.div_ceil(1024).to_string()),
            Self::Bytes => bytes(value, scale.unwrap_or("bytes")).map(|bytes| bytes.to_string()),
            Self::CpuSet => CpuSet::parse(value).map(|set| set.to_string()),
            Self::CpuQuota => value.parse::<i64>().ok().map(|micros| micros.to_string()),
            Self::Number | Self::CpuPeriod => number(value).map(|number| number.to_string()),
            Self::Unknown => match scale {
                Some(scale) => bytes(value, scale).map(|bytes| format!("{bytes} bytes")),
                None => number(value).map(|number| number.to_string()),
            },
            Self::OctalMode => u32::from_str_radix(value, 8).ok().map(|mode| format!("{mode:04o}")),
            Self::YesNo => yes_no(value).map(str::to_owned),
            Self::Path => Some(host_path(value)),
            Self::Mac => Some(value.to_ascii_lowercase().replace('-', ":")),
            Self::Ip => value.parse::<IpAddr>().ok().map(|address| address.to_string()),
        };
        normal.unwrap_or_else(|| value.to_owned())
    }

    /// The normal form as a person reads it.
    pub(crate) fn shown(self, value: &str, scale: Option<&str>) -> String {
        match self {
            Self::Secret => "(hidden)".to_owned(),
            Self::Kibibytes | Self::Bytes => format!("{} {}", self.normal(value, scale), self.suffix()),
            _ => self.normal(value, scale),
        }
    }

    /// Whether the value says what its absence says: a running guest keeps what a limit was lifted with.
    pub(crate) fn is_nothing(self, value: &str) -> bool {
        match self {
            Self::CpuQuota => value.trim().starts_with('-'),
            Self::CpuPeriod => value.trim() == "100000",
            _ => false,
        }
    }

    /// Whether what libvirt has is what is wished.
    pub(crate) fn equal(self, want: &str, want_scale: Option<&str>, have: &str, have_scale: Option<&str>) -> bool {
        let (want, have) = (self.normal(want, want_scale), self.normal(have, have_scale));
        want == have || (self == Self::MachineAlias && is_alias(&want, &have))
    }
}

/// libvirt's own reading of sizes (`virScaleInteger`): `k` and `KiB` are 1024, `KB` is 1000.
fn bytes(value: &str, scale: &str) -> Option<u128> {
    let lower = scale.to_ascii_lowercase();
    let (letter, rest) = match lower.as_str() {
        "" | "b" | "byte" | "bytes" => return value.parse::<u64>().ok().map(u128::from),
        other => (other.chars().next()?, other.get(1..)?),
    };
    let base: u128 = match rest {
        "" | "ib" => 1024,
        "b" => 1000,
        _ => return None,
    };
    let power = u32::try_from("kmgtpe".find(letter)?).ok()? + 1;
    Some(u128::from(value.parse::<u64>().ok()?) * base.pow(power))
}

fn number(value: &str) -> Option<u64> {
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => value.parse().ok(),
    }
}

fn yes_no(value: &str) -> Option<&'static str> {
    match value {
        "yes" | "on" | "true" | "1" => Some("yes"),
        "no" | "off" | "false" | "0" => Some("no"),
        _ => None,
    }
}

pub(crate) fn host_path(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars() {
        if !(c == '/' && out.ends_with('/')) {
            out.push(c);
        }
    }
    if out.len() > 1 && out.ends_with('/') {
        out.pop();
    }
    out
}

/// Whether libvirt writes the machine type `have` for the alias `want`: `pc` is `pc-i440fx-7.2`, `virt` is `virt-7.2`.
fn is_alias(want: &str, have: &str) -> bool {
    // Enterprise distributions have versions of their own, as in pc-q35-rhel9.2.0.
    let versioned = |prefix: &str| {
        have.strip_prefix(prefix).is_some_and(|rest| {
            rest.strip_prefix("rhel").unwrap_or(rest).starts_with(|first: char| first.is_ascii_digit())
        })
    };
    match want {
        "pc" => versioned("pc-i440fx-"),
        other => versioned(&format!("{other}-")) || versioned(&format!("pc-{other}-")),
    }
}
