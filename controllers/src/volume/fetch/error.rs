//! Why an image did not come, in sentences that are the same each time for the same cause: they become conditions.

use std::{error::Error, fmt, io, time::Duration};

use reqwest::{StatusCode, Url};
use rustls::CertificateError;

/// Why an image did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// What the source says cannot be used.
    Source(&'static str),
    /// The request failed.
    Get {
        /// The URL of the source, without its query.
        url: String,
        /// How.
        failure: Failure,
    },
    /// The image is not the expected one. Both in hexadecimal digits.
    Checksum {
        /// The SHA-256 of what came.
        found: String,
        /// The SHA-256 of the source.
        expected: String,
    },
    /// Whoever wanted the image has gone.
    Unwanted,
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(reason) => write!(formatter, "source.http.{reason}"),
            // The host is at fault, not the request: none was made.
            Self::Get { url: _, failure: failure @ Failure::NotPublic(_) } => write!(formatter, "{failure}"),
            Self::Get { url: _, failure: Failure::Unwanted } | Self::Unwanted => {
                formatter.write_str("the image is no longer wanted")
            }
            Self::Get { url, failure } => write!(formatter, "GET {url}: {failure}"),
            Self::Checksum { found, expected } => {
                write!(formatter, "checksum is sha256:{found}, expected sha256:{expected}")
            }
        }
    }
}

impl Error for FetchError {}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host is not public, and not listed.
    NotPublic(String),
    /// The host's name leads nowhere.
    Unresolved(String),
    /// No connection within this time.
    ConnectTimeout(Duration),
    /// No connection, or none that can be trusted.
    Connect(String),
    /// The server answered with another status than 200.
    Status(StatusCode),
    /// A redirect that is not followed.
    Redirect(&'static str),
    /// More redirects than this.
    Redirects(usize),
    /// No byte for this time.
    Stalled(Duration),
    /// Next to nothing for this time.
    Slow(Duration),
    /// The server packs what it sends, though it was asked not to.
    Encoded,
    /// Fewer bytes than announced, or the connection broke before the end.
    Short {
        /// How many came.
        received: u64,
        /// How many the server announced, if it did.
        announced: Option<u64>,
    },
    /// More bytes than announced.
    Long {
        /// How many the server announced.
        announced: u64,
    },
    /// More bytes than there is room for.
    Large {
        /// How many there is room for.
        max: u64,
    },
    /// Whoever wanted the image has gone.
    Unwanted,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublic(host) => {
                write!(formatter, "image host {host} is not public; list it in the ProviderConfig's policy.imageHosts")
            }
            Self::Unresolved(host) => write!(formatter, "host {host} cannot be resolved"),
            Self::ConnectTimeout(time) => write!(formatter, "no connection within {time:?}"),
            Self::Connect(reason) => formatter.write_str(reason),
            // The code's own Display has no reason for codes that it does not know; then the number must do.
            Self::Status(status) => match status.canonical_reason() {
                Some(reason) => write!(formatter, "{} {reason}", status.as_u16()),
                None => write!(formatter, "{}", status.as_u16()),
            },
            Self::Redirect(how) => write!(formatter, "redirected {how}"),
            Self::Redirects(most) => write!(formatter, "more than {most} redirects"),
            Self::Stalled(time) => write!(formatter, "no data for {time:?}"),
            Self::Slow(time) => write!(formatter, "less than 1 KiB a second for {time:?}"),
            Self::Encoded => formatter.write_str("the server packs what it sends (Content-Encoding), and what arrives is not the image; have it sent as it is"),
            Self::Short { received, announced: Some(announced) } => {
                write!(formatter, "ended after {received} of {announced} bytes")
            }
            Self::Short { received: _, announced: None } => formatter.write_str("the connection broke before the end"),
            Self::Long { announced } => write!(formatter, "more than the announced {announced} bytes"),
            // Not how much there is: that changes while others use the pool.
            Self::Large { max: _ } => formatter.write_str("the image is larger than the room there is for it"),
            Self::Unwanted => formatter.write_str("the image is no longer wanted"),
        }
    }
}

/// The URL for a sentence: without its query, which may hold a token.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// Why no answer came. The causes below the library's error are looked at for the few that a user can act on.
pub(super) fn connect_failure(error: &(dyn Error + 'static)) -> Failure {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = reason(error) {
            return Failure::Connect(reason);
        }
        cause = error.source();
    }
    Failure::Connect("the server gave no valid answer".into())
}

fn reason(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls_reason(error));
    }
    let error = error.downcast_ref::<io::Error>()?;
    // An I/O error hides the error that it was made of from source().
    if let Some(reason) = error.get_ref().and_then(|inner| reason(inner)) {
        return Some(reason);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("connection refused".into()),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Some("the server closed the connection".into())
        }
        io::ErrorKind::HostUnreachable => Some("host unreachable".into()),
        io::ErrorKind::NetworkUnreachable => Some("network unreachable".into()),
        io::ErrorKind::TimedOut => Some("connection timed out".into()),
        _ => None,
    }
}

/// The library's sentences on certificates tell times; these do not.
fn tls_reason(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return "the TLS handshake failed".into();
    };
    let what = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet",
        CertificateError::UnknownIssuer => "is of an unknown authority",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "is not for this host",
        CertificateError::Revoked => "was revoked",
        _ => "is not valid",
    };
    format!("the server's certificate {what}")
}
