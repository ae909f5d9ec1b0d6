//! What a host says about itself, read once per connection.

use std::collections::BTreeSet;

use crate::counters::Call;
use crate::error::Kind;
use crate::xml::Element;
use crate::{Connection, CpuSet, Error};

/// A host's identity and abilities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    /// The host's UUID, usually the board's. Not always unique: boards are shipped with the same one.
    pub uuid: Option<String>,
    /// The host's name.
    pub hostname: String,
    /// The daemon's version, as in `9.0.0`.
    pub libvirt_version: String,
    /// The hypervisor's version; `None` when the host has no emulator.
    pub hypervisor_version: Option<String>,
    /// The host's processor architecture.
    pub arch: Option<String>,
    /// The domain types (`kvm`, `qemu`) of guests with the host's own architecture, sorted. That `kvm` is among them says
    /// that `/dev/kvm` can be opened, not that a guest boots with it.
    pub domain_types: Vec<String>,
    /// The host's processors; none where it does not tell.
    pub cpus: CpuSet,
    /// The driver's name, such as `QEMU`.
    pub driver: String,
    /// The types of machines for guests with the host's own architecture, sorted.
    pub machines: Vec<String>,
    /// What other hosts can and this one cannot, sorted.
    pub lacks: Vec<Feature>,
}

/// What a host can, or cannot. Which it lacks is told of once: what needs it fails on that host for as long as it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// Its driver is QEMU's.
    Qemu,
    /// An emulator is installed.
    Emulator,
    /// libvirt can open `/dev/kvm`. That is no proof that a guest boots with it.
    Kvm,
    /// libvirt's driver of networks.
    Networks,
    /// libvirt's driver of pools and volumes.
    Storage,
    /// libvirt's driver of secrets.
    Secrets,
    /// libvirt's driver of the host's devices.
    NodeDevices,
}

impl Feature {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qemu => "Qemu",
            Self::Emulator => "Emulator",
            Self::Kvm => "Kvm",
            Self::Networks => "Networks",
            Self::Storage => "Storage",
            Self::Secrets => "Secrets",
            Self::NodeDevices => "NodeDevices",
        }
    }
}

impl Connection {
    /// Asks the host about itself; `lacks` is what is known to be missing on it.
    pub(crate) fn facts(&self, lacks: Vec<Feature>) -> Result<Facts, Error> {
        let capabilities = self.counted(Call::Capabilities, virt::connect::Connect::capabilities)?;
        let hostname = self.counted(Call::Hostname, virt::connect::Connect::hostname)?;
        let libvirt = self.counted(Call::LibVersion, virt::connect::Connect::lib_version)?;
        // A host may serve storage and networks without any emulator installed; then this fails and the rest works.
        let hypervisor = self.counted(Call::HypervisorVersion, virt::connect::Connect::hyp_version).ok();
        let driver = self.counted(Call::DriverType, virt::connect::Connect::driver_type)?;
        let tree = Element::parse(&capabilities)
            .map_err(|error| Error::other(format!("cannot read the host's capabilities: {error}")))?;
        let domain_types = domain_types(&tree);
        let lacks = self.lacks(lacks, &driver, hypervisor.is_some(), &domain_types)?;
        Ok(Facts {
            uuid: tree.text_at("host/uuid").map(str::to_owned),
            hostname,
            libvirt_version: version(libvirt),
            hypervisor_version: hypervisor.map(version),
            arch: tree.text_at("host/cpu/arch").map(str::to_owned),
            domain_types,
            cpus: cpus(&tree),
            driver,
            machines: machines(&tree),
            lacks,
        })
    }

    /// Whether the host is the one with these facts: a name may lead elsewhere by now.
    pub(crate) fn leads_to(&self, facts: &Facts) -> Result<bool, Error> {
        let capabilities = self.counted(Call::Capabilities, virt::connect::Connect::capabilities)?;
        let hostname = self.counted(Call::Hostname, virt::connect::Connect::hostname)?;
        let tree = Element::parse(&capabilities)
            .map_err(|error| Error::other(format!("cannot read the host's capabilities: {error}")))?;
        Ok(tree.text_at("host/uuid") == facts.uuid.as_deref() && hostname == facts.hostname)
    }

