//! The admission webhook before a real API server: what `kubectl apply` shows, and that nothing is held up by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod cert_manager;
mod rig;
mod self_signed;

use std::{sync::OnceLock, thread, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use rig::Gate;
use tests::{ControlPlane, PATIENCE, Provider, Scenario, Scratch, Stage, eventually, http_get, manifest_on, workspace};

/// A stage with two configs and the webhook before the API server.
fn stage(name: &str) -> Result<(Stage, Gate)> {
    let gate = Gate::new()?;
    let flags = gate.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["--poll=1h"]).collect();
    let stage = Stage::start_unconfigured(name, &flags)?;
    stage.configure("one", &stage.host().uri(), "")?;
    stage.configure("two", "test:///default", "")?;
    gate.register(stage.plane())?;
    Ok((stage, gate))
}

/// One for the tests that leave it as it is.
fn shared(name: &'static str) -> Result<Scenario<'static>> {
    static STAGE: OnceLock<Result<(Stage, Gate)>> = OnceLock::new();
    let started = STAGE.get_or_init(|| stage("webhook"));
    let (stage, _) = started.as_ref().map_err(|error| anyhow!("start the stage: {error:#}"))?;
    stage.scenario(name)
}

fn one(kind: &str, name: &str, parameters: &str) -> String {
    manifest_on(Some("one"), kind, name, parameters)
}

fn two(kind: &str, name: &str, parameters: &str) -> String {
    manifest_on(Some("two"), kind, name, parameters)
}

/// A guest without an operating system, which obeys nothing but force.
const GUEST: &str = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";

/// With names on the host that no other test uses, and a label that finds it.
fn mine(scenario: &Scenario<'_>, yaml: &str) -> String {
    const BEGIN: &str = "metadata: {name: ";
    let mut parts = yaml.split(BEGIN);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, rest| {
        let name = rest.split('}').next().unwrap_or_default();
        let called = format!("annotations: {{crossplane.io/external-name: {}-{name}}}", scenario.name());
        format!("{text}metadata: {{labels: {{app: web}}, {called}, name: {rest}")
    })
}

/// One of each kind that can be referred to, on the first host; a label finds them.
fn referents(scenario: &Scenario<'_>) -> Result<()> {
    let all = one("Pool", "p", &format!("target: {{path: {}}}", scenario.folder()))
        + &one("Volume", "v", "poolRef: {name: p}, capacity: 1Mi")
        + &one("CloudInit", "c", "poolRef: {name: p}, userData: {inline: x}")
        + &one("Network", "net", "mode: Isolated");
    scenario.apply(&mine(scenario, &all))?;
    scenario.await_ready(&["pool/p", "volume/v", "cloudinit/c", "network/net"])
}

/// What `kubectl apply` says of what is refused.
fn refusal(scenario: &Scenario<'_>, yaml: &str) -> Result<String> {
    match scenario.apply(yaml) {
        Ok(applied) => anyhow::bail!("{yaml} was admitted: {applied}"),
        Err(error) => Ok(format!("{error:#}")),
    }
}

/// Kind and plural of who refers, its word, and the fields before and after what is between them: a reference or a selector.
const FIELDS: [(&str, &str, &str, &str, &str, &str); 8] = [
    ("Domain", "domains", "domain", "cloudInit", "", "cloudinit disk c"),
    ("Domain", "domains", "domain", "disks: [{name: root, volume", "}]", "volume v"),
    ("Domain", "domains", "domain", "networkInterfaces: [{name: lan, network", "}]", "network net"),
    ("Domain", "domains", "domain", "os: {kernel", "}", "volume v"),
    ("Domain", "domains", "domain", "os: {kernelRef: {name: later}, initrd", "}", "volume v"),
    ("Volume", "volumes", "volume", "capacity: 1Mi, pool", "", "pool p"),
    ("Volume", "volumes", "volume", "pool: x, backingStore: {volume", "}", "volume v"),
    ("CloudInit", "cloudinits", "cloudinit disk", "userData: {inline: x}, pool", "", "pool p"),
];

