//! The certificate that is served, and how it is exchanged while it is.

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use anyhow::Context;
use jiff::Timestamp;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::parse_x509_certificate;

/// The files of a certificate directory, as Kubernetes mounts a Secret of type `kubernetes.io/tls`.
const FILES: [&str; 2] = ["tls.crt", "tls.key"];

/// A certificate with its key, and how long it is good for.
#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    expires: Timestamp,
}

/// The certificate as it is served now. A connection keeps the one that it began with.
#[derive(Debug, Default)]
pub struct Served(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    certificate: Option<Certificate>,
    /// The files that were read last, and what was wrong with them.
    files: Option<[Vec<u8>; 2]>,
    fault: Option<String>,
}

impl Served {
    /// Takes up what is in the directory, if it is another certificate than before. What cannot be used, such as a certificate beside the
    /// key of another one while both are exchanged, leaves the one that is served.
    pub fn look(&self, folder: &Path) {
        let files = read(folder);
        if let Ok(files) = &files
            && self.state().files.as_ref() == Some(files)
        {
            return;
        }
        let certificate = files.and_then(|[certificates, key]| {
            let certificate =
                parse(&certificates, &key).with_context(|| format!("use the certificate in {}", folder.display()))?;
            Ok((certificate, [certificates, key]))
        });
        match certificate {
            Ok((certificate, files)) => {
                tracing::info!(expires = %certificate.expires, "the webhook has a new certificate");
                self.put(State { certificate: Some(certificate), files: Some(files), fault: None });
            }
            Err(error) => self.complain(&format!("{error:#}")),
        }
    }

    /// Serves this certificate from now on.
    pub fn set(&self, certificates: &[u8], key: &[u8]) -> anyhow::Result<()> {
        let certificate = parse(certificates, key)?;
        self.put(State { certificate: Some(certificate), files: None, fault: None });
        Ok(())
    }

    /// Why nobody will trust what is served, if so.
    pub fn fault(&self, now: Timestamp) -> Option<String> {
        let state = self.state();
        let Some(Certificate { key: _, expires }) = &state.certificate else {
            let why = state.fault.as_deref().unwrap_or("none was read");
            return Some(format!("the webhook has no certificate: {why}"));
        };
        (*expires <= now).then(|| format!("the webhook's certificate expired at {expires}"))
    }

    /// Says once what is wrong.
    pub(super) fn complain(&self, fault: &str) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if state.fault.as_deref() != Some(fault) {
            let then = if state.certificate.is_some() { "the one before stays" } else { "nothing is served yet" };
            tracing::warn!("the webhook has no new certificate, so {then}: {fault}");
            state.fault = Some(fault.to_owned());
        }
    }

    fn put(&self, state: State) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.state().certificate.as_ref().map(|certificate| certificate.key.clone())
    }
}

fn read(folder: &Path) -> anyhow::Result<[Vec<u8>; 2]> {
    let [certificates, key] = FILES.map(|file| {
        let path = folder.join(file);
        fs::read(&path).with_context(|| format!("read {}", path.display()))
    });
    Ok([certificates?, key?])
}

/// The first certificate of a PEM file.
pub(super) fn first(pem: &[u8]) -> Option<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).next()?.ok()
}

/// When a certificate expires.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> anyhow::Result<Timestamp> {
    let (_, parsed) = parse_x509_certificate(certificate).context("read the certificate")?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).context("read when it expires")
}

fn parse(certificates: &[u8], key: &[u8]) -> anyhow::Result<Certificate> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let certificates = certificates.context("read tls.crt")?;
    let expires = expiry(certificates.first().context("there is no certificate in tls.crt")?)?;
    let key = PrivateKeyDer::from_pem_slice(key).context("read tls.key")?;
    let key = CertifiedKey::from_der(certificates, key, &ring::default_provider()).context("tls.key is not its key")?;
    Ok(Certificate { key: Arc::new(key), expires })
}
