//! Sizes, durations and item names: the small types with a pattern of their own.

use std::{borrow::Cow, fmt, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A size in bytes with an optional suffix: `Ki Mi Gi Ti Pi` (powers of 1024) or `k M G T P` (powers of 1000).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl Quantity {
    /// How sizes are written, for `kubectl explain`: the description of a field stands in place of that of its type.
    pub const WRITTEN: &str =
        "Written as bytes, or with Ki, Mi, Gi, Ti, Pi (powers of 1024) or k, M, G, T, P (powers of 1000).";

    const PATTERN: &str = "^[0-9]+(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$";

    /// Whether a schema of this pattern is that of a size.
    pub(crate) fn is_pattern(pattern: &str) -> bool {
        pattern == Self::PATTERN
    }

    /// The size in bytes; an error names the value when it is not a size or does not fit 63 bits (sizes are signed in libvirt's XML tools).
    pub fn bytes(&self) -> Result<u64, String> {
        let text = self.0.as_str();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, suffix) = text.split_at(split);
        let factor: u64 = match suffix {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "P" => 1_000_000_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            "Pi" => 1 << 50,
            _ => {
                return Err(format!(
                    "{text:?} is not a size: use a whole number with Ki, Mi, Gi, Ti, Pi, k, M, G, T, P or nothing"
                ));
            }
        };
        let number: u64 =
            digits.parse().map_err(|_| format!("{text:?} is not a size: it does not start with a whole number"))?;
        number
            .checked_mul(factor)
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .ok_or_else(|| format!("{text:?} is larger than libvirt can address"))
    }

    /// The size in KiB, rounded up as libvirt does.
    pub fn kibibytes(&self) -> Result<u64, String> {
        Ok(self.bytes()?.div_ceil(1024))
    }

    /// Writes a number of bytes with the largest binary suffix that divides it.
    pub fn of_bytes(bytes: u64) -> Self {
        let suffixes = ["Ki", "Mi", "Gi", "Ti", "Pi"];
        let (mut number, mut suffix) = (bytes, "");
        for next in suffixes {
            if number == 0 || number % 1024 != 0 {
                break;
            }
            (number, suffix) = (number / 1024, next);
        }
        Self(format!("{number}{suffix}"))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A size.",
            "pattern": Self::PATTERN,
            "maxLength": 20,
        })
    }
}

/// A length of time as Go writes it: `90s`, `1m30s`, `500ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub String);

impl Span {
    /// Writes a number of microseconds, in milliseconds or seconds.
    pub fn of_micros(micros: u64) -> Self {
        if micros > 0 && micros.is_multiple_of(1_000_000) {
            return Self(format!("{}s", micros / 1_000_000));
        }
        let parts = format!("{}.{:03}", micros / 1_000, micros % 1_000);
        Self(format!("{}ms", parts.trim_end_matches('0').trim_end_matches('.')))
    }

    /// The span in whole microseconds; an error as of [`Self::duration`].
    pub fn micros(&self) -> Result<u64, String> {
        // A fraction that no binary number has exactly comes out a little beside it.
        Ok(u64::try_from((self.duration()?.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX))
    }

    /// The span as a duration; an error names the value when it is none.
    pub fn duration(&self) -> Result<Duration, String> {
        parse_span(&self.0).ok_or_else(|| format!("{:?} is not a duration: write it like 30s, 1m30s or 500ms", self.0))
    }
}

/// Reads a Go duration of hours, minutes, seconds and milliseconds. None when it is not one.
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 0.000_001,
            "ns" => 0.000_000_001,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    // Longer than anyone waits; beyond it, sums with other times would overflow.
    Some(total.min(Duration::from_hours(24 * 365)))
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A duration such as 30s, 1m30s or 500ms.",
            "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$",
            "maxLength": 32,
        })
    }
}

/// Processors or memory nodes of the host by their numbers, as libvirt writes them: `0-3,8`, `0-7,^4`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuSet(pub String);

impl JsonSchema for CpuSet {
    fn schema_name() -> Cow<'static, str> {
        "CpuSet".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Numbers and ranges, such as 0-3,8; ^2 takes one out of a range before it.",
            "pattern": "^[0-9]{1,4}(-[0-9]{1,4})?(,([0-9]{1,4}(-[0-9]{1,4})?|\\^[0-9]{1,4}))*$",
            "maxLength": 255,
        })
    }
}

/// The name of a list item. It becomes part of libvirt's device alias, which drops other characters silently.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemName(pub String);

impl fmt::Display for ItemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for ItemName {
    fn schema_name() -> Cow<'static, str> {
        "ItemName".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The name of this item, unique in its list: lower-case letters, digits and dashes.",
            "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
            "maxLength": 63,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Result<u64, String> {
        Quantity(text.to_owned()).bytes()
    }

    #[test]
    fn sizes_are_read_with_binary_and_decimal_suffixes() {
        assert_eq!(bytes("512Mi"), Ok(512 << 20));
        assert_eq!(bytes("1G"), Ok(1_000_000_000));
        assert_eq!(bytes("42"), Ok(42));
        assert_eq!(Quantity("1G".to_owned()).kibibytes(), Ok(976_563));
    }

    #[test]
    fn a_size_that_overflows_or_is_none_is_refused_by_name() {
        assert_eq!(
            bytes("9223372036854775808"),
            Err("\"9223372036854775808\" is larger than libvirt can address".to_owned())
        );
        assert_eq!(bytes("99999999999999999999Ki").map_err(|e| e.contains("99999999999999999999Ki")), Err(true));
        assert!(bytes("lots").is_err());
        assert!(bytes("1gi").is_err());
    }

    #[test]
    fn bytes_are_written_with_the_largest_suffix_that_divides_them() {
        assert_eq!(Quantity::of_bytes(3 << 30).0, "3Gi");
        assert_eq!(Quantity::of_bytes(1536 << 10).0, "1536Ki");
        assert_eq!(Quantity::of_bytes(1000).0, "1000");
        assert_eq!(Quantity::of_bytes(0).0, "0");
    }

    #[test]
    fn microseconds_are_written_so_that_they_are_read_back() {
        let table = [(1_000, "1ms"), (1_000_000, "1s"), (12_345, "12.345ms"), (1_500_000, "1500ms"), (100, "0.1ms")];
        for (micros, text) in table {
            assert_eq!(Span::of_micros(micros).0, text);
            assert_eq!(Span(text.to_owned()).micros(), Ok(micros));
        }
        assert_eq!(Span::of_micros(0).0, "0ms");
    }

    #[test]
    fn spans_are_read_as_go_writes_them() {
        assert_eq!(parse_span("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_span("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_span("1.5h"), Some(Duration::from_mins(90)));
        assert_eq!(parse_span(""), None);
        assert_eq!(parse_span("30"), None);
        assert_eq!(parse_span("-5s"), None);
    }
}
