//! Objects find each other by name, label and owner, in their own and other namespaces. Polls are an hour apart here: what happens
//! soon after a change happens because of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Scenario, SharedStage, Stage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("linked", &["--poll=1h"]);

/// The manifest with these labels.
fn labelled(manifest: &str, labels: &str) -> String {
    manifest.replacen("}\nspec:", &format!(", labels: {{{labels}}}}}\nspec:"), 1)
}

/// What selectors of an object chose, as it is written down.
fn choices(object: &Value) -> Value {
    let text = object["metadata"]["annotations"]["libvirt.nourspeed.io/references"].as_str().unwrap_or("null");
    serde_json::from_str(text).unwrap()
}

/// Asks for a pass and waits until it is over.
fn pass(scenario: &Scenario<'_>, kind: &str, name: &str, token: &str) -> Result<Value> {
    let asked = format!("crossplane.io/reconcile-requested-at={token}");
    scenario.namespace().kubectl(&["annotate", kind, name, "--overwrite", &asked])?;
    scenario.await_object(kind, name, |object| {
        ensure!(object["status"]["lastHandledReconcileAt"] == json!(token), "no pass yet");
        Ok(object.clone())
    })
}

/// The files of a guest's disks, and those below them.
fn disks(scenario: &Scenario<'_>, guest: &str) -> Result<String> {
    scenario.host().virsh(&["dumpxml", guest, "--xpath", "//source/@file"])
}

fn guest(name: &str, parameters: &str) -> String {
    let fixed = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
    manifest("Domain", name, &format!("{fixed}, {parameters}"))
}

// ---- owners ----

/// One of each kind and an overlay, linked by their owner alone where one of a kind is there.
fn owned_set(scenario: &Scenario<'_>, owner: &str) -> Result<String> {
    scenario.apply(&format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {owner}}}}}"))?;
    let uid = scenario.object("configmap", owner)?["metadata"]["uid"].as_str().context("read the UID")?.to_owned();
    let folder = format!("target: {{path: {}-{owner}}}", scenario.folder());
    let base = manifest("Volume", &format!("{owner}-base"), "poolSelector: {matchControllerRef: true}, capacity: 8Mi");
    let root = "poolSelector: {matchControllerRef: true}, \
                backingStore: {volumeSelector: {matchControllerRef: true, matchLabels: {part: base}}}";
    let seed = "poolSelector: {matchControllerRef: true}, userData: {inline: x}";
    let links = "disks: [{name: root, volumeSelector: {matchControllerRef: true, matchLabels: {part: root}}}], \
                 networkInterfaces: [{name: lan, networkSelector: {matchControllerRef: true}}], \
                 cloudInitSelector: {matchControllerRef: true}";
    let set = guest(&format!("{owner}-guest"), links)
        + &manifest("CloudInit", &format!("{owner}-seed"), seed)
        + &labelled(&manifest("Volume", &format!("{owner}-root"), root), "part: root")
        + &labelled(&base, "part: base")
        + &manifest("Network", &format!("{owner}-net"), "mode: Isolated")
        + &manifest("Pool", &format!("{owner}-pool"), &folder);
    let owner = format!("{{apiVersion: v1, kind: ConfigMap, name: {owner}, uid: {uid}, controller: true}}");
    Ok(set.replace("metadata: {", &format!("metadata: {{ownerReferences: [{owner}], ")))
}

