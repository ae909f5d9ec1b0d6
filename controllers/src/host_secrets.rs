//! Values of Kubernetes Secrets that libvirt's drivers need on a host: each is a secret of libvirt's there, which only libvirt reads.
//!
//! ```text
//! Secret ──watch──▶ Value ──keep──▶ libvirt's secret (in the daemon's memory) ◀──uuid── <encryption>, <auth>
//! ```
//! The UUID of a secret is made of what it is for, so whoever refers to it knows it, and it stays the same when another object takes over
//! what it opens. One of that UUID or for that purpose which is not described as ours is somebody's, and is left alone.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use apis::Managed;
use libvirt::{Connection, DiskSource, DiskUser, Error, SecretUsage, absent};
use managed::external::Refusal;
use sha2::{Digest, Sha256};

use crate::{hosts::Site, storage::is_same_path};

/// How the description of a secret of ours begins.
const MARK: &str = "kept by provider-libvirt for ";

/// A secret value. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Vec<u8>);

impl Value {
    /// These bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves: for the host and for prints, and nothing else.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

/// A secret as it is to be on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSecret {
    usage: SecretUsage,
    description: String,
}

impl HostSecret {
    /// The secret of an object, for this.
    pub fn new<K: Managed>(object: &K, usage: SecretUsage) -> Self {
        let description = format!("{MARK}{} {} ({})", K::kind(&()), object.full_name(), object.uid());
        Self { usage, description }
    }

    /// Its UUID.
    pub fn uuid(&self) -> String {
        uuid(&self.usage)
    }

    /// How what is in its place on the host is described; None where nothing is.
    fn described(&self, host: &Connection) -> Result<Option<String>, Error> {
        let Some(present) = host.find_secret(&self.uuid())? else { return Ok(None) };
        absent(present.description())
    }

    /// Defines it and gives it its value, and tells how what is on the host by now is described. Refused where somebody else's is in its
    /// place, or the host keeps no secrets.
    pub fn keep(&self, host: &Connection, value: &Value) -> Result<Result<String, Refusal>, Error> {
        match self.put(host, value) {
            Err(error) if is_without(&error) => Ok(Err(not_offered(&error))),
            kept => kept,
        }
    }

    fn put(&self, host: &Connection, value: &Value) -> Result<Result<String, Refusal>, Error> {
        let uuid = self.uuid();
        let present = match host.find_secret(&uuid)? {
            Some(present) => Some(present),
            None => host.find_secret_for(&self.usage)?,
        };
        if let Some(present) = present {
            let (seen, described) = (present.uuid()?, present.description()?);
            if seen != uuid || !described.starts_with(MARK) {
                return Ok(Err(foreign(&self.usage, &seen)));
            }
            // What another object has given opens what a domain uses. Nobody can read it, so it would be lost where ours does not.
            if described != self.description && self.is_needed(host)? {
                tracing::info!(%uuid, %described, "the host's secret stays as it is while a domain uses the volume");
                return Ok(Ok(described));
            }
        }
        host.define_secret(&uuid, &self.usage, &self.description)?.set_value(value.reveal())?;
        Ok(Ok(self.description.clone()))
    }

    /// Whether a domain of the host uses the volume that it opens.
    fn is_needed(&self, host: &Connection) -> Result<bool, Error> {
        let SecretUsage::Volume(path) = &self.usage else { return Ok(false) };
        let uses = |user: DiskUser| matches!(user.source, DiskSource::Path(used) if is_same_path(&used, path));
        Ok(host.disk_users()?.into_iter().any(uses))
    }

    /// Takes it away, if it is this very object's.
    pub fn remove(&self, host: &Connection) -> Result<(), Error> {
        let present = match host.find_secret(&self.uuid()) {
            Err(error) if is_without(&error) => return Ok(()),
            present => present?,
        };
        let Some(present) = present else { return Ok(()) };
        if present.description()? == self.description { present.undefine() } else { Ok(()) }
    }
}

/// What this process has given to hosts, by the UID of the object: what is there as it was given is not given again.
#[derive(Default)]
pub struct Given(Mutex<HashMap<String, Gift>>);

