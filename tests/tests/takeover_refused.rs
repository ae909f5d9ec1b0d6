//! Taking over costs nobody data: what is not surely meant is refused, with the cure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Host, Scenario, SharedStage, condition};

static STAGE: SharedStage = SharedStage::new("tkrf", &["--poll=2s"]);

/// A scenario on a host whose config lets things be taken over that are called `taken…`.
fn scenario(name: &'static str) -> Result<Scenario<'static>> {
    let scenario = STAGE.scenario(name)?;
    let adopt = ["domain", "pool", "network", "cloudinit"].map(|kind| format!("{kind}/taken*"));
    let policy = json!({"spec": {"policy": {"adopt": adopt}}}).to_string();
    scenario.stage().plane().kubectl(&["patch", "clusterproviderconfig", "default", "--type=merge", "-p", &policy])?;
    Ok(scenario)
}

fn asking(kind: &str, name: &str, parameters: &Value) -> String {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": kind,
        "metadata": {"name": name, "annotations": {"libvirt.nourspeed.io/adopt": "true"}},
        "spec": {"forProvider": parameters},
    })
    .to_string()
}

/// A pool that others made and started.
fn their_pool(scenario: &Scenario<'_>, name: &str) -> Result<String> {
    let path = scenario.host().path(name).display().to_string();
    scenario.host().virsh(&["pool-define-as", name, "dir", "--target", &path])?;
    scenario.host().virsh(&["pool-build", name])?;
    scenario.host().virsh(&["pool-start", name])?;
    Ok(path)
}

/// Something that is left alone is looked at a few times first.
fn wait_for_polls() {
    sleep(Duration::from_secs(5));
}

/// Waits until an object is refused for this reason, with these words in its message.
fn await_refused(scenario: &Scenario<'_>, object: &str, reason: &str, words: &str) -> Result<()> {
    let (kind, name) = object.split_once('/').unwrap();
    scenario.await_object(kind, name, |object| {
        let (_, why, message) = condition(object, "Ready")?;
        ensure!(why == reason && message.contains(words), "{why}: {message}");
        Ok(())
    })
}

// ---- another host ----

#[test]
fn what_was_taken_over_is_not_made_a_second_time_on_another_host() -> Result<()> {
    let scenario = scenario("taken-move")?;
    let (host, other) = (scenario.host(), Host::start("taken-other")?);
    scenario.stage().configure("taken-other", &other.uri(), "")?;
    host.virsh_xml(
        "define",
        "<domain type='qemu'><name>taken-move</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
    )?;
    host.virsh(&["start", "taken-move"])?;
    host.virsh_xml("net-define", "<network><name>taken-move</name><bridge name='virbr-tkmove'/></network>")?;
    let folder = their_pool(&scenario, "taken-move")?;
    let guest = json!({"type": "Qemu", "memory": "32Mi", "shutdown": {"timeout": "1s", "forceAfterTimeout": true}});
    scenario.apply(&asking("Domain", "taken-move", &guest))?;
    scenario.apply(&asking("Network", "taken-move", &json!({"mode": "Isolated"})))?;
    scenario.apply(&asking("Pool", "taken-move", &json!({"target": {"path": folder}})))?;
    let objects = ["domain/taken-move", "network/taken-move", "pool/taken-move"];
    scenario.await_ready(&objects)?;
    let place = |config: &str| {
        let placed = format!("libvirt.nourspeed.io/provider-config=ClusterProviderConfig/{config}");
        objects.iter().try_for_each(|object| {
            scenario.namespace().kubectl(&["annotate", "--overwrite", object, &placed]).map(drop)
        })
    };
    let nothing_there = || -> Result<()> {
        for list in ["list", "net-list", "pool-list"] {
            let there = other.virsh(&[list, "--all", "--name"])?;
            ensure!(!there.contains("taken-move"), "{list}: {there}");
        }
        Ok(())
    };
    place("taken-other")?;
    await_refused(&scenario, objects[0], "Moved", "Point a new Domain at that host")?;
    for (object, kind) in [(objects[1], "network"), (objects[2], "pool")] {
        let uuid = host.virsh(&[if kind == "pool" { "pool-uuid" } else { "net-uuid" }, "taken-move"])?;
        let words = format!("the {kind} with UUID {} was taken over on the host with UUID", uuid.trim());
        await_refused(&scenario, object, "HostMismatch", &words)?;
    }
    wait_for_polls();
    nothing_there()?;

    place("default")?;
    scenario.await_ready(&objects)?;
    nothing_there()?;
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)
}
