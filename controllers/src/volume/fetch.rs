//! An image from a web server, in pieces and hashed on the way.
//!
//! ```text
//! url ─► checked: scheme, host, addresses ─► GET ─┬─► redirect, at most 5, each checked again
//!              ▲                                  └─► body ─► checksum, limits ─► chunks ─► whoever writes them to the host
//!              └──── broken: the rest by Range ◀───────┘                       └─► progress
//! ```
//! Each request goes to the addresses that were checked and to no others: a name that resolves to another address a moment later
//! changes nothing. Only a proxy, which the config must say, resolves names by itself: its servers are checked here and then by it.
//! Proxies of the environment are not used.

mod address;
mod authorities;
mod begun;
mod checksum;
mod credentials;
mod error;
mod no_proxy;
mod proxy;
mod resume;
mod transfer;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use apis::volume::HttpSource;
use bytes::Bytes;
use reqwest::{
    Method, Request, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, IF_RANGE, LOCATION, RANGE, USER_AGENT},
    redirect::Policy,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use self::{
    address::Allowed,
    checksum::{Ambiguous, Said},
    error::{connect_failure, shown},
    proxy::Manner,
    resume::{Rest, Version},
    transfer::{Pace, Transfer},
};
pub use self::{
    address::forbidden,
    authorities::{Access, Authorities},
    begun::Begun,
    checksum::{Algorithm, Checksum},
    credentials::Credentials,
    error::{Failure, FetchError},
    proxy::{Proxy, Trouble},
};

/// How the provider calls itself.
const AGENT: &str = concat!("provider-libvirt/", env!("CARGO_PKG_VERSION"));

/// The size of every chunk but the last, which may be smaller. It fits one message of libvirt's stream protocol (256 KiB less a header).
pub const CHUNK: usize = 128 * 1024;

/// The most redirects that are followed.
const REDIRECTS: usize = 5;

/// The largest list of checksums.
const LIST: usize = 1024 * 1024;

/// How long a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest wait for a name, and again for a connection, TLS included.
    pub connect: Duration,
    /// The longest wait without any byte.
    pub stall: Duration,
    /// The longest time for a whole image, the host's part included: a server that trickles is not waited for without end.
    pub whole: Duration,
    /// The wait before the rest of a broken transfer is asked for; it doubles with each time in a row.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            whole: Duration::from_hours(24),
            pause: Duration::from_secs(1),
        }
    }
}

