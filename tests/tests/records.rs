//! What is ours is known from signed records and fresh looks, never from fields that somebody edited or from what is not seen just now.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Scenario, SharedStage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("records", &["--poll=2s"]);

/// Something that is left alone is looked at a few times first.
fn wait_for_polls() {
    std::thread::sleep(Duration::from_secs(5));
}

fn annotate(scenario: &Scenario<'_>, object: &str, annotation: &str) -> Result<()> {
    scenario.namespace().kubectl(&["annotate", "--overwrite", object, annotation]).map(drop)
}

fn foreign(name: &str, pool: &str) -> String {
    format!(
        "volume {name:?} is in pool {pool:?} already and is not ours: no record of this provider says that this object made it. \
         It is left alone; choose another name with the annotation crossplane.io/external-name, remove it, or take it over \
         with the annotation libvirt.nourspeed.io/adopt: \"true\" and the line volume/{name} in spec.policy.adopt of ClusterProviderConfig default"
    )
}

#[test]
fn a_volume_goes_by_its_record_whatever_name_its_object_has_by_then() -> Result<()> {
    let scenario = STAGE.scenario("renamed")?;
    let host = scenario.host();
    scenario.apply(&(scenario.pool() + &scenario.volume("mine", "capacity: 1Mi")))?;
    scenario.await_ready(&["volume/mine"])?;
    host.virsh(&["vol-create-as", "renamed", "theirs", "2M", "--format", "raw"])?;
    let before = host.virsh(&["vol-dumpxml", "theirs", "renamed"])?;
    annotate(&scenario, "volume/mine", "crossplane.io/external-name=theirs")?;
    scenario.await_condition("volume/mine", "Ready", ("False", "ForeignObject", &foreign("theirs", "renamed")))?;
    scenario.delete(&["volume/mine"])?;
    scenario.await_gone(&["volume/mine"])?;
    assert!(!fs::exists(format!("{}/mine", scenario.folder()))?, "the volume that was made is left");
    assert_eq!(host.virsh(&["vol-dumpxml", "theirs", "renamed"])?, before);
    host.virsh(&["vol-delete", "theirs", "renamed"]).map(drop)
}

#[test]
fn an_overlay_that_no_pool_has_listed_keeps_what_it_stands_on() -> Result<()> {
    let scenario = STAGE.scenario("unlisted")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("base", "capacity: 1Mi")))?;
    scenario.await_ready(&["volume/base"])?;
    let (base, overlay) = (format!("{}/base", scenario.folder()), format!("{}/overlay", scenario.folder()));
    tests::run("qemu-img", &["create", "-q", "-f", "qcow2", "-b", &base, "-F", "qcow2", &overlay])?;
    scenario.delete(&["volume/base"])?;
    let sentence =
        "the volume is used by volume overlay in pool unlisted, which stands on it; it is deleted when nobody uses it";
    scenario.await_condition("volume/base", "Ready", ("False", "InUse", sentence))?;
    wait_for_polls();
    assert!(fs::exists(&base)?);
    fs::remove_file(&overlay)?;
    scenario.await_gone(&["volume/base"])
}

#[test]
fn volumes_that_would_be_made_of_each_other_in_a_circle_are_refused_and_none_is_made() -> Result<()> {
    let scenario = STAGE.scenario("circle")?;
    let on =
        |name: &str, below: &str| scenario.volume(name, &format!("backingStore: {{volumeRef: {{name: {below}}}}}"));
    let of =
        |name: &str, original: &str| scenario.volume(name, &format!("source: {{volumeRef: {{name: {original}}}}}"));
    let stand = [on("a", "b"), on("b", "a"), on("own", "own"), on("above", "a")];
    let copy = [of("copy", "twin"), of("twin", "copy"), of("self", "self"), on("cast", "mould"), of("mould", "cast")];
    scenario.apply(&(scenario.pool() + &stand.concat() + &copy.concat()))?;
    for (name, way) in [
        ("a", ["stands on", "b", "stands on"].as_slice()),
        ("b", &["stands on", "a", "stands on"]),
        ("own", &["stands on"]),
        ("copy", &["copies", "twin", "copies"]),
        ("twin", &["copies", "copy", "copies"]),
        ("self", &["copies"]),
        ("cast", &["stands on", "mould", "copies"]),
        ("mould", &["copies", "cast", "stands on"]),
    ] {
        await_circle(&scenario, name, way)?;
    }
    assert_eq!(scenario.host().volumes("circle")?, [""; 0]);
    // As it says: who waited for one that is made anew of nothing goes on.
    scenario.delete(&["volume/twin"])?;
    scenario.await_gone(&["volume/twin"])?;
    scenario.apply(&scenario.volume("twin", "capacity: 1Mi"))?;
    scenario.await_ready(&["volume/twin", "volume/copy"])?;
    assert_eq!(scenario.host().volumes("circle")?, ["copy", "twin"]);
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)
}

