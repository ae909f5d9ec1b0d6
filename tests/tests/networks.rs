//! Networks: what is changed while guests are on them, and what is refused before anything is made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, SharedStage, condition, eventually, manifest, skipped};

static STAGE: SharedStage = SharedStage::new("networks", &["--poll=2s"]);

/// The parts of the running network's description, and of its definition, that begin so, in the order of their text.
fn parts(scenario: &Scenario<'_>, of: &[&str], words: &[&str]) -> Result<Vec<String>> {
    let shown = scenario.host().virsh(&[&["net-dumpxml", scenario.name()][..], of].concat())?;
    let mut lines: Vec<String> = shown.lines().map(|line| line.trim().to_owned()).collect();
    lines.retain(|line| words.iter().any(|word| line.starts_with(&format!("<{word}"))));
    lines.sort();
    Ok(lines)
}

/// What a change of names and addresses must leave as it is: the bridge with its number, and the guest's tap on it.
fn links(scenario: &Scenario<'_>, bridge: &str) -> Result<Vec<String>> {
    let number = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let own = scenario.host().run("ip", &["-o", "link", "show", "dev", bridge])?;
    let taps = scenario.host().run("ip", &["-o", "link", "show", "master", bridge])?;
    Ok(own.lines().chain(taps.lines()).map(number).collect())
}

fn told(scenario: &Scenario<'_>, file: &str) -> Result<Vec<String>> {
    let path = scenario.host().path(&format!("lib/dnsmasq/{}.{file}", scenario.name()));
    let mut lines: Vec<String> =
        std::fs::read_to_string(path)?.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.retain(|line| !line.starts_with('#') && !line.is_empty());
    lines.sort();
    Ok(lines)
}

fn network(net: &str, hosts: &Value, ranges: &Value, dns: &Value) -> Value {
    json!({
        "ips": [{"cidr": format!("{net}.1/24"), "dhcp": {"ranges": ranges, "hosts": hosts}}], "dns": dns,
    })
}

/// What is described of the network after the change, in the order of its text.
fn described(net: &str) -> Vec<String> {
    let mut wanted = vec![
        format!("<host mac='52:54:00:00:00:01' name='a' ip='{net}.6'/>"),
        format!("<host mac='52:54:00:00:00:02' name='b' ip='{net}.5'/>"),
        format!("<host ip='{net}.5'>"),
        format!("<host ip='{net}.7'>"),
        "<hostname>new</hostname>".to_owned(),
        "<hostname>shared</hostname>".to_owned(),
        "<hostname>shared</hostname>".to_owned(),
        format!("<range start='{net}.110' end='{net}.189'/>"),
        format!("<range start='{net}.190' end='{net}.199'/>"),
        "<srv service='ldap' protocol='tcp' target='a' port='636'/>".to_owned(),
        "<txt name='t' value='new'/>".to_owned(),
        "<txt name='u' value='more'/>".to_owned(),
    ];
    wanted.sort();
    wanted
}

fn before(net: &str) -> Value {
    let host = |name: &str, mac: u8, last: u8| json!({"name": name, "mac": format!("52:54:00:00:00:0{mac}"), "ip": format!("{net}.{last}")});
    let range = |start: u8, end: u8| json!({"start": format!("{net}.{start}"), "end": format!("{net}.{end}")});
    network(
        net,
        &json!([host("a", 1, 5), host("b", 2, 6)]),
        &json!([range(100, 199)]),
        &json!({
            "hosts": [{"ip": format!("{net}.5"), "hostnames": ["old", "shared"]}, {"ip": format!("{net}.6"), "hostnames": ["shared"]}],
            "txts": [{"name": "t", "value": "old"}], "srvs": [{"service": "ldap", "protocol": "Tcp", "target": "a", "port": 389}],
        }),
    )
}

