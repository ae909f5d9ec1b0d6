//! What other hands change on the host: put right, left alone, or reported, each as it should be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{PATIENCE, Scenario, SharedStage, condition, manifest};

/// Nothing polls here while a test runs: what is put right was seen by event.
static EVENTS: SharedStage = SharedStage::new("events", &["--poll=10m"]);
/// For what libvirt announces to nobody.
static POLLS: SharedStage = SharedStage::new("polls", &["--poll=2s"]);

/// Far more than an event takes, far less than a poll.
const SECONDS: Duration = Duration::from_mins(1);

/// Makes an object (`kind/name`) look as if it had been made long ago: what vanishes right after its creation is waited for first.
fn age(scenario: &Scenario<'_>, object: &str) -> Result<()> {
    let then =
        ["pending", "succeeded"].map(|mark| format!("crossplane.io/external-create-{mark}=2026-01-01T00:00:00Z"));
    let [pending, succeeded] = then.each_ref().map(String::as_str);
    scenario.namespace().kubectl(&["annotate", "--overwrite", object, pending, succeeded]).map(drop)
}

// ---- seen by event ----

#[test]
fn a_destroyed_guest_runs_again_within_seconds_and_is_the_same() -> Result<()> {
    let scenario = EVENTS.scenario("destroyed")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_ready(&["domain/destroyed"])?;
    let (identity, id) = (scenario.identity()?, domain_id(&scenario)?);
    let begun = Instant::now();
    scenario.host().virsh(&["destroy", "destroyed"])?;
    scenario.await_state("running")?;
    assert!(begun.elapsed() < SECONDS, "it took {:?}", begun.elapsed());
    assert_ne!(domain_id(&scenario)?, id);
    assert_eq!(scenario.identity()?, identity);
    scenario.await_ready(&["domain/destroyed"])
}

