//! Callbacks: domain, network and pool events, and the close of a connection.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use virt::connect::Connect;
use virt::sys;

use super::last_error;
use crate::Error;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CloseReason {
    /// A read or write failed.
    Error,
    /// The daemon closed it.
    Eof,
    /// The daemon did not answer keepalive messages.
    Keepalive,
    /// We closed it.
    Client,
}

/// A callback that is registered; it says how to take it back.
pub(crate) struct Registration(Callback);

enum Callback {
    Domain(c_int),
    Network(c_int),
    Pool(c_int),
    Close,
}

impl Registration {
    /// Takes the callback back. Must come before the connection's last reference goes, else it is never closed.
    pub(crate) fn remove(self, connect: &Connect) {
        // SAFETY: the ids came from registering on this connection, and each is taken back once.
        unsafe {
            match self.0 {
                Callback::Domain(id) => sys::virConnectDomainEventDeregisterAny(connect.as_ptr(), id),
                Callback::Network(id) => sys::virConnectNetworkEventDeregisterAny(connect.as_ptr(), id),
                Callback::Pool(id) => sys::virConnectStoragePoolEventDeregisterAny(connect.as_ptr(), id),
                Callback::Close => sys::virConnectUnregisterCloseCallback(connect.as_ptr(), Some(closed)),
            };
        }
    }
}

/// What a callback's opaque pointer points to. Events of objects send the UUID: what happened is read from the host anyway.
struct Context<E> {
    send: Box<dyn Fn(E) + Send + Sync>,
}

type ObjectContext = Context<String>;
type CloseContext = Context<CloseReason>;

unsafe extern "C" fn free_context<C>(opaque: *mut c_void) {
    // SAFETY: libvirt calls this once for the pointer that `Box::into_raw` gave it.
    drop(unsafe { Box::from_raw(opaque.cast::<C>()) });
}

