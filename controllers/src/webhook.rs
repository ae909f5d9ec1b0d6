//! The admission webhook: what [`crate::admission`] says, served over TLS to the API server.
//!
//! ```text
//! API server ──TLS──▶ server ──▶ router ──▶ review: AdmissionReview in, verdict out
//!                       ▲ every new connection with the certificate as it is by then
//!                  certificate ◀── directory, looked at once a second
//!                             ◀── self_signed: Secret ◀── authority; registration tells the API server whom to trust
//! ```
//!
//! Every process serves it, leading or not: it only reads what the watches have shown. It is configured with `failurePolicy: Ignore`: a
//! pass enforces the same rule, so a provider that is away costs a late answer and no harm, where Fail would keep people from
//! everything, also from deleting.

pub mod authority;
pub mod certificate;
mod head;
mod registration;
pub mod review;
pub mod router;
pub mod self_signed;
pub mod server;

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::{
    args::{Switch, Webhooks},
    http::listen,
};
use certificate::Served;
use review::Reviewer;
use self_signed::{Home, SelfSigned};

/// How often the certificate directory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The webhook as it is served.
pub struct Webhook {
    served: Arc<Served>,
}

/// Where its certificate comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// A directory that somebody keeps up to date.
    Folder(PathBuf),
    /// The provider itself.
    Own,
}

impl Webhook {
    /// Starts to serve it, if these flags say so. Without a certificate it waits for one.
    pub fn start(
        args: &Webhooks,
        reviewer: Reviewer,
        home: Home,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(origin) = origin(args) else { return Ok(None) };
        let every = Ipv6Addr::UNSPECIFIED.into();
        let address = SocketAddr::new(args.webhook_bind_address.unwrap_or(every), args.webhook_port);
        let listener = listen(address).with_context(|| format!("listen on {address} for the webhook"))?;
        let served = Arc::new(Served::default());
        tracing::info!(%address, certificate = ?origin, "serving the admission webhook");
        match origin {
            Origin::Folder(folder) => {
                served.look(&folder);
                tasks.spawn(follow(served.clone(), folder));
            }
            Origin::Own => {
                let own = SelfSigned::new(home, args.webhook_port, served.clone())?;
                tasks.spawn(own.run());
            }
        }
        tasks.spawn(server::serve(listener, served.clone(), router::router(&Arc::new(reviewer))));
        Ok(Some(Self { served }))
    }

    /// Why the API server will not talk to it, if so.
    pub fn fault(&self) -> Option<String> {
        self.served.fault(Timestamp::now())
    }
}

/// Where the certificate comes from, where the webhook is to be served.
fn origin(args: &Webhooks) -> Option<Origin> {
    let own = args.webhook_self_signed.then_some(Origin::Own);
    let folder = args.webhook_cert_dir.clone();
    match args.enable_webhooks {
        Switch::Off => None,
        // A directory may come later, unless there is something to begin with.
        Switch::On if own.is_none() => folder.map(Origin::Folder),
        Switch::On | Switch::Auto => folder.filter(|folder| folder.is_dir()).map(Origin::Folder).or(own),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_comes_from_the_directory_that_is_there_or_is_made_or_is_waited_for() {
        let there = tempfile::tempdir().unwrap();
        let (there, absent) = (there.path().to_owned(), there.path().join("absent"));
        let folder = |folder: &PathBuf| Some(Origin::Folder(folder.clone()));
        let (on, off, auto) = (Switch::On, Switch::Off, Switch::Auto);
        let table = [
            (on, Some(&there), false, folder(&there)),
            (on, Some(&there), true, folder(&there)),
            (on, Some(&absent), false, folder(&absent)),
            (on, Some(&absent), true, Some(Origin::Own)),
            (on, None, true, Some(Origin::Own)),
            (auto, Some(&there), false, folder(&there)),
            (auto, Some(&there), true, folder(&there)),
            (auto, Some(&absent), false, None),
            (auto, Some(&absent), true, Some(Origin::Own)),
            (auto, None, false, None),
            (auto, None, true, Some(Origin::Own)),
            (off, Some(&there), true, None),
        ];
        for (enable_webhooks, webhook_cert_dir, webhook_self_signed, expected) in table {
            let webhook_cert_dir = webhook_cert_dir.cloned();
            let (webhook_bind_address, webhook_port) = (None, 9443);
            let args =
                Webhooks { enable_webhooks, webhook_bind_address, webhook_port, webhook_cert_dir, webhook_self_signed };
            assert_eq!(origin(&args), expected, "{args:?}");
        }
    }
}
