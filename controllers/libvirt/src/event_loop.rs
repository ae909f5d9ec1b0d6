//! libvirt's event loop: one per process, registered before the first connection opens, run for ever by one thread.

use std::sync::Once;
use std::thread;
use std::time::Duration;

static STARTED: Once = Once::new();

/// Starts the loop, the first time only. Without it there are neither events nor keepalive, and a call to a stopped daemon
/// hangs for ever.
pub(crate) fn start() {
    STARTED.call_once(|| {
        // libvirt prints every error to standard error unless told otherwise.
        virt::error::clear_error_callback();
        if let Err(error) = virt::event::event_register_default_impl() {
            tracing::error!(%error, "register the libvirt event loop");
            return;
        }
        if let Err(error) = thread::Builder::new().name("lv-events".into()).spawn(run) {
            tracing::error!(%error, "start the libvirt event loop");
        }
    });
}

/// A timer keeps the loop from sleeping for good when no descriptor is registered yet; adding a descriptor wakes it anyway.
fn run() {
    let _timer = virt::event::event_add_timeout(60_000, |_, _| {}, std::ptr::null_mut());
    loop {
        if let Err(error) = virt::event::event_run_default_impl() {
            tracing::warn!(%error, "run the libvirt event loop");
            thread::sleep(Duration::from_millis(100));
        }
    }
}
