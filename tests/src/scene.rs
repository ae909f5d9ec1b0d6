//! What most tests of the provider stand on: a control plane with the CRDs, one host, one provider, one namespace.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    control_plane::ControlPlane,
    files::{Scratch, workspace},
    host::Host,
    kubectl::{condition, is_true},
    namespace::Namespace,
    provider::Provider,
    wait::eventually,
};

/// Control plane, host, provider and namespace; dropping it ends them all.
// Fields are dropped in this order: the provider must not see its surroundings go.
#[derive(Debug)]
pub struct Scene {
    provider: Option<Provider>,
    args: Vec<String>,
    /// Where the objects are.
    pub namespace: Namespace,
    /// The first host, that of `ClusterProviderConfig default` if [`Self::configure`] made it.
    pub host: Host,
    /// The control plane, with the provider's CRDs.
    pub plane: ControlPlane,
    _scratch: Scratch,
}

impl Scene {
    /// How long anything may take on a busy machine before a test calls it broken.
    pub const PATIENCE: Duration = Duration::from_mins(1);

    /// Starts everything, the provider with these arguments, and waits until it serves.
    ///
    /// # Errors
    /// When a part of it does not start.
    pub fn start(name: &str, args: &[&str]) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
        let host = Host::start(name)?;
        let namespace = Namespace::create(&plane.client())?;
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut scene = Self { provider: None, args, namespace, host, plane, _scratch: scratch };
        scene.start_provider()?;
        scene.provider()?.await_ready()?;
        Ok(scene)
    }

    /// Like [`Self::start`], with the host as `ClusterProviderConfig default`.
    ///
    /// # Errors
    /// As there.
    pub fn with_default_host(name: &str, args: &[&str]) -> Result<Self> {
        let scene = Self::start(name, args)?;
        scene.configure("default", &scene.host.uri())?;
        Ok(scene)
    }

    /// Applies a `ClusterProviderConfig` that finds out within seconds that its host is away, and lets images come from this machine.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn configure(&self, name: &str, uri: &str) -> Result<()> {
        let config = format!(
            "apiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: ClusterProviderConfig\nmetadata: {{name: {name}}}\n\
             spec:\n  uri: '{uri}'\n  policy: {{imageHosts: [127.0.0.1]}}\n\
             \x20 connection: {{connectTimeout: 2s, callTimeout: 5s, keepaliveInterval: 1s, keepaliveCount: 3}}\n"
        );
        self.plane.apply(&config).map(drop)
    }

    /// The running provider.
    ///
    /// # Errors
    /// When it was killed and not started again.
    pub fn provider(&mut self) -> Result<&mut Provider> {
        self.provider.as_mut().context("find the provider: it was ended")
    }

    /// Starts the provider again after [`Self::end_provider`], and does not wait until it serves.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_provider(&mut self) -> Result<()> {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.provider = Some(Provider::start(&self.plane.kubeconfig(), &args)?);
        Ok(())
    }

    /// Takes the provider out, to be ended by the caller.
    ///
    /// # Errors
    /// When it was taken out already.
    pub fn end_provider(&mut self) -> Result<Provider> {
        self.provider.take().context("find the provider: it was ended")
    }

    /// Applies objects, each written as `Kind name: forProvider` in flow style, into the namespace.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub fn apply(&self, objects: &[(&str, &str, String)]) -> Result<()> {
        let document = |(kind, name, parameters): &(&str, &str, String)| {
            format!(
                "apiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n\
                 spec: {{forProvider: {parameters}}}\n---\n"
            )
        };
        let text: String = objects.iter().map(document).collect();
        self.namespace.apply(&text).map(drop)
    }

    /// One object.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        self.namespace.get(kind, name)?.with_context(|| format!("find {kind} {name}"))
    }

    /// All managed objects of the namespace by `Kind/name`.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub fn managed(&self) -> Result<BTreeMap<String, Value>> {
        let text = self.namespace.kubectl(&["get", "managed", "-o", "json", "--ignore-not-found"])?;
        let list: Value = if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let title = |object: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
        };
        Ok(items.into_iter().map(|object| (title(&object), object)).collect())
    }

    /// Waits until all managed objects of the namespace are Ready and Synced, and returns them.
    ///
    /// # Errors
    /// With those that are not, and why.
    pub fn await_ready(&self, timeout: Duration) -> Result<BTreeMap<String, Value>> {
        eventually(timeout, || {
            let objects = self.managed()?;
            ensure!(!objects.is_empty(), "there are no objects");
            let lacking: Vec<String> = objects
                .iter()
                .filter(|(_, object)| !is_true(object, "Ready") || !is_true(object, "Synced"))
                .map(|(title, object)| format!("{title}: {}", object["status"]["conditions"]))
                .collect();
            ensure!(lacking.is_empty(), "not Ready:\n{}", lacking.join("\n"));
            Ok(objects)
        })
    }

    /// Waits until a condition has this status, reason and message.
    ///
    /// # Errors
    /// With what it is instead.
    pub fn await_condition(
        &self,
        object: (&str, &str),
        kind: &str,
        wished: (&str, &str, &str),
        timeout: Duration,
    ) -> Result<Value> {
        eventually(timeout, || {
            let value = self.get(object.0, object.1)?;
            let found = condition(&value, kind)?;
            ensure!(found == wished, "{} {}: {kind} is {found:?}, wished {wished:?}", object.0, object.1);
            Ok(value)
        })
    }

    /// Asks for the deletion of every managed object at once, and waits until all are gone.
    ///
    /// # Errors
    /// With those that are left, and why.
    pub fn delete_all(&self, timeout: Duration) -> Result<()> {
        self.request_deletion()?;
        self.await_deletion(timeout)
    }

    /// Asks for the deletion of every managed object at once.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn request_deletion(&self) -> Result<()> {
        self.namespace.kubectl(&["delete", "managed", "--all", "--wait=false"]).map(drop)
    }

    /// Waits until no managed object is left.
    ///
    /// # Errors
    /// With those that are left, and why.
    pub fn await_deletion(&self, timeout: Duration) -> Result<()> {
        eventually(timeout, || {
            let left = self.managed()?;
            if left.is_empty() {
                return Ok(());
            }
            let why = left.iter().map(|(title, object)| format!("{title}: {}", object["status"]["conditions"]));
            bail!("left:\n{}", why.collect::<Vec<_>>().join("\n"))
        })
    }

    /// Everything on the host that libvirt has a name for: domains, networks, pools, and volumes of active pools.
    ///
    /// # Errors
    /// When virsh fails.
    pub fn on_host(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (kind, command) in [("domain", "list"), ("network", "net-list"), ("pool", "pool-list")] {
            let names = self.host.virsh(&[command, "--all", "--name"])?;
            all.extend(words(&names).map(|name| format!("{kind} {name}")));
        }
        for pool in words(&self.host.virsh(&["pool-list", "--name"])?) {
            self.host.virsh(&["pool-refresh", pool])?;
            all.extend(self.volumes(pool)?.iter().map(|volume| format!("volume {pool}/{volume}")));
        }
        all.sort();
        Ok(all)
    }

    /// The names of a pool's volumes, as the pool tells without being refreshed.
    ///
    /// # Errors
    /// When virsh fails.
    pub fn volumes(&self, pool: &str) -> Result<Vec<String>> {
        let listed = self.host.virsh(&["vol-list", pool])?;
        Ok(listed.lines().filter_map(|line| line.split_whitespace().next()).map(ToOwned::to_owned).collect())
    }

    /// The provider's log so far.
    pub fn log(&self) -> String {
        self.provider.as_ref().map(Provider::log).unwrap_or_default()
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}
