//! What is said of an object before it is stored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod rule;
mod texts;
mod world;
