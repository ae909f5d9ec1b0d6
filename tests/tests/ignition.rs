//! A config of Ignition: in a volume of its own, told by the firmware, and read in the guest byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{PATIENCE, Scenario, SharedStage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("ignition", &["--poll=1s"]);

/// A config that holds what nobody may see, larger than any command line takes.
fn config(password: &str) -> String {
    let files: Vec<Value> = (0..2000)
        .map(|at| json!({"path": format!("/etc/{at}"), "contents": {"source": format!("data:,{password}{at}")}}))
        .collect();
    json!({"ignition": {"version": "3.4.0"}, "storage": {"files": files}}).to_string() + "\n"
}

fn secret(config: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "told"}, "stringData": {"config": config},
    });
    format!("---\n{secret}\n")
}

fn digest(config: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(config.as_bytes()))
}

/// The file that the firmware is told to tell.
fn file(scenario: &Scenario<'_>) -> Result<String> {
    scenario.path("cloudinit", "told")
}

/// Where a description names that file.
const TOLD: &str = "//sysinfo[@type='fwcfg']/entry[@name='opt/com.coreos/config']/@file";

/// Asks the guest, by a seed of cloud-init on a CD-ROM of its own, what its firmware tells it.
const SCRIPT: &str = "#!/bin/sh\nsha256sum </sys/firmware/qemu_fw_cfg/by_name/opt/com.coreos/config/raw | cut -c1-64\n";

/// What nobody may see is in no log, no description and no status.
fn check_unseen(scenario: &Scenario<'_>) -> Result<()> {
    let log = scenario.host().path("log/qemu/ignited.log");
    for text in [scenario.stage().log(), scenario.live("/domain")?, std::fs::read_to_string(log)?] {
        assert!(!text.contains("hunter"), "it is seen");
    }
    for (kind, name) in [("cloudinit", "told"), ("domain", "ignited")] {
        assert!(!scenario.object(kind, name)?.to_string().contains("hunter"), "{kind} shows it");
    }
    Ok(())
}

#[test]
fn a_config_of_ignition_is_told_by_the_firmware_and_seen_nowhere_else() -> Result<()> {
    let scenario = STAGE.scenario("ignited")?;
    let first = config("hunter2");
    let told = manifest(
        "CloudInit",
        "told",
        "poolRef: {name: ignited}, format: Ignition, userData: {secretKeyRef: {name: told, key: config}}",
    );
    scenario.apply(&(secret(&first) + &told + &scenario.storage()? + &scenario.seed("asks", SCRIPT)))?;
    scenario.await_ready(&["cloudinit/told", "cloudinit/ignited"])?;
    let asks = scenario.observed("cloudinit", "ignited")?["volume"].as_str().context("read the volume")?.to_owned();
    scenario.apply(&scenario.guest(&format!(
        "memory: 128Mi, cloudInitRef: {{name: told}}, \
         disks: [{{name: asks, device: Cdrom, bus: Scsi, volume: {{pool: ignited, name: {asks}, format: Raw}}}}]"
    )))?;
    scenario.await_ready(&["domain/ignited"])?;
    let console = scenario.console();
    let answer =
        |config: &str| console.wait_for_line(&format!("> {}", digest(config)), Duration::from_mins(2)).map(drop);
    answer(&first)?;
    let before = file(&scenario)?;
    assert_eq!(std::fs::read_to_string(&before)?, first);
    assert_eq!(scenario.live(TOLD)?, format!("file=\"{before}\""));
    assert!(!scenario.live("//disk")?.contains("told-"), "the config is a disk, too");

    // Another config is another file, which the guest gets at its next start; until then the first one stays where it is.
    let second = config("hunter3");
    scenario.apply(&secret(&second))?;
    let message = "cloudInitRef";
    scenario.await_object("domain", "ignited", |domain| {
        let (status, reason, says) = condition(domain, "RestartRequired")?;
        ensure!((status, reason) == ("True", "ChangesPending") && says.contains(message), "{status} {reason} {says}");
        Ok(())
    })?;
    let after = file(&scenario)?;
    assert_ne!(before, after);
    assert_eq!(
        (scenario.live(TOLD)?, scenario.inactive(TOLD)?),
        (format!("file=\"{before}\""), format!("file=\"{after}\""))
    );
    assert_eq!(std::fs::read_to_string(&before)?, first);
    scenario.host().virsh(&["destroy", "ignited"])?;
    answer(&second)?;
    scenario.await_object("cloudinit", "told", |_| {
        ensure!(!std::path::Path::new(&before).exists(), "the first config is there still");
        Ok(())
    })?;

    check_unseen(&scenario)?;
    scenario.delete_all()?;
    scenario.await_all_gone(2 * PATIENCE)?;
    assert!(!std::path::Path::new(&after).exists(), "the config is left");
    Ok(())
}

#[test]
fn what_ignition_could_not_read_is_refused_and_not_shown() -> Result<()> {
    let scenario = STAGE.scenario("unlit")?;
    let told = |parameters: &str| {
        manifest("CloudInit", "told", &format!("poolRef: {{name: unlit}}, format: Ignition, {parameters}"))
    };
    scenario.apply(&(secret("#cloud-config\npassword: hunter2\n") + &scenario.pool()))?;
    for more in [
        "cloudConfig: {hostname: a}",
        "userData: {inline: '{}'}, metaData: {inline: x}",
        "userData: {parts: [{name: a, inline: x}]}",
    ] {
        let refused = scenario.apply(&told(more)).unwrap_err();
        assert!(format!("{refused:#}").contains("format: Ignition takes userData alone, without parts"), "{refused:#}");
    }
    scenario.apply(&told("userData: {secretKeyRef: {name: told, key: config}}"))?;
    let message = "cannot resolve references: userData: that is no config of Ignition: it is JSON and says ignition.version, as butane makes it of its YAML";
    scenario.await_condition("cloudinit/told", "Synced", ("False", "ReconcileError", message))?;
    scenario.apply(&secret("{\"ignition\": {\"version\": \"3.4.0\"}}"))?;
    scenario.await_ready(&["cloudinit/told"])?;
    let refused = scenario.change("cloudinit", "told", &json!({"format": "NoCloud"})).unwrap_err();
    assert!(format!("{refused:#}").contains("format cannot be changed: create a new CloudInit instead"), "{refused:#}");
    assert!(!scenario.stage().log().contains("hunter2"), "the log has what is in a Secret");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}