#[test]
fn objects_of_one_owner_find_each_other_and_leave_those_of_another_alone() -> Result<()> {
    let scenario = STAGE.scenario("owners")?;
    // What belongs to nobody is nobody's, though it comes first by name and is there before.
    let nobodys =
        labelled(&manifest("Pool", "a-pool", &format!("target: {{path: {}-a}}", scenario.folder())), "part: base");
    scenario.apply(&nobodys)?;
    scenario.await_ready(&["pool/a-pool"])?;
    let sets = ["one", "two"];
    let kinds = |owner: &str| {
        ["domain/-guest", "cloudinit/-seed", "volume/-root", "volume/-base", "network/-net", "pool/-pool"]
            .map(|object| object.replace("/-", &format!("/{owner}-")))
    };
    for owner in sets {
        scenario.apply(&owned_set(&scenario, owner)?)?;
    }
    for owner in sets {
        scenario.await_ready(&kinds(owner).each_ref().map(String::as_str))?;
        let domain = scenario.object("domain", &format!("{owner}-guest"))?;
        let chosen = json!({
            "cloudInit": format!("{owner}-seed"),
            "disks[root].volume": format!("{owner}-root"),
            "networkInterfaces[lan].network": format!("{owner}-net"),
        });
        assert_eq!(choices(&domain), chosen);
        let root = scenario.object("volume", &format!("{owner}-root"))?;
        let chosen = json!({"backingStore.volume": format!("{owner}-base"), "pool": format!("{owner}-pool")});
        assert_eq!(choices(&root), chosen);
        let folder = format!("{}-{owner}/", scenario.folder());
        let disks = disks(&scenario, &format!("{owner}-guest"))?;
        // The root, what it stands on, and the seed.
        assert_eq!((disks.lines().count(), disks.matches(&folder).count()), (3, 3), "{disks}");
    }
    // One set goes, in whatever order, and the other does not notice.
    let before = scenario.object("domain", "two-guest")?;
    let one = kinds("one");
    scenario.delete(&one.each_ref().map(String::as_str))?;
    scenario.await_gone(&one.each_ref().map(String::as_str))?;
    let after = scenario.object("domain", "two-guest")?;
    assert_eq!((&after["spec"], choices(&after)), (&before["spec"], choices(&before)));
    scenario.await_ready(&kinds("two").each_ref().map(String::as_str))
}

// ---- waking ----

#[test]
fn a_guest_applied_before_its_volume_is_ready_soon_after_it() -> Result<()> {
    let scenario = STAGE.scenario("early")?;
    scenario.apply(&scenario.pool())?;
    scenario.await_ready(&["pool/early"])?;
    scenario.apply(&guest("named", "disks: [{name: root, volumeRef: {name: late}}]"))?;
    scenario.apply(&guest("chosen", "disks: [{name: root, volumeSelector: {matchLabels: {app: web}}}]"))?;
    let namespace = scenario.namespace().name();
    let missing = format!(
        "cannot resolve references: cannot get referenced resource: waiting for Volume late: there is none in namespace {namespace}"
    );
    scenario.await_condition("domain/named", "Synced", ("False", "ReconcileError", &missing))?;
    let none = format!(
        "cannot resolve references: no resources matched selector: disks[root].volume waits for a Volume in namespace {namespace} with the labels app=web"
    );
    scenario.await_condition("domain/chosen", "Synced", ("False", "ReconcileError", &none))?;
    scenario.apply(&scenario.volume("late", "capacity: 1Mi"))?;
    // Of two that come at once the first by name is chosen, or the one that was there first.
    scenario.apply(&labelled(&scenario.volume("web", "capacity: 1Mi"), "app: web"))?;
    scenario.await_ready(&["domain/named", "domain/chosen"])?;
    assert_eq!(choices(&scenario.object("domain", "chosen")?), json!({"disks[root].volume": "web"}));
    assert_eq!(choices(&scenario.object("domain", "named")?), Value::Null);
    Ok(())
}

#[test]
fn a_guest_that_waits_for_what_it_chose_looks_elsewhere_when_that_matches_no_more() -> Result<()> {
    let scenario = STAGE.scenario("elsewhere")?;
    let stuck = manifest("Volume", "a-stuck", "poolRef: {name: nowhere}, capacity: 1Mi");
    let good = labelled(&scenario.volume("b-good", "capacity: 1Mi"), "app: web");
    scenario.apply(&(scenario.pool() + &labelled(&stuck, "app: web") + &good))?;
    scenario.await_ready(&["volume/b-good"])?;
    scenario.apply(&guest("elsewhere", "disks: [{name: root, volumeSelector: {matchLabels: {app: web}}}]"))?;
    let empty = "cannot resolve references: referenced field was empty (referenced resource may not yet be ready): \
                 waiting for Volume a-stuck: it is not Ready";
    scenario.await_condition("domain/elsewhere", "Synced", ("False", "ReconcileError", empty))?;
    scenario.namespace().kubectl(&["label", "volume", "a-stuck", "app-"])?;
    scenario.await_ready(&["domain/elsewhere"])?;
    assert_eq!(choices(&scenario.object("domain", "elsewhere")?), json!({"disks[root].volume": "b-good"}));
    Ok(())
}

