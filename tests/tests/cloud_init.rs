//! Seeds as they lie on the host: what is in their volumes, read by a program that had no part in writing them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{process::Command, sync::LazyLock};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64;
use serde_json::{Value, json};
use tests::{Scenario, Stage, manifest};

static STAGE: LazyLock<Stage> =
    LazyLock::new(|| Stage::start("cloud-init", &["--poll=1s"]).expect("start the stage of the seeds"));

/// A file of a seed, or nothing where there is none.
fn file(scenario: &Scenario<'_>, seed: &str, name: &str) -> Result<Vec<u8>> {
    let path = scenario.path("cloudinit", seed)?;
    let output = Command::new("isoinfo").args(["-i", &path, "-R", "-x", &format!("/{name}")]).output()?;
    ensure!(output.status.success(), "isoinfo: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

fn text(scenario: &Scenario<'_>, seed: &str, name: &str) -> Result<String> {
    Ok(String::from_utf8(file(scenario, seed, name)?)?)
}

/// The parts of a MIME message by type, name and content, as its encodings say them.
fn parts(message: &str) -> Vec<(String, String, Vec<u8>)> {
    let pieces = message.split("\n--==provider-libvirt==\n").skip(1);
    let part = |piece: &str| {
        let (head, body) = piece.split_once("\n\n").unwrap();
        let value = |key: &str| head.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        let name = value("Content-Disposition: attachment; filename=").replace('"', "");
        let body = body.strip_suffix("\n--==provider-libvirt==--\n").unwrap_or(body);
        let content = match value("Content-Transfer-Encoding: ").as_str() {
            "7bit" => body.as_bytes().to_vec(),
            _ => BASE64.decode(body.replace('\n', "").as_bytes()).unwrap(),
        };
        (value("Content-Type: "), name, content)
    };
    pieces.map(part).collect()
}

#[test]
fn several_parts_are_one_message_in_the_seed_and_lose_no_byte() -> Result<()> {
    let scenario = STAGE.scenario("parts")?;
    let config = "#cloud-config\nwrite_files: [{path: /q, content: \"it's \\\"quoted\\\" $(x) `y`\"}]\n";
    let script = "#!/bin/sh\ncat <<EOF\nEOF\nEOF\n";
    let binary: Vec<u8> = (0..=255u8).cycle().take(3000).collect();
    let big = format!("#!/bin/sh\n{}", "# 500 KiB: grüße\r\n".repeat(500 * 1024 / 19));
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "data": {"script": BASE64.encode(script.as_bytes()), "binary": BASE64.encode(&binary)},
    });
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"text": big}});
    let config_text = Value::from(config);
    let several = format!(
        "{{parts: [{{name: config, inline: {config_text}}}, {{name: script, secretKeyRef: {{name: s, key: script}}}}, \
         {{name: boot, contentType: ShellScriptPerBoot, secretKeyRef: {{name: s, key: binary}}}}, \
         {{name: big, configMapKeyRef: {{name: big, key: text}}}}]}}"
    );
    let seed = |name: &str| {
        manifest("CloudInit", name, &format!("poolRef: {{name: parts}}, userData: {several}, vendorData: {several}"))
    };
    scenario.apply(&format!("{secret}\n---\n{map}\n"))?;
    scenario.apply(&(scenario.pool() + &seed("one") + &seed("two")))?;
    scenario.await_ready(&["cloudinit/one", "cloudinit/two"])?;
    let wanted = [
        ("text/cloud-config", "000-config", config.as_bytes().to_vec()),
        ("text/x-shellscript", "001-script", script.as_bytes().to_vec()),
        ("text/x-shellscript-per-boot", "002-boot", binary),
        ("text/x-shellscript", "003-big", big.into_bytes()),
    ]
    .map(|(kind, name, content)| (kind.to_owned(), name.to_owned(), content));
    for name in ["user-data", "vendor-data"] {
        let message = text(&scenario, "one", name)?;
        // Not assert_eq: the parts are too large to show.
        assert!(parts(&message) == wanted, "{}", &message[..2000]);
        assert!(message == text(&scenario, "two", name)?, "the same parts are another message in {name}");
    }
    // A part that is no more told is told of without what is in it, and the seed stays.
    let volume = scenario.observed("cloudinit", "one")?["volume"].clone();
    scenario.change(
        "cloudinit",
        "one",
        &json!({"userData": {"parts": [{"name": "x", "inline": "password: hunter2"}]}}),
    )?;
    let message = "cannot resolve references: userData: part x begins with nothing that cloud-init knows, such as #cloud-config or #!: set its contentType";
    scenario.await_condition("cloudinit/one", "Synced", ("False", "ReconcileError", message))?;
    assert_eq!(scenario.observed("cloudinit", "one")?["volume"], volume);
    assert!(!STAGE.log().contains("hunter2"), "the log has what is in a part");
    Ok(())
}

