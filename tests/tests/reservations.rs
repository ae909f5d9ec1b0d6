//! Addresses that a network keeps for the interfaces of Domains, where something is in the way: others, a pause, tenants. And networks that
//! do not start.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, condition, eventually, manifest};

static STAGE: SharedStage = SharedStage::new("reservations", &["--poll=2s"]);

/// A guest that is off, with an address on a Network of whatever namespace.
fn guest(name: &str, network: &str, address: &str) -> String {
    let nic = format!("{{name: lan, networkRef: {network}, address: {address}}}");
    manifest("Domain", name, &format!("type: Qemu, memory: 32Mi, runStrategy: Halted, networkInterfaces: [{nic}]"))
}

fn await_refusal(scenario: &Scenario<'_>, domain: &str, wanted: &str) -> Result<()> {
    scenario.await_object("domain", domain, |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains(wanted), "Synced is {status}: {message}; wanted {wanted}");
        Ok(())
    })
}

/// The guests that DHCP knows on the running network and in its definition, in the order of their text.
fn known(scenario: &Scenario<'_>) -> Result<Vec<String>> {
    let shown = |of: &[&str]| -> Result<Vec<String>> {
        let shown = scenario.host().virsh(&[&["net-dumpxml", scenario.name()][..], of].concat())?;
        let mut lines: Vec<String> = shown.lines().map(|line| line.trim().to_owned()).collect();
        lines.retain(|line| line.starts_with("<host "));
        lines.sort();
        Ok(lines)
    };
    let (live, defined) = (shown(&[])?, shown(&["--inactive"])?);
    ensure!(live == defined, "live {live:?}, defined {defined:?}");
    Ok(live)
}

#[test]
fn what_others_wrote_into_a_network_stays_and_no_address_of_it_is_given_twice() -> Result<()> {
    let scenario = STAGE.scenario("beside")?;
    let (net, name) = (format!("192.168.{}", scenario.subnet()), scenario.name());
    let network = format!("network/{name}");
    scenario.apply(&scenario.network())?;
    scenario.await_ready(&[&network])?;
    let foreign = format!("<host mac='52:54:00:00:00:99' name='theirs' ip='{net}.50'/>");
    scenario.host().virsh(&["net-update", name, "add", "ip-dhcp-host", &foreign, "--live", "--config"])?;
    scenario.await_object("network", name, |network| {
        let hosts = &network["status"]["atProvider"]["ips"][0]["dhcp"]["hosts"];
        ensure!(hosts[0]["name"] == "theirs", "the network shows {hosts}");
        Ok(())
    })?;
    scenario.apply(&guest("late", &format!("{{name: {name}}}"), &format!("{net}.50")))?;
    await_refusal(
        &scenario,
        "late",
        &format!(
            "the address {net}.50 is kept on the host for another MAC address, by an entry that others wrote into Network {name}"
        ),
    )?;
    scenario.await_ready(&[&network])?;
    assert_eq!(known(&scenario)?, std::slice::from_ref(&foreign));
    // Beside it there is room, and it stays when ours goes.
    scenario.apply(&guest("late", &format!("{{name: {name}}}"), &format!("{net}.51")))?;
    scenario.await_ready(&["domain/late", &network])?;
    assert_eq!(known(&scenario)?.len(), 2);
    scenario.delete(&["domain/late"])?;
    scenario.await_gone(&["domain/late"])?;
    eventually(PATIENCE, || {
        let known = known(&scenario)?;
        ensure!(known == std::slice::from_ref(&foreign), "{known:?}");
        Ok(())
    })
}

#[test]
fn a_guest_that_waits_for_its_address_says_what_keeps_its_network() -> Result<()> {
    let scenario = STAGE.scenario("held")?;
    let (net, name) = (format!("192.168.{}", scenario.subnet()), scenario.name());
    scenario.apply(&scenario.network())?;
    scenario.await_ready(&[&format!("network/{name}")])?;
    let kubectl = |args: &[&str]| scenario.namespace().kubectl(args);
    kubectl(&["annotate", "network", name, "crossplane.io/paused=true"])?;
    scenario.apply(&guest("waits", &format!("{{name: {name}}}"), &format!("{net}.60")))?;
    let waits = |why: &str| {
        let space = scenario.namespace().name();
        await_refusal(
            &scenario,
            "waits",
            &format!("waiting for Network {space}/{name} to keep the address {net}.60: {why}"),
        )
    };
    waits("it is paused")?;
    let policies = |list: Value| json!({"spec": {"managementPolicies": list}}).to_string();
    kubectl(&["patch", "network", name, "--type=merge", "-p", &policies(json!(["Observe", "Create", "Delete"]))])?;
    kubectl(&["annotate", "network", name, "crossplane.io/paused-"])?;
    waits("its managementPolicies have no Update")?;
    kubectl(&["patch", "network", name, "--type=merge", "-p", &policies(json!(["*"]))])?;
    scenario.await_ready(&["domain/waits", &format!("network/{name}")])
}

