//! What a guest gets of its host: seen on the host, changed while the guest runs, and what of it the guest sees.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{
    GuestFiles, Host, PATIENCE, Scenario, SharedStage, Stage, condition, eventually, manifest, no_control_groups,
    skipped,
};

static STAGE: SharedStage = SharedStage::new("tuning", &["--poll=1s"]);

/// The fields on the host, blanks put together.
fn table(host: &Host, args: &[&str]) -> Result<Vec<String>> {
    let lines = host.virsh(args)?;
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(lines.lines().map(plain).filter(|line| !line.is_empty()).collect())
}

/// Waits for these lines, in whatever order: QEMU tells threads from the last.
fn await_table(host: &Host, args: &[&str], wanted: &[&str]) -> Result<()> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    eventually(PATIENCE, || {
        let mut seen = table(host, args)?;
        seen.sort();
        ensure!(seen == wanted, "{args:?} shows {seen:?}, wanted {wanted:?}");
        Ok(())
    })
}

/// Nothing waits for a boot, and the object is as wished.
fn await_settled(scenario: &Scenario<'_>) -> Result<()> {
    scenario.await_object("domain", scenario.name(), |object| {
        ensure!(condition(object, "RestartRequired").is_err(), "it asks for a restart: {}", object["status"]);
        ensure!(condition(object, "UpToDate")?.0 == "True", "{}", object["status"]["conditions"]);
        Ok(())
    })
}

#[test]
fn a_running_guest_is_pinned_and_gets_threads_and_is_let_go_again() -> Result<()> {
    let scenario = STAGE.scenario("pins")?;
    let (host, name) = (scenario.host(), scenario.name());
    let pins = "vcpuPins: [{vcpu: 0, cpus: '0'}, {vcpu: 1, cpus: '0,1'}], emulatorPin: '1', ioThreadPins: [{ioThread: 1, cpus: '0'}]";
    let root = json!({"name": "root", "volumeRef": {"name": "root"}, "ioThread": 1});
    let guest = format!("type: Qemu, memory: 32Mi, vcpus: 2, iothreads: 1, cpuTune: {{{pins}}}, disks: [{root}]");
    scenario.apply(&(scenario.pool() + &scenario.volume("root", "capacity: 1Mi")))?;
    scenario.apply(&manifest("Domain", name, &guest))?;
    scenario.await_ready(&["domain/pins"])?;
    await_table(host, &["vcpupin", name, "--live"], &["0 0", "1 0-1"])?;
    await_table(host, &["emulatorpin", name, "--live"], &["1"])?;
    await_table(host, &["iothreadinfo", name, "--live"], &["1 0"])?;
    await_settled(&scenario)?;

    // Other pins, another thread, and a disk that is plugged in for it.
    scenario.apply(&scenario.volume("extra", "capacity: 1Mi"))?;
    let extra = json!({"name": "extra", "volumeRef": {"name": "extra"}, "ioThread": 2});
    let tune = json!({
        "vcpuPins": [{"vcpu": 0, "cpus": "1"}], "emulatorPin": null,
        "ioThreadPins": [{"ioThread": 1, "cpus": "0"}, {"ioThread": 2, "cpus": "1"}],
    });
    scenario.change("domain", name, &json!({"iothreads": 2, "cpuTune": tune, "disks": [root, extra]}))?;
    await_table(host, &["vcpupin", name, "--live"], &["0 1", "1 0-1"])?;
    await_table(host, &["vcpupin", name, "--config"], &["0 1", "1 0-1"])?;
    await_table(host, &["emulatorpin", name, "--live"], &["0-1"])?;
    await_table(host, &["iothreadinfo", name, "--live"], &["1 0", "2 1"])?;
    let thread = "//disk[target/@dev='vdb']/driver/@iothread";
    scenario.await_host("iothread=\"2\"", |scenario| scenario.live(thread))?;
    await_settled(&scenario)?;

    scenario.change("domain", name, &json!({"cpuTune": null}))?;
    await_table(host, &["vcpupin", name, "--live"], &["0 0-1", "1 0-1"])?;
    await_table(host, &["iothreadinfo", name, "--live"], &["1 0-1", "2 0-1"])?;
    scenario.await_host("<name>pins</name>", |scenario| scenario.inactive("/domain[not(cputune)]/name"))?;
    await_settled(&scenario)
}

