//! A real Crossplane and what it needs around it, without nodes and without a container runtime.
//!
//! ```text
//!   Registry ◀── package ── Core (core, RBAC manager) ──▶ ControlPlane ──webhook──▶ provider (as user 2000) ──▶ Host
//!                             │ functions                      ▲ Deployments            ▲ starts, follows
//!                             ├──▶ function-auto-ready         └──────── Kubelet ───────┘
//!                             └──▶ Function (answers function-patch-and-transform's input)
//! ```
//!
//! All of it is in a [`PrivateNetwork`], because Crossplane's ports are fixed. Played are kubelet, DNS for functions and the network of
//! pods: they share this machine's addresses, so the provider is told which ones are its own. Real is everything else.

mod core;
mod function;
mod functions;
mod kubelet;
mod pod;

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

pub use core::SYSTEM;
pub use kubelet::PROVIDER;

use anyhow::{Context as _, Result, anyhow, ensure};
use package::{Package, Target};
use serde_json::{Value, json};

use self::{
    core::{Core, FUNCTIONS},
    kubelet::{Kubelet, Node},
};
use crate::{
    control_plane::ControlPlane,
    files::{Scratch, copy_package_sources, provider_binary, workspace},
    host::Host,
    kubectl::{condition, is_true},
    network::PrivateNetwork,
    process::{Lifetime, last_lines},
    registry::Registry,
    scenario::{PATIENCE, Scenario},
    stage::Stage,
    wait::eventually,
};

/// Where the examples have their packages, and what the registry of the rig has there instead.
const MIRRORED: [(&str, &str); 2] =
    [("registry.example.org/team/", "provider/"), ("xpkg.crossplane.io/crossplane-contrib/", "function/")];

/// The column that [`Rig::publish_later`] adds.
pub const LATER: &str = "LATER";

/// How long Crossplane may take for a step of its own on a machine with busy neighbours.
pub(crate) const SLOW: Duration = Duration::from_mins(5);

/// How much of a log is shown.
const LOG_LINES: usize = 30;

/// Crossplane with its functions on a control plane, and a libvirt host; dropping it ends them all.
// Fields are dropped in this order: who talks to another goes first.
#[derive(Debug)]
pub struct Rig {
    kubelet: Kubelet,
    core: Core,
    stage: Stage,
    registry: Registry,
    network: PrivateNetwork,
    scratch: Scratch,
}

