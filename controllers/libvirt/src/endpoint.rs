//! Where a host is, what lets in there, and how patient to be with it.

mod access;
mod dial;
mod door;
mod folder;
mod ssh;
mod uri;

use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

pub use access::{Access, Login, Ssh, Tls};
pub(crate) use dial::Dial;
pub(crate) use door::Door;
pub use folder::{leave, sweep};
pub use ssh::called_as;
pub use uri::{Address, Transport};

use crate::Error;
use crate::connection::Keepalive;
use crate::error::Kind;

/// A checked connection URI and what lets in there. Only what [`Address::parse`] lets through reaches libvirt, whose own URI
/// parameters can start programs on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Address,
    access: Arc<Access>,
}

/// How patient to be with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For opening the connections, both together.
    pub connect_timeout: Duration,
    /// For each of the mirror's own calls; callers bring their own.
    pub call_timeout: Duration,
    /// Seconds of silence before the host is asked whether it is there.
    pub keepalive_interval: u32,
    /// How many times as long the answer may take.
    pub keepalive_count: u32,
    /// How often the mirror looks at everything, for what has no events.
    pub poll: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(30),
            keepalive_interval: 5,
            keepalive_count: 3,
            poll: Duration::from_mins(1),
        }
    }
}

impl Settings {
    /// When the host counts as silent.
    pub(crate) fn keepalive(&self) -> Keepalive {
        Keepalive { interval: self.keepalive_interval.max(1), count: self.keepalive_count.max(1) }
    }
}

impl Endpoint {
    /// A host that lets in whoever asks.
    pub fn parse(uri: &str) -> Result<Self, Error> {
        Self::new(Address::parse(uri)?, Access::default())
    }

    /// A host of the test driver in this process, with the state in this file. Not for files that others name: what is in one that is no
    /// description is told as an error.
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        Self::new(Address::of_file(path), Access::default())
    }

    /// A host and what lets in there.
    ///
    /// # Errors
    /// When the way there needs something that is missing.
    pub fn new(address: Address, access: Access) -> Result<Self, Error> {
        let refused = |why: &str| Error::new(Kind::Rejected, format!("{address} cannot be used: {why}"));
        match address.transport() {
            Transport::InProcess | Transport::Unix | Transport::Tcp => {}
            Transport::Tls if access.tls.is_none() => {
                return Err(refused("the Secret has no ca.crt, by which the host is known"));
            }
            Transport::Tls => {}
            Transport::Ssh => check_ssh(&address, &access).map_err(refused)?,
        }
        Ok(Self { address, access: Arc::new(access) })
    }

    /// The same over a connection that libvirt lets change nothing.
    #[must_use]
    pub fn reading(self) -> Self {
        let access = Access { read_only: true, ..Access::clone(&self.access) };
        Self { access: Arc::new(access), ..self }
    }

    /// A word that is another one for another URI or other credentials, and tells nothing of them. It is so in this process only.
    pub fn fingerprint(&self) -> u64 {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        KEY.hash_one(self)
    }

    /// The URI as it was given, without credentials by construction.
    pub fn uri(&self) -> &str {
        self.address.uri()
    }

    /// Where the host is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What lets in there.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the driver runs in this process, where connections cannot be lost.
    pub(crate) fn is_in_process(&self) -> bool {
        self.address.transport() == Transport::InProcess
    }
}

fn check_ssh(address: &Address, access: &Access) -> Result<(), &'static str> {
    let login = access.login.as_ref().map(|login| login.user.as_str()).filter(|user| !user.is_empty());
    match (address.user(), login) {
        (None, None) => {
            return Err(
                "nobody says as whom to log in: write qemu+ssh://user@host/system, or set username in the Secret",
            );
        }
        (None, Some(user)) if !uri::is_user(user) => return Err("username in the Secret is no name of a user"),
        (Some(_), _) | (None, Some(_)) => {}
    }
    let Some(ssh) = &access.ssh else {
        return Err("the Secret has neither ssh-privatekey nor password");
    };
    if ssh.key.is_none() && access.login.as_ref().is_none_or(|login| login.password.is_empty()) {
        return Err("the Secret has neither ssh-privatekey nor password");
    }
    if ssh.known_hosts.is_none() && !ssh.any_host {
        return Err(
            "the Secret has no known_hosts, by which the host is known; ssh-keyscan writes such lines, to be compared with the host's own",
        );
    }
    Ok(())
}
