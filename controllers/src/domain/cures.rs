//! What to do about failures that libvirt names without a way out, told by words of its sentences. Where those change, its sentence stands alone.

use libvirt::Error;
use managed::external::Refusal;

/// The reason, words of libvirt's sentence, and what helps.
const CURES: &[(&str, &[&str], &str)] = &[
    (
        "NetworkInactive",
        &["network '", "is not active"],
        "start the network on the host, or have a Network object keep it active and name that by networkRef",
    ),
    ("PoolInactive", &["pool '", "is not active"], "start the pool on the host, or have a Pool object keep it active"),
    (
        "NetworkMissing",
        &["Network not found"],
        "make the network on the host, or a Network object for it that networkRef names",
    ),
    (
        "BridgeMissing",
        &["Cannot get interface MTU on"],
        "make the bridge on the host, or name another in networkInterfaces[].bridge",
    ),
    (
        "StorageMissing",
        &["Cannot access storage file"],
        "bring the file back, or name another volume; where it is there, the hypervisor's user may not read it",
    ),
    (
        "DiskInUse",
        &["Failed to get", "lock"],
        "another process of the host has the disk open: end that, or say readOnly: true for both",
    ),
    (
        "HugepagesMissing",
        &["hugepages"],
        "set huge pages aside on the host, mounted where libvirt looks, or leave memoryBacking.hugepages out",
    ),
    (
        "OutOfMemory",
        &["cannot set up guest memory"],
        "the host has not so much memory free: lower memory, or make room",
    ),
    ("NotOffered", &["incompatible with host CPU"], "choose another cpu.model, or cpu.mode HostModel"),
    (
        "PassphraseMissing",
        &["ecret", "uuid"],
        "the host's libvirt has forgotten the passphrase of an encrypted volume, as it does when it restarts: its Volume gives it again as soon as its Secret can be read, and the guest is started then",
    ),
    ("TpmUnavailable", &["swtpm"], "install swtpm on the host, or leave tpm out"),
    (
        "KvmUnavailable",
        &["Could not access KVM kernel module"],
        "load kvm_intel or kvm_amd on the host and let libvirt open /dev/kvm, or create a Domain of type Qemu",
    ),
];

/// The failure of something that was tried, with what helps where that is known.
pub(super) fn failed(what: &str, error: Error) -> anyhow::Error {
    let known = CURES.iter().find(|(_, words, _)| words.iter().all(|word| error.message().contains(word)));
    match known {
        Some((reason, _, cure)) => {
            anyhow::Error::new(error).context(Refusal { reason, message: format!("{what} ({cure})") })
        }
        None => anyhow::Error::new(error).context(what.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use libvirt::Kind;

    use super::*;

    #[test]
    fn a_failure_is_told_with_what_helps_and_in_libvirts_words() {
        let said = |message: &str| format!("{:#}", failed("start domain", Error::new(Kind::Rejected, message)));
        assert_eq!(
            said("Requested operation is not valid: network 'lan' is not active"),
            "start domain (start the network on the host, or have a Network object keep it active and name that by networkRef): \
             Requested operation is not valid: network 'lan' is not active"
        );
        assert_eq!(said("no bootable device"), "start domain: no bootable device");
        let error =
            failed("start domain", Error::new(Kind::Rejected, "internal error: swtpm is missing")).context("more");
        assert_eq!(error.downcast_ref::<Refusal>().unwrap().reason, "TpmUnavailable");
    }
}
