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

/// A connection on which a large review is announced and never sent.
async fn stall(authority: &Authority, port: u16) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
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
