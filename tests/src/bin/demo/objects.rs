//! The demo's objects: the example's YAML with the image filled in, and how far they are.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::{Value, json};
use tests::{Kubectl, condition, eventually, workspace};

use crate::{
    State,
    stage::{Image, check_provider, provider_log},
};

const GROUP: &str = "libvirt.m.nourspeed.io/";

/// Reads the example's files, fills in image and hypervisor, and writes the result where `down` finds it.
pub(crate) fn render(state: &State, kubectl: &Kubectl, image: &Image, emulate: bool) -> Result<()> {
    let folder = workspace().join("examples/quickstart").display().to_string();
    // kubectl must know the kinds, and it learns new ones a moment after they were applied.
    let text = eventually(Duration::from_secs(15), || {
        kubectl.run(&["create", "--dry-run=client", "-o", "json", "-f", &folder])
    })?;
    let mut objects = Vec::new();
    for document in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        let document = document.context("parse the example")?;
        match document["items"].as_array() {
            Some(items) => objects.extend(items.clone()),
            None => objects.push(document),
        }
    }
    for object in &mut objects {
        fill_in(object, image, emulate);
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    fs::write(state.path("objects.json"), list.to_string()).context("write the objects down")
}

fn fill_in(object: &mut Value, image: &Image, emulate: bool) {
    let kind = object["kind"].as_str().map(ToOwned::to_owned);
    if let Some(http) = object.pointer_mut("/spec/forProvider/source/http") {
        *http = json!({"url": image.url, "checksum": image.checksum});
    }
    if let Some(parameters) = object.pointer_mut("/spec/forProvider")
        && kind.as_deref() == Some("Domain")
        && emulate
    {
        parameters["type"] = json!("Qemu");
    }
}

/// The demo's objects of the provider's kinds as they are now.
pub(crate) fn read(state: &State, kubectl: &Kubectl) -> Result<Vec<Value>> {
    let file = state.path("objects.json").display().to_string();
    let list = kubectl.get(&["-f", &file])?.unwrap_or_default();
    let all = list["items"].as_array().cloned().unwrap_or_else(|| if list.is_null() { vec![] } else { vec![list] });
    Ok(all
        .into_iter()
        .filter(|object| object["apiVersion"].as_str().is_some_and(|version| version.starts_with(GROUP)))
        .collect())
}

/// Everything of the demo's control plane that stands for something on the host, whoever applied it.
pub(crate) fn all_managed(kubectl: &Kubectl) -> Result<Vec<Value>> {
    let list = kubectl.get(&["managed", "--all-namespaces"])?.unwrap_or_default();
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// `Kind/name` of an object.
pub(crate) fn title(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// The text at a JSON pointer, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Waits until every object is Ready, and prints each change of its conditions.
pub(crate) fn await_ready(state: &State, kubectl: &Kubectl, timeout: Duration) -> Result<Vec<Value>> {
    let mut said = BTreeMap::new();
    let waited = eventually(timeout, || {
        let objects = read(state, kubectl)?;
        for object in &objects {
            say_change(state, &mut said, object);
        }
        if let Some(object) = objects.iter().find(|object| !text(object, "/metadata/deletionTimestamp").is_empty()) {
            return Ok(Err(anyhow!("{} is being deleted; run make demo-down, and make demo after it", title(object))));
        }
        let missing: Vec<_> = objects.iter().filter(|object| !is_ready(object)).map(title).collect();
        let done = !objects.is_empty() && missing.is_empty();
        // A provider that ended makes nothing ready any more: no use in waiting on.
        match check_provider(state) {
            Err(ended) => Ok(Err(ended)),
            Ok(()) if done => Ok(Ok(objects)),
            Ok(()) => bail!("not Ready: {}", missing.join(", ")),
        }
    });
    waited.with_context(|| format!("the end of the provider's log:\n{}", provider_log(state)))?
}

fn say_change(state: &State, said: &mut BTreeMap<String, String>, object: &Value) {
    let (title, now) = (title(object), conditions(object));
    if !now.is_empty() && said.get(&title) != Some(&now) {
        state.say(&format!("{title:<34} {now}"));
        said.insert(title, now);
    }
}

fn is_ready(object: &Value) -> bool {
    let is = |kind: &str| condition(object, kind).ok().map(|(status, ..)| status == "True");
    is("Ready") == Some(true) && is("Synced") != Some(false)
}

/// Ready and Synced in short, the others only while they say something: `Ready=False (Creating) Importing=True (40 %)`.
fn conditions(object: &Value) -> String {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    for one in all {
        let (kind, status) = (text(one, "/type"), text(one, "/status"));
        let (reason, message) = (text(one, "/reason"), text(one, "/message"));
        match (kind, status) {
            ("Ready" | "Synced" | "UpToDate", "True") => words.push(kind.to_owned()),
            ("Ready" | "Synced" | "UpToDate", _) | (_, "True") => {
                let why = if message.is_empty() { reason } else { message };
                words.push(format!("{kind}={status} ({why})"));
            }
            _ => {}
        }
    }
    words.sort();
    words.join("  ")
}

/// Asks for the deletion of every managed object at once, those that were made beside the example's too, waits until they are gone, then
/// deletes the rest.
pub(crate) fn delete(state: &State, kubectl: &Kubectl, timeout: Duration) -> Result<()> {
    let managed = all_managed(kubectl)?;
    for object in &managed {
        let words = [text(object, "/kind"), text(object, "/metadata/name"), "-n", text(object, "/metadata/namespace")];
        if text(object, "/kind") == "Domain" {
            // A guest without an operating system would never obey.
            let force = r#"{"spec": {"forProvider": {"shutdown": {"timeout": "20s", "forceAfterTimeout": true}}}}"#;
            kubectl.run(&[&["patch", "--type=merge", "-p", force], &words[..]].concat())?;
        }
        kubectl.run(&[&["delete", "--wait=false", "--ignore-not-found"], &words[..]].concat())?;
    }
    let mut before: Vec<_> = managed.iter().map(title).collect();
    eventually(timeout, || {
        let left = all_managed(kubectl)?;
        let titles: Vec<_> = left.iter().map(title).collect();
        for gone in before.iter().filter(|title| !titles.contains(title)) {
            state.say(&format!("{gone:<34} deleted"));
        }
        before = titles;
        let why = left
            .iter()
            .map(|object| format!("{}: {}", title(object), conditions(object)))
            .collect::<Vec<_>>()
            .join("\n");
        if left.is_empty() { Ok(()) } else { Err(anyhow!("{why}")) }
    })
    .with_context(|| format!("wait for the deletion; the end of the provider's log:\n{}", provider_log(state)))?;
    let file = state.path("objects.json").display().to_string();
    kubectl.run(&["delete", "--ignore-not-found", "--timeout=60s", "-f", &file]).map(drop)
}