/// The two guests exchange their addresses, a range moves, and so does a name.
fn after(net: &str) -> Value {
    let host = |name: &str, mac: u8, last: u8| json!({"name": name, "mac": format!("52:54:00:00:00:0{mac}"), "ip": format!("{net}.{last}")});
    let range = |start: u8, end: u8| json!({"start": format!("{net}.{start}"), "end": format!("{net}.{end}")});
    network(
        net,
        &json!([host("a", 1, 6), host("b", 2, 5)]),
        &json!([range(110, 189), range(190, 199)]),
        &json!({
            "hosts": [{"ip": format!("{net}.5"), "hostnames": ["new", "shared"]}, {"ip": format!("{net}.7"), "hostnames": ["shared"]}],
            "txts": [{"name": "t", "value": "new"}, {"name": "u", "value": "more"}], "srvs": [{"service": "ldap", "protocol": "Tcp", "target": "a", "port": 636}],
        }),
    )
}

#[test]
fn names_and_addresses_change_under_a_running_guest_that_stays_on_the_network() -> Result<()> {
    let scenario = STAGE.scenario("edited")?;
    let (net, name) = (format!("192.168.{}", scenario.subnet()), scenario.name());
    let before = before(&net).to_string();
    let inside = before.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
    let yaml = manifest("Network", name, inside);
    scenario.apply(
        &(yaml + &scenario.idle_world(&format!(", networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}}}]"))),
    )?;
    scenario.await_ready(&[&format!("network/{name}"), &format!("domain/{name}")])?;
    let bridge = scenario.observed("network", name)?["bridge"].as_str().unwrap_or_default().to_owned();
    let linked = links(&scenario, &bridge)?;
    assert_eq!(linked.len(), 2, "{linked:?}");

    scenario.change("network", name, &after(&net))?;
    let (words, wanted) = (["host", "range", "txt", "srv", "hostname"], described(&net));
    eventually(PATIENCE, || {
        let (live, defined) = (parts(&scenario, &[], &words)?, parts(&scenario, &["--inactive"], &words)?);
        ensure!(live == wanted && defined == wanted, "live {live:#?}, defined {defined:#?}, wanted {wanted:#?}");
        Ok(())
    })?;
    assert_eq!(links(&scenario, &bridge)?, linked);
    assert_eq!(
        told(&scenario, "hostsfile")?,
        [format!("52:54:00:00:00:01,{net}.6,a"), format!("52:54:00:00:00:02,{net}.5,b")]
    );
    assert_eq!(told(&scenario, "addnhosts")?, [format!("{net}.5\tnew\tshared"), format!("{net}.7\tshared")]);
    scenario.await_ready(&[&format!("network/{name}")])?;
    let seen = scenario.object("network", name)?;
    assert!(!condition(&seen, "RestartRequired").is_ok_and(|(status, ..)| status == "True"), "{seen}");

    // What only a start can change waits for one, and the guest stays on the network.
    scenario.change("network", name, &json!({"mtu": 1400, "dns": {"forwardPlainNames": false}}))?;
    let message = "waiting for the network's next start: dns.forwardPlainNames, mtu. A restart cuts its guests off; do it when it suits them";
    scenario.await_condition(&format!("network/{name}"), "RestartRequired", ("True", "ChangesPending", message))?;
    assert_eq!(links(&scenario, &bridge)?, linked);

    check_started_anew(&scenario, &bridge, &linked)
}

