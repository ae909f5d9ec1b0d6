//! A guest that somebody moves to another host is neither made a second time, nor started where it was, nor taken away there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tests::{Host, PATIENCE, Scenario, Stage};

const MOVED: &str = "the guest moved to the host of ClusterProviderConfig other; nothing is made or deleted. Point a new Domain at that \
                     host, or move the guest back";
/// Longer than a guest may be off before it is started again, and than a poll.
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_guest_that_moved_is_left_where_it_went_whatever_it_left_behind() -> Result<()> {
    let stage = Stage::start("moved", &["--poll=2s"])?;
    let other = Host::start("moved-other")?;
    stage.configure("other", &other.uri(), "")?;
    let scenario = stage.scenario("wanderer")?;
    scenario.apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi")))?;
    scenario.await_ready(&["domain/wanderer"])?;
    scenario.console().wait_for_line("ready", PATIENCE)?;

    // It takes its definition with it.
    migrate(scenario.host(), &other, &["--undefinesource"])?;
    check_moved(&scenario, &other)?;
    assert_eq!(scenario.host().virsh(&["list", "--all", "--name"])?.trim(), "", "a twin was made");
    migrate(&other, scenario.host(), &["--undefinesource"])?;
    scenario.await_ready(&["domain/wanderer"])?;

    // It leaves its definition, from which it could be started.
    migrate(scenario.host(), &other, &[])?;
    assert_eq!(reason(&scenario)?, "shut off (migrated)");
    check_moved(&scenario, &other)?;
    assert_eq!(reason(&scenario)?, "shut off (migrated)");
    // A daemon that comes back has forgotten why it is off.
    scenario.host().restart_daemon()?;
    assert_eq!(reason(&scenario)?, "shut off (unknown)");
    check_moved(&scenario, &other)?;
    assert_eq!(reason(&scenario)?, "shut off (unknown)");
    scenario.delete(&["domain/wanderer"])?;
    check_moved(&scenario, &other)?;
    assert_eq!(reason(&scenario)?, "shut off (unknown)");

    // All this time it was one guest, and it went on.
    let boots = scenario.console().lines().iter().filter(|line| line.starts_with("ready")).count();
    assert_eq!(boots, 1);
    migrate(&other, scenario.host(), &["--undefinesource"])?;
    scenario.await_gone(&["domain/wanderer"])?;
    for host in [scenario.host(), &other] {
        assert_eq!(host.virsh(&["list", "--all", "--name"])?.trim(), "");
    }
    Ok(())
}

/// Moves the running guest, with a copy of its definition.
fn migrate(from: &Host, to: &Host, further: &[&str]) -> Result<()> {
    let uri = to.uri();
    let args = ["migrate", "wanderer", &uri, "--live", "--p2p", "--tunnelled", "--unsafe", "--persistent"];
    from.virsh(&[&args, further].concat()).context("move the guest").map(drop)
}

/// It is said to have moved, and is where it went, once.
fn check_moved(scenario: &Scenario<'_>, other: &Host) -> Result<()> {
    scenario.await_condition("domain/wanderer", "Ready", ("False", "Moved", MOVED))?;
    sleep(LONG);
    scenario.await_condition("domain/wanderer", "Ready", ("False", "Moved", MOVED))?;
    ensure!(other.virsh(&["domstate", "wanderer"])?.trim() == "running", "it is off where it went");
    Ok(())
}

fn reason(scenario: &Scenario<'_>) -> Result<String> {
    scenario.host().virsh(&["domstate", "wanderer", "--reason"]).map(|state| state.trim().to_owned())
}
