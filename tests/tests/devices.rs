//! Consoles and small devices of a guest, as people at them find them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Console, PATIENCE, Scenario, SharedStage, condition, skipped, workspace};

static STAGE: SharedStage = SharedStage::new("devices", &["--poll=2s"]);

fn secret(passwords: &Value) -> String {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "desk"}, "stringData": passwords});
    format!("---\n{secret}\n")
}

/// What becomes of one who knocks at the guest's VNC console with this password.
fn knock(scenario: &Scenario<'_>, password: &str) -> Result<String> {
    let seen = scenario.observed("domain", scenario.name())?;
    let port = seen["graphics"][0]["hostPort"].to_string();
    let script = workspace().join("tests/host/rfb.py").display().to_string();
    Ok(scenario.host().run("python3", &[&script, &port, password])?.trim().to_owned())
}

/// Everything that the API server, the host's definition and the provider's log tell of the guest without being asked for secrets.
fn told(scenario: &Scenario<'_>) -> Result<String> {
    let objects = scenario.namespace().kubectl(&["get", "domains,events", "-o", "json"])?;
    let shown = [vec!["dumpxml", "--inactive"], vec!["dumpxml"]]
        .map(|words| scenario.host().virsh(&[&words[..], &[scenario.name()]].concat()));
    let [inactive, live] = shown;
    Ok(objects + &inactive? + &live? + &scenario.stage().log() + &scenario.host().daemon_log())
}

#[test]
fn a_console_asks_for_the_password_of_the_secret_as_it_is_by_now() -> Result<()> {
    let scenario = STAGE.scenario("asked")?;
    let console = ", graphics: [{type: Vnc, passwordSecretRef: {name: desk, key: vnc}}]";
    let guest = scenario.idle_world(console).replace(
        "kind: Domain\nmetadata: {name: asked}\nspec: {",
        "kind: Domain\nmetadata: {name: asked}\nspec: {writeConnectionSecretToRef: {name: how}, ",
    );
    scenario.apply(&guest)?;
    let waiting = "graphics Vnc: passwordSecretRef: cannot get referenced resource: waiting for Secret desk: there is none in namespace";
    scenario.await_object("domain", "asked", |object| {
        ensure!(condition(object, "Synced")?.2.contains(waiting), "it does not say what it waits for");
        Ok(())
    })?;
    scenario.apply(&secret(&json!({"vnc": "first-01"})))?;
    scenario.await_ready(&["domain/asked"])?;
    assert_eq!(knock(&scenario, "first-01")?, "granted");
    assert_eq!(knock(&scenario, "other-01")?, "refused");

    // The Secret wakes the guest's object, and the running console asks for the new one.
    let identity = (scenario.identity()?, scenario.host().virsh(&["domid", "asked"])?);
    scenario.apply(&secret(&json!({"vnc": "second-2"})))?;
    scenario.await_host("granted", |scenario| knock(scenario, "second-2"))?;
    assert_eq!(knock(&scenario, "first-01")?, "refused");
    scenario.await_ready(&["domain/asked"])?;
    assert_eq!((scenario.identity()?, scenario.host().virsh(&["domid", "asked"])?), identity);
    let object = scenario.object("domain", "asked")?;
    ensure!(condition(&object, "RestartRequired").is_err(), "it asks for a restart: {}", object["status"]);
    let defined = scenario.host().virsh(&["dumpxml", "--inactive", "--security-info", "asked"])?;
    ensure!(defined.contains("passwd='second-2'"), "it is not in the definition");
    scenario.await_object("secret", "how", |_| {
        let template = "go-template={{.data.password | base64decode}}";
        let said = scenario.namespace().kubectl(&["get", "secret", "how", "-o", template])?;
        ensure!(said == "second-2", "the connection Secret says {said}");
        Ok(())
    })?;

    // What cannot be a password of VNC changes nothing.
    scenario.apply(&secret(&json!({"vnc": "nine-char"})))?;
    let refused = "graphics Vnc: passwordSecretRef: the password is longer than 8 characters, the most that VNC knows";
    scenario.await_object("domain", "asked", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.ends_with(refused), "{status} {message}");
        Ok(())
    })?;
    assert_eq!(knock(&scenario, "second-2")?, "granted");
    let told = told(&scenario)?;
    for password in ["first-01", "second-2", "nine-char"] {
        ensure!(!told.contains(password), "{password} is told somewhere");
    }
    Ok(())
}

