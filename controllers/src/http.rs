//! `/metrics`, `/healthz` and `/readyz`; and how a port is listened on.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::{cluster::Cluster, hosts::Connector, metrics::Metrics, webhook::Webhook};

/// Serves until the process ends.
pub async fn serve(address: SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = listen(address).with_context(|| format!("listen on {address}"))?;
    axum::serve(listener, router).await.with_context(|| format!("serve on {address}"))
}

/// Listens on an address. `[::]` is every address there is, IPv4 and IPv6, as for Go programs, also on machines that know no IPv6.
///
/// # Errors
/// When the port is taken, or the address is not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let is_every = address.is_ipv6() && address.ip().is_unspecified();
    match bind(address) {
        Err(error) if is_every && error.kind() != io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Whatever the machine's default is.
        socket.set_only_v6(false)?;
    }
    // A port is free as soon as the process before has ended.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// The figures, counted when they are asked for.
pub fn metrics(metrics: Arc<Metrics>, cluster: Arc<Cluster>, connector: Arc<Connector>) -> Router {
    let answer = move || {
        let text = metrics.text(&cluster, &connector);
        async move { ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text) }
    };
    Router::new().route("/metrics", get(answer))
}

/// Alive while it answers; ready when nothing is in the way. No single host makes it unready.
pub fn health(obstacle: impl Fn() -> Option<String> + Clone + Send + Sync + 'static) -> Router {
    let readiness = move || {
        let obstacle = obstacle();
        async move {
            match obstacle {
                None => (StatusCode::OK, "ok".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            }
        }
    };
    Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(readiness))
}

/// Why the process is not ready, if so.
pub fn obstacle(
    cluster: Arc<Cluster>,
    webhook: Option<Webhook>,
) -> impl Fn() -> Option<String> + Clone + Send + Sync + 'static {
    let webhook = webhook.map(Arc::new);
    move || {
        if !cluster.is_read() {
            return Some("the objects are being listed".to_owned());
        }
        webhook.as_ref().and_then(|webhook| webhook.fault())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_is_of_both_families_and_one_is_one() {
        let reaches = |listener: &TcpListener, address: &str| {
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect(SocketAddr::new(address.parse().unwrap(), port)).is_ok()
        };
        let every = listen("[::]:0".parse().unwrap()).unwrap();
        let knows_v6 = every.local_addr().unwrap().is_ipv6();
        assert!(reaches(&every, "127.0.0.1") && reaches(&every, "127.77.0.1"));
        assert_eq!(reaches(&every, "::1"), knows_v6);
        let one = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(reaches(&one, "127.0.0.1") && !reaches(&one, "127.77.0.1"));
        let taken = listen(SocketAddr::new("::".parse().unwrap(), one.local_addr().unwrap().port())).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
