//! Handles that are freed without a panic.

use std::mem::ManuallyDrop;
use std::ops::Deref;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::network::Network;
use virt::secret::Secret;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt::sys;

/// A `virt` handle whose drop frees the libvirt reference and ignores the answer: `virt`'s own drop panics when the free
/// fails, which a lost connection can make it do.
pub(crate) struct Owned<T: Freed>(ManuallyDrop<T>);

impl<T: Freed> Owned<T> {
    pub(crate) fn new(handle: T) -> Self {
        Self(ManuallyDrop::new(handle))
    }
}

impl<T: Freed> Deref for Owned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Freed> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the wrapped handle owns one reference and is never used again; its own drop never runs.
        unsafe { self.0.free() }
    }
}

/// A handle kind that libvirt can free.
pub(crate) trait Freed {
    /// Gives the reference back.
    ///
    /// # Safety
    /// The handle must own a reference and must not be used or dropped afterwards.
    unsafe fn free(&self);
}

impl Freed for Connect {
    unsafe fn free(&self) {
        // SAFETY: by the contract of the trait.
        unsafe { sys::virConnectClose(self.as_ptr()) };
    }
}

impl Freed for Domain {
    unsafe fn free(&self) {
        // SAFETY: by the contract of the trait.
        unsafe { sys::virDomainFree(self.as_ptr()) };
    }
}

impl Freed for Network {
    unsafe fn free(&self) {
        // SAFETY: by the contract of the trait.
        unsafe { sys::virNetworkFree(self.as_ptr()) };
    }
}

impl Freed for StoragePool {
    unsafe fn free(&self) {
        // SAFETY: by the contract of the trait.
        unsafe { sys::virStoragePoolFree(self.as_ptr()) };
    }
}

impl Freed for StorageVol {
    unsafe fn free(&self) {
        // SAFETY: by the contract of the trait.
        unsafe { sys::virStorageVolFree(self.as_ptr()) };
    }
}

impl Freed for Secret {
    unsafe fn free(&self) {
        // SAFETY: by the contract of the trait.
        unsafe { sys::virSecretFree(self.as_ptr()) };
    }
}

impl Freed for Stream {
    unsafe fn free(&self) {
        // SAFETY: by the contract of the trait; no event callback is ever set on our streams.
        unsafe { sys::virStreamFree(self.as_ptr()) };
    }
}

/// Ends a stream well; `virt`'s own `finish` frees it with a drop that can panic.
pub(crate) fn finish_stream(stream: &Stream) -> Result<(), crate::Error> {
    // SAFETY: the handle is valid.
    if unsafe { sys::virStreamFinish(stream.as_ptr()) } < 0 { Err(super::last_error()) } else { Ok(()) }
}

/// Ends a stream whatever its state.
pub(crate) fn abort_stream(stream: &Stream) {
    // SAFETY: the handle is valid. A failure means that it has ended already.
    unsafe { sys::virStreamAbort(stream.as_ptr()) };
}
