//! A real Debian with a real cloud-init: what it makes of a seed, and of the network that keeps its address.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Manners, PATIENCE, Scenario, SharedStage, condition, debian_files, eventually, manifest, skip};

static STAGE: SharedStage = SharedStage::new("debian", &["--poll=1s"]);

/// How long an emulated Debian may take from its start to the end of its cloud-init.
const BOOT: Duration = Duration::from_mins(6);

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDKxmEVTdTsRxSpmbqRjf0CsIcZWoJZqMxOHjM0SuVHc ada@laptop";
const HASH: &str = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
const QUOTED: &str = "it's \"quoted\" $(x) `y` \\n\n  EOF\nEOF\n";
const MAC: &str = "52:54:00:c0:ff:ee";

/// Says once in a while which address the guest has and which a name has. When the name's changes, it asks for its own anew: not by
/// renewing its lease, because networkd keeps an address whose renewal it is not granted until most of the lease is over.
const WATCH: &str = "#!/bin/sh
was=
while sleep 2; do
  resolvectl flush-caches
  db=$(resolvectl query --legend=no -i kept db.kept.test 2>&1 | xargs | cut -d' ' -f2)
  [ -z \"$was\" ] || [ \"$was\" = \"$db\" ] || networkctl reconfigure kept
  was=$db
  echo \"TINY: sees $(ip -4 -o addr show dev kept scope global | xargs | cut -d' ' -f4) $db\" >/dev/ttyS0
done
";

fn binary() -> Vec<u8> {
    (0..=255u8).cycle().take(3000).collect()
}

/// A seed that uses every field; what it tells the guest to say begins with `TINY: `.
fn typed(scenario: &Scenario<'_>, says: &[String]) -> Value {
    let net = format!("192.168.{}", scenario.subnet());
    let from = |key: &str| json!({"name": "typed", "key": key});
    let config = json!({
        "hostname": "typed", "fqdn": "typed.example.org", "manageEtcHosts": true, "timezone": "Europe/Berlin",
        "sshPasswordAuthentication": true, "defaultUser": false, "packageUpdate": false, "packageUpgrade": false, "packages": [],
        "users": [{
            "name": "ada", "gecos": "Ada Lovelace", "primaryGroup": "users", "groups": ["adm", "sudo"], "shell": "/bin/bash",
            "sudo": ["ALL=(ALL) NOPASSWD:ALL"], "hashedPasswordSecretRef": from("password"),
            "sshAuthorizedKeys": [
                {"name": "inline", "inline": KEY}, {"name": "team", "secretKeyRef": from("keys")},
                {"name": "map", "configMapKeyRef": from("keys")},
            ],
        }],
        "writeFiles": [
            {"name": "quoted", "path": "/quoted", "inline": QUOTED},
            {"name": "more", "path": "/quoted", "append": true, "inline": "more"},
            {"name": "binary", "path": "/home/ada/binary", "permissions": "0640", "owner": "ada:adm", "defer": true, "secretKeyRef": from("binary")},
            {"name": "map", "path": "/map", "configMapKeyRef": from("keys")},
            {"name": "watch", "path": "/watch", "permissions": "0755", "inline": WATCH},
        ],
        "bootCommands": ["echo booted >/booted"], "runCommands": says,
    });
    let interface = json!({
        "name": "lan", "mac": MAC, "dhcp4": false, "dhcp6": false, "addresses": [format!("{net}.50/24")], "mtu": 1400,
        "routes": [{"name": "out", "to": "0.0.0.0/0", "via": format!("{net}.1")}],
        "nameservers": {"addresses": [format!("{net}.1")], "search": ["example.org"]},
    });
    // Its address is that of the Domain's interface of this name, and what it gets there the Network keeps for it.
    let kept = json!({"name": "kept", "dhcp4": true, "dhcp6": true});
    let parts = json!([
        {"name": "script", "secretKeyRef": from("script")},
        {"name": "boot", "contentType": "ShellScriptPerBoot", "inline": "#!/bin/sh\n/bin/echo per-boot >/per-boot\n"},
    ]);
    json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "CloudInit", "metadata": {"name": "typed"},
        "spec": {"forProvider": {
            "poolRef": {"name": scenario.name()}, "cloudConfig": config, "networkInterfaces": [interface, kept],
            "userData": {"parts": parts}, "instanceIdPolicy": "Content",
        }},
    })
}

