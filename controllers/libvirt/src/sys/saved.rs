//! The description that is kept with a saved guest, which `virt` does not bind.

use std::ffi::{CStr, c_char, c_uint};

use virt::domain::Domain;
use virt::sys;

use super::{last_error, libc_free};
use crate::Error;

unsafe extern "C" {
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainManagedSaveGetXMLDesc>, of libvirt 3.7 and later.
    fn virDomainManagedSaveGetXMLDesc(domain: sys::virDomainPtr, flags: c_uint) -> *mut c_char;
}

/// Fails when the domain was not saved.
pub(crate) fn saved_description(domain: &Domain) -> Result<String, Error> {
    // SAFETY: the handle is valid.
    let text = unsafe { virDomainManagedSaveGetXMLDesc(domain.as_ptr(), 0) };
    if text.is_null() {
        return Err(last_error());
    }
    // SAFETY: libvirt gave a terminated string, which is ours to free.
    let copied = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: as above, and it is not used any more.
    unsafe { libc_free(text.cast()) };
    Ok(copied)
}
