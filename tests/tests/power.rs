//! When guests run, stand still and start again: as their objects say, and by the reason of the stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{GuestFiles, PATIENCE, Scenario, SharedStage, Stage, condition, eventually, manifest};

static STAGE: SharedStage = SharedStage::new("power", &["--poll=1s"]);

/// Time in which several passes look at everything.
const A_WHILE: Duration = Duration::from_secs(5);

/// The domain, once it is ready because of this and not for another reason.
fn await_ready(scenario: &Scenario<'_>, wanted: (&str, &str, &str), state: &str) -> Result<Value> {
    scenario.await_object("domain", scenario.name(), |domain| {
        let found = condition(domain, "Ready")?;
        ensure!(found == wanted, "Ready is {found:?}");
        let seen = &domain["status"]["atProvider"]["state"];
        ensure!(seen == state, "it is {seen}");
        Ok(domain.clone())
    })
}

const AVAILABLE: (&str, &str, &str) = ("True", "Available", "");

#[test]
fn a_guest_is_paused_and_goes_on_as_its_object_says() -> Result<()> {
    let scenario = STAGE.scenario("pausing")?;
    scenario.apply(&scenario.idle_world(", paused: true"))?;
    await_ready(&scenario, AVAILABLE, "Paused (by a user)").or_else(|_| await_ready(&scenario, AVAILABLE, "Paused"))?;
    let identity = scenario.identity()?;
    scenario.host().virsh(&["resume", "pausing"])?;
    scenario.await_state("paused")?;
    scenario.change("domain", "pausing", &json!({"paused": false}))?;
    scenario.await_state("running")?;
    scenario.host().virsh(&["suspend", "pausing"])?;
    scenario.await_state("running")?;
    await_ready(&scenario, AVAILABLE, "Running")?;

    // Of nobody's wish it is told, and left as it is.
    scenario.change("domain", "pausing", &json!({"paused": null}))?;
    scenario.await_object("domain", "pausing", |domain| {
        ensure!(domain["spec"]["forProvider"]["paused"].is_null(), "it is still wished");
        Ok(())
    })?;
    scenario.host().virsh(&["suspend", "pausing"])?;
    let told = ("False", "Unavailable", "the guest is Paused (by a user)");
    await_ready(&scenario, told, "Paused (by a user)")?;
    sleep(A_WHILE);
    scenario.await_state("paused")?;
    assert_eq!(scenario.identity()?, identity);
    Ok(())
}

#[test]
fn changes_that_wait_for_a_boot_get_it_where_the_policy_says_so() -> Result<()> {
    let scenario = STAGE.scenario("policy")?;
    scenario.apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi")))?;
    scenario.await_ready(&["domain/policy"])?;
    let (console, identity) = (scenario.console(), scenario.identity()?);
    console.wait_for_line("ready", PATIENCE)?;
    scenario.change("domain", "policy", &json!({"clock": {"offset": "Localtime"}}))?;
    scenario.await_object("domain", "policy", |domain| Ok(condition(domain, "RestartRequired")?.1.to_owned()))?;
    sleep(A_WHILE);
    assert_eq!(count(&scenario, "power-button"), 0, "nobody wished it");

    scenario.change("domain", "policy", &json!({"restartPolicy": "Graceful"}))?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    await_no_restart(&scenario, "//clock[@offset='localtime']")?;
    assert_eq!(count(&scenario, "power-button"), 1, "it was asked once");

    scenario.change("domain", "policy", &json!({"restartPolicy": "Force", "memoryBacking": {"merge": false}}))?;
    console.wait_for_nth("ready", 3, PATIENCE)?;
    await_no_restart(&scenario, "//memoryBacking/nosharepages")?;
    sleep(A_WHILE);
    assert_eq!((count(&scenario, "power-button"), count(&scenario, "ready")), (1, 3));
    assert_eq!(scenario.identity()?, identity);
    Ok(())
}

fn count(scenario: &Scenario<'_>, line: &str) -> usize {
    scenario.console().lines().iter().filter(|said| *said == line).count()
}

