//! Mistakes on a host that no other test has to share: its libvirt away or shut to the user, its certificate out of date, nothing in between.
//! And hosts that need not show who they are, and addresses that would start a program.

use tests::Pki;

use super::{
    mistakes::{ACCOUNT, UNVERIFIED, certificates, key, mistake, said, tell},
    *,
};

const UNREACHABLE: &str = "the host is off, or a network or firewall between is in the way";

#[test]
fn a_host_whose_libvirt_is_away_or_not_for_the_user_is_told_for_what_it_is() -> Result<()> {
    let (scenario, far) = (STAGE.scenario("inside")?, Far::start("inside")?);
    let ((user, password), known) = (Far::LOGIN, far.known_hosts("host")?);
    let word = vec![("password", password.to_owned()), ("known_hosts", known.clone())];
    let says = |why: &str| {
        let socket = "'/var/run/libvirt/libvirt-sock'";
        format!(
            "End of file while reading data: virt-ssh-helper: cannot connect to {socket}: Failed to connect socket to {socket}: {why}"
        )
    };
    // Who comes as root is let in everywhere.
    far.host.run("chmod", &["0700", "/run/libvirt/libvirt-sock"])?;
    let denied =
        says("Permission denied: Input/output error; the user there may not use libvirt: add it to the group libvirt");
    let table = vec![mistake(&far.ssh_uri("qemu+ssh", user), word, "SocketDenied", &denied)];
    tell(&scenario, "denied", table)?;
    far.host.kill_daemon()?;
    let refused = says("Connection refused: Input/output error; start libvirt on the host");
    let uri = far.ssh_uri("qemu+ssh", "root");
    tell(&scenario, "down", vec![mistake(&uri, key(&far.key("good")?, &known), "DaemonDown", &refused)])?;
    far.host.run("rm", &["/run/libvirt/libvirt-sock"])?;
    let missing = says("No such file or directory: Input/output error; start libvirt on the host");
    tell(&scenario, "gone", vec![mistake(&uri, key(&far.key("good")?, &known), "DaemonDown", &missing)])?;

    // All it takes is that it runs.
    far.host.restart_daemon()?;
    for name in ["down", "gone"] {
        await_config(&scenario, name, ("True", "Available", ""))?;
    }
    Ok(())
}

#[test]
fn a_host_that_nothing_gets_to_is_told_for_what_it_is() -> Result<()> {
    let (scenario, far) = (STAGE.scenario("between")?, Far::start("between")?);
    let own = far.pki.client("provider")?;
    let keys = || certificates(&far.pki.authority, &own.certificate, &own.key);
    // Nobody has a connection to an address of many.
    let nowhere = format!("unable to connect to server at '224.0.0.1:16514': Network is unreachable; {UNREACHABLE}");
    far.tls.silence();
    let silent = format!("the host did not answer within 5 s; {UNREACHABLE}");
    let table = vec![
        mistake("qemu+tls://224.0.0.1/system", keys(), "HostUnreachable", &nowhere),
        mistake(&far.tls_uri(), keys(), "HostUnreachable", &silent),
    ];
    tell(&scenario, "between", table)?;
    far.tls.mend();
    await_config(&scenario, "between", ("True", "Available", ""))
}

#[test]
fn certificates_that_the_other_side_cannot_take_are_told_for_what_they_are() -> Result<()> {
    let scenario = STAGE.scenario("sides")?;
    let (far, old) = (Far::start("sides")?, Far::start_expired("sides-old")?);
    // Ours looks well beside the authorities of the Secret, of which the host knows one.
    let other = Pki::new("other")?;
    let (foreign, both) = (other.client("provider")?, far.pki.authority.clone() + &other.authority);
    let table = vec![
        mistake(
            &far.tls_uri(),
            certificates(&both, &foreign.certificate, &foreign.key),
            "AuthFailed",
            &format!("Unable to read TLS confirmation: Input/output error; {ACCOUNT}"),
        ),
        {
            let own = old.pki.client("provider")?;
            let keys = certificates(&old.pki.authority, &own.certificate, &own.key);
            mistake(&old.tls_uri(), keys, "CertificateInvalid", UNVERIFIED)
        },
    ];
    tell(&scenario, "sides", table)
}