/// What fetches images for one policy.
#[derive(Clone)]
pub struct Client {
    allowed: Allowed,
    limits: Limits,
    roots: Arc<RootCertStore>,
    tls: Arc<ClientConfig>,
    /// By whom a proxy may be vouched for: not by authorities that objects say.
    own: Arc<ClientConfig>,
    proxy: Option<Proxy>,
    /// What is shown to the origin of this address, and to no other.
    credentials: Option<(Url, Credentials)>,
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
        let roots = Arc::new(roots);
        let tls = Arc::new(tls(roots.clone())?);
        let own = tls.clone();
        Ok(Self { allowed: Allowed::new(&[]), limits, roots, tls, own, proxy: None, credentials: None })
    }

    /// The same client, which also trusts these authorities, if there are any.
    ///
    /// # Errors
    /// When TLS cannot be set up with them.
    pub fn trusting(&self, authorities: Option<&Authorities>) -> anyhow::Result<Self> {
        let Some(authorities) = authorities else { return Ok(self.clone()) };
        let roots = Arc::new(authorities.beside(&self.roots).map_err(anyhow::Error::msg)?);
        let tls = Arc::new(tls(roots.clone())?);
        Ok(Self { roots, tls, ..self.clone() })
    }

    /// The same client, let in by these credentials at the server of this source, if there are any.
    #[must_use]
    pub fn showing(&self, credentials: Option<Credentials>, source: &HttpSource) -> Self {
        let origin = Url::parse(&source.url).ok();
        Self { credentials: origin.zip(credentials), ..self.clone() }
    }

    /// The same client, which asks by this proxy, if there is one.
    #[must_use]
    pub fn by(&self, proxy: Option<Proxy>) -> Self {
        Self { proxy, ..self.clone() }
    }

    /// The answer to one GET, no redirect followed.
    async fn get(&self, url: &Url, rest: Option<&Rest>) -> Result<Response, Failure> {
        let request = self.request(url, rest)?;
        let Some(proxy) = self.proxy(url) else { return self.directly(url, request).await };
        self.vouch(url).await?;
        proxy.get(request, &Manner { server: &self.tls, proxy: &self.own, limits: self.limits }).await
    }

    /// The proxy that is asked for this URL.
    fn proxy(&self, url: &Url) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| proxy.is_for(url))
    }

    fn request(&self, url: &Url, rest: Option<&Rest>) -> Result<Request, Failure> {
        let mut request = Request::new(Method::GET, url.clone());
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let lets_in = self.credentials.as_ref().and_then(|(origin, credentials)| credentials.shown(origin, url));
        headers.extend(lets_in.unwrap_or_default());
        if let Some(rest) = rest {
            headers.insert(RANGE, rest.range()?);
            headers.insert(IF_RANGE, rest.version.value());
        }
        Ok(request)
    }

    /// The server's own answer. Names are resolved here, so that what is checked is what is used.
    async fn directly(&self, url: &Url, request: Request) -> Result<Response, Failure> {
        let addresses = self.addresses(url).await?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(ClientConfig::clone(&self.tls))
            .dns_resolver(Pinned(addresses))
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(self.limits.connect)
            .build()
            .map_err(|error| connect_failure(&error))?;
        match timeout(self.limits.connect + self.limits.stall, http.execute(request)).await {
            Err(_) => Err(Failure::Stalled(self.limits.stall)),
            Ok(Err(error)) if error.is_connect() && error.is_timeout() => {
                Err(Failure::ConnectTimeout(self.limits.connect))
            }
            Ok(Err(error)) => Err(connect_failure(&error)),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Whether a proxy may be asked for the URL's host: as for any other, and one that nobody here knows must be listed.
    async fn vouch(&self, url: &Url) -> Result<(), Failure> {
        if self.allowed.lists_host_of(url) {
            return Ok(());
        }
        match self.addresses(url).await {
            Err(Failure::Unresolved(host)) => Err(Failure::Unknown(host)),
            found => found.map(drop),
        }
    }

    /// Why a status is none that is of use. What came through a tunnel is the server's own.
    fn useless(&self, url: &Url, status: StatusCode) -> Failure {
        match self.proxy(url) {
            Some(proxy) if url.scheme() == "http" => Failure::Relayed { status, proxy: proxy.name() },
            Some(_) | None => Failure::Status(status),
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

fn tls(roots: Arc<RootCertStore>) -> anyhow::Result<ClientConfig> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("set up TLS")?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
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
    /// Set once the server has shown that it would give the rest of an image that broke off.
    pub parts: Arc<AtomicBool>,
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
    /// Nothing is fetched: the host copies a volume.
    Copying,
}

/// An image that came whole and as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its length.
    pub bytes: u64,
    /// Its checksum, made as the expected one.
    pub checksum: Checksum,
}

/// Fetches the image into the sink. The last chunk is handed over only when the checksum is right:
/// what the receiver of a failed image holds is never the whole of it, and must be removed.
///
/// # Errors
/// A sentence for the user, the same each time for the same cause.
pub async fn fetch(client: &Client, source: &HttpSource, sink: Sink) -> Result<Fetched, FetchError> {
    ask(client, source).await?.whole(client, sink).await
}

/// What a server answered that was asked for an image. Nothing of the image is read yet.
pub struct Answer {
    url: Url,
    /// Where the redirects led.
    at: Url,
    response: Response,
    expected: Checksum,
}

/// Asks for an image.
///
/// # Errors
/// As [`fetch`].
pub async fn ask(client: &Client, source: &HttpSource) -> Result<Answer, FetchError> {
    let url = parse(&source.url, "source.http.url")?;
    let expected = expected(client, source, &url).await?;
    let failed = |failure| FetchError::Get { url: shown(&url), failure };
    let (at, response) = open(client, url.clone(), None).await.map_err(failed)?;
    Ok(Answer { url, at, response, expected })
}

impl Answer {
    /// How long the image is, where the server says that.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Takes all of the image.
    ///
    /// # Errors
    /// As [`fetch`].
    pub async fn whole(self, client: &Client, sink: Sink) -> Result<Fetched, FetchError> {
        let Self { url, at, response, expected } = self;
        let failed = |failure| FetchError::Get { url: shown(&url), failure };
        sink.parts.store(Version::of(response.headers()).is_some(), Ordering::Release);
        let mut transfer = Transfer::new(&response, sink, expected.algorithm);
        resume::receive(client, &at, response, &mut transfer).await.map_err(failed)?;
        transfer.finish(&expected).await
    }
}

/// The checksum that the source says, or the list that it names.
async fn expected(client: &Client, source: &HttpSource, image: &Url) -> Result<Checksum, FetchError> {
    let list = match checksum::said(source).map_err(|reason| FetchError::Source(format!("source.http.{reason}")))? {
        Said::Here(checksum) => return Ok(checksum),
        Said::At(list) => parse(list, "source.http.checksumUrl")?,
    };
    let file = image.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    let found = match text(client, list.clone()).await {
        Ok(text) => match Checksum::listed(&text, file) {
            Ok(found) => found.ok_or_else(|| Failure::Unlisted(file.to_owned())),
            Err(Ambiguous) => Err(Failure::Ambiguous(file.to_owned())),
        },
        Err(failure) => Err(failure),
    };
    found.map_err(|failure| FetchError::Get { url: shown(&list), failure })
}

/// A small file as text.
async fn text(client: &Client, url: Url) -> Result<String, Failure> {
    let (_, mut response) = open(client, url, None).await?;
    let (mut bytes, mut pace, stall) = (Vec::new(), Pace::default(), client.limits.stall);
    loop {
        let asked = Instant::now();
        let chunk = timeout(stall, response.chunk()).await.map_err(|_| Failure::Stalled(stall))?;
        let short = |_| Failure::Short { received: bytes.len() as u64, announced: None };
        let Some(chunk) = chunk.map_err(short)? else { return Ok(String::from_utf8_lossy(&bytes).into_owned()) };
        pace.keep(chunk.len(), asked.elapsed(), stall)?;
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LIST {
            return Err(Failure::LongList);
        }
    }
}

/// The answer that holds the image, or the rest of it, after redirects, and where it came from.
async fn open(client: &Client, mut url: Url, rest: Option<&Rest>) -> Result<(Url, Response), Failure> {
    for _ in 0..=REDIRECTS {
        let response = client.get(&url, rest).await?;
        match (response.status(), rest) {
            (StatusCode::OK, None) => return Ok((url, plain(response)?)),
            (StatusCode::PARTIAL_CONTENT, Some(rest)) => return Ok((url, rest.check(plain(response)?)?)),
            (StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE, Some(rest)) => return Err(rest.refused(&response)),
            (
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT,
                _,
            ) => url = target(&url, &response)?,
            (status, _) => return Err(client.useless(&url, status)),
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

/// The address that a field says.
fn parse(text: &str, field: &str) -> Result<Url, FetchError> {
    let refuse = |reason: &str| FetchError::Source(format!("{field} {reason}"));
    let url = Url::parse(text).map_err(|_| refuse("is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("must begin with http:// or https://"));
    }
    if has_credentials(&url) {
        return Err(refuse("must not have credentials in it"));
    }
    Ok(url)
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}