/// Waits until a volume is refused because this way leads from it to itself: every other word is a volume's name.
fn await_circle(scenario: &Scenario<'_>, name: &str, way: &[&str]) -> Result<()> {
    let namespace = scenario.namespace().name();
    let words = way.iter().enumerate();
    let words = words.map(|(at, word)| if at % 2 == 0 { (*word).to_owned() } else { format!("{namespace}/{word}") });
    let own = format!("{namespace}/{name}");
    let way = [vec![own.clone()], words.collect(), vec![own]].concat().join(" ");
    let sentence = format!("the volume would be made of itself: {way}. Create one of them anew");
    scenario.await_object("volume", name, |volume| {
        let (status, _, message) = condition(volume, "Synced")?;
        ensure!(status == "False" && message.contains(&sentence), "Synced is {status}: {message}; wanted {sentence}");
        Ok(())
    })
}

#[test]
fn what_appears_after_a_creation_that_failed_is_somebody_elses() -> Result<()> {
    let scenario = STAGE.scenario("failed")?;
    let host = scenario.host();
    // More than a file can hold on any file system of this test.
    scenario.apply(&(scenario.pool() + &scenario.volume("huge", "format: Raw, capacity: 8000Pi")))?;
    scenario.await_object("volume", "huge", |volume| {
        let (status, _, message) = condition(volume, "Synced")?;
        ensure!(status == "False" && message.starts_with("create failed: create volume: "), "{status}: {message}");
        Ok(())
    })?;
    host.virsh(&["vol-create-as", "failed", "huge", "2M", "--format", "raw"])?;
    let before = host.virsh(&["vol-dumpxml", "huge", "failed"])?;
    scenario.await_condition("volume/huge", "Ready", ("False", "ForeignObject", &foreign("huge", "failed")))?;
    scenario.delete(&["volume/huge"])?;
    scenario.await_gone(&["volume/huge"])?;
    assert_eq!(host.virsh(&["vol-dumpxml", "huge", "failed"])?, before);
    host.virsh(&["vol-delete", "huge", "failed"]).map(drop)
}

#[test]
fn a_pool_that_cannot_be_started_is_not_taken_for_empty() -> Result<()> {
    let scenario = STAGE.scenario("unmounted")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_ready(&["pool/unmounted"])?;
    let (folder, away) = (scenario.folder(), format!("{}.away", scenario.folder()));
    fs::rename(&folder, &away)?;
    scenario.host().virsh(&["pool-destroy", "unmounted"])?;
    scenario.delete(&["pool/unmounted"])?;
    scenario.await_object("pool", "unmounted", |pool| {
        let (_, reason, message) = condition(pool, "Ready")?;
        let says = message.starts_with("the pool cannot be started, so it cannot be told whether it is empty (")
            && message.ends_with("). Mend that, or let the pool go by dropping Delete from managementPolicies");
        ensure!(reason == "PoolUnavailable" && says, "{reason}: {message}");
        Ok(())
    })?;
    wait_for_polls();
    assert!(scenario.host().virsh(&["pool-list", "--all", "--name"])?.contains("unmounted"));
    fs::rename(&away, &folder)?;
    scenario.await_gone(&["pool/unmounted"])
}

