//! What a connection is opened with. libvirt reads certificates and keys from files: they are in a folder of their own for each
//! host, for nobody else to read.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use super::folder::Folder;
use super::{Access, Endpoint, Login, Ssh, Tls, Transport, ssh};
use crate::Error;

/// What a connection is opened with, for as long as its host is in use.
#[derive(Debug)]
pub(crate) struct Dial {
    uri: String,
    transport: Transport,
    access: Arc<Access>,
    /// Removed with all that is in it when this goes.
    folder: Option<Folder>,
}

impl Dial {
    /// Writes what the way to the host needs.
    pub(crate) fn of(endpoint: &Endpoint) -> Result<Self, Error> {
        let Endpoint { address, access } = endpoint;
        match (address.transport(), &access.tls, &access.ssh) {
            (Transport::Tls, Some(tls), _) => Self::tls(endpoint, tls),
            (Transport::Ssh, _, Some(ssh)) => Self::ssh(endpoint, ssh),
            (Transport::InProcess | Transport::Unix | Transport::Tcp | Transport::Tls | Transport::Ssh, _, _) => {
                Ok(Self::new(endpoint, address.uri().to_owned(), None))
            }
        }
    }

    /// The URI for libvirt, with the parameters that lead to the files.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    fn new(endpoint: &Endpoint, uri: String, folder: Option<Folder>) -> Self {
        let Endpoint { address, access } = endpoint;
        Self { uri, transport: address.transport(), access: Arc::clone(access), folder }
    }

    /// The failure to open a connection, told to people.
    pub(crate) fn told(&self, error: Error) -> Error {
        let folder = self.folder.as_ref().map(|folder| format!("{}/", folder.path().display()));
        error.of_opening(self.transport, folder.as_deref())
    }

    /// Whether the connection counts only where it is encrypted, which the host decides here.
    pub(crate) fn must_be_encrypted(&self) -> bool {
        self.transport == Transport::Tcp
    }

    /// Who asks.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.access.login.as_ref()
    }

    /// Whether nothing is to be changed there.
    pub(crate) fn read_only(&self) -> bool {
        self.access.read_only
    }

    fn tls(endpoint: &Endpoint, tls: &Tls) -> Result<Self, Error> {
        let Tls { authorities, own, any_host } = tls;
        let folder = Folder::new()?;
        write(folder.path(), "cacert.pem", authorities)?;
        if let Some((certificate, key)) = own {
            write(folder.path(), "clientcert.pem", certificate)?;
            write(folder.path(), "clientkey.pem", key)?;
        }
        let (host, path) = (endpoint.address.authority(), endpoint.address.path());
        let verify = if *any_host { "&no_verify=1" } else { "" };
        let uri = format!("qemu+tls://{host}{path}?pkipath={}{verify}", folder.path().display());
        Ok(Self::new(endpoint, uri, Some(folder)))
    }

    /// libvirt's own ways to speak SSH within this process leave calls unanswered until the next packet comes (9.0 with libssh), so a
    /// program speaks it. libvirt cannot tell that one what goes by its configuration alone: see the module [`ssh`].
    fn ssh(endpoint: &Endpoint, ssh: &Ssh) -> Result<Self, Error> {
        let folder = Folder::new()?;
        ssh::write(folder.path(), endpoint, ssh)?;
        let (host, path) = (endpoint.address.authority(), endpoint.address.path());
        let login = endpoint.access.login.as_ref();
        let user = endpoint.address.user().or_else(|| login.map(|login| login.user.as_str())).unwrap_or_default();
        let command = folder.path().join(ssh::SSH).display().to_string();
        let uri = format!("qemu+ssh://{user}@{host}{path}?command={command}&no_tty=1");
        Ok(Self::new(endpoint, uri, Some(folder)))
    }
}

pub(super) fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let path = folder.join(name);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let written = written.and_then(|mut file| file.write_all(content));
    written.map_err(|error| {
        let _ = fs::remove_file(&path);
        Error::other(format!("cannot write {name} for the connection to the host: {error}"))
    })
}
