//! A real Crossplane installs the package, wires its webhook, composes guests of its kinds, and takes them back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod composed;
mod installed;
mod world;
