//! The certificate authorities that an image server may be vouched for by, beside those of the system.

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Credentials, Proxy};

/// How the servers of one image are met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// What the image's own server is shown.
    pub credentials: Option<Credentials>,
    /// Whom all of them may be vouched for by, beside the authorities of the system.
    pub authorities: Option<Authorities>,
    /// Who asks them in the provider's place.
    pub proxy: Option<Proxy>,
}

/// Certificate authorities that an object says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// From certificates in PEM, one after the other.
    ///
    /// # Errors
    /// When there is none, or one that is none of an authority.
    pub fn of(pem: &[u8]) -> Result<Self, &'static str> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.map_err(|_| "it is not PEM")?;
        if certificates.is_empty() {
            return Err("it holds no certificate");
        }
        let bundle = Self(certificates);
        bundle.beside(&RootCertStore::empty()).map(|_| bundle)
    }

    /// These and others.
    pub(super) fn beside(&self, others: &RootCertStore) -> Result<RootCertStore, &'static str> {
        let mut all = others.clone();
        for certificate in &self.0 {
            all.add(certificate.clone()).map_err(|_| "it holds a certificate that cannot be read")?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_certificates_and_nothing_else() {
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (one, two) = (made().cert.pem(), made().cert.pem());
        let bundle = Authorities::of(format!("# ours\n{one}\n{two}").as_bytes()).unwrap();
        assert_eq!(bundle.beside(&RootCertStore::empty()).unwrap().len(), 2);
        let block = |bytes: &str| format!("-----BEGIN CERTIFICATE-----\n{bytes}\n-----END CERTIFICATE-----\n");
        let cases = [
            (String::new(), "it holds no certificate"),
            (made().signing_key.serialize_pem(), "it holds no certificate"),
            (block("%"), "it is not PEM"),
            (block("AAAA"), "it holds a certificate that cannot be read"),
        ];
        for (pem, reason) in cases {
            assert_eq!(Authorities::of(pem.as_bytes()), Err(reason), "{pem}");
        }
    }
}
