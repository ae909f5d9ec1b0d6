//! Bad input is refused with a sentence that helps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, bail};
use tests::{Scenario, SharedStage, manifest};

static STAGE: SharedStage = SharedStage::new("refuser", &["--poll=2s"]);

/// What kubectl says to this YAML, without the words around it that differ between commands.
fn refusal(scenario: &Scenario<'_>, yaml: &str) -> Result<String> {
    let Err(error) = scenario.apply(yaml) else { bail!("accepted:\n{yaml}") };
    let error = format!("{error:#}");
    let sentences = error.split_once("is invalid: ").map_or(error.as_str(), |(_, sentences)| sentences);
    // Beside an error of the schema the server adds that it did not look at the rules.
    let ours = sentences.trim().lines().filter(|line| !line.contains("some validation rules were not checked"));
    Ok(ours.map(|line| line.trim_start_matches("* ").trim()).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_api_server_refuses_bad_input_with_a_sentence_that_helps() -> Result<()> {
    let scenario = STAGE.scenario("refused")?;
    let volume = |parameters: &str| scenario.volume("bad", parameters);
    let domain = |parameters: &str| manifest("Domain", "bad", parameters);
    let cases = [
        (volume("capacity: 1Mi, pool: other"), "spec.forProvider: Invalid value: set pool or poolRef, not both"),
        (
            volume(
                "source: {http: {url: 'http://a/b', checksum: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}}, backingStore: {volumeRef: {name: a}}",
            ),
            "spec.forProvider: Invalid value: set source or backingStore, not both: an image brings its own content",
        ),
        (
            volume("format: Raw, backingStore: {volumeRef: {name: a}}"),
            "spec.forProvider: Invalid value: a volume on a backingStore must have format: Qcow2",
        ),
        (volume("format: Raw"), "spec: Invalid value: spec.forProvider needs capacity, source or backingStore"),
        (
            domain("vcpus: 1"),
            "spec: Invalid value: spec.forProvider.memory is required unless managementPolicies only observe",
        ),
        (
            domain("memory: 1Gi, vcpus: 4, maxVcpus: 2"),
            "spec.forProvider: Invalid value: vcpus must not be larger than maxVcpus",
        ),
        (
            domain("memory: 1Gi, vcpus: 0"),
            "spec.forProvider.vcpus: Invalid value: 0: spec.forProvider.vcpus in body should be greater than or equal to 1",
        ),
        (
            domain("memory: 1Gi, networkInterfaces: [{name: a, network: lan, bridge: br0}]"),
            "spec.forProvider.networkInterfaces[0]: Invalid value: set exactly one of networkRef, networkSelector, network, bridge, direct and user",
        ),
        (
            domain("memory: 1Gi, os: {cmdline: quiet}"),
            "spec.forProvider.os: Invalid value: initrdRef, initrdSelector and cmdline need kernelRef or kernelSelector",
        ),
        (
            domain("memory: 1Gi, runStrategy: Sometimes"),
            "spec.forProvider.runStrategy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"RerunOnFailure\", \"Once\", \"Manual\", \"Halted\"",
        ),
        (
            manifest("Network", "bad", "mode: Bridge"),
            "spec.forProvider: Invalid value: mode: Bridge needs bridge: the name of a bridge that the host has",
        ),
    ];
    for (yaml, wanted) in cases {
        assert_eq!(refusal(&scenario, &yaml)?, wanted, "{yaml}");
    }
    Ok(())
}

const SEALED: &str = "spec.forProvider: Invalid value: set source or encryption, not both: content is stored on the host as it comes. Make a blank encrypted volume, and write the content into it from a guest";

#[test]
fn encryption_and_wiping_that_libvirt_would_not_do_are_refused_with_what_it_does_instead() -> Result<()> {
    let scenario = STAGE.scenario("unsealed")?;
    let volume = |parameters: &str| scenario.volume("bad", parameters);
    let cases = [
        (
            volume(
                "source: {http: {url: 'http://a/b', checksum: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}}, encryption: {passphraseRef: {name: a, key: b}}",
            ),
            SEALED,
        ),
        (volume("source: {volumeRef: {name: a}}, encryption: {passphraseRef: {name: a, key: b}}"), SEALED),
        (volume("source: {secretKeyRef: {name: a, key: b}}, encryption: {passphraseRef: {name: a, key: b}}"), SEALED),
        (
            volume("capacity: 1Mi, format: Qcow2, wipe: Zero"),
            "spec.forProvider: Invalid value: wipe: Zero needs format: Raw: a qcow2 file has holes, and of such a file libvirt only gives the room back",
        ),
        (
            volume("capacity: 1Mi, format: Raw, preallocation: Falloc, encryption: {passphraseRef: {name: a, key: b}}"),
            "spec.forProvider: Invalid value: preallocation of an encrypted volume needs format: Qcow2, because libvirt sets nothing aside for an encrypted Raw one",
        ),
        (
            volume("backingStore: {volumeRef: {name: a}}, encryption: {passphraseRef: {name: a, key: b}}"),
            "spec.forProvider: Invalid value: set backingStore or encryption, not both: what is below would be readable still. Encrypt volumes that stand on nothing",
        ),
    ];
    for (yaml, wanted) in cases {
        assert_eq!(refusal(&scenario, &yaml)?, wanted, "{yaml}");
    }
    Ok(())
}

#[test]
fn tuning_that_cannot_be_is_refused_with_what_is_wrong() -> Result<()> {
    let scenario = STAGE.scenario("untuned")?;
    let domain = |parameters: &str| manifest("Domain", "bad", parameters);
    let cases = [
        (
            domain("memory: 1Gi, iothreads: 1, disks: [{name: a, volumeRef: {name: a}, ioThread: 2}]"),
            "spec.forProvider: Invalid value: a disk's ioThread must not be larger than iothreads",
        ),
        (
            domain("memory: 1Gi, disks: [{name: a, volumeRef: {name: a}, bus: Scsi, ioThread: 1}]"),
            "spec.forProvider.disks[0]: Invalid value: ioThread needs bus Virtio",
        ),
        (
            domain("memory: 1Gi, cpuTune: {period: 2s}"),
            "spec.forProvider.cpuTune.period: Invalid value: \"2s\": a period is 1ms to 1s",
        ),
        (
            domain("memory: 1Gi, cpuTune: {globalQuota: 0.5ms}"),
            "spec.forProvider.cpuTune.globalQuota: Invalid value: \"0.5ms\": a quota is at least 1ms",
        ),
        (
            domain("memory: 1Gi, memoryTune: {swapHardLimit: 2Gi}"),
            "spec.forProvider.memoryTune: Invalid value: memoryTune.swapHardLimit needs memoryTune.hardLimit, and is at least as much",
        ),
        (
            domain("memory: 1Gi, os: {boot: [Disk]}, disks: [{name: a, volumeRef: {name: a}, bootOrder: 1}]"),
            "spec.forProvider: Invalid value: set os.boot or the bootOrder of devices, not both",
        ),
        (
            domain("memory: 1Gi, features: {hyperv: {stimer: true, synic: true}}"),
            "spec.forProvider: Invalid value: features.hyperv.stimer needs vpindex and synic beside it, and the timer Hypervclock",
        ),
        (
            domain("memory: 1Gi, lifecycle: {onPoweroff: Restart, onReboot: Destroy}"),
            "spec.forProvider: Invalid value: lifecycle.onPoweroff: Restart does not go with onReboot: Destroy; no hypervisor of libvirt does both",
        ),
        (
            domain("memory: 1Gi, numaTune: {mode: Strict}"),
            "spec.forProvider.numaTune: Invalid value: numaTune.mode needs numaTune.nodeset",
        ),
    ];
    for (yaml, wanted) in cases {
        assert_eq!(refusal(&scenario, &yaml)?, wanted, "{yaml}");
    }
    Ok(())
}

#[test]
fn devices_that_no_host_could_give_are_refused_with_what_does_not_fit() -> Result<()> {
    let scenario = STAGE.scenario("devices")?;
    let domain = |parameters: &str| manifest("Domain", "bad", parameters);
    let cases = [
        (
            domain("memory: 1Gi, disks: [{name: a, volumeRef: {name: a}, device: Cdrom, bus: Virtio}]"),
            "spec.forProvider.disks[0]: Invalid value: a CD-ROM has bus Sata, Scsi, Ide or Usb, not Virtio",
        ),
        (
            domain("memory: 1Gi, os: {firmware: Efi, secureBoot: true}, features: {smm: false}"),
            "spec.forProvider: Invalid value: os.secureBoot does without features.smm: false: the firmware guards its keys with it",
        ),
        (
            domain("memory: 1Gi, networkInterfaces: [{name: a, user: {}, filter: clean-traffic}]"),
            "spec.forProvider.networkInterfaces[0]: Invalid value: a user interface has no vlan, bandwidth, filter, isolated, mtu and queues",
        ),
        (
            domain("memory: 1Gi, networkInterfaces: [{name: a, network: lan, address: 10.0.0.9}]"),
            "spec.forProvider.networkInterfaces[0]: Invalid value: address needs networkRef or networkSelector: it is the Network that keeps it",
        ),
        (
            domain("memory: 1Gi, networkInterfaces: [{name: a, direct: {device: eno1}, isolated: true}]"),
            "spec.forProvider.networkInterfaces[0]: Invalid value: a direct interface has no filter, isolated and mtu",
        ),
        (
            domain("memory: 1Gi, consoles: [{name: a, type: File, log: true}]"),
            "spec.forProvider.consoles[0]: Invalid value: log is not for type File, which is a log already",
        ),
        (
            domain("memory: 1Gi, channels: [{name: a, target: org.qemu.guest_agent.0}]"),
            "spec.forProvider.channels[0]: Invalid value: the guest agent's channel is guestAgent: true",
        ),
        (
            domain("memory: 1Gi, balloon: {model: None, statsPeriod: 1s}"),
            "spec.forProvider.balloon: Invalid value: a balloon of model None has no autodeflate, freePageReporting and statsPeriod",
        ),
    ];
    for (yaml, wanted) in cases {
        assert_eq!(refusal(&scenario, &yaml)?, wanted, "{yaml}");
    }
    Ok(())
}

#[test]
fn a_reference_that_could_mean_nothing_is_refused_with_what_it_needs() -> Result<()> {
    let scenario = STAGE.scenario("unmeant")?;
    let volume = |parameters: &str| scenario.volume("bad", parameters);
    let domain = |parameters: &str| manifest("Domain", "bad", parameters);
    let cases = [
        (
            domain("memory: 1Gi, disks: [{name: a, volumeSelector: {matchLabels: {}}}]"),
            "spec.forProvider.disks[0].volumeSelector: Invalid value: a selector needs matchLabels or matchControllerRef: true",
        ),
        (
            domain("memory: 1Gi, disks: [{name: a}]"),
            "spec.forProvider.disks[0]: Invalid value: a disk needs volumeRef, volumeSelector, volume, file, block or network",
        ),
        (
            manifest(
                "Volume",
                "bad",
                "capacity: 1Mi, poolSelector: {matchControllerRef: true, policy: {resolution: Optional}}",
            ),
            "spec.forProvider: Invalid value: a pool cannot be Optional: without one there is no place for the volume",
        ),
        (
            volume("backingStore: {volumeRef: {name: a, policy: {resolution: Optional}}}"),
            "spec.forProvider.backingStore: Invalid value: a volume below cannot be Optional: the volume's data is a difference to it",
        ),
        (
            manifest("CloudInit", "bad", "userData: {inline: a}"),
            "spec: Invalid value: spec.forProvider needs pool, poolRef or poolSelector",
        ),
        (
            volume("capacity: 1Mi, pool: a, poolSelector: {matchControllerRef: true}")
                .replace("poolRef: {name: unmeant}, ", ""),
            "spec.forProvider: Invalid value: set pool or poolSelector, not both",
        ),
        (
            domain(
                "memory: 1Gi, disks: [{name: a, volume: {pool: a, name: a, format: Raw}, volumeSelector: {matchControllerRef: true}}]",
            ),
            "spec.forProvider.disks[0]: Invalid value: set volumeSelector or volume, not both",
        ),
    ];
    for (yaml, wanted) in cases {
        assert_eq!(refusal(&scenario, &yaml)?, wanted, "{yaml}");
    }
    Ok(())
}

#[test]
fn a_seed_whose_parts_contradict_each_other_is_refused() -> Result<()> {
    let scenario = STAGE.scenario("seeds")?;
    let cases = [
        (
            manifest("CloudInit", "bad", "pool: a, userData: {inline: a, parts: [{name: a, inline: a}]}"),
            "spec.forProvider.userData: Invalid value: set exactly one of inline, secretKeyRef, configMapKeyRef and parts",
        ),
        (
            manifest("CloudInit", "bad", "pool: a, userData: {parts: [{name: a}]}"),
            "spec.forProvider.userData.parts[0]: Invalid value: set exactly one of inline, secretKeyRef and configMapKeyRef",
        ),
        (
            manifest(
                "CloudInit",
                "bad",
                "pool: a, userData: {inline: a}, metaData: {inline: a}, instanceIdPolicy: Content",
            ),
            "spec.forProvider: Invalid value: instanceIdPolicy: Content needs the provider's own meta-data: set it or metaData, which says its own instance-id, not both",
        ),
    ];
    for (yaml, wanted) in cases {
        assert_eq!(refusal(&scenario, &yaml)?, wanted, "{yaml}");
    }
    Ok(())
}

#[test]
fn an_unknown_field_is_refused_by_name() -> Result<()> {
    let scenario = STAGE.scenario("unknown")?;
    let yaml = manifest("Domain", "bad", "memory: 1Gi, memroy: 2Gi");
    let server_side = format!("{:#}", scenario.apply(&yaml).expect_err("an unknown field"));
    assert!(server_side.contains(".spec.forProvider.memroy: field not declared in schema"), "{server_side}");
    let client = scenario.stage().plane().client();
    let strict = ["-n", scenario.namespace().name(), "apply", "--validate=strict", "-f", "-"];
    let strict = format!("{:#}", client.run_with_input(&strict, &yaml).expect_err("an unknown field"));
    assert!(strict.contains("unknown field \"spec.forProvider.memroy\""), "{strict}");
    Ok(())
}

#[test]
fn what_cannot_change_is_refused_with_what_to_do_instead() -> Result<()> {
    let scenario = STAGE.scenario("fixed")?;
    // Nothing of this needs a host: the object waits for its pool.
    scenario.apply(&scenario.volume("v", "capacity: 1Mi, format: Raw"))?;
    scenario.apply(&manifest("Domain", "d", "memory: 1Gi, type: Qemu, disks: [{name: a, volumeRef: {name: v}}]"))?;
    scenario.apply(&manifest("Domain", "e", "memory: 1Gi, disks: [{name: a, volumeRef: {name: v}}]"))?;
    let cases = [
        (
            scenario.volume("v", "capacity: 1Mi, format: Qcow2"),
            "spec.forProvider: Invalid value: format cannot be changed: data would have to be converted; create a new Volume instead",
        ),
        (
            scenario.volume("v", "capacity: 1Mi, format: Raw, preallocation: Falloc"),
            "spec.forProvider: Invalid value: preallocation cannot be changed: it counts when the volume is made; create a new Volume instead",
        ),
        (
            scenario.volume("w", "capacity: 1Mi, format: Raw, preallocation: Metadata"),
            "spec.forProvider: Invalid value: preallocation: Metadata needs format: Qcow2, because a raw file has no tables",
        ),
        (
            scenario.volume("w", "capacity: 1Mi, preallocation: Falloc, backingStore: {volumeRef: {name: v}}"),
            "spec.forProvider: Invalid value: preallocation is for blank volumes: a source or backingStore decides itself what is written",
        ),
        (
            manifest("Volume", "v", "poolRef: {name: elsewhere}, capacity: 1Mi, format: Raw"),
            "spec.forProvider: Invalid value: poolRef cannot be changed: data would have to move; create a new Volume instead",
        ),
        (
            manifest("Volume", "v", "poolRef: {name: fixed, namespace: other}, capacity: 1Mi, format: Raw"),
            "spec.forProvider: Invalid value: poolRef cannot be changed: data would have to move; create a new Volume instead",
        ),
        (
            manifest("Domain", "e", "memory: 1Gi, type: Kvm, disks: [{name: a, volumeRef: {name: v}}]"),
            "spec.forProvider: Invalid value: type cannot be changed: a guest keeps its hypervisor; create a new Domain instead",
        ),
        (
            manifest("Domain", "d", "memory: 1Gi, type: Kvm, disks: [{name: a, volumeRef: {name: v}}]"),
            "spec.forProvider: Invalid value: type cannot be changed: a guest keeps its hypervisor; create a new Domain instead",
        ),
    ];
    for (yaml, wanted) in cases {
        assert_eq!(refusal(&scenario, &yaml)?, wanted, "{yaml}");
    }
    // How the pool is looked for may change; which one it is may not.
    let policy = "poolRef: {name: fixed, policy: {resolve: Always}}, capacity: 1Mi, format: Raw";
    scenario.apply(&manifest("Volume", "v", policy)).map(drop)
}
