//! Processes that outlive who started them, found again by a record of them.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::{process::signal, wait::eventually};

/// A detached process as it was recorded.
///
/// The start time is part of it: process ids are used again, and a stranger must not be killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The name it was recorded under: mostly the file name of the program.
    pub name: String,
    pid: u32,
    started: String,
}

impl Recorded {
    /// Every process in a record that still runs; none if there is no record.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn read(record: &Path) -> Result<Vec<Self>> {
        if !record.exists() {
            return Ok(Vec::new());
        }
        let text = fs::read_to_string(record).with_context(|| format!("read {}", record.display()))?;
        Ok(text.lines().filter_map(Self::parse).filter(Self::is_running).collect())
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        start_time(self.pid).is_some_and(|started| started == self.started)
    }

    /// Sends a signal and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be signalled or is still there after `timeout`.
    pub fn stop(&self, how: Signal, timeout: Duration) -> Result<()> {
        if !self.is_running() {
            return Ok(());
        }
        signal(self.pid, how)?;
        eventually(timeout, || if self.is_running() { bail!("{} still runs", self.name) } else { Ok(()) })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (pid, started, name) = (words.next()?.parse().ok()?, words.next()?.to_owned(), words.next()?.to_owned());
        Some(Self { name, pid, started })
    }
}

/// Adds a process to a record.
pub(crate) fn append(record: &Path, pid: u32, name: &str) -> Result<()> {
    let started = start_time(pid).with_context(|| format!("find {name} right after its start"))?;
    let mut file = File::options().create(true).append(true).open(record).context("open the record of processes")?;
    writeln!(file, "{pid} {started} {name}").context("record a process")
}

/// Clock ticks between boot and the start of a process: field 22 of its stat line, counted after the name, which may hold spaces.
/// `None` if there is no such process, or only its unread exit status.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    (state != "Z").then(|| fields.nth(18).map(ToOwned::to_owned)).flatten()
}
