//! What one test does on a stage: objects in a namespace of its own, and what the host has of them.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::{
    console::Console, files::guest_files, guest::GuestFiles, host::Host, kubectl::condition, namespace::Namespace,
    process::last_lines, stage::Stage, wait::eventually,
};

/// How long anything may take on a machine with busy neighbours.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// One test's part of a stage. Its pool, network, seed and guest are named like it, its volumes lie in its pool.
#[derive(Debug)]
pub struct Scenario<'a> {
    stage: &'a Stage,
    namespace: Namespace,
    name: &'static str,
    subnet: u8,
}

/// An object's manifest; `parameters` is the inside of a YAML flow mapping.
pub fn manifest(kind: &str, name: &str, parameters: &str) -> String {
    format!(
        "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n\
         spec: {{forProvider: {{{parameters}}}}}\n"
    )
}

impl<'a> Scenario<'a> {
    pub(crate) fn new(stage: &'a Stage, name: &'static str, subnet: u8) -> Result<Self> {
        Ok(Self { stage, namespace: Namespace::create(&stage.plane().client())?, name, subnet })
    }

    /// The name of pool, network, seed and guest.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The libvirt host.
    pub fn host(&self) -> &'a Host {
        self.stage.host()
    }

    /// What the guest says.
    pub fn console(&self) -> Console {
        Console::new(self.host().path(&format!("log/qemu/{}-serial.log", self.name)))
    }

    /// The folder of the pool.
    pub fn folder(&self) -> String {
        self.host().path(&format!("pools/{}", self.name)).display().to_string()
    }

    // ---- manifests ----

    /// The pool.
    pub fn pool(&self) -> String {
        manifest("Pool", self.name, &format!("target: {{path: {}}}", self.folder()))
    }

    /// A volume in the pool.
    pub fn volume(&self, name: &str, parameters: &str) -> String {
        manifest("Volume", name, &format!("poolRef: {{name: {}}}, {parameters}", self.name))
    }

    /// The network, with DHCP for a hundred guests.
    pub fn network(&self) -> String {
        let net = format!("192.168.{}", self.subnet);
        let dhcp = format!("dhcp: {{ranges: [{{start: {net}.100, end: {net}.199}}]}}");
        manifest("Network", self.name, &format!("mode: Nat, ips: [{{cidr: {net}.1/24, {dhcp}}}]"))
    }

    /// The seed, with the host name `guest-<instance>` and this script, whose lines end in `\n`.
    pub fn seed(&self, instance: &str, script: &str) -> String {
        let meta = format!("instance-id: {instance}\\nlocal-hostname: guest-{instance}\\n");
        let parameters = format!(
            "poolRef: {{name: {}}}, metaData: {{inline: \"{meta}\"}}, userData: {{inline: \"{}\"}}",
            self.name,
            script.replace('\n', "\\n")
        );
        manifest("CloudInit", self.name, &parameters)
    }

    /// A guest without an operating system: it runs, and obeys nothing but force. Its disk is the volume `root`.
    pub fn idle_guest(&self, parameters: &str) -> String {
        let fixed = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}, \
                     disks: [{name: root, volumeRef: {name: root}}]";
        manifest("Domain", self.name, &format!("{fixed}{parameters}"))
    }

    /// The pool, a blank root volume and an idle guest on it.
    pub fn idle_world(&self, parameters: &str) -> String {
        self.pool() + &self.volume("root", "capacity: 64Mi") + &self.idle_guest(parameters)
    }

    /// The test guest, which boots the volumes `kernel` and `initrd` and logs its console.
    pub fn guest(&self, parameters: &str) -> String {
        let fixed = format!(
            "type: Qemu, os: {{kernelRef: {{name: kernel}}, initrdRef: {{name: initrd}}, cmdline: '{}'}}, \
             consoles: [{{name: serial, log: true}}], shutdown: {{timeout: 60s, forceAfterTimeout: true}}, ",
            GuestFiles::COMMAND_LINE
        );
        manifest("Domain", self.name, &(fixed + parameters))
    }

    /// The pool and the volumes `kernel`, `initrd` and a blank `root` of 64 MiB.
    ///
    /// # Errors
    /// When the guest's files are missing.
    pub fn storage(&self) -> Result<String> {
        let GuestFiles { kernel, initrd, disk: _ } = guest_files()?;
        let boot = |name, file| Ok(self.volume(name, &format!("format: Raw, {}", self.stage.image(file)?)));
        let kernel: Result<String> = boot("kernel", &kernel);
        Ok(self.pool() + &kernel? + &boot("initrd", &initrd)? + &self.volume("root", "capacity: 64Mi"))
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

    /// Waits until the object passes the check, and returns what that gives.
    ///
    /// # Errors
    /// With what the check missed, the object's status and the end of the provider's log.
    pub fn await_object<T>(&self, kind: &str, name: &str, mut check: impl FnMut(&Value) -> Result<T>) -> Result<T> {
        let mut status = Value::Null;
        let found = eventually(PATIENCE, || {
            let object = self.object(kind, name)?;
            status = object["status"].clone();
            check(&object)
        });
        found.with_context(|| {
            format!(
                "{kind} {name}: {status:#}\nthe provider's log ends:\n{}",
                last_lines(&self.stage.provider().log(), 8)
            )
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
                let (ready, synced) = (condition(object, "Ready")?, condition(object, "Synced")?);
                ensure!((ready.0, synced.0) == ("True", "True"), "Ready {ready:?} Synced {synced:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until a condition has exactly this status, reason and message.
    ///
    /// # Errors
    /// With the condition as it is.
    pub fn await_condition(&self, object: &str, kind: &str, wanted: (&str, &str, &str)) -> Result<()> {
        let (what, name) = object.split_once('/').context("read kind/name")?;
        self.await_object(what, name, |object| {
            let found = condition(object, kind)?;
            ensure!(found == wanted, "{kind} is {found:?}, wanted {wanted:?}");
            Ok(())
        })
    }

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
            eventually(PATIENCE, || match self.namespace.get(kind, name)? {
                None => Ok(()),
                Some(object) => bail!("{kind} {name} is there: {:#}", object["status"]["conditions"]),
            })?;
        }
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
        eventually(PATIENCE, || {
            let seen = look(self)?;
            ensure!(seen.trim() == wanted, "seen: {seen}\nwanted: {wanted}");
            Ok(())
        })
        .map_err(|error| {
            let log = last_lines(&self.stage.provider().log(), 8);
            anyhow!("{error:#}\nthe provider's log ends:\n{log}")
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
