//! `/metrics`, `/healthz` and `/readyz`; and how a port is listened on.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use axum::{
    Router,
    extract::RawQuery,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::{
    checks::{Checks, Finding, Verdict},
    cluster::Cluster,
    hosts::Connector,
    metrics::Metrics,
    webhook::Webhook,
};

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

/// Alive while it answers; ready when nothing is in the way. No single host makes it unready, once it was ready.
pub fn health(findings: impl Fn() -> Vec<Finding> + Clone + Send + Sync + 'static) -> Router {
    let readiness = move |RawQuery(query): RawQuery| {
        let is_verbose =
            query.is_some_and(|query| query.split('&').any(|word| word.split('=').next() == Some("verbose")));
        let answer = readiness(&findings(), is_verbose);
        async move { answer }
    };
    Router::new().route("/healthz", get(|| async { "ok" })).route("/readyz", get(readiness))
}

/// `ok`, or the first obstacle; or all findings, a line each, in the form that the API server gives its own.
fn readiness(findings: &[Finding], is_verbose: bool) -> (StatusCode, String) {
    let obstacle = findings.iter().find_map(|Finding { name: _, verdict }| match verdict {
        Verdict::Obstacle(why) => Some(why.clone()),
        Verdict::Fine | Verdict::Warning(_) => None,
    });
    let code = if obstacle.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if !is_verbose {
        return (code, obstacle.unwrap_or_else(|| "ok".to_owned()));
    }
    let lines = findings.iter().map(|Finding { name, verdict }| match verdict {
        Verdict::Fine => format!("[+]{name} ok\n"),
        Verdict::Warning(what) => format!("[!]{name} warning: {what}\n"),
        Verdict::Obstacle(what) => format!("[-]{name} failed: {what}\n"),
    });
    let end = if obstacle.is_none() { "readyz check passed\n" } else { "readyz check failed\n" };
    (code, lines.collect::<String>() + end)
}

/// What is in the way of the process, and what else was found.
pub fn findings(
    cluster: Arc<Cluster>,
    webhook: Option<Webhook>,
    checks: Arc<Checks>,
) -> impl Fn() -> Vec<Finding> + Clone + Send + Sync + 'static {
    let webhook = webhook.map(Arc::new);
    let finding = |name: &str, obstacle: Option<String>| Finding {
        name: name.to_owned(),
        verdict: obstacle.map_or(Verdict::Fine, Verdict::Obstacle),
    };
    move || {
        let listing = (!cluster.is_read()).then(|| "the objects are being listed".to_owned());
        let mut all = vec![finding("objects", listing)];
        all.extend(webhook.as_ref().map(|webhook| finding("webhook", webhook.fault())));
        all.extend(checks.findings(&cluster.all_configs()));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn readiness_is_told_by_the_first_obstacle_and_in_full_where_that_is_asked_for() {
        let finding = |name: &str, verdict| Finding { name: name.to_owned(), verdict };
        let warned = [finding("objects", Verdict::Fine), finding("crd/a", Verdict::Warning("old".to_owned()))];
        assert_eq!(readiness(&warned, false), (StatusCode::OK, "ok".to_owned()));
        let all = "[+]objects ok\n[!]crd/a warning: old\nreadyz check passed\n";
        assert_eq!(readiness(&warned, true), (StatusCode::OK, all.to_owned()));
        let stopped =
            [finding("crd/a", Verdict::Warning("old".to_owned())), finding("b", Verdict::Obstacle("gone".to_owned()))];
        assert_eq!(readiness(&stopped, false), (StatusCode::SERVICE_UNAVAILABLE, "gone".to_owned()));
        let all = "[!]crd/a warning: old\n[-]b failed: gone\nreadyz check failed\n";
        assert_eq!(readiness(&stopped, true), (StatusCode::SERVICE_UNAVAILABLE, all.to_owned()));
    }

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