/// A script of 500 KiB. It is text: cloud-init itself leaves out a part that is not.
fn script() -> String {
    let line = "cat <<EOF\n'\"grüße 🦀\"'\nEOF\n";
    format!("#!/bin/sh\ncp \"$0\" /script\nexit 0\n{}", line.repeat(500 * 1024 / line.len()))
}

/// What the seed reads.
fn sources() -> String {
    let team = "# the team\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBf0yq7dUeKJr0M3c8RzQbT5cLhH9s1VwX2oNnG4iPqY bob\n";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "typed"},
        "data": {"binary": BASE64.encode(&binary()), "script": BASE64.encode(script().as_bytes())},
        "stringData": {"password": format!("{HASH}\n"), "keys": team},
    });
    let keys = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEp6F0hqkxYwN3lmcMuoVQbzPpAcO2dXvKZqhU0tqW3b map\n";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "typed"}, "data": {"keys": keys}});
    format!("---\n{secret}\n---\n{map}\n")
}

fn digest(content: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(content))
}

/// What a guest with that seed is asked for, and what it must say; `subnet` is the third number of its addresses.
fn questions(subnet: u8) -> Vec<(&'static str, String)> {
    vec![
        // Of what it is told cloud-init finds nothing to warn of.
        ("grep -c 'cloud-init schema' /var/log/cloud-init.log", "0".to_owned()),
        ("hostname", "typed".to_owned()),
        ("hostname -f", "typed.example.org".to_owned()),
        ("cat /etc/timezone", "Europe/Berlin".to_owned()),
        ("id -nG ada", "users adm sudo".to_owned()),
        ("getent passwd ada | cut -d: -f5,7", "Ada Lovelace:/bin/bash".to_owned()),
        ("getent shadow ada | cut -d: -f2", HASH.to_owned()),
        ("sudo -u ada sudo -n id -un", "root".to_owned()),
        ("cut -d' ' -f3 /home/ada/.ssh/authorized_keys | sort | xargs", "ada@laptop bob map".to_owned()),
        ("sha256sum </quoted | cut -c1-64", digest(format!("{QUOTED}more").as_bytes())),
        ("sha256sum </home/ada/binary | cut -c1-64", digest(&binary())),
        ("stat -c %U:%G:%a /home/ada/binary", "ada:adm:640".to_owned()),
        ("cat /booted /per-boot | xargs", "booted per-boot".to_owned()),
        ("sha256sum </script | cut -c1-64", digest(script().as_bytes())),
        ("getent passwd debian | wc -l", "0".to_owned()),
        ("sshd -T | grep -i ^passwordauthentication", "passwordauthentication yes".to_owned()),
        ("ip -4 -o addr show dev lan | xargs | cut -d' ' -f4", format!("192.168.{subnet}.50/24")),
        ("ip route show default | xargs", format!("default via 192.168.{subnet}.1 dev lan proto static")),
        ("cat /sys/class/net/lan/mtu", "1400".to_owned()),
        ("resolvectl dns lan | xargs", format!("Link 2 (lan): 192.168.{subnet}.1")),
        ("resolvectl domain lan | xargs", "Link 2 (lan): example.org".to_owned()),
    ]
}

