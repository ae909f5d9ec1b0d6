//! Networks, in libvirt's vocabulary.

use virt::{network, sys};

use crate::counters::Call;
use crate::domain::Affect;
use crate::error::absent;
use crate::pool::Listing;
use crate::sys::{Lease, Owned, all_networks, dhcp_leases};
use crate::xml::Element;
use crate::{Connection, Error};

/// A network found on the host. Knows name and UUID without a call.
pub struct Network<'c> {
    handle: Owned<network::Network>,
    connection: &'c Connection,
}

/// What [`Network::update`] does with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpdateCommand {
    /// Changes the element with the same key.
    Modify,
    /// Removes it.
    Delete,
    /// Adds it at the end.
    Add,
}

/// The parts of a network libvirt can change while it is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// `ip/dhcp/host`: add, modify, delete.
    DhcpHost,
    /// `ip/dhcp/range`: add, delete.
    DhcpRange,
    /// `forward/interface`: add, delete.
    ForwardInterface,
    /// `portgroup`: add, modify, delete.
    PortGroup,
    /// `dns/host`: add, delete.
    DnsHost,
    /// `dns/txt`: add, delete.
    DnsTxt,
    /// `dns/srv`: add, delete.
    DnsSrv,
}

impl Connection {
    fn network(&self, handle: network::Network) -> Network<'_> {
        Network { handle: Owned::new(handle), connection: self }
    }

    /// Looks a network up by UUID.
    pub fn find_network(&self, uuid: &str) -> Result<Option<Network<'_>>, Error> {
        let found = self.counted(Call::NetworkLookup, |connect| connect.lookup_network_by_uuid_string(uuid));
        Ok(absent(found)?.map(|handle| self.network(handle)))
    }

    /// Looks a network up by name.
    pub fn find_network_by_name(&self, name: &str) -> Result<Option<Network<'_>>, Error> {
        let found = self.counted(Call::NetworkLookup, |connect| connect.lookup_network_by_name(name));
        Ok(absent(found)?.map(|handle| self.network(handle)))
    }

    /// The networks, in one call.
    pub fn list_networks(&self, which: Listing) -> Result<Vec<Network<'_>>, Error> {
        let flags = match which {
            Listing::All => 0,
            Listing::Active => sys::VIR_CONNECT_LIST_NETWORKS_ACTIVE,
            Listing::Autostart => sys::VIR_CONNECT_LIST_NETWORKS_AUTOSTART,
        };
        let networks = self.counted(Call::NetworkList, |connect| all_networks(connect, flags))?;
        Ok(self.arrived(Call::NetworkList, networks).into_iter().map(|handle| self.network(handle)).collect())
    }

    /// Defines a network or replaces its definition (of an active network: for its next start), and gives its UUID.
    pub fn define_network(&self, xml: &str) -> Result<String, Error> {
        let handle = self.counted(Call::NetworkDefine, |connect| connect.define_network_xml(xml))?;
        self.network(handle).uuid()
    }
}

