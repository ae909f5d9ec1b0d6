//! The usual mistakes, each of which is told for what it is.

use std::{net::TcpListener, thread};

use tests::Pki;

use super::*;

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
pub(super) const ACCOUNT: &str = "the host wants a tls.crt of an authority that it trusts, or username and password of an account that its SASL knows: set or correct them in the Secret";
pub(super) const UNVERIFIED: &str = "authentication failed: Failed to verify peer's certificate; the host's certificate must be from an authority in ca.crt, for the name or address in the URI and in date, and so must be our own tls.crt";
const NAME: &str = "correct the name in the URI, or the cluster's DNS";

pub(super) struct Mistake {
    uri: String,
    keys: Vec<(&'static str, String)>,
    reason: &'static str,
    message: String,
}

/// Applies each mistake in turn, and expects it to be told by config and object alike.
pub(super) fn tell(scenario: &Scenario<'_>, name: &str, mistakes: Vec<Mistake>) -> Result<()> {
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

pub(super) fn said(scenario: &Scenario<'_>, name: &str, message: &str) -> String {
    let namespace = scenario.namespace().name();
    format!("ProviderConfig {namespace}/{name}: cannot get credentials: Secret {namespace}/{name}: {message}")
}

pub(super) fn mistake(uri: &str, keys: Vec<(&'static str, String)>, reason: &'static str, message: &str) -> Mistake {
    Mistake { uri: uri.to_owned(), keys, reason, message: message.to_owned() }
}

pub(super) fn certificates(ca: &str, certificate: &str, key: &str) -> Vec<(&'static str, String)> {
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
            // Once there was an account, the last one is used on.
            mistake(
                &uri,
                vec![("ca.crt", "unused".to_owned())],
                "ConfigInvalid",
                "…: there is no key username, by which a host lets in by TCP",
            ),
            mistake(
                &uri,
                vec![("username", user.to_owned())],
                "ConfigInvalid",
                "…: there is no key password, which belongs to username",
            ),
            mistake(&uri, login(user, "wrong"), "AuthFailed", &refused),
            mistake(&uri, login("stranger", password), "AuthFailed", &refused),
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
            (key("nothing", &known), "key ssh-privatekey: it is no private key: there is no line -----BEGIN OPENSSH PRIVATE KEY----- or the like, alone on its line".to_owned()),
            (key(&locked, &known), "key ssh-privatekey: it is encrypted, and nobody could be asked for its passphrase; write it without one (ssh-keygen -p -N '')".to_owned()),
            (key(&good, "x"), "key known_hosts: there is no line with a host, a type of key and a key".to_owned()),
        ];
        let invalid =
            |(keys, message): (_, String)| mistake(&uri, keys, "ConfigInvalid", &said(&scenario, "way", &message));
        tell(&scenario, "way", table.map(invalid).into())
    })
}

pub(super) fn key(key: &str, known: &str) -> Vec<(&'static str, String)> {
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
