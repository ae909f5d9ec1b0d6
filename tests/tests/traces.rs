//! What guests leave behind: nothing of their own, and what is not theirs as it was.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Result, ensure};
use tests::{GuestFiles, Namespace, PATIENCE, Scenario, SharedStage, manifest, run};

static STAGE: SharedStage = SharedStage::new("traces", &["--poll=2s"]);

const BOOT: &str = "kernelRef: {name: kernel}, initrdRef: {name: initrd}";

#[test]
fn a_base_image_is_the_same_byte_for_byte_after_three_guests_came_and_went() -> Result<()> {
    let scenario = STAGE.scenario("base")?;
    let script = "#!/bin/sh\ndd if=/dev/urandom of=/dev/vda bs=64k count=32 conv=fsync && echo written\n";
    scenario.apply(&(scenario.storage()? + &scenario.seed("one", script)))?;
    scenario.await_ready(&["volume/root"])?;
    // What an image holds that others stand on.
    let base = format!("{}/root", scenario.folder());
    scenario.host().run("qemu-io", &["-f", "qcow2", "-c", "write -P 0x5a 0 4M", &base])?;
    let before = run("sha256sum", &[&base])?;

    let names = ["first", "second", "third"];
    let overlay = |name: &str| scenario.volume(&format!("of-{name}"), "backingStore: {volumeRef: {name: root}}");
    let guests: String = names.iter().map(|name| overlay(name) + &guest(&scenario, name)).collect();
    scenario.apply(&guests)?;
    for name in names {
        scenario.console_of(name).wait_for_line("> written", PATIENCE)?;
        let first = scenario
            .host()
            .run("qemu-io", &["-U", "-r", "-f", "qcow2", "-c", "read -P 0x5a 0 2M", &of(&scenario, name)]);
        ensure!(first.is_err() || first.is_ok_and(|said| said.contains("failed")), "{name} has written nothing");
    }
    assert_eq!(run("sha256sum", &[&base])?, before);
    let objects: Vec<String> =
        names.iter().flat_map(|name| [format!("domain/{name}"), format!("volume/of-{name}")]).collect();
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    scenario.delete(&objects)?;
    scenario.await_gone(&objects)?;
    assert_eq!(run("sha256sum", &[&base])?, before);
    for name in names {
        ensure!(!std::fs::exists(of(&scenario, name))?, "the disk of {name} is left");
    }
    scenario.await_ready(&["volume/root"])
}

fn of(scenario: &Scenario<'_>, guest: &str) -> String {
    format!("{}/of-{guest}", scenario.folder())
}

fn guest(scenario: &Scenario<'_>, name: &str) -> String {
    let parameters = format!(
        "type: Qemu, memory: 128Mi, os: {{{BOOT}, cmdline: '{}'}}, consoles: [{{name: serial, log: true}}], \
         cloudInitRef: {{name: {}}}, shutdown: {{timeout: 60s, forceAfterTimeout: true}}, \
         disks: [{{name: root, volumeRef: {{name: of-{name}}}}}]",
        GuestFiles::COMMAND_LINE,
        scenario.name()
    );
    manifest("Domain", name, &parameters)
}

#[test]
fn a_saved_guest_with_snapshots_a_checkpoint_firmware_and_a_tpm_goes_with_all_of_that() -> Result<()> {
    let scenario = STAGE.scenario("laden")?;
    let laden = format!(
        "type: Qemu, memory: 256Mi, os: {{{BOOT}, cmdline: '{}', firmware: Efi}}, tpm: {{model: Crb}}, \
         consoles: [{{name: serial, log: true}}], shutdown: {{timeout: 60s, forceAfterTimeout: true}}, \
         disks: [{{name: root, volumeRef: {{name: root}}}}]",
        GuestFiles::COMMAND_LINE
    );
    scenario.apply(&(scenario.storage()? + &manifest("Domain", "laden", &laden)))?;
    scenario.await_ready(&["domain/laden"])?;
    scenario.console().wait_for_line("ready", PATIENCE)?;
    let host = scenario.host();
    let uuid = host.virsh(&["domuuid", "laden"])?.trim().to_owned();
    host.virsh(&["checkpoint-create-as", "laden", "c1"])?;
    host.virsh(&["snapshot-create-as", "laden", "s1", "--disk-only", "--atomic"])?;
    host.virsh(&["snapshot-create-as", "laden", "s2", "--disk-only", "--atomic"])?;
    // Its owner does not want it started again while it is looked at.
    scenario.change("domain", "laden", &serde_json::json!({"runStrategy": "Manual"}))?;
    host.virsh(&["managedsave", "laden"])?;
    let listed =
        |command: &str| host.virsh(&[command, "laden", "--name"]).map(|names| names.split_whitespace().count());
    assert_eq!((listed("snapshot-list")?, listed("checkpoint-list")?), (2, 1));
    let own = [
        "lib/qemu/nvram/laden_VARS.fd".to_owned(),
        "lib/qemu/save/laden.save".to_owned(),
        format!("lib/swtpm/{uuid}"),
        "lib/qemu/snapshot/laden/s1.xml".to_owned(),
        "lib/qemu/checkpoint/laden/c1.xml".to_owned(),
    ];
    for file in &own {
        ensure!(host.path(file).exists(), "there is no {file}");
    }
    scenario.await_condition("domain/laden", "Synced", ("True", "ReconcileSuccess", ""))?;

    scenario.delete(&["domain/laden"])?;
    scenario.await_gone(&["domain/laden"])?;
    for file in &own {
        ensure!(!host.path(file).exists(), "{file} is left");
    }
    // Its disk and what others made over it are data, and stay.
    for disk in ["root", "root.s1", "root.s2"] {
        ensure!(std::fs::exists(format!("{}/{disk}", scenario.folder()))?, "{disk} is gone");
    }
    scenario.await_ready(&["volume/root"])
}

