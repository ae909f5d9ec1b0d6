//! Child processes that end with their owner, whichever way the owner ends.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::{network, recorded};

/// How long a process lives.
#[derive(Clone, Copy, Debug)]
pub enum Lifetime<'a> {
    /// As long as its value, and never longer than this process.
    Owned,
    /// Until somebody ends it: what [`crate::Recorded`] reads is appended to this file.
    Detached(&'a Path),
}

/// A running child process; dropping it kills it, unless it was detached, and waits until it is gone.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    owned: bool,
}

impl Process {
    /// Starts `command` (its program, arguments and variables), standard output and error appended to `log`.
    ///
    /// It is in the calling thread's network. The kernel kills it when this process dies, so that a test that was killed leaves
    /// nothing behind.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(command: &Command, log: &Path) -> Result<Self> {
        Self::spawn_for(Lifetime::Owned, command, log)
    }

    /// Like [`Self::spawn`], for a lifetime.
    ///
    /// # Errors
    /// As there, and when a detached process cannot be recorded.
    pub fn spawn_for(lifetime: Lifetime<'_>, command: &Command, log: &Path) -> Result<Self> {
        let program = Path::new(command.get_program());
        let name = program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Self::spawn_as(&name, lifetime, command, log)
    }

    /// Like [`Self::spawn_for`], recorded under this name, whatever the file of the program is called.
    ///
    /// # Errors
    /// As there.
    pub fn spawn_as(name: &str, lifetime: Lifetime<'_>, command: &Command, log: &Path) -> Result<Self> {
        let (name, program) = (name.to_owned(), Path::new(command.get_program()));
        let mut wrapped = match lifetime {
            Lifetime::Owned => owned(command)?,
            Lifetime::Detached(_) => wrapped(command, &["setsid", "--"])?,
        };
        append_output(&mut wrapped, log)?;
        let child = spawn_from_lasting_thread(wrapped).with_context(|| format!("start {}", program.display()))?;
        match lifetime {
            Lifetime::Owned => Ok(Self { child, name, log: log.to_owned(), owned: true }),
            Lifetime::Detached(record) => {
                recorded::append(record, child.id(), &name)?;
                Ok(Self { child, name, log: log.to_owned(), owned: false })
            }
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// An error with the end of the log if the process has ended by itself.
    ///
    /// # Errors
    /// Then, and when its state cannot be read.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait().context("read process state")? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended with {status}; its last lines:\n{}", self.name, last_lines(&self.log(), 15))
            }
        }
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Errors
    /// When the process cannot be signalled or waited for.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).with_context(|| format!("kill {}", self.name))
    }

    /// Sends SIGTERM and waits up to `timeout` for the exit status.
    ///
    /// # Errors
    /// When the process cannot be signalled or has not ended in time.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        signal(self.pid(), Signal::TERM)?;
        self.await_end(timeout).context("send SIGTERM")
    }

    /// Waits up to `timeout` until it has ended by itself, for the exit status.
    ///
    /// # Errors
    /// When it has not.
    pub fn await_end(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("read process state")? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("{} still runs after {} s", self.name, timeout.as_secs_f32())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.owned {
            // Already ended is as good; there is nobody to tell about anything else.
            let _ = self.kill();
        }
    }
}

/// The command in the calling thread's network, and killed by the kernel when the thread that starts it ends.
pub(crate) fn owned(command: &Command) -> Result<Command> {
    wrapped(command, &["setpriv", "--pdeathsig", "KILL", "--"])
}

/// All wrappers become the program: the process id is the program's own.
fn wrapped(command: &Command, prefix: &[&str]) -> Result<Command> {
    let mut wrapped = Command::new("env");
    wrapped.args(prefix).args(network::enter_command()?).arg(command.get_program()).args(command.get_args());
    wrapped.stdin(Stdio::null()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(wrapped)
}

/// Sends a signal to a process id.
///
/// # Errors
/// When there is no such process or it may not be signalled.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let target = parse_pid(pid)?;
    kill_process(target, signal).with_context(|| format!("signal process {pid}"))
}

/// Whether a process with this id exists.
pub fn is_running(pid: u32) -> bool {
    parse_pid(pid).is_ok_and(|pid| test_kill_process(pid).is_ok())
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the error carries its standard error.
pub fn run(program: impl AsRef<Path>, args: &[&str]) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    stdout_of(&output.with_context(|| format!("start {}", program.display()))?)
        .with_context(|| format!("run {} {}", program.display(), args.join(" ")))
}

/// The standard output of a finished process, or its standard error as the error.
pub(crate) fn stdout_of(output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}

/// A TCP port of the loopback interface that nobody listens on now, another one at each call. It is none of those that the kernel gives
/// to connections (`ip_local_port_range`): one of those may be taken before whoever asked listens on it.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 15_000;
    const COUNT: u32 = 17_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two programs begin far from each other.
    let begin = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let ports = (0..COUNT).map(|step| begin.wrapping_add(step) % COUNT);
    let mut ports = ports.filter_map(|step| FIRST.checked_add(u16::try_from(step).ok()?));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("find a free port")
}

/// Sends both output streams of `command` to the end of `log`.
pub(crate) fn append_output(command: &mut Command, log: &Path) -> Result<()> {
    let open =
        || File::options().create(true).append(true).open(log).with_context(|| format!("open {}", log.display()));
    command.stdout(open()?).stderr(open()?);
    Ok(())
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join("\n")
}

fn parse_pid(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("{pid} is no process id"))
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The parent-death signal is tied to the thread that forks, and test threads come and go: so one thread, which lives as long as
/// the process, starts them all.
pub(crate) fn spawn_from_lasting_thread(command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that is gone needs no child.
                if let Err(mpsc::SendError(Ok(mut orphan))) = reply.send(command.spawn()) {
                    let _ = orphan.kill();
                }
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).map_err(|_| anyhow!("the spawning thread is gone"))?;
    Ok(answer.recv().context("hear from the spawning thread")??)
}
