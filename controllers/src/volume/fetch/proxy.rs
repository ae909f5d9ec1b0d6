//! A proxy that asks image servers in the provider's place.
//!
//! ```text
//! http:   GET http://server/image ─► proxy ─► server
//! https:  CONNECT server:443 ─► proxy ═ tunnel ═ TLS with the server ─► GET /image
//! ```
//! It is spoken to here, and not by the library that speaks to servers, because that one keeps to itself what a proxy answers to CONNECT.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Uri, body::Incoming, client::conn::http1, http::uri::PathAndQuery, upgrade};
use hyper_util::rt::TokioIo;
use reqwest::{
    Body, Method, Request, Response, StatusCode, Url,
    header::{HOST, HeaderValue, PROXY_AUTHORIZATION},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    Credentials, Limits,
    error::{Failure, connect_failure, why, words},
    no_proxy::Direct,
};

/// A proxy, and who is asked without it. Its `Debug` shows nothing of what lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    url: Url,
    credentials: Option<HeaderValue>,
    direct: Direct,
}

/// What a proxy did instead of its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its name leads nowhere.
    Unresolved,
    /// There is no connection to it within this time.
    ConnectTimeout(Duration),
    /// There is no connection to it, or none that can be trusted.
    Connect(String),
    /// It wants credentials, and none are said.
    Closed,
    /// It does not take the credentials.
    Locked,
    /// It answered this when it was to connect to the server.
    Refused(StatusCode),
    /// It did not connect to the server within this time.
    Late(Duration),
}

impl Trouble {
    /// Whether it may go well a moment later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unresolved | Self::ConnectTimeout(_) | Self::Connect(_) | Self::Late(_) => true,
            Self::Closed | Self::Locked => false,
            Self::Refused(status) => status.is_server_error(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => formatter.write_str("cannot be resolved"),
            Self::ConnectTimeout(time) => write!(formatter, "is not to be had: no connection within {time:?}"),
            Self::Connect(reason) => write!(formatter, "is not to be had: {reason}"),
            Self::Closed => formatter.write_str(
                "wants credentials (407); name their Secret in the ProviderConfig's policy.imageProxy.credentialsRef",
            ),
            Self::Locked => formatter.write_str(
                "does not take the credentials of the ProviderConfig's policy.imageProxy.credentialsRef (407)",
            ),
            Self::Refused(status) => write!(formatter, "does not connect to the server: {}", words(*status)),
            Self::Late(time) => write!(formatter, "did not connect to the server within {time:?}"),
        }
    }
}

/// How servers and proxies are trusted, and waited for.
pub(super) struct Manner<'a> {
    /// By whom the image's server may be vouched for.
    pub(super) server: &'a Arc<ClientConfig>,
    /// By whom the proxy may be: what an object says of its server's authorities is not said of the platform's proxy.
    pub(super) proxy: &'a Arc<ClientConfig>,
    pub(super) limits: Limits,
}

