//! Why a host could not be connected, in words for people: libvirt's own tell the mistake only to who knows its sources.

use crate::Error;
use crate::endpoint::Transport;

/// What is wrong between us and a host. The names are the reasons of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// A certificate is not vouched for, is for somebody else, or is out of date.
    CertificateInvalid,
    /// The host does not take what we say who we are.
    AuthFailed,
    /// The host's SSH key is another one than is known.
    HostKeyMismatch,
    /// The host's SSH key is not known.
    HostKeyUnknown,
    /// The host's name leads nowhere.
    HostUnknown,
    /// Nobody listens there.
    ConnectionRefused,
    /// Nothing gets there, or nothing comes back.
    HostUnreachable,
    /// Somebody listens there, and it is not what is meant.
    WrongService,
    /// The host lets us in, and its libvirt does not run.
    DaemonDown,
    /// The socket of this machine is not there.
    SocketMissing,
    /// The socket of the daemon is not for us.
    SocketDenied,
    /// Anything else.
    ConnectFailed,
}

impl Trouble {
    /// The word for it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::CertificateInvalid => "CertificateInvalid",
            Self::AuthFailed => "AuthFailed",
            Self::HostKeyMismatch => "HostKeyMismatch",
            Self::HostKeyUnknown => "HostKeyUnknown",
            Self::HostUnknown => "HostUnknown",
            Self::ConnectionRefused => "ConnectionRefused",
            Self::HostUnreachable => "HostUnreachable",
            Self::WrongService => "WrongService",
            Self::DaemonDown => "DaemonDown",
            Self::SocketMissing => "SocketMissing",
            Self::SocketDenied => "SocketDenied",
            Self::ConnectFailed => "ConnectFailed",
        }
    }

    /// What the failure to open a connection means. Numbers do not tell: one of them stands for nearly all of these.
    pub(crate) fn of(error: &Error, transport: Transport) -> Self {
        let says = |words: &str| error.message().contains(words);
        let known = WORDS.iter().find(|(ways, words, _)| ways.contains(&transport) && says(words));
        known.map_or(Self::ConnectFailed, |(_, _, trouble)| *trouble)
    }

    /// What to do about it, where something can be said.
    pub(crate) fn cure(self, transport: Transport) -> Option<&'static str> {
        let cure = match (self, transport) {
            (Self::CertificateInvalid, _) => {
                "the host's certificate must be from an authority in ca.crt, for the name or address in the URI and in date, and so must be our own tls.crt"
            }
            (Self::AuthFailed, Transport::Tls) => {
                "the host wants a tls.crt of an authority that it trusts, or username and password of an account that its SASL knows: set or correct them in the Secret"
            }
            (Self::AuthFailed, Transport::Tcp) => {
                "the host must want SASL (auth_tcp = \"sasl\"), and username and password in the Secret must be an account that the host's SASL knows, in a mechanism that both can"
            }
            (Self::AuthFailed, Transport::Ssh) => {
                "the host must have the public half of ssh-privatekey, or password, for the user in the URI"
            }
            (Self::SocketDenied, Transport::Ssh) => "the user there may not use libvirt: add it to the group libvirt",
            (Self::AuthFailed, Transport::InProcess | Transport::Unix) | (Self::SocketDenied, _) => {
                "the provider's user or group must be let in at the socket"
            }
            (Self::HostKeyMismatch, _) => {
                "if the host has a new key, write it into known_hosts of the Secret; if not, somebody else answers in its place"
            }
            (Self::HostKeyUnknown, _) => {
                "write the host's key into known_hosts of the Secret, with [host]:port where the port is not 22"
            }
            (Self::HostUnknown, _) => "correct the name in the URI, or the cluster's DNS",
            (Self::ConnectionRefused, Transport::Tls | Transport::Tcp) => {
                "the host's libvirt must listen for it (libvirtd-tls.socket, libvirtd-tcp.socket), by the port in the URI"
            }
            (Self::ConnectionRefused, Transport::Ssh) => "the host's SSH server must listen, by the port in the URI",
            (Self::ConnectionRefused, Transport::InProcess | Transport::Unix) | (Self::DaemonDown, _) => {
                "start libvirt on the host"
            }
            (Self::HostUnreachable, Transport::InProcess | Transport::Unix) => {
                "libvirt there is stopped or hangs: restart it, its guests go on meanwhile"
            }
            (Self::HostUnreachable, _) => "the host is off, or a network or firewall between is in the way",
            (Self::WrongService, Transport::Ssh) => {
                "what listens at the port in the URI is something else or turns connections away, or the user's shell there does not run commands or says something of its own"
            }
            (Self::WrongService, _) => "what listens at the port in the URI is something else",
            (Self::SocketMissing, _) => "start libvirt on the host, and mount its socket into the pod",
            (Self::ConnectFailed, _) => return None,
        };
        Some(cure)
    }
}

const UNIX: &[Transport] = &[Transport::Unix];
const TLS: &[Transport] = &[Transport::Tls];
const TCP: &[Transport] = &[Transport::Tcp];
const SSH: &[Transport] = &[Transport::Ssh];
const FAR: &[Transport] = &[Transport::Tls, Transport::Tcp, Transport::Ssh];

/// Words of libvirt 9.0 and its libraries, the first that fit; tried on real daemons by the tests of the provider.
const WORDS: &[(&[Transport], &str, Trouble)] = &[
    (UNIX, "No such file or directory", Trouble::SocketMissing),
    (UNIX, "Permission denied", Trouble::SocketDenied),
    (UNIX, "Connection refused", Trouble::ConnectionRefused),
    (UNIX, "authentication", Trouble::AuthFailed),
    (UNIX, "did not answer", Trouble::HostUnreachable),
    (SSH, "-sock': Permission denied", Trouble::SocketDenied),
    (SSH, "polkit", Trouble::SocketDenied),
    (SSH, "-sock'", Trouble::DaemonDown),
    (SSH, "REMOTE HOST IDENTIFICATION HAS CHANGED", Trouble::HostKeyMismatch),
    (SSH, "Host key verification failed", Trouble::HostKeyUnknown),
    (SSH, "Permission denied", Trouble::AuthFailed),
    (SSH, "Could not resolve hostname", Trouble::HostUnknown),
    (FAR, "Unable to resolve address", Trouble::HostUnknown),
    (FAR, "Connection refused", Trouble::ConnectionRefused),
    (FAR, "No route to host", Trouble::HostUnreachable),
    (FAR, "Network is unreachable", Trouble::HostUnreachable),
    (FAR, "Connection timed out", Trouble::HostUnreachable),
    (FAR, "did not answer", Trouble::HostUnreachable),
    (TLS, "Unable to read TLS confirmation", Trouble::AuthFailed),
    (TLS, "TLS handshake failed", Trouble::WrongService),
    (TLS, "ertificate", Trouble::CertificateInvalid),
    (TLS, "authentication", Trouble::AuthFailed),
    (TCP, "authentication", Trouble::AuthFailed),
    (TCP, "SASL", Trouble::AuthFailed),
    (TCP, "Connection reset by peer", Trouble::WrongService),
    (TCP, "client socket is closed", Trouble::WrongService),
    (TCP, "End of file", Trouble::WrongService),
    (SSH, "banner", Trouble::WrongService),
    (SSH, "kex_exchange_identification", Trouble::WrongService),
    (SSH, "received from server", Trouble::WrongService),
    (SSH, "End of file while reading data", Trouble::DaemonDown),
];
