//! What a host offers to a sort of guest: its domain capabilities, asked for once and kept as long as the connection.

use std::sync::Arc;

use crate::counters::Call;
use crate::lock::lock;
use crate::sys::compare_hypervisor_cpu;
use crate::xml::Element;
use crate::{Connection, Error};

/// How many sorts of guests are kept in mind. Machines are named by users.
const KEPT: usize = 64;

/// A sort of guest: what its emulator can do depends on these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Sort {
    /// The path of the emulator, where the guest has one of its own.
    pub emulator: Option<String>,
    /// The architecture.
    pub arch: Option<String>,
    /// The machine type.
    pub machine: Option<String>,
    /// `kvm`, `qemu` and so on.
    pub domain_type: Option<String>,
}

impl Sort {
    /// The sort that a description is of.
    pub fn of(description: &Element) -> Self {
        Self {
            emulator: description.text_at("devices/emulator").map(str::to_owned),
            arch: description.attr_at("os/type@arch").map(str::to_owned),
            machine: description.attr_at("os/type@machine").map(str::to_owned),
            domain_type: description.get("type").map(str::to_owned),
        }
    }
}

impl Connection {
    /// The domain capabilities for a sort of guest; `None` where the driver tells none. `fresh` asks anew, since what is installed on a
    /// host may change under a connection.
    pub fn offers(&self, sort: &Sort, fresh: bool) -> Result<Option<Arc<Element>>, Error> {
        if let Some(known) = lock(self.known_offers()).get(sort).filter(|_| !fresh) {
            return Ok(known.clone());
        }
        let Sort { emulator, arch, machine, domain_type } = sort;
        let [emulator, arch, machine, domain_type] = [emulator, arch, machine, domain_type].map(Option::as_deref);
        let told = self.counted(Call::DomainCapabilities, |connect| {
            connect.domain_capabilities(emulator, arch, machine, domain_type, 0)
        });
        let tree = match told {
            Err(error) if error.is_unsupported() => None,
            told => {
                let tree = Element::parse(&told?)
                    .map_err(|error| Error::other(format!("cannot read the host's domain capabilities: {error}")))?;
                Some(Arc::new(tree))
            }
        };
        let mut known = lock(self.known_offers());
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(sort.clone(), tree.clone());
        Ok(tree)
    }

    /// Why the host's processor cannot give a guest of this sort that CPU, in libvirt's words; `None` if it can, or nobody can tell.
    pub fn lacks_for_cpu(&self, sort: &Sort, cpu: &Element) -> Result<Option<String>, Error> {
        let text = cpu.write().map_err(|error| Error::other(format!("cannot write a CPU: {error}")))?;
        let compared = self.counted(Call::CompareHypervisorCpu, |connect| compare_hypervisor_cpu(connect, sort, &text));
        match compared {
            Ok(()) => Ok(None),
            Err(error) if error.is_incompatible_cpu() => Ok(Some(error.message().to_owned())),
            Err(error) if error.is_unsupported() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
