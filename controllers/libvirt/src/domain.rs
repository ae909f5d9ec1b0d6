//! Domains, in libvirt's vocabulary.

use std::ffi::{CStr, CString};

use virt::{domain, sys};

use crate::counters::Call;
use crate::error::absent;
use crate::sys::{
    Number, Owned, Parameters, all_domain_states, all_domains, domain_state, saved_description,
    set_interface_parameters,
};
use crate::{Connection, Error};

/// A domain found on the host. Knows name, UUID and running id without a call.
pub struct Domain<'c> {
    handle: Owned<domain::Domain>,
    connection: &'c Connection,
}

/// What a domain is doing (`virDomainState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The hypervisor does not say.
    NoState,
    /// Running.
    Running,
    /// Blocked on a resource.
    Blocked,
    /// Paused.
    Paused,
    /// Being shut down.
    ShuttingDown,
    /// Not running.
    Shutoff,
    /// Crashed.
    Crashed,
    /// Suspended by the guest's power management.
    PmSuspended,
}

impl State {
    fn from_raw(state: u32) -> Self {
        match state {
            sys::VIR_DOMAIN_RUNNING => Self::Running,
            sys::VIR_DOMAIN_BLOCKED => Self::Blocked,
            sys::VIR_DOMAIN_PAUSED => Self::Paused,
            sys::VIR_DOMAIN_SHUTDOWN => Self::ShuttingDown,
            sys::VIR_DOMAIN_SHUTOFF => Self::Shutoff,
            sys::VIR_DOMAIN_CRASHED => Self::Crashed,
            sys::VIR_DOMAIN_PMSUSPENDED => Self::PmSuspended,
            _ => Self::NoState,
        }
    }
}

/// A state and libvirt's number for its reason, whose meaning depends on the state (`virDomainShutoffReason` and others).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateReason {
    /// What it is doing.
    pub state: State,
    /// Why.
    pub reason: u32,
}

impl StateReason {
    fn from_raw((state, reason): (u32, u32)) -> Self {
        Self { state: State::from_raw(state), reason }
    }

    /// Whether it is being started, which may fail yet (`VIR_DOMAIN_PAUSED_STARTING_UP`).
    pub fn is_starting(self) -> bool {
        self.state == State::Paused && self.reason == sys::VIR_DOMAIN_PAUSED_STARTING_UP
    }
}

/// Which of a domain's two descriptions a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Affect {
    /// The running guest.
    Live,
    /// The definition for the next boot.
    Config,
    /// Both.
    LiveAndConfig,
}

impl Affect {
    pub(crate) fn flags(self) -> u32 {
        match self {
            Self::Live => sys::VIR_DOMAIN_AFFECT_LIVE,
            Self::Config => sys::VIR_DOMAIN_AFFECT_CONFIG,
            Self::LiveAndConfig => sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_AFFECT_CONFIG,
        }
    }
}

/// Which description to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Description {
    /// The one of the running guest (of the next boot, when it is not running).
    Live,
    /// The same with its passwords, never kept.
    LiveSecure,
    /// The one of the next boot.
    Inactive,
    /// The one of the next boot with its passwords: the base of a redefinition, never kept.
    InactiveSecure,
}

/// How to ask a guest to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShutdownMode {
    /// As the hypervisor prefers.
    Default,
    /// The ACPI power button.
    Acpi,
    /// The guest agent.
    Agent,
}

/// A domain of the bulk state list.
pub struct Listed<'c> {
    /// The domain.
    pub domain: Domain<'c>,
    /// State and reason.
    pub state: StateReason,
}

impl Connection {
    fn domain(&self, handle: domain::Domain) -> Domain<'_> {
        Domain { handle: Owned::new(handle), connection: self }
    }

    /// Looks a domain up by UUID.
    pub fn find_domain(&self, uuid: &str) -> Result<Option<Domain<'_>>, Error> {
        let found = self.counted(Call::DomainLookup, |connect| connect.lookup_domain_by_uuid_string(uuid));
        Ok(absent(found)?.map(|handle| self.domain(handle)))
    }

    /// Looks a domain up by name.
    pub fn find_domain_by_name(&self, name: &str) -> Result<Option<Domain<'_>>, Error> {
        let found = self.counted(Call::DomainLookup, |connect| connect.lookup_domain_by_name(name));
        Ok(absent(found)?.map(|handle| self.domain(handle)))
    }

    /// The handle of a domain that was found over this connection before: nobody is asked whether it is there, and its running id is that of
    /// then. Whoever wants it again keeps it again.
    pub(crate) fn known_domain(&self, uuid: &str) -> Option<Domain<'_>> {
        let handle = self.known_domains().remove(uuid)?;
        Some(Domain { handle, connection: self })
    }

    /// Every domain with its state, in one call.
    pub fn list_domains(&self) -> Result<Vec<Listed<'_>>, Error> {
        let rows = self.counted(Call::DomainStates, all_domain_states)?;
        let listed = self.arrived(Call::DomainStates, rows).into_iter().map(|row| Listed {
            domain: Domain { handle: row.handle, connection: self },
            state: StateReason::from_raw((row.state, row.reason)),
        });
        Ok(listed.collect())
    }

    /// The UUIDs of the domains that start with the host, in one call.
    pub fn autostarted_domains(&self) -> Result<Vec<String>, Error> {
        self.domains_with(sys::VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
    }

    /// The UUIDs of the domains without a definition, in one call.
    pub fn transient_domains(&self) -> Result<Vec<String>, Error> {
        self.domains_with(sys::VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
    }

    fn domains_with(&self, flags: u32) -> Result<Vec<String>, Error> {
        let domains = self.counted(Call::DomainList, |connect| all_domains(connect, flags))?;
        self.arrived(Call::DomainList, domains).into_iter().map(|handle| self.domain(handle).uuid()).collect()
    }

    /// Defines a domain or replaces its definition in place.
    pub fn define_domain(&self, xml: &str, validate: bool) -> Result<Domain<'_>, Error> {
        let flags = if validate { sys::VIR_DOMAIN_DEFINE_VALIDATE } else { 0 };
        let handle = self.counted(Call::DomainDefine, |connect| connect.define_domain_xml_flags(xml, flags))?;
        Ok(self.domain(handle))
    }
}

