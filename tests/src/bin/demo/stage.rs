//! The demo's processes: started if they do not run, left alone if they do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{
    ControlPlane, Kubectl, Lifetime, Process, Provider, Recorded, control_plane_programs, eventually, free_port,
    guest_files, http_get, provider_binary, run, sha256, workspace,
};

use crate::{IMAGE, State};

/// In the order in which they are ended: an API server without its etcd would hang.
const PROCESSES: [&str; 5] = ["provider-libvirt", "kube-controller-manager", "kube-apiserver", "etcd", "demo"];

/// Where the guest's disk is served, and what it must hash to.
pub(crate) struct Image {
    pub(crate) url: String,
    pub(crate) checksum: String,
}

/// Brings every process up and returns the administrator's kubectl and the image.
pub(crate) fn start(state: &State) -> Result<(Kubectl, Image)> {
    fs::create_dir_all(&state.folder).with_context(|| format!("create {}", state.folder.display()))?;
    let (kubectl, fresh) = control_plane(state)?;
    let image = image_server(state)?;
    provider(state, &kubectl, fresh)?;
    Ok((kubectl, image))
}

/// Ends every process: the provider asked, so that it finishes what is in hand, the others at once.
pub(crate) fn stop(state: &State) -> Result<()> {
    for name in PROCESSES {
        let how = if name == PROCESSES[0] { Signal::TERM } else { Signal::KILL };
        for process in running(state, name)? {
            process.stop(how, Duration::from_secs(30)).with_context(|| format!("stop {name}"))?;
        }
    }
    Ok(())
}

/// An error with the end of the provider's log if it does not run.
pub(crate) fn check_provider(state: &State) -> Result<()> {
    let alive = !running(state, PROCESSES[0])?.is_empty();
    alive.then_some(()).with_context(|| format!("the provider ended; the end of its log:\n{}", provider_log(state)))
}

/// The last lines of the provider's log.
pub(crate) fn provider_log(state: &State) -> String {
    run("tail", &["-n", "15", &log(state).display().to_string()]).unwrap_or_default()
}

/// The provider's log file.
pub(crate) fn log(state: &State) -> PathBuf {
    state.path("provider.log")
}

fn running(state: &State, name: &str) -> Result<Vec<Recorded>> {
    Ok(Recorded::read(&record(state))?.into_iter().filter(|process| process.name == name).collect())
}

fn record(state: &State) -> PathBuf {
    state.path("processes")
}

/// kubectl, and whether the API server was started just now and so has another address than before.
fn control_plane(state: &State) -> Result<(Kubectl, bool)> {
    let folder = state.path("plane");
    let manifests = workspace().join("package/crds");
    let kubectl = Kubectl::new(&control_plane_programs()?, &folder.join("admin.kubeconfig"));
    let names = &PROCESSES[1..4];
    let mut left = Vec::new();
    for name in names {
        left.extend(running(state, name)?);
    }
    if left.len() == names.len() {
        kubectl.run(&["apply", "--server-side", "-f", &manifests.display().to_string()])?;
        state.say("control plane runs already; CRDs applied");
        return Ok((kubectl, false));
    }
    for process in left {
        process.stop(Signal::KILL, Duration::from_secs(10))?;
    }
    state.say("starting the control plane (etcd, kube-apiserver, kube-controller-manager)");
    ControlPlane::start_for(Lifetime::Detached(&record(state)), &folder, &[&manifests])?;
    state.say("control plane answers; CRDs applied");
    Ok((kubectl, true))
}

/// A Volume's source cannot change, so what was served first is served as long as the demo is there.
fn image_server(state: &State) -> Result<Image> {
    let note = state.path("image.json");
    let known: Option<Value> = fs::read(&note).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let known = known.map_or_else(|| first_image(&note), Ok)?;
    let text = |field: &str| {
        known[field].as_str().map(ToOwned::to_owned).with_context(|| format!("read {field} of the image"))
    };
    let (port, file) = (text("port")?, text("file")?);
    if running(state, PROCESSES[4])?.is_empty() {
        let own = std::env::current_exe().context("find the demo's own path")?;
        let mut command = Command::new(own);
        command.args(["serve", &port, &file]);
        let lifetime = Lifetime::Detached(&record(state));
        Process::spawn_as(PROCESSES[4], lifetime, &command, &state.path("image-server.log"))?;
        let port = port.parse().context("read the image server's port")?;
        eventually(Duration::from_secs(5), || http_get(port, "/")).context("wait for the image server")?;
        state.say(&format!("guest image served on loopback, port {port}"));
    }
    Ok(Image { url: format!("http://127.0.0.1:{port}/{IMAGE}"), checksum: text("checksum")? })
}

fn first_image(note: &Path) -> Result<Value> {
    let file = guest_files()?.disk.display().to_string();
    let checksum = format!("sha256:{}", sha256(&file)?);
    let known = json!({"port": free_port()?.to_string(), "file": file, "checksum": checksum});
    fs::write(note, known.to_string()).context("write down the image")?;
    Ok(known)
}

/// Starts the provider, also when it runs but was built anew or has lost its API server's address.
fn provider(state: &State, kubectl: &Kubectl, fresh: bool) -> Result<()> {
    let note = state.path("provider-build");
    let build = build_of(&provider_binary()?)?;
    let same = fs::read_to_string(&note).is_ok_and(|known| known == build);
    let old = running(state, PROCESSES[0])?;
    if same && !fresh && !old.is_empty() {
        state.say("provider runs already");
        return Ok(());
    }
    for process in old {
        process.stop(Signal::TERM, Duration::from_secs(30)).context("stop the provider of before")?;
    }
    let record = record(state);
    let mut provider = Provider::start_for(Lifetime::Detached(&record), kubectl.kubeconfig(), &[], &log(state))?;
    provider.await_ready()?;
    fs::write(&note, build).context("write down the provider's build")?;
    state.say(&format!("provider runs; log: {}", log(state).display()));
    Ok(())
}

/// What tells one build of a program from another: size and time of change.
fn build_of(program: &Path) -> Result<String> {
    let known = fs::metadata(program).with_context(|| format!("look at {}", program.display()))?;
    let changed = known.modified().context("read the time of change")?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(format!("{} {} {}", program.display(), known.len(), changed.as_nanos()))
}
