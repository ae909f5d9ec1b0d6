//! What follows the end of a domain's run, and what goes with its definition.

use virt::sys;

use crate::{Affect, Call, Domain, Error};

/// How a run ends (`virDomainLifecycle`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The guest shut down.
    Poweroff,
    /// The guest rebooted.
    Reboot,
    /// The guest crashed.
    Crash,
}

/// Which files of a domain stay on the host when its definition goes. They are data of the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// The variables of its firmware.
    pub nvram: bool,
    /// The state of its TPM.
    pub tpm: bool,
}

impl Kept {
    fn flags(self) -> u32 {
        let nvram = if self.nvram { sys::VIR_DOMAIN_UNDEFINE_KEEP_NVRAM } else { 0 };
        let tpm = if self.tpm { sys::VIR_DOMAIN_UNDEFINE_KEEP_TPM } else { 0 };
        nvram | tpm
    }
}

/// The action of this word, as descriptions have it (`virDomainLifecycleAction`).
fn action(word: &str) -> Option<u32> {
    Some(match word {
        "destroy" => sys::VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY,
        "restart" => sys::VIR_DOMAIN_LIFECYCLE_ACTION_RESTART,
        "rename-restart" => sys::VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME,
        "preserve" => sys::VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE,
        "coredump-destroy" => sys::VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_DESTROY,
        "coredump-restart" => sys::VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART,
        _ => return None,
    })
}

impl Domain<'_> {
    /// Sets what follows such an end of the run, in the word that descriptions have for it.
    pub fn set_lifecycle(&self, end: End, word: &str, affect: Affect) -> Result<(), Error> {
        let action = action(word).ok_or_else(|| Error::other(format!("{word:?} is no action at the end of a run")))?;
        let end = match end {
            End::Poweroff => sys::VIR_DOMAIN_LIFECYCLE_POWEROFF,
            End::Reboot => sys::VIR_DOMAIN_LIFECYCLE_REBOOT,
            End::Crash => sys::VIR_DOMAIN_LIFECYCLE_CRASH,
        };
        self.counted(Call::DomainSetLifecycleAction, |domain| domain.set_lifecycle_action(end, action, affect.flags()))
    }

    /// Removes the definition with its NVRAM, TPM state, managed save, snapshot and checkpoint metadata, but for what is kept. A driver
    /// that does not know a flag is asked with fewer, since older daemons and the test driver refuse what they do not know; one that
    /// cannot keep what is to be kept removes nothing.
    pub fn undefine(&self, kept: Kept) -> Result<(), Error> {
        let nvram = if kept.nvram { 0 } else { sys::VIR_DOMAIN_UNDEFINE_NVRAM };
        let records = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
        let ladder = [nvram | records | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA, nvram | records, records, 0];
        let mut answer = Ok(());
        for flags in ladder {
            answer = self.counted(Call::DomainUndefine, |domain| domain.undefine_flags(flags | kept.flags()));
            if !answer.as_ref().is_err_and(Error::is_unsupported) {
                break;
            }
        }
        answer
    }
}