#[test]
fn whether_a_console_has_a_password_at_all_changes_with_the_next_boot() -> Result<()> {
    let scenario = STAGE.scenario("locked")?;
    scenario.apply(&(secret(&json!({"vnc": "sesame"})) + &scenario.idle_world(", graphics: [{type: Vnc}]")))?;
    scenario.await_ready(&["domain/locked"])?;
    assert_eq!(knock(&scenario, "sesame")?, "open");
    let waits = |object: &Value| -> Result<()> {
        let (_, _, message) = condition(object, "RestartRequired")?;
        let wanted = "waiting for the guest's next boot: graphics[vnc]";
        ensure!(message.starts_with(wanted), "{message}");
        Ok(())
    };
    let locked = json!({"graphics": [{"type": "Vnc", "passwordSecretRef": {"name": "desk", "key": "vnc"}}]});
    for (change, before, after) in
        [(locked, "open", "granted"), (json!({"graphics": [{"type": "Vnc"}]}), "granted", "open")]
    {
        scenario.change("domain", "locked", &change)?;
        scenario.await_object("domain", "locked", waits)?;
        assert_eq!(knock(&scenario, "sesame")?, before);
        scenario.host().virsh(&["destroy", "locked"])?;
        scenario.await_host(after, |scenario| knock(scenario, "sesame"))?;
        scenario.await_object("domain", "locked", |object| {
            ensure!(condition(object, "RestartRequired").is_err(), "it still waits");
            Ok(())
        })?;
    }
    let print = scenario.host().virsh(&["dumpxml", "--inactive", "locked"])?;
    ensure!(!print.contains(":passwords"), "a print is left");
    Ok(())
}

#[test]
fn a_guest_has_a_console_of_each_kind_at_the_port_that_is_said() -> Result<()> {
    let scenario = STAGE.scenario("ports")?;
    let consoles = ", graphics: [{type: Vnc, port: 5977}, {type: Spice, port: 5978}], networkInterfaces: [{name: lan, networkRef: {name: ports}}]";
    scenario.apply(&(scenario.network() + &scenario.idle_world(consoles)))?;
    scenario.await_ready(&["domain/ports"])?;
    let seen = scenario.observed("domain", "ports")?["graphics"].clone();
    let shown = |type_: &str, port: i32| json!({"type": type_, "listen": "127.0.0.1", "host": "127.0.0.1", "port": port, "hostPort": port});
    assert_eq!(seen, json!([shown("Vnc", 5977), shown("Spice", 5978)]));
    assert_eq!(knock(&scenario, "")?, "open");
    // One that goes and one that comes back to a port of libvirt's choice wait for a boot.
    scenario.change("domain", "ports", &json!({"graphics": [{"type": "Vnc"}]}))?;
    scenario.await_object("domain", "ports", |object| {
        let (_, _, message) = condition(object, "RestartRequired")?;
        let wanted = "graphics[spice], graphics[vnc]";
        ensure!(message == format!("waiting for the guest's next boot: {wanted}"), "{message}");
        Ok(())
    })?;
    scenario.host().virsh(&["destroy", "ports"])?;
    scenario.await_object("domain", "ports", |object| {
        let seen = object["status"]["atProvider"]["graphics"].as_array().context("read graphics")?.clone();
        let port = seen[0]["hostPort"].as_i64().unwrap_or_default();
        ensure!(seen.len() == 1 && (5900..5977).contains(&port), "{seen:?}");
        Ok(())
    })
}

/// The values of attributes of the running guest, with spaces between; nothing where there are none.
fn values(scenario: &Scenario<'_>, xpath: &str) -> Result<String> {
    let description = scenario.host().virsh(&["dumpxml", scenario.name()])?;
    ensure!(description.contains("<domain"), "there is no description");
    // virsh fails where an expression finds nothing.
    let found = scenario.live(xpath).unwrap_or_default();
    let values: Vec<&str> = found.split('"').skip(1).step_by(2).collect();
    Ok(values.join(" "))
}

/// Waits until nothing of the guest waits for its next boot and all is as wished.
fn await_settled(scenario: &Scenario<'_>) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |object| {
        ensure!(condition(object, "RestartRequired").is_err(), "it asks for a restart");
        ensure!(condition(object, "UpToDate")?.0 == "True", "it is not up to date");
        Ok(())
    })
}