/// It may be started anew, but not under a guest, nor under one that is on it by its bridge.
fn check_started_anew(scenario: &Scenario<'_>, bridge: &str, linked: &[String]) -> Result<()> {
    let (name, host) = (scenario.name(), scenario.host());
    let held_by = |guest: &str| {
        let message = format!(
            "waiting for the network's next start: dns.forwardPlainNames, mtu. It is started anew once it is used by no running guest; now by 1 domain, {guest} first"
        );
        scenario.await_condition(&format!("network/{name}"), "RestartRequired", ("True", "ChangesPending", &message))
    };
    scenario.change("network", name, &json!({"restartPolicy": "WhenUnused"}))?;
    held_by(name)?;
    assert_eq!(links(scenario, bridge)?, linked);
    let nic = format!("<interface type='bridge'><source bridge='{bridge}'/></interface>");
    let other = format!(
        "<domain type='qemu'><name>other</name><memory unit='MiB'>16</memory><os><type>hvm</type></os><devices>{nic}</devices></domain>"
    );
    host.virsh_xml("create", &other)?;
    scenario.change("domain", name, &json!({"runStrategy": "Halted"}))?;
    held_by("other")?;
    host.virsh(&["destroy", "other"])?;
    scenario.await_object("network", name, |network| {
        let pending = &network["status"]["atProvider"]["pendingChanges"];
        ensure!(pending.is_null(), "{pending} wait");
        ensure!(!condition(network, "RestartRequired").is_ok_and(|(status, ..)| status == "True"), "{network}");
        Ok(())
    })?;
    assert_eq!(parts(scenario, &[], &["mtu"])?, ["<mtu size='1400'/>"]);
    check_kept(scenario, &other)
}

/// A network is not deleted under a running guest, though no object knows that one.
fn check_kept(scenario: &Scenario<'_>, other: &str) -> Result<()> {
    let (name, host) = (scenario.name(), scenario.host());
    let objects = [format!("domain/{name}"), format!("network/{name}")];
    scenario.delete(&[&objects[0]])?;
    scenario.await_gone(&[&objects[0]])?;
    host.virsh_xml("create", other)?;
    scenario.delete(&[&objects[1]])?;
    let used =
        "the network is used by 1 domain running on the host, other first; it is not deleted before they are off it";
    scenario.await_condition(&objects[1], "Ready", ("False", "InUse", used))?;
    assert!(host.virsh(&["net-list", "--name"])?.contains(name));
    host.virsh(&["destroy", "other"])?;
    scenario.await_gone(&[&objects[1]])
}

/// What cannot be beside network `first` of these addresses and an interface `mine`, or not at all, and what is said of it.
fn in_the_way(net: &str) -> Vec<(String, String)> {
    let isolated = |more: &str| format!("mode: Isolated, {more}");
    let dhcp = |more: &str| isolated(&format!("ips: [{{cidr: 10.98.0.1/24, dhcp: {{{more}}}}}]"));
    let host = |name: &str, mac: u8, ip: &str| format!("{{name: {name}, mac: '52:54:00:00:00:0{mac}', ip: {ip}}}");
    vec![
        (
            isolated(&format!("ips: [{{cidr: {net}.129/25}}]")),
            format!("{net}.129/25 has addresses in common with {net}.1/24 of network \"first\" of the host"),
        ),
        (isolated("bridge: virbr-first"), "the bridge virbr-first is that of network \"first\" of the host".to_owned()),
        (
            isolated("bridge: mine, ips: [{cidr: 10.97.0.1/24}]"),
            "the host has an interface of that name already".to_owned(),
        ),
        (
            isolated("ips: [{cidr: 10.98.0.1/24, dhcp: {ranges: [{start: 10.99.0.2, end: 10.99.0.9}]}}]"),
            "ips: 10.98.0.1/24: the range 10.99.0.2 to 10.99.0.9 is not within the network".to_owned(),
        ),
        (
            dhcp("ranges: [{start: 10.98.0.2, end: 10.98.0.9}, {start: 10.98.0.9, end: 10.98.0.12}]"),
            "the range 10.98.0.9 to 10.98.0.12 and the range 10.98.0.2 to 10.98.0.9 have addresses in common"
                .to_owned(),
        ),
        (
            dhcp(&format!("hosts: [{}, {}]", host("a", 1, "10.98.0.5"), host("b", 2, "10.98.0.5"))),
            "two hosts have the address 10.98.0.5, b is one of them".to_owned(),
        ),
        (
            dhcp(&format!("hosts: [{}, {}]", host("a", 1, "10.98.0.5"), host("b", 1, "10.98.0.6"))),
            "two hosts have the MAC address 52:54:00:00:00:01, b is one of them".to_owned(),
        ),
        (
            dhcp(&format!("hosts: [{}]", host("a", 1, "10.97.0.5"))),
            "the address 10.97.0.5 of the host a is not within the network".to_owned(),
        ),
        (
            isolated("ips: [{cidr: 10.98.0.1/24}, {cidr: 10.98.0.129/25}]"),
            "ips: 10.98.0.1/24 and 10.98.0.129/25 have addresses in common".to_owned(),
        ),
    ]
}