#[test]
fn guests_of_another_namespace_have_as_many_addresses_as_the_network_says() -> Result<()> {
    let (scenario, tenant) = (STAGE.scenario("shared")?, STAGE.scenario("tenant")?);
    let (net, name) = (format!("192.168.{}", scenario.subnet()), scenario.name());
    let dhcp = format!("dhcp: {{ranges: [{{start: {net}.100, end: {net}.199}}]}}");
    let ips = format!("ips: [{{cidr: {net}.1/24, {dhcp}}}]");
    scenario.apply(&manifest("Network", name, &format!("{ips}, addressesPerNamespace: 1")))?;
    scenario.await_ready(&[&format!("network/{name}")])?;
    let shared = format!("{{name: {name}, namespace: {}}}", scenario.namespace().name());
    tenant.apply(&guest("first", &shared, &format!("{net}.10")))?;
    tenant.await_ready(&["domain/first"])?;
    tenant.apply(&guest("second", &shared, &format!("{net}.11")))?;
    let why = format!(
        "Network {name} keeps no more than 1 address for Domains of namespace {}, by its addressesPerNamespace",
        tenant.namespace().name()
    );
    await_refusal(&tenant, "second", &why)?;
    // Those of its own namespace have room, and what is kept stays when there is less of it.
    let own = format!("{{name: {name}}}");
    scenario.apply(&(guest("own-a", &own, &format!("{net}.12")) + &guest("own-b", &own, &format!("{net}.13"))))?;
    scenario.change("network", name, &json!({"addressesPerNamespace": 0}))?;
    scenario.await_ready(&["domain/own-a", "domain/own-b", &format!("network/{name}")])?;
    tenant.await_ready(&["domain/first"])?;
    assert_eq!(known(&scenario)?.len(), 3);
    scenario.change("network", name, &json!({"addressesPerNamespace": null}))?;
    tenant.await_ready(&["domain/second"])?;
    // Whoever goes first, nothing is left.
    tenant.delete_all()?;
    tenant.await_all_gone(PATIENCE)
}

#[test]
fn a_network_that_does_not_start_with_a_change_gets_back_what_it_had() -> Result<()> {
    let scenario = STAGE.scenario("back")?;
    let (net, name) = (format!("192.168.{}", scenario.subnet()), scenario.name());
    let options = |value: &str| json!({"dhcpOptions": [{"code": 3, "value": value}]});
    let ips = format!("ips: [{{cidr: {net}.1/24, dhcp: {{ranges: [{{start: {net}.100, end: {net}.199}}]}}}}]");
    scenario.apply(&manifest("Network", name, &format!("{ips}, mtu: 1400, restartPolicy: WhenUnused")))?;
    scenario.await_ready(&[&format!("network/{name}")])?;
    // The server takes no word for a router, and only a start tells.
    scenario.change("network", name, &options("nonsense"))?;
    let message = scenario.await_object("network", name, |network| {
        let (status, reason, message) = condition(network, "RestartRequired")?;
        ensure!((status, reason) == ("True", "StartFailed"), "RestartRequired is {status}, {reason}: {message}");
        Ok(message.to_owned())
    })?;
    let begin = "waiting for the network's next start: dhcpOptions. It did not start with them and runs as before, until its spec says something else: ";
    assert!(message.starts_with(begin) && message.contains("bad IP address"), "{message}");
    scenario.await_ready(&[&format!("network/{name}")])?;
    let shown = |of: &[&str]| scenario.host().virsh(&[&["net-dumpxml", name][..], of].concat());
    assert!(!shown(&[])?.contains("nonsense") && shown(&[])?.contains("<mtu size='1400'/>"));
    assert!(shown(&["--inactive"])?.contains("nonsense"));
    // It is not tried again and again: the bridge is the same one after some polls.
    let bridge = scenario.observed("network", name)?["bridge"].as_str().unwrap_or_default().to_owned();
    let number = || scenario.host().run("cat", &[&format!("/sys/class/net/{bridge}/ifindex")]);
    let before = number()?;
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(number()?, before);
    // Another value is tried.
    scenario.change("network", name, &options(&format!("{net}.2")))?;
    scenario.await_object("network", name, |network| {
        ensure!(!condition(network, "RestartRequired").is_ok_and(|(status, ..)| status == "True"), "{network}");
        Ok(())
    })?;
    assert!(shown(&[])?.contains(&format!("dhcp-option=3,{net}.2")));
    Ok(())
}

