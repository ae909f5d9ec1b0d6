//! The accounts by which a host is let in by the servers of its pools: the password is on the host before the pool is started, and goes with it.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, ensure};
use apis::{
    Managed, Pool,
    pool::{PoolAuth, PoolType},
};
use data_encoding::BASE64;
use kube::Client;
use libvirt::{Connection, SecretUsage};
use managed::plan::only_observes;

use crate::{
    cluster::Cluster,
    host_secrets::{Given, HostSecret, Value, uuid},
    hosts::Site,
    sources::{First, Source, SourceKind, Sources},
};

/// The longest password of CHAP, in bytes: what a text key of iSCSI holds.
const MAX: usize = 255;

/// The Secrets with the passwords of pools: each is watched for as long as its Pool is there.
pub(super) struct Passwords {
    /// By the namespace and name of the object that reads.
    sources: Sources<(String, String)>,
    given: Given,
}

impl Passwords {
    /// Nothing is read yet.
    pub(super) fn new(client: Client, cluster: &Arc<Cluster>) -> Self {
        let readers = cluster.clone();
        let wake = move |(namespace, name): &(String, String)| readers.pools.wake(namespace, name);
        Self { sources: Sources::new(client, First::Awaited, wake), given: Given::default() }
    }

    /// The object reads nothing any more.
    pub(super) fn forget(&self, object: &Pool) {
        self.sources.forget(&reader(object));
        self.given.forget(object.uid());
    }

    /// The password of an object's pool, if it has one.
    pub(super) async fn read(&self, object: &Pool) -> anyhow::Result<Option<Value>> {
        let whole = object.effective();
        let source = whole.parameters().source.as_ref().filter(|_| !only_observes(object));
        let Some(PoolAuth { username: _, secret_ref }) = source.and_then(|source| source.auth.as_ref()) else {
            self.sources.hold(&reader(object), BTreeSet::new());
            return Ok(None);
        };
        let (namespace, _) = reader(object);
        let source = Source { kind: SourceKind::Secret, namespace, name: secret_ref.name.clone() };
        self.sources.hold(&reader(object), BTreeSet::from([source.clone()]));
        let value = self.sources.required(&source, &secret_ref.key).await.context("source.auth.secretRef")?;
        let value = fit(&whole, value).with_context(|| format!("Secret {}, key {}", source.name, secret_ref.key))?;
        Ok(Some(Value::new(value)))
    }

    /// Has the password of an object's pool on its host.
    pub(super) async fn give(&self, host: &Site, object: &Pool, password: Option<&Value>) -> anyhow::Result<()> {
        let Some(password) = password else { return Ok(()) };
        self.given.give(host, object.uid(), HostSecret::new(object, usage(object)), password).await
    }
}

/// Takes the password of a pool that is gone from its host.
pub(super) fn take(host: &Connection, object: &Pool) -> Result<(), libvirt::Error> {
    let whole = object.effective();
    let has_one = whole.parameters().source.as_ref().is_some_and(|source| source.auth.is_some());
    if has_one { HostSecret::new(object, usage(object)).remove(host) } else { Ok(()) }
}

/// The UUID of the secret with the password of an object's pool.
pub(super) fn secret_of(object: &Pool) -> String {
    uuid(&usage(object))
}

/// libvirt's word for how an object's pool lets in.
pub(super) fn word(object: &Pool) -> &'static str {
    if is_ceph(object) { "ceph" } else { "chap" }
}

fn is_ceph(object: &Pool) -> bool {
    object.effective().parameters().type_ == Some(PoolType::Rbd)
}

fn usage(object: &Pool) -> SecretUsage {
    let id = format!("Pool {}", object.uid());
    if is_ceph(object) { SecretUsage::Ceph(id) } else { SecretUsage::Iscsi(id) }
}

/// The password as libvirt wants it. No error tells anything of it.
fn fit(object: &Pool, value: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    ensure!(!value.is_empty(), "the password is empty");
    if is_ceph(object) {
        // libvirt encodes it again for Ceph.
        let key = BASE64.decode(value.trim_ascii()).ok();
        return key.context("the key is no base64, as ceph auth get-key prints it");
    }
    ensure!(value.len() <= MAX, "the password is longer than {MAX} characters");
    ensure!(
        value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '),
        "the password has a character that is not printable ASCII, such as a line break at its end"
    );
    Ok(value)
}

/// An object, as those who read are told apart.
fn reader(object: &Pool) -> (String, String) {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&object.metadata.namespace), text(&object.metadata.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pool(type_: &str) -> Pool {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Pool", "metadata": {"name": "a", "uid": "u"},
            "spec": {"forProvider": {"type": type_}},
        }))
        .unwrap()
    }

    #[test]
    fn a_password_that_nobody_would_take_is_refused_without_being_told() {
        let of =
            |type_: &str, value: &str| fit(&pool(type_), value.as_bytes().to_vec()).map_err(|error| error.to_string());
        assert_eq!(of("Iscsi", "a b!"), Ok(b"a b!".to_vec()));
        assert_eq!(of("Rbd", "a2V5\n"), Ok(b"key".to_vec()));
        let sentence = |text: &str| Err(text.to_owned());
        assert_eq!(of("Rbd", "no key"), sentence("the key is no base64, as ceph auth get-key prints it"));
        assert_eq!(of("Iscsi", ""), sentence("the password is empty"));
        assert_eq!(of("IscsiDirect", &"x".repeat(256)), sentence("the password is longer than 255 characters"));
        let odd = "the password has a character that is not printable ASCII, such as a line break at its end";
        assert_eq!(of("Iscsi", "word\n"), sentence(odd));
    }
}
