//! A real Crossplane installs the package, activates its kinds, wires its webhook, composes guests out of them, and takes all of it back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod activated;
mod composed;
mod installed;
mod world;
