//! Pushing images to a registry.

use std::{collections::BTreeSet, fs::File, net::Ipv4Addr, path::Path, thread, time::Duration};

use anyhow::{Context as _, Error, Result, anyhow, bail, ensure};
use docker_credential::{CredentialRetrievalError, DockerCredential};
use http::HeaderValue;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    secrets::RegistryAuth,
};

use crate::{
    image::{INDEX, Image, Index, MANIFEST, Platform},
    layer::digest,
};

/// A tag in a repository of a registry, all three said: Crossplane knows no default for any.
#[derive(Clone, Debug)]
pub struct Target {
    reference: Reference,
    login: RegistryAuth,
}

impl Target {
    /// Reads `registry/repository:tag`.
    ///
    /// # Errors
    /// When one of them is missing or malformed.
    pub fn parse(text: &str) -> Result<Self> {
        let example = "it is written as registry.example.org/team/provider-libvirt:v0.1.0";
        let host = text.split_once('/').map_or("", |(host, _)| host);
        ensure!(host == "localhost" || host.contains(['.', ':']), "{text} names no registry; {example}");
        let reference: Reference = text.parse().with_context(|| format!("read {text}; {example}"))?;
        let tag = text.rsplit('/').next().and_then(|name| name.split_once(':'));
        ensure!(tag.is_some() && reference.digest().is_none(), "{text} names no tag; {example}");
        Ok(Self { reference, login: RegistryAuth::Anonymous })
    }

    /// Whether the tag, where it is a version, is the one that the image says of itself: under another one Crossplane would take an upgrade
    /// for done.
    ///
    /// # Errors
    /// With both versions, when it is another one.
    pub fn check_version(&self, image: &Image) -> Result<()> {
        let tag = self.reference.tag().unwrap_or_default();
        let manifest = image.manifest()?;
        let Some(version) = manifest.annotations.get("org.opencontainers.image.version") else { return Ok(()) };
        let numbers = tag.strip_prefix('v').unwrap_or(tag);
        let is_version = numbers.split('.').count() >= 3 && numbers.starts_with(|first: char| first.is_ascii_digit());
        ensure!(
            !is_version || tag == version,
            "this package is {version}, and the tag says {tag}; push it as {version}, or make one with `make xpkg VERSION={numbers}`"
        );
        Ok(())
    }

    /// Logs in with a user's password or token.
    #[must_use]
    pub fn with_login(self, user: &str, password: &str) -> Self {
        Self { login: RegistryAuth::Basic(user.to_owned(), password.to_owned()), ..self }
    }

    /// Logs in as `docker login` has noted it in `config`, credential helpers included; anonymously if there is no such file or it
    /// says nothing of this registry.
    ///
    /// # Errors
    /// When the note cannot be read or used.
    pub fn with_docker_login(self, config: &Path) -> Result<Self> {
        if !config.exists() {
            return Ok(self);
        }
        // Docker's own registry is noted under the address that it had first.
        let registry = match self.reference.resolve_registry() {
            "index.docker.io" => "https://index.docker.io/v1/",
            other => other,
        };
        let config_file = File::open(config).with_context(|| format!("open {}", config.display()))?;
        match docker_credential::get_credential_from_reader(config_file, registry) {
            Ok(DockerCredential::UsernamePassword(user, password)) => Ok(self.with_login(&user, &password)),
            Ok(DockerCredential::IdentityToken(_)) => {
                bail!("the login to {registry} is an identity token; log in with a user and an access token instead")
            }
            Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(self),
            // So says a helper that knows nothing of this registry.
            Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
                if [&stdout, &stderr].iter().any(|said| said.contains("credentials not found")) =>
            {
                Ok(self)
            }
            Err(error) => Err(error).with_context(|| format!("read the login to {registry} in {}", config.display())),
        }
    }

