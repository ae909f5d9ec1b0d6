//! Images fetched by way of a proxy on the loopback interface, which answers for every server there is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use apis::volume::HttpSource;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use provider_libvirt::volume::fetch::{Authorities, Client, Credentials, Limits, Progress, Proxy, Sink, fetch};
use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_rustls::TlsAcceptor;

const BODY: &[u8] = b"image";
const TUNNEL: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// What a proxy does: its own TLS, its answers one after the other, the last for ever, and the server at the end of its tunnels.
#[derive(Clone, Default)]
struct Plan {
    tls: Option<TlsAcceptor>,
    answers: Vec<String>,
    server: Option<(TlsAcceptor, String)>,
    stalls: bool,
}

impl Plan {
    fn says(answer: impl Into<String>) -> Self {
        Self { answers: vec![answer.into()], ..Self::default() }
    }
}

/// A proxy, and the heads of the requests that it and the server at the end of its tunnels have seen.
struct Door {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Door {
    async fn open(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        tokio::spawn(async move {
            let mut plan = plan;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Box::new(stream), plan.clone(), noted.clone()));
                if plan.answers.len() > 1 {
                    plan.answers.remove(0);
                }
            }
        });
        Self { address, heads }
    }

    fn proxy(&self) -> Proxy {
        self.proxy_with(None, &[])
    }

    fn proxy_with(&self, credentials: Option<&Credentials>, no_proxy: &[&str]) -> Proxy {
        let no_proxy: Vec<String> = no_proxy.iter().map(|entry| (*entry).to_owned()).collect();
        Proxy::new(&format!("http://{}", self.address), credentials, &no_proxy).unwrap()
    }

    /// The first lines of the requests.
    fn lines(&self) -> Vec<String> {
        let first = |head: &String| head.lines().next().unwrap_or_default().to_owned();
        self.heads.lock().unwrap().iter().map(first).collect()
    }

    /// The value that each request had of a header.
    fn seen(&self, header: &str) -> Vec<Option<String>> {
        let value = |head: &String| {
            let line = head.lines().find_map(|line| line.strip_prefix(header)?.strip_prefix(": "));
            line.map(str::to_owned)
        };
        self.heads.lock().unwrap().iter().map(value).collect()
    }
}

async fn serve(stream: Box<dyn Stream>, plan: Plan, heads: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let Plan { tls, answers, server, stalls } = plan;
    let mut stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(tls.accept(stream).await.ok()?),
        None => stream,
    };
    let head = head(&mut stream).await?;
    heads.lock().unwrap().push(head.clone());
    if stalls {
        std::future::pending::<()>().await;
    }
    stream.write_all(answers.first()?.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    if let Some((tls, answer)) = server.filter(|_| head.starts_with("CONNECT ")) {
        let mut stream = tls.accept(stream).await.ok()?;
        let head = self::head(&mut stream).await?;
        heads.lock().unwrap().push(head);
        stream.write_all(answer.as_bytes()).await.ok()?;
        return stream.shutdown().await.ok();
    }
    stream.shutdown().await.ok()
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A certificate of its own authority for a name, in PEM too.
fn tls(name: &str, roots: &mut RootCertStore) -> (TlsAcceptor, String) {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    roots.add(cert.der().clone()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}

fn ok(body: &[u8]) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.len(), String::from_utf8_lossy(body))
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n")
}

fn credentials() -> Credentials {
    let keys = [("username", b"me".as_slice()), ("password", b"sesame")];
    Credentials::of(|key| keys.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)).unwrap()
}

/// A client that may ask servers that nobody here knows: `images.invalid`, and `shut.invalid` at one port alone.
fn client(roots: RootCertStore, proxy: Proxy) -> Client {
    let limits = Limits {
        connect: Duration::from_millis(1500),
        stall: Duration::from_millis(1500),
        pause: Duration::from_millis(1),
        ..Limits::default()
    };
    let listed = ["images.invalid", "shut.invalid:8443"].map(str::to_owned);
    Client::with_roots(limits, roots).unwrap().allowing(&listed).by(Some(proxy))
}

