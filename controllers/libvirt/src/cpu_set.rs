//! Sets of processors or memory nodes, as libvirt writes them: `0-3,8`, `0-7,^4`.

use std::collections::BTreeSet;
use std::fmt;

/// Numbers of processors, or of memory nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuSet(BTreeSet<u32>);

/// libvirt's own bound is smaller; a longer range is a mistake, and would only cost memory.
const LARGEST: u32 = 16_383;

impl CpuSet {
    /// Reads a list of numbers and ranges, of which `^2` takes one out again; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut set = BTreeSet::new();
        for piece in text.split(',').map(str::trim) {
            if let Some(out) = piece.strip_prefix('^') {
                set.remove(&number(out)?);
                continue;
            }
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            set.extend(first..=last);
        }
        Some(Self(set))
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has all of the other.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }

    /// The numbers, from the smallest.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// One bit a number, as libvirt's calls take it.
    pub(crate) fn bits(&self) -> Vec<u8> {
        let length = self.0.last().map_or(0, |last| last / 8 + 1);
        let mut bits = vec![0; usize::try_from(length).unwrap_or(0)];
        for number in &self.0 {
            if let Some(byte) = usize::try_from(number / 8).ok().and_then(|at| bits.get_mut(at)) {
                *byte |= 1 << (number % 8);
            }
        }
        bits
    }
}

fn number(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|number| *number <= LARGEST)
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        Self(numbers.into_iter().collect())
    }
}

/// As libvirt stores it: ranges, from the smallest.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for number in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        for (index, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_as_libvirt_stores_it_however_it_was_said() {
        let table = [
            ("0-3", "0-3"),
            ("0,1,2,3", "0-3"),
            ("3,1,0", "0-1,3"),
            ("0-7,^4", "0-3,5-7"),
            ("5", "5"),
            ("2-2", "2"),
            ("1, 2", "1-2"),
        ];
        for (said, stored) in table {
            assert_eq!(CpuSet::parse(said).map(|set| set.to_string()).as_deref(), Some(stored), "{said}");
        }
        for none in ["", "a", "3-1", "0-", "99999"] {
            assert_eq!(CpuSet::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_set_has_a_bit_for_each_number() {
        let bits = |text: &str| CpuSet::parse(text).map(|set| set.bits());
        assert_eq!(bits("0,2"), Some(vec![0b101]));
        assert_eq!(bits("9"), Some(vec![0, 0b10]));
        assert_eq!(CpuSet::default().bits(), [0; 0]);
    }
}
