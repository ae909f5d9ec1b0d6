//! The other rows that no other test shows whole.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Host, PATIENCE, condition, eventually, is_true, manifest};

use super::{left_alone::clients, *};

/// Several manifests of guests that are off.
fn guests<'a>(names: impl IntoIterator<Item = &'a String>, config: &str) -> String {
    names.into_iter().map(|name| object("Domain", name, OFF, ("", &on(config)))).collect()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

/// The Secret that says where the host of a config of [`by_secret`] is.
fn secret(uri: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "host"}, "stringData": {"uri": uri}}).to_string()
}

/// A config `one` whose Secret says where its host is.
fn by_secret() -> String {
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": "one"},
        // An attempt that takes longer than it may is followed by another beside it.
        "spec": {"credentials": {"source": "Secret", "secretRef": {"name": "host"}}, "connection": {"connectTimeout": "1m"}},
    })
    .to_string()
}

fn await_two_clients(host: &Host) -> Result<()> {
    eventually(PATIENCE, || {
        let clients = clients(host)?;
        ensure!(clients == [false, false], "clients: {clients:?}");
        Ok(())
    })
}

// Two connections, one for short calls and one for long ones, and while it is busy one for each call: at most 4 short ones and 3 long ones.
#[test]
fn row_2_all_objects_of_a_config_share_its_connections() -> Result<()> {
    let (scenario, _) = scenario("shared")?;
    let host = Host::start("shared")?;
    scenario.apply(&(secret(&host.uri()) + "\n---\n" + &by_secret()))?;
    let all = names("shared", 20);
    scenario.apply(&guests(&all, "one"))?;
    let most = std::cell::Cell::new(0);
    eventually(PATIENCE, || {
        most.set(most.get().max(clients(&host)?.len()));
        let waiting = scenario.managed()?.into_values().filter(|object| !is_true(object, "Ready")).count();
        ensure!(waiting == 0, "{waiting} are not Ready");
        Ok(())
    })?;
    assert!((2..=7).contains(&most.get()), "{} clients at once", most.get());
    assert_eq!(domains(&host)?.len(), 20);
    await_two_clients(&host)?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn row_3_another_secret_takes_effect_within_15_s_and_the_connections_of_before_go() -> Result<()> {
    let (scenario, _) = scenario("rotated")?;
    let host = Host::start("rotated")?;
    scenario.apply(&(secret("qemu+unix:///system?socket=/nowhere/sock") + "\n---\n" + &by_secret()))?;
    scenario.apply(&guests(&["rotated".to_owned()], "one"))?;
    scenario.await_object("domain", "rotated", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains("/nowhere/sock"), "{message}");
        Ok(())
    })?;
    let begin = Instant::now();
    scenario.apply(&secret(&host.uri()))?;
    scenario.await_condition("domain/rotated", "Synced", OK)?;
    // The row's limit; it is a second on a machine that has nothing else to do.
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    scenario.await_ready(&["domain/rotated"])?;
    await_two_clients(&host)?;
    // Another way to the same host: the connections of before go.
    let before = ids(&host)?;
    let link = host.path("link");
    std::os::unix::fs::symlink(host.socket(), &link)?;
    scenario.apply(&secret(&format!("qemu+unix:///system?socket={}", link.display())))?;
    eventually(PATIENCE, || {
        let now = ids(&host)?;
        ensure!(now.len() == 2 && now.is_disjoint(&before), "before {before:?}, now {now:?}");
        Ok(())
    })?;
    scenario.await_all_ready(PATIENCE)?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

/// The daemon's numbers of its clients.
fn ids(host: &Host) -> Result<BTreeSet<String>> {
    let list = host.run("virt-admin", &["-q", "-c", &left_alone::admin(host), "client-list", "libvirtd"])?;
    Ok(list.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect())
}

#[test]
fn two_configs_for_one_host_are_told_by_an_event() -> Result<()> {
    let (scenario, other) = scenario("twofold")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    configure(&scenario, "else", other, &json!({}))?;
    await_config(&scenario, "one", ("True", "Available", ""))?;
    assert_eq!(said(&scenario, "one")?.len(), 0);
    configure(&scenario, "two", scenario.host(), &json!({}))?;
    let message = format!(
        "leads to the same host as ProviderConfig {}/one: objects of both share its names, and what one config's policy refuses \
         the other's may allow",
        scenario.namespace().name()
    );
    let wanted = ("Warning".to_owned(), "SameHost".to_owned(), message);
    eventually(PATIENCE, || {
        let said = said(&scenario, "two")?;
        ensure!(said.get(&wanted) == Some(&1), "{said:?}");
        Ok(())
    })?;
    assert_eq!(said(&scenario, "else")?.len(), 0);
    Ok(())
}