#[test]
fn a_guest_that_was_shut_down_stays_off_for_fifteen_seconds_and_is_started_then() -> Result<()> {
    let scenario = EVENTS.scenario("shutdown")?;
    scenario.apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi")))?;
    scenario.await_ready(&["domain/shutdown"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    scenario.host().virsh(&["shutdown", "shutdown", "--mode=acpi"])?;
    console.wait_for_line("poweroff", PATIENCE)?;
    scenario.await_state("shut off")?;
    let off = Instant::now();
    let message = "the guest is Shutoff; it is started again if it stays so for 15s";
    scenario.await_condition("domain/shutdown", "Ready", ("False", "Unavailable", message))?;
    scenario.await_state("running")?;
    let after = off.elapsed();
    assert!(after > Duration::from_secs(13), "it was started after {after:?}");
    assert!(after < Duration::from_secs(15) + SECONDS, "it was started after {after:?}");
    console.wait_for_nth("ready", 2, PATIENCE)?;
    scenario.await_ready(&["domain/shutdown"])
}

#[test]
fn an_undefined_guest_is_defined_again_as_it_was_running_or_not() -> Result<()> {
    let scenario = EVENTS.scenario("undefined")?;
    let nic = ", networkInterfaces: [{name: lan, networkRef: {name: undefined}}]";
    scenario.apply(&(scenario.idle_world(nic) + &scenario.network()))?;
    scenario.await_ready(&["domain/undefined"])?;
    let (identity, id) = (scenario.identity()?, domain_id(&scenario)?);
    assert_eq!(identity.lines().count(), 3, "{identity}");

    scenario.host().virsh(&["undefine", "undefined"])?;
    scenario.await_host("yes", persistent)?;
    assert_eq!(domain_id(&scenario)?, id, "the guest was restarted for it");
    assert_eq!(scenario.identity()?, identity);

    scenario.change("domain", "undefined", &json!({"runStrategy": "Halted"}))?;
    scenario.await_state("shut off")?;
    scenario.await_ready(&["domain/undefined"])?;
    age(&scenario, "domain/undefined")?;
    scenario.host().virsh(&["undefine", "undefined"])?;
    scenario.await_host(&identity, Scenario::identity)?;
    scenario.await_ready(&["domain/undefined"])?;
    assert_eq!(scenario.host().virsh(&["domstate", "undefined"])?.trim(), "shut off");

    // Both at once, as an administrator who wants it gone would.
    scenario.change("domain", "undefined", &json!({"runStrategy": "Always"}))?;
    scenario.await_state("running")?;
    scenario.await_ready(&["domain/undefined"])?;
    age(&scenario, "domain/undefined")?;
    scenario.host().virsh(&["undefine", "undefined"])?;
    // It may be defined again before this comes, and is started again then.
    scenario.host().virsh(&["destroy", "undefined"])?;
    scenario.await_state("running")?;
    scenario.await_host("yes", persistent)?;
    assert_eq!(scenario.identity()?, identity);
    scenario.await_ready(&["domain/undefined"])
}

#[test]
fn a_network_stopped_or_undefined_by_hand_comes_back_with_its_uuid() -> Result<()> {
    let scenario = EVENTS.scenario("stopped")?;
    scenario.apply(&scenario.network())?;
    scenario.await_ready(&["network/stopped"])?;
    let facts = |scenario: &Scenario<'_>| net_facts(scenario);
    let uid = scenario.object("network", "stopped")?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let whole = format!("{uid} active:yes persistent:yes");
    assert_eq!(net_facts(&scenario)?, whole);
    for commands in [&["net-destroy"][..], &["net-undefine"], &["net-destroy", "net-undefine"]] {
        age(&scenario, "network/stopped")?;
        for command in commands {
            // What was put right between two commands is as it should be.
            let _ = scenario.host().virsh(&[command, "stopped"]);
        }
        let begun = Instant::now();
        scenario.await_host(&whole, facts)?;
        assert!(begun.elapsed() < SECONDS, "{commands:?} took {:?}", begun.elapsed());
    }
    scenario.await_ready(&["network/stopped"])
}

#[test]
fn a_pool_stopped_or_undefined_by_hand_comes_back_with_its_volumes() -> Result<()> {
    let scenario = EVENTS.scenario("drained")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("root", "capacity: 1Mi")))?;
    scenario.await_ready(&["pool/drained", "volume/root"])?;
    let uid = scenario.object("pool", "drained")?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let whole = format!("{uid} running persistent:yes");
    let facts = |scenario: &Scenario<'_>| pool_facts(scenario);
    assert_eq!(pool_facts(&scenario)?, whole);
    for commands in [&["pool-destroy"][..], &["pool-destroy", "pool-undefine"]] {
        age(&scenario, "pool/drained")?;
        for command in commands {
            let _ = scenario.host().virsh(&[command, "drained"]);
        }
        scenario.await_host(&whole, facts)?;
        scenario.await_ready(&["pool/drained", "volume/root"])?;
        assert!(scenario.host().virsh(&["vol-list", "drained"])?.contains("root"));
    }
    Ok(())
}

fn domain_id(scenario: &Scenario<'_>) -> Result<String> {
    scenario.host().virsh(&["domid", scenario.name()]).map(|id| id.trim().to_owned())
}

/// What follows a key of `virsh …info`.
fn fact<'a>(info: &'a str, key: &str) -> &'a str {
    info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap_or("none").trim()
}

fn persistent(scenario: &Scenario<'_>) -> Result<String> {
    Ok(fact(&scenario.host().virsh(&["dominfo", scenario.name()])?, "Persistent").to_owned())
}

fn net_facts(scenario: &Scenario<'_>) -> Result<String> {
    let info = scenario.host().virsh(&["net-info", scenario.name()])?;
    let (active, persistent) = (fact(&info, "Active"), fact(&info, "Persistent"));
    Ok(format!("{} active:{active} persistent:{persistent}", fact(&info, "UUID")))
}

fn pool_facts(scenario: &Scenario<'_>) -> Result<String> {
    let info = scenario.host().virsh(&["pool-info", scenario.name()])?;
    Ok(format!("{} {} persistent:{}", fact(&info, "UUID"), fact(&info, "State"), fact(&info, "Persistent")))
}

