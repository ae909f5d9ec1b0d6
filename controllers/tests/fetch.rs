//! Images fetched from servers on the loopback interface, the well-behaved and the other ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use apis::volume::HttpSource;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use provider_libvirt::volume::fetch::{
    Algorithm, CHUNK, Checksum, Client, FetchError, Fetched, Limits, Progress, Sink, fetch,
};
use rustls::{RootCertStore, ServerConfig, crypto::ring, pki_types::PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
    time::sleep,
};

/// What a server does with one connection: writes the pieces, waiting between them, and closes.
#[derive(Clone)]
enum Answer {
    Bytes(Vec<Vec<u8>>),
    /// The pieces, and then nothing for ever.
    Stall(Vec<Vec<u8>>),
    /// For each path its own answer.
    Paths(Vec<(&'static str, Self)>),
}

impl Answer {
    fn text(text: &str) -> Self {
        Self::Bytes(vec![text.as_bytes().to_vec()])
    }

    fn ok(body: &[u8]) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Self::Bytes(vec![head.into_bytes(), body.to_vec()])
    }

    fn redirect(to: &str) -> Self {
        Self::text(&format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"))
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, mut answer: Answer) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    while let Answer::Paths(paths) = answer {
        answer = paths
            .into_iter()
            .find(|(known, _)| *known == path)
            .map_or_else(|| Answer::text("HTTP/1.1 500 E\r\n\r\n"), |(_, answer)| answer);
    }
    let (pieces, stalls) = match answer {
        Answer::Bytes(pieces) => (pieces, false),
        Answer::Stall(pieces) => (pieces, true),
        Answer::Paths(_) => unreachable!(),
    };
    for piece in pieces {
        if stream.write_all(&piece).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    if stalls {
        std::future::pending::<()>().await;
    }
    let _ = stream.shutdown().await;
}

async fn serve(what: Answer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, what.clone()));
        }
    });
    address
}

/// A server with TLS for the name `localhost`, and the authorities that know its certificate.
async fn serve_tls(what: Answer) -> (SocketAddr, RootCertStore) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, what) = (acceptor.clone(), what.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, what).await;
                }
            });
        }
    });
    (address, roots)
}

fn limits() -> Limits {
    Limits {
        connect: Duration::from_secs(1),
        stall: Duration::from_millis(300),
        pause: Duration::from_millis(1),
        ..Limits::default()
    }
}

fn client(allowed: &[&str]) -> Client {
    client_of(allowed, RootCertStore::empty())
}

fn client_of(allowed: &[&str], roots: RootCertStore) -> Client {
    let allowed: Vec<_> = allowed.iter().map(|&entry| entry.to_owned()).collect();
    Client::with_roots(limits(), roots).unwrap().allowing(&allowed)
}

fn digits(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body))
}

fn sum(body: &[u8]) -> Checksum {
    Checksum { algorithm: Algorithm::Sha256, digits: digits(body) }
}

fn source(url: &str, body: &[u8]) -> HttpSource {
    let checksum = Some(format!("sha256:{}", digits(body)));
    HttpSource { url: url.to_owned(), checksum, ..HttpSource::default() }
}

struct Outcome {
    result: Result<Fetched, FetchError>,
    chunks: Vec<Bytes>,
    progress: Vec<Progress>,
}

async fn outcome_with(client: &Client, source: &HttpSource, max_bytes: u64) -> Outcome {
    let (sender, mut chunks) = mpsc::channel(1);
    let (progress, mut steps) = watch::channel(Progress::Percent(0));
    let received = tokio::spawn(async move {
        let (mut all, mut seen) = (Vec::new(), Vec::new());
        while let Some(chunk) = chunks.recv().await {
            all.push(chunk);
            if steps.has_changed().unwrap_or(false) {
                seen.push(*steps.borrow_and_update());
            }
        }
        if steps.has_changed().is_err() && seen.last() != Some(&*steps.borrow()) {
            seen.push(*steps.borrow());
        }
        (all, seen)
    });
    let result = fetch(client, source, Sink { chunks: sender, progress, max_bytes, parts: Arc::default() }).await;
    let (chunks, progress) = received.await.unwrap();
    Outcome { result, chunks, progress }
}

