//! Lists of handles. What libvirt answers as their length is the host's own word, which `virt` believes: of a host that says more than it
//! sends, memory of others would be read, and one such host would end the provider for all hosts. libvirt itself ends each list with a null
//! pointer.

use std::ffi::c_int;
use std::ptr;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::network::Network;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::sys;

use super::{last_error, libc_free};
use crate::Error;

/// The domains that these flags (`virConnectListAllDomainsFlags`) choose.
pub(crate) fn all_domains(connect: &Connect, flags: u32) -> Result<Vec<Domain>, Error> {
    let mut list = ptr::null_mut();
    // SAFETY: the connection is open; libvirt fills the list, whose handles are ours.
    unsafe {
        let count = sys::virConnectListAllDomains(connect.as_ptr(), &raw mut list, flags);
        taken(list, count, |handle| Domain::from_ptr(handle))
    }
}

/// The networks that these flags (`virConnectListAllNetworksFlags`) choose.
pub(crate) fn all_networks(connect: &Connect, flags: u32) -> Result<Vec<Network>, Error> {
    let mut list = ptr::null_mut();
    // SAFETY: as for the domains.
    unsafe {
        let count = sys::virConnectListAllNetworks(connect.as_ptr(), &raw mut list, flags);
        taken(list, count, |handle| Network::from_ptr(handle))
    }
}

/// The pools that these flags (`virConnectListAllStoragePoolsFlags`) choose.
pub(crate) fn all_pools(connect: &Connect, flags: u32) -> Result<Vec<StoragePool>, Error> {
    let mut list = ptr::null_mut();
    // SAFETY: as for the domains.
    unsafe {
        let count = sys::virConnectListAllStoragePools(connect.as_ptr(), &raw mut list, flags);
        taken(list, count, |handle| StoragePool::from_ptr(handle))
    }
}

/// The volumes of a pool.
pub(crate) fn all_volumes(pool: &StoragePool) -> Result<Vec<StorageVol>, Error> {
    let mut list = ptr::null_mut();
    // SAFETY: as for the domains.
    unsafe {
        let count = sys::virStoragePoolListAllVolumes(pool.as_ptr(), &raw mut list, 0);
        taken(list, count, |handle| StorageVol::from_ptr(handle))
    }
}

/// What a list holds, which goes; or the error where the count is one.
///
/// # Safety
/// `list` must be null or from libvirt, which allocated it and ended it with a null pointer, and nobody else may own what it holds.
pub(super) unsafe fn taken<P, T>(
    list: *mut *mut P,
    count: c_int,
    mut own: impl FnMut(*mut P) -> T,
) -> Result<Vec<T>, Error> {
    if count < 0 {
        return Err(last_error());
    }
    if list.is_null() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    // SAFETY: by contract; nothing is read behind the null pointer, and the array is from malloc.
    unsafe {
        let mut at = list;
        while !(*at).is_null() {
            all.push(own(*at));
            at = at.add(1);
        }
        libc_free(list.cast());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;

    use super::*;

    unsafe extern "C" {
        fn calloc(count: usize, size: usize) -> *mut c_void;
    }

    #[test]
    fn a_list_ends_where_it_ends_whatever_the_host_says_of_its_length() {
        for count in [0, 2, 64, c_int::MAX] {
            let mut values = [7_u8, 8];
            let [one, other] = &mut values;
            // SAFETY: room for two pointers and the null pointer behind them, which `taken` frees.
            let held = unsafe {
                let list = calloc(3, size_of::<*mut u8>()).cast::<*mut u8>();
                *list = one;
                *list.add(1) = other;
                taken(list, count, |value| *value)
            };
            assert_eq!(held.unwrap(), [7, 8], "{count}");
        }
    }
}