#[test]
fn a_field_that_is_unset_waits_for_the_boot_that_gives_it_up() -> Result<()> {
    let scenario = STAGE.scenario("givenup")?;
    scenario.apply(&scenario.idle_world(", cpu: {mode: Maximum}"))?;
    scenario.await_ready(&["domain/givenup"])?;
    scenario.change("domain", "givenup", &json!({"cpu": null}))?;
    let waiting = ("True", "ChangesPending", "waiting for the guest's next boot: cpu.mode");
    scenario.await_condition("domain/givenup", "RestartRequired", waiting)?;
    wait_for_polls();
    scenario.await_condition("domain/givenup", "RestartRequired", waiting)?;
    scenario.host().virsh(&["destroy", "givenup"])?;
    scenario.await_object("domain", "givenup", |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "it still waits");
        Ok(())
    })
}

#[test]
fn a_raw_volume_whose_bytes_say_something_else_is_not_resized() -> Result<()> {
    let scenario = STAGE.scenario("header")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("disk", "format: Raw, capacity: 4Mi")))?;
    scenario.await_ready(&["volume/disk"])?;
    let (disk, other) = (format!("{}/disk", scenario.folder()), scenario.host().path("other").display().to_string());
    // What a guest can do with its own disk: a header that names a file of the host as the place of the data.
    let header = scenario.host().path("header").display().to_string();
    let options = format!("data_file={other},data_file_raw=on");
    tests::run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &options, &header, "1M"])?;
    tests::run("dd", &["status=none", "conv=notrunc", &format!("if={header}"), &format!("of={disk}")])?;
    scenario.host().virsh(&["pool-refresh", "header"])?;
    let before = (fs::metadata(&other)?.len(), tests::run("sha256sum", &[&disk])?);
    scenario.change("volume", "disk", &json!({"capacity": "8Mi"}))?;
    let sentence = "update failed: the volume's first bytes say qcow2, and its object says raw; it is not resized, because the \
                    host would believe the bytes. A guest may have written them";
    scenario.await_condition("volume/disk", "Synced", ("False", "ReconcileError", sentence))?;
    wait_for_polls();
    assert_eq!((fs::metadata(&other)?.len(), tests::run("sha256sum", &[&disk])?), before);
    Ok(())
}

#[test]
fn a_volume_that_one_object_lost_is_not_made_for_another() -> Result<()> {
    let scenario = STAGE.scenario("claimed")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("first", "capacity: 1Mi")))?;
    scenario.await_ready(&["volume/first"])?;
    fs::remove_file(format!("{}/first", scenario.folder()))?;
    scenario.host().virsh(&["pool-refresh", "claimed"])?;
    scenario.await_object("volume", "first", |volume| {
        ensure!(condition(volume, "Ready")?.1 == "Lost", "it is not seen as lost");
        Ok(())
    })?;
    let second = scenario.volume("second", "capacity: 1Mi");
    let named = second.replace("{name: second}", "{name: second, annotations: {crossplane.io/external-name: first}}");
    assert_ne!(named, second);
    scenario.apply(&named)?;
    let sentence = format!(
        "create failed: volume \"first\" in pool claimed belongs to Volume {}/first, which makes it, or lost it and may get it back; choose \
         another name with the annotation crossplane.io/external-name, or delete that object",
        scenario.namespace().name()
    );
    scenario.await_condition("volume/second", "Synced", ("False", "ReconcileError", &sentence))?;
    assert!(!fs::exists(format!("{}/first", scenario.folder()))?);
    Ok(())
}

#[test]
fn a_name_that_xml_would_change_is_refused() -> Result<()> {
    let scenario = STAGE.scenario("oddname")?;
    let odd =
        scenario.pool().replace("{name: oddname}", "{name: oddname, annotations: {crossplane.io/external-name: 'p '}}");
    scenario.apply(&odd)?;
    let sentence = "the annotation crossplane.io/external-name is \"p \": it must not begin or end with white space, contain \
                    control characters or have more than 253 characters";
    scenario.await_condition("pool/oddname", "Synced", ("False", "ReconcileError", sentence))?;
    assert!(!scenario.host().virsh(&["pool-list", "--all", "--name"])?.lines().any(|name| name.trim() == "p"));
    Ok(())
}

