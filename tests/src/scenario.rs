//! What one test does on a stage: objects in a namespace of its own, and what the host has of them.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::{
    console::Console,
    host::Host,
    kubectl::{condition, is_true},
    namespace::Namespace,
    process::last_lines,
    stage::Stage,
    wait::eventually,
};

/// How long anything may take on a machine with busy neighbours.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// How much of the provider's log is shown beside what did not come.
const LOG_LINES: usize = 120;

/// One test's part of a stage. Its pool, network, seed and guest are named like it, its volumes lie in its pool.
#[derive(Debug)]
pub struct Scenario<'a> {
    stage: &'a Stage,
    namespace: Namespace,
    name: &'static str,
    subnet: u8,
}

impl<'a> Scenario<'a> {
    pub(crate) fn new(stage: &'a Stage, name: &'static str, subnet: u8) -> Result<Self> {
        Ok(Self { stage, namespace: Namespace::create(&stage.plane().client())?, name, subnet })
    }

    /// The stage.
    pub fn stage(&self) -> &'a Stage {
        self.stage
    }

    /// The name of pool, network, seed and guest.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The third number of the network's addresses.
    pub fn subnet(&self) -> u8 {
        self.subnet
    }

    /// The libvirt host.
    pub fn host(&self) -> &'a Host {
        self.stage.host()
    }

    /// What the guest says.
    pub fn console(&self) -> Console {
        self.console_of(self.name)
    }

    /// What another guest says, if its console `serial` is logged.
    pub fn console_of(&self, guest: &str) -> Console {
        Console::new(self.host().path(&format!("log/qemu/{guest}.serial.console")))
    }

    /// The folder of the pool.
    pub fn folder(&self) -> String {
        self.host().path(&format!("pools/{}", self.name)).display().to_string()
    }

    // ---- objects ----

    /// Applies YAML.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn apply(&self, yaml: &str) -> Result<String> {
        self.namespace.apply(yaml)
    }

    /// Changes `spec.forProvider` of an object by a merge patch.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn change(&self, kind: &str, name: &str, parameters: &Value) -> Result<String> {
        let patch = serde_json::json!({"spec": {"forProvider": parameters}}).to_string();
        self.namespace.kubectl(&["patch", kind, name, "--type=merge", "-p", &patch])
    }

    /// An object as it is.
    ///
    /// # Errors
    /// When it is not there.
    pub fn object(&self, kind: &str, name: &str) -> Result<Value> {
        self.namespace.get(kind, name)?.with_context(|| format!("there is no {kind} {name}"))
    }

    /// `status.atProvider` of an object.
    ///
    /// # Errors
    /// When the object is not there.
    pub fn observed(&self, kind: &str, name: &str) -> Result<Value> {
        Ok(self.object(kind, name)?["status"]["atProvider"].clone())
    }

    /// Where an object is on the host: the path that its status tells.
    ///
    /// # Errors
    /// When the object is not there or tells none.
    pub fn path(&self, kind: &str, name: &str) -> Result<String> {
        Ok(self.observed(kind, name)?["path"].as_str().context("read the path")?.to_owned())
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

    // ---- waiting ----

    /// Asks `probe` until it gives a value; what it lacked is told with the end of the provider's log.
    fn eventually<T>(&self, timeout: Duration, probe: impl FnMut() -> Result<T>) -> Result<T> {
        eventually(timeout, probe).map_err(|error| {
            let log = last_lines(&self.stage.log(), LOG_LINES);
            anyhow!("{error:#}\nthe provider's log ends:\n{log}")
        })
    }

    /// Waits until the object passes the check, and returns what that gives.
    ///
    /// # Errors
    /// With what the check missed, the object's status and the end of the provider's log.
    pub fn await_object<T>(&self, kind: &str, name: &str, mut check: impl FnMut(&Value) -> Result<T>) -> Result<T> {
        self.eventually(PATIENCE, || {
            let object = self.object(kind, name)?;
            check(&object).with_context(|| format!("{kind} {name}: {:#}", object["status"]))
        })
    }

    /// Waits until these objects (`kind/name`) are Ready and Synced.
    ///
    /// # Errors
    /// When one is not, with its status.
    pub fn await_ready(&self, objects: &[&str]) -> Result<()> {
        for object in objects {
            let (kind, name) = object.split_once('/').context("read kind/name")?;
            self.await_object(kind, name, |object| {
                ensure!(is_ready(object), "not Ready and Synced");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until all managed objects of the namespace are Ready and Synced, and returns them by `Kind/name`.
    ///
    /// # Errors
    /// With those that are not, and why.
    pub fn await_all_ready(&self, timeout: Duration) -> Result<BTreeMap<String, Value>> {
        self.eventually(timeout, || {
            let objects = self.managed()?;
            ensure!(!objects.is_empty(), "there are no objects");
            let lacking = conditions(objects.iter().filter(|(_, object)| !is_ready(object)));
            ensure!(lacking.is_empty(), "not Ready and Synced:\n{lacking}");
            Ok(objects)
        })
    }

    /// Waits until a condition of an object (`kind/name`) has exactly this status, reason and message, and returns the object.
    ///
    /// # Errors
    /// With the condition as it is.
    pub fn await_condition(&self, object: &str, kind: &str, wanted: (&str, &str, &str)) -> Result<Value> {
        let (what, name) = object.split_once('/').context("read kind/name")?;
        self.await_object(what, name, |object| {
            let found = condition(object, kind)?;
            ensure!(found == wanted, "{kind} is {found:?}, wanted {wanted:?}");
            Ok(object.clone())
        })
    }

    // ---- deletion ----

    /// Asks for the deletion of objects (`kind/name`) and does not wait.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn delete(&self, objects: &[&str]) -> Result<()> {
        self.namespace.kubectl(&[&["delete", "--wait=false"], objects].concat()).map(drop)
    }

    /// Waits until objects (`kind/name`) are gone.
    ///
    /// # Errors
    /// With the status of one that is not.
    pub fn await_gone(&self, objects: &[&str]) -> Result<()> {
        for object in objects {
            let (kind, name) = object.split_once('/').context("read kind/name")?;
            self.eventually(PATIENCE, || match self.namespace.get(kind, name)? {
                None => Ok(()),
                Some(object) => bail!("{kind} {name} is there: {:#}", object["status"]["conditions"]),
            })?;
        }
        Ok(())
    }

    /// Asks for the deletion of every managed object at once and does not wait.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn delete_all(&self) -> Result<()> {
        self.delete(&["managed", "--all"])
    }

    /// Waits until no managed object is left.
    ///
    /// # Errors
    /// With those that are left, and why.
    pub fn await_all_gone(&self, timeout: Duration) -> Result<()> {
        self.eventually(timeout, || {
            let left = conditions(&self.managed()?);
            ensure!(left.is_empty(), "left:\n{left}");
            Ok(())
        })
    }

    /// Deletes every managed object and waits until they are gone. The host has nothing left at that moment.
    ///
    /// # Errors
    /// With what is left, of the objects or on the host.
    pub fn clear(&self) -> Result<()> {
        self.delete_all()?;
        self.await_all_gone(PATIENCE)?;
        self.check_empty()
    }

    /// The same of a host that may take its time until it has nothing left, as after a copy that nobody wants any more.
    ///
    /// # Errors
    /// As there.
    pub fn clear_in_time(&self) -> Result<()> {
        self.delete_all()?;
        self.await_all_gone(PATIENCE)?;
        self.eventually(PATIENCE, || self.check_empty())
    }

    fn check_empty(&self) -> Result<()> {
        let left = self.host().everything()?;
        ensure!(left.is_empty(), "left on the host: {left:?}");
        Ok(())
    }

    // ---- the host ----

    /// What `XPath` finds in the guest's running description.
    ///
    /// # Errors
    /// When it finds nothing.
    pub fn live(&self, xpath: &str) -> Result<String> {
        self.host().virsh(&["dumpxml", self.name, "--xpath", xpath]).map(|text| text.trim().to_owned())
    }

    /// What `XPath` finds in the guest's persistent description.
    ///
    /// # Errors
    /// When it finds nothing.
    pub fn inactive(&self, xpath: &str) -> Result<String> {
        self.host().virsh(&["dumpxml", "--inactive", self.name, "--xpath", xpath]).map(|text| text.trim().to_owned())
    }

    /// What must never change about a guest: UUID, MAC addresses, the paths of its disks.
    ///
    /// # Errors
    /// When it is not there.
    pub fn identity(&self) -> Result<String> {
        self.inactive("/domain/uuid|//interface/mac|//disk[@device='disk']/source")
    }

    /// Waits until a look at the host gives this text.
    ///
    /// # Errors
    /// With what it gives, or why it fails.
    pub fn await_host(&self, wanted: &str, look: impl Fn(&Self) -> Result<String>) -> Result<()> {
        self.eventually(PATIENCE, || {
            let seen = look(self)?;
            ensure!(seen.trim() == wanted, "seen: {seen}\nwanted: {wanted}");
            Ok(())
        })
    }

    /// Waits until the guest is in this state, as `virsh domstate` tells it.
    ///
    /// # Errors
    /// With the state it is in.
    pub fn await_state(&self, wanted: &str) -> Result<()> {
        self.await_host(wanted, |scenario| scenario.host().virsh(&["domstate", scenario.name]))
    }
}

fn is_ready(object: &Value) -> bool {
    is_true(object, "Ready") && is_true(object, "Synced")
}

/// The conditions of objects, a line each.
fn conditions<'b>(objects: impl IntoIterator<Item = (&'b String, &'b Value)>) -> String {
    let lines = objects.into_iter().map(|(title, object)| format!("{title}: {}", object["status"]["conditions"]));
    lines.collect::<Vec<_>>().join("\n")
}