impl Rig {
    /// Starts it and moves the calling thread into its network. There is no provider yet, and nothing is activated.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_beside(name, &[])
    }

    /// [`Self::start`] on a node with the folders of more daemons' sockets, by the paths that pods mount.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start_beside(name: &str, others: &[(&str, &Host)]) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let folder = scratch.path();
        let network = PrivateNetwork::start(folder)?;
        network.enter()?;
        let plane = ControlPlane::start_uncontrolled(Lifetime::Owned, &folder.join("plane"))?;
        let registry = Registry::start()?;
        for (name, version, _) in FUNCTIONS {
            functions::push(&registry, folder, &format!("function/{name}"), version)?;
        }
        let core = Core::start(&plane, folder)?;
        let host = Host::start(name)?;
        let log = folder.join("provider.log");
        let mut node = node(&plane, &host, folder, &log)?;
        node.paths.extend(others.iter().map(|(path, host)| ((*path).to_owned(), host.path("run"))));
        let kubelet = Kubelet::start(node)?;
        let stage = Stage::assembled(plane, host, log)?;
        let rig = Self { kubelet, core, stage, registry, network, scratch };
        rig.mirror()?;
        rig.apply_example("install/functions.yaml")?;
        Ok(rig)
    }

    /// Has Crossplane fetch from this rig's registry what the examples have elsewhere.
    fn mirror(&self) -> Result<()> {
        for (from, to) in MIRRORED {
            let config = json!({
                "apiVersion": "pkg.crossplane.io/v1beta1", "kind": "ImageConfig",
                "metadata": {"name": to.trim_end_matches('/')},
                "spec": {
                    "matchImages": [{"type": "Prefix", "prefix": from}],
                    "rewriteImage": {"prefix": format!("{}/{to}", self.registry.host())},
                },
            });
            self.plane().apply(&config.to_string())?;
        }
        Ok(())
    }

    /// Moves the calling thread into this rig's network, for good.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        self.network.enter()
    }

    /// Control plane and host.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The control plane.
    pub fn plane(&self) -> &ControlPlane {
        self.stage.plane()
    }

    /// A scenario, after which the calling thread is in this rig's network.
    ///
    /// # Errors
    /// As [`Stage::scenario`].
    pub fn scenario(&self, name: &'static str) -> Result<Scenario<'_>> {
        self.enter()?;
        self.stage.scenario(name)
    }

    /// Pushes the provider's package as this version, without the image that it would run in.
    ///
    /// # Errors
    /// When it cannot be made, or the registry refuses it.
    pub fn publish(&self, version: &str) -> Result<()> {
        self.publish_of(&workspace(), version)
    }

    /// [`Self::publish`] with a Pool that shows a column more, as a later version may.
    ///
    /// # Errors
    /// Then, or when the source tree cannot be copied.
    pub fn publish_later(&self, version: &str) -> Result<()> {
        let tree = self.scratch.path().join("later");
        copy_package_sources(&tree)?;
        let file = tree.join("package/crds/libvirt.m.nourspeed.io_pools.yaml");
        let crd = std::fs::read_to_string(&file).context("read the CRD")?;
        let columns = "  - additionalPrinterColumns:\n";
        ensure!(crd.contains(columns), "the CRD has no columns");
        let more = format!("{columns}    - jsonPath: .metadata.uid\n      name: {LATER}\n      type: string\n");
        std::fs::write(&file, crd.replacen(columns, &more, 1)).context("write the CRD")?;
        self.publish_of(&tree, version)
    }

    fn publish_of(&self, tree: &Path, version: &str) -> Result<()> {
        let package = Package::new(tree, version.trim_start_matches('v'))?;
        let target = format!("{}/provider/provider-libvirt:{version}", self.registry.host());
        package::push(&[package.without_runtime()?], &Target::parse(&target)?).map(drop)
    }

    /// Installs this version of the provider as the examples do, or changes to it, and waits until it is Healthy.
    ///
    /// # Errors
    /// With its conditions.
    pub fn install(&self, version: &str) -> Result<()> {
        self.apply_example("install/runtime-node-socket.yaml")?;
        let provider = example("install/provider.yaml")?.replace(":v0.1.0", &format!(":{version}"));
        self.plane().apply(&provider)?;
        self.await_healthy(version)
    }

    /// Waits until this version of the provider, and both functions, are Installed and Healthy.
    ///
    /// # Errors
    /// With their conditions.
    pub fn await_healthy(&self, version: &str) -> Result<()> {
        self.eventually(SLOW, || {
            let objects = self.plane().client().get(&["providers.pkg.crossplane.io,functions.pkg.crossplane.io"])?;
            let objects = objects.context("there are no packages")?;
            for object in objects["items"].as_array().into_iter().flatten() {
                let well = is_true(object, "Installed") && is_true(object, "Healthy");
                ensure!(well, "{}: {:#}", object["metadata"]["name"], object["status"]["conditions"]);
            }
            let revisions = self.plane().client().get(&["providerrevisions.pkg.crossplane.io"])?;
            let revisions = revisions.context("there are no revisions")?;
            let active = revisions["items"].as_array().into_iter().flatten().find(|revision| {
                revision["spec"]["desiredState"] == "Active"
                    && revision["spec"]["image"].as_str().is_some_and(|image| image.ends_with(&format!(":{version}")))
            });
            let active = active.with_context(|| format!("{version} is not active"))?;
            let healthy = is_true(active, "RuntimeHealthy") && is_true(active, "RevisionHealthy");
            ensure!(healthy, "{version}: {:#}", active["status"]["conditions"]);
            // A revision that was active before still says that it is healthy while Crossplane has yet to deploy it again.
            let (runs, wished) = (self.kubelet.revision()?, active["metadata"]["name"].as_str());
            ensure!(Some(runs.as_str()) == wished, "{runs} runs instead of {wished:?}");
            Ok(())
        })
    }

    /// Applies an example, named below `examples/`.
    ///
    /// # Errors
    /// When it is missing or refused.
    pub fn apply_example(&self, name: &str) -> Result<String> {
        self.plane().apply(&example(name)?)
    }

    /// Starts kube-controller-manager, anew if it runs: its garbage collector learns new kinds only now and then by itself.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_controllers(&mut self) -> Result<()> {
        self.stage.plane_mut().start_controllers()
    }

    /// The process id of the provider.
    ///
    /// # Errors
    /// When it does not run.
    pub fn provider(&self) -> Result<u32> {
        self.kubelet.provider()
    }

    /// What the kernel says of the provider's process in a field of its status: users, groups and so on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn provider_status(&self, field: &str) -> Result<Vec<String>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.provider()?)).context("read its status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let line = line.with_context(|| format!("there is no {field}"))?;
        Ok(line.split_whitespace().map(ToOwned::to_owned).collect())
    }

    /// Names of the `CustomResourceDefinitions` of the provider's group.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub fn kinds(&self) -> Result<Vec<String>> {
        let text = self.plane().kubectl(&["get", "customresourcedefinitions", "-o", "name"])?;
        let names = text.lines().filter_map(|line| line.split_once('/')).map(|(_, name)| name);
        Ok(names.filter_map(|name| name.strip_suffix(".libvirt.m.nourspeed.io")).map(ToOwned::to_owned).collect())
    }

    /// Activates managed resources by a policy of this name.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn activate(&self, policy: &str, patterns: &[&str]) -> Result<()> {
        let policy = json!({
            "apiVersion": "apiextensions.crossplane.io/v1alpha1", "kind": "ManagedResourceActivationPolicy",
            "metadata": {"name": policy}, "spec": {"activate": patterns},
        });
        self.plane().apply(&policy.to_string()).map(drop)
    }

    /// Waits until what serves a composite resource is established: kinds by `kubectl get`'s words.
    ///
    /// # Errors
    /// With the conditions of one that is not.
    pub fn await_established(&self, definitions: &[&str]) -> Result<()> {
        for name in definitions {
            self.eventually(PATIENCE, || {
                let object = self.plane().client().get(&["compositeresourcedefinition", name])?;
                let object = object.with_context(|| format!("there is no definition {name}"))?;
                let (status, reason, message) = condition(&object, "Established")?;
                ensure!(status == "True", "{name} is not established: {reason} {message}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Asks `probe` until it gives a value; what it lacked is told with what Crossplane and the provider wrote last.
    ///
    /// # Errors
    /// Then.
    pub fn eventually<T>(&self, timeout: Duration, probe: impl FnMut() -> Result<T>) -> Result<T> {
        eventually(timeout, probe).map_err(|error| {
            let events = self.plane().kubectl(&["get", "events", "-A", "--field-selector=type=Warning"]);
            let events = last_lines(&events.unwrap_or_default(), LOG_LINES);
            let core = last_lines(&self.core.log(), LOG_LINES);
            let provider = last_lines(&self.stage.log(), LOG_LINES);
            let folder = self.scratch.path().display();
            anyhow!(
                "{error:#}\nwarnings:\n{events}\nCrossplane:\n{core}\nthe provider:\n{provider}\nall is in {folder}"
            )
        })
    }
}

/// What a file below `examples/` says.
///
/// # Errors
/// When it is missing.
pub fn example(name: &str) -> Result<String> {
    let file = workspace().join("examples").join(name);
    fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// The objects that a composite resource is composed of, as `kind/name`.
pub fn composed(composite: &Value) -> Vec<String> {
    let references = composite["spec"]["crossplane"]["resourceRefs"].as_array();
    let mut all: Vec<String> = references
        .into_iter()
        .flatten()
        .map(|reference| {
            let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text("kind").to_lowercase(), text("name"))
        })
        .collect();
    all.sort();
    all
}

fn node(plane: &ControlPlane, host: &Host, folder: &Path, log: &Path) -> Result<Node> {
    let (server, authority) = plane.server()?;
    let port = server.rsplit(':').next().context("read the API server's port")?.to_owned();
    // The provider runs as a user who may not look into the folder that cargo builds in.
    let provider: PathBuf = folder.join("provider-libvirt");
    let built = provider_binary()?;
    fs::hard_link(&built, &provider).or_else(|_| fs::copy(&built, &provider).map(drop)).context("copy the provider")?;
    Ok(Node {
        client: plane.client(),
        port,
        authority,
        folder: folder.to_owned(),
        provider,
        provider_log: log.to_owned(),
        paths: HashMap::from([("/run/libvirt".to_owned(), host.path("run"))]),
    })
}
