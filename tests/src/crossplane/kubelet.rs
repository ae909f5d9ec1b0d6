//! The part of kubelet and of the Deployment controller that Crossplane needs: it runs what Crossplane deploys, and says so.

use std::{
    collections::{BTreeMap, HashMap},
    io::BufReader,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::{
    SLOW,
    core::{FUNCTIONS, SYSTEM},
    function::Function,
    pod::{Template, await_provider},
};
use crate::{files::crossplane_programs, kubectl::Kubectl, process::Process, wait::eventually};

/// What a pod needs of where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The administrator.
    pub(crate) client: Kubectl,
    /// The API server's port, on loopback.
    pub(crate) port: String,
    /// Who vouches for the API server.
    pub(crate) authority: PathBuf,
    /// For what is written down.
    pub(crate) folder: PathBuf,
    /// The provider's binary, where every user can read it.
    pub(crate) provider: PathBuf,
    /// What all providers write.
    pub(crate) provider_log: PathBuf,
    /// Folders of the node by the paths that pods mount. One that a pod asks for and is not here is made if the pod says so.
    pub(crate) paths: HashMap<String, PathBuf>,
}

/// Something that Crossplane deployed, as it runs.
#[derive(Debug)]
struct Pod {
    package: String,
    template: Value,
    runs: Runs,
}

#[derive(Debug)]
enum Runs {
    /// The provider, or a function in a process.
    Process(Process),
    /// A function of ours.
    Function(#[expect(dead_code, reason = "held until the pod ends")] Function),
}

type Pods = Arc<Mutex<BTreeMap<String, Pod>>>;

/// The kubelet; dropping it ends its pods.
#[derive(Debug)]
pub(crate) struct Kubelet {
    watch: Child,
    pods: Pods,
}

impl Kubelet {
    /// Starts it in the calling thread's network.
    pub(crate) fn start(node: Node) -> Result<Self> {
        let args = ["get", "deployments", "--namespace", SYSTEM, "--watch", "--output-watch-events", "-o", "json"];
        let mut watch = node.client.streamed(&args)?;
        let events = BufReader::new(watch.stdout.take().context("open the watch")?);
        let pods = Pods::default();
        let served = Arc::clone(&pods);
        std::thread::spawn(move || {
            for event in serde_json::Deserializer::from_reader(events).into_iter::<Value>() {
                let Ok(event) = event else { break };
                handle(&node, &served, &event);
            }
        });
        Ok(Self { watch, pods })
    }

    /// The process id of the provider.
    pub(crate) fn provider(&self) -> Result<u32> {
        self.of_provider(|pod| match &pod.runs {
            Runs::Process(process) => Ok(process.pid()),
            Runs::Function(_) => Err(anyhow!("the provider is a function")),
        })
    }

    /// The revision that the provider which runs is of.
    pub(crate) fn revision(&self) -> Result<String> {
        self.of_provider(|pod| {
            let label = pod.template["metadata"]["labels"]["pkg.crossplane.io/revision"].as_str();
            Ok(label.context("the provider has no revision")?.to_owned())
        })
    }

    fn of_provider<T>(&self, read: impl Fn(&Pod) -> Result<T>) -> Result<T> {
        read(lock(&self.pods).values().find(|pod| pod.package == PROVIDER).context("the provider does not run")?)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // Its thread ends with the watch.
        let _ = self.watch.kill().and_then(|()| self.watch.wait());
        lock(&self.pods).clear();
    }
}

/// The name that the examples give to the provider.
pub const PROVIDER: &str = "provider-libvirt";

fn lock(pods: &Pods) -> MutexGuard<'_, BTreeMap<String, Pod>> {
    pods.lock().unwrap_or_else(PoisonError::into_inner)
}