// The condition's reason is crossplane-runtime's ReconcileError for every cause; the sentence and the config's own reason tell them apart.
#[test]
fn row_9_a_failure_is_told_with_its_cause_by_one_event_and_is_over_once_that_is_mended() -> Result<()> {
    let (scenario, _) = scenario("recorded")?;
    let config = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ProviderConfig", "metadata": {"name": "one"},
        "spec": {"credentials": {"source": "Secret", "secretRef": {"name": "host", "key": "here"}}},
    });
    scenario.apply(&config.to_string())?;
    scenario.apply(&manifest("Domain", "recorded", OFF))?;
    let namespace = scenario.namespace().name();
    let missing = |what: &str| format!("ProviderConfig {namespace}/one: cannot get credentials: {what}");
    let told = |why: String| format!("connect failed: {why}");
    let no_secret = told(missing(&format!("there is no Secret {namespace}/host")));
    scenario.await_condition("domain/recorded", "Synced", ("False", "ReconcileError", &no_secret))?;
    let event = ("Warning".to_owned(), "CannotConnectToProvider".to_owned(), no_secret);
    let secret = |key: &str| {
        let data = json!({key: json!({"uri": scenario.host().uri()}).to_string()});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "host"}, "stringData": data}).to_string()
    };
    eventually(PATIENCE, || {
        let said = said(&scenario, "recorded")?;
        ensure!(said.contains_key(&event), "{said:?}");
        Ok(())
    })?;
    // The key is named too.
    scenario.apply(&secret("there"))?;
    scenario.await_object("domain", "recorded", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        let named = message.contains(&format!("Secret {namespace}/host")) && message.contains("here");
        ensure!(status == "False" && named, "{message}");
        Ok(())
    })?;
    scenario.apply(&secret("here"))?;
    scenario.await_ready(&["domain/recorded"])?;
    let seen = scenario.object("domain", "recorded")?;
    assert_eq!(condition(&seen, "Synced")?, OK);
    assert_eq!(ready(&seen)?, ("True", "Available", ""));
    // Once told, told again by its count alone: no two events have the same sentence, which `said` sees to.
    assert!(said(&scenario, "recorded")?.contains_key(&event));
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn row_15_every_domain_is_on_its_own_host_and_on_no_other() -> Result<()> {
    let (scenario, _) = scenario("own")?;
    let hosts = [Host::start("own-one")?, Host::start("own-two")?];
    let mut wanted = Vec::new();
    for (host, config) in hosts.iter().zip(["one", "two"]) {
        configure(&scenario, config, host, &json!({}))?;
        let mut all = names(&format!("own-{config}"), 30);
        scenario.apply(&guests(&all, config))?;
        all.sort();
        wanted.push(all);
    }
    scenario.await_all_ready(2 * PATIENCE)?;
    let found = || -> Result<Vec<Vec<String>>> {
        let of = |host: &Host| {
            domains(host).map(|mut all| {
                all.sort();
                all
            })
        };
        hosts.iter().map(of).collect()
    };
    assert_eq!(found()?, wanted);
    scenario.delete_all()?;
    scenario.await_all_gone(2 * PATIENCE)?;
    assert_eq!(found()?, vec![Vec::<String>::new(); 2]);
    Ok(())
}

// By the design (§2.1) a domain is named as its object, not after its namespace too: that of another namespace is refused and told (see the
// tests of traces), and two names on the host make them two. A name that no host could keep is refused in the host's words, never cut.
#[test]
fn row_17_the_longest_name_that_libvirt_keeps_is_kept_and_a_longer_one_is_refused_in_its_words() -> Result<()> {
    let (scenario, _) = scenario("long")?;
    configure(&scenario, "one", scenario.host(), &json!({}))?;
    let name = |length: usize| format!("long-{}", "x".repeat(length - 5));
    let (longest, longer) = (name(247), name(253));
    scenario.apply(&(manifest("Domain", &longest, OFF) + &manifest("Domain", &longer, OFF)))?;
    scenario.await_ready(&[&format!("domain/{longest}")])?;
    assert!(has_domain(scenario.host(), &longest)?);
    scenario.await_object("domain", &longer, |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains("File name too long"), "{message}");
        Ok(())
    })?;
    assert!(!has_domain(scenario.host(), &longer)?);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