#[test]
fn what_is_in_the_way_of_another_network_is_refused_and_leaves_nothing_behind() -> Result<()> {
    let scenario = STAGE.scenario("apart")?;
    let net = format!("192.168.{}", scenario.subnet());
    scenario.apply(&manifest("Network", "first", &format!("bridge: virbr-first, ips: [{{cidr: {net}.1/24}}]")))?;
    scenario.await_ready(&["network/first"])?;
    scenario.host().run("ip", &["link", "add", "mine", "type", "bridge"])?;
    for (parameters, wanted) in in_the_way(&net) {
        scenario.apply(&manifest("Network", "second", &parameters))?;
        scenario.await_object("network", "second", |object| {
            let (status, _, message) = condition(object, "Synced")?;
            ensure!(status == "False" && message.contains(&wanted), "Synced is {status}: {message}; wanted {wanted}");
            Ok(())
        })?;
        // It is tried again and again, and each time taken away again.
        eventually(PATIENCE, || {
            let networks = scenario.host().virsh(&["net-list", "--all", "--name"])?;
            ensure!(!networks.contains("second"), "with {parameters} there are {networks}");
            Ok(())
        })?;
        scenario.delete(&["network/second"])?;
        scenario.await_gone(&["network/second"])?;
    }
    scenario.await_ready(&["network/first"])
}

/// What a Network shows that it keeps for guests that get no name by it, in the order of the addresses.
fn await_kept(scenario: &Scenario<'_>, wanted: &[(&str, &str)]) -> Result<()> {
    let named = |(mac, ip): &(&str, &str)| json!({"name": mac.replace(':', "-"), "mac": mac, "ip": ip});
    let mut wanted: Vec<Value> = wanted.iter().map(named).collect();
    wanted.sort_by_key(|one| one["ip"].to_string());
    scenario.await_object("network", scenario.name(), |network| {
        let mut kept =
            network["status"]["atProvider"]["ips"][0]["dhcp"]["hosts"].as_array().cloned().unwrap_or_default();
        kept.sort_by_key(|one| one["ip"].to_string());
        ensure!(kept == wanted, "the network keeps {kept:?}, wanted {wanted:?}");
        Ok(())
    })
}

fn await_refusal(scenario: &Scenario<'_>, domain: &str, wanted: &str) -> Result<()> {
    scenario.await_object("domain", domain, |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains(wanted), "Synced is {status}: {message}; wanted {wanted}");
        Ok(())
    })
}

/// One interface on the scenario's network.
fn on_lan(scenario: &Scenario<'_>, address: &str) -> Value {
    json!([{"name": "lan", "networkRef": {"name": scenario.name()}, "address": address}])
}