#[test]
fn firmware_variables_and_the_state_of_a_tpm_stay_where_the_object_says_so_and_only_there() -> Result<()> {
    let scenario = STAGE.scenario("keeper")?;
    let guest = |kept: bool| {
        let rest = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
        manifest(
            "Domain",
            "keeper",
            &format!("{rest}, os: {{firmware: Efi, keepNvram: {kept}}}, tpm: {{keepState: {kept}}}"),
        )
    };
    let make = |kept| -> Result<[std::path::PathBuf; 2]> {
        scenario.apply(&guest(kept))?;
        scenario.await_ready(&["domain/keeper"])?;
        let uuid = scenario.host().virsh(&["domuuid", "keeper"])?;
        let host = scenario.host();
        Ok([host.path("lib/qemu/nvram/keeper_VARS.fd"), host.path(&format!("lib/swtpm/{}", uuid.trim()))])
    };
    let go = || {
        scenario.delete(&["domain/keeper"])?;
        scenario.await_gone(&["domain/keeper"])
    };
    let [nvram, tpm] = make(true)?;
    let made = fs::metadata(&nvram)?.ino();
    go()?;
    ensure!(tpm.exists(), "the TPM's state is gone");
    assert_eq!(fs::metadata(&nvram)?.ino(), made, "the variables are others");
    let left = scenario.host().virsh(&["list", "--all", "--name"])?;
    ensure!(!left.contains("keeper"), "{left}");

    // The next of its name finds the one, and has a TPM of its own.
    let [nvram, second] = make(false)?;
    assert_eq!(fs::metadata(&nvram)?.ino(), made, "the variables are others");
    assert_ne!(second, tpm);
    go()?;
    ensure!(!nvram.exists() && !second.exists(), "something is left");
    ensure!(tpm.exists(), "the TPM's state is gone");
    Ok(())
}

#[test]
fn guests_of_one_name_in_two_namespaces_are_two_once_they_have_two_names_on_the_host() -> Result<()> {
    let scenario = STAGE.scenario("twice")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_ready(&["domain/twice"])?;
    let (first, identity) = (scenario.namespace().name(), scenario.identity()?);
    let uid = scenario.object("domain", "twice")?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let other = Namespace::create(&scenario.stage().plane().client())?;
    let parameters = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
    other.apply(&manifest("Domain", "twice", parameters))?;
    let message = format!(
        "domain \"twice\" is on the host already and is not ours: it belongs to Domain {first}/twice (UID {uid}). It is left alone; choose another \
         name with the annotation crossplane.io/external-name, or delete that object"
    );
    await_in(&other, "Ready", ("False", "ForeignObject", &message))?;
    assert_eq!(scenario.identity()?, identity);

    other.kubectl(&["annotate", "domain", "twice", "crossplane.io/external-name=twice-again", "--overwrite"])?;
    await_in(&other, "Ready", ("True", "Available", ""))?;
    let names = || scenario.host().virsh(&["list", "--name"]);
    let both = names()?;
    ensure!(["twice", "twice-again"].iter().all(|name| both.lines().any(|line| line.trim() == *name)), "{both}");
    other.kubectl(&["delete", "domain", "twice"])?;
    let left = names()?;
    ensure!(!left.contains("twice-again"), "{left}");
    assert_eq!(scenario.identity()?, identity);
    scenario.await_ready(&["domain/twice"])
}

fn await_in(namespace: &Namespace, kind: &str, wished: (&str, &str, &str)) -> Result<()> {
    tests::eventually(PATIENCE, || {
        let object = namespace.get("domain", "twice")?.unwrap_or_default();
        let found = tests::condition(&object, kind)?;
        ensure!(found == wished, "{found:?}, wished {wished:?}");
        Ok(())
    })
}
