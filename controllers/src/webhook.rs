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
mod registration;
pub mod review;
pub mod router;
pub mod self_signed;
pub mod server;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};

use crate::args::{Switch, Webhooks};
use certificate::Served;
use review::Reviewer;
use self_signed::{Home, SelfSigned};

/// How often the certificate directory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many connections may wait to be taken.
const BACKLOG: u32 = 1024;

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
    pub async fn start(
        args: &Webhooks,
        reviewer: Reviewer,
        home: Home,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(origin) = origin(args) else { return Ok(None) };
        let listener = listen(args.webhook_bind_address, args.webhook_port);
        let listener = listener.with_context(|| format!("listen on port {} for the webhook", args.webhook_port))?;
        let served = Arc::new(Served::default());
        tracing::info!(port = args.webhook_port, certificate = ?origin, "serving the admission webhook");
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

/// Listens on this address, else on every one: of IPv4 and IPv6, or of IPv4 alone where there is nothing else.
fn listen(address: Option<IpAddr>, port: u16) -> std::io::Result<TcpListener> {
    match address {
        Some(address) => bind(address, port),
        None => bind(Ipv6Addr::UNSPECIFIED.into(), port).or_else(|_| bind(Ipv4Addr::UNSPECIFIED.into(), port)),
    }
}

fn bind(address: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    let socket = match address {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            // Whatever the machine's default is.
            set_ipv6_v6only(&socket, false)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind((address, port).into())?;
    socket.listen(BACKLOG)
}

/// Where the certificate comes from, where the webhook is to be served.
fn origin(args: &Webhooks) -> Option<Origin> {
    let own = args.webhook_self_signed.then_some(Origin::Own);
    let folder = args.webhook_cert_dir.clone();
    match args.enable_webhooks {
        Switch::Off => None,
        Switch::On => folder.map(Origin::Folder).or(own),
        Switch::Auto => folder.filter(|folder| folder.is_dir()).map(Origin::Folder).or(own),
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
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use std::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn every_address_is_listened_on_unless_one_is_named() {
        let everywhere = listen(None, 0).unwrap();
        let port = everywhere.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if everywhere.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
        let one = listen(Some(Ipv4Addr::new(127, 0, 0, 2).into()), 0).unwrap();
        let port = one.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), port)).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    }
}