    /// What it lacks. Pools and networks are not counted for that: libvirt waits for each of them, and one may not answer.
    fn lacks(
        &self,
        mut lacks: Vec<Feature>,
        driver: &str,
        has_emulator: bool,
        domain_types: &[String],
    ) -> Result<Vec<Feature>, Error> {
        let secrets = self.counted(Call::SecretCount, virt::connect::Connect::num_of_secrets);
        let devices = self.counted(Call::NodeDeviceCount, |connect| connect.num_of_node_devices(None, 0));
        let has_kvm = domain_types.iter().any(|known| known == "kvm");
        let missing = [
            (Feature::Qemu, driver != "QEMU"),
            (Feature::Emulator, !has_emulator),
            (Feature::Kvm, !has_kvm),
            (Feature::Secrets, is_unsupported(secrets)?),
            (Feature::NodeDevices, is_unsupported(devices)?),
        ];
        lacks.extend(missing.into_iter().filter_map(|(feature, is_missing)| is_missing.then_some(feature)));
        lacks.sort();
        Ok(lacks)
    }
}

/// Whether nobody on the host knows the call. Who may not make it learns nothing.
fn is_unsupported<T>(answer: Result<T, Error>) -> Result<bool, Error> {
    match answer {
        Err(error) if error.kind == Kind::Unreachable => Err(error),
        Err(error) => Ok(error.is_unsupported()),
        Ok(_) => Ok(false),
    }
}

/// libvirt packs versions as millions, thousands and ones.
fn version(packed: u32) -> String {
    format!("{}.{}.{}", packed / 1_000_000, packed / 1_000 % 1_000, packed % 1_000)
}

fn cpus(capabilities: &Element) -> CpuSet {
    let cpus = capabilities.find_all("host/topology/cells/cell/cpus/cpu").into_iter();
    cpus.filter_map(|cpu| cpu.get("id")?.parse().ok()).collect()
}

/// Guests with the host's own architecture.
fn own_arches(capabilities: &Element) -> impl Iterator<Item = &Element> {
    let native = capabilities.text_at("host/cpu/arch");
    let arches = capabilities.find_all("guest/arch").into_iter();
    arches.filter(move |arch| native.is_none() || arch.get("name") == native)
}

fn domain_types(capabilities: &Element) -> Vec<String> {
    let domains = own_arches(capabilities).flat_map(|arch| arch.named("domain"));
    sorted(domains.filter_map(|domain| domain.get("type")))
}

fn machines(capabilities: &Element) -> Vec<String> {
    sorted(own_arches(capabilities).flat_map(|arch| arch.named("machine")).filter_map(Element::value))
}

fn sorted<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let words: BTreeSet<&str> = words.collect();
    words.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_types_and_machines_are_those_of_the_hosts_own_architecture() {
        let text = "<capabilities><host><cpu><arch>x86_64</arch></cpu></host>\
            <guest><os_type>hvm</os_type><arch name='aarch64'><machine>virt</machine><domain type='hvf'/></arch></guest>\
            <guest><os_type>hvm</os_type><arch name='x86_64'><machine canonical='pc-i440fx-7.2'>pc</machine><machine>isapc</machine>\
            <domain type='qemu'/><domain type='kvm'/></arch></guest>\
            </capabilities>";
        let tree = Element::parse(text).unwrap();
        assert_eq!(domain_types(&tree), ["kvm", "qemu"]);
        assert_eq!(machines(&tree), ["isapc", "pc"]);
    }

    #[test]
    fn processors_are_those_of_all_cells() {
        let cell = |id: u8| format!("<cell><cpus><cpu id='{id}'/><cpu id='{}'/></cpus></cell>", id + 2);
        let text = format!(
            "<capabilities><host><topology><cells>{}{}</cells></topology></host></capabilities>",
            cell(0),
            cell(1)
        );
        assert_eq!(cpus(&Element::parse(&text).unwrap()).to_string(), "0-3");
        assert!(cpus(&Element::default()).is_empty());
    }

    #[test]
    fn versions_are_unpacked() {
        assert_eq!(version(9_000_000), "9.0.0");
        assert_eq!(version(7_002_022), "7.2.22");
    }
}
