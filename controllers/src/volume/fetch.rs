//! An image from a web server, in pieces and hashed on the way.
//!
//! ```text
//! url ─► checked: scheme, host, addresses ─► GET ─┬─► redirect, at most 5, each checked again
//!                                                 └─► body ─► sha256, limits ─► chunks ─► whoever writes them to the host
//!                                                                           └─► progress
//! ```
//! Each request goes to the addresses that were checked and to no others: a name that resolves to another address a moment later
//! changes nothing. Proxies of the environment are not used, they would resolve the name themselves.

mod address;
mod error;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use apis::volume::HttpSource;
use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use reqwest::{
    Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, LOCATION},
    redirect::Policy,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use self::{
    address::Allowed,
    error::{connect_failure, shown},
};
pub use self::{
    address::forbidden,
    error::{Failure, FetchError},
};

/// The size of every chunk but the last, which may be smaller. It fits one message of libvirt's stream protocol (256 KiB less a header).
pub const CHUNK: usize = 128 * 1024;

/// The most redirects that are followed.
const REDIRECTS: usize = 5;

/// Where the length is not known, progress is reported in steps of so many bytes.
const STEP: u64 = 64 * 1024 * 1024;

/// The slowest that an image may come, in bytes a second, measured over the longest wait without any byte.
const SLOWEST: f64 = 1024.0;

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest wait for a name, and again for a connection, TLS included.
    pub connect: Duration,
    /// The longest wait without any byte.
    pub stall: Duration,
    /// The longest time for a whole image, the host's part included: a server that trickles is not waited for without end.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), stall: Duration::from_secs(30), whole: Duration::from_hours(24) }
    }
}

/// What fetches images for one policy.
#[derive(Clone)]
pub struct Client {
    allowed: Allowed,
    limits: Limits,
    tls: Arc<ClientConfig>,
}

