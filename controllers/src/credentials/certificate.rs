//! Certificates of a Secret, before libvirt sees them: what is wrong with them is said by the key of the Secret.

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use libvirt::Tls;
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use x509_parser::{certificate::X509Certificate, parse_x509_certificate};

/// Checks that some certificate among these can vouch for somebody today.
pub(super) fn check_authorities(pem: &[u8], now: Timestamp) -> anyhow::Result<()> {
    let ders = ders(pem)?;
    let certificates = ders.iter().map(|der| read(der)).collect::<anyhow::Result<Vec<_>>>()?;
    let faults: Vec<String> = certificates.iter().filter_map(|certificate| outdated(certificate, now)).collect();
    // An authority and the one before it may be there together.
    if let Some(fault) = faults.first().filter(|_| faults.len() == certificates.len()) {
        bail!("{fault}");
    }
    Ok(())
}

/// Checks our own certificate and its key, by the names of their keys in the Secret.
pub(super) fn check_own(certificate: &[u8], key: &[u8], authorities: &[u8], now: Timestamp) -> anyhow::Result<()> {
    let chain = ders(certificate).context("key tls.crt")?;
    let own = chain.first().map(|der| read(der)).transpose().context("key tls.crt")?;
    let own = own.context("key tls.crt: it holds no certificate")?;
    if let Some(fault) = outdated(&own, now) {
        bail!("key tls.crt: {fault}");
    }
    let is_encrypted = key.windows(9).any(|window| window == b"ENCRYPTED");
    ensure!(
        !is_encrypted,
        "key tls.key: it is encrypted, and nobody could be asked for its passphrase; write it without one"
    );
    let Ok(key) = PrivateKeyDer::from_pem_slice(key) else { bail!("key tls.key: it is no private key in PEM") };
    check_pair(&chain, key)?;
    let authorities = ders(authorities).context("key ca.crt")?;
    let vouched = chain
        .iter()
        .skip(1)
        .chain(&authorities)
        .any(|der| read(der).is_ok_and(|authority| authority.subject().as_raw() == own.issuer().as_raw()));
    // libvirt itself does not start with one that is not.
    ensure!(vouched, "key tls.crt: it is from {}, which is not in ca.crt", own.issuer());
    Ok(())
}

/// When certificates stop to count, and the key of the Secret that does so first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The last moment.
    pub(super) at: Timestamp,
    key: &'static str,
}

impl End {
    /// Of certificates that have been checked.
    pub(super) fn of(Tls { authorities, own, any_host: _ }: &Tls) -> Option<Self> {
        let ends = |pem: &[u8]| -> Vec<Timestamp> {
            let ders = ders(pem).unwrap_or_default();
            ders.iter().filter_map(|der| Some(at(read(der).ok()?.validity().not_after))).collect()
        };
        // One authority is enough, and of a chain the first certificate is our own.
        let authorities = ends(authorities).into_iter().max().map(|at| Self { at, key: "ca.crt" });
        let own = own.as_ref().and_then(|(certificate, _)| ends(certificate).first().copied());
        authorities.into_iter().chain(own.map(|at| Self { at, key: "tls.crt" })).min_by_key(|end| end.at)
    }

    /// What is wrong with them by now.
    pub(super) fn fault(&self, now: Timestamp) -> Option<String> {
        (now > self.at).then(|| format!("key {}: {}", self.key, expired(self.at)))
    }
}

/// Whether the key is the certificate's. Kinds of keys that are not known here are left to libvirt.
fn check_pair(chain: &[CertificateDer<'static>], key: PrivateKeyDer<'static>) -> anyhow::Result<()> {
    let Ok(key) = ring::default_provider().key_provider.load_private_key(key) else { return Ok(()) };
    let paired = rustls::sign::CertifiedKey::new(chain.to_vec(), key).keys_match();
    let is_other = matches!(paired, Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)));
    ensure!(!is_other, "key tls.key: it is not the key of tls.crt");
    Ok(())
}

fn ders(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let Ok(certificates) = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() else {
        bail!("it is not PEM")
    };
    ensure!(!certificates.is_empty(), "it holds no certificate");
    Ok(certificates)
}

fn read<'a>(der: &'a CertificateDer<'_>) -> anyhow::Result<X509Certificate<'a>> {
    let Ok((_, certificate)) = parse_x509_certificate(der) else { bail!("it holds a certificate that cannot be read") };
    Ok(certificate)
}

/// Why a certificate does not count today.
fn outdated(certificate: &X509Certificate<'_>, now: Timestamp) -> Option<String> {
    let (from, until) = (at(certificate.validity().not_before), at(certificate.validity().not_after));
    if now > until {
        return Some(expired(until));
    }
    (now < from).then(|| format!("it counts from {from} on only"))
}

fn at(time: x509_parser::time::ASN1Time) -> Timestamp {
    Timestamp::from_second(time.timestamp()).unwrap_or_default()
}

fn expired(until: Timestamp) -> String {
    format!("it expired at {until}")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate until the end of a year.
    fn until(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year + 1, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem().into_bytes()
    }

    #[test]
    fn what_ends_first_is_named_but_of_authorities_the_last_one_counts() {
        let end = |authorities: &[i32], own: &[i32]| {
            let all = |years: &[i32]| years.iter().flat_map(|year| until(*year)).collect::<Vec<u8>>();
            let own = (!own.is_empty()).then(|| (all(own), Vec::new()));
            let end = End::of(&Tls { authorities: all(authorities), own, any_host: false }).unwrap();
            (end.key, end.at.to_string())
        };
        assert_eq!(end(&[2030], &[]), ("ca.crt", "2031-01-01T00:00:00Z".to_owned()));
        assert_eq!(end(&[2030], &[2029]), ("tls.crt", "2030-01-01T00:00:00Z".to_owned()));
        assert_eq!(end(&[2028, 2040, 2029], &[2035, 2020]), ("tls.crt", "2036-01-01T00:00:00Z".to_owned()));
        assert_eq!(end(&[2028, 2032, 2029], &[2035]), ("ca.crt", "2033-01-01T00:00:00Z".to_owned()));

        let end = End { at: "2030-01-01T00:00:00Z".parse().unwrap(), key: "tls.crt" };
        assert_eq!(end.fault(end.at), None);
        let later = "2030-01-01T00:00:01Z".parse().unwrap();
        assert_eq!(end.fault(later).unwrap(), "key tls.crt: it expired at 2030-01-01T00:00:00Z");
    }
}