/// The image at this URL, or the sentence that a user sees, with the proxy's address replaced by PROXY.
async fn outcome(client: &Client, door: &Door, url: &str) -> Result<Vec<u8>, String> {
    let checksum = Some(HEXLOWER.encode(&Sha256::digest(BODY)));
    let source = HttpSource { url: url.to_owned(), checksum, ..HttpSource::default() };
    let (sender, mut chunks) = mpsc::channel::<Bytes>(1);
    let received = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend_from_slice(&chunk);
        }
        all
    });
    let sink = Sink {
        chunks: sender,
        progress: watch::channel(Progress::Asking).0,
        max_bytes: u64::MAX,
        parts: Arc::default(),
    };
    let fetched = fetch(client, &source, sink).await;
    let bytes = received.await.unwrap();
    fetched.map(|_| bytes).map_err(|error| error.to_string().replace(&door.address.to_string(), "PROXY"))
}

/// The same by a proxy of this plan, of which nothing is trusted.
async fn by(plan: Plan, url: &str) -> Result<Vec<u8>, String> {
    let door = Door::open(plan).await;
    outcome(&client(RootCertStore::empty(), door.proxy()), &door, url).await
}

#[tokio::test]
async fn an_http_server_is_asked_for_by_its_whole_url() {
    let door = Door::open(Plan::says(ok(BODY))).await;
    let client = client(RootCertStore::empty(), door.proxy_with(Some(&credentials()), &[]));
    let url = "http://images.invalid:8080/a%20b/disk.img?token=x#part";
    assert_eq!(outcome(&client, &door, url).await, Ok(BODY.to_vec()));
    assert_eq!(door.lines(), ["GET http://images.invalid:8080/a%20b/disk.img?token=x HTTP/1.1"]);
    let one = |value: &str| [Some(value.to_owned())];
    assert_eq!(door.seen("host"), one("images.invalid:8080"));
    assert_eq!(door.seen("accept-encoding"), one("identity"));
    assert_eq!(door.seen("proxy-authorization"), one("Basic bWU6c2VzYW1l"));
    assert!(!format!("{:?}", door.proxy_with(Some(&credentials()), &[])).contains("bWU6c2VzYW1l"));
}

#[tokio::test]
async fn the_certificate_of_an_https_server_is_checked_through_the_tunnel() {
    let mut roots = RootCertStore::empty();
    let (server, _) = tls("images.invalid", &mut roots);
    let plan = Plan { server: Some((server, ok(BODY))), ..Plan::says(TUNNEL) };
    let door = Door::open(plan.clone()).await;
    let known = client(roots.clone(), door.proxy_with(Some(&credentials()), &[]));
    assert_eq!(outcome(&known, &door, "https://images.invalid/disk.img").await, Ok(BODY.to_vec()));
    assert_eq!(door.lines(), ["CONNECT images.invalid:443 HTTP/1.1", "GET /disk.img HTTP/1.1"]);
    assert_eq!(door.seen("host"), ["images.invalid:443", "images.invalid"].map(|host| Some(host.to_owned())));
    // What lets in at the proxy is not for the server.
    assert_eq!(door.seen("proxy-authorization"), [Some("Basic bWU6c2VzYW1l".to_owned()), None]);

    let refused = |why: &str| Err(format!("GET https://images.invalid/disk.img: the server's certificate {why}"));
    let unknown = by(plan, "https://images.invalid/disk.img").await;
    assert_eq!(unknown, refused("is of an unknown authority"));
    let (other, _) = tls("other.invalid", &mut roots);
    let door = Door::open(Plan { server: Some((other, ok(BODY))), ..Plan::says(TUNNEL) }).await;
    let end = outcome(&client(roots, door.proxy()), &door, "https://images.invalid/disk.img").await;
    assert_eq!(end, refused("is not for this host"));
}

