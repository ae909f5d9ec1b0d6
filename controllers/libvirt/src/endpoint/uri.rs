//! Reading a connection URI: what may be in one, and what it means.

use std::fmt;
use std::path::Path;

use crate::Error;
use crate::error::Kind;

/// A checked connection URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    uri: String,
    transport: Transport,
    user: Option<String>,
    /// Name or address, with the port if one is said; empty for this machine.
    authority: String,
    path: String,
}

/// The way to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The driver runs in this process.
    InProcess,
    /// A socket of this machine.
    Unix,
    /// TLS with certificates; with SASL where the host wants it.
    Tls,
    /// TCP, where SASL lets in and encrypts: a host that does not want it is none.
    Tcp,
    /// SSH, without anybody's own settings for it.
    Ssh,
}

impl Address {
    /// Checks a URI: `qemu:///system`, `qemu+unix:///system?socket=/path`, `qemu+tls://host/system`, `qemu+tcp://host/system`,
    /// `qemu+ssh://user@host/system` (`qemu+libssh` is the same), with ports; each with `/session` as well; `test:///default`
    /// and `test+unix`. The test driver would read any file of this machine, and tell what is in it where that is no description.
    pub fn parse(uri: &str) -> Result<Self, Error> {
        Self::check(uri).map_err(|why| Error::new(Kind::Rejected, format!("the URI {uri} cannot be used: {why}")))
    }

    /// The same for a URI that nobody is to see if it cannot be used: it may hold a password that somebody put there.
    pub fn parse_secret(uri: &str) -> Result<Self, Error> {
        Self::check(uri).map_err(|_| {
            let cure = "write one such as qemu:///system or qemu+tls://host/system";
            Error::new(Kind::Rejected, format!("the URI cannot be used; {cure}"))
        })
    }

    pub(super) fn of_file(path: &Path) -> Self {
        let path = path.display().to_string();
        let uri = format!("test://{path}");
        Self { uri, transport: Transport::InProcess, user: None, authority: String::new(), path }
    }

    fn check(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = uri.split_once("://").ok_or("it has no scheme such as qemu://")?;
        let (driver, said) = scheme.split_once('+').unwrap_or((scheme, ""));
        check_driver(driver)?;
        if rest.contains('#') || uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it holds a fragment, white space or control characters".to_owned());
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = location.find('/').map_or((location, ""), |at| location.split_at(at));
        let transport = transport(driver, said, authority)?;
        check_path(driver, path)?;
        check_query(said, query)?;
        let (user, authority) = check_authority(transport, authority)?;
        Ok(Self { uri: uri.to_owned(), transport, user, authority, path: path.to_owned() })
    }

    /// The URI as it was given, without credentials by construction.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The way there.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// As whom to log in, if the URI says.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Name or address of the host, with the port if one is said.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// What is meant there: `/system` or `/session`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.uri)
    }
}

fn check_driver(driver: &str) -> Result<(), String> {
    match driver {
        "qemu" | "test" => Ok(()),
        other => Err(format!("the driver {other} is not supported; use qemu")),
    }
}

/// libvirt itself goes by TLS where only a host is named.
fn transport(driver: &str, said: &str, authority: &str) -> Result<Transport, String> {
    let transport = match said {
        "" if driver == "test" => Transport::InProcess,
        "" if !authority.is_empty() => Transport::Tls,
        "" | "unix" => Transport::Unix,
        "tls" => Transport::Tls,
        "tcp" => Transport::Tcp,
        "ssh" | "libssh" => Transport::Ssh,
        other => {
            return Err(format!(
                "the transport {other} is not supported; use unix, tls, tcp or ssh, as in qemu+tls://host/system"
            ));
        }
    };
    let is_here = matches!(transport, Transport::InProcess | Transport::Unix);
    match authority.is_empty() {
        false if is_here => {
            Err("a local host has no name in the URI: write three slashes, as in qemu:///system".to_owned())
        }
        true if !is_here => Err(format!("it names no host: write one, as in qemu+{said}://host/system")),
        true | false => Ok(transport),
    }
}

fn check_path(driver: &str, path: &str) -> Result<(), String> {
    if driver == "qemu" && path != "/system" && path != "/session" {
        return Err("its path is neither /system nor /session".to_owned());
    }
    if driver == "test" && path != "/default" {
        return Err("its path is not /default".to_owned());
    }
    Ok(())
}

/// libvirt decodes what is said of a socket; what then controls a terminal or ends the path is no name of one.
fn check_encoded(value: &str) -> Result<(), String> {
    let codes = value.split('%').skip(1).map(|rest| rest.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()));
    if codes.flatten().any(|code| code.is_ascii_control()) {
        return Err("the parameter socket holds control characters".to_owned());
    }
    Ok(())
}

