//! Certificates for hosts that are reached by TLS, and for those who come.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// An authority.
#[derive(Debug)]
pub struct Pki {
    /// Its certificate in PEM.
    pub authority: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Pki {
    /// A new authority of this name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        Ok(Self { authority, issuer: Issuer::new(params, key) })
    }

    /// The certificate of a host of these names and addresses.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn host(&self, names: &[&str]) -> Result<Pair> {
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        self.sign(params, names.first().unwrap_or(&""), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The same, and it expired long ago.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn expired_host(&self, names: &[&str]) -> Result<Pair> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(params, names.first().unwrap_or(&""), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The certificate of somebody who comes.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn client(&self, name: &str) -> Result<Pair> {
        self.sign(CertificateParams::default(), name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The same, and it expired long ago.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn expired(&self, name: &str) -> Result<Pair> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.sign(params, name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// The same, and it expires this much later.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn brief(&self, name: &str, life: Duration) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(1970, 1, 1) + SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)? + life;
        self.sign(params, name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<Pair> {
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        // libvirt 9.0 wants both of every certificate.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
