//! What a host does with what a Network says: its routes, its bridges and taps, and what its servers answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use tests::{PATIENCE, Scenario, SharedStage, eventually, manifest, workspace};

static STAGE: SharedStage = SharedStage::new("hostside", &["--poll=2s"]);

const MAC: &str = "52:54:00:00:00:17";

/// Asks a DNS server from within the host.
fn ask(scenario: &Scenario<'_>, server: &str, name: &str, kind: &str) -> Result<String> {
    let program = workspace().join("tests/host/ask.py").display().to_string();
    Ok(scenario.host().run("python3", &[&program, server, name, kind])?.trim().to_owned())
}

/// A bridge that the host has, with this address, and a server of names or leases on it that libvirt does not know of.
fn served(scenario: &Scenario<'_>, bridge: &str, address: &str, more: &str) -> Result<()> {
    let files = scenario.host().path(bridge).display().to_string();
    let script = format!(
        "set -e
ip link add {bridge} type bridge
ip address add {address}/24 dev {bridge}
ip link set {bridge} up
setsid dnsmasq --conf-file=/dev/null --user=root --keep-in-foreground --pid-file= --interface={bridge} --except-interface=lo \
--bind-dynamic --no-resolv --no-hosts --dhcp-leasefile={files}.leases {more} </dev/null >{files}.log 2>&1 &"
    );
    scenario.host().run("bash", &["-c", &script]).map(drop)
}

/// The guest asks once more for a lease, and tells what came with it.
const ASKS: &str = "#!/bin/sh
echo '#!/bin/sh' >/tmp/show
echo 'test $1 = bound && echo TINY: lease $ip in $domain, time from $ntpsrv, boots $boot_file of $siaddr >/dev/console' >>/tmp/show
chmod 700 /tmp/show
until udhcpc -i eth0 -f -n -q -O ntpsrv -O domain -O bootfile -s /tmp/show; do sleep 1; done </dev/null >/dev/null 2>&1 &
";

/// One Network with everything that a host does for it.
fn everything(scenario: &Scenario<'_>, up: &str) -> String {
    let net = format!("192.168.{}", scenario.subnet());
    let dns = format!(
        "dns: {{forwarders: [{{domain: up.example, address: {up}}}], hosts: [{{ip: {net}.7, hostnames: [seven.full.example, seven]}}], \
         srvs: [{{service: ldap, protocol: Tcp, domain: full.example, target: seven.full.example, port: 389, priority: 10, weight: 5}}], \
         txts: [{{name: t.full.example, value: v=spf1 -all}}]}}"
    );
    let dhcp = format!(
        "dhcp: {{ranges: [{{start: {net}.100, end: {net}.199}}], hosts: [{{name: lent, mac: '{MAC}', ip: {net}.50}}], \
         bootp: {{file: pxe.0, server: {net}.9}}}}"
    );
    let parameters = format!(
        "mode: Route, bridge: br-full, domain: full.example, domainLocalOnly: true, mtu: 1400, isolatedPorts: true, {dns}, \
         ips: [{{cidr: {net}.1/24, {dhcp}}}], dhcpOptions: [{{code: 42, value: {net}.8}}], \
         routes: [{{cidr: 10.75.{}.0/24, gateway: {net}.2, metric: 5}}]",
        scenario.subnet()
    );
    manifest("Network", scenario.name(), &parameters)
}