#[test]
fn a_host_without_control_groups_says_why_shares_wait_and_the_object_stays_in_peace() -> Result<()> {
    let scenario = STAGE.scenario("without")?;
    let name = scenario.name();
    scenario.apply(&manifest("Domain", name, "type: Qemu, memory: 32Mi"))?;
    scenario.await_ready(&["domain/without"])?;
    scenario.change(
        "domain",
        name,
        &json!({"cpuTune": {"shares": 512, "quota": "50ms"}, "memoryTune": {"hardLimit": "1Gi"}}),
    )?;
    let missing = "Requested operation is not valid: cgroup CPU controller is not mounted";
    let memory = "Requested operation is not valid: cgroup memory controller is not mounted";
    let message = format!(
        "waiting for the guest's next boot: cpuTune.quota, cpuTune.shares, memoryTune.hardLimit (not possible on the running guest: \
         cpuTune.quota: {missing}; cpuTune.shares: {missing}; memoryTune.hardLimit: {memory})"
    );
    let wanted = ("True", "ChangesPending", message.as_str());
    let object = scenario.await_condition("domain/without", "RestartRequired", wanted)?;
    assert_eq!(condition(&object, "Synced")?, ("True", "ReconcileSuccess", ""));
    // Nothing of it is tried again at each poll, and nothing forgotten.
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let settled = scenario.await_condition("domain/without", "UpToDate", ("True", "ObserveMatched", ""))?;
    std::thread::sleep(std::time::Duration::from_secs(4));
    let later = scenario.object("domain", name)?;
    assert_eq!(condition(&later, "RestartRequired")?, wanted);
    assert_eq!(version(&later), version(&settled));

    scenario.change("domain", name, &json!({"cpuTune": null, "memoryTune": null}))?;
    await_settled(&scenario)
}

/// Waits for shares, the vCPUs' period and quota, the hypervisor's quota, and the whole guest's period and quota.
fn await_schedule(host: &Host, name: &str, figures: [&str; 6]) -> Result<()> {
    let [shares, period, quota, emulator, global_period, global] = figures;
    let wanted = [
        "Scheduler : posix".to_owned(),
        format!("cpu_shares : {shares}"),
        format!("vcpu_period : {period}"),
        format!("vcpu_quota : {quota}"),
        "emulator_period: 100000".to_owned(),
        format!("emulator_quota : {emulator}"),
        format!("global_period : {global_period}"),
        format!("global_quota : {global}"),
        "iothread_period: 100000".to_owned(),
        "iothread_quota : -1".to_owned(),
    ];
    await_table(host, &["schedinfo", name, "--live"], &wanted.each_ref().map(String::as_str))
}

#[test]
fn shares_limits_and_weights_of_a_running_guest_are_changed_and_lifted() -> Result<()> {
    if let Some(why) = no_control_groups() {
        return skipped("shares_limits_and_weights_of_a_running_guest_are_changed_and_lifted", &why);
    }
    let stage = Stage::start_unconfigured("groups", &["--poll=1s"])?;
    let host = Host::start_with_control_groups("groups-host")?;
    stage.configure("default", &host.uri(), "")?;
    let scenario = stage.scenario("limits")?;
    let name = scenario.name();
    let tune = "shares: 512, quota: 50ms, globalPeriod: 50ms, globalQuota: 45ms";
    let guest = format!(
        "type: Qemu, memory: 32Mi, iothreads: 1, cpuTune: {{{tune}}}, memoryTune: {{softLimit: 512Mi}}, blockIoTune: {{weight: 300}}"
    );
    scenario.apply(&manifest("Domain", name, &guest))?;
    scenario.await_ready(&["domain/limits"])?;
    let schedule = |figures| await_schedule(&host, name, figures);
    schedule(["512", "100000", "50000", "-1", "50000", "45000"])?;
    await_settled(&scenario)?;

    // Some of these bound others, whichever is written first.
    let tune = json!({"shares": 700, "period": "20ms", "quota": "8ms", "emulatorQuota": "20ms", "globalPeriod": "100ms", "globalQuota": "60ms"});
    let memory = json!({"hardLimit": "1Gi", "softLimit": "256Mi", "swapHardLimit": "2Gi"});
    scenario.change("domain", name, &json!({"cpuTune": tune, "memoryTune": memory, "blockIoTune": {"weight": 500}}))?;
    schedule(["700", "20000", "8000", "20000", "100000", "60000"])?;
    await_table(
        &host,
        &["memtune", name, "--live"],
        &["hard_limit : 1048576", "soft_limit : 262144", "swap_hard_limit: 2097152"],
    )?;
    eventually(PATIENCE, || {
        let seen = table(&host, &["blkiotune", name, "--live"])?;
        ensure!(seen.first().is_some_and(|line| line == "weight : 500"), "{seen:?}");
        Ok(())
    })?;
    await_settled(&scenario)?;

    // A limit can be lifted while it runs; what the host gives a guest that says no weight, nobody knows.
    scenario.change("domain", name, &json!({"cpuTune": {"shares": 700, "period": null, "quota": null, "emulatorQuota": null, "globalPeriod": null, "globalQuota": null}, "memoryTune": null}))?;
    schedule(["700", "100000", "-1", "-1", "100000", "-1"])?;
    await_table(
        &host,
        &["memtune", name, "--live"],
        &["hard_limit : unlimited", "soft_limit : unlimited", "swap_hard_limit: unlimited"],
    )?;
    await_settled(&scenario)?;
    scenario.change("domain", name, &json!({"cpuTune": null}))?;
    let message = "waiting for the guest's next boot: cpuTune.shares";
    scenario.await_condition("domain/limits", "RestartRequired", ("True", "ChangesPending", message)).map(drop)
}

