//! Guests that reach beyond their host: by their own addresses, behind the host's, or not at all, as the mode of their network says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use tests::{PATIENCE, Scenario, Stage, manifest};

/// The modes, with the first numbers of their networks' addresses.
const MODES: [(&str, &str); 4] = [("Route", "10.61"), ("Open", "10.62"), ("Nat", "10.63"), ("Isolated", "10.64")];

/// A machine that only the host is connected to; it answers the networks of guests, by way of the host, and nobody else, not even the host.
fn beyond(scenario: &Scenario<'_>) -> Result<String> {
    let (net, subnet) = (format!("10.60.{}", scenario.subnet()), scenario.subnet());
    let back =
        MODES.map(|(_, first)| format!("there ip route add {first}.{subnet}.0/24 via {net}.1 dev far1 onlink\n"));
    let script = format!(
        "set -e
setsid unshare --net sleep infinity </dev/null >/dev/null 2>&1 &
far=$!
there() {{ nsenter -t $far -n \"$@\"; }}
while [ \"$(readlink /proc/$far/ns/net)\" = \"$(readlink /proc/$$/ns/net)\" ]; do sleep 0.1; done
ip link add far0 type veth peer name far1 netns $far
ip address add {net}.1/24 dev far0
ip link set far0 up
there ip address add {net}.2/32 dev far1
there ip link set far1 up
for of in all far1; do there sh -c \"echo 0 >/proc/sys/net/ipv4/conf/$of/rp_filter\"; done
{}",
        back.concat()
    );
    scenario.host().run("bash", &["-c", &script])?;
    Ok(format!("{net}.2"))
}

/// What the guest tries from each of its networks, once it has an address there, and says.
fn tries(scenario: &Scenario<'_>, far: &str) -> String {
    let subnet = scenario.subnet();
    let each = MODES.map(|(mode, first)| {
        let how = if matches!(mode, "Route" | "Open") { "reach" } else { "try" };
        format!("{how} {first}.{subnet}.1 {mode};")
    });
    format!(
        "#!/bin/sh
asked() {{ ip route replace {far} via $1 && ping -c 2 -W 2 {far}; }}
come() {{ until ping -c 1 -W 2 $1; do sleep 1; done; }}
say() {{ echo TINY: from $1 it is $2 >/dev/console; }}
reach() {{ come $1; until asked $1; do sleep 1; done; say $2 reached; }}
try() {{ come $1; if asked $1; then say $2 reached; else say $2 missed; fi; }}
({}) </dev/null >/dev/null 2>&1 &
",
        each.concat()
    )
}

#[test]
fn guests_are_seen_beyond_the_host_by_their_own_addresses_through_route_and_open_networks_and_no_others() -> Result<()>
{
    let stage = Stage::start("routed", &["--poll=2s"])?;
    let scenario = stage.scenario("routed")?;
    let (subnet, far) = (scenario.subnet(), beyond(&scenario)?);
    let networks = MODES.map(|(mode, first)| {
        let net = format!("{first}.{subnet}");
        let dhcp = format!("dhcp: {{ranges: [{{start: {net}.100, end: {net}.199}}]}}");
        manifest("Network", &mode.to_lowercase(), &format!("mode: {mode}, ips: [{{cidr: {net}.1/24, {dhcp}}}]"))
    });
    let nics = MODES.map(|(mode, _)| format!("{{name: {0}, networkRef: {{name: {0}}}}}", mode.to_lowercase()));
    let guest = format!("memory: 128Mi, cloudInitRef: {{name: routed}}, networkInterfaces: [{}]", nics.join(", "));
    let seed = scenario.seed("routed", &tries(&scenario, &far));
    scenario.apply(&(networks.concat() + &seed + &scenario.guest(&guest) + &scenario.storage()?))?;
    for (mode, word) in [("Route", "reached"), ("Open", "reached"), ("Nat", "missed"), ("Isolated", "missed")] {
        let said = scenario.console().wait_for_line(&format!("from {mode} "), PATIENCE)?;
        assert_eq!(said, format!("from {mode} it is {word}"));
    }
    scenario.await_all_ready(PATIENCE)?;
    scenario.await_object("domain", "routed", |domain| {
        let addresses = &domain["status"]["atProvider"]["addresses"];
        ensure!(addresses.as_array().map_or(0, Vec::len) == MODES.len(), "addresses are {addresses}");
        Ok(())
    })?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}