#[test]
fn what_is_on_another_host_is_refused_at_apply_in_the_words_of_the_page() -> Result<()> {
    let scenario = shared("apart")?;
    referents(&scenario)?;
    for (kind, plural, word, before, after, referent) in FIELDS {
        let name = referent.rsplit(' ').next().context("read the name")?;
        for to in [format!("Ref: {{name: {name}}}"), "Selector: {matchLabels: {app: web}}".to_owned()] {
            let memory = if kind == "Domain" { "memory: 64Mi, " } else { "" };
            let said = refusal(&scenario, &two(kind, "me", &format!("{memory}{before}{to}{after}")))?;
            let wished = format!(
                "admission webhook \"{plural}.libvirt.m.nourspeed.io\" denied the request: {referent} uses providerConfig one, \
                 but {word} uses providerConfig two. Resources must use the same libvirt instance"
            );
            assert!(
                said.contains("Error from server (Forbidden)") && said.trim_end().ends_with(&wished),
                "{to}: {said}"
            );
        }
    }
    // What was refused is not there.
    assert_eq!(scenario.managed()?.keys().collect::<Vec<_>>(), ["CloudInit/c", "Network/net", "Pool/p", "Volume/v"]);
    // The same on one host is made, and who names no host follows.
    scenario.apply(&mine(&scenario, &one("Domain", "web", "type: Qemu, memory: 64Mi, cloudInitRef: {name: c}")))?;
    scenario.apply(&manifest_on(None, "Volume", "follows", "poolRef: {name: p}, capacity: 1Mi"))?;
    scenario.await_ready(&["domain/web", "volume/follows"])?;
    let denied = "provider_libvirt_webhook_reviews_total{kind=\"Domain\",verdict=\"denied\"}";
    let metrics = scenario.stage().metrics()?;
    let (count, timed) =
        (metrics.get(denied), metrics.get("provider_libvirt_webhook_review_seconds_count{kind=\"Domain\"}"));
    assert!(count.is_some_and(|count| *count >= 10.0) && timed >= count, "{count:?} {timed:?}");
    Ok(())
}

#[test]
fn a_config_of_the_same_name_is_told_apart_by_kind_and_namespace() -> Result<()> {
    let scenario = shared("alike")?;
    referents(&scenario)?;
    scenario.apply(
        "{apiVersion: libvirt.m.nourspeed.io/v1alpha1, kind: ProviderConfig, metadata: {name: one}, spec: {uri: 'test:///default'}}",
    )?;
    let own = two("Domain", "me", "memory: 64Mi, cloudInitRef: {name: c}")
        .replace("kind: ClusterProviderConfig, name: two", "kind: ProviderConfig, name: one");
    let said = refusal(&scenario, &own)?;
    let wished = format!(
        "cloudinit disk c uses providerConfig ClusterProviderConfig one, but domain uses providerConfig ProviderConfig {}/one. \
         Resources must use the same libvirt instance",
        scenario.namespace().name()
    );
    assert!(said.contains(&wished), "{said}");
    Ok(())
}

#[test]
fn what_is_missing_or_cannot_be_looked_up_is_admitted_with_a_warning() -> Result<()> {
    let scenario = shared("warned")?;
    let namespace = scenario.namespace().name();
    let said = scenario.apply(&one("Domain", "d", "memory: 64Mi, disks: [{name: root, volumeRef: {name: late}}]"))?;
    let late = format!(
        "Warning: disks[root].volume: there is no volume late in namespace {namespace} yet; the domain waits for it\n"
    );
    let label = "Warning: no label libvirt.nourspeed.io/instance: until the provider sets it, nobody can tell by labels which libvirt instance the domain is on\n";
    assert!(said.contains(&late) && said.contains(label), "{said}");
    let said = scenario.apply(&one("Volume", "v", "pool: default, capacity: 1Mi"))?;
    let unchecked = format!(
        "Warning: pool: whether providerConfig one has default is not checked: no Pool of namespace {namespace} stands for it\n"
    );
    assert!(said.contains(&unchecked), "{said}");
    let file = "disks: [{name: root, volume: {pool: p, name: /var/lib/x.img, format: Raw}}]";
    let said = scenario.apply(&one("Domain", "e", &format!("memory: 64Mi, {file}")))?;
    let path = "Warning: disks[root].volume: /var/lib/x.img is a path or URL, which is not checked: \
                another libvirt instance may have something else there\n";
    assert!(said.contains(path), "{said}");
    let said = scenario.apply(&manifest_on(Some("none"), "Network", "net", "mode: Isolated"))?;
    assert!(said.contains("Warning: there is no ClusterProviderConfig none yet: the network waits for it\n"), "{said}");
    // What comes late to another host than its user is admitted, and then the pass refuses.
    let said = scenario.apply(&two("Volume", "late", "pool: default-pool, capacity: 1Mi"))?;
    let clash = "volume late uses providerConfig two, but domain d uses providerConfig one. Resources must use the same libvirt instance";
    assert!(said.contains(&format!("Warning: {clash}\n")), "{said}");
    let refused = format!("cannot resolve references: {}", clash.replace("domain d uses", "domain uses"));
    scenario.await_condition("domain/d", "Synced", ("False", "ReconcileError", &refused)).map(drop)
}

