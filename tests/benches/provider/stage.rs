//! The control plane and the host of all measurements, and the objects they are made with.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use tests::{ControlPlane, Host, Provider, Scratch, workspace};

use crate::plain;

/// Who plays the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    /// QEMU: starting a guest costs what it costs.
    Qemu,
    /// libvirt's test driver: everything is free, so what is left is the provider's own.
    Test,
}

impl Driver {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Test => "test",
        }
    }

    fn domain_type(self) -> &'static str {
        match self {
            Self::Qemu => "Qemu",
            Self::Test => "Auto",
        }
    }

    /// A manifest of `count` domains.
    pub(crate) fn domains(self, prefix: &str, count: usize) -> String {
        self.domains_on(self.name(), prefix, count)
    }

    /// The same on the host of a config.
    pub(crate) fn domains_on(self, config: &str, prefix: &str, count: usize) -> String {
        (0..count).fold(String::new(), |mut text, number| {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "---\napiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: Domain\nmetadata: {{name: {prefix}-{number}}}\n\
                 spec:\n  providerConfigRef: {{kind: ClusterProviderConfig, name: {}}}\n  \
                 forProvider: {{type: {}, memory: 64Mi, vcpus: 1, shutdown: {{timeout: 1s, forceAfterTimeout: true}}}}\n",
                config,
                self.domain_type(),
            );
            text
        })
    }
}

/// Control plane and host.
pub(crate) struct Stage {
    pub(crate) plane: ControlPlane,
    pub(crate) host: Host,
    // The test driver forgets everything when nobody is connected.
    _keep: plain::Host,
    _scratch: Scratch,
}

impl Stage {
    pub(crate) fn start() -> Result<Self> {
        let scratch = Scratch::new("bench")?;
        let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
        let host = Host::start("bench")?;
        let keep = plain::Host::open(&uri(&host, Driver::Test))?;
        for driver in [Driver::Qemu, Driver::Test] {
            plane.apply(&format!(
                "apiVersion: libvirt.m.nourspeed.io/v1alpha1\nkind: ClusterProviderConfig\nmetadata: {{name: {}}}\nspec: {{uri: \"{}\", policy: {{imageHosts: [127.0.0.1]}}}}\n",
                driver.name(),
                uri(&host, driver),
            ))?;
        }
        Ok(Self { plane, host, _keep: keep, _scratch: scratch })
    }

    /// The plain loop's connection.
    pub(crate) fn open(&self, driver: Driver) -> Result<plain::Host> {
        plain::Host::open(&uri(&self.host, driver))
    }

    /// Where the daemon of all measurements listens.
    pub(crate) fn uri(&self, driver: Driver) -> String {
        uri(&self.host, driver)
    }

    /// Applies one more config.
    pub(crate) fn configure(&self, name: &str, uri: &str, connection: &str) -> Result<()> {
        let config = format!(
            "{{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ClusterProviderConfig, metadata: {{name: {name}}}, \
             spec: {{uri: '{uri}', connection: {{{connection}}}}}}}"
        );
        self.plane.apply(&config).map(drop)
    }

    /// The machine in a few words.
    pub(crate) fn machine() -> String {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default();
        format!("{cpus} CPUs for the API server, libvirtd, the guests and the provider together, load {load}")
    }
}

fn uri(host: &Host, driver: Driver) -> String {
    match driver {
        Driver::Qemu => host.uri(),
        Driver::Test => format!("test+unix:///default?socket={}", host.socket().display()),
    }
}

/// One figure in KiB of a process, as in `VmRSS`.
pub(crate) fn kib(file: &Path, key: &str) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let figure = line.and_then(|line| line.split_whitespace().next()).and_then(|figure| figure.parse().ok());
    figure.with_context(|| format!("find {key} in {}", file.display()))
}

/// A number that the environment says, or the usual one.
pub(crate) fn count_of(variable: &str, usual: u32) -> Result<u32> {
    match std::env::var(variable) {
        Ok(count) => count.parse().with_context(|| format!("read {variable}")),
        Err(_) => Ok(usual),
    }
}

/// The sum of the figures of a provider whose names begin so.
pub(crate) fn figure(provider: &Provider, begin: &str) -> Result<f64> {
    Ok(provider.metrics()?.iter().filter(|(name, _)| name.starts_with(begin)).map(|(_, value)| value).sum())
}