struct Gift {
    uuid: String,
    value: Value,
    /// How what is on the host since then is described: it may be what another object had given.
    described: String,
}

impl Given {
    /// Has a secret of an object on its host. A daemon that was restarted has forgotten it, so each pass looks whether it is there.
    pub async fn give(&self, host: &Site, uid: &str, secret: HostSecret, value: &Value) -> anyhow::Result<()> {
        let (uuid, value) = (secret.uuid(), value.clone());
        let is_it = |given: &&Gift| given.uuid == uuid && given.value == value;
        let known = self.lock().get(uid).filter(is_it).map(|given| given.described.clone());
        let wished = value.clone();
        let give = move |host: &Connection| match known {
            Some(known) if secret.described(host)?.as_ref() == Some(&known) => Ok(Ok(known)),
            Some(_) | None => secret.keep(host, &wished),
        };
        let described = host.short(&uuid, give).await.context("give the host the secret")??;
        self.lock().insert(uid.to_owned(), Gift { uuid, value, described });
        Ok(())
    }

    /// The object is gone, or its secret is to be given anew.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Gift>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The UUID of the secret for this.
pub fn uuid(usage: &SecretUsage) -> String {
    let (type_, id) = match usage {
        SecretUsage::Volume(id) => ("volume", id),
        SecretUsage::Iscsi(id) => ("iscsi", id),
        SecretUsage::Ceph(id) => ("ceph", id),
    };
    let digest = Sha256::digest(format!("provider-libvirt secret v1\0{type_}\0{id}"));
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest).for_each(|(byte, digit)| *byte = digit);
    // Version 8: made of whatever its maker likes (RFC 9562, section 5.8).
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&bytes);
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| &hex[from..to]);
    parts.join("-")
}

/// Whether a host has nothing that keeps secrets: libvirt's driver for them may be a package of its own.
fn is_without(error: &Error) -> bool {
    let said = error.message();
    let is_absent = said.contains("virtsecretd-sock") && said.contains("No such file or directory");
    error.is_unsupported() || is_absent || said.contains("no secret driver")
}

fn not_offered(error: &Error) -> Refusal {
    let message = format!("the host's libvirt keeps no secrets ({error}): install libvirt's secret driver there");
    Refusal { reason: "NotOffered", message }
}

fn foreign(usage: &SecretUsage, uuid: &str) -> Refusal {
    let what = match usage {
        SecretUsage::Volume(path) => format!("volume {path}"),
        SecretUsage::Iscsi(id) | SecretUsage::Ceph(id) => id.clone(),
    };
    let message = format!(
        "the host has a secret for {what} already, {uuid}, which is not ours and is left alone; take it away with virsh secret-undefine {uuid}"
    );
    Refusal { reason: "ForeignObject", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_of_a_secret_is_that_of_what_it_is_for() {
        let of = |path: &str| uuid(&SecretUsage::Volume(path.to_owned()));
        assert_eq!(of("/p/a"), of("/p/a"));
        assert_ne!(of("/p/a"), of("/p/b"));
        assert_ne!(of("a"), uuid(&SecretUsage::Ceph("a".to_owned())));
        let parts: Vec<usize> = of("/p/a").split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(of("/p/a").chars().nth(14), Some('8'));
    }

    #[test]
    fn a_host_that_keeps_no_secrets_is_told_from_one_that_fails() {
        let of = |said: &str| is_without(&Error::other(said));
        assert!(of("Failed to connect socket to '/run/libvirt/virtsecretd-sock': No such file or directory"));
        assert!(!of("Failed to connect socket to '/run/libvirt/virtsecretd-sock': Connection refused"));
        assert!(!of("Secret not found"));
        let Refusal { reason, message } = not_offered(&Error::other("said"));
        let sentence = "the host's libvirt keeps no secrets (said): install libvirt's secret driver there";
        assert_eq!((reason, message.as_str()), ("NotOffered", sentence));
    }

    #[test]
    fn a_value_is_not_shown() {
        assert_eq!(format!("{:?}", Value::new(b"word".to_vec())), "Value(…)");
    }
}
