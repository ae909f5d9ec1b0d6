//! The safe face of what the `virt` crate lacks: handles whose drop cannot panic, events, bulk state, leases.
//!
//! This is the only place of the workspace with `unsafe`. What holds everywhere below:
//! - a pointer libvirt hands to a callback is valid during the callback only, so callbacks copy and send;
//! - a callback's context is a leaked `Box`, given back by the `freecb` that libvirt calls once the callback cannot run any more;
//! - what libvirt allocates for us is freed by the function its documentation names.

#![allow(unsafe_code)]

mod all;
mod block;
mod cpu;
mod event;
mod event_loop;
mod guest;
mod handle;
mod list;
mod open;
mod saved;
mod throttle;
mod tune;

pub(crate) use all::{all_domains, all_networks, all_pools, all_volumes};
pub(crate) use block::block_physical;
pub(crate) use cpu::compare_hypervisor_cpu;
pub(crate) use event::{CloseReason, Registration, on_close, on_domain_events, on_network_events, on_pool_events};
pub(crate) use event_loop::EventLoop;
pub(crate) use guest::{Told, guest_info, neighbours, set_agent_timeout};
pub(crate) use handle::{Owned, abort_stream, finish_stream};
pub use list::Lease;
pub(crate) use list::{all_domain_states, dhcp_leases, domain_state};
pub(crate) use open::open;
pub(crate) use saved::saved_description;
pub(crate) use throttle::set_block_io_tune;
pub(crate) use tune::{
    Family, Number, Parameters, change_iothread, pin_iothread, set_interface_parameters, set_parameters,
};

/// The error of the libvirt call this thread has just made.
fn last_error() -> crate::Error {
    virt::error::Error::last_error().into()
}

unsafe extern "C" {
    /// The C library's `free`: libvirt documents it for arrays that it allocates.
    #[link_name = "free"]
    fn libc_free(pointer: *mut std::ffi::c_void);
}
