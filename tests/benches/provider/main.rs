//! What the provider costs, beside a plain loop over libvirt's C API on the same host in the same run.
//!
//! ```text
//!   kubectl apply ─▶ API server ─▶ provider ─▶ libvirtd        measured: apply ─▶ Ready, destroy ─▶ running, resident memory
//!   plain loop ───────────────────────────────▶ libvirtd       beside it, before and after: how much the machine itself varies
//! ```
//!
//! It reports and never fails on a figure. `make bench` runs it on the release binary. Names of parts (`ready`, `cycle`, `memory`,
//! `pickup`, `upkeep`, `import`, `admission`, `observe`, `event`, `link`, `hosts`, `away`) on the command line choose among them.

mod admission;
mod away;
mod crowd;
mod cycle;
mod far;
mod import;
mod memory;
mod observe;
mod pickup;
mod plain;
mod ready;
mod stage;
mod summary;
mod upkeep;

use std::time::Instant;

use anyhow::Result;

use stage::{Driver, Stage};

fn main() -> Result<()> {
    let begun = Instant::now();
    let stage = Stage::start()?;
    println!("provider-libvirt beside a plain loop over libvirt's C API; {}\n", Stage::machine());
    // Cargo adds `--bench`.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| chosen.is_empty() || chosen.iter().any(|word| word == part);
    for driver in [Driver::Qemu, Driver::Test].into_iter().filter(|_| wanted("ready")) {
        ready::measure(&stage, driver)?;
    }
    for driver in [Driver::Qemu, Driver::Test].into_iter().filter(|_| wanted("cycle")) {
        cycle::measure(&stage, driver)?;
    }
    if wanted("memory") {
        memory::measure(&stage)?;
    }
    if wanted("pickup") {
        pickup::measure(&stage)?;
    }
    if wanted("upkeep") {
        upkeep::measure(&stage)?;
    }
    if wanted("import") {
        import::measure(&stage)?;
    }
    if wanted("admission") {
        admission::measure(&stage)?;
    }
    if wanted("observe") {
        observe::measure(&stage)?;
    }
    if wanted("event") {
        far::event(&stage)?;
    }
    if wanted("link") {
        far::link(&stage)?;
    }
    if wanted("hosts") {
        crowd::measure(&stage)?;
    }
    if wanted("away") {
        away::measure(&stage)?;
    }
    println!("took {} s; {}", begun.elapsed().as_secs(), Stage::machine());
    Ok(())
}