#[tokio::test]
async fn a_proxy_that_is_spoken_to_by_tls_is_vouched_for_by_the_system_and_not_by_what_objects_trust() {
    let mut roots = RootCertStore::empty();
    let ((server, _), (proxy, authority)) = (tls("images.invalid", &mut roots), tls("localhost", &mut roots));
    let plan = Plan { tls: Some(proxy), server: Some((server, ok(BODY))), ..Plan::says(TUNNEL) };
    let door = Door::open(plan).await;
    let secure = Proxy::new(&format!("https://localhost:{}", door.address.port()), None, &[]).unwrap();
    let known = client(roots, secure.clone());
    assert_eq!(outcome(&known, &door, "https://images.invalid/disk.img").await, Ok(BODY.to_vec()));

    let said = Authorities::of(authority.as_bytes()).unwrap();
    let fooled = client(RootCertStore::empty(), secure).trusting(Some(&said)).unwrap();
    let end = outcome(&fooled, &door, "https://images.invalid/disk.img").await;
    let port = door.address.port();
    assert_eq!(
        end,
        Err(format!(
            "GET https://images.invalid/disk.img: proxy localhost:{port} is not to be had: the proxy's certificate is of an unknown authority"
        ))
    );
}

#[tokio::test]
async fn what_a_proxy_refuses_is_told_as_its_refusal() {
    let (http, https) = ("http://images.invalid/disk.img", "https://images.invalid/disk.img");
    let cases = [
        (https, status("403 Forbidden"), "proxy PROXY does not connect to the server: 403 Forbidden"),
        (https, status("503 Busy"), "proxy PROXY does not connect to the server: 503 Service Unavailable"),
        (
            https,
            status("302 F\r\nLocation: http://login.invalid/"),
            "proxy PROXY does not connect to the server: 302 Found",
        ),
        (https, "SSH-2.0-x\r\n\r\n".to_owned(), "proxy PROXY is not to be had: the proxy gave no valid answer"),
        (http, "SSH-2.0-x\r\n\r\n".to_owned(), "proxy PROXY is not to be had: the proxy gave no valid answer"),
        (http, status("403 Forbidden"), "403 Forbidden, from the server or from proxy PROXY"),
        (http, status("502 x"), "502 Bad Gateway, from the server or from proxy PROXY"),
    ];
    for (url, answer, said) in cases {
        assert_eq!(by(Plan::says(answer), url).await, Err(format!("GET {url}: {said}")));
    }
    for url in [http, https] {
        let locked = Plan::says(status("407 Proxy Authentication Required"));
        let door = Door::open(locked.clone()).await;
        let ours = client(RootCertStore::empty(), door.proxy_with(Some(&credentials()), &[]));
        let wants =
            "wants credentials (407); name their Secret in the ProviderConfig's policy.imageProxy.credentialsRef";
        assert_eq!(by(locked, url).await, Err(format!("GET {url}: proxy PROXY {wants}")));
        let turned = "does not take the credentials of the ProviderConfig's policy.imageProxy.credentialsRef (407)";
        assert_eq!(outcome(&ours, &door, url).await, Err(format!("GET {url}: proxy PROXY {turned}")));
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_told_as_such() {
    let door = Door::open(Plan { stalls: true, ..Plan::says(TUNNEL) }).await;
    let at = |url: &str| client(RootCertStore::empty(), Proxy::new(url, None, &[]).unwrap());
    let (gone, nowhere) = (at("http://127.0.0.1:1"), at("http://proxy.invalid:3128"));
    let url = "https://images.invalid/disk.img";
    let said = |what: &str| Err(format!("GET {url}: proxy {what}"));
    assert_eq!(outcome(&gone, &door, url).await, said("127.0.0.1:1 is not to be had: connection refused"));
    assert_eq!(outcome(&nowhere, &door, url).await, said("proxy.invalid:3128 cannot be resolved"));
    let silent = client(RootCertStore::empty(), door.proxy());
    assert_eq!(outcome(&silent, &door, url).await, said("PROXY did not connect to the server within 1.5s"));
    let url = "http://images.invalid/disk.img";
    assert_eq!(outcome(&silent, &door, url).await, Err(format!("GET {url}: no data for 1.5s")));
}

#[tokio::test]
async fn what_is_not_public_is_refused_though_the_proxy_would_go_there() {
    for (url, host) in [
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("https://10.0.0.1/disk.img", "10.0.0.1"),
        ("http://[::ffff:10.0.0.1]/disk.img", "[::ffff:a00:1]"),
    ] {
        let said = format!("image host {host} is not public; list it in the ProviderConfig's policy.imageHosts");
        let door = Door::open(Plan::says(ok(BODY))).await;
        let ours = client(RootCertStore::empty(), door.proxy());
        assert_eq!(outcome(&ours, &door, url).await, Err(said.clone()));
        assert_eq!(door.lines(), [""; 0]);

        let away = status(&format!("302 Found\r\nLocation: {url}"));
        let door = Door::open(Plan { answers: vec![away, ok(BODY)], ..Plan::default() }).await;
        let ours = client(RootCertStore::empty(), door.proxy());
        assert_eq!(outcome(&ours, &door, "http://images.invalid/disk.img").await, Err(said));
        assert_eq!(door.lines(), ["GET http://images.invalid/disk.img HTTP/1.1"]);
    }
}

#[tokio::test]
async fn a_name_that_only_the_proxy_knows_is_refused_unless_it_is_listed() {
    for host in ["nobody.invalid", "mirror.images.invalid"] {
        let said = format!(
            "image host {host} cannot be resolved by the provider, so nobody can say whether the proxy would find it at a public address; list it in the ProviderConfig's policy.imageHosts"
        );
        assert_eq!(by(Plan::says(ok(BODY)), &format!("http://{host}/disk.img")).await, Err(said));
    }
    assert_eq!(by(Plan::says(ok(BODY)), "http://Images.invalid./disk.img").await, Ok(BODY.to_vec()));
    assert_eq!(by(Plan::says(ok(BODY)), "http://shut.invalid:8443/disk.img").await, Ok(BODY.to_vec()));
    assert!(by(Plan::says(ok(BODY)), "http://shut.invalid/disk.img").await.unwrap_err().contains("cannot be resolved"));
}

#[tokio::test]
async fn who_is_to_be_asked_directly_is_not_asked_by_the_proxy() {
    let (door, server) = (Door::open(Plan::says(ok(BODY))).await, Door::open(Plan::says(ok(BODY))).await);
    let ours = client(RootCertStore::empty(), door.proxy_with(None, &[".invalid"]));
    let end = outcome(&ours, &door, "http://images.invalid/disk.img").await;
    assert_eq!(end, Err("GET http://images.invalid/disk.img: host images.invalid cannot be resolved".to_owned()));
    // Loopback addresses always: the proxy has others behind them.
    let ours = client(RootCertStore::empty(), door.proxy()).allowing(&["127.0.0.1".to_owned()]);
    let url = format!("http://{}/disk.img", server.address);
    assert_eq!(outcome(&ours, &door, &url).await, Ok(BODY.to_vec()));
    assert_eq!((door.lines(), server.lines()), (Vec::new(), vec!["GET /disk.img HTTP/1.1".to_owned()]));
}

#[tokio::test]
async fn a_transfer_that_breaks_goes_on_by_the_proxy() {
    let answers = vec![
        "HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: 5\r\n\r\nim".to_owned(),
        status("503 Service Unavailable"),
        "HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\nage"
            .to_owned(),
    ];
    let door = Door::open(Plan { answers, ..Plan::default() }).await;
    let ours = client(RootCertStore::empty(), door.proxy());
    assert_eq!(outcome(&ours, &door, "http://images.invalid/disk.img").await, Ok(BODY.to_vec()));
    let rest = Some("bytes=2-".to_owned());
    assert_eq!(door.seen("range"), [None, rest.clone(), rest]);
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused() {
    let refused = |url: &str, entry: &str| Proxy::new(url, None, &[entry.to_owned()]).unwrap_err();
    assert_eq!(refused("proxy:3128", "*"), "url must begin with http:// or https://");
    assert_eq!(refused("", "*"), "url is not a URL");
    assert_eq!(refused("socks5://proxy:1080", "*"), "url must begin with http:// or https://");
    assert_eq!(refused("http://me:sesame@proxy:3128", "*"), "url must not have credentials in it");
    assert_eq!(
        refused("http://proxy:3128", "10.0.0.0/99"),
        "noProxy: \"10.0.0.0/99\" is no name, address or range of addresses"
    );
}
