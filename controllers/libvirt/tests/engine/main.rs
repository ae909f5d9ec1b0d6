//! The drift engine, from text to text: XML, wishes, rules, diff and overlay, on descriptions that libvirt 9.0 wrote.
//!
//! `BLESS=1` rewrites the golden files; each holds the differences found and the lines an overlay changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails says so by panicking")]

mod cases;
mod domains;
mod golden;
mod networks;
mod paths;
mod properties;
mod sources;
mod table;
mod units;
mod xml;
