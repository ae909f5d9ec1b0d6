//! Where a host is and how patient to be with it.

use std::time::Duration;

use crate::Error;
use crate::error::Kind;

/// A checked connection URI. Only what [`Endpoint::parse`] lets through reaches libvirt, whose own URI parameters can start
/// programs on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    uri: String,
    in_process: bool,
}

/// How patient to be with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For opening the connections, both together.
    pub connect_timeout: Duration,
    /// For each of the mirror's own calls; callers bring their own.
    pub call_timeout: Duration,
    /// Seconds of silence before a keepalive message.
    pub keepalive_interval: u32,
    /// How many keepalive messages may stay unanswered.
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

impl Endpoint {
    /// Checks a URI: `qemu:///system`, `qemu:///session`, the same with `+unix` and `?socket=/path`, `test:///default`,
    /// `test:///path` and `test+unix`.
    pub fn parse(uri: &str) -> Result<Self, Error> {
        Self::check(uri).map_err(|why| Error::new(Kind::Rejected, format!("the URI {uri} cannot be used: {why}")))
    }

    /// The same for a URI that nobody is to see if it cannot be used: it may hold a password that somebody put there.
    pub fn parse_secret(uri: &str) -> Result<Self, Error> {
        Self::check(uri).map_err(|_| {
            let cure = "write one such as qemu:///system or qemu+unix:///system?socket=/path";
            Error::new(Kind::Rejected, format!("the URI cannot be used; {cure}"))
        })
    }

    fn check(uri: &str) -> Result<Self, String> {
        let (scheme, rest) = uri.split_once("://").ok_or("it has no scheme such as qemu://")?;
        let (driver, transport) = scheme.split_once('+').unwrap_or((scheme, ""));
        check_driver(driver)?;
        check_transport(transport)?;
        if rest.contains('#') || uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("it holds a fragment, white space or control characters".to_owned());
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !location.starts_with('/') {
            return Err("a local host has no name in the URI: write three slashes, as in qemu:///system".to_owned());
        }
        check_path(driver, location)?;
        check_query(transport, query)?;
        Ok(Self { uri: uri.to_owned(), in_process: scheme == "test" })
    }

    /// The URI, without credentials by construction.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Whether the driver runs in this process, where connections cannot be lost.
    pub(crate) fn is_in_process(&self) -> bool {
        self.in_process
    }
}

fn check_driver(driver: &str) -> Result<(), String> {
    match driver {
        "qemu" | "test" => Ok(()),
        other => Err(format!("the driver {other} is not supported; use qemu")),
    }
}

fn check_transport(transport: &str) -> Result<(), String> {
    match transport {
        "" | "unix" => Ok(()),
        "tls" | "tcp" | "ssh" | "libssh" | "libssh2" => {
            Err(format!("the transport {transport} is not supported yet; use qemu or qemu+unix"))
        }
        other => Err(format!("the transport {other} is not supported; use qemu or qemu+unix")),
    }
}

fn check_path(driver: &str, path: &str) -> Result<(), String> {
    if driver == "qemu" && path != "/system" && path != "/session" {
        return Err("its path is neither /system nor /session".to_owned());
    }
    if driver == "test" && path == "/" {
        return Err("its path is neither /default nor that of a file".to_owned());
    }
    Ok(())
}

fn check_query(transport: &str, query: &str) -> Result<(), String> {
    let mut seen = false;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name != "socket" {
            return Err(format!("the parameter {name} is not allowed"));
        }
        if transport != "unix" {
            return Err("the parameter socket needs the transport unix, as in qemu+unix:///system?socket=…".to_owned());
        }
        if !value.starts_with('/') || seen {
            return Err("the parameter socket is not one absolute path".to_owned());
        }
        seen = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_uris_are_accepted() {
        let uris = [
            "qemu:///system",
            "qemu:///session",
            "qemu+unix:///system",
            "qemu+unix:///system?socket=/run/libvirt/libvirt-sock",
            "test:///default",
            "test:///tmp/hosts.xml",
            "test+unix:///default?socket=/tmp/s",
        ];
        for uri in uris {
            assert_eq!(Endpoint::parse(uri).map(|endpoint| endpoint.uri), Ok(uri.to_owned()));
        }
    }

    #[test]
    fn every_other_uri_is_refused_with_the_reason() {
        let cases = [
            ("qemu", "it has no scheme such as qemu://"),
            ("xen:///system", "the driver xen is not supported; use qemu"),
            ("qemu+ssh://h/system", "the transport ssh is not supported yet; use qemu or qemu+unix"),
            ("qemu+tls://h/system", "the transport tls is not supported yet; use qemu or qemu+unix"),
            ("qemu+ext:///system?command=/bin/sh", "the transport ext is not supported; use qemu or qemu+unix"),
            ("qemu://h/system", "a local host has no name in the URI: write three slashes, as in qemu:///system"),
            ("qemu:///systm", "its path is neither /system nor /session"),
            ("qemu:///system?command=/bin/sh", "the parameter command is not allowed"),
            ("qemu+unix:///system?socket=/a&netcat=/b", "the parameter netcat is not allowed"),
            ("qemu+unix:///system?socket=a", "the parameter socket is not one absolute path"),
            ("qemu+unix:///system?socket=/a&socket=/b", "the parameter socket is not one absolute path"),
            (
                "qemu:///system?socket=/a",
                "the parameter socket needs the transport unix, as in qemu+unix:///system?socket=…",
            ),
            ("test:///", "its path is neither /default nor that of a file"),
            ("qemu:///system#x", "it holds a fragment, white space or control characters"),
        ];
        for (uri, why) in cases {
            let refused = Error::new(Kind::Rejected, format!("the URI {uri} cannot be used: {why}"));
            assert_eq!(Endpoint::parse(uri), Err(refused));
            let unseen = "the URI cannot be used; write one such as qemu:///system or qemu+unix:///system?socket=/path";
            assert_eq!(Endpoint::parse_secret(uri), Err(Error::new(Kind::Rejected, unseen.to_owned())));
        }
    }
}