/// Registers for every kind of domain event that matters. A kind an older daemon does not know is left out; lifecycle events
/// must be there.
pub(crate) fn on_domain_events<F>(connect: &Connect, send: F) -> Result<Vec<Registration>, Error>
where
    F: Fn(String) + Clone + Send + Sync + 'static,
{
    let mut registrations = Vec::new();
    for (id, callback) in domain_callbacks() {
        let context = Box::into_raw(Box::new(ObjectContext { send: Box::new(send.clone()) })).cast();
        let free = Some(free_context::<ObjectContext> as unsafe extern "C" fn(*mut c_void));
        let id = c_int::try_from(id).unwrap_or(c_int::MAX);
        // SAFETY: the callback has the signature libvirt documents for this event id; the context is an `ObjectContext`.
        let number = unsafe {
            let all = ptr::null_mut();
            sys::virConnectDomainEventRegisterAny(connect.as_ptr(), all, id, callback, context, free)
        };
        // SAFETY: on failure libvirt does not free the context.
        match registered(number, Callback::Domain, || unsafe { free_context::<ObjectContext>(context) }) {
            Ok(registration) => registrations.push(registration),
            Err(error) if registrations.is_empty() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(registrations)
}

/// Event ids with the callbacks of their signatures; lifecycle first.
fn domain_callbacks() -> [(u32, sys::virConnectDomainEventGenericCallback); 12] {
    [
        (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, cast(domain_two_numbers as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_REBOOT, Some(domain_plain)),
        (sys::VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, cast(domain_io_error as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, cast(domain_pointer_number as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, cast(domain_pointer as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, cast(domain_pointer_two_numbers as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_TUNABLE, cast(domain_pointer_number as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, cast(domain_two_numbers as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, cast(domain_pointer as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, cast(domain_pointer_number as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, cast(domain_pointer as *const ())),
        (sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, cast(domain_number_pointer as *const ())),
    ]
}

/// libvirt takes every callback as the generic one and calls it by its event id's own signature (its `VIR_DOMAIN_EVENT_CALLBACK`).
#[allow(clippy::unnecessary_wraps, reason = "it is the type libvirt's bindings want")]
fn cast(callback: *const ()) -> sys::virConnectDomainEventGenericCallback {
    // SAFETY: a function pointer of one signature kept as another and called by libvirt with the right one.
    Some(unsafe {
        std::mem::transmute::<*const (), unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void)>(
            callback,
        )
    })
}

unsafe extern "C" fn domain_plain(_: sys::virConnectPtr, domain: sys::virDomainPtr, opaque: *mut c_void) {
    // SAFETY: libvirt passes the domain of the event and our context.
    unsafe { notify(domain, opaque) }
}

unsafe extern "C" fn domain_two_numbers(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: as above.
    unsafe { notify(domain, opaque) };
    0
}

unsafe extern "C" fn domain_pointer(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { notify(domain, opaque) }
}

unsafe extern "C" fn domain_pointer_number(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_void,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { notify(domain, opaque) }
}

unsafe extern "C" fn domain_pointer_two_numbers(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { notify(domain, opaque) }
}

unsafe extern "C" fn domain_number_pointer(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { notify(domain, opaque) }
}

unsafe extern "C" fn domain_io_error(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _: *const c_char,
    _: *const c_char,
    _: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as above.
    unsafe { notify(domain, opaque) }
}

/// # Safety
/// `domain` must be valid and `opaque` a live [`ObjectContext`].
unsafe fn notify(domain: sys::virDomainPtr, opaque: *mut c_void) {
    // SAFETY: by contract.
    unsafe { send_uuid(opaque, |buffer| sys::virDomainGetUUIDString(domain, buffer)) }
}

/// # Safety
/// `opaque` must be a live [`ObjectContext`].
unsafe fn send_uuid(opaque: *mut c_void, fill: impl FnOnce(*mut c_char) -> c_int) {
    // SAFETY: by contract; the context lives until `freecb`.
    let context = unsafe { &*opaque.cast::<ObjectContext>() };
    if let Some(uuid) = read_uuid(fill) {
        send(context, uuid);
    }
}

/// A panic must not cross into C.
fn send<E>(context: &Context<E>, event: E) {
    let _ = catch_unwind(AssertUnwindSafe(|| (context.send)(event)));
}

/// Lets libvirt write a UUID and reads it.
fn read_uuid(fill: impl FnOnce(*mut c_char) -> c_int) -> Option<String> {
    let mut buffer: [c_char; 37] = [0; 37];
    if fill(buffer.as_mut_ptr()) < 0 {
        return None;
    }
    // SAFETY: libvirt wrote 36 characters and a terminator.
    Some(unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy().into_owned())
}

/// Registers for network lifecycle events.
pub(crate) fn on_network_events<F>(connect: &Connect, send: F) -> Result<Registration, Error>
where
    F: Fn(String) + Send + Sync + 'static,
{
    let context = Box::into_raw(Box::new(ObjectContext { send: Box::new(send) })).cast();
    // SAFETY: event id 0 has the signature of `network_lifecycle`; the transmute is libvirt's VIR_NETWORK_EVENT_CALLBACK.
    let number = unsafe {
        let callback = std::mem::transmute::<
            *const (),
            unsafe extern "C" fn(sys::virConnectPtr, sys::virNetworkPtr, *mut c_void),
        >(network_lifecycle as *const ());
        let free = Some(free_context::<ObjectContext> as unsafe extern "C" fn(*mut c_void));
        sys::virConnectNetworkEventRegisterAny(connect.as_ptr(), ptr::null_mut(), 0, Some(callback), context, free)
    };
    // SAFETY: on failure libvirt does not free the context.
    registered(number, Callback::Network, || unsafe { free_context::<ObjectContext>(context) })
}

fn registered(number: c_int, kind: fn(c_int) -> Callback, free: impl FnOnce()) -> Result<Registration, Error> {
    if number >= 0 {
        return Ok(Registration(kind(number)));
    }
    let error = last_error();
    free();
    Err(error)
}

unsafe extern "C" fn network_lifecycle(
    _: sys::virConnectPtr,
    network: sys::virNetworkPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt passes the network of the event and our context.
    unsafe { send_uuid(opaque, |buffer| sys::virNetworkGetUUIDString(network, buffer)) }
}

/// Registers for pool lifecycle and refresh events.
pub(crate) fn on_pool_events<F>(connect: &Connect, send: F) -> Result<Vec<Registration>, Error>
where
    F: Fn(String) + Clone + Send + Sync + 'static,
{
    let callbacks = [(0, pool_lifecycle as *const ()), (1, pool_plain as *const ())];
    callbacks.into_iter().map(|(id, callback)| on_pool_event(connect, id, callback, send.clone())).collect()
}

fn on_pool_event<F>(connect: &Connect, id: c_int, callback: *const (), send: F) -> Result<Registration, Error>
where
    F: Fn(String) + Send + Sync + 'static,
{
    let context = Box::into_raw(Box::new(ObjectContext { send: Box::new(send) })).cast();
    // SAFETY: the callback has the signature of this event id; the transmute is libvirt's VIR_STORAGE_POOL_EVENT_CALLBACK.
    let number = unsafe {
        let callback = std::mem::transmute::<
            *const (),
            unsafe extern "C" fn(sys::virConnectPtr, sys::virStoragePoolPtr, *mut c_void),
        >(callback);
        let free = Some(free_context::<ObjectContext> as unsafe extern "C" fn(*mut c_void));
        sys::virConnectStoragePoolEventRegisterAny(connect.as_ptr(), ptr::null_mut(), id, Some(callback), context, free)
    };
    // SAFETY: on failure libvirt does not free the context.
    registered(number, Callback::Pool, || unsafe { free_context::<ObjectContext>(context) })
}

unsafe extern "C" fn pool_lifecycle(
    _: sys::virConnectPtr,
    pool: sys::virStoragePoolPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: libvirt passes the pool of the event and our context.
    unsafe { send_uuid(opaque, |buffer| sys::virStoragePoolGetUUIDString(pool, buffer)) }
}

unsafe extern "C" fn pool_plain(_: sys::virConnectPtr, pool: sys::virStoragePoolPtr, opaque: *mut c_void) {
    // SAFETY: as above.
    unsafe { send_uuid(opaque, |buffer| sys::virStoragePoolGetUUIDString(pool, buffer)) }
}

/// Registers for the end of the connection.
pub(crate) fn on_close<F>(connect: &Connect, send: F) -> Result<Registration, Error>
where
    F: Fn(CloseReason) + Send + Sync + 'static,
{
    let context = Box::into_raw(Box::new(CloseContext { send: Box::new(send) })).cast();
    let free = Some(free_context::<CloseContext> as unsafe extern "C" fn(*mut c_void));
    // SAFETY: `closed` has the documented signature and the context is a `CloseContext`.
    let number = unsafe { sys::virConnectRegisterCloseCallback(connect.as_ptr(), Some(closed), context, free) };
    // SAFETY: on failure libvirt does not free the context.
    registered(number, |_| Callback::Close, || unsafe { free_context::<CloseContext>(context) })
}

unsafe extern "C" fn closed(_: sys::virConnectPtr, reason: c_int, opaque: *mut c_void) {
    // SAFETY: libvirt passes our context.
    let context = unsafe { &*opaque.cast::<CloseContext>() };
    let reason = match reason {
        0 => CloseReason::Error,
        2 => CloseReason::Keepalive,
        3 => CloseReason::Client,
        _ => CloseReason::Eof,
    };
    send(context, reason);
}
