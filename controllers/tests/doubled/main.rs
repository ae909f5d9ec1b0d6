//! Reconcilers against a host in memory, libvirt's own test driver, with every call on it counted and faults on the way: what is asked and
//! written in each case, to the call. The API server is in memory too; all between them is what production runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod counts;
mod events;
mod faults;
mod partial;
mod rig;
#[path = "../../managed/tests/reconcile/server.rs"]
#[allow(dead_code, reason = "the reconciler's own tests ask more of it")]
mod server;
