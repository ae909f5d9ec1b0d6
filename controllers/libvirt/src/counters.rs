//! What a host has cost: calls and seconds by name, and how many are under way. Metrics read it, and tests prove quiet with it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A function of libvirt that we call; the label of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each variant is the function of libvirt that TABLE names")]
pub enum Call {
    Open,
    Capabilities,
    Hostname,
    LibVersion,
    HypervisorVersion,
    DriverType,
    DomainCapabilities,
    CompareHypervisorCpu,
    DomainStates,
    DomainList,
    DomainLookup,
    DomainDefine,
    DomainDescribe,
    DomainCreate,
    DomainShutdown,
    DomainDestroy,
    DomainSuspend,
    DomainResume,
    DomainUndefine,
    DomainGetAutostart,
    DomainSetAutostart,
    DomainAttachDevice,
    DomainDetachDevice,
    DomainUpdateDevice,
    DomainSetMetadata,
    DomainSetVcpus,
    DomainSetMemory,
    DomainSetMemoryStatsPeriod,
    DomainSetLifecycleAction,
    DomainBlockResize,
    DomainBlockInfo,
    DomainSetScheduler,
    DomainSetMemoryParameters,
    DomainSetBlkioParameters,
    DomainPinVcpu,
    DomainPinEmulator,
    DomainPinIoThread,
    DomainAddIoThread,
    DomainDelIoThread,
    DomainSetBlockIoTune,
    DomainSetInterfaceParameters,
    DomainState,
    DomainJob,
    DomainManagedSave,
    DomainHasManagedSave,
    DomainDescribeSaved,
    DomainIsPersistent,
    DomainAgentTimeout,
    DomainGuestInfo,
    DomainAddresses,
    PoolList,
    PoolLookup,
    PoolDefine,
    PoolBuild,
    PoolCreate,
    PoolDestroy,
    PoolUndefine,
    PoolRemoveDirectory,
    PoolRefresh,
    PoolGetAutostart,
    PoolSetAutostart,
    PoolDescribe,
    PoolIsActive,
    PoolIsPersistent,
    PoolInfo,
    VolumeList,
    VolumeLookup,
    VolumeLookupByPath,
    VolumePool,
    VolumeCreate,
    VolumeCreateFrom,
    VolumePath,
    VolumeDescribe,
    VolumeResize,
    VolumeDelete,
    VolumeInfo,
    VolumeUpload,
    VolumeDownload,
    NetworkList,
    NetworkLookup,
    NetworkDefine,
    NetworkCreate,
    NetworkDestroy,
    NetworkUndefine,
    NetworkGetAutostart,
    NetworkSetAutostart,
    NetworkDescribe,
    NetworkIsActive,
    NetworkIsPersistent,
    NetworkLeases,
    NetworkUpdate,
    SecretLookup,
    SecretDefine,
    SecretDescribe,
    SecretSetValue,
    SecretUndefine,
    VolumeWipe,
    SecretCount,
    NodeDeviceCount,
}

const COUNT: usize = TABLE.len();