#[test]
fn cards_come_and_go_under_a_running_guest_that_answers_and_a_sound_card_waits_for_its_boot() -> Result<()> {
    let scenario = STAGE.scenario("cards")?;
    let net = scenario.network();
    let guest = scenario.guest("memory: 128Mi, networkInterfaces: [{name: out, user: {}}], balloon: {statsPeriod: 5s}");
    scenario.apply(&(scenario.storage()? + &net + &guest))?;
    scenario.await_ready(&["domain/cards"])?;
    let console = scenario.console();
    console.wait_for_line("dhcp eth0 10.0.2.15", PATIENCE)?;
    scenario.host().virsh_xml("nwfilter-define", "<filter name='house'/>")?;

    let out = json!({"name": "out", "user": {}});
    let lan = |more: &Value| {
        let mut lan = json!({"name": "lan", "networkRef": {"name": "cards"}});
        lan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"networkInterfaces": [out.clone(), lan]})
    };
    scenario.change("domain", "cards", &lan(&json!({})))?;
    let net = format!(
        "dhcp eth1 192.168.{}.",
        scenario.observed("network", "cards")?["ips"][0]["cidr"].as_str().unwrap().split('.').nth(2).unwrap()
    );
    console.wait_for_line(&net, PATIENCE)?;
    let of = |what: &str| format!("//interface[alias/@name='ua-nic-lan']/{what}");
    scenario.change("domain", "cards", &lan(&json!({"isolated": true, "filter": "house"})))?;
    let port = |scenario: &Scenario<'_>| {
        let device = values(scenario, &of("target/@dev"))?;
        scenario.host().run("cat", &[&format!("/sys/class/net/{device}/brport/isolated")])
    };
    scenario.await_host("1", port)?;
    scenario.await_host("house", |scenario| values(scenario, &of("filterref/@filter")))?;
    scenario.change("domain", "cards", &lan(&json!({"isolated": null, "filter": null})))?;
    scenario.await_host("0", port)?;
    await_settled(&scenario)?;

    // The guest gives the card back, and only then is it gone.
    scenario.change("domain", "cards", &json!({"networkInterfaces": [out]}))?;
    console.wait_for_line("nic-gone eth1", PATIENCE)?;
    scenario.await_host("user", |scenario| values(scenario, "//interface/@type"))?;
    let pen = json!([{"name": "pen", "type": "Tablet"}]);
    scenario.change("domain", "cards", &json!({"inputs": pen, "balloon": {"statsPeriod": "7s"}}))?;
    scenario.await_host("tablet 7", |scenario| {
        values(scenario, "//input[alias/@name='ua-input-pen']/@type|//memballoon/stats/@period")
    })?;
    scenario.change("domain", "cards", &json!({"inputs": null, "balloon": null}))?;
    scenario.await_host("", |scenario| values(scenario, "//input[@type='tablet']/@type|//memballoon/stats/@period"))?;
    await_settled(&scenario)?;
    check_sound(&scenario)
}

/// A sound card is not plugged into a running guest.
fn check_sound(scenario: &Scenario<'_>) -> Result<()> {
    scenario.change("domain", "cards", &json!({"sound": {}}))?;
    let message = "waiting for the guest's next boot: sound";
    scenario.await_condition("domain/cards", "RestartRequired", ("True", "ChangesPending", message))?;
    scenario.host().virsh(&["destroy", "cards"])?;
    scenario.await_host("ich9", |scenario| values(scenario, "//sound/@model"))?;
    await_settled(scenario)
}

