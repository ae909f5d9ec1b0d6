//! Transfers that break and go on, and checksums from a list, on a server that does what each test says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use apis::volume::HttpSource;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use provider_libvirt::volume::fetch::{
    CHUNK, Client, Credentials, FetchError, Fetched, Limits, Progress, Sink, ask, fetch,
};
use rustls::RootCertStore;
use sha2::{Sha256, Sha512};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
};

/// What came of a connection: a head, and the bytes after it until the server hangs up.
type Answer = (String, Vec<u8>);

/// A server that gives one answer after the other, the last for ever, and notes the heads of the requests.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = heads.clone();
        tokio::spawn(async move {
            let mut count = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                noted.lock().unwrap().push(String::from_utf8(head).unwrap());
                let (head, body) = answers.get(count).or_else(|| answers.last()).unwrap();
                count += 1;
                let _ = stream.write_all(&[format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, heads }
    }

    /// The value that each request had of a header.
    fn seen(&self, header: &str) -> Vec<Option<String>> {
        let value = |head: &String| {
            let line = head.lines().find_map(|line| line.strip_prefix(header)?.strip_prefix(": "));
            line.map(str::to_owned)
        };
        self.heads.lock().unwrap().iter().map(value).collect()
    }

    fn source(&self, body: &[u8]) -> HttpSource {
        let checksum = Some(HEXLOWER.encode(&Sha256::digest(body)));
        HttpSource { url: format!("http://{}/disk.img", self.address), checksum, ..HttpSource::default() }
    }
}

async fn outcome(source: &HttpSource) -> (Result<Fetched, FetchError>, Vec<u8>) {
    outcome_with(source, None).await
}

async fn outcome_with(source: &HttpSource, credentials: Option<Credentials>) -> (Result<Fetched, FetchError>, Vec<u8>) {
    let limits = Limits { stall: Duration::from_millis(300), pause: Duration::from_millis(1), ..Limits::default() };
    let client = Client::with_roots(limits, RootCertStore::empty())
        .unwrap()
        .allowing(&["127.0.0.1".to_owned()])
        .showing(credentials, source);
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
    let result = fetch(&client, source, sink).await;
    (result, received.await.unwrap())
}

/// The sentence that a user sees, with the server's address replaced by HOST.
async fn sentence(server: &Server, source: &HttpSource) -> String {
    outcome(source).await.0.unwrap_err().to_string().replace(&server.address.to_string(), "HOST")
}

fn image() -> Vec<u8> {
    (0..3 * CHUNK + 17).map(|at| (at / 7 % 251).to_le_bytes()[0]).collect()
}

const TAG: &str = "ETag: \"one\"";
const OTHER: &str = "ETag: \"two\"";

/// The first `end` bytes of what is announced as whole, with these headers.
fn begun(image: &[u8], end: usize, headers: &str) -> Answer {
    (format!("200 OK\r\nContent-Length: {}\r\n{headers}", image.len()), image[..end].to_vec())
}

/// The part from `first` on, of which only so much comes, with these headers.
fn part(image: &[u8], first: usize, end: usize, headers: &str) -> Answer {
    let whole = image.len();
    let head = format!(
        "206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {first}-{}/{whole}\r\n{headers}",
        whole - first,
        whole - 1
    );
    (head, image[first..end].to_vec())
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_broke() {
    let image = image();
    let (cut, later) = (CHUNK + 5, 2 * CHUNK + 7);
    for version in [TAG, "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"] {
        let answers = vec![
            begun(&image, cut, version),
            ("503 Service Unavailable\r\nContent-Length: 0".to_owned(), Vec::new()),
            part(&image, cut, later, version),
            part(&image, later, image.len(), version),
        ];
        let server = Server::start(answers).await;
        let (result, bytes) = outcome(&server.source(&image)).await;
        assert_eq!(result.map(|fetched| fetched.bytes), Ok(image.len() as u64));
        assert!(bytes == image, "each byte once");
        let from = |at: usize| Some(format!("bytes={at}-"));
        assert_eq!(server.seen("range"), [None, from(cut), from(cut), from(later)]);
        let tag = version.split_once(": ").map(|(_, value)| value.to_owned());
        assert_eq!(server.seen("if-range"), [None, tag.clone(), tag.clone(), tag]);
    }
}

#[tokio::test]
async fn the_rest_of_what_is_there_is_asked_for_where_the_address_leads_by_then() {
    let image = image();
    let gone = ("403 Forbidden\r\nContent-Length: 0".to_owned(), Vec::new());
    let old = Server::start(vec![begun(&image, image.len(), TAG), gone]).await;
    let new = Server::start(vec![part(&image, CHUNK, image.len(), TAG)]).await;
    let to = |mirror: &Server| {
        let head = format!("302 Found\r\nContent-Length: 0\r\nLocation: http://{}/disk.img", mirror.address);
        (head, Vec::new())
    };
    let server = Server::start(vec![to(&old), to(&new)]).await;
    let client = Client::with_roots(Limits::default(), RootCertStore::empty()).unwrap();
    let client = client.allowing(&["127.0.0.1".to_owned()]);
    let there = ask(&client, &server.source(&image)).await.unwrap().begin(&client, CHUNK).await.unwrap().unwrap();
    let (chunks, mut receiver) = mpsc::channel::<Bytes>(8);
    let progress = watch::channel(Progress::Asking).0;
    let sink = Sink { chunks, progress, max_bytes: u64::MAX, parts: Arc::default() };
    let received = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(chunk) = receiver.recv().await {
            all.extend_from_slice(&chunk);
        }
        all
    });
    let fetched = there.rest(&client, sink).await;
    assert_eq!(fetched.map(|fetched| fetched.bytes), Ok(image.len() as u64));
    assert!(received.await.unwrap() == image[CHUNK..], "the rest and nothing else");
    assert_eq!(new.seen("range"), [Some(format!("bytes={CHUNK}-"))]);
    assert_eq!(new.seen("if-range"), [Some("\"one\"".to_owned())]);
    assert_eq!(old.seen("range"), [None]);
}

