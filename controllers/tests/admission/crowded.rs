//! Anybody may open a connection and send something: that keeps no review waiting that the API server sends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use apis::Domain;
use provider_libvirt::webhook::{certificate::Served, router::path};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    served::{Authority, client, serve},
    world::World,
};

/// A connection on which nothing is said.
async fn open(authority: &Authority, port: u16) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// A connection on which a large review is announced and never sent.
async fn stall(authority: &Authority, port: u16) -> TlsStream<TcpStream> {
    let mut stream = open(authority, port).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{{",
        path::<Domain>()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[tokio::test]
async fn large_reviews_are_read_a_few_at_a_time_and_small_ones_at_once() {
    let (authority, served) = (Authority::new(), Arc::new(Served::default()));
    let (certificate, key) = authority.sign(2100);
    served.set(certificate.as_bytes(), key.as_bytes()).unwrap();
    let port = serve(&World::new(), served).await;
    let client = client(&authority).build().unwrap();
    let post = async |size: usize| {
        let url = format!("https://localhost:{port}{}", path::<Domain>());
        let request = client.post(url).header("content-type", "application/json").body(" ".repeat(size));
        let begun = Instant::now();
        (request.send().await.unwrap().status().as_u16(), begun.elapsed())
    };
    assert_eq!(post(1_000_000).await.0, 400);
    let mut stalled = Vec::new();
    for _ in 0..16 {
        stalled.push(stall(&authority, port).await);
    }
    // All of them are known to be under way once a later one is answered.
    let (status, took) = post(1000).await;
    assert!(status == 400 && took < Duration::from_secs(1), "{status} after {took:?}");
    let (status, took) = post(1_000_000).await;
    assert!([400, 408].contains(&status) && took > Duration::from_secs(1), "{status} after {took:?}");
    // Who never sends loses its place.
    let (status, took) = post(1_000_000).await;
    assert!(status == 400 && took < Duration::from_secs(1), "{status} after {took:?}");
}

/// Bodies that are dear to read or to compare, as large as a review may be.
fn dear() -> Vec<String> {
    let own = r#"{"group":"libvirt.m.nourspeed.io","version":"v1alpha1","kind":"Domain"}"#;
    let review = |parameters: &str| {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE","kind":{own},
            "object":{{"metadata":{{"name":"d","namespace":"n"}},"spec":{{"forProvider":{parameters}}}}}}}}}"#
        )
    };
    let many = |item: &dyn Fn(usize) -> String, count: usize| (0..count).map(item).collect::<Vec<_>>().join(",");
    let disk = |at: usize| format!(r#"{{"name":"a{at}","volumeRef":{{"name":"v{at}"}}}}"#);
    let nic = |at: usize| format!(r#"{{"name":"a{at}","mac":"52:54:00:{:02x}:{:02x}:01"}}"#, at / 256 % 256, at % 256);
    vec![
        review(&format!(r#"{{"disks":[{}]}}"#, many(&disk, 60_000))),
        review(&format!(r#"{{"networkInterfaces":[{}]}}"#, many(&nic, 60_000))),
        review(&format!(r#"{{"odd":[{}]}}"#, many(&|_| r#"{"":0}"#.to_owned(), 400_000))),
    ]
}

#[tokio::test]
async fn what_is_dear_to_look_through_is_refused_and_keeps_nobody_waiting() {
    let (authority, served) = (Authority::new(), Arc::new(Served::default()));
    let (certificate, key) = authority.sign(2100);
    served.set(certificate.as_bytes(), key.as_bytes()).unwrap();
    let port = serve(&World::new().listed(), served).await;
    let client = client(&authority).build().unwrap();
    let post = async |body: String| {
        let url = format!("https://localhost:{port}{}", path::<Domain>());
        let request = client.post(url).header("content-type", "application/json").body(body);
        let begun = Instant::now();
        let answer = request.send().await.unwrap().text().await.unwrap();
        (answer, begun.elapsed())
    };
    for body in dear() {
        assert!(body.len() < 3 << 20, "{}", body.len());
        let ((said, took), (small, soon)) = tokio::join!(post(body), post(" ".to_owned()));
        assert!(said.contains("longer list than its schema allows"), "{said}");
        assert!(small.contains("not an AdmissionReview"), "{small}");
        assert!(took < Duration::from_secs(5) && soon < Duration::from_secs(1), "{took:?}, {soon:?}");
    }
}

#[tokio::test]
async fn who_opens_connections_and_says_nothing_keeps_others_out_for_seconds_only() {
    let (authority, served) = (Authority::new(), Arc::new(Served::default()));
    let (certificate, key) = authority.sign(2100);
    served.set(certificate.as_bytes(), key.as_bytes()).unwrap();
    let port = serve(&World::new(), served).await;
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(open(&authority, port).await);
    }
    let url = format!("https://localhost:{port}{}", path::<Domain>());
    let client = client(&authority).build().unwrap();
    let begun = Instant::now();
    let answer = client.post(url).header("content-type", "application/json").body(" ").send().await.unwrap();
    let took = begun.elapsed();
    assert!(answer.status().as_u16() == 400 && took < Duration::from_secs(30), "{took:?}");
}