#[test]
fn a_guest_gets_the_address_that_its_network_keeps_for_it_and_nobody_else_does() -> Result<()> {
    let scenario = STAGE.scenario("kept")?;
    let (net, name) = (format!("192.168.{}", scenario.subnet()), scenario.name());
    let (first, second) = (format!("{net}.77"), format!("{net}.78"));
    let nics =
        |address: &str| format!("networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}, address: {address}}}]");
    let guest = scenario.guest(&format!("memory: 128Mi, vcpus: 1, {}", nics(&first)));
    scenario.apply(&(guest + &scenario.network() + &scenario.storage()?))?;
    scenario.await_ready(&["volume/kernel", "volume/initrd", &format!("network/{name}"), &format!("domain/{name}")])?;
    assert_eq!(scenario.console().wait_for_line("dhcp eth0 ", PATIENCE)?, format!("dhcp eth0 {first}"));
    let mac = scenario.live("//interface/mac")?.replace("<mac address=\"", "").replace("\"/>", "");
    let wanted = json!([{"ip": first, "mac": mac, "interface": "lan", "source": "Lease"}]);
    scenario.await_object("domain", name, |domain| {
        let seen = &domain["status"]["atProvider"]["addresses"];
        ensure!(*seen == wanted, "addresses are {seen}, wanted {wanted}");
        Ok(())
    })?;
    await_kept(&scenario, &[(&mac, &first)])?;
    let host = |ip: &str| format!("<host mac='{mac}' ip='{ip}'/>");
    assert_eq!(parts(&scenario, &["--inactive"], &["host"])?, [host(&first)]);

    // Who asks for it later is not made, nor is one whose address is elsewhere.
    let rival = format!("type: Qemu, memory: 32Mi, runStrategy: Halted, {}", nics(&first));
    scenario.apply(&manifest("Domain", "rival", &rival))?;
    let taken = format!(
        "the address {first} is that of interface lan of Domain {}/{name} on Network {name}",
        scenario.namespace().name()
    );
    await_refusal(&scenario, "rival", &format!("networkInterfaces lan: {taken}"))?;
    scenario.change("domain", "rival", &json!({"networkInterfaces": on_lan(&scenario, "10.9.9.9")}))?;
    let outside =
        format!("networkInterfaces lan: the address 10.9.9.9 is not within Network {name}, which has {net}.1/24");
    await_refusal(&scenario, "rival", &outside)?;
    assert!(!scenario.host().virsh(&["list", "--all", "--name"])?.contains("rival"));

    // The guest gives it up for another one, and runs on.
    let bridge = scenario.observed("network", name)?["bridge"].as_str().unwrap_or_default().to_owned();
    let linked = links(&scenario, &bridge)?;
    scenario.change("domain", "rival", &json!({"networkInterfaces": on_lan(&scenario, &first)}))?;
    scenario.change("domain", name, &json!({"networkInterfaces": on_lan(&scenario, &second)}))?;
    scenario.await_ready(&["domain/rival", &format!("domain/{name}"), &format!("network/{name}")])?;
    let its_mac =
        scenario.observed("domain", "rival")?["networkInterfaces"][0]["mac"].as_str().unwrap_or_default().to_owned();
    await_kept(&scenario, &[(&mac, &second), (&its_mac, &first)])?;
    assert_eq!(links(&scenario, &bridge)?, linked);
    assert_eq!(told(&scenario, "hostsfile")?.len(), 2);

    check_given_up(&scenario, &its_mac, &first)
}

/// An address goes with the guest that it was kept for, or with the wish for it.
fn check_given_up(scenario: &Scenario<'_>, mac: &str, address: &str) -> Result<()> {
    let name = scenario.name();
    scenario.delete(&[&format!("domain/{name}")])?;
    scenario.await_gone(&[&format!("domain/{name}")])?;
    await_kept(scenario, &[(mac, address)])?;
    scenario.change(
        "domain",
        "rival",
        &json!({"networkInterfaces": [{"name": "lan", "networkRef": {"name": name}, "address": null}]}),
    )?;
    await_kept(scenario, &[])?;
    assert_eq!(parts(scenario, &["--inactive"], &["host"])?, [""; 0]);
    Ok(())
}

