//! Pools whose volumes are found and not made.

use anyhow::Result;
use serde_json::json;
use tests::{PATIENCE, StorageHost, manifest_on};

use super::{await_refused, external_name, on, pool, storage, volume};

/// A target of two units, which are files of the host.
fn serve_units(host: &StorageHost) -> Result<()> {
    host.run(
        "systemctl start tgt
        tgtadm --lld iscsi --op new --mode target --tid 1 -T iqn.2026-01.org.example:units
        tgtadm --lld iscsi --op bind --mode target --tid 1 -I ALL
        for unit in 1 2; do
            truncate -s 32M /srv/unit$unit
            tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun $unit -b /srv/unit$unit
        done",
    )
    .map(drop)
}

/// The names of a pool's volumes.
fn units(host: &StorageHost, pool: &str) -> Result<Vec<String>> {
    host.virsh(&["pool-refresh", pool])?;
    host.volumes(pool)
}

#[test]
fn units_of_a_target_are_found_and_outlive_their_pools() -> Result<()> {
    let Some((host, _answers)) = storage("units_of_a_target_are_found_and_outlive_their_pools")? else { return Ok(()) };
    let scenario = on(host, "units")?;
    serve_units(host)?;
    let target = "hosts: [{name: 127.0.0.1}], iqn: 'iqn.2026-01.org.example:units'";
    pool(&scenario, "iscsi", &format!("type: Iscsi, source: {{{target}}}, target: {{path: /dev/disk/by-path}}"))?;
    let initiator = "initiatorIqn: 'iqn.2026-01.org.example:guests'";
    pool(&scenario, "direct", &format!("type: IscsiDirect, source: {{{target}, {initiator}}}"))?;
    scenario.await_ready(&["pool/iscsi", "pool/direct"])?;
    // libvirt takes the number of the last block for that of all, where it asks the target itself.
    for (name, type_, capacity) in [("iscsi", "Block", "32Mi"), ("direct", "Network", "33553920")] {
        // A unit of no size is the target's own.
        let named: Vec<String> = units(host, name)?.into_iter().filter(|unit| unit != "unit:0:0:0").collect();
        assert_eq!(named, ["unit:0:0:1", "unit:0:0:2"]);
        let object = format!("{name}-unit");
        volume(&scenario, &object, &format!("poolRef: {{name: {name}}}, format: Raw, capacity: 32Mi"))?;
        await_refused(&scenario, &format!("volume/{object}"), ("Ready", "NotOffered"), "are found, not made")?;
        scenario.delete(&[&format!("volume/{object}")])?;
        scenario.await_gone(&[&format!("volume/{object}")])?;
        let looked_at =
            manifest_on(Some(scenario.name()), "Volume", &object, &format!("poolRef: {{name: {name}}}, format: Raw"));
        scenario.apply(&looked_at.replacen("spec: {", "spec: {managementPolicies: [Observe], ", 1))?;
        external_name(&scenario, &format!("volume/{object}"), &named[0])?;
        scenario.await_ready(&[&format!("volume/{object}")])?;
        let seen = scenario.observed("volume", &object)?;
        assert_eq!(
            (&seen["type"], &seen["capacity"], &seen["name"]),
            (&json!(type_), &json!(capacity), &json!(named[0]))
        );
    }
    scenario.delete(&["volume/iscsi-unit", "volume/direct-unit"])?;
    scenario.await_gone(&["volume/iscsi-unit", "volume/direct-unit"])?;
    // Their pools have units in them, and go all the same: nobody made them here.
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)?;
    assert_eq!(host.run("stat -c %s /srv/unit1 /srv/unit2")?, "33554432\n33554432\n");
    assert!(!host.run("iscsiadm -m session || true")?.contains("units"));
    Ok(())
}

#[test]
fn units_of_an_adapter_and_multipath_devices_are_pools_too() -> Result<()> {
    let Some((host, _answers)) = storage("units_of_an_adapter_and_multipath_devices_are_pools_too")? else {
        return Ok(());
    };
    let scenario = on(host, "adapters")?;
    host.run("modprobe scsi_debug dev_size_mb=16 && udevadm settle")?;
    let number = host.run("ls -d /sys/bus/pseudo/drivers/scsi_debug/adapter0/host* | sed 's/.*host//'")?;
    let adapter =
        format!("type: Scsi, source: {{adapter: {{name: scsi_host{}}}}}, target: {{path: /dev}}", number.trim());
    pool(&scenario, "adapter", &adapter)?;
    pool(&scenario, "multipath", "type: Mpath, target: {path: /dev/mapper}")?;
    scenario.await_ready(&["pool/adapter", "pool/multipath"])?;
    assert_eq!(units(host, "adapter")?.len(), 1);
    scenario.delete_all()?;
    scenario.await_all_gone(PATIENCE)
}
