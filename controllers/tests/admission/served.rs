//! The webhook as it is served, and certificates in a directory as Kubernetes mounts them.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc, time::Duration};

use provider_libvirt::{
    metrics::Metrics,
    webhook::{certificate::Served, review::Reviewer, router::router, server},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use reqwest::{Client, ClientBuilder};
use tokio::net::TcpListener;

use crate::world::World;

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for `localhost`, good until the beginning of this year.
    pub(crate) fn sign(&self, until: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Puts files into a directory as kubelet does: a new folder, and one symbolic link that is exchanged for another.
pub(crate) fn mount(folder: &Path, version: &str, certificate: &str, key: &str) {
    let data = folder.join(version);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("tls.crt"), certificate).unwrap();
    fs::write(data.join("tls.key"), key).unwrap();
    symlink(version, folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let _ = symlink(Path::new("..data").join(file), folder.join(file));
    }
}

/// Serves a world on a port of its own.
pub(crate) async fn serve(world: &World, served: Arc<Served>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let metrics = Arc::new(Metrics::new(1, Duration::ZERO));
    let reviewer = Reviewer { cluster: world.cluster.clone(), default: world.default.clone(), metrics };
    tokio::spawn(server::serve(listener, served, router(&Arc::new(reviewer))));
    port
}

/// A client that trusts this authority and nobody else.
pub(crate) fn client(authority: &Authority) -> ClientBuilder {
    client_of(&authority.pem)
}

/// A client that trusts these authorities and nobody else.
pub(crate) fn client_of(bundle: &str) -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().tls_certs_only(reqwest::Certificate::from_pem_bundle(bundle.as_bytes()).unwrap())
}
