//! What of the demo is on the libvirt host, looked up there and not asked of the provider.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tests::{Console, run};

use crate::{
    State,
    objects::{text, title},
};

/// The URI of the host the demo uses.
pub(crate) fn uri(objects: &[Value]) -> &str {
    objects.iter().map(|object| text(object, "/spec/uri")).find(|uri| !uri.is_empty()).unwrap_or("qemu:///system")
}

/// Everything that these objects stand for on the host: `domain NAME`, `network NAME`, `pool NAME` and paths.
fn stands_for(objects: &[Value]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for object in objects {
        let name = match text(object, "/metadata/annotations/crossplane.io~1external-name") {
            "" => text(object, "/metadata/name"),
            name => name,
        };
        match text(object, "/kind") {
            "Domain" => drop(all.insert(format!("domain {name}"))),
            "Network" => drop(all.insert(format!("network {name}"))),
            "Pool" => drop(all.insert(format!("pool {name}"))),
            _ => {}
        }
        let paths = ["/status/atProvider/path", "/spec/forProvider/target/path"];
        all.extend(paths.iter().map(|path| text(object, path)).filter(|path| !path.is_empty()).map(ToOwned::to_owned));
    }
    all
}

/// Which of these things are on the host now.
fn present(uri: &str, things: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut there = BTreeSet::new();
    for (kind, command) in [("domain", "list"), ("network", "net-list"), ("pool", "pool-list")] {
        let names = run("virsh", &["-q", "-c", uri, command, "--all", "--name"])?;
        there.extend(names.lines().map(|name| format!("{kind} {}", name.trim())));
    }
    Ok(things.iter().filter(|thing| there.contains(*thing) || Path::new(thing).exists()).cloned().collect())
}

/// Writes down, before anything is applied, what of it the host has already: that is not ours to miss later. Only the first time.
pub(crate) fn note_before(state: &State) -> Result<()> {
    let note = state.path("host-before.json");
    if note.exists() {
        return Ok(());
    }
    let list: Value = serde_json::from_slice(&fs::read(state.path("objects.json"))?).context("parse the objects")?;
    let objects = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let before = present(uri(objects), &stands_for(objects))?;
    fs::write(note, serde_json::to_vec(&before)?).context("write down the host's state before")
}

/// What the demo has put on the host and on the disk, to be looked for after its end.
pub(crate) struct Traces {
    uri: String,
    things: BTreeSet<String>,
    logs: Vec<PathBuf>,
}

impl Traces {
    /// Of these objects, but for what was there before.
    pub(crate) fn of(state: &State, objects: &[Value]) -> Self {
        let before: BTreeSet<String> = fs::read(state.path("host-before.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let things = &stands_for(objects) - &before;
        let mut logs: Vec<_> = objects.iter().filter_map(console).map(|console| console.path().to_owned()).collect();
        let domains = things.iter().filter_map(|thing| thing.strip_prefix("domain "));
        logs.extend(domains.map(|name| Path::new("/var/log/libvirt/qemu").join(format!("{name}.log"))));
        Self { uri: uri(objects).to_owned(), things, logs }
    }

    /// Removes the logs that libvirt keeps of guests that are gone; it never does so itself.
    pub(crate) fn remove_logs(&self) {
        for log in &self.logs {
            // One that was never written is as good as removed.
            let _ = fs::remove_file(log);
        }
    }

    /// What is still there.
    pub(crate) fn left(&self) -> Result<Vec<String>> {
        let logs = self.logs.iter().filter(|log| log.exists()).map(|log| log.display().to_string());
        Ok(present(&self.uri, &self.things)?.into_iter().chain(logs).collect())
    }

    /// How many things were looked for.
    pub(crate) fn count(&self) -> usize {
        self.things.len() + self.logs.len()
    }
}

/// The console log of a Domain, if it keeps one.
pub(crate) fn console(object: &Value) -> Option<Console> {
    let log = text(object, "/status/atProvider/consoles/0/log");
    (title(object).starts_with("Domain/") && !log.is_empty()).then(|| Console::new(log.into()))
}