#[test]
fn guests_of_a_macvtap_network_are_on_the_host_s_interface_and_nothing_of_them_waits() -> Result<()> {
    let scenario = STAGE.scenario("beside")?;
    let name = scenario.name();
    scenario.host().run("ip", &["link", "add", "card", "type", "veth", "peer", "name", "card-peer"])?;
    scenario.host().run("ip", &["link", "set", "card", "up"])?;
    let network = manifest(
        "Network",
        name,
        "mode: Macvtap, direct: {devices: [card], mode: Private}, portGroups: [{name: web}, {name: rest, default: true}]",
    );
    let guest = scenario
        .idle_world(&format!(", networkInterfaces: [{{name: lan, networkRef: {{name: {name}}}, portGroup: web}}]"));
    scenario.apply(&(network + &guest))?;
    let objects = [format!("network/{name}"), format!("domain/{name}")];
    scenario.await_ready(&[&objects[0], &objects[1]])?;
    let taps = scenario.host().run("ip", &["-d", "-o", "link", "show", "type", "macvtap"])?;
    assert!(taps.contains("@card") && taps.contains("mode private"), "{taps}");
    let source = scenario.live("//interface/source")?;
    assert!(source.contains("dev=\"card\"") && source.contains("portgroup=\"web\""), "{source}");
    let seen = scenario.observed("network", name)?;
    assert_eq!((&seen["mode"], &seen["direct"]), (&json!("Macvtap"), &json!({"devices": ["card"], "mode": "Private"})));
    assert_eq!(seen["portGroups"], json!([{"name": "web"}, {"name": "rest", "default": true}]));
    let nic = &scenario.observed("domain", name)?["networkInterfaces"][0];
    assert_eq!((&nic["network"], &nic["portGroup"], &nic["direct"]), (&json!(name), &json!("web"), &Value::Null));

    // Port groups come and go while a guest is on the network.
    scenario.change("network", name, &json!({"portGroups": [{"name": "web", "default": true}, {"name": "new"}]}))?;
    let wanted = ["<portgroup name='new'>", "<portgroup name='web' default='yes'>"];
    eventually(PATIENCE, || {
        let (live, defined) =
            (parts(&scenario, &[], &["portgroup"])?, parts(&scenario, &["--inactive"], &["portgroup"])?);
        ensure!(live == wanted && defined == wanted, "live {live:?}, defined {defined:?}, wanted {wanted:?}");
        Ok(())
    })?;
    scenario.await_ready(&[&objects[0], &objects[1]])?;
    for (kind, name) in [("network", name), ("domain", name)] {
        let seen = scenario.object(kind, name)?;
        assert!(!condition(&seen, "RestartRequired").is_ok_and(|(status, ..)| status == "True"), "{seen}");
    }
    Ok(())
}

#[test]
fn guests_have_interfaces_of_the_host_for_themselves_whatever_changes_of_their_network() -> Result<()> {
    let scenario = STAGE.scenario("lent")?;
    for card in ["card-a", "card-b"] {
        let peer = format!("{card}-peer");
        scenario.host().run("ip", &["link", "add", card, "type", "veth", "peer", "name", &peer])?;
        scenario.host().run("ip", &["link", "set", card, "up"])?;
    }
    let parameters = "mode: Macvtap, direct: {devices: [card-a, card-b], mode: Passthrough}";
    let nic = "networkInterfaces: [{name: lan, networkRef: {name: lent}}]";
    scenario.apply(&(manifest("Network", "lent", parameters) + &scenario.idle_world(&format!(", {nic}"))))?;
    scenario.await_ready(&["network/lent", "domain/lent"])?;

    // libvirt would change this while it runs, and forget who has which interface: the next guest would be given one that is not free.
    scenario.change("network", "lent", &json!({"portGroups": [{"name": "new"}]}))?;
    scenario.await_object("network", "lent", |network| {
        let (status, reason, message) = condition(network, "RestartRequired")?;
        ensure!((status, reason) == ("True", "ChangesPending") && message.contains("portGroups"), "{message}");
        Ok(())
    })?;
    assert_eq!(parts(&scenario, &["--inactive"], &["portgroup"])?, ["<portgroup name='new'>"]);
    let second = "type: Qemu, memory: 64Mi, shutdown: {timeout: 1s, forceAfterTimeout: true}";
    scenario.apply(&manifest("Domain", "second", &format!("{second}, {nic}")))?;
    scenario.await_ready(&["domain/second"])?;
    let of = |guest: &str| scenario.host().virsh(&["domiflist", guest]);
    let taps = scenario.host().run("ip", &["-o", "link", "show", "type", "macvtap"])?;
    assert!(taps.contains("@card-a") && taps.contains("@card-b"), "{taps}{}{}", of("lent")?, of("second")?);

    scenario.delete(&["domain/lent", "domain/second"])?;
    scenario.await_gone(&["domain/lent", "domain/second"])?;
    eventually(PATIENCE, || {
        let live = parts(&scenario, &[], &["portgroup"])?;
        let told = scenario.host().virsh(&["net-dumpxml", "lent"])?;
        ensure!(live == ["<portgroup name='new'>"], "{told}{:#}", scenario.object("network", "lent")?["status"]);
        Ok(())
    })?;
    scenario.await_object("network", "lent", |network| {
        ensure!(condition(network, "RestartRequired").is_err(), "{}", network["status"]);
        Ok(())
    })
}

