//! What of the demo is on the libvirt host, looked up there and not asked of the provider.

use std::{collections::BTreeSet, fs, path::Path};

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

/// What the demo has put on the host, to be looked for after its end.
pub(crate) struct Traces {
    uri: String,
    things: BTreeSet<String>,
    residue: BTreeSet<String>,
}

impl Traces {
    /// Those of the objects as they are now, without what was there before, and those that were noted in earlier runs.
    pub(crate) fn note(state: &State, objects: &[Value]) -> Result<Self> {
        let note = state.path("traces.json");
        let mut things = &stands_for(objects) - &read_set(&state.path("host-before.json"));
        things.extend(read_set(&note));
        fs::write(&note, serde_json::to_vec(&things)?).context("write down what is on the host")?;
        let logs = state.path("logs.json");
        let mut residue = read_set(&logs);
        residue.extend(objects.iter().filter_map(console).map(|console| console.path().display().to_string()));
        fs::write(&logs, serde_json::to_vec(&residue)?).context("write down what guests log to")?;
        residue.extend(things.iter().flat_map(|thing| residue_of(thing)));
        Ok(Self { uri: uri(objects).to_owned(), things, residue })
    }

    /// Removes what libvirt itself leaves of guests and networks that are gone.
    pub(crate) fn remove_residue(&self) {
        // In reverse, a folder comes after what is in it. What was never written, or is not empty, is found by the look afterwards.
        for path in self.residue.iter().rev() {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir(path));
        }
    }

    /// What is still there.
    pub(crate) fn left(&self) -> Result<Vec<String>> {
        let residue = self.residue.iter().filter(|path| Path::new(path).exists()).cloned();
        Ok(present(&self.uri, &self.things)?.into_iter().chain(residue).collect())
    }

    /// How many things are looked for.
    pub(crate) fn count(&self) -> usize {
        self.things.len() + self.residue.len()
    }
}

fn read_set(note: &Path) -> BTreeSet<String> {
    fs::read(note).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Files that libvirt 9 keeps after a thing is undefined: a guest's log, a network's pid file and port folder.
fn residue_of(thing: &str) -> Vec<String> {
    match thing.split_once(' ') {
        Some(("domain", name)) => vec![format!("/var/log/libvirt/qemu/{name}.log")],
        Some(("network", name)) => ["", "/ports", ".pid"].map(|end| format!("/run/libvirt/network/{name}{end}")).into(),
        _ => vec![],
    }
}

/// The console log of a Domain, if it keeps one.
pub(crate) fn console(object: &Value) -> Option<Console> {
    let log = text(object, "/status/atProvider/consoles/0/logFile");
    (title(object).starts_with("Domain/") && !log.is_empty()).then(|| Console::new(log.into()))
}
