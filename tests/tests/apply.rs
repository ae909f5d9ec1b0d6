//! A Composition applies its whole object over and over: nobody fights, nothing is lost, nothing is written that is so already.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, Stage, eventually, manifest};

/// The field manager of a Composition's resources has such a name.
const COMPOSITION: &str = "apiextensions.crossplane.io/composed/0123456789abcdef";
/// Another tool that owns a part of the object.
const OTHER: &str = "team";

/// Applies as this manager, and takes nothing from others.
fn apply_as(scenario: &Scenario<'_>, manager: &str, object: &Value) -> Result<()> {
    let by = format!("--field-manager={manager}");
    let args = ["-n", scenario.namespace().name(), "apply", "--server-side", &by, "-f", "-"];
    scenario.stage().plane().client().run_with_input(&args, &object.to_string()).map(drop)
}

/// What the Composition wants: everything but the disk `data` and the team's label.
fn composed(scenario: &Scenario<'_>) -> Value {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
        "metadata": {
            "name": scenario.name(),
            "labels": {"crossplane.io/composite": "shop"},
            "annotations": {"crossplane.io/composition-resource-name": "guest"},
        },
        "spec": {
            "managementPolicies": ["*"],
            "providerConfigRef": {"kind": "ClusterProviderConfig", "name": "default"},
            "writeConnectionSecretToRef": {"name": "guest"},
            "forProvider": {
                "type": "Qemu", "memory": "64Mi", "vcpus": 1, "shutdown": {"timeout": "1s", "forceAfterTimeout": true},
                "disks": [{"name": "root", "volumeRef": {"name": "root"}, "bootOrder": 1}],
                "networkInterfaces": [{"name": "lan", "networkRef": {"name": scenario.name()}}],
                "consoles": [{"name": "serial"}],
                "graphics": [{"type": "Vnc", "listen": "127.0.0.1"}],
                "rng": {},
            },
        },
    })
}

fn of_the_team(scenario: &Scenario<'_>) -> Value {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Domain",
        "metadata": {"name": scenario.name(), "labels": {"team": "shop"}},
        "spec": {"forProvider": {"disks": [{"name": "data", "volumeRef": {"name": "data"}}]}},
    })
}