#[tokio::test]
async fn what_the_server_has_by_then_is_not_glued_to_what_came() {
    let image = image();
    let cut = CHUNK + 5;
    let shifted = |from: &str, to: &str| {
        let (head, body) = part(&image, cut, image.len(), TAG);
        assert!(head.contains(from));
        (head.replace(from, to), body)
    };
    let whole = image.len().to_string();
    let changed = "the transfer broke, and by now the server has another image or does not say that it is the same";
    let cases = [
        (begun(&image, image.len(), OTHER), changed),
        (part(&image, cut, image.len(), OTHER), changed),
        (part(&image, cut, image.len(), "X: y"), changed),
        (shifted(&format!("bytes {cut}"), &format!("bytes {}", cut + 1)), changed),
        (shifted(&format!("/{whole}"), "/7"), changed),
        (shifted("Content-Range", "X-Range"), changed),
        (("416 Range Not Satisfiable\r\nContent-Length: 0".to_owned(), Vec::new()), changed),
        (begun(&image, image.len(), TAG), "the transfer broke, and the server sends the image only as a whole"),
        (("404 Not Found\r\nContent-Length: 0".to_owned(), Vec::new()), "404 Not Found"),
    ];
    for (answer, said) in cases {
        let server = Server::start(vec![begun(&image, cut, TAG), answer]).await;
        assert_eq!(sentence(&server, &server.source(&image)).await, format!("GET http://HOST/disk.img: {said}"));
        assert_eq!(server.seen("range").len(), 2);
    }
}

#[tokio::test]
async fn without_a_sign_of_the_version_nothing_is_asked_for_again() {
    let image = image();
    for headers in ["X: y", "ETag: W/\"one\"", "ETag: \"one\"\r\nAccept-Ranges: none"] {
        let server = Server::start(vec![begun(&image, CHUNK, headers)]).await;
        let said = format!("GET http://HOST/disk.img: ended after {CHUNK} of {} bytes", image.len());
        assert_eq!(sentence(&server, &server.source(&image)).await, said);
        assert_eq!(server.seen("range"), [None]);
    }
}

#[tokio::test]
async fn a_server_that_breaks_each_time_is_given_up() {
    let image = image();
    let server = Server::start(vec![begun(&image, CHUNK, TAG), part(&image, CHUNK, CHUNK, TAG)]).await;
    let said = format!("GET http://HOST/disk.img: ended after {CHUNK} of {} bytes", image.len());
    assert_eq!(sentence(&server, &server.source(&image)).await, said);
    assert_eq!(server.seen("range").len(), 6);
}

