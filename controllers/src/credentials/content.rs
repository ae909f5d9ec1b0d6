//! What a config and its Secret say of a connection, checked before it is used: libvirt's own words for what is missing or wrong are few.

use anyhow::{Context, bail, ensure};
use apis::provider_config::{HostSpec, SshSpec, TlsSpec, Verification};
use jiff::Timestamp;
use libvirt::{Access, Address, Endpoint, Login, Ssh, Tls, Transport};
use serde::Deserialize;

use super::{certificate, private_key};
use crate::sources::Values;

/// What one key of a Secret says of a connection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Connection {
    uri: String,
}

/// The host that a key of a Secret leads to.
pub(super) fn of_key(values: &Values, key: &str) -> anyhow::Result<Endpoint> {
    let value = values.get(key).with_context(|| format!("there is no key {key}"))?;
    // The parser's own words quote what it reads.
    let Ok(Connection { uri }) = serde_json::from_slice(value) else {
        bail!("key {key} is not a JSON object with the key uri and no other")
    };
    let address = Address::parse_secret(&uri).with_context(|| format!("key {key}"))?;
    Ok(Endpoint::new(address, Access::default())?)
}

/// The host that a Secret leads to, or lets in at.
pub(super) fn of_keys(spec: &HostSpec, values: &Values, now: Timestamp) -> anyhow::Result<Endpoint> {
    let address = if let Some(uri) = &spec.uri {
        Address::parse(uri).context("spec.uri")?
    } else {
        let uri = text(values, "uri")?.context("there is no key uri, and spec.uri is not set")?;
        Address::parse_secret(&uri).context("key uri")?
    };
    let access = access(spec, address.transport(), values, now)?;
    Ok(Endpoint::new(address, access)?)
}

/// What lets in by this way. What is meant for other ways is not looked at.
fn access(spec: &HostSpec, transport: Transport, values: &Values, now: Timestamp) -> anyhow::Result<Access> {
    let is_insecure = |verification: Option<Verification>| verification == Some(Verification::Insecure);
    let mut access = Access { login: login(values)?, ..Access::default() };
    match transport {
        Transport::InProcess | Transport::Unix => {}
        Transport::Tcp => check_login(values)?,
        Transport::Tls => {
            let TlsSpec { verification } = spec.tls.clone().unwrap_or_default();
            access.tls = Some(tls(values, is_insecure(verification), now)?);
        }
        Transport::Ssh => {
            let SshSpec { host_key_verification } = spec.ssh.clone().unwrap_or_default();
            access.ssh = Some(ssh(values, is_insecure(host_key_verification))?);
        }
    }
    Ok(access)
}

/// That a Secret for a host by TCP has what its SASL asks for.
fn check_login(values: &Values) -> anyhow::Result<()> {
    let has = |key: &str| values.get(key).is_some();
    for (key, other) in [("username", "password"), ("password", "username")] {
        ensure!(has(key) || !has(other), "there is no key {key}, which belongs to {other}");
    }
    let says_nothing = values.iter().all(|(key, _)| key == "uri");
    ensure!(says_nothing || has("username"), "there is no key username, by which a host lets in by TCP");
    Ok(())
}

fn login(values: &Values) -> anyhow::Result<Option<Login>> {
    let (user, password) = (text(values, "username")?, text(values, "password")?);
    Ok(match (user, password) {
        (None, None) => None,
        (user, password) => Some(Login { user: user.unwrap_or_default(), password: password.unwrap_or_default() }),
    })
}

fn tls(values: &Values, any_host: bool, now: Timestamp) -> anyhow::Result<Tls> {
    let authorities = values.get("ca.crt").context("there is no key ca.crt, by which the host is known")?;
    certificate::check_authorities(authorities, now).context("key ca.crt")?;
    let own = match (values.get("tls.crt"), values.get("tls.key")) {
        (None, None) => None,
        (Some(_), None) => bail!("there is no key tls.key, which tls.crt needs"),
        (None, Some(_)) => bail!("there is no key tls.crt, which tls.key belongs to"),
        (Some(certificate), Some(key)) => {
            certificate::check_own(certificate, key, authorities, now)?;
            Some((certificate.to_vec(), key.to_vec()))
        }
    };
    Ok(Tls { authorities: authorities.to_vec(), own, any_host })
}

fn ssh(values: &Values, any_host: bool) -> anyhow::Result<Ssh> {
    let key = values.get("ssh-privatekey");
    if let Some(key) = key {
        private_key::check(key).context("key ssh-privatekey")?;
    }
    let known_hosts = values.get("known_hosts");
    if let Some(known_hosts) = known_hosts {
        let is_text = str::from_utf8(known_hosts).is_ok_and(|text| text.lines().any(is_host_key));
        ensure!(is_text, "key known_hosts: there is no line with a host, a type of key and a key");
    }
    // A key that ends without a new line is none to many readers.
    let key = key.map(|key| [key.trim_ascii_end(), b"\n"].concat());
    Ok(Ssh { key, known_hosts: known_hosts.map(<[u8]>::to_vec), any_host })
}

fn is_host_key(line: &str) -> bool {
    !line.starts_with('#') && line.split_whitespace().count() >= 3
}

/// The text under a key, without the line end that editors and `echo` leave.
fn text(values: &Values, key: &str) -> anyhow::Result<Option<String>> {
    let Some(value) = values.get(key) else { return Ok(None) };
    let Ok(text) = str::from_utf8(value) else { bail!("key {key} is not text") };
    let text = text.trim_end_matches(['\r', '\n']);
    ensure!(!text.is_empty(), "key {key} is empty");
    ensure!(!text.contains('\0'), "key {key} holds a NUL character");
    Ok(Some(text.to_owned()))
}
