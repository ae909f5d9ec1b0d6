//! Hosts from afar: a guest is made over every transport, and each of the usual mistakes is told for what it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

mod further;
mod others;

use std::{
    fs,
    net::TcpListener,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use tests::{Far, Manners, Pair, Pki, Scenario, SharedStage, condition, manifest};

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

/// Answers a port of which nothing comes but `greeting`.
fn strange_server(greeting: &'static [u8]) -> Result<u16> {
    use std::io::Write as _;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever came may be gone already.
            let _ = stream.write_all(greeting);
        }
    });
    Ok(port)
}

const STRANGE: &str = "what listens at the port in the URI is something else";
const ACCOUNT: &str = "the host does not take tls.crt, or wants username and password of an account that its SASL knows: set them in the Secret";
const UNVERIFIED: &str = "authentication failed: Failed to verify peer's certificate; the host's certificate must be from an authority in ca.crt, for the name or address in the URI and in date, and so must be our own tls.crt";
const NAME: &str = "correct the name in the URI, or the cluster's DNS";

struct Mistake {
    uri: String,
    keys: Vec<(&'static str, String)>,
    reason: &'static str,
    message: String,
}

/// Applies each mistake in turn, and expects it to be told by config and object alike.
fn tell(scenario: &Scenario<'_>, name: &str, mistakes: Vec<Mistake>) -> Result<()> {
    let mut wrong = Vec::new();
    for Mistake { uri, keys, reason, message } in mistakes {
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        scenario.namespace().kubectl(&["delete", "secret", name, "--ignore-not-found"])?;
        scenario.apply(&config(name, &uri, &keys, &json!({})))?;
        let (begin, end) = message.split_once('…').unwrap_or((&message, ""));
        let told = scenario.await_object("providerconfig", name, |config| {
            let (status, found, said) = condition(config, "Ready")?;
            let fits = said == message || said.starts_with(begin) && said.ends_with(end) && message.contains('…');
            ensure!((status, found) == ("False", reason) && fits, "{found}: {said}, wished {reason}: {message}");
            Ok(())
        });
        if let Err(error) = told {
            wrong.push(format!("{reason}: {error:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn said(scenario: &Scenario<'_>, name: &str, message: &str) -> String {
    let namespace = scenario.namespace().name();
    format!("ProviderConfig {namespace}/{name}: cannot get credentials: Secret {namespace}/{name}: {message}")
}

fn mistake(uri: &str, keys: Vec<(&'static str, String)>, reason: &'static str, message: &str) -> Mistake {
    Mistake { uri: uri.to_owned(), keys, reason, message: message.to_owned() }
}

fn certificates(ca: &str, certificate: &str, key: &str) -> Vec<(&'static str, String)> {
    vec![("ca.crt", ca.to_owned()), ("tls.crt", certificate.to_owned()), ("tls.key", key.to_owned())]
}

#[test]
fn certificates_that_cannot_be_used_are_told_by_their_keys_of_the_secret() -> Result<()> {
    let scenario = STAGE.scenario("certificates")?;
    with_far(|far| {
        let (own, ca) = (far.pki.client("provider")?, far.pki.authority.clone());
        let (foreign, expired) = (Pki::new("other")?.client("provider")?, far.pki.expired("provider")?);
        let encrypted = own.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let table = [
            (vec![("tls.crt", own.certificate.clone())], "there is no key ca.crt, by which the host is known"),
            (certificates("none", &own.certificate, &own.key), "key ca.crt: it holds no certificate"),
            (
                vec![("ca.crt", ca.clone()), ("tls.crt", own.certificate.clone())],
                "there is no key tls.key, which tls.crt needs",
            ),
            (
                certificates(&ca, &own.certificate, &encrypted),
                "key tls.key: it is encrypted, and nobody could be asked for its passphrase; write it without one",
            ),
            (certificates(&ca, &own.certificate, &foreign.key), "key tls.key: it is not the key of tls.crt"),
            (
                certificates(&ca, &foreign.certificate, &foreign.key),
                "key tls.crt: it is from CN=other, which is not in ca.crt",
            ),
            (certificates(&ca, &expired.certificate, &expired.key), "key tls.crt: it expired at 2021-01-01T00:00:00Z"),
        ];
        let invalid = |(keys, message): (_, &str)| {
            mistake(&far.tls_uri(), keys, "ConfigInvalid", &said(&scenario, "tls", message))
        };
        tell(&scenario, "tls", table.map(invalid).into())
    })
}

#[test]
fn what_is_wrong_between_us_and_a_host_of_tls_is_told_for_what_it_is() -> Result<()> {
    let scenario = STAGE.scenario("verified")?;
    with_far(|far| {
        let (own, ca, uri) = (far.pki.client("provider")?, far.pki.authority.clone(), far.tls_uri());
        let other = Pki::new("other")?;
        let foreign = other.client("provider")?;
        let good = || certificates(&ca, &own.certificate, &own.key);
        let at = |place: &str| format!("qemu+tls://{place}/system");
        let strange = at(&format!("127.0.0.1:{}", strange_server(b"hello\n")?));
        let refused = "unable to connect to server at '127.0.0.1:1': Connection refused; the host's libvirt must listen for it (libvirtd-tls.socket, libvirtd-tcp.socket), by the port in the URI";
        let mistakes = vec![
            mistake(
                &uri,
                certificates(&other.authority, &foreign.certificate, &foreign.key),
                "CertificateInvalid",
                UNVERIFIED,
            ),
            mistake(&uri.replace("127.0.0.1", "localhost"), good(), "CertificateInvalid", UNVERIFIED),
            mistake(
                &uri,
                vec![("ca.crt", ca.clone())],
                "AuthFailed",
                &format!("Unable to read TLS confirmation: Input/output error; {ACCOUNT}"),
            ),
            mistake(
                &strange,
                good(),
                "WrongService",
                &format!(
                    "authentication failed: TLS handshake failed An unexpected TLS packet was received.; {STRANGE}"
                ),
            ),
            mistake(&at("127.0.0.1:1"), good(), "ConnectionRefused", refused),
            mistake(
                &at("nowhere.invalid"),
                good(),
                "HostUnknown",
                &format!("Unable to resolve address 'nowhere.invalid' service '16514': …; {NAME}"),
            ),
        ];
        tell(&scenario, "tls", mistakes)
    })
}

#[test]
fn what_is_wrong_with_an_account_of_sasl_is_told_for_what_it_is() -> Result<()> {
    let scenario = STAGE.scenario("accounts")?;
    with_far(|far| {
        let ((user, password), uri) = (Far::LOGIN, far.tcp_uri());
        let login = |user: &str, password: &str| vec![("username", user.to_owned()), ("password", password.to_owned())];
        let account = "the host must want SASL (auth_tcp = \"sasl\"), and username and password in the Secret must be an account that the host's SASL knows, in a mechanism that both can";
        let refused = format!("authentication failed: authentication failed; {account}");
        let strange = format!("qemu+tcp://127.0.0.1:{}/system", strange_server(b"")?);
        let mistakes = vec![
            mistake(&uri, login(user, "wrong"), "AuthFailed", &refused),
            mistake(&uri, login("stranger", password), "AuthFailed", &refused),
            mistake(
                &uri,
                vec![("ca.crt", "unused".to_owned())],
                "AuthFailed",
                &format!("authentication failed: …; {account}"),
            ),
            mistake(&strange, login(user, password), "WrongService", &format!("…; {STRANGE}")),
        ];
        tell(&scenario, "way", mistakes)
    })
}

#[test]
fn keys_of_ssh_that_cannot_be_used_are_told_by_their_keys_of_the_secret() -> Result<()> {
    let scenario = STAGE.scenario("keys")?;
    with_far(|far| {
        let (good, locked, known) = (far.key("good")?, far.key("locked")?, far.known_hosts("host")?);
        let uri = far.ssh_uri("qemu+ssh", "root");
        let needs = |what: &str| format!("{uri} cannot be used: the Secret has {what}");
        let table = [
            (vec![("known_hosts", known.clone())], needs("neither ssh-privatekey nor password")),
            (vec![("ssh-privatekey", good.clone())], needs("no known_hosts, by which the host is known; ssh-keyscan writes such lines, to be compared with the host's own")),
            (key("nothing", &known), "key ssh-privatekey: it is no private key: there is no line -----BEGIN PRIVATE KEY-----, alone on its line".to_owned()),
            (key(&locked, &known), "key ssh-privatekey: it is encrypted, and nobody could be asked for its passphrase; write it without one (ssh-keygen -p -N '')".to_owned()),
            (key(&good, "x"), "key known_hosts: there is no line with a host, a type of key and a key".to_owned()),
        ];
        let invalid =
            |(keys, message): (_, String)| mistake(&uri, keys, "ConfigInvalid", &said(&scenario, "way", &message));
        tell(&scenario, "way", table.map(invalid).into())
    })
}

fn key(key: &str, known: &str) -> Vec<(&'static str, String)> {
    vec![("ssh-privatekey", key.to_owned()), ("known_hosts", known.to_owned())]
}

#[test]
fn what_is_wrong_between_us_and_a_host_of_ssh_is_told_for_what_it_is() -> Result<()> {
    let scenario = STAGE.scenario("logins")?;
    with_far(|far| {
        let (good, other, known) = (far.key("good")?, far.key("other")?, far.known_hosts("host")?);
        let (ssh, user) = (far.ssh_uri("qemu+ssh", "root"), Far::LOGIN.0);
        let half = "the host must have the public half of ssh-privatekey, or password, for the user in the URI";
        let denied = |user: &str| {
            format!(
                "Cannot recv data: {user}@127.0.0.1: Permission denied (publickey,password).: Connection reset by peer; {half}"
            )
        };
        let unknown = format!(
            "Cannot recv data: No ED25519 host key is known for [127.0.0.1]:{} and you have requested strict checking. Host key verification failed.: Connection reset by peer; write the host's key into known_hosts of the Secret, with [host]:port where the port is not 22",
            far.ssh.port()
        );
        let swapped = "Cannot recv data: …; if the host has a new key, write it into known_hosts of the Secret; if not, somebody else answers in its place";
        let shell = format!(
            "…; {STRANGE} or turns connections away, or the user's shell there does not run commands or says something of its own"
        );
        let at = |place: &str| format!("qemu+ssh://root@{place}/system");
        let strange = at(&format!("127.0.0.1:{}", strange_server(b"hello\n")?));
        let word = vec![("password", "wrong".to_owned()), ("known_hosts", known.clone())];
        let mistakes = vec![
            mistake(&ssh, key(&good, &far.known_hosts("other")?), "HostKeyMismatch", swapped),
            mistake(
                &ssh,
                key(&good, "elsewhere.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ"),
                "HostKeyUnknown",
                &unknown,
            ),
            mistake(&ssh, key(&other, &known), "AuthFailed", &denied("root")),
            mistake(&ssh.replace("root", "stranger"), key(&good, &known), "AuthFailed", &denied("stranger")),
            mistake(&far.ssh_uri("qemu+ssh", user), word, "AuthFailed", &denied(user)),
            mistake(&ssh.replace("root", "nobody"), key(&good, &known), "WrongService", &shell),
            mistake(
                &at("127.0.0.1:1"),
                key(&good, &known),
                "ConnectionRefused",
                "Cannot recv data: ssh: connect to host 127.0.0.1 port 1: Connection refused: Connection reset by peer; the host's SSH server must listen, by the port in the URI",
            ),
            mistake(
                &at("nowhere.invalid"),
                key(&good, &known),
                "HostUnknown",
                &format!("Cannot recv data: ssh: Could not resolve hostname nowhere.invalid: …; {NAME}"),
            ),
            mistake(&strange, key(&good, &known), "WrongService", &shell),
        ];
        tell(&scenario, "way", mistakes)
    })
}
