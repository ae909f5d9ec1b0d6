//! A composition function that answers the input of function-patch-and-transform, served as Crossplane calls functions.
//!
//! The real function cannot be built from a module proxy, whose answer for it has no sources. This one is only as much of it as this
//! project's Compositions use, and refuses the rest.

mod compose;
mod field_path;
mod protocol;
mod transform;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs,
    net::SocketAddr,
    path::Path,
    task::{Context as TaskContext, Poll},
};

use anyhow::{Context as _, Result};
use protocol::{
    Outcome, Ready, Resource, ResponseMeta, RunFunctionRequest, RunFunctionResponse, Severity, Span, State, Struct,
};
use serde_json::Value;
use tokio::sync::oneshot;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::{Certificate, Identity, Server, ServerTlsConfig},
};
use tonic_prost::ProstCodec;

/// How long Crossplane may keep an answer.
const GOOD_FOR: Span = Span { seconds: 60 };

/// The function as it is served; dropping it ends that, once Crossplane has let go of its connections.
#[derive(Debug)]
pub(crate) struct Function {
    _stop: oneshot::Sender<()>,
}

impl Function {
    /// Serves it at this address of the calling thread's network, with the certificate of a folder, for who has one of the same authority.
    pub(crate) fn serve(address: SocketAddr, certificates: &Path) -> Result<Self> {
        let read = |file: &str| fs::read(certificates.join(file)).with_context(|| format!("read {file}"));
        let identity = Identity::from_pem(read("tls.crt")?, read("tls.key")?);
        let tls = ServerTlsConfig::new().identity(identity).client_ca_root(Certificate::from_pem(read("ca.crt")?));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let mut server = Server::builder().tls_config(tls).context("set up TLS")?;
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let end = async move {
                // Dropped is stopped as well.
                let _ = stopped.await;
            };
            // Who waits for the port tells what is wrong.
            runtime.block_on(server.add_service(Runner).serve_with_shutdown(address, end))
        });
        Ok(Self { _stop: stop })
    }
}

/// `FunctionRunnerService`.
#[derive(Clone, Copy, Debug)]
struct Runner;

impl NamedService for Runner {
    const NAME: &'static str = "apiextensions.fn.proto.v1.FunctionRunnerService";
}

impl Service<http::Request<Body>> for Runner {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    // The service has one method.
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async { Ok(Grpc::new(ProstCodec::default()).unary(RunFunction, request).await) })
    }
}

/// Its method.
#[derive(Clone, Copy, Debug)]
struct RunFunction;

impl UnaryService<RunFunctionRequest> for RunFunction {
    type Response = RunFunctionResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<RunFunctionRequest>) -> Self::Future {
        Box::pin(async { Ok(Response::new(answer(request.into_inner()))) })
    }
}

/// The answer; what goes wrong is a fatal result, as functions tell it.
fn answer(request: RunFunctionRequest) -> RunFunctionResponse {
    let RunFunctionRequest { meta, observed, desired, input, context } = request;
    let meta = ResponseMeta { tag: meta.unwrap_or_default().tag, ttl: Some(GOOD_FOR) };
    let mut response = RunFunctionResponse { meta: Some(meta), desired, results: Vec::new(), context };
    match wished(observed.unwrap_or_default(), input.unwrap_or_default()) {
        Ok(composed) => add(composed, &mut response),
        Err(error) => response.results.push(outcome(Severity::Fatal, format!("{error:#}"))),
    }
    response
}

fn wished(observed: State, input: Struct) -> Result<compose::Composed> {
    let input: compose::Input = serde_json::from_value(input.into()).context("read the function's input")?;
    let value = |resource: Resource| Value::from(resource.object.unwrap_or_default());
    let composite = value(observed.composite.unwrap_or_default());
    let resources: BTreeMap<_, _> =
        observed.resources.into_iter().map(|(name, resource)| (name, value(resource))).collect();
    compose::compose(&input, &composite, &resources)
}

fn add(composed: compose::Composed, response: &mut RunFunctionResponse) {
    let desired = response.desired.get_or_insert_default();
    if let Value::Object(fields) = composed.composite {
        let composite = desired.composite.get_or_insert_default().object.get_or_insert_default();
        composite.fields.extend(Struct::from(fields).fields);
    }
    for (name, (resource, ready)) in composed.resources {
        let Value::Object(resource) = resource else { continue };
        let ready = if ready { Ready::True } else { Ready::Unspecified };
        let resource = Resource { object: Some(resource.into()), ready: ready.into(), ..Resource::default() };
        desired.resources.insert(name, resource);
    }
    response.results.extend(composed.warnings.into_iter().map(|warning| outcome(Severity::Warning, warning)));
}

fn outcome(severity: Severity, message: String) -> Outcome {
    Outcome { severity: severity.into(), message }
}