#[test]
fn an_instance_id_is_kept_or_changes_with_the_content_as_the_object_says() -> Result<()> {
    let scenario = STAGE.scenario("instance")?;
    let seed = |name: &str, policy: &str, user_data: &str| {
        manifest("CloudInit", name, &format!("poolRef: {{name: instance}}{policy}, userData: {{inline: {user_data}}}"))
    };
    let both = |user_data: &str| seed("kept", "", user_data) + &seed("moved", ", instanceIdPolicy: Content", user_data);
    let ids = |user_data: &str| -> Result<[String; 2]> {
        scenario.apply(&both(user_data))?;
        let id = |name: &str| -> Result<String> {
            scenario.await_object("cloudinit", name, |_| {
                ensure!(text(&scenario, name, "user-data")? == user_data, "another content");
                Ok(())
            })?;
            let id = scenario.observed("cloudinit", name)?["instanceId"].as_str().context("read the id")?.to_owned();
            let meta_data = format!("instance-id: {id}\nlocal-hostname: {name}\n");
            assert_eq!(text(&scenario, name, "meta-data")?.replace('"', ""), meta_data);
            Ok(id)
        };
        Ok([id("kept")?, id("moved")?])
    };
    scenario.apply(&scenario.pool())?;
    let uid = |name: &str| -> Result<String> {
        let object = scenario.object("cloudinit", name)?;
        Ok(object["metadata"]["uid"].as_str().context("read the UID")?.to_owned())
    };
    let ([first, first_moved], [second, second_moved], [third, third_moved]) = (ids("one")?, ids("two")?, ids("one")?);
    let of = uid("kept")?;
    assert_eq!([first, second, third], [of.clone(), of.clone(), of]);
    assert_ne!(first_moved, second_moved);
    assert_eq!(first_moved, third_moved);
    let begin = uid("moved")? + "-";
    assert!([first_moved, second_moved].iter().all(|id| id.strip_prefix(&begin).is_some_and(|rest| rest.len() == 16)));
    Ok(())
}

/// The network-config of a seed once it has these addresses.
fn await_addresses(scenario: &Scenario<'_>, wanted: &[(&str, &str)]) -> Result<()> {
    scenario.await_object("cloudinit", "follow", |_| {
        let config: Value = serde_saphyr::from_str(&text(scenario, "follow", "network-config")?)?;
        let told = wanted.iter().map(|(name, mac)| {
            let card = json!({"match": {"macaddress": mac}, "set-name": name, "dhcp4": true});
            ((*name).to_owned(), card)
        });
        let told = json!({"version": 2, "ethernets": told.collect::<serde_json::Map<_, _>>()});
        ensure!(config == told, "{config}");
        Ok(())
    })
}

#[test]
fn an_interface_of_a_seed_has_the_address_that_its_guest_has_under_that_name() -> Result<()> {
    let scenario = STAGE.scenario("follow")?;
    let guest = |name: &str, macs: [&str; 2]| {
        let [lan, san] = macs;
        manifest(
            "Domain",
            name,
            &format!(
                "type: Qemu, memory: 64Mi, shutdown: {{timeout: 1s, forceAfterTimeout: true}}, cloudInitRef: {{name: follow}}, \
                 networkInterfaces: [{{name: lan, user: {{}}{lan}}}, {{name: san, user: {{}}{san}}}]"
            ),
        )
    };
    let interfaces = "networkInterfaces: [{name: lan}, {name: san}, {name: out, mac: '52:54:00:00:00:0A'}]";
    let seed = format!("poolRef: {{name: follow}}, userData: {{inline: x}}, {interfaces}");
    scenario.apply(&(scenario.pool() + &manifest("CloudInit", "follow", &seed)))?;
    let refused = |why: &str| {
        let why = format!("cannot resolve references: networkInterfaces: lan, san: {why}");
        scenario.await_condition("cloudinit/follow", "Synced", ("False", "ReconcileError", &why)).map(drop)
    };
    refused("waiting for the Domain of this namespace that refers to this CloudInit; or set their mac")?;
    // Nothing but the Domain's making wakes the seed, and the seed's the Domain.
    scenario.apply(&guest("follow", ["", ", mac: '52:54:00:00:00:0B'"]))?;
    scenario.await_ready(&["cloudinit/follow", "domain/follow"])?;
    let of_host = |at: u8| -> Result<String> {
        let shown =
            scenario.host().virsh(&["dumpxml", "follow", "--xpath", &format!("//interface[{at}]/mac/@address")])?;
        Ok(shown.split('"').nth(1).context("read the address")?.to_owned())
    };
    let lan = of_host(1)?;
    assert_eq!(of_host(2)?, "52:54:00:00:00:0b");
    await_addresses(&scenario, &[("lan", &lan), ("out", "52:54:00:00:00:0a"), ("san", "52:54:00:00:00:0b")])?;
    // Another address is another seed, in the guest's drive.
    let before = scenario.observed("cloudinit", "follow")?["path"].clone();
    scenario.apply(&guest("follow", ["", ", mac: '52:54:00:00:00:0C'"]))?;
    await_addresses(&scenario, &[("lan", &lan), ("out", "52:54:00:00:00:0a"), ("san", "52:54:00:00:00:0c")])?;
    let now = scenario.observed("cloudinit", "follow")?["path"].clone();
    assert_ne!(before, now);
    scenario.await_host(&format!("file={now}"), |scenario| scenario.live("//disk[@device='cdrom']/source/@file"))?;
    // Whose addresses those of two guests are, nobody can tell.
    scenario.apply(&guest("other", ["", ""]))?;
    refused(&format!(
        "Domains {0}/follow and {0}/other both refer to this CloudInit, and their addresses differ: give each guest a CloudInit of its own, or set their mac",
        scenario.namespace().name()
    ))?;
    scenario.delete(&["domain/other"])?;
    scenario.await_condition("cloudinit/follow", "Synced", ("True", "ReconcileSuccess", ""))?;
    assert_eq!(scenario.observed("cloudinit", "follow")?["path"], now);
    scenario.delete_all()?;
    scenario.await_all_gone(tests::PATIENCE)
}
