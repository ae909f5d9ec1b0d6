//! What a running domain gets of its host, in libvirt's vocabulary.

use std::ffi::CStr;

use virt::sys;

use crate::counters::Call;
use crate::sys::{Family, Number, Parameters, change_iothread, pin_iothread, set_parameters};
use crate::{Affect, CpuSet, Domain, Error};

/// The threads that a limit of processor time is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// Each virtual processor.
    Vcpus,
    /// All of the domain together.
    Domain,
    /// The hypervisor's own.
    Emulator,
    /// Each I/O thread.
    IoThreads,
}

/// One figure of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduler {
    /// The weight among all that want the processors.
    Shares(u64),
    /// The span of time for which a quota counts, in microseconds.
    Period(Threads, u64),
    /// The time in a period, in microseconds; `None` is no limit.
    Quota(Threads, Option<i64>),
}

impl Scheduler {
    fn parameter(self) -> (&'static CStr, Number) {
        match self {
            Self::Shares(shares) => (sys::VIR_DOMAIN_SCHEDULER_CPU_SHARES, Number::UnsignedLong(shares)),
            Self::Period(threads, micros) => {
                let name = match threads {
                    Threads::Vcpus => sys::VIR_DOMAIN_SCHEDULER_VCPU_PERIOD,
                    Threads::Domain => sys::VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD,
                    Threads::Emulator => sys::VIR_DOMAIN_SCHEDULER_EMULATOR_PERIOD,
                    Threads::IoThreads => sys::VIR_DOMAIN_SCHEDULER_IOTHREAD_PERIOD,
                };
                (name, Number::UnsignedLong(micros))
            }
            Self::Quota(threads, micros) => {
                let name = match threads {
                    Threads::Vcpus => sys::VIR_DOMAIN_SCHEDULER_VCPU_QUOTA,
                    Threads::Domain => sys::VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA,
                    Threads::Emulator => sys::VIR_DOMAIN_SCHEDULER_EMULATOR_QUOTA,
                    Threads::IoThreads => sys::VIR_DOMAIN_SCHEDULER_IOTHREAD_QUOTA,
                };
                (name, Number::Long(micros.unwrap_or(-1)))
            }
        }
    }
}

/// A limit of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The most that the process may use.
    Hard,
    /// To how much it is pressed back when the host is short.
    Soft,
    /// The most of memory and swap together.
    SwapHard,
}

impl MemoryLimit {
    fn name(self) -> &'static CStr {
        match self {
            Self::Hard => sys::VIR_DOMAIN_MEMORY_HARD_LIMIT,
            Self::Soft => sys::VIR_DOMAIN_MEMORY_SOFT_LIMIT,
            Self::SwapHard => sys::VIR_DOMAIN_MEMORY_SWAP_HARD_LIMIT,
        }
    }
}

impl Domain<'_> {
    fn set(&self, call: Call, family: Family, numbers: &[(&CStr, Number)], affect: Affect) -> Result<(), Error> {
        let parameters = Parameters::of(numbers)?;
        self.connection().counted(call, |_| set_parameters(self.raw(), family, &parameters, affect.flags()))
    }

    /// Sets one figure of the scheduler.
    pub fn set_scheduler(&self, figure: Scheduler, affect: Affect) -> Result<(), Error> {
        self.set(Call::DomainSetScheduler, Family::Scheduler, &[figure.parameter()], affect)
    }

    /// Sets limits of memory in KiB, all in one call, because one bounds another; `None` is no limit.
    pub fn set_memory_limits(&self, limits: &[(MemoryLimit, Option<u64>)], affect: Affect) -> Result<(), Error> {
        let number = |limit: &Option<u64>| limit.unwrap_or(sys::VIR_DOMAIN_MEMORY_PARAM_UNLIMITED);
        let numbers: Vec<_> =
            limits.iter().map(|(which, limit)| (which.name(), Number::UnsignedLong(number(limit)))).collect();
        self.set(Call::DomainSetMemoryParameters, Family::Memory, &numbers, affect)
    }

    /// Sets the weight among all that use the host's disks.
    pub fn set_block_weight(&self, weight: u32, affect: Affect) -> Result<(), Error> {
        let numbers = [(sys::VIR_DOMAIN_BLKIO_WEIGHT, Number::Unsigned(weight))];
        self.set(Call::DomainSetBlkioParameters, Family::BlockIo, &numbers, affect)
    }

    /// Lets a virtual processor run on these processors of the host only.
    pub fn pin_vcpu(&self, vcpu: u32, cpus: &CpuSet, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainPinVcpu, |domain| domain.pin_vcpu_flags(vcpu, &cpus.bits(), affect.flags()))
    }

    /// The same for the hypervisor itself.
    pub fn pin_emulator(&self, cpus: &CpuSet, affect: Affect) -> Result<(), Error> {
        self.counted(Call::DomainPinEmulator, |domain| domain.pin_emulator(&cpus.bits(), affect.flags()))
    }

    /// The same for an I/O thread.
    pub fn pin_iothread(&self, thread: u32, cpus: &CpuSet, affect: Affect) -> Result<(), Error> {
        let pin = || pin_iothread(self.raw(), thread, &cpus.bits(), affect.flags());
        self.connection().counted(Call::DomainPinIoThread, |_| pin())
    }

    /// Adds an I/O thread of this number.
    pub fn add_iothread(&self, thread: u32, affect: Affect) -> Result<(), Error> {
        let add = || change_iothread(self.raw(), thread, true, affect.flags());
        self.connection().counted(Call::DomainAddIoThread, |_| add())
    }

    /// Takes an I/O thread away that no disk uses.
    pub fn remove_iothread(&self, thread: u32, affect: Affect) -> Result<(), Error> {
        let remove = || change_iothread(self.raw(), thread, false, affect.flags());
        self.connection().counted(Call::DomainDelIoThread, |_| remove())
    }
}