/// Every call with libvirt's name for it, in the order of the enum.
const TABLE: [(Call, &str); 99] = [
    (Call::Open, "virConnectOpenAuth"),
    (Call::Capabilities, "virConnectGetCapabilities"),
    (Call::Hostname, "virConnectGetHostname"),
    (Call::LibVersion, "virConnectGetLibVersion"),
    (Call::HypervisorVersion, "virConnectGetVersion"),
    (Call::DriverType, "virConnectGetType"),
    (Call::DomainCapabilities, "virConnectGetDomainCapabilities"),
    (Call::CompareHypervisorCpu, "virConnectCompareHypervisorCPU"),
    (Call::DomainStates, "virConnectGetAllDomainStats"),
    (Call::DomainList, "virConnectListAllDomains"),
    (Call::DomainLookup, "virDomainLookup"),
    (Call::DomainDefine, "virDomainDefineXMLFlags"),
    (Call::DomainDescribe, "virDomainGetXMLDesc"),
    (Call::DomainCreate, "virDomainCreate"),
    (Call::DomainShutdown, "virDomainShutdownFlags"),
    (Call::DomainDestroy, "virDomainDestroyFlags"),
    (Call::DomainSuspend, "virDomainSuspend"),
    (Call::DomainResume, "virDomainResume"),
    (Call::DomainUndefine, "virDomainUndefineFlags"),
    (Call::DomainGetAutostart, "virDomainGetAutostart"),
    (Call::DomainSetAutostart, "virDomainSetAutostart"),
    (Call::DomainAttachDevice, "virDomainAttachDeviceFlags"),
    (Call::DomainDetachDevice, "virDomainDetachDeviceFlags"),
    (Call::DomainUpdateDevice, "virDomainUpdateDeviceFlags"),
    (Call::DomainSetMetadata, "virDomainSetMetadata"),
    (Call::DomainSetVcpus, "virDomainSetVcpusFlags"),
    (Call::DomainSetMemory, "virDomainSetMemoryFlags"),
    (Call::DomainSetMemoryStatsPeriod, "virDomainSetMemoryStatsPeriod"),
    (Call::DomainSetLifecycleAction, "virDomainSetLifecycleAction"),
    (Call::DomainBlockResize, "virDomainBlockResize"),
    (Call::DomainBlockInfo, "virDomainGetBlockInfo"),
    (Call::DomainSetScheduler, "virDomainSetSchedulerParametersFlags"),
    (Call::DomainSetMemoryParameters, "virDomainSetMemoryParameters"),
    (Call::DomainSetBlkioParameters, "virDomainSetBlkioParameters"),
    (Call::DomainPinVcpu, "virDomainPinVcpuFlags"),
    (Call::DomainPinEmulator, "virDomainPinEmulator"),
    (Call::DomainPinIoThread, "virDomainPinIOThread"),
    (Call::DomainAddIoThread, "virDomainAddIOThread"),
    (Call::DomainDelIoThread, "virDomainDelIOThread"),
    (Call::DomainSetBlockIoTune, "virDomainSetBlockIoTune"),
    (Call::DomainSetInterfaceParameters, "virDomainSetInterfaceParameters"),
    (Call::DomainState, "virDomainGetState"),
    (Call::DomainJob, "virDomainGetJobInfo"),
    (Call::DomainManagedSave, "virDomainManagedSave"),
    (Call::DomainHasManagedSave, "virDomainHasManagedSaveImage"),
    (Call::DomainDescribeSaved, "virDomainManagedSaveGetXMLDesc"),
    (Call::DomainIsPersistent, "virDomainIsPersistent"),
    (Call::DomainAgentTimeout, "virDomainAgentSetResponseTimeout"),
    (Call::DomainGuestInfo, "virDomainGetGuestInfo"),
    (Call::DomainAddresses, "virDomainInterfaceAddresses"),
    (Call::PoolList, "virConnectListAllStoragePools"),
    (Call::PoolLookup, "virStoragePoolLookup"),
    (Call::PoolDefine, "virStoragePoolDefineXML"),
    (Call::PoolBuild, "virStoragePoolBuild"),
    (Call::PoolCreate, "virStoragePoolCreate"),
    (Call::PoolDestroy, "virStoragePoolDestroy"),
    (Call::PoolUndefine, "virStoragePoolUndefine"),
    (Call::PoolRemoveDirectory, "virStoragePoolDelete"),
    (Call::PoolRefresh, "virStoragePoolRefresh"),
    (Call::PoolGetAutostart, "virStoragePoolGetAutostart"),
    (Call::PoolSetAutostart, "virStoragePoolSetAutostart"),
    (Call::PoolDescribe, "virStoragePoolGetXMLDesc"),
    (Call::PoolIsActive, "virStoragePoolIsActive"),
    (Call::PoolIsPersistent, "virStoragePoolIsPersistent"),
    (Call::PoolInfo, "virStoragePoolGetInfo"),
    (Call::VolumeList, "virStoragePoolListAllVolumes"),
    (Call::VolumeLookup, "virStorageVolLookupByName"),
    (Call::VolumeLookupByPath, "virStorageVolLookupByPath"),
    (Call::VolumePool, "virStoragePoolLookupByVolume"),
    (Call::VolumeCreate, "virStorageVolCreateXML"),
    (Call::VolumeCreateFrom, "virStorageVolCreateXMLFrom"),
    (Call::VolumePath, "virStorageVolGetPath"),
    (Call::VolumeDescribe, "virStorageVolGetXMLDesc"),
    (Call::VolumeResize, "virStorageVolResize"),
    (Call::VolumeDelete, "virStorageVolDelete"),
    (Call::VolumeInfo, "virStorageVolGetInfo"),
    (Call::VolumeUpload, "virStorageVolUpload"),
    (Call::VolumeDownload, "virStorageVolDownload"),
    (Call::NetworkList, "virConnectListAllNetworks"),
    (Call::NetworkLookup, "virNetworkLookup"),
    (Call::NetworkDefine, "virNetworkDefineXML"),
    (Call::NetworkCreate, "virNetworkCreate"),
    (Call::NetworkDestroy, "virNetworkDestroy"),
    (Call::NetworkUndefine, "virNetworkUndefine"),
    (Call::NetworkGetAutostart, "virNetworkGetAutostart"),
    (Call::NetworkSetAutostart, "virNetworkSetAutostart"),
    (Call::NetworkDescribe, "virNetworkGetXMLDesc"),
    (Call::NetworkIsActive, "virNetworkIsActive"),
    (Call::NetworkIsPersistent, "virNetworkIsPersistent"),
    (Call::NetworkLeases, "virNetworkGetDHCPLeases"),
    (Call::NetworkUpdate, "virNetworkUpdate"),
    (Call::SecretLookup, "virSecretLookup"),
    (Call::SecretDefine, "virSecretDefineXML"),
    (Call::SecretDescribe, "virSecretGetXMLDesc"),
    (Call::SecretSetValue, "virSecretSetValue"),
    (Call::SecretUndefine, "virSecretUndefine"),
    (Call::VolumeWipe, "virStorageVolWipe"),
    (Call::SecretCount, "virConnectNumOfSecrets"),
    (Call::NodeDeviceCount, "virNodeNumOfDevices"),
];

