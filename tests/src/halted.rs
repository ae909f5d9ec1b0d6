//! A program of a host, stopped where it begins: what it does takes milliseconds, and who looks for it may come too late.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{Host, PATIENCE, eventually};

impl Host {
    /// Does something for which the host starts a program of `/usr/bin`, and answers with the id of that process, stopped where it begins. It
    /// goes on by SIGCONT, and others that are started later do not stop.
    ///
    /// # Errors
    /// When the host cannot be prepared for it, when what is to be done fails, or when the program is not started.
    pub fn halted<T>(&self, program: &str, cause: impl FnOnce() -> Result<T>) -> Result<u32> {
        let before: BTreeSet<u32> = self.pids(program)?.into_iter().collect();
        let place = format!("/usr/bin/{program}");
        let held = self.path(&format!("{program}.held"));
        let real = self.path(&format!("{program}.real"));
        fs::copy(&place, &real).with_context(|| format!("copy {place}"))?;
        fs::write(&held, format!("#!/bin/sh\nkill -STOP $$\nexec {} \"$@\"\n", real.display()))?;
        fs::set_permissions(&held, fs::Permissions::from_mode(0o755))?;
        self.run("mount", &["--bind", &held.display().to_string(), &place])?;
        let found = cause().and_then(|_| self.await_halted(program, &before));
        // A script that runs keeps its file busy.
        self.run("umount", &["--lazy", &place])?;
        found
    }

    fn await_halted(&self, program: &str, before: &BTreeSet<u32>) -> Result<u32> {
        let mut found = None;
        eventually(PATIENCE, || {
            let new = self.pids(program)?.into_iter().filter(|pid| !before.contains(pid));
            found = new.into_iter().find(|pid| is_stopped(*pid));
            ensure!(found.is_some(), "the host starts no {program}");
            Ok(())
        })?;
        found.context("find the program")
    }
}

fn is_stopped(pid: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains("T (stopped)"))
}
