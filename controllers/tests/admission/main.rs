//! What is said of an object before it is stored, and how it is served.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod authority;
mod certificates;
mod crowded;
mod further;
mod manifest;
mod protocol;
mod rule;
mod served;
mod texts;
mod world;
