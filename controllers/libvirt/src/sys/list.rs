//! Bulk reads whose results `virt` leaks or does not bind.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::ptr;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::network::Network;
use virt::sys;

use super::all::taken;
use super::{Owned, last_error};
use crate::Error;

/// One domain of the bulk state list.
pub(crate) struct DomainRow {
    /// A handle of its own, which knows name, UUID and running id without a call.
    pub(crate) handle: Owned<Domain>,
    /// `virDomainState`.
    pub(crate) state: u32,
    /// The reason, whose meaning depends on the state.
    pub(crate) reason: u32,
}

/// State and reason of every domain of the host, in one call.
pub(crate) fn all_domain_states(connect: &Connect) -> Result<Vec<DomainRow>, Error> {
    let mut records: *mut sys::virDomainStatsRecordPtr = ptr::null_mut();
    // SAFETY: the connection is open; libvirt fills `records` with a list that we free below.
    let count =
        unsafe { sys::virConnectGetAllDomainStats(connect.as_ptr(), sys::VIR_DOMAIN_STATS_STATE, &raw mut records, 0) };
    if count < 0 {
        return Err(last_error());
    }
    if records.is_null() {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    // SAFETY: libvirt returned valid records and a null pointer behind them; each row takes a domain reference of its own before the list
    // goes.
    unsafe {
        let mut at = records;
        while !(*at).is_null() {
            rows.push(row(*at));
            at = at.add(1);
        }
        sys::virDomainStatsRecordListFree(records);
    }
    Ok(rows)
}

/// # Safety
/// `record` must be a valid record of a list that is not freed yet.
unsafe fn row(record: sys::virDomainStatsRecordPtr) -> DomainRow {
    // SAFETY: by contract; the reference taken here is the one the handle owns.
    unsafe {
        sys::virDomainRef((*record).dom);
        DomainRow {
            handle: Owned::new(Domain::from_ptr((*record).dom)),
            state: param(record, c"state.state"),
            reason: param(record, c"state.reason"),
        }
    }
}

/// # Safety
/// As for [`row`].
unsafe fn param(record: sys::virDomainStatsRecordPtr, name: &CStr) -> u32 {
    let mut value: c_int = 0;
    // SAFETY: by contract; libvirt writes `value` only when the parameter is there and an int.
    unsafe { sys::virTypedParamsGetInt((*record).params, (*record).nparams, name.as_ptr(), &raw mut value) };
    u32::try_from(value).unwrap_or(0)
}

/// State and reason of one domain. (`virt`'s own `state` hides the error.)
pub(crate) fn domain_state(domain: &Domain) -> Result<(u32, u32), Error> {
    let (mut state, mut reason): (c_int, c_int) = (0, 0);
    // SAFETY: the handle is valid and both pointers live for the call.
    if unsafe { sys::virDomainGetState(domain.as_ptr(), &raw mut state, &raw mut reason, 0) } < 0 {
        return Err(last_error());
    }
    Ok((u32::try_from(state).unwrap_or(0), u32::try_from(reason).unwrap_or(0)))
}

/// One DHCP lease. Its expiry is left out on purpose: it changes by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// The client's MAC address, lower case; may be empty for IPv6.
    pub mac: String,
    /// The address given.
    pub ip: String,
    /// Length of the network prefix in bits.
    pub prefix: u32,
    /// The name the client sent.
    pub hostname: Option<String>,
}

/// The current leases of a network, sorted.
pub(crate) fn dhcp_leases(network: &Network) -> Result<Vec<Lease>, Error> {
    let mut list: *mut sys::virNetworkDHCPLeasePtr = ptr::null_mut();
    // SAFETY: the handle is valid; libvirt fills `list` with leases that are each read once and freed, then the array.
    let mut leases = unsafe {
        let count = sys::virNetworkGetDHCPLeases(network.as_ptr(), ptr::null(), &raw mut list, 0);
        taken(list, count, |lease| {
            let read = read_lease(&*lease);
            sys::virNetworkDHCPLeaseFree(lease);
            read
        })?
    };
    leases.sort();
    Ok(leases)
}

/// # Safety
/// The lease must be one libvirt has filled.
unsafe fn read_lease(lease: &sys::_virNetworkDHCPLease) -> Lease {
    // SAFETY: by contract every string is null or terminated.
    unsafe {
        Lease {
            mac: text(lease.mac).unwrap_or_default().to_ascii_lowercase(),
            ip: text(lease.ipaddr).unwrap_or_default(),
            prefix: lease.prefix,
            hostname: text(lease.hostname),
        }
    }
}

/// # Safety
/// `chars` must be null or a terminated string.
unsafe fn text(chars: *const c_char) -> Option<String> {
    // SAFETY: by contract.
    (!chars.is_null()).then(|| unsafe { CStr::from_ptr(chars) }.to_string_lossy().into_owned())
}

const _: () = assert!(size_of::<c_uint>() == 4);