#[test]
fn what_others_have_on_the_host_or_libvirt_does_not_take_is_refused_and_leaves_nothing_behind() -> Result<()> {
    let scenario = STAGE.scenario("bad")?;
    let host = scenario.host();
    let theirs = "<network><name>theirs</name><bridge name='virbr-theirs'/><ip address='10.96.0.1' netmask='255.255.255.0'/></network>";
    host.virsh_xml("net-create", theirs)?;
    host.run("ip", &["link", "add", "card", "type", "veth", "peer", "name", "card-peer"])?;
    host.run("ip", &["address", "add", "10.95.0.1/24", "dev", "card"])?;
    host.run("ip", &["link", "set", "card", "up"])?;
    let ips = |cidr: &str, dhcp: &str| format!("{{cidr: {cidr}, dhcp: {{{dhcp}}}}}");
    let multicast = "hosts: [{name: a, mac: '01:00:5e:00:00:01', ip: 10.94.0.5}]";
    let two = [("10.94.0", "10.94.0.1/24"), ("10.94.1", "10.94.1.1/24")]
        .map(|(net, cidr)| ips(cidr, &format!("ranges: [{{start: {net}.10, end: {net}.20}}]")));
    let cases = [
        (
            "ips: [{cidr: 10.96.0.129/25}]".to_owned(),
            "10.96.0.129/25 has addresses in common with 10.96.0.1/24 of network \"theirs\" of the host",
        ),
        ("bridge: virbr-theirs".to_owned(), "the bridge virbr-theirs is that of network \"theirs\" of the host"),
        ("ips: [{cidr: 10.95.0.1/24}]".to_owned(), "the host has its addresses already"),
        (format!("ips: [{}]", ips("10.94.0.1/24", multicast)), "multicast"),
        (format!("ips: [{}]", two.join(", ")), "Multiple IPv4 dhcp sections found"),
        ("ips: [{cidr: 10.94.0.255/24}]".to_owned(), "the address is the first or last of its network"),
    ];
    for (parameters, wanted) in cases {
        scenario.apply(&manifest("Network", "bad", &format!("mode: Isolated, {parameters}")))?;
        scenario.await_object("network", "bad", |object| {
            let (status, _, message) = condition(object, "Synced")?;
            ensure!(status == "False" && message.contains(wanted), "Synced is {status}: {message}; wanted {wanted}");
            Ok(())
        })?;
        // It is tried again and again, and each time taken away again.
        eventually(PATIENCE, || {
            let networks = host.virsh(&["net-list", "--all", "--name"])?;
            ensure!(!networks.contains("bad"), "with {parameters} there are {networks}");
            Ok(())
        })?;
        scenario.delete(&["network/bad"])?;
        scenario.await_gone(&["network/bad"])?;
    }
    // A plain bridge has no VLANs, and libvirt would say so only when a guest starts.
    let tagged = manifest("Network", "bad", "mode: Bridge, bridge: br0, portGroups: [{name: a, vlan: {tags: [5]}}]");
    let refused = format!("{:#}", scenario.apply(&tagged).unwrap_err());
    assert!(refused.contains("a plain bridge has no VLANs"), "{refused}");
    Ok(())
}

#[test]
fn functions_of_a_card_are_refused_by_the_line_that_the_policy_lacks() -> Result<()> {
    let scenario = STAGE.scenario("cards")?;
    scenario.apply(&manifest("Network", "cards", "mode: HostDevices, hostDevices: {physicalFunction: eno1}"))?;
    let message = "hostDevices: net/eno1 is not allowed on ClusterProviderConfig default; it would be with the line net/eno1 in its spec.policy.hostDevices";
    scenario.await_object("network", "cards", |object| {
        let found = condition(object, "Ready")?;
        ensure!(found.1 == "NotAllowed" && found.2.contains(message), "Ready is {found:?}");
        Ok(())
    })?;
    assert!(!scenario.host().virsh(&["net-list", "--all", "--name"])?.contains("cards"));
    let alone = manifest("Network", "alone", "mode: HostDevices");
    let refused = format!("{:#}", scenario.apply(&alone).unwrap_err());
    assert!(
        refused.contains("mode: HostDevices and hostDevices, the functions that guests get, need each other"),
        "{refused}"
    );
    Ok(())
}
