//! How full pools are: figures that change by themselves, so they are kept apart from what wakes anybody.

use crate::Error;
use crate::error::absent;
use crate::pool::{Pool, PoolInfo};

/// The sizes in the description of a pool that is active, which was read anyway. That of its next start tells none where it differs from
/// the one in force, and then the host is asked.
pub(super) fn sizes(pool: &Pool<'_>, text: &str) -> Result<Option<PoolInfo>, Error> {
    match told(text).filter(|told| told.capacity > 0) {
        Some(told) => Ok(Some(told)),
        None => absent(pool.info()),
    }
}

fn told(text: &str) -> Option<PoolInfo> {
    let [capacity, allocation, available] = ["capacity", "allocation", "available"].map(|name| bytes(text, name));
    Some(PoolInfo { capacity: capacity?, allocation: allocation?, available: available? })
}

/// libvirt writes them in bytes, before anything that could have elements of these names, and escapes `<` in texts.
fn bytes(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(&format!("<{name} unit='bytes'>"))?;
    rest.split_once('<')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_tells_the_three_sizes_or_none() {
        let text = "<pool type='dir'>\n  <name>p</name>\n  <capacity unit='bytes'>9</capacity>\n  \
            <allocation unit='bytes'>2</allocation>\n  <available unit='bytes'>7</available>\n</pool>";
        assert_eq!(told(text), Some(PoolInfo { capacity: 9, allocation: 2, available: 7 }));
        assert_eq!(told("<pool type='dir'><name>p</name><capacity unit='bytes'>9</capacity></pool>"), None);
    }
}