async fn outcome(client: &Client, source: &HttpSource) -> Outcome {
    outcome_with(client, source, u64::MAX).await
}

/// The sentence that a user sees when this server is asked for `/image`, with its address replaced by HOST.
async fn sentence(what: Answer) -> String {
    let address = serve(what).await;
    let outcome =
        outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/image?token=secret#part"), b"x")).await;
    outcome.result.unwrap_err().to_string().replace(&address.to_string(), "HOST")
}

fn image(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 % 251).to_le_bytes()[0]).collect()
}

#[tokio::test]
async fn an_image_comes_whole_in_chunks_of_one_size() {
    let body = image(3 * CHUNK + 17);
    let address = serve(Answer::ok(&body)).await;
    let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/image"), &body)).await;
    assert_eq!(outcome.result, Ok(Fetched { bytes: body.len() as u64, checksum: sum(&body) }));
    assert_eq!(outcome.chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK, CHUNK, CHUNK, 17]);
    assert!(outcome.chunks.concat() == body);
}

#[tokio::test]
async fn an_image_of_whole_chunks_and_an_empty_one_end_well() {
    for (body, lengths) in [(image(2 * CHUNK), vec![CHUNK, CHUNK]), (Vec::new(), vec![])] {
        let address = serve(Answer::ok(&body)).await;
        let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), &body)).await;
        assert_eq!(outcome.result, Ok(Fetched { bytes: body.len() as u64, checksum: sum(&body) }));
        assert_eq!(outcome.chunks.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
    }
}

#[tokio::test]
async fn progress_comes_in_whole_tens_and_ends_at_a_hundred() {
    let body = image(40 * CHUNK);
    let address = serve(Answer::ok(&body)).await;
    let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), &body)).await;
    let percents: Vec<u8> = outcome
        .progress
        .iter()
        .map(|progress| match progress {
            Progress::Percent(percent) => *percent,
            Progress::Asking | Progress::Bytes(_) | Progress::Copying => {
                panic!("the server had answered, with the length")
            }
        })
        .collect();
    assert!(percents.is_sorted() && percents.iter().all(|percent| percent % 10 == 0), "{percents:?}");
    // Only the latest step is there to be seen, so some may be missed, but not the last.
    assert!(percents.len() <= 11 && percents.last() == Some(&100), "{percents:?}");
}

#[tokio::test]
async fn without_a_length_bytes_are_counted() {
    let body = image(3 * CHUNK);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let pieces = [head, format!("{:x}\r\n", body.len()).into_bytes(), body.clone(), b"\r\n0\r\n\r\n".to_vec()];
    let address = serve(Answer::Bytes(pieces.to_vec())).await;
    let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), &body)).await;
    assert_eq!(outcome.result.map(|fetched| fetched.bytes), Ok(body.len() as u64));
    assert_eq!(outcome.progress, [Progress::Bytes(0)]);
}

#[tokio::test]
async fn a_wrong_checksum_is_said_and_the_last_chunk_kept_back() {
    let body = image(CHUNK + 5);
    let address = serve(Answer::ok(&body)).await;
    let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), b"other")).await;
    let error = outcome.result.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("checksum is sha256:{}, expected sha256:{}", digits(&body), digits(b"other"))
    );
    assert_eq!(outcome.chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK]);
    assert!(!outcome.progress.contains(&Progress::Percent(100)), "{:?}", outcome.progress);
}

#[tokio::test]
async fn an_unverified_image_of_whole_chunks_is_not_handed_over_whole() {
    let body = image(2 * CHUNK);
    let address = serve(Answer::ok(&body)).await;
    let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), b"other")).await;
    assert!(matches!(outcome.result, Err(FetchError::Checksum { .. })), "{:?}", outcome.result);
    assert_eq!(outcome.chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK]);
}

#[tokio::test]
async fn a_checksum_in_capitals_is_the_same_checksum() {
    let address = serve(Answer::ok(b"body")).await;
    let checksum = format!("sha256:{}", digits(b"body").to_uppercase());
    let source = HttpSource { checksum: Some(checksum), ..source(&format!("http://{address}/"), b"") };
    let outcome = outcome(&client(&["127.0.0.1"]), &source).await;
    assert_eq!(outcome.result, Ok(Fetched { bytes: 4, checksum: sum(b"body") }));
}

