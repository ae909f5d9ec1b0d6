//! A Kubernetes control plane without nodes: etcd, kube-apiserver and kube-controller-manager as processes of this test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    files::control_plane_programs,
    kubectl::Kubectl,
    network::{self, PrivateNetwork},
    process::{Lifetime, Process, free_port},
    wait::eventually,
};

/// A control plane; dropping it kills its processes.
///
/// RBAC is on. Users with a kubeconfig of their own: `admin` may do everything, `provider` and `tenant` nothing until a test binds them.
/// Controllers: namespaces, garbage collection, service accounts.
// Fields are dropped in this order: an API server whose etcd went first would hang for minutes and hold its port.
#[derive(Debug)]
pub struct ControlPlane {
    controllers: Option<Process>,
    server: Process,
    store: Process,
    folder: PathBuf,
    programs: PathBuf,
}

const USERS: [(&str, &str); 3] = [("admin", "system:masters"), ("provider", "providers"), ("tenant", "tenants")];

impl ControlPlane {
    /// Starts it in two to three seconds, with its data and logs in `folder`, and returns when it is ready.
    ///
    /// # Errors
    /// When a program is missing or ends, with the end of its log.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[])
    }

    /// Like [`Self::start`], and applies `manifests` (files or folders, CRDs above all) before the controllers start: the garbage
    /// collector learns kinds that come later only every 30 seconds.
    ///
    /// # Errors
    /// As there, and when the manifests are refused.
    pub fn start_with(folder: &Path, manifests: &[&Path]) -> Result<Self> {
        Self::start_for(Lifetime::Owned, folder, manifests)
    }

    /// Like [`Self::start_with`], for a lifetime. A folder of an earlier one brings its objects back.
    ///
    /// # Errors
    /// As there.
    pub fn start_for(lifetime: Lifetime<'_>, folder: &Path, manifests: &[&Path]) -> Result<Self> {
        let mut plane = Self::start_uncontrolled(lifetime, folder)?;
        for manifest in manifests {
            let file = manifest.display().to_string();
            plane.kubectl(&["apply", "--server-side", "-f", &file])?;
        }
        plane.controllers = Some(plane.spawn_controllers(lifetime)?);
        Ok(plane)
    }

    /// Starts it without controllers; [`Self::start_controllers`] does that once the kinds are there that they must know.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_uncontrolled(lifetime: Lifetime<'_>, folder: &Path) -> Result<Self> {
        let programs = control_plane_programs()?;
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let (store, store_url) = start_store(lifetime, &programs, folder)?;
        let (server, port) = start_server(lifetime, &programs, folder, &store_url)?;
        for (user, _) in USERS {
            write_kubeconfig(folder, user, port)?;
        }
        let mut plane = Self { controllers: None, server, store, folder: folder.to_owned(), programs };
        plane.await_ready()?;
        Ok(plane)
    }

    /// Starts the controllers, anew if they run: they know at once every kind that is there by now.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start_controllers(&mut self) -> Result<()> {
        self.controllers = None;
        self.controllers = Some(self.spawn_controllers(Lifetime::Owned)?);
        Ok(())
    }

    /// The address of the API server, and the file with the certificate that it shows.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub fn server(&self) -> Result<(String, PathBuf)> {
        let text = std::fs::read_to_string(self.kubeconfig()).context("read the kubeconfig")?;
        let config: serde_json::Value = serde_json::from_str(&text).context("parse the kubeconfig")?;
        let server = config["clusters"][0]["cluster"]["server"].as_str().context("find the server")?;
        Ok((server.to_owned(), self.folder.join("certs/apiserver.crt")))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of("admin")
    }

    /// The kubeconfig of `admin`, `provider` or `tenant`.
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.folder.join(format!("{user}.kubeconfig"))
    }

    /// kubectl as the administrator.
    pub fn client(&self) -> Kubectl {
        self.client_of("admin")
    }

    /// kubectl as `admin`, `provider` or `tenant`.
    pub fn client_of(&self, user: &str) -> Kubectl {
        Kubectl::new(&self.programs, &self.kubeconfig_of(user))
    }

    /// Runs kubectl as the administrator.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.client().run(args)
    }

    /// Applies YAML as the administrator.
    ///
    /// # Errors
    /// As [`Kubectl::apply`].
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.client().apply(yaml)
    }

    /// Process ids of the controllers, the API server and etcd: the order in which to kill them.
    pub fn pids(&self) -> Vec<u32> {
        self.controllers.iter().chain([&self.server, &self.store]).map(Process::pid).collect()
    }

    fn await_ready(&mut self) -> Result<()> {
        let client = self.client();
        eventually(Duration::from_mins(3), || {
            // What has ended does not come back.
            if let Err(ended) = self.store.check_running().and_then(|()| self.server.check_running()) {
                return Ok(Err(ended));
            }
            client.run(&["get", "--raw", "/readyz"])?;
            // Until this exists objects without a namespace of their own are refused.
            client.run(&["get", "namespace", "default"])?;
            Ok(Ok(()))
        })
        .and_then(|came| came)
        .context("wait for the API server")
    }

    fn spawn_controllers(&self, lifetime: Lifetime<'_>) -> Result<Process> {
        let args = [
            format!("--kubeconfig={}", self.kubeconfig().display()),
            "--controllers=namespace-controller,garbage-collector-controller,serviceaccount-controller".to_owned(),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        let log = self.folder.join("controllers.log");
        Process::spawn_for(lifetime, Command::new(self.programs.join("kube-controller-manager")).args(args), &log)
    }
}

fn start_store(lifetime: Lifetime<'_>, programs: &Path, folder: &Path) -> Result<(Process, String)> {
    let client = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let args = [
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Ok((
        Process::spawn_for(lifetime, Command::new(programs.join("etcd")).args(args), &folder.join("etcd.log"))?,
        client,
    ))
}

fn start_server(lifetime: Lifetime<'_>, programs: &Path, folder: &Path, store: &str) -> Result<(Process, u16)> {
    let port = free_port()?;
    let tokens = USERS.map(|(user, group)| format!("{user}-token,{user},{user},{group}\n"));
    std::fs::write(folder.join("tokens.csv"), tokens.concat()).context("write the token file")?;
    // The server makes its own certificate; its key also signs service account tokens, which nobody else has to trust.
    let key = folder.join("certs/apiserver.key");
    let mut args = vec![
        format!("--etcd-servers={store}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--cert-dir={}", folder.join("certs").display()),
        format!("--token-auth-file={}", folder.join("tokens.csv").display()),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        // Cluster addresses of Services are then addresses of this machine: a webhook can listen on its own.
        "--service-cluster-ip-range=127.77.0.0/24".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    if network::is_private()? {
        args.push(format!("--advertise-address={}", PrivateNetwork::ADDRESS));
    }
    Ok((
        Process::spawn_for(
            lifetime,
            Command::new(programs.join("kube-apiserver")).args(args),
            &folder.join("apiserver.log"),
        )?,
        port,
    ))
}

fn write_kubeconfig(folder: &Path, user: &str, port: u16) -> Result<()> {
    let authority = folder.join("certs/apiserver.crt");
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "rig",
        "clusters": [{"name": "rig", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "certificate-authority": authority,
        }}],
        "users": [{"name": user, "user": {"token": format!("{user}-token")}}],
        "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": user, "namespace": "default"}}],
    });
    let path = folder.join(format!("{user}.kubeconfig"));
    std::fs::write(&path, config.to_string()).with_context(|| format!("write {}", path.display()))
}
