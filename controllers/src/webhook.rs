//! The admission webhook: what [`crate::admission`] says, served over TLS to the API server.
//!
//! ```text
//! API server ──TLS──▶ server ──▶ router ──▶ review: AdmissionReview in, verdict out
//!                       ▲ every new connection with the certificate as it is by then
//!                  certificate ◀── directory, looked at once a second
//! ```
//!
//! Every process serves it, leading or not: it only reads what the watches have shown. It is configured with `failurePolicy: Ignore`: a
//! pass enforces the same rule, so a provider that is away costs a late answer and no harm, where Fail would keep people from
//! everything, also from deleting.

pub mod certificate;
pub mod review;
pub mod router;
pub mod server;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use tokio::{net::TcpListener, task::JoinSet};

use crate::args::{Args, Switch};
use certificate::Served;
use review::Reviewer;

/// How often the certificate directory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The webhook as it is served.
pub struct Webhook {
    served: Arc<Served>,
}

impl Webhook {
    /// Starts to serve it, if these flags say so. Without a certificate it waits for one.
    pub async fn start(
        args: &Args,
        reviewer: Reviewer,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(folder) = folder(args) else { return Ok(None) };
        let address = ("0.0.0.0", args.webhook_port);
        let listener = TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("listen on port {} for the webhook", args.webhook_port))?;
        let served = Arc::new(Served::default());
        served.look(&folder);
        tracing::info!(port = args.webhook_port, certificates = %folder.display(), "serving the admission webhook");
        tasks.spawn(follow(served.clone(), folder));
        tasks.spawn(server::serve(listener, served.clone(), router::router(&Arc::new(reviewer))));
        Ok(Some(Self { served }))
    }

    /// Why the API server will not talk to it, if so.
    pub fn fault(&self) -> Option<String> {
        self.served.fault(Timestamp::now())
    }
}

/// The directory of the certificate, where the webhook is to be served.
fn folder(args: &Args) -> Option<PathBuf> {
    let folder = args.webhook_cert_dir.clone();
    match args.enable_webhooks {
        Switch::Off => None,
        Switch::On => folder,
        Switch::Auto => folder.filter(|folder| folder.is_dir()),
    }
}

/// Takes up what changes in the directory.
async fn follow(served: Arc<Served>, folder: PathBuf) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK).await;
        let (served, folder) = (served.clone(), folder.clone());
        tokio::task::spawn_blocking(move || served.look(&folder)).await.context("look at the certificate directory")?;
    }
}