fn check_query(said: &str, query: &str) -> Result<(), String> {
    // libvirt parts parameters there too.
    if query.contains(';') {
        return Err("it holds a semicolon between or in its parameters".to_owned());
    }
    let mut seen = false;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "socket" => check_encoded(value)?,
            "no_verify" => {
                return Err(
                    "the parameter no_verify is not allowed; set spec.tls.verification or spec.ssh.hostKeyVerification"
                        .to_owned(),
                );
            }
            "pkipath" | "keyfile" | "known_hosts" | "authfile" => {
                return Err(format!(
                    "the parameter {name} is not allowed: what lets in belongs into the Secret of spec.credentials"
                ));
            }
            other => return Err(format!("the parameter {other} is not allowed")),
        }
        if said != "unix" {
            return Err("the parameter socket needs the transport unix, as in qemu+unix:///system?socket=…".to_owned());
        }
        if !value.starts_with('/') || seen {
            return Err("the parameter socket is not one absolute path".to_owned());
        }
        seen = true;
    }
    Ok(())
}

/// Takes the user from before the host.
fn check_authority(transport: Transport, authority: &str) -> Result<(Option<String>, String), String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    match user {
        Some(_) if transport != Transport::Ssh => {
            return Err("only SSH has a user in the URI: set username and password in the Secret of spec.credentials"
                .to_owned());
        }
        Some(user) if user.contains(':') => {
            return Err("it holds a password: set it in the Secret of spec.credentials".to_owned());
        }
        Some(user) if !is_user(user) => {
            return Err("the user in it is no name".to_owned());
        }
        Some(_) | None => {}
    }
    check_host(host)?;
    Ok((user.map(str::to_owned), host.to_owned()))
}

fn check_host(host: &str) -> Result<(), String> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or("the address in it has no closing bracket")?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| "what is in brackets is no IPv6 address")?;
            ("", rest.strip_prefix(':').or_else(|| (!rest.is_empty()).then_some("-")))
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    if !name.is_empty() && (!is_name(name, ".-") || name.starts_with(['-', '.'])) {
        return Err("the host in it is neither a name nor an address".to_owned());
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match port {
        Some(port) if !is_port(port) => Err("the port in it is no number from 1 to 65535".to_owned()),
        Some(_) | None => Ok(()),
    }
}

/// Whether this can be the name of a user, and cannot be anything else in a URI or for a program.
pub(super) fn is_user(text: &str) -> bool {
    is_name(text, "_.-") && !text.starts_with(['-', '.'])
}