impl Call {
    /// libvirt's name of the function (of the family, where several look up by different keys).
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }
}

/// The running totals of one host.
#[derive(Debug)]
pub struct Counters {
    calls: [AtomicU64; COUNT],
    nanos: [AtomicU64; COUNT],
    in_flight: AtomicI64,
    quarantined: AtomicI64,
    reconnects: AtomicU64,
    events: AtomicU64,
    /// Goes wherever calls are counted.
    #[cfg(feature = "double")]
    pub(crate) double: crate::double::Double,
}

/// One line of [`Counters::calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallCount {
    /// Which function.
    pub call: Call,
    /// How often it returned.
    pub count: u64,
    /// Time spent in it, all calls together.
    pub time: Duration,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            calls: std::array::from_fn(|_| AtomicU64::new(0)),
            nanos: std::array::from_fn(|_| AtomicU64::new(0)),
            in_flight: AtomicI64::new(0),
            quarantined: AtomicI64::new(0),
            reconnects: AtomicU64::new(0),
            events: AtomicU64::new(0),
            #[cfg(feature = "double")]
            double: crate::double::Double::default(),
        }
    }
}

impl Counters {
    /// Every function called so far, with count and time.
    pub fn calls(&self) -> Vec<CallCount> {
        TABLE.iter().map(|(call, _)| self.of(*call)).filter(|line| line.count > 0).collect()
    }

    /// Count and time of one function.
    pub fn of(&self, call: Call) -> CallCount {
        let index = call as usize;
        CallCount {
            call,
            count: self.calls[index].load(Ordering::Relaxed),
            time: Duration::from_nanos(self.nanos[index].load(Ordering::Relaxed)),
        }
    }

    /// How many calls have returned, all functions together.
    pub fn total(&self) -> u64 {
        self.calls.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Calls libvirt has not answered yet, stuck ones included.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// Abandoned calls whose objects are quarantined.
    pub fn quarantined(&self) -> u64 {
        self.quarantined.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// How often the connection was made again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Events received.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    pub(crate) fn record(&self, call: Call, time: Duration) {
        let index = call as usize;
        self.calls[index].fetch_add(1, Ordering::Relaxed);
        self.nanos[index].fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn add_in_flight(&self, by: i64) {
        self.in_flight.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn add_quarantined(&self, by: i64) {
        self.quarantined.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn add_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_finds_its_own_line_in_the_table() {
        let misplaced: Vec<_> =
            TABLE.iter().enumerate().filter(|(index, (call, _))| *call as usize != *index).collect();
        assert_eq!(misplaced, Vec::new());
    }
}