/// Commands, and the words that say on the console what each answers.
fn asking(questions: &[(&'static str, String)]) -> Vec<String> {
    let asking = (questions.iter().enumerate())
        .map(|(at, (command, _))| format!("echo \"TINY: {at} $({command} 2>&1)\" >/dev/ttyS0"));
    let instance = "echo \"TINY: instance $(cat /var/lib/cloud/data/instance-id)\" >/dev/ttyS0".to_owned();
    asking.chain([instance]).collect()
}

/// Waits until the guest has set itself up by the seed as it is by now, and holds its answers against those that are wanted.
fn check_answers(scenario: &Scenario<'_>, questions: &[(&'static str, String)]) -> Result<()> {
    let id = scenario.observed("cloudinit", "typed")?["instanceId"].as_str().context("read the id")?.to_owned();
    scenario.console().wait_for_line(&format!("instance {id}"), BOOT)?;
    let lines = scenario.console().lines();
    let said = |at: usize| lines.iter().rev().find_map(|line| line.strip_prefix(&format!("{at} "))).unwrap_or_default();
    let answers: Vec<_> =
        questions.iter().enumerate().map(|(at, (command, _))| (*command, said(at).to_owned())).collect();
    assert_eq!(answers, questions);
    Ok(())
}

/// The addresses of the second network.
fn kept_net(scenario: &Scenario<'_>) -> String {
    format!("10.{}.0", scenario.subnet())
}

/// The beginning of those that it lends by IPv6.
fn lent_net(scenario: &Scenario<'_>) -> String {
    format!("fd00:{}::", scenario.subnet())
}

/// What the second network knows of names and of other guests.
fn known(scenario: &Scenario<'_>, db: u8) -> Value {
    let (net, six) = (kept_net(scenario), lent_net(scenario));
    let other = json!({"name": "other", "mac": "52:54:00:00:00:0f", "ip": format!("{net}.{}", db + 50)});
    let range = json!({"start": format!("{net}.100"), "end": format!("{net}.199")});
    let lent = json!({"start": format!("{six}100"), "end": format!("{six}1ff")});
    json!({
        "ips": [
            {"cidr": format!("{net}.1/24"), "dhcp": {"ranges": [range], "hosts": [other]}},
            {"cidr": format!("{six}1/64"), "dhcp": {"ranges": [lent]}},
        ],
        "dns": {"hosts": [{"ip": format!("{net}.{db}"), "hostnames": ["db.kept.test"]}]},
    })
}

/// The guest, its seed, its disk and both its networks.
fn world(scenario: &Scenario<'_>, files: &[std::path::PathBuf; 3], says: &[String]) -> Result<String> {
    let volume = |name: &str, file: &Path, format: &str| -> Result<String> {
        let image = scenario.stage().image(file, Manners::Good)?;
        Ok(scenario.volume(name, &format!("format: {format}, {image}")))
    };
    let [kernel, initrd, root] = files;
    let volumes =
        volume("kernel", kernel, "Raw")? + &volume("initrd", initrd, "Raw")? + &volume("root", root, "Qcow2")?;
    let seed = format!("{}---\n{}\n", sources(), typed(scenario, says));
    let kept = known(scenario, 5).to_string();
    let kept = format!("mode: Isolated, domain: kept.test, {}", kept.trim_start_matches('{').trim_end_matches('}'));
    let guest = format!(
        "type: Qemu, memory: 768Mi, vcpus: 2, \
         os: {{kernelRef: {{name: kernel}}, initrdRef: {{name: initrd}}, cmdline: 'root=LABEL=root console=ttyS0 quiet mitigations=off no_timer_check'}}, \
         disks: [{{name: root, volumeRef: {{name: root}}}}], cloudInitRef: {{name: typed}}, rng: {{}}, \
         networkInterfaces: [{{name: lan, networkRef: {{name: typed}}, mac: '{MAC}'}}, {{name: kept, networkRef: {{name: kept}}, address: {}.77}}], \
         consoles: [{{name: serial, log: true}}], shutdown: {{timeout: 90s, forceAfterTimeout: true}}",
        kept_net(scenario)
    );
    let networks = scenario.network() + &manifest("Network", "kept", &kept);
    Ok(scenario.pool() + &networks + &volumes + &seed + &manifest("Domain", "typed", &guest))
}

