//! Connections: TLS 1.2 or later, HTTP/1.1, each on its own, so that a slow one keeps nobody waiting.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use hyper::{
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{ServerConfig, crypto::ring};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::certificate::Served;

/// How many connections there may be at once; an API server keeps a few. Anybody may open one.
const CONNECTIONS: usize = 256;
/// How much is kept of what a connection sends before somebody takes it, in bytes.
const BUFFER: usize = 32 * 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How soon the first request comes: who opens connections and says nothing must not keep others out.
const FIRST: Duration = Duration::from_secs(5);
/// How long a connection may be silent afterwards. API servers drop theirs after 90 s, before us: then no request meets a closed connection.
const SILENCE: Duration = Duration::from_secs(100);
/// How long is waited when a connection cannot be taken, as when there are too many open files.
const REST: Duration = Duration::from_millis(100);

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, certificate: Arc<Served>, router: Router) -> anyhow::Result<()> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choose the versions of TLS")?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.context("wait for a place")?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("the webhook cannot take a connection: {error}");
                sleep(REST).await;
                continue;
            }
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            if let Err(error) = attend(stream, &acceptor, router).await {
                tracing::debug!("a connection to the webhook ended: {error:#}");
            }
            drop(place);
        });
    }
}

/// One connection, from its beginning to its end.
async fn attend(stream: TcpStream, acceptor: &TlsAcceptor, router: Router) -> anyhow::Result<()> {
    // What is said last in a handshake goes out at once, not after the other side has acknowledged what was said before.
    stream.set_nodelay(true).context("set up the connection")?;
    let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await.context("the handshake took too long")?;
    let stream = TokioIo::new(stream.context("shake hands")?);
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(SILENCE).max_buf_size(BUFFER);
    let (router, asked) = (TowerToHyperService::new(router), AtomicBool::new(false));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let mut connection = pin!(connection.serve_connection(stream, service));
    tokio::select! {
        ended = &mut connection => return ended.context("serve"),
        () = sleep(FIRST) => {}
    }
    anyhow::ensure!(asked.load(Ordering::Relaxed), "no request came");
    connection.await.context("serve")
}
