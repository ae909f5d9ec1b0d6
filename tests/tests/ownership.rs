//! What is not ours is never touched, and what is ours goes in whatever order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests::{Scenario, SharedStage, condition};

static STAGE: SharedStage = SharedStage::new("owner", &["--poll=2s"]);

/// Something that is left alone is looked at a few times first.
fn wait_for_polls() {
    sleep(Duration::from_secs(5));
}

fn uid(scenario: &Scenario<'_>, kind: &str, name: &str) -> Result<String> {
    Ok(scenario.object(kind, name)?["metadata"]["uid"].as_str().unwrap_or_default().to_owned())
}

// ---- foreign objects ----

/// Waits for the refusal and checks that looking, refusing and deleting the object left the foreign thing as it was.
fn left_alone(scenario: &Scenario<'_>, object: &str, message: &str, look: impl Fn() -> Result<String>) -> Result<()> {
    let before = look()?;
    scenario.await_condition(object, "Ready", ("False", "ForeignObject", message))?;
    scenario.await_condition(object, "Synced", ("False", "ReconcileError", &format!("observe failed: {message}")))?;
    wait_for_polls();
    assert_eq!(look()?, before);
    scenario.delete(&[object])?;
    scenario.await_gone(&[object])?;
    assert_eq!(look()?, before);
    Ok(())
}

fn not_made_by_us(what: &str, name: &str) -> String {
    format!(
        "{what} {name:?} is on the host already and is not ours: it was not made by this provider. It is left alone; \
         choose another name with the annotation crossplane.io/external-name, remove it, or take it over \
         with the annotation libvirt.nourspeed.io/adopt: \"true\" and the line {what}/{name} in spec.policy.adopt of ClusterProviderConfig default"
    )
}

#[test]
fn row_21_a_foreign_domain_is_left_alone_stopped_or_running() -> Result<()> {
    let scenario = STAGE.scenario("theirguest")?;
    let host = scenario.host();
    host.virsh_xml(
        "define",
        "<domain type='qemu'><name>theirguest</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>",
    )?;
    let look = || Ok(host.virsh(&["dumpxml", "theirguest"])? + &host.virsh(&["domstate", "theirguest"])?);
    let message = not_made_by_us("domain", "theirguest");
    let ours = scenario.pool() + &scenario.volume("root", "capacity: 1Mi");
    scenario.apply(&(ours + &scenario.idle_guest("")))?;
    left_alone(&scenario, "domain/theirguest", &message, look)?;
    host.virsh(&["start", "theirguest"])?;
    scenario.apply(&scenario.idle_guest(""))?;
    left_alone(&scenario, "domain/theirguest", &message, look)?;
    host.virsh(&["destroy", "theirguest"])?;
    host.virsh(&["undefine", "theirguest"]).map(drop)
}

#[test]
fn a_foreign_network_is_left_alone() -> Result<()> {
    let scenario = STAGE.scenario("theirnet")?;
    let host = scenario.host();
    host.virsh_xml("net-define", "<network><name>theirnet</name><bridge name='virbr-their'/></network>")?;
    let look = || Ok(host.virsh(&["net-dumpxml", "theirnet"])? + &host.virsh(&["net-info", "theirnet"])?);
    scenario.apply(&scenario.network())?;
    left_alone(&scenario, "network/theirnet", &not_made_by_us("network", "theirnet"), look)?;
    host.virsh(&["net-undefine", "theirnet"]).map(drop)
}

#[test]
fn a_foreign_pool_is_left_alone_until_another_name_is_chosen() -> Result<()> {
    let scenario = STAGE.scenario("theirpool")?;
    let host = scenario.host();
    let path = host.path("theirs").display().to_string();
    host.virsh(&["pool-define-as", "theirpool", "dir", "--target", &path])?;
    let look = || Ok(host.virsh(&["pool-dumpxml", "theirpool"])? + &host.virsh(&["pool-info", "theirpool"])?);
    let message = not_made_by_us("pool", "theirpool");
    scenario.apply(&scenario.pool())?;
    left_alone(&scenario, "pool/theirpool", &message, look)?;
    // The cure that the sentence names.
    let named = scenario
        .pool()
        .replace("{name: theirpool}", "{name: theirpool, annotations: {crossplane.io/external-name: ourpool}}");
    scenario.apply(&named)?;
    scenario.await_ready(&["pool/theirpool"])?;
    assert!(host.virsh(&["pool-uuid", "ourpool"])?.contains(&uid(&scenario, "pool", "theirpool")?));
    host.virsh(&["pool-undefine", "theirpool"]).map(drop)
}

