//! The test guest's files, and seeds for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{files::Scratch, process::run};

/// Kernel, initrd and bootable disk of the test guest; `tests/guest/init` says what it prints.
#[derive(Clone, Debug)]
pub struct GuestFiles {
    /// Linux kernel for a direct boot.
    pub kernel: PathBuf,
    /// Its initrd, which is the whole guest.
    pub initrd: PathBuf,
    /// A disk image (qcow2) that boots the same under `SeaBIOS`; copy it or lay an overlay on it.
    pub disk: PathBuf,
    /// A disk image (raw, FAT) with QEMU's guest agent, its libraries and their `ld-linux-x86-64.so.2`.
    pub agent: PathBuf,
}

impl GuestFiles {
    /// Kernel command line: the console, nothing that makes an emulated boot slower, and no check of the timer against the processor, which
    /// a kernel whose machine is emulated does not pass where much else goes on.
    pub const COMMAND_LINE: &str =
        "console=ttyS0 quiet cryptomgr.notests nokaslr mitigations=off no_timer_check random.trust_cpu=on";

    pub(crate) fn new(folder: &Path) -> Self {
        let [kernel, initrd, disk, agent] =
            ["vmlinuz", "initrd.gz", "guest.qcow2", "agent.raw"].map(|name| folder.join(name));
        Self { kernel, initrd, disk, agent }
    }
}

/// The files of a NoCloud seed; an empty one is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seed<'a> {
    /// `meta-data`: instance-id and local-hostname.
    pub meta_data: &'a str,
    /// `user-data`: a script, or `#cloud-config` of which the test guest reads only the host name.
    pub user_data: &'a str,
    /// `network-config`, which the test guest only prints.
    pub network_config: &'a str,
}

impl Seed<'_> {
    /// Writes the seed as an ISO 9660 image labelled cidata, made by genisoimage and not by the code under test.
    ///
    /// # Errors
    /// When genisoimage fails.
    pub fn write_iso(&self, image: &Path) -> Result<()> {
        let folder = Scratch::new("seed")?;
        let Self { meta_data, user_data, network_config } = *self;
        for (name, text) in [("meta-data", meta_data), ("user-data", user_data), ("network-config", network_config)] {
            if !text.is_empty() {
                std::fs::write(folder.path().join(name), text).with_context(|| format!("write {name}"))?;
            }
        }
        let (image, folder) = (image.display().to_string(), folder.path().display().to_string());
        run("genisoimage", &["-quiet", "-output", &image, "-volid", "cidata", "-joliet", "-rock", &folder]).map(drop)
    }
}

/// Whether this machine runs guests by hardware: its KVM is Intel's or AMD's and the device is there.
///
/// Other modules offer `/dev/kvm` too and boot no Linux kernel in reasonable time, so the device alone proves nothing.
pub fn real_kvm() -> bool {
    Path::new("/dev/kvm").exists()
        && ["kvm_intel", "kvm_amd"].iter().any(|name| Path::new("/sys/module").join(name).exists())
}