#[test]
fn an_old_record_that_is_put_back_owns_nothing_that_another_made_since() -> Result<()> {
    const OWNERSHIP: &str = "libvirt.nourspeed.io/ownership";
    let (first, second) = (STAGE.scenario("replayed")?, STAGE.scenario("since")?);
    first.host().virsh(&["pool-define-as", "shared", "dir", "--target", &first.folder()])?;
    fs::create_dir_all(first.folder())?;
    first.host().virsh(&["pool-start", "shared"])?;
    let volume = |name: &str, called: &str, capacity: &str| {
        let parameters = format!("pool: shared, format: Raw, capacity: {capacity}");
        let metadata = format!("metadata: {{annotations: {{crossplane.io/external-name: {called}}}, ");
        manifest("Volume", name, &parameters).replacen("metadata: {", &metadata, 1)
    };
    // The record is written, and nothing is made.
    first.apply(&volume("old", "coveted", "8000Pi"))?;
    let old = first.await_object("volume", "old", |volume| {
        let annotations = &volume["metadata"]["annotations"];
        ensure!(annotations["crossplane.io/external-create-failed"].is_string(), "{annotations}");
        Ok(annotations[OWNERSHIP].as_str().unwrap_or_default().to_owned())
    })?;
    assert!(old.contains("coveted"));
    annotate(&first, "volume/old", "crossplane.io/external-name=plain")?;
    first.change("volume", "old", &json!({"capacity": "1Mi"}))?;
    first.await_ready(&["volume/old"])?;
    second.apply(&volume("new", "coveted", "1Mi"))?;
    second.await_ready(&["volume/new"])?;

    annotate(&first, "volume/old", &format!("{OWNERSHIP}={old}"))?;
    first.delete(&["volume/old"])?;
    first.await_gone(&["volume/old"])?;
    assert!(first.host().volumes("shared")?.contains(&"coveted".to_owned()), "what another made since is gone");
    second.await_ready(&["volume/new"])?;
    second.delete(&["volume/new"])?;
    second.await_gone(&["volume/new"])?;
    first.host().virsh(&["pool-destroy", "shared"])?;
    first.host().virsh(&["pool-undefine", "shared"]).map(drop)
}

#[test]
fn a_volume_stands_on_what_it_was_made_on_whatever_its_object_says_by_then() -> Result<()> {
    let scenario = STAGE.scenario("switched")?;
    scenario.apply(
        &(scenario.pool() + &scenario.volume("other", "capacity: 1Mi") + &scenario.volume("root", "capacity: 1Mi")),
    )?;
    scenario.await_ready(&["volume/root", "volume/other"])?;
    for patch in [
        json!({"spec": {"managementPolicies": ["Observe"]}}),
        json!({"spec": {"forProvider": {"backingStore": {"volumeRef": {"name": "other"}}}}}),
        json!({"spec": {"managementPolicies": ["*"]}}),
    ] {
        scenario.namespace().kubectl(&["patch", "volume", "root", "--type=merge", "-p", &patch.to_string()])?;
    }
    scenario.await_object("volume", "root", |volume| {
        let (status, reason, message) = condition(volume, "UpToDate")?;
        let wished = format!(
            "the volume stands on nothing, and its object says {}/other; it was not made on that",
            scenario.folder()
        );
        ensure!((status, reason) == ("False", "BackingChanged") && message.starts_with(&wished), "{reason}: {message}");
        Ok(())
    })?;
    scenario.apply(&scenario.idle_guest(", runStrategy: Halted"))?;
    scenario.await_condition("domain/switched", "Synced", ("True", "ReconcileSuccess", ""))?;
    let disk = scenario.inactive("//disk")?;
    assert!(disk.contains("/root") && !disk.contains("/other"), "{disk}");
    Ok(())
}
