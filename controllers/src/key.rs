//! The key that signs ownership records: one Secret in the provider's own namespace, made at the first start.

use anyhow::Context;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client};
use managed::publish::post_by_us;
use rustls::crypto::SecureRandom;

use crate::ownership::Key;

/// The name of that Secret.
pub const NAME: &str = "provider-libvirt-ownership";
const FIELD: &str = "key";

/// Reads the key, or makes it. Of two providers that make one at once, the second takes the first's.
pub async fn load(client: &Client, namespace: &str) -> anyhow::Result<Key> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = match api.get_opt(NAME).await.context("read Secret provider-libvirt-ownership")? {
        Some(secret) => secret,
        None => match api.create(&post_by_us(), &fresh()?).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(NAME).await?,
            created => created.context("create Secret provider-libvirt-ownership")?,
        },
    };
    let bytes = secret
        .data
        .and_then(|mut data| data.remove(FIELD))
        .with_context(|| format!("Secret {NAME} has no field {FIELD}"))?;
    Key::new(&bytes.0)
        .with_context(|| format!("the field {FIELD} of Secret {NAME} is shorter than {} bytes", Key::MIN_LEN))
}

fn fresh() -> anyhow::Result<Secret> {
    let mut bytes = vec![0; Key::MIN_LEN];
    random(&mut bytes)?;
    Ok(Secret {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        data: Some([(FIELD.to_owned(), ByteString(bytes))].into()),
        immutable: Some(true),
        ..Secret::default()
    })
}

/// Fills with bytes that nobody can guess.
pub(crate) fn random(bytes: &mut [u8]) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    let random: &dyn SecureRandom = provider.secure_random;
    random.fill(bytes).map_err(|_| anyhow::anyhow!("the system has no random numbers"))
}
