//! Reading what a guest says on its serial console.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use crate::{process::last_lines, wait::eventually};

/// The file a guest's serial console is written to.
#[derive(Clone, Debug)]
pub struct Console {
    log: PathBuf,
}

impl Console {
    /// The console with this log, which need not exist yet.
    pub fn new(log: PathBuf) -> Self {
        Self { log }
    }

    /// The log's path.
    pub fn path(&self) -> &Path {
        &self.log
    }

    /// What the test guest has said, without the `TINY: ` in front and without what firmware and kernel wrote.
    /// A line that is still being written has not been said yet.
    pub fn lines(&self) -> Vec<String> {
        let text = self.text();
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.filter_map(|line| Some(line.split_once("TINY: ")?.1.trim_end().to_owned())).collect()
    }

    /// Waits for a line of the test guest that begins with `start`, and returns the last such line.
    ///
    /// # Errors
    /// After `timeout`, with the end of the log.
    pub fn wait_for_line(&self, start: &str, timeout: Duration) -> Result<String> {
        self.wait_for_nth(start, 1, timeout)
    }

    /// Waits until `count` lines begin with `start`, as after a reboot, and returns the last.
    ///
    /// # Errors
    /// After `timeout`, with the end of the log.
    pub fn wait_for_nth(&self, start: &str, count: usize, timeout: Duration) -> Result<String> {
        let found = eventually(timeout, || {
            let all: Vec<_> = self.lines().into_iter().filter(|line| line.starts_with(start)).collect();
            let enough = all.len() >= count;
            all.into_iter().next_back().filter(|_| enough).ok_or_else(|| anyhow!("the guest has not said '{start}'"))
        });
        found.with_context(|| format!("the end of {}:\n{}", self.log.display(), last_lines(&self.text(), 15)))
    }

    /// The content of a seed file as the guest read it the last time, `None` if it saw none.
    pub fn seed_file(&self, name: &str) -> Option<String> {
        let lines = self.lines();
        let begin = lines.iter().rposition(|line| *line == format!("seed-begin {name}"))?;
        let rest = lines.get(begin + 1..)?;
        let end = rest.iter().position(|line| *line == format!("seed-end {name}"))?;
        // A line that is empty has lost the space behind its bar.
        Some(
            rest.get(..end)?
                .iter()
                .filter_map(|line| Some(line.strip_prefix('|')?.trim_start_matches(' ')))
                .fold(String::new(), |text, line| text + line + "\n"),
        )
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}