    /// Whether the registry is on this machine, where it is spoken to without TLS, as Crossplane does.
    fn is_local(&self) -> bool {
        let registry = self.reference.registry();
        let host = registry.split_once(':').map_or(registry, |(host, _)| host);
        let address = host.parse::<Ipv4Addr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    fn client(&self) -> Client {
        // One provider of cryptography in the whole process; somebody may have chosen it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let local = self.is_local().then(|| self.reference.registry().to_owned());
        Client::new(ClientConfig {
            protocol: ClientProtocol::HttpsExcept(local.into_iter().collect()),
            use_monolithic_push: true,
            connect_timeout: Some(Duration::from_secs(30)),
            read_timeout: Some(Duration::from_mins(2)),
            ..ClientConfig::default()
        })
    }
}

/// Pushes images with their layers' annotations: one as itself, several, of different architectures, as an index of them. Answers the
/// digest under which the tag then is. Waits for the network: not to be called from asynchronous code.
///
/// # Errors
/// When there is no image, and when the registry cannot be reached or refuses.
pub fn push(images: &[Image], target: &Target) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the network")?;
    // A nonsensical answer may end the client's thread.
    let pushed = thread::scope(|scope| scope.spawn(|| runtime.block_on(push_all(images, target))).join());
    let pushed = pushed.unwrap_or_else(|_| Err(anyhow!("the registry's answer makes no sense")));
    let pushed = pushed.map_err(|error| with_cure(error, target));
    pushed.with_context(|| format!("push {}", target.reference.whole()))
}

/// Says how to log in where that is what the registry asks for.
fn with_cure(error: Error, target: &Target) -> Error {
    let refused = error.downcast_ref().is_some_and(|error| {
        matches!(
            error,
            OciDistributionError::AuthenticationFailure(_)
                | OciDistributionError::UnauthorizedError { .. }
                | OciDistributionError::ServerError { code: 401 | 403, .. }
        )
    });
    let registry = target.reference.registry();
    if refused {
        let how = if target.login == RegistryAuth::Anonymous { "asks for a login" } else { "refuses this login" };
        return error.context(format!("{registry} {how}; `docker login {registry}` notes one"));
    }
    if format!("{error:#} {error:?}").contains("InvalidContentType") {
        return error.context(format!("{registry} does not speak TLS; only a registry on this machine may"));
    }
    error
}

async fn push_all(images: &[Image], target: &Target) -> Result<String> {
    let client = target.client();
    let registry = target.reference.resolve_registry();
    let login = client.auth(&target.reference, &target.login, RegistryOperation::Push).await;
    login.with_context(|| format!("reach {registry} and log in"))?;
    let pushed = match images {
        [image] => push_image(&client, image, &target.reference).await.map(|()| image.digest().to_owned())?,
        several => push_index(&client, several, target).await?,
    };
    let there =
        client.fetch_manifest_digest(&target.reference, &target.login).await.context("look at what was pushed")?;
    ensure!(there == pushed, "{registry} has {there} under this tag, and {pushed} was pushed");
    Ok(pushed)
}

async fn push_index(client: &Client, images: &[Image], target: &Target) -> Result<String> {
    ensure!(!images.is_empty(), "there is no image to push");
    let platforms: BTreeSet<&Platform> = images.iter().filter_map(|image| image.descriptor.platform.as_ref()).collect();
    ensure!(
        platforms.len() == images.len(),
        "two of the images are for the same architecture, and a node could not choose; push them under tags of their own"
    );
    for image in images {
        let reference = target.reference.clone_with_digest(image.digest().to_owned());
        push_image(client, image, &reference).await?;
    }
    let index = Index::new(images.iter().map(|image| image.descriptor.clone()).collect());
    let index = serde_json::to_vec(&index).context("write the index")?;
    let name = digest(&index);
    let pushed = client.push_manifest_raw(&target.reference, index, HeaderValue::from_static(INDEX)).await;
    pushed.context("push the index")?;
    Ok(name)
}

async fn push_image(client: &Client, image: &Image, reference: &Reference) -> Result<()> {
    let manifest = image.manifest()?;
    for part in manifest.layers.iter().chain([&manifest.config]) {
        if !client.blob_exists(reference, &part.digest).await.unwrap_or(false) {
            let blob = image.blob(&part.digest)?.clone();
            let pushed = client.push_blob(reference, blob, &part.digest).await;
            pushed.with_context(|| format!("push {}", part.digest))?;
        }
    }
    let blob = image.blob(image.digest())?.clone();
    let pushed = client.push_manifest_raw(reference, blob, HeaderValue::from_static(MANIFEST)).await;
    pushed.map(drop).context("push the manifest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_registry_repository_and_tag() {
        for text in ["provider-libvirt:v1", "team/provider-libvirt:v1", "registry.example.org/provider-libvirt"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
        for (text, local) in [
            ("127.0.0.1:5000/team/provider-libvirt:v1", true),
            ("localhost:5000/provider-libvirt:v1", true),
            ("registry.example.org:5000/provider-libvirt:v1", false),
            ("127.example.org:5000/provider-libvirt:v1", false),
            ("127.0.0.1.nip.io/provider-libvirt:v1", false),
        ] {
            assert_eq!(Target::parse(text).unwrap().is_local(), local, "{text}");
        }
    }
}
