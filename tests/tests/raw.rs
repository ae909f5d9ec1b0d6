//! What no field says, in libvirt's own words, where the config of the host allows it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{SharedStage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("raw", &["--poll=2s"]);

const REFUSED: &str = "rawXml: devices/memballoon@model is not allowed here: the config of the host would have to list \
                       \"devices/memballoon\" in its spec.policy.rawXml";

fn allow(lines: &Value) -> Result<()> {
    let policy = json!({"spec": {"policy": {"rawXml": lines}}}).to_string();
    let stage = STAGE.scenario("policy")?.stage();
    stage.plane().kubectl(&["patch", "clusterproviderconfig", "default", "--type=merge", "-p", &policy]).map(drop)
}

#[test]
fn what_no_field_says_is_on_the_guest_once_the_config_allows_it_and_goes_when_it_is_taken_out() -> Result<()> {
    let scenario = STAGE.scenario("laid-over")?;
    let guest = manifest(
        "Domain",
        "laid-over",
        "type: Qemu, memory: 64Mi, rawXml: '<domain><devices><memballoon model=\"none\"/></devices></domain>'",
    );
    scenario.apply(&guest)?;
    scenario.await_object("domain", "laid-over", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains(REFUSED), "{status} {message}");
        Ok(())
    })?;
    ensure!(scenario.host().virsh(&["list", "--all", "--name"])?.trim().is_empty(), "it was made");

    allow(&json!(["devices/memballoon", "qemu:commandline"]))?;
    scenario.await_ready(&["domain/laid-over"])?;
    let balloon = scenario.live("//memballoon")?;
    ensure!(balloon.contains("none"), "{balloon}");
    scenario.await_condition("domain/laid-over", "UpToDate", ("True", "ObserveMatched", ""))?;

    // An argument of the emulator's own: it waits for the next boot, and is in the process then.
    let xml = "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:commandline>\
               <qemu:arg value='-name'/><qemu:arg value='process=laid-over-by-raw-xml'/></qemu:commandline></domain>";
    scenario.change("domain", "laid-over", &json!({"rawXml": xml}))?;
    scenario.await_object("domain", "laid-over", |object| {
        let (status, _, message) = condition(object, "RestartRequired")?;
        ensure!(status == "True" && message.contains("qemu:commandline/qemu:arg"), "{status} {message}");
        Ok(())
    })?;
    scenario.host().virsh(&["destroy", "laid-over"])?;
    scenario.await_object("domain", "laid-over", |object| {
        ensure!(condition(object, "RestartRequired").is_err(), "{}", object["status"]);
        ensure!(condition(object, "Ready")?.0 == "True", "{}", object["status"]);
        Ok(())
    })?;
    ensure!(scenario.live("//*[local-name()='commandline']")?.contains("process=laid-over-by-raw-xml"));

    scenario.change("domain", "laid-over", &json!({"rawXml": null}))?;
    scenario.await_host("gone", |scenario| {
        let there = scenario.inactive("/domain")?.contains("laid-over-by-raw-xml");
        Ok(if there { "there" } else { "gone" }.to_owned())
    })
}