// ---- seen by polls ----

#[test]
fn autostart_flipped_by_hand_is_flipped_back() -> Result<()> {
    let scenario = POLLS.scenario("flipped")?;
    let pool = manifest("Pool", "flipped", &format!("target: {{path: {}}}, autostart: true", scenario.folder()));
    let network = manifest("Network", "flipped", "mode: Isolated, autostart: true");
    let root = scenario.volume("root", "capacity: 1Mi");
    scenario.apply(&(pool + &network + &root + &scenario.idle_guest(", autostart: true")))?;
    scenario.await_ready(&["pool/flipped", "network/flipped", "domain/flipped"])?;
    let flags = |scenario: &Scenario<'_>| {
        let flag =
            |command| scenario.host().virsh(&[command, "flipped"]).map(|info| fact(&info, "Autostart").to_owned());
        Ok([flag("dominfo")?, flag("net-info")?, flag("pool-info")?].join(" "))
    };
    scenario.await_host("enable yes yes", flags)?;
    for command in ["autostart", "net-autostart", "pool-autostart"] {
        scenario.host().virsh(&[command, "flipped", "--disable"])?;
    }
    scenario.await_host("enable yes yes", flags)?;
    // And the other way, where the object says off.
    for kind in ["domain", "network", "pool"] {
        scenario.change(kind, "flipped", &json!({"autostart": false}))?;
    }
    scenario.await_host("disable no no", flags)?;
    for command in ["autostart", "net-autostart", "pool-autostart"] {
        scenario.host().virsh(&[command, "flipped"])?;
    }
    scenario.await_host("disable no no", flags)?;
    scenario.await_ready(&["pool/flipped", "network/flipped", "domain/flipped"])
}

#[test]
fn edits_of_the_definition_are_undone_and_the_running_guest_does_not_notice() -> Result<()> {
    let scenario = POLLS.scenario("edited")?;
    scenario.apply(&scenario.idle_world(", maxMemory: 128Mi, vcpus: 1, maxVcpus: 2"))?;
    scenario.await_ready(&["domain/edited"])?;
    let sizes = "/domain/memory|/domain/currentMemory|/domain/vcpu";
    let (wanted, live, id) = (scenario.inactive(sizes)?, scenario.live("/domain")?, domain_id(&scenario)?);
    let virsh = |args: &[&str]| scenario.host().virsh(args).map(drop);
    virsh(&["setmem", "edited", "100M", "--config"])?;
    virsh(&["setvcpus", "edited", "2", "--config"])?;
    assert_ne!(scenario.inactive(sizes)?, wanted);
    scenario.await_host(&wanted, |scenario| scenario.inactive(sizes))?;
    virsh(&["setmaxmem", "edited", "256M", "--config"])?;
    virsh(&["setvcpus", "edited", "4", "--config", "--maximum"])?;
    scenario.await_host(&wanted, |scenario| scenario.inactive(sizes))?;
    assert_eq!(scenario.live("/domain")?, live);
    assert_eq!(domain_id(&scenario)?, id);
    scenario.await_ready(&["domain/edited"])
}

#[test]
fn a_link_set_down_by_hand_on_the_running_guest_is_set_up_again_each_time() -> Result<()> {
    let scenario = POLLS.scenario("linked")?;
    let mac = "52:54:00:00:0d:01";
    let nic =
        format!(", networkInterfaces: [{{name: lan, networkRef: {{name: linked}}, mac: '{mac}', linkState: Up}}]");
    scenario.apply(&(scenario.idle_world(&nic) + &scenario.network()))?;
    scenario.await_ready(&["domain/linked"])?;
    let id = domain_id(&scenario)?;
    let link = |scenario: &Scenario<'_>| scenario.host().virsh(&["domif-getlink", "linked", mac]);
    let up = link(&scenario)?;
    assert!(up.contains("up"), "{up}");
    for _ in 0..2 {
        // libvirt makes no event of it, but virsh returns when it is down.
        scenario.host().virsh(&["domif-setlink", "linked", mac, "down"])?;
        let begun = Instant::now();
        scenario.await_host(&up, |scenario| link(scenario))?;
        assert!(begun.elapsed() < SECONDS, "it took {:?}", begun.elapsed());
    }
    assert_eq!(domain_id(&scenario)?, id);
    scenario.await_ready(&["domain/linked"])
}

