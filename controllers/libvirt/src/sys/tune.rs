//! Parameters of a running domain by name, and what `virt` does not bind of I/O threads.

use std::ffi::{CStr, c_int, c_uchar};
use std::ptr;

use virt::domain::Domain;
use virt::sys;

use super::last_error;
use crate::Error;

/// A value of the type that libvirt wants for a parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// `unsigned int`.
    Unsigned(u32),
    /// `long long`.
    Long(i64),
    /// `unsigned long long`.
    UnsignedLong(u64),
}

/// Which parameters they are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Family {
    /// Of the scheduler.
    Scheduler,
    /// Of memory.
    Memory,
    /// Of the host's disks.
    BlockIo,
}

/// A list of parameters that libvirt allocated.
pub(crate) struct Parameters {
    list: sys::virTypedParameterPtr,
    count: c_int,
    room: c_int,
}

impl Parameters {
    /// A list of these.
    pub(crate) fn of(numbers: &[(&CStr, Number)]) -> Result<Self, Error> {
        let mut parameters = Self { list: ptr::null_mut(), count: 0, room: 0 };
        for (name, number) in numbers {
            parameters.add(name, *number)?;
        }
        Ok(parameters)
    }

    fn add(&mut self, name: &CStr, number: Number) -> Result<(), Error> {
        let (list, count, room, name) = (&raw mut self.list, &raw mut self.count, &raw mut self.room, name.as_ptr());
        // SAFETY: the three describe one list, which only these functions change; the name lives for the call, which copies it.
        let added = unsafe {
            match number {
                Number::Unsigned(value) => sys::virTypedParamsAddUInt(list, count, room, name, value),
                Number::Long(value) => sys::virTypedParamsAddLLong(list, count, room, name, value),
                Number::UnsignedLong(value) => sys::virTypedParamsAddULLong(list, count, room, name, value),
            }
        };
        done(added)
    }
}

impl Drop for Parameters {
    fn drop(&mut self) {
        // SAFETY: libvirt allocated the list with so many parameters, and nobody uses it any more; freeing none is allowed.
        unsafe { sys::virTypedParamsFree(self.list, self.count) };
    }
}

/// Sets parameters of a domain.
pub(crate) fn set_parameters(
    domain: &Domain,
    family: Family,
    parameters: &Parameters,
    flags: u32,
) -> Result<(), Error> {
    let (list, count) = (parameters.list, parameters.count);
    // SAFETY: the handle is valid, and the list has so many parameters; libvirt only reads them.
    done(unsafe {
        let domain = domain.as_ptr();
        match family {
            Family::Scheduler => sys::virDomainSetSchedulerParametersFlags(domain, list, count, flags),
            Family::Memory => sys::virDomainSetMemoryParameters(domain, list, count, flags),
            Family::BlockIo => sys::virDomainSetBlkioParameters(domain, list, count, flags),
        }
    })
}

/// Sets parameters of an interface of a domain.
pub(crate) fn set_interface_parameters(
    domain: &Domain,
    interface: &CStr,
    parameters: &Parameters,
    flags: u32,
) -> Result<(), Error> {
    let (list, count, interface) = (parameters.list, parameters.count, interface.as_ptr());
    // SAFETY: the handle is valid, the name lives for the call, and the list has so many parameters; libvirt only reads them.
    done(unsafe { sys::virDomainSetInterfaceParameters(domain.as_ptr(), interface, list, count, flags) })
}

/// Lets an I/O thread run on these processors only.
pub(crate) fn pin_iothread(domain: &Domain, thread: u32, bits: &[u8], flags: u32) -> Result<(), Error> {
    let length = c_int::try_from(bits.len()).map_err(|_| Error::other("too many processors"))?;
    let map: *const c_uchar = bits.as_ptr();
    // SAFETY: the handle is valid; the map has so many bytes, and libvirt only reads them.
    done(unsafe { sys::virDomainPinIOThread(domain.as_ptr(), thread, map.cast_mut(), length, flags) })
}

/// Adds an I/O thread, or takes one away.
pub(crate) fn change_iothread(domain: &Domain, thread: u32, add: bool, flags: u32) -> Result<(), Error> {
    // SAFETY: the handle is valid.
    done(unsafe {
        if add {
            sys::virDomainAddIOThread(domain.as_ptr(), thread, flags)
        } else {
            sys::virDomainDelIOThread(domain.as_ptr(), thread, flags)
        }
    })
}

fn done(answer: c_int) -> Result<(), Error> {
    if answer < 0 { Err(last_error()) } else { Ok(()) }
}
