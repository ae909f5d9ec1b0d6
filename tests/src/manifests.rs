//! The YAML that scenarios are made of.

use anyhow::Result;

use crate::{files::guest_files, guest::GuestFiles, images::Manners, scenario::Scenario};

/// An object's manifest; `parameters` is the inside of a YAML flow mapping.
pub fn manifest(kind: &str, name: &str, parameters: &str) -> String {
    manifest_on(None, kind, name, parameters)
}

/// Like [`manifest`], for the host of a `ClusterProviderConfig`.
pub fn manifest_on(config: Option<&str>, kind: &str, name: &str, parameters: &str) -> String {
    let reference = config
        .map(|config| format!("providerConfigRef: {{kind: ClusterProviderConfig, name: {config}}}, "))
        .unwrap_or_default();
    format!(
        "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n\
         spec: {{{reference}forProvider: {{{parameters}}}}}\n"
    )
}

/// Pool, network, seed and guest are named like the scenario; volumes lie in its pool.
impl Scenario<'_> {
    /// The pool.
    pub fn pool(&self) -> String {
        manifest("Pool", self.name(), &format!("target: {{path: {}}}", self.folder()))
    }

    /// A volume in the pool.
    pub fn volume(&self, name: &str, parameters: &str) -> String {
        manifest("Volume", name, &format!("poolRef: {{name: {}}}, {parameters}", self.name()))
    }

    /// The network, with DHCP for a hundred guests.
    pub fn network(&self) -> String {
        let net = format!("192.168.{}", self.subnet());
        let dhcp = format!("dhcp: {{ranges: [{{start: {net}.100, end: {net}.199}}]}}");
        manifest("Network", self.name(), &format!("mode: Nat, ips: [{{cidr: {net}.1/24, {dhcp}}}]"))
    }

    /// The seed, with the host name `guest-<instance>` and this script, whose lines end in `\n`.
    pub fn seed(&self, instance: &str, script: &str) -> String {
        let meta = format!("instance-id: {instance}\\nlocal-hostname: guest-{instance}\\n");
        let parameters = format!(
            "poolRef: {{name: {}}}, metaData: {{inline: \"{meta}\"}}, userData: {{inline: \"{}\"}}",
            self.name(),
            script.replace('\n', "\\n")
        );
        manifest("CloudInit", self.name(), &parameters)
    }

    /// A guest without an operating system: it runs, and obeys nothing but force. Its disk is the volume `root`.
    pub fn idle_guest(&self, parameters: &str) -> String {
        let fixed = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}, \
                     disks: [{name: root, volumeRef: {name: root}}]";
        manifest("Domain", self.name(), &format!("{fixed}{parameters}"))
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
        manifest("Domain", self.name(), &(fixed + parameters))
    }

    /// The pool and the volumes `kernel`, `initrd` and a blank `root` of 64 MiB.
    ///
    /// # Errors
    /// When the guest's files are missing.
    pub fn storage(&self) -> Result<String> {
        let GuestFiles { kernel, initrd, .. } = guest_files()?;
        let boot =
            |name, file| Ok(self.volume(name, &format!("format: Raw, {}", self.stage().image(file, Manners::Good)?)));
        let kernel: Result<String> = boot("kernel", &kernel);
        Ok(self.pool() + &kernel? + &boot("initrd", &initrd)? + &self.volume("root", "capacity: 64Mi"))
    }
}