#[tokio::test]
async fn other_statuses_are_said_without_the_query() {
    let status = |line: &str| Answer::text(&format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n"));
    assert_eq!(sentence(status("404 Nothing Here")).await, "GET http://HOST/image: 404 Not Found");
    assert_eq!(sentence(status("206 Partial Content")).await, "GET http://HOST/image: 206 Partial Content");
    assert_eq!(sentence(status("503 x")).await, "GET http://HOST/image: 503 Service Unavailable");
    assert_eq!(sentence(status("599 x")).await, "GET http://HOST/image: 599");
    assert_eq!(sentence(status("304 x")).await, "GET http://HOST/image: 304 Not Modified");
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    assert_eq!(
        sentence(Answer::Stall(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()])).await,
        "GET http://HOST/image: no data for 300ms"
    );
    assert_eq!(
        sentence(Answer::Stall(vec![b"HTTP/1.1 200 OK\r\n".to_vec()])).await,
        "GET http://HOST/image: no data for 300ms"
    );
}

/// What comes of an image of 120 pieces, sent one by one.
async fn in_pieces(piece: &[u8]) -> Result<u64, String> {
    let whole = piece.repeat(120);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len()).into_bytes();
    let pieces: Vec<_> = std::iter::once(head).chain(std::iter::repeat_n(piece.to_vec(), 120)).collect();
    let address = serve(Answer::Bytes(pieces)).await;
    let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), &whole)).await;
    let said = |error: FetchError| error.to_string().replace(&address.to_string(), "HOST");
    outcome.result.map(|fetched| fetched.bytes).map_err(said)
}

#[tokio::test]
async fn a_slow_server_that_keeps_sending_is_not_given_up_and_one_that_trickles_is() {
    assert_eq!(in_pieces(&[b'x'; 256]).await, Ok(120 * 256));
    assert_eq!(in_pieces(b"x").await, Err("GET http://HOST/: less than 1 KiB a second for 300ms".to_owned()));
}

#[tokio::test]
async fn a_server_that_packs_what_it_sends_is_told_not_to() {
    assert_eq!(
        sentence(Answer::text("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")).await,
        "GET http://HOST/image: the server packs what it sends (Content-Encoding), and what arrives is not the image; have it sent as it is"
    );
}

#[tokio::test]
async fn a_server_that_lies_about_the_length_is_found_out() {
    assert_eq!(
        sentence(Answer::text("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")).await,
        "GET http://HOST/image: ended after 3 of 10 bytes"
    );
    assert_eq!(
        sentence(Answer::text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")).await,
        "GET http://HOST/image: the connection broke before the end"
    );
    // What follows the announced length is no part of the answer, so the checksum decides.
    let address = serve(Answer::text("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef")).await;
    let longer = outcome(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), b"abc")).await;
    assert_eq!(longer.result.map(|fetched| fetched.bytes), Ok(3));
}

#[tokio::test]
async fn what_is_no_http_is_said() {
    assert_eq!(
        sentence(Answer::text("SSH-2.0-x\r\n\r\n")).await,
        "GET http://HOST/image: the server gave no valid answer"
    );
    assert_eq!(sentence(Answer::Bytes(Vec::new())).await, "GET http://HOST/image: the server gave no valid answer");
}

#[tokio::test]
async fn more_than_there_is_room_for_is_refused_announced_or_not() {
    // The announcement is enough: nothing of the image ever comes.
    let announced = serve(Answer::Stall(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec()])).await;
    let chunked =
        serve(Answer::text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n")).await;
    for address in [announced, chunked] {
        let outcome = outcome_with(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), b"x"), 7).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("GET http://{address}/: the image is larger than the room there is for it")
        );
        assert_eq!(outcome.chunks.len(), 0);
    }
}