fn is_name(text: &str, besides: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || besides.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_uri_means_is_read_from_it() {
        let parts = |uri| {
            let Address { uri: _, transport, user, authority, path } = Address::parse(uri).unwrap();
            (transport, user.unwrap_or_default(), authority, path)
        };
        let said = |transport, user: &str, authority: &str, path: &str| {
            (transport, user.to_owned(), authority.to_owned(), path.to_owned())
        };
        assert_eq!(parts("qemu:///system"), said(Transport::Unix, "", "", "/system"));
        assert_eq!(parts("qemu:///session"), said(Transport::Unix, "", "", "/session"));
        assert_eq!(
            parts("qemu+unix:///system?socket=/run/libvirt/libvirt-sock"),
            said(Transport::Unix, "", "", "/system")
        );
        assert_eq!(parts("test:///default"), said(Transport::InProcess, "", "", "/default"));
        assert_eq!(parts("test+unix:///default?socket=/tmp/s"), said(Transport::Unix, "", "", "/default"));
        assert_eq!(parts("qemu://one/system"), said(Transport::Tls, "", "one", "/system"));
        assert_eq!(
            parts("qemu+tls://one.example.org:16515/system"),
            said(Transport::Tls, "", "one.example.org:16515", "/system")
        );
        assert_eq!(parts("qemu+tls://[fd00::1]:16515/system"), said(Transport::Tls, "", "[fd00::1]:16515", "/system"));
        assert_eq!(parts("qemu+tcp://192.0.2.1/system"), said(Transport::Tcp, "", "192.0.2.1", "/system"));
        assert_eq!(parts("qemu+ssh://root@one:2222/system"), said(Transport::Ssh, "root", "one:2222", "/system"));
        assert_eq!(parts("qemu+libssh://one/session"), said(Transport::Ssh, "", "one", "/session"));
    }

    /// Both readers refuse all of these, and one of them does not show what it has read.
    fn check_refused(cases: &[(&str, &str)]) {
        for (uri, why) in cases {
            let refused = Error::new(Kind::Rejected, format!("the URI {uri} cannot be used: {why}"));
            assert_eq!(Address::parse(uri), Err(refused));
            let unseen = "the URI cannot be used; write one such as qemu:///system or qemu+tls://host/system";
            assert_eq!(Address::parse_secret(uri), Err(Error::new(Kind::Rejected, unseen.to_owned())));
        }
    }

    #[test]
    fn a_uri_of_another_shape_is_refused_with_the_reason() {
        check_refused(&[
            ("qemu", "it has no scheme such as qemu://"),
            ("xen:///system", "the driver xen is not supported; use qemu"),
            (
                "qemu+ext:///system?command=/bin/sh",
                "the transport ext is not supported; use unix, tls, tcp or ssh, as in qemu+tls://host/system",
            ),
            (
                "qemu+libssh2://h/system",
                "the transport libssh2 is not supported; use unix, tls, tcp or ssh, as in qemu+tls://host/system",
            ),
            ("qemu+unix://h/system", "a local host has no name in the URI: write three slashes, as in qemu:///system"),
            ("qemu+ssh:///system", "it names no host: write one, as in qemu+ssh://host/system"),
            ("qemu:///systm", "its path is neither /system nor /session"),
            ("qemu+tls://h", "its path is neither /system nor /session"),
            ("test:///", "its path is not /default"),
            ("test:///var/run/secrets/kubernetes.io/serviceaccount/token", "its path is not /default"),
            ("qemu:///system#x", "it holds a fragment, white space or control characters"),
        ]);
    }

    #[test]
    fn a_uri_with_parameters_of_another_kind_is_refused_with_the_reason() {
        check_refused(&[
            ("qemu:///system?command=/bin/sh", "the parameter command is not allowed"),
            ("qemu+ssh://u@h/system?command=/bin/sh", "the parameter command is not allowed"),
            ("qemu+ssh://u@h/system?netcat=/bin/sh", "the parameter netcat is not allowed"),
            (
                "qemu+ssh://u@h/system?socket=/a",
                "the parameter socket needs the transport unix, as in qemu+unix:///system?socket=…",
            ),
            (
                "qemu+tls://h/system?no_verify=1",
                "the parameter no_verify is not allowed; set spec.tls.verification or spec.ssh.hostKeyVerification",
            ),
            (
                "qemu+tls://h/system?pkipath=/etc",
                "the parameter pkipath is not allowed: what lets in belongs into the Secret of spec.credentials",
            ),
            (
                "qemu+ssh://u@h/system?keyfile=/etc/shadow",
                "the parameter keyfile is not allowed: what lets in belongs into the Secret of spec.credentials",
            ),
            ("qemu+unix:///system?socket=/a&netcat=/b", "the parameter netcat is not allowed"),
            ("qemu+unix:///system?socket=/a%00b", "the parameter socket holds control characters"),
            ("qemu+unix:///system?socket=/a%0A", "the parameter socket holds control characters"),
            ("qemu+unix:///system?socket=a", "the parameter socket is not one absolute path"),
            ("qemu+unix:///system?socket=/a;command=/bin/sh", "it holds a semicolon between or in its parameters"),
            ("qemu+unix:///system?socket=/a&socket=/b", "the parameter socket is not one absolute path"),
            (
                "qemu:///system?socket=/a",
                "the parameter socket needs the transport unix, as in qemu+unix:///system?socket=…",
            ),
        ]);
    }

    #[test]
    fn a_uri_to_nobody_or_with_credentials_is_refused_with_the_reason() {
        check_refused(&[
            (
                "qemu+tls://u@h/system",
                "only SSH has a user in the URI: set username and password in the Secret of spec.credentials",
            ),
            ("qemu+ssh://u:p@h/system", "it holds a password: set it in the Secret of spec.credentials"),
            ("qemu+ssh://-oProxyCommand=x@h/system", "the user in it is no name"),
            ("qemu+ssh://u@-h/system", "the host in it is neither a name nor an address"),
            ("qemu+tls://a,b/system", "the host in it is neither a name nor an address"),
            ("qemu+tls://[::1/system", "the address in it has no closing bracket"),
            ("qemu+tls://[h]/system", "what is in brackets is no IPv6 address"),
            ("qemu+tls://h:0/system", "the port in it is no number from 1 to 65535"),
            ("qemu+tls://h:99999/system", "the port in it is no number from 1 to 65535"),
            ("qemu+tls://[::1]x/system", "the port in it is no number from 1 to 65535"),
        ]);
    }
}