// Pools are objects of their own (design §2.4); nothing makes one for a namespace by itself.
#[test]
fn row_18_a_pool_that_others_made_is_used_by_its_name_and_outlives_every_object() -> Result<()> {
    let (scenario, _) = scenario("premade")?;
    let host = scenario.host();
    configure(&scenario, "one", host, &json!({}))?;
    host.their_pool("premade")?;
    let identity = || host.virsh(&["pool-uuid", "premade"]);
    let before = identity()?;
    let volume = |name: &str| manifest("Volume", name, "pool: premade, capacity: 1Mi");
    scenario.apply(&(volume("a") + &volume("b")))?;
    scenario.await_all_ready(PATIENCE)?;
    assert_eq!(host.volumes("premade")?, ["a", "b"]);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.volumes("premade")?, [""; 0]);
    assert_eq!(identity()?, before);
    host.virsh(&["pool-destroy", "premade"])?;
    host.virsh(&["pool-undefine", "premade"]).map(drop)
}

// The row's cluster id is not in the mark: the UID of the object tells clusters apart.
#[test]
fn row_19_a_domain_bears_the_mark_of_its_object() -> Result<()> {
    let (scenario, _) = scenario("marked")?;
    let host = Host::start("marked")?;
    configure(&scenario, "one", &host, &json!({}))?;
    scenario.apply(&manifest("Domain", "marked", OFF))?;
    scenario.await_ready(&["domain/marked"])?;
    let mark = || host.virsh(&["metadata", "marked", "https://libvirt.m.nourspeed.io/v1"]);
    let seen = scenario.object("domain", "marked")?;
    let uid = seen["metadata"]["uid"].as_str().context("read the UID")?.to_owned();
    let before = mark()?;
    for part in ["Domain", scenario.namespace().name(), "marked", &uid] {
        assert!(before.contains(part), "{part} is not in {before}");
    }
    host.restart_daemon()?;
    assert_eq!(mark()?, before);
    let definition = host.virsh(&["dumpxml", "--inactive", "marked"])?;
    host.virsh_xml("define", &definition)?;
    assert_eq!(mark()?, before);
    scenario.await_ready(&["domain/marked"])?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

#[test]
fn row_23_the_status_of_a_running_guest_is_what_virsh_tells() -> Result<()> {
    let (scenario, _) = scenario("shown")?;
    let host = scenario.host();
    configure(&scenario, "one", host, &json!({}))?;
    let parameters = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}, \
                      disks: [{name: root, volumeRef: {name: root}}], \
                      networkInterfaces: [{name: lan, networkRef: {name: shown}}], graphics: [{type: Vnc}]";
    scenario.apply(&(scenario.pool() + &scenario.volume("root", "capacity: 1Mi")))?;
    scenario.apply(&(scenario.network() + &manifest("Domain", "shown", parameters)))?;
    scenario.await_all_ready(PATIENCE)?;
    let seen = scenario.observed("domain", "shown")?;
    assert_eq!(host.virsh(&["domstate", "shown", "--reason"])?.trim(), "running (booted)");
    assert!(seen["state"].as_str().is_some_and(|state| state.starts_with("Running")), "{}", seen["state"]);
    assert_eq!(json!(host.virsh(&["domuuid", "shown"])?.trim()), seen["id"]);
    let column = |command: &str, column: usize| -> Result<Vec<String>> {
        let text = host.virsh(&[command, "shown"])?;
        Ok(text.lines().filter_map(|line| line.split_whitespace().nth(column).map(str::to_owned)).collect())
    };
    let list = |field: &str, key: &str| -> Vec<String> {
        let all = seen[field].as_array().into_iter().flatten();
        all.map(|one| one[key].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(column("domblklist", 0)?, list("disks", "target"), "{seen:#}");
    assert_eq!(column("domblklist", 1)?, list("disks", "path"), "{seen:#}");
    assert_eq!(column("domiflist", 4)?, list("networkInterfaces", "mac"), "{seen:#}");
    assert!(host.virsh(&["domdisplay", "shown"])?.starts_with("vnc://"));
    assert!(seen["graphics"][0].is_object(), "{seen:#}");
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}

/// When the provider has begun to change a guest of this name that is there, in seconds of the day.
fn tries(scenario: &Scenario<'_>, name: &str) -> Vec<f64> {
    let guest = format!("{}/{name}\"", scenario.namespace().name());
    let log = scenario.stage().log();
    let begun = log.lines().filter(|line| line.contains(&guest) && line.contains("\"updating\""));
    let time = |line: &str| -> Option<f64> {
        let line: Value = serde_json::from_str(line).ok()?;
        // As in 2026-01-01T12:34:56.789Z.
        let clock = line["timestamp"].as_str()?.split_once('T')?.1.trim_end_matches('Z').to_owned();
        let parts: Vec<f64> = clock.split(':').filter_map(|part| part.parse().ok()).collect();
        Some(parts.iter().fold(0.0, |sum, part| sum * 60.0 + part))
    };
    begun.filter_map(time).collect()
}

/// Waits until a guest says this reason and this sentence of its start, and an event the sentence too.
fn await_told(scenario: &Scenario<'_>, name: &str, (reason, sentence): (&str, &str)) -> Result<()> {
    scenario.await_object("domain", name, |object| {
        let (status, found, message) = condition(object, "Synced")?;
        ensure!((status, found) == ("False", "ReconcileError"), "{status} {found}: {message}");
        ensure!(message.contains("start domain") && message.ends_with(sentence), "{message}");
        let told = condition(object, "Ready")?.1 == reason || condition(object, "UpToDate")?.1 == reason;
        ensure!(told, "{reason} is told nowhere: {:#}", object["status"]);
        Ok(())
    })?;
    let event = |(kind, _, message): &(String, String, String)| kind == "Warning" && message.ends_with(sentence);
    eventually(PATIENCE, || {
        let said = said(scenario, name)?;
        ensure!(said.keys().any(event), "{said:?}");
        Ok(())
    })
}

// What can be known before is refused by its field before anything is made (`offered.rs`). Of a CPU like the host's with one more feature
// only the start knows.
#[test]
fn row_24_a_guest_that_its_host_cannot_start_says_why_in_libvirts_words_is_tried_at_each_poll_at_most_and_clears()
-> Result<()> {
    let (scenario, _) = scenario("unstarted")?;
    let host = scenario.host();
    configure(&scenario, "one", host, &json!({}))?;
    host.virsh_xml("net-define", "<network><name>row-24</name></network>")?;
    let guest = |name: &str, fields: &str| {
        let common = "type: Qemu, memory: 32Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
        manifest("Domain", name, &format!("{common}, {fields}"))
    };
    let cpu = guest("cpu", "cpu: {mode: HostModel, features: [{name: vmx, policy: Require}]}");
    scenario.apply(&(cpu + &guest("lan", "networkInterfaces: [{name: lan, network: row-24}]")))?;
    let wished = [
        (
            "cpu",
            "NotOffered",
            "the CPU is incompatible with host CPU: Host CPU does not provide required features: vmx",
        ),
        ("lan", "NetworkInactive", "Requested operation is not valid: network 'row-24' is not active"),
    ];
    for (name, reason, sentence) in wished {
        await_told(&scenario, name, (reason, sentence))?;
    }
    // A poll is a second here, and nothing that happens meanwhile has it tried sooner. What libvirt does not refuse as it is, is tried at
    // growing pauses (`again.rs`).
    for (name, ..) in wished {
        let times = eventually(PATIENCE, || {
            let times = tries(&scenario, name);
            ensure!(times.len() >= 4, "{} tries: {}", times.len(), scenario.stage().log());
            Ok(times)
        })?;
        let pauses: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]).rem_euclid(86_400.0)).collect();
        assert!(pauses.iter().all(|pause| *pause > 0.99), "{name}: {pauses:?}\n{}", scenario.stage().log());
    }
    host.virsh(&["net-start", "row-24"])?;
    scenario.change("domain", "cpu", &json!({"cpu": {"mode": "HostModel", "features": null}}))?;
    for name in ["cpu", "lan"] {
        scenario.await_ready(&[&format!("domain/{name}")])?;
        scenario.await_condition(&format!("domain/{name}"), "Synced", OK)?;
        assert_eq!(host.virsh(&["domstate", name])?.trim(), "running");
    }
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    host.virsh(&["net-destroy", "row-24"])?;
    host.virsh(&["net-undefine", "row-24"]).map(drop)
}