#[test]
fn a_guest_that_waits_for_the_disk_of_another_gets_it_when_that_one_is_gone() -> Result<()> {
    let scenario = STAGE.scenario("heir")?;
    scenario.apply(&(scenario.pool() + &labelled(&scenario.volume("root", "capacity: 1Mi"), "app: web")))?;
    scenario.apply(&guest("first", "disks: [{name: root, volumeSelector: {matchLabels: {app: web}}}]"))?;
    scenario.await_ready(&["domain/first"])?;
    scenario.apply(&guest("second", "disks: [{name: root, volumeRef: {name: root}}]"))?;
    let taken = format!(
        "cannot resolve references: Volume root is a disk of Domain {}/first: two guests that write to one disk destroy it. \
         Give this one a volume of its own, or readOnly: true on both",
        scenario.namespace().name()
    );
    scenario.await_condition("domain/second", "Synced", ("False", "ReconcileError", &taken))?;
    scenario.delete(&["domain/first"])?;
    scenario.await_gone(&["domain/first"])?;
    scenario.await_ready(&["domain/second"])
}

// ---- choices ----

#[test]
fn a_choice_stays_whatever_becomes_of_labels_and_of_the_provider() -> Result<()> {
    let stage = Stage::start("stable", &["--poll=1h"])?;
    let scenario = stage.scenario("stable")?;
    let web = |name: &str| labelled(&scenario.volume(name, "capacity: 1Mi"), "app: web");
    scenario.apply(&(scenario.pool() + &web("b") + &web("c")))?;
    scenario.await_ready(&["volume/b", "volume/c"])?;
    scenario.apply(&guest("stable", "disks: [{name: root, volumeSelector: {matchLabels: {app: web}}}]"))?;
    scenario.await_ready(&["domain/stable"])?;
    let chosen = json!({"disks[root].volume": "b"});
    let first = scenario.object("domain", "stable")?;
    assert_eq!(
        (choices(&first), &first["spec"]["forProvider"]["disks"][0]["volumeRef"]),
        (chosen.clone(), &Value::Null)
    );
    let files = disks(&scenario, "stable")?;

    // Another one comes before it by name, and it loses its label.
    scenario.apply(&web("a"))?;
    scenario.await_ready(&["volume/a"])?;
    scenario.namespace().kubectl(&["label", "volume", "b", "app-"])?;
    let after = pass(&scenario, "domain", "stable", "labels")?;
    assert_eq!((choices(&after), disks(&scenario, "stable")?), (chosen.clone(), files.clone()));
    stage.end_provider()?.term()?;
    stage.start_provider()?;
    let after = pass(&scenario, "domain", "stable", "restart")?;
    assert_eq!((choices(&after), disks(&scenario, "stable")?), (chosen, files));
    scenario.await_ready(&["domain/stable"])?;

    // And it is in use by it.
    scenario.delete(&["volume/b"])?;
    let user = format!("the volume is used by Domain {}/stable; it is deleted after it", scenario.namespace().name());
    scenario.await_condition("volume/b", "Ready", ("False", "InUse", &user))?;
    scenario.delete(&["domain/stable"])?;
    scenario.await_gone(&["domain/stable", "volume/b"])
}

#[test]
fn what_is_chosen_anew_is_swapped_in_a_drive_and_never_under_a_disk() -> Result<()> {
    let scenario = STAGE.scenario("anew")?;
    let volume = |name: &str, label: &str| labelled(&scenario.volume(name, "format: Raw, capacity: 1Mi"), label);
    scenario.apply(&(scenario.pool() + &volume("disk-2", "disk: 'yes'") + &volume("tools-2", "tools: 'yes'")))?;
    scenario.await_ready(&["volume/disk-2", "volume/tools-2"])?;
    let selector =
        |label: &str| format!("volumeSelector: {{matchLabels: {{{label}: 'yes'}}, policy: {{resolve: Always}}}}");
    let links =
        format!("disks: [{{name: root, {}}}, {{name: drive, device: Cdrom, {}}}]", selector("disk"), selector("tools"));
    scenario.apply(&guest("anew", &links))?;
    scenario.await_ready(&["domain/anew"])?;
    let file = |device: &str| scenario.live(&format!("//disk[@device='{device}']/source/@file"));
    let folder = scenario.folder();
    let at = |name: &str| format!("file=\"{folder}/{name}\"");
    assert_eq!((file("disk")?, file("cdrom")?), (at("disk-2"), at("tools-2")));

    scenario.apply(&volume("tools-1", "tools: 'yes'"))?;
    scenario.await_host(&at("tools-1"), |_| file("cdrom"))?;
    scenario.apply(&volume("disk-1", "disk: 'yes'"))?;
    let refused = scenario.await_object("domain", "anew", |domain| {
        let (status, reason, _) = condition(domain, "UpToDate")?;
        ensure!((status, reason) == ("False", "DiskSourceChanged"), "{status} {reason}");
        Ok(domain.clone())
    })?;
    assert_eq!(file("disk")?, at("disk-2"));
    // What the guest has stays its own, whatever is chosen by now.
    assert_eq!(choices(&refused), json!({"disks[drive].volume": "tools-1", "disks[root].volume": "disk-2"}));
    scenario.delete(&["volume/disk-2"])?;
    let user = format!("the volume is used by Domain {}/anew; it is deleted after it", scenario.namespace().name());
    scenario.await_condition("volume/disk-2", "Ready", ("False", "InUse", &user))?;
    assert_eq!(file("disk")?, at("disk-2"));
    scenario.delete(&["domain/anew"])?;
    scenario.await_gone(&["domain/anew", "volume/disk-2"])
}

