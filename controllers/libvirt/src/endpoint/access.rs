//! What lets in at a host. Nothing of it is ever shown.

use std::fmt;

/// What lets in at a host, beside its URI.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// Certificates, for TLS.
    pub tls: Option<Tls>,
    /// Who asks, for SASL and SSH.
    pub login: Option<Login>,
    /// Keys, for SSH.
    pub ssh: Option<Ssh>,
    /// Whether nothing is to be changed there: libvirt's read-only connection.
    pub read_only: bool,
}

/// Certificates in PEM.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The authorities that vouch for the host, and for us.
    pub authorities: Vec<u8>,
    /// Our certificate and its key; a host may ask for a password instead.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
    /// Whether any host is taken for the one that is meant.
    pub any_host: bool,
}

/// A name and its password.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password; empty where there is none.
    pub password: String,
}

/// What SSH goes by.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Ssh {
    /// The private key, as ssh-keygen writes it. A password counts only where there is none.
    pub key: Option<Vec<u8>>,
    /// The keys of hosts, as in the file of this name.
    pub known_hosts: Option<Vec<u8>>,
    /// Whether any host is taken for the one that is meant.
    pub any_host: bool,
}

impl Access {
    /// What lets in may be wrong in this: whoever answers is taken for the host, and gets what lets in there.
    pub fn trusts_anybody(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.any_host) || self.ssh.as_ref().is_some_and(|ssh| ssh.any_host)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, login, ssh, read_only } = self;
        let set = |name: &'static str, is_set| if is_set { name } else { "" };
        write!(
            out,
            "Access({}{}{}{})",
            set("tls ", tls.is_some()),
            set("login ", login.is_some()),
            set("ssh ", ssh.is_some()),
            set("read-only", *read_only)
        )
    }
}

/// Hidden: [`Access`] alone is shown, and only what it is made of.
impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Login(hidden)")
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tls(hidden)")
    }
}

impl fmt::Debug for Ssh {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Ssh(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_in_is_never_shown() {
        let login = Login { user: "rig".to_owned(), password: "hunter2".to_owned() };
        let tls = Tls {
            authorities: b"secret".to_vec(),
            own: Some((b"secret".to_vec(), b"secret".to_vec())),
            any_host: false,
        };
        let ssh = Ssh { key: Some(b"secret".to_vec()), known_hosts: None, any_host: false };
        assert_eq!(format!("{login:?} {tls:?} {ssh:?}"), "Login(hidden) Tls(hidden) Ssh(hidden)");
        let access = Access { tls: Some(tls), login: Some(login), ssh: Some(ssh), read_only: true };
        assert_eq!(format!("{access:?}"), "Access(tls login ssh read-only)");
    }
}