#[test]
fn what_somebody_else_attached_stays_through_our_own_changes() -> Result<()> {
    let scenario = POLLS.scenario("attached")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_ready(&["domain/attached"])?;
    let path = scenario.host().path("theirs.raw").display().to_string();
    fs::File::create(&path)?.set_len(1 << 20)?;
    scenario.host().virsh(&["attach-disk", "attached", &path, "vdq", "--live", "--config"])?;
    let theirs = "//disk[target/@dev='vdq']/source/@file";
    let disk = [scenario.live(theirs)?, scenario.inactive(theirs)?];
    assert!(disk.iter().all(|source| source.contains(&path)), "{disk:?}");
    // A change of ours redefines the domain over what is there.
    scenario.apply(&scenario.volume("more", "capacity: 1Mi"))?;
    let ours =
        json!([{"name": "root", "volumeRef": {"name": "root"}}, {"name": "more", "volumeRef": {"name": "more"}}]);
    scenario.change("domain", "attached", &json!({"disks": ours, "memory": "96Mi"}))?;
    let targets = "//disk/target/@dev";
    let wanted = [" dev=\"vda\"", " dev=\"vdq\"", " dev=\"vdb\""];
    scenario.await_host(&sorted(&wanted.join("\n")), |scenario| Ok(sorted(&scenario.inactive(targets)?)))?;
    scenario.await_host(&sorted(&wanted.join("\n")), |scenario| Ok(sorted(&scenario.live(targets)?)))?;
    wait_for_polls();
    assert_eq!([scenario.live(theirs)?, scenario.inactive(theirs)?], disk);
    scenario.await_ready(&["domain/attached"])
}