#[test]
fn how_much_passes_through_a_network_is_limited_from_its_start_on() -> Result<()> {
    let scenario = STAGE.scenario("metered")?;
    for kind in ["htb", "sfq"] {
        if let Err(error) = scenario.host().run("tc", &["qdisc", "replace", "dev", "lo", "root", kind]) {
            return skipped(
                "how_much_passes_through_a_network_is_limited_from_its_start_on",
                &format!("the kernel does not shape traffic: {error:#}"),
            );
        }
    }
    let ips = format!("ips: [{{cidr: 192.168.{}.1/24}}]", scenario.subnet());
    let bandwidth = "bandwidth: {inbound: {average: 1000, peak: 2000, burst: 512}, outbound: {average: 100}}";
    scenario.apply(&manifest("Network", scenario.name(), &format!("{ips}, {bandwidth}")))?;
    scenario.await_ready(&["network/metered"])?;
    assert_eq!(
        parts(&scenario, &[], &["inbound", "outbound"])?,
        ["<inbound average='1000' peak='2000' burst='512'/>", "<outbound average='100'/>"]
    );
    let bridge = scenario.observed("network", "metered")?["bridge"].as_str().unwrap_or_default().to_owned();
    assert!(scenario.host().run("tc", &["qdisc", "show", "dev", &bridge])?.contains("htb"));
    Ok(())
}

#[test]
fn an_address_is_kept_in_what_was_initial_too_and_for_one_interface_alone() -> Result<()> {
    let scenario = STAGE.scenario("begun")?;
    let (net, name) = (format!("192.168.{}", scenario.subnet()), scenario.name());
    let ips = format!("ips: [{{cidr: {net}.1/24, dhcp: {{ranges: [{{start: {net}.100, end: {net}.199}}]}}}}]");
    let network =
        manifest("Network", name, "").replace("forProvider", &format!("initProvider: {{{ips}}}, forProvider"));
    let nic = |nic: &str| format!("{{name: {nic}, networkRef: {{name: {name}}}, address: {net}.77}}");
    let guest = |nics: &str| {
        manifest(
            "Domain",
            "two",
            &format!("type: Qemu, memory: 32Mi, runStrategy: Halted, networkInterfaces: [{nics}]"),
        )
    };
    scenario.apply(&(network + &guest(&format!("{}, {}", nic("a"), nic("b")))))?;
    let twice = format!("the address {net}.77 is that of interface a of Domain {}/two", scenario.namespace().name());
    await_refusal(&scenario, "two", &format!("networkInterfaces b: {twice}"))?;
    scenario.apply(&guest(&nic("a")))?;
    scenario.await_ready(&["domain/two", &format!("network/{name}")])?;
    let kept = |of: &[&str]| parts(&scenario, of, &["host", "range"]);
    let seen = kept(&[])?;
    assert!(seen.len() == 2 && seen[0].contains(&format!("ip='{net}.77'")), "{seen:?}");
    assert_eq!(kept(&["--inactive"])?, seen);
    scenario.delete(&["domain/two"])?;
    scenario.await_gone(&["domain/two"])?;
    let range = format!("<range start='{net}.100' end='{net}.199'/>");
    eventually(PATIENCE, || {
        let seen = kept(&[])?;
        ensure!(seen == [range.clone()], "{seen:?}");
        Ok(())
    })
}
