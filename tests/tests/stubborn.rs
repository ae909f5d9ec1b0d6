//! A guest that ignores the power button is forced off only where its object allows it; else the status says that it does not obey.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{Console, GuestFiles, ImageServer, Manners, Scene, condition, eventually, guest_files, run};

const PATIENCE: Duration = Scene::PATIENCE;
const ASKED: &str = "the guest was asked to shut down and has 4s to do so";
const IGNORED: &str =
    "the guest did not shut down within 4s and was asked again; set shutdown.forceAfterTimeout to force it off";

#[test]
fn a_guest_that_ignores_its_shutdown_is_forced_only_where_the_object_allows() -> Result<()> {
    let scene = Scene::with_default_host("stubborn", &["--poll=1s"])?;
    let _images = apply_guests(&scene)?;
    scene.await_ready(2 * PATIENCE).with_context(|| scene.log())?;
    let (halted, deleted) = (console(&scene, "halted"), console(&scene, "deleted"));
    halted.wait_for_line("ready", PATIENCE)?;
    deleted.wait_for_line("ready", PATIENCE)?;

    change(&scene, "halted", "{\"runStrategy\": \"Halted\"}")?;
    scene.namespace.kubectl(&["delete", "domain", "deleted", "--wait=false"])?;
    scene.await_condition(("domain", "halted"), "Ready", ("False", "Unavailable", ASKED), PATIENCE)?;
    scene.await_condition(("domain", "halted"), "Ready", ("False", "Unavailable", IGNORED), PATIENCE)?;
    scene.await_condition(("domain", "deleted"), "Ready", ("False", "Deleting", IGNORED), PATIENCE)?;
    // Asked three times, and each time refused; in between the status stands still.
    let version = |name| Ok::<Value, anyhow::Error>(scene.get("domain", name)?["metadata"]["resourceVersion"].clone());
    let before = [version("halted")?, version("deleted")?];
    halted.wait_for_nth("power-button-ignored", 3, PATIENCE)?;
    deleted.wait_for_nth("power-button-ignored", 3, PATIENCE)?;
    assert_eq!(scene.host.virsh(&["list", "--name"])?.split_whitespace().count(), 2, "both run on");
    assert_eq!([version("halted")?, version("deleted")?], before, "the status is written once");

    let begin = Instant::now();
    for name in ["halted", "deleted"] {
        change(&scene, name, "{\"shutdown\": {\"forceAfterTimeout\": true}}")?;
    }
    let off = scene.await_condition(("domain", "halted"), "Ready", ("True", "Available", ""), PATIENCE)?;
    assert_eq!(off["status"]["atProvider"]["state"], "Shutoff (destroyed)");
    assert_eq!(condition(&off, "Synced")?, ("True", "ReconcileSuccess", ""));
    eventually(PATIENCE, || {
        ensure!(scene.namespace.get("domain", "deleted")?.is_none(), "still there");
        Ok(())
    })?;
    assert!(begin.elapsed() < Duration::from_secs(20), "took {:?}", begin.elapsed());
    assert_eq!(scene.host.virsh(&["list", "--all", "--name"])?.split_whitespace().collect::<Vec<_>>(), ["halted"]);
    Ok(())
}

#[test]
fn a_guest_that_may_be_forced_has_its_time_first() -> Result<()> {
    let scene = Scene::with_default_host("forced", &["--poll=1s"])?;
    let _images = apply_guests(&scene)?;
    scene.await_ready(2 * PATIENCE).with_context(|| scene.log())?;
    for name in ["halted", "deleted"] {
        change(&scene, name, "{\"shutdown\": {\"forceAfterTimeout\": true}}")?;
        console(&scene, name).wait_for_line("ready", PATIENCE)?;
    }
    change(&scene, "halted", "{\"runStrategy\": \"Halted\"}")?;
    scene.namespace.kubectl(&["delete", "domain", "deleted", "--wait=false"])?;
    for name in ["halted", "deleted"] {
        console(&scene, name).wait_for_line("power-button-ignored", PATIENCE)?;
    }
    // Not yet: they have had a part of their four seconds.
    sleep(Duration::from_millis(500));
    assert_eq!(scene.host.virsh(&["list", "--name"])?.split_whitespace().count(), 2, "both have time still");
    scene.await_condition(("domain", "halted"), "Ready", ("True", "Available", ""), PATIENCE)?;
    eventually(PATIENCE, || {
        ensure!(scene.namespace.get("domain", "deleted")?.is_none(), "still there");
        Ok(())
    })?;
    for name in ["halted", "deleted"] {
        let asked = console(&scene, name).lines().iter().filter(|line| *line == "power-button-ignored").count();
        assert_eq!(asked, 1, "{name}: asked once, then forced");
    }
    scene.delete_all(PATIENCE)?;
    assert_eq!(scene.on_host()?, Vec::<String>::new());
    Ok(())
}

/// Two test guests that ignore the power button, `halted` and `deleted`, with four seconds to shut down.
fn apply_guests(scene: &Scene) -> Result<ImageServer> {
    let images = ImageServer::start()?;
    let GuestFiles { kernel, initrd, disk: _ } = guest_files()?;
    scene.apply(&[("Pool", "pool", format!("{{target: {{path: {}}}}}", scene.host.path("pool").display()))])?;
    for (name, file) in [("kernel", kernel), ("initrd", initrd)] {
        let url = images.serve(name, &file, Manners::Good);
        let sum = run("sha256sum", &[&file.display().to_string()])?;
        let checksum = sum.split(' ').next().context("read the checksum")?;
        let source = format!("{{http: {{url: '{url}', checksum: 'sha256:{checksum}'}}}}");
        scene.apply(&[("Volume", name, format!("{{poolRef: {{name: pool}}, format: Raw, source: {source}}}"))])?;
    }
    for name in ["halted", "deleted"] {
        let cmdline = format!("{} tiny.ignore_shutdown=1", GuestFiles::COMMAND_LINE);
        let os = format!("{{kernelRef: {{name: kernel}}, initrdRef: {{name: initrd}}, cmdline: '{cmdline}'}}");
        let more = "consoles: [{name: serial, log: true}], shutdown: {mode: Acpi, timeout: 4s}";
        scene.apply(&[("Domain", name, format!("{{type: Qemu, memory: 128Mi, os: {os}, {more}}}"))])?;
    }
    Ok(images)
}

fn console(scene: &Scene, name: &str) -> Console {
    Console::new(scene.host.path(&format!("log/qemu/{name}-serial.log")))
}

fn change(scene: &Scene, name: &str, parameters: &str) -> Result<()> {
    let patch = format!("{{\"spec\": {{\"forProvider\": {parameters}}}}}");
    scene.namespace.kubectl(&["patch", "domain", name, "--type=merge", "-p", &patch]).map(drop)
}
