//! What a host says about itself, read once per connection.

use crate::counters::Call;
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
}

impl Connection {
    /// Asks the host about itself.
    pub(crate) fn facts(&self) -> Result<Facts, Error> {
        let capabilities = self.counted(Call::Capabilities, virt::connect::Connect::capabilities)?;
        let hostname = self.counted(Call::Hostname, virt::connect::Connect::hostname)?;
        let libvirt = self.counted(Call::LibVersion, virt::connect::Connect::lib_version)?;
        // A host may serve storage and networks without any emulator installed; then this fails and the rest works.
        let hypervisor = self.counted(Call::HypervisorVersion, virt::connect::Connect::hyp_version).ok();
        let driver = self.counted(Call::DriverType, virt::connect::Connect::driver_type)?;
        let tree = Element::parse(&capabilities)
            .map_err(|error| Error::other(format!("cannot read the host's capabilities: {error}")))?;
        Ok(Facts {
            uuid: tree.text_at("host/uuid").map(str::to_owned),
            hostname,
            libvirt_version: version(libvirt),
            hypervisor_version: hypervisor.map(version),
            arch: tree.text_at("host/cpu/arch").map(str::to_owned),
            domain_types: domain_types(&tree),
            cpus: cpus(&tree),
            driver,
        })
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

fn domain_types(capabilities: &Element) -> Vec<String> {
    let native = capabilities.text_at("host/cpu/arch");
    let arches = capabilities.find_all("guest/arch").into_iter();
    let own = arches.filter(|arch| native.is_none() || arch.get("name") == native);
    let mut types: Vec<String> =
        own.flat_map(|arch| arch.named("domain")).filter_map(|domain| domain.get("type")).map(str::to_owned).collect();
    types.sort();
    types.dedup();
    types
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_types_are_those_of_the_hosts_own_architecture() {
        let text = "<capabilities><host><cpu><arch>x86_64</arch></cpu></host>\
            <guest><os_type>hvm</os_type><arch name='aarch64'><domain type='qemu'/></arch></guest>\
            <guest><os_type>hvm</os_type><arch name='x86_64'><domain type='qemu'/><domain type='kvm'/></arch></guest>\
            </capabilities>";
        let tree = Element::parse(text).unwrap();
        assert_eq!(domain_types(&tree), ["kvm", "qemu"]);
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
