//! The provider's real binary as a process.

use std::{
    collections::HashMap,
    path::Path,
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    files::{Scratch, provider_binary},
    http,
    process::{Lifetime, Process, free_port},
    wait::eventually,
};

/// Leader election as in production, but more patient: nobody starts a provider again that has lost its lease to a busy machine.
const ELECTION: [&str; 3] = [
    "--leader-election-lease-duration=60s",
    "--leader-election-renew-deadline=50s",
    "--leader-election-retry-period=500ms",
];

/// A running provider; dropping it kills it.
#[derive(Debug)]
pub struct Provider {
    process: Process,
    metrics_port: u16,
    health_port: u16,
    // Last, so that the log's folder outlives the process.
    _scratch: Option<Scratch>,
}

impl Provider {
    /// Starts it against the API server of `kubeconfig` with additional `args`, which may say otherwise than the rig does;
    /// it is not ready yet, and may wait for another provider to end.
    ///
    /// # Errors
    /// When the binary is missing or cannot be started.
    pub fn start(kubeconfig: &Path, args: &[&str]) -> Result<Self> {
        let scratch = Scratch::new("provider")?;
        let log = scratch.path().join("log");
        let args = [&ELECTION, args].concat();
        let provider = Self::start_for(Lifetime::Owned, kubeconfig, &args, &log)?;
        Ok(Self { _scratch: Some(scratch), ..provider })
    }

    /// Like [`Self::start`], with what it writes below `place`.
    ///
    /// # Errors
    /// As there.
    pub fn start_below(place: &Path, kubeconfig: &Path, args: &[&str]) -> Result<Self> {
        let scratch = Scratch::new("provider")?;
        let mut command = Command::new(provider_binary()?);
        command.env("TMPDIR", place);
        let args = [&ELECTION, args].concat();
        let provider = Self::run(command, Lifetime::Owned, kubeconfig, &args, &scratch.path().join("log"))?;
        Ok(Self { _scratch: Some(scratch), ..provider })
    }

    /// Like [`Self::start`], for a lifetime, with its log in a file of the caller's, and with the election of production.
    ///
    /// # Errors
    /// As there.
    pub fn start_for(lifetime: Lifetime<'_>, kubeconfig: &Path, args: &[&str], log: &Path) -> Result<Self> {
        Self::run(Command::new(provider_binary()?), lifetime, kubeconfig, args, log)
    }

    fn run(mut command: Command, lifetime: Lifetime<'_>, kubeconfig: &Path, args: &[&str], log: &Path) -> Result<Self> {
        let (metrics_port, health_port) = (free_port()?, free_port()?);
        command.env("KUBECONFIG", kubeconfig);
        command.arg(format!("--metrics-bind-address=127.0.0.1:{metrics_port}"));
        command.arg(format!("--health-probe-bind-addr=127.0.0.1:{health_port}")).args(args);
        // Whoever looks for it does not know which file `PROVIDER_LIBVIRT_BIN` named when it was started.
        let process = Process::spawn_as("provider-libvirt", lifetime, &command, log)?;
        Ok(Self { process, metrics_port, health_port, _scratch: None })
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Errors
    /// When it ends or is not ready within 30 seconds, with the end of its log.
    pub fn await_ready(&mut self) -> Result<()> {
        eventually(Duration::from_mins(1), || {
            self.process.check_running()?;
            match http::get(self.health_port, "/readyz")? {
                (200, _) => Ok(()),
                (status, body) => bail!("/readyz answers {status}: {body}"),
            }
        })
        .with_context(|| format!("wait for the provider; its log:\n{}", self.log()))
    }

    /// Kills it with SIGKILL, as a lost node does.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill9(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Sends SIGTERM and returns the exit status.
    ///
    /// # Errors
    /// When it still runs after 30 seconds.
    pub fn term(mut self) -> Result<ExitStatus> {
        self.process.terminate(Duration::from_secs(30))
    }

    /// Waits until it has ended by itself, for the exit status.
    ///
    /// # Errors
    /// When it has not within this time.
    pub fn await_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.process.await_end(timeout)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Port of `/healthz` and `/readyz`.
    pub fn health_port(&self) -> u16 {
        self.health_port
    }

    /// Every sample of `/metrics` by its full name with labels, as in `calls_total{host="a"}`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn metrics(&self) -> Result<HashMap<String, f64>> {
        match http::get(self.metrics_port, "/metrics")? {
            (200, body) => Ok(parse_samples(&body)),
            (status, body) => bail!("/metrics answers {status}: {body}"),
        }
    }
}

fn parse_samples(text: &str) -> HashMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let text = "# TYPE calls counter\ncalls_total{host=\"a b\"} 3\nup 1.5\n# EOF\n";
        let wanted = HashMap::from([("calls_total{host=\"a b\"}".to_owned(), 3.0), ("up".to_owned(), 1.5)]);
        assert_eq!(parse_samples(text), wanted);
    }
}
