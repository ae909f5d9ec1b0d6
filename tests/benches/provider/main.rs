//! What the provider costs, beside a plain loop over libvirt's C API on the same host in the same run.
//!
//! ```text
//!   kubectl apply ─▶ API server ─▶ provider ─▶ libvirtd        measured: apply ─▶ Ready, destroy ─▶ running, resident memory
//!   plain loop ───────────────────────────────▶ libvirtd       beside it, before and after: how much the machine itself varies
//! ```
//!
//! It reports and never fails on a figure. `make bench` runs it on the release binary.

mod cycle;
mod memory;
mod plain;
mod ready;
mod stage;
mod summary;

use std::time::Instant;

use anyhow::Result;

use stage::{Driver, Stage};

fn main() -> Result<()> {
    let begun = Instant::now();
    let stage = Stage::start()?;
    println!("provider-libvirt beside a plain loop over libvirt's C API; {}\n", stage.machine());
    for driver in [Driver::Qemu, Driver::Test] {
        ready::measure(&stage, driver)?;
    }
    for driver in [Driver::Qemu, Driver::Test] {
        cycle::measure(&stage, driver)?;
    }
    memory::measure(stage)?;
    println!("took {} s", begun.elapsed().as_secs());
    Ok(())
}