#[test]
fn a_foreign_volume_is_left_alone_whatever_annotation_is_copied_to_its_object() -> Result<()> {
    let scenario = STAGE.scenario("theirdisk")?;
    let host = scenario.host();
    scenario.apply(&(scenario.pool() + &scenario.volume("ours", "capacity: 1Mi")))?;
    scenario.await_ready(&["pool/theirdisk", "volume/ours"])?;
    host.virsh(&["vol-create-as", "theirdisk", "theirs", "2M", "--format", "raw"])?;
    fs::write(format!("{}/theirs", scenario.folder()), vec![7; 2 << 20])?;
    let content = format!("{}/theirs", scenario.folder());
    let look = || Ok(tests::run("sha256sum", &[&content])? + &host.virsh(&["vol-dumpxml", "theirs", "theirdisk"])?);
    let message = "volume \"theirs\" is in pool \"theirdisk\" already and is not ours: no record of this provider says that \
                   this object made it. It is left alone; choose another name with the annotation crossplane.io/external-name, \
                   remove it, or take it over with the annotation libvirt.nourspeed.io/adopt: \"true\" and the line volume/theirs \
                   in spec.policy.adopt of ClusterProviderConfig default";
    scenario.apply(&scenario.volume("theirs", "capacity: 4Mi"))?;
    left_alone(&scenario, "volume/theirs", message, look)?;

    // The same with the record of a volume of ours, and the marks of a creation that went well.
    let ours = scenario.object("volume", "ours")?["metadata"]["annotations"].clone();
    let mut copied = ours;
    copied["crossplane.io/external-name"] = "theirs".into();
    let mut object = serde_json::json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
        "metadata": {"name": "copied", "annotations": copied},
        "spec": {"forProvider": {"poolRef": {"name": "theirdisk"}, "capacity": "4Mi"}},
    });
    scenario.apply(&object.to_string())?;
    left_alone(&scenario, "volume/copied", message, look)?;
    // Nor does it make the volume of the first object the second one's.
    let twin = format!(
        "volume \"ours\" is in pool \"theirdisk\" already and is not ours: it belongs to Volume {}/ours. It is left alone; choose \
         another name with the annotation crossplane.io/external-name, or delete that object",
        scenario.namespace().name()
    );
    object["metadata"]["annotations"]["crossplane.io/external-name"] = "ours".into();
    scenario.apply(&object.to_string())?;
    left_alone(&scenario, "volume/copied", &twin, || host.virsh(&["vol-dumpxml", "ours", "theirdisk"]))?;
    scenario.await_ready(&["volume/ours"])
}

// ---- deletion ----

/// Pool, base, overlay, seed, network and guest: every kind, each used by another.
fn everything(scenario: &Scenario<'_>) -> String {
    let name = scenario.name();
    let extra = format!(
        ", networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}}}], cloudInitRef: {{name: {name}}}, autostart: true"
    );
    scenario.pool()
        + &scenario.volume("base", "capacity: 8Mi")
        + &scenario.volume("root", "backingStore: {volumeRef: {name: base}}")
        + &scenario.seed("x", "#!/bin/sh\n")
        + &scenario.network()
        + &scenario.idle_guest(&extra)
}

fn all_of(name: &str) -> [String; 6] {
    [
        format!("pool/{name}"),
        format!("network/{name}"),
        "volume/base".to_owned(),
        "volume/root".to_owned(),
        format!("cloudinit/{name}"),
        format!("domain/{name}"),
    ]
}

fn nothing_is_left(scenario: &Scenario<'_>) -> Result<()> {
    for (kind, command) in [("domain", "list"), ("network", "net-list"), ("pool", "pool-list")] {
        let names = scenario.host().virsh(&[command, "--all", "--name"])?;
        assert!(names.lines().all(|name| name.trim() != scenario.name()), "a {kind} is left: {names}");
    }
    assert!(!fs::exists(scenario.folder())?, "the pool's folder is left");
    Ok(())
}

#[test]
fn everything_deleted_at_once_goes_and_leaves_nothing_on_the_host() -> Result<()> {
    let scenario = STAGE.scenario("atonce")?;
    scenario.apply(&everything(&scenario))?;
    let objects = all_of("atonce");
    let objects = objects.each_ref().map(String::as_str);
    scenario.await_ready(&objects)?;
    scenario.delete(&objects)?;
    scenario.await_gone(&objects)?;
    nothing_is_left(&scenario)
}