/// Tells what the kernel found of nodes and of its machine.
const SCRIPT: &str = r#"#!/bin/sh
for node in /sys/devices/system/node/node*; do echo "${node##*/} cpus $(cat $node/cpulist) distance $(cat $node/distance)"; done
sed 's/^/cores /' /sys/devices/system/cpu/cpu0/topology/core_siblings_list
cd /sys/class/dmi/id
for file in bios_vendor sys_vendor product_name product_serial product_uuid board_serial chassis_asset_tag; do echo "$file $(cat $file)"; done
grep -o 'acme:[a-z=,0-9]*' /sys/firmware/dmi/tables/DMI
"#;

#[test]
fn a_guest_finds_its_cells_and_what_its_firmware_tells_and_keeps_its_uuid() -> Result<()> {
    let scenario = STAGE.scenario("cells")?;
    let name = scenario.name();
    let script = SCRIPT.replace('\\', "\\\\").replace('"', "\\\"");
    let cells = "{id: 0, cpus: '0', memory: 96Mi, distances: [{cell: 1, value: 21}]}, {id: 1, cpus: '1', memory: 96Mi}";
    let told = "bios: {vendor: ACME}, system: {manufacturer: ACME, product: Thing, serial: S-1}, baseBoard: {serial: B-1}, \
                chassis: {asset: A-1}, oemStrings: ['acme:one=1,two=2']";
    let guest = format!(
        "type: Qemu, memory: 192Mi, vcpus: 2, cpu: {{topology: {{sockets: 1, cores: 2}}, numa: [{cells}]}}, \
         numaTune: {{mode: Preferred, nodeset: '0'}}, sysinfo: {{{told}}}, cloudInitRef: {{name: {name}}}, \
         os: {{kernelRef: {{name: kernel}}, initrdRef: {{name: initrd}}, cmdline: '{}'}}, consoles: [{{name: serial, log: true}}]",
        GuestFiles::COMMAND_LINE
    );
    scenario.apply(&(scenario.storage()? + &scenario.seed("one", &script) + &manifest("Domain", name, &guest)))?;
    scenario.await_ready(&["domain/cells"])?;
    let console = scenario.console();
    console.wait_for_line("userdata-end 0", PATIENCE)?;
    let uuid = scenario.host().virsh(&["domuuid", name])?;
    let said: Vec<String> = console.lines().into_iter().filter(|line| line.starts_with("> ")).collect();
    let uuid = format!("product_uuid {}", uuid.trim());
    let wished = [
        "node0 cpus 0 distance 10 21",
        "node1 cpus 1 distance 21 10",
        "cores 0-1",
        "bios_vendor ACME",
        "sys_vendor ACME",
        "product_name Thing",
        "product_serial S-1",
        &uuid,
        "board_serial B-1",
        "chassis_asset_tag A-1",
        "acme:one=1,two=2",
    ];
    assert_eq!(said, wished.map(|line| format!("> {line}")));
    await_settled(&scenario)?;
    scenario.change("domain", name, &json!({"memory": "256Mi"}))?;
    let sentence = "cpu.numa: the cells have 192Mi together and the guest has 256Mi; the cells' memory must sum up to maxMemory, or to memory where that is not set";
    scenario.await_object("domain", name, |object| {
        let (status, _, message) = condition(object, "Synced")?;
        ensure!(status == "False" && message.contains(sentence), "{status} {message}");
        Ok(())
    })
}
