//! libvirt's event loop: one per process, registered before the first connection opens, run for ever by one thread.
//!
//! Each call over a connection takes its socket out of the loop and puts it back. libvirt's own loop looks at every socket and every timer
//! each time, which with a hundred hosts is most of what the provider does at rest; this one is told by the kernel which of them is ready.

mod table;

use std::sync::Once;
use std::thread;

pub(crate) use table::{Table, Watch};

use crate::sys::EventLoop;

static STARTED: Once = Once::new();

/// Starts the loop, the first time only. Without it there are neither events nor keepalive, and a call to a stopped daemon
/// hangs for ever.
pub(crate) fn start() {
    STARTED.call_once(|| {
        // libvirt prints every error to standard error unless told otherwise.
        virt::error::clear_error_callback();
        let events = match EventLoop::register() {
            Ok(events) => events,
            Err(error) => {
                tracing::error!(%error, "register the libvirt event loop");
                return;
            }
        };
        if let Err(error) = thread::Builder::new().name("lv-events".into()).spawn(|| events.run()) {
            tracing::error!(%error, "start the libvirt event loop");
        }
    });
}