#[test]
fn a_host_that_need_not_show_who_it_is_is_used_and_its_config_says_so() -> Result<()> {
    const TOLD: (&str, &str, &str) =
        ("True", "Available", "the host is not verified: whoever answers at the URI is taken for it");
    let scenario = STAGE.scenario("anybody")?;
    with_far(|far| {
        let (own, good) = (far.pki.client("provider")?, far.key("good")?);
        let tls = [("ca.crt", far.pki.authority.as_str()), ("tls.crt", &own.certificate), ("tls.key", &own.key)];
        // A name that its certificate does not have.
        let elsewhere = far.tls_uri().replace("127.0.0.1", "localhost");
        let ssh = far.ssh_uri("qemu+ssh", "root");
        let anybody = [
            ("tls", elsewhere.as_str(), tls.to_vec(), json!({"tls": {"verification": "Insecure"}})),
            ("ssh", &ssh, vec![("ssh-privatekey", good.as_str())], json!({"ssh": {"hostKeyVerification": "Insecure"}})),
        ];
        for (name, uri, keys, more) in &anybody {
            scenario.apply(&(config(name, uri, keys, more) + &guest(name, &format!("by-{name}"))))?;
            await_config(&scenario, name, TOLD).with_context(|| (*name).to_owned())?;
            scenario.await_ready(&[&format!("domain/by-{name}")])?;
        }
        scenario.delete_all()?;
        scenario.await_all_gone(tests::PATIENCE)?;
        // What it says ends with what it is said of.
        for (name, uri, keys, _) in &anybody {
            let strict = json!({"tls": {"verification": "Strict"}, "ssh": {"hostKeyVerification": "Strict"}});
            scenario.apply(&config(name, uri, keys, &strict))?;
        }
        await_config(&scenario, "tls", ("False", "CertificateInvalid", UNVERIFIED))?;
        let needs = format!(
            "{ssh} cannot be used: the Secret has no known_hosts, by which the host is known; ssh-keyscan writes such lines, to be compared with the host's own"
        );
        await_config(&scenario, "ssh", ("False", "ConfigInvalid", &said(&scenario, "ssh", &needs)))
    })
}

#[test]
fn an_address_that_would_start_a_program_or_name_a_file_of_ours_is_refused_and_starts_nothing() -> Result<()> {
    let scenario = STAGE.scenario("programs")?;
    with_far(|far| {
        let (good, known) = (far.key("good")?, far.known_hosts("host")?);
        let (program, trace) = (far.host.path("program"), far.host.path("trace"));
        fs::write(&program, format!("#!/bin/sh\ntouch {}\n", trace.display()))?;
        tests::run("chmod", &["0755", &program.display().to_string()])?;
        let program = program.display().to_string();
        let ssh = far.ssh_uri("qemu+ssh", "root");
        let ours = "is not allowed: what lets in belongs into the Secret of spec.credentials";
        let table = [
            (format!("{ssh}?command={program}"), "the parameter command is not allowed".to_owned()),
            (format!("{ssh}?netcat={program}"), "the parameter netcat is not allowed".to_owned()),
            (format!("{ssh}?keyfile=/etc/shadow"), format!("the parameter keyfile {ours}")),
            (format!("{ssh}?known_hosts=/dev/null"), format!("the parameter known_hosts {ours}")),
            (
                format!("{ssh}?socket=/tmp/x;command={program}"),
                "it holds a semicolon between or in its parameters".to_owned(),
            ),
            (
                format!("qemu+ext:///system?command={program}"),
                "the transport ext is not supported; use unix, tls, tcp or ssh, as in qemu+tls://host/system"
                    .to_owned(),
            ),
        ];
        let namespace = scenario.namespace().name();
        let refused = |(uri, why): (String, String)| {
            let message = format!("ProviderConfig {namespace}/programs: spec.uri: the URI {uri} cannot be used: {why}");
            mistake(&uri, key(&good, &known), "ConfigInvalid", &message)
        };
        let opened = far.ssh.opened();
        tell(&scenario, "programs", table.map(refused).into())?;
        // Where the address itself is secret, it is not told.
        let hidden = "key uri: the URI cannot be used; write one such as qemu:///system or qemu+tls://host/system";
        let address = format!("{ssh}?command={program}");
        let keys = [("uri", address.as_str()), ("ssh-privatekey", &good), ("known_hosts", &known)];
        scenario.apply(&config("hidden", "", &keys, &json!({})).replace(",\"uri\":\"\"", ""))?;
        await_config(&scenario, "hidden", ("False", "ConfigInvalid", &said(&scenario, "hidden", hidden)))?;
        assert!(!fs::exists(&trace)?, "the program was started");
        assert_eq!(far.ssh.opened(), opened, "somebody has connected");
        Ok(())
    })
}