#[test]
fn a_disk_stays_its_guests_also_when_its_object_names_another_by_now() -> Result<()> {
    let scenario = STAGE.scenario("kept")?;
    scenario
        .apply(&(scenario.pool() + &scenario.volume("a", "capacity: 1Mi") + &scenario.volume("b", "capacity: 1Mi")))?;
    let on = |name: &str, volume: &str| guest(name, &format!("disks: [{{name: root, volumeRef: {{name: {volume}}}}}]"));
    scenario.apply(&on("kept", "a"))?;
    scenario.await_ready(&["domain/kept"])?;
    scenario.apply(&on("kept", "b"))?;
    scenario.await_object("domain", "kept", |domain| {
        let (_, reason, _) = condition(domain, "UpToDate")?;
        ensure!(reason == "DiskSourceChanged", "{reason}");
        Ok(())
    })?;
    scenario.apply(&on("kept-not", "a"))?;
    let taken = format!(
        "cannot resolve references: Volume a is a disk of Domain {}/kept: two guests that write to one disk destroy it. \
         Give this one a volume of its own, or readOnly: true on both",
        scenario.namespace().name()
    );
    scenario.await_condition("domain/kept-not", "Synced", ("False", "ReconcileError", &taken))?;
    assert!(scenario.host().virsh(&["domstate", "kept-not"]).is_err());
    Ok(())
}