#[tokio::test]
async fn a_list_of_checksums_says_what_the_image_must_be() {
    let image = image();
    let (sha256, sha512) = (HEXLOWER.encode(&Sha256::digest(&image)), HEXLOWER.encode(&Sha512::digest(&image)));
    let md5 = HEXLOWER.encode(&Md5::digest(&image));
    let lists = [
        (format!("{}  other.img\n{sha256}  disk.img\n", "0".repeat(64)), format!("sha256:{sha256}")),
        (format!("SHA512 (disk.img) = {sha512}\n"), format!("sha512:{sha512}")),
        (format!("{md5}\n"), format!("md5:{md5}")),
    ];
    for (list, said) in lists {
        let server =
            Server::start(vec![begun(list.as_bytes(), list.len(), "X: y"), begun(&image, image.len(), TAG)]).await;
        let list = Some(format!("http://{}/SUMS?token=secret", server.address));
        let source = HttpSource { checksum: None, checksum_url: list, ..server.source(&image) };
        let (result, bytes) = outcome(&source).await;
        assert_eq!(result.map(|fetched| fetched.checksum.to_string()), Ok(said));
        assert!(bytes == image);
    }
}

#[tokio::test]
async fn a_list_that_says_nothing_of_the_image_is_refused_before_the_image_is_asked_for() {
    let (one, other) = ("1".repeat(64), "2".repeat(64));
    let cases = [
        (format!("{one}  other.img\n"), "there is no checksum of disk.img in it"),
        (format!("{one}  disk.img\n{other}  disk.img\n"), "there are several checksums of disk.img in it"),
        ("x".repeat((1 << 20) + 1), "larger than 1 MiB, which no list of checksums is"),
    ];
    for (list, said) in cases {
        let server = Server::start(vec![begun(list.as_bytes(), list.len(), "X: y")]).await;
        let list = Some(format!("http://{}/SUMS?token=secret", server.address));
        let source = HttpSource { checksum: None, checksum_url: list, ..server.source(b"") };
        assert_eq!(sentence(&server, &source).await, format!("GET http://HOST/SUMS: {said}"));
        assert_eq!(server.seen("range").len(), 1);
    }
    let nothing = Server::start(vec![begun(b"", 0, "X: y")]).await;
    let elsewhere = Some("http://127.0.0.2/SUMS".to_owned());
    let source = HttpSource { checksum: None, checksum_url: elsewhere, ..nothing.source(b"") };
    let refused = "image host 127.0.0.2 is not public; list it in the ProviderConfig's policy.imageHosts";
    assert_eq!(sentence(&nothing, &source).await, refused);
    let source = HttpSource { checksum: None, ..nothing.source(b"") };
    assert_eq!(sentence(&nothing, &source).await, "source.http.checksum or checksumUrl is needed");
}

#[tokio::test]
async fn credentials_are_shown_to_the_server_of_the_image_and_to_no_other() {
    let body = b"image";
    let sums = format!("{}  disk.img\n", HEXLOWER.encode(&Sha256::digest(body)));
    let (mirror, own) = (
        Server::start(vec![begun(body, 2, TAG), part(body, 2, 5, TAG)]).await,
        Server::start(vec![begun(sums.as_bytes(), sums.len(), "X: y")]).await,
    );
    let away = format!("302 Found\r\nContent-Length: 0\r\nLocation: http://{}/disk.img", mirror.address);
    let server = Server::start(vec![(away, Vec::new())]).await;
    let credentials = || Credentials::of(|key| (key == "token").then_some(b"secret".as_slice())).ok();
    let (own_list, shown) = (Some(format!("http://{}/SUMS", own.address)), Some("Bearer secret".to_owned()));
    let source = HttpSource { checksum: None, checksum_url: own_list, ..server.source(body) };
    let (result, bytes) = outcome_with(&source, credentials()).await;
    assert_eq!((result.map(|fetched| fetched.bytes), bytes), (Ok(5), body.to_vec()));
    assert_eq!(server.seen("authorization"), std::slice::from_ref(&shown));
    assert_eq!((mirror.seen("authorization"), own.seen("authorization")), (vec![None, None], vec![None]));

    let same = Server::start(vec![begun(sums.as_bytes(), sums.len(), "X: y"), begun(body, 5, TAG)]).await;
    let list = Some(format!("http://{}/SUMS", same.address));
    let source = HttpSource { checksum: None, checksum_url: list, ..same.source(body) };
    assert_eq!(outcome_with(&source, credentials()).await.0.map(|fetched| fetched.bytes), Ok(5));
    assert_eq!(same.seen("authorization"), [shown.clone(), shown]);
}

#[tokio::test]
async fn a_wrong_checksum_is_said_with_its_algorithm() {
    let server = Server::start(vec![begun(b"body", 4, TAG)]).await;
    let wished = format!("md5:{}", "0".repeat(32));
    let source = HttpSource { checksum: Some(wished.clone()), ..server.source(b"") };
    let found = HEXLOWER.encode(&Md5::digest(b"body"));
    assert_eq!(sentence(&server, &source).await, format!("checksum is md5:{found}, expected {wished}"));
}
