//! Crossplane itself: its core and its RBAC manager, as processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::BASE64;
use serde_json::{Map, Value};

use super::SLOW;
use crate::{
    control_plane::ControlPlane,
    files::crossplane_programs,
    http,
    kubectl::Kubectl,
    process::{Process, stdout_of},
    wait::eventually,
};

/// Where Crossplane lives.
pub const SYSTEM: &str = "crossplane-system";

/// Ports of its own in the rig's network.
const HEALTH: u16 = 18081;
const METRICS: u16 = 18080;

/// The functions of the examples, with their versions, and how they are found without a cluster's DNS.
pub(crate) const FUNCTIONS: [(&str, &str, &str); 2] =
    [("function-patch-and-transform", "v0.8.2", "127.0.1.11"), ("function-auto-ready", "v0.5.0", "127.0.1.12")];

/// Crossplane; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Core {
    core: Process,
    rbac: Process,
}

impl Core {
    /// Installs and starts it. It activates nothing of any package.
    pub(crate) fn start(plane: &ControlPlane, folder: &Path) -> Result<Self> {
        let place =
            Place { programs: crossplane_programs()?, folder: folder.to_owned(), kubeconfig: plane.kubeconfig() };
        plane.kubectl(&["create", "namespace", SYSTEM])?;
        plane.kubectl(&["create", "serviceaccount", "crossplane", "--namespace", SYSTEM])?;
        let crds = place.programs.join("crds").display().to_string();
        plane.kubectl(&["apply", "--server-side", "-f", &crds])?;
        // It makes its certificates and what it needs of its own kinds, which takes the API server a moment to know.
        let init = || stdout_of(&place.crossplane(&["core", "init"]).output()?);
        eventually(SLOW, init).context("crossplane core init")?;
        let certificates = folder.join("tls-client");
        write_secret(&plane.client(), "crossplane-tls-client", &certificates)?;
        let rbac = Process::spawn(&place.crossplane(&["rbac", "start"]), &folder.join("rbac.log"))?;
        let mut core = Process::spawn(&place.core(&certificates)?, &folder.join("core.log"))?;
        eventually(SLOW, || {
            core.check_running()?;
            match http::get(HEALTH, "/readyz")? {
                (200, _) => Ok(()),
                (status, body) => bail!("/readyz answers {status}: {body}"),
            }
        })
        .context("wait for Crossplane")?;
        Ok(Self { core, rbac })
    }

    pub(crate) fn log(&self) -> String {
        format!("core:\n{}\nrbac:\n{}", self.core.log(), self.rbac.log())
    }
}

struct Place {
    programs: PathBuf,
    folder: PathBuf,
    kubeconfig: PathBuf,
}

impl Place {
    fn crossplane(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("crossplane"));
        command.args(args);
        self.environment(&mut command);
        // Webhooks of its own protect what is in use and convert nothing; they would need a Service.
        if args.first() == Some(&"core") {
            command.arg("--enable-webhooks=false");
        }
        command
    }

    /// In a mount namespace, where names of functions are known.
    fn core(&self, certificates: &Path) -> Result<Command> {
        let names = FUNCTIONS.map(|(name, _, address)| format!("{address} {name}.{SYSTEM}\n"));
        let hosts = self.folder.join("core.hosts");
        fs::write(&hosts, format!("127.0.0.1 localhost\n{}", names.concat()))
            .context("write the names of functions")?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", "mount --bind \"$1\" /etc/hosts; shift; exec \"$@\"", "sh"]);
        command.arg(hosts).arg(self.programs.join("crossplane"));
        command.args(["core", "start", "--enable-webhooks=false"]);
        command.arg(format!("--metrics-port={METRICS}")).arg(format!("--health-probe-port={HEALTH}"));
        command.arg(format!("--xpkg-cache-dir={}", self.made("xpkg")?));
        command.arg(format!("--xfn-cache-dir={}", self.made("xfn")?));
        self.environment(&mut command);
        command.env("TLS_CLIENT_CERTS_DIR", certificates);
        Ok(command)
    }

    fn environment(&self, command: &mut Command) {
        command.env("KUBECONFIG", &self.kubeconfig).env("POD_NAMESPACE", SYSTEM);
        command.env("CRDS_PATH", self.programs.join("crds"));
        command.env("TLS_CA_SECRET_NAME", "crossplane-root-ca");
        command.env("TLS_SERVER_SECRET_NAME", "crossplane-tls-server");
        command.env("TLS_CLIENT_SECRET_NAME", "crossplane-tls-client");
    }

    fn made(&self, below: &str) -> Result<String> {
        let path = self.folder.join(below);
        fs::create_dir_all(&path).with_context(|| format!("make {below}"))?;
        Ok(path.display().to_string())
    }
}

/// Writes a Secret's keys as files, as a volume of it has them.
pub(crate) fn write_secret(client: &Kubectl, name: &str, folder: &Path) -> Result<()> {
    let secret = client.get(&["--namespace", SYSTEM, "secret", name])?;
    let secret = secret.with_context(|| format!("there is no Secret {name}"))?;
    let data = secret["data"].as_object().with_context(|| format!("Secret {name} is empty"))?;
    ensure!(data.contains_key("tls.crt"), "Secret {name} has no certificate yet");
    write_keys(data, folder, |value| BASE64.decode(value.as_bytes()).context("decode"))
}

/// Writes the keys of a `ConfigMap` as files, as a volume of it has them.
pub(crate) fn write_config_map(client: &Kubectl, name: &str, folder: &Path) -> Result<()> {
    let map = client.get(&["--namespace", SYSTEM, "configmap", name])?;
    let map = map.with_context(|| format!("there is no ConfigMap {name}"))?;
    let data = map["data"].as_object().with_context(|| format!("ConfigMap {name} is empty"))?;
    write_keys(data, folder, |value| Ok(value.as_bytes().to_vec()))
}

fn write_keys(data: &Map<String, Value>, folder: &Path, read: impl Fn(&str) -> Result<Vec<u8>>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    for (key, value) in data {
        fs::write(folder.join(key), read(value.as_str().unwrap_or_default())?)
            .with_context(|| format!("write {key}"))?;
    }
    Ok(())
}