/// Waits until the guest is reached by this address from its host, and its Domain says so.
fn await_reached(scenario: &Scenario<'_>, address: &str) -> Result<()> {
    let hello = format!("exec 3<>/dev/tcp/{address}/22 && head -c 8 <&3");
    eventually(PATIENCE, || {
        let said = scenario.host().run("timeout", &["5", "bash", "-c", &hello])?;
        ensure!(said == "SSH-2.0-", "{address} says {said}");
        Ok(())
    })?;
    scenario.await_object("domain", "typed", |domain| {
        let seen = domain["status"]["atProvider"]["addresses"].as_array().cloned().unwrap_or_default();
        let is_it = |one: &Value| {
            (&one["ip"], &one["interface"], &one["source"]) == (&json!(address), &json!("kept"), &json!("Lease"))
        };
        ensure!(seen.iter().any(is_it), "addresses are {seen:?}, wanted {address}");
        Ok(())
    })
}

/// The address that the guest is lent by IPv6, once its Domain tells it.
fn await_lent(scenario: &Scenario<'_>) -> Result<String> {
    let six = lent_net(scenario);
    scenario.await_object("domain", "typed", |domain| {
        let seen = domain["status"]["atProvider"]["addresses"].as_array().cloned().unwrap_or_default();
        let lent = seen.iter().filter_map(|one| one["ip"].as_str()).find(|ip| ip.starts_with(&six));
        lent.map(str::to_owned).with_context(|| format!("addresses are {seen:?}, wanted one of {six}"))
    })
}

/// The bridge of the second network and what is on it, by their numbers in the kernel.
fn links(scenario: &Scenario<'_>) -> Result<Vec<String>> {
    let bridge = scenario.observed("network", "kept")?["bridge"].as_str().unwrap_or_default().to_owned();
    let own = scenario.host().run("ip", &["-o", "link", "show", "dev", &bridge])?;
    let taps = scenario.host().run("ip", &["-o", "link", "show", "master", &bridge])?;
    let number = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(own.lines().chain(taps.lines()).map(number).collect())
}

/// Names, other guests and its own address change on its network while it runs: it sees all of it, and is not cut off.
fn check_edited(scenario: &Scenario<'_>) -> Result<()> {
    let net = kept_net(scenario);
    let console = scenario.console();
    console.wait_for_line(&format!("sees {net}.77/24 {net}.5"), PATIENCE)?;
    let before = links(scenario)?;
    assert_eq!(before.len(), 2, "{before:?}");
    let mut domain = scenario.object("domain", "typed")?;
    let interfaces = domain["spec"]["forProvider"]["networkInterfaces"].take();
    let mut interfaces = interfaces.as_array().cloned().unwrap_or_default();
    interfaces[1]["address"] = json!(format!("{net}.78"));
    scenario.change("domain", "typed", &json!({"networkInterfaces": interfaces}))?;
    scenario.await_object("network", "kept", |network| {
        let hosts = &network["status"]["atProvider"]["ips"][0]["dhcp"]["hosts"];
        ensure!(hosts.to_string().contains(&format!("{net}.78")), "the network keeps {hosts}");
        Ok(())
    })?;
    scenario.change("network", "kept", &known(scenario, 6))?;
    console.wait_for_line(&format!("sees {net}.78/24 {net}.6"), PATIENCE)?;
    await_reached(scenario, &format!("{net}.78"))?;
    assert_eq!(links(scenario)?, before);
    let network = scenario.object("network", "kept")?;
    assert!(!condition(&network, "RestartRequired").is_ok_and(|(status, ..)| status == "True"), "{network}");
    let hosts = &network["status"]["atProvider"]["ips"][0]["dhcp"]["hosts"];
    assert!(hosts.to_string().contains(&format!("{net}.56")), "{hosts}");
    let instances = console.lines().iter().filter(|line| line.starts_with("instance ")).count();
    assert_eq!(instances, 1, "the guest was started anew");
    Ok(())
}

