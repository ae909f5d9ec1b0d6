//! Image servers that not everybody can reach: with a certificate of their own authority, and with headers that they want.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::{Manners, PATIENCE, Scenario, Stage, TlsDoor, condition, run};

#[test]
fn an_image_comes_by_https_from_a_server_that_only_the_object_knows_and_that_wants_a_header_which_is_nowhere_to_be_seen()
-> Result<()> {
    let stage = Stage::start("doors", &["--poll=30s", "--debug"])?;
    let scenario = stage.scenario("doors")?;
    let (images, image) = (stage.images(), scenario.host().path("image"));
    fs::write(&image, (0..1_u32 << 20).map(|at| (at % 251).to_le_bytes()[0]).collect::<Vec<u8>>())?;
    let sum = sha256(&image)?;
    images.serve("image", &image, Manners::Good);
    let door = TlsDoor::open(images.port(), "X-Api-Key: open-sesame")?;
    scenario.apply(&scenario.pool())?;
    let volume = |name: &str, bundle: &str| {
        let http = format!("{{url: '{}', checksum: {sum}, headersRef: {{name: key}}{bundle}}}", door.url("image"));
        scenario.apply(&scenario.volume(name, &format!("format: Raw, source: {{http: {http}}}"))).map(drop)
    };
    let said = |name: &str, what: &str| {
        scenario.await_object("volume", name, |volume| {
            let (status, _, message) = condition(volume, "Synced")?;
            ensure!(status == "False" && message.contains(what), "{message}");
            Ok(())
        })
    };
    volume("stranger", "")?;
    said("stranger", "waiting for Secret key: there is none")?;
    holds(&scenario, "Secret", "key", "Host", "elsewhere")?;
    said("stranger", "waiting for Secret key: the header Host is the provider's own to send")?;
    scenario.namespace().kubectl(&["delete", "secret", "key"])?;
    holds(&scenario, "Secret", "key", "X-Api-Key", "shut-sesame")?;
    said("stranger", "the server's certificate is of an unknown authority")?;

    let inline = json!({"inline": door.certificate}).to_string();
    volume("inline", &format!(", caBundle: {inline}"))?;
    said("inline", "403 Forbidden")?;
    holds(&scenario, "Secret", "key", "X-Api-Key", "open-sesame")?;
    volume("from-secret", ", caBundle: {secretKeyRef: {name: ca, key: ca.crt}}")?;
    said("from-secret", "waiting for Secret ca: there is none")?;
    holds(&scenario, "Secret", "ca", "ca.crt", "nothing")?;
    said("from-secret", "waiting for Secret ca: ca.crt: it holds no certificate")?;
    holds(&scenario, "Secret", "ca", "ca.crt", &door.certificate)?;
    holds(&scenario, "ConfigMap", "ca", "ca.crt", &door.certificate)?;
    volume("from-map", ", caBundle: {configMapKeyRef: {name: ca, key: ca.crt}}")?;
    scenario.await_ready(&["volume/inline", "volume/from-secret", "volume/from-map"])?;
    for name in ["inline", "from-secret", "from-map"] {
        let path = scenario.observed("volume", name)?["path"].as_str().context("read the path")?.to_owned();
        assert_eq!(sha256(Path::new(&path))?, sum, "{name}");
    }
    said("stranger", "the server's certificate is of an unknown authority")?;
    check_hidden(&scenario)?;
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(scenario.host().everything()?, Vec::<String>::new());
    Ok(())
}

/// What lets in is in no status, event or log.
fn check_hidden(scenario: &Scenario<'_>) -> Result<()> {
    let told = scenario.namespace().kubectl(&["get", "volumes,events", "-o", "yaml"])? + &scenario.stage().log();
    for hidden in ["sesame", "b3Blbi1zZXNhbWU"] {
        assert!(!told.contains(hidden), "{hidden} is to be seen");
    }
    Ok(())
}

/// Has a Secret or `ConfigMap` hold a value under a key.
fn holds(scenario: &Scenario<'_>, kind: &str, name: &str, key: &str, value: &str) -> Result<()> {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: {key: value}});
    scenario.apply(&object.to_string()).map(drop)
}

fn sha256(file: &Path) -> Result<String> {
    let sum = run("sha256sum", &[&file.display().to_string()])?;
    Ok(sum.split(' ').next().context("read the checksum")?.to_owned())
}
