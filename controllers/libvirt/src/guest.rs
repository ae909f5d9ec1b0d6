//! What guests tell of themselves by their agent. All of it is a guest's word: nothing is done because of it, and it is cut to a size.

use std::collections::BTreeMap;

use virt::sys;

use crate::counters::Call;
use crate::sys::{Told, guest_info, neighbours, set_agent_timeout};
use crate::{Domain, Error};

/// For how many seconds an agent may be silent.
const PATIENCE: i32 = 5;
/// The longest text that is taken from a guest, in characters.
const LONGEST: usize = 255;
/// The most file systems, interfaces, and addresses of one.
const MOST: u64 = 32;

/// What a guest tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guest {
    /// Its host name.
    pub hostname: Option<String>,
    /// The system's short name, such as `debian`.
    pub os_id: Option<String>,
    /// The system as people call it.
    pub os_name: Option<String>,
    /// Its version.
    pub os_version: Option<String>,
    /// The release of its kernel.
    pub kernel: Option<String>,
    /// What is mounted, by mount point.
    pub filesystems: Vec<Filesystem>,
    /// The addresses of its interfaces, sorted.
    pub addresses: Vec<GuestAddress>,
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filesystem {
    /// Where.
    pub mountpoint: String,
    /// The type, such as `ext4`.
    pub kind: Option<String>,
    /// The device as the guest calls it.
    pub device: Option<String>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestAddress {
    /// The interface's MAC address, in lower case.
    pub mac: String,
    /// The IP address.
    pub ip: String,
}

impl Domain<'_> {
    /// Asks the guest's agent. `first` in a run also sets how long an agent may be silent.
    pub fn guest(&self, first: bool) -> Result<Guest, Error> {
        const TYPES: u32 = sys::VIR_DOMAIN_GUEST_INFO_OS
            | sys::VIR_DOMAIN_GUEST_INFO_HOSTNAME
            | sys::VIR_DOMAIN_GUEST_INFO_FILESYSTEM
            | sys::VIR_DOMAIN_GUEST_INFO_INTERFACES;
        if first {
            self.counted_by_us(Call::DomainAgentTimeout, |domain| set_agent_timeout(domain, PATIENCE))?;
        }
        let told = self.counted_by_us(Call::DomainGuestInfo, |domain| guest_info(domain, TYPES));
        // An agent or daemon that does not know one of these answers none; asked for all that it knows, it answers the others.
        let told = match told {
            Err(error) if error.is_unsupported() => {
                self.counted_by_us(Call::DomainGuestInfo, |domain| guest_info(domain, 0))
            }
            told => told,
        };
        Ok(Guest::read(told?))
    }

    /// The addresses that the host's own neighbour table has of the guest's interfaces.
    pub fn neighbours(&self) -> Result<Vec<GuestAddress>, Error> {
        let told = self.counted_by_us(Call::DomainAddresses, neighbours)?;
        let address = |(mac, ip): (String, String)| GuestAddress { mac: mac.to_ascii_lowercase(), ip };
        let mut found: Vec<GuestAddress> = told.into_iter().map(address).collect();
        found.sort();
        found.dedup();
        Ok(found)
    }
}

