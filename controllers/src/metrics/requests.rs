//! Every request to the Kubernetes API server is counted.

use std::sync::Arc;

use futures::future::BoxFuture;
use kube::{
    Client,
    client::{Body, ClientBuilder},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use super::Metrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    code: String,
    host: String,
    method: String,
}

/// The count.
pub(super) type Requests = Family<Request, Counter>;

/// A client whose every request is counted.
pub fn counted(config: kube::Config, metrics: &Arc<Metrics>) -> anyhow::Result<Client> {
    let metrics = metrics.clone();
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    let layer = tower::layer::layer_fn(move |inner| Counted { inner, metrics: metrics.clone(), host: host.clone() });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
    host: String,
}

impl<S, B> tower::Service<axum::http::Request<Body>> for Counted<S>
where
    S: tower::Service<axum::http::Request<Body>, Response = axum::http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        let (metrics, method) = (self.metrics.clone(), request.method().to_string());
        let host = self.host.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer
                .as_ref()
                .map_or_else(|_| "<error>".to_owned(), |response| response.status().as_u16().to_string());
            metrics.requests.get_or_create(&Request { code, host, method }).inc();
            answer
        })
    }
}
