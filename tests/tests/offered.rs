//! What a host does not offer is said before anything is made, with the field and with what the host offers; and what helps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Scenario, SharedStage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("offered", &["--poll=2s"]);

fn await_refusal(scenario: &Scenario<'_>, name: &str, words: &[&str]) -> Result<()> {
    scenario
        .await_object("domain", name, |object| {
            let (status, _, message) = condition(object, "Synced")?;
            ensure!(status == "False" && words.iter().all(|word| message.contains(word)), "{status} {message}");
            Ok(())
        })
        .map(drop)
}

/// For programs, which do not read sentences.
fn await_reason(scenario: &Scenario<'_>, name: &str, kind: &str, wished: &str) -> Result<()> {
    scenario.await_object("domain", name, |domain| {
        let (status, reason, _) = condition(domain, kind)?;
        ensure!((status, reason) == ("False", wished), "{name}: {kind} is {status} by {reason}");
        Ok(())
    })
}

#[test]
fn what_the_host_does_not_offer_is_refused_by_its_field_before_anything_is_made() -> Result<()> {
    let scenario = STAGE.scenario("offered")?;
    let drive = "disks: [{name: drive, device: Cdrom, bus: Ide}]";
    let table = [
        ("model", "cpu: {mode: Custom, model: Z80}", ["cpu.model: the host does not offer Z80", "it offers qemu64"]),
        ("mode", "cpu: {mode: HostPassthrough}", ["cpu.mode: the host does not offer host-passthrough", "maximum"]),
        ("bus", drive, ["disks[drive].bus: the host does not offer ide", "virtio, usb, sata"]),
        ("machine", "os: {machine: pc-q35-99.9}", ["on machine pc-q35-99.9", "is not supported by emulator"]),
        ("vcpus", "vcpus: 1000", ["maxVcpus: a guest of this machine on this host has at most", "1000 are wished"]),
    ];
    let guests: String = table
        .map(|(name, fields, _)| manifest("Domain", name, &format!("type: Qemu, memory: 32Mi, {fields}")))
        .concat();
    // What hosts of this version say nothing of may be had.
    let panic = manifest("Domain", "panic", "type: Qemu, memory: 32Mi, panic: {model: Hyperv}");
    scenario.apply(&(guests + &panic))?;
    for (name, _, words) in &table {
        await_refusal(&scenario, name, words)?;
        await_reason(&scenario, name, "Ready", "NotOffered")?;
    }
    scenario.await_ready(&["domain/panic"])?;
    let there = scenario.host().virsh(&["list", "--all", "--name"])?;
    ensure!(table.iter().all(|(name, ..)| there.lines().all(|guest| guest.trim() != *name)), "{there}");

    scenario.change("domain", "model", &json!({"cpu": {"mode": "Custom", "model": "qemu64"}}))?;
    scenario.change("domain", "bus", &json!({"disks": [{"name": "drive", "device": "Cdrom", "bus": "Sata"}]}))?;
    scenario.await_ready(&["domain/model", "domain/bus"])?;
    // Nor is one that is there given what it could not start with.
    scenario.change("domain", "model", &json!({"cpu": {"mode": "HostPassthrough", "model": null}}))?;
    await_refusal(&scenario, "model", &["cpu.mode: the host does not offer host-passthrough"])?;
    await_reason(&scenario, "model", "UpToDate", "NotOffered")?;
    // What it has, works on.
    scenario.await_object("domain", "model", |domain| {
        let (status, ..) = condition(domain, "Ready")?;
        ensure!(status == "True", "Ready is {status}");
        Ok(())
    })?;
    let definition = scenario.host().virsh(&["dumpxml", "--inactive", "model"])?;
    ensure!(definition.contains(">qemu64<"), "{definition}");
    Ok(())
}

#[test]
fn what_a_guest_lacks_on_its_host_is_told_with_what_helps() -> Result<()> {
    let scenario = STAGE.scenario("lacking")?;
    let host = scenario.host();
    host.virsh_xml("net-define", "<network><name>asleep</name></network>")?;
    let folder = host.their_pool("sleepy")?;
    host.virsh(&["vol-create-as", "sleepy", "data", "1M", "--format", "raw"])?;
    host.virsh(&["pool-destroy", "sleepy"])?;
    ensure!(!folder.is_empty());
    let volume = |pool: &str, name: &str| {
        format!("disks: [{{name: data, volume: {{pool: {pool}, name: {name}, format: Raw}}}}]")
    };
    let table = [
        ("net", "networkInterfaces: [{name: lan, network: asleep}]".to_owned(), "start the network on the host"),
        ("bridge", "networkInterfaces: [{name: lan, bridge: nowhere}]".to_owned(), "make the bridge on the host"),
        ("asleep", volume("sleepy", "data"), "pool sleepy is not active on the host; start it"),
        ("nopool", volume("nopool", "data"), "there is no pool nopool on the host; make it there"),
    ];
    let guests = table
        .each_ref()
        .map(|(name, fields, _)| manifest("Domain", name, &format!("type: Qemu, memory: 32Mi, {fields}")));
    scenario.apply(&guests.concat())?;
    for (name, _, words) in &table {
        await_refusal(&scenario, name, &[words])?;
    }
    await_reason(&scenario, "net", "Ready", "NetworkInactive")?;
    await_reason(&scenario, "bridge", "Ready", "BridgeMissing")?;
    host.virsh(&["net-start", "asleep"])?;
    host.virsh(&["pool-start", "sleepy"])?;
    scenario.await_ready(&["domain/net", "domain/asleep"])
}
