//! What a guest's agent tells, as libvirt hands it on: a flat list of names and values.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::slice;

use virt::domain::Domain;
use virt::sys;

use super::{last_error, libc_free};
use crate::Error;

/// A value of such a list. Numbers of other widths are no part of what we read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Text, as the guest says it.
    Text(String),
    /// A count or size.
    Number(u64),
}

/// Asks the agent about these (`virDomainGuestInfoTypes`; 0 for all that it knows).
pub(crate) fn guest_info(domain: &Domain, types: u32) -> Result<Vec<(String, Told)>, Error> {
    let mut params: sys::virTypedParameterPtr = ptr::null_mut();
    let mut count = 0;
    // SAFETY: the handle is valid; libvirt fills `params` with `count` values that we free below.
    let answer = unsafe { sys::virDomainGetGuestInfo(domain.as_ptr(), types, &raw mut params, &raw mut count, 0) };
    if answer < 0 {
        return Err(last_error());
    }
    let length = usize::try_from(count).unwrap_or_default();
    if params.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: libvirt returned `length` valid values, each of the type that it says.
    let told = unsafe { slice::from_raw_parts(params, length).iter().filter_map(|param| one(param)).collect() };
    // SAFETY: the list is libvirt's, and nothing of it is kept.
    unsafe { sys::virTypedParamsFree(params, count) };
    Ok(told)
}

/// # Safety
/// `param` must be a valid value of a list that is not freed yet.
unsafe fn one(param: &sys::virTypedParameter) -> Option<(String, Told)> {
    // SAFETY: the field ends with a zero, and the type says which member of the union counts.
    unsafe {
        let name = CStr::from_ptr(param.field.as_ptr()).to_string_lossy().into_owned();
        let told = match u32::try_from(param.type_).ok()? {
            sys::VIR_TYPED_PARAM_STRING if !param.value.s.is_null() => {
                Told::Text(CStr::from_ptr(param.value.s).to_string_lossy().into_owned())
            }
            sys::VIR_TYPED_PARAM_UINT => Told::Number(u64::from(param.value.ui)),
            sys::VIR_TYPED_PARAM_ULLONG => Told::Number(param.value.ul),
            _ => return None,
        };
        Some((name, told))
    }
}

/// Sets for how many seconds libvirt waits for answers of the agent; without, it waits for ever.
pub(crate) fn set_agent_timeout(domain: &Domain, seconds: i32) -> Result<(), Error> {
    // SAFETY: the handle is valid.
    let answer = unsafe { sys::virDomainAgentSetResponseTimeout(domain.as_ptr(), seconds, 0) };
    if answer < 0 { Err(last_error()) } else { Ok(()) }
}

/// MAC and IP addresses of the domain's interfaces, as the host's neighbour table has them.
pub(crate) fn neighbours(domain: &Domain) -> Result<Vec<(String, String)>, Error> {
    let mut interfaces: *mut sys::virDomainInterfacePtr = ptr::null_mut();
    let source = sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP;
    // SAFETY: the handle is valid; libvirt fills `interfaces` with a list of `count` that we free below.
    let count = unsafe { sys::virDomainInterfaceAddresses(domain.as_ptr(), &raw mut interfaces, source, 0) };
    let Ok(length) = usize::try_from(count) else { return Err(last_error()) };
    if interfaces.is_null() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    // SAFETY: libvirt returned `length` valid interfaces, each with `naddrs` valid addresses; all of it is freed once, here.
    unsafe {
        for interface in slice::from_raw_parts(interfaces, length) {
            found.extend(addresses(*interface));
            sys::virDomainInterfaceFree(*interface);
        }
        libc_free(interfaces.cast());
    }
    Ok(found)
}

/// # Safety
/// `interface` must be valid.
unsafe fn addresses(interface: sys::virDomainInterfacePtr) -> Vec<(String, String)> {
    // SAFETY: by contract; texts end with a zero.
    unsafe {
        let text = |text: *const c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
        let length = usize::try_from((*interface).naddrs).unwrap_or_default();
        if (*interface).hwaddr.is_null() || (*interface).addrs.is_null() {
            return Vec::new();
        }
        let mac = text((*interface).hwaddr);
        let known = slice::from_raw_parts((*interface).addrs, length).iter().filter(|address| !address.addr.is_null());
        known.map(|address| (mac.clone(), text(address.addr))).collect()
    }
}