/// What its interfaces are by the older of cloud-init's two forms: one with another address, the other as it was.
fn version_1(scenario: &Scenario<'_>) -> Result<String> {
    let net = format!("192.168.{}", scenario.subnet());
    let nic = &scenario.observed("domain", "typed")?["networkInterfaces"][1];
    ensure!(nic["name"] == "kept", "the second interface is {nic}");
    let kept = nic["mac"].as_str().context("read the MAC address")?;
    Ok(format!(
        "version: 1
config:
- type: physical
  name: lan
  mac_address: '{MAC}'
  mtu: 1380
  subnets:
  - {{type: static, address: {net}.51/24, gateway: {net}.1, dns_nameservers: [{net}.1], dns_search: [v1.example.org]}}
- type: physical
  name: kept
  mac_address: '{kept}'
  subnets: [{{type: dhcp}}]
"
    ))
}

/// Other user-data is another instance, which the guest becomes at its next boot: on the disk and with the addresses that it has, but for
/// what network-config says otherwise.
fn check_set_up_anew(scenario: &Scenario<'_>) -> Result<()> {
    let (net, lan) = (kept_net(scenario), format!("192.168.{}", scenario.subnet()));
    let asked = vec![
        ("hostname -f", "retyped.example.org".to_owned()),
        ("cat /again", "again".to_owned()),
        ("cat /booted", "again".to_owned()),
        ("getent shadow ada | cut -d: -f2", HASH.to_owned()),
        ("ip -4 -o addr show dev kept scope global | xargs | cut -d' ' -f4", format!("{net}.78/24")),
        ("ip -4 -o addr show dev lan | xargs | cut -d' ' -f4", format!("{lan}.51/24")),
        ("ip route show default | xargs", format!("default via {lan}.1 dev lan proto static")),
        ("cat /sys/class/net/lan/mtu", "1380".to_owned()),
        ("resolvectl domain lan | xargs", "Link 2 (lan): v1.example.org".to_owned()),
    ];
    let old = scenario.observed("cloudinit", "typed")?["path"].clone();
    let other = json!({
        "hostname": "retyped", "fqdn": "retyped.example.org", "runCommands": asking(&asked),
        "bootCommands": ["echo again >/booted"], "writeFiles": [{"name": "again", "path": "/again", "inline": "again"}],
    });
    let network = json!({"inline": version_1(scenario)?});
    let changes = json!({"cloudConfig": other, "networkInterfaces": null, "networkConfig": network});
    scenario.change("cloudinit", "typed", &changes)?;
    let path = scenario.await_object("cloudinit", "typed", |seed| {
        let path = &seed["status"]["atProvider"]["path"];
        ensure!(*path != old, "the seed is still {path}");
        Ok(path.clone())
    })?;
    let wanted = format!("file={path}");
    scenario.await_host(&wanted, |scenario| scenario.inactive("//disk[@device='cdrom']/source/@file"))?;
    scenario.namespace().kubectl(&["annotate", "domain", "typed", "libvirt.nourspeed.io/restarted-at=once"])?;
    check_answers(scenario, &asked)?;
    await_reached(scenario, &format!("{net}.78"))
}

#[test]
fn a_real_cloud_init_does_what_a_seed_says_and_its_guest_has_the_address_that_its_network_keeps() -> Result<()> {
    let files = match debian_files()? {
        Ok(files) => files,
        Err(why) => {
            skip("a_real_cloud_init_does_what_a_seed_says_and_its_guest_has_the_address_that_its_network_keeps", why);
            return Ok(());
        }
    };
    let scenario = STAGE.scenario("typed")?;
    let asked = questions(scenario.subnet());
    let mut says = asking(&asked);
    says.push("systemd-run --unit=watch /watch".to_owned());
    scenario.apply(&world(&scenario, &files, &says)?)?;
    scenario.await_ready(&["cloudinit/typed", "domain/typed"])?;
    check_answers(&scenario, &asked)?;
    for secret in [HASH, "bob"] {
        assert!(!scenario.stage().log().contains(secret), "the log has {secret}");
        assert!(!scenario.object("cloudinit", "typed")?["status"].to_string().contains(secret));
    }
    await_reached(&scenario, &format!("{}.77", kept_net(&scenario)))?;
    await_reached(&scenario, &await_lent(&scenario)?)?;
    check_edited(&scenario)?;
    check_set_up_anew(&scenario)
}
