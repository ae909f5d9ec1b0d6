//! The ssh program, with settings of its own for each host. libvirt starts what its URI names, with arguments of its own that say
//! nothing of known hosts or passwords (9.0). So it is given this program itself by another name, in the folder with the settings:
//!
//! ```text
//! libvirt ─► FOLDER/ssh -p 22 -l root … host     = this program ─► ssh -F FOLDER/config -p 22 -l root … host
//!                                                                    └─► FOLDER/askpass = this program ─► FOLDER/password
//! ```
//! No shell is needed, and no password is in an argument or in the environment.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::{Endpoint, Ssh, dial};
use crate::Error;

/// The names that this program has in the folder.
pub(super) const SSH: &str = "ssh";
const ASKPASS: &str = "askpass";
/// The files beside.
const CONFIG: &str = "config";
const PASSWORD: &str = "password";

/// How long an ssh program tries to reach its host. Who waits for it may have given it up before.
const PATIENCE: &str = "60";

/// Writes what the ssh program goes by.
pub(super) fn write(folder: &Path, endpoint: &Endpoint, ssh: &Ssh) -> Result<(), Error> {
    let Ssh { key, known_hosts, any_host } = ssh;
    let path = |name: &str| format!("\"{}\"", folder.join(name).display());
    let known = if *any_host { "/dev/null".to_owned() } else { path("known_hosts") };
    let mut config = format!(
        "UserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking {}\nUpdateHostKeys no\n\
         IdentityAgent none\nIdentitiesOnly yes\nClearAllForwardings yes\nConnectTimeout {PATIENCE}\n\
         ServerAliveInterval 10\nServerAliveCountMax 3\nLogLevel ERROR\n",
        if *any_host { "no" } else { "yes" }
    );
    dial::write(folder, "known_hosts", known_hosts.as_deref().unwrap_or_default())?;
    if let Some(key) = key {
        dial::write(folder, "key", key)?;
        config.extend(["IdentityFile ", &path("key"), "\nPreferredAuthentications publickey\nBatchMode yes\n"]);
    } else {
        let login = endpoint.access.login.as_ref();
        dial::write(folder, PASSWORD, login.map(|login| login.password.as_bytes()).unwrap_or_default())?;
        // libvirt itself says BatchMode on the command line, which counts before this file: see `become_ssh`.
        config.push_str("PreferredAuthentications password,keyboard-interactive\nNumberOfPasswordPrompts 1\n");
    }
    dial::write(folder, CONFIG, config.as_bytes())?;
    let this = env::current_exe().map_err(|error| Error::other(format!("cannot find this program: {error}")))?;
    for name in [SSH, ASKPASS] {
        let made = symlink(&this, folder.join(name));
        made.map_err(|error| Error::other(format!("cannot write {name} for the connection to the host: {error}")))?;
    }
    Ok(())
}

/// Does what this program does under another name, if it was started by one: `None` if it was not.
pub fn called_as(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let name = args.next()?;
    let path = Path::new(&name);
    let folder = path.parent().filter(|folder| folder.is_absolute())?;
    match path.file_name()?.to_str()? {
        SSH if folder.join(CONFIG).is_file() => Some(become_ssh(folder, args)),
        ASKPASS if folder.join(PASSWORD).is_file() => Some(tell_password(folder)),
        _ => None,
    }
}

fn become_ssh(folder: &Path, args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut ssh = Command::new("ssh");
    if folder.join(PASSWORD).is_file() {
        // The first that is said counts: nobody is asked by a terminal, and this program is.
        ssh.args(["-o", "BatchMode=no"]);
        ssh.env("SSH_ASKPASS", folder.join(ASKPASS)).env("SSH_ASKPASS_REQUIRE", "force");
    }
    let error = ssh.arg("-F").arg(folder.join(CONFIG)).args(args).exec();
    // libvirt reads this as the reason.
    eprintln!("ssh cannot be started: {error}");
    ExitCode::FAILURE
}

fn tell_password(folder: &Path) -> ExitCode {
    let told = fs::read(folder.join(PASSWORD)).and_then(|password| {
        let mut out = std::io::stdout();
        out.write_all(&password)?;
        out.write_all(b"\n")
    });
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
