//! Hosts from afar: a guest is made over every transport, and each of the usual mistakes is told for what it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod further;
mod mistakes;
mod others;

use std::{
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use tests::{Far, Manners, Pair, Scenario, SharedStage, condition, manifest};

static STAGE: SharedStage = SharedStage::new("afar", &["--poll=1h"]);
static FAR: Mutex<Option<Far>> = Mutex::new(None);

/// The host of all tests here.
fn with_far<T>(act: impl FnOnce(&Far) -> Result<T>) -> Result<T> {
    let mut far: MutexGuard<'_, Option<Far>> = FAR.lock().unwrap_or_else(PoisonError::into_inner);
    if far.is_none() {
        *far = Some(Far::start("far")?);
    }
    act(far.as_ref().context("start the host")?)
}

/// A config of this name, and the Secret with what lets in at its host.
fn config(name: &str, uri: &str, keys: &[(&str, &str)], more: &Value) -> String {
    let data: Map<String, Value> = keys.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
    let mut spec = json!({
        "uri": uri, "credentials": {"source": "Secret", "secretRef": {"name": name}}, "connection": {"connectTimeout": "5s"},
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    let api = "libvirt.m.nourspeed.io/v1alpha1";
    let config = json!({"apiVersion": api, "kind": "ProviderConfig", "metadata": {"name": name}, "spec": spec});
    format!("---\n{secret}\n---\n{config}\n")
}

fn on(config: &str, manifest: &str) -> String {
    let placed = format!("spec: {{providerConfigRef: {{kind: ProviderConfig, name: {config}}}, ");
    manifest.replace("spec: {", &placed)
}

fn guest(config: &str, name: &str) -> String {
    let parameters = "type: Qemu, memory: 32Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
    on(config, &manifest("Domain", name, parameters))
}

fn await_config(scenario: &Scenario<'_>, name: &str, wished: (&str, &str, &str)) -> Result<()> {
    scenario.await_object("providerconfig", name, |config| {
        let found = condition(config, "Ready")?;
        ensure!(found == wished, "{found:?}, wished {wished:?}");
        Ok(())
    })
}

#[test]
fn a_guest_is_made_over_every_transport_and_then_only_looked_at() -> Result<()> {
    let scenario = STAGE.scenario("every")?;
    with_far(|far| {
        let (user, password) = Far::LOGIN;
        let (good, known) = (far.key("good")?, far.known_hosts("host")?);
        let own = far.pki.client("provider")?;
        let tls = [("ca.crt", far.pki.authority.as_str()), ("tls.crt", &own.certificate), ("tls.key", &own.key)];
        let key = [("ssh-privatekey", good.as_str()), ("known_hosts", known.as_str())];
        let ways = [
            ("tls", far.tls_uri(), tls.to_vec()),
            ("tcp", far.tcp_uri(), vec![("username", user), ("password", password)]),
            ("ssh", far.ssh_uri("qemu+ssh", "root"), key.to_vec()),
            ("libssh", far.ssh_uri("qemu+libssh", "root"), key.to_vec()),
            ("word", far.ssh_uri("qemu+ssh", user), vec![("password", password), ("known_hosts", &known)]),
        ];
        for (name, uri, keys) in &ways {
            let guest_name = format!("over-{name}");
            scenario.apply(&(config(name, uri, keys, &json!({})) + &guest(name, &guest_name)))?;
            scenario.await_ready(&[&format!("domain/{guest_name}")]).with_context(|| (*name).to_owned())?;
            await_config(&scenario, name, ("True", "Available", ""))?;
            ensure!(far.host.virsh(&["domstate", &guest_name])?.trim() == "running", "{guest_name} does not run");
        }
        for (name, ..) in &ways {
            check_read_only(&scenario, name, &format!("over-{name}"))
                .with_context(|| format!("read only over {name}"))?;
        }
        scenario.delete_all()?;
        scenario.await_all_gone(tests::PATIENCE)?;
        let left = far.host.everything()?;
        ensure!(left.is_empty(), "{left:?}");
        let whole = scenario.stage().log();
        ensure!(!whole.contains(password) && !whole.contains("PRIVATE KEY"), "what lets in is in the log");
        Ok(())
    })
}

/// The same host over libvirt's read-only connection.
fn check_read_only(scenario: &Scenario<'_>, name: &str, guest: &str) -> Result<()> {
    let set = |read_only: bool| {
        let patch = json!({"spec": {"readOnly": read_only}}).to_string();
        scenario.namespace().kubectl(&["patch", "providerconfig", name, "--type=merge", "-p", &patch])
    };
    set(true)?;
    let message = format!(
        "ProviderConfig {}/{name} only reads (spec.readOnly): nothing is made, changed or deleted on its host",
        scenario.namespace().name()
    );
    await_config(scenario, name, ("True", "ReadOnly", &message))?;
    scenario.await_condition(&format!("domain/{guest}"), "UpToDate", ("True", "ReadOnly", &message))?;
    set(false)?;
    await_config(scenario, name, ("True", "Available", ""))?;
    scenario.await_condition(&format!("domain/{guest}"), "UpToDate", ("True", "ObserveMatched", "")).map(drop)
}

#[test]
fn an_image_is_written_to_its_end_over_the_connection_that_it_began_with_though_the_certificate_is_exchanged()
-> Result<()> {
    let scenario = STAGE.scenario("exchanged")?;
    with_far(|far| {
        let (file, folder) = (far.host.path("image"), far.host.path("exchanged").display().to_string());
        fs::write(&file, vec![7; 6 << 20])?;
        let image = scenario.stage().image(&file, Manners::Slow(1 << 20))?;
        let apply = || -> Result<()> {
            let own = far.pki.client("provider")?;
            let keys = [("ca.crt", far.pki.authority.as_str()), ("tls.crt", &own.certificate), ("tls.key", &own.key)];
            let policy = json!({"policy": {"imageHosts": ["127.0.0.1"]}});
            scenario.apply(&config("exchanged", &far.tls_uri(), &keys, &policy)).map(drop)
        };
        apply()?;
        let pool = manifest("Pool", "pool", &format!("type: Dir, target: {{path: {folder}}}"));
        let volume = manifest("Volume", "image", &format!("poolRef: {{name: pool}}, format: Raw, {image}"));
        scenario.apply(&on("exchanged", &(pool + &volume)))?;
        scenario.await_object("volume", "image", |volume| {
            let (importing, ..) = condition(volume, "Importing")?;
            ensure!(importing == "True", "{importing}");
            Ok(())
        })?;
        let before = far.tls.opened();
        apply()?;
        scenario.await_ready(&["volume/image"])?;
        await_config(&scenario, "exchanged", ("True", "Available", ""))?;
        ensure!(far.tls.opened() > before, "nobody has connected by the new certificate");
        let name = image.url.rsplit('/').next().unwrap_or_default();
        assert_eq!(scenario.stage().images().requests(name), 1, "the image is fetched once");
        assert_eq!(fs::read(format!("{folder}/image"))?, fs::read(&file)?);
        scenario.delete_all()?;
        scenario.await_all_gone(tests::PATIENCE)
    })
}

/// Waits until a config says of its certificate that it has expired, and answers with reason and sentence.
fn await_expiry(scenario: &Scenario<'_>, name: &str) -> Result<(String, String)> {
    scenario.await_object("providerconfig", name, |config| {
        let (status, reason, message) = condition(config, "Ready")?;
        ensure!(status == "False" && message.contains("key tls.crt: it expired at "), "{status} {reason}: {message}");
        Ok(())
    })?;
    let seen = scenario.object("providerconfig", name)?;
    let (_, reason, message) = condition(&seen, "Ready")?;
    Ok((reason.to_owned(), message.to_owned()))
}

#[test]
fn a_certificate_that_expires_while_its_host_is_connected_is_told_and_ends_nothing() -> Result<()> {
    let scenario = STAGE.scenario("brief")?;
    with_far(|far| {
        let apply = |own: &Pair| -> Result<()> {
            let keys = [("ca.crt", far.pki.authority.as_str()), ("tls.crt", &own.certificate), ("tls.key", &own.key)];
            scenario.apply(&config("brief", &far.tls_uri(), &keys, &json!({}))).map(drop)
        };
        apply(&far.pki.client("provider")?)?;
        scenario.apply(&guest("brief", "brief"))?;
        scenario.await_ready(&["domain/brief"])?;
        // Where all is so slow that a life was over before it was used, the next one is longer.
        let mut lives = [15, 60, 240].into_iter().map(|seconds| {
            apply(&far.pki.brief("provider", Duration::from_secs(seconds))?)?;
            await_expiry(&scenario, "brief")
        });
        let told = lives.find(|told| !matches!(told, Ok((reason, _)) if reason != "CertificateInvalid"));
        let (reason, message) = told.context("connect while the certificate counts")??;
        let namespace = scenario.namespace().name();
        let begin = format!("Secret {namespace}/brief: key tls.crt: it expired at ");
        let end = "; what is connected stays so, and nothing connects anew";
        assert_eq!(reason, "CertificateInvalid");
        assert!(message.starts_with(&begin) && message.ends_with(end), "{message}");

        far.host.virsh(&["destroy", "brief"])?;
        scenario.await_object("domain", "brief", |domain| {
            ensure!(far.host.virsh(&["domstate", "brief"])?.trim() == "running", "{:#}", domain["status"]);
            Ok(())
        })?;
        scenario.await_ready(&["domain/brief"])?;
        apply(&far.pki.client("provider")?)?;
        await_config(&scenario, "brief", ("True", "Available", ""))?;
        scenario.delete_all()?;
        scenario.await_all_gone(tests::PATIENCE)
    })
}