#[test]
fn everything_deleted_in_the_most_wrong_order_waits_for_its_user_and_goes() -> Result<()> {
    let scenario = STAGE.scenario("wrongway")?;
    scenario.apply(&everything(&scenario))?;
    let objects = all_of("wrongway");
    let objects = objects.each_ref().map(String::as_str);
    scenario.await_ready(&objects)?;
    let sentences = [
        ("network/wrongway", "the network", "Domain", "wrongway"),
        ("volume/base", "the volume", "Volume", "root"),
        ("volume/root", "the volume", "Domain", "wrongway"),
        ("cloudinit/wrongway", "the cloudinit disk", "Domain", "wrongway"),
    ];
    let namespace = scenario.namespace().name();
    // Two volumes and a seed use the pool; which of them is named is a matter of luck.
    scenario.delete(&["pool/wrongway"])?;
    scenario.await_object("pool", "wrongway", |pool| {
        let (_, reason, message) = condition(pool, "Ready")?;
        let names = message.starts_with("the pool is used by ") && message.ends_with("; it is deleted after it");
        ensure!(reason == "InUse" && names && message.contains(namespace), "{reason}: {message}");
        Ok(())
    })?;
    for (object, what, kind, user) in sentences {
        let sentence = format!("{what} is used by {kind} {namespace}/{user}; it is deleted after it");
        scenario.delete(&[object])?;
        scenario.await_condition(object, "Ready", ("False", "InUse", &sentence))?;
    }
    assert_eq!(scenario.host().virsh(&["domstate", "wrongway"])?.trim(), "running");
    scenario.delete(&["domain/wrongway"])?;
    scenario.await_gone(&objects)?;
    nothing_is_left(&scenario)
}

#[test]
fn objects_deleted_while_they_are_being_made_leave_nothing() -> Result<()> {
    // How far the making is by then depends on the machine: nothing may be left at any point of it.
    for (name, after) in [("regret-0", 0), ("regret-100", 100), ("regret-300", 300), ("regret-700", 700)] {
        let scenario = STAGE.scenario(name)?;
        scenario.apply(&everything(&scenario))?;
        sleep(Duration::from_millis(after));
        let objects = all_of(name);
        let objects = objects.each_ref().map(String::as_str);
        scenario.delete(&objects)?;
        scenario.await_gone(&objects).with_context(|| format!("deleted after {after} ms"))?;
        nothing_is_left(&scenario)?;
    }
    Ok(())
}

#[test]
fn a_volume_that_virsh_gave_to_a_guest_or_to_an_overlay_is_kept_and_its_user_named() -> Result<()> {
    let scenario = STAGE.scenario("shared")?;
    let host = scenario.host();
    scenario.apply(
        &(scenario.pool() + &scenario.volume("disk", "capacity: 1Mi") + &scenario.volume("base", "capacity: 1Mi")),
    )?;
    scenario.await_ready(&["volume/disk", "volume/base"])?;
    let path = format!("{}/disk", scenario.folder());
    host.virsh_xml(
        "define",
        &format!(
            "<domain type='qemu'><name>borrower</name><memory unit='MiB'>32</memory><os><type>hvm</type></os><devices>\
             <disk type='file'><driver name='qemu' type='qcow2'/><source file='{path}'/><target dev='vda' bus='virtio'/></disk>\
             </devices></domain>"
        ),
    )?;
    let base = ["--backing-vol", "base", "--backing-vol-format", "qcow2"];
    host.virsh(&[&["vol-create-as", "shared", "above", "1M", "--format", "qcow2"][..], &base].concat())?;
    scenario.delete(&["volume/disk", "volume/base"])?;
    let domain = "the volume is used by domain borrower on the host; it is deleted when nobody uses it";
    scenario.await_condition("volume/disk", "Ready", ("False", "InUse", domain))?;
    let above =
        "the volume is used by volume above in pool shared, which stands on it; it is deleted when nobody uses it";
    scenario.await_condition("volume/base", "Ready", ("False", "InUse", above))?;
    wait_for_polls();
    for volume in ["disk", "base"] {
        host.virsh(&["vol-info", volume, "shared"])?;
    }
    host.virsh(&["undefine", "borrower"])?;
    scenario.await_gone(&["volume/disk"])?;
    host.virsh(&["vol-delete", "above", "shared"])?;
    scenario.await_gone(&["volume/base"])
}

#[test]
fn a_pool_with_a_file_of_somebody_else_is_kept_with_the_file() -> Result<()> {
    let scenario = STAGE.scenario("guarded")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_ready(&["pool/guarded"])?;
    let file = format!("{}/letter", scenario.folder());
    fs::write(&file, "dear reader\n")?;
    scenario.delete(&["pool/guarded"])?;
    let sentence = "the pool holds 1 volume, letter first; it is deleted when it is empty";
    scenario.await_condition("pool/guarded", "Ready", ("False", "InUse", sentence))?;
    wait_for_polls();
    assert_eq!(fs::read_to_string(&file)?, "dear reader\n");
    assert!(scenario.host().virsh(&["pool-info", "guarded"])?.contains("running"));
    fs::remove_file(&file)?;
    scenario.await_gone(&["pool/guarded"])?;
    nothing_is_left(&scenario)
}