#[tokio::test]
async fn redirects_are_followed_five_times_and_no_more() {
    let hops = [("/0", "/1"), ("/1", "/2"), ("/2", "/3"), ("/3", "/4"), ("/4", "/5")];
    let mut paths: Vec<_> = hops.into_iter().map(|(from, to)| (from, Answer::redirect(to))).collect();
    paths.push(("/5", Answer::ok(b"image")));
    paths.push(("/image", Answer::redirect("/0")));
    let address = serve(Answer::Paths(paths)).await;
    let client = client(&["127.0.0.1"]);
    let five = outcome(&client, &source(&format!("http://{address}/0"), b"image")).await;
    assert_eq!(five.result.map(|fetched| fetched.bytes), Ok(5));
    let six = outcome(&client, &source(&format!("http://{address}/image"), b"image")).await;
    assert_eq!(six.result.unwrap_err().to_string(), format!("GET http://{address}/image: more than 5 redirects"));
}

#[tokio::test]
async fn redirects_elsewhere_are_refused() {
    assert_eq!(
        sentence(Answer::redirect("file:///etc/passwd")).await,
        "GET http://HOST/image: redirected to an address that is neither http nor https"
    );
    assert_eq!(
        sentence(Answer::redirect("http://user:secret@127.0.0.1/")).await,
        "GET http://HOST/image: redirected to an address with credentials in it, which is refused"
    );
    assert_eq!(
        sentence(Answer::text("HTTP/1.1 302 F\r\n\r\n")).await,
        "GET http://HOST/image: redirected to no readable address"
    );
    assert_eq!(
        sentence(Answer::redirect("http://169.254.169.254/latest/meta-data")).await,
        "image host 169.254.169.254 is not public; list it in the ProviderConfig's policy.imageHosts"
    );
    assert_eq!(sentence(Answer::redirect("http://localhost:1/")).await, "GET http://HOST/image: connection refused");
}

#[tokio::test]
async fn hosts_that_are_not_public_are_refused_in_every_spelling() {
    let address = serve(Answer::ok(b"secret")).await;
    let port = address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ] {
        let outcome = outcome(
            &client(&["mirror.internal", "127.0.0.1:1"]),
            &source(&format!("http://{host}:{port}/"), b"secret"),
        )
        .await;
        let error = outcome.result.unwrap_err();
        assert!(
            error.to_string().ends_with(" is not public; list it in the ProviderConfig's policy.imageHosts"),
            "{host}: {error}"
        );
        assert_eq!(outcome.chunks.len(), 0);
    }
}

#[tokio::test]
async fn a_listed_name_is_asked() {
    let address = serve(Answer::ok(b"image")).await;
    let url = format!("http://localhost:{}/", address.port());
    let outcome = outcome(&client(&[&format!("localhost:{}", address.port())]), &source(&url, b"image")).await;
    assert_eq!(outcome.result.map(|fetched| fetched.bytes), Ok(5));
}

const CHECKSUM: &str = "source.http.checksum must be 64 hexadecimal digits of SHA-256, 128 of SHA-512 or 32 of MD5, with sha256:, sha512: or md5: before them or without";

#[tokio::test]
async fn sources_that_cannot_be_used_are_refused_before_anything_is_sent() {
    let good = "0".repeat(64);
    let cases = [
        ("no url", "sha256:", "source.http.url is not a URL"),
        ("ftp://host/", "sha256:", "source.http.url must begin with http:// or https://"),
        ("file:///etc/passwd", "sha256:", "source.http.url must begin with http:// or https://"),
        ("http://user@host/", "sha256:", "source.http.url must not have credentials in it"),
        ("http://:secret@host/", "sha256:", "source.http.url must not have credentials in it"),
        ("http://host/", "sha512:", CHECKSUM),
        ("http://host/", "sha256:0", CHECKSUM),
    ];
    for (url, algorithm, sentence) in cases {
        let source = HttpSource { checksum: Some(format!("{algorithm}{good}")), ..source(url, b"") };
        let error = outcome(&client(&[]), &source).await.result.unwrap_err();
        assert_eq!(error.to_string(), sentence);
    }
}

