//! A certificate of our own: who signs it, how long it is good for, and when the next one is due. Pure but for chance and the clock that
//! it is told.

use std::net::IpAddr;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
};

use super::certificate::{expiry, first};

const DAY: i64 = 24 * 60 * 60;
/// How long a certificate is good for, and how long before its end there is a new one, in days.
const CERTIFICATE: (i64, i64) = (365, 90);
/// The same of the authority, whose end everything under it must not outlive.
const AUTHORITY: (i64, i64) = (3650, 400);

/// What is kept in the Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Whom to trust, in PEM: the authority, and the one before it, for as long as something signed by that is served.
    pub bundle: String,
    /// The authority's key.
    pub authority_key: String,
    /// What is served, in PEM.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Keys {
    /// Whether there is to be a new certificate: it lacks a name, or ends soon, or its authority does.
    pub fn is_due(&self, names: &[String], now: Timestamp) -> bool {
        let lacks = |known: &[String]| names.iter().any(|name| !known.contains(name));
        let soon = |pem: &str, before| ends(pem).is_none_or(|end| end < after(now, before));
        !self.is_whole()
            || soon(&self.bundle, AUTHORITY.1)
            || soon(&self.certificate, CERTIFICATE.1)
            || named(&self.certificate).is_none_or(|known| lacks(&known))
    }

    /// The names that the certificate is good for.
    pub fn names(&self) -> Vec<String> {
        named(&self.certificate).unwrap_or_default()
    }

    /// Whether all of it belongs together: somebody may have put another part into the Secret.
    fn is_whole(&self) -> bool {
        has_key(&self.bundle, &self.authority_key)
            && has_key(&self.certificate, &self.key)
            && signer(&self.certificate).is_some_and(|signer| identifier(&self.bundle) == Some(signer))
    }

    /// New keys for these names, signed by the same authority for as long as that is good.
    pub fn renew(old: Option<&Self>, names: &[String], now: Timestamp) -> anyhow::Result<Self> {
        let good = |old: &&Self| {
            has_key(&old.bundle, &old.authority_key)
                && ends(&old.bundle).is_some_and(|end| end >= after(now, AUTHORITY.1))
        };
        let (bundle, authority_key) = match old.filter(good) {
            Some(old) => (old.bundle.clone(), old.authority_key.clone()),
            None => authority(old, now)?,
        };
        let signer = KeyPair::from_pem(&authority_key).context("read the key of the webhook's authority")?;
        let issuer = Issuer::new(authority_params(now)?, signer);
        let mut params = CertificateParams::new(names).context("name the webhook's certificate")?;
        last(&mut params, now, CERTIFICATE.0);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params.signed_by(&key, &issuer).context("sign the webhook's certificate")?;
        Ok(Self { bundle, authority_key, certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// A new authority, trusted together with the one before.
fn authority(old: Option<&Keys>, now: Timestamp) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate().context("make a key")?;
    let mut bundle = authority_params(now)?.self_signed(&key).context("make the webhook's authority")?.pem();
    if let Some(before) = old.and_then(|old| first_as_written(&old.bundle)) {
        bundle = format!("{bundle}{before}\n");
    }
    Ok((bundle, key.serialize_pem()))
}

/// The first certificate of a bundle, if it is one.
fn first_as_written(bundle: &str) -> Option<&str> {
    const END: &str = "-----END CERTIFICATE-----";
    first(bundle.as_bytes())?;
    Some(&bundle[..bundle.find(END)? + END.len()])
}

fn authority_params(now: Timestamp) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("name the webhook's authority")?;
    params.distinguished_name.push(DnType::CommonName, "provider-libvirt webhook");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    last(&mut params, now, AUTHORITY.0);
    Ok(params)
}

fn after(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(days * DAY)).unwrap_or(Timestamp::MAX)
}

/// Good from yesterday, because clocks differ, for so many days.
fn last(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let day = |time: Timestamp| {
        let date = time.to_zoned(TimeZone::UTC).date();
        date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(after(now, -1)), day(after(now, days)));
}

/// Whether the first certificate is of this key.
fn has_key(pem: &str, key: &str) -> bool {
    let (Some(der), Ok(key)) = (first(pem.as_bytes()), KeyPair::from_pem(key)) else { return false };
    parse_x509_certificate(&der)
        .is_ok_and(|(_, certificate)| certificate.public_key().raw == key.subject_public_key_info())
}

/// What the first certificate says of the key that signed it.
fn signer(pem: &str) -> Option<Vec<u8>> {
    extension(pem, |extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(by) => by.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    })
}

/// What others say of the key of the first certificate, if it signed them.
fn identifier(pem: &str) -> Option<Vec<u8>> {
    extension(pem, |extension| match extension {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

/// What is read of the first certificate's extensions.
fn extension<T>(pem: &str, read: impl Fn(&ParsedExtension<'_>) -> Option<T>) -> Option<T> {
    let der = first(pem.as_bytes())?;
    let (_, certificate) = parse_x509_certificate(&der).ok()?;
    certificate.iter_extensions().find_map(|extension| read(extension.parsed_extension()))
}

/// When the first certificate ends.
fn ends(pem: &str) -> Option<Timestamp> {
    expiry(&first(pem.as_bytes())?).ok()
}

/// The names that the first certificate is good for.
fn named(pem: &str) -> Option<Vec<String>> {
    let der = first(pem.as_bytes())?;
    let (_, certificate) = parse_x509_certificate(&der).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    };
    Some(names.value.general_names.iter().filter_map(name).collect())
}
