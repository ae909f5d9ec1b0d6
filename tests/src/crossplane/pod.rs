//! What kubelet makes of a pod template: volumes, variables, a token, and a process of another user.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    SLOW,
    core::{SYSTEM, write_config_map, write_secret},
    kubelet::Node,
};
use crate::{
    files::workspace,
    http,
    process::{Lifetime, Process},
    wait::eventually,
};

/// Where its figures and its health are served: there is one address for all pods, and Crossplane has its own figures on :8080.
const METRICS: u16 = 18082;
const HEALTH: u16 = 18083;

/// The template of a Deployment, read.
pub(crate) struct Template<'a> {
    pub(crate) deployment: &'a str,
    pub(crate) template: &'a Value,
}

impl Template<'_> {
    fn container(&self) -> &Value {
        &self.template["spec"]["containers"][0]
    }

    /// Its folder on the node.
    fn folder(&self, node: &Node) -> PathBuf {
        node.folder.join("pods").join(self.deployment)
    }

    /// Writes its Secrets and `ConfigMaps`; the folders and files of its volumes by the paths where the container has them.
    pub(crate) fn volumes(&self, node: &Node) -> Result<Vec<(String, PathBuf)>> {
        let volumes = self.template["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let mounts = self.container()["volumeMounts"].as_array().cloned().unwrap_or_default();
        let mut found = Vec::new();
        for mount in &mounts {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.with_context(|| format!("there is no volume {}", mount["name"]))?;
            let path = mount["mountPath"].as_str().context("read mountPath")?.to_owned();
            // This machine's own serves as the pod's.
            if path == "/tmp" && volume["emptyDir"].is_object() {
                continue;
            }
            let folder = self.write_volume(node, volume)?;
            found.push((path, mount["subPath"].as_str().map_or_else(|| folder.clone(), |file| folder.join(file))));
        }
        Ok(found)
    }

    /// The folder that a volume is.
    fn write_volume(&self, node: &Node, volume: &Value) -> Result<PathBuf> {
        let folder = self.folder(node).join(volume["name"].as_str().context("read a volume's name")?);
        if let Some(path) = volume["hostPath"]["path"].as_str() {
            let made = volume["hostPath"]["type"] == "DirectoryOrCreate";
            if made && !node.paths.contains_key(path) {
                fs::create_dir_all(&folder).with_context(|| format!("make {path}"))?;
                return Ok(folder);
            }
            return node.paths.get(path).cloned().with_context(|| format!("the node has no {path}"));
        }
        if let Some(secret) = volume["secret"]["secretName"].as_str() {
            write_secret(&node.client, secret, &folder)?;
            arrange(&volume["secret"]["items"], &folder)?;
        } else if let Some(map) = volume["configMap"]["name"].as_str() {
            write_config_map(&node.client, map, &folder)?;
        } else {
            bail!("this kubelet does not know the volume {volume}");
        }
        Ok(folder)
    }

    /// Its variables, in their order.
    pub(crate) fn variables(&self) -> Result<Vec<(String, String)>> {
        let mut known: Vec<(String, String)> = Vec::new();
        for variable in self.container()["env"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let name = variable["name"].as_str().context("read a variable's name")?.to_owned();
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some(field) => self.field(field)?,
                None => expanded(variable["value"].as_str().unwrap_or_default(), &known),
            };
            known.push((name, value));
        }
        Ok(known)
    }

    fn field(&self, path: &str) -> Result<String> {
        if path == "metadata.namespace" {
            return Ok(SYSTEM.to_owned());
        }
        let label = path.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']"));
        let label = label.with_context(|| format!("this kubelet does not know the field {path}"))?;
        let value = self.template["metadata"]["labels"][label].as_str();
        Ok(value.with_context(|| format!("there is no label {label}"))?.to_owned())
    }

    fn args(&self) -> Vec<&str> {
        self.container()["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Starts the provider as its container would run: its user, its variables and nothing else of this process's, in a mount
    /// namespace with the volumes and the `ServiceAccount`'s token. `address` is its Service's, which is this machine's as well.
    ///
    /// Crossplane's certificates are the one thing that lies elsewhere: their path does not exist on this machine.
    pub(crate) fn start_provider(&self, node: &Node, address: &str) -> Result<Process> {
        let folder = self.folder(node);
        fs::create_dir_all(&folder).context("make the pod's folder")?;
        let (mounts, secrets): (Vec<_>, Vec<_>) =
            self.volumes(node)?.into_iter().partition(|(path, _)| !path.starts_with("/tls/"));
        let mut variables = self.variables()?;
        for (_, value) in &mut variables {
            if let Some((_, elsewhere)) = secrets.iter().find(|(path, _)| path == value) {
                *value = elsewhere.display().to_string();
            }
        }
        let own = [
            ("METRICS_BIND_ADDRESS", format!("127.0.0.1:{METRICS}")),
            ("HEALTH_PROBE_BIND_ADDRESS", format!("127.0.0.1:{HEALTH}")),
            ("WEBHOOK_BIND_ADDRESS", address.to_owned()),
            ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
            ("KUBERNETES_SERVICE_PORT", node.port.clone()),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        self.write_account(node, &folder.join("serviceaccount"))?;
        let lines = |pairs: &[(String, String)], between: &str| -> String {
            let lines: Vec<_> = pairs.iter().map(|(first, second)| format!("{first}{between}{second}\n")).collect();
            lines.concat()
        };
        let mounts: Vec<_> = mounts.into_iter().map(|(path, source)| (source.display().to_string(), path)).collect();
        fs::write(folder.join("mounts"), lines(&mounts, " ")).context("write the mounts")?;
        fs::write(folder.join("environment"), lines(&variables, "=")).context("write the variables")?;
        let user = User::of(self.template)?.words();
        fs::write(folder.join("user"), user.join("\n") + "\n").context("write the user")?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "bash"]).arg(workspace().join("tests/host/pod.sh"));
        command.arg(&folder).arg(&node.provider).args(self.args());
        Process::spawn_for(Lifetime::Owned, &command, &node.provider_log)
    }

    /// The files that kubelet mounts for the pod's `ServiceAccount`.
    fn write_account(&self, node: &Node, folder: &Path) -> Result<()> {
        let account = self.template["spec"]["serviceAccountName"].as_str().context("read the ServiceAccount")?;
        let token = node.client.run(&["create", "token", account, "--namespace", SYSTEM, "--duration=1h"])?;
        fs::create_dir_all(folder).context("make the folder of the ServiceAccount")?;
        let write =
            |file: &str, text: &[u8]| fs::write(folder.join(file), text).with_context(|| format!("write {file}"));
        write("token", token.trim().as_bytes())?;
        write("namespace", SYSTEM.as_bytes())?;
        write("ca.crt", &fs::read(&node.authority).context("read the API server's certificate")?)
    }
}