fn handle(node: &Node, pods: &Pods, event: &Value) {
    let deployment = &event["object"];
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    let gone = event["type"] == "DELETED" || !deployment["metadata"]["deletionTimestamp"].is_null();
    if gone || deployment["spec"]["replicas"] == 0 {
        end(lock(pods).remove(name));
        return;
    }
    let template = &deployment["spec"]["template"];
    if lock(pods).get(name).is_some_and(|pod| pod.template == *template) {
        return;
    }
    let labels = &template["metadata"]["labels"];
    let package = ["provider", "function"].iter().find_map(|kind| labels[format!("pkg.crossplane.io/{kind}")].as_str());
    let Some(package) = package else { return };
    // One address for all pods: the new one cannot begin before the old one has ended.
    let old: Vec<String> =
        lock(pods).iter().filter(|(_, pod)| pod.package == package).map(|(name, _)| name.clone()).collect();
    for name in &old {
        end(lock(pods).remove(name));
    }
    let started = run(node, package, &Template { deployment: name, template });
    let condition = match started {
        Ok(runs) => {
            let pod = Pod { package: package.to_owned(), template: template.clone(), runs };
            lock(pods).insert(name.to_owned(), pod);
            json!({"type": "Available", "status": "True"})
        }
        Err(error) => json!({"type": "Available", "status": "False", "message": format!("{error:#}")}),
    };
    report(node, name, &condition);
}

/// Asks it to end, as kubelet does, and waits.
fn end(pod: Option<Pod>) {
    if let Some(Pod { runs: Runs::Process(mut process), .. }) = pod {
        // What does not end is killed when it is dropped.
        let _ = process.terminate(Duration::from_secs(30));
    }
}

fn report(node: &Node, name: &str, condition: &Value) {
    let patch = json!({"status": {"conditions": [condition]}}).to_string();
    let args =
        ["patch", "deployment", name, "--namespace", SYSTEM, "--subresource=status", "--type=merge", "-p", &patch];
    // A Deployment that went meanwhile is of no interest.
    let _ = node.client.run(&args);
}

fn run(node: &Node, package: &str, template: &Template<'_>) -> Result<Runs> {
    if package == PROVIDER {
        let address = cluster_address(node, package)?;
        // The Secrets come about the same time as the Deployment.
        let mut process = eventually(SLOW, || template.start_provider(node, &address))?;
        await_provider(&mut process)?;
        return Ok(Runs::Process(process));
    }
    let (.., address) = FUNCTIONS
        .iter()
        .find(|(name, ..)| *name == package)
        .with_context(|| format!("nothing is known of {package}"))?;
    let address = format!("{address}:9443");
    let volumes = eventually(SLOW, || template.volumes(node))?;
    let variables = template.variables()?;
    let certificates =
        variables.iter().find(|(name, _)| name == "TLS_SERVER_CERTS_DIR").context("find the certificates")?;
    let folder = volumes.into_iter().find(|(path, _)| *path == certificates.1).context("find the certificates")?.1;
    let runs = if package == "function-auto-ready" {
        let mut command = Command::new(crossplane_programs()?.join(package));
        command.arg(format!("--address={address}")).env("TLS_SERVER_CERTS_DIR", &folder);
        Runs::Process(Process::spawn(&command, &node.folder.join(format!("{package}.log")))?)
    } else {
        Runs::Function(Function::serve(address.parse().context("read the address")?, &folder)?)
    };
    let address: SocketAddr = address.parse().context("read the address")?;
    eventually(SLOW, || TcpStream::connect(address).context("connect")).context("wait for the function")?;
    Ok(runs)
}

/// The address of the package's Service: in the rig it is one of this machine's.
fn cluster_address(node: &Node, package: &str) -> Result<String> {
    eventually(SLOW, || {
        let service = node.client.get(&["--namespace", SYSTEM, "service", package])?;
        let service = service.with_context(|| format!("there is no Service {package}"))?;
        Ok(service["spec"]["clusterIP"].as_str().context("the Service has no address")?.to_owned())
    })
}
