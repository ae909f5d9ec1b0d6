//! Everything that a test of the provider as a whole needs: for one test, or started once for all tests of one program.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::{Context as _, Result, anyhow};

use crate::{
    control_plane::ControlPlane,
    files::{Scratch, workspace},
    host::Host,
    http,
    images::{ImageServer, Manners, ServedImage},
    provider::Provider,
    scenario::Scenario,
    sums::sha256,
};

/// The lease of leader election.
pub const LEASE: &str = "crossplane-leader-election-provider-libvirt";

/// A control plane with the CRDs, a libvirt host, an image server and the provider between them; dropping it ends them all.
// Fields are dropped in this order: who talks to another goes first.
#[derive(Debug)]
pub struct Stage {
    // None between the end of a provider and the start of the next one.
    provider: Mutex<Option<Provider>>,
    args: Vec<String>,
    plane: ControlPlane,
    host: Host,
    images: ImageServer,
    subnets: AtomicU8,
    // Where others who run the provider write what it says.
    elsewhere: Option<PathBuf>,
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

    /// [`Stage::scenario`].
    ///
    /// # Errors
    /// As there, and when the stage did not start, the same for every test.
    pub fn scenario(&self, name: &'static str) -> Result<Scenario<'_>> {
        let started = self.started.get_or_init(|| Stage::start(self.name, self.args));
        started.as_ref().map_err(|error| anyhow!("start the stage: {error:#}"))?.scenario(name)
    }
}

impl Stage {
    /// Starts it all in about five seconds, with the host as `ClusterProviderConfig default`; `args` go to the provider.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(name: &str, args: &[&str]) -> Result<Self> {
        let stage = Self::start_unconfigured(name, args)?;
        stage.configure("default", &stage.host.uri(), "")?;
        Ok(stage)
    }

    /// Like [`Self::start`], for a test that says itself which hosts there are.
    ///
    /// # Errors
    /// As there.
    pub fn start_unconfigured(name: &str, args: &[&str]) -> Result<Self> {
        let scratch = Scratch::new("stage")?;
        let plane = ControlPlane::start_with(&scratch.path().join("plane"), &[&workspace().join("package/crds")])?;
        let host = Host::start(name)?;
        let mut provider = Provider::start(&plane.kubeconfig(), args)?;
        provider.await_ready()?;
        let images = ImageServer::start()?;
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let provider = Mutex::new(Some(provider));
        Ok(Self {
            provider,
            args,
            plane,
            host,
            images,
            subnets: AtomicU8::new(100),
            elsewhere: None,
            _scratch: scratch,
        })
    }

    /// Of a plane and a host that are there, where somebody else runs the provider and keeps this log of it.
    pub(crate) fn assembled(plane: ControlPlane, host: Host, log: PathBuf) -> Result<Self> {
        let (scratch, images) = (Scratch::new("stage")?, ImageServer::start()?);
        let (provider, subnets, elsewhere) = (Mutex::default(), AtomicU8::new(100), Some(log));
        Ok(Self { provider, args: Vec::new(), plane, host, images, subnets, elsewhere, _scratch: scratch })
    }

    /// Applies a `ClusterProviderConfig` that lets images come from this machine; `connection` is the inside of a YAML flow mapping.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn configure(&self, name: &str, uri: &str, connection: &str) -> Result<()> {
        let config = format!(
            "{{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {{name: {name}}}, \
             spec: {{uri: '{uri}', policy: {{imageHosts: [127.0.0.1]}}, connection: {{{connection}}}}}}}"
        );
        self.plane.apply(&config).map(drop)
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

    pub(crate) fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// The libvirt host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The image server.
    pub fn images(&self) -> &ImageServer {
        &self.images
    }

    /// Serves a file, and answers what a Volume says to be filled with it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn image(&self, file: &Path, manners: Manners) -> Result<ServedImage> {
        let name = file.file_name().and_then(|name| name.to_str()).context("read the image's name")?;
        let url = self.images.serve(name, file, manners);
        Ok(ServedImage { url, checksum: format!("sha256:{}", sha256(file)?) })
    }

    // ---- the provider ----

    /// Takes the provider out, to be ended by the caller.
    ///
    /// # Errors
    /// When it was taken out already.
    pub fn end_provider(&self) -> Result<Provider> {
        self.provider().take().context("find the provider: it was ended")
    }

    /// Kills the provider as [`Provider::kill9`] does, and spares the next one to wait until the lease has run out.
    ///
    /// # Errors
    /// As there, and when the lease cannot be deleted.
    pub fn kill_provider(&self) -> Result<()> {
        self.end_provider()?.kill9()?;
        self.plane.kubectl(&["delete", "lease", LEASE, "--namespace=default", "--ignore-not-found"]).map(drop)
    }

    /// Starts the provider again after [`Self::end_provider`], and does not wait until it serves.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_provider(&self) -> Result<()> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        *self.provider() = Some(Provider::start(&self.plane.kubeconfig(), &args)?);
        Ok(())
    }

    /// [`Provider::metrics`].
    ///
    /// # Errors
    /// As there, and when the provider was ended.
    pub fn metrics(&self) -> Result<HashMap<String, f64>> {
        self.provider().as_ref().context("find the provider: it was ended")?.metrics()
    }

    /// Status and body of a path where the provider tells how it is, such as `/readyz`.
    ///
    /// # Errors
    /// When it does not answer, and when it was ended.
    pub fn health(&self, path: &str) -> Result<(u16, String)> {
        let port = self.provider().as_ref().context("find the provider: it was ended")?.health_port();
        http::get(port, path)
    }

    /// The id of the provider's process.
    ///
    /// # Errors
    /// When it was ended.
    pub fn provider_pid(&self) -> Result<u32> {
        Ok(self.provider().as_ref().context("find the provider: it was ended")?.pid())
    }

    /// What the provider that runs has logged so far.
    pub fn log(&self) -> String {
        let elsewhere = || std::fs::read_to_string(self.elsewhere.as_ref()?).ok();
        self.provider().as_ref().map(Provider::log).or_else(elsewhere).unwrap_or_default()
    }

    fn provider(&self) -> MutexGuard<'_, Option<Provider>> {
        self.provider.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