fn sorted(lines: &str) -> String {
    let mut lines: Vec<_> = lines.lines().map(str::trim).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// The one wait for nothing: that something is left alone shows only after it was looked at.
fn wait_for_polls() {
    std::thread::sleep(Duration::from_secs(5));
}

#[test]
fn an_external_snapshot_is_survived_and_the_guest_starts_from_its_overlay() -> Result<()> {
    let scenario = POLLS.scenario("backup")?;
    let sizes = "memory: 128Mi, maxMemory: 160Mi, disks: [{name: root, volumeRef: {name: root}}]";
    scenario.apply(&(scenario.storage()? + &scenario.guest(sizes)))?;
    scenario.await_ready(&["domain/backup"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    scenario.host().virsh(&["snapshot-create-as", "backup", "s1", "--disk-only", "--atomic", "--no-metadata"])?;
    let source = "//disk/source/@file";
    let overlay = format!("file=\"{}/root.s1\"", scenario.folder());
    assert_eq!([scenario.live(source)?, scenario.inactive(source)?], [overlay.clone(), overlay.clone()]);
    wait_for_polls();
    // A change of ours redefines the domain, and still leaves the overlay where it is.
    scenario.change("domain", "backup", &json!({"memory": "144Mi"}))?;
    let grown = "<currentMemory unit=\"KiB\">147456</currentMemory>";
    scenario.await_host(grown, |scenario| scenario.inactive("/domain/currentMemory"))?;
    assert_eq!([scenario.live(source)?, scenario.inactive(source)?], [overlay.clone(), overlay.clone()]);
    scenario.await_condition("domain/backup", "Synced", ("True", "ReconcileSuccess", ""))?;
    scenario.host().virsh(&["destroy", "backup"])?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    assert_eq!([scenario.live(source)?, scenario.inactive(source)?], [overlay.clone(), overlay]);
    scenario.await_ready(&["domain/backup"])?;
    scenario.await_condition("domain/backup", "Synced", ("True", "ReconcileSuccess", "")).map(drop)
}

#[test]
fn a_volume_that_vanished_with_its_mount_is_lost_and_made_again_only_when_allowed() -> Result<()> {
    let scenario = POLLS.scenario("lost")?;
    let folder = scenario.folder();
    fs::create_dir_all(&folder)?;
    scenario.host().run("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", &folder])?;
    scenario.apply(&(scenario.pool() + &scenario.volume("data", "capacity: 4Mi")))?;
    scenario.await_ready(&["pool/lost", "volume/data"])?;
    scenario.host().run("test", &["-f", &format!("{folder}/data")])?;
    scenario.host().run("umount", &[&folder])?;
    let uid = scenario.object("volume", "data")?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let message = format!(
        "the volume was there and is gone; it is not made again by itself, because its data would be missing. \
         Bring it back, or allow an empty one with the annotation libvirt.nourspeed.io/recreate: {uid}"
    );
    scenario.await_condition("volume/data", "Ready", ("False", "Lost", &message))?;
    scenario.await_condition(
        "volume/data",
        "Synced",
        ("False", "ReconcileError", &format!("observe failed: {message}")),
    )?;
    wait_for_polls();
    assert_eq!(fs::read_dir(&folder)?.count(), 0, "something was made below the missing mount");
    // The wrong UID, as of a copied manifest, allows nothing.
    annotate(&scenario, "libvirt.nourspeed.io/recreate=somebody-else")?;
    wait_for_polls();
    assert_eq!(fs::read_dir(&folder)?.count(), 0, "something was made for a wrong UID");
    annotate(&scenario, &format!("libvirt.nourspeed.io/recreate={uid}"))?;
    scenario.await_ready(&["volume/data"])?;
    ensure!(fs::metadata(format!("{folder}/data"))?.is_file(), "there is no file");
    Ok(())
}

fn annotate(scenario: &Scenario<'_>, annotation: &str) -> Result<()> {
    scenario.namespace().kubectl(&["annotate", "--overwrite", "volume", "data", annotation]).map(drop)
}

#[test]
fn a_guest_whose_secret_is_gone_is_shown_as_it_is_stopped_when_asked_and_not_started() -> Result<()> {
    let scenario = EVENTS.scenario("bereft")?;
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: desk}\nstringData: {vnc: sesame}\n";
    let console = ", graphics: [{type: Vnc, passwordSecretRef: {name: desk, key: vnc}}]";
    scenario.apply(&(scenario.idle_world(console) + secret))?;
    scenario.await_ready(&["domain/bereft"])?;
    let shows = |state: &'static str, ready: &'static str| {
        scenario.await_object("domain", "bereft", |domain| {
            let seen = &domain["status"]["atProvider"]["state"];
            ensure!(seen.as_str().is_some_and(|seen| seen.starts_with(state)), "the state is {seen}");
            ensure!(condition(domain, "Ready")?.0 == ready, "{:?}", condition(domain, "Ready"));
            ensure!(condition(domain, "Synced")?.0 == "False", "{:?}", condition(domain, "Synced"));
            ensure!(condition(domain, "UpToDate")?.1 == "Unresolved", "{:?}", condition(domain, "UpToDate"));
            Ok(())
        })
    };
    scenario.namespace().kubectl(&["delete", "secret", "desk"])?;
    shows("Running", "True")?;
    scenario.host().virsh(&["destroy", "bereft"])?;
    shows("Shutoff", "False")?;
    wait_for_polls();
    assert_eq!(scenario.host().virsh(&["domstate", "bereft"])?.trim(), "shut off");

    scenario.apply(secret)?;
    scenario.await_ready(&["domain/bereft"])?;
    scenario.namespace().kubectl(&["delete", "secret", "desk"])?;
    shows("Running", "True")?;
    let forced = json!({"runStrategy": "Halted", "shutdown": {"timeout": "3s", "forceAfterTimeout": true}});
    scenario.change("domain", "bereft", &forced)?;
    scenario.await_state("shut off")?;
    shows("Shutoff", "True")
}
