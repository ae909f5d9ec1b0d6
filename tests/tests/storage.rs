//! What the disks of a guest are made of and what they cost, changed while it runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Scenario, SharedStage, condition};

static STAGE: SharedStage = SharedStage::new("store", &["--poll=2s"]);

/// No change of a guest waits for its next boot.
fn await_no_restart(scenario: &Scenario<'_>) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "it asks for a restart");
        ensure!(condition(domain, "UpToDate")?.0 == "True", "it is not up to date");
        Ok(())
    })
}

/// What QEMU itself holds its only disk to.
fn throttle(scenario: &Scenario<'_>) -> Result<Value> {
    let text = scenario.host().virsh(&["qemu-monitor-command", scenario.name(), r#"{"execute": "query-block"}"#])?;
    let answer: Value = serde_json::from_str(&text)?;
    let disk =
        answer["return"].as_array().and_then(|disks| disks.first()).context("read the disk")?["inserted"].clone();
    let names = ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "bps_max", "iops_rd_max"];
    Ok(names.map(|name| disk[name].as_u64().unwrap_or_default()).into())
}

#[test]
fn what_a_disk_may_cost_is_changed_and_lifted_under_a_running_guest() -> Result<()> {
    let scenario = STAGE.scenario("tuned")?;
    scenario.apply(&scenario.idle_world(""))?;
    scenario.await_ready(&["domain/tuned"])?;
    let tune = |tune: Value| json!({"disks": [{"name": "root", "volumeRef": {"name": "root"}, "ioTune": tune}]});
    let limits = |scenario: &Scenario<'_>| Ok(throttle(scenario)?.to_string());

    let first = json!({"bytesPerSecond": {"total": "10Mi", "totalMax": "20Mi"}, "iopsPerSecond": {"read": 100, "readMax": 200}});
    scenario.change("domain", "tuned", &tune(first.clone()))?;
    scenario.await_host("[10485760,0,0,0,100,0,20971520,200]", limits)?;
    let wanted = "<iotune>\n  <total_bytes_sec>10485760</total_bytes_sec>\n  <read_iops_sec>100</read_iops_sec>\n  \
                  <total_bytes_sec_max>20971520</total_bytes_sec_max>\n  <read_iops_sec_max>200</read_iops_sec_max>\n</iotune>";
    scenario.await_host(wanted, |scenario| scenario.live("//disk/iotune"))?;
    scenario.await_host(wanted, |scenario| scenario.inactive("//disk/iotune"))?;
    await_no_restart(&scenario)?;
    assert_eq!(scenario.observed("domain", "tuned")?["disks"][0]["ioTune"], first);

    // In place of a total, reads and writes by themselves.
    let second = json!({"bytesPerSecond": {"read": "1M", "write": "2M"}});
    scenario.change("domain", "tuned", &tune(second))?;
    scenario.await_host("[0,1000000,2000000,0,0,0,0,0]", limits)?;
    await_no_restart(&scenario)?;

    // What somebody lifts by hand is put back, and what is wished no more is lifted.
    let by_hand = ["--read-bytes-sec", "0", "--write-bytes-sec", "0", "--live", "--config"];
    scenario.host().virsh(&[&["blkdeviotune", "tuned", "vda"], &by_hand[..]].concat())?;
    scenario.await_host("[0,1000000,2000000,0,0,0,0,0]", limits)?;
    scenario.change("domain", "tuned", &json!({"disks": [{"name": "root", "volumeRef": {"name": "root"}}]}))?;
    scenario.await_host("[0,0,0,0,0,0,0,0]", limits)?;
    await_no_restart(&scenario)
}