/// Leaves of the keys in a folder those that are chosen, under the paths that are chosen for them; all of them if none is.
fn arrange(items: &Value, folder: &Path) -> Result<()> {
    let Some(items) = items.as_array() else { return Ok(()) };
    let all = folder.with_extension("all");
    if all.exists() {
        fs::remove_dir_all(&all).context("forget the earlier keys")?;
    }
    fs::rename(folder, &all).context("set the keys aside")?;
    for item in items {
        let [key, path] = ["key", "path"].map(|field| item[field].as_str());
        let (key, path) = (key.context("read an item's key")?, folder.join(path.context("read an item's path")?));
        fs::create_dir_all(path.parent().context("read an item's folder")?).context("make an item's folder")?;
        fs::copy(all.join(key), path).with_context(|| format!("write {key}"))?;
    }
    Ok(())
}

/// Who a container runs as.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u64,
    gid: u64,
    groups: Vec<u64>,
    /// Whether it may become somebody else.
    may_escalate: bool,
}

impl User {
    /// What the container says, or else its pod.
    fn of(template: &Value) -> Result<Self> {
        let pod = &template["spec"]["securityContext"];
        let container = &template["spec"]["containers"][0]["securityContext"];
        let said = |field: &str| container[field].as_u64().or_else(|| pod[field].as_u64());
        let groups = pod["supplementalGroups"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        Ok(Self {
            uid: said("runAsUser").context("the pod says no runAsUser")?,
            gid: said("runAsGroup").context("the pod says no runAsGroup")?,
            groups,
            may_escalate: container["allowPrivilegeEscalation"] != false,
        })
    }

    /// The words of `setpriv` for it.
    fn words(&self) -> Vec<String> {
        let groups: Vec<String> = self.groups.iter().map(ToString::to_string).collect();
        let groups =
            if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={}", groups.join(",")) };
        let mut words = vec![format!("--reuid={}", self.uid), format!("--regid={}", self.gid), groups];
        if !self.may_escalate {
            words.push("--no-new-privs".to_owned());
        }
        words
    }
}

/// Waits until the provider says that it is ready.
pub(crate) fn await_provider(process: &mut Process) -> Result<()> {
    eventually(SLOW, || {
        process.check_running()?;
        match http::get(HEALTH, "/readyz")? {
            (200, _) => Ok(()),
            (status, body) => bail!("/readyz answers {status}: {body}"),
        }
    })
}

/// `$(NAME)` is an earlier variable.
fn expanded(text: &str, known: &[(String, String)]) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what goes wrong in a test ends it")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_runs_as_it_says_or_else_as_its_pod_says() {
        let user = |pod: Value, container: Value| {
            let spec = json!({"securityContext": pod, "containers": [{"securityContext": container}]});
            User::of(&json!({"spec": spec}))
        };
        let pod = json!({"runAsUser": 2000, "runAsGroup": 2000, "supplementalGroups": [7, 8]});
        let found = user(pod.clone(), json!({"runAsUser": 3000, "allowPrivilegeEscalation": false})).unwrap();
        assert_eq!(found, User { uid: 3000, gid: 2000, groups: vec![7, 8], may_escalate: false });
        assert_eq!(found.words(), ["--reuid=3000", "--regid=2000", "--groups=7,8", "--no-new-privs"]);
        let found = user(pod, json!({"readOnlyRootFilesystem": true})).unwrap();
        assert_eq!(found.words(), ["--reuid=2000", "--regid=2000", "--groups=7,8"]);
        assert!(user(json!({}), json!({"runAsUser": 2000})).is_err(), "nobody says a group");
    }

    #[test]
    fn variables_are_what_kubelet_makes_of_them() {
        let env = json!([
            {"name": "A", "value": "/a"},
            {"name": "B", "value": "$(A)/b"},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['example.org/name']"}}},
        ]);
        let template = json!({
            "metadata": {"labels": {"example.org/name": "me"}},
            "spec": {"containers": [{"env": env}]},
        });
        let found = Template { deployment: "d", template: &template }.variables().unwrap();
        let wished = [("A", "/a"), ("B", "/a/b"), ("POD_NAMESPACE", SYSTEM), ("NAME", "me")];
        assert_eq!(found, wished.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