impl Domain<'_> {
    pub(crate) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Keeps its handle for [`Connection::known_domain`].
    pub(crate) fn keep(self) -> Result<(), Error> {
        let uuid = self.uuid()?;
        let Self { handle, connection } = self;
        connection.known_domains().insert(uuid, handle);
        Ok(())
    }

    pub(crate) fn raw(&self) -> &domain::Domain {
        &self.handle
    }

    pub(crate) fn counted<T, E: Into<Error>>(
        &self,
        call: Call,
        make: impl FnOnce(&domain::Domain) -> Result<T, E>,
    ) -> Result<T, Error> {
        self.connection.counted(call, |_| make(&self.handle))
    }

    /// Like `counted`, for calls of the layer of our own.
    pub(crate) fn counted_by_us<T>(
        &self,
        call: Call,
        make: impl FnOnce(&domain::Domain) -> Result<T, Error>,
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

    /// The running id when the handle was made. No call.
    pub fn id(&self) -> Option<u32> {
        self.handle.id()
    }

    /// Reads a description.
    pub fn describe(&self, which: Description) -> Result<String, Error> {
        let flags = match which {
            Description::Live => 0,
            Description::LiveSecure => sys::VIR_DOMAIN_XML_SECURE,
            Description::Inactive => sys::VIR_DOMAIN_XML_INACTIVE,
            Description::InactiveSecure => sys::VIR_DOMAIN_XML_INACTIVE | sys::VIR_DOMAIN_XML_SECURE,
        };
        self.counted(Call::DomainDescribe, |domain| domain.xml_desc(flags))
    }

    /// Starts it. Its running id is known then: over a line, libvirt looks it up by a call more where no flags are passed.
    pub fn create(&self) -> Result<(), Error> {
        self.counted(Call::DomainCreate, |domain| domain.create_with_flags(sys::VIR_DOMAIN_NONE))
    }

    /// Starts it paused.
    pub fn create_paused(&self) -> Result<(), Error> {
        self.counted(Call::DomainCreate, |domain| domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED))
    }

    /// Asks the guest to shut down. Returns before it has, and says nothing about whether it will.
    pub fn shutdown(&self, mode: ShutdownMode) -> Result<(), Error> {
        let flags = match mode {
            ShutdownMode::Default => sys::VIR_DOMAIN_SHUTDOWN_DEFAULT,
            ShutdownMode::Acpi => sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
            ShutdownMode::Agent => sys::VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
        };
        self.counted(Call::DomainShutdown, |domain| domain.shutdown_flags(flags))
    }

    /// Ends it like pulling the plug. `graceful` gives the hypervisor's process time to flush and never kills it hard.
    pub fn destroy(&self, graceful: bool) -> Result<(), Error> {
        let flags = if graceful { sys::VIR_DOMAIN_DESTROY_GRACEFUL } else { sys::VIR_DOMAIN_DESTROY_DEFAULT };
        self.counted(Call::DomainDestroy, |domain| domain.destroy_flags(flags))
    }

    /// Pauses it.
    pub fn suspend(&self) -> Result<(), Error> {
        self.counted(Call::DomainSuspend, domain::Domain::suspend)
    }

    /// Ends a pause.
    pub fn resume(&self) -> Result<(), Error> {
        self.counted(Call::DomainResume, domain::Domain::resume)
    }

    /// Whether it starts with the host.
    pub fn autostart(&self) -> Result<bool, Error> {
        self.counted(Call::DomainGetAutostart, domain::Domain::autostart)
    }

    /// Sets whether it starts with the host. No event tells of it.
    pub fn set_autostart(&self, autostart: bool) -> Result<(), Error> {
        self.counted(Call::DomainSetAutostart, |domain| domain.set_autostart(autostart))
    }

    /// Plugs a device.
    pub fn attach_device(&self, xml: &str, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainAttachDevice, |domain| domain.attach_device_flags(xml, affect.flags()))
    }

    /// Asks for a device back. On a running guest, success means asked: wait for the event or read the description.
    pub fn detach_device(&self, xml: &str, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainDetachDevice, |domain| domain.detach_device_flags(xml, affect.flags()))
    }

    /// Changes a device in place.
    pub fn update_device(&self, xml: &str, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainUpdateDevice, |domain| domain.update_device_flags(xml, affect.flags()))
    }

    /// Sets the metadata element of a namespace, said by a prefix and the URI; `xml` has neither.
    pub fn set_metadata(&self, (prefix, uri): (&str, &str), xml: &str, affect: Affect) -> Result<(), Error> {
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
        self.counted(Call::DomainSetMetadata, |domain| {
            domain.set_metadata(kind, Some(xml), Some(prefix), Some(uri), affect.flags())
        })
    }

    /// Sets the number of CPUs in use, within the maximum.
    pub fn set_vcpus(&self, vcpus: u32, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainSetVcpus, |domain| domain.set_vcpus_flags(vcpus, affect.flags()))
    }

    /// Sets the memory in use, in KiB, within the maximum. On a running guest this is a request to its balloon.
    pub fn set_memory(&self, kibibytes: u64, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainSetMemory, |domain| domain.set_memory_flags(kibibytes, affect.flags()))
    }

    /// Sets how often, in seconds, the figures of its balloon are read; 0 is never.
    pub fn set_memory_stats_period(&self, seconds: i32, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainSetMemoryStatsPeriod, |domain| domain.set_memory_stats_period(seconds, affect.flags()))
    }

    /// Sets figures of an interface, named by MAC address or by the device of the host: `inbound.average` and the like, in KiB (a second).
    pub fn set_interface_parameters(
        &self,
        interface: &str,
        figures: &[(&CStr, u32)],
        affect: Affect,
    ) -> Result<(), Error> {
        let interface =
            CString::new(interface).map_err(|_| Error::other("the interface has a zero byte in its name"))?;
        let numbers: Vec<_> = figures.iter().map(|(name, figure)| (*name, Number::Unsigned(*figure))).collect();
        let (parameters, flags) = (Parameters::of(&numbers)?, affect.flags());
        self.connection.counted(Call::DomainSetInterfaceParameters, |_| {
            set_interface_parameters(&self.handle, &interface, &parameters, flags)
        })
    }

    /// Grows a disk of a running guest, named by target or path, to so many bytes.
    pub fn block_resize(&self, disk: &str, bytes: u64) -> Result<(), Error> {
        let flags = sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES;
        self.counted(Call::DomainBlockResize, |domain| domain.block_resize(disk, bytes, flags))
    }

    /// State and reason.
    pub fn state(&self) -> Result<StateReason, Error> {
        let raw = self.connection.counted(Call::DomainState, |_| domain_state(&self.handle))?;
        Ok(StateReason::from_raw(raw))
    }

    /// Returns when no snapshot is being made of it: libvirt answers nobody who asks for the progress of its work meanwhile. A definition that
    /// is written during one takes the daemon down (libvirt 9.0: it goes on with the disks of the definition that was there before).
    pub fn await_snapshot(&self) -> Result<(), Error> {
        match self.counted(Call::DomainJob, domain::Domain::job_info) {
            Err(error) if !error.is_invalid_state() && !error.is_unsupported() => {
                absent(Err(error)).map(|_: Option<()>| ())
            }
            _ => Ok(()),
        }
    }

    /// Writes its memory to a file of libvirt's and ends it; its next start goes on from there. Takes as long as that takes.
    pub fn managed_save(&self) -> Result<(), Error> {
        self.counted(Call::DomainManagedSave, |domain| domain.managed_save(0))
    }

    /// Whether its next start restores a saved image, and with it the definition of the time of the save.
    pub fn has_managed_save(&self) -> Result<bool, Error> {
        self.counted(Call::DomainHasManagedSave, |domain| domain.has_managed_save(0))
    }

    /// The description that its saved image was made with; `None` if it was not saved, or nobody can tell.
    pub fn describe_saved(&self) -> Result<Option<String>, Error> {
        let told = self.counted_by_us(Call::DomainDescribeSaved, saved_description);
        match told {
            Err(error) if error.is_invalid_state() || error.is_unsupported() => Ok(None),
            told => absent(told),
        }
    }

    /// Whether it has a definition that outlives its run. Of one that is off nobody is asked: without a definition it would not be there.
    pub fn is_persistent(&self) -> Result<bool, Error> {
        Ok(self.id().is_none() || self.counted(Call::DomainIsPersistent, domain::Domain::is_persistent)?)
    }
}