#[tokio::test]
async fn hosts_that_cannot_be_reached_are_said() {
    let client = client(&["127.0.0.1"]);
    let refused = outcome(&client, &source("http://127.0.0.1:1/image", b"x")).await.result.unwrap_err();
    assert_eq!(refused.to_string(), "GET http://127.0.0.1:1/image: connection refused");
    let unknown = outcome(&client, &source("http://host.invalid/image", b"x")).await.result.unwrap_err();
    assert_eq!(unknown.to_string(), "GET http://host.invalid/image: host host.invalid cannot be resolved");
}

#[tokio::test]
async fn a_receiver_that_goes_away_ends_the_transfer() {
    let body = image(10 * CHUNK);
    let address = serve(Answer::ok(&body)).await;
    let (chunks, receiver) = mpsc::channel(1);
    drop(receiver);
    let sink =
        Sink { chunks, progress: watch::channel(Progress::Percent(0)).0, max_bytes: u64::MAX, parts: Arc::default() };
    let error = fetch(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), &body), sink).await.unwrap_err();
    assert_eq!(error.to_string(), "the image is no longer wanted");
}

#[tokio::test]
async fn a_receiver_slower_than_the_stall_limit_is_waited_for() {
    let body = image(3 * CHUNK);
    let address = serve(Answer::ok(&body)).await;
    let (chunks, mut receiver) = mpsc::channel::<Bytes>(1);
    let slow = tokio::spawn(async move {
        let mut length = 0;
        while let Some(chunk) = receiver.recv().await {
            length += chunk.len();
            sleep(2 * limits().stall).await;
        }
        length
    });
    let sink =
        Sink { chunks, progress: watch::channel(Progress::Percent(0)).0, max_bytes: u64::MAX, parts: Arc::default() };
    let fetched = fetch(&client(&["127.0.0.1"]), &source(&format!("http://{address}/"), &body), sink).await;
    assert_eq!(fetched.map(|fetched| fetched.bytes), Ok(body.len() as u64));
    assert_eq!(slow.await.unwrap(), body.len());
}

#[tokio::test]
async fn https_is_verified() {
    let (address, roots) = serve_tls(Answer::ok(b"image")).await;
    let url = |host: &str| source(&format!("https://{host}:{}/image", address.port()), b"image");
    let known = client_of(&["localhost", "127.0.0.1"], roots);
    assert_eq!(outcome(&known, &url("localhost")).await.result.map(|fetched| fetched.bytes), Ok(5));
    let refused =
        |outcome: Outcome| outcome.result.unwrap_err().to_string().split_once("/image: ").unwrap().1.to_owned();
    assert_eq!(refused(outcome(&known, &url("127.0.0.1")).await), "the server's certificate is not for this host");
    let stranger = client(&["localhost"]);
    assert_eq!(
        refused(outcome(&stranger, &url("localhost")).await),
        "the server's certificate is of an unknown authority"
    );
}

#[tokio::test]
async fn https_to_a_server_without_tls_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Closing with bytes unread would reset the connection, perhaps before the answer was read.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let outcome = outcome(&client(&["127.0.0.1"]), &source(&format!("https://{address}/image"), b"image")).await;
    assert_eq!(
        outcome.result.unwrap_err().to_string(),
        format!("GET https://{address}/image: the TLS handshake failed")
    );
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let plain = serve(Answer::ok(b"image")).await;
    let (address, roots) = serve_tls(Answer::redirect(&format!("http://localhost:{}/", plain.port()))).await;
    let client = client_of(&["localhost"], roots);
    let url = format!("https://localhost:{}/image", address.port());
    let error = outcome(&client, &source(&url, b"image")).await.result.unwrap_err();
    assert_eq!(error.to_string(), format!("GET {url}: redirected from https to http, which is refused"));
}

#[tokio::test]
async fn a_redirect_from_http_to_https_is_followed() {
    let (secure, roots) = serve_tls(Answer::ok(b"image")).await;
    let address = serve(Answer::redirect(&format!("https://localhost:{}/", secure.port()))).await;
    let client = client_of(&["localhost", "127.0.0.1"], roots);
    let outcome = outcome(&client, &source(&format!("http://{address}/"), b"image")).await;
    assert_eq!(outcome.result.map(|fetched| fetched.bytes), Ok(5));
}