#[test]
fn a_device_that_is_optional_is_left_out_until_it_is_there() -> Result<()> {
    let scenario = STAGE.scenario("optional")?;
    scenario.apply(&(scenario.pool() + &scenario.volume("root", "capacity: 1Mi")))?;
    let policy = "policy: {resolution: Optional}";
    scenario.apply(&guest(
        "optional",
        &format!(
            "disks: [{{name: root, volumeRef: {{name: root}}}}, {{name: data, volumeRef: {{name: data, {policy}}}}}, \
             {{name: more, volumeSelector: {{matchLabels: {{more: 'yes'}}, {policy}}}}}], \
             networkInterfaces: [{{name: lan, networkRef: {{name: lan, {policy}}}}}], \
             cloudInitRef: {{name: seed, {policy}}}, \
             os: {{kernelRef: {{name: kernel, {policy}}}, cmdline: quiet}}"
        ),
    ))?;
    scenario.await_ready(&["domain/optional"])?;
    let count = |what: &str| -> Result<String> {
        let shown = scenario.host().virsh(&["dumpxml", "optional"])?;
        Ok(shown.matches(&format!("<{what}")).count().to_string())
    };
    assert_eq!((count("disk ")?, count("interface ")?, count("kernel>")?), ("1".into(), "0".into(), "0".into()));
    scenario.apply(&scenario.volume("data", "capacity: 1Mi"))?;
    scenario.await_host("2", |_| count("disk "))?;
    scenario.apply(&labelled(&scenario.volume("any", "capacity: 1Mi"), "more: 'yes'"))?;
    scenario.await_host("3", |_| count("disk "))?;
    scenario.apply(&manifest("Network", "lan", "mode: Isolated"))?;
    scenario.await_host("1", |_| count("interface "))?;
    scenario.await_ready(&["domain/optional"])?;
    assert_eq!(choices(&scenario.object("domain", "optional")?), json!({"disks[more].volume": "any"}));
    // The seed stays away; nobody waits for it.
    assert_eq!(count("disk type='file' device='cdrom'")?, "0");

    // What the guest has it keeps, though the object behind it goes and leaves the thing on the host.
    for object in ["volume/data", "network/lan"] {
        let kubectl = |words: &[&str]| scenario.namespace().kubectl(words);
        kubectl(&[
            "patch",
            object,
            "--type=merge",
            "-p",
            r#"{"spec": {"managementPolicies": ["Observe", "Create", "Update"]}}"#,
        ])?;
        kubectl(&["delete", object, "--timeout=60s"])?;
    }
    let patch = ["patch", "domain/optional", "--type=merge", "-p", r#"{"spec": {"forProvider": {"autostart": true}}}"#];
    scenario.namespace().kubectl(&patch)?;
    let autostart = |scenario: &Scenario<'_>| scenario.host().virsh(&["list", "--all", "--autostart", "--name"]);
    scenario.await_host("optional", |scenario| Ok(autostart(scenario)?.trim().to_owned()))?;
    scenario.await_ready(&["domain/optional"])?;
    assert_eq!((count("disk ")?, count("interface ")?), ("3".into(), "1".into()));
    scenario.host().virsh(&["net-destroy", "lan"])?;
    scenario.host().virsh(&["net-undefine", "lan"]).map(drop)
}

// ---- other namespaces ----

#[test]
fn objects_of_another_namespace_are_found_and_kept_while_they_are_used() -> Result<()> {
    let (store, shop) = (STAGE.scenario("store")?, STAGE.scenario("shop")?);
    let folder = format!("target: {{path: {}}}", store.folder());
    let base = manifest("Volume", "golden", "poolRef: {name: base}, capacity: 8Mi");
    store.apply(&(labelled(&manifest("Pool", "base", &folder), "store: fast") + &base))?;
    let other = store.namespace().name();
    let root = format!(
        "poolRef: {{name: base, namespace: {other}}}, backingStore: {{volumeRef: {{name: golden, namespace: {other}}}}}"
    );
    let seed = |name: &str, pool: &str| manifest("CloudInit", name, &format!("{pool}, userData: {{inline: x}}"));
    shop.apply(
        &(manifest("Volume", "root", &root)
            + &seed("named", &format!("poolRef: {{name: base, namespace: {other}}}"))
            + &seed("chosen", &format!("poolSelector: {{matchLabels: {{store: fast}}, namespace: {other}}}"))
            + &guest("shop", "disks: [{name: root, volumeRef: {name: root}}], cloudInitRef: {name: chosen}")),
    )?;
    shop.await_ready(&["volume/root", "cloudinit/named", "cloudinit/chosen", "domain/shop"])?;
    assert_eq!(choices(&shop.object("cloudinit", "chosen")?), json!({"pool": format!("{other}/base")}));

    // What is used is not deleted, wherever its user is.
    store.delete(&["volume/golden", "pool/base"])?;
    let user = |what: &str, object: &str| {
        format!("the {what} is used by {object}; it is deleted after it")
            .replace("shop/", &format!("{}/", shop.namespace().name()))
    };
    store.await_condition("volume/golden", "Ready", ("False", "InUse", &user("volume", "Volume shop/root")))?;
    store.await_object("pool", "base", |pool| {
        let (_, reason, message) = condition(pool, "Ready")?;
        ensure!(reason == "InUse" && message.starts_with("the pool is used by Volume "), "{reason}: {message}");
        Ok(())
    })?;
    // One that is not made yet does not begin with what is being deleted.
    shop.apply(&manifest("Volume", "late", &format!("poolRef: {{name: base, namespace: {other}}}, capacity: 1Mi")))?;
    let leaving = "cannot resolve references: waiting for Pool base: it is being deleted";
    shop.await_condition("volume/late", "Synced", ("False", "ReconcileError", leaving))?;
    shop.delete(&["volume/late", "domain/shop", "volume/root", "cloudinit/named", "cloudinit/chosen"])?;
    shop.await_gone(&["volume/late", "domain/shop", "volume/root", "cloudinit/named", "cloudinit/chosen"])?;
    store.await_gone(&["volume/golden", "pool/base"])
}