impl Network<'_> {
    fn counted<T>(
        &self,
        call: Call,
        make: impl FnOnce(&network::Network) -> Result<T, virt::error::Error>,
    ) -> Result<T, Error> {
        self.connection.counted(call, |_| make(&self.handle))
    }

    /// The name. No call.
    pub fn name(&self) -> Result<String, Error> {
        Ok(self.handle.name()?)
    }

    /// The UUID. No call.
    pub fn uuid(&self) -> Result<String, Error> {
        Ok(self.handle.uuid_string()?)
    }

    /// Starts it.
    pub fn create(&self) -> Result<(), Error> {
        self.counted(Call::NetworkCreate, network::Network::create)
    }

    /// Stops it, which cuts every guest on it off.
    pub fn destroy(&self) -> Result<(), Error> {
        self.counted(Call::NetworkDestroy, network::Network::destroy)
    }

    /// Removes the definition.
    pub fn undefine(&self) -> Result<(), Error> {
        self.counted(Call::NetworkUndefine, network::Network::undefine)
    }

    /// Whether it starts with the host.
    pub fn autostart(&self) -> Result<bool, Error> {
        self.counted(Call::NetworkGetAutostart, network::Network::autostart)
    }

    /// Sets whether it starts with the host.
    pub fn set_autostart(&self, autostart: bool) -> Result<(), Error> {
        self.counted(Call::NetworkSetAutostart, |network| network.set_autostart(autostart))
    }

    /// Reads the description: of the next start when `inactive`, else of now.
    pub fn describe(&self, inactive: bool) -> Result<String, Error> {
        let describe = |flags| self.counted(Call::NetworkDescribe, |network| network.xml_desc(flags));
        if !inactive {
            return describe(0);
        }
        match describe(sys::VIR_NETWORK_XML_INACTIVE) {
            // The test driver has one description only.
            Err(error) if error.is_unsupported() => describe(0),
            answer => answer,
        }
    }

    /// Whether it is started.
    pub fn is_active(&self) -> Result<bool, Error> {
        self.counted(Call::NetworkIsActive, network::Network::is_active)
    }

    /// Whether it has a definition that outlives its run.
    pub fn is_persistent(&self) -> Result<bool, Error> {
        self.counted(Call::NetworkIsPersistent, network::Network::is_persistent)
    }

    /// The leases its DHCP server has given and that have not run out, sorted. A driver without leases has none.
    pub fn dhcp_leases(&self) -> Result<Vec<Lease>, Error> {
        match self.connection.counted(Call::NetworkLeases, |_| dhcp_leases(&self.handle)) {
            Err(error) if error.is_unsupported() => Ok(Vec::new()),
            answer => answer,
        }
    }

    /// Changes one element in place. `parent` counts among the `<ip>` elements for DHCP sections; -1 lets libvirt find it.
    pub fn update(
        &self,
        (command, section): (UpdateCommand, Section),
        parent: i32,
        xml: &str,
        affect: Affect,
    ) -> Result<(), Error> {
        let command = match command {
            UpdateCommand::Modify => sys::VIR_NETWORK_UPDATE_COMMAND_MODIFY,
            UpdateCommand::Delete => sys::VIR_NETWORK_UPDATE_COMMAND_DELETE,
            UpdateCommand::Add => sys::VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
        };
        let flags = match affect {
            Affect::Live => sys::VIR_NETWORK_UPDATE_AFFECT_LIVE,
            Affect::Config => sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG,
            Affect::LiveAndConfig => sys::VIR_NETWORK_UPDATE_AFFECT_LIVE | sys::VIR_NETWORK_UPDATE_AFFECT_CONFIG,
        };
        self.counted(Call::NetworkUpdate, |network| network.update(command, section.raw(), parent, xml, flags))
    }
}

/// Whether a running network gives each guest an interface or a function of a card for itself alone, by its description. Which of them
/// guests have, `connections` of its entries says.
pub fn is_lender(live: &Element) -> bool {
    ["passthrough", "hostdev"].map(Some).contains(&live.attr_at("forward@mode"))
}

impl Section {
    fn raw(self) -> u32 {
        match self {
            Self::DhcpHost => sys::VIR_NETWORK_SECTION_IP_DHCP_HOST,
            Self::DhcpRange => sys::VIR_NETWORK_SECTION_IP_DHCP_RANGE,
            Self::ForwardInterface => sys::VIR_NETWORK_SECTION_FORWARD_INTERFACE,
            Self::PortGroup => sys::VIR_NETWORK_SECTION_PORTGROUP,
            Self::DnsHost => sys::VIR_NETWORK_SECTION_DNS_HOST,
            Self::DnsTxt => sys::VIR_NETWORK_SECTION_DNS_TXT,
            Self::DnsSrv => sys::VIR_NETWORK_SECTION_DNS_SRV,
        }
    }
}