impl Client {
    /// A client that trusts the system's certificate authorities, read now, and asks public hosts only.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(limits: Limits) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        // A certificate that cannot be read is one authority less, not the end of all the others.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::with_roots(limits, roots)
    }

    /// The same client for another policy. `hosts` lists those that need not be public: names or addresses, each with a port or without.
    #[must_use]
    pub fn allowing(&self, hosts: &[String]) -> Self {
        Self { allowed: Allowed::new(hosts), ..self.clone() }
    }

    /// A client that trusts these certificate authorities only.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with_roots(limits: Limits, roots: RootCertStore) -> anyhow::Result<Self> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { allowed: Allowed::new(&[]), limits, tls: Arc::new(tls) })
    }

    /// The answer to one GET, no redirect followed. Names are resolved here, so that what is checked is what is used.
    async fn get(&self, url: &Url) -> Result<Response, Failure> {
        let addresses = self.addresses(url).await?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
            .dns_resolver(Pinned(addresses))
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(self.limits.connect)
            .user_agent(concat!("provider-libvirt/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| connect_failure(&error))?;
        let request = http.get(url.clone()).header(ACCEPT_ENCODING, "identity").send();
        match timeout(self.limits.connect + self.limits.stall, request).await {
            Err(_) => Err(Failure::Stalled(self.limits.stall)),
            Ok(Err(error)) if error.is_connect() && error.is_timeout() => {
                Err(Failure::ConnectTimeout(self.limits.connect))
            }
            Ok(Err(error)) => Err(connect_failure(&error)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// The addresses of the URL's host, when every one of them may be asked.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Failure> {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let unresolved = || Failure::Unresolved(host.to_owned());
        let lookup = timeout(self.limits.connect, tokio::net::lookup_host((bare, port))).await;
        let addresses: Vec<_> = lookup.map_err(|_| unresolved())?.map_err(|_| unresolved())?.collect();
        if addresses.is_empty() {
            return Err(unresolved());
        }
        if self.allowed.permits(bare, &addresses) { Ok(addresses) } else { Err(Failure::NotPublic(host.to_owned())) }
    }
}

/// Resolves every name to the addresses that were checked.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// Where an image goes.
pub struct Sink {
    /// Takes the chunks, each of [`CHUNK`] bytes but the last. The channel's bound is what is held in memory.
    pub chunks: mpsc::Sender<Bytes>,
    /// Shows how far it is.
    pub progress: watch::Sender<Progress>,
    /// The most bytes that there is room for.
    pub max_bytes: u64,
}

/// How much was handed over, in steps so large that each is worth telling a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing yet: the server has not answered.
    Asking,
    /// So many per cent, in whole tens. 100 comes after the checksum was found right.
    Percent(u8),
    /// So many bytes, in steps of 64 MiB, when the server does not tell the length.
    Bytes(u64),
}

/// An image that came whole and as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Fetches the image into the sink. The last chunk is handed over only when the checksum is right:
/// what the receiver of a failed image holds is never the whole of it, and must be removed.
///
/// # Errors
/// A sentence for the user, the same each time for the same cause.
pub async fn fetch(client: &Client, source: &HttpSource, sink: Sink) -> Result<Fetched, FetchError> {
    let url = parse(&source.url)?;
    let expected = checksum(&source.checksum)?;
    let failed = |failure| FetchError::Get { url: shown(&url), failure };
    let response = open(client, url.clone()).await.map_err(failed)?;
    let mut transfer = Transfer::new(&response, sink);
    transfer.receive(response, client.limits.stall).await.map_err(failed)?;
    transfer.finish(&expected).await
}

/// The answer that holds the image, after redirects.
async fn open(client: &Client, mut url: Url) -> Result<Response, Failure> {
    for _ in 0..=REDIRECTS {
        let response = client.get(&url).await?;
        match response.status() {
            StatusCode::OK => return plain(response),
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => url = target(&url, &response)?,
            status => return Err(Failure::Status(status)),
        }
    }
    Err(Failure::Redirects(REDIRECTS))
}

/// The answer, if it is the file itself: what a server packs on the way has another checksum.
fn plain(response: Response) -> Result<Response, Failure> {
    let encoding = response.headers().get(CONTENT_ENCODING).map(|encoding| encoding.to_str().unwrap_or("?").to_owned());
    match encoding {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => Err(Failure::Encoded),
        Some(_) | None => Ok(response),
    }
}

fn target(from: &Url, response: &Response) -> Result<Url, Failure> {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let to =
        location.and_then(|location| from.join(location).ok()).ok_or(Failure::Redirect("to no readable address"))?;
    match (from.scheme(), to.scheme()) {
        ("https", "http") => return Err(Failure::Redirect("from https to http, which is refused")),
        (_, "http" | "https") => {}
        _ => return Err(Failure::Redirect("to an address that is neither http nor https")),
    }
    if has_credentials(&to) {
        return Err(Failure::Redirect("to an address with credentials in it, which is refused"));
    }
    Ok(to)
}

fn parse(text: &str) -> Result<Url, FetchError> {
    let url = Url::parse(text).map_err(|_| FetchError::Source("url is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::Source("url must begin with http:// or https://"));
    }
    if has_credentials(&url) {
        return Err(FetchError::Source("url must not have credentials in it"));
    }
    Ok(url)
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// The hexadecimal digits of the checksum, in lower case.
fn checksum(text: &str) -> Result<String, FetchError> {
    let digits = text
        .strip_prefix("sha256:")
        .filter(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.map(str::to_ascii_lowercase).ok_or(FetchError::Source("checksum must be sha256: and 64 hexadecimal digits"))
}

/// An image on its way through.
struct Transfer {
    sink: Sink,
    /// The length that the server announced.
    announced: Option<u64>,
    received: u64,
    hash: Sha256,
    /// What was received and not yet handed over.
    held: BytesMut,
}

impl Transfer {
    fn new(response: &Response, sink: Sink) -> Self {
        let announced = response.content_length();
        Self { sink, announced, received: 0, hash: Sha256::new(), held: BytesMut::with_capacity(2 * CHUNK) }
    }

    async fn receive(&mut self, mut response: Response, stall: Duration) -> Result<(), Failure> {
        self.within(self.announced.unwrap_or_default())?;
        let mut pace = Pace::default();
        loop {
            let asked = Instant::now();
            match timeout(stall, response.chunk()).await {
                Err(_) => return Err(Failure::Stalled(stall)),
                Ok(Err(_)) => return Err(self.ended_early()),
                Ok(Ok(None)) => break,
                Ok(Ok(Some(bytes))) => {
                    pace.keep(bytes.len(), asked.elapsed(), stall)?;
                    self.take(&bytes).await?;
                }
            }
        }
        if self.announced.is_some_and(|announced| self.received < announced) { Err(self.ended_early()) } else { Ok(()) }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.received = self.received.saturating_add(bytes.len() as u64);
        if let Some(announced) = self.announced.filter(|announced| self.received > *announced) {
            return Err(Failure::Long { announced });
        }
        self.within(self.received)?;
        self.hash.update(bytes);
        self.held.extend_from_slice(bytes);
        // More than a chunk must be there: the last one waits for the checksum.
        while self.held.len() > CHUNK {
            let chunk = self.held.split_to(CHUNK).freeze();
            self.hand_over(chunk).await?;
        }
        Ok(())
    }

    async fn hand_over(&self, chunk: Bytes) -> Result<(), Failure> {
        self.sink.chunks.send(chunk).await.map_err(|_| Failure::Unwanted)?;
        let handed = self.received - self.held.len() as u64;
        let progress = match self.announced {
            Some(announced) => Progress::Percent(tens(handed, announced)),
            None => Progress::Bytes(handed - handed % STEP),
        };
        self.sink.progress.send_if_modified(|shown| std::mem::replace(shown, progress) != progress);
        Ok(())
    }

    async fn finish(mut self, expected: &str) -> Result<Fetched, FetchError> {
        let found = HEXLOWER.encode(&std::mem::take(&mut self.hash).finalize());
        if found != expected {
            return Err(FetchError::Checksum { found, expected: expected.to_owned() });
        }
        let last = self.held.split().freeze();
        if !last.is_empty() {
            self.hand_over(last).await.map_err(|_| FetchError::Unwanted)?;
        }
        Ok(Fetched { bytes: self.received, sha256: found })
    }

    fn within(&self, bytes: u64) -> Result<(), Failure> {
        if bytes > self.sink.max_bytes { Err(Failure::Large { max: self.sink.max_bytes }) } else { Ok(()) }
    }

    fn ended_early(&self) -> Failure {
        Failure::Short { received: self.received, announced: self.announced }
    }
}

/// How fast an image comes. A server that trickles would keep the pool busy for as long as it likes.
#[derive(Default)]
struct Pace {
    waited: Duration,
    received: usize,
}

impl Pace {
    #[allow(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    /// Counts what came after a wait; an error when it was too little for too long. The time that the host takes to write is not counted.
    fn keep(&mut self, bytes: usize, waited: Duration, stall: Duration) -> Result<(), Failure> {
        self.received += bytes;
        self.waited += waited;
        if self.waited < stall {
            return Ok(());
        }
        if (self.received as f64) < self.waited.as_secs_f64() * SLOWEST {
            return Err(Failure::Slow(stall));
        }
        *self = Self::default();
        Ok(())
    }
}

/// The share in whole tens of per cent, rounded down.
fn tens(part: u64, whole: u64) -> u8 {
    let tens = u128::from(part) * 10 / u128::from(whole.max(1));
    u8::try_from(tens.min(10)).unwrap_or(10) * 10
}