fn await_no_restart(scenario: &Scenario<'_>, changed: &str) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "it asks for a restart");
        ensure!(condition(domain, "Ready")?.0 == "True", "it is not ready");
        Ok(())
    })?;
    ensure!(!scenario.live(changed)?.is_empty(), "the guest does not show {changed}");
    Ok(())
}

#[test]
fn a_restart_is_made_once_for_each_token_whatever_happens_to_the_provider_meanwhile() -> Result<()> {
    let stage = Stage::start("token", &["--poll=1s"])?;
    let scenario = stage.scenario("token")?;
    // Left to people: what keeps running by itself would hide a restart that was forgotten.
    scenario.apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi, runStrategy: Manual")))?;
    scenario.await_ready(&["domain/token"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    let ask = |token: &str| {
        let annotation = format!("libvirt.nourspeed.io/restarted-at={token}");
        scenario.namespace().kubectl(&["annotate", "--overwrite", "domain", "token", &annotation])
    };
    ask("one")?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    sleep(A_WHILE);
    assert_eq!((count(&scenario, "power-button"), count(&scenario, "ready")), (1, 2));

    ask("two")?;
    console.wait_for_nth("power-button", 2, PATIENCE)?;
    stage.kill_provider()?;
    scenario.await_state("shut off")?;
    stage.start_provider()?;
    console.wait_for_nth("ready", 3, PATIENCE)?;
    // Off by people it stays off.
    scenario.host().virsh(&["destroy", "token"])?;
    await_ready(&scenario, AVAILABLE, "Shutoff (destroyed)")?;
    sleep(A_WHILE);
    scenario.await_state("shut off")?;
    assert_eq!((count(&scenario, "power-button"), count(&scenario, "ready")), (2, 3));
    Ok(())
}

#[test]
fn a_guest_that_failed_is_run_again_and_one_that_is_done_is_not() -> Result<()> {
    let scenario = STAGE.scenario("rerun")?;
    scenario.apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi, runStrategy: RerunOnFailure")))?;
    scenario.await_ready(&["domain/rerun"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    scenario.host().virsh(&["destroy", "rerun"])?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    scenario.host().virsh(&["shutdown", "rerun", "--mode=acpi"])?;
    await_ready(&scenario, AVAILABLE, "Shutoff")?;
    sleep(Duration::from_secs(18));
    scenario.await_state("shut off")?;

    scenario.change("domain", "rerun", &json!({"runStrategy": "Once"}))?;
    scenario.host().virsh(&["start", "rerun"])?;
    console.wait_for_nth("ready", 3, PATIENCE)?;
    await_ready(&scenario, AVAILABLE, "Running")?;
    scenario.host().virsh(&["destroy", "rerun"])?;
    let told = "the guest is Shutoff (destroyed), and runStrategy Once does not start it again";
    await_ready(&scenario, ("False", "Unavailable", told), "Shutoff (destroyed)")?;
    sleep(A_WHILE);
    scenario.await_state("shut off")
}

fn run(scenario: &Scenario<'_>) -> Result<String> {
    scenario.host().virsh(&["domid", scenario.name()]).map(|id| id.trim().to_owned())
}

#[test]
fn a_restart_for_a_change_that_is_taken_back_is_called_off() -> Result<()> {
    let scenario = STAGE.scenario("taken-back")?;
    let deaf = format!("{} tiny.ignore_shutdown=1", GuestFiles::COMMAND_LINE);
    let os = format!("{{kernelRef: {{name: kernel}}, initrdRef: {{name: initrd}}, cmdline: '{deaf}'}}");
    let more = "consoles: [{name: serial, log: true}], restartPolicy: Graceful";
    let guest = manifest("Domain", "taken-back", &format!("type: Qemu, memory: 128Mi, os: {os}, {more}"));
    scenario.apply(&(scenario.storage()? + &guest))?;
    scenario.console().wait_for_line("ready", PATIENCE)?;
    await_ready(&scenario, AVAILABLE, "Running")?;
    let first = run(&scenario)?;
    scenario.change("domain", "taken-back", &json!({"clock": {"offset": "Localtime"}}))?;
    let told = "to be started again: the guest was asked to shut down and has 2m to do so";
    scenario.await_condition("domain/taken-back", "RestartRequired", ("True", "Restarting", told))?;
    let noted = |scenario: &Scenario<'_>| {
        let mark = scenario.inactive("/domain/metadata/*")?;
        Ok(mark.contains("restarting=\"changes ").to_string())
    };
    scenario.await_host("true", noted)?;

    scenario.change("domain", "taken-back", &json!({"clock": {"offset": "Utc"}}))?;
    scenario.await_object("domain", "taken-back", |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "it is to be started again");
        Ok(())
    })?;
    sleep(A_WHILE);
    assert_eq!((run(&scenario)?, count(&scenario, "power-button-ignored")), (first, 1), "it was asked again");
    // Should it shut down all the same, for it was asked, it is started again, whatever its strategy.
    scenario.change("domain", "taken-back", &json!({"runStrategy": "Manual"}))?;
    scenario.host().virsh(&["destroy", "taken-back"])?;
    scenario.console().wait_for_nth("ready", 2, PATIENCE)?;
    scenario.await_host("false", noted)
}

#[test]
fn a_saved_guest_goes_on_where_it_was_and_what_changed_meanwhile_waits() -> Result<()> {
    let scenario = STAGE.scenario("saved")?;
    scenario.apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi")))?;
    scenario.await_ready(&["domain/saved"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    scenario.change("domain", "saved", &json!({"runStrategy": "Halted", "shutdown": {"mode": "Save"}}))?;
    await_ready(&scenario, AVAILABLE, "Shutoff (saved)")?;
    scenario.change("domain", "saved", &json!({"runStrategy": "Always", "clock": {"offset": "Localtime"}}))?;
    scenario.await_state("running")?;
    let told = "waiting for the guest's next boot: clock.offset";
    scenario.await_condition("domain/saved", "RestartRequired", ("True", "ChangesPending", told))?;
    assert_eq!((count(&scenario, "power-button"), count(&scenario, "ready")), (0, 1), "it went on");

    // With what was saved it goes, when it goes; and what it was saved with, nobody else gets before.
    let disk = |shown: String| shown.matches("<disk").count().to_string();
    scenario.change("domain", "saved", &json!({"disks": [{"name": "root", "volumeRef": {"name": "root"}}]}))?;
    scenario.await_host("1", |scenario| scenario.live("//disk").map(disk))?;
    scenario.change("domain", "saved", &json!({"runStrategy": "Halted"}))?;
    await_ready(&scenario, AVAILABLE, "Shutoff (saved)")?;
    scenario.change("domain", "saved", &json!({"disks": null}))?;
    let message = "update failed: the guest was saved with the disks that it has, and goes on with them: start it before one is taken \
                   from it or exchanged, or drop what was saved with virsh managedsave-remove";
    scenario.await_condition("domain/saved", "UpToDate", ("False", "Saved", message))?;
    assert_eq!(disk(scenario.inactive("//disk")?), "1");
    let saved = || scenario.host().virsh(&["list", "--all", "--name", "--with-managed-save"]);
    ensure!(saved()?.contains("saved"), "nothing was saved");
    scenario.delete(&["domain/saved"])?;
    scenario.await_gone(&["domain/saved"])?;
    ensure!(!saved()?.contains("saved"), "what was saved is left");
    Ok(())
}

#[test]
fn a_device_that_a_guest_has_not_given_up_yet_is_waited_for_and_one_that_was_taken_from_it_comes_back() -> Result<()> {
    let scenario = STAGE.scenario("unplug")?;
    let extra = scenario.volume("extra", "capacity: 32Mi, format: Raw");
    scenario.apply(
        &(scenario.storage()?
            + &extra
            + &scenario.guest("memory: 128Mi, disks: [{name: root, volumeRef: {name: root}}]")),
    )?;
    scenario.await_ready(&["domain/unplug"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    let [root, extra] = ["root", "extra"].map(|name| json!({"name": name, "volumeRef": {"name": name}}));
    scenario.change("domain", "unplug", &json!({"disks": [root, extra]}))?;
    console.wait_for_line("disk vdb 33554432", PATIENCE)?;
    eventually(PATIENCE, || {
        // A guest that has just been given a disk does not hear that it is to go.
        let _ = scenario.host().virsh(&["detach-disk", "unplug", "vdb", "--live"]);
        console.wait_for_line("disk-gone vdb", Duration::from_secs(7))
    })?;
    console.wait_for_nth("disk vdb 33554432", 2, PATIENCE)?;

    // A guest that stands still gives nothing up.
    scenario.change("domain", "unplug", &json!({"paused": true}))?;
    await_ready(&scenario, AVAILABLE, "Paused (by a user)")?;
    scenario.change("domain", "unplug", &json!({"disks": [root]}))?;
    let told = "the guest was asked to give up disks[extra]";
    scenario.await_condition("domain/unplug", "RestartRequired", ("False", "Unplugging", told))?;
    scenario.change("domain", "unplug", &json!({"paused": false}))?;
    console.wait_for_nth("disk-gone vdb", 2, PATIENCE)?;
    scenario.await_object("domain", "unplug", |domain| {
        ensure!(condition(domain, "RestartRequired").is_err(), "something is left to do");
        Ok(())
    })?;
    Ok(())
}

#[test]
fn what_follows_the_end_of_a_run_changes_while_it_goes_on_and_keeps_no_guest_from_going_off() -> Result<()> {
    let scenario = STAGE.scenario("ends")?;
    scenario.apply(&(scenario.storage()? + &scenario.guest("memory: 128Mi")))?;
    scenario.await_ready(&["domain/ends"])?;
    let console = scenario.console();
    console.wait_for_line("ready", PATIENCE)?;
    let first = run(&scenario)?;
    let actions = "/domain/on_poweroff|/domain/on_reboot|/domain/on_crash";
    let shown = |poweroff: &str, reboot: &str, crash: &str| {
        format!("<on_poweroff>{poweroff}</on_poweroff>\n<on_reboot>{reboot}</on_reboot>\n<on_crash>{crash}</on_crash>")
    };
    let both = shown("restart", "restart", "coredump-destroy");
    for (ends, expected) in [
        (json!({"onPoweroff": "Destroy", "onReboot": "Destroy"}), shown("destroy", "destroy", "destroy")),
        (json!({"onPoweroff": "Restart", "onReboot": "Restart", "onCrash": "CoredumpDestroy"}), both.clone()),
    ] {
        scenario.change("domain", "ends", &json!({"lifecycle": ends}))?;
        scenario.await_host(&expected, |scenario| scenario.live(actions))?;
        assert_eq!(scenario.inactive(actions)?, expected);
        scenario.await_object("domain", "ends", |domain| {
            ensure!(condition(domain, "RestartRequired").is_err(), "it asks for a restart");
            ensure!(condition(domain, "UpToDate")?.0 == "True", "it is not up to date");
            Ok(())
        })?;
    }

    // What somebody else asks for is a boot by now.
    scenario.host().virsh(&["shutdown", "ends", "--mode=acpi"])?;
    console.wait_for_nth("ready", 2, PATIENCE)?;
    assert_eq!(run(&scenario)?, first);
    // What the object asks for is not.
    scenario.change("domain", "ends", &json!({"runStrategy": "Halted"}))?;
    scenario.await_state("shut off")?;
    scenario.await_ready(&["domain/ends"])?;
    assert_eq!((count(&scenario, "power-button"), count(&scenario, "ready")), (2, 2));
    scenario.change("domain", "ends", &json!({"runStrategy": "Always"}))?;
    console.wait_for_nth("ready", 3, PATIENCE)?;
    assert_eq!(scenario.live(actions)?, both);
    Ok(())
}
