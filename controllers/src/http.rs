//! `/metrics`, `/healthz` and `/readyz`.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};

use crate::{cluster::Cluster, hosts::Connector, metrics::Metrics, webhook::Webhook};

/// Serves until the process ends.
pub async fn serve(address: SocketAddr, router: Router) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    axum::serve(listener, router).await.with_context(|| format!("serve on {address}"))
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