#[test]
fn deletion_is_never_held_up_in_whatever_order() -> Result<()> {
    let scenario = shared("deleted")?;
    referents(&scenario)?;
    scenario.apply(&mine(&scenario, &one("Domain", "web", &format!("{GUEST}, cloudInitRef: {{name: c}}"))))?;
    scenario.apply(&one("Domain", "never", "memory: 64Mi, cloudInitRef: {name: nothing}"))?;
    scenario.await_ready(&["domain/web"])?;
    // Somebody else's finalizer comes and goes while what is referred to is on its way out, and after it is gone.
    let finalizers = |list: &str| {
        let patch = format!("{{\"metadata\": {{\"finalizers\": {list}}}}}");
        scenario.namespace().kubectl(&["patch", "domain", "never", "--type=merge", "-p", &patch])
    };
    finalizers("[\"example.org/mine\"]")?;
    scenario.delete(&["cloudinit/c", "domain/never"])?;
    let user =
        format!("the cloudinit disk is used by Domain {}/web; it is deleted after it", scenario.namespace().name());
    scenario.await_condition("cloudinit/c", "Ready", ("False", "InUse", &user))?;
    finalizers("null")?;
    scenario.delete(&["domain/web"])?;
    scenario.await_gone(&["domain/web", "cloudinit/c", "domain/never"])?;
    // And a namespace as a whole.
    scenario.stage().plane().kubectl(&["delete", "namespace", scenario.namespace().name(), "--timeout=60s"]).map(drop)
}

#[test]
fn an_object_stays_on_its_host_and_shares_no_disk_and_no_address() -> Result<()> {
    let scenario = shared("further")?;
    referents(&scenario)?;
    let disk = "disks: [{name: root, volumeRef: {name: v}}]";
    let nic = |mac: &str| format!("networkInterfaces: [{{name: lan, networkRef: {{name: net}}, mac: '{mac}'}}]");
    let guest = |name: &str, more: &str| one("Domain", name, &format!("{GUEST}, {more}"));
    scenario.apply(&mine(&scenario, &guest("first", &format!("{disk}, {}", nic("52:54:00:aa:bb:cc")))))?;
    scenario.await_ready(&["domain/first"])?;
    let namespace = scenario.namespace().name();
    let cases = [
        (
            two("Network", "net", "mode: Isolated"),
            "networks",
            "spec.providerConfigRef may be set once and not be changed: network net uses ClusterProviderConfig one. \
             To move it, create a new Network with the other providerConfigRef and delete this one"
                .to_owned(),
        ),
        (
            guest("second", disk),
            "domains",
            format!(
                "Volume v is a disk of Domain {namespace}/first: two guests that write to one disk destroy it. \
                 Give this one a volume of its own, or readOnly: true on both"
            ),
        ),
        (
            guest("second", &nic("52:54:00:AA:BB:CC")),
            "domains",
            format!(
                "interface lan has the MAC address 52:54:00:AA:BB:CC of Domain {namespace}/first on the same libvirt instance: \
                 give it another one, or leave mac out"
            ),
        ),
    ];
    for (yaml, plural, wished) in cases {
        let said = refusal(&scenario, &yaml)?;
        let wished = format!("admission webhook \"{plural}.libvirt.m.nourspeed.io\" denied the request: {wished}");
        assert!(said.trim_end().ends_with(&wished), "{said}");
    }
    assert_eq!(scenario.object("network", "net")?["spec"]["providerConfigRef"]["name"], "one");
    // Deleting is admitted, with a word about who is waited for.
    let delete = ["-n", namespace, "delete", "--wait=false", "volume/v", "network/net", "pool/p"];
    let said = scenario.stage().plane().client().run_with_input(&delete, "")?;
    let first = format!("is used by Domain {namespace}/first; it is deleted after it\n");
    for what in ["volume", "network"] {
        assert!(said.contains(&format!("Warning: the {what} {first}")), "{said}");
    }
    let pool = format!("Warning: the pool is used by Volume {namespace}/v; it is deleted after it\n");
    assert!(said.contains(&pool), "{said}");
    scenario.delete_all()?;
    scenario.await_all_gone(2 * PATIENCE)
}