/// A connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Proxy {
    /// A proxy at this URL, let in by these credentials, for all servers but those that the entries of `no_proxy` say.
    ///
    /// # Errors
    /// The field that cannot be used, and why.
    pub fn new(url: &str, credentials: Option<&Credentials>, no_proxy: &[String]) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|_| "url is not a URL".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("url must begin with http:// or https://".to_owned());
        }
        if super::has_credentials(&url) {
            return Err("url must not have credentials in it".to_owned());
        }
        let direct = Direct::new(no_proxy)
            .map_err(|entry| format!("noProxy: {entry:?} is no name, address or range of addresses"))?;
        Ok(Self { url, credentials: credentials.and_then(Credentials::authorization), direct })
    }

    /// Whether this URL is asked for by way of it.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        !self.direct.has(url)
    }

    /// Its host and port.
    pub(super) fn name(&self) -> String {
        origin(&self.url)
    }

    /// The answer to one request, no redirect followed. Whether the server may be asked is the caller's to know.
    pub(super) async fn get(&self, request: Request, manner: &Manner<'_>) -> Result<Response, Failure> {
        let url = request.url().clone();
        let mut request = hyper::Request::try_from(request).map_err(|error| connect_failure(&error))?;
        if let Ok(host) = HeaderValue::from_str(&host(&url)) {
            request.headers_mut().insert(HOST, host);
        }
        if url.scheme() == "https" {
            let stream = self.tunnel(&url, manner).await?;
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
            return answer(stream, request, manner.limits.stall).await?.map_err(|error| connect_failure(&error));
        }
        self.sign(&mut request);
        let stream = self.connect(manner).await?;
        let broken = |error: hyper::Error| self.fails(Trouble::Connect(why(&error, "the proxy")));
        let response = answer(stream, request, manner.limits.stall).await?.map_err(broken)?;
        match response.status() {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(self.fails(self.unsigned())),
            _ => Ok(response),
        }
    }

    /// A connection to the proxy itself.
    async fn connect(&self, manner: &Manner<'_>) -> Result<Box<dyn Stream>, Failure> {
        let time = manner.limits.connect;
        let late = |_| self.fails(Trouble::ConnectTimeout(time));
        let broken = |error: std::io::Error| self.fails(Trouble::Connect(why(&error, "the proxy")));
        let addresses = self.addresses(time).await?;
        let stream = timeout(time, TcpStream::connect(addresses.as_slice())).await.map_err(late)?.map_err(broken)?;
        if self.url.scheme() != "https" {
            return Ok(Box::new(stream));
        }
        let name = server_name(&self.url).ok_or_else(|| self.fails(Trouble::Unresolved))?;
        let stream = TlsConnector::from(manner.proxy.clone()).connect(name, stream);
        Ok(Box::new(timeout(time, stream).await.map_err(late)?.map_err(broken)?))
    }

    /// Its addresses, of whatever kind: who wrote the config wrote it.
    async fn addresses(&self, time: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let (host, port) = (bare(&self.url), self.url.port_or_known_default().unwrap_or_default());
        let unresolved = || self.fails(Trouble::Unresolved);
        let lookup = timeout(time, tokio::net::lookup_host((host, port))).await;
        let addresses: Vec<_> = lookup.map_err(|_| unresolved())?.map_err(|_| unresolved())?.collect();
        if addresses.is_empty() { Err(unresolved()) } else { Ok(addresses) }
    }

    /// A connection by TLS to the server of this URL, through the proxy, which sees nothing of it.
    async fn tunnel(&self, url: &Url, manner: &Manner<'_>) -> Result<Box<dyn Stream>, Failure> {
        let (time, target) = (manner.limits.connect, origin(url));
        let stream = self.connect(manner).await?;
        let opened = timeout(time, self.open(stream, &target)).await;
        let tunnel = opened.map_err(|_| self.fails(Trouble::Late(time)))??;
        let unnamed = || Failure::Connect("the server's name is none that a certificate could be for".to_owned());
        let name = server_name(url).ok_or_else(unnamed)?;
        let stream = TlsConnector::from(manner.server.clone()).connect(name, tunnel);
        let stream = timeout(time, stream).await.map_err(|_| Failure::ConnectTimeout(time))?;
        Ok(Box::new(stream.map_err(|error| connect_failure(&error))?))
    }

    /// Has the proxy connect to a host and port.
    async fn open(&self, stream: Box<dyn Stream>, target: &str) -> Result<TokioIo<upgrade::Upgraded>, Failure> {
        let broken = |error: hyper::Error| self.fails(Trouble::Connect(why(&error, "the proxy")));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        let mut request = hyper::Request::new(Body::default());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = target.parse::<Uri>().map_err(|error| connect_failure(&error))?;
        if let Ok(host) = HeaderValue::from_str(target) {
            request.headers_mut().insert(HOST, host);
        }
        self.sign(&mut request);
        let response = sender.send_request(request).await.map_err(broken)?;
        match response.status() {
            status if status.is_success() => Ok(TokioIo::new(upgrade::on(response).await.map_err(broken)?)),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(self.fails(self.unsigned())),
            status => Err(self.fails(Trouble::Refused(status))),
        }
    }

    /// Says who asks, to the proxy.
    fn sign(&self, request: &mut hyper::Request<Body>) {
        if let Some(credentials) = &self.credentials {
            request.headers_mut().insert(PROXY_AUTHORIZATION, credentials.clone());
        }
    }

    fn unsigned(&self) -> Trouble {
        if self.credentials.is_some() { Trouble::Locked } else { Trouble::Closed }
    }

    fn fails(&self, trouble: Trouble) -> Failure {
        Failure::Proxy { proxy: self.name(), trouble }
    }
}

/// The answer to a request over a connection of its own, which goes with it.
async fn answer(
    stream: Box<dyn Stream>,
    request: hyper::Request<Body>,
    stall: Duration,
) -> Result<hyper::Result<Response>, Failure> {
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response: hyper::Response<Incoming> = sender.send_request(request).await?;
        Ok(Response::from(response.map(Body::wrap)))
    };
    timeout(stall, asking).await.map_err(|_| Failure::Stalled(stall))
}

/// Host and port.
fn origin(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

/// Host, and port where it is not the scheme's own.
fn host(url: &Url) -> String {
    url.port().map_or_else(|| url.host_str().unwrap_or_default().to_owned(), |_| origin(url))
}

/// A host without brackets.
fn bare(url: &Url) -> &str {
    url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

fn server_name(url: &Url) -> Option<ServerName<'static>> {
    ServerName::try_from(bare(url).to_owned()).ok()
}
