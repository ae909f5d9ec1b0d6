//! The reconciler's outcome table: for each situation what is written, in which order, what the conditions say and when it goes on.
//! The situations are those of crossplane-runtime's managed reconciler (`pkg/reconciler/managed/reconciler.go`) and this provider's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod deletion;
mod fake;
mod rig;
mod rows;
mod runner;
mod secret;
mod server;
mod trouble;
mod upkeep;
mod usages;