#[test]
fn without_the_provider_everything_is_admitted_and_the_pass_refuses_later() -> Result<()> {
    let (stage, _gate) = stage("away")?;
    let scenario = stage.scenario("away")?;
    referents(&scenario)?;
    stage.end_provider()?.term()?;
    let wrong = two("Domain", "wrong", "type: Qemu, memory: 64Mi, cloudInitRef: {name: c}");
    scenario.apply(&wrong)?;
    stage.start_provider()?;
    let message = "cannot resolve references: cloudinit disk c uses providerConfig one, but domain uses providerConfig two. \
                   Resources must use the same libvirt instance";
    let domain = scenario.await_condition("domain/wrong", "Synced", ("False", "ReconcileError", message))?;
    assert_eq!(domain["metadata"]["finalizers"], serde_json::Value::Null, "nothing was made");
    // Something else of it can be changed.
    let namespace = scenario.namespace().name();
    let edit = "{\"spec\": {\"managementPolicies\": [\"Observe\", \"Create\", \"Update\"]}}";
    let patch = ["-n", namespace, "patch", "domain", "wrong", "--type=merge", "-p", edit];
    let said = stage.plane().client().run_with_input(&patch, "")?;
    assert!(said.contains("Warning: cloudinit disk c uses providerConfig one") && said.contains("patched"), "{said}");
    let said = refusal(&scenario, &wrong.replace("name: wrong", "name: wrong-too"))?;
    assert!(said.contains("denied the request: cloudinit disk c uses"), "{said}");
    scenario.delete(&["domain/wrong"])?;
    scenario.await_gone(&["domain/wrong"])
}

#[test]
fn certificates_are_exchanged_while_objects_are_refused_and_not_one_slips_through() -> Result<()> {
    let (stage, gate) = stage("rotated")?;
    let scenario = stage.scenario("rotated")?;
    referents(&scenario)?;
    let wrong = two("Domain", "wrong", "memory: 64Mi, cloudInitRef: {name: c}");
    thread::scope(|scope| {
        let rotation = scope.spawn(|| {
            (0..5).try_for_each(|number| {
                thread::sleep(Duration::from_millis(1500));
                gate.exchange(&format!("v{number}"), 2100)?;
                // On a kept connection no certificate is looked at.
                gate.register_anew(stage.plane(), number + 2)
            })
        });
        let mut refused = 0;
        while !rotation.is_finished() {
            refusal(&scenario, &wrong)?;
            refused += 1;
        }
        ensure!(refused > 5, "only {refused} were refused");
        rotation.join().expect("rotate")
    })
}

#[test]
fn an_expired_certificate_is_told_by_readyz_with_its_date_until_there_is_a_new_one() -> Result<()> {
    let (scratch, gate) = (Scratch::new("expired")?, Gate::new()?);
    let plane = ControlPlane::start_with(scratch.path(), &[&workspace().join("package/crds")])?;
    let flags = gate.flags();
    let mut provider = Provider::start(&plane.kubeconfig(), &flags.iter().map(String::as_str).collect::<Vec<_>>())?;
    provider.await_ready()?;
    gate.exchange("old", 2021)?;
    let expired = (503, "the webhook's certificate expired at 2021-01-01T00:00:00Z".to_owned());
    let is = |wished: &(u16, String)| {
        eventually(PATIENCE, || {
            let found = http_get(provider.health_port(), "/readyz")?;
            ensure!(found == *wished, "{found:?}");
            Ok(())
        })
    };
    is(&expired)?;
    assert_eq!(http_get(provider.health_port(), "/healthz")?, (200, "ok".to_owned()));
    // The API server does not trust it, and admits without a word; the pass refuses.
    let namespace = rig::prepare(&plane)?;
    gate.register(&plane)?;
    let said = rig::ask(&plane, &namespace);
    assert_eq!(said, "volume.libvirt.m.nourspeed.io/v serverside-applied (server dry run)\n");
    gate.exchange("new", 2100)?;
    is(&(200, "ok".to_owned()))?;
    rig::await_refusal(&plane, &namespace)
}
