//! The comparison of a guest's CPU with what a hypervisor can give, which `virt` does not bind.

use std::ffi::{CString, c_char, c_int, c_uint};
use std::ptr;

use virt::connect::Connect;
use virt::sys;

use super::last_error;
use crate::offers::Sort;
use crate::{Error, Kind};

unsafe extern "C" {
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virConnectCompareHypervisorCPU>, of libvirt 4.4 and later.
    fn virConnectCompareHypervisorCPU(
        connect: sys::virConnectPtr,
        emulator: *const c_char,
        arch: *const c_char,
        machine: *const c_char,
        virttype: *const c_char,
        xml: *const c_char,
        flags: c_uint,
    ) -> c_int;
}

/// Fails with libvirt's sentence when the host cannot give a guest of this sort the CPU that this XML describes.
pub(crate) fn compare_hypervisor_cpu(connect: &Connect, sort: &Sort, cpu: &str) -> Result<(), Error> {
    let terminated =
        |text: &str| CString::new(text).map_err(|_| Error::new(Kind::Rejected, "a name holds a zero byte"));
    let optional = |text: &Option<String>| text.as_deref().map(terminated).transpose();
    let names = [&sort.emulator, &sort.arch, &sort.machine, &sort.domain_type];
    let names = names.into_iter().map(optional).collect::<Result<Vec<_>, _>>()?;
    let cpu = terminated(cpu)?;
    let name = |index: usize| names.get(index).and_then(Option::as_ref).map_or(ptr::null(), |name| name.as_ptr());
    let flags = sys::VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE;
    // SAFETY: the connection is open, and every string is null or terminated and lives for the call.
    let compared = unsafe {
        virConnectCompareHypervisorCPU(connect.as_ptr(), name(0), name(1), name(2), name(3), cpu.as_ptr(), flags)
    };
    if compared < 0 { Err(last_error()) } else { Ok(()) }
}
