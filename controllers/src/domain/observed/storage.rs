//! What a description says of a domain's disks beyond what they are, in the words of the spec: pure.

use apis::{
    domain::{ByteRates, IoTune, IopsRates},
    quantity::Quantity,
};
use libvirt::xml::Element;

use super::platform;

/// The limits of a disk.
pub(super) fn io_tune(disk: &Element) -> Option<IoTune> {
    let text = |name: &str| disk.text_at(&format!("iotune/{name}"));
    let bytes = |name: &str| text(name)?.parse().ok().filter(|rate| *rate > 0).map(Quantity::of_bytes);
    let requests = |name: &str| platform::number(text(name)?).filter(|rate| *rate > 0);
    let of_bytes = ByteRates {
        total: bytes("total_bytes_sec"),
        read: bytes("read_bytes_sec"),
        write: bytes("write_bytes_sec"),
        total_max: bytes("total_bytes_sec_max"),
        read_max: bytes("read_bytes_sec_max"),
        write_max: bytes("write_bytes_sec_max"),
    };
    let of_requests = IopsRates {
        total: requests("total_iops_sec"),
        read: requests("read_iops_sec"),
        write: requests("write_iops_sec"),
        total_max: requests("total_iops_sec_max"),
        read_max: requests("read_iops_sec_max"),
        write_max: requests("write_iops_sec_max"),
    };
    let seen = IoTune {
        bytes_per_second: (of_bytes != ByteRates::default()).then_some(of_bytes),
        iops_per_second: (of_requests != IopsRates::default()).then_some(of_requests),
    };
    (seen != IoTune::default()).then_some(seen)
}
