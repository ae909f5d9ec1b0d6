//! Calls that take typed parameters.

use std::ffi::{CStr, CString, c_int};
use std::ptr;

use virt::domain::Domain;
use virt::sys;

use super::last_error;
use crate::Error;

/// A list of typed parameters, freed when it goes.
struct Params {
    list: sys::virTypedParameterPtr,
    length: c_int,
    room: c_int,
}

impl Params {
    fn of(figures: &[(&CStr, u64)]) -> Result<Self, Error> {
        let mut params = Self { list: ptr::null_mut(), length: 0, room: 0 };
        for (name, figure) in figures {
            let Self { list, length, room } = &mut params;
            // SAFETY: libvirt grows the list that these three describe, and copies the name, which lives for the call.
            if unsafe { sys::virTypedParamsAddULLong(list, length, room, name.as_ptr(), *figure) } < 0 {
                return Err(last_error());
            }
        }
        Ok(params)
    }
}

impl Drop for Params {
    fn drop(&mut self) {
        // SAFETY: the list is one that libvirt made, or null, and is not used again.
        unsafe { sys::virTypedParamsFree(self.list, self.length) }
    }
}

/// Sets limits of a disk, which is named by its target. Those not named stay.
pub(crate) fn set_block_io_tune(
    domain: &Domain,
    disk: &str,
    figures: &[(&CStr, u64)],
    flags: u32,
) -> Result<(), Error> {
    let disk = CString::new(disk).map_err(|_| Error::other("a disk's name has a zero byte".to_owned()))?;
    let params = Params::of(figures)?;
    // SAFETY: the handle is valid; name and list live for the call, which does not keep them.
    let done =
        unsafe { sys::virDomainSetBlockIoTune(domain.as_ptr(), disk.as_ptr(), params.list, params.length, flags) };
    if done < 0 { Err(last_error()) } else { Ok(()) }
}
