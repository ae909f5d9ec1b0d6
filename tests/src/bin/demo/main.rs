//! The demo: `examples/quickstart/` on this machine's libvirt.
//!
//! ```text
//! up    state → control plane → image server → provider → objects → wait → report     leaves everything running
//! down  objects deleted through the API → processes ended → the host looked at → state removed
//! ```
//!
//! Everything is recorded in one folder of the cache, so that `up` on a running demo only checks it, and `down` finds it all.

mod down;
mod host;
mod objects;
mod stage;
mod up;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use tests::{ImageServer, Manners, cache};

fn main() -> ExitCode {
    match obey() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the backtrace that anyhow's own printing adds: the reader wants the reason.
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey() -> Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up"] => up::up(&State::new()?),
        ["down"] => down::down(&State::new()?),
        ["serve", port, file] => serve(port.parse().context("read the port")?, Path::new(file)),
        _ => bail!("use: demo up | demo down"),
    }
}

/// Serves the guest's disk until it is ended: one of the demo's own processes.
fn serve(port: u16, file: &Path) -> Result<()> {
    let server = ImageServer::start_on(port)?;
    println!("{}", server.serve(IMAGE, file, Manners::Good));
    loop {
        std::thread::park();
    }
}

/// The name of the guest's disk on the image server.
const IMAGE: &str = "guest.qcow2";

/// The demo's folder, and the clock of this run.
#[derive(Debug)]
struct State {
    folder: PathBuf,
    began: Instant,
}

impl State {
    fn new() -> Result<Self> {
        Ok(Self { folder: cache()?.join("demo"), began: Instant::now() })
    }

    /// A file or folder in the demo's folder.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Prints one line of progress.
    fn say(&self, line: &str) {
        println!("demo {:6.1}s  {line}", self.began.elapsed().as_secs_f32());
    }
}