#[test]
fn a_host_routes_names_lends_and_isolates_as_a_network_says() -> Result<()> {
    let scenario = STAGE.scenario("full")?;
    let (host, subnet) = (scenario.host(), scenario.subnet());
    let (net, up) = (format!("192.168.{subnet}"), format!("10.72.{subnet}.1"));
    served(&scenario, "br-up", &up, "--address=/there.up.example/10.9.9.9 --address=/full.example/10.9.9.8")?;
    let nic = format!("networkInterfaces: [{{name: lan, networkRef: {{name: full}}, mac: '{MAC}'}}]");
    let guest = scenario.guest(&format!("memory: 128Mi, vcpus: 1, cloudInitRef: {{name: full}}, {nic}"));
    scenario.apply(&(everything(&scenario, &up) + &scenario.seed("full", ASKS) + &guest + &scenario.storage()?))?;
    scenario.await_ready(&["network/full", "domain/full"])?;

    let route = host.run("ip", &["route", "show", &format!("10.75.{subnet}.0/24")])?;
    assert_eq!(
        // Whether somebody is plugged in yet the kernel says as well.
        route.split_whitespace().filter(|word| *word != "linkdown").collect::<Vec<_>>().join(" "),
        format!("10.75.{subnet}.0/24 via {net}.2 dev br-full metric 5")
    );
    let tap = tap_on(&scenario, "br-full")?;
    for device in ["br-full", &tap] {
        let link = host.run("ip", &["-o", "link", "show", "dev", device])?;
        assert!(link.contains(" mtu 1400 "), "{link}");
    }
    let port = host.run("bridge", &["-d", "link", "show", "dev", &tap])?;
    assert!(port.contains("isolated on"), "{port}");

    let server = format!("{net}.1");
    let answers = [
        ("_ldap._tcp.full.example", "SRV", "SRV 10 5 389 seven.full.example".to_owned()),
        ("t.full.example", "TXT", "TXT v=spf1 -all".to_owned()),
        ("seven.full.example", "A", format!("A {net}.7")),
        ("seven", "A", format!("A {net}.7")),
        ("there.up.example", "A", "A 10.9.9.9".to_owned()),
        // What nobody here knows of the domain is asked of nobody else.
        ("nobody.full.example", "A", "NXDOMAIN".to_owned()),
    ];
    for (name, kind, wanted) in &answers {
        assert_eq!(ask(&scenario, &server, name, kind)?, *wanted, "{name}");
    }

    let lease = scenario.console().wait_for_line("lease ", PATIENCE)?;
    assert_eq!(lease, format!("lease {net}.50 in full.example, time from {net}.8, boots pxe.0 of {net}.9"));
    // Who has a lease is known by the name that is kept for it.
    assert_eq!(ask(&scenario, &server, "lent.full.example", "A")?, format!("A {net}.50"));

    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.run("ip", &["route", "show", &format!("10.75.{subnet}.0/24")])?, "");
    Ok(())
}

/// The one interface on a bridge that is a guest's.
fn tap_on(scenario: &Scenario<'_>, bridge: &str) -> Result<String> {
    let links = scenario.host().run("ip", &["-o", "link", "show", "master", bridge])?;
    let mut names = links.lines().filter_map(|line| line.split([':', '@']).nth(1)).map(str::trim);
    let tap = names.find(|name| name.starts_with("vnet"));
    ensure!(tap.is_some() && names.next().is_none(), "on {bridge} are {links}");
    Ok(tap.unwrap_or_default().to_owned())
}

#[test]
fn a_guest_of_a_network_over_the_host_s_own_bridge_is_on_that_bridge_and_gets_what_is_lent_there() -> Result<()> {
    let scenario = STAGE.scenario("over")?;
    let (host, net) = (scenario.host(), format!("10.74.{}", scenario.subnet()));
    served(&scenario, "br-own", &format!("{net}.1"), &format!("--port=0 --dhcp-range={net}.20,{net}.20,1h"))?;
    let network = manifest("Network", "over", "mode: Bridge, bridge: br-own");
    let guest = scenario.guest("memory: 128Mi, vcpus: 1, networkInterfaces: [{name: lan, networkRef: {name: over}}]");
    scenario.apply(&(network + &guest + &scenario.storage()?))?;
    scenario.await_ready(&["network/over", "domain/over"])?;
    let tap = tap_on(&scenario, "br-own")?;
    let named = scenario.live("//interface/target/@dev")?;
    assert_eq!(named, format!("dev=\"{tap}\""));
    let lease = scenario.console().wait_for_line("dhcp eth0 ", PATIENCE)?;
    assert_eq!(lease, format!("dhcp eth0 {net}.20"));
    // libvirt has neither made the bridge nor takes it away.
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    eventually(PATIENCE, || {
        let links = host.run("ip", &["-o", "link", "show", "master", "br-own"])?;
        ensure!(links.is_empty(), "on it are {links}");
        Ok(())
    })?;
    host.run("ip", &["link", "show", "dev", "br-own"]).map(drop)
}
