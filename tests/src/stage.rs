//! Everything that a test of the provider as a whole needs, started once for all tests of one program.

use std::{
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    control_plane::ControlPlane,
    files::{Scratch, workspace},
    host::Host,
    images::ImageServer,
    process::run,
    provider::Provider,
    scenario::Scenario,
};

/// A control plane with the CRDs, a libvirt host, an image server and the provider between them.
///
/// The `ClusterProviderConfig` named `default` is the host, and its policy lets images come from the image server.
// Fields are dropped in this order: who talks to another goes first.
#[derive(Debug)]
pub struct Stage {
    provider: Provider,
    plane: ControlPlane,
    host: Host,
    images: ImageServer,
    subnets: AtomicU8,
    _scratch: Scratch,
}

/// A stage in a static: started by the first test that needs it, for all of them.
#[derive(Debug)]
pub struct SharedStage {
    name: &'static str,
    args: &'static [&'static str],
    started: OnceLock<Result<Stage>>,
}

impl SharedStage {
    /// Not started yet; see [`Stage::start`].
    pub const fn new(name: &'static str, args: &'static [&'static str]) -> Self {
        Self { name, args, started: OnceLock::new() }
    }

    /// The stage.
    ///
    /// # Errors
    /// When it did not start, the same for every test.
    pub fn stage(&self) -> Result<&Stage> {
        let started = self.started.get_or_init(|| Stage::start(self.name, self.args));
        started.as_ref().map_err(|error| anyhow!("start the stage: {error:#}"))
    }

    /// [`Stage::scenario`].
    ///
    /// # Errors
    /// As there, and when the stage did not start.
    pub fn scenario(&self, name: &'static str) -> Result<Scenario<'_>> {
        self.stage()?.scenario(name)
    }
}

impl Stage {
    /// Starts it all in about five seconds; `args` go to the provider.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(name: &str, args: &[&str]) -> Result<Self> {
        let scratch = Scratch::new("stage")?;
        let plane = ControlPlane::start_with(&scratch.path().join("plane"), &[&workspace().join("package/crds")])?;
        let host = Host::start(name)?;
        let config = format!(
            "{{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {{name: default}}, \
             spec: {{uri: '{}', policy: {{imageHosts: [127.0.0.1]}}}}}}",
            host.uri()
        );
        plane.apply(&config)?;
        let mut provider = Provider::start(&plane.kubeconfig(), args)?;
        provider.await_ready()?;
        let images = ImageServer::start()?;
        Ok(Self { provider, plane, host, images, subnets: AtomicU8::new(100), _scratch: scratch })
    }

    /// A namespace, a subnet and a name on the host for one test.
    ///
    /// # Errors
    /// When the namespace is refused.
    pub fn scenario(&self, name: &'static str) -> Result<Scenario<'_>> {
        Scenario::new(self, name, self.subnets.fetch_add(1, Ordering::Relaxed))
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The libvirt host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The provider.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// The image server.
    pub fn images(&self) -> &ImageServer {
        &self.images
    }

    /// What a Volume says to be filled with this file: `source: {http: {url: …, checksum: …}}`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn image(&self, file: &Path) -> Result<String> {
        let name = file.file_name().and_then(|name| name.to_str()).context("read the image's name")?;
        let url = self.images.serve(name, file, crate::Manners::Good);
        let sum = run("sha256sum", &[&file.display().to_string()])?;
        let sum = sum.split(' ').next().unwrap_or_default();
        Ok(format!("source: {{http: {{url: '{url}', checksum: 'sha256:{sum}'}}}}"))
    }
}
