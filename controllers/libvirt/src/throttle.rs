//! What is changed on a running domain by figures, in libvirt's vocabulary.

use std::ffi::CStr;

use crate::sys;
use crate::xml::Element;
use virt::sys as names;

/// Every limit that a disk can have, by the name that it has in a description and in a call; 0 stands for none.
const LIMITS: [(&str, &CStr); 12] = [
    ("total_bytes_sec", names::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC),
    ("read_bytes_sec", names::VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC),
    ("write_bytes_sec", names::VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC),
    ("total_bytes_sec_max", names::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX),
    ("read_bytes_sec_max", names::VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX),
    ("write_bytes_sec_max", names::VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX),
    ("total_iops_sec", names::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC),
    ("read_iops_sec", names::VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC),
    ("write_iops_sec", names::VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC),
    ("total_iops_sec_max", names::VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX),
    ("read_iops_sec_max", names::VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX),
    ("write_iops_sec_max", names::VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX),
];

/// The limits of a disk, all of them: libvirt changes what belongs together only together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTune([u64; LIMITS.len()]);

impl BlockTune {
    /// Those that a disk's description has.
    pub fn of(disk: &Element) -> Self {
        let figure = |name: &str| disk.text_at(&format!("iotune/{name}")).and_then(|text| text.trim().parse().ok());
        Self(LIMITS.map(|(name, _)| figure(name).unwrap_or_default()))
    }

    fn figures(&self) -> Vec<(&'static CStr, u64)> {
        LIMITS.iter().zip(self.0).map(|((_, name), figure)| (*name, figure)).collect()
    }
}

impl crate::Domain<'_> {
    /// Sets all limits of a disk, which is named by its target.
    pub fn set_block_tune(&self, disk: &str, tune: &BlockTune, affect: crate::Affect) -> Result<(), crate::Error> {
        self.counted(crate::Call::DomainSetBlockIoTune, |domain| {
            sys::set_block_io_tune(domain, disk, &tune.figures(), affect.flags())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_disk_are_all_told_and_those_it_has_not_are_none() {
        let tune = "<disk><iotune><read_bytes_sec>5</read_bytes_sec><read_bytes_sec_max>7</read_bytes_sec_max>\
                    <total_iops_sec>9</total_iops_sec></iotune></disk>";
        assert_eq!(BlockTune::of(&Element::parse(tune).unwrap()), BlockTune([0, 5, 0, 0, 7, 0, 9, 0, 0, 0, 0, 0]));
        assert_eq!(BlockTune::of(&Element::new("disk")), BlockTune([0; 12]));
    }
}
