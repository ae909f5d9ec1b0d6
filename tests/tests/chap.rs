//! Pools whose servers let in by an account: CHAP at a target of iSCSI.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{PATIENCE, Scenario, Stage, condition, eventually, manifest_on, skipped};

const TARGET: &str = "iqn.2013-06.com.example:target";
const PASSWORD: &str = "let-rack4-in-01";

fn secret(password: &str) -> String {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "san"}, "stringData": {"password": password}});
    format!("---\n{secret}\n")
}

/// What this machine lacks for a target of its own.
fn lack(scenario: &Scenario<'_>) -> Option<&'static str> {
    let has = |script: &str| scenario.host().run("sh", &["-c", script]).is_ok();
    if !has("command -v tgtd") {
        return Some("no tgtd (package tgt)");
    }
    let driver = "ls /usr/lib/*/libvirt/storage-backend/libvirt_storage_backend_iscsi-direct.so";
    (!has(driver)).then_some("no iscsi-direct driver of libvirt (package libvirt-daemon-driver-storage-iscsi-direct)")
}

/// A target with one unit of 8 MiB, which lets in by one account.
fn start_target(scenario: &Scenario<'_>) -> Result<()> {
    let (host, unit) = (scenario.host(), scenario.host().path("unit"));
    fs::File::create(&unit)?.set_len(8 << 20)?;
    // Its socket is not for other hosts of the tests.
    host.run("sh", &["-c", "mkdir -p /run/tgtd && mount -t tmpfs tmpfs /run/tgtd"])?;
    host.run("bash", &["-c", "setsid tgtd -f -C 9 --iscsi portal=127.0.0.1:3260 </dev/null >/dev/null 2>&1 &"])?;
    let admin = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        host.run("tgtadm", &[&["-C", "9", "--lld", "iscsi"], &words[..]].concat())
    };
    eventually(PATIENCE, || admin("--mode system --op show"))?;
    admin(&format!("--mode target --op new --tid 1 --targetname {TARGET}"))?;
    admin(&format!("--mode logicalunit --op new --tid 1 --lun 1 --backing-store {}", unit.display()))?;
    admin("--mode target --op bind --tid 1 --initiator-address ALL")?;
    admin(&format!("--mode account --op new --user rack4 --password {PASSWORD}"))?;
    admin("--mode account --op bind --tid 1 --user rack4").map(drop)
}

fn await_sentence(scenario: &Scenario<'_>, sentence: &str) -> Result<()> {
    scenario.await_object("pool", "san", |pool| {
        let (status, _, message) = condition(pool, "Synced")?;
        ensure!(status == "False" && message.contains(sentence), "{status} {message}");
        Ok(())
    })
}

/// The host's secrets, without the UUIDs.
fn secrets(scenario: &Scenario<'_>) -> Result<usize> {
    Ok(scenario.host().virsh(&["secret-list"])?.lines().filter(|line| line.contains("iscsi")).count())
}

#[test]
fn a_pool_is_let_in_with_the_password_of_its_secret_and_with_no_other() -> Result<()> {
    let stage = Stage::start("chap", &["--poll=1s"])?;
    let scenario = stage.scenario("chap")?;
    if let Some(why) = lack(&scenario) {
        return skipped("a_pool_is_let_in_with_the_password_of_its_secret_and_with_no_other", why);
    }
    start_target(&scenario)?;
    let config = json!({
        "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "ClusterProviderConfig", "metadata": {"name": "chap"},
        "spec": {"uri": scenario.host().uri(), "policy": {"diskHosts": ["127.0.0.1"]}},
    });
    stage.plane().apply(&config.to_string())?;
    let source = format!(
        "hosts: [{{name: 127.0.0.1}}], iqn: '{TARGET}', initiatorIqn: 'iqn.2013-06.com.example:rack4', \
         auth: {{username: rack4, secretRef: {{name: san, key: password}}}}"
    );
    let pool = manifest_on(Some("chap"), "Pool", "san", &format!("type: IscsiDirect, source: {{{source}}}"));
    scenario.apply(&pool)?;
    await_sentence(
        &scenario,
        "source.auth.secretRef: cannot get referenced resource: waiting for Secret san: there is none in namespace",
    )?;
    scenario.apply(&secret("let-nobody-in-02"))?;
    await_sentence(&scenario, "Failed to log in to target. Status: Authentication failure")?;
    let refused = scenario.object("pool", "san")?;
    assert_eq!(condition(&refused, "Ready")?.1, "PoolUnavailable");
    // One that never was true takes its password along.
    assert_eq!(secrets(&scenario)?, 1);
    scenario.delete(&["pool/san"])?;
    scenario.await_gone(&["pool/san"])?;
    assert_eq!(secrets(&scenario)?, 0);
    scenario.apply(&pool)?;

    scenario.apply(&secret(PASSWORD))?;
    scenario.await_ready(&["pool/san"])?;
    // The first is the target itself.
    assert_eq!(scenario.host().volumes("san")?, ["unit:0:0:0", "unit:0:0:1"]);
    let seen: Value = scenario.observed("pool", "san")?;
    assert_eq!(seen["source"]["auth"], json!({"username": "rack4"}));
    assert_eq!(secrets(&scenario)?, 1);

    // The daemon forgets the password and with it the pool's volumes; both come back.
    scenario.host().restart_daemon()?;
    scenario.await_host("unit:0:0:0 unit:0:0:1", |scenario| Ok(scenario.host().volumes("san")?.join(" ")))?;
    scenario.await_ready(&["pool/san"])?;

    let objects = scenario.namespace().kubectl(&["get", "managed,events", "-o", "json"])?;
    let told =
        objects + &scenario.host().virsh(&["pool-dumpxml", "san"])? + &stage.log() + &scenario.host().daemon_log();
    for password in [PASSWORD, "let-nobody-in-02"] {
        ensure!(!told.contains(password), "{password} is told somewhere");
    }
    Ok(())
}
