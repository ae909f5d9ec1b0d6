//! What a guest tells of itself, and what its neighbours know of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{Manners, PATIENCE, Scenario, SharedStage, condition, guest_files, manifest, skip};

static STAGE: SharedStage = SharedStage::new("told", &["--poll=1s"]);

/// Runs the agent of the disk `vda` on its port, once the host has been spoken to; the guest looks for its interfaces meanwhile.
fn script(gateway: &str) -> String {
    [
        "#!/bin/sh",
        "mkdir -p /srv /var/run /etc && mount -t vfat -o ro /dev/vda /srv",
        "echo ID=tiny >/etc/os-release; echo PRETTY_NAME=Tiny-Guest >>/etc/os-release; echo VERSION_ID=1 >>/etc/os-release",
        "for each in /sys/class/virtio-ports/*; do",
        "[ $(cat $each/name) = org.qemu.guest_agent.0 ] && port=/dev/${each##*/}",
        "done",
        "(",
        &format!("until ping -c 1 -W 1 {gateway}; do sleep 1; done >/dev/null 2>&1"),
        "sleep 10",
        "/srv/ld-linux-x86-64.so.2 --library-path /srv /srv/qemu-ga -d -m virtio-serial -p $port -t /run",
        "echo TINY: agent-begun >/dev/console",
        ") >/dev/null 2>&1 &",
        "",
    ]
    .join("\n")
}

fn interface(ip: &str, mac: &str, source: &str) -> Value {
    json!({"ip": ip, "mac": mac, "interface": "lan", "source": source})
}

#[test]
fn a_guest_on_a_bridge_is_found_by_its_neighbours_and_tells_what_it_is_by_its_agent() -> Result<()> {
    let scenario = STAGE.scenario("told")?;
    let net = format!("192.168.{}", scenario.subnet());
    let network = format!(
        "mode: Nat, bridge: br-told, ips: [{{cidr: {net}.1/24, dhcp: {{ranges: [{{start: {net}.9, end: {net}.9}}]}}}}]"
    );
    let agent = scenario.stage().image(&guest_files()?.agent, Manners::Good)?;
    let lan = "networkInterfaces: [{name: lan, bridge: br-told, mac: '52:54:00:00:00:07'}]";
    let disks = "disks: [{name: agent, volumeRef: {name: agent}, readOnly: true}]";
    let domain = format!("memory: 192Mi, guestAgent: true, cloudInitRef: {{name: told}}, {lan}, {disks}");
    scenario.apply(
        &(scenario.storage()?
            + &manifest("Network", "told", &network)
            + &scenario.volume("agent", &format!("format: Raw, {agent}"))
            + &scenario.seed("t", &script(&format!("{net}.1")))
            + &scenario.guest(&domain)),
    )?;
    let (ip, mac) = (format!("{net}.9"), "52:54:00:00:00:07");
    let console = scenario.console();
    console.wait_for_line(&format!("dhcp eth0 {ip}"), PATIENCE)?;
    // The kernel's answer is one that not every libvirt can read.
    match scenario.host().virsh(&["domifaddr", "told", "--source", "arp"]) {
        Ok(_) => await_addresses(&scenario, &json!([interface(&ip, mac, "Arp")]))?,
        Err(error) => skip("told::an_address_of_the_neighbour_table", &reason(&error)),
    }
    console.wait_for_line("agent-begun", PATIENCE)?;
    scenario.await_condition("domain/told", "GuestAgentConnected", ("True", "Connected", ""))?;
    await_addresses(&scenario, &json!([interface(&ip, mac, "Agent")]))?;
    let mut guest = scenario.observed("domain", "told")?["guest"].take();
    let kernel = guest["kernel"].take();
    ensure!(kernel.as_str().is_some_and(|kernel| kernel.starts_with(|digit: char| digit.is_ascii_digit())), "{kernel}");
    let expected = json!({
        "hostname": "guest-t",
        "osId": "tiny",
        "osName": "Tiny-Guest",
        "osVersion": "1",
        "kernel": null,
        "filesystems": [{"mountpoint": "/srv", "type": "vfat", "device": "vda"}],
    });
    assert_eq!(guest, expected);

    // With the run goes what was known of it.
    scenario.change("domain", "told", &json!({"runStrategy": "Halted"}))?;
    scenario.await_object("domain", "told", |domain| {
        let seen = &domain["status"]["atProvider"];
        ensure!(seen["guest"].is_null() && seen["addresses"].is_null(), "it still tells");
        ensure!(condition(domain, "GuestAgentConnected").is_err(), "an agent is connected");
        Ok(())
    })
}

/// The last line of what virsh says.
fn reason(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().rfind(|line| line.contains("error:")).unwrap_or("unknown").to_owned()
}

fn await_addresses(scenario: &Scenario<'_>, wanted: &Value) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |domain| {
        let seen = &domain["status"]["atProvider"]["addresses"];
        ensure!(seen == wanted, "addresses are {seen}");
        Ok(())
    })
}