impl Guest {
    fn read(told: Vec<(String, Told)>) -> Self {
        let told: BTreeMap<String, Told> = told.into_iter().collect();
        let text = |name: &str| match told.get(name) {
            Some(Told::Text(text)) => decent(text),
            Some(Told::Number(_)) | None => None,
        };
        let count = |name: &str| match told.get(name) {
            Some(Told::Number(count)) => (*count).min(MOST),
            Some(Told::Text(_)) | None => 0,
        };
        let filesystem = |index: u64| {
            Some(Filesystem {
                mountpoint: text(&format!("fs.{index}.mountpoint"))?,
                kind: text(&format!("fs.{index}.fstype")),
                device: text(&format!("fs.{index}.name")),
            })
        };
        let address = |interface: u64, index: u64| {
            Some(GuestAddress {
                mac: text(&format!("if.{interface}.hwaddr"))?.to_ascii_lowercase(),
                ip: text(&format!("if.{interface}.addr.{index}.addr"))?,
            })
        };
        let addresses = |interface: u64| {
            (0..count(&format!("if.{interface}.addr.count"))).filter_map(move |index| address(interface, index))
        };
        let mut guest = Self {
            hostname: text("hostname"),
            os_id: text("os.id"),
            os_name: text("os.pretty-name").or_else(|| text("os.name")),
            os_version: text("os.version").or_else(|| text("os.version-id")),
            kernel: text("os.kernel-release"),
            filesystems: (0..count("fs.count")).filter_map(filesystem).collect(),
            addresses: (0..count("if.count")).flat_map(addresses).collect(),
        };
        guest.filesystems.sort();
        guest.filesystems.dedup();
        guest.addresses.sort();
        guest.addresses.dedup();
        guest
    }
}

/// A guest's text as it may be shown: without what steers a terminal, and no longer than it needs to be.
fn decent(text: &str) -> Option<String> {
    let shown: String = text.chars().filter(|character| !character.is_control()).take(LONGEST).collect();
    let shown = shown.trim();
    (!shown.is_empty()).then(|| shown.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> (String, Told) {
        (name.to_owned(), Told::Text(value.to_owned()))
    }

    fn number(name: &str, value: u64) -> (String, Told) {
        (name.to_owned(), Told::Number(value))
    }

    #[test]
    fn what_a_guest_tells_is_read_and_sorted() {
        let guest = Guest::read(vec![
            text("hostname", "web"),
            text("os.id", "debian"),
            text("os.name", "Debian GNU/Linux"),
            text("os.pretty-name", "Debian GNU/Linux 12 (bookworm)"),
            text("os.version-id", "12"),
            text("os.kernel-release", "6.1.0"),
            number("fs.count", 2),
            text("fs.0.mountpoint", "/srv"),
            text("fs.1.mountpoint", "/"),
            text("fs.1.fstype", "ext4"),
            text("fs.1.name", "vda1"),
            number("if.count", 1),
            text("if.0.hwaddr", "52:54:00:AA:00:01"),
            number("if.0.addr.count", 1),
            text("if.0.addr.0.addr", "10.0.0.7"),
        ]);
        let some = |text: &str| Some(text.to_owned());
        let expected = Guest {
            hostname: some("web"),
            os_id: some("debian"),
            os_name: some("Debian GNU/Linux 12 (bookworm)"),
            os_version: some("12"),
            kernel: some("6.1.0"),
            filesystems: vec![
                Filesystem { mountpoint: "/".to_owned(), kind: some("ext4"), device: some("vda1") },
                Filesystem { mountpoint: "/srv".to_owned(), kind: None, device: None },
            ],
            addresses: vec![GuestAddress { mac: "52:54:00:aa:00:01".to_owned(), ip: "10.0.0.7".to_owned() }],
        };
        assert_eq!(guest, expected);
    }

    #[test]
    fn a_hostile_guest_is_cut_to_size() {
        let mut told = vec![
            text("hostname", &format!("\u{1b}[2J{}", "x".repeat(9000))),
            text("os.id", "\n\t\0"),
            number("fs.count", u64::MAX),
            number("if.count", u64::MAX),
            text("if.0.addr.count", "many"),
        ];
        told.extend((0..100).map(|index| text(&format!("fs.{index}.mountpoint"), &format!("/{index}"))));
        let guest = Guest::read(told);
        let hostname = guest.hostname.unwrap();
        assert!(hostname.starts_with("[2Jx") && hostname.len() == LONGEST, "{hostname}");
        assert_eq!((guest.os_id, guest.filesystems.len(), guest.addresses.len()), (None, 32, 0));
    }
}