#[test]
fn a_guest_is_spoken_with_through_a_port_a_file_and_a_channel() -> Result<()> {
    let scenario = STAGE.scenario("spoken")?;
    let consoles = "consoles: [{name: serial, type: Tcp, tcp: {port: 4555}, log: true}, {name: file, type: File}]";
    let guest = scenario.guest("memory: 128Mi, channels: [{name: app, target: org.example.app.0}]");
    let plain = "consoles: [{name: serial, log: true}]";
    ensure!(guest.contains(plain), "the guest is written otherwise");
    scenario.apply(&(scenario.storage()? + &guest.replace(plain, consoles)))?;
    scenario.await_ready(&["domain/spoken"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    // The shell of the guest reads what comes by the port; what it says goes to the port and to the log.
    let open = "for port in /sys/class/virtio-ports/*; do read name <$port/name; [ $name = org.example.app.0 ] && exec 5<>/dev/${port##*/}; done";
    let words = format!("echo TINY: by-$((40+2)); echo TINY: to-file >/dev/ttyS1; {open}");
    let speak = "exec 3<>/dev/tcp/127.0.0.1/4555; printf '\\n%s\\n' \"$0\" >&3; timeout 60 grep -m1 by-42 <&3";
    let heard = scenario.host().run("bash", &["-c", speak, &words])?;
    ensure!(heard.contains("TINY: by-42"), "{heard}");
    console.wait_for_line("by-42", PATIENCE)?;
    let file = Console::new(scenario.host().path("log/qemu/spoken.file.console"));
    file.wait_for_line("to-file", PATIENCE)?;
    scenario.await_host("connected", |scenario| values(scenario, "//channel/target/@state"))?;
    let seen = scenario.observed("domain", "spoken")?;
    let path = values(&scenario, "//channel/source/@path")?;
    let app = json!({"name": "app", "type": "Unix", "target": "org.example.app.0", "path": path});
    assert_eq!(seen["channels"], json!([app]));
    let tcp = json!({"listen": "127.0.0.1", "port": 4555, "protocol": "Raw"});
    let log = |name: &str| format!("/var/log/libvirt/qemu/spoken.{name}.console");
    assert_eq!(
        seen["consoles"],
        json!([
            {"name": "serial", "type": "Tcp", "tcp": tcp, "log": true, "logFile": log("serial")},
            {"name": "file", "type": "File", "logFile": log("file")},
        ])
    );
    Ok(())
}

#[test]
fn a_guest_is_on_a_device_of_the_host() -> Result<()> {
    let scenario = STAGE.scenario("direct")?;
    scenario.host().run("ip", &["link", "add", "uplink", "type", "veth", "peer", "name", "outside"])?;
    scenario.host().run("ip", &["link", "set", "uplink", "up"])?;
    let nic = ", networkInterfaces: [{name: lan, direct: {device: uplink, mode: Private}}]";
    scenario.apply(&scenario.idle_world(nic))?;
    scenario.await_ready(&["domain/direct"])?;
    let tap = values(&scenario, "//interface/target/@dev")?;
    let shown = scenario.host().run("ip", &["-details", "link", "show", &tap])?;
    ensure!(shown.contains("@uplink") && shown.contains("macvtap mode private"), "{shown}");
    await_settled(&scenario)
}

#[test]
fn a_vlan_where_there_can_be_none_is_refused_by_the_host_in_its_words() -> Result<()> {
    let scenario = STAGE.scenario("tagged")?;
    let nic = ", networkInterfaces: [{name: lan, networkRef: {name: tagged}, vlan: {tags: [42]}}]";
    scenario.apply(&(scenario.network() + &scenario.idle_world(nic)))?;
    scenario.await_object("domain", "tagged", |object| {
        let (status, _, message) = condition(object, "Synced")?;
        let is_said = message.contains("vlan tag not supported for this connection type");
        ensure!(status == "False" && is_said, "{status} {message}");
        Ok(())
    })
}

#[test]
fn how_much_passes_through_an_interface_changes_while_its_guest_runs() -> Result<()> {
    let scenario = STAGE.scenario("shaped")?;
    scenario.apply(
        &(scenario.network() + &scenario.idle_world(", networkInterfaces: [{name: lan, networkRef: {name: shaped}}]")),
    )?;
    scenario.await_ready(&["domain/shaped"])?;
    if let Err(error) = scenario.host().run("tc", &["qdisc", "add", "dev", "lo", "root", "sfq"]) {
        return skipped(
            "how_much_passes_through_an_interface_changes_while_its_guest_runs",
            &format!("the kernel does not shape traffic: {error:#}"),
        );
    }
    let shape = |bandwidth: &Value| {
        let nic = json!({"name": "lan", "networkRef": {"name": "shaped"}, "bandwidth": bandwidth});
        scenario.change("domain", "shaped", &json!({"networkInterfaces": [nic]}))
    };
    let seen = |scenario: &Scenario<'_>| {
        values(scenario, "//bandwidth/inbound/@average|//bandwidth/inbound/@peak|//bandwidth/outbound/@average")
    };
    shape(&json!({"inbound": {"average": 1000, "peak": 2000, "burst": 512}, "outbound": {"average": 100}}))?;
    scenario.await_host("1000 2000 100", seen)?;
    shape(&json!({"outbound": {"average": 200}}))?;
    scenario.await_host("200", seen)?;
    shape(&json!(null))?;
    scenario.await_host("", seen)?;
    await_settled(&scenario)
}

#[test]
fn a_guest_has_a_socket_to_its_host() -> Result<()> {
    if !Path::new("/dev/vhost-vsock").exists() {
        return skipped("a_guest_has_a_socket_to_its_host", "the kernel has no vhost_vsock");
    }
    let scenario = STAGE.scenario("socket")?;
    scenario.apply(&scenario.idle_world(", vsock: {}"))?;
    scenario.await_object("domain", "socket", |object| {
        let cid = object["status"]["atProvider"]["vsock"]["guestCid"].as_i64().context("read the number")?;
        ensure!(cid >= 3, "{cid}");
        Ok(())
    })?;
    await_settled(&scenario)
}
