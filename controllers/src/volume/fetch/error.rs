//! Why an image did not come, in sentences that are the same each time for the same cause: they become conditions.

use std::{error::Error, fmt, io, time::Duration};

use reqwest::{StatusCode, Url};
use rustls::CertificateError;

use super::{checksum::Checksum, proxy::Trouble};

/// Why an image did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// What the source says cannot be used.
    Source(String),
    /// The request failed.
    Get {
        /// The URL of the source, without its query.
        url: String,
        /// How.
        failure: Failure,
    },
    /// The image is not the expected one.
    Checksum {
        /// The checksum of what came.
        found: Checksum,
        /// The checksum of the source.
        expected: Checksum,
    },
    /// Whoever wanted the image has gone.
    Unwanted,
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(reason) => formatter.write_str(reason),
            // The host is at fault, not the request: none was made.
            Self::Get { url: _, failure: failure @ (Failure::NotPublic(_) | Failure::Unknown(_)) } => {
                write!(formatter, "{failure}")
            }
            Self::Get { url: _, failure: Failure::Unwanted } | Self::Unwanted => {
                formatter.write_str("the image is no longer wanted")
            }
            Self::Get { url, failure } => write!(formatter, "GET {url}: {failure}"),
            Self::Checksum { found, expected } => {
                write!(formatter, "checksum is {found}, expected {expected}")
            }
        }
    }
}

impl Error for FetchError {}

impl FetchError {
    /// Whether anybody else who wants the image now would fail in the same way: how much room there is, and who still wants it, is each
    /// one's own.
    pub fn is_the_servers(&self) -> bool {
        match self {
            Self::Source(_) | Self::Checksum { .. } => true,
            Self::Get { url: _, failure } => !matches!(failure, Failure::Large { .. } | Failure::Unwanted),
            Self::Unwanted => false,
        }
    }
}

impl FetchError {
    /// Whether what was there of an image and what came after it are not one: fetched from its beginning it may be right.
    pub fn is_of_another(&self) -> bool {
        match self {
            Self::Checksum { .. } => true,
            Self::Get { url: _, failure } => matches!(failure, Failure::Changed | Failure::NoParts),
            Self::Source(_) | Self::Unwanted => false,
        }
    }
}

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host is not public, and not listed.
    NotPublic(String),
    /// The host's name leads nowhere.
    Unresolved(String),
    /// The same of a host that a proxy would be asked for, and that is not listed.
    Unknown(String),
    /// The proxy did not do its part.
    Proxy {
        /// Its host and port.
        proxy: String,
        /// What it did instead.
        trouble: Trouble,
    },
    /// No connection within this time.
    ConnectTimeout(Duration),
    /// No connection, or none that can be trusted.
    Connect(String),
    /// The server answered with another status than 200.
    Status(StatusCode),
    /// The same, where it may be the answer of a proxy.
    Relayed {
        /// What was answered.
        status: StatusCode,
        /// The proxy's host and port.
        proxy: String,
    },
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
    /// The list of checksums has none for this file.
    Unlisted(String),
    /// The list of checksums has several for this file.
    Ambiguous(String),
    /// The list of checksums is larger than any is.
    LongList,
    /// The transfer broke, and what the server has by now is not what came.
    Changed,
    /// The transfer broke, and the server gives no part of the image.
    NoParts,
    /// Whoever wanted the image has gone.
    Unwanted,
}

impl Failure {
    /// Whether it may go well a moment later, from where it broke.
    pub(super) fn is_break(&self) -> bool {
        match self {
            Self::Unresolved(_)
            | Self::ConnectTimeout(_)
            | Self::Connect(_)
            | Self::Stalled(_)
            | Self::Short { .. } => true,
            Self::Status(status) | Self::Relayed { status, proxy: _ } => status.is_server_error(),
            Self::Proxy { proxy: _, trouble } => trouble.may_pass(),
            Self::NotPublic(_)
            | Self::Unknown(_)
            | Self::Redirect(_)
            | Self::Redirects(_)
            | Self::Slow(_)
            | Self::Encoded
            | Self::Long { .. }
            | Self::Large { .. }
            | Self::Unlisted(_)
            | Self::Ambiguous(_)
            | Self::LongList
            | Self::Changed
            | Self::NoParts
            | Self::Unwanted => false,
        }
    }
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
            Self::Unknown(host) => write!(
                formatter,
                "image host {host} cannot be resolved by the provider, so nobody can say whether the proxy would find it at a public address; list it in the ProviderConfig's policy.imageHosts"
            ),
            Self::Proxy { proxy, trouble } => write!(formatter, "proxy {proxy} {trouble}"),
            Self::Status(status) => formatter.write_str(&words(*status)),
            Self::Relayed { status, proxy } => {
                write!(formatter, "{}, from the server or from proxy {proxy}", words(*status))
            }
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
            Self::Unlisted(file) => write!(formatter, "there is no checksum of {file} in it"),
            Self::Ambiguous(file) => write!(formatter, "there are several checksums of {file} in it"),
            Self::LongList => formatter.write_str("larger than 1 MiB, which no list of checksums is"),
            Self::Changed => formatter
                .write_str("the transfer broke, and by now the server has another image or does not say that it is the same"),
            Self::NoParts => formatter.write_str("the transfer broke, and the server sends the image only as a whole"),
            Self::Unwanted => formatter.write_str("the image is no longer wanted"),
        }
    }
}

/// A status as text. The code's own Display has no reason for codes that it does not know; then the number must do.
pub(super) fn words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// The URL for a sentence: without its query, which may hold a token.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// Why no answer came.
pub(super) fn connect_failure(error: &(dyn Error + 'static)) -> Failure {
    Failure::Connect(why(error, "the server"))
}

/// Why this one gave no answer. The causes below the library's error are looked at for the few that a user can act on.
pub(super) fn why(error: &(dyn Error + 'static), who: &str) -> String {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(reason) = reason(error, who) {
            return reason;
        }
        cause = error.source();
    }
    format!("{who} gave no valid answer")
}

fn reason(error: &(dyn Error + 'static), who: &str) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(tls_reason(error, who));
    }
    let error = error.downcast_ref::<io::Error>()?;
    // An I/O error hides the error that it was made of from source().
    if let Some(reason) = error.get_ref().and_then(|inner| reason(inner, who)) {
        return Some(reason);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Some("connection refused".into()),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            Some(format!("{who} closed the connection"))
        }
        io::ErrorKind::HostUnreachable => Some("host unreachable".into()),
        io::ErrorKind::NetworkUnreachable => Some("network unreachable".into()),
        io::ErrorKind::TimedOut => Some("connection timed out".into()),
        _ => None,
    }
}

/// The library's sentences on certificates tell times; these do not.
fn tls_reason(error: &rustls::Error, who: &str) -> String {
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
    format!("{who}'s certificate {what}")
}