#[test]
fn twenty_applies_of_a_whole_object_change_nothing_and_lose_nothing() -> Result<()> {
    let stage = Stage::start("apply", &["--poll=1s"])?;
    let scenario = stage.scenario("apply")?;
    let volumes = scenario.volume("root", "capacity: 1Mi") + &scenario.volume("data", "capacity: 1Mi");
    scenario.apply(&(scenario.pool() + &volumes + &scenario.network()))?;
    apply_as(&scenario, COMPOSITION, &composed(&scenario))?;
    apply_as(&scenario, OTHER, &of_the_team(&scenario))?;
    scenario.await_all_ready(2 * PATIENCE)?;
    let disks = "//disk/target/@dev";
    scenario.await_host("dev=\"vda\"\n dev=\"vdb\"", |scenario| scenario.live(disks))?;
    let settled = await_rest(&scenario)?;
    let written = writes(&stage)?;

    for round in 0..20 {
        apply_as(&scenario, COMPOSITION, &composed(&scenario)).with_context(|| format!("apply {round}"))?;
        apply_as(&scenario, OTHER, &of_the_team(&scenario)).with_context(|| format!("apply {round} of the team"))?;
        let object = shown(&scenario)?;
        assert_eq!(version(&object), version(&settled), "apply {round} changed something");
    }
    // Two polls later it is so still.
    sleep(Duration::from_secs(3));
    let after = shown(&scenario)?;
    assert_eq!(after, settled);
    assert!((writes(&stage)? - written).abs() < 0.5, "the provider wrote something");

    let named = |list: &Value| {
        let all = list.as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|entry| entry["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(named(&after["spec"]["forProvider"]["disks"]), ["root", "data"]);
    assert_eq!(named(&after["status"]["atProvider"]["disks"]), ["root", "data"]);
    assert_eq!(scenario.live(disks)?, "dev=\"vda\"\n dev=\"vdb\"");
    check_owners(&after);
    check_edit(&scenario)
}

/// Domains that say much of what libvirt fills in, expands, reorders or renames.
fn many(scenario: &Scenario<'_>) -> String {
    let rich = format!(
        "type: Qemu, memory: 32Mi, maxMemory: 64Mi, vcpus: 1, maxVcpus: 4, autostart: false, iothreads: 1, \
         shutdown: {{timeout: 1s, forceAfterTimeout: true}}, \
         cpu: {{mode: Custom, model: qemu64, features: [{{name: avx, policy: Disable}}], topology: {{sockets: 2, cores: 2}}}}, \
         features: {{acpi: true, apic: true, hyperv: {{relaxed: true, vapic: true}}}}, \
         clock: {{offset: Utc, timers: [{{name: Rtc, tickPolicy: Catchup}}, {{name: Pit, tickPolicy: Delay}}]}}, \
         lifecycle: {{onCrash: Restart}}, os: {{boot: [Network]}}, \
         networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}, model: E1000}}, {{name: user, user: {{}}}}], \
         consoles: [{{name: serial}}, {{name: second, log: true}}], guestAgent: true, channels: [{{name: talk, target: org.example.talk.0}}], \
         graphics: [{{type: Vnc, listen: 127.0.0.1}}], video: {{model: Vga}}, rng: {{}}, watchdog: {{action: Reset}}, \
         sound: {{model: Ich9}}, inputs: [{{name: pen, type: Tablet, bus: Usb}}], balloon: {{}}, panic: {{}}",
        name = scenario.name()
    );
    (0..MANY).map(|at| manifest("Domain", &format!("rich-{at}"), &rich)).collect()
}

/// The lines that only one of two looks has.
fn differing(before: &[String], after: &[String]) -> Vec<String> {
    let lines = |seen: &[String]| seen.iter().flat_map(|text| text.lines()).map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    gone.chain(after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"))).collect()
}

const MANY: u16 = 20;
const ROUNDS: u16 = 50;

#[test]
fn a_thousand_applies_and_as_many_passes_change_nothing() -> Result<()> {
    let stage = Stage::start("thousand", &["--poll=1s"])?;
    let scenario = stage.scenario("thousand")?;
    let objects = many(&scenario);
    // One that gives no addresses: firmware asks for them at any time, or in vain where much goes on, and what it gets is told.
    let network = manifest("Network", scenario.name(), "mode: Nat, ips: [{cidr: 192.168.91.1/24}]");
    scenario.apply(&(network + &objects))?;
    scenario.await_all_ready(2 * PATIENCE)?;
    let look = || -> Result<Vec<String>> {
        let domains = scenario.namespace().kubectl(&["get", "domains", "-o=yaml", "--show-managed-fields"])?;
        let mut seen = vec![domains];
        for at in 0..MANY {
            let name = format!("rich-{at}");
            seen.push(scenario.host().virsh(&["dumpxml", &name])?);
            seen.push(scenario.host().virsh(&["dumpxml", "--inactive", &name])?);
        }
        Ok(seen)
    };
    let figures = || -> Result<[f64; 3]> {
        let samples = stage.metrics()?;
        let passes = |name: &str| name.starts_with("controller_runtime_reconcile_total{") && name.contains("domain");
        let defines = |name: &str| name.contains("call=\"virDomainDefine");
        let of = |is: &dyn Fn(&str) -> bool| samples.iter().filter(|(name, _)| is(name)).map(|(_, count)| count).sum();
        Ok([of(&passes), of(&defines), writes(&stage)?])
    };
    let (before, [passes, defines, written]) = eventually(PATIENCE, || {
        let (figures, seen) = (figures()?, look()?);
        sleep(Duration::from_secs(5));
        ensure!(look()? == seen, "something is written still");
        Ok((seen, figures))
    })?;
    assert!(defines >= f64::from(MANY), "defines are counted: {defines}");
    for _ in 0..ROUNDS {
        scenario.apply(&objects)?;
    }
    let wished = passes + f64::from(MANY * ROUNDS);
    eventually(2 * PATIENCE, || {
        let [passes, ..] = figures()?;
        ensure!(passes >= wished, "{passes} passes, wished {wished}");
        Ok(())
    })?;
    let after = figures()?;
    let changed = differing(&before, &look()?);
    assert!(changed.is_empty(), "this is other than before: {changed:#?}");
    assert_eq!(after[1..], [defines, written], "something was defined or written");
    Ok(())
}

/// The Composition wants something else: that is done, and the rest stays.
fn check_edit(scenario: &Scenario<'_>) -> Result<()> {
    let mut edited = composed(scenario);
    edited["spec"]["forProvider"]["autostart"] = json!(true);
    apply_as(scenario, COMPOSITION, &edited)?;
    scenario.await_host("enable", |scenario| {
        let info = scenario.host().virsh(&["dominfo", scenario.name()])?;
        Ok(info.lines().find_map(|line| line.strip_prefix("Autostart:")).unwrap_or_default().to_owned())
    })?;
    let before = await_rest(scenario)?;
    for _ in 0..3 {
        apply_as(scenario, COMPOSITION, &edited)?;
    }
    sleep(Duration::from_secs(2));
    let after = shown(scenario)?;
    assert_eq!(after, before);
    assert_eq!(after["metadata"]["labels"]["team"], "shop");
    check_owners(&after);
    Ok(())
}

/// The spec is those two's; the provider has the status and its own metadata.
fn check_owners(object: &Value) {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let of = |manager: &'static str| entries.iter().filter(move |entry| entry["manager"] == manager);
    assert_eq!((of(COMPOSITION).count(), of(OTHER).count()), (1, 1), "{entries:?}");
    let mut parts = Vec::new();
    for entry in of("provider-libvirt") {
        let fields = entry["fieldsV1"].as_object().unwrap();
        parts.extend(fields.keys().cloned());
        let labels = &fields.get("f:metadata").map_or(&Value::Null, |metadata| &metadata["f:labels"]);
        let taken = ["f:team", "f:crossplane.io/composite"].iter().any(|label| !labels[label].is_null());
        assert!(!taken, "{labels}");
    }
    parts.sort();
    assert_eq!(parts, ["f:metadata", "f:status"]);
    let others: Vec<&Value> = entries.iter().map(|entry| &entry["manager"]).collect();
    let known = [COMPOSITION, OTHER, "provider-libvirt"];
    assert!(others.iter().all(|manager| known.iter().any(|known| *manager == known)), "{others:?}");
}

/// Waits until nothing has been written to the object for three polls.
fn await_rest(scenario: &Scenario<'_>) -> Result<Value> {
    eventually(PATIENCE, || {
        let before = shown(scenario)?;
        sleep(Duration::from_secs(3));
        ensure!(shown(scenario)? == before, "something is written still");
        Ok(before)
    })
}

/// The object, with its managed fields.
fn shown(scenario: &Scenario<'_>) -> Result<Value> {
    let get = ["get", "domain", scenario.name(), "-o", "json", "--show-managed-fields"];
    Ok(serde_json::from_str(&scenario.namespace().kubectl(&get)?)?)
}

fn version(object: &Value) -> (Value, Value) {
    (object["metadata"]["generation"].clone(), object["metadata"]["resourceVersion"].clone())
}

/// How often the provider has written to the API server.
fn writes(stage: &Stage) -> Result<f64> {
    let is_write = |name: &str| {
        name.starts_with("rest_client_requests_total{") && ["POST", "PATCH"].iter().any(|method| name.contains(method))
    };
    Ok(stage.metrics()?.into_iter().filter(|(name, _)| is_write(name)).map(|(_, count)| count).sum())
}
